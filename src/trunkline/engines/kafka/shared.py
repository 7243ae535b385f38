"""What all workers must see alike, such as the tariff: versions in a topic, of which each follows the one before.

Two workers may write the same next version at one moment; the log has an order, so everybody takes the first of the
two and passes over the second, and the one whose version was passed over proposes again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from trunkline.engines.kafka.client import (
    MESSAGE_OCTETS,
    PARTITION_EOF,
    PATIENCE_S,
    Lost,
    Server,
    Unfit,
    consumer,
)
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.wire import progress_in, progress_out

_TRIES = 20

Body = dict[str, Any]


def latest(server: Server, group: str, topic: str) -> Body | None:
    """The version that holds now; None before any, and where there is no such topic."""
    reader = consumer(server, group, {"enable.partition.eof": True})
    try:
        if not _is_there(reader, topic):
            return None
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found: Body | None = None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for message in reader.consume(100, 0.2):
                trouble = message.error()
                if trouble is None:
                    body = progress_in(message.value() or b"")
                    if body["version"] == (found["version"] if found else 0) + 1:
                        found = body
                elif trouble.code() == PARTITION_EOF:
                    return found
                elif not trouble.retriable():
                    raise KafkaException(trouble)
        raise Lost(f"{topic} gave no answer within {PATIENCE_S:g} s")
    finally:
        reader.close()


def followed(server: Server, group: str, topic: str, stop: threading.Event) -> Iterator[Body]:
    """Each version from the first on, as it comes to hold, until told to stop."""
    reader = consumer(server, group)
    credentials = Credentials(server, reader)
    version = 0
    try:
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        while not stop.is_set():
            credentials.look()
            for message in reader.consume(100, 0.5):
                body = progress_in(message.value() or b"") if message.error() is None else {}
                if body.get("version") == version + 1:  # of two claims the first one counts
                    version += 1
                    yield body
    finally:
        reader.close()


def _is_there(reader: Consumer, topic: str) -> bool:
    """Whether a topic is there; a consumer of one that is not would say so only after half a minute."""
    try:
        trouble = reader.list_topics(topic, timeout=PATIENCE_S).topics[topic].error
    except KafkaException as error:
        raise Lost(f"{topic} gave no answer within {PATIENCE_S:g} s") from error
    return trouble is None or trouble.code() != KafkaError.UNKNOWN_TOPIC_OR_PART


def agree(
    server: Server, group: str, topic: str, author: str, propose: Callable[[Body | None], Body | None]
) -> Body:
    """The version that holds when `propose`, shown it, has nothing to change (None)."""
    sender = Producer({**server.common(), "acks": "all", "enable.idempotence": True,
                       "message.max.bytes": MESSAGE_OCTETS})  # fmt: skip
    for _ in range(_TRIES):
        now = latest(server, group, topic)
        wanted = propose(now)
        if wanted is None:
            assert now is not None, "nothing was there and nothing was proposed"
            return now
        told = {**wanted, "version": (now["version"] if now else 0) + 1, "author": author}
        sender.produce(topic, progress_out(told), partition=0)
        if sender.flush(PATIENCE_S):
            raise Lost(f"a version of {topic} was not acknowledged within {PATIENCE_S:g} s")
    raise Unfit(
        f"{_TRIES} versions of {topic} were overtaken; another worker proposes something else each time."
    )
