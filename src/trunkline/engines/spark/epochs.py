"""A flow whose rows change places on their way, on Spark: a micro-batch is an epoch, and a shuffle is the barrier.

Each level is one task a partition; what a place keeps for its next level travels with what it sends. State is a version
a level, so a batch that is done again opens what was there before it at every level and gives the same rows again.
What nothing was sent to is not carried: unlike the kafka engine, nobody has to be told that there is nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 -- as all of Spark's own pages call it

from trunkline.engines.loop import Carried
from trunkline.engines.plan import numbered
from trunkline.engines.spark.blobs import Bucket, Head, newest_versions
from trunkline.engines.spark.carry import (
    PARTED,
    WRITTEN,
    Sent,
    Work,
    Written,
    as_batch,
    bucket_folder,
    cells_of,
    decode_messages,
    settle,
)
from trunkline.engines.spark.engine import Engine, Unbalanced
from trunkline.engines.spark.figures import Totals
from trunkline.engines.stages import Parcel, Place, Staged
from trunkline.engines.wire import progress_out, rows_out
from trunkline.kernel.flow import Stream

LEVELS_MOST = 8  # versions of state that a batch may write
KEPT_VERSIONS = 3 * LEVELS_MOST
COUNTS = ("received", "measured", "events", "duplicate", "rejected", "held")
_KEPT, _SENT, _TOLD, _MARK = "kept", "sent", "told", "|"
_PARTED = pa.schema(
    [("bucket", pa.int32()), ("stream", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
     ("piece", pa.int32()), ("rows", pa.binary())]
)  # fmt: skip

Cell = dict[str, Any]


def staged(work: Work) -> Staged:
    """The plan of the work, which is staged."""
    assert isinstance(work.plan, Staged), "only a staged plan is carried in epochs"
    return work.plan


def last_level(plan: Staged) -> int:
    """The level at whose end everything is known."""
    return max(level for _, level in plan.levels)


def carry_level(
    sent: Sent, number: int, level: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The task of one level: a partition's cells in; out what it keeps and sends, and at the end its messages."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cells = cells_of(batches)
        for partition in sorted(cells):
            yield _Turn(sent.value, partition, number, level).carried(cells.pop(partition))
        settle(f"level {level}")

    return run


@dataclass(frozen=True)
class _Out:
    """A cell to be written: where to, what it is, its place among its like, its octets."""

    bucket: int
    tag: str
    piece: int
    value: bytes


class _Turn:
    """One partition's part of one level of one micro-batch."""

    def __init__(self, work: Work, partition: int, number: int, level: int) -> None:
        self._work, self._plan, self._partition, self._level = work, staged(work), partition, level
        self._version = number * LEVELS_MOST + level
        folder = bucket_folder(work.folder, partition)
        self._state = Bucket(folder, work.plan.states, self._version, KEPT_VERSIONS)
        self._number = number
        self._streams = {
            s.name: s for flow in work.plan.flows for step in flow.steps for s in (step.reads, *step.writes)
        }

    def carried(self, cells: Sequence[Cell]) -> pa.RecordBatch:
        """Carry the level at each kind of place; everything else is passed on as it came."""
        began = time.monotonic_ns()
        cells = sorted(
            cells, key=lambda cell: (cell["stream"], cell["partition"], cell["offset"], cell["piece"])
        )
        out: list[_Out] = []
        written = [_written(cell) for cell in cells if cell["stream"].startswith(_TOLD + _MARK)]
        for kind in self._plan.kinds:
            if self._partition in self._plan.hosts(kind):
                out += self._place(kind, cells, written)
        if self._level == 0:
            written += self._undigested(cells)
        if self._state.changed or self._level == 0:
            self._state.carried_us = (time.monotonic_ns() - began) // 1000
            self._state.write(self._version)
        if self._level == last_level(self._plan):
            progress = {"commit": self._number, "accounts": self._state.accounts}
            written.append(
                Written(self._plan.progress, progress_out(progress), b"bucket|%d" % self._partition)
            )
            return as_batch(written, self._partition)
        out += [_out_of(self._partition, at, each) for at, each in enumerate(written)]
        return pa.RecordBatch.from_arrays(
            [
                pa.array([each.bucket for each in out], pa.int32()),
                pa.array([each.tag for each in out], pa.string()),
                pa.array([self._partition] * len(out), pa.int32()),
                pa.array([0] * len(out), pa.int64()),
                pa.array([each.piece for each in out], pa.int32()),
                pa.array([each.value for each in out], pa.binary()),
            ],
            schema=_PARTED,
        )

    def _place(self, kind: str, cells: Sequence[Cell], written: list[Written]) -> list[_Out]:
        plan, level = self._plan, self._level
        kept, heard, came = Carried(), [], False
        place = Place(plan, kind, self._partition, self._state, self._work.tables)
        for cell in cells:
            what, *said = cell["stream"].split(_MARK)
            if what == _KEPT and said[0] == kind:
                kept.frames.setdefault(said[1], []).append(pl.read_ipc_stream(cell["rows"]))
                came = True
            elif what == _SENT and said[3] == kind:
                heard.append((int(said[0]), said[1], int(said[2]), said[4], cell))
                came = True
            elif what in self._streams and kind == self._kind_of(what):
                rows = pl.read_ipc_stream(cell["rows"])
                kept.frames.setdefault(what, []).append(self._numbered(what, rows))
                came = True
        if not came:
            return []
        place.resume(level, kept)
        if place.level == level:
            return self._carry(place, heard, written)
        out = [
            _Out(self._partition, cell["stream"], cell["piece"], cell["rows"]) for *_, cell in heard
        ]  # for a later level of this kind
        return out + self._ended_or_kept(place, written)

    def _carry(
        self, place: Place, heard: Sequence[tuple[int, str, int, str, Cell]], written: list[Written]
    ) -> list[_Out]:
        plan, level = self._plan, self._level
        rows: dict[tuple[int, str, int], list[tuple[str, pl.DataFrame]]] = {
            sender: [] for sender in plan.awaited(place.kind, level, self._partition)
        }
        for at, of, other, name, cell in heard:
            rows[at, of, other].append((name, pl.read_ipc_stream(cell["rows"])))
        for sender, found in rows.items():
            place.hear(sender, found)
        before = Carried({name: list(frames) for name, frames in place.carried.frames.items()})
        parcels = place.carry(self._number)
        if level == 0 and place.kind == plan.kinds[0]:
            self._count(place, before)
        return [*self._parcels(place, parcels), *self._ended_or_kept(place, written)]

    def _count(self, place: Place, before: Carried) -> None:
        accounts = self._plan.accounts
        received = (*self._plan.usage.steps[0].writes, accounts.held)
        for count in self._plan.count(place.carried, received, before, accounts):
            sums = self._state.accounts.setdefault(count.source, [0] * len(COUNTS))
            for at, name in enumerate(COUNTS):
                sums[at] += getattr(count, name)
        self._state.poisoned += place.carried.poisoned

    def _parcels(self, place: Place, parcels: Sequence[Parcel]) -> Iterator[_Out]:
        for at, parcel in enumerate(parcels):
            said = (_SENT, self._level, place.kind, self._partition, parcel.kind, parcel.stream)
            for piece, value in enumerate(rows_out(parcel.rows)):
                yield _Out(parcel.to, _MARK.join(map(str, said)), (at << 16) + piece, value)

    def _ended_or_kept(self, place: Place, written: list[Written]) -> list[_Out]:
        """What a place has to tell at its end; before, what it keeps for its next level."""
        name = b"%d|%d" % (self._partition, self._number)  # the same again when a batch is done again
        if place.level is None:
            told = place.published()
            for stream in self._plan.published:
                rows = stream.record.conform(told.rows(stream))
                written += [Written(self._plan.topic(stream), value, name) for value in rows_out(rows)]
            return []
        return [
            _Out(self._partition, _MARK.join((_KEPT, place.kind, stream)), piece, value)
            for stream in sorted(place.carried.frames)
            for piece, value in enumerate(rows_out(place.carried.rows(self._streams[stream])))
        ]

    def _kind_of(self, stream: str) -> str:
        """Which kind of place what comes in belongs to."""
        first = {s.name for s in self._plan.usage.steps[0].writes}
        return self._plan.kinds[0] if stream in first else self._plan.kinds[-1]

    def _numbered(self, name: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the partition's next arrival numbers, where their stream has them."""
        stream: Stream = self._streams[name]
        if "seq" not in stream.record.schema:
            return stream.record.conform(rows)
        found, self._state.next_row = numbered(rows, self._state.next_row, self._partition)
        return stream.record.conform(found)

    def _undigested(self, cells: Sequence[Cell]) -> list[Written]:
        """Messages that cannot be read at all, as they came, with where they lay and why; they count as held."""
        plan, found = self._plan, []
        for cell in cells:
            if cell["stream"] != plan.undigested:
                continue
            for row in pl.read_ipc_stream(cell["rows"]).iter_rows(named=True):
                sums = self._state.accounts.setdefault("", [0] * len(COUNTS))
                sums[COUNTS.index("received")] += 1
                sums[COUNTS.index("held")] += 1
                headers = tuple((name, str(row[name])) for name in ("reason", "topic", "partition", "offset"))
                found.append(Written(plan.undigested, row["value"], None, headers))
        return found


def _out_of(partition: int, piece: int, written: Written) -> _Out:
    """A message on its way through the levels that it does not concern."""
    rows = pl.DataFrame(
        {
            "topic": [written.topic], "value": [written.value], "key": [written.key],
            "names": [[name for name, _ in written.headers]], "texts": [[text for _, text in written.headers]],
        },
        schema={"topic": pl.String, "value": pl.Binary, "key": pl.Binary, "names": pl.List(pl.String),
                "texts": pl.List(pl.String)},
    )  # fmt: skip
    return _Out(partition, f"{_TOLD}{_MARK}{piece:06d}", piece, b"".join(rows_out(rows)))


def _written(cell: Cell) -> Written:
    row = pl.read_ipc_stream(cell["rows"]).row(0, named=True)
    headers = tuple(zip(row["names"], row["texts"], strict=True))
    return Written(row["topic"], row["value"], row["key"], headers)


class EpochEngine(Engine):
    """Carries what the edges' topics bring through all levels of a staged flow."""

    def _begun(self, versions: Sequence[tuple[Head, int]]) -> Totals:
        """What was done before this process began."""
        return totals_of(versions, 0)

    def _carry(self, messages: DataFrame, batch: int) -> None:
        """One micro-batch; called again with the same messages and number when it did not come to its end."""
        number = batch + 1
        plan = staged(self.work)
        cells = messages.mapInArrow(decode_messages(self.sent, None), PARTED)
        for level in range(last_level(plan) + 1):
            written = WRITTEN if level == last_level(plan) else PARTED
            cells = cells.repartitionById(plan.buckets, F.col("bucket")).mapInArrow(
                carry_level(self.sent, number, level), written
            )
        self._write(cells)
        self._look(number)

    def _look(self, number: int) -> None:
        """Read from the partitions' new versions what became of everything."""
        versions = newest_versions(Path(self.settings.state), (number + 1) * LEVELS_MOST)
        self.totals = totals_of(versions, self.totals.batches + 1)
        self._told(self.totals)


def totals_of(versions: Sequence[tuple[Head, int]], batches: int) -> Totals:
    """What the heads of the partitions' versions say together; raises `Unbalanced` when something is missing."""
    heads = [head for head, _ in versions]
    sums = [sum(each) for each in zip(*(s for head in heads for s in head.accounts.values()), strict=True)]
    counts: Mapping[str, int] = dict(zip(COUNTS, sums or [0] * len(COUNTS), strict=True))
    out = sum(counts[name] for name in COUNTS[1:])
    if counts["received"] != out:
        raise Unbalanced(f"of {counts['received']} readings and events {out} came out: {dict(counts)}")
    return Totals(
        batches,
        counts,
        poisoned=sum(head.poisoned for head in heads),
        state_keys=sum(head.keys for head in heads),
        state_octets=sum(octets for _, octets in versions),
        slowest_us=max((head.carried_us for head in heads), default=0),
    )
