"""Everything over the whole of history, as one batch: each bucket's raw records beside what became of them.

The batch reads the same topics from their first message to their last and decodes with the same step; a bucket's rows
of all streams meet in one task, together with the bucket's state. What is done with them there is the caller's:
reconciling needs to know what charging is, and engines do not. It is right of what has come to rest: ask when the
query has caught up, or is stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- as all of Spark's own pages call it

from trunkline.engines.loop import PLACE
from trunkline.engines.spark.blobs import NEWEST, Bucket
from trunkline.engines.spark.carry import (
    PARTED,
    SUMS_FOLDER,
    Sent,
    bucket_folder,
    cells_of,
    decode_messages,
    frames_of,
)
from trunkline.engines.spark.engine import CHARGING, MESSAGE, Settings, kafka_reading, kafka_writing
from trunkline.engines.spark.minutes import LATE, Minutes
from trunkline.engines.wire import rows_in, rows_out
from trunkline.kernel.flow import Stream

NO_STREAM = ""  # of the cell that every bucket has, so that each is judged
HANDED_IN = "topic string, value binary"
FOUND = "bucket int, found string, minutes binary"
_FOUND = pa.schema([("bucket", pa.int32()), ("found", pa.string()), ("minutes", pa.binary())])

Judge = Callable[[Mapping[str, pl.DataFrame], Bucket], dict[str, Any]]
"""What is to be found out of a bucket's rows by stream and its state; whole numbers, texts and lists of them."""


def judged(spark: SparkSession, sent: Sent, settings: Settings, judge: Judge) -> list[dict[str, Any]]:
    """What a judge found in each bucket; copies that a crash left in a topic are given once.

    On the way the minutes whose uses came too late for their sums are summed anew, and written.
    """
    plan, minutes = sent.value.plan, sent.value.minutes
    late = sorted((settings.checkpoint / SUMS_FOLDER / LATE).glob("*.parquet"))
    cells = _cells(spark, sent, settings, (*plan.edges, *plan.results))
    found = _by_bucket(cells, sent).mapInArrow(_judging(sent, judge, NEWEST, late), FOUND).collect()
    if minutes is not None:
        sums = [(row["bucket"], bytes(row["minutes"])) for row in found if row["minutes"] is not None]
        if sums:
            frame = spark.createDataFrame(sums, "partition int, value binary")
            topic = F.lit(plan.topic(minutes.writes)).alias("topic")
            frame.select(topic, "partition", "value").write.format("kafka").options(
                **kafka_writing(settings)
            ).save()
        for path in late:
            path.unlink(missing_ok=True)
    return _told(found)


def found(
    spark: SparkSession,
    sent: Sent,
    settings: Settings,
    judge: Judge,
    streams: Sequence[Stream] | None = None,
    before: int = NEWEST,
) -> list[dict[str, Any]]:
    """What a judge found in every bucket, also in one without any row; the topics are only read.

    `streams` are those that it is given, all by default, and none for the state alone, which is that before batch
    `before`.
    """
    plan = sent.value.plan
    every = spark.createDataFrame([(at, NO_STREAM, 0, 0, 0, b"") for at in range(plan.buckets)], PARTED)
    read = (*plan.edges, *plan.results) if streams is None else streams
    cells = _cells(spark, sent, settings, read).unionByName(every) if read else every
    return _told(_by_bucket(cells, sent).mapInArrow(_judging(sent, judge, before, ()), FOUND).collect())


def whole_until(settings: Settings) -> int:
    """The first batch that may have left only some of its results in the topics; all before it is there whole."""
    done = [int(path.name) for path in (settings.checkpoint / CHARGING / "commits").glob("[0-9]*")]
    return max(done, default=-1) + 2  # a batch's number is one more than Spark's; 0 opened the accounts


def hand_in(
    spark: SparkSession, sent: Sent, settings: Settings, stream: Stream, values: Sequence[bytes]
) -> None:
    """Write messages to the topic of an edge; they are durable there when this returns."""
    if values:
        frame = spark.createDataFrame([(sent.value.plan.topic(stream), value) for value in values], HANDED_IN)
        frame.write.format("kafka").options(**kafka_writing(settings)).save()


def _cells(spark: SparkSession, sent: Sent, settings: Settings, streams: Sequence[Stream]) -> DataFrame:
    """Everything that the topics of some streams hold, in cells of a bucket each."""
    return (
        spark.read.format("kafka")
        .options(**kafka_reading(settings))
        .option("subscribe", ",".join(sent.value.plan.topic(stream) for stream in streams))
        .load()
        .selectExpr(*MESSAGE)
        .mapInArrow(decode_messages(sent, None), PARTED)
    )


def _by_bucket(cells: DataFrame, sent: Sent) -> DataFrame:
    """All cells of a bucket in one task."""
    return cells.repartitionById(sent.value.plan.buckets, F.col("bucket"))


def _told(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [json.loads(row["found"]) for row in rows if row["found"] is not None]


def places(spark: SparkSession, settings: Settings, topic: str, stream: Stream) -> pl.DataFrame:
    """Where in the edges the rows of a small stream (what was rejected) stand, wherever they were parted to."""
    found = (
        spark.read.format("kafka")
        .options(**kafka_reading(settings))
        .option("subscribe", topic)
        .load()
        .select("value")
        .collect()
    )
    none = stream.record.empty().select(PLACE)
    return pl.concat(
        [none, *(rows_in(bytes(row["value"]), stream.record).select(PLACE) for row in found)]
    ).unique()


def _judging(
    sent: Sent, judge: Judge, before: int, late: Sequence[Path]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cells = cells_of(batches)
        work = sent.value
        results = {stream.name for stream in work.plan.results}
        for bucket in sorted(cells):
            rows = {}
            mine = [cell for cell in cells.pop(bucket) if cell["stream"] != NO_STREAM]
            for name, frames in frames_of(mine).items():
                whole = pl.concat(frames, how="diagonal_relaxed")
                rows[name] = whole.unique(maintain_order=True) if name in results else whole
            state = Bucket(bucket_folder(work.folder, bucket), work.plan.states, before)
            yield _row(bucket, json.dumps(judge(rows, state)), None)
            if work.minutes is not None and late:
                for value in _summed_anew(work.minutes, rows, late):
                    yield _row(bucket, None, value)

    return run


def _row(bucket: int, found: str | None, minutes: bytes | None) -> pa.RecordBatch:
    columns = [
        pa.array([bucket], pa.int32()),
        pa.array([found], pa.string()),
        pa.array([minutes], pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_FOUND)


def _summed_anew(minutes: Minutes, rows: Mapping[str, pl.DataFrame], late: Sequence[Path]) -> Iterator[bytes]:
    """A bucket's minutes to which something came too late, summed out of everything that was charged."""
    uses = rows.get(minutes.reads.name)
    if uses is None:
        return
    key = [minutes.minute, minutes.owner, minutes.kind]
    wanted = pl.concat([pl.read_parquet(path, columns=key) for path in late]).unique()
    sums = minutes.added_by(uses).join(wanted, on=key, how="semi")
    if len(sums):
        yield from rows_out(minutes.told(sums))
