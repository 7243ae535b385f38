"""`trunkline run --engine kafka`: a worker carries its share of the flows, until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import UTC, datetime
from types import FrameType

from trunkline import settings
from trunkline.api.logs import configure
from trunkline.bootstrap import kafka as bootstrap
from trunkline.bootstrap import network_cluster
from trunkline.cli.app import answer_json, err, out
from trunkline.engines.kafka.worker import Worker
from trunkline.settings import Folders, Kafka, Watched

TOLD_EVERY_S = 5.0


def run_kafka(folders: Folders, *, as_json: bool) -> None:
    """Carry what comes, with a line of figures every few seconds; at the end what was done."""
    stop, kafka = _stopping(), settings.read(Kafka)
    workers: list[Worker] = []

    def started(worker: Worker, enrolled: int) -> None:
        workers.append(worker)
        out.print(
            f"trunkline is charging on Kafka as {worker.work.name}, from {kafka.kafka_brokers};"
            f" {enrolled:,} subscribers handed in.",
            highlight=False,
        )
        threading.Thread(target=_tell, args=(worker, stop), name="progress", daemon=True).start()

    bootstrap.run(folders, kafka, stop, started)
    if as_json:
        answer_json(workers[0].status())


def run_network(folders: Folders, *, as_json: bool) -> None:
    """Watch the network: carry the telemetry that comes, with a line of figures every few seconds."""
    stop, kafka = _stopping(), settings.read(Kafka)
    workers: list[Worker] = []

    def started(worker: Worker) -> None:
        workers.append(worker)
        out.print(
            f"trunkline is watching the network on Kafka as {worker.work.name}, from {kafka.kafka_brokers}.",
            highlight=False,
        )
        threading.Thread(target=_tell, args=(worker, stop), name="progress", daemon=True).start()

    network_cluster.run(folders, kafka, settings.read(Watched), stop, started)
    if as_json:
        answer_json(workers[0].status())


def _stopping() -> threading.Event:
    """What is set when we are asked to stop."""
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    configure(logging.WARNING)
    return stop


def _tell(worker: Worker, stop: threading.Event) -> None:
    before = 0
    while not stop.wait(TOLD_EVERY_S):
        status = worker.status()
        charger = status.get("charger", {})
        rows = charger.get("written", {}).get("rows", 0)
        behind = sum(charger.get("lag", {}).values()) + sum(status.get("router", {}).get("lag", {}).values())
        err.print(
            f"{datetime.now(UTC):%H:%M:%S}  {(rows - before) / TOLD_EVERY_S:,.0f} rows/s,"
            f" {len(charger.get('buckets', []))} buckets, {behind:,} messages behind",
            highlight=False,
        )
        before = rows
