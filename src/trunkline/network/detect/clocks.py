"""Wrong clocks: whose periods used to begin on the grid of their length and begin beside it now is told, once.

Elements that keep UTC begin a period of five minutes at full five minutes. An element of which the clock runs away
still tells how much it measured, but not when: areas miss its part, the map does not draw it, and its events cannot be
laid beside those of others. Nobody sees that from its KPIs, so it is a finding of its own. Who never kept the grid (an
exporter that is asked when somebody gets to it) has no clock that one could judge by it and is not told.

What is told carries the time of the grid that is nearest to the period, so that a clock that is ahead raises no alarm
in the future. A clock that is wrong by whole periods cannot be told from a right one.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.network.detect import reported, telling
from trunkline.network.placing import placed
from trunkline.records.network import ANOMALIES

Rows = npt.NDArray[Any]
Longs = npt.NDArray[np.int64]

IN_A_ROW = 3  # periods on the grid that make a clock known or right again, or beside it that make it wrong
SHORTEST_US = 1_000_000  # shorter periods have no grid that says anything

CLOCKS = State(
    "network.clocks",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),
            ("last_us", "i8"),  # end of the newest period
            ("run", "i8"),  # so many periods in a row on the grid; beside it when below 0
            ("since_us", "i8"),  # where the first of these would have ended
            ("known", "u1"),  # whether it ever kept the grid
            ("told", "u1"),  # whether it is told as wrong
        ]
    ),
    "How each object's periods lie on the grid of their length.",
)

_CHANGE = np.dtype([("row", "i8"), ("since_us", "i8"), ("time_us", "i8"), ("off_us", "i8"), ("ended", "u1")])


def tell_time(bins: pl.DataFrame, clocks: Grouped) -> Outcome:
    """`ANOMALIES` of objects whose clock is wrong from these `BINS` on, or right again."""
    heard = reported.periods(bins).filter(pl.col("end_us") - pl.col("begin_us") >= SHORTEST_US)

    def make(first: Longs) -> Rows:
        fresh = np.zeros(len(first), CLOCKS.dtype)
        fresh["object"] = heard["object"].to_numpy()[first]
        return fresh

    state, at = placed(clocks, "object", heard["object"].to_numpy(), heard["bucket"].to_numpy(), make)
    changes = _judge(state.rows, at, heard["begin_us"].to_numpy(), heard["end_us"].to_numpy())
    return Outcome((_told(heard, changes),), state)


@nb.njit(nogil=True, cache=True)
def _judge(rows: Rows, at: Longs, begin_us: Longs, end_us: Longs) -> Rows:
    """Move each object on by its periods in their order; whose clock is wrong or right again."""
    changes = np.empty(len(at), _CHANGE)
    count = 0
    for i in range(len(at)):
        row = rows[at[i]]
        if end_us[i] <= row.last_us:
            continue
        row.last_us = end_us[i]
        period_us = end_us[i] - begin_us[i]
        off_us = begin_us[i] % period_us
        if off_us > period_us // 2:
            off_us -= period_us
        if off_us == 0:
            row.run = max(row.run, 0) + 1
            changed = row.told == 1 and row.run >= IN_A_ROW
            row.known = 1 if row.run >= IN_A_ROW else row.known
        else:
            row.run = min(row.run, 0) - 1
            if row.told == 0 and row.run == -1:
                row.since_us = end_us[i] - off_us
            changed = row.known == 1 and row.told == 0 and row.run <= -IN_A_ROW
        if changed:
            row.told = 1 - row.told
            changes[count].row = i
            changes[count].since_us = row.since_us
            changes[count].time_us = end_us[i] - off_us
            changes[count].off_us = off_us
            changes[count].ended = 1 - row.told
            count += 1
    return changes[:count]


def _told(heard: pl.DataFrame, changes: Rows) -> pl.DataFrame:
    """Changes as `ANOMALIES`, with their sentences."""
    frame = heard[changes["row"]].select(
        "bucket",
        "object",
        pl.col("name").fill_null("an unnamed object"),
        period_us=pl.col("end_us") - pl.col("begin_us"),
    )
    frame = frame.with_columns(
        *(pl.Series(name, changes[name].copy()) for name in ("since_us", "time_us", "off_us", "ended")),
        kpi=pl.lit(""),
        kind=pl.lit("clock"),
        score_milli=pl.lit(1000),
    )
    over = pl.col("ended") == 1
    return ANOMALIES.record.conform(
        frame.with_columns(
            text=pl.when(over).then(telling.right_again()).otherwise(telling.wrong_clock())
        ).drop("off_us", "period_us")
    )
