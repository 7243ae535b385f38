"""Spark makes of a day what the embedded engine makes of it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.spark.day import (
    Day,
    Life,
    assert_same_day,
    assert_same_minutes,
    hand_in,
    kept,
    produce,
    reconciled,
    topics_of,
)
from trunkline.engines.plan import buckets_of
from trunkline.records import charging

BATCH = 1_500  # so that a day is several batches


@pytest.mark.timeout(900)
def test_a_day_is_the_same(kafka: Kafka, connector: str, day: Day, tmp_path: Path) -> None:
    """Rated records, alerts, entries, rejects, balances and minutes are the embedded engine's, to the micro-unit.

    Charged once more as one batch, the topics' history agrees, and a use that was tampered with is named.
    """
    servers = kafka.bootstrap_servers
    plan = topics_of(servers, "parity")
    produce(servers, plan, day.lines)
    life = Life(day, servers, plan, tmp_path, connector, spark_messages=str(BATCH))
    done = life.result(800)
    assert done["batches"] > 2
    assert done["received"] == len(day.lines)
    assert done["received"] == done["rated"] + done["duplicate"] + done["rejected"] + done["held"]
    assert done["late"] > 0, "the simulated operator has late records"
    assert_same_day(day, servers, plan, tmp_path)
    right = reconciled(servers, plan, tmp_path, connector)
    assert (right["differences"], right["account_differences"]) == (0, 0), right
    assert right["records"] == sum(each.rated for each in day.embedded.accounting())
    assert right["accounts"] > 0
    assert_same_minutes(servers, plan)
    wrong = kept(servers, plan, charging.CHARGED)[:1].with_columns(pl.col("charged_micros") + 7)
    bucket = int(buckets_of(wrong["subscriber"].to_numpy(), plan.buckets)[0])
    hand_in(servers, plan.topic(charging.CHARGED), bucket, wrong)
    tampered = reconciled(servers, plan, tmp_path, connector)
    assert tampered["differences"] == 1
    assert tampered["examples"][0]["record_id"] == wrong["record_id"][0]
