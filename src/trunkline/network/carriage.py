"""What must be passed on the way to the core: what can only be reached through something fails along with it.

The inventory says what carries what, and there may be several ways up. A cell with two links does not go dark when one
of them is cut, so alarms of that link explain nothing about the cell. What explains it is what lies on *every* way: its
dominators, in the words of flow graphs. They form a chain, so each object has one *carrier*, the nearest thing that all
its ways to the core go through (T. Lengauer and R. Tarjan, ACM TOPLAS 1 (1979), for the notion; the network here has no
circles but by mistake, so one pass from the core downwards finds them).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.grouping import locate
from trunkline.network.inventory import Inventory

Array = npt.NDArray[Any]
Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Carriage:
    """Objects ascending, and by place in them: the place of the carrier (-1: none), and how many cells hang on each.

    A cell hangs on itself.
    """

    objects: Words
    carrier: Longs
    cells: Longs
    is_cell: npt.NDArray[np.bool_]
    names: list[str]
    kinds: list[str]
    pairs: tuple[Longs, Longs]  # places that are joined directly: below, above

    @cached_property
    def carries(self) -> npt.NDArray[np.bool_]:
        """Whether anything hangs on each object."""
        carries = np.zeros(len(self.objects), np.bool_)
        carries[self.carrier[self.carrier >= 0]] = True
        return carries

    @cached_property
    def joined(self) -> tuple[Longs, Longs]:
        """Direct neighbours of each place either way round: `others[first[i]:first[i + 1]]`."""
        one, other = (np.concatenate(both) for both in (self.pairs, self.pairs[::-1]))
        order = np.lexsort((other, one))
        first = np.zeros(len(self.objects) + 1, np.int64)
        np.cumsum(np.bincount(one, minlength=len(self.objects)), out=first[1:])
        return first, other[order]

    def places(self, objects: Words) -> Longs:
        """The place of each object; -1 where it is not in the inventory."""
        if not len(self.objects):
            return np.full(len(objects), -1, np.int64)
        at = np.minimum(np.searchsorted(self.objects, objects), len(self.objects) - 1)
        return np.where(self.objects[at] == objects, at, -1)

    def place(self, thing: int) -> int:
        """The place of one object; -1 when it is not in the inventory."""
        return int(self.places(np.array([thing], np.uint64))[0])

    def chain(self, place: int) -> list[int]:
        """The place itself, its carrier, that one's carrier, and so on up to the core."""
        found = []
        while place >= 0:
            found.append(place)
            place = int(self.carrier[place])
        return found

    @cached_property
    def carried(self) -> tuple[Longs, Longs]:
        """What each place carries directly: `others[first[i]:first[i + 1]]`."""
        hangs = np.flatnonzero(self.carrier >= 0)
        return _grouped(self.carrier[hangs], hangs, len(self.objects))

    def below(self, place: int) -> list[int]:
        """The place itself and all places that hang on it."""
        first, others = self.carried
        found = [place]
        for at in found:
            found += others[first[at] : first[at + 1]].tolist()
        return found

    def hanging_on(self, objects: Words) -> Words:
        """Everything that hangs on any of the given objects, themselves included if they are known; ascending."""
        given = np.zeros(len(self.objects), np.bool_)
        places = self.places(objects)
        given[places[places >= 0]] = True
        return self.objects[_below_any(self.carrier, given)]

    def names_of(self, objects: Words) -> list[str | None]:
        """Names of objects; None for those the inventory does not know."""
        return [self.names[place] if place >= 0 else None for place in self.places(objects).tolist()]


def carriage_of(inventory: Inventory) -> Carriage:
    """The carriage of an inventory; the last few inventories' are remembered, for they change rarely."""
    for known, carriage in _REMEMBERED:
        if known is inventory:
            return carriage
    carriage = _worked_out(inventory)
    _REMEMBERED.insert(0, (inventory, carriage))
    del _REMEMBERED[_REMEMBERED_MOST:]
    return carriage


_REMEMBERED: list[tuple[Inventory, Carriage]] = []
_REMEMBERED_MOST = 4


def _worked_out(inventory: Inventory) -> Carriage:
    named = inventory.names.filter(pl.col("kind") != "area")
    objects = np.ascontiguousarray(named["object"].to_numpy())
    below = locate(objects, inventory.upward["below"].to_numpy())
    above = locate(objects, inventory.upward["above"].to_numpy())
    known = (below >= 0) & (above >= 0) & (below != above)
    below, above = below[known], above[known]
    up_first, up = _grouped(below, above, len(objects))
    down_first, down = _grouped(above, below, len(objects))
    carrier, order = _dominators(up_first, up, down_first, down)
    is_cell = (named["kind"] == "cell").to_numpy()
    return Carriage(
        objects,
        carrier,
        _summed(carrier, order, is_cell.astype(np.int64)),
        is_cell,
        named["name"].to_list(),
        named["kind"].to_list(),
        (below, above),
    )


def _grouped(one: Longs, other: Longs, count: int) -> tuple[Longs, Longs]:
    order = np.lexsort((other, one))
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(one, minlength=count), out=first[1:])
    return first, other[order]


@nb.njit(nogil=True, cache=True)
def _met(carrier: Array, depth: Array, one: int, other: int) -> int:
    """Where two chains of carriers meet; -1 when they do not."""
    while one != other:
        if one < 0 or other < 0:
            return -1
        if depth[one] >= depth[other]:
            one = carrier[one]
        else:
            other = carrier[other]
    return one


@nb.njit(nogil=True, cache=True)
def _dominators(up_first: Array, up: Array, down_first: Array, down: Array) -> tuple[Array, Array]:
    """The carrier of each place, and the places from the core downwards; an inventory has no circles."""
    count = len(up_first) - 1
    waiting = up_first[1:] - up_first[:-1]
    carrier = np.full(count, -1, np.int64)
    depth = np.zeros(count, np.int64)
    order = np.empty(count, np.int64)
    written = 0
    for place in range(count):
        if waiting[place] == 0:
            order[written] = place
            written += 1
    for read in range(count):
        assert read < written, "links go in a circle"
        place = order[read]
        met = nb.int64(-1)
        for at in range(up_first[place], up_first[place + 1]):
            met = up[at] if at == up_first[place] else _met(carrier, depth, met, up[at])
        carrier[place] = met
        depth[place] = depth[met] + 1 if met >= 0 else 0
        for at in range(down_first[place], down_first[place + 1]):
            lower = down[at]
            waiting[lower] -= 1
            if waiting[lower] == 0:
                order[written] = lower
                written += 1
    return carrier, order


@nb.njit(nogil=True, cache=True)
def _summed(carrier: Array, order: Array, own: Array) -> Array:
    """What hangs on each place, itself included."""
    total = own.copy()
    for at in range(len(order) - 1, -1, -1):
        place = order[at]
        if carrier[place] >= 0:
            total[carrier[place]] += total[place]
    return total


@nb.njit(nogil=True, cache=True)
def _below_any(carrier: Array, given: Array) -> Array:
    """Whether a place, or anything on its chain of carriers, is among the given."""
    found = np.zeros(len(carrier), np.bool_)
    for place in range(len(carrier)):
        at = place
        while at >= 0:
            if given[at]:
                found[place] = True
                break
            at = carrier[at]
    return found
