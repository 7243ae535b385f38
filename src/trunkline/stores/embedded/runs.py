"""Sorted runs: immutable groups of rows on disk, from which state is read back, looked up and merged.

A run holds what some keys held at one moment of the commit order. Newer runs win over older ones, key by key, so
that a commit writes only what it changed and a merge of neighbours changes no answer. Layout: one page of header,
the ascending keys (8 octets each), where each key's rows end (4 octets each; left out when every key has one row),
the rows, and every 256th key again, so that a search touches one place of the long list.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.grouped import Grouped, Keys, Rows
from trunkline.ports import FolderDamaged
from trunkline.stores.embedded.disk import Disk

_MAGIC = b"trunkrun"
_HEADER = struct.Struct(
    "<8sIIqqqqqq"
)  # magic, version, row width, keys, rows; where keys, ends, rows, fence begin
_PAGE = 4096
_FENCE = 256

Ends = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Run:
    """An opened run; the arrays are the file's own pages."""

    keys: Keys
    ends: Ends | None  # None: one row a key
    rows: Rows
    fence: Keys
    octets: int

    def __len__(self) -> int:
        """How many keys it holds."""
        return len(self.keys)

    def known(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], Grouped]:
        """Which of the ascending `keys` it holds, and their groups."""
        at = np.empty(len(keys), np.int64)
        _search(self.keys, self.fence, np.ascontiguousarray(keys), at)
        known = at >= 0
        at = at[known]
        offsets, index = self._index_of(at)
        return known, Grouped(keys[known], offsets, self.rows[index])

    def slice(self, first: int, last: int) -> Grouped:
        """The groups from one position to before another."""
        if self.ends is None:
            offsets = np.arange(last - first + 1, dtype=np.int64)
            return Grouped(self.keys[first:last], offsets, self.rows[first:last])
        start = int(self.ends[first - 1]) if first else 0
        offsets = np.zeros(last - first + 1, np.int64)
        offsets[1:] = self.ends[first:last]
        offsets[1:] -= start
        return Grouped(self.keys[first:last], offsets, self.rows[start : start + int(offsets[-1])])

    def _index_of(self, at: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if self.ends is None:
            return np.arange(len(at) + 1, dtype=np.int64), at
        last = self.ends[at].astype(np.int64)
        first = np.where(at > 0, self.ends[at - 1], 0).astype(np.int64)
        offsets = np.zeros(len(at) + 1, np.int64)
        np.cumsum(last - first, out=offsets[1:])
        return offsets, np.repeat(first - offsets[:-1], last - first) + np.arange(offsets[-1], dtype=np.int64)


def of_groups(groups: Grouped, dtype: np.dtype[Any]) -> Run:
    """Groups in memory as a run, so that they are searched and merged like the others."""
    keys, ends = np.ascontiguousarray(groups.keys), _ends_of(groups)
    rows = np.ascontiguousarray(groups.rows, dtype)
    octets = keys.nbytes + rows.nbytes + (0 if ends is None else ends.nbytes)
    return Run(keys, ends, rows, keys[::_FENCE].copy(), octets)


def _ends_of(groups: Grouped) -> Ends | None:
    """Where each key's rows end; None when every key has one row."""
    if len(groups.rows) == len(groups.keys) and bool((np.diff(groups.offsets) == 1).all()):
        return None
    return groups.offsets[1:].astype(np.uint32)


def encode(groups: Grouped, *behind: Grouped) -> list[memoryview | bytes]:
    """The parts of a run's file, in order; the keys of groups that stand behind others ascend on."""
    parts = (groups, *behind)
    keys = np.concatenate([part.keys for part in parts])
    rows = [np.ascontiguousarray(part.rows) for part in parts]
    count = sum(len(each) for each in rows)
    ends_of_groups = [_ends_of(part) for part in parts]
    ends = np.empty(0, np.uint32)
    if any(each is not None for each in ends_of_groups):
        first = np.cumsum([0, *(len(each) for each in rows)])
        ends = np.concatenate(
            [part.offsets[1:] + base for part, base in zip(parts, first, strict=False)]
        ).astype(np.uint32)
    octets = sum(each.nbytes for each in rows)
    ends_at = _PAGE + keys.nbytes if len(ends) else 0
    rows_at = _PAGE + keys.nbytes + ends.nbytes
    fence_at = _pages(rows_at + octets)
    header = _HEADER.pack(
        _MAGIC, 1, rows[0].dtype.itemsize, len(keys), count, _PAGE, ends_at, rows_at, fence_at
    )
    return [
        header.ljust(_PAGE, b"\0"),
        _octets(keys),
        _octets(ends),
        *map(_octets, rows),
        bytes(fence_at - rows_at - octets),
        _octets(keys[::_FENCE]),
    ]


def decode(octets: memoryview | bytes | mmap.mmap, dtype: np.dtype[Any], name: str) -> Run:
    """A run out of its octets; raises `FolderDamaged` when they are not whole."""
    if len(octets) < _PAGE:
        raise FolderDamaged(f"{name} is cut short")
    magic, version, width, keys, rows, keys_at, ends_at, rows_at, fence_at = _HEADER.unpack_from(octets)
    fences = -(-keys // _FENCE)
    if magic != _MAGIC or version != 1 or width != dtype.itemsize or len(octets) < fence_at + 8 * fences:
        raise FolderDamaged(f"{name} is not a whole run of rows of {dtype.itemsize} octets")
    all_keys: Keys = np.frombuffer(octets, np.uint64, keys, keys_at)
    ends = np.frombuffer(octets, np.uint32, keys, ends_at) if ends_at else None
    all_rows: Rows = np.frombuffer(octets, dtype, rows, rows_at)
    fence: Keys = np.frombuffer(octets, np.uint64, fences, fence_at)
    return Run(all_keys, ends, all_rows, fence, len(octets))


def open_file(path: Path, octets: int, dtype: np.dtype[Any]) -> Run:
    """A run of a file, mapped; raises `FolderDamaged` when the file is not as long as it was written."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != octets:
                raise FolderDamaged(f"{path} has {size} octets, {octets} were written")
            return decode(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype, str(path))
    except FileNotFoundError as error:
        raise FolderDamaged(f"{path} is missing") from error


def read_into_memory(path: Path, octets: int, dtype: np.dtype[Any], chunk_keys: int) -> Iterator[Grouped]:
    """The groups of a file in slices, without keeping its pages in this process."""
    run = open_file(path, octets, dtype)
    for first in range(0, len(run), chunk_keys):
        yield run.slice(first, min(first + chunk_keys, len(run)))


def merged(runs: Sequence[Run], dtype: np.dtype[Any], chunk_keys: int) -> Iterator[Grouped]:
    """The newest group of every key, in order of keys; `runs` stand oldest first. Memory stays within a chunk."""
    at = [0] * len(runs)
    chunk_keys = max(1, chunk_keys // max(1, len(runs)))
    while True:
        left = [which for which, run in enumerate(runs) if at[which] < len(run)]
        if not left:
            return
        reach = {which: min(at[which] + chunk_keys, len(runs[which])) for which in left}
        border = min(
            (runs[which].keys[reach[which] - 1] for which in left if reach[which] < len(runs[which])),
            default=np.uint64(2**64 - 1),
        )
        parts = []
        for which in left:
            keys = runs[which].keys[at[which] : reach[which]]
            until = at[which] + int(np.searchsorted(keys, border, side="right"))
            parts.append(runs[which].slice(at[which], until))
            at[which] = until
        yield newest(parts, dtype)


def newest(parts: Sequence[Grouped], dtype: np.dtype[Any]) -> Grouped:
    """The newest group of every key of several parts that stand oldest first."""
    parts = [part for part in parts if len(part.keys)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Grouped.empty(dtype)
    keys = np.concatenate([part.keys for part in parts])
    first_row = np.concatenate([[0], np.cumsum([len(part.rows) for part in parts])])
    starts = np.concatenate([part.offsets[:-1] + base for part, base in zip(parts, first_row, strict=False)])
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    rows = np.concatenate([np.ascontiguousarray(part.rows, dtype) for part in parts])
    borders = np.concatenate([[0], np.cumsum([len(part.keys) for part in parts])]).astype(np.int64)
    chosen = np.empty(len(keys), np.int64)
    chosen = chosen[: _merge(keys, borders, chosen)]
    offsets = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(counts[chosen], out=offsets[1:])
    index = np.repeat(starts[chosen] - offsets[:-1], counts[chosen]) + np.arange(offsets[-1], dtype=np.int64)
    return Grouped(keys[chosen], offsets, rows[index])


def not_older(groups: Grouped, day: int) -> Grouped:
    """Without the rows whose `day` is before the given one, and without keys that have none left."""
    keep = groups.rows["day"] >= day
    if keep.all():
        return groups
    owner = np.repeat(np.arange(len(groups.keys)), np.diff(groups.offsets))[keep]
    counts = np.bincount(owner, minlength=len(groups.keys))
    alive = counts > 0
    offsets = np.zeros(int(alive.sum()) + 1, np.int64)
    np.cumsum(counts[alive], out=offsets[1:])
    return Grouped(groups.keys[alive], offsets, groups.rows[keep])


def without_empty(groups: Grouped) -> Grouped:
    """Without the keys that hold nothing; for the oldest run, below which nothing needs hiding."""
    alive = np.diff(groups.offsets) > 0
    if alive.all():
        return groups
    offsets = np.concatenate([[0], groups.offsets[1:][alive]]).astype(np.int64)
    return Grouped(groups.keys[alive], offsets, groups.rows)


class RunWriter:
    """Builds a run's file slice by slice in ascending order of keys.

    Keys, ends and rows are written to places that have room for the most there can be; what is not used
    stays a hole in the file and takes no disk.
    """

    def __init__(
        self, disk: Disk, path: Path, dtype: np.dtype[Any], most_keys: int, *, one_row: bool
    ) -> None:
        """Begin a file for at most `most_keys` keys; `one_row` promises one row for each."""
        self._disk, self._path, self._dtype = disk, path, dtype
        self._file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        self._ends_at = 0 if one_row else _pages(_PAGE + 8 * most_keys)
        self._rows_at = _pages(_PAGE + 8 * most_keys) if one_row else _pages(self._ends_at + 4 * most_keys)
        self._fence: list[Keys] = []
        self.keys = self.rows = 0
        self.first_key = self.last_key = 0

    def add(self, groups: Grouped) -> None:
        """Append groups whose keys follow those that were added."""
        if not len(groups.keys):
            return
        assert self.keys == 0 or int(groups.keys[0]) > self.last_key, "keys must ascend"
        if self.keys == 0:
            self.first_key = int(groups.keys[0])
        self.last_key = int(groups.keys[-1])
        rows = np.ascontiguousarray(groups.rows, self._dtype)
        assert self._ends_at or len(rows) == len(groups.keys), "one row a key was promised"
        self._write(groups.keys, _PAGE + 8 * self.keys)
        self._fence.append(groups.keys[-self.keys % _FENCE :: _FENCE].copy())
        if self._ends_at:
            self._write((groups.offsets[1:] + self.rows).astype(np.uint32), self._ends_at + 4 * self.keys)
        self._write(rows, self._rows_at + self._dtype.itemsize * self.rows)
        self.keys += len(groups.keys)
        self.rows += len(rows)

    def finish(self) -> int:
        """Write the header and make the file durable; how many octets it has."""
        fence_at = _pages(self._rows_at + self.rows * self._dtype.itemsize)
        fence = np.concatenate(self._fence) if self._fence else np.empty(0, np.uint64)
        self._write(fence, fence_at)
        size = fence_at + fence.nbytes
        header = _HEADER.pack(
            _MAGIC,
            1,
            self._dtype.itemsize,
            self.keys,
            self.rows,
            _PAGE,
            self._ends_at,
            self._rows_at,
            fence_at,
        )
        self._disk.write_at(self._file, self._path, header.ljust(_PAGE, b"\0"), 0)
        os.ftruncate(self._file, size)
        os.close(self._file)
        self._disk.fsync(self._path)
        return size

    def _write(self, array: npt.NDArray[Any], offset: int) -> None:
        self._disk.write_at(self._file, self._path, _octets(array), offset)


def in_memory(parts: Sequence[memoryview | bytes]) -> bytes:
    """The parts of `encode` as one piece."""
    joined = io.BytesIO()
    for part in parts:
        joined.write(part)
    return joined.getvalue()


def merge_to_file(
    disk: Disk,
    path: Path,
    runs: Sequence[Run],
    dtype: np.dtype[Any],
    change: Callable[[Grouped], Grouped],
    chunk_keys: int = 1 << 20,
) -> tuple[RunWriter, int]:
    """Merge runs (oldest first) into a file; `change` drops what is forgotten. The writer's counts and the size."""
    one_row = all(run.ends is None for run in runs)
    writer = RunWriter(disk, path, dtype, sum(len(run) for run in runs), one_row=one_row)
    for groups in merged(runs, dtype, chunk_keys):
        writer.add(change(groups))
    return writer, writer.finish()


def _octets(array: npt.NDArray[Any]) -> memoryview:
    octets: Any = np.ascontiguousarray(array).view(np.uint8)
    return memoryview(octets)


def _pages(octets: int) -> int:
    return -(-octets // _PAGE) * _PAGE


@nb.njit(nogil=True, cache=True)
def _search(held: Keys, fence: Keys, keys: Keys, at: npt.NDArray[np.int64]) -> None:
    block = np.int64(0)
    for which in range(len(keys)):
        key = keys[which]
        low, high = block, np.int64(len(fence))  # keys ascend, so the search goes on from the last block
        while low < high:
            middle = (low + high) // 2
            if fence[middle] <= key:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            at[which] = -1
            continue
        block = low - 1
        low, high = block * _FENCE, np.int64(min(int(block + 1) * _FENCE, len(held)))
        while low < high:
            middle = (low + high) // 2
            if held[middle] < key:
                low = middle + 1
            else:
                high = middle
        at[which] = low if low < len(held) and held[low] == key else -1


@nb.njit(nogil=True, cache=True)
def _merge(keys: Keys, borders: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> int:
    """Positions of the newest entry of every key; part p stands at borders[p]:borders[p + 1], oldest first."""
    parts = len(borders) - 1
    at = borders[:-1].copy()
    found = 0
    while True:
        best = -1
        lowest = np.uint64(0)
        for part in range(parts - 1, -1, -1):
            if at[part] < borders[part + 1] and (best < 0 or keys[at[part]] < lowest):
                best = part
                lowest = keys[at[part]]
        if best < 0:
            return found
        chosen[found] = at[best]
        found += 1
        for part in range(parts):
            if at[part] < borders[part + 1] and keys[at[part]] == lowest:
                at[part] += 1
