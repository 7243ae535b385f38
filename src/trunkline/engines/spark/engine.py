"""The driver's side: one streaming query that gives every micro-batch to the buckets, and tells how it goes.

Spark's checkpoint owns the offsets: a batch is written down before it is begun and done again, the same, until it has
ended. State and arrival numbers are versions of the batch, so doing it again changes nothing. Results may reach their
topics twice after a crash, with the same values under the same identities; who keeps them keeps one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- as all of Spark's own pages call it
from pyspark.sql.streaming.query import StreamingQuery

from trunkline.engines.loop import Carried
from trunkline.engines.spark.blobs import NEWEST, Head, newest_versions
from trunkline.engines.spark.carry import (
    NAMES,
    PARTED,
    PARTED_SCHEMA,
    SUMS_FOLDER,
    WRITTEN,
    Work,
    carry_bucket,
    decode_messages,
    parted,
)
from trunkline.engines.spark.figures import SUMS, Totals
from trunkline.engines.spark.minutes import Minutes, To, start
from trunkline.kernel.flow import Flow

ENROLLED = "enrolled"
ENROLLING = "enrolling"  # the folder of the accounts that are there from the beginning
DAY_US = 86_400_000_000
STATE_FOLDER = "buckets"
CHARGING = "charging"  # the query, and the folder of its offsets and commits
# What tasks are told of a message. Its headers are taken apart by Spark: while it fills an Arrow batch it asks after
# each row how large that is, and a column of empty lists answers by going over all rows so far.
MESSAGE = (
    "topic", "partition", "offset", "unix_micros(timestamp) AS time_us", "value",
    *(f"coalesce(try_element_at(filter(headers, h -> h.key = '{name}'), -1).value, X'') AS {name}" for name in NAMES),
)  # fmt: skip


class Unbalanced(Exception):
    """What came in did not all come out; nothing of the batch is taken as done."""


@dataclass(frozen=True)
class Settings:
    """How the query runs."""

    servers: str
    checkpoint: Path  # a folder that the driver and every executor see
    most_messages: int = 200_000  # a micro-batch; an Arrow message holds thousands of records
    split_messages: int = 25_000  # a partition's share above this is decoded by several tasks
    pause_s: float = 0.0  # between micro-batches, when there is something to do
    once: bool = False  # take what is there and end
    kafka: Mapping[str, str] = field(
        default_factory=dict
    )  # the connector's own, such as kafka.security.protocol

    @property
    def state(self) -> str:
        """Where the buckets' state lies: beside the checkpoint, whose fate it shares."""
        return str(self.checkpoint / STATE_FOLDER)


class Engine:
    """Carries what the edges' topics bring through the map's flows."""

    def __init__(
        self,
        spark: SparkSession,
        work: Work,
        settings: Settings,
        told: Callable[[Totals], None] = lambda _totals: None,
    ) -> None:
        """Build an engine; it does nothing before `start`. `told` is called after every batch."""
        self.spark, self.work, self.settings = spark, work, settings
        self.totals = self._begun(newest_versions(Path(settings.state), NEWEST))
        self._told = told
        self.sent = spark.sparkContext.broadcast(work)

    def _begun(self, versions: Sequence[tuple[Head, int]]) -> Totals:
        """What was done before this process began."""
        return totals_of(versions, 0)

    def start(self) -> list[StreamingQuery]:
        """Begin, or go on where the checkpoint stands: charging, and the sums a minute.

        When only what is there is taken, charging has ended before its sums are begun.
        """
        queries = [self._charging()]
        if self.settings.once:
            queries[0].awaitTermination()
        if self.work.minutes is not None:
            queries.append(self._summing(self.work.minutes))
        return queries

    def enrol(self, flow: Flow, rows: pl.DataFrame) -> None:
        """Carry rows through a flow before the first batch ever: the accounts that are there from the beginning.

        Later ones come through their topic; what is carried here is carried once, whatever crashes. The rows go by
        the checkpoint's folder: Spark's driver does not hold millions of people on its heap.
        """
        done, folder = self.settings.checkpoint / ENROLLED, self.settings.checkpoint / ENROLLING
        shutil.rmtree(folder, ignore_errors=True)  # what a crash has left is written anew
        if done.exists():
            return
        edge = flow.steps[0].reads
        cells = parted(self.work.plan, Carried({edge.name: [edge.record.conform(rows)]}), 0)
        folder.mkdir(parents=True)
        for piece, (bucket, name, value) in enumerate(cells):
            cell = [[bucket], [name], [0], [0], [piece], [value]]
            pq.write_table(pa.table(cell, schema=PARTED_SCHEMA), folder / f"{piece}.parquet")
        self._write(self._carried(self.spark.read.schema(PARTED).parquet(str(folder)), 0, 0))
        done.touch()
        shutil.rmtree(folder)

    def _summing(self, minutes: Minutes) -> StreamingQuery:
        to = To(self.work.plan.topic(minutes.writes), self.work.plan.buckets, kafka_writing(self.settings))
        checkpoint = self.settings.checkpoint
        return start(self.spark, minutes, checkpoint / SUMS_FOLDER, checkpoint / "summing", to, self._trigger)

    @property
    def _trigger(self) -> dict[str, Any]:
        if self.settings.once:
            return {"availableNow": True}
        return {"processingTime": f"{int(self.settings.pause_s * 1000)} milliseconds"}

    def _charging(self) -> StreamingQuery:
        writer = (
            self._messages()
            .writeStream.queryName(CHARGING)
            .foreachBatch(self._carry)
            .option("checkpointLocation", str(self.settings.checkpoint / CHARGING))
        )
        query: StreamingQuery = writer.trigger(**self._trigger).start()
        return query

    def _messages(self) -> DataFrame:
        """The edges' topics as a stream of messages."""
        settings, plan = self.settings, self.work.plan
        reader = (
            self.spark.readStream.format("kafka")
            .options(**kafka_reading(settings))
            .option("subscribe", ",".join(plan.topic(stream) for stream in plan.edges))
            .option("maxOffsetsPerTrigger", settings.most_messages)
        )
        return reader.load().selectExpr(*MESSAGE)

    def _carry(self, messages: DataFrame, batch: int) -> None:
        """One micro-batch; called again with the same messages and number when it did not come to its end."""
        number = batch + 1  # version 0 is what was there before the first batch
        heads = [head for head, _ in newest_versions(Path(self.settings.state), number)]
        newest_day = max((head.newest_day for head in heads), default=0)
        newest_us = max((head.newest_us for head in heads), default=0)
        until_us = (newest_day + 1) * DAY_US if newest_day else None
        decoded = messages.mapInArrow(decode_messages(self.sent, until_us), PARTED)
        self._write(self._carried(decoded, number, newest_us))
        self._look(number)

    def _carried(self, cells: DataFrame, number: int, newest_us: int) -> DataFrame:
        """Every bucket's rows in the one task that carries it."""
        return cells.repartitionById(self.work.plan.buckets, F.col("bucket")).mapInArrow(
            carry_bucket(self.sent, number, newest_us), WRITTEN
        )

    def _write(self, messages: DataFrame) -> None:
        messages.write.format("kafka").options(**kafka_writing(self.settings)).save()

    def _look(self, number: int) -> None:
        """Read from the buckets' new versions what became of everything; refuse to go on when something is missing."""
        totals = totals_of(newest_versions(Path(self.settings.state), number + 1), self.totals.batches + 1)
        out = sum(totals.sums[name] for name in ("rated", "duplicate", "rejected", "held"))
        if totals.sums["received"] != out:
            raise Unbalanced(f"of {totals.sums['received']} records {out} came out: {totals.sums}")
        self.totals = totals
        self._told(self.totals)


def totals_of(versions: Sequence[tuple[Head, int]], batches: int) -> Totals:
    """What the heads of the buckets' versions say together."""
    heads = [head for head, _ in versions]
    sums = [sum(each) for each in zip(*(s for head in heads for s in head.accounts.values()), strict=True)]
    return Totals(
        batches,
        dict(zip(SUMS, sums or [0] * len(SUMS), strict=True)),
        alerts=sum(head.told for head in heads),
        poisoned=sum(head.poisoned for head in heads),
        state_keys=sum(head.keys for head in heads),
        state_octets=sum(octets for _, octets in versions),
        late=sum(head.late for head in heads),
        slowest_us=max((head.carried_us for head in heads), default=0),
    )


def kafka_options(settings: Settings) -> dict[str, str]:
    """What the connector must know to reach the brokers."""
    return {"kafka.bootstrap.servers": settings.servers, **settings.kafka}


def kafka_reading(settings: Settings) -> dict[str, str]:
    """What the connector's consumers are told besides. Before each poll it throws away what the client has fetched
    ahead and asks for the ends of the partition anew; so a poll brings a whole share, not the client's five hundred.
    """
    return {
        "kafka.max.poll.records": str(settings.split_messages),
        "kafka.max.partition.fetch.bytes": str(4 << 20),
        "kafka.isolation.level": "read_committed",
        "maxRecordsPerPartition": str(settings.split_messages),
        "includeHeaders": "true",
        "startingOffsets": "earliest",
        **kafka_options(settings),
    }


def kafka_writing(settings: Settings) -> dict[str, str]:
    """What the connector's producers are told besides."""
    return {
        **kafka_options(settings), "kafka.acks": "all", "kafka.enable.idempotence": "true", "kafka.linger.ms": "5",
        "kafka.compression.type": "lz4", "kafka.max.request.size": str(8 << 20),
    }  # fmt: skip
