"""Keeping house in the background: runs and segments are merged so that looking up stays quick and disks stay small.

Merging changes no answer. Each merge reads immutable files, writes new ones, and changes names in one short
transaction; a commit never waits for more than that. Files that are no longer named are removed a little later,
because a reader may have asked just before.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from trunkline.kernel.grouped import Grouped
from trunkline.ports import DiskFull
from trunkline.stores.embedded import compaction, manifest, runs
from trunkline.stores.embedded.disk import Disk, full_disk_named
from trunkline.stores.embedded.manifest import transaction
from trunkline.stores.embedded.states import Memory, RunInfo, Windowed, insert_run

FAN_IN = 8
BUSY_FAN_IN = 32  # of runs that are only read at a start: while records stream in, merging them can wait
INLINE_OCTETS = 128 << 10
LINGER_S = 10.0
IDLE_S = 2.0
GIVES_WAY = 10  # how much nicer (in the scheduler's sense) this thread is than the process
_PAUSE_S = 0.05
_FULL_PAUSE_S = 10.0
_CHECKPOINT_OCTETS = 8 << 20
_FEW_KEYS, _LARGE_OCTETS = 4096, 1 << 20  # of a run that is worth a look at its keys


class House(Protocol):
    """What is kept: the writing side of a data folder."""

    folder: Path
    disk: Disk
    connection: sqlite3.Connection
    writing: threading.Lock
    memories: dict[str, Memory]
    number: int
    last_busy_s: float


class Keeper:
    """One thread that merges what has piled up; its trouble is raised by the next commit."""

    def __init__(self, store: House) -> None:
        """Begin with nothing to do."""
        self.listeners: list[Callable[[], None]] = []  # called when a piece of work is done
        self._store = store
        self._reading = manifest.open_to_read(store.folder)
        self._lingering: list[tuple[float, Path]] = []
        self._compared: set[tuple[int, int]] = set()  # neighbouring runs that were looked at
        self._stopping = threading.Event()
        self._working = threading.Lock()
        self._trouble: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Keep house from now on."""
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the piece of work at hand and stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._working:
            self._reading.close()

    def raise_trouble(self) -> None:
        """A mistake of ours must not go unnoticed because it happened in the background."""
        if self._trouble is not None:
            raise RuntimeError("keeping house broke; the data is whole, start again") from self._trouble

    def work(self) -> bool:
        """Do one piece of work; False when there is nothing to do."""
        with self._working:
            self._remove_lingering(LINGER_S)
            idle = time.monotonic() - self._store.last_busy_s > IDLE_S
            for memory in self._store.memories.values():
                if isinstance(memory, Windowed):
                    if memory.is_nearly_full:
                        memory.widen()
                    if self._write_out(memory):
                        return True
                if self._merge_runs(memory, FAN_IN if idle or isinstance(memory, Windowed) else BUSY_FAN_IN):
                    return True
            return self._compact(idle=idle, wholly=False)

    def compact(self) -> None:
        """Merge all segments as far as they can be; what is asked about a subscriber is answered fastest then."""
        with self._working:
            while self._compact(idle=True, wholly=True):
                pass
            self._remove_lingering(0)

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log into the manifest, when that has grown."""
        log = self._store.folder / f"{manifest.NAME}-wal"
        if log.exists() and log.stat().st_size > _CHECKPOINT_OCTETS:
            own = sqlite3.connect(self._store.folder / manifest.NAME, isolation_level=None, timeout=5)
            try:
                with full_disk_named(log):
                    own.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                own.close()

    def _run(self) -> None:
        if sys.platform == "linux":  # nowhere else has a thread its own
            nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + GIVES_WAY
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        while not self._stopping.is_set():
            try:
                more = self.work()
                if more:
                    for listener in self.listeners:
                        listener()
                self.checkpoint()
                self._stopping.wait(0.001 if more else _PAUSE_S)
            except DiskFull:
                self._stopping.wait(_FULL_PAUSE_S)  # commits tell it; merging can wait for room
            except BaseException as error:  # noqa: BLE001 -- raised by the next commit
                self._trouble = error
                return

    # -- runs ---------------------------------------------------------------------------------------------

    def _write_out(self, memory: Windowed) -> bool:
        """Write what a windowed state has frozen as one run in the place of the small ones it came from."""
        if memory.frozen_until > self._store.number:
            return False
        groups = memory.frozen()
        if groups is None:
            return False
        gone = [info for info in memory.infos if info.level == 0 and info.last_commit <= memory.frozen_until]
        if not gone:
            memory.written_out(set(), None)
            return True
        groups = runs.not_older(groups, memory.oldest_day)
        named = self._install(gone, *self._written(memory, gone, 1, groups))
        memory.written_out({old.run for old in gone}, named)
        return True

    def _merge_runs(self, memory: Memory, many: int) -> bool:
        """Merge neighbours of one level when there are so many; the window's old rows are forgotten by the way."""
        lowest = 1 if isinstance(memory, Windowed) else 0
        expired = [
            i for i in memory.infos if memory.state.days and i.level > 0 and i.newest_day < memory.oldest_day
        ]
        if expired:
            memory.installed({info.run for info in expired}, self._install(expired, None, None))
            return True
        if not memory.state.days and (told_again := self._told_again(memory.infos)):
            memory.installed({info.run for info in told_again}, self._install(told_again, None, None))
            return True
        for level in range(lowest, max((info.level for info in memory.infos), default=0) + 1):
            gone = [info for info in memory.infos if info.level == level]
            if len(gone) >= many:
                self._merge(memory, gone[: 2 * many], level + 1)
                return True
        return False

    def _told_again(self, infos: Sequence[RunInfo]) -> list[RunInfo]:
        """Large runs of few keys, all of which the next one has: a commit of all cells makes those before needless."""
        found = []
        for older, newer in pairwise(infos):
            pair = older.run, newer.run
            if (
                older.octets < _LARGE_OCTETS
                or not older.keys <= newer.keys <= _FEW_KEYS
                or pair in self._compared
            ):
                continue
            self._compared = {each for each in self._compared if each[0] >= infos[0].run} | {pair}
            if bool(np.isin(self._open(older).keys, self._open(newer).keys).all()):
                found.append(older)
        return found

    def _merge(self, memory: Memory, gone: Sequence[RunInfo], level: int) -> None:
        octets = sum(info.octets for info in gone)
        self._store.disk.require_space(self._store.folder, octets)
        opened = [self._open(info) for info in gone]
        oldest = memory.infos[0].run == gone[0].run
        if octets <= INLINE_OCTETS * FAN_IN:
            groups = runs.newest([run.slice(0, len(run)) for run in opened], memory.state.dtype)
            written = self._written(memory, gone, level, _kept(memory, groups, oldest=oldest))
        else:
            written = self._merged_on_disk(memory, gone, opened, level, oldest=oldest), None
        named = self._install(gone, *written)
        memory.installed({old.run for old in gone}, named)

    def _merged_on_disk(
        self, memory: Memory, gone: Sequence[RunInfo], opened: Sequence[runs.Run], level: int, *, oldest: bool
    ) -> RunInfo | None:
        name = self._new_name(memory, gone, level)
        writer, size = runs.merge_to_file(
            self._store.disk, self._store.folder / name, opened, memory.state.dtype,
            lambda groups: _kept(memory, groups, oldest=oldest),
        )  # fmt: skip
        self._store.disk.fsync_folder((self._store.folder / name).parent)
        if writer.keys == 0:
            self._lingering.append((0.0, self._store.folder / name))
            return None
        return RunInfo(
            0, memory.state.name, level, gone[0].first_commit, gone[-1].last_commit, writer.keys, writer.rows,
            size, writer.first_key, writer.last_key, max(old.newest_day for old in gone), name,
        )  # fmt: skip

    def _written(
        self, memory: Memory, gone: Sequence[RunInfo], level: int, groups: Grouped
    ) -> tuple[RunInfo | None, bytes | None]:
        """Groups that are in memory, as a file or, when they are few, as octets for the manifest."""
        if not len(groups.keys):
            return None, None
        parts = runs.encode(groups)
        octets = sum(len(part) for part in parts)
        name, body = None, None
        if octets <= INLINE_OCTETS:
            body = runs.in_memory(parts)
        else:
            name = self._new_name(memory, gone, level)
            self._store.disk.write(self._store.folder / name, parts)
            self._store.disk.fsync_folder((self._store.folder / name).parent)
        return RunInfo(
            0, memory.state.name, level, gone[0].first_commit, gone[-1].last_commit, len(groups.keys),
            len(groups.rows), octets, int(groups.keys[0]), int(groups.keys[-1]),
            max(old.newest_day for old in gone), name,
        ), body  # fmt: skip

    def _install(self, gone: Sequence[RunInfo], info: RunInfo | None, body: bytes | None) -> RunInfo | None:
        """Name the new run instead of the old ones."""
        store = self._store
        with store.writing, transaction(store.connection, store.disk, store.folder):
            store.connection.executemany("DELETE FROM runs WHERE run = ?", [(old.run,) for old in gone])
            named = None if info is None else insert_run(store.connection, info, body)
        self.linger(old.path for old in gone)
        return named

    def _open(self, info: RunInfo) -> runs.Run:
        dtype = self._store.memories[info.state].state.dtype
        if info.path is not None:
            return runs.open_file(self._store.folder / info.path, info.octets, dtype)
        (body,) = self._reading.execute("SELECT body FROM runs WHERE run = ?", (info.run,)).fetchone()
        return runs.decode(body, dtype, f"run {info.run} of the manifest")

    @staticmethod
    def _new_name(memory: Memory, gone: Sequence[RunInfo], level: int) -> str:
        return f"runs/{memory.state.name}.{gone[0].first_commit:012d}-{gone[-1].last_commit:012d}.{level}.run"

    # -- segments -----------------------------------------------------------------------------------------

    def _compact(self, *, idle: bool, wholly: bool) -> bool:
        chosen = compaction.choose(self._reading, idle=idle, wholly=wholly)
        if chosen is None:
            return False
        store = self._store
        store.disk.require_space(store.folder, 2 * sum(segment.octets for segment in chosen.segments))
        written = compaction.merge(store.disk, store.folder, self._reading, chosen)
        with store.writing, transaction(store.connection, store.disk, store.folder):
            compaction.install(store.connection, chosen, written)
        self.linger(segment.path for segment in chosen.segments)
        return True

    # -- files that are no longer named -------------------------------------------------------------------

    def linger(self, paths: Iterable[str | None]) -> None:
        """Remove these files when nobody can be reading them any more."""
        until = time.monotonic() + LINGER_S
        self._lingering += [(until, self._store.folder / path) for path in paths if path is not None]

    def _remove_lingering(self, wait_s: float) -> None:
        now = time.monotonic()
        due = [path for until, path in self._lingering if until - LINGER_S + wait_s <= now]
        self._lingering = [
            (until, path) for until, path in self._lingering if until - LINGER_S + wait_s > now
        ]
        for path in due:
            self._store.disk.remove(path)


def _kept(memory: Memory, groups: Grouped, *, oldest: bool) -> Grouped:
    """What of merged groups is still worth keeping."""
    if memory.state.days:
        return runs.not_older(groups, memory.oldest_day)
    return runs.without_empty(groups) if oldest else groups
