"""Rows of many counters become readings, one a value: tables and performance files both hold such rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.identity import name_words
from trunkline.network.telemetry import names
from trunkline.network.telemetry.mapping import Counter
from trunkline.network.telemetry.numbers import ABSENT
from trunkline.network.telemetry.readings import MEASURED_PART, Readings, judged_values
from trunkline.records.network import Counting

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """What each row speaks of, and the number of the record that it stands in."""

    record: Longs
    name: pl.Series
    technology: pl.Series
    slice: Longs
    five_qi: Longs
    begin_us: Longs
    end_us: Longs


def factors(counters: Sequence[Counter]) -> tuple[Longs, Longs]:
    """Numerator and denominator of each counter's factor."""
    return (
        np.array([counter.numerator for counter in counters], np.int64),
        np.array([counter.denominator for counter in counters], np.int64),
    )


def spread(
    readings: Readings,
    rows: Rows,
    counters: Sequence[Counter],
    values: Longs,
    statuses: npt.NDArray[np.uint8],
) -> None:
    """Hand on `values`, which stand row by row with a value for each counter; those that are not good are set aside."""
    count, width = len(rows.record), len(counters)
    assert len(values) == count * width, "a value for each counter of each row"
    records = np.repeat(rows.record.astype(np.uint32), width)
    kinds = np.tile(np.array([counter.kind for counter in counters], np.uint8), count)
    keep = statuses != ABSENT
    bad = keep & _bad(counters, count, values, statuses, kinds)
    if bad.any():
        some = np.flatnonzero(bad)
        column = some % width
        low, high = _limits(counters)
        judged_values(readings, records[some], values[some], statuses[some], kinds[some],
                      lambda at: counters[column[at]].name, low[column], high[column])  # fmt: skip
        keep &= ~bad
    split = [names.flow_of(counter.name) for counter in counters]
    counter_names = pl.Series([name for name, _, _ in split], dtype=pl.String)
    each = np.tile(np.arange(width), count)
    frame = pl.DataFrame({
        "record": pl.Series(records),
        "name": _repeated(rows.name, width),
        "technology": _repeated(rows.technology, width),
        "slice": pl.Series(_flow(rows.slice, [word for _, word, _ in split], np.uint32)),
        "five_qi": pl.Series(_flow(rows.five_qi, [five for _, _, five in split], np.uint8)),
        "counter": counter_names.gather(each),
        "kind": pl.Series(kinds),
        "begin_us": pl.Series(np.repeat(rows.begin_us, width)),
        "end_us": pl.Series(np.repeat(rows.end_us, width)),
        "value_milli": pl.Series(values),
        "object": pl.Series(np.repeat(name_words(rows.name), width)),
        "counter_word": pl.Series(name_words(counter_names)[each]),
    }, schema=MEASURED_PART)  # fmt: skip
    readings.measured.append(frame if keep.all() else frame.filter(pl.Series(keep)))


def _limits(counters: Sequence[Counter]) -> tuple[Longs, Longs]:
    low = [-(2**63) if counter.low_milli is None else counter.low_milli for counter in counters]
    high = [2**63 - 1 if counter.high_milli is None else counter.high_milli for counter in counters]
    return np.array(low, np.int64), np.array(high, np.int64)


def _bad(
    counters: Sequence[Counter],
    count: int,
    values: Longs,
    statuses: npt.NDArray[np.uint8],
    kinds: npt.NDArray[np.uint8],
) -> npt.NDArray[np.bool_]:
    """Values that are none, out of their range, or counts below zero."""
    low, high = _limits(counters)
    bad = (statuses != 0) | ((values < 0) & (kinds != Counting.GAUGE))
    if (low > -(2**63)).any() or (high < 2**63 - 1).any():
        bad |= (values < np.tile(low, count)) | (values > np.tile(high, count))
    return np.asarray(bad)


def _repeated(column: pl.Series, width: int) -> pl.Series:
    """One value a row becomes one a reading."""
    if column.n_unique() == 1:
        return column[:1].new_from_index(0, len(column) * width)
    return column.gather(np.repeat(np.arange(len(column)), width))


def _flow(rows_say: Longs, names_say: list[int], kind: type[np.generic]) -> npt.NDArray[np.generic]:
    """Slice or 5QI of each reading: what the counter's name says, else what the row says."""
    named = np.tile(np.array(names_say, kind), len(rows_say))
    if not rows_say.any():
        return named
    return np.where(named != 0, named, np.repeat(rows_say.astype(kind), len(names_say)))
