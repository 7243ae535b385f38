"""Detecting: which KPIs do what they are not expected to do, and which do again.

Each series is followed by `bands`; what begins is told at once and with its why, what ends is told, too, and in
between there is silence, so that an outage of a night is two rows and not a thousand. Judges that have been
plugged in are shown what is kept of each series and are told in the same manner.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.kernel.grouping import order_by_group
from trunkline.kernel.identity import name_words
from trunkline.network.detect import telling
from trunkline.network.detect.bands import (
    ACCEPTED,
    BEGUN,
    DIP,
    FEATURES,
    KINDS,
    NONE,
    ROW,
    SECOND_US,
    SHOWN,
    SPIKE,
    fresh,
    watch,
)
from trunkline.network.detect.models import Models
from trunkline.network.placing import placed
from trunkline.records.network import ANOMALIES

Rows = npt.NDArray[Any]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

SERIES = State(
    "network.series",
    "bucket",
    ROW,
    "What each KPI of each object is expected to be at each hour of the week, and what is going on in it.",
)

_USED = (
    "object", "name", "kpi", "slice", "bucket", "begin_us", "end_us", "value_milli", "numerator_milli",
    "denominator_milli",
)  # fmt: skip
_SLICE, _KPI = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd: nothing is lost in mixing
_JUDGED = np.dtype([("row", "i8"), ("since_us", "i8"), ("kind", "i8"), ("ended", "u1")])


def detect(kpis: pl.DataFrame, series: Grouped, models: Models) -> Outcome:
    """`ANOMALIES` that begin and end with these `KPIS`; the state returned holds every series of the batch's buckets.

    KPIs without a value move nothing. Values of a series are taken in order of their end; one that is not newer
    than the newest seen is passed over, so a replay tells nothing twice.
    """
    valued = _in_order_of_time(kpis.select(_USED))
    words = series_words(valued)

    def make(first: Longs) -> Rows:
        rows = fresh(len(first))
        rows["series"] = words[first]
        return rows

    state, at = placed(series, "series", words, valued["bucket"].to_numpy(), make)
    if len(valued) == 0:
        return Outcome((ANOMALIES.record.empty(),), state)
    shown = np.zeros((len(valued) if models.judges else 0, SHOWN))
    findings = _watched(valued, state, at, shown, models)
    told = [_told(valued, findings)]
    if models.judges:
        told.append(_judged(valued, state.rows, at, shown, models))
    return Outcome((ANOMALIES.record.conform(pl.concat(told)),), state)


def _watched(valued: pl.DataFrame, state: Grouped, at: Longs, shown: Floats, models: Models) -> Rows:
    """What is to be told, in the order of the rows. Series are passed in the order in which they lie in memory."""
    order, _ = order_by_group(at, len(state.rows))
    columns = (
        valued["begin_us"], valued["end_us"], valued["value_milli"], valued["numerator_milli"].fill_null(0),
        valued["denominator_milli"].fill_null(0),
    )  # fmt: skip
    seen = np.zeros((len(shown), shown.shape[1]))
    begin, end, value, numerator, denominator = (
        np.ascontiguousarray(each.to_numpy()[order]) for each in columns
    )
    findings = watch(
        models.bands,
        state.rows,
        state.rows["profile"],
        at[order],
        begin,
        end,
        value,
        numerator,
        denominator,
        seen,
    )
    if len(shown):
        shown[order] = seen
    findings["row"] = order[findings["row"]]
    return findings[np.argsort(findings["row"], kind="stable")]


def _in_order_of_time(kpis: pl.DataFrame) -> pl.DataFrame:
    """The rows with a value, by their end, else as they came. A period of all cells is so already: it is not copied."""
    if kpis["value_milli"].null_count():
        kpis = kpis.filter(pl.col("value_milli").is_not_null())
    ends = kpis["end_us"].to_numpy()
    if len(ends) and bool((ends[1:] < ends[:-1]).any()):
        kpis = kpis[np.argsort(ends, kind="stable")]
    return kpis


def series_words(kpis: pl.DataFrame) -> Words:
    """The word of each row's series, made of object, KPI and slice."""
    codes = kpis["kpi"].cast(pl.Categorical).to_physical().cast(pl.UInt32)
    names = pl.DataFrame({"code": codes, "kpi": kpis["kpi"]}).unique("code")
    word_of = np.zeros(int(names["code"].max() or 0) + 1, np.uint64)  # type: ignore[arg-type]
    word_of[names["code"].to_numpy()] = name_words(names["kpi"])
    words: Words = kpis["object"].to_numpy() + word_of[codes.to_numpy()] * _KPI
    words ^= kpis["slice"].fill_null(0).cast(pl.UInt64).to_numpy() * _SLICE
    words ^= words >> np.uint64(31)
    return words * _KPI


def _told(kpis: pl.DataFrame, findings: Rows) -> pl.DataFrame:
    """Findings as `ANOMALIES`, with their sentences."""
    frame = _beside(kpis, findings["row"], findings["since_us"]).with_columns(
        kind=pl.Series([KINDS[kind] for kind in findings["kind"].tolist()], dtype=pl.String),
        score_milli=_milli(findings["score"] * 1.0),
        low_milli=_milli(findings["low"]),
        high_milli=_milli(findings["high"]),
        ended=pl.Series((findings["change"] != BEGUN).astype(np.uint8)),
        change=pl.Series(findings["change"].copy()),
    )
    why = (
        pl.when(pl.col("change") == BEGUN)
        .then(telling.begun())
        .when(pl.col("change") == ACCEPTED)
        .then(telling.accepted())
        .otherwise(telling.back())
    )
    return frame.with_columns(text=why).select(ANOMALIES.record.schema.names())


def _beside(kpis: pl.DataFrame, row: Longs, since_us: Longs) -> pl.DataFrame:
    """The KPIs that something is told of, with the names that `ANOMALIES` has for their columns."""
    return kpis[row.copy()].select(
        "object", "name", "kpi", "slice", "bucket", time_us="end_us", seen_milli="value_milli"
    ).with_columns(since_us=pl.Series(since_us.copy()))  # fmt: skip


def _milli(values: Floats) -> pl.Series:
    """Thousandths, to the nearest."""
    return pl.Series(np.rint(values * 1000.0), dtype=pl.Float64).cast(pl.Int64)


def _judged(kpis: pl.DataFrame, rows: Rows, at: Longs, shown: Floats, models: Models) -> pl.DataFrame:
    """What the judges begin or cease to hold for unusual."""
    scores = np.zeros(len(kpis))
    by = np.full(len(kpis), "", object)
    names = kpis["kpi"].to_numpy()
    for kpi in sorted(set(names.tolist())):
        judge = models.judges.get(kpi) or models.judges.get("")
        if judge is not None:
            its = np.flatnonzero((names == kpi) & (shown[:, 10] >= models.bands.learn_points))
            if len(its):
                scores[its] = judge.judge(shown[its, : len(FEATURES)])
                by[its] = judge.name
    side = np.where(shown[:, 0] >= 0, SPIKE, DIP)
    changes = _edges(rows, at, np.where(scores >= models.told_at, side, NONE), kpis["begin_us"].to_numpy())
    row = changes["row"]
    expected, half = shown[row, -2], shown[row, -1]
    frame = _beside(kpis, row, changes["since_us"]).with_columns(
        kind=pl.Series([KINDS[kind] for kind in changes["kind"].tolist()], dtype=pl.String),
        score_milli=_milli(scores[row]),
        low_milli=_milli(expected - half),
        high_milli=_milli(expected + half),
        ended=pl.Series(changes["ended"].copy()),
        model=pl.Series(by[row].tolist(), dtype=pl.String),
    )
    why = pl.when(pl.col("ended") == 1).then(telling.back()).otherwise(telling.judged(pl.col("model")))
    return frame.with_columns(text=why).select(ANOMALIES.record.schema.names())


@nb.njit(nogil=True, cache=True)
def _edges(rows: Rows, at: Longs, unusual: Longs, begin_us: Longs) -> Rows:
    """Where a judge begins or ceases to hold a series for unusual, in the batch's order; `rows` remember it."""
    changes = np.empty(len(at), _JUDGED)
    count = 0
    for i in range(len(at)):
        row = rows[at[i]]
        if (unusual[i] != NONE) == (row.judged != NONE):
            continue
        begins = row.judged == NONE
        if begins:
            row.judged = unusual[i]
            row.judged_s = begin_us[i] // SECOND_US
        changes[count].row = i
        changes[count].since_us = nb.int64(row.judged_s) * SECOND_US
        changes[count].kind = row.judged
        changes[count].ended = 0 if begins else 1
        count += 1
        if not begins:
            row.judged = NONE
    return changes[:count]
