"""Uses that come too late for their minute are put aside and counted; that Spark's watermark drops a row is told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pyspark.sql import SparkSession

from tests.cluster.conftest import Kafka
from tests.cluster.spark.day import PARTITIONS, kept, topics_of
from trunkline.bootstrap.spark import MINUTES, recent_progress
from trunkline.engines.spark.blobs import durably
from trunkline.engines.spark.figures import Watch
from trunkline.engines.spark.minutes import ADDED, LATE, To, leave, start
from trunkline.engines.spark.session import session
from trunkline.records import charging

HOUR_US = 3_600_000_000
NOON_US = 1_795_262_400_000_000


@pytest.fixture
def spark(connector: str) -> Iterator[SparkSession]:
    """A session of this process."""
    running = session("late", "local[2]", connector)
    yield running
    running.stop()


def uses(*begins_us: int) -> pl.DataFrame:
    """Calls of one subscriber, with what is summed of them."""
    rows = [
        {"subscriber": 441, "kind": 1, "start_us": begin, "units": 60_000, "charged_micros": 100}
        for begin in begins_us
    ]
    return pl.DataFrame(
        rows, schema_overrides={name: charging.CHARGED.record.schema[name] for name in rows[0]}
    )


def told(watch: Watch) -> dict[str, float]:
    """The figures as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(watch)
    lines = [line.split() for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines if "{" not in name}


@pytest.mark.timeout(900)
def test_late_uses_are_put_aside_and_dropped_rows_told(
    kafka: Kafka, spark: SparkSession, tmp_path: Path
) -> None:
    """By our rule the watermark drops nothing, however late a use is.

    A row that gets past the rule is dropped by Spark and stands in the metric, also when others came after it.
    """
    servers = kafka.bootstrap_servers
    plan = topics_of(servers, "late")
    to = To(plan.topic(charging.MINUTES), PARTITIONS, {"kafka.bootstrap.servers": servers})
    query = start(spark, MINUTES, tmp_path, tmp_path / "summing", to, {"processingTime": "0 seconds"})
    watch = Watch()
    watch.recent = partial(recent_progress, spark)

    def summed(name: str, *begins_us: int) -> int:
        late = leave(MINUTES, tmp_path, name, uses(*begins_us), NOON_US)
        query.processAllAvailable()
        return late

    assert summed("1", NOON_US, NOON_US + 1, NOON_US - HOUR_US) == 0
    assert summed("2", NOON_US + 2, NOON_US - 3 * HOUR_US, NOON_US - 30 * HOUR_US) == 2
    assert pl.read_parquet(tmp_path / LATE / "2.parquet")["uses"].sum() == 2
    figures = told(watch)
    assert figures["trunkline_spark_dropped_rows"] == 0
    assert figures["trunkline_spark_sums_rows"] == 2
    past = MINUTES.added_by(uses(NOON_US - 3 * HOUR_US, NOON_US - 4 * HOUR_US))
    durably(tmp_path / ADDED / "3.parquet", partial(past.write_parquet, compression="lz4"))
    query.processAllAvailable()
    assert summed("4", NOON_US + 3) == 0
    assert told(watch)["trunkline_spark_dropped_rows"] == 2
    query.stop()
    last = kept(servers, plan, charging.MINUTES).unique("minute_us", keep="last", maintain_order=True)
    assert sorted(last.select("minute_us", "uses").rows()) == [(NOON_US - HOUR_US, 1), (NOON_US, 4)]
