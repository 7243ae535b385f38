"""Workers of the network that are killed in the middle of an epoch: whoever goes on makes the same of it, and once."""

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
KILLS = int(os.environ.get("TRUNKLINE_TEST_NETWORK_KILLS", "3"))
SMALL = replace(DAY, cells=24, hours=4)
BUCKETS = 2


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

    def kill(self, name: str) -> None:
        """`kill -9`, and a new one."""
        self.running[name].send_signal(signal.SIGKILL)
        self.running[name].wait(60)
        self.start(name)

    @contextmanager
    def both(self) -> Iterator[None]:
        """Two workers until the end of the block, and that they end in peace."""
        try:
            for name in ("one", "two"):
                self.start(name)
            yield
            for process in self.running.values():
                process.terminate()
            ended = {process.wait(120) for process in self.running.values()}
            assert ended <= {0, -signal.SIGTERM}, (
                self.log.read_text()
            )  # the latter while it was still starting
        finally:
            for process in self.running.values():
                process.kill()
                process.wait(60)

    def epochs(self) -> list[int]:
        """The epoch that each partition has committed."""
        return [told["more"].get("epoch", 0) for told in self.day.progress(b"bucket|")]

    def carried(self, epoch: int) -> None:
        """Wait until every partition has committed so many epochs."""
        until(
            lambda: len(found := self.epochs()) == BUCKETS and min(found) >= epoch,
            f"epoch {epoch} committed", 270, every_s=0.2,
        )  # fmt: skip

    def sent(self) -> int:
        """Where the exchange ends, over all partitions."""
        asking = consumer(self.day.server, "reading-in-a-test")
        exchange = f"{self.day.plan.prefix}.exchange"
        ends = [asking.get_watermark_offsets(TopicPartition(exchange, at), 30)[1] for at in range(BUCKETS)]
        asking.close()
        return sum(ends)


@pytest.mark.timeout(1500)
def test_killed_in_the_middle_of_epochs(kafka: Kafka, tmp_path: Path) -> None:
    """A worker dies after some parcels of an epoch were sent; nothing is missing at the end, and nothing is double."""
    folder = simulated(tmp_path / "day", SMALL)
    day = batches(folder)
    known = {name: str(value) for name, value in kafka.settings().items() if name != "bootstrap.servers"}
    mine = network_folder(folder, tmp_path / "cluster")
    ours = made(mine, Server(kafka.bootstrap_servers, lambda: known), "killed-network", BUCKETS)
    processes = Processes(ours, tmp_path / "workers", tmp_path / "log.txt")
    chance = random.Random(7)
    killed = set(chance.sample(range(1, len(day) + 1), min(KILLS, len(day))))
    with processes.both():
        for number, batch in enumerate(day, start=1):
            before = processes.sent()
            Workers(ours, []).hand_in(batch)
            if number in killed:
                parcels = chance.randrange(1, 12)
                until(
                    lambda: processes.sent() >= before + parcels,  # noqa: B023 -- asked before the next batch
                    f"{parcels} parcels of epoch {number}", 270, every_s=0.01,
                )  # fmt: skip
                processes.kill(chance.choice(["one", "two"]))
            processes.carried(number)

    network_folder(folder, tmp_path / "embedded")
    (tmp_path / "spare").mkdir()
    theirs = Embedded(tmp_path / "embedded", day, tmp_path / "spare")
    for stream in PUBLISHED:
        rows = theirs.rows(stream)
        same(stream, ours.rows(stream, len(rows)), rows)
    assert len(theirs.rows(network.KPIS)) > 1000
