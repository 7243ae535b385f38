"""What steps remember: gathered and put by key in memory, kept in sorted runs on disk.

Three manners, one interface. A *resident* state is wholly in memory. A resident state whose rows carry a `day`
lets go of groups that have been quiet for two days: they are found in their runs again when they wake. A
*windowed* state (`State.days`) keeps only what was put lately in memory (`young`); a Bloom filter says that nearly
every key is new, and the others are searched in the runs.

What is put is seen by the next gather at once and becomes durable with the commit that carries it. The loop
gathers and puts in one thread; the keeper's thread only swaps in merged runs, under a lock.
"""

from __future__ import annotations

import sqlite3
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trunkline.kernel.grouped import Grouped, Keys, State
from trunkline.ports import FolderDamaged
from trunkline.stores.embedded import runs
from trunkline.stores.embedded.bloom import Bloom
from trunkline.stores.embedded.manifest import stored_word
from trunkline.stores.embedded.table import Table
from trunkline.stores.embedded.together import Together, are_large
from trunkline.stores.embedded.young import Young

QUIET_DAYS = 2
SLACK_DAYS = 1  # rows are forgotten this much later than promised, so that no border of a batch decides
YOUNG_KEYS = 2_000_000
YOUNG_RUNS = 256
_FIRST_ROOM = 16_000_000
_NEARLY = 0.7


@dataclass(frozen=True)
class RunInfo:
    """A run as the manifest names it."""

    run: int
    state: str
    level: int
    first_commit: int
    last_commit: int
    keys: int
    rows: int
    octets: int
    first_key: int
    last_key: int
    newest_day: int
    path: str | None


Opener = Callable[[RunInfo], runs.Run]


@dataclass
class Memory(ABC):
    """One state's rows: what is in memory, and the runs that hold the rest."""

    state: State
    open_run: Opener
    newest_day: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """Begin empty."""
        self.infos: tuple[RunInfo, ...] = ()  # oldest first

    @abstractmethod
    def gather(self, keys: Keys) -> Grouped:
        """What ascending `keys` hold."""

    @abstractmethod
    def put(self, groups: Grouped, number: int) -> None:
        """What keys hold from now on."""

    @abstractmethod
    def load(self, infos: Sequence[RunInfo]) -> None:
        """Begin with the runs of the manifest, oldest first."""

    def committed(self, number: int, info: RunInfo | None) -> None:
        """Commit `number` is durable, with this run of the state or without one."""
        if info is not None:
            assert info.last_commit == number, "a run belongs to its commit"
            with self._lock:
                self.infos += (info,)

    def installed(self, gone: set[int], info: RunInfo | None) -> None:
        """Runs were replaced by one that stands in the place of the oldest of them."""
        with self._lock:
            self.infos = replaced(self.infos, gone, info)

    @property
    def oldest_day(self) -> int:
        """Rows of an earlier day are forgotten when runs are merged."""
        return self.newest_day - (self.state.days or 0) - SLACK_DAYS if self.state.days else -(2**31)

    def status(self) -> dict[str, Any]:
        """Keys and octets, in memory and on disk."""
        infos = self.infos
        return {
            "runs": len(infos),
            "disk_octets": sum(info.octets for info in infos),
            "disk_keys": sum(info.keys for info in infos),
        }


def replaced(infos: tuple[RunInfo, ...], gone: set[int], info: RunInfo | None) -> tuple[RunInfo, ...]:
    """The runs, oldest first, with one in the place of those that are gone."""
    at = next((at for at, old in enumerate(infos) if old.run in gone), len(infos))
    kept = [old for old in infos if old.run not in gone]
    if info is not None:
        kept.insert(at, info)
    return tuple(kept)


class Resident(Memory):
    """A state that is wholly in memory, or lets quiet groups rest in their runs when its rows carry a `day`."""

    def __post_init__(self) -> None:
        """Begin empty."""
        super().__post_init__()
        self._table = Table(self.state.dtype, digests=self.state.digests)
        self._rests = "day" in (self.state.dtype.names or ())
        self._together = Together()
        self._resting = Bloom(1 << 20, digests=self.state.digests)
        self._opened: dict[int, runs.Run] = {}
        self._recent: deque[tuple[int, Keys]] = deque()
        self._committed = 0
        self._swept_day = 0

    def load(self, infos: Sequence[RunInfo]) -> None:
        """Read every run, oldest first."""
        self.infos = tuple(infos)
        self.newest_day = max((info.newest_day for info in infos), default=0)
        self._swept_day = self.newest_day
        largest = max((info.keys for info in infos), default=0)
        others = sum(info.keys for info in infos) - largest
        self._table = Table(
            self.state.dtype,
            largest + others // 4,
            max((info.rows for info in infos), default=0),
            digests=self.state.digests,
        )
        for info in infos:
            run = self.open_run(info)
            for first in range(0, len(run), 1 << 18):
                self._table.put(self._awake(run.slice(first, min(first + (1 << 18), len(run)))))

    def gather(self, keys: Keys) -> Grouped:
        """What ascending `keys` hold; those that rest are read from their runs. Several threads may ask at once."""
        if not self._rests:
            with self._lock:
                found = self._together.gather(keys)
                if found is None:
                    for part in self._together.take(keys):
                        self._table.put(part)
            return self._table.gather(keys) if found is None else found
        if not self._resting.keys:
            return self._table.gather(keys)
        known, groups = self._table.known(keys)
        unknown = keys[~known]
        unknown = unknown[self._resting.perhaps(unknown)]
        return spread(keys, [groups, *self._woken(unknown)], self.state.dtype)

    def put(self, groups: Grouped, number: int) -> None:
        """What keys hold from now on; a day's turn sends quiet groups to rest."""
        if not self._rests:
            self._put_together(groups)
            return
        self._table.put(groups)
        if len(groups.rows):
            self._recent.append((number, groups.keys))
            self.newest_day = max(self.newest_day, int(groups.rows["day"].max()))
            if self.newest_day > self._swept_day:
                self._sweep()

    def committed(self, number: int, info: RunInfo | None) -> None:
        """Groups of this commit may rest from now on, because a run holds them."""
        super().committed(number, info)
        self._committed = number

    def status(self) -> dict[str, Any]:
        """Keys and octets, in memory and on disk."""
        memory = self._table.octets + self._together.octets + self._resting.octets
        keys = self._table.keys + len(self._together.keys)
        return super().status() | {"memory_keys": keys, "memory_octets": memory}

    def _put_together(self, groups: Grouped) -> None:
        """Large groups stay as they came; what the table held of them is forgotten once that is all it held."""
        with self._lock:
            for part in self._together.let_go(groups.keys):
                self._table.put(part)
            if not are_large(groups):
                self._table.put(groups)
                return
            self._together.put(groups)
            if self._table.keys and bool(np.isin(self._table.all_keys(), self._together.keys).all()):
                self._table = Table(self.state.dtype, digests=self.state.digests)

    def _awake(self, groups: Grouped) -> Grouped:
        if not self._rests:
            return groups
        quiet = self._quiet(groups) & (self._table.find(groups.keys) == 0)  # an older run may have woken it
        self._rest(groups.keys[quiet])
        return _chosen(groups, ~quiet)

    def _quiet(self, groups: Grouped) -> npt.NDArray[np.bool_]:
        days = np.full(len(groups.keys), -(2**31), np.int64)
        owners = np.repeat(np.arange(len(groups.keys)), np.diff(groups.offsets))
        np.maximum.at(days, owners, groups.rows["day"].astype(np.int64))
        return days < self.newest_day - QUIET_DAYS

    def _rest(self, keys: Keys) -> None:
        if not len(keys):
            return
        if self._resting.keys + len(keys) > self._resting.room:
            self._resting = filter_of(
                self._runs_newest_first(),
                2 * (self._resting.keys + len(keys)),
                digests=self.state.digests,
            )
        self._resting.add(keys)

    def _sweep(self) -> None:
        """Build the table again without what has been quiet; what is not yet durable stays."""
        while self._recent and self._recent[0][0] <= self._committed:
            self._recent.popleft()
        undurable = np.unique(np.concatenate([keys for _, keys in self._recent] or [np.empty(0, np.uint64)]))
        every = self._table.all_keys()
        awake = Table(self.state.dtype, digests=self.state.digests)
        for first in range(0, len(every), 1 << 18):
            groups = self._table.gather(every[first : first + (1 << 18)])
            quiet = self._quiet(groups) & ~np.isin(groups.keys, undurable)
            self._rest(groups.keys[quiet])
            awake.put(_chosen(groups, ~quiet))
        self._table = awake
        self._swept_day = self.newest_day

    def _woken(self, keys: Keys) -> list[Grouped]:
        """Groups that rest, out of their runs; a merge meanwhile only means to look again."""
        while len(keys):
            infos = self.infos
            try:
                return found_in(keys, (self._opened_run(info) for info in reversed(infos)))
            except FolderDamaged:
                if infos == self.infos:
                    raise
        return []

    def _opened_run(self, info: RunInfo) -> runs.Run:
        run = self._opened.get(info.run)
        if run is None:
            named = {other.run for other in self.infos}
            self._opened = {number: old for number, old in self._opened.items() if number in named}
            run = self._opened[info.run] = self.open_run(info)
        return run

    def _runs_newest_first(self) -> list[runs.Run]:
        return [self._opened_run(info) for info in reversed(self.infos)]


class Windowed(Memory):
    """A state of the last days, far larger than memory: recent groups are there, the others in runs on disk."""

    def __post_init__(self) -> None:
        """Begin empty."""
        super().__post_init__()
        self._young = self._new_young()
        self._frozen: Young | None = None
        self.frozen_until = 0  # the commit whose durability lets what is frozen be written out
        self._last_put = 0
        self._seen = Bloom(_FIRST_ROOM, digests=self.state.digests)
        self._opened: dict[int, runs.Run] = {}
        self._outside: tuple[runs.Run, ...] = ()  # newest first; what is not in memory

    def load(self, infos: Sequence[RunInfo]) -> None:
        """Read small young runs to memory and look the others up where they are."""
        self.infos = tuple(infos)
        self.newest_day = max((info.newest_day for info in infos), default=0)
        self._seen = Bloom(max(_FIRST_ROOM, 2 * sum(info.keys for info in infos)), digests=self.state.digests)
        self._outside = self._all_outside()
        for run in self._outside:
            _add_all(self._seen, run)
        for info in infos:
            if info.level == 0:
                groups = self.open_run(info).slice(0, info.keys)
                self._young.put(groups)
                self._seen.add(groups.keys)

    def gather(self, keys: Keys) -> Grouped:
        """What ascending `keys` hold."""
        left = keys[self._seen.perhaps(keys)]
        with self._lock:
            self._young.expect(left)
            recent, outside = [self._young, self._frozen], self._outside
        parts = []
        for young in recent:
            if young is not None:
                found, left = young.find(left)
                parts += found
        return spread(keys, [*parts, *found_in(left, outside)], self.state.dtype)

    def put(self, groups: Grouped, number: int) -> None:
        """What keys hold from now on."""
        if self._seen.keys + len(groups.keys) > self._seen.room:
            with self._lock:  # the keeper was too slow, or there is none; no run may change places meanwhile
                self.widen()
        if self._frozen is None and self._last_put < number and self._is_full(len(groups.keys)):
            self._freeze(number - 1)
        self._last_put = number
        with self._lock:
            self._young.put(groups)
            self._seen.add(groups.keys)
        if len(groups.rows):
            self.newest_day = max(self.newest_day, int(groups.rows["day"].max()))

    def frozen(self) -> Grouped | None:
        """What waits to be written out."""
        with self._lock:
            frozen = self._frozen
        return None if frozen is None else frozen.all_groups()

    @property
    def is_nearly_full(self) -> bool:
        """Soon the filter will guess too often."""
        return self._seen.keys > _NEARLY * self._seen.room

    def widen(self) -> None:
        """Build a filter with more room; what was put meanwhile is added at the end, in a moment."""
        wider = filter_of(self._outside, 4 * self._seen.keys, digests=self.state.digests)
        with self._lock:
            for young in (self._young, self._frozen):
                for keys in young.all_keys() if young is not None else ():
                    wider.add(keys)
            self._seen = wider

    def installed(self, gone: set[int], info: RunInfo | None) -> None:
        """Runs were merged."""
        super().installed(gone, info)
        outside = self._all_outside()
        with self._lock:
            self._outside = outside

    def written_out(self, gone: set[int], info: RunInfo | None) -> None:
        """What was frozen is a run now."""
        self.installed(gone, info)
        with self._lock:
            self._frozen = None

    def _all_outside(self) -> tuple[runs.Run, ...]:
        wanted = [info for info in reversed(self.infos) if info.level > 0]
        self._opened = {info.run: self._opened.get(info.run) or self.open_run(info) for info in wanted}
        return tuple(self._opened[info.run] for info in wanted)

    def status(self) -> dict[str, Any]:
        """Keys and octets, in memory and on disk, and what one remembered row costs."""
        status = super().status()
        frozen = self._frozen.octets if self._frozen is not None else 0
        memory = self._young.octets + frozen + self._seen.octets
        keys = max(1, status["disk_keys"])
        return status | {
            "memory_keys": self._young.keys,
            "memory_octets": memory,
            "memory_octets_a_row": round(memory / keys, 1),
            "disk_octets_a_row": round(status["disk_octets"] / keys, 1),
        }

    def _freeze(self, until: int) -> None:
        with self._lock:
            self._frozen, self._young = self._young, self._new_young()
            self.frozen_until = until

    def _new_young(self) -> Young:
        return Young(self.state.dtype, digests=self.state.digests)

    def _is_full(self, more_keys: int) -> bool:
        """It holds enough, or (a slow stream) stands on so many small runs that a start would be slow."""
        scattered = sum(1 for info in self.infos if info.level == 0) > YOUNG_RUNS
        return self._young.keys > 0 and (scattered or self._young.keys + more_keys > YOUNG_KEYS)


def spread(keys: Keys, parts: Iterable[Grouped], dtype: np.dtype[Any]) -> Grouped:
    """Groups of some of `keys`, found in several places, as the groups of all of them."""
    parts = [part for part in parts if len(part.keys)]
    if not parts:
        return Grouped.empty(dtype, keys)
    if len(parts) == 1 and len(parts[0].keys) == len(keys):
        return parts[0]
    found = np.concatenate([part.keys for part in parts])
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    at = np.searchsorted(keys, found)
    all_counts = np.zeros(len(keys), np.int64)
    all_counts[at] = counts
    offsets = np.zeros(len(keys) + 1, np.int64)
    np.cumsum(all_counts, out=offsets[1:])
    all_starts = np.zeros(len(keys), np.int64)
    all_starts[at] = starts
    index = np.repeat(all_starts - offsets[:-1], all_counts) + np.arange(offsets[-1], dtype=np.int64)
    return Grouped(keys, offsets, rows[index])


def found_in(keys: Keys, newest_first: Iterable[runs.Run]) -> list[Grouped]:
    """The newest groups of keys, each out of the first run that holds it."""
    parts = []
    for run in newest_first:
        if not len(keys):
            break
        known, groups = run.known(keys)
        parts.append(groups)
        keys = keys[~known]
    return parts


def filter_of(all_runs: Iterable[runs.Run], room: int, *, digests: bool) -> Bloom:
    """A fresh filter over everything in the runs."""
    every = list(all_runs)
    bloom = Bloom(max(room, 2 * sum(len(run) for run in every)), digests=digests)
    for run in every:
        _add_all(bloom, run)
    return bloom


def _add_all(bloom: Bloom, run: runs.Run) -> None:
    for first in range(0, len(run), 1 << 20):
        bloom.add(run.keys[first : first + (1 << 20)])


def _chosen(groups: Grouped, which: npt.NDArray[np.bool_]) -> Grouped:
    if which.all():
        return groups
    counts = np.diff(groups.offsets)
    offsets = np.zeros(int(which.sum()) + 1, np.int64)
    np.cumsum(counts[which], out=offsets[1:])
    return Grouped(groups.keys[which], offsets, groups.rows[np.repeat(which, counts)])


def memory_of(state: State, open_run: Opener) -> Memory:
    """The manner in which a state is held."""
    return Windowed(state, open_run) if state.days else Resident(state, open_run)


def insert_run(connection: sqlite3.Connection, info: RunInfo, body: bytes | None) -> RunInfo:
    """Name a run in the manifest, within a transaction; the run with its number."""
    row = connection.execute(
        "INSERT INTO runs (state, level, first_commit, last_commit, keys, rows, octets, first_key, last_key,"
        " newest_day, path, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (info.state, info.level, info.first_commit, info.last_commit, info.keys, info.rows, info.octets,
         stored_word(info.first_key), stored_word(info.last_key), info.newest_day, info.path, body),
    )  # fmt: skip
    assert row.lastrowid is not None, "SQLite numbers every row"
    return RunInfo(
        row.lastrowid, info.state, info.level, info.first_commit, info.last_commit, info.keys, info.rows,
        info.octets, info.first_key, info.last_key, info.newest_day, info.path,
    )  # fmt: skip
