"""Brokers of one's own are prepared by a command: shown before it is done, done once, and enough for each account."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from typer.testing import CliRunner

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day
from tests.cluster.kafka.test_rights import refused, sent
from tests.cluster.test_end_to_end import process
from tests.waiting import until
from trunkline import settings
from trunkline.bootstrap.brokers import wish_of
from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.kafka import client_properties
from trunkline.bootstrap.schemas import declare
from trunkline.cli import app
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.registry import Registry, subject_of
from trunkline.engines.kafka.rights import Right, grant, held
from trunkline.engines.schemas.frames import encoder, framed
from trunkline.engines.schemas.shapes import Kind, event
from trunkline.records import charging, usage
from trunkline.records.events import USAGE_EVENT
from trunkline.settings import Kafka as KafkaSettings

NAME = "prepared"
PRINCIPALS = {
    "engine": "prepared-worker", "server": "prepared-serve", "exchange": "prepared-door",
    "usage.raw": "prepared-mediation", "usage.event": "prepared-sensor", "consumer": "prepared-partner",
}  # fmt: skip
ROLES = [word for role, account in PRINCIPALS.items() for word in ("--for", f"{role}={account}")]


@dataclass(frozen=True)
class Desk:
    """An administrator at a command line."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, code: int = 0) -> Any:
        """What `trunkline cluster WORDS --json` answers."""
        done = CliRunner().invoke(app, ["cluster", *words, "--json"], env=self.environment)
        found = 0 if done.exception is None else getattr(done.exception, "code", 3)
        assert found == code, (done.output, done.exception)
        return orjson.loads(done.stdout.splitlines()[0]) if done.stdout else None

    @property
    def chosen(self) -> KafkaSettings:
        """The settings."""
        return settings.read(KafkaSettings, self.environment)

    def server(self, account: str) -> Server:
        """The brokers as an account sees them, by the files that were made for it."""
        path = self.folder / "accounts" / f"{account}.properties"
        return Server(self.chosen.kafka_brokers, lambda: client_properties(path))


@pytest.fixture(scope="module")
def desk(three_racks: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The administrator's settings, in a file of their own."""
    return administrator(three_racks, tmp_path_factory.mktemp("desk"), NAME)


def administrator(three_racks: Kafka, folder: Path, prefix: str) -> Desk:
    """The administrator of three racks at a command line."""
    endpoint = three_racks.endpoint
    told = {name: str(value) for name, value in endpoint.settings().items() if name != "bootstrap.servers"}
    told.pop("sasl.password")
    told["sasl.password.file"] = str(endpoint.password_file)
    properties = credentials.keep(
        folder / "admin.properties", "".join(f"{name}={value}\n" for name, value in told.items())
    )
    environment = {
        "TRUNKLINE_KAFKA_BROKERS": endpoint.bootstrap_servers, "TRUNKLINE_KAFKA_PREFIX": prefix,
        "TRUNKLINE_KAFKA_BUCKETS": "2", "TRUNKLINE_KAFKA_EDGE_PARTITIONS": "2", "TRUNKLINE_KAFKA_COPIES": "3",
        "TRUNKLINE_KAFKA_PROPERTIES": str(properties), "TRUNKLINE_KAFKA_EVENTS": "avro",
    }  # fmt: skip
    return Desk(folder, environment)


@pytest.fixture(scope="module")
def prepared(desk: Desk) -> Desk:
    """Shown, and then done."""
    words = ["prepare", *ROLES, "--accounts", str(desk.folder / "accounts")]
    wish = wish_of(desk.chosen, PRINCIPALS)
    shown = desk.run(*words, "--dry-run")
    assert not shown["done"]
    assert set(shown["topics"].values()) == {"missing"}
    assert set(shown["accounts"].values()) == {"missing"}
    assert set(shown["schemas"].values()) == {"new"}
    assert len(shown["rights"]["missing"]) == len(wish.rights)
    assert not (desk.folder / "accounts").exists()
    there = AdminClient(wish.server.common()).list_topics(timeout=30).topics
    assert not [name for name in there if name.startswith(f"{NAME}.")], "a preview changes nothing"
    done = desk.run(*words)
    assert done["done"]

    def settled() -> bool:  # brokers hear of a right in their own time
        found = desk.run(*words, "--dry-run")
        return (
            set(found["topics"].values()) | set(found["accounts"].values()) | set(found["schemas"].values())
        ) == {"there"} and not found["rights"]["missing"]

    until(settled, "everything is as it should be", 120, 0.5)
    return desk


def test_passwords_lie_in_files_of_their_owner(prepared: Desk) -> None:
    """Each account has a password of its own and the settings of its client, which hold no secret."""
    files = {path.name: path for path in (prepared.folder / "accounts").iterdir()}
    assert set(files) == {
        f"{who}.{kind}" for who in PRINCIPALS.values() for kind in ("password", "properties")
    }
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.values())
    secrets = {path.read_text() for name, path in files.items() if name.endswith(".password")}
    assert len(secrets) == len(PRINCIPALS)
    for name, path in files.items():
        assert not name.endswith(".properties") or not any(secret in path.read_text() for secret in secrets)


def test_each_account_can_do_its_work_and_no_other(prepared: Desk) -> None:
    """A worker may check its schemas, a sensor hand in events, the exchange carry them; a partner writes nothing."""
    wish = wish_of(prepared.chosen, PRINCIPALS)
    plan, doors = wish.plan, wish.doors
    declare(prepared.server(PRINCIPALS["engine"]), plan, "kafka")
    declare(prepared.server(PRINCIPALS["server"]), plan)
    entrance = doors.topic(Kind.AVRO, USAGE_EVENT)
    sensor = prepared.server(PRINCIPALS["usage.event"])
    known = Registry(wish.server, plan).read().versions(subject_of(entrance))
    number = known[0].number
    value = framed(number, encoder(event(USAGE_EVENT.record, Kind.AVRO))({"id": "1", "type": "sms"}))
    sender = Producer({**sensor.common(), "acks": "all"})
    told: list[KafkaError | None] = []
    sender.produce(entrance, value, on_delivery=lambda error, _message: told.append(error))
    sender.flush(60)
    assert told == [None]
    day = Day(prepared.folder, wish.server, plan)
    account = prepared.folder / "accounts" / f"{PRINCIPALS['exchange']}.properties"
    theirs = {**prepared.environment, "TRUNKLINE_KAFKA_PROPERTIES": str(account)}
    with process(["cluster", "events", "--name", "door"], theirs, prepared.folder / "door.log"):
        raw = until(lambda: day.messages(plan.topic(usage.RAW)), "it is carried over", 240, 0.5)
    assert [each for _, each in raw] == [b'{"id":"1","type":"sms"}\n']
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    for who, topic in (
        ("usage.event", plan.topic(usage.RAW)),
        ("usage.raw", entrance),
        ("exchange", plan.work),
        ("consumer", doors.topic(Kind.AVRO, charging.ALERTS)),
        ("server", plan.topic(charging.CHARGED)),
    ):
        refused(lambda who=who, topic=topic: sent(prepared.server(PRINCIPALS[who]), topic), denied)  # type: ignore[misc]


def test_more_than_the_map_gives_is_told_and_taken(prepared: Desk) -> None:
    """A right that somebody gave by hand is shown, left when nothing is said, and taken away when that is asked."""
    wish = wish_of(prepared.chosen, PRINCIPALS)
    more = Right(PRINCIPALS["usage.raw"], "TOPIC", wish.plan.work, "WRITE")
    grant(wish.server, [more])

    def shown() -> list[str]:
        rows = prepared.run("rights", *ROLES)
        return [row["name"] for row in rows if row["state"] == "more than the map gives"]

    until(lambda: shown() == [wish.plan.work], "it is shown", 60, 0.5)
    prepared.run("prepare", *ROLES)
    assert shown() == [wish.plan.work]
    prepared.run("prepare", *ROLES, "--revoke")
    until(lambda: not shown(), "it is taken away", 60, 0.5)
    assert more not in held(wish.server, more.principal)


def test_settings_are_changed_only_when_asked(prepared: Desk) -> None:
    """A topic that somebody keeps longer stays so until it is asked for by name."""
    wish = wish_of(prepared.chosen)
    admin = AdminClient(wish.server.common())
    entry = ConfigEntry("retention.ms", "12345678", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, wish.plan.answers, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(60)

    def state() -> str:
        return str({row["name"]: row["state"] for row in prepared.run("topics")}[wish.plan.answers])

    until(lambda: state().startswith("retention.ms is 12345678"), "it is shown", 60, 0.5)
    prepared.run("prepare")
    assert state() != "there"
    prepared.run("prepare", "--settings")
    until(lambda: state() == "there", "it is as it should be", 60, 0.5)


def test_another_number_of_buckets_is_refused(prepared: Desk) -> None:
    """What would tear subscribers from their state is refused before anything is done."""
    other = Desk(prepared.folder, {**prepared.environment, "TRUNKLINE_KAFKA_BUCKETS": "3"})
    other.run("prepare", code=3)
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": prepared.chosen.kafka_brokers}).list_topics(timeout=5)


def test_schemas_are_shown_checked_and_added(prepared: Desk) -> None:
    """A producer's own schema is added when it may follow, and refused with what it would break when not."""
    subject = f"{NAME}.avro.usage.event-value"
    rows = {row["subject"]: row for row in prepared.run("schemas", "show")}
    assert rows[subject]["rule"] == "BACKWARD_TRANSITIVE"
    body = prepared.run("schemas", "show", subject)
    more = prepared.folder / "more.avsc"
    more.write_bytes(
        orjson.dumps(
            {**body, "fields": [*body["fields"], {"name": "vendor", "type": "string", "default": ""}]}
        )
    )
    other = prepared.folder / "other.avsc"
    other.write_bytes(
        orjson.dumps({**body, "fields": [*body["fields"], {"name": "vendor", "type": "string"}]})
    )
    assert set(prepared.run("schemas", "check").values()) == {"there"}
    assert prepared.run("schemas", "check", subject, str(more)) == {subject: "new"}
    prepared.run("schemas", "check", subject, str(other), code=3)
    prepared.run("schemas", "add", subject, str(other), code=3)
    number = prepared.run("schemas", "add", subject, str(more))["id"]
    assert number > rows[subject]["number"]
    assert {row["subject"]: row for row in prepared.run("schemas", "show")}[subject]["versions"] == 2
    prepared.run("schemas", "rule", subject, "NONE")
    assert {row["subject"]: row for row in prepared.run("schemas", "show")}[subject]["rule"] == "NONE"
    prepared.run("schemas", "rule", subject, "SOMETIMES", code=3)
    assert set(prepared.run("schemas", "check").values()) == {"there"}
