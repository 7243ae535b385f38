"""A ledger in a file of its own beside the manifest, so that what it keeps never waits in the line of money.

Any thread and any process may use it, one change at a time; nobody else of the machine may read it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.stores.embedded.disk import Disk, full_disk_named


class BesideManifest:
    """One such file, with the tables of its schema."""

    def __init__(self, path: Path, schema: str, disk: Disk | None) -> None:
        """Open or make it."""
        self._path, self._disk = path, disk or Disk()
        self._path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=60
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(schema)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it becomes durable, or nothing of it was."""
        with self._lock, full_disk_named(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._disk.commit(self._connection, self._path)
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
