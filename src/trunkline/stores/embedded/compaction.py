"""Merging segments: many small ones in order of arrival become few large ones in order of subscribers.

A large segment holds events of one stretch of 32 days, so that a question about a month opens few files and old
months can be dropped whole. Merging goes range by range of subscribers, so that memory stays small however much is
merged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from trunkline.stores.embedded import segments
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import word_of
from trunkline.stores.embedded.segments import Segment

STRETCH_DAYS = 32
ROWS_A_FILE = 1_000_000
ROWS_A_GROUP = 16_384  # what one look-up must decode
FAN_IN = 8
_ROWS_AT_ONCE = 1_500_000  # of the smallest segments
_MOST_SMALL_ROWS = 8_000_000  # beyond this they are merged even when it is busy
_STRETCH_US = STRETCH_DAYS * 86_400_000_000
_SAMPLE = 64


@dataclass(frozen=True)
class Chosen:
    """Segments of one stream that are merged into the next level."""

    stream: str
    level: int
    segments: tuple[Segment, ...]


def choose(connection: sqlite3.Connection, *, idle: bool, wholly: bool) -> Chosen | None:
    """What is worth merging now; with `wholly` everything that lies in more than one place."""
    held = _held(connection)  # looked at many times a second, whatever the number of segments
    for stream in sorted(held.keys() & (segments.HISTORY.keys() - segments.NOT_MERGED)):
        levels = held[stream]
        small, rows = levels.get(0, (0, 0))
        if small and (wholly or rows > _MOST_SMALL_ROWS or (idle and (rows > ROWS_A_FILE or small > FAN_IN))):
            first = [segment for segment in _listed(connection, stream) if segment.level == 0]
            return Chosen(stream, 1, _up_to(first, _ROWS_AT_ONCE))
        for level in range(1, max(levels) + 1):
            full = levels.get(level, (0, 0))[1] >= FAN_IN**level * _ROWS_AT_ONCE
            if (idle or wholly) and full:
                here = [segment for segment in _listed(connection, stream) if segment.level == level]
                return Chosen(stream, level + 1, tuple(here))
        if wholly:
            listed = _listed(connection, stream)
            if len(levels) > 1 or _overlap(listed):
                return Chosen(stream, max(levels), tuple(listed))
    return None


def merge(disk: Disk, folder: Path, connection: sqlite3.Connection, chosen: Chosen) -> list[Segment]:
    """Write the merged segments; they are not named yet."""
    written: list[Segment] = []
    borders = _borders(folder, connection, chosen)
    name = f"{chosen.segments[0].segment:012d}-{chosen.segments[-1].segment:012d}"
    for low, high in pairwise(borders):
        key = segments.KEY_OF[chosen.stream]
        within = pl.col(key).is_between(pl.lit(low, dtype=pl.UInt64), pl.lit(high - 1, dtype=pl.UInt64))
        parts = pl.collect_all(
            [segments.opened(folder, connection, s.segment, s.path).filter(within) for s in chosen.segments]
        )
        frame = pl.concat([part for part in parts if len(part)] or parts[:1], how="diagonal_relaxed")
        time = segments.TIME_OF[chosen.stream]
        frame = frame.sort(key, time, "seq", maintain_order=True)
        for stretch in frame.with_columns((pl.col(time) // _STRETCH_US).alias("stretch")).partition_by(
            "stretch", include_key=False, maintain_order=True
        ):
            written.append(
                segments.write(
                    disk, folder, chosen.stream, f"{name}.{chosen.level}.{len(written):04d}", stretch, chosen.level,
                    row_group=ROWS_A_GROUP,
                )
            )  # fmt: skip
    if written:
        disk.fsync_folder(folder / segments.FOLDER / chosen.stream)
    assert sum(s.rows for s in written) == sum(s.rows for s in chosen.segments), "a merge loses no row"
    return written


def install(connection: sqlite3.Connection, chosen: Chosen, written: Sequence[Segment]) -> None:
    """Name the merged segments instead of the old ones, within a transaction."""
    connection.executemany("DELETE FROM segments WHERE segment = ?", [(s.segment,) for s in chosen.segments])
    connection.executemany(segments.INSERT, [segments.row_of(segment) for segment in written])


def _held(connection: sqlite3.Connection) -> dict[str, dict[int, tuple[int, int]]]:
    """How many segments and rows each level of each stream has."""
    held: dict[str, dict[int, tuple[int, int]]] = {}
    for stream, level, count, rows in connection.execute(
        "SELECT stream, level, count(*), sum(rows) FROM segments GROUP BY stream, level"
    ):
        held.setdefault(stream, {})[level] = (count, rows)
    return held


def _listed(connection: sqlite3.Connection, stream: str) -> list[Segment]:
    return [
        Segment(*(*fixed, word_of(first), word_of(last), path))
        for *fixed, first, last, path in connection.execute(
            "SELECT segment, stream, level, rows, octets, first_seq, last_seq, from_us, until_us, first_key, last_key,"
            " path FROM segments WHERE stream = ? ORDER BY segment",
            (stream,),
        )
    ]


def _up_to(small: Sequence[Segment], rows: int) -> tuple[Segment, ...]:
    """The oldest segments that together have about so many rows."""
    taken: list[Segment] = []
    for segment in small:
        if taken and sum(s.rows for s in taken) + segment.rows > rows:
            break
        taken.append(segment)
    return tuple(taken)


def _overlap(listed: Sequence[Segment]) -> bool:
    """Whether a subscriber's rows of one stretch of time lie in several merged segments."""
    until: dict[int, int] = {}
    for segment in sorted(listed, key=lambda s: (s.first_key, s.last_key)):
        stretch = segment.from_us // _STRETCH_US
        if segment.first_key <= until.get(stretch, -1):
            return True
        until[stretch] = segment.last_key
    return False


def _borders(folder: Path, connection: sqlite3.Connection, chosen: Chosen) -> list[int]:
    """Subscribers between which there are about as many rows as fit a file, from a sample."""
    rows = sum(segment.rows for segment in chosen.segments)
    low = min(segment.first_key for segment in chosen.segments)
    high = max(segment.last_key for segment in chosen.segments) + 1
    pieces = -(-rows // ROWS_A_FILE)
    if pieces <= 1:
        return [low, high]
    every = pl.col(segments.KEY_OF[chosen.stream]).gather_every(_SAMPLE)
    sample = np.concatenate(
        [
            segments.opened(folder, connection, s.segment, s.path).select(every).collect().to_series().to_numpy()
            for s in chosen.segments
        ]
    )  # fmt: skip
    sample.sort()
    inner = sorted({int(sample[len(sample) * piece // pieces]) for piece in range(1, pieces)} - {low})
    return [low, *inner, high]
