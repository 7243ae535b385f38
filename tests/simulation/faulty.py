"""A disk that crashes at its N-th change, and forgets what was not made durable: the power cut of the tests.

After the crash every further change fails, as it does for a process that is dead. `forget` then takes back what a
real disk may lose: content that was written without fsync, and names in folders that were not made durable.
"""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

from trunkline.stores.embedded.disk import Disk


class Crashed(BaseException):
    """The process died here."""


class CrashingDisk(Disk):
    """Dies before its N-th change; `half` does a half of it first."""

    def __init__(self, at: int, *, half: bool = False) -> None:
        """`at` counts from 1; 0 never crashes."""
        self.at, self.half = at, half
        self.changes = 0
        self.dead = False
        self.log: list[str] = []
        self._lock = threading.Lock()
        self._undurable: dict[Path, int] = {}  # file: how much of it is durable
        self._fresh: dict[Path, Path | None] = {}  # name that is not durable: what it was called before

    def before(self, operation: str, path: Path) -> None:
        """Count, and die when it is time."""
        with self._lock:
            if self.dead:
                raise Crashed
            self.changes += 1
            self.log.append(f"{operation} {path.name}")
            if self.changes == self.at:
                self.dead = True
                if self.half and operation == "write" and not path.exists():
                    path.write_bytes(b"half of someth")
                    self._fresh[path] = None
                raise Crashed
            if operation in ("write", "append", "truncate"):
                self._undurable.setdefault(path, path.stat().st_size if path.exists() else 0)
            if operation in ("write", "link") and not path.exists():
                self._fresh[path] = None

    def after(self, operation: str, path: Path) -> None:
        """Note what became durable."""
        with self._lock:
            if operation == "fsync":
                self._undurable.pop(path, None)
            if operation == "fsync_folder":
                self._fresh = {name: old for name, old in self._fresh.items() if name.parent != path}

    def forget(self) -> None:
        """Take back what was not durable when the process died."""
        for path, octets in self._undurable.items():
            if path.exists() and path.stat().st_size > octets:
                with path.open("r+b") as file:
                    file.truncate(octets)
        for path in self._fresh:
            path.unlink(missing_ok=True)


class FullDisk(Disk):
    """Has no room from its N-th change on, until `roomy` is set."""

    def __init__(self, at: int) -> None:
        """`at` counts from 1."""
        self.at = at
        self.changes = 0
        self.roomy = False

    def before(self, operation: str, path: Path) -> None:
        """Fail writes with ENOSPC."""
        self.changes += 1
        if self.changes >= self.at and not self.roomy and operation in ("write", "append", "commit"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))


class NoFsync(CrashingDisk):
    """The planted bug: an fsync that does nothing."""

    def fsync(self, path: Path) -> None:
        """Skip it."""

    def fsync_folder(self, path: Path) -> None:
        """Skip it."""


def copied(folder: Path, target: Path) -> Path:
    """A copy of a data folder to look at."""
    shutil.copytree(folder, target)
    return target
