"""The order in which records reach us: what ended in an hour, what was held up before, and copies of both.

Hours are made one after the other; between them only what is still on its way is kept, so memory does not grow
with the length of the simulation. What has not arrived when the last hour ends arrives together after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from trunkline.simulator.faults import DAMAGES, Fault, afflict
from trunkline.simulator.lines import MISSING, Ints
from trunkline.simulator.rhythm import HOUR_S
from trunkline.simulator.schema import print_lines
from trunkline.simulator.usage import World, usage_of

HOUR_US = HOUR_S * 1_000_000


@dataclass(frozen=True)
class Arrivals:
    """The records that arrive within an hour, in their order."""

    number: int
    start_us: int
    end_us: int
    rows: pl.DataFrame


@dataclass(frozen=True)
class Born:
    """The records of usage that began in an hour, with their faults, before they are put in order of arrival."""

    number: int
    rows: pl.DataFrame


def arrivals(world: World, first_hour: int = 0) -> Iterator[tuple[Born | None, Arrivals]]:
    """Hour by hour what is made and what arrives; last, what was still on its way."""
    hours = world.settings.hours
    assert 0 <= first_hour < hours, "the first hour is one of the simulation's"
    on_the_way: list[pl.DataFrame] = []
    for number in range(first_hour, hours):
        hour = world.hour(number)
        born = Born(number, afflict(usage_of(world, hour), world.settings, number))
        here, later = _split(pl.concat([*on_the_way, born.rows]), hour.start_us + HOUR_US)
        on_the_way = [later]
        yield born, Arrivals(number, hour.start_us, hour.start_us + HOUR_US, here)
    end_us = world.start_us + hours * HOUR_US
    stragglers = pl.concat(on_the_way).sort("due_us", maintain_order=True)
    yield None, Arrivals(hours, end_us, end_us, stragglers)


def _split(rows: pl.DataFrame, until_us: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is due before the moment, in order, and the rest."""
    due = rows["due_us"] < until_us
    return rows.filter(due).sort("due_us", maintain_order=True), rows.filter(~due)


def lines_of(rows: pl.DataFrame) -> Iterator[bytes]:
    """The lines of the rows as they arrive, damaged where they must be, some thousands at a time."""
    corrupt = rows["fault"].to_numpy() == Fault.CORRUPT
    damage = rows["damage"].to_numpy()
    first = 0
    for text, ends in print_lines(rows):
        damaged = np.flatnonzero(corrupt[first : first + len(ends)])
        yield _spoil(text, ends, damaged, damage[first : first + len(ends)]) if len(damaged) else text
        first += len(ends)


def _spoil(text: bytes, ends: Ints, damaged: Ints, damage: Ints) -> bytes:
    """The text with the given lines damaged."""
    pieces: list[bytes] = []
    copied = 0
    for line in damaged.tolist():
        first = int(ends[line - 1]) if line else 0
        assert damage[line] != MISSING, "a corrupt row says how it is damaged"
        spoilt = DAMAGES[int(damage[line])].spoil(text[first : int(ends[line]) - 1])
        pieces += [text[copied:first], spoilt, b"\n"]
        copied = int(ends[line])
    return b"".join([*pieces, text[copied:]])
