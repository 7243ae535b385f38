"""What must be passed on the way to the core: found for any net, and told apart from what only may be passed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.opinion.alarms import Opinion
from tests.rooms.network.alarms.network_of_sites import network
from trunkline.network.carriage import Carriage, carriage_of
from trunkline.network.inventory import Inventory, read_inventory


def drawn(seed: int, routers: int = 12) -> Inventory:
    """A random net of routers with links towards lower numbers, and a site with two cells on some of them."""
    chance = np.random.default_rng(seed)
    links = [
        f"L{upper}-{lower}-{number},R{lower},R{upper}"
        for lower in range(1, routers)
        for number, upper in enumerate(sorted(set(chance.integers(0, lower, chance.integers(1, 3)).tolist())))
    ]
    sites = [f"S{i}" for i in range(6)]
    links += [f"LS{i},S{i},R{int(chance.integers(1, routers))}" for i in range(6)]
    return read_inventory(
        {
            "sites.csv": "\n".join(["site,latitude,longitude", *(f"{s},52,5" for s in sites)]).encode(),
            "cells.csv": "\n".join(
                ["cell,technology,site", *(f"{s}/C{j},NR,{s}" for s in sites for j in (0, 1))]
            ).encode(),
            "routers.csv": "\n".join(["router,kind", *(f"R{i},router" for i in range(routers))]).encode(),
            "links.csv": "\n".join(["link,from,to", *links]).encode(),
        }
    )  # fmt: skip


def chains(carriage: Carriage) -> dict[str, list[str]]:
    """Carriers of each object by name, the nearest first."""
    return {
        name: [carriage.names[each] for each in carriage.chain(place)[1:]]
        for place, name in enumerate(carriage.names)
    }


@pytest.mark.parametrize("seed", range(20))
def test_carriers_are_what_all_ways_go_through(seed: int) -> None:
    """On random nets the chain of carriers is exactly what cannot be left out on the way to the core."""
    inventory = drawn(seed)
    names = dict(inventory.names.select("object", "name").iter_rows())
    above: dict[str, list[str]] = {name: [] for name in names.values()}
    for lower, upper in inventory.upward.iter_rows():
        above[names[lower]].append(names[upper])
    opinion = Opinion(above, None)
    found = chains(carriage_of(inventory))
    assert {name: set(chain) for name, chain in found.items()} == {
        name: set(opinion.carriers(name)) for name in above
    }


def test_what_hangs_on_an_object_is_counted() -> None:
    """Cells behind a link are those that only it leads to; a site with two links hangs on neither of them."""
    carriage = carriage_of(network())
    cells = dict(zip(carriage.names, carriage.cells.tolist(), strict=True))
    assert (cells["L0"], cells["L2"], cells["AGG"], cells["CORE"], cells["S0/C0"]) == (3, 0, 9, 12, 1)
    assert len(carriage.hanging_on(carriage.objects[[carriage.names.index("L0")]])) == 5


def test_an_inventory_is_worked_out_once() -> None:
    """The same inventory gives the very same carriage; another one its own."""
    inventory = network()
    assert carriage_of(inventory) is carriage_of(inventory)
    assert carriage_of(inventory) is not carriage_of(network())
