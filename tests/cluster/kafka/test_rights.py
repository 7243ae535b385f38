"""What each principal may do on brokers that let nobody do anything unless it is allowed: what the map says."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, small_day
from tests.waiting import until
from trunkline.engines.kafka.client import Lost, Server, consumer, producer
from trunkline.engines.kafka.rights import grant, rights
from trunkline.records import charging, usage

PRINCIPALS = {
    "engine": "worker", "reader": "analyst", usage.RAW.name: "mediation", charging.MOVEMENTS.name: "till",
    charging.SUBSCRIBERS.name: "crm",
}  # fmt: skip
COPIES = 3


@dataclass(frozen=True)
class Secured:
    """A day on brokers with passwords and permissions, and how each principal comes to them."""

    day: Day
    settings: dict[str, str]
    passwords: dict[str, str]

    def server(self, principal: str) -> Server:
        """The brokers as a principal sees them."""
        known = {**self.settings, "sasl.username": principal, "sasl.password": self.passwords[principal]}
        brokers = known.pop("bootstrap.servers")
        return Server(brokers, lambda: {**known, "sasl.password": self.passwords[principal]})


def with_password(settings: Mapping[str, str], principal: str, password: str) -> None:
    """Give an account a password, or another one."""
    admin = AdminClient({**settings})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    asked = admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(principal, info, password.encode())]
    )
    for future in asked.values():
        future.result(30)


@pytest.fixture(scope="module")
def secured(three_racks: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """Three brokers in three racks, a day's topics with three copies, and an account for each principal."""
    settings = {name: str(value) for name, value in three_racks.settings().items()}
    operator = small_day(tmp_path_factory.mktemp("secured") / "operator", 60, 4)
    day = Day.made(operator, three_racks.settings(), "secured", copies=COPIES)
    passwords = {principal: secrets.token_urlsafe(16) for principal in PRINCIPALS.values()}
    for principal, password in passwords.items():
        with_password(settings, principal, password)
    grant(day.server, rights(day.plan, PRINCIPALS))
    return Secured(day, settings, passwords)


def refused(act: Callable[[], object], code: int) -> None:
    """The brokers answer with that refusal."""
    with pytest.raises(KafkaException) as caught:
        act()
    assert caught.value.args[0].code() == code, caught.value


def sent(server: Server, topic: str) -> None:
    """Write one message; raises what became of it."""
    told: list[KafkaError | None] = []
    sender = Producer({**server.common(), "acks": "all", "message.timeout.ms": 20_000})
    sender.produce(topic, b"x", on_delivery=lambda error, _message: told.append(error))
    sender.flush(30)
    if told[0] is not None:
        raise KafkaException(told[0])


def read(server: Server, topic: str, group: str) -> None:
    """Read from a topic; raises a refusal."""
    reader = consumer(server, group, {"enable.partition.eof": True})
    try:
        unseen = reader.list_topics(topic, 30).topics[topic].error
        if unseen is not None:
            raise KafkaException(unseen)
        reader.assign([TopicPartition(topic, 0, 0)])
        for message in reader.consume(1, 20.0):
            trouble = message.error()
            if trouble is not None and trouble.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(trouble)
    finally:
        reader.close()


def joined(server: Server, topic: str, group: str) -> None:
    """Read a topic as a member of a group; raises a refusal.

    A member gets nothing before its group has taken it in, whereas one who chose its own partition may be given a
    record or the partition's end before it hears what its group is refused.
    """
    reader = consumer(server, group, {"enable.partition.eof": True, "auto.offset.reset": "earliest"})
    try:
        reader.subscribe([topic])
        (first,) = reader.consume(1, 60.0)
        trouble = first.error()
        if trouble is not None and trouble.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(trouble)
    finally:
        reader.close()


def test_each_may_do_what_the_map_says(secured: Secured) -> None:
    """A source may write its own stream and no other, an analyst may read results and write nothing."""
    plan = secured.day.plan
    raw, work, charged = plan.topic(usage.RAW), plan.work, plan.topic(charging.CHARGED)
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED

    def allowed() -> bool:  # a new password and a new right reach every broker in their own time
        try:
            sent(secured.server("till"), plan.topic(charging.MOVEMENTS))
        except KafkaException:
            return False
        return True

    until(allowed, "the till may write its own stream")
    refused(lambda: sent(secured.server("till"), raw), denied)
    refused(lambda: sent(secured.server("mediation"), work), denied)
    refused(lambda: sent(secured.server("mediation"), charged), denied)
    refused(lambda: sent(secured.server("analyst"), charged), denied)
    refused(lambda: read(secured.server("mediation"), charged, "any"), denied)
    refused(lambda: read(secured.server("till"), charged, "secured.till.1"), denied)
    read(secured.server("analyst"), charged, "secured.analyst.1")
    joined(secured.server("analyst"), charged, "secured.analyst.2")
    refused(lambda: joined(secured.server("analyst"), charged, "any"), KafkaError.GROUP_AUTHORIZATION_FAILED)
    with pytest.raises(Lost, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        producer(secured.server("analyst"), "secured.charger.thief", 10.0)


def test_strangers_are_refused(secured: Secured) -> None:
    """A wrong password and a client without TLS get nothing, not even a list of topics."""
    wrong = secured.settings | {"sasl.username": "worker", "sasl.password": "guessed"}
    plain = {"bootstrap.servers": secured.settings["bootstrap.servers"]}
    for settings in (wrong, plain):
        with pytest.raises(KafkaException):
            AdminClient({**settings}).list_topics(timeout=8)


@pytest.mark.timeout(600)
def test_a_worker_with_only_its_rights(secured: Secured) -> None:
    """What the map gives the engine is enough to charge a day, on three copies; its password may change meanwhile."""
    day = secured.day
    lines = b"".join(part.read_bytes() for part in sorted((day.operator / "cdrs").iterdir()))
    day.enrol()
    weak = Day(day.operator, secured.server("worker"), day.plan)
    with weak.running("secured-worker") as (worker,):
        day.enrolled(180)
        half = lines[: lines.index(b"\n", len(lines) // 2) + 1]
        day.hand_in(half, 100)
        day.drained(half.count(b"\n"), 180)
        secured.passwords["worker"] = secrets.token_urlsafe(16)
        with_password(secured.settings, "worker", secured.passwords["worker"])
        day.hand_in(lines[len(half) :], 100)
        day.drained(lines.count(b"\n"), 180)
        assert worker.last_trouble == "" or "AUTHENTICATION" in worker.last_trouble
