"""Workers of the network that die in the middle of an epoch: whoever goes on makes the same of it, and once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day
from tests.cluster.parity.network_day import DAY, Embedded, Workers, batches, made, network_folder, same
from tests.network.watching import simulated
from tests.waiting import until
from trunkline.bootstrap.network_cluster import PUBLISHED
from trunkline.engines.kafka.client import Server, consumer
from trunkline.records import network

COMMAND = [sys.executable, "-c", "from trunkline.cli import main; main()"]
KILLS = int(os.environ.get("TRUNKLINE_TEST_NETWORK_KILLS", "2"))
SMALL = replace(DAY, cells=20, hours=4)
PERIODS_A_BATCH = 8
BUCKETS = 2
PATIENCE_S = 300


@dataclass
class Processes:
    """`trunkline run --engine kafka --flow network`, started again when it was killed."""

    day: Day
    data: Path
    log: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a worker."""
        told = {
            "KAFKA_BROKERS": self.day.server.brokers, "KAFKA_PREFIX": self.day.plan.prefix.removesuffix(".network"),
            "KAFKA_BUCKETS": str(BUCKETS), "KAFKA_COPIES": "1", "KAFKA_EDGE_PARTITIONS": "2",
        }  # fmt: skip
        environment = {**os.environ, **{f"TRUNKLINE_{key}": value for key, value in told.items()}}
        with self.log.open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*COMMAND, "run", "--engine", "kafka", "--flow", "network", "--data", str(self.data / name)],
                env=environment,
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def both(self) -> Iterator[None]:
        """Two workers until the end of the block, and that they end in peace."""
        try:
            for name in ("one", "two"):
                self.start(name)
            yield
            for process in self.running.values():
                process.terminate()
            ended = {process.wait(PATIENCE_S) for process in self.running.values()}
            assert ended <= {0, -signal.SIGTERM}, (
                self.log.read_text()
            )  # the latter while it was still starting
        finally:
            for process in self.running.values():
                process.kill()
                process.wait(PATIENCE_S)

    def kill_in_an_epoch(self, epoch: int, sent: int, name: str) -> bool:
        """`kill -9` one while an epoch is under way of which more than `sent` was sent; False when it was over by then.

        All stand still while it is looked at, so that the epoch is neither begun nor ended in between.
        """
        until(lambda: self.sent() > sent, f"a parcel of epoch {epoch}", PATIENCE_S, every_s=0.005)
        for process in self.running.values():
            process.send_signal(signal.SIGSTOP)
        under_way = min(self.epochs(), default=0) < epoch
        if under_way:
            self.running[name].send_signal(signal.SIGKILL)
            self.running[name].wait(PATIENCE_S)
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        if under_way:
            self.start(name)
        return under_way

    def epochs(self) -> list[int]:
        """The epoch that each partition has committed."""
        return [told["more"].get("epoch", 0) for told in self.day.progress(b"bucket|")]

    def carried(self, epoch: int) -> None:
        """Wait until every partition has committed so many epochs."""
        until(
            lambda: len(found := self.epochs()) == BUCKETS and min(found) >= epoch,
            f"epoch {epoch} committed", PATIENCE_S, every_s=0.1,
        )  # fmt: skip

    def sent(self) -> int:
        """Where the exchange ends, over all partitions."""
        exchange = f"{self.day.plan.prefix}.exchange"
        ends = [
            self._asking.get_watermark_offsets(TopicPartition(exchange, at), 30)[1] for at in range(BUCKETS)
        ]
        return sum(ends)

    def __post_init__(self) -> None:
        """Whom to ask."""
        self._asking = consumer(self.day.server, "reading-in-a-test")


@pytest.mark.timeout(1500)
def test_killed_in_the_middle_of_epochs(kafka: Kafka, tmp_path: Path) -> None:
    """A worker dies after parcels of an epoch were sent; nothing is missing at the end, and nothing is double."""
    folder = simulated(tmp_path / "day", SMALL)
    day = batches(folder, PERIODS_A_BATCH)
    known = {name: str(value) for name, value in kafka.settings().items() if name != "bootstrap.servers"}
    mine = network_folder(folder, tmp_path / "cluster")
    ours = made(mine, Server(kafka.bootstrap_servers, lambda: known), "killed-network", BUCKETS)
    processes = Processes(ours, tmp_path / "workers", tmp_path / "log.txt")
    chance, killed = random.Random(7), 0
    with processes.both():
        for number, batch in enumerate(day, start=1):
            before = processes.sent()
            Workers(ours, []).hand_in(batch)
            if number > 1 and killed < KILLS:
                killed += processes.kill_in_an_epoch(number, before, chance.choice(["one", "two"]))
            processes.carried(number)
    assert killed == KILLS, f"{killed} of {len(day)} epochs were caught under way"

    network_folder(folder, tmp_path / "embedded")
    (tmp_path / "spare").mkdir()
    theirs = Embedded(tmp_path / "embedded", day, tmp_path / "spare")
    for stream in PUBLISHED:
        rows = theirs.rows(stream)
        same(stream, ours.rows(stream, len(rows)), rows)
    assert len(theirs.rows(network.KPIS)) > 1000
