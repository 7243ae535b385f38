"""How rows, changes of state and progress look as Kafka messages.

Rows travel as Arrow IPC streams, a batch a message, so that a step of ours costs a copy and not a parse. Changes of
state are the arrays of `Grouped` behind a short head. Progress is JSON: small, and people read it when they look
for what went wrong.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import polars as pl

from trunkline.kernel.columns import Record
from trunkline.kernel.grouped import Grouped, State

ARROW = b"\xff\xff\xff\xff"  # an Arrow IPC stream begins so (Arrow columnar format, encapsulated messages)
ROWS_A_MESSAGE = 10_000
MOST_OCTETS = 7 << 20  # of one message; topics take 8 MiB
CHANGE_OCTETS = 1 << 20

_CHANGE = struct.Struct("<4sIQHHIQ")  # magic, rows' width, number, part, parts, keys, rows
_MAGIC = b"TLC1"


class Unreadable(Exception):
    """A message is not what its topic promises."""


@dataclass
class Message:
    """A message to be written: where to, its key, its value, and what it says about itself."""

    topic: str
    partition: int
    value: bytes
    key: bytes | None = None
    headers: list[tuple[str, str | bytes | None]] | None = None


def rows_out(frame: pl.DataFrame) -> Iterator[bytes]:
    """Rows as Arrow IPC streams, each of a size that a topic takes."""
    for first in range(0, len(frame), ROWS_A_MESSAGE):
        yield from _fitting(frame[first : first + ROWS_A_MESSAGE])


def _fitting(part: pl.DataFrame) -> Iterator[bytes]:
    out = io.BytesIO()
    part.write_ipc_stream(out, compression="uncompressed")
    value = out.getvalue()
    if len(value) <= MOST_OCTETS or len(part) == 1:
        yield value
        return
    middle = len(part) // 2
    yield from _fitting(part[:middle])
    yield from _fitting(part[middle:])


def rows_in(value: bytes, record: Record) -> pl.DataFrame:
    """Rows of one message in their record's columns; raises `Unreadable`."""
    try:
        frame = pl.read_ipc_stream(value)
        return frame if frame.schema == record.schema else record.conform(frame)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise Unreadable(f"not an Arrow stream of {record.name!r}: {type(error).__name__}") from error


def changes_out(groups: Grouped, number: int, room: int = CHANGE_OCTETS) -> list[bytes]:
    """Changed groups of one state as messages of commit `number`, each saying which of how many it is."""
    width = groups.rows.dtype.itemsize
    octets = np.cumsum(12 + np.diff(groups.offsets) * width)
    parts = int(octets[-1] // room) + 1 if len(octets) else 1
    cuts = np.searchsorted(octets, np.arange(1, parts) * room)
    borders = np.unique(np.concatenate([[0], cuts, [len(groups)]])).tolist()
    count = max(1, len(borders) - 1)
    found = []
    for part in range(count):
        first, last = (borders[part], borders[part + 1]) if len(borders) > 1 else (0, 0)
        found.append(_change(groups, first, last, number, part, count))
    return found


def _change(groups: Grouped, first: int, last: int, number: int, part: int, parts: int) -> bytes:
    rows = groups.rows[int(groups.offsets[first]) : int(groups.offsets[last])]
    counts = np.diff(groups.offsets[first : last + 1]).astype(np.uint32)
    head = _CHANGE.pack(_MAGIC, groups.rows.dtype.itemsize, number, part, parts, last - first, len(rows))
    keys = np.ascontiguousarray(groups.keys[first:last])
    return b"".join((head, keys.tobytes(), counts.tobytes(), np.ascontiguousarray(rows).tobytes()))


@dataclass(frozen=True)
class Change:
    """One message of a changelog."""

    number: int
    part: int
    parts: int
    groups: Grouped


def change_in(value: bytes, state: State) -> Change:
    """The groups of one message; raises `Unreadable` when it is not of this state as it is now."""
    if len(value) < _CHANGE.size:
        raise Unreadable(f"a change of {state.name!r} is cut short")
    magic, width, number, part, parts, keys, rows = _CHANGE.unpack_from(value)
    if magic != _MAGIC or len(value) != _CHANGE.size + 12 * keys + rows * width:
        raise Unreadable(f"not a change of {state.name!r}")
    if width != state.dtype.itemsize:
        raise Unreadable(
            f"{state.name!r} was written by another version: rows of {width} octets, not {state.dtype.itemsize}"
        )
    at = _CHANGE.size
    found = np.frombuffer(value, np.uint64, keys, at)
    counts = np.frombuffer(value, np.uint32, keys, at + 8 * keys)
    offsets = np.zeros(keys + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Change(
        number, part, parts, Grouped(found, offsets, np.frombuffer(value, state.dtype, rows, at + 12 * keys))
    )


def progress_out(progress: dict[str, Any]) -> bytes:
    """Progress as JSON."""
    return orjson.dumps(progress, option=orjson.OPT_SORT_KEYS)


def progress_in(value: bytes) -> dict[str, Any]:
    """Progress out of JSON; raises `Unreadable`."""
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Unreadable("progress is not JSON") from error
    if not isinstance(found, dict):
        raise Unreadable("progress is not an object")
    return found
