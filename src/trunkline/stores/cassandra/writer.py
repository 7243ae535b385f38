"""Writing what the flows made. Whatever is delivered twice, or late by a writer that was thought dead, changes nothing.

Everything is keyed by what it is about. Rows of one partition go together as one mutation, which is several times
cheaper than a write a row. Accounts are written by `accounts`, and history by `history`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from trunkline.kernel.columns import Column
from trunkline.kernel.flow import Stream
from trunkline.records.charging import ALERTS, MOVEMENTS
from trunkline.records.giving import HANDED
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.alerts import AlertLog
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.history import MUTATIONS_AT_ONCE, History
from trunkline.stores.cassandra.mutations import mutations

ROWS_THEN_GIVES_WAY = 2_000  # of history; as values of Python more would hold the interpreter, too
ROW_BITS = 14  # a message has at most so many rows
PARTITION_BITS = (
    14  # ten for the topic's partition, and above them four for another topic that shares a table
)


def partition_of(number: int) -> int:
    """The partition in which what was set aside stands under a number."""
    return number & ((1 << PARTITION_BITS) - 1)


class Writer:
    """Writes into one keyspace; several may write at once, and two may write the same."""

    def __init__(self, connection: Connection, give_way: Callable[[], object] = lambda: None) -> None:
        """The connection's tables must be there. `give_way` is called between some rows of history and the next, and
        returns when nothing is more urgent.
        """
        self.connection, self._give_way = connection, give_way
        self._alerts, self._history = AlertLog(connection), History(connection)
        self._parts: set[tuple[str, int]] = set()
        self._noting = threading.Lock()

    def rows(self, stream: Stream, frame: pl.DataFrame, partition: int = 0, position: int = 0) -> None:
        """Write rows of a message at `position` of a topic's `partition`; they are durable when this returns.

        Streams that are not served (copies of records that are only counted) are left alone.
        """
        if not len(frame):
            return
        if stream.name in tables.HISTORY_TABLES:
            self._pages(stream, [frame])
        elif stream.name in tables.ASIDE_TABLES:
            self._set_aside(stream, frame, partition, position)
        elif stream.name == ALERTS.name:
            self._alerts.append(stream.record.conform(frame))
        elif stream.name == MOVEMENTS.name:
            self._movements(frame)
        elif stream.name == HANDED.name:
            self._handed(frame)

    def messages(self, stream: Stream, frames: Sequence[pl.DataFrame]) -> None:
        """Write the rows of some messages, each of which is whole."""
        filled = [frame for frame in frames if len(frame)]
        if filled and stream.name in tables.HISTORY_TABLES:
            self._pages(stream, filled)
        elif filled:
            self.rows(stream, pl.concat(filled))

    def progress(self, told: Mapping[str, tuple[Mapping[str, Any], int, int]]) -> None:
        """How far buckets and edges are, by key: what it tells, as of its message's number, and that one's time (us
        UTC). An older one changes nothing.
        """
        self.connection.write_rows(
            tables.PROGRESS_TABLE.insert(using="TIMESTAMP ?"),
            [
                (0, key, orjson.dumps(body).decode(), time_us, number + 1)
                for key, (body, number, time_us) in told.items()
            ],
        )

    def answers(self, answers: Iterable[tuple[int, str, str, str]], partition: int) -> None:
        """What became of movements: (number, movement's name, status, reason); later numbers are newer."""
        found = [each for each in answers if each[2] in ("booked", "refused")]
        if not found:
            return
        self._note("answers", [partition])
        told = tables.MOVEMENT_TABLE.insert(("movement_id", "number", "status", "reason"))
        self.connection.write_rows(told, [(name, number, *rest) for number, name, *rest in found])
        listed = [(partition, number, name) for number, name, _, _ in found]
        self.connection.write_rows(tables.ANSWER_TABLE.insert(), listed)

    def _movements(self, frame: pl.DataFrame) -> None:
        table = tables.MOVEMENT_TABLE
        columns = MOVEMENTS.record.columns
        frame = MOVEMENTS.record.conform(frame).filter(pl.col("movement_id").is_not_null())
        names = [column.name for column in columns]
        self._write(columns, frame, ("movement_id",), table.insert(names))

    def _handed(self, frame: pl.DataFrame) -> None:
        table = tables.TRANSFER_TABLE
        day = (pl.col("time_us") // tables.DAY_US).cast(pl.Int32).alias("day")
        frame = HANDED.record.conform(frame).with_columns(day)
        self._note(HANDED.name, frame.get_column("day").unique().to_list())
        self._write(table.columns, frame, ("day",), table.insert())

    def _pages(self, stream: Stream, messages: Sequence[pl.DataFrame]) -> None:
        pages = self._history.pages(stream, messages)
        self._note(stream.name, pages.get_column("day").unique().to_list())
        self._history.write(stream, pages, self._give_way)

    def _set_aside(self, stream: Stream, frame: pl.DataFrame, partition: int, position: int) -> None:
        table = tables.ASIDE_TABLES[stream.name]
        columns = tuple(column for column in table.columns if column not in tables.DECIDED)
        missing = [
            pl.lit(None, column.dtype).alias(column.name)
            for column in (*stream.record.columns, *tables.FOUND)
            if column.name not in frame.columns
        ]
        first = position << ROW_BITS
        assert len(frame) < 1 << ROW_BITS, "a message has so many rows at most"
        numbers = (
            pl.int_range(first, first + len(frame), dtype=pl.Int64) * (1 << PARTITION_BITS)
        ) + partition
        frame = frame.with_columns(
            *missing, pl.lit(partition, pl.Int32).alias("partition"), numbers.alias("number")
        )
        self._note(stream.name, [partition])
        names = [column.name for column in columns]
        self._write(columns, frame, ("partition",), table.insert(names))

    def note_part(self, stream: Stream, part: int) -> None:
        """Write down that a partition of a stream is to have something in it."""
        self._note(stream.name, [part])

    def _note(self, stream: str, parts: Sequence[int]) -> None:
        """Write down which days and partitions there are, before anything is in them."""
        with self._noting:
            new = [part for part in parts if (stream, part) not in self._parts]
        for part in new:
            self.connection.ask(tables.PART_TABLE.insert(), (stream, part))
        with self._noting:
            self._parts.update((stream, part) for part in new)

    def _write(
        self, columns: Sequence[Column], frame: pl.DataFrame, partition: tuple[str, ...], statement: str
    ) -> None:
        frame = frame.sort(partition, maintain_order=True)
        for some in frame.iter_slices(ROWS_THEN_GIVES_WAY):
            self._give_way()
            self.connection.write_all(
                mutations(self.connection, columns, some, partition, statement), MUTATIONS_AT_ONCE
            )
