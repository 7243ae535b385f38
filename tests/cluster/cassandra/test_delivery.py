"""From topics into Cassandra, with a real broker and a real node that dies: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cassandra.cluster import NoHostAvailable
from confluent_kafka import Producer

from tests.cluster.cassandra.conftest import contact
from tests.cluster.conftest import Cassandra, Kafka
from tests.contract import test_ports as contract
from tests.contract.test_ports import EVER
from tests.waiting import until
from trunkline.bootstrap.balance_delivery import deliver
from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.delivery import Delivery
from trunkline.bootstrap.kafka import plan_of
from trunkline.bootstrap.platform import Platform, opened
from trunkline.bootstrap.serve import MONEY
from trunkline.engines import wire
from trunkline.engines.embedded.intake import EngineIntake
from trunkline.engines.embedded.sources import LiveSources
from trunkline.engines.kafka import topics
from trunkline.engines.kafka.client import Server
from trunkline.engines.plan import Plan
from trunkline.kernel.flow import Stream
from trunkline.ports import Commit, Intake, Refused
from trunkline.records.charging import ACCOUNTS, ALERTS, CHARGED, ENTRIES, MOVEMENTS
from trunkline.records.usage import HELD, RAW, REJECTED
from trunkline.settings import Folders
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection, Contact, Unreachable
from trunkline.stores.cassandra.reader import CassandraReader
from trunkline.stores.embedded.reader import EmbeddedReader

SEED = 20261122
KILLS = int(os.environ.get("TRUNKLINE_TEST_KILLS", "3"))  # of Cassandra, each at a moment drawn from the seed
LONGEST_PAUSE_S = 1.5  # from a batch to the kill: before, while or after it is written
PEOPLE = [f"4477009{number:05d}" for number in range(40)]
RESULTS: dict[str, Stream] = {stream.name: stream for stream in (CHARGED, ENTRIES, ALERTS, REJECTED, HELD)}


class Topics:
    """Puts an embedded engine's commits on topics as the engine of a cluster does: a transaction a commit."""

    def __init__(self, server: Server, plan: Plan, name: str) -> None:
        self._plan = plan
        self._producer = Producer({**server.common(), "transactional.id": name, "linger.ms": 1})
        self._producer.init_transactions(30)
        self._sums: dict[str, list[int]] = {}
        self.sent = 0
        self.last_commit = 0  # of the engine's, all of whose messages are in `sent`

    def begin(self, reader: EmbeddedReader) -> None:
        """What was there before the first commit that is seen."""
        messages = [
            (self._plan.changelog(ACCOUNTS), value, b"") for value in wire.changes_out(reader.accounts(), 0)
        ]
        for frame in reader.scan(ENTRIES, *EVER):
            messages += [(self._plan.topic(ENTRIES), value, b"") for value in wire.rows_out(frame)]
        self._send(messages)
        self.last_commit = reader.status()["commits"]

    def __call__(self, commit: Commit) -> None:
        """Send one commit."""
        messages: list[tuple[str, bytes, bytes]] = []
        for state, groups in commit.states:
            if state is ACCOUNTS:
                messages += [
                    (self._plan.changelog(ACCOUNTS), v, b"") for v in wire.changes_out(groups, commit.number)
                ]
        for name, frame in commit.frames.items():
            if name in RESULTS:
                rows = RESULTS[name].record.conform(frame)
                messages += [(self._plan.topic(RESULTS[name]), value, b"") for value in wire.rows_out(rows)]
        orders = [{**vars(each[0]), "seq": each[1]} for each in commit.movements]
        if orders:
            rows = MOVEMENTS.record.conform(pl.DataFrame(orders))
            messages += [(self._plan.topic(MOVEMENTS), value, b"") for value in wire.rows_out(rows)]
        for movement, _, status, reason in commit.movements:
            answer = {"movement_id": movement.movement_id, "status": status, "reason": reason}
            messages.append((self._plan.answers, wire.progress_out(answer), b""))
        for count in commit.counts:
            sums = self._sums.setdefault(count.source, [0] * 6)
            for at, part in enumerate(count.sums):
                sums[at] += part
        told = {"commit": commit.number, "accounts": self._sums}
        messages.append((self._plan.progress, wire.progress_out(told), b"bucket|0"))
        self._send(messages)
        self.last_commit = commit.number

    def _send(self, messages: list[tuple[str, bytes, bytes]]) -> None:
        self._producer.begin_transaction()
        for topic, value, key in messages:
            self._producer.produce(topic, value, key, 0)
        self._producer.commit_transaction(30)
        self.sent += len(messages)


@dataclass
class World:
    """An engine whose commits are on topics, and what delivers them."""

    platform: Platform
    intake: Intake
    sent: Topics
    roles: list[Delivery]
    embedded: EmbeddedReader
    stop_delivering: Callable[[], None]

    def delivered(self) -> bool:
        """Whether every commit of the engine was sent, and everything that was sent has arrived."""
        if self.sent.last_commit < self.embedded.status()["commits"]:
            return False
        return sum(role.delivered.messages for role in self.roles) >= self.sent.sent


@contextmanager
def world(
    kafka: Kafka, cassandra: Cassandra, folder: Path, name: str, who: Contact | None = None
) -> Iterator[World]:
    """Topics of their own, an engine, and delivery in its threads."""
    server, plan = Server(kafka.bootstrap_servers), plan_of(name, 1)
    topics.make(server, topics.topics(plan, 1, 1), 1)
    stop, enough = threading.Event(), threading.Event()
    roles, wait = deliver(server, plan, lambda: Connection(who or contact(cassandra)), enough)

    def stop_delivering() -> None:
        enough.set()
        wait()

    tariffs = contract.tariff_folder(folder)
    people = "".join(f"{number},payg,{1 + at % 7}.00\n" for at, number in enumerate(PEOPLE))
    (tariffs / "subscribers.csv").write_text(f"subscriber,plan,balance\n{people}")
    try:
        with opened(Folders(data=folder / "data", tariffs=str(tariffs))) as platform:
            embedded = EmbeddedReader(folder / "data")
            sent = Topics(server, plan, f"{name}.engine")
            sent.begin(embedded)
            platform.engine.listeners.append(sent)
            sources = LiveSources(platform.store, platform.store.disk, [], platform.mappings.__getitem__)
            driving = threading.Thread(target=platform.engine.drive, args=(sources, stop))
            driving.start()
            intake = EngineIntake(platform.engine, MONEY, sources, most_unread_octets=1 << 24)
            try:
                yield World(platform, intake, sent, roles, embedded, stop_delivering)
            finally:
                stop.set()
                driving.join()
    finally:
        stop_delivering()


def lines(chance: random.Random, first: int, count: int) -> bytes:
    """Usage of many people, with some records twice, some changed, and some rubbish."""
    found = []
    for number in range(first, first + count):
        name = f"r{number if chance.random() > 0.1 else chance.randrange(max(1, number))}"
        called = "447700900009" if chance.random() > 0.03 else "12"
        found.append(contract.call(name, chance.randrange(1, 60) * 1000, called, chance.choice(PEOPLE)))
    return b"".join(found)


def same(world: World, served: CassandraReader) -> None:
    """Everything that can be asked of both is answered alike."""
    embedded = world.embedded
    assert served.accounting() == embedded.accounting()
    people = embedded.subscribers(0, 1000)
    assert served.subscribers(0, 1000) == people
    for subscriber in people:
        assert served.account(subscriber).tobytes() == embedded.account(subscriber).tobytes()
        asked: tuple[Any, ...] = (subscriber, *EVER, 100_000)
        assert served.usage(*asked).equals(embedded.usage(*asked))
        assert served.entries(*asked).equals(embedded.entries(*asked))
    told, known = served.alerts(0, 100_000), embedded.alerts(0, 100_000)
    assert sorted(told["alert_id"].to_list()) == sorted(known["alert_id"].to_list())
    assert told["number"].is_sorted()
    assert told["number"].n_unique() == len(told)
    assert len(served.rejects(None, 100_000)) == len(embedded.rejects(None, 100_000))
    assert len(served.held(100_000)) == len(embedded.held(100_000))


def rows_in(connection: Connection, stream: Stream) -> int:
    """How many rows the pages of a table have, counted by the database."""
    table = tables.HISTORY_TABLES[stream.name]
    return int(connection.session.execute(f"SELECT sum(count) FROM {table.name}", timeout=60).one()[0])


def deliverer(administrator: Connection, folder: Path) -> Contact:
    """An account that may deliver and nothing more."""
    known = administrator.contact
    ask = administrator.session.execute
    ask(
        "CREATE ROLE IF NOT EXISTS delivering WITH LOGIN = true AND PASSWORD = %s",
        ("first-password",),
        timeout=60,
    )
    for right in ("SELECT", "MODIFY"):
        ask(f"GRANT {right} ON KEYSPACE {known.keyspace} TO delivering", timeout=60)
    file = credentials.keep(folder / "delivering.password", "first-password")
    made = Contact(**{**vars(known), "user": "delivering", "password_file": file})

    def let_in() -> bool:
        try:
            Connection(made).close()
        except Refused:
            return False
        return True

    until(let_in, "the account is known", 60, 0.5)
    return made


def change_password(administrator: Connection, who: Contact, password: str) -> None:
    """At the nodes first, which let it be changed every few seconds only, and then in the file."""

    def changed() -> bool:
        try:
            administrator.session.execute(
                f"ALTER ROLE {who.user} WITH PASSWORD = %s", (password,), timeout=60
            )
        except NoHostAvailable:
            return False
        return True

    until(changed, "it may be changed", 120, 1.0)
    credentials.keep(who.password_file, password)


@pytest.mark.timeout(1800)
def test_a_node_that_dies_costs_nothing(
    kafka: Kafka, cassandra: Cassandra, connection: Connection, tmp_path: Path
) -> None:
    """`kill -9` of Cassandra at random moments while usage is delivered: in the end nothing is missing or double.

    Meanwhile the password of those who deliver is changed: they come back after the kill with the new one.
    """
    print(f"seed {SEED}")
    chance, pause = random.Random(SEED), threading.Event()
    as_deliverer = deliverer(connection, tmp_path)
    with world(kafka, cassandra, tmp_path, "killed", as_deliverer) as running:
        change_password(connection, as_deliverer, "second-password")
        count = 0
        for kill in range(KILLS):
            batches = chance.randrange(4, 9)
            fatal = chance.randrange(batches)
            for batch in range(batches):
                running.intake.usage("trunkline", lines(chance, count, 250))
                running.intake.move([contract.topup(f"t{kill}.{batch}", batch + 1)])
                count += 250
                if batch == fatal:
                    pause.wait(chance.uniform(0.0, LONGEST_PAUSE_S))
                    cassandra.kill()
                    with pytest.raises(Unreachable):  # also what is asked for the first time
                        connection.prepared(f"SELECT value FROM @meta WHERE name = '{kill}'")
            contract_charged(running, count)
            cassandra.up()
        until(running.delivered, "everything sent is delivered", 180)
        assert sum(role.delivered.waits + role.delivered.lives - 1 for role in running.roles) > 0, (
            "it was noticed"
        )
        served = CassandraReader(connection)
        same(running, served)
        rated = sum(row.rated for row in running.embedded.accounting())
        assert rows_in(connection, CHARGED) == rated
        assert rows_in(connection, ENTRIES) == running.embedded.status()["streams"][ENTRIES.name]["rows"]


def contract_charged(running: World, count: int) -> None:
    """Wait until so many records came out of the flow."""
    until(
        lambda: sum(row.received for row in running.embedded.accounting()) >= count,
        f"{count} records are counted",
    )


def test_everything_again_changes_nothing(
    kafka: Kafka, cassandra: Cassandra, connection: Connection, tmp_path: Path
) -> None:
    """Delivered a second time from the beginning, by others and while the first go on, nothing is there twice."""
    chance = random.Random(SEED + 1)
    with world(kafka, cassandra, tmp_path, "again") as running:
        for batch in range(4):
            running.intake.usage("trunkline", lines(chance, batch * 250, 250))
        contract_charged(running, 1000)
        until(running.delivered, "everything sent is delivered")
        alerts = CassandraReader(connection).alerts(0, 100_000)
        assert len(alerts)
        server, plan = Server(kafka.bootstrap_servers), plan_of("again", 1)
        again = [type(role)(server, plan, lambda: Connection(contact(cassandra))) for role in running.roles]
        stop = threading.Event()
        for role in again:
            role.group = f"again.{role.role}"
        threads = [threading.Thread(target=role.run, args=(stop,)) for role in again]
        for thread in threads:
            thread.start()
        running.intake.usage("trunkline", lines(chance, 1000, 250))
        contract_charged(running, 1250)
        until(running.delivered, "everything sent is delivered")
        until(
            lambda: sum(role.delivered.messages for role in again) >= running.sent.sent,
            "everything came again",
        )
        stop.set()
        for thread in threads:
            thread.join()
        served = CassandraReader(connection)
        same(running, served)
        assert served.alerts(0, len(alerts)).equals(alerts)
        assert rows_in(connection, CHARGED) == sum(row.rated for row in running.embedded.accounting())


def test_a_message_that_nobody_can_read_is_set_aside(
    kafka: Kafka, cassandra: Cassandra, connection: Connection, tmp_path: Path
) -> None:
    """It waits for a person with its octets and its reason, and what comes behind it is delivered."""
    with world(kafka, cassandra, tmp_path, "unread") as running:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        plan = plan_of("unread", 1)
        producer.produce(plan.topic(CHARGED), b"\xff\xff\xff\xffnothing", partition=0)
        producer.produce(plan.changelog(ACCOUNTS), b"nothing", partition=0)
        producer.produce(plan.undigested, b"{poison", partition=0, headers=[("reason", b"poison: it broke")])
        producer.flush(30)
        running.intake.usage("trunkline", contract.call("a", 60_000, subscriber=PEOPLE[0]))
        contract_charged(running, 1)
        served = CassandraReader(connection)
        until(lambda: len(served.held(10)) == 3, "three messages are set aside")
        assert "poison: it broke" in served.held(10)["reason"].to_list()
        assert set(served.held(10)["raw"]) == {b"\xff\xff\xff\xffnothing", b"nothing", b"{poison"}
        until(lambda: len(served.usage(None, *EVER, 10)) == 1, "what came behind is there")


def test_a_rejected_record_is_shown_with_its_octets(
    kafka: Kafka, cassandra: Cassandra, connection: Connection, tmp_path: Path
) -> None:
    """The octets come from the edge topic, by the record's place in it."""
    with world(kafka, cassandra, tmp_path, "octets"):
        plan = plan_of("octets", 1)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        wrong = b'{"id":"z","called":"12"}'
        producer.produce(plan.topic(RAW), b"first", partition=0)
        producer.produce(
            plan.topic(RAW), b"12345" + wrong + b"\n", partition=0, headers=[("mapping", b"trunkline")]
        )
        producer.flush(30)
        rows = pl.DataFrame({
            "file": [0, 0], "line": [1, 9], "offset": [(1 << 24) + 5, 99 << 24], "length": [len(wrong), 3],
            "source": ["x", "x"], "reason": ["bad_number", "bad_time"],
        })  # fmt: skip
        for value in wire.rows_out(REJECTED.record.conform(rows)):
            producer.produce(plan.topic(REJECTED), value, partition=0)
        producer.flush(30)
        served = CassandraReader(connection)
        until(lambda: len(served.rejects(None, 10)) == 2, "both are set aside")
        shown = served.rejects(None, 10)
        assert shown["raw"].to_list() == [wrong, None]
        assert shown["mapping"].to_list() == ["trunkline", None]
        assert shown["path"][0] == f"{plan.topic(RAW)}/0"
