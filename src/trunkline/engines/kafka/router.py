"""From the edges to the buckets: bytes are decoded, rows are parted by whose money they are.

Anybody may write to the edge topics with any key, for what decides a row's bucket is read from the row itself. The
router remembers nothing but counts, so any worker may take any edge partition at any time, and partitions may be
added while it runs. Rows of one edge partition reach their bucket in the order in which they lie in it.

A record's place (file, offset) is its edge partition and its message's offset, shifted by 24 bits, plus the octet
within the message; messages are below 16 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from confluent_kafka import Message as Taken

from trunkline.engines.loop import POISON, Carried, Carrier
from trunkline.engines.naming import reading, renamed
from trunkline.engines.plan import PLACE_BITS, STREAM, Framing, Plan
from trunkline.engines.wire import ARROW, Message, Unreadable, progress_out, rows_in, rows_out
from trunkline.kernel.flow import Flow, Stream
from trunkline.kernel.grouped import Grouped, Keys, State
from trunkline.kernel.grouping import order_by_group

NOTE = "routed"  # there instead, when a message only says that something was routed
MAPPING, SOURCE = "mapping", "source"  # headers of a raw message: how it is read, and whose it is
DAY_US = 86_400_000_000
_RECEIVED, _PASSED, _REJECTED, _HELD = range(4)  # places in an edge's counts of a source
_COUNTS = 4


@dataclass
class Edge:
    """What is remembered of one partition of an edge topic: counts, and the newest time, for `too_old`."""

    topic: str
    partition: int
    position: int
    newest_us: int | None
    accounts: dict[str, list[int]]

    @property
    def key(self) -> bytes:
        """Key of its progress."""
        return edge_key(self.topic, self.partition)


def edge_key(topic: str, partition: int) -> bytes:
    """Key of an edge partition's progress."""
    return f"edge|{topic}|{partition}".encode()


@dataclass(frozen=True)
class _Piece:
    """Messages of one edge partition that one mapping reads, lying behind each other."""

    edge: Edge
    mapping: str  # as the header says it (`naming.reading`)
    source: str
    octets: bytes
    begins: npt.NDArray[np.int64]  # of each message in `octets`
    offsets: npt.NDArray[np.int64]  # of each message in its partition


@dataclass(frozen=True)
class _Ending:
    """Where the records of a mapping's messages end."""

    record_end: Callable[[bytes], int]
    missing: bytes  # behind a message that ends within a line


class Router:
    """Turns messages of the edges into messages of the work topic."""

    def __init__(
        self,
        plan: Plan,
        tables: dict[str, object],
        framing: Callable[[str], Framing],
        clock_us: Callable[[], int],
        mapping: str = "trunkline",
    ) -> None:
        """`mapping` reads messages that do not name another."""
        self._plan, self._framing, self._clock_us, self._mapping = plan, framing, clock_us, mapping
        self._usage = Carrier(plan.usage, tables, _Nothing(), accounts=plan.accounts)
        self._orders: Mapping[str, Flow] = {plan.topic(flow.steps[0].reads): flow for flow in plan.orders}
        self._raw = plan.topic(plan.raw)
        self._endings: dict[str, _Ending] = {}
        self.rows = 0

    def turn(self, taken: Sequence[tuple[Edge, list[Taken]]]) -> list[Message]:
        """Messages of some edges, each in order, as messages of the work topic, results and progress."""
        messages: list[Message] = []
        pieces: list[_Piece] = []
        for edge, what in taken:
            if edge.topic == self._raw:
                pieces += self._pieces(edge, what, messages)
            else:
                messages += self._route_orders(edge, what)
            edge.position = (what[-1].offset() or 0) + 1
        if pieces:
            messages += self._route_usage(pieces)
        if self._plan.told is not None:
            note: list[tuple[str, str | bytes | None]] = [(STREAM, NOTE)]
            messages.append(Message(self._plan.work, self._plan.told, b"", headers=note))
        for edge, _ in taken:
            told = {"position": edge.position, "newest_us": edge.newest_us, "accounts": edge.accounts}
            partition = edge.partition % self._plan.buckets
            messages.append(Message(self._plan.progress, partition, progress_out(told), edge.key))
        return messages

    # -- usage --------------------------------------------------------------------------------------------

    def _pieces(self, edge: Edge, taken: Iterable[Taken], messages: list[Message]) -> list[_Piece]:
        """Messages put behind each other as long as the same mapping reads them."""
        found: list[_Piece] = []
        run: list[bytes] = []
        offsets: list[int] = []
        now = unnamed = (self._mapping, "")

        def end() -> None:
            if run:
                lengths = np.fromiter(map(len, run), np.int64, len(run))
                begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]])
                found.append(_Piece(edge, *now, b"".join(run), begins, np.array(offsets, np.int64)))
                run.clear()
                offsets.clear()

        for message in taken:
            value = message.value() or b""
            headers = message.headers()
            name = self._named(headers) if headers else unnamed
            try:
                whole = self._whole(name[0], value)
            except Unreadable as error:
                messages.append(self._unreadable(edge, message.offset() or 0, value, str(error)))
                continue
            if name is not now and name != now:
                end()
                now = name
            run.append(whole)
            offsets.append(message.offset() or 0)
        end()
        return found

    def _named(self, headers: Any) -> tuple[str, str]:  # noqa: ANN401 -- a list of pairs, or a mapping
        said = dict(headers)
        mapping, source = said.get(MAPPING), said.get(SOURCE)
        return (
            mapping.decode() if isinstance(mapping, bytes) else mapping or self._mapping,
            source.decode() if isinstance(source, bytes) else source or "",
        )

    def _whole(self, mapping: str, value: bytes) -> bytes:
        """The octets of a message as whole records; raises `Unreadable` when no reader can be found for them."""
        if len(value) >= 1 << PLACE_BITS:
            raise Unreadable("a message of 16 MiB or more")
        ending = self._endings.get(mapping) or self._ending(mapping)
        if value.endswith(b"\n"):
            return value if ending.record_end(value) == len(value) else value + b"\n"
        return value + ending.missing

    def _ending(self, mapping: str) -> _Ending:
        """How messages of a mapping end, found once; raises `Unreadable` when it cannot read messages."""
        try:
            framing = self._framing(reading(mapping)[0])
        except KeyError:
            raise Unreadable("it names a mapping that does not exist") from None
        if framing.header_lines:
            raise Unreadable("its mapping reads files with a heading")
        # A blank line ends a record in every form there is, so that a damaged message cannot swallow its neighbour.
        missing = b"\n" if framing.record_end(b"x\n") else b"\n\n"
        self._endings[mapping] = _Ending(framing.record_end, missing)
        return self._endings[mapping]

    def _route_usage(self, pieces: Sequence[_Piece]) -> list[Message]:
        """Decode pieces and part what came out of them; every row has its place, its count and its topic."""
        messages: list[Message] = []
        rejected, newest = self._plan.accounts.rejected, self._plan.newest
        good: dict[str, list[pl.DataFrame]] = {entry.name: [] for entry in self._plan.entries}
        bad = []
        for part, decoded in self._decoded(pieces, messages):
            for entry in self._plan.entries:
                good[entry.name].append(_placed(decoded.rows(entry), part, _PASSED, newest))
            bad.append(_placed(decoded.rows(rejected), part, _REJECTED))
        rejects = pl.concat(bad) if bad else None
        if rejects is not None and len(rejects):
            partition = pieces[0].edge.partition % self._plan.buckets
            topic = self._plan.topic(rejected)
            messages += [
                Message(topic, partition, value) for value in rows_out(rejected.record.conform(rejects))
            ]
        for entry in self._plan.entries:
            rows = pl.concat(good[entry.name]) if good[entry.name] else entry.record.empty()
            self.rows += len(rows)
            messages += self._parted(entry, rows)
        return messages

    def _decoded(
        self, pieces: Sequence[_Piece], messages: list[Message]
    ) -> Iterator[tuple[Sequence[_Piece], Carried]]:
        """Decode; when that breaks, halve until the message that breaks it stands alone and is set aside."""
        try:
            decoded = self._usage.first(self._blocks(pieces))
            self._rename(decoded, pieces)
        except (MemoryError, OSError):
            raise
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 -- whatever breaks it, one message is to blame
            if len(pieces) == 1 and len(pieces[0].begins) == 1:
                piece = pieces[0]
                sums = piece.edge.accounts.setdefault(piece.source, [0] * _COUNTS)
                sums[_RECEIVED] += 1
                sums[_HELD] += 1
                reason = f"{POISON}: decoding broke with {type(error).__name__}"
                messages.append(self._aside(piece.edge, int(piece.offsets[0]), piece.octets, reason))
                return
            for half in _halves(pieces):
                yield from self._decoded(half, messages)
            return
        yield pieces, decoded

    def _rename(self, decoded: Carried, pieces: Sequence[_Piece]) -> None:
        """Give records that were let be charged beside others names of their own."""
        marks = [reading(piece.mapping)[1] for piece in pieces]
        frames = decoded.frames.get(self._plan.decoded.name)
        if frames and any(marks):
            of_pieces = decoded.rows(self._plan.decoded).partition_by("file", maintain_order=True)
            frames[:] = [pl.concat(renamed(rows, marks[rows["file"][0]]) for rows in of_pieces)]

    def _blocks(self, pieces: Sequence[_Piece]) -> pl.DataFrame:
        """Pieces as blocks, each numbered as a file of its own so that its rows find their place again."""
        now = self._clock_us()
        names = [reading(piece.mapping)[0] for piece in pieces]
        return pl.DataFrame(
            {
                "file": pl.Series(range(len(pieces)), dtype=pl.Int32),
                "source": pl.Series(
                    [
                        piece.source or self._framing(name).source
                        for piece, name in zip(pieces, names, strict=True)
                    ],
                    dtype=pl.String,
                ),
                "mapping": pl.Series(names, dtype=pl.String),
                "offset": pl.Series([0] * len(pieces), dtype=pl.Int64),
                "line": pl.Series([1] * len(pieces), dtype=pl.Int64),
                "bytes": pl.Series([piece.octets for piece in pieces], dtype=pl.Binary),
                "header": pl.Series([None] * len(pieces), dtype=pl.Binary),
                "received_us": pl.Series([now] * len(pieces), dtype=pl.Int64),
                "newest_us": pl.Series([piece.edge.newest_us for piece in pieces], dtype=pl.Int64),
            }
        )

    def _parted(self, stream: Stream, rows: pl.DataFrame) -> list[Message]:
        """Rows as messages of their buckets, in their order."""
        if not len(rows):
            return []
        buckets = self._plan.part(stream, rows)
        order, first = order_by_group(buckets, self._plan.buckets)
        rows = rows[order]
        headers: list[tuple[str, str | bytes | None]] = [(STREAM, stream.name)]
        return [
            Message(self._plan.work, bucket, value, headers=headers)
            for bucket in range(self._plan.buckets)
            for value in rows_out(rows[int(first[bucket]) : int(first[bucket + 1])])
        ]

    # -- orders -------------------------------------------------------------------------------------------

    def _route_orders(self, edge: Edge, taken: Iterable[Taken]) -> list[Message]:
        stream = self._orders[edge.topic].steps[0].reads
        messages, frames = [], []
        for message in taken:
            value = message.value() or b""
            try:
                frames.append(self._order(stream, value))
            except Unreadable as error:
                messages.append(self._aside(edge, message.offset() or 0, value, str(error)))
        return messages + (self._parted(stream, pl.concat(frames)) if frames else [])

    def _order(self, stream: Stream, value: bytes) -> pl.DataFrame:
        """Rows of one message of orders: an Arrow stream, or JSON objects a line; raises `Unreadable`."""
        if value.startswith(ARROW):
            rows = rows_in(value, stream.record)
        else:
            try:
                rows = stream.record.conform(
                    pl.DataFrame([orjson.loads(line) for line in value.splitlines() if line.strip()])
                )
            except (orjson.JSONDecodeError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
                raise Unreadable(f"not an order of {stream.name}: {type(error).__name__}") from error
        for name in {*stream.record.key, self._plan.bucket} & set(rows.columns):
            if rows.get_column(name).null_count():
                raise Unreadable(f"an order of {stream.name} without {name}")
        return rows

    # -- what nobody can read -----------------------------------------------------------------------------

    def _unreadable(self, edge: Edge, offset: int, value: bytes, reason: str) -> Message:
        sums = edge.accounts.setdefault("", [0] * _COUNTS)
        sums[_RECEIVED] += 1
        sums[_HELD] += 1
        return self._aside(edge, offset, value, reason)

    def _aside(self, edge: Edge, offset: int, value: bytes, reason: str) -> Message:
        return aside(self._plan, edge.topic, edge.partition, offset, value, reason)


def aside(plan: Plan, topic: str, partition: int, offset: int, value: bytes, reason: str) -> Message:
    """A message that is set aside as it came, with where it lay and why."""
    headers: list[tuple[str, str | bytes | None]] = [
        ("reason", reason), ("topic", topic), ("partition", str(partition)), ("offset", str(offset)),
    ]  # fmt: skip
    return Message(plan.undigested, partition % plan.buckets, value, headers=headers)


class _Nothing:
    """The states of a carrier that only runs its first step."""

    def gather(self, state: State, keys: Keys) -> Grouped:
        """Nothing is remembered."""
        raise AssertionError(f"the router was asked for {len(keys)} keys of {state.name}")

    def put(self, state: State, groups: Grouped, number: int) -> None:
        """Nothing is remembered."""
        raise AssertionError(f"the router was given {len(groups)} keys of {state.name} in {number}")


def _halves(pieces: Sequence[_Piece]) -> tuple[Sequence[_Piece], Sequence[_Piece]]:
    if len(pieces) > 1:
        return pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]
    piece, middle = pieces[0], len(pieces[0].begins) // 2
    cut = int(piece.begins[middle])
    first = replace(
        piece, octets=piece.octets[:cut], begins=piece.begins[:middle], offsets=piece.offsets[:middle]
    )
    second = replace(
        piece, octets=piece.octets[cut:], begins=piece.begins[middle:] - cut, offsets=piece.offsets[middle:]
    )
    return [first], [second]


def _placed(rows: pl.DataFrame, pieces: Sequence[_Piece], what: int, newest: str = "") -> pl.DataFrame:
    """Rows with their place in their edge instead of in the piece they were read from; counted on the way."""
    if not len(rows):
        return rows
    file, offset = rows.get_column("file").to_numpy(), rows.get_column("offset").to_numpy()
    line = rows.get_column("line").to_numpy(writable=True)
    places, edges = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    for number, piece in enumerate(pieces):
        mine = np.flatnonzero(file == number)
        if not len(mine):
            continue
        message = np.searchsorted(piece.begins, offset[mine], side="right") - 1
        places[mine] = (piece.offsets[message] << PLACE_BITS) | (offset[mine] - piece.begins[message])
        edges[mine] = piece.edge.partition
        ends = np.frombuffer(piece.octets, np.uint8) == 10
        before = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(np.add.reduceat(ends, piece.begins, dtype=np.int64))]
        )
        line[mine] -= before[message]
        _count(piece.edge, rows if len(mine) == len(rows) else rows[mine], what, newest)
    return rows.with_columns(
        file=pl.Series(edges), offset=pl.Series(places), line=pl.Series(line, dtype=pl.Int64)
    )


def _count(edge: Edge, rows: pl.DataFrame, what: int, newest_column: str) -> None:
    sources = rows.get_column("source")
    one = sources.n_unique() == 1
    counts = [(sources[0], len(rows))] if one else sources.value_counts().iter_rows()
    for source, count in counts:
        sums = edge.accounts.setdefault(source or "", [0] * _COUNTS)
        sums[_RECEIVED] += count
        sums[what] += count
    if newest_column:
        newest = rows.get_column(newest_column).max()
        assert isinstance(newest, int), "usage has a beginning"
        day_end = (newest // DAY_US + 1) * DAY_US
        edge.newest_us = max(edge.newest_us or day_end, day_end)
