"""Where requests for quota come into a cluster: into the topic, and the answer out of the topic of answers.

A door remembers who waits for which answer and nothing else, so there may be any number of them, and whoever was not
answered because one died sends again to another. A session says where it lies (`place`), so a door need not have
opened it to pass on what it reports.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, Message, Producer, TopicPartition

from trunkline.engines.kafka.asking import (
    ELSEWHERE,
    UNKNOWN,
    answers_in,
    held_in,
    look_out,
    request_out,
)
from trunkline.engines.kafka.client import PATIENCE_S, Server, consumer
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.plan import Plan, buckets_of
from trunkline.kernel.grouped import Grouped, Rows, State
from trunkline.kernel.members import Members
from trunkline.ports import Busy, QuotaAnswer, QuotaRequest, Told, UnknownSession

MOST_WAITING = 20_000  # requests; more than that are sent away
WAITED_S = 60.0  # twice as long as anybody waits for an answer
COME_AGAIN_S = 1
_LISTENED_S = 0.05
_AT_ONCE = 1_000


class Failed(Exception):
    """Whoever owns the session's bucket could not answer."""


@dataclass(slots=True)
class _Waiting:
    """Who waits for an answer, and since when."""

    began_s: float
    answered: Callable[[Any], None]  # what the bucket said, or why it said nothing


class Door:
    """Online charging of a cluster (`ports.OnlineCharging`); any thread may ask."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        name: str,
        members: Callable[[], Members],
        heard: Callable[[QuotaRequest, list[QuotaAnswer]], None] = lambda _request, _answers: None,
        told: Callable[[str, int], None] = lambda _what, _who: None,
    ) -> None:
        """Ask under a name that no other door has; `run` hears the answers.

        `heard` is told of each answer; `told` of sessions that were "ended", and of accounts that are "richer".
        """
        self._plan, self.name, self._members, self._heard, self._told = plan, name, members, heard, told
        self._key = name.encode()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self.ready = threading.Event()
        self._producer = Producer(
            {
                **server.common(), "acks": "all", "enable.idempotence": True, "linger.ms": 1,
                "delivery.timeout.ms": int(WAITED_S * 1000),
            }
        )  # fmt: skip
        self._reader = consumer(server, f"{plan.prefix}.intake")
        self._credentials = Credentials(server, self._producer, self._reader)

    # -- asking -------------------------------------------------------------------------------------------

    def place(self, subscriber: int) -> int:
        """The bucket of whoever pays for a subscriber's sessions."""
        owner, _ = self._members().account_of(subscriber)
        return int(buckets_of(np.array([owner], np.uint64), self._plan.buckets)[0])

    def ask(self, request: QuotaRequest, answered: Callable[[Told], None]) -> None:
        """Ask for quota; `answered` is called in another thread when it is committed, or with what went wrong."""
        place = self.place(request.subscriber) if request.place is None else request.place
        if not 0 <= place < self._plan.buckets:
            answered(UnknownSession(request.session))
            return

        def say(told: Any) -> None:  # noqa: ANN401 -- what the bucket said
            if isinstance(told, list):
                answers = answers_in(told)
                self._heard(request, answers)
                answered(answers)
            elif told == UNKNOWN:
                answered(UnknownSession(request.session))
            else:
                answered(told if isinstance(told, BaseException) else _trouble(told))

        number = next(self._numbers)
        self._send(place, number, request_out(self.name, number, request), say)

    def look(self, owner: int, sessions: State, accounts: State, patience_s: float) -> tuple[Rows, Rows]:
        """What an account's sessions and the account hold; raises `Busy` when nobody says so in time."""
        (told,) = self._looked({self.place(owner): owner}, patience_s)
        return held_in(told["sessions"], sessions), held_in(told["account"], accounts)

    def look_around(self, sessions: State, patience_s: float) -> list[Grouped]:
        """All sessions of all buckets, by their owners; raises `Busy`."""
        return [
            Grouped(
                np.array(told["owners"], np.uint64),
                np.concatenate([[0], np.cumsum(told["counts"])]).astype(np.int64),
                held_in(told["sessions"], sessions),
            )
            for told in self._looked(dict.fromkeys(range(self._plan.buckets)), patience_s)
        ]

    def _looked(self, owners: dict[int, int] | dict[int, None], patience_s: float) -> list[dict[str, Any]]:
        """What is seen in some buckets, of an owner or of everybody."""
        found: list[Any] = []
        there = threading.Semaphore(0)

        def say(told: Any) -> None:  # noqa: ANN401 -- what the bucket said
            found.append(told)
            there.release()

        for place, owner in owners.items():
            number = next(self._numbers)
            self._send(place, number, look_out(self.name, number, owner), say)
        deadline = time.monotonic() + patience_s
        for _ in owners:
            if not there.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise Busy(COME_AGAIN_S)
        for told in found:
            if not isinstance(told, dict):
                raise told if isinstance(told, BaseException) else _trouble(told)
        return found

    def _send(self, place: int, number: int, value: bytes, say: Callable[[Any], None]) -> None:
        if len(self._waiting) >= MOST_WAITING or not self.ready.is_set():
            say(Busy(COME_AGAIN_S))
            return
        self._waiting[number] = _Waiting(time.monotonic(), say)

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                self._answer(number, Busy(COME_AGAIN_S))

        try:
            self._producer.produce(self._plan.requests, value, partition=place, on_delivery=delivered)
        except (BufferError, KafkaException):
            self._answer(number, Busy(COME_AGAIN_S))

    def _answer(self, number: int, told: Any) -> None:  # noqa: ANN401 -- what the bucket said
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting.answered(told)

    # -- hearing ------------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Hear answers until told to stop; whoever still waits then is told to come again."""
        try:
            self._begin(stop)
            swept_s = time.monotonic()
            while not stop.is_set():
                self._credentials.look()
                self._producer.poll(0)
                for message in self._taken():
                    self._hear(message)
                if time.monotonic() - swept_s > 1.0:
                    swept_s = time.monotonic()
                    self._give_up(swept_s - WAITED_S)
        finally:
            self.ready.clear()
            self._give_up(time.monotonic() + 1.0)
            self._producer.flush(PATIENCE_S)
            self._reader.close()

    def _begin(self, stop: threading.Event) -> None:
        """Listen from where the topic of answers ends now; nothing is asked before."""
        parts = [
            TopicPartition(self._plan.replies, bucket, OFFSET_END) for bucket in range(self._plan.buckets)
        ]
        for part in parts:
            while not stop.is_set():
                try:
                    _, part.offset = self._reader.get_watermark_offsets(part, PATIENCE_S)
                    break
                except KafkaException:
                    stop.wait(1.0)
        self._reader.assign(parts)
        self.ready.set()

    def _taken(self) -> Sequence[Message]:
        first = self._reader.poll(_LISTENED_S)
        return [] if first is None else [first, *self._reader.consume(_AT_ONCE, 0.0)]

    def _hear(self, message: Message) -> None:
        if message.error() is not None or message.key() not in (None, self._key):
            return
        told = orjson.loads(message.value() or b"[]")
        if message.key() is None:
            for what, names in told.items():
                for name in names:
                    self._told(what, name)
            return
        for number, said in told:
            self._answer(number, said)

    def _give_up(self, before_s: float) -> None:
        """Let go of those who have waited for too long; they come again under the same name."""
        for number, waiting in list(self._waiting.items()):
            if waiting.began_s > before_s:
                break
            self._answer(number, Busy(COME_AGAIN_S))


def _trouble(told: object) -> Exception:
    """What a bucket's word for trouble means."""
    return Busy(COME_AGAIN_S) if told == ELSEWHERE else Failed("whoever owns the account could not answer")
