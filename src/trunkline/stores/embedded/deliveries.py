"""The ledger of deliveries: what became of every alert on every channel, and what customers chose.

It is a file of its own beside the manifest, so that telling customers never waits in the line in which money is
committed. One row an alert and channel, named once; a row's state changes in one transaction with what it is counted
by, so that at any moment `planned` is the sum of all states and of what was let go.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trunkline.charging.delivery import Planned
from trunkline.stores.embedded.beside import BesideManifest
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word, word_of

NAME = "deliveries.sqlite"
OPEN_STATES = ("waiting", "held")  # something is still to be done
FAILED = "failed"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, alert INTEGER NOT NULL, alert_id TEXT NOT NULL, channel TEXT NOT NULL,
    subscriber INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    counted_from INTEGER NOT NULL DEFAULT 0, due_us INTEGER NOT NULL, changed_us INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '', UNIQUE (alert_id, channel));
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (channel, due_us) WHERE state IN ('waiting', 'held');
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, channel);
CREATE TABLE IF NOT EXISTS choices (
    subscriber INTEGER NOT NULL, channel TEXT NOT NULL, address TEXT NOT NULL, language TEXT NOT NULL,
    time_zone TEXT NOT NULL, quiet_hours TEXT NOT NULL, opted_out TEXT NOT NULL,
    PRIMARY KEY (subscriber, channel)) WITHOUT ROWID;
"""
_COLUMNS = (
    "number", "alert", "alert_id", "channel", "subscriber", "kind", "state", "attempts", "counted_from", "due_us",
    "changed_us", "reason",
)  # fmt: skip
CHOSEN = ("channel", "address", "language", "time_zone", "quiet_hours", "opted_out")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM deliveries"  # noqa: S608 -- our own names
_IS_OPEN = "state IN ('waiting', 'held')"


class EmbeddedDeliveries(BesideManifest):
    """The ledger of a data folder; any thread and any process may use it, and one process delivers."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Open or make it; nobody else of this machine may read it, for it holds addresses."""
        super().__init__(folder / NAME, _SCHEMA, disk)

    # -- alerts on their way ------------------------------------------------------------------------------

    def taken(self) -> int:
        """Running number of the last alert that was taken up."""
        return self._meta("taken")

    def plan(self, planned: Sequence[Planned], alerts: int, last: int, now_us: int) -> None:
        """Take up alerts: every row, and the number of the last alert, become true together.

        A row whose alert and channel are known already is passed over, so that a crossing is told once.
        """
        with self._transaction() as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT OR IGNORE INTO deliveries (alert, alert_id, channel, subscriber, kind, state, due_us,"
                " changed_us, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        each.alert,
                        each.alert_id,
                        each.channel,
                        stored_word(each.subscriber),
                        each.kind,
                        each.state,
                        each.due_us,
                        now_us,
                        each.reason,
                    )
                    for each in planned
                ],
            )
            self._add("planned", connection.total_changes - before)
            self._add("alerts", alerts)
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('taken', ?)", (last,))

    def due(self, channel: str, now_us: int, limit: int) -> list[dict[str, Any]]:
        """Open deliveries of a channel whose time has come, the longest waiting first."""
        return self._rows(
            f"{_SELECT} WHERE {_IS_OPEN} AND channel = ? AND due_us <= ? ORDER BY due_us, number LIMIT ?",
            (channel, now_us, limit),
        )

    def begin(self, number: int) -> int:
        """Write down durably that a delivery is tried now; which attempt it is. 0 when it is not open any more."""
        with self._transaction() as connection:
            row = connection.execute(
                f"UPDATE deliveries SET attempts = attempts + 1 WHERE number = ? AND {_IS_OPEN} RETURNING attempts",  # noqa: S608 -- our own names
                (number,),
            ).fetchone()
        return int(row[0]) if row else 0

    def change(self, number: int, state: str, due_us: int, now_us: int, reason: str = "") -> None:
        """Say what became of an open delivery; one that is not open stays as it is."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, due_us = ?, changed_us = ?, reason = ?"  # noqa: S608 -- our own names
                f" WHERE number = ? AND {_IS_OPEN}",
                (state, due_us, now_us, reason, number),
            )

    def retry(self, numbers: Sequence[int] | None, now_us: int) -> int:
        """Open dead letters again, all of them when no numbers are given; how many there were."""
        some = "" if numbers is None else f" AND number IN ({', '.join('?' * len(numbers))})"
        with self._transaction() as connection:
            return connection.execute(
                "UPDATE deliveries SET state = 'waiting', due_us = ?, changed_us = ?, counted_from = attempts"  # noqa: S608 -- our own names
                f" WHERE state = '{FAILED}'{some}",
                (now_us, now_us, *(numbers or ())),
            ).rowcount

    def let_go(self, before_us: int) -> int:
        """Remove what was done with before a moment; how many rows."""
        with self._transaction() as connection:
            gone = connection.execute(
                f"DELETE FROM deliveries WHERE changed_us < ? AND NOT {_IS_OPEN}",  # noqa: S608 -- our own names
                (before_us,),
            ).rowcount
            self._add("let_go", gone)
        return gone

    # -- looking ------------------------------------------------------------------------------------------

    def deliveries(self, state: str | None, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Deliveries, newest first."""
        one = "" if state is None else " WHERE state = ?"
        return self._rows(
            f"{_SELECT}{one} ORDER BY number DESC LIMIT ? OFFSET ?",
            (*(() if state is None else (state,)), limit, offset),
        )

    def counts(self) -> dict[str, Any]:
        """`states` (by channel), `alerts`, `planned`, `let_go` and `taken`, all of one moment."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                states: dict[str, dict[str, int]] = {}
                for channel, state, count in self._connection.execute(
                    "SELECT channel, state, count(*) FROM deliveries GROUP BY state, channel"
                ):
                    states.setdefault(channel, {})[state] = count
                meta = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
            finally:
                self._connection.execute("COMMIT")
        return {"states": states} | {
            name: meta.get(name, 0) for name in ("alerts", "planned", "let_go", "taken")
        }

    # -- choices ------------------------------------------------------------------------------------------

    def choices(self, subscriber: int) -> list[dict[str, str]]:
        """What a customer chose, a row a channel (`CHOSEN`)."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {', '.join(CHOSEN)} FROM choices WHERE subscriber = ? ORDER BY channel",  # noqa: S608 -- our own names
                (stored_word(subscriber),),
            ).fetchall()
        return [dict(zip(CHOSEN, row, strict=True)) for row in rows]

    def choose(self, chosen: Sequence[tuple[int, dict[str, str]]]) -> None:
        """Keep choices, all or none of them; each instead of an earlier one of its customer and channel."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO choices VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(stored_word(word), *(said[name] for name in CHOSEN)) for word, said in chosen],
            )

    def forget(self, subscriber: int, channel: str | None = None) -> int:
        """Forget what a customer chose, for one channel or for all; how many choices there were."""
        one = "" if channel is None else " AND channel = ?"
        with self._transaction() as connection:
            return connection.execute(
                f"DELETE FROM choices WHERE subscriber = ?{one}",  # noqa: S608 -- our own names
                (stored_word(subscriber), *(() if channel is None else (channel,))),
            ).rowcount

    # -- how ----------------------------------------------------------------------------------------------

    def _add(self, name: str, count: int) -> None:
        self._connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            (name, count),
        )

    def _meta(self, name: str) -> int:
        with self._lock:
            row = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _rows(self, statement: str, values: Sequence[object]) -> list[dict[str, Any]]:
        with self._lock:
            rows = self._connection.execute(statement, values).fetchall()
        found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        for row in found:
            row["subscriber"] = word_of(row["subscriber"])
        return found
