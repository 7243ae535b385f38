"""The words of a cluster's workers, from them to whoever watches: a compacted topic that holds the last one of each.

A worker says every two seconds what it knows of itself, from its own positions and counts; a word that cannot be
delivered is let go of, for the next one is better. A worker that ends well takes its leave, and its word is removed;
one that dies is known by its silence until a day has passed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

import orjson
from confluent_kafka import (
    OFFSET_BEGINNING,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from trunkline.api.workers import Worker
from trunkline.engines.kafka.client import PARTITION_EOF, PATIENCE_S, Server, consumer
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.plan import Plan

log = logging.getLogger(__name__)

SAID_EVERY_S = 2.0
LET_GO_S = 10.0  # of a word that the brokers do not take
FORGOTTEN_S = 86_400.0  # after a worker's last word
_LEAVE_S = 5.0

Known = Callable[[], Sequence[Worker]]
"""What the workers of a process know of themselves now; their rates are worked out here."""


@contextmanager
def saying(server: Server, plan: Plan, known: Known) -> Iterator[None]:
    """Say what workers know of themselves while they work; take their leave when that ends, well or not."""
    stop = threading.Event()
    sender = Producer(
        {
            **server.common(),
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": int(LET_GO_S * 1000),
        }
    )
    before: dict[str, Worker] = {}
    credentials = Credentials(server, sender)

    def run() -> None:
        while True:
            credentials.look()
            try:
                for word in known():
                    before[word.name] = told = _with_rate(word, before.get(word.name))
                    _send(sender, plan, word.name, orjson.dumps(asdict(told)))
            except Exception:  # work goes on, whatever is wrong with its figures
                log.exception("what the workers know of themselves could not be said")
            if stop.wait(SAID_EVERY_S):
                return

    thread = threading.Thread(target=run, name="saying", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_LEAVE_S)
        for name in before:
            _send(sender, plan, name, None)
        sender.flush(_LEAVE_S)


def _send(sender: Producer, plan: Plan, name: str, value: bytes | None) -> None:
    """Hand over a word; what the brokers do not take in time is let go of."""
    with suppress(BufferError, KafkaException):
        sender.produce(plan.workers, value, name.encode(), partition=0)
        sender.poll(0)


def _with_rate(word: Worker, before: Worker | None) -> Worker:
    """A word with the records a second since the one before."""
    if before is None or word.told_us <= before.told_us:
        return word
    seconds = (word.told_us - before.told_us) / 1e6
    return replace(word, records_per_s=max(0, word.records - before.records) / seconds)


class Listener:
    """Keeps the last word of each worker; one thread reads, anybody may ask."""

    def __init__(self, server: Server, plans: Sequence[Plan]) -> None:
        """Begin to listen to the workers of some plans; `close` ends it. Raises `KafkaException`."""
        self._words: dict[tuple[str, str], Worker] = {}  # by topic and name
        self._lock = threading.Lock()
        self._stop, self.whole = threading.Event(), threading.Event()
        self._reader = consumer(server, f"{plans[0].prefix}.follower", {"enable.partition.eof": True})
        try:
            there = self._reader.list_topics(timeout=PATIENCE_S).topics
        except KafkaException:
            self._reader.close()
            raise
        # A flow that never ran here has no topic, of which the client would say so only after half a minute.
        self._silent = {plan.workers for plan in plans} & set(there)  # whose end was not seen yet
        if not self._silent:
            self.whole.set()
        self._reader.assign([TopicPartition(plan.workers, 0, OFFSET_BEGINNING) for plan in plans])
        self._credentials = Credentials(server, self._reader)
        self._thread = threading.Thread(target=self._listen, name="listening to workers", daemon=True)
        self._thread.start()

    def workers(self) -> list[Worker]:
        """The last words, by engine and name, of those who said one within a day."""
        oldest_us = time.time_ns() // 1000 - int(FORGOTTEN_S * 1e6)
        with self._lock:
            words = [word for word in self._words.values() if word.told_us > oldest_us]
        return sorted(words, key=lambda word: (word.engine, word.name))

    def close(self) -> None:
        """Listen no more."""
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._credentials.look()
            try:
                messages = self._reader.consume(100, 0.2)
            except KafkaException as error:
                log.warning("words of workers cannot be read: %s", error.args[0])
                self._stop.wait(1.0)
                continue
            for message in messages:
                trouble = message.error()
                if trouble is None:
                    self._hear(message)
                elif trouble.code() == PARTITION_EOF:
                    self._silent.discard(message.topic() or "")
                    if not self._silent:
                        self.whole.set()

    def _hear(self, message: Message) -> None:
        name = message.topic() or "", (message.key() or b"").decode("utf-8", "replace")
        value = message.value()
        word = word_of(value) if value else None
        with self._lock:
            if word is None:
                self._words.pop(name, None)
            else:
                self._words[name] = word


def last_words(server: Server, plans: Sequence[Plan]) -> list[Worker]:
    """The last words that the plans' topics hold now; raises `TimeoutError` or `KafkaException`."""
    listener = Listener(server, plans)
    try:
        if not listener.whole.wait(PATIENCE_S):
            raise TimeoutError(f"{plans[0].workers} gave no answer within {PATIENCE_S:g} s")
        return listener.workers()
    finally:
        listener.close()


def word_of(value: bytes) -> Worker | None:
    """A word out of its message; None where it is not one that we know."""
    try:
        return Worker(**orjson.loads(value))
    except (orjson.JSONDecodeError, TypeError):
        return None


class KafkaWords:
    """What a worker of the kafka engine knows of itself; its counts go on where a life of a role ended."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """`status` is the worker's own."""
        self._status = status
        self._before: dict[tuple[str, str], int] = {}
        self._sums: dict[str, int] = {"rows": 0, "rebalances": 0}
        self._turns, self._durable_us = 0, 0

    def __call__(self) -> list[Worker]:
        """What is so now."""
        now_us = time.time_ns() // 1000
        status = self._status()
        router, charger = status.get("router", {}), status.get("charger", {})
        for role, known in (("router", router), ("charger", charger)):
            self._add("rebalances", role, known.get("rebalances", 0))
        written = charger.get("written", {})
        self._add("rows", "charger", written.get("rows", 0))
        turns = written.get("turns", 0) + router.get("written", {}).get("turns", 0)
        if turns != self._turns:
            self._turns = turns
            self._durable_us = now_us if turns else self._durable_us
        buckets = charger.get("buckets", [])
        worker = Worker(
            name=str(status["name"]),
            engine="kafka",
            told_us=now_us,
            records=self._sums["rows"],
            records_per_s=0.0,
            lag={**router.get("lag", {}), **charger.get("lag", {})},
            state_octets=sum(octets for each in buckets for octets in each["state_octets"].values()),
            durable_us=self._durable_us,
            rebalances=self._sums["rebalances"],
        )
        return [worker]

    def _add(self, name: str, role: str, now: int) -> None:
        """Add what a count has grown by; a new life of a role counts from nothing."""
        before = self._before.get((name, role), 0)
        self._sums[name] += now - before if now >= before else now
        self._before[name, role] = now
