"""Segments: the history as immutable Parquet, sorted by subscriber or object so that one's rows lie together.

A commit writes its rows as one small segment (within the manifest when it is tiny); the keeper merges small
segments into large ones, a month of events at a time, which are what a question about a year is answered from.
The many rows of a backlog are first written as they are (uncompressed Arrow): sorting and packing them at once
would cost a fifth of all the work, and the keeper does it anyway when there is time (docs/decisions/0013).
"""

from __future__ import annotations

import io
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trunkline.kernel.flow import Stream
from trunkline.records.bills import BILLS
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES
from trunkline.records.network import HEAT, KPIS
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word

INLINE_OCTETS = 128 << 10
BACKLOG_ROWS = 32_000  # a commit of more rows is written as it is
FOLDER = "segments"
HISTORY: dict[str, Stream] = {
    stream.name: stream for stream in (CHARGED, ENTRIES, CORRECTIONS, BILLS, KPIS, HEAT)
}
TIME_OF = {
    CHARGED.name: "start_us",
    ENTRIES.name: "time_us",
    CORRECTIONS.name: "start_us",
    BILLS.name: "until_us",
    KPIS.name: "end_us",
    HEAT.name: "time_us",
}
# Whose rows lie together: a subscriber's, a cell's.
KEY_OF = {
    CHARGED.name: "subscriber",
    ENTRIES.name: "subscriber",
    CORRECTIONS.name: "subscriber",
    BILLS.name: "subscriber",
    KPIS.name: "object",
    HEAT.name: "tile",
}
NOT_MERGED = frozenset(
    {HEAT.name}
)  # kept two days and asked for by time: merging by key would only hold it longer


@dataclass(frozen=True)
class Segment:
    """A segment as the manifest names it; either `path` or `body` holds the rows."""

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
    where = f"{FOLDER}/{stream}/{name}"
    body = None
    if level == 0 and len(frame) > BACKLOG_ROWS:
        path: str | None = f"{where}.arrow"
        octets = disk.fill(
            folder / f"{where}.arrow", lambda file: frame.write_ipc(file, compression="uncompressed")
        )
    else:
        path = f"{where}.parquet"
        frame = sorted_by(frame, KEY_OF[stream])
        packed = io.BytesIO()
        frame.write_parquet(
            packed, compression="lz4", statistics=level > 0, row_group_size=row_group or len(frame)
        )
        octets = packed.tell()
        if octets <= INLINE_OCTETS and level == 0:
            path, body = None, packed.getvalue()
        else:
            disk.write(folder / f"{where}.parquet", [packed.getbuffer()])
    time, key = TIME_OF[stream], KEY_OF[stream]
    borders: tuple[int, int, int, int, int, int] = frame.select(
        pl.min("seq").alias("a"), pl.max("seq").alias("b"), pl.min(time).alias("c"), pl.max(time).alias("d"),
        pl.min(key).alias("e"), pl.max(key).alias("f"),
    ).row(0)  # fmt: skip
    return Segment(0, stream, level, len(frame), octets, *borders, path, body)


def opened(folder: Path, connection: sqlite3.Connection, segment: int, path: str | None) -> pl.LazyFrame:
    """The rows of a segment, from its file or from the manifest."""
    if path is None:
        (body,) = connection.execute("SELECT body FROM segments WHERE segment = ?", (segment,)).fetchone()
        return pl.read_parquet(io.BytesIO(body)).lazy()
    return pl.scan_ipc(folder / path) if path.endswith(".arrow") else pl.scan_parquet(folder / path)


def sorted_by(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    """In order of key and arrival; free when the step gave the rows in that order."""
    if frame.get_column(key).is_sorted():
        return frame
    return frame.sort(key, "seq", maintain_order=True)
