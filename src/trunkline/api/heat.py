"""The map as it stands, and what changed since: one board, however many people look.

Every commit that touches a tile is a step of the board, numbered by the commit, so that a reader that comes back
after a lost connection (or after a restart) says the last number it saw and is given what came since, or everything
when that is too long ago. What is sent for one view is put together once for all its readers. Nobody is queued for:
a slow reader later takes all that it missed in one piece.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field

import orjson
import polars as pl

from trunkline import ports
from trunkline.records.network import ALARMS, HEAT, INCIDENTS

STEPS_KEPT = 240  # two hours of steps of 30 s
View = tuple[str, str]  # layer, metric
_Tile = tuple[int | None, int, int, int]  # value_milli, severity, cells, time_us


@dataclass(frozen=True)
class _Step:
    """What one commit changed."""

    number: int
    tiles: dict[View, dict[int, _Tile]]


@dataclass
class HeatBoard:
    """Tiles by view. `commit` is called by the thread that writes, all else by the loop that serves."""

    reader: ports.NetworkReader
    _views: dict[View, dict[int, _Tile]] = field(default_factory=dict)
    _steps: deque[_Step] = field(default_factory=lambda: deque(maxlen=STEPS_KEPT))
    _number: int = 0
    _alarms: int = 0
    _incidents: int = 0
    _forgotten: int = 0  # steps up to this number are not kept any more
    _said: dict[tuple[View, int, int], bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loop: asyncio.AbstractEventLoop | None = None
    _waking: asyncio.Future[None] | None = None
    _changed: asyncio.Condition | None = None

    def load(self) -> None:
        """Begin with what the store knows."""
        counts = self.reader.counts()
        tiles = _by_view(self.reader.tiles(None, None, counts["newest_heat_us"]))
        with self._lock:
            self._views = tiles
            self._number = self._forgotten = counts["commits"]

    def commit(self, commit: ports.Commit) -> None:
        """A commit is durable: bring the board up to it and wake whoever waits."""
        frames = commit.frames
        heat = frames.get(HEAT.name)
        told = sum(len(frames[name]) for name in (ALARMS.name, INCIDENTS.name) if name in frames)
        if (heat is None or not len(heat)) and not told:
            return
        tiles = {} if heat is None else _by_view(heat.sort("time_us", maintain_order=True))
        with self._lock:
            for view, changed in tiles.items():
                self._views.setdefault(view, {}).update(changed)
            if len(self._steps) == self._steps.maxlen:
                self._forgotten = self._steps[0].number
            self._steps.append(_Step(commit.number, tiles))
            self._number = commit.number
            self._alarms += len(frames.get(ALARMS.name, ()))
            self._incidents += len(frames.get(INCIDENTS.name, ()))
            self._said.clear()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def views(self) -> list[View]:
        """The layers and metrics that there are."""
        with self._lock:
            return sorted(self._views)

    def bind(self) -> None:
        """Remember the loop that serves; called from it."""
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Condition()

    async def after(self, number: int, patience_s: float) -> int:
        """The board's number once it is above the one given, or the same one when that took too long."""
        assert self._changed is not None, "the loop is bound before anybody waits"
        try:
            async with asyncio.timeout(patience_s), self._changed:
                await self._changed.wait_for(lambda: self._number > number)
        except TimeoutError:
            pass
        return self._number

    def message(self, view: View, seen: int) -> tuple[int, bytes]:
        """What a reader of a view is sent who has seen the board up to a number (-1: nothing); and its new number."""
        with self._lock:
            number = self._number
            key = (view, seen, number)
            said = self._said.get(key)
            if said is None:
                whole = seen < self._forgotten or seen > number
                said = self._said[key] = self._put_together(view, -1 if whole else seen)
            return number, said

    def _put_together(self, view: View, seen: int) -> bytes:
        tiles: dict[int, _Tile] = {}
        if seen < 0:
            tiles = self._views.get(view, {})
        else:
            for step in self._steps:
                if step.number > seen:
                    tiles.update(step.tiles.get(view, {}))
        return orjson.dumps(
            {
                "type": "snapshot" if seen < 0 else "delta",
                "seq": self._number,
                "after": None if seen < 0 else seen,
                "layer": view[0],
                "metric": view[1],
                "time_us": max((tile[3] for tile in tiles.values()), default=None),
                "alarm_changes": self._alarms,
                "incident_changes": self._incidents,
                "tiles": [[f"{tile:x}", *values] for tile, values in tiles.items()],
            }
        )

    def _wake(self) -> None:
        assert self._changed is not None, "the loop is bound"
        self._waking = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        assert self._changed is not None, "the loop is bound"
        async with self._changed:
            self._changed.notify_all()


def _by_view(rows: pl.DataFrame) -> dict[View, dict[int, _Tile]]:
    """Tiles of each layer and metric; the last row of a tile wins."""
    views: dict[View, dict[int, _Tile]] = {}
    for (layer, metric), group in rows.group_by("layer", "metric", maintain_order=True):
        columns = (group[name].to_list() for name in ("value_milli", "severity", "cells", "time_us"))
        views[str(layer), str(metric)] = dict(
            zip(group["tile"].to_list(), zip(*columns, strict=True), strict=True)
        )
    return views
