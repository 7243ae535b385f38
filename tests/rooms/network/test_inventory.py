"""The inventory: lists become one network, and every mistake in them is told with its line."""

import contextlib
import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from h3.api.basic_int import cell_to_parent, latlng_to_cell
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.kernel.identity import name_words
from trunkline.network.inventory import (
    AREA_LAYER,
    RESOLUTIONS,
    Inventory,
    InventoryError,
    parent_tiles,
    read_inventory,
)
from trunkline.simulator import Settings, make_world
from trunkline.simulator.network import make_network
from trunkline.simulator.network_plan import CELLS_A_ROUTER, link_name, write_inventory

SITES = b"site,latitude,longitude,area\nS1,52.5,13.4,Mitte\nS2,52.6,13.5,\n"
CELLS = b"cell,site,technology\nC1,S1,NR\nC2,S1,LTE\nC3,S2,NR\n"
ROUTERS = b"router,kind\nAR1,router\nCORE,core\n"
LINKS = b"link,from,to\nL1,S1,AR1\nL2,S2,AR1\nUP,AR1,CORE\n"
AREAS = b"area,parent\nMitte,Berlin\nBerlin,\n"
LISTS = {
    "sites.csv": SITES, "cells.csv": CELLS, "routers.csv": ROUTERS, "links.csv": LINKS, "areas.csv": AREAS,
}  # fmt: skip


def word(name: str) -> int:
    """The object of a name."""
    return int(name_words(pl.Series([name]))[0])


def names_of(inventory: Inventory, objects: np.ndarray) -> set[str]:
    """Names of objects."""
    found = inventory.names.filter(pl.col("object").is_in(pl.Series(objects).implode()))
    return set(found["name"])


def test_a_cell_has_what_its_site_has() -> None:
    """Place and area come from the site unless the cell has its own."""
    own = CELLS + b"C4,S2,NR\n"
    cells = read_inventory({**LISTS, "cells.csv": own}).cells
    place = {
        name: (latitude, area)
        for name, latitude, area in cells.select("name", "latitude", "area").iter_rows()
    }
    assert place == {
        "C1": (52.5, word("Mitte")),
        "C2": (52.5, word("Mitte")),
        "C3": (52.6, 0),
        "C4": (52.6, 0),
    }


def test_a_cut_link_is_above_everything_it_carries() -> None:
    """What hangs on a thing is found through sites, links and routers."""
    inventory = read_inventory(LISTS)
    for name, cells in (("L1", {"C1", "C2"}), ("S2", {"C3"}), ("UP", {"C1", "C2", "C3"}), ("C3", {"C3"})):
        assert names_of(inventory, inventory.carried_by(np.array([word(name)], np.uint64))) == cells, name


def test_parts_that_do_not_meet_are_components_of_their_own() -> None:
    """A second network beside the first one is another component."""
    other = {"more/cells2.csv": b"cell,technology,latitude,longitude\nX1,NR,10,10\n"}
    components = read_inventory({**LISTS, **other}).components
    assert components["component"].n_unique() == 2
    assert components.filter(object=word("X1"))["component"].to_list() == [word("X1")]


def test_cells_are_summed_for_areas_around_areas() -> None:
    """A cell counts for its area, the area around it, its technology and the network."""
    inventory = read_inventory(LISTS)
    cells = dict(zip(inventory.targets.names.to_list(), inventory.targets.cells.tolist(), strict=True))
    assert cells == {"Mitte": 2, "Berlin": 2, "NR": 2, "LTE": 1, "network": 3}


def test_tiles_nest() -> None:
    """At every resolution a cell lies in H3's parent of its finest tile."""
    inventory = read_inventory(LISTS)
    for row, (latitude, longitude) in enumerate(inventory.cells.select("latitude", "longitude").iter_rows()):
        finest = latlng_to_cell(latitude, longitude, RESOLUTIONS[-1])
        assert inventory.tiles[row].tolist() == [cell_to_parent(finest, each) for each in RESOLUTIONS]


@settings(max_examples=200)
@given(st.floats(-90, 90), st.floats(-180, 180))
def test_parents_are_those_of_the_library(latitude: float, longitude: float) -> None:
    """Setting digits gives the parents that H3 gives, anywhere on earth."""
    tile = latlng_to_cell(latitude, longitude, RESOLUTIONS[-1])
    for resolution in RESOLUTIONS:
        found = parent_tiles(np.array([tile], np.uint64), resolution)
        assert int(found[0]) == cell_to_parent(tile, resolution)


def test_every_cell_is_drawn_in_all_its_tiles_and_areas() -> None:
    """Five tiles for each cell, and its areas."""
    drawn = read_inventory(LISTS).drawn
    assert sorted(np.diff(drawn.first).tolist()) == [5, 7, 7]
    assert (drawn.layers == AREA_LAYER).sum() == 2


def test_an_empty_inventory_is_one() -> None:
    """A platform starts without a network."""
    empty = Inventory.empty()
    assert len(empty.cells) == len(empty.names) == len(empty.components) == len(empty.drawn.of) == 0
    assert empty.targets.names.to_list() == ["network"]


def test_geojson_says_the_same_as_csv() -> None:
    """Points are places, polygons outlines, properties columns."""
    ring = [[13.0, 52.0], [14.0, 52.0], [14.0, 53.0], [13.0, 52.0]]
    sites = [("S1", 13.4, 52.5, "Mitte"), ("S2", 13.5, 52.6, None)]
    features = [
        {"type": "Feature", "properties": {"site": name, "area": area, "colour": "red"},
         "geometry": {"type": "Point", "coordinates": [east, north]}}
        for name, east, north, area in sites
    ]  # fmt: skip
    areas = [
        {"type": "Feature", "properties": {"area": "Mitte", "parent": "Berlin"},
         "geometry": {"type": "Polygon", "coordinates": [ring]}},
        {"type": "Feature", "properties": {"area": "Berlin"}, "geometry": None},
    ]  # fmt: skip
    lists = {name: text for name, text in LISTS.items() if name not in {"sites.csv", "areas.csv"}}
    for name, collection in (("sites", features), ("areas", areas)):
        lists[f"{name}.geojson"] = json.dumps({"type": "FeatureCollection", "features": collection}).encode()
    inventory, other = read_inventory(lists), read_inventory(LISTS)
    assert inventory.cells.equals(other.cells)
    assert inventory.areas.equals(other.areas)
    assert set(inventory.outlines) == {"Mitte"}


MISTAKES = [
    ("cells.csv", b"cell,technology\nC1,NR\n", ["cells.csv:2", "neither a site nor"]),
    ("cells.csv", b"cell,site,technology\nC1,S9,NR\n", ["cells.csv:2", "'S9'", "no site of the lists"]),
    (
        "cells.csv",
        b"cell,site,technology\nC1,S1,NR\nC1,S1,NR\n",
        ["cells.csv:3", "name of a cell at cells.csv:2"],
    ),
    ("cells.csv", b"cell,site,technology\nS1,S1,NR\n", ["'S1'", "name of a", "site"]),
    ("cells.csv", b"cell,site\nC1,S1\n", ["cells.csv:1", "no column 'technology'"]),
    ("cells.csv", b"cell,site,technology,colour\nC1,S1,NR,red\n", ["cells.csv:1", "unknown column 'colour'"]),
    ("cells.csv", b"cell,site,technology\nC1,S1\n", ["cells.csv:2", "2 columns"]),
    ("cells.csv", b"cell,site,technology\n,S1,NR\n", ["cells.csv:2", "no name"]),
    ("cells.csv", b'cell,site,technology\n"C1,S1,NR\n', ["cells.csv", "is not CSV"]),
    ("cells.csv", b"cell,site,technology\nC1,S1,\xff\n", ["cells.csv:2", "not UTF-8"]),
    (
        "sites.csv",
        b"site,latitude,longitude\nS1,95,13\nS2,1,x\n",
        ["sites.csv:2", "'95'", "sites.csv:3", "'x'"],
    ),
    ("routers.csv", b"router,kind\nAR1,toaster\nCORE,core\n", ["routers.csv:2", "'toaster'"]),
    ("links.csv", b"link,from,to\nL1,S1,AR1\nU,AR1,CORE\nD,CORE,AR1\n", ["links.csv:3", "circle"]),
    ("areas.csv", b"area,parent\nMitte,Berlin\nBerlin,Mitte\n", ["areas.csv:2", "areas.csv:3", "circle"]),
    (
        "areas.geojson",
        b'{"features": [\n{"properties": {}},\n\n 7]}',
        ["areas.geojson:2", "no name", "geojson:4"],
    ),
    ("areas.geojson", b'{"features":\n[}', ["areas.geojson:2", "is not JSON"]),
    ("areas.geojson", b"[]", ["no FeatureCollection"]),
    ("notes.txt", b"", ["notes.txt", "none of"]),
]


@pytest.mark.parametrize(
    ("file", "text", "told"), MISTAKES, ids=[f"{n}-{m[0]}" for n, m in enumerate(MISTAKES)]
)
def test_each_mistake_is_told_with_its_line(file: str, text: bytes, told: list[str]) -> None:
    """File, line, what is wrong."""
    with pytest.raises(InventoryError) as caught:
        read_inventory({**LISTS, file: text})
    for words in told:
        assert words in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    """Mistakes of several files come together, in the order of files and lines."""
    with pytest.raises(InventoryError) as caught:
        read_inventory(
            {"cells.csv": b"cell,site,technology\nA,Q,NR\nB,,\n", "links.csv": b"link,from,to\nL,X,Y\n"}
        )
    places = [(mistake.file, mistake.line) for mistake in caught.value.mistakes]
    assert places == sorted(places)
    assert len(places) == 5


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["cells.csv", "areas.geojson", "sites.geojson", "links.csv"]))
def test_no_bytes_break_the_readers(text: bytes, file: str) -> None:
    """Whatever is handed in is read, or refused with mistakes."""
    with contextlib.suppress(InventoryError):
        assert isinstance(read_inventory({file: text}), Inventory)


def test_the_simulated_network_can_be_loaded(tmp_path: Path) -> None:
    """What the simulator writes is a network, in which a cut link takes its cells away."""
    network = make_network(
        make_world(Settings(seed=2, subscribers=200, cells=130, hours=1, start=date(2026, 11, 2)))
    )
    write_inventory(network.plan, tmp_path)
    inventory = read_inventory({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert len(inventory.cells) == 130
    cut = inventory.carried_by(np.array([word(link_name(1))], np.uint64))
    assert abs(len(cut) - CELLS_A_ROUTER) <= 2
    assert set(inventory.outlines) == set(network.plan.country.city_names)
