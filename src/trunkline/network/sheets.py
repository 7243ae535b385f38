"""Gathering rows that belong on one sheet: the counters of one object, slice and period, whatever order they came in.

Files tell counters in a steady order, cell by cell or counter by counter. So the sheet that followed last time is tried
first, and a hash is asked only where the order breaks: two million rows find their hundred thousand sheets in
hundredths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import order_by_group
from trunkline.records.network import BUCKET_SHIFT

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]

_G1, _G2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_G3, _G4 = np.uint64(0x165667B19E3779F9), np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Sheets:
    """The different sheets, those that were known first, and the sheet of each row."""

    of: Places
    objects: Words
    places: Words
    begins: Longs
    ends: Longs

    def __len__(self) -> int:
        """How many sheets there are."""
        return len(self.objects)


def place_words(slices: npt.NDArray[np.uint32], five_qi: npt.NDArray[np.uint8]) -> Words:
    """Slice and 5QI in one word; the lowest 24 bits are left for what tells sheets of one place apart."""
    words: Words = slices.astype(np.uint64) << np.uint64(32) | five_qi.astype(np.uint64) << np.uint64(24)
    return words


def sheets(
    known: tuple[Words, Words, Longs, Longs], objects: Words, places: Words, begins: Longs, ends: Longs
) -> Sheets:
    """The sheet of each row by (object, place, begin, end); the `known` ones, all different, keep their numbers."""
    of = np.empty(len(objects), np.int32)
    found = _sheets(*known, objects, places, begins, ends, of)
    return Sheets(of, *found)


@nb.njit(nogil=True, cache=True)
def _sheets(
    known_object: Words, known_place: Words, known_begin: Longs, known_end: Longs,
    objects: Words, places: Words, begins: Longs, ends: Longs, of: Places,
) -> tuple[Words, Words, Longs, Longs]:  # fmt: skip
    count = nb.int64(len(known_object))
    most = count + len(objects)
    bits = np.uint64(4)
    while (np.int64(1) << np.int64(bits)) < 2 * most:
        bits += np.uint64(1)
    mask = (nb.int64(1) << nb.int64(bits)) - 1
    shift = np.uint64(64) - bits
    slots = np.full(mask + 1, -1, np.int32)
    follows = np.full(most + 1, -1, np.int32)
    object_, place = np.empty(most, np.uint64), np.empty(most, np.uint64)
    begin, end = np.empty(most, np.int64), np.empty(most, np.int64)
    for i in range(count):
        object_[i], place[i], begin[i], end[i] = known_object[i], known_place[i], known_begin[i], known_end[i]
        slot = _slot(object_[i], place[i], begin[i], end[i], shift)
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = i
    before = nb.int64(most)  # the place before the first row
    for row in range(len(objects)):
        at = nb.int64(follows[before])
        if at < 0 or not (
            object_[at] == objects[row]
            and end[at] == ends[row]
            and place[at] == places[row]
            and begin[at] == begins[row]
        ):
            slot = _slot(objects[row], places[row], begins[row], ends[row], shift)
            at = nb.int64(slots[slot])
            while at >= 0 and not (
                object_[at] == objects[row]
                and end[at] == ends[row]
                and place[at] == places[row]
                and begin[at] == begins[row]
            ):
                slot = (slot + 1) & mask
                at = nb.int64(slots[slot])
            if at < 0:
                at = count
                slots[slot] = at
                object_[at], place[at], begin[at], end[at] = objects[row], places[row], begins[row], ends[row]
                count += 1
            follows[before] = at
        of[row] = at
        before = at
    return object_[:count].copy(), place[:count].copy(), begin[:count].copy(), end[:count].copy()


def beginnings(objects: Words, ends: Longs, places: Words | None = None) -> Longs:
    """The rows at which object, place or end is another than in the row before: one for each sheet of a steady file.

    What is asked of the newest end or the first row of each object is asked of these alone.
    """
    return _beginnings(objects, objects if places is None else places, ends)


@nb.njit(nogil=True, cache=True)
def _beginnings(objects: Words, places: Words, ends: Longs) -> Longs:
    rows = np.empty(len(objects), np.int64)
    count = 0
    for row in range(len(objects)):
        if (
            row == 0
            or objects[row] != objects[row - 1]
            or ends[row] != ends[row - 1]
            or places[row] != places[row - 1]
        ):
            rows[count] = row
            count += 1
    return rows[:count].copy()


@nb.njit(inline="always")
def _slot(object_: np.uint64, place: np.uint64, begin: int, end: int, shift: np.uint64) -> int:
    word = object_ ^ (place * _G2) ^ (np.uint64(end) * _G3) ^ (np.uint64(begin) * _G4)
    word ^= word >> np.uint64(29)
    return int(np.int64((word * _G1) >> shift))


def by_bucket(keys: Words, objects: Words, rows: npt.NDArray[Any]) -> Grouped:
    """Rows grouped by their objects' buckets, one group for each of `keys`, which hold every bucket there is."""
    group = np.searchsorted(keys, objects >> np.uint64(BUCKET_SHIFT)).astype(np.int64)
    order, first = order_by_group(group, len(keys))
    return Grouped(keys, first, rows[order])
