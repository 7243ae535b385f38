"""Single events for others: what they hand in framed becomes lines of raw usage, and our rows become framed events.

The flows carry batches; foreign producers and consumers speak one event a message, with the number of its schema
before it (`engines/schemas/frames.py`). This stands between the two, beside the engine and not within it: whichever
engine runs, and however fast, it pays nothing for the formats of others. Reading, writing and positions are one
transaction, so an event goes over once, whatever dies.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from trunkline.engines import wire
from trunkline.engines.kafka.client import (
    PATIENCE_S,
    Lost,
    Server,
    consumer,
    patiently,
    producer,
    told,
    without_notices,
)
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.registry import Registry, Wanted, subject_of
from trunkline.engines.kafka.router import MAPPING, SOURCE, aside
from trunkline.engines.plan import Plan
from trunkline.engines.schemas.compatible import Rule
from trunkline.engines.schemas.frames import Decode, Encode, decoder, encoder, framed, unframed
from trunkline.engines.schemas.shapes import Kind, event, events
from trunkline.engines.wire import Unreadable, rows_in
from trunkline.kernel.flow import Stream

log = logging.getLogger(__name__)

MESSAGES_AT_ONCE = 2_000
_WAIT_S = 0.05
_LONGEST_REST_S = 5.0
_LINES_OCTETS = 1 << 20
_TRANSACTION_S = 30.0


@dataclass(frozen=True)
class Doors:
    """Which streams others exchange with us, and in which formats."""

    plan: Plan
    handed_in: Stream  # its events become lines of the plan's raw stream
    handed_out: tuple[Stream, ...]
    kinds: tuple[Kind, ...]

    def topic(self, kind: Kind, stream: Stream) -> str:
        """Topic of a stream's single events in a format."""
        return f"{self.plan.prefix}.{kind.lower()}.{stream.name}"

    def entrances(self) -> Iterator[tuple[Kind, str]]:
        """Topics that others write."""
        return ((kind, self.topic(kind, self.handed_in)) for kind in self.kinds)

    def exits(self) -> Iterator[tuple[Kind, Stream, str]]:
        """Topics that others read."""
        return ((kind, stream, self.topic(kind, stream)) for kind in self.kinds for stream in self.handed_out)

    def schemas(self) -> list[Wanted]:
        """What must be in the registry.

        We read what others hand in, so we are the first to change: BACKWARD. Others read what we hand out: FORWARD,
        and both ways where the format can.
        """
        record = self.handed_in.record
        found = [
            Wanted(subject_of(topic), event(record, kind, closed=True), Rule.BACKWARD_TRANSITIVE)
            for kind, topic in self.entrances()
        ]
        for kind, stream, topic in self.exits():
            rule = Rule.FULL_TRANSITIVE if kind is Kind.AVRO else Rule.FORWARD_TRANSITIVE
            found.append(Wanted(subject_of(topic), event(stream.record, kind), rule))
        return found


@dataclass
class Exchanged:
    """Counts for people."""

    handed_in: int = 0
    handed_out: int = 0
    set_aside: int = 0
    lives: int = 0
    last_trouble: str = ""


@dataclass
class Exchange:
    """One process's share of the doors, carried over until told to stop."""

    server: Server
    doors: Doors
    name: str
    exchanged: Exchanged = field(default_factory=Exchanged)

    def run(self, stop: threading.Event) -> None:
        """Carry over, life after life; raises what waiting does not mend, such as a schema that may not change."""
        rest_s = 0.1
        while not stop.is_set():
            before = self.exchanged.handed_in + self.exchanged.handed_out
            self.exchanged.lives += 1
            try:
                _Life(self).run(stop)
            except (Lost, KafkaException) as error:
                trouble = told(error) if isinstance(error, KafkaException) else str(error)
                self.exchanged.last_trouble = trouble
                log.warning("exchanging events was interrupted: %s", trouble)
                moved = self.exchanged.handed_in + self.exchanged.handed_out > before
                rest_s = 0.1 if moved else min(2 * rest_s, _LONGEST_REST_S)
                stop.wait(rest_s)


class _Life:
    """From joining the group to the first trouble."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._doors = exchange, exchange.doors
        plan, server = self._doors.plan, exchange.server
        self._registry = Registry(server, plan)
        numbers = self._registry.enter(self._doors.schemas())
        self._exits: dict[str, list[tuple[str, int, Encode]]] = {}
        for kind, stream, topic in self._doors.exits():
            subject = subject_of(topic)
            writes = encoder(event(stream.record, kind))
            self._exits.setdefault(plan.topic(stream), []).append((topic, numbers[subject], writes))
        self._streams = {plan.topic(stream): stream for stream in self._doors.handed_out}
        self._entrances = {topic for _, topic in self._doors.entrances()}
        self._decoders: dict[tuple[str, int], Decode] = {}
        self._raw = plan.topic(plan.raw)

    def run(self, stop: threading.Event) -> None:
        """Until stopped."""
        plan, server = self._doors.plan, self._exchange.server
        writer = producer(server, f"{plan.prefix}.events.{self._exchange.name}", _TRANSACTION_S)
        group = f"{plan.prefix}.events"
        with closing(consumer(server, group, {"enable.partition.eof": True})) as reader:
            self._raw_partitions = len(reader.list_topics(self._raw, PATIENCE_S).topics[self._raw].partitions)
            if not self._raw_partitions:
                raise Lost(f"there is no topic {self._raw} yet")
            reader.subscribe([*self._entrances, *self._streams])
            credentials = Credentials(server, reader, writer)
            while not stop.is_set():
                credentials.look()
                taken = without_notices(reader.consume(MESSAGES_AT_ONCE, _WAIT_S))
                if taken:
                    self._turn(reader, writer, taken)

    def _turn(self, reader: Consumer, writer: Producer, taken: Sequence[Message]) -> None:
        exchanged = self._exchange.exchanged
        handed_in, set_aside, ours = self._in(taken)
        out, unread = self._out(taken)
        ends: dict[tuple[str, int], int] = {}
        for message in taken:
            ends[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
        where = [TopicPartition(*place, end) for place, end in ends.items()]
        patiently(writer.begin_transaction, "beginning a transaction")
        try:
            for made in (*ours, *out, *unread):
                _write(writer, made)
            member = reader.consumer_group_metadata()
            patiently(
                lambda: writer.send_offsets_to_transaction(where, member, PATIENCE_S), "handing over offsets"
            )
            patiently(lambda: writer.commit_transaction(PATIENCE_S), "committing")
        except BaseException:
            _aborted(writer)
            raise
        exchanged.handed_in += handed_in
        exchanged.set_aside += set_aside + len(unread)
        exchanged.handed_out += len(out)

    def _in(self, taken: Sequence[Message]) -> tuple[int, int, list[wire.Message]]:
        """Framed events as lines of raw usage, those of one partition, mapping and source together."""
        lines: dict[tuple[int, Any, Any], list[bytes]] = {}
        messages: list[wire.Message] = []
        good = bad = 0
        for message in taken:
            topic = message.topic() or ""
            if topic not in self._entrances:
                continue
            value, partition = message.value() or b"", message.partition() or 0
            try:
                line = _line(self._decoded(topic, value))
            except Unreadable as error:
                offset = message.offset() or 0
                messages.append(aside(self._doors.plan, topic, partition, offset, value, str(error)))
                bad += 1
                continue
            said = dict(message.headers() or [])
            into = lines.setdefault(
                (partition % self._raw_partitions, said.get(MAPPING), said.get(SOURCE)), [b""]
            )
            if len(into[-1]) + len(line) > _LINES_OCTETS:
                into.append(b"")
            into[-1] += line
            good += 1
        for (partition, mapping, source), parts in lines.items():
            headers = [(name, told) for name, told in ((MAPPING, mapping), (SOURCE, source)) if told]
            messages += [wire.Message(self._raw, partition, part, headers=headers) for part in parts]
        return good, bad, messages

    def _decoded(self, topic: str, value: bytes) -> dict[str, Any]:
        number, payload = unframed(value)
        decode = self._decoders.get((topic, number))
        if decode is None:
            schema = self._registry.schema(number, subject_of(topic))
            if schema is None:
                raise Unreadable(f"schema {number} is none of {subject_of(topic)}")
            decode = self._decoders[topic, number] = decoder(schema)
        return decode(payload)

    def _out(self, taken: Sequence[Message]) -> tuple[list[wire.Message], list[wire.Message]]:
        """Rows of results as framed events, in the partition of their bucket; and what nobody could read."""
        messages: list[wire.Message] = []
        unread: list[wire.Message] = []
        for message in taken:
            topic, partition, value = message.topic() or "", message.partition() or 0, message.value() or b""
            stream = self._streams.get(topic)
            if stream is None:
                continue
            try:
                found = events(rows_in(value, stream.record), stream.record)
            except Unreadable as error:
                unread.append(
                    aside(self._doors.plan, topic, partition, message.offset() or 0, value, str(error))
                )
                continue
            for exit_, number, encode in self._exits[topic]:
                messages += [wire.Message(exit_, partition, framed(number, encode(each))) for each in found]
        return messages, unread


def _line(event_: dict[str, Any]) -> bytes:
    """An event as a line that the flows read: without what it does not say."""
    said = {name: value for name, value in event_.items() if value is not None}
    try:
        return orjson.dumps(said, default=_plain, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError as error:
        raise Unreadable("a field's type has no text") from error


def _plain(value: Any) -> str:  # noqa: ANN401 -- whatever Avro's logical types are read as
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)


def _write(writer: Producer, message: wire.Message) -> None:
    while True:
        try:
            writer.produce(
                message.topic, message.value, message.key, message.partition, headers=message.headers
            )
        except BufferError:
            writer.poll(_WAIT_S)
            continue
        writer.poll(0)
        return


def _aborted(writer: Producer) -> None:
    """Take back what was written; where even that fails, the broker does it when its time is over."""
    try:
        writer.abort_transaction(PATIENCE_S)
    except KafkaException as error:
        log.warning("a transaction was left to its end: %s", told(error))
