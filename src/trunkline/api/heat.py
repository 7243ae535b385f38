"""The map as it stands, and what changed since: one board, however many people look.

Every commit that touches a tile is a step of the board, numbered by the commit, so that a reader that comes back
after a lost connection (or after a restart) says the last number it saw and is given what came since, or everything
when that is too long ago. What is sent for one view is put together once for all its readers. Nobody is queued for:
a slow reader later takes all that it missed in one piece.

The tiles of a large batch are told ahead of its commit: they are known long before all else that follows from it is,
and before any of it is durable. Such a message has no number to come back to, so whoever loses the connection behind
it is given the whole map. The commit then adds what was not told ahead; should it have become another one (or none,
because the process died), whoever was told ahead is given the whole map, too.

Tiles stay in columns, as they came: a period of a large network moves hundreds of thousands, and nobody looks at most.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import orjson
import polars as pl

from trunkline import ports
from trunkline.records.network import ALARMS, HEAT, INCIDENTS

STEPS_KEPT = 240  # two hours of steps of 30 s,
ROWS_KEPT = 2_000_000  # while they have no more tiles than this
SAID_KEPT = 1_000  # messages, until the board changes
ROWS_FOLDED = 200_000  # so many changes at least before they are put into the whole map
View = tuple[str, str]  # layer, metric
_NAME = ["layer", "tile", "metric"]
_COLUMNS = (*_NAME, "value_milli", "severity", "cells", "time_us")


@cache
def _nothing() -> pl.DataFrame:
    """No tiles; not made while modules are imported, for whoever forks then would fork Polars' threads, too."""
    return HEAT.record.empty().select(_COLUMNS)


class Seen(NamedTuple):
    """How far a reader is: the last step that it saw, and the commit whose tiles it was told ahead (0: none)."""

    number: int = -1
    ahead: int = 0


@dataclass(frozen=True)
class _Step:
    """What one commit changed, in columns; the first so many rows were told ahead of it."""

    number: int
    tiles: pl.DataFrame
    ahead: int


@dataclass
class HeatBoard:
    """Tiles by view. `ahead` and `commit` are called by threads that carry and write, all else by the loop."""

    reader: ports.NetworkReader
    _base: pl.DataFrame = field(default_factory=_nothing)
    _later: list[pl.DataFrame] = field(default_factory=list)  # what came since, the oldest first
    _steps: deque[_Step] = field(default_factory=deque)
    _ahead: _Step | None = None
    _number: int = 0
    _committed: int = 0
    _alarms: int = 0
    _incidents: int = 0
    _forgotten: int = 0  # steps up to this number are not kept any more
    _said: dict[tuple[View, Seen], tuple[Seen, str | None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loop: asyncio.AbstractEventLoop | None = None
    _waiting: set[asyncio.Event] = field(default_factory=set)

    def load(self) -> None:
        """Begin with what the store knows."""
        counts = self.reader.counts()
        tiles = _columns(self.reader.tiles(None, None, counts["newest_heat_us"]))
        with self._lock:
            self._base, self._later = tiles, []
            self._number = self._forgotten = self._committed = counts["commits"]

    def ahead(self, number: int, heat: pl.DataFrame) -> None:
        """These tiles will be those of commit `number`, as far as one can know; only the next one is told ahead."""
        with self._lock:
            if number != self._committed + 1 or self._ahead is not None:
                return
            self._ahead = _Step(number, _columns(heat), len(heat))
            self._said.clear()
        self._tell()

    def commit(self, commit: ports.Commit) -> None:
        """A commit is durable: bring the board up to it and wake whoever waits."""
        frames = commit.frames
        tiles = _columns(frames[HEAT.name]) if HEAT.name in frames else _nothing()
        told = sum(len(frames[name]) for name in (ALARMS.name, INCIDENTS.name) if name in frames)
        expected = self._ahead
        if not len(tiles) and not told and expected is None:
            with self._lock:
                self._committed = commit.number
            return
        ahead = len(expected.tiles) if expected is not None and _begins(tiles, expected, commit.number) else 0
        base, later = self._folded(_in_order_of_time(tiles))
        with self._lock:
            self._committed, self._ahead = commit.number, None
            if len(tiles) or told:
                self._base, self._later = base, later
                self._steps.append(_Step(commit.number, tiles, ahead))
                self._number = commit.number
                self._forget()
            self._alarms += len(frames.get(ALARMS.name, ()))
            self._incidents += len(frames.get(INCIDENTS.name, ()))
            self._said.clear()
        self._tell()

    def views(self) -> list[View]:
        """The layers and metrics that there are."""
        with self._lock:
            frames = [self._base, *self._later]
        return sorted(
            {(row[0], row[1]) for each in frames for row in each.select("layer", "metric").unique().rows()}
        )

    def bind(self) -> None:
        """Remember the loop that serves; called from it."""
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def waking(self, news: asyncio.Event) -> Iterator[None]:
        """Set an event whenever there may be something to say, until the end of the block."""
        self._waiting.add(news)
        try:
            yield
        finally:
            self._waiting.discard(news)

    def message(self, view: View, seen: Seen) -> tuple[Seen, str | None]:
        """What a reader of a view is sent who has seen so much; how much it has seen then. None: nothing new."""
        with self._lock:
            if not self._forgotten <= seen.number <= self._number:
                seen = Seen()
            said = self._said.get((view, seen))
            if said is None:
                if len(self._said) >= SAID_KEPT:
                    self._said.clear()
                said = self._said[view, seen] = self._put_together(view, seen)
            return said

    def _put_together(self, view: View, seen: Seen) -> tuple[Seen, str | None]:
        now = Seen(self._number)
        if 0 <= seen.number < self._number:
            missed = [step for step in self._steps if step.number > seen.number]
            known = {step.number for step in missed if step.number == seen.ahead and step.ahead}
            if not seen.ahead or known:
                parts = [_untold(step, view) if step.number in known else step.tiles for step in missed]
                return now, self._text(view, parts, now.number, seen.number)
        elif seen.number == self._number:
            ahead = self._ahead
            if seen.ahead == (ahead.number if ahead is not None else 0):
                return seen, None
            if ahead is not None and not seen.ahead:
                tiles = _of_view([ahead.tiles], view)
                text = self._text(view, [tiles], None, seen.number) if len(tiles) else None
                return Seen(seen.number, ahead.number), text
        return now, self._text(view, [self._base, *self._later], now.number, None)

    def _text(self, view: View, parts: Sequence[pl.DataFrame], number: int | None, after: int | None) -> str:
        """A message; `number` is none where there is none to come back to, `after` where it is the whole map."""
        tiles = _of_view(parts, view).unique("tile", keep="last", maintain_order=True)
        columns = (tiles[name].to_list() for name in ("value_milli", "severity", "cells", "time_us"))
        return orjson.dumps(
            {
                "type": "snapshot" if after is None else "delta",
                "seq": number,
                "after": after,
                "layer": view[0],
                "metric": view[1],
                "time_us": tiles["time_us"].max(),
                "alarm_changes": self._alarms,
                "incident_changes": self._incidents,
                "tiles": [
                    [f"{tile:x}", *values]
                    for tile, values in zip(tiles["tile"].to_list(), zip(*columns, strict=True), strict=True)
                ],
            }
        ).decode()

    def _folded(self, tiles: pl.DataFrame) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        """The whole map and what is to be put into it, with some more tiles; only the thread that writes changes it."""
        later = [*self._later, tiles] if len(tiles) else self._later
        if sum(map(len, later)) <= max(ROWS_FOLDED, len(self._base)):
            return self._base, later
        return pl.concat([self._base, *later]).unique(_NAME, keep="last"), []

    def _forget(self) -> None:
        """Let go of the oldest steps when they are too many; the newest one is always kept."""
        rows = sum(len(step.tiles) for step in self._steps)
        while len(self._steps) > 1 and (len(self._steps) > STEPS_KEPT or rows > ROWS_KEPT):
            gone = self._steps.popleft()
            rows -= len(gone.tiles)
            self._forgotten = gone.number

    def _tell(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for news in self._waiting:
            news.set()


def _begins(tiles: pl.DataFrame, expected: _Step, number: int) -> bool:
    """Whether a commit is the one that was told ahead, and its tiles begin with those that were told."""
    return number == expected.number and tiles[: len(expected.tiles)].equals(expected.tiles)


def _untold(step: _Step, view: View) -> pl.DataFrame:
    """The tiles of a view that a step shows otherwise than was told ahead of it."""
    tiles = _of_view([step.tiles.with_row_index("row")], view)
    return tiles.unique("tile", keep="last").filter(pl.col("row") >= step.ahead).drop("row")


def _columns(heat: pl.DataFrame) -> pl.DataFrame:
    return HEAT.record.conform(heat).select(_COLUMNS)


def _in_order_of_time(tiles: pl.DataFrame) -> pl.DataFrame:
    return tiles if tiles["time_us"].is_sorted() else tiles.sort("time_us", maintain_order=True)


def _of_view(parts: Sequence[pl.DataFrame], view: View) -> pl.DataFrame:
    """The rows of one view, in the order of their steps and within one of their times."""
    wanted = (pl.col("layer") == view[0]) & (pl.col("metric") == view[1])
    chosen = [_in_order_of_time(part.filter(wanted)) for part in parts]
    return pl.concat(chosen) if chosen else _nothing()
