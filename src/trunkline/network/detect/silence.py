"""Silence: an object that used to report and reports no more is told, once, and told again when it is back.

A dead cell sends nothing that could look unusual, so somebody has to wait for it. Each object's own rhythm is
learnt from the ends of its periods; who has no rhythm (an element that reports when it likes) is not waited
for. The clock is the data's own (`PULSES`): when it has passed the moment at which the next period should have
been there, the object is silent from that moment on, however much later a pulse comes to tell it. That is one
finding an object, not one for each of its KPIs. A day that is read at once has pulses only where its batches end; so
who comes back after a silence that no pulse has told is told as silent first, from the same moment.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.kernel.grouping import locate
from trunkline.network.detect import reported, telling
from trunkline.network.formula import Formulas
from trunkline.network.placing import of_keys, placed
from trunkline.records.network import ANOMALIES

Rows = npt.NDArray[Any]
Row = Any  # one of `Rows` in a compiled loop
Longs = npt.NDArray[np.int64]

NAME_OCTETS = 96  # longer names are told shortened; they are known by `object`
STEADY = 3  # periods in a row that make a rhythm
STEADY_MOST = 12  # so many gaps of whole periods a rhythm survives, less those that make it
TOLERANCE = 0.2  # of a period

LISTENED = State(
    "network.listened",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),
            ("last_us", "i8"),  # end of the newest period
            ("period_us", "i8"),  # its rhythm,
            ("jitter_us", "i8"),  # how far the ends lie off it,
            ("steady", "i8"),  # and how often in a row it was kept
            ("silent_us", "i8"),  # since when it is told as silent; 0 while it is not
            ("name", f"S{NAME_OCTETS}"),
        ]
    ),
    "When each object last reported, and how regularly it does.",
)

_CHANGE = np.dtype([("at", "i8"), ("since_us", "i8"), ("time_us", "i8")])


def listen(bins: pl.DataFrame, listened: Grouped, formulas: Formulas) -> Outcome:
    """Note who reported with these `BINS`; `ANOMALIES` says who had been silent and is back."""
    heard = reported.periods(bins)

    def make(first: Longs) -> Rows:
        rows = np.zeros(len(first), LISTENED.dtype)
        rows["object"] = heard["object"].to_numpy()[first]
        rows["name"] = [name.encode()[:NAME_OCTETS] for name in heard["name"][first].fill_null("").to_list()]
        return rows

    state, at = placed(listened, "object", heard["object"].to_numpy(), heard["bucket"].to_numpy(), make)
    missed, back = _note(state.rows, at, heard["end_us"].to_numpy(), formulas.lateness_us)
    told = (_told(state, missed, telling.silent(), ended=0), _told(state, back, telling.heard(), ended=1))
    return Outcome((pl.concat(told),), state)


def miss(pulses: pl.DataFrame, listened: Grouped) -> Outcome:
    """`ANOMALIES` of objects whose next period should have been there by these `PULSES`, and was not."""
    state = Grouped(listened.keys, listened.offsets, listened.rows.copy())
    latest = pulses.group_by("bucket").agg(pl.col("time_us").max())
    times = np.full(len(state), np.iinfo(np.int64).min)
    group = locate(state.keys, latest["bucket"].to_numpy())
    times[group[group >= 0]] = latest["time_us"].to_numpy()[group >= 0]
    silent = _wait(state.rows, state.offsets, times)
    touched = np.zeros(len(state), np.bool_)
    touched[np.searchsorted(state.offsets, silent["at"], side="right") - 1] = True
    return Outcome((_told(state, silent, telling.silent(), ended=0),), of_keys(state, touched))


@nb.njit(nogil=True, cache=True)
def _rhythm(row: Row, gap: int) -> None:
    """Learn from the time between two ends; a gap of whole periods costs a rhythm little, any other gap all of it."""
    if row.period_us > 0:
        passed = (gap + row.period_us // 2) // row.period_us
        off = abs(gap - passed * row.period_us)
        if passed == 1 and off <= TOLERANCE * row.period_us:
            row.jitter_us = max(off, row.jitter_us - row.jitter_us // 16)
            row.steady = min(row.steady + 1, STEADY_MOST)
            return
        if passed > 1 and off <= TOLERANCE * row.period_us and row.steady > STEADY:
            row.steady -= 1
            return
    row.period_us = gap
    row.jitter_us = 0
    row.steady = 1


@nb.njit(nogil=True, cache=True)
def _note(rows: Rows, at: Longs, end_us: Longs, lateness_us: int) -> tuple[Rows, Rows]:
    """Move each object on to its newest end; who was silent without a pulse to tell it, and who is back."""
    missed, back = np.empty(len(at), _CHANGE), np.empty(len(at), _CHANGE)
    unheard, count = 0, 0
    for i in range(len(at)):
        row = rows[at[i]]
        if end_us[i] <= row.last_us:
            continue
        due_us = row.last_us + row.period_us + 2 * row.jitter_us
        if row.silent_us == 0 and row.steady >= STEADY and end_us[i] - lateness_us > due_us:
            row.silent_us = row.last_us
            missed[unheard].at = at[i]
            missed[unheard].since_us = row.last_us
            missed[unheard].time_us = due_us
            unheard += 1
        if row.silent_us > 0:
            back[count].at = at[i]
            back[count].since_us = row.silent_us
            back[count].time_us = end_us[i]
            count += 1
            row.silent_us = 0
        elif row.last_us > 0:
            _rhythm(row, end_us[i] - row.last_us)
        row.last_us = end_us[i]
    return missed[:unheard], back[:count]


@nb.njit(nogil=True, cache=True)
def _wait(rows: Rows, offsets: Longs, times_us: Longs) -> Rows:
    """Who is silent from now on."""
    silent = np.empty(len(rows), _CHANGE)
    count = 0
    for group in range(len(times_us)):
        for at in range(offsets[group], offsets[group + 1]):
            row = rows[at]
            due_us = row.last_us + row.period_us + 2 * row.jitter_us
            if row.silent_us == 0 and row.steady >= STEADY and times_us[group] >= due_us:
                row.silent_us = row.last_us
                silent[count].at = at
                silent[count].since_us = row.last_us
                silent[count].time_us = due_us
                count += 1
    return silent[:count]


def _told(state: Grouped, changes: Rows, why: pl.Expr, *, ended: int) -> pl.DataFrame:
    """Changes as `ANOMALIES`, with their sentences."""
    rows = state.rows[changes["at"]]
    keys = np.repeat(state.keys, np.diff(state.offsets))[changes["at"]]
    frame = pl.DataFrame(
        {
            "object": rows["object"].copy(),
            "name": [name.decode(errors="ignore") for name in rows["name"].tolist()],
            "period_us": rows["period_us"].copy(),
            "since_us": changes["since_us"].copy(),
            "time_us": changes["time_us"].copy(),
            "bucket": keys,
        },
        schema_overrides={"name": pl.String},
    ).with_columns(
        kpi=pl.lit(""),
        kind=pl.lit("silence"),
        score_milli=pl.lit(1000),
        ended=pl.lit(ended),
        text=why,
    )
    return ANOMALIES.record.conform(frame)
