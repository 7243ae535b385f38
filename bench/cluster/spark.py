"""The Spark engine: usage in as single events and as Arrow batches, how long a result takes, a start with much state.

Everything shares the machine with the broker. A micro-batch has ended when its state is on the disk, its results are
acknowledged and its offsets are in the checkpoint; a rate is counted from the end of the first few, which compile.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from confluent_kafka import Producer, TopicPartition

from bench.cluster.kafka import broker
from bench.figures import Figure, percentile
from bench.operator import prepare
from tests.cluster.spark import jars
from tests.cluster.spark.day import kill_all
from trunkline.bootstrap import spark as bootstrap
from trunkline.bootstrap import spark_what_if
from trunkline.bootstrap.catalogues import load_mappings, tariff_files
from trunkline.bootstrap.cluster.servers import jars_folder
from trunkline.bootstrap.kafka import plan_of
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.what_if import both_tariffs
from trunkline.engines.kafka.client import MESSAGE_OCTETS, Server, consumer
from trunkline.engines.plan import Plan
from trunkline.engines.spark.carry import PARTED, decode_messages
from trunkline.engines.spark.engine import MESSAGE, kafka_reading
from trunkline.engines.spark.figures import Totals
from trunkline.engines.wire import ARROW, rows_in, rows_out
from trunkline.mediation.decode import decode
from trunkline.records import charging, usage
from trunkline.settings import Folders, Kafka, Servers, Spark

SUBSCRIBERS = 100_000
BUCKETS = 4
PARTITIONS = 4
BATCHES = 8
WARM = 3  # of them are not counted: Spark compiles itself for half a minute, and a query runs for months
LINES_AT_ONCE = 10_000
LIVE_S = 20
LIVE_RATE = 20_000
EVENTS_GOAL = "at least 120,000, with the broker on the same two cores"
ARROW_GOAL = "at least 200,000, with the broker on the same two cores"


def carried(work: Path, records: int) -> list[Figure]:
    """Single JSON events and Arrow batches, each beside consuming and decoding: by Spark, and by a bare consumer."""
    lines = prepare(work, records, SUBSCRIBERS)
    connector = jars.connector(jars_folder(Servers()))
    figures = []
    with broker(work) as server:
        for name, goal, messages in (
            ("events", EVENTS_GOAL, _events(lines)),
            ("arrow", ARROW_GOAL, _arrow(lines)),
        ):
            kafka = Kafka(server.brokers, f"spark-{name}", BUCKETS, PARTITIONS, kafka_copies=1)
            plan = plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
            bootstrap.make_topics(kafka, plan)
            count = _fill(server, plan, messages)
            rate, only_decoded = _rates(work, name, kafka, connector, count // BATCHES + PARTITIONS)
            bare = _bare(server, plan, work)
            figures += [
                Figure(
                    f"spark_{name}", rate, "CDR/s", goal, 1, "consuming and decoding by Spark", only_decoded
                ),
                Figure(
                    f"spark_{name}_decoded",
                    only_decoded,
                    "CDR/s",
                    "",
                    1,
                    "a bare consumer that decodes",
                    bare,
                ),
            ]
    return figures


def what_if(work: Path, records: int) -> list[Figure]:
    """A what-if over everything that the topics hold: read, decoded, and priced by both tariffs; by a warm session."""
    lines = prepare(work, records, SUBSCRIBERS)
    connector = jars.connector(jars_folder(Servers()))
    with broker(work) as server:
        kafka = Kafka(server.brokers, "spark-what-if", BUCKETS, PARTITIONS, kafka_copies=1)
        plan = plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
        bootstrap.make_topics(kafka, plan)
        count = _fill(server, plan, _arrow(lines))
        folders = Folders(data=work / "driver-what-if", tariffs=str(work / "tariffs"))
        spark = _spark(work, "what-if", connector, count // BATCHES + PARTITIONS)
        with bootstrap.opened(folders, kafka, spark, once=True) as running:
            bootstrap.carry_on(running, threading.Event())
            tariffs = both_tariffs(folders.data, tariff_files(work / "tariffs"))
            answers = [spark_what_if.what_if(running, tariffs, BEGINNING_US, END_US) for _ in range(3)]
    assert all(answer["records"] == records and answer["ledger"]["agrees"] for answer in answers)
    seconds = min(answer["seconds"] for answer in answers)
    return [Figure("spark_what_if", records / seconds, "CDR/s", "both tariffs, over the topics' history", 3)]


def live(work: Path, seconds: int) -> list[Figure]:
    """From handed in to charged and readable in the results' topic, at 20,000 CDR/s."""
    records = LIVE_RATE * seconds
    lines = prepare(work, records, SUBSCRIBERS).read_bytes().splitlines()
    connector = jars.connector(jars_folder(Servers()))
    with broker(work) as server:
        kafka = Kafka(server.brokers, "spark-live", BUCKETS, PARTITIONS, kafka_copies=1)
        latencies = _latencies(work, server, kafka, connector, lines)
    goal = "p95 at most 3,000 ms to the serving store"
    return [
        Figure("spark_latency_p50", percentile(latencies, 0.5), "ms", goal),
        Figure("spark_latency_p95", percentile(latencies, 0.95), "ms", goal),
    ]


def recovery(work: Path, subscribers: int) -> list[Figure]:
    """From `kill -9` of everything to the first batch carried, with so many accounts."""
    prepare(work, 20_000, subscribers)
    connector = jars.connector(jars_folder(Servers()))
    with broker(work) as server:
        kafka = Kafka(server.brokers, "spark-recovery", BUCKETS, PARTITIONS, kafka_copies=1)
        plan = plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
        bootstrap.make_topics(kafka, plan)
        _fill(server, plan, _events(work / "usage.ndjson"))
        _first_batch_s(work, kafka, connector)  # opens the accounts, carries a batch and is killed
        _fill(server, plan, _events(work / "usage.ndjson"))
        seconds = _first_batch_s(work, kafka, connector)
    return [Figure("spark_recovery", seconds, "s", f"at most 30 with {subscribers:,} subscribers")]


def _events(lines: Path) -> Iterator[tuple[int, bytes]]:
    """Single events, each subscriber's in one partition."""
    for line in lines.read_bytes().splitlines():
        at = line.find(b'"subscriber":"') + 14
        yield sum(line[at : line.find(b'"', at)]) % PARTITIONS, line


def _arrow(lines: Path) -> Iterator[tuple[int, bytes]]:
    """The same, decoded before, thousands a message."""
    mappings = load_mappings()
    block = usage.RAW.record.conform(
        pl.DataFrame(
            {"file": [0], "mapping": ["trunkline"], "offset": [1], "line": [2], "bytes": [lines.read_bytes()]}
        )
    )
    for number, value in enumerate(rows_out(decode(block, mappings).rows[0])):
        yield number % PARTITIONS, value


def _fill(server: Server, plan: Plan, messages: Iterator[tuple[int, bytes]]) -> int:
    sender = _sender(server)
    count = 0
    for partition, value in messages:
        _send(sender, plan, partition, value)
        count += 1
    assert sender.flush(120) == 0
    return count


def _sender(server: Server) -> Producer:
    return Producer(
        {**server.common(), "linger.ms": 20, "compression.type": "lz4", "message.max.bytes": MESSAGE_OCTETS,
         "queue.buffering.max.messages": 1_000_000}
    )  # fmt: skip


def _send(sender: Producer, plan: Plan, partition: int, value: bytes) -> None:
    while True:
        try:
            sender.produce(plan.topic(usage.RAW), value, partition=partition)
        except BufferError:
            sender.poll(0.05)
            continue
        return


def _spark(work: Path, name: str, connector: str, messages: int, pause_ms: int = 0) -> Spark:
    return Spark("local[2]", connector, str(work / f"checkpoint-{name}"), messages, pause_ms)


def _rates(work: Path, name: str, kafka: Kafka, connector: str, messages: int) -> tuple[float, float]:
    """CDR/s from the end of the last warm micro-batch to that of the very last; and when Spark only decodes."""
    ends: list[tuple[float, int]] = []

    def told(totals: Totals) -> None:
        ends.append((time.monotonic(), totals.sums["received"]))

    folders = Folders(data=work / f"driver-{name}", tariffs=str(work / "tariffs"))
    with bootstrap.opened(
        folders, kafka, _spark(work, name, connector, messages), told, once=True
    ) as running:
        bootstrap.carry_on(running, threading.Event())
        assert len(ends) > WARM, "too few micro-batches to tell a rate"
        (first_s, first), (last_s, last) = ends[WARM - 1], ends[-1]
        seconds = min(_decoding_s(running) for _ in range(2))
    return (last - first) / (last_s - first_s), last / seconds


def _decoding_s(running: bootstrap.Running) -> float:
    """Seconds in which Spark reads and decodes everything that the topic of usage holds, and throws it away."""
    engine, plan = running.engine, running.engine.work.plan
    began = time.monotonic()
    (
        running.spark.read.format("kafka")
        .options(**kafka_reading(engine.settings))
        .option("subscribe", plan.topic(usage.RAW))
        .load()
        .selectExpr(*MESSAGE)
        .mapInArrow(decode_messages(engine.sent, None), PARTED)
        .write.format("noop")
        .mode("overwrite")
        .save()
    )
    return time.monotonic() - began


def _bare(server: Server, plan: Plan, work: Path) -> float:
    """CDR/s of a consumer that decodes and does nothing else."""
    mappings = load_mappings()
    reader = consumer(server, f"bare-{work.name}")
    places = [TopicPartition(plan.topic(usage.RAW), at, 0) for at in range(PARTITIONS)]
    left = sum(reader.get_watermark_offsets(place)[1] for place in places)
    reader.assign(places)
    rows, began = 0, time.monotonic()
    while left:
        values = [m.value() or b"" for m in reader.consume(50_000, 1.0) if not m.error()]
        left -= len(values)
        if not values:
            continue
        if values[0][:4] == ARROW:
            rows += sum(len(rows_in(value, usage.DECODED.record)) for value in values)
            continue
        block = pl.DataFrame(
            {
                "file": [0],
                "mapping": ["trunkline"],
                "offset": [1],
                "line": [2],
                "bytes": [b"\n".join(values) + b"\n"],
            }
        )
        rows += len(decode(usage.RAW.record.conform(block), mappings).rows[0])
    seconds = time.monotonic() - began
    reader.close()
    return rows / seconds


def _latencies(work: Path, server: Server, kafka: Kafka, connector: str, lines: list[bytes]) -> list[float]:
    plan = plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    bootstrap.make_topics(kafka, plan)
    stop, begun = threading.Event(), threading.Event()
    handed_in = np.zeros(len(lines))
    found: list[float] = []
    folders = Folders(data=work / "driver-live", tariffs=str(work / "tariffs"))
    with bootstrap.opened(
        folders, kafka, _spark(work, "live", connector, 100_000, 100), lambda _totals: begun.set()
    ) as running:
        driving = threading.Thread(target=bootstrap.carry_on, args=(running, stop))
        driving.start()
        sender = _sender(server)
        for at in range(LIVE_RATE):  # the first second compiles, and is not counted
            _send(sender, plan, at % PARTITIONS, lines[at])
        sender.flush(30)
        assert begun.wait(240), "Spark did not begin"
        reading = threading.Thread(
            target=_read, args=(server, plan, handed_in, found, len(lines) - LIVE_RATE)
        )
        reading.start()
        began = time.monotonic()
        for first in range(LIVE_RATE, len(lines), 1_000):
            threading.Event().wait(max(0.0, began + (first - LIVE_RATE) / LIVE_RATE - time.monotonic()))
            handed_in[first : first + 1_000] = time.monotonic()
            for at in range(first, min(first + 1_000, len(lines))):
                _send(sender, plan, at % PARTITIONS, lines[at])
            sender.poll(0)
        sender.flush(30)
        reading.join(120)
        stop.set()
        driving.join(60)
    assert len(found) == len(lines) - LIVE_RATE, f"{len(found)} of {len(lines) - LIVE_RATE} came out"
    return found


def _read(server: Server, plan: Plan, handed_in: np.ndarray, found: list[float], wanted: int) -> None:
    """Milliseconds from handed in to read in the results' topic, of each record."""
    reader = consumer(server, "latency")
    reader.assign([TopicPartition(plan.topic(charging.CHARGED), at, 0) for at in range(BUCKETS)])
    until = time.monotonic() + LIVE_S * 6
    while len(found) < wanted and time.monotonic() < until:
        for message in reader.consume(1_000, 0.05):
            now = time.monotonic()
            names = rows_in(message.value() or b"", charging.CHARGED.record)["record_id"]
            began = handed_in[names.str.slice(1).cast(pl.Int64).to_numpy()]
            found.extend(((now - began[began > 0]) * 1000).tolist())
    reader.close()


def _first_batch_s(work: Path, kafka: Kafka, connector: str) -> float:
    """Seconds from the start of a process to its first batch; it is killed then."""
    code = (
        "import sys, threading; from pathlib import Path\n"
        "from trunkline.bootstrap import spark\n"
        "from trunkline.settings import Folders, Kafka, Spark\n"
        "work, brokers, prefix, jars = sys.argv[1:]\n"
        "kafka = Kafka(brokers, prefix, 4, 4, kafka_copies=1)\n"
        "chosen = Spark('local[2]', jars, work + '/checkpoint-recovery', 10_000, 0)\n"
        "told = lambda _totals: print('batch', flush=True)\n"
        "folders = Folders(data=Path(work) / 'driver-recovery', tariffs=work + '/tariffs')\n"
        "with spark.opened(folders, kafka, chosen, told) as running:\n"
        "    spark.carry_on(running, threading.Event())\n"
    )
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(work), kafka.kafka_brokers, kafka.kafka_prefix, connector],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert any(line.startswith("batch") for line in process.stdout), "it ended before its first batch"
        return time.monotonic() - began
    finally:
        kill_all(process)
