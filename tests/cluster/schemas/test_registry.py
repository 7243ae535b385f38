"""The registry on a real broker: one writer at a time, nobody begins with a schema that breaks others, all may read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import uvicorn
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema as ConfluentSchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, small_day
from tests.waiting import until
from trunkline.api.access import Access, Role, Token, digest
from trunkline.bootstrap import network_cluster, network_spark
from trunkline.bootstrap.brokers import judged, wish_of
from trunkline.bootstrap.kafka import plan_of, run
from trunkline.bootstrap.registry import Shelf, registry_app
from trunkline.bootstrap.schemas import enter
from trunkline.bootstrap.serve import listening
from trunkline.engines.kafka.client import Server, Unfit
from trunkline.engines.kafka.events import Exchange
from trunkline.engines.kafka.registry import Registry, Wanted
from trunkline.engines.kafka.topics import make
from trunkline.engines.plan import Plan
from trunkline.engines.schemas.compatible import Rule
from trunkline.engines.schemas.frames import framed
from trunkline.engines.schemas.shapes import Kind, Schema, columns
from trunkline.engines.stages import Staged
from trunkline.kernel.columns import Column
from trunkline.ports import Refused
from trunkline.records import charging, network, usage
from trunkline.settings import Folders, Http, Spark, Watched
from trunkline.settings import Kafka as KafkaSettings

TOKEN = "a-token-of-the-test"


def made(kafka: Kafka, prefix: str, **more: Any) -> tuple[Server, Plan, KafkaSettings]:
    """A prefix with everything that the map asks for."""
    chosen = KafkaSettings(
        kafka_brokers=kafka.bootstrap_servers, kafka_prefix=prefix, kafka_buckets=2, kafka_edge_partitions=2,
        kafka_copies=1, **more,
    )  # fmt: skip
    wish = wish_of(chosen)
    make(wish.server, wish.topics, 1)
    return wish.server, wish.plan, chosen


def record(name: str, kind: str = "int") -> Schema:
    """A schema with one field."""
    return Schema.of(
        Kind.AVRO, {"type": "record", "name": "R", "fields": [{"name": name, "type": kind, "default": 0}]}
    )


def test_writers_take_turns(kafka: Kafka) -> None:
    """Many at once: each schema gets one number, no number is given twice, no version is lost."""
    server, plan, _ = made(kafka, "turns")
    found: list[dict[str, int]] = []
    failed: list[BaseException] = []

    def enter(writer: int) -> None:
        try:
            found.append(
                Registry(server, plan).enter(
                    [
                        Wanted("shared", record(f"f{writer}"), Rule.FULL),
                        Wanted(f"own{writer}", record("same"), Rule.FULL),
                    ]
                )
            )
        except BaseException as error:  # noqa: BLE001 -- raised by the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=enter, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert not failed
    assert len({each["shared"] for each in found}) == 4
    book = Registry(server, plan).read()
    assert [each.version for each in book.versions("shared")] == [1, 2, 3, 4]
    assert len({book.versions(f"own{writer}")[0].number for writer in range(4)}) == 1
    assert sorted(book.numbers) == [1, 2, 3, 4, 5]
    before = book.offset
    Registry(server, plan).enter([Wanted("shared", record("f1"), Rule.FULL)])
    assert Registry(server, plan).read().offset == before, "what is there is only read"


def test_all_or_none(kafka: Kafka) -> None:
    """When one schema may not follow, none of those that came with it is there."""
    server, plan, _ = made(kafka, "whole")
    registry = Registry(server, plan)
    registry.enter([Wanted("s", record("a"), Rule.FULL)])
    with pytest.raises(Unfit, match="a was int and became string"):
        registry.enter([Wanted("new", record("b"), Rule.FULL), Wanted("s", record("a", "string"), Rule.FULL)])
    assert list(Registry(server, plan).read().subjects) == ["s"]
    registry.rule("s", Rule.NONE)
    assert registry.enter([Wanted("s", record("a", "string"), Rule.FULL)]) == {"s": 2}


@pytest.mark.timeout(600)
def test_a_producer_that_would_break_others_does_not_begin(kafka: Kafka, tmp_path: Path) -> None:
    """A worker whose alerts another version could not read writes nothing, and says what and what to do."""
    server, plan, chosen = made(kafka, "broken")
    subject = f"{plan.topic(charging.ALERTS)}-value"
    alerts = charging.ALERTS.record
    added = Column("period", usage.RAW.record.columns[1].dtype, ".")
    other = replace(alerts, columns=(*alerts.columns[:-1], added))
    Registry(server, plan).enter([Wanted(subject, columns(other), Rule.FULL_TRANSITIVE)])
    folders = Folders(data=tmp_path / "data")
    with pytest.raises(Refused, match=r"CustomerAlerts-value may not change.*period.*Add columns"):
        run(folders, chosen, threading.Event(), lambda _worker, _rows: pytest.fail("it began"))
    reader = Consumer({**kafka.settings(), "group.id": "look", "auto.offset.reset": "earliest"})
    topics = reader.list_topics(timeout=30).topics
    ends = [
        reader.get_watermark_offsets(TopicPartition(name, part), timeout=30)[1]
        for name in (plan.work, plan.progress, plan.catalogue) for part in topics[name].partitions
    ]  # fmt: skip
    reader.close()
    assert set(ends) == {0}, "nothing was written"


@pytest.mark.timeout(600)
def test_the_network_declares_what_it_writes(kafka: Kafka, tmp_path: Path) -> None:
    """Its subjects stand in the house's one registry, and who would break the readers of KPIs writes nothing."""
    chosen = KafkaSettings(
        kafka_brokers=kafka.bootstrap_servers, kafka_prefix="declared", kafka_buckets=2, kafka_edge_partitions=1,
        kafka_copies=1,
    )  # fmt: skip
    wish = wish_of(chosen, network=True)
    server, plan = wish.server, wish.plan
    assert isinstance(plan, Staged)
    make(server, wish.topics, 1)
    kpis = network.KPIS.record
    other = replace(kpis, columns=(*kpis.columns[:-1], Column(kpis.columns[-1].name, pl.Boolean, ".")))
    subject = "declared.network.kpis-value"
    Registry(server, plan).enter([Wanted(subject, columns(other), Rule.FULL_TRANSITIVE)])
    folders, told = Folders(data=tmp_path / "data"), rf"{subject} may not change.*Add columns"
    with pytest.raises(Refused, match=told):
        network_cluster.run(
            folders, chosen, Watched(), threading.Event(), lambda _worker: pytest.fail("it began")
        )
    with pytest.raises(Refused, match=told), network_spark.opened(folders, chosen, Spark(), Watched()):
        pytest.fail("it began")
    reader = Consumer({**kafka.settings(), "group.id": "look"})
    ends = [
        reader.get_watermark_offsets(TopicPartition(name, part), timeout=30)[1]
        for name in (plan.work, plan.progress, plan.catalogue)
        for part in reader.list_topics(name, timeout=30).topics[name].partitions
    ]
    reader.close()
    assert set(ends) == {0}, "nothing was written"
    Registry(server, plan).rule(subject, Rule.NONE)
    enter(server, plan)
    book = Registry(server, plan_of("declared")).read()
    assert set(judged(book, wish.schemas).values()) == {"there"}
    wanted = {plan.topic(stream) + "-value" for stream in network_cluster.PUBLISHED}
    wanted |= {
        f"{plan.work}-network.measured",
        f"{plan.exchange}-network.parts",
        f"{plan.changelog(network.SEEN)}-value",
    }
    assert wanted <= set(book.subjects)


# -- over HTTP, with Confluent's own client -------------------------------------------------------------------


@contextmanager
def served(server: Server, plan: Plan) -> Iterator[str]:
    """The registry over HTTP, on a free port of loopback."""
    access = Access([Token("tester", Role.VIEWER, digest(TOKEN))], lambda: 0.0)
    listener, http = listening(Http(port=0))
    running = uvicorn.Server(uvicorn.Config(registry_app(Shelf(server, plan), access), log_config=None))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: running.started, "it answers")
        yield f"http://127.0.0.1:{http.port}"
    finally:
        running.should_exit = True
        thread.join(60)
        listener.close()


def confluent(url: str) -> SchemaRegistryClient:
    """Their client, with a token as password."""
    return SchemaRegistryClient({"url": url, "basic.auth.user.info": f"anybody:{TOKEN}"})


def test_the_registry_asks_for_a_token(kafka: Kafka) -> None:
    """Without a token, or with a wrong one, not even the subjects are told."""
    server, plan, _ = made(kafka, "asked")
    Registry(server, plan).enter([Wanted("s", record("a"), Rule.FULL)])
    with served(server, plan) as url:
        for wrong in ({}, {"Authorization": "Bearer guessed"}, {"Authorization": "Basic !"}):
            assert httpx.get(f"{url}/subjects", headers=wrong, timeout=60).status_code == 401
        told = httpx.get(f"{url}/subjects", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        assert told.json() == ["s"]
        client = confluent(url)
        assert client.get_latest_version("s").schema_id == 1
        assert client.get_subjects() == ["s"]
        with pytest.raises(SchemaRegistryError) as caught:
            client.get_latest_version("other")
        assert caught.value.http_status_code == 404
        with pytest.raises(SchemaRegistryError) as caught:
            client.register_schema("s", ConfluentSchema(record("b").text, "AVRO"))
        assert caught.value.http_status_code == 403
        assert client.test_compatibility("s", ConfluentSchema(record("b").text, "AVRO"))
        assert not client.test_compatibility("s", ConfluentSchema(record("a", "string").text, "AVRO"))


@contextmanager
def exchanging(exchange: Exchange) -> Iterator[Exchange]:
    """An exchange in a thread; what broke it breaks the test."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def run_() -> None:
        try:
            exchange.run(stop)
        except BaseException as error:  # noqa: BLE001 -- raised again by the test's own thread
            failed.append(error)

    thread = threading.Thread(target=run_)
    thread.start()
    try:
        yield exchange
    finally:
        stop.set()
        thread.join(120)
    if failed:
        raise failed[0]


CALL = {
    "id": "", "type": "voice", "subscriber": "447700900001", "called": "447700900002",
    "start": "2026-11-20T09:00:00Z", "duration_ms": 61_000,
}  # fmt: skip


@pytest.mark.timeout(900)
def test_events_of_others_are_charged_and_told(kafka: Kafka, tmp_path: Path) -> None:
    """Confluent's serializers hand in, their deserializers read what became of it; each event is charged once."""
    server, plan, chosen = made(kafka, "events", kafka_events="avro,json")
    wish = wish_of(chosen)
    operator = small_day(tmp_path / "operator", 30, 1)
    day = Day(operator, server, plan)
    day.enrol()
    subscriber = (operator / "subscribers.csv").read_text().splitlines()[1].split(",")[0]
    topics = {kind: wish.doors.topic(kind, wish.doors.handed_in) for kind in Kind}
    exchange = Exchange(server, wish.doors, "one")
    with served(server, plan) as url, exchanging(exchange), day.running("worker"):
        client = confluent(url)
        until(lambda: len(client.get_subjects()) == 6, "the schemas are there", 240, 0.5)
        sender = Producer({**kafka.settings(), "acks": "all"})
        writers: dict[Kind, Any] = {}
        for kind, topic in topics.items():
            newest = client.get_latest_version(f"{topic}-value")
            told = newest.schema.schema_str
            asked = {"auto.register.schemas": False, "use.latest.version": True}
            writers[kind] = (
                AvroSerializer(client, told, conf=asked)
                if kind is Kind.AVRO
                else JSONSerializer(told, client, conf=asked)
            )
        for number in range(20):
            kind = Kind.AVRO if number % 2 else Kind.JSON
            said = {**CALL, "id": f"e{number % 18}", "subscriber": subscriber}
            where = SerializationContext(topics[kind], MessageField.VALUE)
            sender.produce(topics[kind], writers[kind](said, where), partition=0)
        for wrong in (b"", b"{}", framed(999, b"x"), framed(1, b"x"), b"\x01\x00\x00\x00\x01x"):
            sender.produce(topics[Kind.AVRO], wrong, partition=1)
        assert sender.flush(60) == 0
        day.drained(20, 300)
        until(lambda: exchange.exchanged.set_aside == 5, "five are set aside", 120)
        until(lambda: exchange.exchanged.handed_out >= 2 * 18, "charged usage is handed out", 240, 0.5)
        sums = [sum(each) for each in zip(*day.accounts().values(), strict=True)]
        assert sums[1] == 18, "rated"
        assert sums[2] == 2, "duplicates"
        readers = {
            Kind.AVRO: AvroDeserializer(client),
            Kind.JSON: JSONDeserializer(None, schema_registry_client=client),
        }
        for kind, reader in readers.items():
            topic = wish.doors.topic(kind, charging.CHARGED)
            where = SerializationContext(topic, MessageField.VALUE)
            rows = [reader(value, where) for _, value in day.messages(topic)]
            assert sorted(row["record_id"] for row in rows) == sorted(f"e{at}" for at in range(18))
            assert {row["subscriber"] for row in rows} == {subscriber}
            charged = day.rows(charging.CHARGED, 18)
            assert sum(row["charged_micros"] for row in rows) == charged["charged_micros"].sum()
    reasons = {dict(each)["reason"].decode() for each in headers(kafka, plan)}
    assert any("schema 999 is none of" in each for each in reasons), reasons
    assert any("magic octet 0" in each for each in reasons), reasons


def headers(kafka: Kafka, plan: Plan) -> list[Any]:
    """Headers of everything that was set aside."""
    reader = Consumer(
        {**kafka.settings(), "group.id": "look", "auto.offset.reset": "earliest", "enable.partition.eof": True,
         "isolation.level": "read_committed"}
    )  # fmt: skip
    reader.assign([TopicPartition(plan.undigested, part, 0) for part in range(plan.buckets)])
    found: list[Any] = []
    ended = 0
    while ended < plan.buckets:
        for message in reader.consume(100, 1.0):
            if message.error() is None:
                found.append(message.headers())
            else:
                ended += 1
    reader.close()
    return found
