"""Charging is not gone on with by another engine on the same topics: neither knows what the other one charged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.cluster.conftest import Kafka
from tests.cluster.mirror.test_cutover import BUCKETS
from trunkline.bootstrap import kafka as kafka_engine
from trunkline.bootstrap import spark as spark_engine
from trunkline.bootstrap.brokers import wish_of
from trunkline.bootstrap.schemas import declare
from trunkline.engines.kafka.topics import make
from trunkline.engines.wire import progress_out
from trunkline.ports import Refused
from trunkline.settings import Folders, Spark
from trunkline.settings import Kafka as KafkaSettings

BY_KAFKA = {"position": 7, "commit": 3, "accounts": {}, "images": {}}
BEGUN = {"position": 0, "commit": 0, "accounts": {}, "images": {}}
BY_SPARK = {"commit": 3, "accounts": {}}


def charged(kafka: Kafka, prefix: str, progress: dict[str, object]) -> KafkaSettings:
    """Topics under a prefix, and how far somebody says to be in one bucket of them."""
    chosen = KafkaSettings(
        kafka_brokers=kafka.bootstrap_servers, kafka_prefix=prefix, kafka_buckets=BUCKETS, kafka_edge_partitions=1,
        kafka_copies=1,
    )  # fmt: skip
    wish = wish_of(chosen)
    make(wish.server, wish.topics, 1)
    sender = Producer(wish.server.common())
    sender.produce(wish.plan.progress, progress_out(progress), b"bucket|1", 1)
    assert sender.flush(30) == 0
    return chosen


@pytest.mark.timeout(600)
def test_another_engine_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    """In both directions, before it has done anything, with what to do; the same one and who serves go on."""
    chosen = charged(kafka, "charged-spark", BY_SPARK)
    with pytest.raises(Refused, match=r"The engine spark has charged.*--engine spark.*Another engine"):
        kafka_engine.run(
            Folders(data=tmp_path), chosen, threading.Event(), lambda *_: pytest.fail("it began")
        )
    wish = wish_of(chosen)
    declare(wish.server, wish.plan, "spark")
    declare(wish.server, wish.plan)
    chosen = charged(kafka, "charged-kafka", BY_KAFKA)
    with (
        pytest.raises(Refused, match=r"The engine kafka has charged.*--engine kafka.*Another engine"),
        spark_engine.opened(Folders(data=tmp_path), chosen, Spark()),
    ):
        pytest.fail("it began")
    wish = wish_of(chosen)
    declare(wish.server, wish.plan, "kafka")
    declare(wish.server, wish.plan)


@pytest.mark.timeout(600)
def test_who_charged_nothing_is_in_nobodys_way(kafka: Kafka) -> None:
    """A worker that only came to own a bucket leaves nothing that another engine would have to know."""
    wish = wish_of(charged(kafka, "charged-nothing", BEGUN))
    declare(wish.server, wish.plan, "spark")


@pytest.mark.timeout(600)
def test_spark_does_not_begin_again(kafka: Kafka, tmp_path: Path) -> None:
    """Where it has charged, a checkpoint with nothing in it is not its own; one that holds something may be."""
    chosen = charged(kafka, "charged-before", BY_SPARK)
    settings = Spark(spark_checkpoint=str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    for folder in (settings, Spark(spark_checkpoint=str(tmp_path / "missing"))):
        with (
            pytest.raises(Refused, match=r"with another checkpoint.*TRUNKLINE_SPARK_CHECKPOINT"),
            spark_engine.opened(Folders(data=tmp_path), chosen, folder),
        ):
            pytest.fail("it began")
    (tmp_path / "empty" / "charging").mkdir()
    with (
        pytest.raises(Refused, match="tariffs"),  # which is looked for behind all that is refused above
        spark_engine.opened(Folders(data=tmp_path), chosen, settings),
    ):
        pytest.fail("it began")
