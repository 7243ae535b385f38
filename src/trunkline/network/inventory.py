"""The inventory: sites, cells, routers, links and areas, read from CSV or GeoJSON, and everything worked out from them.

An operator keeps these lists in other systems and exports them; what is wrong in an export is told all at once, each
mistake with its file and line, and nothing of it is used. An inventory is a value: a changed network is a new one,
given to the running platform between two batches. What steps need of every cell (its tiles on the map at each
resolution, the areas it lies in, the parts that carry it) is worked out here once and not with every measurement.

Tiles are H3 (https://h3geo.org): a cell's tile at a coarser resolution is the parent of its tile at the finest one, so
that tiles nest and a map can be opened and closed without a cell changing sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from h3.api.basic_int import latlng_to_cell

from trunkline.kernel.grouping import locate
from trunkline.kernel.identity import name_words
from trunkline.network.listing import InventoryError, Listed, Lists, Mistake, read_lists
from trunkline.records.network import Scope

__all__ = [
    "AREA_LAYER",
    "RESOLUTIONS",
    "Drawn",
    "Inventory",
    "InventoryError",
    "Mistake",
    "Targets",
    "read_inventory",
]

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]

RESOLUTIONS = (3, 4, 5, 6, 7)  # from about 12,400 to 5 square kilometres a tile
FINEST = RESOLUTIONS[-1]
NETWORK_NAME = "network"


@dataclass(frozen=True)
class Targets:
    """What the KPIs of cells are summed up for: areas with those around them, technologies, the whole network.

    The targets of the cell at place `c` are `of[first[c]:first[c + 1]]`; `cells` counts the cells of each target.
    """

    objects: Words
    names: pl.Series
    scopes: npt.NDArray[np.uint8]
    technologies: pl.Series
    cells: Longs
    first: Longs
    of: Longs


AREA_LAYER = 255


@dataclass(frozen=True)
class Drawn:
    """Tiles of the map: those of the cell at place `c` are `of[first[c]:first[c + 1]]`.

    `layers` holds the resolution of an H3 tile and `AREA_LAYER` for an area, `tiles` the index or the area's object.
    `leaves[c]` are its finest tile and its area (-1 for none), `up` is what each tile lies in (-1 for nothing), and
    `upwards` names all tiles so that each comes before what it lies in.
    """

    layers: npt.NDArray[np.uint8]
    tiles: Words
    first: Longs
    of: Longs
    leaves: npt.NDArray[np.int64]
    up: Longs
    upwards: Longs


@dataclass(frozen=True)
class Inventory:
    """What there is and how it hangs together; the rows of each frame ascend by `object`.

    `sites`: object, name, latitude, longitude, area. `cells`: object, name, site, technology, latitude, longitude, area
    and a column `h3_<resolution>` for each of `RESOLUTIONS`. `routers`: object, name, kind. `links`: object, name,
    below, above (objects; `above` is nearer to the core). `areas`: object, name, parent. Areas, sites and parents
    that are not told are 0. `outlines` holds GeoJSON geometries of areas by name.
    """

    sites: pl.DataFrame
    cells: pl.DataFrame
    routers: pl.DataFrame
    links: pl.DataFrame
    areas: pl.DataFrame
    outlines: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Inventory:
        """No network at all; every cell that reports is then one that nobody listed (`unlisted`)."""
        return _inventory(Lists({}, {}))

    @cached_property
    def cell_keys(self) -> Words:
        """Objects of the cells, ascending."""
        return _words(self.cells["object"])

    @cached_property
    def names(self) -> pl.DataFrame:
        """Everything that has a name: object, name, kind (site, cell, router, firewall, core, link, area)."""
        kinds = [("site", self.sites), ("cell", self.cells), ("link", self.links), ("area", self.areas)]
        frames = [frame.select("object", "name", kind=pl.lit(kind)) for kind, frame in kinds if len(frame)]
        if len(self.routers):
            frames.append(self.routers.select("object", "name", "kind"))
        empty = pl.DataFrame(schema={"object": pl.UInt64, "name": pl.String, "kind": pl.String})
        return pl.concat([empty, *frames]).sort("object")

    def unlisted(self, kpis: pl.DataFrame) -> pl.DataFrame:
        """Who reports and stands in no list: `name` and `end_us`, the end of its newest window (us UTC), by name.

        `kpis` are KPIs of single things (`records.network.KPIS`, scope `CELL`).
        """
        strange = kpis.join(self.names.select("object"), on="object", how="anti")
        return strange.group_by("name").agg(pl.col("end_us").max()).sort("name")

    @cached_property
    def tiles(self) -> Words:
        """[cell, resolution]: the tile of each cell, in the order of `cell_keys` and `RESOLUTIONS`."""
        return np.stack([_words(self.cells[f"h3_{resolution}"]) for resolution in RESOLUTIONS], axis=1)

    @cached_property
    def upward(self) -> pl.DataFrame:
        """What carries what, one step towards the core: `below`, `above` (objects).

        A cell stands on its site; what stands at a link's lower end is carried by the link, and the link by what stands
        at its upper end. So when a link is cut, everything that reaches the core through it alone is below it.
        """
        cells = self.cells.filter(pl.col("site") != 0).select(below="object", above="site")
        lower = self.links.select(below="below", above="object")
        upper = self.links.select(below="object", above="above")
        return pl.concat([cells, lower, upper]).sort("below", "above")

    @cached_property
    def components(self) -> pl.DataFrame:
        """`object`, `component`: the smallest object of the connected part of the network that each belongs to."""
        objects = _words(self.names.filter(pl.col("kind") != "area")["object"])
        label = np.arange(len(objects))
        below = locate(objects, _words(self.upward["below"]))
        above = locate(objects, _words(self.upward["above"]))
        while True:
            least = np.minimum(label[below], label[above])
            lower = label.copy()
            np.minimum.at(lower, below, least)
            np.minimum.at(lower, above, least)
            lower = lower[lower]
            if np.array_equal(lower, label):
                break
            label = lower
        return pl.DataFrame({"object": objects, "component": objects[label]})

    def carried_by(self, objects: Words) -> Words:
        """Objects of the cells that hang on any of the given objects, themselves included; ascending."""
        reached = np.unique(objects)
        below, above = _words(self.upward["below"]), _words(self.upward["above"])
        while True:
            wider = np.union1d(reached, below[np.isin(above, reached)])
            if len(wider) == len(reached):
                break
            reached = wider
        return np.intersect1d(self.cell_keys, reached)

    @cached_property
    def drawn(self) -> Drawn:
        """The tiles and areas that each cell is drawn in."""
        return _drawn(self)

    @cached_property
    def targets(self) -> Targets:
        """What the KPIs of cells are summed up for."""
        return _targets(self)


def read_inventory(files: Mapping[str, bytes]) -> Inventory:
    """An inventory out of the contents of `sites`, `cells`, `routers`, `links` and `areas`, `.csv` or `.geojson`.

    Raises `InventoryError` with every mistake of all files.
    """
    return _inventory(read_lists(files))


def _inventory(lists: Lists) -> Inventory:
    objects = _objects(lists)
    sites = _sites(lists, objects)
    return Inventory(
        sites=sites,
        cells=_cells(lists, objects, sites),
        routers=_frame(lists.of("router"), objects, kind=pl.String),
        links=_links(lists, objects),
        areas=_areas(lists, objects),
        outlines=lists.outlines,
    )


def _objects(lists: Lists) -> dict[str, int]:
    """The word of every name; two names with one word are a mistake that only another name mends."""
    names = [row.name for rows in lists.rows.values() for row in rows]
    words = name_words(pl.Series(names, dtype=pl.String)).tolist()
    objects = dict(zip(names, words, strict=True))
    if len(set(words)) < len(words):
        raise InventoryError(
            [Mistake("", 0, "two names have one digest; choose another name for one of them")]
        )
    return objects


def _frame(rows: list[Listed], objects: dict[str, int], **columns: Any) -> pl.DataFrame:  # noqa: ANN401 -- polars types
    """Object, name and the given columns of rows, ascending by object."""
    return pl.DataFrame(
        {
            "object": [objects[row.name] for row in rows],
            "name": [row.name for row in rows],
            **{column: [row.values.get(column, "") for row in rows] for column in columns},
        },
        schema={"object": pl.UInt64, "name": pl.String, **columns},
    ).sort("object")


def _referring(rows: list[Listed], objects: dict[str, int], column: str) -> list[int]:
    return [objects.get(row.values.get(column, ""), 0) for row in rows]


def _sites(lists: Lists, objects: dict[str, int]) -> pl.DataFrame:
    rows = lists.of("site")
    return pl.DataFrame(
        {
            "object": [objects[row.name] for row in rows],
            "name": [row.name for row in rows],
            "latitude": [row.latitude for row in rows],
            "longitude": [row.longitude for row in rows],
            "area": _referring(rows, objects, "area"),
        },
        schema={
            "object": pl.UInt64, "name": pl.String, "latitude": pl.Float64, "longitude": pl.Float64, "area": pl.UInt64,
        },
    ).sort("object")  # fmt: skip


def _cells(lists: Lists, objects: dict[str, int], sites: pl.DataFrame) -> pl.DataFrame:
    """Cells with what they have from their site, and their tiles."""
    rows = lists.of("cell")
    own = pl.DataFrame(
        {
            "object": [objects[row.name] for row in rows],
            "name": [row.name for row in rows],
            "site": _referring(rows, objects, "site"),
            "technology": [row.values.get("technology", "") for row in rows],
            "latitude": [row.latitude for row in rows],
            "longitude": [row.longitude for row in rows],
            "area": _referring(rows, objects, "area"),
        },
        schema={
            "object": pl.UInt64, "name": pl.String, "site": pl.UInt64, "technology": pl.String,
            "latitude": pl.Float64, "longitude": pl.Float64, "area": pl.UInt64,
        },
    )  # fmt: skip
    of_site = sites.select(
        site="object", site_latitude="latitude", site_longitude="longitude", site_area="area"
    )
    cells = (
        own.join(of_site, on="site", how="left", maintain_order="left")
        .with_columns(
            latitude=pl.col("latitude").fill_null(pl.col("site_latitude")),
            longitude=pl.col("longitude").fill_null(pl.col("site_longitude")),
            area=pl.when(pl.col("area") == 0)
            .then(pl.col("site_area").fill_null(0))
            .otherwise(pl.col("area")),
        )
        .drop("site_latitude", "site_longitude", "site_area")
        .sort("object")
    )
    finest = np.array(
        [
            latlng_to_cell(latitude, longitude, FINEST)
            for latitude, longitude in cells.select("latitude", "longitude").iter_rows()
        ],
        np.uint64,
    )
    return cells.with_columns(
        pl.Series(f"h3_{resolution}", parent_tiles(finest, resolution), pl.UInt64)
        for resolution in RESOLUTIONS
    )


def parent_tiles(tiles: Words, resolution: int) -> Words:
    """The parents at `resolution` of tiles at the finest resolution: H3 sets the digits below it to 7.

    The layout of the index is H3's published one (h3geo.org, "H3 index representations"): the resolution in bits 52
    to 55, and three bits for each digit, the finest last.
    """
    fill = np.uint64(0)
    for digit in range(resolution + 1, FINEST + 1):
        fill |= np.uint64(7) << np.uint64(3 * (15 - digit))
    other = ~(np.uint64(15) << np.uint64(52))
    return (tiles & other) | np.uint64(resolution) << np.uint64(52) | fill


def _links(lists: Lists, objects: dict[str, int]) -> pl.DataFrame:
    rows = lists.of("link")
    return pl.DataFrame(
        {
            "object": [objects[row.name] for row in rows],
            "name": [row.name for row in rows],
            "below": _referring(rows, objects, "from"),
            "above": _referring(rows, objects, "to"),
        },
        schema={"object": pl.UInt64, "name": pl.String, "below": pl.UInt64, "above": pl.UInt64},
    ).sort("object")


def _areas(lists: Lists, objects: dict[str, int]) -> pl.DataFrame:
    rows = lists.of("area")
    return pl.DataFrame(
        {
            "object": [objects[row.name] for row in rows],
            "name": [row.name for row in rows],
            "parent": _referring(rows, objects, "parent"),
        },
        schema={"object": pl.UInt64, "name": pl.String, "parent": pl.UInt64},
    ).sort("object")


def _words(series: pl.Series) -> Words:
    return np.ascontiguousarray(series.to_numpy())


def _drawn(inventory: Inventory) -> Drawn:
    """H3 tiles of all resolutions, then areas with those around them; in the order of cells."""
    count, finest = len(inventory.cells), len(RESOLUTIONS)
    tiles, which = np.unique(inventory.tiles, return_inverse=True)
    layers = ((tiles >> np.uint64(52)) & np.uint64(15)).astype(np.uint8)
    targets = inventory.targets
    areas = len(inventory.areas)
    cell = np.repeat(np.arange(count), np.diff(targets.first))
    in_area = targets.of < areas
    pairs = np.concatenate(
        [
            np.stack([np.repeat(np.arange(count), finest), which.reshape(-1)]),
            np.stack([cell[in_area], targets.of[in_area] + len(tiles)]),
        ],
        axis=1,
    )
    order = np.argsort(pairs[0], kind="stable")
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(pairs[0], minlength=count), out=first[1:])
    parents = _words(inventory.areas["parent"])
    above = locate(targets.objects[:areas], parents) if areas else np.empty(0, np.int64)
    own = (
        locate(targets.objects[:areas], _words(inventory.cells["area"]))
        if areas
        else np.full(count, -1, np.int64)
    )
    of_tile = which.reshape(count, finest)
    up = np.full(len(tiles) + areas, -1, np.int64)
    for coarser in range(finest - 1):
        up[of_tile[:, coarser + 1]] = of_tile[:, coarser]
    up[len(tiles) :] = np.where(above >= 0, above + len(tiles), -1)
    deep, at = np.zeros(areas, np.int64), np.arange(areas)
    while (at >= 0).any():
        deep += at >= 0
        at = np.where(at >= 0, above[at], -1)
    upwards = np.argsort(-np.concatenate([layers.astype(np.int64), deep]), kind="stable")
    return Drawn(
        leaves=np.stack([of_tile[:, -1], np.where(own >= 0, own + len(tiles), -1)], axis=1).astype(np.int64),
        up=up,
        upwards=upwards.astype(np.int64),
        layers=np.concatenate([layers, np.full(areas, AREA_LAYER, np.uint8)]),
        tiles=np.concatenate([tiles, targets.objects[:areas]]),
        first=first,
        of=pairs[1][order].astype(np.int64),
    )


def _targets(inventory: Inventory) -> Targets:
    """Areas with all areas around them, then technologies, then the network."""
    cells = inventory.cells.select("object", "technology", "area").with_row_index("cell")
    technologies = sorted({each for each in cells["technology"].to_list() if each})
    areas = len(inventory.areas)
    names = [*inventory.areas["name"].to_list(), *technologies, NETWORK_NAME]
    pairs = [np.stack([np.arange(len(cells)), np.full(len(cells), len(names) - 1)])]
    by_technology = {name: areas + place for place, name in enumerate(technologies)}
    technology = np.array([by_technology.get(each, -1) for each in cells["technology"].to_list()], np.int64)
    pairs.append(np.stack([np.flatnonzero(technology >= 0), technology[technology >= 0]]))
    keys, parents = _words(inventory.areas["object"]), _words(inventory.areas["parent"])
    at = locate(keys, _words(cells["area"])) if areas else np.full(len(cells), -1, np.int64)
    above = locate(keys, parents) if areas else np.empty(0, np.int64)
    while (at >= 0).any():  # areas do not go in circles: the lists were checked
        pairs.append(np.stack([np.flatnonzero(at >= 0), at[at >= 0]]))
        at = np.where(at >= 0, above[at], -1)
    cell, target = np.concatenate(pairs, axis=1)
    order = np.lexsort((target, cell))
    first = np.zeros(len(cells) + 1, np.int64)
    np.cumsum(np.bincount(cell, minlength=len(cells)), out=first[1:])
    scopes = [Scope.AREA] * areas + [Scope.TECHNOLOGY] * len(technologies) + [Scope.NETWORK]
    return Targets(
        objects=np.concatenate([keys, name_words(pl.Series([*technologies, NETWORK_NAME]))]),
        names=pl.Series(names, dtype=pl.String),
        scopes=np.array(scopes, np.uint8),
        technologies=pl.Series([""] * areas + technologies + [""], dtype=pl.String),
        cells=np.bincount(target, minlength=len(names)).astype(np.int64),
        first=first,
        of=target[order].astype(np.int64),
    )
