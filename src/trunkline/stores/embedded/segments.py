"""Segments: the history as immutable Parquet, sorted by subscriber so that one person's rows lie together.

A commit writes its rows as one small segment (within the manifest when it is tiny); the keeper merges small
segments into large ones, a month of events at a time, which are what a question about a year is answered from.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trunkline.kernel.flow import Stream
from trunkline.records.charging import CHARGED, ENTRIES
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word

INLINE_OCTETS = 128 << 10
FOLDER = "segments"
HISTORY: dict[str, Stream] = {CHARGED.name: CHARGED, ENTRIES.name: ENTRIES}
TIME_OF = {CHARGED.name: "start_us", ENTRIES.name: "time_us"}


@dataclass(frozen=True)
class Segment:
    """A segment as the manifest names it; either `path` or `body` holds the Parquet."""

    segment: int
    stream: str
    level: int
    rows: int
    octets: int
    first_seq: int
    last_seq: int
    from_us: int
    until_us: int
    first_key: int
    last_key: int
    path: str | None
    body: bytes | None = None


INSERT = (
    "INSERT INTO segments (stream, level, rows, octets, first_seq, last_seq, from_us, until_us,"
    " first_key, last_key, path, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def row_of(segment: Segment) -> tuple[object, ...]:
    """The values of `INSERT`."""
    return (
        segment.stream, segment.level, segment.rows, segment.octets, segment.first_seq, segment.last_seq,
        segment.from_us, segment.until_us, stored_word(segment.first_key), stored_word(segment.last_key),
        segment.path, segment.body,
    )  # fmt: skip


def write(
    disk: Disk,
    folder: Path,
    stream: str,
    name: str,
    frame: pl.DataFrame,
    level: int,
    *,
    row_group: int | None = None,
) -> Segment:
    """Write rows as one segment; a tiny one keeps its octets to be put into the manifest."""
    frame = sorted_by_subscriber(frame)
    octets = io.BytesIO()
    frame.write_parquet(
        octets, compression="lz4", statistics=level > 0, row_group_size=row_group or len(frame)
    )
    inline = octets.tell() <= INLINE_OCTETS and level == 0
    path = None
    if not inline:
        path = f"{FOLDER}/{stream}/{name}.parquet"
        disk.write(folder / path, [octets.getbuffer()])
    time = TIME_OF[stream]
    borders: tuple[int, int, int, int, int, int] = frame.select(
        pl.min("seq").alias("a"), pl.max("seq").alias("b"), pl.min(time).alias("c"), pl.max(time).alias("d"),
        pl.first("subscriber").alias("e"), pl.last("subscriber").alias("f"),
    ).row(0)  # fmt: skip
    return Segment(
        0, stream, level, len(frame), octets.tell(), *borders, path, octets.getvalue() if inline else None
    )


def sorted_by_subscriber(frame: pl.DataFrame) -> pl.DataFrame:
    """In order of subscriber and arrival; free when the step gave the rows in that order."""
    subscriber = frame.get_column("subscriber")
    if subscriber.is_sorted():
        return frame
    return frame.sort("subscriber", "seq")
