"""One small simulated day, charged embedded and put on the topics of a cluster, and what comes out of those topics."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from confluent_kafka import Consumer, Producer, TopicPartition

from trunkline.bootstrap.kafka import plan_of
from trunkline.bootstrap.platform import ingest
from trunkline.bootstrap.platform import opened as opened_embedded
from trunkline.bootstrap.spark import make_topics
from trunkline.engines.plan import Plan, buckets_of
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.spark.carry import bucket_folder
from trunkline.engines.wire import rows_in, rows_out
from trunkline.kernel.flow import Stream
from trunkline.records import charging, usage
from trunkline.settings import Folders, Kafka
from trunkline.simulator import LIVELY_FAULTS, Settings, simulate
from trunkline.stores.embedded.reader import EmbeddedReader

PARTITIONS = 4
EVER = (-(2**62), 2**62)
# A damaged date of years ago is too old as soon as a batch before it was charged, and has no tariff in the first.
BY_CUT = {"too_old", "tariff_not_found"}
PATIENCE_S = 60
USAGE = (
    "source", "record_id", "kind", "subscriber", "start_us", "units", "plan", "destination", "list_micros",
    "charged_micros", "allowance_units", "late",
)  # fmt: skip
ALERTS = ("alert_id", "subscriber", "time_us", "kind", "balance", "threshold", "value", "period")
ENTRIES = (
    "subscriber", "time_us", "cause", "unit", "debit", "credit", "amount", "balance", "period", "before", "after",
    "granted",
)  # fmt: skip


@dataclass(frozen=True)
class Day:
    """A simulated day and what the embedded engine made of it."""

    folder: Path
    lines: list[bytes]
    embedded: EmbeddedReader


def simulated(folder: Path, subscribers: int = 150, hours: int = 24) -> Day:
    """Simulate a day with all its faults and charge it embedded."""
    simulate(Settings(seed=11, subscribers=subscribers, cells=10, hours=hours, **LIVELY_FAULTS), folder)
    octets = b"".join(path.read_bytes() for path in sorted((folder / "cdrs").iterdir()))
    (folder / "all.ndjson").write_bytes(octets)
    with opened_embedded(Folders(data=folder / "embedded", tariffs=str(folder / "tariffs"))) as platform:
        assert not ingest(platform, [folder / "all.ndjson"], None, None).troubles
    return Day(folder, octets.splitlines(), EmbeddedReader(folder / "embedded"))


def topics_of(servers: str, prefix: str) -> Plan:
    """A plan under a prefix of its own, so that tests do not meet on one broker, and its topics."""
    kafka = Kafka(servers, prefix, PARTITIONS, kafka_edge_partitions=PARTITIONS, kafka_copies=1)
    plan = plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    make_topics(kafka, plan)
    return plan


def produce(servers: str, plan: Plan, lines: Iterable[bytes]) -> None:
    """Put events on the raw topic, each subscriber's in one partition, in their order.

    Without idempotence a batch that a new topic's leader refuses at first is sent again behind the next one.
    """
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "enable.idempotence": True})
    for line in lines:
        found = re.search(rb'"subscriber":"([^"]*)"', line)
        partition = zlib.crc32(found[1] if found else line) % PARTITIONS
        producer.produce(plan.topic(usage.RAW), line, partition=partition)
        producer.poll(0)
    assert producer.flush(PATIENCE_S) == 0


def kept(servers: str, plan: Plan, stream: Stream) -> pl.DataFrame:
    """Everything that stands in the topic of a stream, copies and all, in the order of its partitions."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "tests", "enable.auto.commit": False})
    frames = []
    try:
        for partition in range(PARTITIONS):
            place = TopicPartition(plan.topic(stream), partition, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=PATIENCE_S)
            consumer.assign([place])
            at = 0
            while at < end:
                message = consumer.poll(PATIENCE_S)
                assert message is not None, "the topic has no more, though it said so"
                assert not message.error(), message.error()
                frames.append(rows_in(message.value() or b"", stream.record))
                at = (message.offset() or 0) + 1
    finally:
        consumer.close()
    return pl.concat(frames) if frames else stream.record.empty()


def compared(rows: pl.DataFrame, columns: Sequence[str], key: Sequence[str] | None = None) -> pl.DataFrame:
    """Columns in the order of their values; with a key, copies count once and must say the same."""
    plain = rows.select(
        pl.col(name).cast(pl.String) if rows.schema[name] == pl.Categorical else pl.col(name)
        for name in columns
    )
    if key is not None:
        plain = plain.unique()
        assert plain.select(key).is_unique().all(), "two copies under one identity say different things"
    return plain.sort(columns)


def assert_same_day(day: Day, servers: str, plan: Plan, checkpoint: Path) -> None:
    """Everything that reached the topics, and the state, is what the embedded engine made, to the micro-unit."""
    known = day.embedded
    rated = kept(servers, plan, charging.CHARGED)
    identity = ("source", "record_id")
    found, wanted = compared(rated, USAGE, identity), compared(known.usage(None, *EVER, 10**7), USAGE)
    differing = wanted.join(found, on=USAGE, how="anti", nulls_equal=True)
    assert len(found) == len(wanted), f"{len(found)} records were charged, not {len(wanted)}"
    assert found.equals(wanted), differing.head(5).to_dicts()
    alerts = kept(servers, plan, charging.ALERTS)
    assert compared(alerts, ALERTS, ("alert_id",)).equals(compared(known.alerts(0, 10**7), ALERTS))
    entries = kept(servers, plan, charging.ENTRIES).unique(("seq", "part"))
    assert compared(entries, ENTRIES).equals(compared(known.entries(None, *EVER, 10**7), ENTRIES))
    assert_same_rejects(day, servers, plan)
    assert_same_accounts(day, plan, checkpoint)


def assert_same_rejects(day: Day, servers: str, plan: Plan) -> None:
    """The same records are set aside for the same reasons.

    A copy of a record that rating rejects is a duplicate within the record's batch and a rejected record in a later
    one, because a rejected record may come again; so both together are compared, and what is rejected for what.
    """
    place = ("file", "offset")
    rejected, held, copies = (
        kept(servers, plan, stream).unique(place) for stream in (usage.REJECTED, usage.HELD, usage.DUPLICATES)
    )
    known = day.embedded
    assert held["reason"].value_counts().rows() == known.held(10**7)["reason"].value_counts().rows()
    reasons = [set(rows["reason"]) - BY_CUT for rows in (rejected, known.rejects(None, 10**7))]
    assert reasons[0] == reasons[1]
    assert len(rejected) + len(copies) == sum(each.rejected + each.duplicate for each in known.accounting())


def assert_same_accounts(day: Day, plan: Plan, checkpoint: Path) -> None:
    """Every balance is the same."""
    accounts = day.embedded.accounts()
    of_bucket = buckets_of(accounts.keys, plan.buckets)
    assert len(accounts)
    for bucket in range(plan.buckets):
        state = Bucket(bucket_folder(str(checkpoint / "buckets"), bucket), plan.states, 2**40)
        keys = accounts.keys[of_bucket == bucket]
        found = state.gather(charging.ACCOUNTS, keys)
        for key in keys.tolist():
            assert np.array_equal(np.sort(found.rows_of(key)), np.sort(accounts.rows_of(key))), (
                "a balance differs"
            )


def assert_same_minutes(servers: str, plan: Plan) -> None:
    """The last row of each minute holds its sums, each use once; late uses are in it once history was reconciled."""
    rated, minutes = kept(servers, plan, charging.CHARGED), kept(servers, plan, charging.MINUTES)
    key = ["subscriber", "minute_us", "kind"]
    wanted = (
        rated.unique(("source", "record_id"))
        .group_by("subscriber", (pl.col("start_us") // 60_000_000 * 60_000_000).alias("minute_us"), "kind")
        .agg(pl.len().cast(pl.Int64).alias("uses"), pl.col("units", "charged_micros").sum())
    )
    last = minutes.unique(key, keep="last", maintain_order=True)
    assert last.select(wanted.columns).sort(key).equals(wanted.sort(key))


def environment(servers: str, plan: Plan, checkpoint: Path, jars: str, **more: str) -> dict[str, str]:
    """The settings of a process that runs Spark on the test's topics."""
    chosen = {
        "kafka_brokers": servers, "kafka_prefix": plan.prefix, "kafka_buckets": str(plan.buckets),
        "kafka_edge_partitions": str(PARTITIONS), "kafka_copies": "1",
        "spark_master": "local[2,40]", "spark_jars": jars, "spark_checkpoint": str(checkpoint), **more,
    }  # fmt: skip
    return (
        os.environ
        | {f"TRUNKLINE_{name.upper()}": value for name, value in chosen.items()}
        | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    )


def words(*command: str) -> list[str]:
    """A command of trunkline, in a process of its own."""
    return [sys.executable, "-c", "from trunkline.cli import main; main()", *command]


def reconciled(
    servers: str, plan: Plan, checkpoint: Path, jars: str, timeout_s: float = 600
) -> dict[str, Any]:
    """What `trunkline reconcile --engine spark` finds."""
    done = subprocess.run(
        words("reconcile", "--engine", "spark", "--json", "--data", str(checkpoint / "driver")),
        env=environment(servers, plan, checkpoint, jars), capture_output=True, text=True, timeout=timeout_s,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 7), done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def hand_in(servers: str, topic: str, partition: int, rows: pl.DataFrame) -> None:
    """Put rows on a topic as one of our own steps would."""
    producer = Producer({"bootstrap.servers": servers})
    for value in rows_out(rows):
        producer.produce(topic, value, partition=partition)
    assert producer.flush(PATIENCE_S) == 0


class Life:
    """One process of `trunkline run --engine spark`, with everything that it starts."""

    def __init__(self, day: Day, servers: str, plan: Plan, checkpoint: Path, jars: str, **more: str) -> None:
        self.process = subprocess.Popen(
            words("run", "--engine", "spark", "--once", "--json", "--data", str(checkpoint / "driver"), "--tariffs",
                  str(day.folder / "tariffs")),
            env=environment(servers, plan, checkpoint, jars, **more), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.batches = threading.Semaphore(0)
        self.said: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if "slowest bucket" in line:
                self.batches.release()
        self.batches.release()  # it has ended; nobody need wait for more

    def result(self, timeout_s: float) -> dict[str, Any]:
        """What it says at its end."""
        out, _ = self.process.communicate(timeout=timeout_s)
        assert self.process.returncode == 0, "".join(self.said[-40:])
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def kill(self) -> None:
        """`kill -9` of the driver, its JVM and its workers, unless it has ended; they write no more."""
        if self.process.poll() is None:
            kill_all(self.process)

    def executors(self) -> list[int]:
        """JVMs of its executors, where they are processes of their own."""
        return self._started("CoarseGrainedExecutorBackend")

    def pythons(self) -> list[int]:
        """Its Python workers, and the processes that they are forked from."""
        return self._started("pyspark.daemon")

    def _started(self, what: str) -> list[int]:
        return [pid for pid, command in descendants(self.process.pid).items() if what in command]


def kill_all(process: subprocess.Popen[str]) -> None:
    """`kill -9` of a driver and of everything that it started, and wait until it is gone."""
    started = descendants(process.pid)  # asked before it dies: orphans have another parent
    for pid in (process.pid, *started):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE_S)


def descendants(driver: int) -> dict[int, str]:
    """Processes that a process started, and those that they started, with their commands."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        commands[int(folder.name)] = command
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found = {}
    for pid, command in commands.items():
        at = parents[pid]
        while at not in (0, 1, driver):
            at = parents.get(at, 0)
        if at == driver:
            found[pid] = command
    return found
