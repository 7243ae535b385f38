"""Sums a minute: the part that Spark's own windows do best, with state in RocksDB and a watermark.

A bucket's task leaves what its batch adds to each minute as a small Parquet file named for the batch and the bucket.
A file source takes every name once, however often a batch is done again, so nothing is summed twice; reading results
back from their topic could not promise that, for after a crash some stand there twice. Sums go out whole, never as
differences: who keeps them overwrites what was there.

What begins longer before the newest use than `late_s` is not summed here. It is counted, kept beside the files, and
`history` sums its minutes anew. So the watermark below never drops anything by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- as all of Spark's own pages call it
from pyspark.sql.streaming.query import StreamingQuery

from trunkline.engines.plan import buckets_of
from trunkline.engines.spark.blobs import durably
from trunkline.engines.wire import rows_out
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouping import order_by_group

MINUTE_US = 60_000_000
ADDED, LATE = "added", "late"  # folders of what batches add, and of what came too late


@dataclass(frozen=True)
class Minutes:
    """What is summed: uses of `reads` by whose they are and of which kind, into `writes`."""

    reads: Stream
    writes: Stream  # with the columns of `by`, `minute`, `count` and `sums`
    owner: str  # column of whose they are, an unsigned word
    kind: str
    time: str
    minute: str
    count: str
    sums: tuple[str, ...]
    late_s: int = 7200

    @property
    def schema(self) -> str:
        """Columns of the files, in Spark's words; Spark has no unsigned words, so the owner is signed there."""
        return (
            f"{self.minute} timestamp, {self.owner} long, {self.kind} int, {self.count} long, "
            + ", ".join(f"{name} long" for name in self.sums)
        )

    def added_by(self, uses: pl.DataFrame) -> pl.DataFrame:
        """What uses add to each minute."""
        return (
            uses.group_by(
                (pl.col(self.time) // MINUTE_US * MINUTE_US)
                .cast(pl.Datetime("us", "UTC"))
                .alias(self.minute),
                pl.col(self.owner).reinterpret(signed=True),
                pl.col(self.kind).cast(pl.Int32),
            )
            .agg(pl.len().cast(pl.Int64).alias(self.count), *(pl.col(name).sum() for name in self.sums))
            .sort(self.minute, self.owner, self.kind)
        )

    def told(self, sums: pl.DataFrame) -> pl.DataFrame:
        """Sums as rows of the stream that they are written to."""
        return self.writes.record.conform(
            sums.with_columns(
                pl.col(self.minute).dt.timestamp("us"), pl.col(self.owner).reinterpret(signed=False)
            )
        )


def leave(minutes: Minutes, folder: Path, name: str, uses: pl.DataFrame, newest_us: int) -> int:
    """Leave what a bucket's batch adds, and aside what is late; how many uses are late. Again is the same again."""
    begins = uses.get_column(minutes.time).to_numpy() // MINUTE_US * MINUTE_US
    late = begins < newest_us - minutes.late_s * 1_000_000
    count = int(late.sum())
    parts = ((ADDED, uses.filter(~late)), (LATE, uses.filter(late))) if count else ((ADDED, uses),)
    for part, rows in parts:
        if len(rows):
            added = minutes.added_by(rows)
            durably(folder / part / f"{name}.parquet", partial(added.write_parquet, compression="lz4"))
    return count


@dataclass(frozen=True)
class To:
    """Where sums go."""

    topic: str
    buckets: int
    kafka: dict[str, str]  # the connector's options


def start(
    spark: SparkSession, minutes: Minutes, folder: Path, checkpoint: Path, to: To, trigger: dict[str, Any]
) -> StreamingQuery:
    """Sum what batches add, and write every minute that changed."""
    (folder / ADDED).mkdir(parents=True, exist_ok=True)
    added = (
        spark.readStream.schema(minutes.schema)
        .option("cleanSource", "delete")
        .parquet(str(folder / ADDED))
        .withWatermark(minutes.minute, f"{minutes.late_s + 120} seconds")
    )
    query: StreamingQuery = (
        summed(minutes, added)
        .writeStream.queryName("minutes")
        .outputMode("update")
        .foreachBatch(lambda sums, _number: publish(minutes, sums, to))
        .option("checkpointLocation", str(checkpoint))
        .trigger(**trigger)
        .start()
    )
    return query


def summed(minutes: Minutes, added: DataFrame) -> DataFrame:
    """Each minute's sums, by owner and kind."""
    return added.groupBy(minutes.minute, minutes.owner, minutes.kind).agg(
        *(F.sum(name).alias(name) for name in (minutes.count, *minutes.sums))
    )


def publish(minutes: Minutes, sums: DataFrame, to: To) -> None:
    """Write sums, whole, to their topic."""
    sums.mapInArrow(as_messages(minutes, to.buckets), "partition int, value binary").select(
        F.lit(to.topic).alias("topic"), "partition", "value"
    ).write.format("kafka").options(**to.kafka).save()


def as_messages(
    minutes: Minutes, buckets: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Sums as messages of the sums' stream, by bucket."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            rows = minutes.told(pl.DataFrame(pa.Table.from_batches([batch])))
            order, first = order_by_group(buckets_of(rows[minutes.owner].to_numpy(), buckets), buckets)
            ordered = rows[order]
            messages = [
                (bucket, value)
                for bucket in np.flatnonzero(np.diff(first)).tolist()
                for value in rows_out(ordered[int(first[bucket]) : int(first[bucket + 1])])
            ]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array([m[0] for m in messages], pa.int32()),
                    pa.array([m[1] for m in messages], pa.binary()),
                ],
                names=["partition", "value"],
            )

    return run
