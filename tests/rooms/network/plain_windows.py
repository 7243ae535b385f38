"""A second opinion on alignment, KPIs, sums and tiles: one row at a time, by the written rules, in whole fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import trunkline.network
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.kernel.identity import name_words
from trunkline.network.formula import Form, Formulas, Kpi, parse_formulas
from trunkline.records.network import BUCKET_SHIFT, MEASURED, Counting

SHIPPED = (Path(trunkline.network.__file__).parent / "formulas" / "network.yaml").read_text(encoding="utf-8")
FORMULAS = parse_formulas(SHIPPED, "network.yaml")
PERIOD_US = 30_000_000
TURN = 2**32 * 1_000


@dataclass(frozen=True)
class Reading:
    """One measurement, as tests write it down."""

    name: str
    counter: str
    end_us: int
    value_milli: int
    period_us: int = PERIOD_US
    kind: Counting = Counting.DELTA
    slice: int = 0
    five_qi: int = 0
    technology: str = "NR"


def measured(readings: Iterable[Reading]) -> pl.DataFrame:
    """Readings as `MEASURED`, in their order."""
    rows = list(readings)
    names = pl.Series([row.name for row in rows], dtype=pl.String)
    objects = name_words(names)
    frame = pl.DataFrame(
        {
            "seq": np.arange(len(rows)),
            "file": np.zeros(len(rows), np.int32),
            "line": np.arange(len(rows)) + 1,
            "offset": np.arange(len(rows)) * 10,
            "length": np.full(len(rows), 10, np.int32),
            "source": ["test"] * len(rows),
            "object": objects,
            "name": names,
            "technology": [row.technology for row in rows],
            "slice": np.array([row.slice for row in rows], np.uint32),
            "five_qi": np.array([row.five_qi for row in rows], np.uint8),
            "counter": [row.counter for row in rows],
            "kind": np.array([row.kind for row in rows], np.uint8),
            "begin_us": [row.end_us - row.period_us for row in rows],
            "end_us": [row.end_us for row in rows],
            "value_milli": [row.value_milli for row in rows],
            "bucket": objects >> np.uint64(BUCKET_SHIFT),
        },
        schema_overrides={"counter": pl.String, "begin_us": pl.Int64, "end_us": pl.Int64, "value_milli": pl.Int64,
                          "source": pl.String, "technology": pl.String},
    )  # fmt: skip
    return MEASURED.record.conform(frame)


class Memory:
    """State as an engine keeps it: the step is given the groups of its batch's keys, and no other."""

    def __init__(self, state: State) -> None:
        """Begin with nothing."""
        self.state = state
        self.groups: dict[int, Any] = {}

    def run(self, step: Any, batch: pl.DataFrame, *tables: Any) -> Outcome:
        """Give a batch to a step and keep what it returns."""
        keys = np.unique(batch[self.state.key].to_numpy())
        none = np.empty(0, self.state.dtype)
        parts = [self.groups.get(int(key), none) for key in keys]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        given = Grouped(keys, offsets, np.concatenate([none, *parts]))
        outcome: Outcome = step(batch, given, *tables)
        assert outcome.state is not None
        assert np.isin(outcome.state.keys, keys).all(), "a step changes only the keys of its batch"
        for key in outcome.state.keys.tolist():
            self.groups[key] = outcome.state.rows_of(key)
        return outcome


def cut(frame: pl.DataFrame, places: Iterable[int]) -> list[pl.DataFrame]:
    """A frame cut at the given places, without empty parts."""
    borders = [0, *sorted(min(place, len(frame)) for place in places), len(frame)]
    parts = [frame[first:last] for first, last in pairwise(borders)]
    return [part for part in parts if len(part)]


@dataclass
class PlainAlign:
    """The rules of `align`, one reading at a time."""

    lateness_us: int
    newest: dict[tuple[str, int], int] = field(default_factory=dict)
    came: dict[tuple[Any, ...], int] = field(default_factory=dict)
    last: dict[tuple[Any, ...], tuple[int, int]] = field(default_factory=dict)

    def judge(self, row: Reading) -> tuple[str, int | None]:
        """What becomes of a reading, and the value of its bin."""
        newest = self.newest.get((row.name, row.slice))
        if newest is not None and row.end_us <= newest - max(self.lateness_us, 2 * row.period_us):
            return "too_late", None
        series = row.name, row.slice, row.five_qi, row.counter
        if (*series, row.end_us) in self.came:
            return ("duplicate" if self.came[*series, row.end_us] == row.value_milli else "conflict"), None
        value: int | None = row.value_milli
        if row.kind is Counting.CUMULATIVE:
            if series in self.last and row.end_us < self.last[series][0]:
                return "too_late", None
            value = self.grown(row, self.last[series][1]) if series in self.last else None
            self.last[series] = row.end_us, row.value_milli
        self.came[*series, row.end_us] = row.value_milli
        self.newest[row.name, row.slice] = max(row.end_us, newest if newest is not None else row.end_us)
        return "bin", value

    @staticmethod
    def grown(row: Reading, before: int) -> int:
        """By how much a cumulative counter grew."""
        bits = {counter.name: counter.bits for counter in FORMULAS.counters}.get(row.counter, 0)
        if row.value_milli >= before:
            return row.value_milli - before
        if bits == 32 and before >= TURN // 2 and row.value_milli < TURN // 2:
            return row.value_milli + TURN - before
        return row.value_milli


def plain_kpis(
    bins: pl.DataFrame, formulas: Formulas, technologies: dict[str, str]
) -> dict[tuple[str, int, str, int], int | None]:
    """Values of all KPIs of whole windows by (name, slice, kpi, end), from long bins; None for a zero denominator."""
    windows: dict[tuple[str, int, int, int], dict[str, int]] = defaultdict(dict)
    for name, slice_, qi, counter, begin, end, value in bins.select(
        "name", "slice", "five_qi", "counter", "begin_us", "end_us", "value_milli"
    ).iter_rows():
        if value is not None and qi == 0:
            windows[name, slice_, begin, end][counter] = value
    found: dict[tuple[str, int, str, int], int | None] = {}
    for (name, slice_, begin, end), counters in windows.items():
        for kpi in formulas.kpis:
            if kpi.technology and technologies.get(name, kpi.technology) != kpi.technology:
                continue
            pairs = [
                pair_of(each, formulas, counters, (end - begin) // 1_000)
                for each in ([formulas.kpi(factor) for factor in kpi.factors] or [kpi])
            ]
            if any(pair is None for pair in pairs):
                continue
            found[name, slice_, kpi.name, end] = value_of(kpi, [pair for pair in pairs if pair is not None])
    return found


def pair_of(
    kpi: Kpi, formulas: Formulas, counters: dict[str, int], window_milli: int
) -> tuple[int, int] | None:
    """Numerator and denominator of a window; None when a counter is missing."""
    by_number = {counter.number: counter.name for counter in formulas.counters}
    if any(
        number >= 0 and by_number[number] not in counters for number, _ in kpi.numerator + kpi.denominator
    ):
        return None

    def total(terms: tuple[tuple[int, int], ...]) -> int:
        return sum(sign * (counters[by_number[n]] if n >= 0 else window_milli) for n, sign in terms)

    return total(kpi.numerator), total(kpi.denominator) if kpi.form is Form.RATIO else 1_000


def value_of(kpi: Kpi, pairs: list[tuple[int, int]]) -> int | None:
    """The value in thousandths, rounded half away from zero."""
    if any(denominator == 0 for _, denominator in pairs):
        return None
    value = kpi.times if kpi.form is not Form.PRODUCT else Fraction(100)
    for pair in pairs:
        value *= min(Fraction(*pair), Fraction(1)) if kpi.form is Form.PRODUCT else Fraction(*pair)
    value *= 1_000
    whole = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return -whole if value < 0 else whole
