"""A large batch in lanes: what is remembered by one key is carried side by side, and nothing comes out otherwise.

A period of a hundred thousand cells is one batch, and one thread would carry it while the other cores wait. The map
says what may be parted: steps that remember by one column need nobody whose key is another one. So neighbouring steps
of that kind are carried for each range of keys by a thread of its own, and all wait for each other before a step
that remembers otherwise, or that reads rows which belong to another key than their writer's. What is written is put
together in the order of steps, then of lanes, so that chance decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import polars as pl

from trunkline.engines.loop import Accounts, Carried, Carrier, Early, States
from trunkline.kernel.flow import Flow, Step, Stream
from trunkline.kernel.grouped import Grouped, State

_ALL = -1  # rows of no one lane
Overlay = dict[str, Grouped]
Written = list[tuple[pl.DataFrame, ...]]


@dataclass(frozen=True)
class Lanes:
    """How batches are parted: by the column `key`, at `borders` (the first key of each lane but the first one).

    The rows of `travels` belong to another key than that of whoever wrote them. Batches of fewer than `least_rows` rows
    are carried as a whole.
    """

    key: str
    borders: tuple[int, ...]
    travels: tuple[Stream, ...] = ()
    least_rows: int = 100_000

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.borders) + 1

    def rows(self, frame: pl.DataFrame, lane: int) -> pl.DataFrame:
        """The rows of a frame that belong to a lane."""
        key, mine = pl.col(self.key).fill_null(0), pl.lit(value=True)
        if lane > 0:
            mine &= key >= self.borders[lane - 1]
        if lane < len(self.borders):
            mine &= key < self.borders[lane]
        return frame.filter(mine)


@dataclass(frozen=True)
class _Stretch:
    """Neighbouring steps that are carried in lanes, or as a whole."""

    parted: bool
    steps: tuple[Step, ...]


class InLanes(Carrier):
    """Carries large batches in lanes, and small ones as its base does."""

    def __init__(
        self,
        flow: Flow,
        tables: Mapping[str, object],
        states: States,
        most_poison: int,
        accounts: Accounts,
        lanes: Lanes,
        early: Early | None = None,
    ) -> None:
        """Take the flow as it stands on the map. A flow that takes back what rejected records left has no lanes."""
        super().__init__(flow, tables, states, most_poison, accounts)
        assert not accounts.takes_back, "what was remembered of a rejected record lies in another lane"
        self._lanes = lanes
        self.early = early
        self._stretches = _stretches(flow.steps[1:], lanes, self._tells_behind)

    def _onward(
        self, steps: Sequence[Step], carried: Carried, number: int, judge: Callable[[Carried], None]
    ) -> Carried:
        most = max((len(carried.rows(entry)) for entry in self.entries), default=0)
        if len(steps) != len(self.flow.steps) - 1 or most < self._lanes.least_rows:
            return super()._onward(steps, carried, number, judge)
        parts = {name: [(_ALL, frame) for frame in frames] for name, frames in carried.frames.items()}
        overlays: list[Overlay] = [{} for _ in range(self._lanes.count + 1)]
        changed: list[dict[str, State]] = [{} for _ in overlays]
        with ThreadPoolExecutor(self._lanes.count, thread_name_prefix="lane") as pool:
            for stretch in self._stretches:
                which = range(self._lanes.count) if stretch.parted else (_ALL,)
                tasks = [
                    pool.submit(self._along, stretch, lane, parts, overlays[lane], changed[lane])
                    for lane in which
                ]
                written = [(lane, task.result()) for lane, task in zip(which, tasks, strict=True)]
                self._put_together(stretch, written, parts)
                if self._tells_behind(stretch.steps[-1]):
                    self._told(_whole(parts), carried, number)
        result = _whole(parts)
        judge(result)
        for overlay, states in zip(overlays, changed, strict=True):
            for name, state in states.items():
                self._states.put(state, overlay[name], number)
                result.states.append((state, overlay[name]))
        return result

    def _along(
        self,
        stretch: _Stretch,
        lane: int,
        parts: Mapping[str, list[tuple[int, pl.DataFrame]]],
        overlay: Overlay,
        changed: dict[str, State],
    ) -> Written:
        """Carry one lane (or all rows) through the steps of a stretch; what each step wrote."""
        here = Carried()
        taken: set[str] = set()
        written: Written = []
        for step in stretch.steps:
            if step.reads.name not in taken:
                taken.add(step.reads.name)
                before = self._of_lane(parts.get(step.reads.name, []), lane)
                here.frames[step.reads.name] = before + here.frames.get(step.reads.name, [])
            rows = here.rows(step.reads)
            out = Carried()
            if len(rows):
                self._run(step, rows, out, overlay, changed)
            written.append(tuple(out.rows(stream) for stream in step.writes))
            for stream, some in zip(step.writes, written[-1], strict=True):
                here.add(stream, some)
        return written

    def _of_lane(self, parts: Sequence[tuple[int, pl.DataFrame]], lane: int) -> list[pl.DataFrame]:
        if lane == _ALL:
            return [rows for _, rows in parts]
        chosen = [
            rows if of == lane else self._lanes.rows(rows, lane) for of, rows in parts if of in (lane, _ALL)
        ]
        return [rows for rows in chosen if len(rows)]

    def _put_together(
        self,
        stretch: _Stretch,
        written: Sequence[tuple[int, Written]],
        parts: dict[str, list[tuple[int, pl.DataFrame]]],
    ) -> None:
        for at, step in enumerate(stretch.steps):
            for which, stream in enumerate(step.writes):
                travels = any(stream is each for each in self._lanes.travels)
                for lane, frames in written:
                    if len(frames[at][which]):
                        parts.setdefault(stream.name, []).append(
                            (_ALL if travels else lane, frames[at][which])
                        )


def _whole(parts: Mapping[str, list[tuple[int, pl.DataFrame]]]) -> Carried:
    return Carried({name: [rows for _, rows in frames] for name, frames in parts.items()})


def _stretches(steps: Sequence[Step], lanes: Lanes, ends: Callable[[Step], bool]) -> tuple[_Stretch, ...]:
    """The steps in their order, cut where the kind changes, where rows change places, and behind what is to be told."""
    found: list[tuple[bool, list[Step]]] = []
    for step in steps:
        parted = _is_parted(step, lanes)
        moved = any(step.reads is each for each in lanes.travels) and any(
            step.reads is stream for other in (found[-1][1] if found else []) for stream in other.writes
        )
        if not found or found[-1][0] != parted or moved or ends(found[-1][1][-1]):
            found.append((parted, []))
        found[-1][1].append(step)
    return tuple(_Stretch(parted, tuple(each)) for parted, each in found)


def _is_parted(step: Step, lanes: Lanes) -> bool:
    columns: Any = {column.name for column in step.reads.record.columns}
    return lanes.key in columns and (step.state is None or step.state.key == lanes.key)
