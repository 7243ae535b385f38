"""What Spark's tasks do: decode messages and part their rows by bucket, and carry each bucket's rows to their end.

Both are plain functions from Arrow batches to Arrow batches, as `mapInArrow` wants them. Between them lies one shuffle
of a few large cells (a bucket's rows as one Arrow stream) instead of many rows of many columns, which is what makes it
cheap. All that one subscriber's money depends on lies in one bucket, so one task carries it through all steps that
remember, and the loop's rules about rejected records hold as they do embedded.

A task that is done again, after whatever crash, reads the same messages, opens the same version of its state and so
gives the same rows with the same arrival numbers; what it wrote before is written again under the same names.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from trunkline.engines.loop import POISON, Carried, Carrier, TooMuchPoison, counted
from trunkline.engines.naming import reading, renamed
from trunkline.engines.orders import Answer, sort_out
from trunkline.engines.plan import CARRIED, Plan, numbered
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.spark.figures import SUMS
from trunkline.engines.spark.minutes import Minutes, leave
from trunkline.engines.wire import ARROW, Unreadable, changes_out, progress_out, rows_in, rows_out
from trunkline.kernel.flow import Flow, Stream
from trunkline.kernel.grouped import Grouped, Keys, State
from trunkline.kernel.grouping import order_by_group

PLACE_BITS = 24  # a record's offset is its message's, shifted, plus the octet within the message
LONGEST_OCTETS = 1 << PLACE_BITS
NAMES = ("mapping", "source")  # headers of a raw message: how it is read, and whose it is
CHANGE_OCTETS = 900_000
SUMS_FOLDER = "minutes"

PARTED = "bucket int, stream string, partition int, offset long, piece int, rows binary"
PARTED_SCHEMA = pa.schema(
    [("bucket", pa.int32()), ("stream", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
     ("piece", pa.int32()), ("rows", pa.binary())]
)  # fmt: skip
WRITTEN = (
    "topic string, partition int, key binary, value binary, headers array<struct<key: string, value: binary>>"
)
_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """Everything a task needs to know; sent to the executors once."""

    plan: Plan
    tables: dict[str, object]
    folder: str  # of the buckets' state, which every executor sees
    mapping: str  # reads messages that do not name another
    sources: dict[str, str]  # by mapping
    joins: dict[str, bytes]  # by mapping, what ends a record of it
    published: tuple[State, ...] = ()  # states whose changes go to their changelog, for those who serve them
    minutes: Minutes | None = None  # what is summed a minute
    most_poison: int = 100


@dataclass(frozen=True)
class Written:
    """A message to be written to the partition of its bucket."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Sent(Protocol):
    """What a broadcast is: the same value in every task of an executor."""

    @property
    def value(self) -> Work:
        """The work."""


# -- messages into parted rows ---------------------------------------------------------------------------------


def decode_messages(
    sent: Sent, newest_us: int | None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The first task: Kafka's messages in, rows parted by bucket out."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        decoder = _Decoder(sent.value, newest_us)
        for batch in batches:
            yield from decoder.parted(batch)
        settle(decode_messages.__name__)

    return run


_settled: set[str] = set()


def settle(task: str) -> None:
    """Call at the end of a task. PySpark looks for garbage in everything that a worker holds after every task, which
    takes longer than the task when it is small; so what the first task of a kind left for good is taken out of it.
    """
    if task not in _settled:
        _settled.add(task)
        gc.collect()
        gc.freeze()


@dataclass(frozen=True)
class _Messages:
    """Messages of one partition of the raw topic that one mapping reads, in their order."""

    partition: int
    mapping: str
    mark: str  # what ids get behind them (`naming.reading`)
    source: str
    offsets: Longs
    times_us: Longs
    values: pa.Array  # binary


class _Nothing:
    """The first step remembers nothing."""

    def gather(self, state: State, keys: Keys) -> Grouped:
        """No rows."""
        return Grouped.empty(state.dtype, keys)

    def put(self, state: State, _groups: Grouped, _number: int) -> None:
        """Never called: only steps that remember put."""
        raise AssertionError(f"{state.name} was put before its bucket was known")


class _Decoder:
    """Decodes one task's messages."""

    def __init__(self, work: Work, newest_us: int | None) -> None:
        self._work, self._newest_us = work, newest_us
        self._usage = Carrier(work.plan.usage, work.tables, _Nothing())
        streams = (*work.plan.edges, *work.plan.results)
        self._topics = {work.plan.topic(stream): stream for stream in streams}
        self._poisoned = 0
        self._pieces = 0

    def parted(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """One Arrow batch of messages as parted rows."""
        for topic, partition, part in _runs(batch):
            stream = self._topics[topic]
            offsets = part.column("offset").to_numpy()
            if stream is self._work.plan.raw:
                for rows in self._usage_rows(partition, part):
                    if rows.frames:
                        yield from self._part(rows, partition, int(offsets[0]))
            elif stream not in self._work.plan.edges:  # a result lies in its bucket's partition
                yield self._cells(
                    [(partition, stream.name, value) for value in part.column("value").to_pylist() if value],
                    partition,
                    int(offsets[0]),
                )
            else:
                orders = Carried()
                for offset, value in zip(offsets.tolist(), part.column("value").to_pylist(), strict=True):
                    if value:
                        self._read(stream, partition, offset, value, orders)
                yield from self._part(orders, partition, int(offsets[0]))

    def _usage_rows(self, partition: int, part: pa.RecordBatch) -> Iterator[Carried]:
        values = part.column("value")
        arrow = pc.equal(pc.binary_slice(values, 0, 4), pa.scalar(ARROW, pa.binary()))
        if pc.any(arrow).as_py():
            together = Carried()  # a cell costs the same whether it holds the rows of one message or of many
            for at, offset in enumerate(part.column("offset").to_pylist()):
                value = values[at].as_py() or b""
                if value[:4] == ARROW:
                    together.join(self._decoded_elsewhere(partition, offset, value))
                elif value:
                    yield together
                    together = Carried()
                    yield from self._usage_rows(partition, part.slice(at, 1))
            yield together
            return
        for messages in _of_one_mapping(self._work, partition, part):
            decoded = Carried()
            if messages.mapping in self._work.joins:
                self._decode(messages, decoded)
            else:
                reason = "it names a mapping that does not exist, or one that reads files with a heading"
                topic = self._work.plan.topic(self._work.plan.raw)
                for offset, value in zip(messages.offsets.tolist(), messages.values.to_pylist(), strict=True):
                    self._aside(topic, partition, offset, value, reason, decoded)
            yield decoded

    def _read(self, stream: Stream, partition: int, offset: int, value: bytes, into: Carried) -> None:
        """Rows of one message: an Arrow stream, or of orders JSON objects a line; what is neither is set aside."""
        try:
            into.add(stream, rows_in(value, stream.record) if value[:4] == ARROW else _orders(stream, value))
        except Unreadable as error:
            topic = self._work.plan.topic(
                self._work.plan.raw if stream is self._work.plan.decoded else stream
            )
            self._aside(topic, partition, offset, value, str(error), into)

    def _aside(
        self, topic: str, partition: int, offset: int, value: bytes, reason: str, into: Carried
    ) -> None:
        row = {"topic": topic, "partition": partition, "offset": offset, "reason": reason, "value": value}
        into.frames.setdefault(self._work.plan.undigested, []).append(pl.DataFrame([row]))

    def _decoded_elsewhere(self, partition: int, offset: int, value: bytes) -> Carried:
        """Rows that were decoded before they came here: their place is where they lie now."""
        stream = self._work.plan.decoded
        found = Carried()
        self._read(stream, partition, offset, value, found)
        first = offset << PLACE_BITS
        if stream.name in found.frames:
            place = pl.int_range(first, first + pl.len(), dtype=pl.Int64)
            rows = found.rows(stream).with_columns(pl.lit(partition, pl.Int32).alias("file"), offset=place)
            found.frames[stream.name] = [rows]
        return found

    def _decode(self, messages: _Messages, decoded: Carried) -> None:
        """Decode; when that breaks, halve the messages until the one that breaks it stands alone and is held."""
        try:
            decoded.join(self._decode_all(messages))
        except (MemoryError, OSError):
            raise
        except (Exception, pl.exceptions.PanicException) as error:
            count = len(messages.offsets)
            if count > 1:
                for begin, end in ((0, count // 2), (count // 2, count)):
                    self._decode(_sliced(messages, begin, end), decoded)
                return
            self._poisoned += 1
            if self._poisoned > self._work.most_poison:
                raise TooMuchPoison(
                    f"more than {self._work.most_poison} messages of one task broke decoding"
                ) from error
            decoded.add(self._work.plan.accounts.held, self._poisoned_row(messages))

    def _poisoned_row(self, messages: _Messages) -> pl.DataFrame:
        """The row of a message that broke decoding: only its place is known."""
        row = {
            "file": messages.partition, "line": int(messages.offsets[0]),
            "offset": int(messages.offsets[0]) << PLACE_BITS, "length": len(messages.values[0].as_py()),
            "source": messages.source, "reason": POISON,
        }  # fmt: skip
        return self._work.plan.accounts.held.record.conform(pl.DataFrame([row]))

    def _decode_all(self, messages: _Messages) -> Carried:
        between = self._work.joins[messages.mapping]
        lengths = pc.binary_length(messages.values).to_numpy(zero_copy_only=False).astype(np.int64)
        begins = np.concatenate([[0], np.cumsum(lengths + len(between))])
        whole = pc.binary_join(
            pa.ListArray.from_arrays(pa.array([0, len(lengths)], pa.int32()), messages.values), between
        )[0].as_py()
        raw = pl.DataFrame(
            {
                "file": [messages.partition], "source": [messages.source], "mapping": [messages.mapping],
                "offset": [1], "line": [2], "bytes": [whole + between],
                "received_us": [int(messages.times_us.max())], "newest_us": [self._newest_us],
            }
        )  # fmt: skip
        decoded = self._usage.first(self._work.plan.raw.record.conform(raw))
        usage = decoded.frames.get(self._work.plan.decoded.name, [])
        usage[:] = [renamed(rows, messages.mark) for rows in usage]
        for frames in decoded.frames.values():
            frames[:] = [_placed(frame, messages.offsets, begins) for frame in frames]
        return decoded

    def _part(self, decoded: Carried, partition: int, offset: int) -> Iterator[pa.RecordBatch]:
        """Rows as cells of a bucket each, numbered in their order."""
        yield self._cells(list(parted(self._work.plan, decoded, partition)), partition, offset)

    def _cells(self, cells: Sequence[tuple[int, str, bytes]], partition: int, offset: int) -> pa.RecordBatch:
        begin = self._pieces
        self._pieces += len(cells)
        return pa.RecordBatch.from_arrays(
            [
                pa.array([cell[0] for cell in cells], pa.int32()),
                pa.array([cell[1] for cell in cells], pa.string()),
                pa.array([partition] * len(cells), pa.int32()),
                pa.array([offset] * len(cells), pa.int64()),
                pa.array(range(begin, self._pieces), pa.int32()),
                _joined([cell[2] for cell in cells]),
            ],
            schema=PARTED_SCHEMA,
        )


def parted(plan: Plan, decoded: Carried, partition: int) -> Iterator[tuple[int, str, bytes]]:
    """Rows by the bucket of whose money they are, as Arrow streams; what is nobody's goes where its partition says."""
    owned = {stream.name: stream for stream in (*plan.entries, *plan.edges)}
    for name, frames in decoded.frames.items():
        rows = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")
        if name not in owned:
            yield from ((partition % plan.buckets, name, value) for value in rows_out(rows))
            continue
        order, first = order_by_group(plan.part(owned[name], rows), plan.buckets)
        ordered = rows[order]
        for bucket in np.flatnonzero(np.diff(first)).tolist():
            part = ordered[int(first[bucket]) : int(first[bucket + 1])]
            yield from ((bucket, name, value) for value in rows_out(part))


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Stretches of one topic and partition; a task is nearly always one."""
    if not batch.num_rows:
        return
    partitions = batch.column("partition").to_numpy()
    topic = batch.column("topic")[0]
    if (partitions == partitions[0]).all() and pc.all(pc.equal(batch.column("topic"), topic)).as_py():
        yield topic.as_py(), int(partitions[0]), batch
        return
    topics = batch.column("topic").to_pylist()
    begin = 0
    for at in range(1, batch.num_rows + 1):
        if at == batch.num_rows or partitions[at] != partitions[begin] or topics[at] != topics[begin]:
            yield topics[begin], int(partitions[begin]), batch.slice(begin, at - begin)
            begin = at


def _of_one_mapping(work: Work, partition: int, part: pa.RecordBatch) -> Iterator[_Messages]:
    """Messages that one mapping reads together; those that name none are read by the default one."""
    said = [part.column(name) for name in NAMES]
    if all(pc.all(pc.equal(column, column[0])).as_py() for column in said):
        names = [tuple(column[0].as_py() for column in said)]
    else:
        names = list(zip(*(column.to_pylist() for column in said), strict=True))
    values = pc.fill_null(part.column("value"), b"")
    offsets, times = part.column("offset").to_numpy(), part.column("time_us").to_numpy()
    borders = [at for at in range(1, len(names)) if names[at] != names[at - 1]]
    for begin, end in zip([0, *borders], [*borders, part.num_rows], strict=True):
        mapping, source = (name.decode(errors="replace") for name in names[begin])
        mapping, mark = reading(mapping or work.mapping)
        yield _Messages(
            partition, mapping, mark, source or work.sources.get(mapping, ""), offsets[begin:end], times[begin:end],
            values.slice(begin, end - begin),
        )  # fmt: skip


def _orders(stream: Stream, value: bytes) -> pl.DataFrame:
    """Orders that others write as JSON; raises `Unreadable`."""
    try:
        rows = pl.DataFrame([orjson.loads(line) for line in value.splitlines() if line.strip()])
        found = stream.record.conform(rows)
    except (orjson.JSONDecodeError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise Unreadable(f"not an order of {stream.name}: {type(error).__name__}") from error
    for name in {*stream.record.key, stream.key}:
        if found.get_column(name).null_count():
            raise Unreadable(f"an order of {stream.name} without {name}")
    return found


def _sliced(messages: _Messages, begin: int, end: int) -> _Messages:
    return _Messages(
        messages.partition, messages.mapping, messages.mark, messages.source, messages.offsets[begin:end],
        messages.times_us[begin:end], messages.values.slice(begin, end - begin),
    )  # fmt: skip


def _placed(frame: pl.DataFrame, offsets: Longs, begins: Longs) -> pl.DataFrame:
    """Rows whose place in the joined block becomes their message's offset and the octet within the message."""
    at = frame.get_column("offset").to_numpy() - 1
    message = np.searchsorted(begins, at, side="right") - 1
    return frame.with_columns(
        line=pl.Series(offsets[message], dtype=pl.Int64),
        offset=pl.Series((offsets[message] << PLACE_BITS) + at - begins[message], dtype=pl.Int64),
    )


# -- parted rows through the remembering steps -----------------------------------------------------------------


def cells_of(batches: Iterator[pa.RecordBatch]) -> dict[int, list[dict[str, Any]]]:
    """A task's cells by their bucket."""
    cells: dict[int, list[dict[str, Any]]] = {}
    for batch in batches:
        for cell in batch.to_pylist():
            cells.setdefault(cell["bucket"], []).append(cell)
    return cells


def carry_bucket(
    sent: Sent, number: int, newest_us: int = 0
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The second task: a bucket's rows in, messages of results and figures out; its state becomes version `number`."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cells = cells_of(batches)
        for bucket in sorted(cells):
            yield _Turn(sent.value, bucket, number, newest_us).carried(cells.pop(bucket))
        settle(carry_bucket.__name__)

    return run


class _Turn:
    """One bucket's part of one micro-batch."""

    def __init__(self, work: Work, bucket: int, number: int, newest_us: int) -> None:
        self._work, self._bucket, self._number, self._newest_us = work, bucket, number, newest_us
        self._state = Bucket(bucket_folder(work.folder, bucket), work.plan.states, number)
        self._carried = Carried()
        self._answers: list[Answer] = []

    def carried(self, cells: Sequence[dict[str, Any]]) -> pa.RecordBatch:
        """Carry orders, then usage, in the order of their partitions; write the state; what is to be written out."""
        began = time.monotonic_ns()
        plan = self._work.plan
        rows = frames_of(cells)
        aside = self._set_aside(rows.pop(plan.undigested, []))
        for flow in reversed(plan.orders):  # re-ratings, contracts, movements of money; all before usage
            for part in rows.pop(flow.steps[0].reads.name, []):
                self._carry_orders(flow, part)
        self._carry_usage(Carried(rows))
        self._sum()
        self._state.carried_us = (time.monotonic_ns() - began) // 1000
        self._state.write(self._number)
        return as_batch([*self._messages(), *aside], self._bucket)

    def _carry_usage(self, decoded: Carried) -> None:
        plan = self._work.plan
        accounts, entry = plan.accounts, plan.decoded
        first = plan.usage.steps[0].writes
        begun = Carried({name: frames for name, frames in decoded.frames.items() if name != entry.name})
        begun.add(entry, self._numbered(entry, decoded.rows(entry)))
        carrier = Carrier(plan.usage, self._work.tables, self._state, self._work.most_poison, accounts)
        carried = carrier.careful(begun, self._number, accounts.held, lambda _carried: None)
        for count in counted(carried, (*first, accounts.held), decoded, accounts):
            sums = [getattr(count, name) for name in SUMS]
            before = self._state.accounts.get(count.source, [0] * len(SUMS))
            self._state.accounts[count.source] = [a + b for a, b in zip(before, sums, strict=True)]
        self._state.poisoned += carried.poisoned
        self._carried.join(carried)
        self._state.told += len(self._carried.rows(accounts.told)) if accounts.told is not None else 0

    def _carry_orders(self, flow: Flow, rows: pl.DataFrame) -> None:
        """Carry orders whole; those that have a name of their own once only, however often they come."""
        stream = flow.steps[0].reads
        name = self._work.plan.named.get(stream.name)
        carrier = Carrier(flow, self._work.tables, self._state)
        if name is None:
            self._carried.join(carrier.whole(self._numbered(stream, rows), self._number))
            return
        orders = sort_out(stream.name, name, rows, lambda keys: self._state.gather(CARRIED, keys))
        self._answers += orders.answers
        if not len(orders.new):
            return
        carried = carrier.whole(self._numbered(stream, orders.new), self._number)
        groups, answers = orders.remembered(name, carried, self._work.plan.refused)
        self._state.put(CARRIED, groups, self._number)
        self._carried.join(carried)
        self._answers += answers

    def _sum(self) -> None:
        """Leave what this batch adds to the sums a minute; before the state is written, so that none is forgotten."""
        minutes = self._work.minutes
        uses = self._carried.rows(minutes.reads) if minutes is not None else None
        if minutes is None or uses is None or not len(uses):
            return
        folder = Path(self._work.folder).parent / SUMS_FOLDER
        name = f"{self._number:015d}-{self._bucket:04d}"
        self._state.late += leave(minutes, folder, name, uses, self._newest_us)
        newest = int(uses.get_column(minutes.time).to_numpy().max())
        self._state.newest_us = max(self._state.newest_us, newest)

    def _numbered(self, stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the bucket's next arrival numbers."""
        several = self._work.plan.several.get(stream.name)
        found, self._state.next_row = numbered(rows, self._state.next_row, self._bucket, several)
        return found

    def _messages(self) -> list[Written]:
        """What becomes known of this turn."""
        plan = self._work.plan
        written = [
            Written(plan.topic(stream), value, self._name)
            for stream in plan.results
            if self._carried.frames.get(stream.name)
            for value in rows_out(stream.record.conform(self._carried.rows(stream)))
        ]
        written += [Written(plan.answers, progress_out(answer), self._name) for answer in self._answers]
        for state in self._work.published:
            groups = self._state.changed.get(state.name)
            if groups is not None and len(groups):
                written += [
                    Written(plan.changelog(state), value, self._name)
                    for value in changes_out(groups, self._number, CHANGE_OCTETS)
                ]
        progress = {
            "commit": self._number,
            "arrivals": self._state.next_row,
            "accounts": self._state.accounts,
        }
        written.append(Written(plan.progress, progress_out(progress), b"bucket|%d" % self._bucket))
        return written

    def _set_aside(self, unread: Sequence[pl.DataFrame]) -> list[Written]:
        """Messages that cannot be read at all, as they came, with where they lay and why; usage counts as held."""
        plan, found = self._work.plan, []
        for row in (row for frame in unread for row in frame.iter_rows(named=True)):
            if row["topic"] == plan.topic(plan.raw):
                sums = self._state.accounts.setdefault("", [0] * len(SUMS))
                sums[SUMS.index("received")] += 1
                sums[SUMS.index("held")] += 1
            headers = tuple((name, str(row[name])) for name in ("reason", "topic", "partition", "offset"))
            found.append(Written(plan.undigested, row["value"], None, headers))
        return found

    @property
    def _name(self) -> bytes:
        """Bucket and batch: the same again when a batch is done again, so that a reader may pass it over."""
        return b"%d|%d" % (self._bucket, self._number)


def bucket_folder(folder: str, bucket: int) -> Path:
    """Where a bucket's state lies."""
    return Path(folder) / f"{bucket:04d}"


def frames_of(cells: Sequence[dict[str, Any]]) -> dict[str, list[pl.DataFrame]]:
    """A bucket's rows by stream, in the order in which they lie in their topics."""
    rows: dict[str, list[pl.DataFrame]] = {}
    for cell in sorted(cells, key=_in_order):
        rows.setdefault(cell["stream"], []).append(pl.read_ipc_stream(cell["rows"]))
    return rows


def _in_order(cell: dict[str, Any]) -> tuple[str, int, int, int]:
    """Where a cell's rows stand among those of its bucket: as they lie in their topic."""
    return cell["stream"], cell["partition"], cell["offset"], cell["piece"]


def _joined(values: Sequence[bytes]) -> pa.Array:
    """Large values as one column, copied once."""
    ends = np.zeros(len(values) + 1, np.int32)
    assert sum(map(len, values)) < 1 << 31, "a bucket's share of a batch is below two gigabytes"
    np.cumsum([len(value) for value in values], out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def as_batch(written: Sequence[Written], bucket: int) -> pa.RecordBatch:
    """Messages as rows; a bucket's go to the partition of its number."""
    headers = [
        [{"key": name, "value": text.encode()} for name, text in each.headers] or None for each in written
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([each.topic for each in written], pa.string()),
            pa.array([bucket] * len(written), pa.int32()),
            pa.array([each.key for each in written], pa.binary()),
            _joined([each.value for each in written]),
            pa.array(headers, _HEADERS),
        ],
        names=["topic", "partition", "key", "value", "headers"],
    )
