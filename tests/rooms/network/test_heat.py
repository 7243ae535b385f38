"""The heat map: a tile shows the sums of its cells, and is told when it looks different, whatever the batches."""

from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.plain_windows import FORMULAS, PERIOD_US, Memory, cut
from trunkline.kernel.identity import name_words
from trunkline.network import heat
from trunkline.network.inventory import AREA_LAYER, RESOLUTIONS, read_inventory
from trunkline.records.network import ALARMS, BUCKET_SHIFT, BUCKETS, HEAT, KPIS, PULSES, Severity
from trunkline.records.network_sums import TILE_CHANGES

PLACES = {"C1": (52.50, 13.40), "C2": (52.5001, 13.4001), "C3": (48.1, 11.6), "C4": (52.52, 13.45)}
INVENTORY = read_inventory(
    {
        "sites.csv": b"site,latitude,longitude,area\nS1,52.5,13.4,North\nS3,48.1,11.6,South\n",
        "cells.csv": b"cell,site,technology,latitude,longitude\n"
        + b"".join(
            f"{name},{'S3' if name == 'C3' else 'S1'},NR,{place[0]},{place[1]}\n".encode()
            for name, place in PLACES.items()
        ),
        "areas.csv": b"area,parent\nNorth,\nSouth,\n",
    }
)
KPI = "RRCConnEstabSR"
Row = tuple[str, int, int, int]  # cell, end in periods, successes, attempts


def word(name: str) -> int:
    """The object of a name."""
    return int(name_words(pl.Series([name]))[0])


def kpis(rows: list[Row], kpi: str = KPI, shift_us: int = 0) -> pl.DataFrame:
    """KPIs of cells, in whole units."""
    frame = pl.DataFrame(
        {
            "object": name_words(pl.Series([name for name, _, _, _ in rows], dtype=pl.String)),
            "name": [name for name, _, _, _ in rows],
            "begin_us": [(end - 1) * PERIOD_US + shift_us for _, end, _, _ in rows],
            "end_us": [end * PERIOD_US + shift_us for _, end, _, _ in rows],
            "numerator_milli": [good * 1_000 for _, _, good, _ in rows],
            "denominator_milli": [every * 1_000 for _, _, _, every in rows],
        }
    )
    return KPIS.record.conform(
        frame.with_columns(
            scope=pl.lit(1), slice=pl.lit(0), kpi=pl.lit(kpi), missing=pl.lit(0),
            value_milli=pl.when(pl.col("denominator_milli") > 0).then(0),
        )
    )  # fmt: skip


def pulses(period: float) -> pl.DataFrame:
    """The data's clock for every bucket."""
    frame = pl.DataFrame({"bucket": np.arange(BUCKETS, dtype=np.uint64)})
    return PULSES.record.conform(frame.with_columns(time_us=pl.lit(int(period * PERIOD_US))))


class Map:
    """The steps to the map, and what a reader of all of `HEAT` sees."""

    def __init__(self) -> None:
        """Begin with an empty map."""
        self.tiles, self.alarms = Memory(heat.TILES), Memory(heat.DRAWN_ALARMS)
        self.seen: dict[tuple[str, int, str], tuple[int | None, int, int]] = {}
        self.told = 0
        self.times: dict[tuple[str, int, str], list[int]] = {}

    def take(self, frame: pl.DataFrame) -> None:
        """KPIs of a batch."""
        self.draw(heat.spread(frame, FORMULAS, INVENTORY).rows[0])

    def alarm(self, frame: pl.DataFrame) -> None:
        """Changes of alarms."""
        self.draw(self.alarms.run(heat.spread_alarms, frame, INVENTORY).rows[0])

    def draw(self, changes: pl.DataFrame) -> None:
        """Differences of tiles."""
        assert changes.schema == TILE_CHANGES.record.schema
        if len(changes):
            self.see(self.tiles.run(heat.draw, changes, FORMULAS).rows[0])

    def pulse(self, period: float) -> None:
        """The data's clock."""
        self.see(self.tiles.run(heat.fade, pulses(period), FORMULAS).rows[0])

    def see(self, frame: pl.DataFrame) -> None:
        """What a reader keeps."""
        assert frame.schema == HEAT.record.schema
        self.told += len(frame)
        for layer, tile, metric, value, severity, cells, time_us in frame.select(
            "layer", "tile", "metric", "value_milli", "severity", "cells", "time_us"
        ).iter_rows():
            self.seen[layer, tile, metric] = value, severity, cells
            self.times.setdefault((layer, tile, metric), []).append(time_us)

    def area(self, name: str, metric: str = KPI) -> tuple[int | None, int, int] | None:
        """Value, severity and cells of an area."""
        return self.seen.get(("area", word(name), metric))


def test_a_tile_shows_the_sums_of_its_cells() -> None:
    """90 of 100 and 1 of 10 are 91 of 110, in the area and in every tile that holds both."""
    drawn = Map()
    drawn.take(kpis([("C1", 1, 90, 100), ("C2", 1, 1, 10), ("C3", 1, 5, 5)]))
    assert drawn.area("North") == (82_727, Severity.MAJOR, 2)
    assert drawn.area("South") == (100_000, Severity.CLEARED, 1)
    both = [
        value for (layer, _, _), (value, _, cells) in drawn.seen.items() if cells == 2 and layer != "area"
    ]
    assert both == [82_727] * len(RESOLUTIONS)


def test_few_attempts_are_not_judged() -> None:
    """One failure among three says nothing about the cell."""
    drawn = Map()
    drawn.take(kpis([("C3", 1, 2, 3)]))
    assert drawn.area("South") == (66_667, Severity.CLEARED, 1)


def test_what_does_not_move_is_not_told_again() -> None:
    """A change below the metric's step is not seen; one above it is."""
    drawn = Map()
    drawn.take(kpis([("C3", 1, 1_000, 1_000)]))
    before = drawn.told
    drawn.take(kpis([("C3", 2, 996, 1_000)]))
    assert drawn.told == before
    drawn.take(kpis([("C3", 3, 994, 1_000)]))
    assert drawn.told == 2 * before
    assert drawn.area("South") == (99_400, Severity.CLEARED, 1)


HOUR_US = 3_600_000_000


def longest_silence_us(drawn: Map, from_us: int, until_us: int) -> int:
    """Of every tile, the longest stretch in which it was not told."""
    gaps = [
        after - before
        for times in drawn.times.values()
        for before, after in zip([from_us, *times], [*times, until_us], strict=True)
    ]
    return max(gaps)


def test_whoever_looks_back_an_hour_finds_every_tile_of_a_kpi() -> None:
    """What stands still is told again, seldom, and not all at once."""
    drawn = Map()
    hours, step = 5, 10
    ends = range(step, hours * HOUR_US // PERIOD_US + 1, step)
    for at in ends:
        drawn.take(kpis([("C1", at, 90, 100), ("C3", at, 5, 5)]))
        drawn.pulse(at - step)
    assert longest_silence_us(drawn, ends[0] * PERIOD_US, ends[-1] * PERIOD_US) < HOUR_US
    assert max(len(times) for times in drawn.times.values()) <= 2 * hours + 2
    assert len({times[1] for times in drawn.times.values()}) > 1


def test_whoever_looks_back_an_hour_finds_the_alarms_that_stand() -> None:
    """As of half hours of the tile's own, however often the clock is looked at; not any more when they are over."""
    often, seldom = Map(), Map()
    last = 3 * HOUR_US // PERIOD_US
    for drawn, every in ((often, 10), (seldom, 45)):
        drawn.alarm(change("C1", 1, "raise", Severity.CRITICAL))
        for at in range(every, last + 1, every):
            drawn.pulse(at)
    assert last % 45 == 0
    assert longest_silence_us(often, 0, last * PERIOD_US) < HOUR_US
    assert often.seen == seldom.seen
    assert {place: times[-1] for place, times in often.times.items()} == {
        place: times[-1] for place, times in seldom.times.items()
    }
    told = often.told
    often.pulse(last)
    assert often.told == told
    often.alarm(change("C1", 1, "clear", Severity.CLEARED))
    told = often.told
    often.pulse(2 * last)
    assert often.told == told


def test_a_tile_waits_for_as_many_cells_as_before() -> None:
    """Half a window in another batch does not flicker; the clock does not wait for ever."""
    drawn = Map()
    drawn.take(kpis([("C1", 1, 50, 100), ("C2", 1, 50, 100)]))
    drawn.take(kpis([("C1", 2, 100, 100)]))
    assert drawn.area("North") == (50_000, Severity.CRITICAL, 2)
    drawn.take(kpis([("C2", 2, 80, 100)]))
    assert drawn.area("North") == (90_000, Severity.MINOR, 2)
    drawn.take(kpis([("C1", 3, 100, 100)]))
    drawn.pulse(3)
    assert drawn.area("North") == (100_000, Severity.CLEARED, 1)


def test_a_silent_tile_is_told_once_without_a_value() -> None:
    """It fades, and is forgotten."""
    drawn = Map()
    drawn.take(kpis([("C3", 1, 9, 10)]))
    drawn.take(kpis([("C3", 2, 9, 10)]))
    drawn.pulse(5)
    assert drawn.area("South") == (90_000, Severity.CLEARED, 1)
    drawn.pulse(6)
    assert drawn.area("South") == (None, Severity.CLEARED, 0)
    told = drawn.told
    drawn.pulse(7)
    assert drawn.told == told
    assert sum(len(rows) for rows in drawn.tiles.groups.values()) == 0


def test_a_wrong_clock_is_not_drawn() -> None:
    """A cell that runs seven seconds ahead does not wipe its neighbours off the map."""
    drawn = Map()
    drawn.take(kpis([("C1", 1, 9, 10)]))
    drawn.take(kpis([("C2", 40, 1, 10)], shift_us=7_000_000))
    assert drawn.area("North") == (90_000, Severity.CLEARED, 1)


@pytest.mark.parametrize(
    "frame", [kpis([("X", 1, 1, 2)]), kpis([("C1", 1, 0, 0)]), kpis([("C1", 1, 1, 1)], "GRANHOSR")]
)
def test_what_is_not_drawn(frame: pl.DataFrame) -> None:
    """Cells without a place, KPIs without a value, KPIs without a step."""
    drawn = Map()
    drawn.take(frame)
    assert drawn.told == 0


def change(name: str, key: int, action: str, severity: int, held_by: str = "") -> pl.DataFrame:
    """One change of an alarm."""
    frame = pl.DataFrame(
        {"alarm_id": [f"a{key}"], "alarm_key": [key], "object": [word(name)], "time_us": [7]}
    )
    return ALARMS.record.conform(
        frame.with_columns(action=pl.lit(action), severity=pl.lit(severity), held_by=pl.lit(held_by))
    )


def test_alarms_colour_their_tiles() -> None:
    """The worst that stands counts; a clear and a hold-back take an alarm away; a site colours its cells' tiles."""
    drawn = Map()
    drawn.alarm(change("C1", 1, "raise", Severity.MINOR))
    drawn.alarm(change("C2", 2, "raise", Severity.CRITICAL))
    assert drawn.area("North", "severity") == (2_000, Severity.CRITICAL, 2)
    drawn.alarm(change("C2", 2, "update", Severity.WARNING))
    assert drawn.area("North", "severity") == (2_000, Severity.MINOR, 2)
    drawn.alarm(change("C1", 1, "suppress", Severity.MINOR, "maintenance"))
    assert drawn.area("North", "severity") == (1_000, Severity.WARNING, 1)
    drawn.alarm(change("C2", 2, "clear", Severity.CLEARED))
    assert drawn.area("North", "severity") == (0, Severity.CLEARED, 0)
    drawn.alarm(change("S3", 3, "raise", Severity.INDETERMINATE))
    assert drawn.area("South", "severity") == (1_000, Severity.INDETERMINATE, 1)
    drawn.pulse(1_000_000)
    assert drawn.area("South", "severity") == (1_000, Severity.INDETERMINATE, 1)
    drawn.alarm(change("C3", 5, "raise", Severity.CRITICAL, "carried_by:AR1"))  # dark is dark
    assert drawn.area("South", "severity") == (2_000, Severity.CRITICAL, 2)
    drawn.alarm(change("C3", 5, "update", Severity.CRITICAL, "flapping"))
    assert drawn.area("South", "severity") == (1_000, Severity.INDETERMINATE, 1)
    drawn.alarm(change("AR1", 4, "raise", Severity.MAJOR))
    assert drawn.area("North", "severity") == (0, Severity.CLEARED, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["C1", "C2", "C3", "C4"]), st.integers(0, 50), st.integers(1, 50)),
        min_size=1, max_size=8, unique_by=lambda row: row[0],
    ),
    st.lists(st.integers(0, 8), max_size=4),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_borders_and_order_change_no_tile(
    rows: list[tuple[str, int, int]], borders: list[int], random: Random
) -> None:
    """In the end the map is the same, and is what adding up by hand gives."""
    window = [(name, 1, good, every) for name, good, every in rows]
    whole, parts = Map(), Map()
    whole.take(kpis(window))
    mixed = window.copy()
    random.shuffle(mixed)
    for part in cut(kpis(mixed), borders):
        parts.take(part)
    assert whole.seen == parts.seen
    drawn = INVENTORY.drawn
    by_object = {word(name): (good, every) for name, _, good, every in window}
    for tile in range(len(drawn.tiles)):
        inside = [tile in drawn.of[drawn.first[n] : drawn.first[n + 1]] for n in range(len(PLACES))]
        members = [key for key in INVENTORY.cell_keys[inside].tolist() if key in by_object]
        layer = "area" if drawn.layers[tile] == AREA_LAYER else f"h3:{drawn.layers[tile]}"
        seen = whole.seen.get((layer, int(drawn.tiles[tile]), KPI))
        if not members:
            assert seen is None
            continue
        good, every = (sum(by_object[key][part] for key in members) for part in (0, 1))
        assert seen is not None
        assert seen[0] == (200_000 * good + every) // (2 * every)
        assert seen[2] == len(members)


def test_tiles_are_spread_over_buckets() -> None:
    """Neighbouring tiles do not all fall into one bucket, and their key is the record's."""
    changes = heat.spread(kpis([(name, 1, 1, 2) for name in PLACES]), FORMULAS, INVENTORY).rows[0]
    assert changes["bucket"].n_unique() > 5
    assert (changes["bucket"] < BUCKETS).all()
    assert BUCKETS == 1 << (64 - BUCKET_SHIFT)
