"""The driver's side: one streaming query that gives every micro-batch to the buckets, and tells how it goes.

Spark's checkpoint owns the offsets: a batch is written down before it is begun and done again, the same, until it has
ended. State and arrival numbers are versions of the batch, so doing it again changes nothing. Results may reach their
topics twice after a crash, with the same values under the same identities; who keeps them keeps one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- as all of Spark's own pages call it
from pyspark.sql.streaming.query import StreamingQuery

from trunkline.engines.spark.blobs import newest_versions
from trunkline.engines.spark.carry import (
    PARTED,
    SUMS,
    WRITTEN,
    Work,
    carry_bucket,
    decode_messages,
)

DAY_US = 86_400_000_000
STATE_FOLDER = "buckets"
MESSAGE = ("topic", "partition", "offset", "unix_micros(timestamp) AS time_us", "value", "headers")


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


@dataclass(frozen=True)
class Totals:
    """What was done since the topics began, and how large the state is."""

    batches: int = 0  # since this process started
    sums: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))
    alerts: int = 0
    poisoned: int = 0
    state_keys: int = 0
    state_octets: int = 0
    slowest_us: int = 0  # the bucket that took longest in the last batch


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
        self.totals = Totals()
        self._told = told
        self._sent = spark.sparkContext.broadcast(work)

    def start(self) -> StreamingQuery:
        """Begin, or go on where the checkpoint stands."""
        writer = (
            self._messages()
            .writeStream.queryName("charging")
            .foreachBatch(self._carry)
            .option("checkpointLocation", str(self.settings.checkpoint / "charging"))
        )
        if self.settings.once:
            return writer.trigger(availableNow=True).start()
        return writer.trigger(processingTime=f"{int(self.settings.pause_s * 1000)} milliseconds").start()

    def _messages(self) -> DataFrame:
        """The edges' topics as a stream of messages."""
        settings, plan = self.settings, self.work.plan
        reader = (
            self.spark.readStream.format("kafka")
            .options(**kafka_options(settings))
            .option("subscribe", ",".join(plan.topic(stream) for stream in plan.edges))
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", settings.most_messages)
            .option("maxRecordsPerPartition", settings.split_messages)
            .option("includeHeaders", "true")
            .option("kafka.isolation.level", "read_committed")
        )
        return reader.load().selectExpr(*MESSAGE)

    def _carry(self, messages: DataFrame, number: int) -> None:
        """One micro-batch; called again with the same messages and number when it did not come to its end."""
        sent = self._sent
        written = self.bucketed(messages, number).mapInArrow(carry_bucket(sent, number), WRITTEN)
        written.write.format("kafka").options(**kafka_options(self.settings)).option(
            "kafka.enable.idempotence", "true"
        ).option("kafka.acks", "all").option("kafka.linger.ms", "5").save()
        self._look(number)

    def bucketed(self, messages: DataFrame, number: int) -> DataFrame:
        """Messages decoded and parted, every bucket's rows in the one task that carries it."""
        sent, newest_us = self._sent, newest_before(self.settings.state, number)
        parted = messages.mapInArrow(decode_messages(sent, newest_us), PARTED)
        return parted.repartitionById(self.work.plan.buckets, F.col("bucket"))

    def _look(self, number: int) -> None:
        """Read from the buckets' new versions what became of everything; refuse to go on when something is missing."""
        heads = newest_versions(Path(self.settings.state), number + 1)
        sums = [
            sum(each) for each in zip(*(s for head, _ in heads for s in head.accounts.values()), strict=True)
        ]
        figures = dict(zip(SUMS, sums or [0] * len(SUMS), strict=True))
        out = sum(figures[name] for name in ("rated", "duplicate", "rejected", "held"))
        if figures["received"] != out:
            raise Unbalanced(f"of {figures['received']} records {out} came out: {figures}")
        self.totals = Totals(
            self.totals.batches + 1,
            figures,
            alerts=sum(head.told for head, _ in heads),
            poisoned=sum(head.poisoned for head, _ in heads),
            state_keys=sum(head.keys for head, _ in heads),
            state_octets=sum(octets for _, octets in heads),
            slowest_us=max((head.carried_us for head, _ in heads), default=0),
        )
        self._told(self.totals)


def kafka_options(settings: Settings) -> dict[str, str]:
    """What the connector must know to reach the brokers."""
    return {"kafka.bootstrap.servers": settings.servers, **settings.kafka}


def newest_before(folder: str, number: int) -> int | None:
    """End of the newest day of event time that any bucket knew before a batch; the same when it is done again."""
    heads = newest_versions(Path(folder), number)
    newest = max((head.newest_day for head, _ in heads), default=0)
    return (newest + 1) * DAY_US if newest else None
