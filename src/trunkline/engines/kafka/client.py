"""How we speak to the servers: what every client is told, and which of its troubles ask for what.

Whatever is read is committed, whatever is written is acknowledged by all replicas in step, and nothing waits for
ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

Client = TypeVar("Client", Consumer, Producer)
PATIENCE_S = 30.0
MESSAGE_OCTETS = 8 << 20
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001 -- the client's own name for "there is no more now"


class Lost(Exception):
    """This life of the worker is over: what was not committed will be done again by whoever has the partition."""


class Unfit(Exception):
    """The servers hold something that this worker must not touch; the text says what and what to do."""


@dataclass(frozen=True)
class Server:
    """Where the brokers are, and how they know us.

    `properties` gives the client's own names and values; it is asked at each new life, so that passwords and
    certificates may change while a worker runs.
    """

    brokers: str
    properties: Callable[[], Mapping[str, str]] = dict
    rack: str = ""

    def common(self) -> dict[str, Any]:
        """What producers, consumers and administrators are told."""
        return {
            "bootstrap.servers": self.brokers,
            "socket.timeout.ms": int(PATIENCE_S * 1000),
            "reconnect.backoff.max.ms": 1000,
            "log.connection.close": False,
            # Forgetting all brokers when none is there (librdkafka's own way) leaves requests of a transaction
            # with those that were forgotten: a connection that was cut for a moment stood still for minutes.
            "metadata.recovery.strategy": "none",
            "log_level": 2,  # what goes wrong is told by what we raise; the client's own lines would drown it
            **self.properties(),
        }


def consumer(server: Server, group: str, settings: Mapping[str, Any] | None = None) -> Consumer:
    """A consumer of what is committed; it never says itself how far it is."""
    return _made(
        Consumer,
        {
            **server.common(),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "topic.metadata.refresh.interval.ms": 10_000,  # a partition that was added is read soon
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 1_000,
            "fetch.wait.max.ms": 50,
            "fetch.error.backoff.ms": 50,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 64 << 10,
            "fetch.message.max.bytes": MESSAGE_OCTETS,
            "fetch.max.bytes": 64 << 20,
            "allow.auto.create.topics": False,
            **({"client.rack": server.rack} if server.rack else {}),
            **(settings or {}),
        },
    )


def producer(server: Server, transactional_id: str, timeout_s: float) -> Producer:
    """A producer of transactions; whoever had the same name before is fenced."""
    told = server.common()
    made = _made(
        Producer,
        {
            **told,
            "socket.timeout.ms": min(told["socket.timeout.ms"], int(timeout_s * 1000)),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(timeout_s * 1000),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 2,
            "compression.type": "lz4",
            "message.max.bytes": MESSAGE_OCTETS,
            "batch.size": MESSAGE_OCTETS // 2,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512 << 10,
        },
    )
    patiently(lambda: made.init_transactions(PATIENCE_S), "beginning as a writer")
    return made


def _made(kind: type[Client], told: dict[str, Any]) -> Client:
    """A client; settings that it refuses are refused in the next life, too."""
    try:
        return kind(told)
    except (KafkaException, ValueError, TypeError) as error:
        raise Unfit(f"The settings of Kafka do not hold: {error}") from error


def patiently(act: Callable[[], Any], what: str, tries: int = 5) -> Any:  # noqa: ANN401 -- whatever was asked for
    """Do it, again where asking again is right; raises `Lost` when it is not, or does not help.

    A transaction's commit whose answer was lost is such a case: asked again, it tells what became of it.
    """
    for left in range(tries - 1, -1, -1):
        try:
            return act()
        except KafkaException as error:
            trouble = error.args[0]
            if not isinstance(trouble, KafkaError) or not trouble.retriable() or left == 0:
                raise Lost(f"{what}: {told(error)}") from error
            threading.Event().wait(0.1)
    raise AssertionError("the last try returns or raises")


def told(error: KafkaException) -> str:
    """A server's trouble in its own short words, without what was sent."""
    trouble = error.args[0]
    return f"{trouble.name()}: {trouble.str()}" if isinstance(trouble, KafkaError) else type(error).__name__


def without_notices(taken: Iterable[Message]) -> list[Message]:
    """Messages without the client's own notices; raises `Lost` for one that trying again does not mend."""
    found = []
    for message in taken:
        trouble = message.error()
        if trouble is None:
            found.append(message)
        elif trouble.fatal() or not (trouble.retriable() or trouble.code() == PARTITION_EOF):
            raise Lost(f"{trouble.name()}: {trouble.str()}")
    return found
