"""Spark from the command line: `run` carries what the topics bring; the books are looked at over all they hold."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from trunkline import settings
from trunkline.bootstrap import network_spark, spark_what_if
from trunkline.bootstrap import spark as bootstrap
from trunkline.bootstrap.spark_rerating import SparkRerates
from trunkline.cli.app import answer_json, err, out
from trunkline.engines.spark.figures import Totals
from trunkline.settings import Folders, Kafka, Spark, Watched


def run_spark(folders: Folders, *, once: bool, as_json: bool) -> None:
    """Carry what comes, telling a line a batch; with `once`, what is there, and end."""
    stop = _stopping()
    kafka, spark = settings.read(Kafka), settings.read(Spark)
    with bootstrap.opened(folders, kafka, spark, _told, once=once) as running:
        out.print(f"trunkline is charging on Spark, from {kafka.kafka_brokers}.", highlight=False)
        bootstrap.carry_on(running, stop)
        if as_json:
            answer_json(bootstrap.told_as(running.engine.totals))


def run_network(folders: Folders, *, once: bool, as_json: bool) -> None:
    """Watch the network: carry the telemetry that comes, telling a line a batch."""
    stop = _stopping()
    kafka, spark, watched = settings.read(Kafka), settings.read(Spark), settings.read(Watched)
    with network_spark.opened(folders, kafka, spark, watched, _told, once=once) as engine:
        out.print(f"trunkline is watching the network on Spark, from {kafka.kafka_brokers}.", highlight=False)
        bootstrap.drive(engine, stop)
        if as_json:
            answer_json({**engine.totals.sums, "batches": engine.totals.batches})


def _stopping() -> threading.Event:
    """What is set when we are asked to stop."""
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    return stop


def reconcile_spark(folders: Folders, from_us: int, until_us: int) -> dict[str, Any]:
    """Charge what the topics hold once more, by Spark, and compare."""
    with bootstrap.opened(folders, settings.read(Kafka), settings.read(Spark), looking=True) as running:
        return bootstrap.reconcile(running, from_us, until_us)


def what_if_spark(
    folders: Folders, draft: Mapping[str, str], first: str | None, last: str | None, actor: str
) -> dict[str, Any]:
    """Price what the topics hold by the tariff in use and a draft, by Spark."""
    return spark_what_if.run(folders, settings.read(Kafka), settings.read(Spark), draft, first, last, actor)


def rerates_spark(folders: Folders) -> SparkRerates:
    """Re-ratings of the cluster that Spark charges."""
    return SparkRerates(folders, settings.read(Kafka), settings.read(Spark))


def _told(totals: Totals) -> None:
    err.print(
        f"{datetime.now(UTC):%H:%M:%S}  {totals.sums['received']:,} records,"
        f" {totals.state_octets >> 20:,} MB of state, slowest bucket {totals.slowest_us / 1e6:.2f} s",
        highlight=False,
    )
