"""Groups of rows in memory under 64-bit keys: an open-addressing index over one arena of rows.

Sixteen octets of index a slot and the rows themselves, nothing else, so that fifty million accounts fit beside
everything else in eight gigabytes. The arena grows in place where the system can move its pages (Linux), and rows
that outgrow their place leave it to the next group of that size.

Keys come in an order of their own, so nearly every group is far from the last one. The loops ask for the memory of the
groups to come while they are at work on this one.
"""

# ruff: noqa: ANN001, ANN201, ANN202 -- the inside of numba's intrinsic has no types; its stub stands above it
from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.extending import intrinsic

from trunkline.kernel.grouped import Grouped, Keys, Rows

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]

_SMALLEST_BITS = 10
_FULLEST = 0.8
_FREE_SIZES = 256  # groups of more rows than this are not reused; they are rare
_COUNT_BITS = 24
_AHEAD = 8  # groups; about as many accesses as a core keeps under way
_LINE_OCTETS = 64  # of a cache

if TYPE_CHECKING:

    def fetch(address: int | np.int64) -> None:
        """Ask for the cache line at an address, to be written; any address will do."""

else:

    @intrinsic
    def fetch(_typing, _address):
        """Ask for the cache line at an address, to be written; any address will do."""

        def generate(context, builder, _signature, arguments):
            pointer = ir.IntType(8).as_pointer()
            flag = ir.IntType(32)
            wanted = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
            call = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), wanted)
            to_write, keep, data = flag(1), flag(3), flag(1)
            builder.call(call, [builder.inttoptr(arguments[0], pointer), to_write, keep, data])
            return context.get_dummy_value()

        return nb.types.void(nb.types.uintp), generate


class Arena:
    """Octets that grow without being copied, on huge pages where there are any."""

    def __init__(self, octets: int) -> None:
        """Reserve; the system gives pages when they are first touched."""
        self._map = _mapped(octets)
        self.octets: Octets = np.frombuffer(self._map, np.uint8)

    def grow(self, octets: int) -> None:
        """Make room for at least `octets`; what is there stays."""
        if octets <= len(self.octets):
            return
        octets = max(octets, len(self.octets) * 3 // 2)
        kept = len(self.octets)
        self.octets = np.empty(0, np.uint8)
        try:
            self._map.resize(_whole_pages(octets))
            _prefer_huge_pages(self._map)
            self.octets = np.frombuffer(self._map, np.uint8)
        except (BufferError, SystemError, OSError, ValueError):
            old = np.frombuffer(self._map, np.uint8)
            self._map = _mapped(octets)
            self.octets = np.frombuffer(self._map, np.uint8)
            self.octets[:kept] = old[:kept]


def _whole_pages(octets: int) -> int:
    return -(-max(octets, 1) // mmap.PAGESIZE) * mmap.PAGESIZE


def _mapped(octets: int) -> mmap.mmap:
    pages = mmap.mmap(-1, _whole_pages(octets), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _prefer_huge_pages(pages)
    return pages


def _prefer_huge_pages(pages: mmap.mmap) -> None:
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            return  # a kernel without huge pages is slower, not wrong


class Table:
    """Rows of many keys, changed in place. A key that was put without rows is known to be empty.

    Digests are their own hashes: keys that come ascending then go through memory from end to end, where hashed ones
    would miss every cache.
    """

    def __init__(self, dtype: np.dtype[Any], keys: int = 0, rows: int = 0, *, digests: bool = False) -> None:
        """Make room for a number of keys and rows; it grows when there are more."""
        self.dtype = dtype
        self._digests = digests
        self.keys = 0
        self.wasted_rows = 0
        self._end = 0  # first row of the arena that was never used
        self._bits = max(_SMALLEST_BITS, int(keys / _FULLEST).bit_length())
        self._slots = _slots(self._bits)
        self._arena = Arena(max(rows, 1024) * dtype.itemsize)
        self._free = np.full(_FREE_SIZES, -1, np.int64)

    @property
    def octets(self) -> int:
        """Memory in use."""
        return self._slots.nbytes + self._end * self.dtype.itemsize

    def find(self, keys: Keys) -> Words:
        """For each key where its rows lie and how many, packed; 0 when the key was never put."""
        found = np.empty(len(keys), np.uint64)
        _find(self._slots, self._bits, self._digests, np.ascontiguousarray(keys), found)
        return found

    def gather(self, keys: Keys) -> Grouped:
        """The rows of `keys`; keys that were never put have none."""
        found = self.find(keys)
        offsets = _offsets_of(found)
        return Grouped(keys, offsets, self._copied(found, offsets))

    def known(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Grouped]:
        """Which of `keys` were ever put, and the groups of those."""
        found = self.find(keys)
        known = found != 0
        found = found[known]
        offsets = _offsets_of(found)
        return known, Grouped(keys[known], offsets, self._copied(found, offsets))

    def put(self, groups: Grouped) -> None:
        """What the keys hold from now on."""
        self.reserve(self.keys + len(groups.keys), self._end + len(groups.rows))
        rows = np.ascontiguousarray(groups.rows, self.dtype)
        arena, source = _words(self._arena.octets, self.dtype), _words(rows.view(np.uint8), self.dtype)
        self.keys, self._end, self.wasted_rows = _put(
            self._slots, self._bits, self._digests, arena, self._arena.octets, self.dtype.itemsize, self._free,
            np.ascontiguousarray(groups.keys), np.ascontiguousarray(groups.offsets, np.int64), source,
            self.keys, self._end, self.wasted_rows,
        )  # fmt: skip

    def reserve(self, keys: int, rows: int) -> None:
        """Make room for so many keys and rows in all."""
        bits = self._bits
        while keys > (1 << bits) * _FULLEST:
            bits += 1
        if bits != self._bits:
            larger = _slots(bits)
            _refill(self._slots, larger, bits, self._digests)
            self._slots, self._bits = larger, bits
        self._arena.grow(rows * self.dtype.itemsize)

    def all_keys(self) -> Keys:
        """Every key that was put, ascending."""
        return np.sort(self._slots[0::2][self._slots[1::2] != 0])

    def _copied(self, found: Words, offsets: Numbers) -> Rows:
        rows = np.empty(int(offsets[-1]), self.dtype)
        arena, target = _words(self._arena.octets, self.dtype), _words(rows.view(np.uint8), self.dtype)
        _copy(arena, found, offsets, target)
        return rows


def _slots(bits: int) -> Words:
    return np.frombuffer(_mapped(16 << bits), np.uint64)[: 2 << bits]


def _offsets_of(found: Words) -> Numbers:
    offsets = np.zeros(len(found) + 1, np.int64)
    _sum_counts(found, offsets)
    return offsets


def _words(octets: Octets, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The rows as the widest words that divide them, so that a copy moves as much at once as it can."""
    width = dtype.itemsize
    word: type[np.unsignedinteger[Any]] = np.uint8
    if width % 8 == 0:
        word = np.uint64
    elif width % 4 == 0:
        word = np.uint32
    whole = len(octets) // width * width
    return octets[:whole].view(word).reshape(-1, width // np.dtype(word).itemsize)


@nb.njit(nogil=True, cache=True)
def _slot_of(key: np.uint64, bits: int, digests: bool) -> np.int64:
    if digests:
        return np.int64(key >> np.uint64(64 - bits))
    # Dial words of neighbours differ in a few middle bits: both folds are needed to spread them.
    mixed = (key ^ (key >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.int64(mixed >> np.uint64(64 - bits))


@nb.njit(inline="always")
def _fetch_group(address: int, packed: np.uint64, width: int) -> None:
    """Ask for the rows of a group."""
    if packed != 0:
        begin = address + np.int64(packed >> np.uint64(_COUNT_BITS)) * width
        octets: Any = (np.int64(packed & np.uint64((1 << _COUNT_BITS) - 1)) - 1) * width
        for at in range(0, min(octets, 8 * _LINE_OCTETS), _LINE_OCTETS):
            fetch(begin + at)


@nb.njit(nogil=True, cache=True)
def _find(slots: Words, bits: int, digests: bool, keys: Keys, found: Words) -> None:
    mask = (np.int64(1) << np.int64(bits)) - 1
    address = slots.ctypes.data
    for at in range(len(keys)):
        if at + _AHEAD < len(keys):
            fetch(address + 16 * _slot_of(keys[at + _AHEAD], bits, digests))
        key = keys[at]
        slot = _slot_of(key, bits, digests)
        while slots[2 * slot + 1] != 0 and slots[2 * slot] != key:
            slot = (slot + 1) & mask
        found[at] = slots[2 * slot + 1]


@nb.njit(nogil=True, cache=True)
def _sum_counts(found: Words, offsets: Numbers) -> None:
    total = np.int64(0)
    for at in range(len(found)):
        if found[at] != 0:
            total += np.int64(found[at] & np.uint64((1 << _COUNT_BITS) - 1)) - 1
        offsets[at + 1] = total


@nb.njit(nogil=True, cache=True)
def _copy(arena: npt.NDArray[Any], found: Words, offsets: Numbers, target: npt.NDArray[Any]) -> None:
    address, width = arena.ctypes.data, arena.shape[1] * arena.itemsize
    for at in range(len(found)):
        if at + _AHEAD < len(found):
            _fetch_group(address, found[at + _AHEAD], width)
        start = np.int64(found[at] >> np.uint64(_COUNT_BITS))
        for row in range(offsets[at + 1] - offsets[at]):
            for word in range(arena.shape[1]):
                target[offsets[at] + row, word] = arena[start + row, word]


@nb.njit(nogil=True, cache=True)
def _refill(slots: Words, larger: Words, bits: int, digests: bool) -> None:
    mask = (np.int64(1) << np.int64(bits)) - 1
    for at in range(len(slots) // 2):
        if slots[2 * at + 1] != 0:
            slot = _slot_of(slots[2 * at], bits, digests)
            while larger[2 * slot + 1] != 0:
                slot = (slot + 1) & mask
            larger[2 * slot] = slots[2 * at]
            larger[2 * slot + 1] = slots[2 * at + 1]


@nb.njit(nogil=True, cache=True)
def _next_free(octets: Octets, width: int, row: int) -> int:
    value: Any = np.int64(0)
    for at in range(5):
        value = value << 8 | np.int64(octets[row * width + at])
    return value - 1


@nb.njit(nogil=True, cache=True)
def _set_next_free(octets: Octets, width: int, row: int, following: int) -> None:
    value = following + 1
    for at in range(4, -1, -1):
        octets[row * width + at] = value & 0xFF
        value >>= 8


@nb.njit(nogil=True, cache=True)
def _put(
    slots: Words, bits: int, digests: bool, arena: npt.NDArray[Any], octets: Octets, width: int, free: Numbers,
    keys: Keys, offsets: Numbers, source: npt.NDArray[Any], known: int, end: int, wasted: int,
) -> tuple[int, int, int]:  # fmt: skip
    mask = (np.int64(1) << np.int64(bits)) - 1
    slots_address, rows_address = slots.ctypes.data, octets.ctypes.data
    for at in range(len(keys)):
        if at + 2 * _AHEAD < len(keys):
            fetch(slots_address + 16 * _slot_of(keys[at + 2 * _AHEAD], bits, digests))
        if at + _AHEAD < len(keys):  # mostly the key stands in its own slot; if not, nothing is lost
            slot = _slot_of(keys[at + _AHEAD], bits, digests)
            _fetch_group(rows_address, slots[2 * slot + 1], width)
        key = keys[at]
        count = offsets[at + 1] - offsets[at]
        slot = _slot_of(key, bits, digests)
        while slots[2 * slot + 1] != 0 and slots[2 * slot] != key:
            slot = (slot + 1) & mask
        packed = slots[2 * slot + 1]
        start: Any = np.int64(packed >> np.uint64(_COUNT_BITS))
        had: Any = np.int64(packed & np.uint64((1 << _COUNT_BITS) - 1)) - 1
        if packed == 0:
            known += 1
            had = 0
        if had != count:
            if had > 0:
                wasted += had
                if had < len(free):
                    _set_next_free(octets, width, start, free[had])
                    free[had] = start
            start = 0
            if 0 < count < len(free) and free[count] >= 0:
                start = free[count]
                free[count] = _next_free(octets, width, start)
                wasted -= count
            elif count > 0:
                start = end
                end += count
        slots[2 * slot] = key
        slots[2 * slot + 1] = np.uint64(start) << np.uint64(_COUNT_BITS) | np.uint64(count + 1)
        for row in range(count):
            for word in range(arena.shape[1]):
                arena[start + row, word] = source[offsets[at] + row, word]
    return known, end, wasted
