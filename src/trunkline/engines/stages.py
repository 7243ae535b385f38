"""A flow whose steps are not all parted by the same key, cut into levels that every engine can carry in turn.

Usage is parted once, by whose money it is. The network is not: a cell's counters lie by the cell, what they add up to
lies by the area, and alarms hang together over the whole network. So steps have a *kind* of place, the key by which
their state is parted (what remembers by a finer key stays where its rows are), and a *level*: how often rows have had
to change places before them. Within a level nobody needs to know of anybody else; between two levels everyone waits
for what the others send. Kinds, levels and what is sent follow from the map and from nothing else.

One *epoch* carries one batch through all levels, so the rows are those that one process would have made of that batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.engines.loop import Carried, Carrier, Counting, States, counted
from trunkline.engines.plan import Plan, buckets_of
from trunkline.kernel.flow import Flow, Step, Stream
from trunkline.kernel.grouping import order_by_group

ONE = 0  # the key under which all is kept that hangs together
Sent = tuple[int, str, int]
"""Who sends: level, kind and partition."""


@dataclass(frozen=True)
class Staged(Plan):
    """The flows of a worker whose rows change places on their way.

    `kinds` are the columns by which places are parted; the first one parts what comes in, the others hang together
    under one key. The rows of `travels` belong to another key than that of whoever wrote them. `published` leaves the
    house. `keyed` gives the key of a stream that does not carry its column; `merged` the order of rows that come from
    several places. `clock` is told by `tick` when nothing came: last time told, how long ago, tables.
    """

    kinds: tuple[str, ...] = ()
    travels: tuple[Stream, ...] = ()
    published: tuple[Stream, ...] = ()
    keyed: Mapping[str, pl.Expr] = field(default_factory=dict)
    merged: Mapping[str, Sequence[pl.Expr]] = field(default_factory=dict)
    count: Counting = counted
    clock: Stream | None = None
    tick: Callable[[int, int, Mapping[str, Any]], pl.DataFrame] | None = None

    # -- names --------------------------------------------------------------------------------------------

    def topic(self, stream: Stream) -> str:
        """Name of a stream's topic; the flow's own name is in the prefix already."""
        return f"{self.prefix}.{stream.name.removeprefix(f'{self.usage.name}.')}"

    def changelog(self, state: Any) -> str:  # noqa: ANN401 -- kernel.grouped.State
        """Topic of a state's changes."""
        return f"{self.prefix}.changelog.{state.name.removeprefix(f'{self.usage.name}.')}"

    @property
    def exchange(self) -> str:
        """Topic of what places send each other within an epoch."""
        return f"{self.prefix}.exchange"

    @property
    def between(self) -> dict[str, str]:
        """Topics between the workers, and what travels there."""
        return {
            self.work: "What came in, by partition, and the marks of epochs.",
            self.exchange: "What partitions send each other within an epoch.",
        }

    @property
    def carries(self) -> dict[str, tuple[Stream, ...]]:
        """The streams whose rows travel in each topic between the workers."""
        sent = {name for sent in self.sends.values() for name, _ in sent}
        known = {s.name: s for step in self.usage.steps for s in (step.reads, *step.writes)}
        return {**super().carries, self.exchange: tuple(known[name] for name in sorted(sent))}

    @property
    def served(self) -> tuple[Any, ...]:
        """Nothing: what people are answered with is all among the results."""
        return ()

    @property
    def schemas(self) -> str:
        """Topic of the registry, which is the whole house's: a schema's number means the same wherever it is read."""
        return f"{self.prefix.removesuffix(f'.{self.usage.name}')}.schemas"

    @property
    def results(self) -> tuple[Stream, ...]:
        """What leaves the house."""
        return self.published

    # -- places -------------------------------------------------------------------------------------------

    @property
    def told(self) -> int:
        """Where what hangs together lies; its owner begins the epochs."""
        return int(buckets_of(np.array([ONE], np.uint64), self.buckets)[0])

    def hosts(self, kind: str) -> tuple[int, ...]:
        """The partitions that have places of a kind."""
        return tuple(range(self.buckets)) if kind == self.kinds[0] else (self.told,)

    def part(self, stream: Stream, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
        """The partition of each row that comes in."""
        return self.partitions(stream.name, self.kinds[0], rows)

    def partitions(self, stream: str, kind: str, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
        """The partition of each row, by the key of a kind."""
        if kind != self.kinds[0] or (kind not in rows.columns and stream not in self.keyed):
            return np.full(len(rows), self.told)
        keys = rows.select(self.keyed.get(stream, pl.col(kind)).cast(pl.UInt64)).to_series()
        return buckets_of(keys.fill_null(ONE).to_numpy(), self.buckets)

    @cached_property
    def levels(self) -> dict[tuple[str, int], Flow]:
        """The steps of each kind and level as a flow; its first step is that of the whole flow, which runs before."""
        first = self.usage.steps[0]
        found: dict[tuple[str, int], list[Step]] = {}
        for step, place in self._placed:
            found.setdefault(place, []).append(step)
        return {
            place: Flow(f"{self.usage.name}.{place[1]}.{place[0]}", self.usage.text, (first, *steps))
            for place, steps in sorted(found.items(), key=lambda each: (each[0][1], each[0][0]))
        }

    @cached_property
    def sends(self) -> dict[tuple[str, int], frozenset[tuple[str, str]]]:
        """For each kind and level what it sends: a stream, and the kind of place that reads it."""
        found: dict[tuple[str, int], set[tuple[str, str]]] = {place: set() for place in self.levels}
        for step, (kind, _) in self._placed:
            for writer, place in self._placed:
                if any(s is step.reads for s in writer.writes) and self._crosses(step.reads, place[0], kind):
                    found[place].add((step.reads.name, kind))
        return {place: frozenset(sent) for place, sent in found.items()}

    @cached_property
    def gone(self) -> dict[str, frozenset[str]]:
        """For each kind the streams that it writes and does not read where they were written."""
        found = {}
        for kind in self.kinds:
            written = {s.name for step, place in self._placed if place[0] == kind for s in step.writes}
            stays = {
                step.reads.name
                for step, place in self._placed
                if place[0] == kind and not self._crosses(step.reads, kind, kind)
            }
            found[kind] = frozenset(written - stays - {s.name for s in self.published})
        return found

    def awaited(self, kind: str, level: int, partition: int) -> list[Sent]:
        """Who must have been heard before a level can be carried at a partition, in the order of what they say."""
        return sorted(
            (before, sender, other)
            for (sender, before), sent in self.sends.items()
            if before < level and any(to == kind for _, to in sent) and partition in self.hosts(kind)
            for other in self.hosts(sender)
        )

    @property
    def tells_time(self) -> tuple[str, int]:
        """The kind and level that writes the clock."""
        return next(
            place for step, place in self._placed if any(stream is self.clock for stream in step.writes)
        )

    @cached_property
    def _placed(self) -> list[tuple[Step, tuple[str, int]]]:
        """Every step but the first with its kind and level."""
        came: dict[str, list[tuple[str, int]]] = {s.name: [(self.kinds[0], 0)] for s in self.entries}
        remembered: dict[str, int] = {}
        found = []
        for step in self.usage.steps[1:]:
            sources = came[step.reads.name]
            key = step.state.key if step.state is not None else ""
            kind = key if key in self.kinds else sources[0][0]
            assert key in self.kinds or {each[0] for each in sources} == {kind}, (
                f"{step.name} has no one place"
            )
            level = max(at + self._crosses(step.reads, of, kind) for of, at in sources)
            if step.state is not None:
                level = remembered[step.state.name] = max(level, remembered.get(step.state.name, 0))
            for stream in step.writes:
                came.setdefault(stream.name, []).append((kind, level))
            found.append((step, (kind, level)))
        return found

    def _crosses(self, stream: Stream, of: str, to: str) -> bool:
        return of != to or any(stream is each for each in self.travels)


@dataclass(frozen=True)
class Parcel:
    """Rows of one stream on their way from one place to the partition of another."""

    to: int
    kind: str
    stream: str
    rows: pl.DataFrame


class Place:
    """One kind of place at one partition, carrying one epoch: what it has, how far it is, and what it waits for."""

    def __init__(
        self, plan: Staged, kind: str, partition: int, states: States, tables: Mapping[str, object]
    ) -> None:
        """Begin an epoch with nothing."""
        self.plan, self.kind, self.partition = plan, kind, partition
        self.carried = Carried()
        self._states, self._tables = states, tables
        self._levels = [level for of, level in plan.levels if of == kind]
        self._heard: dict[Sent, list[tuple[str, pl.DataFrame]]] = {}
        self._taken: set[Sent] = set()
        self._streams = {s.name: s for step in plan.usage.steps for s in (step.reads, *step.writes)}

    @property
    def level(self) -> int | None:
        """The next level to be carried; None at the end."""
        return self._levels[0] if self._levels else None

    def resume(self, level: int, carried: Carried) -> None:
        """Go on from a level with what was kept until there."""
        self.carried = carried
        self._levels = [each for each in self._levels if each >= level]

    def hear(self, sent: Sent, rows: list[tuple[str, pl.DataFrame]]) -> None:
        """Take everything that somebody sent of one level; what is heard again is what was heard before."""
        self._heard.setdefault(sent, rows)

    @property
    def is_ready(self) -> bool:
        """Whether everybody was heard who must be before the next level."""
        level = self.level
        return level is not None and all(
            sent in self._heard for sent in self.plan.awaited(self.kind, level, self.partition)
        )

    def carry(self, number: int, more: Mapping[str, pl.DataFrame] | None = None) -> list[Parcel]:
        """Carry the next level as part of commit `number`; what it sends. `more` is added to what it writes."""
        level = self._levels.pop(0)
        self._gather(level)
        flow = self.plan.levels[self.kind, level]
        carrier = Carrier(flow, self._tables, self._states)
        before = self.carried.states
        if level == 0 and self.kind == self.plan.kinds[0]:
            held = self.plan.accounts.held
            self.carried = carrier.careful(self.carried, number, held, lambda _result: None)
        else:
            self.carried = carrier.rest(self.carried, number)
        self.carried.states = before + self.carried.states
        for name, rows in (more or {}).items():
            self.carried.add(self._streams[name], rows)
        parcels = list(self._parcels(level))
        for name, _ in self.plan.sends[self.kind, level]:
            if name in self.plan.gone[self.kind]:
                self.carried.frames.pop(name, None)
        return parcels

    def published(self) -> Carried:
        """What leaves the house, and the changed states."""
        names = {stream.name for stream in self.plan.published}
        frames = {name: frames for name, frames in self.carried.frames.items() if name in names}
        return Carried(frames, self.carried.states, self.carried.poisoned)

    def _gather(self, level: int) -> None:
        """Add what the others sent to what is here, in an order that does not depend on who was quick."""
        found: dict[str, list[pl.DataFrame]] = {}
        for sent in self.plan.awaited(self.kind, level, self.partition):
            if sent not in self._taken:
                self._taken.add(sent)
                for name, rows in self._heard[sent]:
                    found.setdefault(name, []).append(rows)
        for name, frames in found.items():
            stream = self._streams[name]
            for rows in frames:
                self.carried.add(stream, rows)
            if name in self.plan.merged:  # with what was here before: no matter who came at which level
                whole = self.carried.rows(stream).sort(*self.plan.merged[name], maintain_order=True)
                self.carried.frames[name] = [whole]

    def _parcels(self, level: int) -> Iterator[Parcel]:
        for name, kind in sorted(self.plan.sends[self.kind, level]):
            stream = self._streams[name]
            rows = stream.record.conform(self.carried.rows(stream))
            if not len(rows):
                continue
            order, first = order_by_group(self.plan.partitions(name, kind, rows), self.plan.buckets)
            rows = rows[order]
            for to in np.flatnonzero(np.diff(first)).tolist():
                yield Parcel(to, kind, name, rows[int(first[to]) : int(first[to + 1])])
