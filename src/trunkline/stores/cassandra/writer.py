"""Writing what the flows made. Whatever is delivered twice, or late by a writer that was thought dead, changes nothing.

History is keyed by the identity of its rows. An account carries the number of the commit that changed it as the
write's own timestamp, so the database keeps the newest, in whatever order two writers come. Rows of one partition go
together as one mutation, which is several times cheaper than a write a row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from cassandra.query import BatchStatement, BatchType

from trunkline.kernel.columns import Column
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ALERTS, MOVEMENTS
from trunkline.records.giving import HANDED
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.alerts import AlertLog
from trunkline.stores.cassandra.connection import AT_ONCE, Connection, bound

ROWS_A_MUTATION = 300
MUTATIONS_AT_ONCE = 8  # of history: in the node a balance waits behind these and no more
ROWS_THEN_GIVES_WAY = 2_000  # of history; as values of Python more would hold the interpreter, too
ROW_BITS = 14  # a message has at most so many rows
PARTITION_BITS = (
    14  # ten for the topic's partition, and above them four for another topic that shares a table
)


class Writer:
    """Writes into one keyspace; several may write at once, and two may write the same."""

    def __init__(self, connection: Connection, give_way: Callable[[], object] = lambda: None) -> None:
        """The connection's tables must be there. `give_way` is called between some rows of history and the next, and
        returns when nothing is more urgent.
        """
        self._connection, self._give_way = connection, give_way
        self._alerts = AlertLog(connection)
        self._parts: set[tuple[str, int]] = set()
        self._noting = threading.Lock()

    def rows(self, stream: Stream, frame: pl.DataFrame, partition: int = 0, position: int = 0) -> None:
        """Write rows of a message at `position` of a topic's `partition`; they are durable when this returns.

        Streams that are not served (copies of records that are only counted) are left alone.
        """
        if not len(frame):
            return
        if stream.name in tables.HISTORY_TABLES:
            self._history(stream, frame)
        elif stream.name in tables.ASIDE_TABLES:
            self._set_aside(stream, frame, partition, position)
        elif stream.name == ALERTS.name:
            self._alerts.append(stream.record.conform(frame))
        elif stream.name == MOVEMENTS.name:
            self._movements(frame)
        elif stream.name == HANDED.name:
            self._handed(frame)

    def accounts(self, groups: Grouped, number: int) -> None:
        """What accounts hold from commit `number` of their bucket on; an older commit changes nothing."""
        width = groups.rows.dtype.itemsize
        octets = np.ascontiguousarray(groups.rows).tobytes()
        starts, ends = groups.offsets[:-1] * width, groups.offsets[1:] * width
        values = {
            "bucket": tables.buckets_of(groups.keys, self._connection.buckets),
            "subscriber": groups.keys,
            "rows": pl.Series(
                [octets[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)], dtype=pl.Binary
            ),
        }
        table = tables.ACCOUNT_TABLE
        frame = pl.DataFrame(values).cast({"bucket": pl.Int32})
        moment = (number + 1).to_bytes(8, "big")
        using = table.insert(using="TIMESTAMP ?")
        self._write(table.columns, frame, ("bucket",), using, (moment,), urgent=True)

    def progress(self, told: Mapping[str, tuple[Mapping[str, Any], int, int]]) -> None:
        """How far buckets and edges are, by key: what it tells, as of its message's number, and that one's time (us
        UTC). An older one changes nothing.
        """
        self._connection.write_rows(
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
        self._connection.write_rows(told, [(name, number, *rest) for number, name, *rest in found])
        listed = [(partition, number, name) for number, name, _, _ in found]
        self._connection.write_rows(tables.ANSWER_TABLE.insert(), listed)

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

    def _history(self, stream: Stream, frame: pl.DataFrame) -> None:
        table, time = tables.HISTORY_TABLES[stream.name], tables.TIME_OF[stream.name]
        frame = stream.record.conform(frame)
        buckets = tables.buckets_of(frame.get_column("subscriber").to_numpy(), self._connection.buckets)
        day = pl.col(time) // tables.DAY_US
        frame = frame.with_columns(
            pl.Series("bucket", buckets, pl.Int32),
            day.cast(pl.Int32).alias("day"),
            tables.rows_of(frame, stream.record.columns),
        )
        days = frame.get_column("day").unique().to_list()
        self._note(stream.name, days)
        # What stands at the beginning of time, such as an opening balance, is not old: it is never let go.
        for part, using in (
            (frame.filter(pl.col("day") > 0), ""),
            (frame.filter(pl.col("day") <= 0), "TTL 0"),
        ):
            self._write(table.columns, part, ("bucket", "day"), table.insert(using=using))

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

    def _note(self, stream: str, parts: Sequence[int]) -> None:
        """Write down which days and partitions there are, before anything is in them."""
        with self._noting:
            new = [part for part in parts if (stream, part) not in self._parts]
        for part in new:
            self._connection.ask(tables.PART_TABLE.insert(), (stream, part))
        with self._noting:
            self._parts.update((stream, part) for part in new)

    def _write(
        self,
        columns: Sequence[Column],
        frame: pl.DataFrame,
        partition: tuple[str, ...],
        statement: str,
        using: tuple[bytes, ...] = (),
        *,
        urgent: bool = False,
    ) -> None:
        frame = frame.sort(partition, maintain_order=True)
        prepared = self._connection.prepared(statement)
        for some in frame.iter_slices(max(1, len(frame)) if urgent else ROWS_THEN_GIVES_WAY):
            if not urgent:
                self._give_way()
            octets = (tables.octets_of(column, some.get_column(column.name)) for column in columns)
            values = [(*row, *using) for row in zip(*octets, strict=True)]
            mutations = _mutations(prepared, values, _borders(some, partition))
            self._connection.write_all(mutations, AT_ONCE if urgent else MUTATIONS_AT_ONCE)


def _borders(frame: pl.DataFrame, partition: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Where partitions begin in sorted rows, and their end; long ones are cut."""
    changed = frame.select(
        pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in partition)
    ).to_series()
    starts = np.flatnonzero(changed.to_numpy())
    if len(starts) == 0 or starts[0] != 0:
        starts = np.concatenate([np.zeros(1, np.int64), starts])
    ends = np.append(starts[1:], len(frame))
    cuts = [
        np.arange(start, end, ROWS_A_MUTATION)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return np.append(np.concatenate(cuts), len(frame)).astype(np.int64)


def _mutations(prepared: Any, values: list[Any], borders: npt.NDArray[np.int64]) -> Iterator[Any]:  # noqa: ANN401 -- the driver carries no types
    for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        if end - start == 1:
            yield bound(prepared, values[start])
            continue
        batch = BatchStatement(BatchType.UNLOGGED)
        for row in values[start:end]:
            batch.add(bound(prepared, row))
        yield batch
