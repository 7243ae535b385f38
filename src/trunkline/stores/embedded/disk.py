"""Every write to the disk goes through here, so that a test may fail or crash at any one of them.

Files are written whole under their final name, made durable, and only then named in the manifest: what is not
named there does not exist. The folder is made durable too, because a file's name is written apart from its content.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trunkline.ports import DiskFull

Octets = bytes | bytearray | memoryview

RESERVE_OCTETS = 64 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_FOR_POLARS = f"os error {errno.ENOSPC}"  # it tells the number in the sentence only


class Disk:
    """The real disk. Tests override `before` (to fail) and `after` (to know what is durable)."""

    def before(self, operation: str, path: Path) -> None:
        """Called before each operation that changes the disk; what it raises happens instead."""

    def after(self, operation: str, path: Path) -> None:
        """Called after each operation that changed the disk."""

    def write(self, path: Path, parts: Iterable[Octets]) -> int:
        """Write a new file whole and durably; how many octets it has."""
        octets = 0
        with self._operation("write", path), path.open("wb") as file:
            for part in parts:
                octets += file.write(part)
        self.fsync(path)
        return octets

    def fill(self, path: Path, write: Callable[[IO[bytes]], object]) -> int:
        """Let something that writes by itself fill a new file, durably; how many octets it has."""
        with self._operation("write", path), path.open("wb", buffering=0) as file:
            write(file)
            octets = os.fstat(file.fileno()).st_size
        self.fsync(path)
        return octets

    def write_at(self, file: int, path: Path, octets: Octets, offset: int) -> None:
        """Write a part of a file that is being built; it is durable only after `fsync`."""
        with self._operation("write", path):
            view = memoryview(octets).cast("B")
            while view:
                written = os.pwrite(file, view, offset)
                view = view[written:]
                offset += written

    def append(self, file: int, path: Path, octets: Octets) -> None:
        """Append to a journal; it is durable only after `fsync`."""
        with self._operation("append", path):
            view = memoryview(octets).cast("B")
            while view:
                view = view[os.write(file, view) :]

    def truncate(self, path: Path, octets: int) -> None:
        """Cut a journal to what is whole."""
        with self._operation("truncate", path):
            os.truncate(path, octets)

    def fsync(self, path: Path) -> None:
        """Make a file's content durable."""
        with self._operation("fsync", path):
            _fsync(path)

    def fsync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        with self._operation("fsync_folder", path):
            _fsync(path)

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name, replacing what had it."""
        with self._operation("rename", path):
            path.rename(target)

    def link(self, path: Path, target: Path) -> None:
        """A second name for a file's content, or a copy where the file system cannot link."""
        with self._operation("link", target):
            try:
                target.hardlink_to(path)
            except OSError as error:
                if error.errno in _FULL or isinstance(error, FileExistsError):
                    raise
                shutil.copyfile(path, target)
                _fsync(target)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is no trouble."""
        with self._operation("remove", path):
            path.unlink(missing_ok=True)

    def commit(self, connection: sqlite3.Connection, path: Path) -> None:
        """End a SQLite transaction durably (WAL, synchronous=FULL)."""
        with self._operation("commit", path):
            connection.execute("COMMIT")

    def require_space(self, folder: Path, octets: int) -> None:
        """Refuse a big write before it is begun when the disk has no room for it."""
        free = shutil.disk_usage(folder).free
        if free < octets + RESERVE_OCTETS:
            raise DiskFull(folder, f"{octets >> 20} MiB are needed and {free >> 20} MiB are free")

    @contextmanager
    def _operation(self, name: str, path: Path) -> Iterator[None]:
        with full_disk_named(path):
            self.before(name, path)
            yield
            self.after(name, path)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn the several ways in which a full disk is told into `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or _FULL_FOR_POLARS in str(error):
            raise DiskFull(path.parent, error.strerror or "no space left") from error
        raise
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise DiskFull(path.parent, str(error)) from error
        raise


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
