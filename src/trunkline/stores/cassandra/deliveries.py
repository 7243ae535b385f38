"""The ledger of deliveries of a cluster: what became of every alert on every channel, and what customers chose.

Any number of processes deliver beside each other, and nobody leads. An alert is planned by one light-weight
transaction, so that all of its deliveries are there or none, once. Who tries a delivery takes it for a while by
another one; who dies with it leaves it to whoever looks after that while, and says nothing any more that counts.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cassandra.query import BatchStatement, BatchType

from trunkline.charging.delivery import CHANNELS, FAILED, OPEN, WAITING, Planned
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection

TAKEN_FOR_US = 45_000_000  # longer than any receiver is waited for
SLOTS = 4  # numbers an alert has: one that says that it was planned, and one for each channel
BLOCK = 4_000  # numbers that are counted and let go of together
PLANNED = "planned"  # state of the first, where no delivery has that number
_PART = "alert_deliveries"  # how blocks are noted
_TAKEN = "alerts_taken"
_CHOSEN = ("channel", "address", "language", "time_zone", "quiet_hours", "opted_out")
_OPEN = tuple(str(state) for state in OPEN)

assert len(CHANNELS) < SLOTS


class CassandraDeliveries:
    """The ledger of a keyspace (`bootstrap.alert_delivery.DeliveryLedger`); any thread and any process may use it."""

    def __init__(
        self, connection: Connection, now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        """The connection's tables must be there."""
        self._connection, self._now_us = connection, now_us
        self._lock = threading.Lock()
        self._seen: dict[str, dict[int, int]] = {}  # by channel: attempts of what we have in hand
        self._done: dict[int, Counter[tuple[str, str]]] = {}  # blocks in which nothing changes any more
        self._noted: set[int] = set()

    # -- alerts on their way ------------------------------------------------------------------------------

    def taken(self) -> int:
        """Running number of the last alert that was taken up."""
        rows = self._connection.ask(tables.META_TABLE.select("WHERE name = ?", ("value",)), (_TAKEN,))
        return int(rows[0].value) if rows else 0

    def plan(self, planned: Sequence[Planned], alerts: int, last: int, now_us: int) -> None:
        """Take up alerts: each with all its deliveries or not at all, and then the number of the last."""
        del alerts  # every one has a row that says that it was planned
        by_alert: dict[int, list[Planned]] = {}
        for each in planned:
            by_alert.setdefault(each.alert, []).append(each)
        self._note({_number(alert, "") // BLOCK for alert in by_alert})
        self._connection.write_all(self._planned(some, now_us) for some in by_alert.values())
        meta = tables.META_TABLE
        self._connection.ask(meta.insert() + " IF NOT EXISTS", (_TAKEN, 0))
        self._connection.ask(
            f"UPDATE @{meta.name} SET value = ? WHERE name = ? IF value < ?",  # noqa: S608 -- our own names
            (last, _TAKEN, last),
        )

    def _planned(self, planned: Sequence[Planned], now_us: int) -> BatchStatement:
        """One alert's rows as one transaction, which does nothing where the alert was planned before."""
        first = planned[0]
        rows = {_number(each.alert, each.channel): each for each in planned}
        mark = _number(first.alert, "")
        told = Planned(first.alert, first.alert_id, "", first.subscriber, first.kind, PLANNED, first.due_us)
        rows.setdefault(mark, told)
        statement = self._connection.prepared(tables.DELIVERY_TABLE.insert() + " IF NOT EXISTS")
        batch = BatchStatement(BatchType.LOGGED)
        for number, each in rows.items():
            batch.add(
                statement,
                (
                    mark // BLOCK, number, each.alert, each.alert_id, each.channel,
                    tables.stored_word(each.subscriber), each.kind, each.state, 0, 0, each.due_us, now_us, each.reason,
                ),
            )  # fmt: skip
        return batch

    def _note(self, blocks: Iterable[int]) -> None:
        """Write down which blocks there are, before anything is in them."""
        for block in set(blocks) - self._noted:
            self._connection.ask(tables.PART_TABLE.insert(), (_PART, block))
            self._noted.add(block)

    def due(self, channel: str, now_us: int, limit: int) -> list[dict[str, Any]]:
        """Open deliveries of a channel whose time has come, and that nobody else has in hand."""
        statement = tables.DELIVERY_TABLE.select("WHERE state = ? AND channel = ? AND due_us <= ? LIMIT ?")
        found = [
            _told(row)
            for state in _OPEN
            for row in self._connection.ask(statement, (state, channel, now_us, limit))
        ]
        found.sort(key=lambda row: (row["due_us"], row["number"]))
        with self._lock:
            self._seen[channel] = {row["number"]: row["attempts"] for row in found[:limit]}
        return found[:limit]

    def begin(self, number: int) -> int:
        """Take a delivery for a while and write down that it is tried; 0 when another one has it, or it is done."""
        rows = self._connection.ask(_ONE, (number // SLOTS, number))
        now_us = self._now_us()
        if not rows or rows[0].state not in _OPEN or rows[0].due_us > now_us:
            return 0
        attempts = int(rows[0].attempts)
        (answer,) = self._connection.ask(
            f"UPDATE @{tables.DELIVERY_TABLE.name} SET attempts = ?, due_us = ? WHERE alert = ? AND number = ?"  # noqa: S608 -- our own names
            " IF state = ? AND attempts = ? AND due_us = ?",
            (
                attempts + 1,
                now_us + TAKEN_FOR_US,
                number // SLOTS,
                number,
                rows[0].state,
                attempts,
                rows[0].due_us,
            ),
        )
        if not answer[0]:
            return 0
        with self._lock:
            self._seen.setdefault(rows[0].channel, {})[number] = attempts + 1
        return attempts + 1

    def change(self, number: int, state: str, due_us: int, now_us: int, reason: str = "") -> None:
        """Say what became of an open delivery; what another process began meanwhile is left to it."""
        with self._lock:
            seen = next((some[number] for some in self._seen.values() if number in some), None)
        if seen is None:
            return
        self._connection.ask(
            f"UPDATE @{tables.DELIVERY_TABLE.name} SET state = ?, due_us = ?, changed_us = ?, reason = ?"  # noqa: S608 -- our own names
            " WHERE alert = ? AND number = ? IF state IN ('waiting', 'held') AND attempts = ?",
            (state, due_us, now_us, reason, number // SLOTS, number, seen),
        )

    def retry(self, numbers: Sequence[int] | None, now_us: int) -> int:
        """Open dead letters again, all of them when no numbers are given; how many there were."""
        if numbers is None:
            found = self._connection.ask(
                tables.DELIVERY_TABLE.select("WHERE state = ?", ("number", "attempts", "state")), (FAILED,)
            )
        else:
            asked = [(number // SLOTS, number) for number in numbers]
            found = [row for rows in self._connection.ask_all(_ONE, asked) for row in rows]
        again = [
            (now_us, now_us, row.attempts, row.number // SLOTS, row.number, row.attempts)
            for row in found
            if row.state == FAILED
        ]
        statement = (
            f"UPDATE @{tables.DELIVERY_TABLE.name} SET state = '{WAITING}', due_us = ?, changed_us = ?,"  # noqa: S608 -- our own names
            f" counted_from = ? WHERE alert = ? AND number = ? IF state = '{FAILED}' AND attempts = ?"
        )
        return sum(1 for (answer,) in self._connection.ask_all(statement, again) if answer[0])

    def let_go(self, before_us: int) -> int:
        """Remove blocks that were done with before a moment, all but the newest; how many rows."""
        gone = self._gone()
        removed = 0
        for block in self._blocks()[1:]:
            rows = self._connection.ask(
                tables.DELIVERY_TABLE.select("WHERE block = ?", ("alert", "state", "changed_us")), (block,)
            )
            alerts = {row.alert for row in rows}
            if block not in gone:
                if any(row.state in _OPEN or row.changed_us >= before_us for row in rows):
                    continue
                planned = sum(row.state != PLANNED for row in rows)
                self._connection.ask(tables.DELIVERIES_GONE_TABLE.insert(), (block, planned, len(alerts)))
                removed += planned
            delete = f"DELETE FROM @{tables.DELIVERY_TABLE.name} WHERE alert = ?"  # noqa: S608 -- our own names
            for _ in self._connection.ask_all(delete, [(alert,) for alert in sorted(alerts)]):
                pass
            self._connection.ask(
                f"DELETE FROM @{tables.PART_TABLE.name} WHERE stream = ? AND part = ?",  # noqa: S608 -- our own names
                (_PART, block),
            )
        return removed

    # -- looking ------------------------------------------------------------------------------------------

    def deliveries(self, state: str | None, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Deliveries, newest first."""
        one = "" if state is None else " AND state = ?"
        statement = tables.DELIVERY_TABLE.select(f"WHERE block = ?{one}")
        found: list[dict[str, Any]] = []
        for block in self._blocks():
            rows = self._connection.ask(statement, (block, *(() if state is None else (state,))))
            found += sorted(map(_told, rows), key=lambda row: row["number"], reverse=True)
            found = [row for row in found if row["state"] != PLANNED]
            if len(found) >= limit + offset:
                break
        return found[offset : limit + offset]

    def counts(self) -> dict[str, Any]:
        """`states` (by channel), `alerts`, `planned`, `let_go` and `taken`; one block after the other is looked at."""
        gone = self._gone()
        sums: Counter[tuple[str, str]] = Counter()
        alerts = sum(each for _, each in gone.values())
        for block in self._blocks():
            if block not in gone:
                sums += self._of_block(block)
        states: dict[str, dict[str, int]] = {}
        for (channel, state), count in sums.items():
            if channel == _ALERTS:
                alerts += count
            else:
                states.setdefault(channel, {})[state] = count
        let_go = sum(rows for rows, _ in gone.values())
        planned = let_go + sum(sum(each.values()) for each in states.values())
        return {
            "states": states, "alerts": alerts, "planned": planned, "let_go": let_go, "taken": self.taken(),
        }  # fmt: skip

    def _of_block(self, block: int) -> Counter[tuple[str, str]]:
        """Deliveries of a block by channel and state, and its alerts; kept once nothing of it can change any more."""
        known = self._done.get(block)
        if known is not None:
            return known
        whole = (
            self.taken() * SLOTS // BLOCK > block
        )  # asked first: what is planned is planned before it is taken
        found: Counter[tuple[str, str]] = Counter()
        for row in self._connection.ask(
            tables.DELIVERY_TABLE.select("WHERE block = ?", ("number", "channel", "state")), (block,)
        ):
            found[_ALERTS, ""] += row.number % SLOTS == 0
            if row.state != PLANNED:
                found[row.channel, row.state] += 1
        changing = any(state in (*_OPEN, FAILED) for _, state in found)
        if whole and not changing:
            self._done[block] = found
        return found

    def _blocks(self) -> list[int]:
        """The blocks that there are, the newest first."""
        statement = tables.PART_TABLE.select("WHERE stream = ?", ("part",))
        return sorted((row.part for row in self._connection.ask(statement, (_PART,))), reverse=True)

    def _gone(self) -> dict[int, tuple[int, int]]:
        """Rows and alerts of the blocks that were let go."""
        rows = self._connection.ask(tables.DELIVERIES_GONE_TABLE.select(""))
        return {row.block: (row.rows, row.alerts) for row in rows}

    # -- choices ------------------------------------------------------------------------------------------

    def choices(self, subscriber: int) -> list[dict[str, str]]:
        """What a customer chose, a row a channel."""
        statement = tables.CHOICE_TABLE.select("WHERE subscriber = ?", _CHOSEN)
        rows = self._connection.ask(statement, (tables.stored_word(subscriber),))
        return [{name: getattr(row, name) or "" for name in _CHOSEN} for row in rows]

    def choose(self, chosen: Sequence[tuple[int, dict[str, str]]]) -> None:
        """Keep choices, each instead of an earlier one of its customer and channel."""
        values = [
            (tables.stored_word(word), *(said[name] for name in _CHOSEN)) for word, said in chosen
        ]  # asked for at once: the same again changes nothing, so who was interrupted says it again
        for _ in self._connection.ask_all(tables.CHOICE_TABLE.insert(), values):
            pass

    def forget(self, subscriber: int, channel: str | None = None) -> int:
        """Forget what a customer chose, for one channel or for all; how many choices there were."""
        gone = [each for each in self.choices(subscriber) if channel in (None, each["channel"])]
        for each in gone:
            self._connection.ask(
                f"DELETE FROM @{tables.CHOICE_TABLE.name} WHERE subscriber = ? AND channel = ?",  # noqa: S608 -- our own names
                (tables.stored_word(subscriber), each["channel"]),
            )
        return len(gone)

    def close(self) -> None:
        """Nothing is open; the connection belongs to whoever made it."""


_ALERTS = "alerts"  # beside the channels, in sums
_ONE = tables.DELIVERY_TABLE.select("WHERE alert = ? AND number = ?")


def _number(alert: int, channel: str) -> int:
    """The number that an alert's delivery by a channel has for good."""
    return alert * SLOTS + (CHANNELS.index(channel) + 1 if channel in CHANNELS else 0)


def _told(row: Any) -> dict[str, Any]:  # noqa: ANN401 -- the driver carries no types
    found = {name: getattr(row, name) for name in tables.DELIVERY_TABLE.names if name != "block"}
    return found | {"subscriber": tables.word_of(row.subscriber)}
