"""A recorded or simulated day of a network, piece by piece in the order of its own time.

A folder holds `pm/*.csv` (a row a cell and period: `begin_us`, `end_us`, `cell`, `technology`, then counters), perhaps
`slices/` and `devices/` of the same form, `events.ndjson` with a `time_us` and `tickets.ndjson` with a moment `opened`.
A piece is what one period told, and the events and tickets until its end: what a platform would have been sent
within one granularity period.
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

MEASURED, EVENTS, TICKETS = "cells_ndjson", "events_ndjson", "care_tickets"
COUNTED = ("pm", "slices", "devices")
_MOMENT = "%Y-%m-%dT%H:%M:%S%.6fZ"
Send = Callable[[str, bytes], None]
"""Takes lines for a mapping."""


@dataclass(frozen=True)
class Piece:
    """What one period told, and when it ended."""

    end_us: int
    measured: bytes
    events: bytes
    tickets: bytes = b""


def pieces(folder: Path) -> Iterator[Piece]:
    """The day's pieces; raises `Refused` when the folder holds no day."""
    files = sorted((folder / "pm").glob("*.csv")) if (folder / "pm").is_dir() else []
    if not files:
        raise Refused(f"{folder} holds no pm/*.csv. Name a folder that `trunkline simulate --network` wrote.")
    events, tickets = _told(folder / "events.ndjson"), _told(folder / "tickets.ndjson")
    told_us = -1
    for path in files:
        number = path.stem.removeprefix("pm")
        hour: dict[int, list[bytes]] = {}
        for kind in COUNTED:
            counted = folder / kind / f"{kind}{number}.csv"
            if counted.exists():
                rows = pl.read_csv(counted, infer_schema_length=None)
                for (end_us,), part in rows.group_by("end_us"):
                    hour.setdefault(int(str(end_us)), []).append(_lines(_with_moments(part)))
        for until_us in sorted(hour):
            since = (pl.col("time_us") > told_us) & (pl.col("time_us") <= until_us)
            yield Piece(
                until_us,
                b"".join(hour[until_us]),
                _lines(events.filter(since)),
                _lines(tickets.filter(since).drop("time_us")),
            )
            told_us = max(told_us, until_us)


def _told(path: Path) -> pl.DataFrame:
    """Events or tickets of a day with their `time_us`, in its order."""
    if not path.exists() or not path.stat().st_size:
        return pl.DataFrame(schema={"time_us": pl.Int64})
    rows = pl.read_ndjson(path, infer_schema_length=None)
    if "time_us" not in rows.columns:
        opened = pl.col("opened").str.to_datetime(time_unit="us", time_zone="UTC").dt.epoch("us")
        rows = rows.with_columns(time_us=opened)
    return rows.sort("time_us", maintain_order=True)


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
        if piece.tickets:
            send(TICKETS, piece.tickets)
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
