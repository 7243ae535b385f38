"""What a bucket's steps remember, as Arrow files: one small file a micro-batch, merged like a log-structured tree.

Spark's own state stores hand Python one key at a time, which costs more than all of charging. Here a bucket of
subscribers is one task: it maps the files of the version before its batch, looks its keys up in them, and writes what
changed as one more file, whose head names the files that still count. So a version is one file and one rename, a batch
that is done again writes the same file again, and a start reads nothing but heads, however many subscribers there are.

Files lie beside Spark's checkpoint and share its fate. Every executor must see the folder.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trunkline.engines.loop import over
from trunkline.kernel.grouped import Grouped, Keys, State

FAN = 8  # so many files of a level become one of the next
KEPT_VERSIONS = 4  # Spark may do the last batch again; some more are kept for people
SLACK_DAYS = 1  # rows are forgotten this much later than promised, so that no border of a batch decides
OPENED_FILES = 4096
LEFT_S = 86_400
NEWEST = 2**60  # later than every batch: the newest version there is
_SCHEMA = pa.schema([("key", pa.uint64()), ("rows", pa.large_binary())])
_HEAD = b"trunkline"

Places = npt.NDArray[np.int64]


class BlobDamaged(Exception):
    """A file of a bucket's state is missing or not as it was written; go back to a copy of the folder."""


@dataclass(frozen=True)
class Head:
    """What a version's file says about itself and about the bucket."""

    older: tuple[str, ...] = ()  # files that still count, newest first
    next_row: int = 0  # arrival number within the bucket
    newest_day: int = 0
    accounts: Mapping[str, list[int]] = field(default_factory=dict)  # by source, since the beginning
    told: int = 0  # what customers were told, since the beginning
    poisoned: int = 0  # records that broke a step, since the beginning
    newest_us: int = 0  # newest beginning of a use that was charged
    late: int = 0  # uses that came too late for their minute's sums, since the beginning
    carried_us: int = 0  # how long the batch took in this bucket
    states: tuple[str, ...] = ()  # in the order of the file's record batches
    keys: int = 0  # in all files that count
    octets: int = 0  # of the files that count, without this one


class Bucket:
    """One bucket's state as it stood before a batch, and what the batch puts; a `States` for the loop."""

    def __init__(self, folder: Path, states: Sequence[State], before: int, kept: int = KEPT_VERSIONS) -> None:
        """Open the newest version that is older than batch `before`; the newest `kept` ones are kept."""
        self.folder, self._kept = folder, kept
        self.states = {state.name: state for state in states}
        self.changed: dict[str, Grouped] = {}
        name = version_before(folder, before)
        head = head_of(folder / name) if name else Head()
        self._files = (name, *head.older) if name else ()
        self.next_row = head.next_row
        self.newest_day = head.newest_day
        self.told, self.poisoned, self.carried_us = head.told, head.poisoned, 0
        self.newest_us, self.late = head.newest_us, head.late
        self.accounts = {source: list(sums) for source, sums in head.accounts.items()}

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What ascending keys hold now, with what this batch has put."""
        changed = self.changed.get(state.name)
        runs = [self._run(name, state) for name in self._files]
        left = np.arange(len(keys))
        counts = np.zeros(len(keys), np.int64)
        taken: list[tuple[Grouped, Places, Places]] = []  # out of which run, for which keys, its groups
        for run in runs if changed is None else [changed, *runs]:
            if not len(left):
                break
            if not len(run.keys):
                continue
            wanted = keys[left]
            at = np.searchsorted(run.keys, wanted)
            at[at == len(run.keys)] = 0
            known = run.keys[at] == wanted
            if known.any():
                taken.append((run, left[known], at[known]))
                counts[left[known]] = run.offsets[at[known] + 1] - run.offsets[at[known]]
                left = left[~known]
        offsets = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        rows = np.empty(int(offsets[-1]), state.dtype)
        for run, where, at in taken:
            rows[_members(offsets[where], counts[where])] = run.rows[_members(run.offsets[at], counts[where])]
        return Grouped(keys, offsets, rows)

    def everything(self, state: State) -> Grouped:
        """What the version holds under all keys that hold anything, ascending."""
        runs = [self._run(name, state).keys for name in self._files]
        return _without_empty(self.gather(state, np.unique(np.concatenate([np.empty(0, np.uint64), *runs]))))

    def put(self, state: State, groups: Grouped, _number: int) -> None:
        """What keys hold from now on; durable with `write`."""
        before = self.changed.get(state.name)
        self.changed[state.name] = groups if before is None else over(before, groups)
        if state.days is not None and len(groups.rows):
            self.newest_day = max(self.newest_day, int(groups.rows["day"].max()))

    def write(self, number: int) -> None:
        """Make version `number` of the bucket durable: the changes, merged with as many files as are due."""
        level, due = 0, 0
        while [_level(name) for name in self._files[due : due + FAN - 1]] == [level] * (FAN - 1):
            due += FAN - 1
            level += 1
        merged, older = self._files[:due], self._files[due:]
        groups = [self._merged(state, merged, bottom=not older) for state in self.states.values()]
        octets = sum((self.folder / name).stat().st_size for name in older)
        keys = sum(len(group) for group in groups) + sum(
            _file(str(self.folder / name)).keys for name in older
        )
        head = Head(
            older, self.next_row, self.newest_day, self.accounts, self.told, self.poisoned,
            self.newest_us, self.late, self.carried_us,
            tuple(self.states), keys, octets,
        )  # fmt: skip
        path = self.folder / f"{level}-{number:015d}.arrow"
        _write(path, head, groups)
        _forget(self.folder, self._kept)

    def _merged(self, state: State, names: Sequence[str], *, bottom: bool) -> Grouped:
        groups = Grouped.empty(state.dtype)
        for name in reversed(names):
            groups = over(groups, self._run(name, state))
        if state.name in self.changed:
            groups = over(groups, self.changed[state.name])
        if names and state.days is not None:
            groups = _not_older(groups, self.newest_day - state.days - SLACK_DAYS)
        return _without_empty(groups) if bottom else groups

    def _run(self, name: str, state: State) -> Grouped:
        return _file(str(self.folder / name)).groups(state)


def version_before(folder: Path, number: int) -> str:
    """Name of the newest version's file that is older than batch `number`; empty when there is none."""
    names = [name for name in _names(folder) if _number(name) < number]
    return max(names, key=_number, default="")


def newest_versions(folder: Path, number: int) -> list[tuple[Head, int]]:
    """Head and octets of the newest version before batch `number` of every bucket in a folder of buckets."""
    found = []
    for bucket in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = version_before(bucket, number)
        if name:
            head = head_of(bucket / name)
            found.append((head, head.octets + (bucket / name).stat().st_size))
    return found


def head_of(path: Path) -> Head:
    """What a version's file says about itself."""
    return _file(str(path)).head


class _File:
    """An opened file; its arrays are the file's own pages."""

    def __init__(self, path: str) -> None:
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(path))
            fields = json.loads(self._reader.schema.metadata[_HEAD])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise BlobDamaged(f"{path} is not a whole file of state: {type(error).__name__}") from error
        self.head = Head(**(fields | {"older": tuple(fields["older"]), "states": tuple(fields["states"])}))
        self._groups: dict[str, Grouped] = {}

    @property
    def keys(self) -> int:
        """How many keys it holds itself, over all states."""
        return sum(self._reader.get_batch(at).num_rows for at in range(self._reader.num_record_batches))

    def groups(self, state: State) -> Grouped:
        """The groups of one state."""
        if state.name not in self._groups:
            if state.name not in self.head.states:  # written before the map knew this state
                return Grouped.empty(state.dtype)
            batch = self._reader.get_batch(self.head.states.index(state.name))
            keys = batch.column("key").to_numpy(zero_copy_only=True)
            _, ends, octets = batch.column("rows").buffers()
            ends = np.frombuffer(ends, np.int64, batch.num_rows + 1)
            rows = np.frombuffer(octets or b"", np.uint8)[: int(ends[-1])].view(state.dtype)
            self._groups[state.name] = Grouped(keys, ends // state.dtype.itemsize, rows)
        return self._groups[state.name]


def _file(path: str) -> _File:
    """An opened file; opened anew only when another one has taken its name (a checkpoint that was begun again)."""
    try:
        stat = Path(path).stat()
    except FileNotFoundError as error:
        raise BlobDamaged(f"{path} is missing") from error
    return _opened(path, stat.st_ino, stat.st_mtime_ns)


@lru_cache(maxsize=OPENED_FILES)
def _opened(path: str, _inode: int, _time_ns: int) -> _File:
    return _File(path)


def _write(path: Path, head: Head, groups: Sequence[Grouped]) -> None:
    """Write, reach the disk, and only then take the name; doing it again writes the same again."""
    schema = _SCHEMA.with_metadata({_HEAD: json.dumps(asdict(head)).encode()})

    def fill(file: IO[bytes]) -> None:
        with pa.ipc.new_file(file, schema) as writer:
            for group in groups:
                writer.write_batch(_as_batch(group, schema))

    durably(path, fill)


def durably(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, which Spark passes over, and give it its own when it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    with fresh.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _as_batch(groups: Grouped, schema: pa.Schema) -> pa.RecordBatch:
    rows = np.ascontiguousarray(groups.rows)
    ends = np.ascontiguousarray(groups.offsets * rows.dtype.itemsize, np.int64)
    column = pa.Array.from_buffers(
        pa.large_binary(), len(groups), [None, pa.py_buffer(ends), pa.py_buffer(rows.view(np.uint8))]
    )
    return pa.RecordBatch.from_arrays([pa.array(np.ascontiguousarray(groups.keys)), column], schema=schema)


def _forget(folder: Path, kept: int) -> None:
    """Remove the files that none of the newest versions names."""
    names = sorted(_names(folder), key=_number, reverse=True)
    named = set(names[:kept])
    for name in names[:kept]:
        named.update(head_of(folder / name).older)
    for name in names:
        if name not in named:
            (folder / name).unlink(missing_ok=True)
    for left in folder.glob(".*"):  # by a task that was killed while it wrote
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_S:
                left.unlink()


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [path.name for path in folder.glob("[0-9]*.arrow")]


def _number(name: str) -> int:
    return int(name.partition("-")[2].removesuffix(".arrow"))


def _level(name: str) -> int:
    return int(name.partition("-")[0])


def _picked(groups: Grouped, at: Places) -> Grouped:
    """Copies of the groups at ascending positions."""
    starts, counts = groups.offsets[at], groups.offsets[at + 1] - groups.offsets[at]
    offsets = np.zeros(len(at) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Grouped(groups.keys[at], offsets, groups.rows[_members(starts, counts)])


def _members(starts: Places, counts: Places) -> Places:
    """Places of the rows of groups that begin somewhere and have so many, one group after another."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(int(counts.sum()), dtype=np.int64)


def _not_older(groups: Grouped, day: int) -> Grouped:
    """Without the rows of days before the given one; keys stay, so that older files stay hidden."""
    keep = groups.rows["day"] >= day
    if keep.all():
        return groups
    kept = np.concatenate([[0], np.cumsum(keep)])
    return Grouped(groups.keys, kept[groups.offsets], groups.rows[keep])


def _without_empty(groups: Grouped) -> Grouped:
    """Without the keys that hold nothing, where no older file is left to hide."""
    return _picked(groups, np.flatnonzero(np.diff(groups.offsets)))
