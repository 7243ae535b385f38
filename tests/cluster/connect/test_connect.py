"""Legacy systems through Kafka Connect, with the shipped configurations and real servers on both sides."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.cluster.conftest import Connect, Kafka, PostgreSQL
from tests.contract.test_ports import call
from tests.waiting import until
from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.cluster.connect import connector

EXAMPLES = Path(__file__).parents[3] / "examples" / "connect"


def topic(kafka: Kafka, *names: str) -> None:
    """Topics of one partition."""
    admin = AdminClient(kafka.settings())
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        future.result(60)


def messages(kafka: Kafka, name: str, count: int) -> list[Message]:
    """The first `count` committed messages of a topic."""
    reader = Consumer(
        {**kafka.settings(), "group.id": f"look.{name}", "auto.offset.reset": "earliest",
         "isolation.level": "read_committed", "enable.auto.commit": False}
    )  # fmt: skip
    reader.subscribe([name])
    found: list[Message] = []

    def enough() -> bool:
        found.extend(each for each in reader.consume(100, 0.2) if each.error() is None)
        return len(found) >= count

    until(enough, f"{count} messages are in {name}", 240)
    reader.close()
    return found


def started(connect: Connect, shipped: str, /, **chosen: str) -> str:
    """A shipped connector, running."""
    name, config = connector(EXAMPLES / shipped, chosen)
    connect.put(name, config)
    until(lambda: connect.state(name) == ["RUNNING", "RUNNING"], f"{name} runs", 240)
    return name


def headers(message: Message) -> dict[str, bytes]:
    """A message's headers."""
    return dict(message.headers() or [])  # type: ignore[arg-type]


def test_files_of_usage_become_messages(connect: Connect, kafka: Kafka, tmp_path: Path) -> None:
    """Each line of a growing file comes once, with the mapping that reads it; a restart sends none again."""
    topic(kafka, "files.usage.raw")
    file = tmp_path / "cdrs.jsonl"
    file.write_bytes(call("a") + call("b"))
    name = started(connect, "cdr_files.json", file=str(file), topic="files.usage.raw")
    assert [each.value() for each in messages(kafka, "files.usage.raw", 2)] == [
        call("a")[:-1],
        call("b")[:-1],
    ]
    connect.ask("POST", f"/connectors/{name}/restart?includeTasks=true")
    until(lambda: connect.state(name) == ["RUNNING", "RUNNING"], "it runs again", 240)
    with file.open("ab") as out:
        out.write(call("c"))
    found = messages(kafka, "files.usage.raw", 3)
    assert [each.value() for each in found] == [call(each)[:-1] for each in "abc"]
    assert {headers(each)["mapping"] for each in found} == {b"trunkline"}


CUSTOMER = """
CREATE ROLE debezium WITH LOGIN REPLICATION PASSWORD '{password}';
CREATE SCHEMA crm;
CREATE TABLE crm.customer (customer_id text PRIMARY KEY, msisdn text, name text, address text, credit numeric(12, 2));
ALTER TABLE crm.customer REPLICA IDENTITY FULL;
CREATE PUBLICATION crm_changes FOR TABLE crm.customer;
GRANT USAGE ON SCHEMA crm TO debezium;
GRANT SELECT ON crm.customer TO debezium;
INSERT INTO crm.customer VALUES ('c1', '447700900001', 'Anna', 'Here 1', 10.50);
"""


def test_a_changed_customer_is_an_event(connect: Connect, kafka: Kafka, postgresql: PostgreSQL) -> None:
    """Each committed change of the CRM's table is a CustomerProfileChanged, in order; a rolled back one is none."""
    topic(kafka, "CustomerProfileChanged", "__debezium-heartbeat.crm")
    secret = credentials.password(postgresql.place.secrets, "postgresql-debezium")
    postgresql.sql(CUSTOMER.format(password=secret))
    known = credentials.keep(connect.place.secrets / "debezium.properties", f"password={secret}\n")
    name = started(
        connect, "crm_customers.json",
        **{"database.port": str(postgresql.place.port("sql")), "database.password": f"${{file:{known}:password}}"},
    )  # fmt: skip
    messages(kafka, "CustomerProfileChanged", 1)
    postgresql.sql("UPDATE crm.customer SET address = 'There 2' WHERE customer_id = 'c1'")
    postgresql.sql("BEGIN; UPDATE crm.customer SET address = 'Nowhere'; ROLLBACK")
    postgresql.sql("INSERT INTO crm.customer VALUES ('c2', '447700900002', 'Ben', 'There 3', 0.10)")
    postgresql.sql("DELETE FROM crm.customer WHERE customer_id = 'c1'")
    found = messages(kafka, "CustomerProfileChanged", 4)
    events: list[dict[str, Any]] = [orjson.loads(each.value() or b"") for each in found]
    assert [event["__op"] for event in events] == ["r", "u", "c", "d"]
    assert [event["customer_id"] for event in events] == ["c1", "c1", "c2", "c1"]
    assert [event["address"] for event in events[:3]] == ["Here 1", "There 2", "There 3"]
    assert events[0]["credit"] == "10.50", "money is text, never a float"
    assert events[3]["__deleted"] == "true"
    assert [orjson.loads(each.key() or b"") for each in found][1] == {"customer_id": "c1"}
    places = [event["__lsn"] for event in events[1:]]
    assert places == sorted(set(places)), "each change has a place of its own in the CRM's log"
    told = json.dumps(connect.ask("GET", f"/connectors/{name}/config"))
    assert secret not in told, "whoever may look at the configuration sees no password"


def test_what_cannot_be_handed_out_is_kept_with_its_reason(
    connect: Connect, kafka: Kafka, tmp_path: Path
) -> None:
    """A message that a legacy system's connector cannot read goes to the dead letters, and the next ones go on."""
    topic(kafka, "alerts.for.legacy")
    file = tmp_path / "alerts.txt"
    started(connect, "alerts_to_file.json", file=str(file))
    producer = Producer(kafka.settings())
    for value in (b'{"alert_id":"1"}', b"{poison", b'{"alert_id":"2"}'):
        producer.produce("alerts.for.legacy", value)
    producer.flush(60)
    until(
        lambda: file.exists() and len(file.read_text().splitlines()) == 2,
        "both good ones are handed out",
        240,
    )
    (dead,) = messages(kafka, "alerts.for.legacy.dead", 1)
    assert dead.value() == b"{poison"
    assert headers(dead)["__connect.errors.topic"] == b"alerts.for.legacy"
    assert b"DataException" in headers(dead)["__connect.errors.exception.class.name"]


def test_nobody_configures_without_the_password(connect: Connect) -> None:
    """Connect can read files and databases; so it answers only those who have its password."""
    for authorization in ({}, {"Authorization": "Basic Y29ubmVjdDp3cm9uZw=="}):
        request = urllib.request.Request(
            f"http://127.0.0.1:{connect.place.port('rest')}/connectors", headers=authorization
        )
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=20)
