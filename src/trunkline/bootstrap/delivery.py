"""From the engine's topics into Cassandra: what was committed there is soon what people are answered with.

Offsets move only when every row before them is acknowledged, and every write is idempotent, so a crash at any moment
costs a little work twice and nothing else. Accounts are delivered by a thread of their own (`balance_delivery`): a
balance must not wait behind a day's history. Any number of processes may deliver beside each other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
import polars as pl
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from trunkline.bootstrap.together import run_together
from trunkline.charging.corrections import is_reversal
from trunkline.engines.kafka.bucket import lines_at
from trunkline.engines.kafka.client import PARTITION_EOF, PATIENCE_S, Lost, Server, consumer, told
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.router import MAPPING
from trunkline.engines.plan import BUCKET_BITS, PLACE_BITS, Plan
from trunkline.engines.wire import ARROW, Unreadable, progress_in, rows_in
from trunkline.kernel.flow import Stream
from trunkline.records.charging import ACCOUNTS, ALERTS, CHARGED, CORRECTIONS, ENTRIES, MOVEMENTS, RERATES
from trunkline.records.giving import HANDED, SIDES
from trunkline.records.usage import HELD, REJECTED
from trunkline.records.withdrawals import WITHDRAWALS
from trunkline.stores.cassandra.connection import Connection, Unreachable
from trunkline.stores.cassandra.writer import Writer

log = logging.getLogger(__name__)

HISTORY = "history"
HISTORY_AT_ONCE = 100  # messages; one of them holds thousands of rows
_WAIT_S = 0.05
_LONGEST_REST_S = 5.0
_RAW_WAIT_S = 10.0
_NO_SUCH_PARTITION = (KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART)  # noqa: SLF001 -- its names
_SET_ASIDE = (REJECTED, HELD)
_ROWS = (CHARGED, ENTRIES, ALERTS)
_ORDERED = (RERATES, WITHDRAWALS)  # movements that are made of corrections
# Behind those whose messages have their places among the held records already (`Delivery._other_place`).
_LATER = (HANDED, SIDES, RERATES, CORRECTIONS, WITHDRAWALS)


@dataclass
class Delivered:
    """Counts for people."""

    messages: int = 0
    rows: int = 0
    lives: int = 0
    waits: int = 0  # for Cassandra
    last_trouble: str = ""
    lag: dict[str, int] = field(default_factory=dict)


@dataclass
class _Told:
    """What some messages say, before it is written."""

    frames: dict[str, list[pl.DataFrame]] = field(default_factory=dict)  # by topic
    answers: dict[int, list[tuple[int, str, str, str]]] = field(default_factory=dict)  # by partition


class Delivery:
    """One thread's share: the topics of a role, carried over until told to stop."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        connect: Callable[[], Connection],
        role: str = HISTORY,
        give_way: Callable[[], object] = lambda: None,
    ) -> None:
        """Nothing is read before `run`. `connect` makes a connection, or raises `Unreachable`; `give_way` returns when
        nothing is more urgent.
        """
        self._server, self._plan, self._connect, self.role = server, plan, connect, role
        self._give_way = give_way
        self._streams = {plan.topic(stream): stream for stream in (*_ROWS, *_SET_ASIDE, MOVEMENTS, *_LATER)}
        self._changelog = plan.changelog(ACCOUNTS)
        self._raws: _Raws | None = None
        self.group = f"{plan.prefix}.cassandra.{role}"
        self.delivered = Delivered()
        self._ended: dict[str, int] = {}  # partitions at whose end we are, as the last messages were taken

    @property
    def topics(self) -> list[str]:
        """What is delivered."""
        return [*self._streams, self._plan.answers, self._plan.undigested]

    def run(self, stop: threading.Event) -> None:
        """Deliver, life after life; raises what waiting does not mend."""
        rest_s = 0.1
        while not stop.is_set():
            before = self.delivered.messages
            self.delivered.lives += 1
            try:
                self._live(stop)
            except (Lost, KafkaException, Unreachable) as error:
                trouble = told(error) if isinstance(error, KafkaException) else str(error)
                self.delivered.last_trouble = trouble
                log.warning("delivering %s was interrupted: %s", self.role, trouble)
                rest_s = 0.1 if self.delivered.messages > before else min(2 * rest_s, _LONGEST_REST_S)
                stop.wait(rest_s)

    def _live(self, stop: threading.Event) -> None:
        with (
            closing(self._connect()) as connection,
            closing(_Raws(self._server, self._plan)) as self._raws,
            closing(consumer(self._server, self.group, {"enable.partition.eof": True})) as reader,
        ):
            writer = self.writer(connection)
            self.begin(reader, writer)
            credentials = Credentials(self._server, reader)
            while not stop.is_set():
                if credentials.look():
                    self._raws.close()  # it is made anew when it is needed
                self.turn(reader, writer, stop)
            self.end(reader)

    def writer(self, connection: Connection) -> Writer:
        """Who writes what is delivered."""
        return Writer(connection, self._give_way)

    def begin(self, reader: Consumer, writer: Writer) -> None:  # noqa: ARG002 -- for those who remember
        """A life begins."""
        reader.subscribe(self.topics)

    def end(self, reader: Consumer) -> None:
        """A life ends well."""

    def with_octets(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that were set aside with `path`, `mapping` and `raw`, out of the topic in which they came."""
        assert self._raws is not None, "a life has begun"
        return self._raws.joined(rows)

    def turn(self, reader: Consumer, writer: Writer, stop: threading.Event) -> None:
        """Carry what there is over."""
        taken = self.take(reader, HISTORY_AT_ONCE)
        if not taken:
            return
        while not self.surely(lambda: self.write(taken, writer)):
            if stop.wait(0.2):
                return
        ends = ends_of(taken)
        self.commit(reader, ends, len(taken))
        self.measure(reader, ends)

    def take(self, reader: Consumer, most: int) -> list[Message]:
        """Messages that are there; raises `Lost` for trouble that asking again does not mend."""
        taken = []
        self._ended = {}
        for message in reader.consume(most, _WAIT_S):
            trouble = message.error()
            if trouble is None:
                taken.append(message)
            elif trouble.code() == PARTITION_EOF:  # what is left up to the end are marks of transactions
                self._ended[f"{message.topic()}/{message.partition()}"] = 0
            elif trouble.fatal() or not trouble.retriable():
                raise Lost(f"{trouble.name()}: {trouble.str()}")
        if not taken:
            self.delivered.lag |= self._ended
        return taken

    def measure(self, reader: Consumer, ends: Mapping[tuple[str, int], int]) -> None:
        """Write down how many messages are behind what was taken last, of which these are the ends."""
        found = {}
        for (topic, partition), end in ends.items():
            _, high = reader.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            found[f"{topic}/{partition}"] = max(0, high - end)
        self.delivered.lag |= found | self._ended

    def commit(self, reader: Consumer, ends: Mapping[tuple[str, int], int], messages: int) -> None:
        """Everything before these offsets is written."""
        offsets = [TopicPartition(*where, end) for where, end in ends.items()]
        reader.commit(offsets=offsets, asynchronous=False)
        self.delivered.messages += messages

    def surely(self, act: Callable[[], None]) -> bool:
        """Whether the database answered; what is written again does no harm."""
        try:
            act()
        except Unreachable as error:
            self.delivered.waits += 1
            self.delivered.last_trouble = str(error)
            return False
        return True

    def write(self, taken: Sequence[Message], writer: Writer) -> None:
        """Write what some messages say: what many of them say of one thing is written once, as the last one has it."""
        told = _Told()
        for message in taken:
            try:
                self._sort(message, told, writer)
            except Unreadable as error:
                self.set_aside(message, str(error), writer)
        for partition, answers in told.answers.items():
            writer.answers(answers, partition)
        for name, parts in told.frames.items():
            writer.messages(self._streams[name], parts)
            self.delivered.rows += sum(map(len, parts))

    def set_aside(self, message: Message, reason: str, writer: Writer) -> None:
        """Hold a message that nobody can read, for a person to see."""
        writer.rows(HELD, _undelivered(message, reason), *self._other_place(message))

    def _sort(self, message: Message, told: _Told, writer: Writer) -> None:
        """Put together what is written together, and write the rest at once."""
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        value, number = message.value() or b"", (message.timestamp()[1] << 20) + (offset & 0xFFFFF)
        if topic == self._plan.answers:
            answer = progress_in(value)
            # One without is of a transfer, whose sides are told of by themselves, or of a withdrawal.
            if "movement_id" not in answer:
                return
            name, status, reason = (
                str(answer.get(each) or "") for each in ("movement_id", "status", "reason")
            )
            told.answers.setdefault(partition, []).append((number, name, status, reason))
        elif topic == self._plan.undigested:
            headers = {name: _text(each) for name, each in _headers(message)}
            self.set_aside(message, headers.get("reason", ""), writer)
        elif topic == self._plan.topic(SIDES):
            sides = rows_in(value, SIDES.record)
            writer.rows(MOVEMENTS, sides)
            given = sides.filter(pl.col("amount") < 0)  # what is received is booked and answered elsewhere
            answers = [(number, name, "booked", "") for name in given.get_column("movement_id")]
            told.answers.setdefault(partition, []).extend(answers)
        elif (stream := self._streams[topic]) in _SET_ASIDE:
            writer.rows(stream, self.with_octets(rows_in(value, stream.record)), partition, offset)
        else:
            rows = _rows_of(value, stream)  # first of all, for it may be unreadable
            if stream is CORRECTIONS:  # an order to take something back has another name than its movement
                names = rows.filter(is_reversal()).get_column("movement_id")
                answers = [(number, name, "booked", "") for name in names]
                told.answers.setdefault(partition, []).extend(answers)
            if stream in _ORDERED:  # of which movements are shown
                topic, rows = self._plan.topic(MOVEMENTS), MOVEMENTS.record.conform(rows)
            told.frames.setdefault(topic, []).append(rows)

    def _other_place(self, message: Message) -> tuple[int, int]:
        """Where such a message stands among the held records: apart from conflicts, and from other topics' messages."""
        later = [self._plan.topic(stream) for stream in _LATER]
        others = [
            *(topic for topic in self._streams if topic not in later),
            self._plan.answers,
            self._plan.undigested,
            self._changelog,
            self._plan.progress,
            *later,
        ]
        apart = others.index(message.topic() or "") + 1
        return (apart << BUCKET_BITS) + (message.partition() or 0), message.offset() or 0


class _Raws:
    """The octets of records that were set aside, out of the edge topic in which they came."""

    def __init__(self, server: Server, plan: Plan) -> None:
        self._topic = plan.topic(plan.raw)
        self._server, self._plan = server, plan
        self._reader: Consumer | None = None

    def joined(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with `path`, `mapping` and `raw`; null where the topic has let go of the message."""
        messages: dict[tuple[int, int], tuple[bytes, str] | None] = {}
        paths, mappings, raws = [], [], []
        for file, offset, length in rows.select("file", "offset", "length").iter_rows():
            where = file, offset >> PLACE_BITS
            topic, partition = (
                (self._topic, file) if file >= 0 else (self._plan.reported, lines_at(file, 0)[0])
            )
            if where not in messages:
                messages[where] = (
                    self._message(*where) if file >= 0 else self._reported(*lines_at(file, offset))
                )
            found = messages[where]
            at = offset & ((1 << PLACE_BITS) - 1)
            paths.append(f"{topic}/{partition}")
            mappings.append(found[1] if found else None)
            raws.append(found[0][at : at + length] if found else None)
        return rows.with_columns(
            pl.Series("path", paths, pl.String),
            pl.Series("mapping", mappings, pl.String),
            pl.Series("raw", raws, pl.Binary),
        )

    def _message(self, partition: int, offset: int) -> tuple[bytes, str] | None:
        """The message of an edge at an offset."""
        low, high = self._ends(self._topic, partition)
        message = self._next(self._topic, partition, offset) if low <= offset < high else None
        return _octets_of(message) if message is not None and message.offset() == offset else None

    def _reported(self, bucket: int, commit: int) -> tuple[bytes, str] | None:
        """The records that a bucket made in a turn: their message's key is the turn, and turns only grow."""
        low, high = self._ends(self._plan.reported, bucket)
        while low < high:
            middle = (low + high) // 2
            message = self._next(self._plan.reported, bucket, middle)
            if message is None or int(message.key() or b"0") > commit:
                high = middle
            elif int(message.key() or b"0") < commit:
                low = (message.offset() or 0) + 1
            else:
                return _octets_of(message)
        return None

    def _ends(self, topic: str, partition: int) -> tuple[int, int]:
        """Where a partition begins and ends; nowhere when it is gone."""
        if self._reader is None:
            self._reader = consumer(
                self._server, f"{self._plan.prefix}.cassandra.raw", {"enable.partition.eof": True}
            )
        try:
            return self._reader.get_watermark_offsets(TopicPartition(topic, partition), PATIENCE_S)
        except KafkaException as error:
            if error.args[0].code() in _NO_SUCH_PARTITION:  # its place was told by another cluster, now gone
                return 0, 0
            raise

    def _next(self, topic: str, partition: int, offset: int) -> Message | None:
        """The first message from an offset on; None when there is none."""
        assert self._reader is not None, "its ends were asked for"
        self._reader.assign([TopicPartition(topic, partition, offset)])
        deadline = time.monotonic() + _RAW_WAIT_S
        while time.monotonic() < deadline:
            message = self._reader.poll(0.1)
            if message is None:
                continue
            trouble = message.error()
            if trouble is None:
                return message
            if trouble.code() == PARTITION_EOF:
                return None
        return None

    def close(self) -> None:
        """Read no more, for now."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _octets_of(message: Message) -> tuple[bytes, str]:
    """What a message holds, and the mapping that reads it."""
    headers = {name: _text(value) for name, value in _headers(message)}
    return message.value() or b"", headers.get(MAPPING, "")


def deliver_roles(roles: list[Delivery], stop: threading.Event) -> tuple[list[Delivery], Callable[[], None]]:
    """Roles, each in a thread; what they are, and a function that waits for their end and raises their trouble."""
    return roles, run_together([(role.role, partial(role.run, stop)) for role in roles], stop)


def _rows_of(value: bytes, stream: Stream) -> pl.DataFrame:
    """Rows of a message: an Arrow stream, or (orders of other systems) JSON objects a line."""
    if value.startswith(ARROW):
        return rows_in(value, stream.record)
    try:
        rows = pl.DataFrame([orjson.loads(line) for line in value.splitlines() if line.strip()])
        return stream.record.conform(rows)
    except (orjson.JSONDecodeError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise Unreadable(f"not rows of {stream.name}: {type(error).__name__}") from error


def _undelivered(message: Message, reason: str) -> pl.DataFrame:
    """A message that nobody could read, for a person to see."""
    return pl.DataFrame(
        {
            "reason": [reason or "undigested"],
            "path": [f"{message.topic()}/{message.partition()}"],
            "raw": [message.value() or b""],
        }
    )


def ends_of(messages: Sequence[Message]) -> dict[tuple[str, int], int]:
    """Where reading goes on behind some messages, by topic and partition."""
    return {(each.topic() or "", each.partition() or 0): (each.offset() or 0) + 1 for each in messages}


def _text(value: Any) -> str:  # noqa: ANN401 -- a header's value is octets or text
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _headers(message: Message) -> list[tuple[str, Any]]:
    found = message.headers() or []
    return list(found.items()) if isinstance(found, dict) else list(found)
