"""Balances from the changelog of accounts into Cassandra: told as soon as they are read, settled some seconds later.

What is told is readable. Offsets move when it is settled as rows, so whoever takes over tells it again. A generation
of changes is gathered while the one before it is settled, a slice between two tellings: no balance waits behind it.
History stands aside meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition

from trunkline.bootstrap.delivery import Delivery, deliver_roles, ends_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.loop import over
from trunkline.engines.plan import Plan
from trunkline.engines.wire import Unreadable, change_in, progress_in
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ACCOUNTS
from trunkline.stores.cassandra.accounts import Accounts
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.writer import Writer

ROLE = "balances"
MESSAGES_AT_ONCE = 500
GATHERED_S = 4.0  # what changes again meanwhile is settled once
GATHERED_MOST = 200_000  # accounts
SLICE = 1_000  # accounts that are settled between two tellings, or a tenth of what is left
QUIET_S = 0.3  # nothing is told for so long: then all is settled
_ASIDE_S = 1.0
_LATE_US = 250_000


class Way:
    """Whose turn it is at the database: history stands aside while balances are written, or when they are late."""

    def __init__(self) -> None:
        """Nobody is at it."""
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def taken(self, handed_in_us: int) -> Iterator[None]:
        """Balances are written, the oldest of which were committed then (us UTC)."""
        self._free.clear()
        try:
            yield
        finally:
            if time.time_ns() // 1000 - handed_in_us < _LATE_US:
                self._free.set()

    def leave(self) -> None:
        """There are no balances to write."""
        self._free.set()

    def free(self) -> bool:
        """Return when balances are written and young; or after a second, so that history comes on, whatever happens."""
        return self._free.wait(_ASIDE_S)


@dataclass
class _Changed:
    """Accounts of a partition of the changelog, and the number of the commit that each is as of."""

    groups: Grouped
    numbers: Grouped  # one number a key

    @classmethod
    def of(cls, groups: Grouped, number: int) -> _Changed:
        """Accounts as one commit made them."""
        count = len(groups)
        each = np.full(count, number, np.int64)
        return cls(groups, Grouped(groups.keys, np.arange(count + 1, dtype=np.int64), each))

    def then(self, later: _Changed) -> _Changed:
        """As they are after what came later."""
        return _Changed(over(self.groups, later.groups), over(self.numbers, later.numbers))


@dataclass
class _Generation:
    """What was told and is not settled yet, and how far the topics are when it is."""

    changed: dict[int, _Changed] = field(default_factory=dict)  # by partition of the changelog
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    messages: int = 0
    began_s: float = 0.0  # as the steady clock has it

    def add(self, partition: int, later: _Changed) -> None:
        """What a partition said next."""
        earlier = self.changed.get(partition)
        self.changed[partition] = later if earlier is None else earlier.then(later)

    def drop(self, topic: str, partition: int) -> None:
        """Leave a partition to somebody else."""
        self.ends.pop((topic, partition), None)

    @property
    def size(self) -> int:
        """How many accounts there are."""
        return sum(len(each.groups) for each in self.changed.values())


class BalanceDelivery(Delivery):
    """The thread that carries balances, and how far the engine is."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        connect: Callable[[], Connection],
        role: str = ROLE,
        way: Way | None = None,
    ) -> None:
        """Nothing is read before `run`. History stands aside on its `way`."""
        super().__init__(server, plan, connect, role)
        self._way = way or Way()
        self._accounts: Accounts | None = None
        self._since: dict[int, int] = {}
        self._moment_us = 0  # of the last telling
        self._settling_us = 0  # from which on is told what is not being settled
        self._told_s = 0.0  # as the steady clock has it
        self._forget()

    @property
    def topics(self) -> list[str]:
        """What is delivered."""
        return [self._changelog, self._plan.progress]

    def begin(self, reader: Consumer, writer: Writer) -> None:
        """Begin where the offsets are; what others told last is what we tell after."""
        self._forget()
        self._accounts = Accounts(writer.connection)
        self._since = self._accounts.since()
        self._told_s = time.monotonic()
        self._moment_us = max(self._since.values(), default=0)

        def left(_reader: Consumer, parts: Sequence[TopicPartition]) -> None:
            for generation in (self._young, self._old):
                for part in parts:
                    generation.drop(part.topic, part.partition)

        reader.subscribe(self.topics, on_revoke=left, on_lost=left)

    def _forget(self) -> None:
        self._young, self._old = _Generation(), _Generation()
        self._at = 0  # accounts of the old generation that are settled

    def turn(self, reader: Consumer, writer: Writer, stop: threading.Event) -> None:
        """Tell what there is, then settle a slice."""
        taken = self.take(reader, MESSAGES_AT_ONCE)
        if taken:
            while not self.surely(lambda: self.write(taken, writer)):
                if stop.wait(0.2):
                    return
            self._young.messages += len(taken)
            ends = ends_of(taken)
            self._young.ends |= ends
            self.measure(reader, ends)
        else:
            self._way.leave()
        self.surely(lambda: self._settle(reader, quiet=time.monotonic() - self._told_s > QUIET_S))

    def end(self, reader: Consumer) -> None:
        """Settle all that was told, if the database answers: whoever begins next need not tell it again."""
        while self._old.messages or self._young.messages:
            if not self.surely(lambda: self._settle(reader, quiet=True)):
                return

    def write(self, taken: Sequence[Message], writer: Writer) -> None:
        """Tell what some messages say, of each account the last; then how far the engine is."""
        changed: dict[int, _Changed] = {}
        progress = {}
        for message in taken:
            partition, value = message.partition() or 0, message.value() or b""
            try:
                if message.topic() == self._changelog:
                    change = change_in(value, ACCOUNTS)
                    later = _Changed.of(change.groups, change.number)
                    changed[partition] = changed[partition].then(later) if partition in changed else later
                else:
                    key = (message.key() or b"").decode()
                    progress[key] = progress_in(value), message.offset() or 0, message.timestamp()[1] * 1000
            except Unreadable as error:
                self.set_aside(message, str(error), writer)
        if changed:
            with self._way.taken(min(message.timestamp()[1] for message in taken) * 1000):
                self._tell(changed)
        writer.progress(progress)

    def _tell(self, changed: dict[int, _Changed]) -> None:
        assert self._accounts is not None, "a life has begun"
        moment_us = self._moment_us = max(self._moment_us + 1, time.time_ns() // 1000)
        unknown = {partition: moment_us for partition in changed if partition not in self._since}
        if unknown:
            self._accounts.begin(unknown)
            self._since |= unknown
        told = reduce(_Changed.then, changed.values())  # of different subscribers
        self._accounts.tell(told.groups, told.numbers.rows, moment_us, min(changed))
        self.delivered.rows += len(told.groups)
        if not self._young.changed:
            self._young.began_s = time.monotonic()
        for partition, each in changed.items():
            self._young.add(partition, each)
        self._told_s = time.monotonic()

    def _settle(self, reader: Consumer, *, quiet: bool) -> None:
        """Settle a slice of the old generation; when it is settled, the young one is old when it is its time."""
        assert self._accounts is not None, "a life has begun"
        young = self._young
        if not self._old.messages:
            old_enough = time.monotonic() - young.began_s > GATHERED_S or young.size > GATHERED_MOST
            if not young.messages or (young.changed and not old_enough and not quiet):
                return
            self._old, self._young, self._at = young, _Generation(), 0
            self._moment_us += 1
            self._settling_us = self._moment_us  # whatever is told from now on is told later
        at, left = self._at, self._old.size - self._at
        left = most = min(left, max(5 * SLICE if quiet else SLICE, left // 10))
        for each in self._old.changed.values():
            size = len(each.groups)
            if at < size and left:
                first, last = at, min(size, at + left)
                self._accounts.settle(_some(each.groups, first, last), each.numbers.rows[first:last])
                left -= last - first
            at = max(0, at - size)
        self._at += most
        if self._at >= self._old.size:
            self._settled(reader)

    def _settled(self, reader: Consumer) -> None:
        """Everything that was told before the generation after it is in rows: say so, and move the offsets."""
        assert self._accounts is not None, "a life has begun"
        old = self._old
        if old.changed:
            ours = {part.partition for part in reader.assignment() if part.topic == self._changelog}
            since = dict.fromkeys(ours, self._settling_us)
            self._accounts.begin(since)
            self._since |= since
        if old.ends:
            self.commit(reader, old.ends, old.messages)
        self._old = _Generation()


def _some(groups: Grouped, first: int, last: int) -> Grouped:
    """Groups of a range of keys."""
    begins, ends = int(groups.offsets[first]), int(groups.offsets[last])
    return Grouped(
        groups.keys[first:last], groups.offsets[first : last + 1] - begins, groups.rows[begins:ends]
    )


def deliver(
    server: Server, plan: Plan, connect: Callable[[], Connection], stop: threading.Event
) -> tuple[list[Delivery], Callable[[], None]]:
    """Balances and history, a thread each; what they are, and a function that waits for their end and raises their
    trouble.
    """
    way = Way()
    roles = [
        BalanceDelivery(server, plan, connect, way=way),
        Delivery(server, plan, connect, give_way=way.free),
    ]
    return deliver_roles(roles, stop)
