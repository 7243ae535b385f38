"""KPIs of cells and of larger things: whole windows at once, incomplete ones at last, and the same in any batches."""

from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.plain_windows import (
    FORMULAS,
    PERIOD_US,
    Memory,
    Reading,
    cut,
    measured,
    pair_of,
    plain_kpis,
    value_of,
)
from trunkline.kernel.grouped import Grouped
from trunkline.network import kpi as kpis
from trunkline.network import rollup
from trunkline.network.align import ALIGNED, align
from trunkline.network.formula import Form
from trunkline.network.inventory import Inventory, read_inventory
from trunkline.records.network import BUCKETS, KPIS, PULSES, Scope
from trunkline.records.network_sums import LATE_PARTS, PARTS

ATT, SUCC = "RRC.ConnEstabAtt", "RRC.ConnEstabSucc"
INVENTORY = read_inventory(
    {
        "cells.csv": b"cell,technology,latitude,longitude,area\n"
        b"C1,NR,52,13,North\nC2,NR,52,13,North\nC3,LTE,48,11,South\n",
        "areas.csv": b"area,parent\nNorth,Country\nSouth,Country\nCountry,\n",
    }
)


class Way:
    """The steps from measurements to KPIs, as the map has them."""

    def __init__(self, inventory: Inventory = INVENTORY) -> None:
        """Begin with nothing."""
        self.inventory = inventory
        self.aligned, self.windows, self.sums = Memory(ALIGNED), Memory(kpis.WINDOWS), Memory(rollup.SUMS)
        self.told: list[pl.DataFrame] = [KPIS.record.empty()]
        self.late: list[pl.DataFrame] = [LATE_PARTS.record.empty()]

    def take(self, frame: pl.DataFrame) -> None:
        """One batch of measurements."""
        bins = self.aligned.run(align, frame, FORMULAS).rows[0]
        if len(bins):
            cells, parts = self.windows.run(kpis.tell, bins, FORMULAS, self.inventory).rows
            self.told.append(cells)
            self.add(parts)

    def add(self, parts: pl.DataFrame) -> None:
        """Parts of larger things."""
        if len(parts):
            larger, late = self.sums.run(rollup.add_up, parts, FORMULAS, self.inventory).rows
            self.told.append(larger)
            self.late.append(late)

    def pulse(self, time_us: int) -> None:
        """The data's clock."""
        pulses = PULSES.record.conform(
            pl.DataFrame({"bucket": np.arange(BUCKETS, dtype=np.uint64)})
        ).with_columns(time_us=pl.lit(time_us))
        self.told += self.windows.run(kpis.flush, pulses, FORMULAS, self.inventory).rows
        self.told += self.sums.run(rollup.settle, pulses, FORMULAS, self.inventory).rows

    def rows(self) -> pl.DataFrame:
        """All that was told; of what was told twice, the later row."""
        every = pl.concat(self.told)
        return every.unique(
            ["object", "slice", "kpi", "begin_us", "end_us"], keep="last", maintain_order=True
        )

    def values(self, name: str, kpi: str) -> list[tuple[int, int | None, int]]:
        """(end in periods, value, missing) of one KPI of one object."""
        rows = self.rows().filter(name=name, kpi=kpi, slice=0).sort("end_us")
        return [(end // PERIOD_US, value, missing) for end, value, missing in
                rows.select("end_us", "value_milli", "missing").iter_rows()]  # fmt: skip


def at(period: int, counter: str, value: int, name: str = "C1", slice_: int = 0) -> Reading:
    """A delta, in whole units."""
    return Reading(name, counter, period * PERIOD_US, value * 1_000, slice=slice_)


def test_a_whole_window_is_told_at_once() -> None:
    """Both counters are there: nothing is waited for, and nothing is kept."""
    way = Way()
    way.take(measured([at(1, "MM.HoExeInterReq", 4), at(1, "MM.HoExeInterSucc", 3)]))
    assert way.values("C1", "GRANHOSR") == [(1, 75_000, 0)]
    assert sum(len(rows) for rows in way.windows.groups.values()) == 0


def test_a_zero_denominator_gives_no_value_and_misses_nothing() -> None:
    """Nobody tried: that is no failure and no gap."""
    way = Way()
    way.take(measured([at(1, ATT, 0), at(1, SUCC, 0)]))
    assert way.values("C1", "RRCConnEstabSR") == [(1, None, 0)]


def test_a_product_says_on_how_little_it_stands() -> None:
    """One bearer that was asked for and refused is one event, however many connections stood before it."""
    way = Way()
    asked = {ATT: 100, SUCC: 100, "UECNTX.ConnEstabAtt": 50, "UECNTX.ConnEstabSucc": 50,
             "DRB.EstabAtt": 4, "DRB.EstabSucc": 3}  # fmt: skip
    way.take(measured([at(1, counter, value) for counter, value in asked.items()]))
    way.pulse(3 * PERIOD_US)
    for name in ("C1", "North"):
        told = way.rows().filter(name=name, kpi="DRBAccessibility")
        assert told.select("value_milli", "numerator_milli", "denominator_milli").rows() == [
            (75_000, 3_000, 4_000)
        ], name


def test_the_rest_of_a_window_may_come_in_another_batch() -> None:
    """Half a window waits for the other half."""
    way = Way()
    way.take(measured([at(1, ATT, 4)]))
    assert way.values("C1", "RRCConnEstabSR") == []
    way.take(measured([at(1, SUCC, 1)]))
    assert way.values("C1", "RRCConnEstabSR") == [(1, 25_000, 0)]


def test_what_stays_incomplete_is_told_when_its_object_has_gone_on() -> None:
    """One of two bins is missing, and the row says so; a KPI without any bin is not told."""
    way = Way()
    way.take(measured([at(1, ATT, 4), at(2, ATT, 5), at(2, SUCC, 5), at(3, ATT, 5), at(3, SUCC, 5)]))
    assert way.values("C1", "RRCConnEstabSR") == [(1, None, 1), (2, 100_000, 0), (3, 100_000, 0)]
    assert way.values("C1", "GRANHOSR") == []


def test_what_a_silent_object_left_is_told_by_the_clock_and_again_when_the_rest_comes() -> None:
    """The later row counts; the clock tells an incomplete window once only."""
    way = Way()
    way.take(measured([at(1, ATT, 4)]))
    way.pulse(-PERIOD_US)
    assert way.values("C1", "RRCConnEstabSR") == []
    way.pulse(5 * PERIOD_US)
    way.pulse(6 * PERIOD_US)
    assert way.values("C1", "RRCConnEstabSR") == [(1, None, 1)]
    assert len(pl.concat(way.told).filter(kpi="RRCConnEstabSR", scope=1)) == 1
    way.take(measured([at(1, SUCC, 3)]))
    assert way.values("C1", "RRCConnEstabSR") == [(1, 75_000, 0)]


def test_short_bins_are_gathered_and_missing_ones_counted() -> None:
    """Bins of ten seconds make a window of thirty; two of three came."""
    way = Way()
    third = PERIOD_US // 3
    bins = [Reading("C1", counter, n * third, 1_000 * n, third) for n in (1, 3, 4, 5, 6, 10, 11, 12, 13)
            for counter in (ATT, SUCC)]  # fmt: skip
    way.take(measured(bins))
    assert way.values("C1", "ConnAttempts")[:2] == [(1, 4_000, 1), (2, 15_000, 0)]
    assert way.values("C1", "RRCConnEstabSR")[:2] == [(1, 100_000, 2), (2, 100_000, 0)]


def test_long_bins_are_windows_of_their_own() -> None:
    """A quarter of an hour stays one."""
    way = Way()
    long = [Reading("C1", counter, 900_000_000, 9_000, 900_000_000) for counter in (ATT, SUCC)]
    way.take(measured(long))
    row = way.rows().filter(name="C1", kpi="RRCConnEstabSR")
    assert row.select("begin_us", "end_us", "value_milli").rows() == [(0, 900_000_000, 100_000)]


def test_a_slice_has_kpis_of_its_own() -> None:
    """The cell in the slice, and the slice over all cells."""
    way = Way()
    way.take(
        measured(
            [
                at(1, counter, value, name, 5)
                for name, value in (("C1", 2), ("C2", 6))
                for counter in (ATT, SUCC)
            ]
        )
    )
    way.pulse(9 * PERIOD_US)
    rows = (
        way.rows()
        .filter(kpi="ConnAttempts")
        .select("name", "scope", "slice", "value_milli")
        .sort("name")
        .rows()
    )
    assert rows == [
        ("C1", Scope.CELL, 5, 2_000), ("C2", Scope.CELL, 5, 6_000), ("S-NSSAI 0-000005", Scope.SLICE, 5, 8_000)
    ]  # fmt: skip


def test_areas_add_numerators_and_denominators() -> None:
    """90 of 100 and 1 of 10 are 91 of 110, not the mean of two percentages."""
    way = Way()
    way.take(measured([at(1, ATT, 100), at(1, SUCC, 90), at(1, ATT, 10, "C2"), at(1, SUCC, 1, "C2")]))
    assert way.values("North", "RRCConnEstabSR") == [(1, 82_727, 0)]
    assert way.values("South", "RRCConnEstabSR") == []
    way.pulse(3 * PERIOD_US)
    for name in ("Country", "NR", "network"):
        assert way.values(name, "RRCConnEstabSR") == [(1, 82_727, 0)], name


def test_an_area_is_told_again_when_a_cell_comes_late() -> None:
    """Told by the clock with what is there, told once more with the rest."""
    way = Way()
    way.take(measured([at(1, ATT, 100)]))
    way.pulse(3 * PERIOD_US)
    assert way.values("North", "ConnAttempts") == [(1, 100_000, 0)]
    way.take(measured([at(1, ATT, 11, "C2")]))
    assert way.values("North", "ConnAttempts") == [(1, 111_000, 0)]


def test_what_comes_after_a_quarter_of_an_hour_is_set_aside() -> None:
    """It is in its cell's KPIs, and accounted for as late for the area."""
    way = Way()
    way.take(measured([at(100, ATT, 1)]))
    way.take(measured([at(1, ATT, 7, "C2")]))
    assert way.values("C2", "ConnAttempts") == [(1, 7_000, 0)]
    late = pl.concat(way.late)
    assert set(late["kpi"]) == {"ConnAttempts"}
    assert late["cells"].sum() == 4  # North, Country, NR, network


def test_cells_that_nobody_listed_have_kpis_and_no_area() -> None:
    """An unknown cell is not dropped, and keeps its name."""
    way = Way(Inventory.empty())
    way.take(measured([at(1, ATT, 1, "X"), at(1, SUCC, 1, "X")]))
    rows = way.rows().filter(name="X")
    assert set(rows["kpi"]) == {"RRCConnEstabSR", "ConnAttempts"}


def test_the_streams_keep_their_promise() -> None:
    """Frames have the columns and types of the records."""
    bins = Memory(ALIGNED).run(align, measured([at(1, ATT, 1), at(1, SUCC, 1)]), FORMULAS).rows[0]
    cells, parts = Memory(kpis.WINDOWS).run(kpis.tell, bins, FORMULAS, INVENTORY).rows
    larger, late = Memory(rollup.SUMS).run(rollup.add_up, parts, FORMULAS, INVENTORY).rows
    for frame, stream in ((cells, KPIS), (parts, PARTS), (larger, KPIS), (late, LATE_PARTS)):
        assert frame.schema == stream.record.schema


COUNTERS = [counter.name for counter in FORMULAS.counters[:24]]


def a_day(seed: int, periods: int) -> list[Reading]:
    """Random counters of three cells, in which each bin may be missing."""
    rng = np.random.default_rng(seed)
    return [
        Reading(
            name, counter, n * PERIOD_US, int(rng.integers(0, 4) * 10 ** rng.integers(0, 8)), slice=slice_
        )
        for n in range(1, periods + 1)
        for name in ("C1", "C2", "C3", "X")
        for slice_ in (0, 16_777_217)
        for counter in COUNTERS
        if rng.random() < 0.97
    ]


def shuffled(readings: list[Reading], rng: np.random.Generator) -> list[Reading]:
    """In an order in which nothing is too late: each is delayed by less than two periods."""
    delay = rng.uniform(0, 2 * PERIOD_US - 1, len(readings))
    order = np.argsort([reading.end_us + late for reading, late in zip(readings, delay, strict=True)])
    return [readings[n] for n in order]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_order_within_lateness_and_borders_change_no_window(seed: int, periods: int) -> None:
    """However bins are shuffled and cut into batches, the same windows are told in the end."""
    readings, rng = a_day(seed, periods), np.random.default_rng(seed)
    whole, parts = Way(), Way()
    whole.take(measured(readings))
    for part in cut(measured(shuffled(readings, rng)), rng.integers(0, len(readings), 4).tolist()):
        parts.take(part)
        if rng.random() < 0.5:
            parts.pulse(int(rng.integers(0, periods + 1)) * PERIOD_US - 3 * PERIOD_US)
    for way in (whole, parts):
        way.pulse((periods + 9) * PERIOD_US)
    key = ["scope", "name", "slice", "kpi", "end_us"]
    columns = [*key, "value_milli", "numerator_milli", "denominator_milli", "missing"]
    one, other = (
        way.rows().filter(pl.col("value_milli").is_not_null()).select(columns).sort(key)
        for way in (whole, parts)
    )
    assert one.equals(other)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_the_second_opinion_agrees_on_cells(seed: int) -> None:
    """Window by window in whole fractions: the same values; products may differ by one thousandth."""
    way, readings = Way(), a_day(seed, 2)
    frame = measured(readings)
    way.take(frame)
    expected = plain_kpis(frame, FORMULAS, {"C1": "NR", "C2": "NR", "C3": "LTE"})
    whole = way.rows().filter(scope=Scope.CELL, missing=0)
    found = {(name, slice_, kpi, end): value for name, slice_, kpi, end, value in
             whole.select("name", "slice", "kpi", "end_us", "value_milli").iter_rows()}  # fmt: skip
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        close = 1 if FORMULAS.kpi(key[2]).form is Form.PRODUCT else 0
        assert (found[key] is None) == (value is None), key
        assert value is None or abs((found[key] or 0) - value) <= close, key


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_the_second_opinion_agrees_on_areas(seed: int) -> None:
    """Sums of cells by hand: the same values for areas, technologies and the network."""
    way, readings = Way(), a_day(seed, 2)
    way.take(measured(readings))
    way.pulse(20 * PERIOD_US)
    windows: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for row in readings:
        if row.slice == 0:
            windows[row.name, row.end_us][row.counter] = row.value_milli
    members = {
        "North": {"C1", "C2"},
        "Country": {"C1", "C2", "C3"},
        "LTE": {"C3"},
        "network": {"C1", "C2", "C3"},
    }
    for kpi in FORMULAS.kpis[:18]:
        for area, cells in members.items():
            for end in (PERIOD_US, 2 * PERIOD_US):
                pairs = [
                    pair_of(kpi, FORMULAS, windows[cell, end], PERIOD_US // 1_000) for cell in sorted(cells)
                ]
                whole = [pair for pair in pairs if pair is not None]
                if kpi.form is Form.PRODUCT or not whole:
                    continue
                total = sum(pair[0] for pair in whole), sum(pair[1] for pair in whole)
                expected = value_of(kpi, [(total[0], 1_000) if kpi.form is Form.SUM else total])
                found = {period: value for period, value, _ in way.values(area, kpi.name)}
                assert found[end // PERIOD_US] == expected, (kpi.name, area)


@pytest.mark.parametrize("periods", [3, 40])
def test_memory_stays_flat(periods: int) -> None:
    """However long it goes on, only what is open is kept."""
    way = Way()
    for n in range(1, periods + 1):
        way.take(measured([at(n, ATT, 4), at(n, SUCC, 3), at(n, "DRB.EstabAtt", 1), at(n, ATT, 1, "C3")]))
    assert sum(len(rows) for rows in way.windows.groups.values()) <= 20
    assert isinstance(next(iter(way.sums.groups.values())), np.ndarray)
    assert sum(len(rows) for rows in way.sums.groups.values()) <= 30 * 25


def test_state_is_given_back_in_order() -> None:
    """Groups ascend by key, as engines rely on."""
    bins = (
        Memory(ALIGNED)
        .run(align, measured([at(1, ATT, 1), at(1, ATT, 2, "C2"), at(1, ATT, 3, "X")]), FORMULAS)
        .rows[0]
    )
    keys = np.unique(bins["bucket"].to_numpy())
    state = kpis.tell(bins, Grouped.empty(kpis.WINDOWS.dtype, keys), FORMULAS, INVENTORY).state
    assert state is not None
    assert (np.diff(state.keys.astype(np.int64)) > 0).all()
    assert len(state.rows) == 9
