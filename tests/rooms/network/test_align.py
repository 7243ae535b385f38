"""Alignment: the written rules as a table, and that neither borders of batches nor order within lateness matter."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.plain_windows import (
    FORMULAS,
    PERIOD_US,
    TURN,
    Memory,
    PlainAlign,
    Reading,
    cut,
    measured,
)
from trunkline.network.align import ALIGNED, align
from trunkline.records.network import BINS, DUPLICATES, REJECTED, Counting, Flag

CUMULATIVE = Counting.CUMULATIVE
IN, HC = "IF.InOctets", "IF.HCInOctets"


def aligned(frames: list[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """All bins, duplicates and rejects of batches one after the other."""
    memory = Memory(ALIGNED)
    outcomes = [memory.run(align, frame, FORMULAS) for frame in frames]
    bins, duplicates, rejected = (
        pl.concat([outcome.rows[part] for outcome in outcomes]) for part in range(3)
    )
    return bins, duplicates, rejected


def cumulative(*steps: tuple[int, int], counter: str = IN) -> list[Reading]:
    """Readings of a router's counter: (number of period, value in thousandths)."""
    return [Reading("AR1", counter, at * PERIOD_US, value, 0, CUMULATIVE) for at, value in steps]


def at(period: int, value: int = 1_000, counter: str = "RRC.ConnEstabAtt", name: str = "C1") -> Reading:
    """A delta of a cell in the period that ends at `period`."""
    return Reading(name, counter, period * PERIOD_US, value)


@pytest.mark.parametrize(
    ("readings", "values", "flags"),
    [
        pytest.param([at(1), at(2, 5_000)], [1_000, 5_000], [0, 0], id="deltas stay as they are"),
        pytest.param([at(2), at(1)], [1_000, 1_000], [0, Flag.LATE], id="out of order within lateness"),
        pytest.param(
            [Reading("C1", "RRC.ConnEstabAtt", PERIOD_US + 7, 1_000)], [1_000], [Flag.SKEWED], id="off the grid"
        ),
        pytest.param(cumulative((1, 5_000), (2, 9_000)), [None, 4_000], [0, 0], id="the first has no difference"),
        pytest.param(
            cumulative((1, TURN - 1_000), (2, 3_000)), [None, 4_000], [0, Flag.WRAPPED], id="32 bits wrap"
        ),
        pytest.param(cumulative((1, 9_000), (2, 3_000)), [None, 3_000], [0, Flag.RESET], id="a reset begins at zero"),
        pytest.param(
            cumulative((1, TURN - 1_000), (2, 3_000), counter=HC), [None, 3_000], [0, Flag.RESET],
            id="64 bits do not wrap at 32",
        ),
        pytest.param(
            cumulative((1, 2**63 - 1_000), (2, 2_000 - 2**63), counter=HC), [None, 3_000], [0, Flag.WRAPPED],
            id="64 bits wrap by themselves",
        ),
        pytest.param(cumulative((1, 5_000), (4, 9_000)), [None, 4_000], [0, 0], id="a gap is one long bin"),
    ],
)  # fmt: skip
def test_what_becomes_a_bin(readings: list[Reading], values: list[int | None], flags: list[int]) -> None:
    """Each rule, by the bins it makes."""
    bins, duplicates, rejected = aligned([measured(readings)])
    assert bins["value_milli"].to_list() == values
    assert bins["flags"].to_list() == flags
    assert len(duplicates) == len(rejected) == 0


@pytest.mark.parametrize(
    ("readings", "duplicates", "reasons"),
    [
        pytest.param([at(1), at(1)], 1, [], id="the same again"),
        pytest.param([at(1), at(1, 7_000)], 0, ["conflict"], id="another value"),
        pytest.param([at(9), at(7), at(6)], 0, ["too_late"][:1] * 2, id="two periods behind is too late"),
        pytest.param([at(9, name="C1"), at(1, name="C2")], 0, [], id="lateness is each object's own"),
        pytest.param(
            [at(9), Reading("C1", "RRC.ConnEstabAtt", PERIOD_US, 1_000, slice=5)],
            0,
            [],
            id="and each slice's own",
        ),
        pytest.param(
            cumulative((1, 1_000), (3, 3_000), (2, 2_000)), 0, ["too_late"], id="between two readings"
        ),
        pytest.param([at(1, counter="Made.Up"), at(1, counter="Made.Up")], 1, [], id="counters nobody knows"),
        pytest.param([at(1, counter="Made.Up"), at(1, counter="Other")], 0, [], id="two of them"),
        pytest.param(
            [at(1), Reading("C1", "RRC.ConnEstabAtt", PERIOD_US, 1_000, slice=5)],
            0,
            [],
            id="a slice is another",
        ),
        pytest.param(
            [at(1), Reading("C1", "RRC.ConnEstabAtt", PERIOD_US, 1_000, five_qi=9)],
            0,
            [],
            id="a 5QI is another",
        ),
    ],
)
def test_what_is_set_aside(readings: list[Reading], duplicates: int, reasons: list[str]) -> None:
    """Each rule, by what it refuses; all rows are accounted for."""
    bins, twice, rejected = aligned([measured(readings)])
    assert len(twice) == duplicates
    assert rejected["reason"].to_list() == reasons
    assert bins["readings"].sum() + len(twice) + len(rejected) == len(readings)


def test_the_streams_keep_their_promise() -> None:
    """Frames have the columns and types of the records."""
    for frame, stream in zip(
        aligned([measured([at(1), at(1), at(1, 2)])]), (BINS, DUPLICATES, REJECTED), strict=True
    ):
        assert frame.schema == stream.record.schema


def test_a_reading_counts_from_the_one_before() -> None:
    """The bin of a cumulative counter lies between two readings."""
    bins, _, _ = aligned([measured(cumulative((1, 0), (3, 6_000)))])
    assert bins.select("begin_us", "end_us").rows()[1] == (PERIOD_US, 3 * PERIOD_US)


readings_strategy = st.lists(
    st.builds(
        lambda name, counter, period, value, slice_: Reading(
            name, counter, period * PERIOD_US, value * 1_000, 0 if counter == IN else PERIOD_US,
            CUMULATIVE if counter == IN else Counting.DELTA, slice_,
        ),
        st.sampled_from(["C1", "C2", "C3"]),
        st.sampled_from(["RRC.ConnEstabAtt", "RRC.ConnEstabSucc", IN, "Made.Up"]),
        st.integers(1, 9),
        st.one_of(st.integers(0, 3), st.integers(TURN // 1_000 - 3, TURN // 1_000 - 1)),
        st.sampled_from([0, 0, 7]),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(readings_strategy, st.lists(st.integers(0, 40), max_size=5))
def test_the_second_opinion_agrees_wherever_batches_end(readings: list[Reading], borders: list[int]) -> None:
    """One row at a time by the written rules gives the same verdicts and values, in whatever batches they come."""
    plain = PlainAlign(FORMULAS.lateness_us)
    verdicts = [plain.judge(reading) for reading in readings]
    frame = measured(readings)
    bins, duplicates, rejected = aligned(cut(frame, borders)) if len(frame) else aligned([frame])
    assert bins["value_milli"].to_list() == [value for verdict, value in verdicts if verdict == "bin"]
    assert bins["end_us"].to_list() == [
        reading.end_us for reading, (verdict, _) in zip(readings, verdicts, strict=True) if verdict == "bin"
    ]
    assert len(duplicates) == sum(verdict == "duplicate" for verdict, _ in verdicts)
    assert sorted(rejected["reason"]) == sorted(v for v, _ in verdicts if v in {"too_late", "conflict"})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_order_within_lateness_changes_no_bin(seed: int, periods: int) -> None:
    """Deltas delayed by less than the lateness give the same bins."""
    rng = np.random.default_rng(seed)
    readings = [at(n, n * 1_000, counter, name) for n in range(1, periods + 1) for name in ("C1", "C2")
                for counter in ("RRC.ConnEstabAtt", "RRC.ConnEstabSucc")]  # fmt: skip
    delay = rng.uniform(0, 2 * PERIOD_US - 1, len(readings))
    order = np.argsort([reading.end_us + late for reading, late in zip(readings, delay, strict=True)])
    bins, duplicates, rejected = aligned(
        cut(measured([readings[n] for n in order]), rng.integers(0, len(readings), 3).tolist())
    )
    columns = ["name", "counter", "end_us", "value_milli"]
    expected, _, _ = aligned([measured(readings)])
    assert bins.select(columns).sort(columns).equals(expected.select(columns).sort(columns))
    assert len(duplicates) == len(rejected) == 0


def test_replaying_makes_only_duplicates() -> None:
    """What comes again within the lateness makes no bin."""
    readings = [at(n, n * 1_000, counter) for n in (8, 9) for counter in ("RRC.ConnEstabAtt", "DRB.EstabAtt")]
    bins, duplicates, rejected = aligned([measured(readings), measured(readings)])
    assert len(bins) == len(duplicates) == 4
    assert len(rejected) == 0


def test_memory_stays_flat() -> None:
    """However long it goes on, an object is remembered by its newest bins only."""
    memory = Memory(ALIGNED)
    sizes = []
    for n in range(1, 200):
        memory.run(
            align,
            measured([at(n, 1, "RRC.ConnEstabAtt"), at(n, 1, "Made.Up"), *cumulative((n, n))]),
            FORMULAS,
        )
        sizes.append(sum(len(rows) for rows in memory.groups.values()))
    assert max(sizes) == sizes[-1] == sizes[10]


def test_differences_add_up_to_what_was_counted() -> None:
    """Without resets, the bins of a counter sum to its last reading less its first."""
    rng = np.random.default_rng(5)
    true = np.cumsum(rng.integers(0, 2**30, 60)) * 1_000
    readings = cumulative(*((n + 1, int(value) % TURN) for n, value in enumerate(true)))
    bins, _, _ = aligned([measured([before]) for before, _ in pairwise([*readings, readings[-1]])])
    assert bins["value_milli"].sum() == true[-1] - true[0]
