"""Remembering what a series has looked like, and noticing what it has never looked like: the deeper detector.

The stretch of the last 2, 8, 16 and 32 values is compared with every stretch of that length still remembered,
and the distance to the nearest is kept. A series that repeats itself, be it every day or now and then, always
finds something near; how near it usually finds something is the measure of when it does not. So level shifts,
spikes, missing rises and broken rhythms are one thing, and nothing has to be known of the series beforehand.
Days are a rhythm that most of what people do has: the last 16 values are also compared with just those of the
same time on other days. After an alarm it holds its peace for a while, the longer the more it has seen, unless
something clearly worse comes.

Each value is seen once and in order. Distances move along with each value (the sum over a stretch gains a
square and loses one), as in V. Zimmerman et al., "Matrix Profile XVIII", ICDM 2019, though neither normalised,
since a level is a feature here, nor looking ahead; conformal anomaly detection by nearest neighbours is E.
Burnaev and V. Ishimtsev, "Conformalized density- and distance-based anomaly detection in time-series data",
arXiv:1608.04585.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
Row = Any  # one of `Rows` in a compiled loop, where it has the fields of `memory`
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LENGTHS = (2, 8, 16, 32)  # of the stretches that are compared, in values
LONGEST = 32
DAILY = 2  # which of them is also compared with the same time of other days
JUDGED = len(LENGTHS) + 1  # distances that are judged: one for each length, and that to other days
DAY_US = 86_400_000_000
AFRESH = 16  # distances that are added up anew with each value, so that roundings never pile up
FAR = 1e300

_LENGTHS = np.array(LENGTHS, np.int64)


class Patterns(NamedTuple):
    """The one set of parameters."""

    remembered: int = 4096  # values
    nearest: int = 4  # stretches that begin less than this, or than their own length, ago are no memory
    beside: int = 3  # values by which the same time of another day may be off
    learn_points: int = 150  # before that nothing is told
    power: float = 0.8  # distances are judged in this power of themselves, which tames the longest
    fade: float = 1e-4  # share of a new distance in what is usual, when very much has been seen
    low: float = -8.0  # no length of stretch speaks for less
    high: float = 14.0  # nor more than this, in usual deviations
    alarm: float = 3.0  # from here on it is an alarm: a score of 0.5
    softness: float = 1.5  # surprise that turns a score of 0.5 into one of 0.73
    peace: int = 60  # values after an alarm,
    peace_share: float = 0.015  # and this share of all seen before, in which only
    worse: float = 4.0  # a surprise by so much greater is told


def memory(remembered: int) -> np.dtype[Any]:
    """The row of one series, with room for so many values."""
    return np.dtype(
        [
            ("series", "u8"),
            ("object", "u8"),
            ("last_us", "i8"),
            ("step_us", "i8"),  # what usually lies between two values,
            ("votes", "i8"),  # and by how many votes (R. S. Boyer, J. S. Moore, "MJRTY", 1981)
            ("points", "i8"),
            ("alarm_at", "i8"),  # points when it last told something
            ("alarm", "f8"),  # and how great that was
            ("usual", "f8", (JUDGED,)),  # mean distance,
            ("spread", "f8", (JUDGED,)),  # and its variance
            ("head", "i8"),  # where the newest value stands in `values`; older ones follow
            ("values", "f8", (2 * (remembered + LONGEST + 1),)),
            (
                "sums",
                "f8",
                (len(LENGTHS), remembered + 1),
            ),  # squared distance to the stretch that began so long ago
        ]
    )


def unknown(count: int, p: Patterns) -> Rows:
    """Rows of series that nothing is remembered of."""
    rows = np.zeros(count, memory(p.remembered))
    rows["head"] = 2 * (p.remembered + LONGEST + 1)
    rows["alarm_at"] = -(2**40)
    return rows


@nb.njit(nogil=True, cache=True)
def _put(values: Floats, head: int, value: float) -> int:
    """Put a value before all others; when there is no room before them, move the newest half to the end."""
    if head == 0:
        half = len(values) // 2
        values[half:] = values[:half]
        head = half
    values[head - 1] = value
    return head - 1


@nb.njit(nogil=True, cache=True, fastmath=True)
def _nearest(
    values: Floats, sums: Floats, head: int, points: int, length: int, top: int, nearest: int
) -> float:
    """Move all distances of one length by the newest value, and tell the smallest.

    `points` counts the values before it. `sums[lag]` is the squared distance between the stretch that ends now and
    the one that ended `lag` values ago.
    """
    newest = values[head]
    leaving = min(points - length, top)  # lags whose older stretch has a value to lose
    if leaving >= 1:
        left = values[head + length]
        for lag in range(1, leaving + 1):
            gained, lost = newest - values[head + lag], left - values[head + length + lag]
            sums[lag] = max(sums[lag] + gained * gained - lost * lost, 0.0)
    for lag in range(max(leaving, 0) + 1, top + 1):
        gained = newest - values[head + lag]
        sums[lag] += gained * gained
    _add_afresh(values, sums, head, points, length, min(leaving, top))
    best = FAR
    for lag in range(max(nearest, length), min(points - length + 1, top) + 1):
        best = min(best, sums[lag])
    return best


@nb.njit(nogil=True, cache=True)
def _add_afresh(values: Floats, sums: Floats, head: int, points: int, length: int, top: int) -> None:
    """Add up a few distances from their values, others each time."""
    if top < 1:
        return
    turns = (top + AFRESH - 1) // AFRESH
    first = 1 + (points % turns) * AFRESH
    for lag in range(first, min(first + AFRESH, top + 1)):
        total = 0.0
        for at in range(length):
            apart = values[head + at] - values[head + at + lag]
            total += apart * apart
        sums[lag] = total


@nb.njit(nogil=True, cache=True)
def _same_time(p: Patterns, sums: Floats, points: int, step_us: int) -> float:
    """The smallest squared distance to a stretch of the same time of another day; `FAR` where none is remembered."""
    best = FAR
    length = _LENGTHS[DAILY]
    day = (DAY_US + step_us // 2) // step_us if step_us > 0 else 0
    if day <= 2 * p.beside:
        return best
    top = min(points - length + 1, p.remembered)
    about = day
    while about - p.beside <= top:
        for lag in range(max(about - p.beside, length), min(about + p.beside, top) + 1):
            best = min(best, sums[lag])
        about += day
    return best


@nb.njit(nogil=True, cache=True)
def _keep_time(row: Row, time_us: int) -> None:
    """Learn what usually lies between two values, by a majority's vote."""
    step_us = time_us - row.last_us
    if row.points > 0 and step_us > 0:
        if step_us == row.step_us:
            row.votes += 1
        elif row.votes > 0:
            row.votes -= 1
        else:
            row.step_us = step_us
            row.votes = 1
    row.last_us = time_us


@nb.njit(nogil=True, cache=True)
def _surprise(p: Patterns, row: Row, usual: Floats, spread: Floats, values: Floats, sums: Floats) -> float:
    """How far the distances are above their usual, in usual deviations, all together; then learn from them."""
    top = min(row.points, p.remembered)
    share = max(p.fade, 1.0 / (row.points + 1.0))
    total = 0.0
    for which in range(JUDGED):
        if which < len(_LENGTHS):
            length = _LENGTHS[which]
            squared = _nearest(values, sums[which], row.head, row.points, length, top, p.nearest)
        else:
            length = _LENGTHS[DAILY]
            squared = _same_time(p, sums[DAILY], row.points, row.step_us)
        distance = (squared / length) ** (0.5 * p.power) if 0.0 < squared < FAR else 0.0
        away = p.low
        if row.points >= p.learn_points and distance > 0.0 and spread[which] > 0.0:
            away = (distance - usual[which]) / np.sqrt(spread[which])
        total += np.exp(min(max(away, p.low), p.high))
        apart = distance - usual[which]
        spread[which] = (1.0 - share) * (spread[which] + share * apart * apart)
        usual[which] += share * apart
    return np.log(total / JUDGED)


@nb.njit(nogil=True, cache=True)
def recall(
    p: Patterns,
    rows: Rows,
    usual: Floats,
    spread: Floats,
    values: Floats,
    sums: Floats,
    at: Longs,
    time_us: Longs,
    seen: Floats,
) -> Floats:
    """The score in 0..1 of each value, in order within a series; from 0.5 on it is an alarm.

    `at[i]` is the row of value i, `time_us[i]` its time; `usual`, `spread`, `values` and `sums` are the rows' fields of
    these names. A value that is no number has score 0 and is not remembered.
    """
    scores = np.zeros(len(at))
    for i in range(len(at)):
        if not np.isfinite(seen[i]):
            continue
        row = rows[at[i]]
        row.head = _put(values[at[i]], row.head, seen[i])
        _keep_time(row, time_us[i])
        surprise = _surprise(p, row, usual[at[i]], spread[at[i]], values[at[i]], sums[at[i]])
        if row.points >= p.learn_points:
            quiet = row.points - row.alarm_at < p.peace + nb.int64(p.peace_share * row.points)
            if not quiet or surprise > row.alarm + p.worse:
                scores[i] = 1.0 / (1.0 + np.exp((p.alarm - surprise) / p.softness))
                if surprise >= p.alarm:
                    row.alarm_at = row.points
                    row.alarm = surprise
        row.points += 1
    return scores


def follow(p: Patterns, rows: Rows, at: Longs, time_us: Longs, seen: Floats) -> Floats:
    """`recall` on rows (changed in place) whose fields it finds itself."""
    return recall(
        p, rows, rows["usual"], rows["spread"], rows["values"], rows["sums"], at, time_us, seen
    )  # fmt: skip


def score_all(
    values: list[Floats], times_us: list[Longs] | None = None, p: Patterns | None = None
) -> list[Floats]:
    """Scores of whole series, each from nothing; without times no day is known, and stretches alone are compared."""
    p = p or Patterns()
    times_us = times_us or [np.zeros(len(each), np.int64) for each in values]
    return [
        follow(p, unknown(1, p), np.zeros(len(each), np.int64), times, each)
        for each, times in zip(values, times_us, strict=True)
    ]
