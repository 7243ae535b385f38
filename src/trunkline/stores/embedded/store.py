"""The writing side of a data folder: one process, one commit after another, each all or nothing.

A commit writes its segments and runs as new files, makes them durable, and then names them in one SQLite
transaction together with positions, counts, alerts and everything small. What a crash leaves behind is not
named there and is removed at the next start.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, TypeAlias, cast

import polars as pl

from trunkline.kernel.grouped import Grouped, Keys, State
from trunkline.ports import (
    Commit,
    FolderDamaged,
    FolderInUse,
    Refused,
    SetAside,
    Settled,
    SourceFile,
)
from trunkline.records.charging import ALERTS
from trunkline.records.usage import HELD, REJECTED
from trunkline.stores.embedded import manifest, runs, segments
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.files import Files
from trunkline.stores.embedded.keeper import Keeper
from trunkline.stores.embedded.manifest import stored_word, transaction
from trunkline.stores.embedded.states import Memory, RunInfo, insert_run, memory_of
from trunkline.stores.embedded.together import follow_each_other

LOCK = "lock"
INLINE_OCTETS = 128 << 10
FOLDERS = ("segments", "runs", "raw", "spool")

_Written: TypeAlias = tuple[list[segments.Segment], list[tuple[RunInfo, bytes | None]]]


class Store:
    """A data folder opened to write. Opening removes what a crash left and loads what steps remember."""

    def __init__(
        self, folder: Path, states: Sequence[State], disk: Disk | None = None, *, keep_house: bool = True
    ) -> None:
        """Open or make the folder; raises `FolderInUse` when another process writes to it.

        `keep_house` merges runs and segments in the background; without it, `keeper.work` does when it is called.
        """
        self.folder = folder
        self.disk = disk or Disk()
        self._make_folders()
        self._held = _locked(folder)
        try:
            self.connection = manifest.open_to_write(folder)
            self.writing = threading.Lock()  # one transaction at a time; held for milliseconds
            self._committing = threading.Lock()
            self.number = int(self._meta("number", 0))
            self.next_seq = int(self._meta("next_seq", 0))
            self.files = Files(folder, self.disk, self.connection, self.writing)
            self._remove_orphans()
            self.memories: dict[str, Memory] = {}
            for state in states:
                self._load(state)
            self.last_busy_s = time.monotonic()
            self.keeper = Keeper(self)
            if keep_house:
                self.keeper.start()
        except BaseException:
            self._held.close()
            raise

    # -- state --------------------------------------------------------------------------------------------

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What ascending `keys` hold, with everything that was put, committed or not."""
        self.last_busy_s = time.monotonic()
        return self.memories[state.name].gather(keys)

    def put(self, state: State, groups: Grouped, number: int) -> None:
        """What keys hold from now on; durable when commit `number` is."""
        assert number > self.number, "that commit is durable already"
        self.memories[state.name].put(groups, number)

    # -- commits ------------------------------------------------------------------------------------------

    def prepare(self, commit: Commit) -> Commit:
        """Write segments and runs of a commit that is not due yet; others without segments may come before it."""
        return replace(commit, written=self._written(commit))

    def commit(self, commit: Commit) -> None:
        """Make everything in it true at once; raises `DiskFull` and leaves everything as it was."""
        with self._committing:
            assert commit.number == self.number + 1, "commits follow each other"
            self.keeper.raise_trouble()
            written, changed = self._all_written(commit)
            with self.writing, transaction(self.connection, self.disk, self.folder):
                self.connection.executemany(
                    segments.INSERT, [segments.row_of(segment) for segment in written]
                )
                infos = [insert_run(self.connection, info, body) for info, body in changed]
                self._write_small(commit)
            self.number, self.next_seq = commit.number, commit.next_seq
            self.last_busy_s = time.monotonic()
            by_state = {info.state: info for info in infos}
            for name, memory in self.memories.items():
                memory.committed(commit.number, by_state.get(name))

    def _written(self, commit: Commit) -> _Written:
        self.disk.require_space(
            self.folder, sum(int(frame.estimated_size()) for frame in commit.frames.values())
        )
        written = [
            segments.write(self.disk, self.folder, stream, f"{commit.number:012d}", frame, 0)
            for stream, frame in commit.frames.items()
            if stream in segments.HISTORY and len(frame)
        ]
        changed = self._written_states(commit)
        self._make_names_durable(segment.path for segment in written)
        self._make_names_durable(info.path for info, _ in changed)
        return written, changed

    def _all_written(self, commit: Commit) -> _Written:
        """Segments and runs of a commit: those that were prepared, and what was not."""
        if commit.written is None:
            return self._written(commit)
        written, before = cast("_Written", commit.written)
        prepared = {info.state for info, _ in before}
        rest = [(state, groups) for state, groups in commit.states if state.name not in prepared]
        changed = [
            (replace(info, first_commit=commit.number, last_commit=commit.number), body)
            for info, body in before
        ]
        later = self._written_states(replace(commit, states=rest))
        self._make_names_durable(info.path for info, _ in later)
        return written, changed + later

    def _written_states(self, commit: Commit) -> list[tuple[RunInfo, bytes | None]]:
        changed: dict[str, list[Grouped]] = {}
        for state, groups in commit.states:
            if len(groups.keys):
                changed.setdefault(state.name, []).append(groups)
        written = []
        for name, given in changed.items():
            memory = self.memories[name]
            parts = sorted(given, key=lambda part: int(part.keys[0]))
            if not follow_each_other(parts):
                parts = [runs.newest(given, memory.state.dtype)]
            parts_of_file = runs.encode(*parts)
            octets = sum(len(part) for part in parts_of_file)
            path, body = None, None
            if octets <= INLINE_OCTETS:
                body = runs.in_memory(parts_of_file)
            else:
                path = f"runs/{name}.{commit.number:012d}.run"
                self.disk.write(self.folder / path, parts_of_file)
            days = [part.rows["day"] for part in parts if "day" in (memory.state.dtype.names or ())]
            newest_day = max((int(each.max()) for each in days if len(each)), default=0)
            keys, rows = sum(len(part.keys) for part in parts), sum(len(part.rows) for part in parts)
            info = RunInfo(
                0, name, 0, commit.number, commit.number, keys, rows, octets,
                int(parts[0].keys[0]), int(parts[-1].keys[-1]), newest_day, path,
            )  # fmt: skip
            written.append((info, body))
        return written

    def _make_names_durable(self, paths: Iterable[str | None]) -> None:
        for parent in sorted({(self.folder / path).parent for path in paths if path is not None}):
            self.disk.fsync_folder(parent)

    def _write_small(self, commit: Commit) -> None:
        execute, many = self.connection.execute, self.connection.executemany
        many(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [("number", commit.number), ("next_seq", commit.next_seq), ("committed_us", commit.time_us)],
        )
        many(
            "UPDATE files SET offset = ?, line = ?, records = ?, rejected = ?, ended = ? WHERE file = ?",
            [(p.offset, p.line, p.records, p.rejected, p.ended, p.file) for p in commit.progress],
        )
        hour = commit.time_us // 3_600_000_000
        many(
            "INSERT INTO accounting VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " received = received + excluded.received, rated = rated + excluded.rated,"
            " duplicate = duplicate + excluded.duplicate, rejected = rejected + excluded.rejected,"
            " held = held + excluded.held, charged_micros = charged_micros + excluded.charged_micros",
            [
                (c.source, hour, c.received, c.rated, c.duplicate, c.rejected, c.held, c.charged_micros)
                for c in commit.counts
            ],
        )
        for stream, table, columns in (
            (
                REJECTED.name,
                "rejected",
                ("file", "line", "offset", "length", "source", "reason", "detail", "raw"),
            ),
            (HELD.name, "held", ("file", "line", "offset", "length", "source", "record_id", "reason", "raw")),
        ):
            if stream in commit.frames and len(commit.frames[stream]):
                rows = commit.frames[stream].select(
                    pl.col(column).cast(pl.String) if column == "source" else column for column in columns
                )
                marks = ", ".join("?" * (len(columns) + 1))
                many(
                    f"INSERT INTO {table} ({', '.join(columns)}, time_us) VALUES ({marks})",  # noqa: S608 -- our own names
                    [(*row, commit.time_us) for row in rows.iter_rows()],
                )
        if ALERTS.name in commit.frames and len(commit.frames[ALERTS.name]):
            many(
                "INSERT INTO alerts (alert_id, seq, subscriber, time_us, kind, balance, threshold, value, period)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (*row[:2], stored_word(row[2]), *row[3:])
                    for row in ALERTS.record.conform(commit.frames[ALERTS.name]).sort("seq").iter_rows()
                ],
            )
        for m, seq, status, reason in commit.movements:
            execute(
                "INSERT INTO movements (movement_id, seq, cause, subscriber, time_us, balance, amount, valid_until_s,"
                " status, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (m.movement_id, seq, m.cause, stored_word(m.subscriber), m.time_us, m.balance, m.amount,
                 m.valid_until_s, status, reason),
            )  # fmt: skip
        for settled in commit.settled:
            self._settle(settled)

    # -- files --------------------------------------------------------------------------------------------

    def begin_file(self, path: Path, mapping: str, source: str, kind: str) -> SourceFile:
        """Register a file, or find how far it was read by a run that ended early; keeps its octets."""
        return self.files.begin(path, mapping, source, kind)

    def end_file(self, file: int, reason: str) -> None:
        """Stop reading a file for good; its position stays."""
        self.files.end(file, reason)

    def open_files(self, kind: str) -> list[SourceFile]:
        """Files that were begun and are not read to their end, oldest first."""
        return self.files.open_files(kind)

    def append(self, mapping: str, source: str, lines: bytes, heading: bytes = b"") -> tuple[SourceFile, int]:
        """Append whole lines durably to a spool; the spool, and where in it they end. Any thread may call."""
        return self.files.append(mapping, source, lines, heading)

    def durable_end(self, file: int) -> int | None:
        """Where the durable octets of a spool end while it is written to; None when it is closed."""
        return self.files.durable_end(file)

    def newest_us(self) -> int | None:
        """End of the newest day of event time that the state knows; None before any."""
        day = max((memory.newest_day for memory in self.memories.values() if memory.state.days), default=0)
        return (day + 1) * 86_400_000_000 if day else None

    # -- orders -------------------------------------------------------------------------------------------

    def booked(self, movement_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Status and reason of the movements that are committed."""
        with self.writing:
            rows = self.connection.execute(
                "SELECT movement_id, status, reason FROM movements"
                " WHERE movement_id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(movement_ids)),),
            ).fetchall()
        return {name: (status, reason) for name, status, reason in rows}

    def set_aside(self, table: str, number: int) -> SetAside:
        """One rejected or held record; raises `Refused` when it is unknown or settled."""
        assert table in ("rejected", "held"), table
        record_id = "record_id" if table == "held" else "NULL"
        with self.writing:
            row = self.connection.execute(
                "SELECT number, t.file, f.raw, t.line, t.offset, t.source, f.mapping,"  # noqa: S608 -- our own names
                f" {record_id}, reason, t.raw, settled"
                f" FROM {table} t LEFT JOIN files f USING (file) WHERE number = ?",
                (number,),
            ).fetchone()
        if row is None:
            raise Refused(f"There is no {table} record number {number}.")
        if row[-1] is not None:
            raise Refused(f"The {table} record number {number} is settled already: {row[-1]}.")
        number, file, path, line, offset, source, mapping, name, reason, raw, _ = row
        kept = self.folder / (path or "")
        return SetAside(
            number, file, kept, line, offset, source or "", mapping or "", name or "", reason, raw or b""
        )

    def settle(self, settled: Settled) -> None:
        """Write down a decision that moves no money."""
        with self.writing, transaction(self.connection, self.disk, self.folder):
            self._settle(settled)

    def _settle(self, settled: Settled) -> None:
        assert settled.table in ("rejected", "held"), settled.table
        done = self.connection.execute(
            f"UPDATE {settled.table} SET settled = ?, actor = ? WHERE number = ? AND settled IS NULL",  # noqa: S608
            (settled.decision, settled.actor, settled.number),
        )
        if done.rowcount != 1:
            raise Refused(
                f"The {settled.table} record number {settled.number} is unknown or settled already."
            )

    # -- opening and closing ------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Sizes, counts and costs that only the writing process knows."""
        return {
            "commits": self.number,
            "states": {name: memory.status() for name, memory in self.memories.items()},
        }

    def close(self) -> None:
        """Let others write. Nothing waits to be written: what is not committed is forgotten."""
        self.keeper.stop()
        self.files.close()
        with self.writing:
            self.connection.close()
        self._held.close()

    def open_run(self, info: RunInfo) -> runs.Run:
        """A run of the manifest, from its file or from the manifest itself."""
        dtype = self.memories[info.state].state.dtype
        if info.path is not None:
            return runs.open_file(self.folder / info.path, info.octets, dtype)
        with self.writing:
            row = self.connection.execute("SELECT body FROM runs WHERE run = ?", (info.run,)).fetchone()
        if row is None:
            raise FolderDamaged(f"run {info.run} is not in the manifest")
        return runs.decode(row[0], dtype, f"run {info.run} of the manifest")

    def _make_folders(self) -> None:
        for name in (*FOLDERS, *(f"segments/{stream}" for stream in segments.HISTORY)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def _meta(self, name: str, default: int) -> int:
        row = self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return default if row is None else row[0]

    def _remove_orphans(self) -> None:
        """Files that no committed row names were being written when a process died."""
        named = {
            path: octets
            for table in ("segments", "runs")
            for path, octets in self.connection.execute(
                f"SELECT path, octets FROM {table} WHERE path IS NOT NULL"  # noqa: S608 -- our own names
            )
        }
        for top in ("segments", "runs"):
            for path in sorted((self.folder / top).rglob("*")):
                if path.is_file() and str(path.relative_to(self.folder)) not in named:
                    self.disk.remove(path)
        for name, octets in named.items():
            path = self.folder / name
            if not path.exists() or path.stat().st_size != octets:
                raise FolderDamaged(f"{path} is missing or not as long as it was written; restore a backup")

    def _load(self, state: State) -> None:
        dtype = json.dumps(state.dtype.descr)
        row = self.connection.execute("SELECT dtype FROM states WHERE name = ?", (state.name,)).fetchone()
        if row is None:
            self.connection.execute("INSERT INTO states VALUES (?, ?, ?)", (state.name, dtype, state.days))
        elif row[0] in [json.dumps(former.descr) for former in state.formerly]:
            self.connection.execute("UPDATE states SET dtype = ? WHERE name = ?", (dtype, state.name))
        elif row[0] != dtype:
            raise FolderDamaged(
                f"{state.name} was written with other fields than this version knows: {row[0]}"
            )
        memory = self.memories[state.name] = memory_of(state, self.open_run)
        memory.load(
            [
                RunInfo(*(*fixed, manifest.word_of(first), manifest.word_of(last), day, path))
                for *fixed, first, last, day, path in self.connection.execute(
                    "SELECT run, state, level, first_commit, last_commit, keys, rows, octets, first_key, last_key,"
                    " newest_day, path FROM runs WHERE state = ? ORDER BY last_commit",
                    (state.name,),
                )
            ]
        )


def _locked(folder: Path) -> TextIO:
    """Hold the folder's lock until the file is closed; the system lets it go when the process dies."""
    file = (folder / LOCK).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        other = file.read().strip() or "unknown"
        file.close()
        raise FolderInUse(
            f"{folder} is written to by process {other}. Stop it, or use the HTTP API of the running platform."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def wall_clock_us() -> int:
    """Now, for people; durations are measured with the monotonic clock instead."""
    return time.time_ns() // 1000
