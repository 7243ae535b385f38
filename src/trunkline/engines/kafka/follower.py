"""Building a bucket again from the log, up to exactly what its last owner committed.

Markers of a transaction reach different partitions at different moments. So the end is not believed because a
partition has nothing more to give: the bucket's progress must have reached the offsets of the group, and every
changelog the commit that progress names, all its parts.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from trunkline.engines.kafka.bucket import Bucket, progress_key
from trunkline.engines.kafka.client import PARTITION_EOF, Lost, Server, Unfit, consumer
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.plan import Plan
from trunkline.engines.wire import change_in, progress_in
from trunkline.kernel.grouped import State

CAUGHT_UP_S = 60.0  # after the last sign of life
_MESSAGES = 200
_BUILDING = {"queued.max.messages.kbytes": 128 << 10}
# A copy that fell behind what was cut off of the log has missed something, and says so.
_STANDING = {"queued.max.messages.kbytes": 8 << 10, "auto.offset.reset": "error"}


class Follower:
    """Fills a bucket from its changelogs; may go on following while another owns it (a standby)."""

    def __init__(self, server: Server, plan: Plan, bucket: Bucket, *, standing: bool = False) -> None:
        """Begin at the newest round of each changelog; `standing`, it goes on following for days."""
        self.bucket, self._plan, self._standing = bucket, plan, standing
        self._states = {plan.changelog(state): state for state in plan.kept}
        self._told: dict[str, Any] | None = None
        self._seen: dict[str, tuple[int, int]] = dict.fromkeys(
            self._states, (0, 0)
        )  # commit, parts of it so far
        self._whole: dict[str, int] = dict.fromkeys(self._states, 0)  # last commit of which all parts came
        self._ended: set[str] = set()
        self.octets = 0
        self._consumer = consumer(
            server,
            f"{plan.prefix}.follower",  # a name for quotas and rights; nothing is ever committed under it
            {"enable.partition.eof": True, **(_STANDING if standing else _BUILDING)},
        )
        self._credentials = Credentials(server, self._consumer)
        self._told = last_progress(self._consumer, plan, bucket.number, progress_key(bucket.number))
        images = self._told["images"] if self._told else {}
        self._consumer.assign(
            [TopicPartition(plan.progress, bucket.number, OFFSET_BEGINNING)]
            + [
                TopicPartition(topic, bucket.number, images.get(state.name) or OFFSET_BEGINNING)
                for topic, state in self._states.items()
            ]
        )

    def poll(self, timeout_s: float) -> int:
        """Apply what there is; how many messages."""
        self._credentials.look()
        messages = self._consumer.consume(_MESSAGES, timeout_s)
        applied = 0
        for message in messages:
            trouble = message.error()
            if trouble is None:
                self._apply(message)
                applied += 1
            elif trouble.code() == PARTITION_EOF:
                self._ended.add(message.topic() or "")
            elif not trouble.retriable():
                raise KafkaException(trouble)
        if self._standing and self.level:
            self.bucket.forget()
        return applied

    @property
    def level(self) -> bool:
        """Whether it was at the end of everything once."""
        return len(self._ended) > len(self._states)

    def finish(self, committed: int, stop: threading.Event, commit: int = 0) -> Bucket:
        """Follow to the end; `committed` is how far the group is by its offsets (negative: nowhere yet).

        `commit` is the bucket's last one that the group knows of: not every commit moves the offset.
        """
        deadline = time.monotonic() + CAUGHT_UP_S
        while not self._complete(committed, commit):
            if stop.is_set():
                raise Lost("asked to stop while a bucket was built")
            if self.poll(0.1):
                deadline = time.monotonic() + CAUGHT_UP_S
            if time.monotonic() > deadline:
                raise Unfit(
                    f"Bucket {self.bucket.number}: the group has committed offset {committed} of {self._plan.work}"
                    f" with commit {commit}, its progress says {self._told['position'] if self._told else None}"
                    f" and its changelogs end at {self._whole}. The log has lost what was"
                    " committed; see docs/operating/cluster-kafka.md."
                )
        if self._told is not None:
            self.bucket.begin(self._told)
        for topic, state in self._states.items():
            found = self._consumer.position([TopicPartition(topic, self.bucket.number)])[0].offset
            memory = self.bucket.memories[state.name]
            memory.tail = max(memory.image, found)
        self.close()
        return self.bucket

    def close(self) -> None:
        """Follow no more."""
        self._consumer.close()

    def _complete(self, committed: int, commit: int) -> bool:
        if self._told is None:
            return committed <= 0 and commit == 0 and not any(self._whole.values())
        if self._told["position"] < committed or self._told["commit"] < commit:
            return False
        return all(
            self._told["changed"].get(state.name, 0) == self._whole[topic] or self._expired(topic, state)
            for topic, state in self._states.items()
        )

    def _expired(self, topic: str, state: State) -> bool:
        """All that was written of a state with a window is older than the window: nothing came for weeks."""
        return state.days is not None and topic in self._ended and self._seen[topic] == (0, 0)

    def _apply(self, message: Message) -> None:
        topic, value = message.topic() or "", message.value() or b""
        if topic == self._plan.progress:
            if message.key() == progress_key(self.bucket.number):
                self._tell(progress_in(value))
            return
        state = self._states[topic]
        change = change_in(value, state)
        number, parts = self._seen[topic]
        parts = parts + 1 if number == change.number else 1
        self._seen[topic] = change.number, parts
        if parts == change.parts:
            self._whole[topic] = change.number
        memory = self.bucket.memories[state.name]
        memory.put(change.groups)
        memory.written += len(value)
        self.octets += len(value)

    def _tell(self, progress: dict[str, Any]) -> None:
        """Hear how far the bucket is; where a round has ended, what was written before counts no more."""
        before = self._told["images"] if self._told else {}
        for name, image in progress["images"].items():
            if image != before.get(name, 0):
                self.bucket.memories[name].written = 0
        self._told = progress


def last_progress(reader: Consumer, plan: Plan, partition: int, key: bytes) -> dict[str, Any] | None:
    """The newest progress under a key, as far as it is committed; None when there is none."""
    reader.assign([TopicPartition(plan.progress, partition, OFFSET_BEGINNING)])
    found = None
    deadline = time.monotonic() + CAUGHT_UP_S
    while time.monotonic() < deadline:
        for message in reader.consume(_MESSAGES, 0.2):
            trouble = message.error()
            if trouble is None:
                deadline = time.monotonic() + CAUGHT_UP_S
                if message.key() == key:
                    found = progress_in(message.value() or b"")
            elif trouble.code() == PARTITION_EOF:
                return found
            elif not trouble.retriable():
                raise KafkaException(trouble)
    raise Lost(f"{plan.progress} gave no answer within {CAUGHT_UP_S:g} s")
