"""A charger that answers requests for quota between its turns of usage.

Requests lie in a topic of their own, parted as the buckets are, so that none waits behind usage that was fetched
before it. They are read by whoever owns the bucket; what was answered stands in the bucket's progress, in the
transaction that holds the answers. Answers are not carried ahead of the commit before them: those that come meanwhile
share the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl
from confluent_kafka import Message, TopicPartition

from trunkline.engines.kafka.bucket import Bucket
from trunkline.engines.kafka.client import consumer, without_notices
from trunkline.engines.kafka.committer import Turn
from trunkline.engines.kafka.desk import Desk
from trunkline.engines.kafka.worker import (
    PAUSE_S,
    TURN_ROWS,
    ChargerLife,
    Roles,
    RouterLife,
    Work,
    position_of,
)
from trunkline.engines.online import OnlineRules

MOST_AT_ONCE = 2_048
SLICE_KEYS = 256  # of a round, in a turn whose answers are waited for
TURN_ROWS_BESIDE = 20_000  # of usage in one turn while somebody asks
BESIDE_S = 5.0  # so long after a request


@dataclass(frozen=True)
class OnlineWork(Work):
    """What a worker is made of whose buckets are asked for quota."""

    rules: OnlineRules | None = None
    # the name of a stream of orders, and rows of it: accounts that may hold more after them
    richer: Callable[[str, pl.DataFrame], Sequence[int]] = lambda _stream, _rows: ()


class PromisingLife(ChargerLife):
    """One life of a charger that is asked."""

    work: OnlineWork

    def __init__(self, work: Work) -> None:
        """Join."""
        assert isinstance(work, OnlineWork), "somebody must say what may be promised"
        assert work.rules is not None, "somebody must say what may be promised"
        self._rules = work.rules
        self._desks: dict[int, Desk] = {}
        self._last_asked_s = -BESIDE_S
        self._idle = True
        self.answered = 0
        self._asked = consumer(work.server, f"{work.plan.prefix}.charger")
        try:
            super().__init__(work)
        except BaseException:
            self._asked.close()
            raise
        self.credentials.add(self._asked)
        self.pause_s = 0.0  # it waits for requests instead

    def _ready(self) -> None:
        super()._ready()
        topic = self.work.plan.requests
        for number, bucket in self._buckets.items():
            if number not in self._desks:
                desk = Desk(bucket, self._rules, self.work.tables, self.work.clock_us(), time.monotonic())
                self._desks[number] = desk
                self._asked.incremental_assign([TopicPartition(topic, number, desk.position)])

    def end(self, part: TopicPartition) -> None:
        """Let go of a bucket, and of those who ask it."""
        if self._desks.pop(part.partition, None) is not None and not self.closing and not self.lost:
            self._asked.incremental_unassign([TopicPartition(self.work.plan.requests, part.partition)])
        super().end(part)

    def run(self, stop: threading.Event) -> None:
        """Answer and carry until stopped."""
        while not stop.is_set():
            self.committer.check()
            self._ready()
            self._idle = not any(
                [self._put(self._promise()), self._put(self._charge()), self._put(self._turn())]
            )
        self.committer.drain()

    def _put(self, turn: Turn | None) -> bool:
        if turn is not None:
            self.committer.put(turn)
        return turn is not None

    # -- requests -----------------------------------------------------------------------------------------

    def _promise(self) -> Turn | None:
        """What was asked, answered; and sessions that were not heard of in time, closed."""
        taken = self._taken(PAUSE_S if self._idle else 0.0)
        if taken:
            self._last_asked_s = time.monotonic()
            self.committer.drain()
            taken += self._taken(0.0)
        asking = time.monotonic() - self._last_asked_s < BESIDE_S
        self.turn_rows = TURN_ROWS_BESIDE if asking else TURN_ROWS
        by_bucket: dict[int, list[Message]] = {}
        for message in taken:
            by_bucket.setdefault(message.partition() or 0, []).append(message)
        touched = set()
        for number, messages in by_bucket.items():
            desk = self._desks.get(number)
            if desk is None:  # it was taken away meanwhile; its next owner reads them
                continue
            if desk.bucket.careful:
                self._carefully(desk, messages)
            else:
                desk.answer(messages, time.monotonic())
                touched.add(number)
        now_us = self.work.clock_us()
        touched |= {number for number, desk in self._desks.items() if desk.lapse(now_us)}
        self.answered += len(taken)
        return self._written(touched, 0)

    def _taken(self, timeout_s: float) -> list[Message]:
        """Requests that are there; waits for the first one."""
        if not self._desks:
            return []
        first = self._asked.poll(timeout_s)
        if first is None:
            return []
        return without_notices([first, *self._asked.consume(MOST_AT_ONCE - 1, 0.0)])

    def _carefully(self, desk: Desk, messages: Iterable[Message]) -> None:
        """Answer one request after another, each announced before it is tried: workers died of something here."""
        bucket = desk.bucket
        for message in messages:
            bucket.careful = max(0, bucket.careful - 1)
            if desk.announced(message):
                self._tell(bucket, [bucket.progress()])
                self.committer.drain()
                desk.answer([message], time.monotonic())
            else:
                desk.give_up(message)
            self._put(self._written({bucket.number}, 0))

    def _carry(self, number: int, stream: str, frames: list[pl.DataFrame]) -> None:
        super()._carry(number, stream, frames)
        desk = self._desks.get(number)
        if desk is not None and desk.open:
            owners = [owner for frame in frames for owner in self.work.richer(stream, frame)]
            if owners:
                desk.richer(owners)

    # -- what was used ------------------------------------------------------------------------------------

    def _charge(self) -> Turn | None:
        """Charge what one bucket owes, while the answers before are being written."""
        now_s = time.monotonic()
        for number, desk in self._desks.items():
            if desk.owes(now_s) and (records := desk.charge(self.work.clock_us(), now_s)):
                return self._written({number}, records)
        return None

    def _written(self, numbers: set[int], rows: int) -> Turn | None:
        """The turn of some buckets that moves nothing in the work topic."""
        if not numbers:
            return None
        buckets: list[Bucket] = [self._buckets[number] for number in sorted(numbers)]
        messages = [
            message
            for bucket in buckets
            for message in bucket.turn(bucket.position, bucket.trying, slice_keys=SLICE_KEYS)
        ]
        offsets = [position_of(self.work.plan, bucket) for bucket in buckets]
        images = self._superseded(numbers)
        return Turn(
            messages, offsets, rows, self._acknowledged, (lambda: self._cut_off(images)) if images else None
        )

    def close(self) -> None:
        """Leave."""
        super().close()
        self._asked.close()

    def status(self) -> dict[str, object]:
        """Facts for people."""
        sessions = sum(desk.open for desk in list(self._desks.values()))
        return {**super().status(), "answered": self.answered, "sessions": sessions}


ROLES: Roles = {"router": RouterLife, "charger": PromisingLife}
