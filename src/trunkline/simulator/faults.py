"""What goes wrong between the switch and us: copies, delays, quarrels over an id, and lines that are damaged.

A record has one fault at most, so that the truth can say of each line what must become of it. A damaged line
stands in place of its record: what it said is lost unless a person corrects it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import polars as pl

from trunkline.simulator.country import Ints, Truths
from trunkline.simulator.lines import MISSING
from trunkline.simulator.schema import PURCHASES, TYPES
from trunkline.simulator.settings import FAULT_SETTINGS, Purpose, Settings, chance

SECOND_US = 1_000_000
NETWORK_DELAY_MS = (200, 4_000)
COPY_DELAY_S = (1.0, 6 * 3_600.0)
LATE_DELAY_S = (300.0, 3 * 86_400.0)
OVERTAKEN_DELAY_S = (30.0, 600.0)


class Fault(IntEnum):
    """What is wrong with a record; NONE, then in the order of the settings."""

    NONE = 0
    DUPLICATE = 1
    LATE = 2
    CORRUPT = 3
    CONFLICT = 4
    OUT_OF_ORDER = 5


FAULT_NAMES = ("", "duplicate", "late", "corrupt", "conflict", "out_of_order")


def afflict(rows: pl.DataFrame, settings: Settings, hour: int) -> pl.DataFrame:
    """The rows with the moment they arrive, their fault, and copies of those that come twice.

    `copy` is 1 for the second coming of a duplicate or conflict; `damage` is the place in `DAMAGES` of what is
    done to a corrupt line.
    """
    rng = chance(settings.seed, Purpose.FAULTS, hour)
    fault = _draw_faults(len(rows), settings, rng)
    delay_us = rng.integers(*NETWORK_DELAY_MS, len(rows)) * 1000
    delay_us += np.where(fault == Fault.LATE, _spread_us(LATE_DELAY_S, len(rows), rng), 0)
    delay_us += np.where(fault == Fault.OUT_OF_ORDER, _spread_us(OVERTAKEN_DELAY_S, len(rows), rng), 0)
    damage = _draw_damage(rows["type"].to_numpy(), fault == Fault.CORRUPT, rng)
    arriving = rows.with_columns(
        pl.Series("due_us", rows["end_us"].to_numpy() + delay_us),
        pl.Series("fault", fault),
        pl.lit(0, pl.Int64).alias("copy"),
        pl.Series("damage", damage),
    )
    return pl.concat([arriving, _copies(arriving, rng)])


def _draw_faults(count: int, settings: Settings, rng: np.random.Generator) -> Ints:
    borders = np.cumsum([getattr(settings, name) for name in FAULT_SETTINGS])
    drawn = np.searchsorted(borders, rng.random(count), side="right")
    return np.where(drawn == len(borders), Fault.NONE, drawn + 1).astype(np.int64)


def _spread_us(range_s: tuple[float, float], count: int, rng: np.random.Generator) -> Ints:
    """Delays that are as likely to be counted in minutes as in hours or days (log-uniform), in whole ms."""
    low, high = np.log(range_s[0]), np.log(range_s[1])
    return (np.exp(rng.uniform(low, high, count)) * 1000).astype(np.int64) * 1000


def _draw_damage(types: Ints, corrupt: Truths, rng: np.random.Generator) -> Ints:
    """One of the damages for each corrupt row; those of a price only where there is a price."""
    priced = types == TYPES.index("content")
    drawn = rng.integers(0, np.where(priced, len(DAMAGES), DAMAGES_OF_ANY))
    return np.where(corrupt, drawn, MISSING)


def _copies(arriving: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The second comings: duplicates as they are, conflicts with another time and another quantity."""
    again = arriving.filter(pl.col("fault").is_in([Fault.DUPLICATE, Fault.CONFLICT]))
    delay_us = _spread_us(COPY_DELAY_S, len(again), rng)
    more = rng.integers(1, 30, len(again))
    conflict = pl.col("fault") == Fault.CONFLICT
    shift = pl.Series("more", more)

    def other(column: str, unit: int) -> pl.Expr:
        changed = conflict & (pl.col(column) != MISSING)
        return (
            pl.when(changed)
            .then(pl.col(column) + pl.col("more") * unit)
            .otherwise(pl.col(column))
            .alias(column)
        )

    return (
        again.with_columns(shift)
        .with_columns(
            other("start_us", 1_000),
            other("duration_ms", 1_000),
            other("octets_down", 1_000_003),
            pl.when(conflict & (pl.col("amount") != MISSING))
            .then((pl.col("amount") + 1) % len(PURCHASES))
            .otherwise(pl.col("amount"))
            .alias("amount"),
            pl.lit(1, pl.Int64).alias("copy"),
            pl.Series("due_us", again["due_us"].to_numpy() + delay_us),
        )
        .drop("more")
    )


# -- damaged lines -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """A way to spoil a line, and the reason for which the platform must reject it."""

    name: str
    reason: str
    spoil: Callable[[bytes], bytes]


def _replaced(pattern: bytes, replacement: bytes) -> Callable[[bytes], bytes]:
    compiled = re.compile(pattern)
    return lambda line: compiled.sub(replacement, line, count=1)


def _negative(line: bytes) -> bytes:
    """A quantity below zero: the duration where there is one, else a count of events."""
    if b'"duration_ms":' in line:
        return re.sub(rb'"duration_ms":', b'"duration_ms":-9', line, count=1)
    return line.replace(b"}", b',"events":-3}')


DAMAGES = (
    Damage("cut short", "unreadable", lambda line: line[: len(line) * 3 // 5]),
    Damage("begins with noise", "unreadable", lambda line: b"\xff\x00\xc3(" + line[4:]),
    Damage("half a line twice", "unreadable", lambda line: line[: len(line) // 2] + line),
    Damage("no id", "missing_id", _replaced(rb'"id":"[^"]*",', b"")),
    Damage("no subscriber", "missing_subscriber", _replaced(rb'"subscriber":"[^"]*",', b"")),
    Damage(
        "letters in a number",
        "bad_number",
        _replaced(rb'"subscriber":"(\d{6})\d*"', rb'"subscriber":"\1oops"'),
    ),
    Damage("unheard-of type", "unknown_kind", _replaced(rb'"type":"[a-z]*"', b'"type":"fax"')),
    Damage("impossible month", "bad_time", _replaced(rb'"start":"(\d{4})-\d\d-', rb'"start":"\1-13-')),
    Damage(
        "clock far ahead", "in_the_future", _replaced(rb'"start":"\d{4}-\d\d-\d\d', b'"start":"2099-01-01')
    ),
    Damage("clock at its birth", "too_old", _replaced(rb'"start":"\d{4}-\d\d-\d\d', b'"start":"1999-01-01')),
    Damage("negative quantity", "bad_quantity", _negative),
    Damage("price that is no number", "bad_amount", _replaced(rb'"amount":"[^"]*"', b'"amount":"two euros"')),
    Damage("unknown currency", "wrong_currency", _replaced(rb'"currency":"EUR"', b'"currency":"XXX"')),
)
DAMAGES_OF_ANY = 11  # the others need a price
