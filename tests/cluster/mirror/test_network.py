"""Watching is not taken over from another site or another engine: such topics are refused, empty ones are used."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.cluster.conftest import Kafka
from tests.cluster.mirror.test_cutover import BUCKETS, told
from trunkline.bootstrap import network_cluster, network_spark
from trunkline.bootstrap.brokers import wish_of
from trunkline.engines.kafka.registry import Registry
from trunkline.engines.kafka.topics import make
from trunkline.engines.schemas.book import rule_entry
from trunkline.engines.schemas.compatible import Rule
from trunkline.engines.wire import progress_out
from trunkline.ports import Refused
from trunkline.settings import Folders, Spark, Watched
from trunkline.settings import Kafka as KafkaSettings

BY_KAFKA = {"position": 7, "commit": 3, "accounts": {}, "more": {"epoch": 2}}
BY_SPARK = {"commit": 3, "accounts": {}}


def site(kafka: Kafka, prefix: str, home: str, progress: dict[str, object] | None) -> KafkaSettings:
    """The network's topics on these brokers, made on the brokers `home`, and what somebody was there."""
    chosen = KafkaSettings(
        kafka_brokers=kafka.bootstrap_servers, kafka_prefix=prefix, kafka_buckets=BUCKETS, kafka_edge_partitions=1,
        kafka_copies=1,
    )  # fmt: skip
    house, wish = (wish_of(chosen, network=network) for network in (False, True))
    for each in (house, wish):
        make(each.server, each.topics, 1)
    sender = Producer(wish.server.common())
    if home:
        key, value = rule_entry(f"{wish.plan.prefix}.site", Rule.NONE, home)
        sender.produce(wish.plan.schemas, value, key, 0)
    if progress is not None:
        sender.produce(wish.plan.progress, progress_out(progress), b"bucket|1", 1)
    assert sender.flush(30) == 0
    return chosen


def watch(chosen: KafkaSettings, data: Path) -> None:
    """Begin to watch, and end at once."""
    stop = threading.Event()
    network_cluster.run(Folders(data=data), chosen, Watched(), stop, lambda _worker: stop.set())


@pytest.mark.timeout(600)
def test_copies_are_refused_and_empty_topics_are_used(kafka: Kafka, tmp_path: Path) -> None:
    """Copies of topics that somebody was in are refused by both engines; made anew, they are ours."""
    chosen = site(kafka, "elsewhere", "the other site", BY_KAFKA)
    for engine in (
        lambda: watch(chosen, tmp_path),
        lambda: network_spark.opened(Folders(data=tmp_path), chosen, Spark(), Watched()).__enter__(),
    ):
        with pytest.raises(Refused, match=r"copies of those on the brokers the other site.*At another site"):
            engine()
    assert told(kafka, "elsewhere", "check")["network"] == "copied"
    anew = site(kafka, "anew", "the other site", None)
    assert told(kafka, "anew", "check")["network"] == "none"
    watch(anew, tmp_path)
    wish = wish_of(anew, network=True)
    home, here = Registry(wish.server, wish.plan).home()
    assert home == here


@pytest.mark.timeout(600)
def test_another_engine_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    """What one engine remembers of the network the other one does not know; neither begins where the other was."""
    with pytest.raises(Refused, match=r"The engine spark has watched.*Another engine"):
        watch(site(kafka, "sparked", "", BY_SPARK), tmp_path)
    chosen = site(kafka, "kafkaed", "", BY_KAFKA)
    with (
        pytest.raises(Refused, match=r"The engine kafka has watched.*Another engine"),
        network_spark.opened(Folders(data=tmp_path), chosen, Spark(), Watched()),
    ):
        pytest.fail("it began")
    assert told(kafka, "kafkaed", "check")["network"] == "here"
