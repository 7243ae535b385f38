"""Accounts that are told in packs and settled in rows: the newest is answered, whatever came when, whoever died."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
from confluent_kafka import Producer

from tests.cluster.cassandra.conftest import contact
from tests.cluster.conftest import Cassandra, Kafka
from tests.waiting import until
from trunkline.bootstrap import balance_delivery
from trunkline.bootstrap.balance_delivery import BalanceDelivery
from trunkline.bootstrap.kafka import plan_of
from trunkline.engines import wire
from trunkline.engines.kafka import topics
from trunkline.engines.kafka.client import Server
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ACCOUNTS
from trunkline.stores.cassandra.accounts import Accounts
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.reader import CassandraReader

SEED = 20261123
PEOPLE = [4477008_00000 + at for at in range(300)]


def groups_of(people: list[int], number: int) -> Grouped:
    """What a commit made of some accounts: as many rows as its number, up to three, that tell the commit."""
    each = 1 + number % 3
    rows = np.zeros(each * len(people), ACCOUNTS.dtype)
    rows.view(np.uint8)[:] = number % 251
    return Grouped(
        np.array(sorted(people), np.uint64), np.arange(len(people) + 1, dtype=np.int64) * each, rows
    )


def now_us() -> int:
    """Now (us UTC)."""
    return time.time_ns() // 1000


def test_the_newest_commit_is_answered(connection: Connection) -> None:
    """Packs and rows of thirty commits in any order, some of them twice: of each account the newest counts."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    accounts = Accounts(connection)
    accounts.begin({0: now_us()})
    newest: dict[int, int] = {}
    commits = []
    for number in range(30):
        people = chance.sample(PEOPLE, 40)
        newest |= dict.fromkeys(people, number)
        commits.append((number, people))
    again = commits + chance.sample(commits, 10)
    chance.shuffle(again)
    for at, (number, people) in enumerate(again):
        groups, numbers = groups_of(people, number), np.full(len(people), number, np.int64)
        if at % 3:
            accounts.tell(groups, numbers, now_us(), 0)
        else:
            accounts.settle(groups, numbers)
    for person in PEOPLE:
        found = accounts.read(person, now_us())
        wanted = groups_of([person], newest[person]).rows if person in newest else b""
        assert found.tobytes() == bytes(wanted), person


def test_what_was_told_and_not_settled_is_told_again(
    kafka: Kafka, cassandra: Cassandra, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who delivers dies with all told and nothing settled: it is readable all the time, and listed in the end."""
    server, plan = Server(kafka.bootstrap_servers), plan_of("packs", 2)
    topics.make(server, topics.topics(plan, 1, 1), 1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number in range(1, 9):
        for value in wire.changes_out(groups_of(PEOPLE[number::2], number), number):
            producer.produce(plan.changelog(ACCOUNTS), value, partition=number % 2)
    producer.flush(30)
    reader = CassandraReader(connection)

    def readable() -> bool:
        wanted = [groups_of([person], 8 - (at + 8) % 2).rows for at, person in enumerate(PEOPLE[9:], 9)]
        return [reader.account(person).tobytes() for person in PEOPLE[9:]] == [
            each.tobytes() for each in wanted
        ]

    with monkeypatch.context() as patched:
        patched.setattr(balance_delivery, "GATHERED_S", 3600.0)
        patched.setattr(balance_delivery, "QUIET_S", 3600.0)
        patched.setattr(BalanceDelivery, "end", lambda _self, _reader: None)  # as the dead do
        stop = threading.Event()
        dying = BalanceDelivery(server, plan, lambda: Connection(contact(cassandra)))
        thread = threading.Thread(target=dying.run, args=(stop,))
        thread.start()
        try:
            until(readable, "all of it is told", 60, 0.2)
        finally:
            stop.set()
            thread.join()
    assert dying.delivered.messages == 0
    assert reader.subscribers(0, 1000) == []
    assert readable()
    stop = threading.Event()
    heir = BalanceDelivery(server, plan, lambda: Connection(contact(cassandra)))
    thread = threading.Thread(target=heir.run, args=(stop,))
    thread.start()
    try:
        until(lambda: heir.delivered.messages == 8, "all of it is settled", 60, 0.2)
    finally:
        stop.set()
        thread.join()
    assert reader.subscribers(0, 1000) == PEOPLE[1:]
    assert readable()
