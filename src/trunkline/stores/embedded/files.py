"""What was handed in: files, watched files and spools, how far each is read, and their octets kept as raw history.

A file is known again by what it is, not by its name alone: the digest of its first octets and the same inode or
the same path. So an ingest that was killed goes on where its last commit stood, and one that was finished reads the
file again, which deduplication then tells.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from trunkline.ports import SourceFile
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import transaction

HEAD_OCTETS = 4096
SPOOL_OCTETS = 64 << 20


@dataclass
class _Spool:
    file: SourceFile
    handle: int
    octets: int
    durable: int
    flushing: bool = False
    broken: bool = False


class Files:
    """The manifest's list of files, and the spools that are being written."""

    def __init__(
        self, folder: Path, disk: Disk, connection: sqlite3.Connection, writing: threading.Lock
    ) -> None:
        """Cut spools that a crash left with half a line."""
        self._folder, self._disk, self._connection, self._writing = folder, disk, connection, writing
        self._spools: dict[tuple[str, str, bytes], _Spool] = {}
        self._changed = threading.Condition()
        for spool in self.open_files("spool"):
            self._cut_to_whole_lines(spool.path)

    def begin(self, path: Path, mapping: str, source: str, kind: str) -> SourceFile:
        """Register a file, or find how far it was read by a run that ended early; keeps its octets."""
        status = path.stat()
        with self._writing:
            rows = self._connection.execute(
                "SELECT file, offset, line, records, rejected, octets, head FROM files WHERE ended = '' AND kind = ?"
                " AND mapping = ? AND source = ? AND ((device = ? AND inode = ?) OR path = ?) ORDER BY file DESC",
                (kind, mapping, source, status.st_dev, status.st_ino, str(path.resolve())),
            ).fetchall()
            for *known, octets, head in rows:
                if status.st_size >= octets and _head(path, octets) == head:
                    return SourceFile(known[0], path, source, mapping, kind, *known[1:])
            with transaction(self._connection, self._disk, self._folder):
                file = self._insert(
                    path.resolve(), kind, source, mapping, status, _head(path, status.st_size)
                )
        begun = SourceFile(file, path, source, mapping, kind)
        self._keep_raw(begun)
        return begun

    def _keep_raw(self, file: SourceFile) -> None:
        """Keep a file's octets under the data folder: a second name for them where possible, else a copy."""
        raw = f"raw/{file.file:08d}-{file.path.name}"
        target = self._folder / raw
        self._disk.remove(target)  # a crash may have left half a copy under this number
        self._disk.link(file.path, target)
        self._disk.fsync_folder(target.parent)
        with self._writing, transaction(self._connection, self._disk, self._folder):
            self._connection.execute(
                "UPDATE files SET raw = ? WHERE file = ? AND raw IS NULL", (raw, file.file)
            )

    def end(self, file: int, reason: str) -> None:
        """Stop reading a file for good; its position stays."""
        with self._writing, transaction(self._connection, self._disk, self._folder):
            self._connection.execute("UPDATE files SET ended = ? WHERE file = ?", (reason, file))

    def open_files(self, kind: str) -> list[SourceFile]:
        """Files that were begun and are not read to their end, oldest first."""
        with self._writing:
            rows = self._connection.execute(
                "SELECT file, iif(kind = 'spool', raw, path), source, mapping, kind, offset, line, records, rejected"
                " FROM files WHERE kind = ? AND ended = '' ORDER BY file",
                (kind,),
            ).fetchall()
        return [SourceFile(row[0], self._folder / row[1], *row[2:]) for row in rows]

    # -- spools -------------------------------------------------------------------------------------------

    def append(self, mapping: str, source: str, lines: bytes, heading: bytes = b"") -> tuple[SourceFile, int]:
        """Append whole lines durably; callers that come at once share one fsync."""
        assert lines.endswith(b"\n"), "whole lines only"
        with self._changed:
            spool = self._spool(mapping, source, heading)
            try:
                self._disk.append(spool.handle, spool.file.path, lines)
            except BaseException:
                os.ftruncate(spool.handle, spool.octets)  # half a line must not stand before the next one
                raise
            spool.octets += len(lines)
            end = spool.octets
            while spool.durable < end:
                if spool.broken:
                    raise OSError(errno.EIO, f"{spool.file.path} could not be made durable")
                if spool.flushing:
                    self._changed.wait()
                    continue
                spool.flushing, written = True, spool.octets
                self._changed.release()
                try:
                    self._disk.fsync(spool.file.path)
                except BaseException:
                    spool.broken = True  # a second fsync would say yes without having written
                    self._spools.pop((mapping, source, heading), None)
                    raise
                finally:
                    self._changed.acquire()
                    spool.flushing = False
                    self._changed.notify_all()
                spool.durable = written
        return spool.file, end

    def durable_end(self, file: int) -> int | None:
        """Where the durable octets of a spool end while it is written to; None when it is closed."""
        with self._changed:
            for spool in self._spools.values():
                if spool.file.file == file:
                    return spool.durable
        return None

    def close(self) -> None:
        """Close the spools."""
        with self._changed:
            for spool in self._spools.values():
                os.close(spool.handle)
            self._spools.clear()

    def _spool(self, mapping: str, source: str, heading: bytes) -> _Spool:
        spool = self._spools.get((mapping, source, heading))
        if (
            spool is not None
            and spool.octets >= SPOOL_OCTETS
            and not spool.flushing
            and spool.durable == spool.octets
        ):
            os.close(spool.handle)
            del self._spools[mapping, source, heading]
            spool = None
        if spool is None:
            spool = self._spools[mapping, source, heading] = self._new_spool(mapping, source, heading)
        return spool

    def _new_spool(self, mapping: str, source: str, heading: bytes) -> _Spool:
        with self._writing, transaction(self._connection, self._disk, self._folder):
            file = self._insert(self._folder, "spool", source, mapping, None, "")
            path = self._folder / "spool" / f"{file:08d}-{mapping}.lines"
            self._connection.execute(
                "UPDATE files SET path = ?, raw = ? WHERE file = ?", (path.name, f"spool/{path.name}", file)
            )
        self._disk.write(path, [heading])
        self._disk.fsync_folder(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        return _Spool(SourceFile(file, path, source, mapping, "spool"), handle, len(heading), len(heading))

    def _insert(
        self, path: Path, kind: str, source: str, mapping: str, status: os.stat_result | None, head: str
    ) -> int:
        row = self._connection.execute(
            "INSERT INTO files (path, kind, source, mapping, device, inode, octets, head, begun_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (str(path), kind, source, mapping, *(_identity(status)), head, time.time_ns() // 1000),
        )
        assert row.lastrowid is not None, "SQLite numbers every row"
        return row.lastrowid

    def _cut_to_whole_lines(self, path: Path) -> None:
        if not path.exists():
            return
        octets = path.read_bytes()
        whole = octets.rfind(b"\n") + 1
        if whole < len(octets):
            self._disk.truncate(path, whole)
            self._disk.fsync(path)


def _identity(status: os.stat_result | None) -> tuple[int, int, int]:
    return (0, 0, 0) if status is None else (status.st_dev, status.st_ino, status.st_size)


def _head(path: Path, octets: int) -> str:
    """Digest of the first octets a file had when it was registered; it keeps them when it grows."""
    with path.open("rb") as file:
        return blake2b(file.read(min(octets, HEAD_OCTETS)), digest_size=16).hexdigest()
