"""Agreements: budgets and burn rates by hand, and that neither batches nor repetitions spend twice."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.plain_windows import FORMULAS, PERIOD_US, Memory, cut
from trunkline.kernel.identity import name_words
from trunkline.network import sla
from trunkline.network.formula import FormulaError
from trunkline.records.network import ANOMALIES, BUCKET_SHIFT, KPIS, Scope, Severity
from trunkline.records.network_sums import BUDGETS

TEXT = """
Calls get through:
  {enterprise: Steel, slice: 2-000010, kpi: PDUSessionEstSR, share: 99.5, period_days: 30}
Fast enough:
  {enterprise: Games, area: North, kpi: DLDelay_Air, mark: 20, share: 99}
"""
AGREEMENTS = sla.parse_agreements(TEXT, FORMULAS)
SLICE = (2 << 24) | 0x10
HOUR = 120  # periods


def kpis(rows: list[tuple[int, int, int]], kpi: str = "PDUSessionEstSR") -> pl.DataFrame:
    """(end in periods, successes or value, attempts) of the slice or the area, in whole units."""
    of_slice = kpi == "PDUSessionEstSR"
    name = "S-NSSAI 2-000010" if of_slice else "North"
    object_ = int(name_words(pl.Series([name]))[0])
    frame = pl.DataFrame(
        {
            "begin_us": [(end - 1) * PERIOD_US for end, _, _ in rows],
            "end_us": [end * PERIOD_US for end, _, _ in rows],
            "value_milli": [good * 1_000 if every else None for _, good, every in rows],
            "numerator_milli": [good * 1_000 for _, good, _ in rows],
            "denominator_milli": [every * 1_000 for _, _, every in rows],
        },
        schema_overrides={"value_milli": pl.Int64},
    )
    return KPIS.record.conform(
        frame.with_columns(
            object=pl.lit(object_, pl.UInt64), name=pl.lit(name),
            scope=pl.lit(int(Scope.SLICE if of_slice else Scope.AREA)),
            slice=pl.lit(SLICE if of_slice else 0), kpi=pl.lit(kpi), bucket=pl.lit(object_ >> BUCKET_SHIFT, pl.UInt64),
        )
    )  # fmt: skip


def kept(frames: list[pl.DataFrame]) -> tuple[pl.DataFrame, Memory]:
    """The newest budget of each agreement, after batches."""
    memory = Memory(sla.SPENT)
    told = [memory.run(sla.keep, frame, AGREEMENTS, FORMULAS).rows[0] for frame in frames if len(frame)]
    return pl.concat(told).unique("name", keep="last", maintain_order=True), memory


def test_a_budget_is_what_remains_to_the_whole() -> None:
    """Half a percent of a month's 10,000 attempts may fail: 50; 20 did, so three fifths are left."""
    told, _ = kept([kpis([(1, 4_990, 5_000)]), kpis([(30 * 24 * HOUR, 4_990, 5_000)])])
    assert told.schema == BUDGETS.record.schema
    assert told.select("name", "enterprise", "good_milli", "bad_milli", "left_milli").rows() == [
        ("Calls get through", "Steel", 9_980_000, 20_000, 600)
    ]


def test_time_outside_the_mark_is_bad_time() -> None:
    """One of two windows is too slow: half a minute of the 432 minutes that a month's one percent has."""
    told, _ = kept([kpis([(1, 12, 1), (2, 45, 1)], "DLDelay_Air")])
    row = told.row(0, named=True)
    assert (row["good_milli"], row["bad_milli"]) == (30_000, 30_000)
    assert row["left_milli"] == 1_000 - 30_000 * 1_000 // (432 * 60_000)


def test_what_was_not_measured_spends_nothing() -> None:
    """A window without a value counts for neither side."""
    told, _ = kept([kpis([(1, 10, 10), (2, 0, 0)])])
    assert told.select("good_milli", "bad_milli").rows() == [(10_000, 0)]


@pytest.mark.parametrize(
    ("bad", "hours", "severity"),
    [
        (0, 7, Severity.CLEARED),
        (20, 7, Severity.CLEARED),
        (31, 7, Severity.MAJOR),
        (80, 2, Severity.CRITICAL),
    ],
)
def test_fast_burning_is_told(bad: int, hours: int, severity: Severity) -> None:
    """Of a thousand attempts a period, five may fail: burn rates of 0, 4, 6.2 and 16."""
    rows = [(n, 1_000 - bad, 1_000) for n in range(1, hours * HOUR + 1)]
    told, _ = kept([kpis(rows[first : first + HOUR]) for first in range(0, len(rows), HOUR)])
    row = told.row(0, named=True)
    assert row["severity"] == severity
    assert row["fast_milli"] == bad * 200
    assert abs(row["slow_milli"] - bad * 200) <= 1
    assert f"{bad / 5:.1f}" in row["text"]


def findings(frames: list[pl.DataFrame]) -> list[tuple[int, int, int]]:
    """Whether it ended, since when and when (in hours), of each finding, after batches."""
    memory = Memory(sla.SPENT)
    told = pl.concat([memory.run(sla.keep, frame, AGREEMENTS, FORMULAS).rows[1] for frame in frames])
    assert told.schema == ANOMALIES.record.schema
    assert (told["kind"] == "burn").all()
    hour_us = HOUR * PERIOD_US
    return [
        (ended, since // hour_us, at // hour_us)
        for ended, since, at in told.select("ended", "since_us", "time_us").rows()
    ]


def test_a_budget_that_burns_is_told_when_it_begins_grows_worse_and_ends() -> None:
    """Once each, with since when: burn rates of 12, of 18, and none for hours."""
    failed = [0] * 8 + [60] * 5 + [90, 90] + [0] * 8
    hours = [
        kpis([(hour * HOUR + n, 1_000 - bad, 1_000) for n in range(1, HOUR + 1)])
        for hour, bad in enumerate(failed)
    ]
    (major, critical, over) = findings(hours)
    assert (major[0], critical[0], over[0]) == (0, 0, 1)
    assert major[1] == critical[1] == over[1] == major[2]
    assert major[2] < critical[2] < over[2]
    assert (major[2], critical[2]) == (8 + 3, 8 + 6), "half of six hours at 12; the first hour at 18"
    assert findings(hours[:8]) == []


def test_what_was_loosened_no_longer_burns() -> None:
    """A promise that is changed is judged as it stands: what was told is over with the next window."""
    hours = [kpis([(hour * HOUR + n, 700, 1_000) for n in range(1, HOUR + 1)]) for hour in range(3)]
    memory = Memory(sla.SPENT)
    (_, told) = memory.run(sla.keep, hours[0], AGREEMENTS, FORMULAS).rows
    assert told["ended"].to_list() == [0]
    assert told["text"][0].startswith(
        "The error budget of Calls get through burns too fast or is spent. Steel: "
    )
    loose = sla.parse_agreements(TEXT.replace("share: 99.5", "share: 50"), FORMULAS)
    (_, told) = memory.run(sla.keep, hours[1], loose, FORMULAS).rows
    assert told["ended"].to_list() == [1]
    (_, told) = memory.run(sla.keep, hours[2], AGREEMENTS, FORMULAS).rows
    assert told["ended"].to_list() == [0]


def test_a_short_fright_is_not_told() -> None:
    """Ten bad minutes within good hours do not burn for an hour."""
    rows = [(n, 700 if 200 < n <= 203 else 1_000, 1_000) for n in range(1, 321)]
    told, _ = kept([kpis(rows)])
    assert told["severity"].to_list() == [Severity.CLEARED]


def test_a_window_told_again_replaces_itself() -> None:
    """An area that is told once more does not spend twice."""
    told, _ = kept([kpis([(1, 90, 100)]), kpis([(1, 95, 110)])])
    assert told.select("good_milli", "bad_milli").rows() == [(95_000, 15_000)]


def test_other_kpis_are_not_looked_at() -> None:
    """Only what an agreement speaks of is counted."""
    memory = Memory(sla.SPENT)
    other = kpis([(1, 1, 2)]).with_columns(kpi=pl.lit("GRANHOSR"))
    assert len(memory.run(sla.keep, other, AGREEMENTS, FORMULAS).rows[0]) == 0
    assert len(memory.run(sla.keep, kpis([(1, 1, 2)]), sla.Agreements(), FORMULAS).rows[0]) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 900), max_size=4))
def test_borders_of_batches_spend_nothing(seed: int, borders: list[int]) -> None:
    """The same sums whether windows are kept singly or folded into minutes and days."""
    rng = np.random.default_rng(seed)
    rows = [(n * 11, int(rng.integers(0, 50)), 50) for n in range(1, 901)]
    one, _ = kept([kpis(rows)])
    other, memory = kept(cut(kpis(rows), borders))
    columns = ["good_milli", "bad_milli", "left_milli", "time_us"]
    assert one.select(columns).equals(other.select(columns))
    assert one["good_milli"].item() == sum(good for _, good, _ in rows) * 1_000
    assert sum(len(kept_rows) for kept_rows in memory.groups.values()) < 900


def test_what_leaves_the_period_is_forgotten() -> None:
    """After forty days, a bad first day is no longer held against anybody."""
    day = 2_880
    told, memory = kept([kpis([(1, 0, 100)]), *(kpis([(n * day, 100, 100)]) for n in range(1, 41))])
    assert told["bad_milli"].to_list() == [0]
    assert sum(len(rows) for rows in memory.groups.values()) <= 31


MISTAKES = [
    ("share: 99.5", "share: 100", "3: Calls get through: share must be"),
    ("slice: 2-000010", "slice: two", "slice must be written like"),
    ("slice: 2-000010, ", "", "either slice or area"),
    ("kpi: PDUSessionEstSR", "kpi: Joy", "kpi must be one of"),
    ("mark: 20, ", "", "a mark must be told"),
    ("enterprise: Steel", "enterprize: Steel", "'enterprize' is unknown"),
    ("period_days: 30", "period_days: 0", "period_days must be"),
    ("mark: 20", "mark: fast", "mark must be a number"),
    ("kpi: DLDelay_Air", "kpi: DLVolume", "neither good nor bad"),
    ("{enterprise: Games", "[{enterprise: Games", "expected"),
]


@pytest.mark.parametrize(("before", "after", "told"), MISTAKES, ids=[f"{n}" for n in range(len(MISTAKES))])
def test_each_mistake_is_told(before: str, after: str, told: str) -> None:
    """Line, agreement and what is wrong."""
    assert before in TEXT
    with pytest.raises(FormulaError) as caught:
        sla.parse_agreements(TEXT.replace(before, after, 1), FORMULAS)
    assert told.removeprefix("3: ") in str(caught.value)


def test_no_agreements_are_agreements() -> None:
    """An empty file promises nothing; a list is no mapping."""
    assert sla.parse_agreements("", FORMULAS).all == ()
    with pytest.raises(FormulaError):
        sla.parse_agreements("- 1", FORMULAS)
