"""The kafka engine: usage in as Arrow batches and as single events, state built again, beside bare consuming.

Everything shares the machine with the broker. Accounts are durable when a transaction is committed, and a figure ends
with the last commit.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.figures import Figure, median
from bench.operator import prepare
from trunkline.bootstrap.cluster.profile import Cluster
from trunkline.bootstrap.cluster.servers import brokers, jars_folder
from trunkline.bootstrap.kafka import enrol, plan_of, work_of
from trunkline.bootstrap.warming import warm
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.kafka.bucket import progress_key
from trunkline.engines.kafka.client import MESSAGE_OCTETS, Server, consumer
from trunkline.engines.kafka.follower import last_progress
from trunkline.engines.kafka.promising import ROLES
from trunkline.engines.kafka.router import Edge, Router
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.kafka.worker import Work, Worker
from trunkline.engines.plan import STREAM, Plan
from trunkline.engines.wire import rows_in
from trunkline.records import charging, usage
from trunkline.settings import Folders, Servers

SUBSCRIBERS = 100_000
BUCKETS = 4
EDGE_PARTITIONS = 4
PATIENCE_S = 300.0
MESSAGES = 20_000
RECOVERED_BUCKETS = 8
ENROLLED_A_SECOND = 2_000  # at least, on a machine with other work
QUIX = "TRUNKLINE_BENCH_QUIX"  # a Python that has quixstreams; its pins and ours do not go together
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
    plan, parts = _prepared(server, work, "arrow", BUCKETS)
    messages = _fill(server, plan, parts, lines)
    record = usage.DECODED.record
    bare = median(
        lambda: _bare(server, plan.work, records, lambda m: len(rows_in(m.value() or b"", record))), runs
    )
    rate, cost_us = _charged(server, parts, plan, records, ("charger",))
    beside = "bare consuming and decoding of the same topic"
    figures = [
        Figure("kafka_arrow", rate, "CDR/s", ARROW_GOAL, 1, beside, bare),
        Figure("kafka_arrow_cost", cost_us, "us of processor/CDR", "less than 4, of two cores"),
    ]
    return figures + _beside_quix(server, "kafka_arrow_quix", rate, plan.work, "arrow", messages, records)


def _fill(server: Server, plan: Plan, parts: Work, lines: Path) -> int:
    """Usage in the work topic, as the router leaves it there; how many messages."""
    router = Router(plan, parts.tables, parts.framing, lambda: time.time_ns() // 1000)
    told: list[tuple[str, str | bytes | None]] = [(STREAM, usage.DECODED.name)]
    sender, count = _sender(server), 0
    for piece in _pieces(lines):
        for message in router.turn([(_edge(plan), [piece])]):
            if message.topic == plan.work:
                _send(sender, plan.work, message.value, message.partition, told)
                count += 1
    assert not sender.flush(PATIENCE_S), "the broker takes everything"
    return count


def _events(server: Server, work: Path, lines: Path, records: int, runs: int) -> list[Figure]:
    plan, parts = _prepared(server, work, "events", BUCKETS)
    sender = _sender(server)
    topic = plan.topic(usage.RAW)
    with lines.open("rb") as file:
        for number, line in enumerate(file):
            _send(sender, topic, line, number % EDGE_PARTITIONS)
    assert not sender.flush(PATIENCE_S), "the broker takes everything"
    bare = median(lambda: _bare_json(server, topic, records), runs)
    rate, cost_us = _charged(server, parts, plan, records, ("router", "charger"))
    beside = "bare consuming and read_ndjson of the same topic"
    figures = [
        Figure("kafka_json", rate, "CDR/s", JSON_GOAL, 1, beside, bare),
        Figure("kafka_json_cost", cost_us, "us of processor/CDR", "less than 11, of two cores"),
    ]
    return figures + _beside_quix(server, "kafka_json_quix", rate, topic, "json", records, records)


def _beside_quix(
    server: Server, name: str, rate: float, topic: str, kind: str, messages: int, records: int
) -> list[Figure]:
    """Ours beside Quix Streams, exactly once, on the same topic, where a Python that has it is named."""
    python = os.environ.get(QUIX)
    if not python:
        return []
    done = subprocess.run(
        [python, str(Path(__file__).with_name("quix.py")), server.brokers, topic, kind, str(messages)],
        stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    theirs = float(done.stdout.split()[-1]) * records / messages
    beside = "Quix Streams, exactly once: decode, add a column, encode; no state, no charging"
    return [Figure(name, rate, "CDR/s", "faster, though it charges", 1, beside, theirs)]


def growth(work: Path, records: int) -> list[Figure]:
    """Processor time a record of two workers that share double the buckets, beside two that have nothing to do with
    each other: where there are no more cores, those who grow must not be told to be slower for sharing them.
    """
    both = prepare(work / "both", records, SUBSCRIBERS)
    one = prepare(work / "one", records // 2, SUBSCRIBERS // 2)
    with broker(work) as server:
        strangers = []
        for name in ("growth-a", "growth-b"):
            plan, parts = _prepared(server, one.parent, name, BUCKETS)
            _fill(server, plan, parts, one)
            strangers.append(plan)
        apart = _cost_us(server, [(plan, "bench-0") for plan in strangers], records)
        plan, parts = _prepared(server, both.parent, "growth", BUCKETS * 2)
        _fill(server, plan, parts, both)
        together = _cost_us(server, [(plan, "bench-0"), (plan, "bench-1")], records)
    goal = "at most 1.15 times the cost with half the buckets and workers"
    beside = (
        f"two clusters of {BUCKETS} buckets and one worker, each with half of the records and subscribers"
    )
    return [Figure("kafka_growth", together, "us of processor/CDR", goal, 1, beside, apart)]


def _cost_us(server: Server, workers: Sequence[tuple[Plan, str]], records: int) -> float:
    """Processor time a record of workers, each a process, from when all of them are at work to the last record."""
    with ExitStack() as stack:
        running = [stack.enter_context(_process(server, plan, name, 0)) for plan, name in workers]
        lives = [stack.enter_context(_followed(process)) for process in running]
        deadline = time.monotonic() + PATIENCE_S
        began: list[Life] = []
        while sum(life[-1].rows for life in lives) < records:
            if not began and all(life[-1].rows for life in lives):
                began = [life[-1] for life in lives]
            assert time.monotonic() < deadline, "every record is charged"
            threading.Event().wait(0.02)
        ended = [life[-1] for life in lives]
    assert began, "all of them were at work"
    rows = sum(after.rows - before.rows for before, after in zip(began, ended, strict=True))
    return sum(after.used_us - before.used_us for before, after in zip(began, ended, strict=True)) / rows


def recovery(work: Path, subscribers: int) -> list[Figure]:
    """After `kill -9`: the only worker again under its name, and half of all taken over by another, cold and warm."""
    prepare(work, 1_000, subscribers)
    figures = []
    with broker(work) as server:
        plan, _ = _prepared(server, work, "recovery", RECOVERED_BUCKETS)
        all_ = plan.buckets
        with _process(server, plan, "one", 0) as first:
            _has(first, all_)
            began = time.perf_counter()
            first.kill()
            with _process(server, plan, "one", 0) as again:
                _has(again, all_)
                figures.append(_recovered("kafka_recovery_restart", began, subscribers))
        for standby, name in ((0, "kafka_recovery_cold"), (1, "kafka_recovery_warm")):
            heir, victim = f"heir-{standby}", f"victim-{standby}"
            with _process(server, plan, heir, standby) as left:
                _has(left, all_)
                with _process(server, plan, victim, 0) as gone:
                    _has(gone, all_ // 2)
                    _has(left, all_ // 2, level=all_ // 2 if standby else 0)
                    began = time.perf_counter()
                    gone.kill()
                    _has(left, all_)
                    figures.append(_recovered(name, began, subscribers))
    return figures


def _recovered(name: str, began: float, subscribers: int) -> Figure:
    goal = f"at most 30 s with the state of {subscribers:,} subscribers"
    return Figure(name, time.perf_counter() - began, "s", goal)


@contextmanager
def _process(server: Server, plan: Plan, name: str, standby: int) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own, which says whenever it has other buckets or copies."""
    code = (
        "import sys\n"
        "from bench.cluster.kafka import tell_of\n"
        "brokers, prefix, buckets, name, standby = sys.argv[1:]\n"
        "tell_of(brokers, prefix, int(buckets), name, int(standby))\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code, server.brokers, plan.prefix, str(plan.buckets), name, str(standby)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.wait(PATIENCE_S)


class Life(NamedTuple):
    """What a worker says of itself: buckets it has, copies that are level, records charged, processor time used."""

    buckets: int
    level: int
    rows: int
    used_us: int


@contextmanager
def _followed(running: subprocess.Popen[str]) -> Iterator[list[Life]]:
    """All that a worker says, as it says it."""
    said = [Life(0, 0, 0, 0)]

    def follow() -> None:
        assert running.stdout is not None
        said.extend(Life(*map(int, line.split())) for line in running.stdout)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield said
    finally:
        running.kill()
        thread.join(PATIENCE_S)


def tell_of(brokers_: str, prefix: str, buckets: int, name: str, standby: int) -> None:
    """A worker's life in a process of its own, which tells whenever it has come further."""
    server, plan = Server(brokers_), plan_of(prefix, buckets)
    parts = work_of(server, plan, Folders(), name, named=True, standby=standby)
    worker, said = Worker(parts, ("charger",), ROLES), Life(-1, -1, -1, -1)
    threading.Thread(target=worker.run, args=(threading.Event(),), daemon=True).start()
    while True:
        status = worker.status()
        charger = status["charger"]
        life = Life(
            len(charger.get("buckets", [])),
            len(status.get("standby", {}).get("level", [])),
            charger.get("written", {}).get("rows", 0),
            time.process_time_ns() // 1000,
        )
        if life[:3] != said[:3]:
            sys.stdout.write(" ".join(map(str, life)) + "\n")
            sys.stdout.flush()
            said = life
        threading.Event().wait(0.05)


def _has(running: subprocess.Popen[str], buckets: int, level: int = 0) -> None:
    """Return when a worker says that it has so many buckets, and so many copies that are level."""
    assert running.stdout is not None
    for line in running.stdout:
        life = Life(*map(int, line.split()))
        if life.buckets == buckets and life.level >= level:
            return
    raise AssertionError(f"it ended before it had {buckets} buckets")


def _prepared(server: Server, work: Path, prefix: str, buckets: int) -> tuple[Plan, Work]:
    plan = plan_of(prefix, buckets)
    make(server, topics(plan, EDGE_PARTITIONS, 1), 1)
    folders = Folders(tariffs=str(work / "tariffs"))
    parts = work_of(server, plan, folders, "bench")
    warm(parts.tables)
    catalogue = parts.tables[charging.TARIFFS.name]
    assert isinstance(catalogue, Catalogue), "the tariffs are a catalogue"
    with _working(parts, ("router", "charger")):
        rows = enrol(server, plan, folders, catalogue)
        deadline = time.monotonic() + PATIENCE_S + rows / ENROLLED_A_SECOND
        while sum(each["arrivals"] for each in _told(server, plan)) < rows:
            assert time.monotonic() < deadline, f"{rows} subscribers were not enrolled"
            threading.Event().wait(0.5)
    return plan, parts


def _charged(
    server: Server, parts: Work, plan: Plan, records: int, roles: tuple[str, ...]
) -> tuple[float, float]:
    """Records a second from the first commit to the last, and processor time of ours a record, all of them, in us."""
    before = _committed(server, plan)
    with _working(parts, roles) as worker:
        began = None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            first = _written(worker, roles[0])
            if began is None and first:
                began = time.perf_counter(), first, time.process_time()
            if _written(worker, "charger") >= records:
                break
            threading.Event().wait(0.05)
        assert began is not None, "something was charged"
        seconds, used = time.perf_counter() - began[0], time.process_time() - began[2]
    assert _committed(server, plan) - before == records, "every record was accounted for"
    return (records - began[1]) / seconds, used / (records - began[1]) * 1e6


def _written(worker: Worker, role: str) -> int:
    found: int = worker.status()[role].get("written", {}).get("rows", 0)
    return found


def _committed(server: Server, plan: Plan) -> int:
    """Records that came out of buckets, as committed."""
    return sum(sums[0] for each in _told(server, plan) for sums in each["accounts"].values())


def _told(server: Server, plan: Plan) -> list[dict[str, Any]]:
    """How far every bucket is that is anywhere."""
    reader = consumer(server, "bench", {"enable.partition.eof": True})
    try:
        told = [last_progress(reader, plan, number, progress_key(number)) for number in range(plan.buckets)]
        return [each for each in told if each]
    finally:
        reader.close()


@contextmanager
def _working(parts: Work, roles: tuple[str, ...]) -> Iterator[Worker]:
    stop, worker = threading.Event(), Worker(parts, roles, ROLES)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        thread.join()


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


def _send(
    sender: Producer,
    topic: str,
    value: bytes,
    partition: int,
    told: list[tuple[str, str | bytes | None]] | None = None,
) -> None:
    while True:
        try:
            sender.produce(topic, value, partition=partition, headers=told)
        except BufferError:
            sender.poll(0.1)
            continue
        return


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
