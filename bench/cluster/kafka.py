"""The kafka engine: usage in as Arrow batches and as single events, state built again, beside bare consuming.

Everything shares the machine with the broker. Accounts are durable when a transaction is committed, and a figure ends
with the last commit.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.figures import Figure, median
from bench.operator import prepare
from trunkline.bootstrap.cluster.profile import Cluster
from trunkline.bootstrap.cluster.servers import brokers, jars_folder
from trunkline.bootstrap.kafka import enrol, plan_of, work_of
from trunkline.bootstrap.warming import warm
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.kafka.client import MESSAGE_OCTETS, Server, consumer
from trunkline.engines.kafka.router import Edge, Router
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.kafka.worker import Work, Worker
from trunkline.engines.plan import Plan
from trunkline.engines.wire import rows_in
from trunkline.records import charging, usage
from trunkline.settings import Folders, Servers

SUBSCRIBERS = 100_000
BUCKETS = 4
EDGE_PARTITIONS = 4
PATIENCE_S = 300.0
MESSAGES = 20_000
ARROW_GOAL = "at least 400,000, durable, with the broker on the same two cores"
JSON_GOAL = "at least 150,000, durable, with the broker on the same two cores"


@contextmanager
def broker(work: Path) -> Iterator[Server]:
    """One broker without passwords, for as long as something is measured."""
    cluster = Cluster(work / "servers", jars_folder(Servers()), leashed=True)
    only = brokers(racks=False, secure=False)
    try:
        cluster.up(list(only))
        settings = only[0].endpoint(cluster.place("kafka")).settings()
        yield Server(str(settings["bootstrap.servers"]))
    finally:
        cluster.down()


def carried(work: Path, records: int, runs: int = 3) -> list[Figure]:
    """Arrow in and out, single JSON events in and Arrow out; each beside bare consuming and decoding."""
    lines = prepare(work, records, SUBSCRIBERS)
    figures = []
    with broker(work) as server:
        figures += _arrow(server, work, lines, records, runs)
        figures += _events(server, work, lines, records, runs)
    return figures


def _arrow(server: Server, work: Path, lines: Path, records: int, runs: int) -> list[Figure]:
    plan, parts = _prepared(server, work, "arrow")
    router = Router(plan, parts.tables, parts.framing, lambda: time.time_ns() // 1000)
    values = [(m.partition, m.value) for piece in _pieces(lines) for m in router.turn([(_edge(plan), [piece])])
              if m.topic == plan.work]  # fmt: skip
    sender = _sender(server)
    told: list[tuple[str, str | bytes | None]] = [("stream", usage.DECODED.name)]

    def fill() -> None:
        for partition, value in values:
            while True:
                try:
                    sender.produce(plan.work, value, partition=partition, headers=told)
                    break
                except BufferError:
                    sender.poll(0.1)
        assert not sender.flush(PATIENCE_S), "the broker takes everything"

    fill()
    record = usage.DECODED.record
    bare = median(
        lambda: _bare(server, plan.work, records, lambda m: len(rows_in(m.value() or b"", record))), runs
    )
    rate = _charged(server, parts, plan, records, ("charger",))
    return [
        Figure(
            "kafka_arrow", rate, "CDR/s", ARROW_GOAL, 1, "bare consuming and decoding of the same topic", bare
        )
    ]


def _events(server: Server, work: Path, lines: Path, records: int, runs: int) -> list[Figure]:
    plan, parts = _prepared(server, work, "events")
    sender = _sender(server)
    topic = plan.topic(usage.RAW)
    with lines.open("rb") as file:
        for number, line in enumerate(file):
            while True:
                try:
                    sender.produce(topic, line, partition=number % EDGE_PARTITIONS)
                    break
                except BufferError:
                    sender.poll(0.1)
    assert not sender.flush(PATIENCE_S), "the broker takes everything"
    bare = median(lambda: _bare_json(server, topic, records), runs)
    rate = _charged(server, parts, plan, records, ("router", "charger"))
    return [
        Figure(
            "kafka_json",
            rate,
            "CDR/s",
            JSON_GOAL,
            1,
            "bare consuming and read_ndjson of the same topic",
            bare,
        )
    ]


def _prepared(server: Server, work: Path, prefix: str) -> tuple[Plan, Work]:
    plan = plan_of(prefix, BUCKETS)
    make(server, topics(plan, EDGE_PARTITIONS, 1), 1)
    folders = Folders(tariffs=str(work / "tariffs"))
    parts = work_of(server, plan, folders, "bench")
    warm(parts.tables)
    catalogue = parts.tables[charging.TARIFFS.name]
    assert isinstance(catalogue, Catalogue), "the tariffs are a catalogue"
    with _working(parts, ("router", "charger")) as worker:
        rows = enrol(server, plan, folders, catalogue)
        _until(worker, "charger", rows)
    return plan, parts


def _charged(server: Server, parts: Work, plan: Plan, records: int, roles: tuple[str, ...]) -> float:
    """Records a second from the first commit's beginning to the last commit."""
    before = _committed(server, plan)
    with _working(parts, roles) as worker:
        began = None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            life = worker.status()
            first = life[roles[0]].get("written", {}).get("turns", 0)
            if began is None and first:
                began = time.perf_counter(), life[roles[0]]["written"]["rows"]
            if life["charger"].get("written", {}).get("rows", 0) >= records:
                break
            threading.Event().wait(0.05)
        assert began is not None, "something was charged"
        seconds = time.perf_counter() - began[0]
    assert _committed(server, plan) - before == records, "every record was accounted for"
    return float(records - began[1]) / seconds


def _committed(server: Server, plan: Plan) -> int:
    from trunkline.engines.kafka.bucket import progress_key
    from trunkline.engines.kafka.follower import last_progress

    reader = consumer(server, "bench", {"enable.partition.eof": True})
    try:
        told = [last_progress(reader, plan, number, progress_key(number)) for number in range(plan.buckets)]
        return sum(sums[0] for each in told if each for sums in each["accounts"].values())
    finally:
        reader.close()


@contextmanager
def _working(parts: Work, roles: tuple[str, ...]) -> Iterator[Worker]:
    stop, worker = threading.Event(), Worker(parts, roles)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        thread.join()


def _until(worker: Worker, role: str, rows: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while worker.status()[role].get("written", {}).get("rows", 0) < rows:
        assert time.monotonic() < deadline, f"{role} did not come to {rows} rows"
        threading.Event().wait(0.02)


def _bare(server: Server, topic: str, records: int, decode: Callable[[Message], int]) -> float:
    with _reading(server, topic) as reader:
        count, began = 0, 0.0
        first = 0
        while count < records:
            for message in reader.consume(50, 1.0):
                count += decode(message)
            if not began and count:
                began, first = time.perf_counter(), count
        return (count - first) / (time.perf_counter() - began)


def _bare_json(server: Server, topic: str, records: int) -> float:
    with _reading(server, topic) as reader:
        count, began = 0, 0.0
        first = 0
        while count < records:
            values = [message.value() or b"" for message in reader.consume(MESSAGES, 0.2)]
            if values:
                count += len(pl.read_ndjson(io.BytesIO(b"".join(values))))
            if not began and count:
                began, first = time.perf_counter(), count
        return (count - first) / (time.perf_counter() - began)


@contextmanager
def _reading(server: Server, topic: str) -> Iterator[Consumer]:
    reader = consumer(server, "bench")
    parts = reader.list_topics(topic, PATIENCE_S).topics[topic].partitions
    reader.assign([TopicPartition(topic, part, 0) for part in parts])
    try:
        yield reader
    finally:
        reader.close()


def _sender(server: Server) -> Producer:
    return Producer({**server.common(), "acks": "all", "linger.ms": 20, "compression.type": "lz4",
                     "message.max.bytes": MESSAGE_OCTETS, "queue.buffering.max.kbytes": 256 << 10})  # fmt: skip


class _Piece:
    """A part of a file as if it had been a message."""

    def __init__(self, octets: bytes, offset: int) -> None:
        self._octets, self._offset = octets, offset

    def value(self) -> bytes:
        return self._octets

    def headers(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset


def _pieces(lines: Path) -> Iterator[Message]:
    with lines.open("rb") as file:
        for number, part in enumerate(iter(lambda: file.readlines(8 << 20), [])):
            yield _Piece(b"".join(part), number)  # type: ignore[misc]


def _edge(plan: Plan) -> Edge:
    return Edge(plan.topic(usage.RAW), 0, 0, None, {})
