"""A site is lost: what MirrorMaker 2 brought to the second one is served from there, and then from the first anew."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.cluster.cassandra.conftest import contact
from tests.cluster.cassandra.test_delivery import World, contract_charged, lines, same, world
from tests.cluster.conftest import Cassandra, Kafka
from tests.cluster.mirror.conftest import Site, mirror
from tests.waiting import until
from trunkline.bootstrap.balance_delivery import deliver
from trunkline.bootstrap.kafka import plan_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.plan import Plan
from trunkline.records.charging import CHARGED
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.reader import CassandraReader

SEED = 20261123
NAME = "mirrored"


@pytest.fixture
def connection(cassandra: Cassandra) -> Connection:
    """Empty tables in the tests' keyspace."""
    made = Connection(contact(cassandra), make=True)
    for table in tables.TABLES:
        if table is not tables.META_TABLE:
            made.session.execute(f"TRUNCATE {table.name}", timeout=60)
    return made


def committed(kafka: Kafka, plan: Plan) -> int:
    """How many committed messages the results of a plan have, read to their end."""
    reader = Consumer(
        {**kafka.settings(), "group.id": "look", "auto.offset.reset": "earliest", "isolation.level": "read_committed",
         "enable.partition.eof": True, "enable.auto.commit": False}
    )  # fmt: skip
    names = [plan.topic(CHARGED), plan.answers, plan.progress]
    known = AdminClient(kafka.settings()).list_topics(timeout=30).topics
    reader.assign([TopicPartition(name, 0, 0) for name in names if name in known])
    found, ended = 0, 0
    while ended < len([name for name in names if name in known]):
        for message in reader.consume(500, 1.0):
            if message.error() is None:
                found += 1
            else:
                ended += 1
    reader.close()
    return found


def position(kafka: Kafka, plan: Plan) -> int:
    """Where the deliverers' group stands in the topic of charged usage; below zero while nobody knows."""
    reader = Consumer(
        {**kafka.settings(), "group.id": f"{plan.prefix}.cassandra.history", "enable.auto.commit": False}
    )
    try:
        (held,) = reader.committed([TopicPartition(plan.topic(CHARGED), 0)], timeout=30)
        return int(held.offset)
    except KafkaException:
        return -1  # the group's coordinator is not ready
    finally:
        reader.close()


def served_from(
    kafka: Kafka, cassandra: Cassandra, plan: Plan, running: World, connection: Connection
) -> None:
    """Deliver from a site until everything is answered as the engine knows it."""
    stop = threading.Event()
    _, wait = deliver(Server(kafka.bootstrap_servers), plan, lambda: Connection(contact(cassandra)), stop)
    try:
        served = CassandraReader(connection)
        until(lambda: served.accounting() == running.embedded.accounting(), "the accounting has come", 240)
        rated = sum(row.rated for row in running.embedded.accounting())
        table = tables.HISTORY_TABLES[CHARGED.name].name
        until(
            lambda: connection.session.execute(f"SELECT sum(count) FROM {table}", timeout=60).one()[0] == rated,
            "the usage has come", 240, 1.0,
        )  # fmt: skip
        people = running.embedded.subscribers(0, 1000)
        until(lambda: served.subscribers(0, 1000) == people, "the accounts are settled", 240, 1.0)
        until(
            lambda: len(served.rejects(None, 10_000)) == len(running.embedded.rejects(None, 10_000))
            and len(served.held(10_000)) == len(running.embedded.held(10_000)),
            "what was set aside has come", 240, 1.0,
        )  # fmt: skip
        same(running, served)
    finally:
        stop.set()
        wait()


@pytest.mark.timeout(1800)
def test_a_lost_site_is_served_from_the_other_and_back(
    site: Site, cassandra: Cassandra, connection: Connection, tmp_path: Path
) -> None:
    """Everything mirrored before the loss is delivered from the second site, from where the groups stood."""
    chance = random.Random(SEED)
    plan = plan_of(NAME, 1)
    first = site("first")
    second = site("second")
    mirror(first, second, NAME)
    with world(first, cassandra, tmp_path, NAME) as running:
        running.intake.usage("trunkline", lines(chance, 0, 500))
        contract_charged(running, 500)
        until(running.delivered, "the first half is delivered", 240)
        until(lambda: position(second, plan) > 0, "the second site knows where the groups stand", 240, 1.0)
        running.stop_delivering()
        for part in range(4):
            running.intake.usage("trunkline", lines(chance, 500 + 125 * part, 125))
        contract_charged(running, 1000)
        sent = committed(first, plan)
        until(lambda: committed(second, plan) >= sent, "the mirror has everything", 240, 1.0)
        second.cluster.kill("mirror")
        first.kill("kafka")
        assert position(second, plan) > 0
        served_from(second, cassandra, plan, running, connection)
        anew = site("anew")  # the first site comes back empty
        mirror(second, anew, NAME)
        until(lambda: committed(anew, plan) >= sent, "the first site has everything again", 240, 1.0)
        for table in tables.TABLES:
            if table is not tables.META_TABLE:
                connection.session.execute(f"TRUNCATE {table.name}", timeout=60)
        anew.cluster.kill("mirror")
        second.kill("kafka")
        reset(anew, plan)
        served_from(anew, cassandra, plan, running, connection)


def reset(kafka: Kafka, plan: Plan) -> None:
    """Let the groups of the deliverers begin again, as for a Cassandra that is empty."""
    admin = AdminClient(kafka.settings())
    names = [f"{plan.prefix}.cassandra.{role}" for role in ("balances", "history")]
    known = {each.group_id for each in admin.list_consumer_groups().result(30).valid}
    wanted = [name for name in names if name in known]
    for future in (admin.delete_consumer_groups(wanted) if wanted else {}).values():
        future.result(30)
