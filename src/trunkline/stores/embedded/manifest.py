"""The manifest: one SQLite file that alone says what is true of a data folder.

Dial words are stored less 2**63, so that SQLite's signed integers keep their order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.ports import FolderDamaged
from trunkline.stores.embedded.disk import Disk, full_disk_named

NAME = "manifest.sqlite"
BEGINNINGS = 6  # each waits about ten seconds (sqlite.org/rescode.html#protocol)
VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE states (name TEXT PRIMARY KEY, dtype TEXT NOT NULL, days INTEGER) WITHOUT ROWID;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, level INTEGER NOT NULL,
    first_commit INTEGER NOT NULL, last_commit INTEGER NOT NULL,
    keys INTEGER NOT NULL, rows INTEGER NOT NULL, octets INTEGER NOT NULL,
    first_key INTEGER NOT NULL, last_key INTEGER NOT NULL, newest_day INTEGER NOT NULL,
    path TEXT, body BLOB);
CREATE INDEX runs_by_state ON runs (state, last_commit);
CREATE TABLE segments (
    segment INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, level INTEGER NOT NULL, rows INTEGER NOT NULL,
    octets INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    from_us INTEGER NOT NULL, until_us INTEGER NOT NULL,
    first_key INTEGER NOT NULL, last_key INTEGER NOT NULL, path TEXT, body BLOB);
CREATE INDEX segments_by_time ON segments (stream, until_us);
CREATE TABLE files (
    file INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL, kind TEXT NOT NULL,
    source TEXT NOT NULL, mapping TEXT NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, octets INTEGER NOT NULL, head TEXT NOT NULL,
    offset INTEGER NOT NULL DEFAULT 0, line INTEGER NOT NULL DEFAULT 1, records INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0, ended TEXT NOT NULL DEFAULT '', raw TEXT, begun_us INTEGER NOT NULL);
CREATE INDEX files_by_head ON files (head);
CREATE INDEX files_open ON files (kind, file) WHERE ended = '';
CREATE TABLE accounting (
    source TEXT NOT NULL, hour INTEGER NOT NULL, received INTEGER NOT NULL, rated INTEGER NOT NULL,
    duplicate INTEGER NOT NULL, rejected INTEGER NOT NULL, held INTEGER NOT NULL, charged_micros INTEGER NOT NULL,
    PRIMARY KEY (source, hour)) WITHOUT ROWID;
CREATE TABLE rejected (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, line INTEGER NOT NULL, offset INTEGER NOT NULL,
    length INTEGER NOT NULL, source TEXT, reason TEXT NOT NULL, detail TEXT, raw BLOB, time_us INTEGER NOT NULL,
    settled TEXT, actor TEXT);
CREATE INDEX rejected_open ON rejected (reason, number) WHERE settled IS NULL;
CREATE TABLE held (
    number INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, line INTEGER NOT NULL, offset INTEGER NOT NULL,
    length INTEGER NOT NULL, source TEXT, record_id TEXT, reason TEXT NOT NULL, raw BLOB, time_us INTEGER NOT NULL,
    settled TEXT, actor TEXT);
CREATE INDEX held_open ON held (number) WHERE settled IS NULL;
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, subscriber INTEGER NOT NULL,
    time_us INTEGER NOT NULL, kind TEXT NOT NULL, balance TEXT, threshold INTEGER, value INTEGER, period INTEGER);
CREATE INDEX alerts_by_subscriber ON alerts (subscriber, number);
CREATE TABLE movements (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    movement_id TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL, cause INTEGER NOT NULL,
    subscriber INTEGER NOT NULL, time_us INTEGER NOT NULL, balance TEXT NOT NULL, amount INTEGER NOT NULL,
    valid_until_s INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX movements_by_subscriber ON movements (subscriber, number);
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, actor TEXT NOT NULL, role TEXT NOT NULL,
    action TEXT NOT NULL, subscriber INTEGER NOT NULL, detail TEXT NOT NULL);
CREATE TABLE reconciliations (number INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL, body TEXT NOT NULL);
"""

_WORD_BASE = 1 << 63


def stored_word(word: int) -> int:
    """A 64-bit word as SQLite keeps it."""
    return word - _WORD_BASE


def word_of(stored: int) -> int:
    """The word that SQLite kept."""
    return stored + _WORD_BASE


def open_to_write(folder: Path) -> sqlite3.Connection:
    """The writing process's connection; makes the manifest when there is none. Its users share one lock."""
    connection = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False, timeout=60)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "PRAGMA wal_autocheckpoint = 0"
    )  # the keeper checkpoints, so that no commit waits for it
    connection.execute("PRAGMA cache_size = -32768")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION:
        connection.close()
        raise FolderDamaged(
            f"{folder / NAME} is of version {version}; this trunkline reads version {VERSION}"
        )
    return connection


def open_to_read(folder: Path) -> sqlite3.Connection:
    """A connection that changes nothing, for any process."""
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no data of trunkline (no {NAME})")
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=60,
    )
    connection.execute("PRAGMA query_only = 1")
    return connection


def _begin(connection: sqlite3.Connection) -> None:
    """Begin to write; on a machine so busy that SQLite loses its own race for the lock, again."""
    for _ in range(BEGINNINGS - 1):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_PROTOCOL:
                raise
        else:
            return
    connection.execute("BEGIN IMMEDIATE")


@contextmanager
def transaction(connection: sqlite3.Connection, disk: Disk, folder: Path) -> Iterator[None]:
    """All or nothing: commits durably at its end, rolls back when anything is raised."""
    path = folder / NAME
    with full_disk_named(path):
        _begin(connection)
        try:
            yield
            disk.commit(connection, path)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
