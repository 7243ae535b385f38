"""The demonstration operator's network: its cells on sites, the routers and firewalls behind them, and the links.

Cells are those in which the simulated people use their phones (`country`), with the same names. Three neighbouring
cells of a city stand on one site; the sites of about forty cells hang on one access router, whose one link to the core
is what a backhaul cut takes away; two firewalls stand between the core and everything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trunkline.simulator.country import KM_PER_DEGREE, Country, Ints

CELLS_A_SITE = 3
CELLS_A_ROUTER = 40
FIREWALLS = ("FW1", "FW2")
CORES = ("CORE1", "CORE2")
MOBILITY = "AMF1"
TECHNOLOGIES = ("NR", "LTE")
LTE_EVERY = 3  # one cell of three is LTE
CORNERS = 12  # of the outline drawn around a city


@dataclass(frozen=True)
class Plan:
    """Which site and router each cell hangs on; names follow from the numbers."""

    country: Country
    cell_site: Ints
    cell_router: Ints
    site_city: Ints
    site_router: Ints

    @property
    def cell_names(self) -> list[str]:
        """The names that usage records bear, too."""
        return [f"C{number:04d}" for number in range(self.country.cells)]

    @property
    def routers(self) -> int:
        """How many access routers there are."""
        return int(self.cell_router.max()) + 1

    def is_nr(self) -> Ints:
        """1 for the NR cells, 0 for the LTE ones."""
        return (np.arange(self.country.cells) % LTE_EVERY != LTE_EVERY - 1).astype(np.int64)

    def cells_of_router(self, router: int) -> Ints:
        """The cells that one link's cut takes away."""
        return np.flatnonzero(self.cell_router == router)

    def near(self, cell: int, count: int) -> Ints:
        """The cells nearest to one, itself first."""
        place = self.country
        north = place.cell_latitude - place.cell_latitude[cell]
        east = (place.cell_longitude - place.cell_longitude[cell]) * np.cos(
            np.radians(place.cell_latitude[cell])
        )
        return np.argsort(np.hypot(north, east), kind="stable")[:count].astype(np.int64)


def router_name(router: int) -> str:
    """Access routers are AR001 and so on."""
    return f"AR{router + 1:03d}"


def link_name(router: int) -> str:
    """The link of an access router to the core."""
    return f"{router_name(router)}-{CORES[router % len(CORES)]}"


def site_name(site: int) -> str:
    """Sites are S0000 and so on."""
    return f"S{site:04d}"


def make_plan(country: Country) -> Plan:
    """Group the cells of each city into sites, and the sites in their order into the reach of routers."""
    within = np.arange(country.cells) - country.city_cell_first[country.cell_city]
    group = country.cell_city * (country.cells + 1) + within // CELLS_A_SITE
    _, cell_site = np.unique(group, return_inverse=True)
    first = np.unique(cell_site, return_index=True)[1]
    site_router = first // CELLS_A_ROUTER
    return Plan(country, cell_site, site_router[cell_site], country.cell_city[first], site_router)


def write_inventory(plan: Plan, folder: Path) -> None:
    """`sites.csv`, `cells.csv`, `routers.csv`, `links.csv` and `areas.geojson`, for `network inventory load`."""
    folder.mkdir(parents=True, exist_ok=True)
    country = plan.country
    cells = np.bincount(plan.cell_site)
    latitude = np.bincount(plan.cell_site, country.cell_latitude) / cells
    longitude = np.bincount(plan.cell_site, country.cell_longitude) / cells
    city = [country.city_names[number] for number in plan.site_city.tolist()]
    sites = [site_name(number) for number in range(len(cells))]
    pl.DataFrame(
        {"site": sites, "latitude": latitude.round(5), "longitude": longitude.round(5), "area": city}
    ).write_csv(folder / "sites.csv")
    pl.DataFrame(
        {
            "cell": plan.cell_names,
            "site": [site_name(number) for number in plan.cell_site.tolist()],
            "technology": [TECHNOLOGIES[1 - nr] for nr in plan.is_nr().tolist()],
            "latitude": country.cell_latitude.round(5),
            "longitude": country.cell_longitude.round(5),
        }
    ).write_csv(folder / "cells.csv")
    _write_transport(plan, sites, folder)
    (folder / "areas.geojson").write_text(json.dumps(_areas(country), indent=1) + "\n")


def _write_transport(plan: Plan, sites: list[str], folder: Path) -> None:
    """Routers and firewalls, and the links from each site up to the firewalls."""
    access = [router_name(number) for number in range(plan.routers)]
    pl.DataFrame(
        {
            "router": [*access, *CORES, *FIREWALLS, MOBILITY],
            "kind": ["router"] * (len(access) + len(CORES)) + ["firewall"] * len(FIREWALLS) + ["core"],
        }
    ).write_csv(folder / "routers.csv")
    up = [router_name(number) for number in plan.site_router.tolist()]
    rows = [(f"{site}-{router}", site, router) for site, router in zip(sites, up, strict=True)]
    rows += [
        (link_name(number), router_name(number), CORES[number % len(CORES)]) for number in range(plan.routers)
    ]
    rows += [(f"{core}-{wall}", core, wall) for core, wall in zip(CORES, FIREWALLS, strict=True)]
    pl.DataFrame(rows, schema=["link", "from", "to"], orient="row").write_csv(folder / "links.csv")


def _areas(country: Country) -> dict[str, Any]:
    """An outline around the cells of each city; invented, since real borders are not ours to ship."""
    features = []
    for city, name in enumerate(country.city_names):
        mine = country.cell_city == city
        latitude, longitude = float(country.city_latitude[city]), float(country.city_longitude[city])
        squeeze = float(np.cos(np.radians(latitude)))
        away = np.hypot(
            country.cell_latitude[mine] - latitude, (country.cell_longitude[mine] - longitude) * squeeze
        )
        reach = float(away.max(initial=0.0)) + 1.0 / KM_PER_DEGREE
        turns = np.arange(CORNERS + 1) % CORNERS * (2 * np.pi / CORNERS)
        ring = np.stack(
            [longitude + reach * np.cos(turns) / squeeze, latitude + reach * np.sin(turns)], axis=1
        )
        features.append(
            {
                "type": "Feature",
                "properties": {"area": name, "parent": ""},
                "geometry": {"type": "Polygon", "coordinates": [ring.round(5).tolist()]},
            }
        )
    return {"type": "FeatureCollection", "features": features}
