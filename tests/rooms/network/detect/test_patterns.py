"""The deeper detector sees each value once and in order, notices what never was, and agrees with a plain second
opinion.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.network.detect.patterns import LENGTHS, Patterns, follow, score_all, unknown

Floats = npt.NDArray[np.float64]
SMALL = Patterns(remembered=300)
TIMES = np.arange(3000) * 900_000_000  # a day has 96 values


def series(seed: int, count: int = 900) -> Floats:
    """A rhythm with noise, and something odd now and then."""
    rng = np.random.default_rng(seed)
    values = 50 + 20 * np.sin(np.arange(count) * 2 * np.pi / 96) + rng.normal(0, 2, count)
    for _ in range(4):
        at = int(rng.integers(200, count - 20))
        values[at : at + int(rng.integers(1, 20))] += float(rng.choice([-60, -30, 30, 60]))
    return values


def plainly(values: list[float], p: Patterns, day: int) -> list[float]:
    """The same from the rules alone: every distance added up anew, with lists and loops; `day` is a day's values."""
    judged = [*((length, 0) for length in LENGTHS), (16, day)]
    usual = dict.fromkeys(judged, 0.0)
    spread = dict.fromkeys(judged, 0.0)
    scores, alarm_at, alarm = [], -math.inf, 0.0
    for now in range(len(values)):
        share = max(p.fade, 1 / (now + 1))
        total = 0.0
        for each in judged:
            distance = nearest(values, now, each[0], each[1], p) ** p.power
            away = p.low
            if now >= p.learn_points and distance > 0 and spread[each] > 0:
                away = (distance - usual[each]) / math.sqrt(spread[each])
            total += math.exp(min(max(away, p.low), p.high))
            apart = distance - usual[each]
            spread[each] = (1 - share) * (spread[each] + share * apart**2)
            usual[each] += share * apart
        surprise = math.log(total / len(judged))
        quiet = now - alarm_at < p.peace + int(p.peace_share * now)
        score = 0.0
        if now >= p.learn_points and (not quiet or surprise > alarm + p.worse):
            score = 1 / (1 + math.exp((p.alarm - surprise) / p.softness))
            if surprise >= p.alarm:
                alarm_at, alarm = now, surprise
        scores.append(score)
    return scores


def nearest(values: list[float], now: int, length: int, day: int, p: Patterns) -> float:
    """Root mean square distance of the last stretch to the nearest remembered one; 0 where there is none.

    With a `day`, only stretches of about the same time of day are compared.
    """
    if day:
        lags = [
            lag
            for lag in range(length, min(now - length + 1, p.remembered) + 1)
            if lag >= day - 3 and min(lag % day, -lag % day) <= 3
        ]
    else:
        lags = list(range(max(p.nearest, length), min(now - length + 1, p.remembered) + 1))
    distances = [
        sum((values[now - at] - values[now - at - lag]) ** 2 for at in range(length)) / length for lag in lags
    ]
    return math.sqrt(min(distances, default=0.0))


@pytest.mark.parametrize("seed", range(3))
def test_a_second_opinion_agrees(seed: int) -> None:
    """Distances that move along with each value are those that are added up anew."""
    values = series(seed, 500)
    ours = score_all([values], [TIMES[:500]], SMALL)[0]
    assert np.allclose(ours, plainly(values.tolist(), SMALL, 96), atol=1e-6)
    assert (ours >= 0.5).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.lists(st.integers(1, 899), max_size=8))
def test_cuts_change_nothing(seed: int, cuts: list[int]) -> None:
    """Wherever a series is cut, and whatever other series come between, its scores are the same."""
    values, other = series(seed), series(seed + 1)
    rows = unknown(2, SMALL)
    scores = []
    edges = [0, *sorted(set(cuts)), 900]
    for first, last in pairwise(edges):
        both = np.column_stack([values[first:last], other[first:last]]).ravel()
        at = np.tile(np.array([0, 1]), last - first)
        scores.append(follow(SMALL, rows, at, np.repeat(TIMES[first:last], 2), both)[::2])
    assert (np.concatenate(scores) == score_all([values], [TIMES[:900]], SMALL)[0]).all()


def test_nothing_ahead_is_looked_at() -> None:
    """The scores of a beginning do not depend on how it goes on."""
    values = series(7)
    early = score_all([values[:600]], [TIMES[:600]], SMALL)[0]
    whole = score_all([values], [TIMES[:900]], SMALL)[0]
    assert (early == whole[:600]).all()


@pytest.mark.parametrize(("factor", "added"), [(1000.0, 0.0), (1e-6, 0.0), (1.0, 1e5), (-3.0, 20.0)])
def test_units_do_not_matter(factor: float, added: float) -> None:
    """Octets or megabytes, Celsius or Kelvin: the same series has the same alarms."""
    values = series(3)
    scores, scaled = score_all([values, values * factor + added], p=SMALL)
    assert np.allclose(scores, scaled, atol=1e-3)


def test_what_never_was_is_noticed_and_what_returns_is_not() -> None:
    """A flat stretch in a rhythm is told; the rhythm itself is not, nor the noise on it."""
    rng = np.random.default_rng(5)
    clean = 50 + 20 * np.sin(np.arange(3000) * 2 * np.pi / 96) + rng.normal(0, 1, 3000)
    flat = clean.copy()
    flat[2000:2050] = 70.0
    quiet, told = score_all([clean, flat])
    assert not (quiet[500:] >= 0.5).any()
    assert (told[2000:2100] >= 0.5).any()


def test_a_missing_rise_is_noticed() -> None:
    """What is usual by itself, but not at this time of day, is told: a morning on which nothing rises."""
    rng = np.random.default_rng(6)
    work = (np.arange(3000) % 96 >= 36) & (np.arange(3000) % 96 < 72)
    usual = 20 + 60 * work + rng.normal(0, 1, 3000)
    missing = usual.copy()
    missing[96 * 25 : 96 * 26] = 20 + rng.normal(0, 1, 96)
    quiet, told = score_all([usual, missing], [TIMES, TIMES])
    assert not (quiet[500:] >= 0.5).any()
    assert (told[96 * 25 + 36 : 96 * 25 + 48] >= 0.5).any()


def test_odd_values_break_nothing() -> None:
    """Values that are no numbers score nothing, are not remembered, and do no harm."""
    values = series(9)
    holes = np.insert(values, [100, 400, 800], [np.nan, np.inf, -np.inf])
    scores = score_all([holes], p=SMALL)[0]
    assert (scores[[100, 401, 802]] == 0).all()
    assert (np.delete(scores, [100, 401, 802]) == score_all([values], p=SMALL)[0]).all()
    assert (score_all([np.full(500, 3.0)], p=SMALL)[0] < 0.5).all()
    assert score_all([np.empty(0)], p=SMALL)[0].size == 0


def test_roundings_do_not_pile_up() -> None:
    """After one value a thousand million times too large, distances are right again within the memory's length."""
    values = series(4, 1500)
    values[300] *= 1e9
    rows = unknown(1, SMALL)
    follow(SMALL, rows, np.zeros(1500, np.int64), TIMES[:1500], values)
    for which, length in enumerate(LENGTHS):
        for lag in (length, 100, 250):
            exact = sum((values[1499 - at] - values[1499 - at - lag]) ** 2 for at in range(length))
            assert abs(rows["sums"][0, which, lag] - exact) <= 1e-6 * exact + 1e-6
