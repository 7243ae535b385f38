"""The same day of a network through the embedded engine and through Spark: the same of everything."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install trunkline[cluster]")

from tests.cluster.conftest import MISSING, Kafka
from tests.cluster.kafka.running import Day
from tests.cluster.parity.network_day import DAY, Embedded, Workers, batches, made, network_folder, same
from tests.cluster.spark import jars
from tests.network.watching import simulated
from trunkline.bootstrap import network_spark, spark
from trunkline.bootstrap.cluster.servers import jars_folder
from trunkline.bootstrap.network_cluster import PUBLISHED
from trunkline.engines.kafka.client import Server
from trunkline.records import network
from trunkline.settings import Folders, Servers, Spark, Watched
from trunkline.settings import Kafka as KafkaSettings

PREFIX, BUCKETS, PERIODS = "spark-network", 2, 12
ALWAYS_THERE = {
    network.KPIS, network.HEAT, network.ANOMALIES, network.ALARMS, network.INCIDENTS, network.REJECTED,
    network.DUPLICATES, network.HELD,
}  # fmt: skip


@pytest.mark.timeout(1500)
@pytest.mark.skipif(bool(MISSING), reason="java or mvn not installed")
def test_the_same_day(kafka: Kafka, tmp_path: Path) -> None:
    """KPI windows, findings, tiles, and alarms and incidents, too; a message is a micro-batch, in two runs."""
    folder = simulated(tmp_path / "day", DAY)
    day = batches(folder, PERIODS)
    known = {name: str(value) for name, value in kafka.settings().items() if name != "bootstrap.servers"}
    mine = network_folder(folder, tmp_path / "cluster")
    ours = made(mine, Server(kafka.bootstrap_servers, lambda: known), PREFIX, BUCKETS, edges=1)
    half = len(day) // 2
    for part in (day[:half], day[half:]):  # the second run goes on where the checkpoint stands
        for batch in part:
            Workers(ours, []).hand_in(batch)
        carried_by_spark(ours, tmp_path, kafka.bootstrap_servers)

    network_folder(folder, tmp_path / "embedded")
    (tmp_path / "spare").mkdir()
    theirs = Embedded(tmp_path / "embedded", day, tmp_path / "spare")
    for stream in PUBLISHED:
        rows = theirs.rows(stream)
        assert len(rows) or stream not in ALWAYS_THERE, f"a day without {stream.name} proves nothing of it"
        same(stream, ours.rows(stream, len(rows)), rows)
    counts = ours.accounts()
    for source, sums in theirs.accounting.items():
        assert counts[source] == [
            sums.received, sums.measured, sums.events, sums.duplicate, sums.rejected, sums.held,
        ]  # fmt: skip


def carried_by_spark(day: Day, place: Path, brokers: str) -> None:
    """Take what the topics hold, a message a micro-batch, and end."""
    assert day.plan.prefix == f"{PREFIX}.network"
    chosen = Spark(
        spark_master="local[2]", spark_jars=jars.connector(jars_folder(Servers())),
        spark_checkpoint=str(place / "checkpoint"), spark_messages=1,
    )  # fmt: skip
    brokers_of = KafkaSettings(
        kafka_brokers=brokers,
        kafka_prefix=PREFIX,
        kafka_buckets=BUCKETS,
        kafka_copies=1,
        kafka_edge_partitions=1,
    )
    folders = Folders(data=place / "driver")
    with network_spark.opened(folders, brokers_of, chosen, Watched(), once=True) as engine:
        spark.drive(engine, threading.Event())
        assert engine.totals.sums["received"] > 0
