"""Kafka shut to strangers: no encryption, no account, a wrong password or no permission, and nothing is to be had."""

from __future__ import annotations

import secrets
import socket
import ssl
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from confluent_kafka.cimpl import NewTopic

from tests.cluster.conftest import Kafka
from tests.waiting import until
from trunkline.bootstrap.cluster import credentials

TOPIC = "security.usage"
PATIENCE_S = 60
FIRST = "first-password"


class Account:
    """An account with a password and, at first, no permission."""

    def __init__(self, kafka: Kafka, name: str) -> None:
        self.kafka, self.name = kafka, name
        self.admin = AdminClient(kafka.settings())
        self.set_password(FIRST)

    def set_password(self, password: str) -> None:
        """Change the password, as an operator would while everything runs."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        asked = UserScramCredentialUpsertion(self.name, info, password.encode(), secrets.token_bytes(16))
        self.admin.alter_user_scram_credentials([asked])[self.name].result(PATIENCE_S)

    def allow(self, kind: ResourceType, name: str, operation: AclOperation) -> None:
        """Give one permission."""
        binding = AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{self.name}",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for future in self.admin.create_acls([binding]).values():
            future.result(PATIENCE_S)

    def settings(self, password: str = FIRST, **other: str) -> dict[str, Any]:
        """How a client of this account comes in."""
        return {
            **self.kafka.settings(), "sasl.username": self.name, "sasl.password": password, "log_level": 0, **other
        }  # fmt: skip


@pytest.fixture
def account(three_racks: Kafka, request: pytest.FixtureRequest) -> Account:
    """An account of the test's own, and a topic."""
    made = Account(three_racks, f"flow-{request.node.name[:30]}")
    if TOPIC not in made.admin.list_topics(timeout=PATIENCE_S).topics:
        made.admin.create_topics([NewTopic(TOPIC, 3, 3)])[TOPIC].result(PATIENCE_S)
    return made


def sent(settings: dict[str, Any], value: bytes = b"1") -> KafkaError | None:
    """What became of one message: None when it is on all replicas in step."""
    outcome: list[KafkaError | None] = []
    troubles: list[KafkaError] = []
    producer = Producer(
        {
            **settings,
            "acks": "all",
            "delivery.timeout.ms": 15_000,
            "error_cb": troubles.append,
            "log_level": 0,
        }
    )

    def delivered(error: KafkaError | None, _message: Message) -> None:
        outcome.append(error)

    producer.produce(TOPIC, value, on_delivery=delivered)
    producer.flush(PATIENCE_S)
    refused = [trouble for trouble in troubles if trouble.code() == KafkaError._AUTHENTICATION]
    return refused[0] if refused else outcome[0]


def test_a_client_without_encryption_is_refused(three_racks: Kafka) -> None:
    """A client that speaks plaintext hears nothing, not even which topics there are."""
    admin = AdminClient({"bootstrap.servers": three_racks.bootstrap_servers, "log_level": 0})
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=5)


def test_a_broker_that_is_not_ours_is_refused(three_racks: Kafka) -> None:
    """A client that trusts other authorities does not hand its password to our port, nor to any other's."""
    settings = three_racks.settings()
    del settings["ssl.ca.location"]
    admin = AdminClient({**settings, "log_level": 0})
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=5)


def test_a_wrong_password_is_refused(account: Account) -> None:
    """An account that exists, and a password that is not its own."""
    error = sent(account.settings("wrong-password"))
    assert error is not None
    assert error.code() == KafkaError._AUTHENTICATION


def test_without_a_permission_nothing_is_read_or_written(account: Account) -> None:
    """Being let in is not being allowed; each permission opens one thing and no other."""
    error = sent(account.settings())
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    account.allow(ResourceType.TOPIC, TOPIC, AclOperation.WRITE)
    until(lambda: sent(account.settings()) is None, "who may write does", 60)
    reader = Consumer({**account.settings(), "group.id": "security.readers", "auto.offset.reset": "earliest"})
    reader.subscribe([TOPIC])
    codes: list[int] = []

    def refused() -> bool:
        try:
            message = reader.poll(0.5)
        except KafkaException as trouble:
            codes.append(trouble.args[0].code())
        else:
            if message is not None and message.error() is not None:
                codes.append(message.error().code())  # type: ignore[union-attr]
            assert message is None or message.error() is not None, "it read without a permission"
        return bool(codes)

    until(refused, "reading is refused", 60)
    reader.close()
    denied = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}
    assert codes[0] in denied


def test_a_password_is_changed_while_everything_runs(account: Account) -> None:
    """From the change on the old password opens nothing and the new one does; no broker is started again."""
    account.allow(ResourceType.TOPIC, TOPIC, AclOperation.WRITE)
    until(lambda: sent(account.settings()) is None, "the first password is good", 60)
    before = [each.pid for each in account.kafka.cluster.status()]
    account.set_password("second-password")
    until(lambda: sent(account.settings("second-password")) is None, "the second is good", 60)
    until(lambda: sent(account.settings()) is not None, "the first is good no more", 60)
    assert [each.pid for each in account.kafka.cluster.status()] == before


def shown_serial(port: int, ca_file: str) -> str:
    """Serial number of the certificate that a port shows now."""
    context = ssl.create_default_context(cafile=ca_file)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        certificate = secure.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_a_certificate_is_changed_while_everything_runs(three_racks: Kafka) -> None:
    """A broker told to look at its file again shows the new certificate to whoever comes; it is not started again."""
    place = three_racks.cluster.place("kafka-1")
    ca_file = str(credentials.authority(place.secrets))
    before = shown_serial(place.port("client"), ca_file)
    pids = [each.pid for each in three_racks.cluster.status()]
    fresh = credentials.issue(place.secrets, "kafka-1.pem", "broker")
    told = ConfigEntry(
        "listener.name.client.ssl.keystore.location", str(fresh), incremental_operation=AlterConfigOpType.SET
    )
    kind = ConfigEntry(
        "listener.name.client.ssl.keystore.type", "PEM", incremental_operation=AlterConfigOpType.SET
    )
    admin = AdminClient(three_racks.settings())
    resource = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=[told, kind])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(PATIENCE_S)
    until(lambda: shown_serial(place.port("client"), ca_file) != before, "the new certificate is shown", 60)
    assert [each.pid for each in three_racks.cluster.status()] == pids
    AdminClient(three_racks.settings()).list_topics(timeout=PATIENCE_S)


def test_a_rack_dies_and_work_goes_on(three_racks: Kafka, account: Account) -> None:
    """What two of three racks have acknowledged is not lost; writing goes on without the third."""
    account.allow(ResourceType.TOPIC, TOPIC, AclOperation.WRITE)
    until(lambda: sent(account.settings()) is None, "it may write", 60)
    producer = Producer({**account.settings(), "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    taken: list[bytes] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            taken.append(message.value() or b"")

    for number in range(3000):
        producer.produce(TOPIC, b"rack-%d" % number, on_delivery=delivered)
        producer.poll(0)
        if number == 1000:
            three_racks.kill("kafka-2")
    producer.flush(120)
    assert len(taken) == 3000, "all were taken, with one rack gone"
    three_racks.up()
    reader = Consumer(
        {**three_racks.settings(), "group.id": "security.look", "auto.offset.reset": "earliest",
         "enable.auto.commit": False}
    )  # fmt: skip
    reader.subscribe([TOPIC])
    found: list[bytes] = []

    def all_there() -> bool:
        found.extend(
            each.value() or b"" for each in reader.consume(1000, 0.5)
            if each.error() is None and (each.value() or b"").startswith(b"rack-")
        )  # fmt: skip
        return len(found) >= 3000

    until(all_there, "all are there", 120)
    reader.close()
    assert sorted(found) == sorted(taken), "none twice, none lost"
