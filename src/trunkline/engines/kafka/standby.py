"""Warm copies of other workers' buckets: whoever takes one over reads only the last moments of the log.

Nobody gives these copies out. Every worker sees in the chargers' group who is there and who owns what, and works out
the same: the first few names for a bucket, by a hash of name and bucket (rendezvous hashing, Thaler and Ravishankar
1998), leaving out its owner. So a worker that comes or goes moves no other copy than its own. A copy promises nothing:
it is finished by the same rule as a bucket that is built from the beginning (`follower.py`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from trunkline.engines.kafka.bucket import Bucket
from trunkline.engines.kafka.client import PATIENCE_S, Lost, Server, told
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.follower import Follower
from trunkline.engines.plan import Plan
from trunkline.engines.wire import Unreadable

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
_PAUSE_S = 0.02


class Standbys:
    """The copies that one worker keeps."""

    def __init__(
        self, server: Server, plan: Plan, new_bucket: Callable[[int], Bucket], name: str, copies: int
    ) -> None:
        """`copies` of each bucket are kept by all workers together, beside its owner; `name` is this worker's."""
        self._server, self._plan, self._new_bucket = server, plan, new_bucket
        self._name, self._copies = name, copies
        self._kept: dict[int, Follower] = {}
        self._lock = threading.Lock()  # held while a copy is moved on, so that it is given away whole
        self.trouble = ""

    def take(self, number: int) -> Follower | None:
        """Give a copy away to be finished; None when there is none."""
        with self._lock:
            return self._kept.pop(number, None)

    def run(self, stop: threading.Event) -> None:
        """Follow until stopped."""
        admin, look_s = AdminClient(self._server.common()), 0.0
        credentials = Credentials(self._server, admin)
        try:
            while not stop.is_set():
                credentials.look()
                if time.monotonic() >= look_s:
                    self._look(admin)
                    look_s = time.monotonic() + LOOK_EVERY_S
                stop.wait(0.0 if self._follow() else _PAUSE_S)
        finally:
            self._let_go(list(self._kept))

    def _look(self, admin: AdminClient) -> None:
        """See who is there; begin the copies that are ours to keep, and let go of others."""
        try:
            owners = self._owners(admin)
            wanted = chosen(owners, self._name, self._copies)
            self._let_go([number for number in self._kept if number in owners and number not in wanted])
            for number in sorted(wanted - set(self._kept)):
                follower = Follower(self._server, self._plan, self._new_bucket(number), standing=True)
                with self._lock:
                    self._kept[number] = follower
            self.trouble = ""
        except (KafkaException, Lost, Unreadable, TimeoutError) as error:
            # The copies that there are go on, and it is asked again soon.
            self.trouble = (
                told(error) if isinstance(error, KafkaException) else f"{type(error).__name__}: {error}"
            )

    def _owners(self, admin: AdminClient) -> dict[int, tuple[str, frozenset[str]]]:
        """For each bucket that has an owner: its name, and the names of all that are there."""
        group = f"{self._plan.prefix}.charger"
        asked = admin.describe_consumer_groups([group], request_timeout=PATIENCE_S)
        found: Any = asked[group].result(2 * PATIENCE_S)
        if found.state is not ConsumerGroupState.STABLE:
            return {}
        names = frozenset(member.client_id for member in found.members)
        return {
            part.partition: (member.client_id, names)
            for member in found.members
            for part in member.assignment.topic_partitions
            if part.partition < self._plan.buckets
        }

    def _follow(self) -> int:
        """Move every copy on; how many messages."""
        applied, broken = 0, []
        for number in list(self._kept):
            with self._lock:
                follower = self._kept.get(number)
                if follower is None:
                    continue
                try:
                    applied += follower.poll(0.0)
                except (
                    KafkaException,
                    Unreadable,
                ) as error:  # begun again from the beginning at the next look
                    log.warning("a copy of bucket %d is given up: %s", number, error)
                    broken.append(number)
        self._let_go(broken)
        return applied

    def _let_go(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            follower = self.take(number)
            if follower is not None:
                follower.close()

    def status(self) -> dict[str, Any]:
        """Facts for people."""
        kept = dict(self._kept)
        return {
            "buckets": sorted(kept),
            "level": sorted(number for number, follower in kept.items() if follower.level),
            "octets_read": sum(follower.octets for follower in kept.values()),
            "trouble": self.trouble,
        }


def chosen(owners: dict[int, tuple[str, frozenset[str]]], name: str, copies: int) -> set[int]:
    """Buckets of which the worker of that name keeps a copy."""
    return {
        number
        for number, (owner, names) in owners.items()
        if name in sorted(names - {owner}, key=lambda each: _weight(each, number))[:copies]
    }


def _weight(name: str, bucket: int) -> bytes:
    return hashlib.blake2b(b"%d|%s" % (bucket, name.encode()), digest_size=8).digest()
