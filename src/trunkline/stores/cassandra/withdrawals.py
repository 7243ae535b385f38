"""Records that wait for the one which they cancel or correct, and what that one did: out of what was delivered.

What cannot be settled any more stands among the rejected records under a number of its own, which follows from the
number under which it waited. So it is written once, however often somebody settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES
from trunkline.records.usage import HELD, REJECTED
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.history import History
from trunkline.stores.cassandra.writer import PARTITION_BITS, Writer, partition_of

APART = 15 << (PARTITION_BITS - 4)  # the last of the other topics that share a table of set-aside records

_LISTED = ("number", "source", "record_id", "settled")
_WAITING = (
    "partition", "number", "file", "line", "offset", "length", "source", "record_id", "reason", "path", "mapping",
    "raw",
)  # fmt: skip


@dataclass(frozen=True)
class Withdrawers:
    """Records that take others back: those that wait, in the order of their numbers, and those that were charged."""

    waiting: pl.DataFrame
    charged: dict[tuple[str, str], int]  # number under which one was held, by its source and name


class CassandraWithdrawals:
    """The records of a keyspace that take others back."""

    def __init__(self, connection: Connection) -> None:
        """The connection's tables must be there."""
        self._connection, self._history = connection, History(connection)
        self._writer = Writer(connection)

    def withdrawers(self, reasons: Sequence[str], charged: str) -> Withdrawers:
        """Held records of these reasons; those that were decided `charged` are usage by now."""
        table = tables.ASIDE_TABLES[HELD.name]
        parts = tables.PART_TABLE.select("WHERE stream = ?", ("part",))
        asked = [
            (row.part, reason) for row in self._connection.ask(parts, (HELD.name,)) for reason in reasons
        ]
        listed = table.select("WHERE partition = ? AND reason = ?", _LISTED)
        rows = [row for found in self._connection.ask_all(listed, asked) for row in found]
        known = {
            (row.source or "", row.record_id or ""): row.number for row in rows if row.settled == charged
        }
        places = [(partition_of(row.number), row.number) for row in rows if row.settled is None]
        whole = table.select("WHERE partition = ? AND number = ?", _WAITING)
        waiting = [row for found in self._connection.ask_all(whole, sorted(places)) for row in found]
        shown = {column.name: column for column in table.columns}
        frame = tables.frame_of(waiting, [shown[name] for name in _WAITING])
        return Withdrawers(frame.sort("number"), known)

    def charged(self, identity: Iterable[int]) -> pl.DataFrame:
        """Charged usage (`CHARGED`) among which are all records with these first halves of an identity."""
        return self._history.concerning(CHARGED, identity)

    def newest_us(self) -> int:
        """When the newest charged use began; 0 when there is none."""
        return self._history.newest_us(CHARGED)

    def usage(self, subscriber: int, from_us: int, until_us: int) -> pl.DataFrame:
        """All charged usage of an account within a time."""
        return self._history.read(CHARGED, subscriber, from_us, until_us, tables.EVERY, 0, None)

    def corrections(self, subscribers: Iterable[int]) -> pl.DataFrame:
        """All corrections (`CORRECTIONS`) of some accounts."""
        return self._history.of_accounts(CORRECTIONS, subscribers)

    def entries(self, caused_by: pl.DataFrame) -> pl.DataFrame:
        """Ledger entries (`ENTRIES`) of usage and of its corrections, which are told as of the usage's own moment."""
        places = caused_by.select("subscriber", "start_us").unique().iter_rows()
        return self._history.of_days(ENTRIES, places)

    def reject(self, number: int, row: pl.DataFrame) -> None:
        """Write a record that was held under a number among the rejected ones (`REJECTED`, and whence it came)."""
        table = tables.ASIDE_TABLES[REJECTED.name]
        partition = partition_of(number) | APART
        names = [column.name for column in table.columns if column not in tables.DECIDED]
        told = row.with_columns(
            pl.lit(partition, pl.Int32).alias("partition"), pl.lit(number | APART).alias("number")
        )
        self._writer.note_part(REJECTED, partition)
        self._connection.ask(table.insert(names), told.select(names).row(0))
