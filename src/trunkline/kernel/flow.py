"""The grammar of the map: flows are steps, steps read and write streams, some steps remember.

A step never pulls. It is called with one batch of columns, then the state rows of the batch's keys
when it remembers, then the tables it looks things up in, and returns an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from trunkline.kernel.columns import Record
from trunkline.kernel.grouped import Grouped, State


@dataclass(frozen=True)
class Stream:
    """A named stream of one record; embedded queues, segments and Kafka topics carry the same name."""

    name: str
    record: Record
    key: str
    text: str


@dataclass(frozen=True)
class Table:
    """A named reference that steps look things up in (tariffs, mappings), given whole, never written by a step."""

    name: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What a step gives back: one frame for each stream it writes, in the step's order, and its new state."""

    rows: tuple[pl.DataFrame, ...]
    state: Grouped | None = None


@dataclass(frozen=True)
class Step:
    """One verb of the trade: what it reads, writes, remembers and looks up.

    `run(batch, *[state if the step remembers], *[one value for each of looks_up]) -> Outcome`.
    """

    run: Callable[..., Outcome]
    reads: Stream
    writes: tuple[Stream, ...]
    state: State | None = None
    looks_up: tuple[Table, ...] = field(default=())

    @property
    def name(self) -> str:
        """The verb."""
        return self.run.__name__


@dataclass(frozen=True)
class Flow:
    """Steps in the order in which data passes them, and why they are there."""

    name: str
    text: str
    steps: tuple[Step, ...]
