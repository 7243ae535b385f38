"""Spark on brokers that let nobody do anything unless it is allowed: what the map gives is enough, and no more."""

from __future__ import annotations

import re
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.test_rights import read, refused, sent
from tests.cluster.security.test_prepare import Desk, administrator
from tests.cluster.spark.day import Day
from tests.waiting import until
from trunkline.bootstrap import spark
from trunkline.bootstrap.brokers import wish_of
from trunkline.bootstrap.cluster.kafka import Endpoint
from trunkline.records import charging, usage
from trunkline.settings import Folders, Spark

NAME = "guarded-spark"
ENGINE, SENDER = "guarded-spark-charging", "guarded-spark-mediation"
CHARGES = {"engine": ENGINE, usage.RAW.name: SENDER}


def prepare(desk: Desk, roles: dict[str, str]) -> None:
    """Topics, accounts and rights by the map, and wait until the brokers know of them."""
    said = [word for role, account in roles.items() for word in ("--for", f"{role}={account}")]
    words = ["prepare", *said, "--accounts", str(desk.folder / "accounts")]
    desk.run(*words)

    def settled() -> bool:
        found = desk.run(*words, "--dry-run")
        return not found["rights"]["missing"] and set(found["accounts"].values()) == {"there"}

    until(settled, "everything is as it should be", 120, 0.5)


@pytest.fixture(scope="module")
def desk(three_racks: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Three racks on which `cluster prepare` made topics, accounts and rights."""
    made = administrator(three_racks, tmp_path_factory.mktemp("guarded-spark"), NAME)
    prepare(made, CHARGES)
    return made


def java_file(desk: Desk, endpoint: Endpoint, account: str) -> Path:
    """An account's settings as Kafka's Java client reads them."""
    mine = replace(
        endpoint, user=account, password_file=desk.folder / "accounts" / f"{account}.password"
    ).java_settings()
    path = desk.folder / f"{account}.java"
    path.write_text(
        "".join(f"{name}={value}\n" for name, value in mine.items() if name != "bootstrap.servers")
    )
    return path


def hand_in(desk: Desk, topic: str, lines: list[bytes]) -> None:
    """Give all lines of a subscriber the same partition, as who may hand in."""
    sender = Producer({**desk.server(SENDER).common(), "linger.ms": 20, "enable.idempotence": True})
    for line in lines:
        found = re.search(rb'"subscriber":"([^"]*)"', line)
        sender.produce(topic, line, partition=zlib.crc32(found[1] if found else line) % 2)
        sender.poll(0)
    assert sender.flush(60) == 0


@pytest.mark.timeout(1500)
def test_spark_with_only_its_rights(
    desk: Desk, three_racks: Kafka, day: Day, connector: str, tmp_path: Path
) -> None:
    """A day is charged by an account with the rights of the engine alone.

    Whoever studies what was charged needs those of a reader besides, and reads nothing without them.
    """
    chosen = replace(desk.chosen, kafka_properties=str(desk.folder / "accounts" / f"{ENGINE}.properties"))
    plan = wish_of(desk.chosen, CHARGES).plan
    hand_in(desk, plan.topic(usage.RAW), day.lines)
    folders = Folders(data=tmp_path / "driver", tariffs=str(day.folder / "tariffs"))
    settings = Spark(
        spark_master="local[2]",
        spark_jars=connector,
        spark_checkpoint=str(tmp_path / "checkpoint"),
        spark_properties=str(java_file(desk, three_racks.endpoint, ENGINE)),
    )
    with spark.opened(folders, chosen, settings, once=True) as running:
        spark.carry_on(running, threading.Event())
        sums = running.engine.totals.sums
    accounting = day.embedded.accounting()
    assert sums["received"] == len(day.lines)
    assert (sums["rated"], sums["held"]) == tuple(
        sum(getattr(each, what) for each in accounting) for what in ("rated", "held")
    )
    engine, charged = desk.server(ENGINE), plan.topic(charging.CHARGED)
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    refused(lambda: sent(engine, plan.topic(usage.RAW)), denied)
    refused(lambda: read(engine, charged, f"{plan.prefix}.follower"), denied)
    prepare(desk, {**CHARGES, "reader": ENGINE})
    with spark.opened(folders, chosen, settings, looking=True) as running:
        found = spark.reconcile(running)
    assert found["records"] == sums["rated"]
    assert (found["differences"], found["account_differences"]) == (0, 0)
