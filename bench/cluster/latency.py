"""From handed in to readable: how long after a use was produced its subscriber's balance in Cassandra shows it.

The programs are those that an operator runs, each a process: an engine, and `trunkline serve`, which delivers. Beside a
steady load, subscribers of their own use one message each; the clock runs from before it is handed to the client until
Cassandra answers with another balance. Broker, Cassandra, engine, delivery and load share the machine. The load flows
for a while before the first probe, for the servers compile themselves in their first minute, and run for months.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from confluent_kafka import Producer

from bench.figures import Figure, percentile
from bench.operator import prepare
from tests.cluster.spark import jars
from tests.cluster.spark.day import kill_all
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.place import Recipe
from trunkline.bootstrap.cluster.profile import Cluster
from trunkline.bootstrap.cluster.servers import brokers, jars_folder, settings_file
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.serving import contact_of
from trunkline.engines.kafka.client import Server
from trunkline.kernel.dial import to_key
from trunkline.records import usage
from trunkline.settings import Cassandra, Kafka, Servers, read
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.reader import CassandraReader

SUBSCRIBERS = 20_000
LOAD_A_SECOND = 20_000
WARM_S = 180
PROBES_A_SECOND = 10
PARTS_A_SECOND = 20
ASKED_AT_ONCE = 3  # probes, the oldest: asking for all of them would be a load of its own
BUCKETS = 2  # one worker on two cores
PARTITIONS = 2
NODE_HEAP_MB = 3072  # of Cassandra, whose memtables take a third of it
PATIENCE_S = 600.0
DAY = (
    "2026-11-02T22:58:00.000Z"  # of the load; another day would have workers look through what they remember
)
STOPPING_S = 60.0
START = "from trunkline.cli import main; main()"
SETTINGS = {
    "TRUNKLINE_KAFKA_BUCKETS": str(BUCKETS), "TRUNKLINE_KAFKA_EDGE_PARTITIONS": str(PARTITIONS),
    "TRUNKLINE_SPARK_MASTER": "local[2]", "TRUNKLINE_SPARK_PAUSE_MS": "100",
}  # fmt: skip


def kafka(work: Path, seconds: int) -> list[Figure]:
    """Produced to readable in Cassandra on the kafka engine, while 20,000 CDR/s flow."""
    return _measured(work, seconds, "kafka", "p95 at most 500 ms")


def spark(work: Path, seconds: int) -> list[Figure]:
    """Produced to readable in Cassandra on Spark, while 20,000 CDR/s flow."""
    return _measured(work, seconds, "spark", "p95 at most 3,000 ms")


@dataclass
class Probe:
    """A use that is under way: whose it is, the balance before it, and when it was handed in."""

    word: int
    before: bytes
    began: float


def _measured(work: Path, seconds: int, engine: str, goal: str) -> list[Figure]:
    lines = prepare(work, LOAD_A_SECOND * (WARM_S + seconds), SUBSCRIBERS)
    with (work / "subscribers.csv").open("a") as file:
        file.writelines(f"{_number(at)},payg,,,,,1,5.00\n" for at in range(1 + PROBES_A_SECOND * seconds))
    with _running(work, engine) as environment:
        server = server_of(read(Kafka, environment))
        with closing(Connection(contact_of(read(Cassandra, environment)))) as connection:
            waits, late = _waits(server, CassandraReader(connection), lines, seconds)
    ended = [f"latency_{engine}_p50", f"latency_{engine}_p95"]
    return [
        Figure(ended[0], percentile(waits, 0.5) * 1000, "ms", goal, len(waits)),
        Figure(ended[1], percentile(waits, 0.95) * 1000, "ms", goal, len(waits)),
        Figure(
            f"latency_{engine}_load",
            LOAD_A_SECOND * (WARM_S + seconds) / (WARM_S + seconds + late),
            "CDR/s",
            "20,000",
        ),
    ]


@contextmanager
def _running(work: Path, engine: str) -> Iterator[dict[str, str]]:
    """Servers, engine and delivery; the settings by which they are found."""
    cluster = Cluster(work / "servers", jars_folder(Servers()), leashed=True)
    steady = [replace(each, quick=False) for each in brokers(racks=False, secure=False)]
    recipes: list[Recipe] = [*steady, Node(heap_mb=NODE_HEAP_MB)]
    started: list[subprocess.Popen[str]] = []
    try:
        cluster.up(recipes)
        told = settings_file(cluster, recipes).read_text().splitlines()
        environment = SETTINGS | dict(line.split("=", 1) for line in told)
        if engine == "spark":
            environment["TRUNKLINE_SPARK_JARS"] = jars.connector(jars_folder(Servers()))
        run = ["run", "--engine", engine, "--tariffs", str(work / "tariffs"), "--data", str(work / "engine")]
        started.append(start(run, environment, work / "engine.log", "is charging on"))
        serve = ["serve", "--port", "0", "--data", str(work / "serve")]
        started.append(start(serve, environment, work / "serve.log", "The page:"))
        yield environment
    finally:
        for process in reversed(started):
            stop(process)
        cluster.down()


def start(words: list[str], environment: dict[str, str], log: Path, ready: str) -> subprocess.Popen[str]:
    """A command of trunkline that has said that it is ready."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", START, *words],
            env=os.environ | environment,
            stdout=out,
            stderr=out,
            text=True,
        )
    deadline = time.monotonic() + PATIENCE_S
    while ready not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process)
            raise RuntimeError(f"trunkline {words[0]} did not start: {log.read_text()[-2000:]}")
        threading.Event().wait(0.1)
    return process


def stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOPPING_S)
        except subprocess.TimeoutExpired:
            kill_all(process)


def _waits(server: Server, reader: CassandraReader, lines: Path, seconds: int) -> tuple[list[float], float]:
    """Seconds until each probe was readable, and how much longer than asked the load took."""
    topic = plan_of().topic(usage.RAW)
    sender = Producer({**server.common(), "acks": "all", "enable.idempotence": True, "linger.ms": 0})
    first = _begun(sender, topic, reader, 0)
    _until_readable(reader, [first])  # the first one compiles
    took: list[float] = []
    load = threading.Thread(target=lambda: took.append(_load(server, topic, lines, WARM_S + seconds)))
    load.start()
    began, number, waits = time.monotonic() + WARM_S, 1, []
    threading.Event().wait(WARM_S)
    under_way: list[Probe] = []
    while number <= PROBES_A_SECOND * seconds or under_way:
        if number <= PROBES_A_SECOND * seconds and time.monotonic() >= began + number / PROBES_A_SECOND:
            under_way.append(_begun(sender, topic, reader, number))
            number += 1
        waits += _ended(reader, under_way)
        assert time.monotonic() < began + seconds + PATIENCE_S, f"{len(under_way)} balances never moved"
        sender.poll(0.02)
    load.join()
    return waits, max(0.0, took[0] - WARM_S - seconds)


def _begun(sender: Producer, topic: str, reader: CassandraReader, number: int) -> Probe:
    """Hand in one message of a subscriber of its own."""
    subscriber = _number(number)
    word = to_key(subscriber)
    deadline = time.monotonic() + PATIENCE_S
    while not len(before := reader.account(word)):
        assert time.monotonic() < deadline, "the accounts were not delivered"
        threading.Event().wait(0.2)
    record = {
        "id": f"probe-{number}", "type": "sms", "subscriber": subscriber, "called": "99915000000",
        "start": DAY,
    }  # fmt: skip
    began = time.monotonic()
    sender.produce(topic, json.dumps(record).encode(), partition=zlib.crc32(subscriber.encode()) % PARTITIONS)
    sender.poll(0)
    return Probe(word, before.tobytes(), began)


def _ended(reader: CassandraReader, under_way: list[Probe]) -> list[float]:
    """Seconds of those whose balance has moved; they are under way no more."""
    found = []
    for probe in under_way[:ASKED_AT_ONCE]:
        if reader.account(probe.word).tobytes() != probe.before:
            found.append(time.monotonic() - probe.began)
            under_way.remove(probe)
    return found


def _until_readable(reader: CassandraReader, under_way: list[Probe]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while under_way:
        _ended(reader, under_way)
        assert time.monotonic() < deadline, "the first balance never moved"
        threading.Event().wait(0.02)


def _load(server: Server, topic: str, lines: Path, seconds: int) -> float:
    """Produce at the rate, in twenty parts a second; how long it took."""
    sender = Producer(
        {
            **server.common(),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
        }
    )
    a_part = LOAD_A_SECOND // PARTS_A_SECOND
    began = time.monotonic()
    with lines.open("rb") as file:
        for part in range(seconds * PARTS_A_SECOND):
            threading.Event().wait(max(0.0, began + part / PARTS_A_SECOND - time.monotonic()))
            for line in (file.readline() for _ in range(a_part)):
                at = line.find(b'"subscriber":"') + 14
                partition = zlib.crc32(line[at : line.find(b'"', at)]) % PARTITIONS
                sender.produce(topic, line, partition=partition)
            sender.poll(0)
    assert sender.flush(PATIENCE_S) == 0, "the broker takes everything"
    return time.monotonic() - began


def _number(at: int) -> str:
    return f"99916{at:08d}"
