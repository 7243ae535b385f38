"""Notifications to addresses that asked for them: each at least once, tried again for a while, then given up loudly.

A notice is written down before the thing it tells of is done, and let go afterwards; one whose request died in
between is settled later by looking whether the thing exists. Callbacks may lead to loopback only, or into
networks that the options name: the address is resolved and checked at registration and again at each delivery,
and the connection goes to the very address that was checked.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from trunkline import ports
from trunkline.api.callbacks import Callbacks
from trunkline.api.exact import write_json
from trunkline.api.metrics import Metrics
from trunkline.api.options import ApiOptions
from trunkline.api.problems import Problem

log = logging.getLogger("trunkline.notices")

ATTEMPTS_MAX = 8
SUBSCRIPTIONS_MAX = 100
A_TURN = 100
PREPARED_S = 60
GIVEN_UP_S = 3600

_TABLES = """
CREATE TABLE IF NOT EXISTS subscriptions (
    id TEXT PRIMARY KEY, api TEXT NOT NULL, callback TEXT NOT NULL, query TEXT NOT NULL, types TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS notices (
    number INTEGER PRIMARY KEY, subscription TEXT NOT NULL, thing TEXT NOT NULL, subscriber TEXT NOT NULL,
    body BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_s REAL NOT NULL, prepared INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Subscription:
    """An address that wants to be told."""

    id: str
    api: str
    callback: str
    query: str


@dataclass(frozen=True)
class _Notice:
    number: int
    callback: str
    body: bytes
    attempts: int


class Notices:
    """The registered addresses and what they have yet to be told."""

    def __init__(self, options: ApiOptions, metrics: Metrics, now_us: Callable[[], int]) -> None:
        """Open the file that keeps them, or memory."""
        self.callbacks = Callbacks(options.notify_networks)
        self.metrics = metrics
        self.now_us = now_us
        self._path = options.notices_path or ":memory:"
        self._lock = threading.Lock()
        self._open = False
        self.open()

    def open(self) -> None:
        """Open the file, unless it is open."""
        if not self._open:
            if self._path != ":memory:":
                Path(self._path).touch(mode=0o600)
            self._store = sqlite3.connect(self._path, check_same_thread=False)
            self._store.executescript(_TABLES)
            self._open = True

    def reference_key(self) -> bytes:
        """The secret behind references, made once and kept in the same file, so that ids outlive a restart."""
        with self._lock, self._store:
            self._store.execute(
                "INSERT OR IGNORE INTO keys VALUES ('references', ?)", (secrets.token_bytes(32),)
            )
            (key,) = self._store.execute("SELECT value FROM keys WHERE name = 'references'").fetchone()
        return bytes(key)

    def register(self, api: str, callback: str, query: str, types: tuple[str, ...]) -> Subscription:
        """Remember an address, after checking where it leads."""
        self.callbacks.allowed(callback)
        made = Subscription(secrets.token_hex(8), api, callback, query)
        with self._lock, self._store:
            (count,) = self._store.execute("SELECT count(*) FROM subscriptions").fetchone()
            if count >= SUBSCRIPTIONS_MAX:
                raise Problem(
                    409, "too_many", f"There are {SUBSCRIPTIONS_MAX} registered addresses; remove one first."
                )
            self._store.execute(
                "INSERT INTO subscriptions VALUES (?, ?, ?, ?, ?)",
                (made.id, api, callback, query, ",".join(types)),
            )
        return made

    def unregister(self, api: str, name: str) -> bool:
        """Forget an address and what it has not been told; False when there is none."""
        with self._lock, self._store:
            done = self._store.execute(
                "DELETE FROM subscriptions WHERE id = ? AND api = ?", (name, api)
            ).rowcount
            self._store.execute("DELETE FROM notices WHERE subscription = ?", (name,))
        return bool(done)

    def prepare(
        self, api: str, event_type: str, thing: str, subscriber: int, event: dict[str, Any]
    ) -> list[int]:
        """Write down what is about to happen for every address that wants to know; to be released or dropped."""
        with self._lock, self._store:
            wanting = self._store.execute(
                "SELECT id, types FROM subscriptions WHERE api = ?", (api,)
            ).fetchall()
            return [
                self._write(name, event_type, thing, subscriber, event)
                for name, types in wanting
                if event_type in types.split(",")
            ]

    def _write(self, name: str, event_type: str, thing: str, subscriber: int, event: dict[str, Any]) -> int:
        number = blake2b(f"{name}\0{event_type}\0{thing}".encode(), digest_size=12).hexdigest()
        body = write_json({"eventId": number, "eventType": event_type, **event})
        written = self._store.execute(
            "INSERT INTO notices (subscription, thing, subscriber, body, due_s, prepared) VALUES (?, ?, ?, ?, ?, 1)",
            (name, thing, str(subscriber), body, self.now_us() / 1e6),
        )
        assert written.lastrowid is not None, "an inserted row has a number"
        return written.lastrowid

    def release(self, numbers: list[int]) -> None:
        """What was prepared has happened: tell it."""
        self._each("UPDATE notices SET prepared = 0 WHERE number = ?", numbers)

    def drop(self, numbers: list[int]) -> None:
        """What was prepared did not happen."""
        self._each("DELETE FROM notices WHERE number = ?", numbers)

    def settle_prepared(self, reader: ports.Reader) -> None:
        """Look for the things whose requests died half way: tell those that exist, forget the others after an hour."""
        now_s = self.now_us() / 1e6
        with self._lock:
            rows = self._store.execute(
                "SELECT number, thing, subscriber, due_s FROM notices WHERE prepared = 1 AND due_s < ?",
                (now_s - PREPARED_S,),
            ).fetchall()
        for number, thing, subscriber, written_s in rows:
            if exists(reader, thing, int(subscriber)):
                self.release([number])
            elif written_s < now_s - GIVEN_UP_S:
                self.drop([number])

    async def run(self, reader: ports.Reader) -> None:
        """Deliver for as long as the application runs."""
        settled_s = 0.0
        while True:
            try:
                if self.now_us() / 1e6 - settled_s > PREPARED_S:
                    settled_s = self.now_us() / 1e6
                    await asyncio.to_thread(self.settle_prepared, reader)
                await self.deliver_due()
            except Exception:
                log.exception("notifications could not be delivered; trying again")
            await asyncio.sleep(0.25)

    async def deliver_due(self) -> None:
        """Offer everything that is due, each address's in their order and the addresses side by side."""
        by_address: dict[str, list[_Notice]] = {}
        for notice in await asyncio.to_thread(self._due):
            by_address.setdefault(notice.callback, []).append(notice)
        await asyncio.gather(*(asyncio.to_thread(self._offer, notices) for notices in by_address.values()))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._store.close()
            self._open = False

    def _due(self) -> list[_Notice]:
        with self._lock:
            (waiting,) = self._store.execute("SELECT count(*) FROM notices").fetchone()
            self.metrics.waiting.set(waiting)
            if not waiting:
                return []
            rows = self._store.execute(
                "SELECT number, callback, body, attempts FROM notices JOIN subscriptions ON id = subscription "
                "WHERE prepared = 0 AND due_s <= ? ORDER BY number LIMIT ?",
                (self.now_us() / 1e6, A_TURN),
            ).fetchall()
        return [_Notice(*row) for row in rows]

    def _offer(self, notices: list[_Notice]) -> None:
        for notice in notices:
            try:
                self._post(notice.callback, notice.body)
            except (OSError, http.client.HTTPException, Problem) as error:
                self._again(notice, error)
                return
            self.drop([notice.number])
            self.metrics.notices.labels("delivered").inc()

    def _again(self, notice: _Notice, error: Exception) -> None:
        attempts = notice.attempts + 1
        if attempts >= ATTEMPTS_MAX:
            self.drop([notice.number])
            self.metrics.notices.labels("given_up").inc()
            log.error(
                "a notification was given up", extra={"attempts": attempts, "cause": type(error).__name__}
            )
            return
        self.metrics.notices.labels("retried").inc()
        with self._lock, self._store:
            self._store.execute(
                "UPDATE notices SET attempts = ?, due_s = ? WHERE number = ?",
                (attempts, self.now_us() / 1e6 + 2.0 ** (attempts - 1), notice.number),
            )

    def _post(self, callback: str, body: bytes) -> None:
        """One delivery, to the very address that was checked; any answer but 2xx is a failure."""
        status = self.callbacks.post(callback, body, {"Content-Type": "application/json"}).status
        if not 200 <= status < 300:
            raise http.client.HTTPException(f"answered {status}")

    def _each(self, statement: str, numbers: list[int]) -> None:
        with self._lock, self._store:
            self._store.executemany(statement, [(number,) for number in numbers])


def exists(reader: ports.Reader, thing: str, subscriber: int) -> bool:
    """Whether what a notice tells of is there: `movement:NAME`, or `usage:SOURCE NUL RECORD`."""
    kind, _, name = thing.partition(":")
    if kind == "movement":
        frame = reader.movements(subscriber, 1000)
        return any(
            row["movement_id"] == name and row["status"] == "booked" for row in frame.iter_rows(named=True)
        )
    source, _, record_id = name.partition("\0")
    return len(reader.usage_record(source, record_id)) > 0
