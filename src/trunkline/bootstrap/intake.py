"""Handing in to a cluster: usage and orders into the edge topics, and the answers out of the topic of answers.

Usage counts as taken when the brokers have it on all replicas in step; an order is answered when the engine has carried
it. Answers that nobody here waits for belong to other processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import polars as pl
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, Message, Producer, TopicPartition

from trunkline.bootstrap.delivered import is_delivered
from trunkline.bootstrap.kafka import MAPPING as READ_AS
from trunkline.engines.embedded.intake import whole_records
from trunkline.engines.kafka.client import MESSAGE_OCTETS, PATIENCE_S, Server, consumer
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.router import MAPPING, SOURCE
from trunkline.engines.loop import POISON
from trunkline.engines.naming import mark_of, reading
from trunkline.engines.plan import Plan
from trunkline.engines.wire import progress_in, rows_out
from trunkline.kernel.flow import Stream
from trunkline.mediation.deduplicate import CANCELS, CORRECTS
from trunkline.mediation.mapping import Mapping
from trunkline.ports import Busy, Movement, Receipt, Refused, SetAside
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES, MOVEMENTS
from trunkline.records.usage import HELD, REJECTED
from trunkline.stores.cassandra.reader import CassandraReader

ANSWER_S = 20.0
COME_AGAIN_S = 5
_LINES_OCTETS = 1 << 20  # of one message of usage; well below what a topic takes


class ClusterIntake:
    """Orders to a cluster (`ports.Intake`): into the edge topics, and the answer out of the topic of answers."""

    def __init__(
        self, server: Server, plan: Plan, mappings: dict[str, Mapping], reader: CassandraReader
    ) -> None:
        """Begin to listen for answers; `close` ends it."""
        self._server, self._plan, self._mappings, self._reader = server, plan, mappings, reader
        self._producer = Producer(
            {
                **server.common(), "acks": "all", "enable.idempotence": True, "linger.ms": 2,
                "delivery.timeout.ms": int(ANSWER_S * 1000), "message.max.bytes": MESSAGE_OCTETS,
            }
        )  # fmt: skip
        self._waiting: dict[tuple[str, str], list[Future[dict[str, Any]]]] = {}  # by column and name
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._answers = consumer(server, f"{plan.prefix}.intake")
        self._credentials = Credentials(server, self._producer, self._answers)
        self._thread = threading.Thread(target=self._listen, name="answers", daemon=True)
        self._thread.start()

    def usage(self, mapping: str, lines: bytes, source: str | None = None) -> Receipt:
        """Take usage lines for the named mapping; raises `Busy` or `Refused`."""
        return self._sent(mapping, self._whole(mapping, lines), source)

    def _sent(self, said: str, lines: bytes, source: str | None) -> Receipt:
        """Whole records into the edge topic; `said` names their mapping, and perhaps a mark (`naming.reading`)."""
        mapping = self._mappings[reading(said)[0]]
        headers: list[tuple[str, str | bytes | None]] = [(MAPPING, said), (SOURCE, source or mapping.source)]
        sent = [
            self._send(self._plan.topic(self._plan.raw), part, headers) for part in _parts(lines, mapping)
        ]
        last = [self._acknowledged(each) for each in sent][-1]
        return Receipt(
            sum(1 for line in lines.splitlines() if line.strip()), last.partition() or 0, last.offset() or 0
        )

    def move(self, movements: Sequence[Movement]) -> list[dict[str, Any]]:
        """Book movements; one answer each: booked, repeated or refused with a reason."""
        asked = {movement.movement_id: movement for movement in reversed(movements)}
        rows = pl.DataFrame([vars(each) for each in asked.values()], schema_overrides=_TYPES)
        found = self.order(MOVEMENTS, rows, "movement_id")
        answers = []
        for movement in movements:
            answer = found[movement.movement_id]
            answers.append({"movement_id": movement.movement_id, **answer})
            if answer["status"] == "booked":
                found[movement.movement_id] = {**answer, "status": "repeated"}
        return answers

    def order(self, stream: Stream, rows: pl.DataFrame, column: str) -> dict[str, dict[str, Any]]:
        """Hand in rows of orders; what is answered to each, by its name in the column. Raises `Busy`.

        What was not answered in time may be carried later: asked again under the same name, it is carried once.
        """
        if not self._listening.wait(ANSWER_S):
            raise Busy(COME_AGAIN_S)
        futures: dict[tuple[str, str], Future[dict[str, Any]]] = {
            (column, name): Future() for name in rows.get_column(column)
        }
        with self._lock:
            for name, future in futures.items():
                self._waiting.setdefault(name, []).append(future)
        try:
            self.hand_in(stream, rows)
            deadline = time.monotonic() + ANSWER_S
            return {
                name: each.result(max(0.0, deadline - time.monotonic()))
                for (_, name), each in futures.items()
            }
        except NotYet:
            raise Busy(COME_AGAIN_S) from None
        finally:
            with self._lock:
                for name, future in futures.items():
                    waiting = self._waiting.get(name, [])
                    if future in waiting:
                        waiting.remove(future)
                    if not waiting:
                        self._waiting.pop(name, None)

    def hand_in(self, stream: Stream, rows: pl.DataFrame) -> None:
        """Hand in rows of orders whose answers nobody waits for; the brokers have them when this returns."""
        for value in rows_out(stream.record.conform(rows)):
            self._acknowledged(self._send(self._plan.topic(stream), value, []))

    def take_place(self, said: str, octets: bytes, source: str | None) -> None:
        """Hand in a record as usage under a name of its own; `said` names its mapping, and the mark."""
        self._sent(said, self._whole(reading(said)[0], octets), source)

    def is_delivered(self, subscribers: Iterable[int]) -> bool:
        """Whether what was charged, booked and corrected of some accounts until now can be read."""
        words = pl.DataFrame({self._plan.bucket: sorted(subscribers)}, schema={self._plan.bucket: pl.UInt64})
        buckets = sorted(set(self._plan.part(CHARGED, words).tolist()))
        return is_delivered(self._server, self._plan, (CHARGED, ENTRIES, CORRECTIONS), buckets)

    def settle_reject(self, number: int, lines: bytes | None, actor: str) -> None:
        """Offer a rejected record again with corrected bytes, or close it for good when `lines` is None."""
        aside = self._reader.set_aside(REJECTED, number)
        if lines is not None:
            said = _said_of(aside)
            self._sent(said, self._whole(reading(said)[0], lines), aside.source or None)
        self._reader.settle(REJECTED, number, "closed" if lines is None else "offered again", actor)

    def settle_held(self, number: int, decision: str, actor: str) -> None:
        """Decide a conflict: "discard" the second record, or "charge" it as usage of its own.

        To be charged it comes again under a name of its own, always the same one, and is settled then: who dies in
        between leaves it waiting, and whoever decides again sends a duplicate.
        """
        if decision not in ("discard", "charge"):
            raise Refused(f'A held record is decided with "discard" or "charge", not {decision!r}.')
        aside = self._reader.set_aside(HELD, number)
        if decision == "charge":
            self._release(aside)
        self._reader.settle(HELD, number, decision, actor)

    def _release(self, aside: SetAside) -> None:
        """Send a held record again: a conflict under a name of its own, a poisonous one as what it is."""
        if aside.reason in (CANCELS, CORRECTS):
            raise Refused(
                "It is no conflict: it waits for the record that it cancels or corrects. Discard it, or wait."
            )
        mapping, before = reading(_said_of(aside))
        if mapping not in self._mappings or not aside.raw:
            raise Refused("Its octets are kept no longer, or nobody can read them. Discard it.")
        mark = before if aside.reason == POISON else before + mark_of(aside.number)
        self._sent(mapping + mark, self._whole(mapping, aside.raw), aside.source or None)

    def close(self) -> None:
        """Send what is under way, and listen no more."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(PATIENCE_S)
        self._answers.close()

    def _whole(self, mapping: str, lines: bytes) -> bytes:
        framing = self._mappings.get(mapping)
        if framing is None:
            raise Refused(f"There is no mapping {mapping!r}.")
        return whole_records(mapping, framing, lines)

    def _send(
        self, topic: str, value: bytes, headers: list[tuple[str, str | bytes | None]]
    ) -> Future[Message]:
        done: Future[Message] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                done.set_result(message)
            else:
                done.set_exception(KafkaException(error))

        try:
            self._producer.produce(topic, value, headers=headers, on_delivery=delivered)
        except BufferError:
            raise Busy(COME_AGAIN_S) from None
        return done

    def _acknowledged(self, sent: Future[Message]) -> Message:
        deadline = time.monotonic() + ANSWER_S
        while not sent.done() and time.monotonic() < deadline:
            self._producer.poll(0.05)
        try:
            return sent.result(0)
        except (NotYet, KafkaException):
            raise Busy(COME_AGAIN_S) from None

    def _listen(self) -> None:
        parts = [
            TopicPartition(self._plan.answers, bucket, OFFSET_END) for bucket in range(self._plan.buckets)
        ]
        for part in parts:  # where they end now, not where they end when the first message is asked for
            _, part.offset = self._answers.get_watermark_offsets(part, PATIENCE_S)
        self._answers.assign(parts)
        self._listening.set()
        while not self._stop.is_set():
            self._credentials.look()
            for message in self._answers.consume(100, 0.05):
                if message.error() is None:
                    self._answer(progress_in(message.value() or b""))

    def _answer(self, told: dict[str, Any]) -> None:
        with self._lock:
            futures = []
            for column in _NAMES & told.keys():
                waiting = self._waiting.get((column, str(told[column])), [])
                futures += waiting
                waiting.clear()
        for future in futures:
            future.set_result({"status": told["status"], "reason": told.get("reason") or ""})


_NAMES = {"movement_id", "transfer_id"}  # columns by which orders are named
_TYPES: dict[str, Any] = {
    column.name: column.dtype for column in MOVEMENTS.record.columns if column.name != "seq"
}


def _said_of(aside: SetAside) -> str:
    """How a record was read, as its message said, or as one is read that says nothing."""
    return aside.mapping or READ_AS


def _parts(lines: bytes, mapping: Mapping) -> list[bytes]:
    """Lines as messages, each of whole records."""
    found = []
    while len(lines) > _LINES_OCTETS:
        end = mapping.record_end(lines[:_LINES_OCTETS]) or len(lines)
        found.append(lines[:end])
        lines = lines[end:]
    return [*found, lines] if lines else found
