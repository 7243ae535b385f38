"""What the detector tells, as a table with its why; batches, order and replays change nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.detect.plain_bands import PlainSeries
from tests.rooms.network.detect.watching import MONDAY_US, Watched, busy, days, kpi_frame, told
from trunkline.network.detect.models import Models
from trunkline.records.network import ANOMALIES

CHANGES = ("begun", "back", "accepted")


def happening(values: list[float], at: int, change: Callable[[float, int], float], lasts: int) -> list[float]:
    """The values with something happening to them."""
    changed = list(values)
    for step in range(min(lasts, len(values) - at)):
        changed[at + step] = change(values[at + step], step)
    return changed


# Two weeks of a cell, then on Tuesday at 15:00: what happens, for how many periods of five minutes, what is told.
NOON = 288 * 15 + 180
CASES = [
    ("nothing", lambda v, _: v, 0, []),
    ("traffic dies", lambda _v, _: 0.0, 24, [("collapse", 0), ("collapse", 1)]),
    ("a little is left", lambda v, _: v * 0.05, 24, [("collapse", 0), ("collapse", 1)]),
    ("a peak of one period", lambda v, _: v * 4, 1, [("spike", 0), ("spike", 1)]),
    ("half an hour of crowd", lambda v, _: v * 2.5, 6, [("spike", 0), ("spike", 1)]),
    ("half is lost", lambda v, _: v * 0.4, 12, [("dip", 0), ("dip", 1)]),
    ("an eighth more for hours", lambda v, _: v * 1.13, 60, [("level_shift", 0), ("level_shift", 1)]),
]


@pytest.mark.parametrize(("what", "change", "lasts", "expected"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("seed", range(3))
def test_each_kind_is_told_once_and_its_end(
    what: str,
    change: Callable[[float, int], float],
    lasts: int,
    expected: list[tuple[str, int]],
    seed: int,
) -> None:
    """What happens to a cell is told under its name, once, and its end once; noise is not told."""
    values = happening(days(17, busy, seed), NOON, change, lasts)
    anomalies = Watched().detect(kpi_frame("Site/Cell", values))
    assert told(anomalies) == expected, (what, anomalies)
    for row in anomalies.iter_rows(named=True):
        assert abs(row["since_us"] - (MONDAY_US + NOON * 300_000_000)) <= 12 * 300_000_000, row
        assert row["text"].endswith("UTC."), row


def test_an_outage_is_told_within_its_first_period() -> None:
    """Traffic that dies at a busy hour is told with the first period without it."""
    values = happening(days(17, busy, 5), NOON, lambda _v, _: 0.0, 50)
    first = Watched().detect(kpi_frame("Site/Cell", values)).row(0, named=True)
    assert first["time_us"] == MONDAY_US + (NOON + 1) * 300_000_000
    assert first["since_us"] == MONDAY_US + NOON * 300_000_000


@pytest.mark.parametrize("seed", range(3))
def test_sleep_in_a_quiet_hour_is_told_within_a_quarter_of_an_hour(seed: int) -> None:
    """Load that is a quarter of the day's and dies is far inside the band; once its week is known it adds up."""
    chance = np.random.default_rng(seed)
    levels = [(20.0 if 8 <= hour < 16 else 5.0) * chance.normal(1, 0.05) for hour in range(8 * 24)]
    values = [max(0.0, levels[at // 120] + chance.normal(0, 0.3)) for at in range(8 * 2_880)]
    asleep = 7 * 2_880 + 18 * 120 + 30
    values = happening(values, asleep, lambda _v, _: 0.1, 240)
    anomalies = Watched().detect(kpi_frame("Site/Cell", values, period_s=30)).filter(kind="collapse", ended=0)
    (first, *_) = anomalies["time_us"].to_list()
    assert MONDAY_US + asleep * 30_000_000 < first <= MONDAY_US + (asleep + 30) * 30_000_000


def test_a_second_outage_is_told_like_the_first() -> None:
    """That a cell died last week does not make it usual."""
    values = happening(days(24, busy, 6), NOON, lambda _v, _: 0.0, 30)
    values = happening(values, NOON + 7 * 288, lambda _v, _: 0.0, 30)
    assert told(Watched().detect(kpi_frame("Site/Cell", values))) == [("collapse", 0), ("collapse", 1)] * 2


@pytest.mark.parametrize("growth", [0.0, 0.01])
def test_an_outage_of_the_first_day_ends_when_it_ends(growth: float) -> None:
    """What is expected has followed the outage for a part of the way, and a morning has grown meanwhile: it is over."""
    values = [100.0 * (1 + growth * max(0, step - 50)) for step in range(120)]
    values = happening(values, 60, lambda _v, _: 0.0, 20)
    anomalies = Watched().detect(kpi_frame("Site/Cell", values))
    assert told(anomalies) == [("collapse", 0), ("collapse", 1)]
    assert anomalies["time_us"][1] == MONDAY_US + (80 + 3) * 300_000_000
    assert "back" in anomalies["text"][1]


def test_a_second_outage_of_the_first_days_is_told_like_the_first() -> None:
    """What came back from nothing has not been lived with: the next outage is as far out as the first."""
    values = days(3, busy, 4)
    for at in (100, 288 + 150):
        values = happening(values, at, lambda _v, _: 0.0, 40)
    anomalies = Watched().detect(kpi_frame("Site/Cell", values))
    assert told(anomalies) == [("collapse", 0), ("collapse", 1)] * 2


def test_a_dip_that_turns_into_a_crowd_is_over_and_the_crowd_is_told() -> None:
    """What was too low and is too high is another thing, told as such."""
    values = happening(days(17, busy, 3), NOON, lambda v, _: v * 0.4, 12)
    values = happening(values, NOON + 12, lambda v, _: v * 3, 12)
    assert told(Watched().detect(kpi_frame("Site/Cell", values))) == [
        ("dip", 0), ("dip", 1), ("spike", 0), ("spike", 1),
    ]  # fmt: skip


def test_a_slow_drift_is_told_as_one() -> None:
    """What moves away from its week little by little is told as a drift."""
    values = happening(days(40, busy, 7, 0.03), 21 * 288, lambda v, step: v + step * 0.012, 19 * 288)
    assert ("drift", 0) in told(Watched().detect(kpi_frame("Site/Cell", values)))


def test_a_new_level_becomes_what_is_expected() -> None:
    """After a day at its new level a series is told to have settled, and is quiet there."""
    values = happening(days(21, lambda _h, _d: 50.0, 8), 288 * 16, lambda v, _: v + 40, 5 * 288)
    anomalies = Watched().detect(kpi_frame("Site/Cell", values))
    assert told(anomalies) == [("spike", 0), ("spike", 1)]
    assert "from now on" in anomalies["text"][1]


def test_why_is_a_sentence_with_what_was_expected() -> None:
    """The sentence names the KPI, the object, what was seen, the expected range and since when."""
    values = happening(days(17, lambda _h, _d: 50.0, 9, 0.02), NOON, lambda _v, _: 0.0, 10)
    row = Watched().detect(kpi_frame("Kiel-7/Cell-2", values)).row(0, named=True)
    low, high = row["low_milli"] / 1000, row["high_milli"] / 1000
    assert row["text"] == (
        f"DLVolume of Kiel-7/Cell-2 has collapsed to 0, where {low:g} to {high:g} is expected, "
        "since 2026-01-20 15:00:00 UTC."
    )
    assert 40 < low < 50 < high < 60
    assert 500 <= row["score_milli"] <= 1000


@pytest.mark.parametrize("level", [0.0, 99.997, 3.3e7, 9.1e11])
def test_large_and_steady_numbers_are_followed_like_small_ones(level: float) -> None:
    """What hardly ever changes, however large, is expected as it is; and its collapse is told."""
    values = days(9, lambda _h, _d: level, 3, 1e-9)
    watched = Watched()
    assert told(watched.detect(kpi_frame("A", values))) == []
    later = MONDAY_US + 9 * 86_400_000_000
    fallen = watched.detect(kpi_frame("A", [0.0] * 4, start_us=later))
    assert told(fallen) == ([("collapse", 0)] if level else [])


def test_nothing_is_told_before_enough_was_seen() -> None:
    """A series that has just begun is not told off for beginning."""
    wild = np.random.default_rng(3).lognormal(3, 2, 31).tolist()
    assert told(Watched().detect(kpi_frame("New", wild))) == []


def test_kpis_without_a_value_move_nothing() -> None:
    """A zero denominator is no zero: the series is where it was."""
    values: list[float | None] = [50.0, 51.0, 49.0, 50.0] * 20
    holes = [each for value in values for each in (value, None)]
    with_holes, without = Watched(), Watched()
    with_holes.detect(kpi_frame("A", holes, period_s=300))
    frame = kpi_frame("A", holes, period_s=300)
    without.detect(frame.filter(pl.col("value_milli").is_not_null()))
    assert all((with_holes.series.groups[key] == rows).all() for key, rows in without.series.groups.items())


def test_few_events_make_no_anomaly() -> None:
    """One missed call of two at night is no anomaly; the same share of many calls is one."""
    rng = np.random.default_rng(11)

    def rates(calls: int) -> pl.DataFrame:
        attempts = np.full(17 * 288, calls)
        missed = rng.binomial(attempts, 0.01)
        missed[NOON] = calls // 2
        return kpi_frame("Site/Cell", (100 * missed / attempts).tolist(), kpi="MissedCallRate").with_columns(
            numerator_milli=pl.Series(missed * 1000), denominator_milli=pl.Series(attempts * 1000)
        )

    assert told(Watched().detect(rates(2))) == []
    assert ("spike", 0) in told(Watched().detect(rates(400)))


def many(seed: int, count: int = 12) -> pl.DataFrame:
    """Some series of several days with things happening to them, by time."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        values = days(9, busy, seed * 100 + number, 0.08)
        for _ in range(4):
            at, factor = int(rng.integers(300, len(values))), float(rng.choice([0.0, 0.3, 1.3, 2.0, 5.0]))
            values = happening(values, at, lambda v, _, f=factor: v * f, int(rng.integers(1, 400)))  # type: ignore[misc]
        frame = kpi_frame(f"Site{number % 4}/Cell{number}", values, kpi=f"Kpi{number % 3}")
        if number % 3 == 0:  # a quotient of events, few at night
            frame = frame.with_columns(
                numerator_milli=pl.col("value_milli") // 10, denominator_milli=pl.lit(10_000, dtype=pl.Int64)
            )
        frames.append(frame)
    return pl.concat(frames).sort("end_us", maintain_order=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 5), st.lists(st.integers(1, 31_000), max_size=12))
def test_batches_change_nothing(seed: int, cuts: list[int]) -> None:
    """Wherever the stream is cut into batches, the same is told and the same is remembered."""
    frame = many(seed)
    whole, parts = Watched(), Watched()
    expected = whole.detect(frame)
    edges = sorted({0, len(frame), *(cut for cut in cuts if cut < len(frame))})
    pieces = [parts.detect(frame[a:b]) for a, b in pairwise(edges)]
    key = ["time_us", "object", "kpi", "ended", "kind"]
    assert pl.concat(pieces).sort(key).equals(expected.sort(key))
    for bucket, rows in whole.series.groups.items():
        other = parts.series.groups[bucket]
        assert (np.sort(rows, order="series") == np.sort(other, order="series")).all()


def test_a_replay_tells_nothing_twice() -> None:
    """A batch that comes again is passed over, and changes nothing that is remembered."""
    frame, watched = many(1), Watched()
    assert len(watched.detect(frame)) > 10
    before = {key: rows.copy() for key, rows in watched.series.groups.items()}
    assert watched.detect(frame).equals(ANOMALIES.record.empty())
    assert all((watched.series.groups[key] == rows).all() for key, rows in before.items())


def test_nothing_ahead_is_looked_at() -> None:
    """What is told of a day does not depend on the days after it."""
    frame = many(2)
    day = MONDAY_US + 6 * 86_400_000_000
    early = frame.filter(pl.col("end_us") <= day)
    key = ["time_us", "object", "kpi", "ended", "kind"]
    later = Watched().detect(frame).filter(pl.col("time_us") <= day)
    assert Watched().detect(early).sort(key).equals(later.sort(key))


@pytest.mark.parametrize("seed", range(6))
def test_a_second_opinion_agrees(seed: int) -> None:
    """A plain and slow reading of the rules, one series at a time, tells the same of every value."""
    frame = many(seed + 20, 6)
    mine = [
        (row["time_us"], row["object"], row["kpi"], row["ended"], row["kind"], row["since_us"])
        for row in Watched().detect(frame).iter_rows(named=True)
    ]
    plain: dict[tuple[int, str], PlainSeries] = {}
    theirs = []
    for row in frame.iter_rows(named=True):
        series = plain.setdefault((row["object"], row["kpi"]), PlainSeries())
        changes = series.see(
            row["begin_us"],
            row["end_us"],
            row["value_milli"] / 1000,
            (row["numerator_milli"] or 0) / 1000,
            (row["denominator_milli"] or 0) / 1000,
        )
        for change, kind, since_us in changes:
            theirs.append((row["end_us"], row["object"], row["kpi"], int(change != "begun"), kind, since_us))
    assert len(mine) > 4
    assert sorted(mine) == sorted(theirs)


def test_series_do_not_know_each_other() -> None:
    """What is told of one series does not depend on which others are watched."""
    frame = many(4)
    one = frame.filter(pl.col("name") == frame["name"][0])
    key = ["time_us", "kpi", "ended", "kind"]
    among = Watched().detect(frame).filter(pl.col("name") == frame["name"][0])
    assert Watched(Models()).detect(one).sort(key).equals(among.sort(key))
