"""Forecasting: how likely service at a cell is interrupted or congested within the next quarter of an hour and
hour.

Trouble announces itself: signal strength falls, calls are missed, flows drop, packets are lost, blocks fill up,
and attempts that should succeed burn the error budget. What is watched of each is how far it lies from its own
usual and how fast it moves; a logistic regression (J. Berkson, Journal of the American Statistical Association
39 (1944) 357-365) makes one probability of it. Its weights were learnt on simulated days with known faults
(`python -m tests.learn_forecast` learns and judges them anew) and are data. A probability of 0.7 is meant to
come true seven times in ten.

A risk is told when it becomes more likely than not, again when it becomes likelier still, and when it has become
unlikely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.network.formula import numbers_of
from trunkline.network.placing import placed
from trunkline.records.network import RISKS, Scope

Rows = npt.NDArray[Any]
Row = Any  # one of `Rows` in a compiled loop
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lead:
    """A KPI that moves before trouble: its bad direction, the amount that counts as one, and its words."""

    kpi: str
    bad: float  # 1 when higher is worse, -1 when lower is
    unit: float
    words: str


LEADS = (
    Lead("SignalStrength", -1.0, 1.0, "signal strength is falling"),
    Lead("MissedCallRate", 1.0, 2.0, "more and more calls are missed"),
    Lead("QoSRetain_R1", 1.0, 0.5, "more and more flows are dropped"),
    Lead("ULPacketLoss", 1.0, 0.1, "more and more packets are lost"),
    Lead("DRBAccessibility", -1.0, 1.0, "the error budget is burning: fewer attempts succeed"),
    Lead("PRBUsageDl", 1.0, 5.0, "resource blocks are filling up"),
)
PRB = 5
HORIZONS_S = (900, 3600)
EVENTS = ("interrupted", "congested")
LEADING = 2 * len(LEADS)  # features of interruption: distance and pace of each lead
FEATURES = LEADING + 8  # and of congestion: see `_describe_load`
OUTCOMES = len(EVENTS) * len(HORIZONS_S)
CONGESTED = len(HORIZONS_S)  # outcomes from here on

FAST_S, MIDDLE_S, SLOW_S = 180.0, 1_200.0, 28_800.0  # memories: now, the pace, and the usual
LEARN_POINTS = 20
GAP_S = 3_600.0  # after a longer silence what was remembered of the pace is let go,
SWITCHED_ON = 10.0  # and when blocks are so many times fuller than lately: a cell that is back is no crowd
FULLEST = 98.5  # percent of resource blocks beyond which the load behind them cannot be told
BUSY, FULL, CROWDED = 1.6, 1.8, 2.1  # loads at 80, 83 and 88 percent of the blocks
BRISK, HASTY = 0.12, 0.3  # growth of load beyond that of a morning, and that of a crowd
AHEAD = 2.0  # by so many of its paces the load is drawn on
TOLD_FROM = (0.6, 0.8, 0.9)  # told when likely, and again when it becomes likelier,
TOLD_UNTIL = 0.2  # and when it is unlikely again

FORETOLD = State(
    "network.foretold",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),
            ("last_us", "i8"),
            ("points", "i8", (len(LEADS),)),
            ("seen_us", "i8", (len(LEADS),)),
            ("fast", "f8", (len(LEADS),)),
            ("middle", "f8", (len(LEADS),)),
            ("slow", "f8", (len(LEADS),)),
            ("told", "u1", (OUTCOMES,)),  # how many of the marks were told,
            ("spoken", "u1", (OUTCOMES,)),  # and which lead they were told of
        ]
    ),
    "How the KPIs that announce trouble stand and move at each cell, and which risks are told.",
)

_BAD = np.array([lead.bad for lead in LEADS])
_UNIT = np.array([lead.unit for lead in LEADS])
_CHANGE = np.dtype([("row", "i8"), ("outcome", "i8"), ("lead", "i8"), ("probability", "f8"), ("told", "u1")])

# A row for each of: interrupted within 900 s, 3600 s, congested within 900 s, 3600 s. A column for each feature,
# then the constant; learnt on seeds 1 to 4, judged on others in tests/rooms/network/detect/test_forecast.py.
WEIGHTS = np.zeros((OUTCOMES, FEATURES + 1))
WEIGHTS[:CONGESTED, :LEADING] = [
    [2.485, -0.223, 1.267, -0.422, 2.216, -1.356, 2.307, 1.729, -0.904, 0.686, -0.189, 0.492],
    [3.996, 4.926, 0.581, -0.593, 0.302, 0.251, 2.075, 0.892, -0.949, 0.806, -0.491, 1.449],
]
WEIGHTS[CONGESTED:, LEADING:-1] = [
    [1.359, 0.004, 5.787, 0.459, 2.252, -2.062, 1.872, -0.001],
    [1.44, 0.96, 7.649, -0.79, 0.22, -1.567, 1.784, 0.874],
]
WEIGHTS[:, -1] = [-15.288, -13.674, -9.612, -7.324]


def forecast(kpis: pl.DataFrame, foretold: Grouped, weights: Floats | None = None) -> Outcome:
    """`RISKS` of cells that begin or cease to be likely with these `KPIS`; the state holds the batch's buckets."""
    rows = leading(kpis)

    def make(first: Longs) -> Rows:
        made = np.zeros(len(first), FORETOLD.dtype)
        made["object"] = rows["object"].to_numpy()[first]
        return made

    state, at = placed(foretold, "object", rows["object"].to_numpy(), rows["bucket"].to_numpy(), make)
    changes, _ = follow(rows, state.rows, at, WEIGHTS if weights is None else weights, features=False)
    return Outcome((_told(rows, changes),), state)


def leading(kpis: pl.DataFrame) -> pl.DataFrame:
    """The rows that announce something, a cell's rows of one moment beside each other, with `lead`."""
    lead = numbers_of(kpis["kpi"], {each.kpi: number for number, each in enumerate(LEADS)})
    of_cells = kpis.select(
        (pl.col("scope") == int(Scope.CELL))
        & (pl.col("slice").fill_null(0) == 0)
        & pl.col("value_milli").is_not_null()
    )
    rows = np.flatnonzero((lead >= 0) & of_cells.to_series().to_numpy())
    used = kpis.select("object", "name", "bucket", "kpi", "end_us", "value_milli")
    order = np.lexsort((lead[rows], kpis["object"].to_numpy()[rows], kpis["end_us"].to_numpy()[rows]))
    return used[rows[order]].with_columns(lead=pl.Series(lead[rows[order]].astype(np.int64)))


def follow(
    rows: pl.DataFrame, states: Rows, at: Longs, weights: Floats, *, features: bool
) -> tuple[Rows, Floats]:
    """Move `states` (changed in place) by `rows` of `leading`; what to tell, and the features at each last row."""
    shown = np.zeros((len(rows) if features else 0, FEATURES))
    changes = _follow(
        states,
        states["points"],
        states["seen_us"],
        states["fast"],
        states["middle"],
        states["slow"],
        states["told"],
        states["spoken"],
        at,
        rows["end_us"].to_numpy(),
        rows["lead"].to_numpy(),
        rows["value_milli"].to_numpy(),
        weights,
        shown,
    )
    return changes, shown


@nb.njit(inline="always")
def _share(passed_s: float, memory_s: float, points: int) -> float:
    return max(passed_s / (memory_s + passed_s), 1.0 / (points + 1.0))


@nb.njit(nogil=True, cache=True)
def _move(
    points: Longs,
    seen_us: Longs,
    fast: Floats,
    middle: Floats,
    slow: Floats,
    lead: int,
    end_us: int,
    value: float,
) -> None:
    """Move one lead's three memories by one value."""
    passed_s = (end_us - seen_us[lead]) * 1e-6 if points[lead] > 0 else 0.0
    if passed_s > GAP_S or (lead == PRB and value > SWITCHED_ON * fast[lead]):
        fast[lead] = value
        middle[lead] = value
    fast[lead] += _share(passed_s, FAST_S, points[lead]) * (value - fast[lead])
    middle[lead] += _share(passed_s, MIDDLE_S, points[lead]) * (value - middle[lead])
    # The usual is slow to believe in what is far from it, or trouble that takes hours would become the usual.
    far = 3.0 * _UNIT[lead] if points[lead] >= LEARN_POINTS else abs(value - slow[lead])
    step = min(max(value - slow[lead], -far), far)
    slow[lead] += _share(min(passed_s, GAP_S), SLOW_S, points[lead]) * step
    points[lead] += 1
    seen_us[lead] = end_us


@nb.njit(inline="always")
def _tamed(value: float) -> float:
    """Large amounts count less than in proportion."""
    return np.log1p(value) if value >= 0.0 else -np.log1p(-value)


@nb.njit(nogil=True, cache=True)
def _describe(
    points: Longs, seen_us: Longs, fast: Floats, middle: Floats, slow: Floats, now_us: int, out: Floats
) -> None:
    """Write down the features of one cell at one moment; what has not been seen lately counts as usual."""
    for lead in range(len(_BAD)):
        out[2 * lead] = 0.0
        out[2 * lead + 1] = 0.0
        if points[lead] >= LEARN_POINTS and now_us - seen_us[lead] <= GAP_S * 1e6:
            out[2 * lead] = _tamed(_BAD[lead] * (fast[lead] - slow[lead]) / _UNIT[lead])
            out[2 * lead + 1] = _tamed(_BAD[lead] * (fast[lead] - middle[lead]) / _UNIT[lead])
    out[LEADING:] = 0.0
    if points[PRB] >= LEARN_POINTS and now_us - seen_us[PRB] <= GAP_S * 1e6:
        _describe_load(_load(fast[PRB]), _load(middle[PRB]), _load(slow[PRB]), out[LEADING:])


@nb.njit(inline="always")
def _load(percent: float) -> float:
    """The load behind blocks of which so many percent are in use: a crowd adds to it evenly, and to the blocks not."""
    return -np.log(1.0 - min(max(percent, 0.0), FULLEST) / 100.0)


@nb.njit(inline="always")
def _describe_load(now: float, lately: float, usual: float, out: Floats) -> None:
    """How large the load is, how fast it grows, where it will be at this pace, and how far it is from usual."""
    pace = min(max(now - lately, -1.0), 1.5)
    out[0] = now
    out[1] = pace
    out[2] = max(pace - BRISK, 0.0)
    out[3] = max(now - BUSY, 0.0)
    out[4] = max(min(now + AHEAD * pace, 3.5) - FULL, 0.0)
    out[5] = max(now - CROWDED, 0.0)
    out[6] = min(max(now - usual, -1.0), 2.0)
    out[7] = max(pace - HASTY, 0.0)


@nb.njit(inline="always")
def _probability(weights: Floats, outcome: int, features: Floats) -> float:
    total = weights[outcome, len(features)]
    for at in range(len(features)):
        total += weights[outcome, at] * features[at]
    return 1.0 / (1.0 + np.exp(-min(max(total, -50.0), 50.0)))


@nb.njit(inline="always")
def _foremost(weights: Floats, outcome: int, features: Floats) -> int:
    """The lead that says most of a risk; congestion is always that of the blocks."""
    if outcome >= CONGESTED:
        return PRB
    best, most = 0, -1e300
    for lead in range(PRB):
        says = weights[outcome, 2 * lead] * features[2 * lead]
        says += weights[outcome, 2 * lead + 1] * features[2 * lead + 1]
        if says > most:
            best, most = lead, says
    return best


@nb.njit(nogil=True, cache=True)
def _follow(
    rows: Rows,
    points: Longs,
    seen_us: Longs,
    fast: Floats,
    middle: Floats,
    slow: Floats,
    told: npt.NDArray[np.uint8],
    spoken: npt.NDArray[np.uint8],
    at: Longs,
    end_us: Longs,
    lead: Longs,
    value_milli: Longs,
    weights: Floats,
    shown: Floats,
) -> Rows:
    """The loop over rows in order of time; a cell is judged at its last row of each moment."""
    changes = np.empty(16, _CHANGE)
    count = 0
    features = np.zeros(FEATURES)
    for i in range(len(at)):
        which = at[i]
        if end_us[i] <= seen_us[which, lead[i]]:
            continue
        _move(
            points[which], seen_us[which], fast[which], middle[which], slow[which], lead[i], end_us[i],
            value_milli[i] * 1e-3,
        )  # fmt: skip
        rows[which].last_us = max(rows[which].last_us, end_us[i])
        if i + 1 < len(at) and at[i + 1] == which and end_us[i + 1] == end_us[i]:
            continue
        _describe(points[which], seen_us[which], fast[which], middle[which], slow[which], end_us[i], features)
        if len(shown) > 0:
            shown[i] = features
        for outcome in range(OUTCOMES):
            probability = _probability(weights, outcome, features)
            before = nb.int64(told[which, outcome])
            mark = before
            while mark < len(TOLD_FROM) and probability >= TOLD_FROM[mark]:
                mark += 1
            if probability < TOLD_UNTIL:
                mark = 0
            if mark != before:
                if before == 0:  # what grows and ends has the name under which it began
                    spoken[which, outcome] = _foremost(weights, outcome, features)
                told[which, outcome] = mark
                if count == len(changes):
                    more = np.empty(2 * count, _CHANGE)
                    more[:count] = changes
                    changes = more
                changes[count].row = i
                changes[count].outcome = outcome
                changes[count].lead = spoken[which, outcome]
                changes[count].probability = probability
                changes[count].told = 1 if mark > 0 else 0
                count += 1
    return changes[:count]


def _told(rows: pl.DataFrame, changes: Rows) -> pl.DataFrame:
    """Changes as `RISKS`, with their sentences."""
    leads = [LEADS[lead] for lead in changes["lead"].tolist()]
    frame = rows[changes["row"].copy()].select("object", "name", "bucket", time_us="end_us").with_columns(
        kpi=pl.Series([lead.kpi for lead in leads], dtype=pl.String),
        words=pl.Series([lead.words for lead in leads], dtype=pl.String),
        event=pl.Series([EVENTS[each // 2] for each in changes["outcome"].tolist()], dtype=pl.String),
        horizon_s=pl.Series([HORIZONS_S[each % 2] for each in changes["outcome"].tolist()], dtype=pl.Int32),
        probability_milli=pl.Series(np.rint(changes["probability"] * 1000), dtype=pl.Float64).cast(pl.Int32),
        begins=pl.Series(changes["told"] == 1),
    )  # fmt: skip
    percent = (pl.col("probability_milli") / 10).round(0).cast(pl.Int32)
    minutes = pl.col("horizon_s") // 60
    why = (
        pl.when(pl.col("begins"))
        .then(pl.format("{} is likely ({} %) to be {} within {} minutes: {}.", pl.col("name").fill_null("A cell"),
                        percent, "event", minutes, "words"))
        .otherwise(pl.format("{} is no longer likely ({} %) to be {} within {} minutes.",
                             pl.col("name").fill_null("A cell"), percent, "event", minutes))
    )  # fmt: skip
    return RISKS.record.conform(frame.with_columns(text=why))
