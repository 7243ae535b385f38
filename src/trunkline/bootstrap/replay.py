"""A recorded or simulated day of a network, piece by piece in the order of its own time.

A folder holds `pm/*.csv` (a row a cell and period: `begin_us`, `end_us`, `cell`, `technology`, then counters) and, if
there were any, `events.ndjson` with a `time_us`. A piece is what one period told, and the events until its end: what a
platform would have been sent within one granularity period.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from trunkline.bootstrap.network import Network
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.embedded.sources import LiveSources
from trunkline.ports import Refused

MEASURED, EVENTS = "cells_ndjson", "events_ndjson"
_MOMENT = "%Y-%m-%dT%H:%M:%S%.6fZ"
Send = Callable[[str, bytes], None]
"""Takes lines for a mapping."""


@dataclass(frozen=True)
class Piece:
    """What one period told, and when it ended."""

    end_us: int
    measured: bytes
    events: bytes


def pieces(folder: Path) -> Iterator[Piece]:
    """The day's pieces; raises `Refused` when the folder holds no day."""
    files = sorted((folder / "pm").glob("*.csv")) if (folder / "pm").is_dir() else []
    if not files:
        raise Refused(f"{folder} holds no pm/*.csv. Name a folder that `trunkline network simulate` wrote.")
    reported = folder / "events.ndjson"
    events = pl.read_ndjson(reported).sort("time_us") if reported.exists() else None
    told_us = -1
    for path in files:
        frame = pl.read_csv(path).sort("end_us", maintain_order=True)
        for (end_us,), rows in frame.group_by("end_us", maintain_order=True):
            until_us = int(str(end_us))
            part = (
                b""
                if events is None
                else _lines(events.filter((pl.col("time_us") > told_us) & (pl.col("time_us") <= until_us)))
            )
            yield Piece(until_us, _lines(_with_moments(rows)), part)
            told_us = max(told_us, until_us)


def _with_moments(rows: pl.DataFrame) -> pl.DataFrame:
    moments = [
        pl.col(f"{name}_us").cast(pl.Datetime("us", "UTC")).dt.strftime(_MOMENT).alias(name)
        for name in ("begin", "end")
    ]
    return rows.select(*moments, pl.exclude("begin_us", "end_us"))


def _lines(rows: pl.DataFrame) -> bytes:
    return rows.write_ndjson().encode() if len(rows) else b""


def play(
    folder: Path, send: Send, speed: float, stop: threading.Event, told: Callable[[int], None] | None = None
) -> int:
    """Send a day at a speed (0: as fast as it is taken) until it is over or `stop` is set; how many pieces."""
    began_s, first_us, count = time.monotonic(), None, 0
    for piece in pieces(folder):
        first_us = piece.end_us if first_us is None else first_us
        if speed > 0:
            due_s = began_s + (piece.end_us - first_us) / 1e6 / speed
            if stop.wait(max(0.0, due_s - time.monotonic())):
                break
        if stop.is_set():
            break
        send(MEASURED, piece.measured)
        if piece.events:
            send(EVENTS, piece.events)
        count += 1
        if told is not None:
            told(piece.end_us)
    return count


def sender_to(watch: Network) -> Send:
    """A way to send to an opened network that nobody else drives: each piece is carried when it is sent."""
    sources = LiveSources(watch.store, watch.store.disk, (), watch.mappings.__getitem__, forever=False)
    spooling = Spooling(watch.engine, sources)

    def send(mapping: str, lines: bytes) -> None:
        spooling.usage(mapping, lines, "replay")
        watch.engine.drive(sources)

    return send
