"""Aligning: measurements of every manner become bins that say what a counter did in one period, each once.

The rules, in the order in which they are asked. They look at one object (in one slice) at a time and at nothing but
what came before, so that it does not matter where batches end, nor how files of different elements are mixed; between
one object's bins any order within the lateness gives the same bins.

1. *Late.* A bin is waited for until its object has told one that ends `lateness` later, or two of the bin's own
   periods, whichever is more. What comes after that is rejected as `too_late`. Clocks are each object's own, and each
   of its slices': a cell whose clock is wrong is late or early for nobody else, and a file of slices may come after
   the file of cells.
2. *Twice.* The same counter, place and end of period, again: with the same value it is a duplicate; with another it is
   rejected as `conflict`, because what was told first may already be in a KPI. (Values are compared by 16 bits of their
   digest: one conflict in 65,536 passes for a duplicate.)
3. *Deltas and gauges* are bins as they are.
4. *Cumulative counters* give the difference to the reading before, over the time between the two. The first reading
   is a bin without a value. A reading from before the last one is `too_late`: the difference over it has been told.
5. *Wraps.* A counter of 32 bits that stands lower than before, and was in its upper half and is now in its lower one,
   has wrapped: 2**32 is added. Readings of 64-bit counters beyond 63 bits of thousandths never get here unless as they
   wrap in 64 bits; their differences wrap along and are right.
6. *Resets.* Any other cumulative counter that stands lower than before began again at zero: what it shows now is what
   happened since; what happened before the reset is not known and not guessed.

Missing bins are not made up here: `kpi` says what was missing when a window is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.kernel.identity import mix, name_words
from trunkline.network.formula import Formulas
from trunkline.network.sheets import Longs, Places, Sheets, Words, by_bucket, place_words, sheets
from trunkline.records.network import BINS, DUPLICATES, REJECTED, Counting

Octets = npt.NDArray[np.uint8]

_OBJECT, _SHEET, _SERIES = 0, 1, 2
_PAGE = 32  # counters on one sheet
_UNKNOWN = np.uint64(
    1 << 23
)  # of the 24 bits that tell sheets apart, the highest: counters that no formula names
_SLICE = np.uint64(0xFFFFFFFF_00000000)  # of a place, the slice
_FORGET_US = 7 * 86_400_000_000

ALIGNED = State(
    "network.aligned",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),
            ("place", "u8"),  # slice, 5QI and page of the counter
            ("counter", "u8"),  # of a series
            ("end_us", "i8"),  # of an object: its newest; of a series: its last reading
            ("period_us", "i8"),
            ("value", "i8"),  # of a sheet: which counters came, a bit each; of a series: its last reading
            ("what", "u1"),
            ("checks", "u2", (_PAGE,)),
        ]
    ),
    "How far each object has come, which of its newest bins came already, and where cumulative counters stood.",
)

_OK, _DUPLICATE, _CONFLICT, _LATE = 0, 1, 2, 3
_REASONS = {_CONFLICT: "conflict", _LATE: "too_late"}


@dataclass(frozen=True)
class _Memory:
    """The state as arrays: how far objects have come in each slice, sheets, and series."""

    objects: Words
    slices: Words
    newest: Longs
    sheet: tuple[Words, Words, Longs, Longs]
    period: Longs
    came: Longs
    checks: npt.NDArray[np.uint16]
    series: tuple[Words, Words, Longs, Longs]
    last_us: Longs
    last: Longs


def align(measured: pl.DataFrame, state: Grouped, formulas: Formulas) -> Outcome:
    """`MEASURED` into `BINS`, `DUPLICATES` and `REJECTED`; every row comes out in one of them."""
    memory = _remembered(state)
    numbers = formulas.counter_numbers(measured["counter"])
    counter = _counter_words(measured["counter"], numbers)
    objects, end = _array(measured["object"]), _array(measured["end_us"])
    kind, value = _array(measured["kind"]), _array(measured["value_milli"])
    period = np.maximum(end - _array(measured["begin_us"]), 0)
    place = place_words(_array(measured["slice"].fill_null(0)), _array(measured["five_qi"].fill_null(0)))
    page = np.where(
        numbers >= 0, (numbers // _PAGE).astype(np.uint64), counter & (_UNKNOWN - np.uint64(1)) | _UNKNOWN
    )
    sheet = sheets(memory.sheet, objects, place | page, end, end)
    own = _own(memory.objects, memory.slices, sheet)
    newest = np.full(len(own), np.iinfo(np.int64).min)
    newest[: len(memory.newest)] = memory.newest
    series, last_us, last = _series(memory, kind == Counting.CUMULATIVE, objects, place, counter)
    grown = len(sheet) - len(memory.came)
    came = np.concatenate([memory.came, np.zeros(grown, np.int64)])
    checks = np.concatenate([memory.checks, np.zeros((grown, _PAGE), np.uint16)])
    periods = np.concatenate([memory.period, np.zeros(grown, np.int64)])
    verdict, flags = np.empty(len(end), np.uint8), np.empty(len(end), np.uint8)
    told, since, absent = value.copy(), end - period, np.zeros(len(end), np.bool_)
    bits = np.concatenate([formulas.bits, np.zeros(1, np.uint8)])[numbers]
    bit = np.where(numbers >= 0, numbers % _PAGE, 0).astype(np.uint8)
    _judge(
        sheet.of, own.of, newest, bit, end, period, value, kind, bits, came, checks, periods,
        series.of, last_us, last, formulas.lateness_us, verdict, flags, told, since, absent,
    )  # fmt: skip
    after = _Memory(
        own.objects, own.places, newest, (sheet.objects, sheet.places, sheet.begins, sheet.ends), periods, came, checks,
        (series.objects, series.places, series.begins, series.ends), last_us, last,
    )  # fmt: skip
    return Outcome(
        (_bins(measured, verdict, flags, told, since, absent), *_aside(measured, verdict)),
        _kept(state, after, own.of, formulas.lateness_us),
    )


def _array(series: pl.Series) -> npt.NDArray[Any]:
    return np.ascontiguousarray(series.to_numpy())


def _counter_words(names: pl.Series, numbers: npt.NDArray[np.int16]) -> Words:
    """A word for each counter: its number, or the digest of its name with the highest bit set."""
    words: Words = numbers.astype(np.uint64)
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        high = np.uint64(1) << np.uint64(63)
        words[unknown] = name_words(names.gather(unknown).cast(pl.String)) | high
    return words


def _remembered(state: Grouped) -> _Memory:
    rows = state.rows
    own, sheet, series = (rows[rows["what"] == what] for what in (_OBJECT, _SHEET, _SERIES))
    column = np.ascontiguousarray
    ends, last_us = column(sheet["end_us"]), column(series["end_us"])
    return _Memory(
        column(own["object"]), column(own["place"]), column(own["end_us"]),
        (column(sheet["object"]), column(sheet["place"]), ends, ends),
        column(sheet["period_us"]), column(sheet["value"]), column(sheet["checks"]),
        (column(series["object"]), column(series["place"]), column(series["counter"]).view(np.int64),
         np.zeros(len(series), np.int64)),
        last_us, column(series["value"]),
    )  # fmt: skip


def _own(known: Words, slices: Words, sheet: Sheets) -> Sheets:
    """The place of each sheet's object and slice among all of them, the known ones first."""
    none, zeros = np.zeros(len(known), np.int64), np.zeros(len(sheet), np.int64)
    return sheets((known, slices, none, none), sheet.objects, sheet.places & _SLICE, zeros, zeros)


def _series(
    memory: _Memory, cumulative: npt.NDArray[np.bool_], objects: Words, place: Words, counter: Words
) -> tuple[Sheets, Longs, Longs]:
    """The series of each cumulative row, -1 for others, and where all series stood; one that is new has no end."""
    rows = np.flatnonzero(cumulative)
    zeros = np.zeros(len(rows), np.int64)
    found = sheets(memory.series, objects[rows], place[rows], counter[rows].view(np.int64), zeros)
    of = np.full(len(objects), -1, np.int32)
    of[rows] = found.of
    last_us = np.full(len(found), np.iinfo(np.int64).min)
    last_us[: len(memory.last_us)] = memory.last_us
    last = np.zeros(len(found), np.int64)
    last[: len(memory.last)] = memory.last
    return Sheets(of, found.objects, found.places, found.begins, found.ends), last_us, last


@nb.njit(inline="always")
def waited_us(lateness_us: int, period_us: int) -> int:
    """How far behind its object's newest bin a bin may come."""
    return max(lateness_us, 2 * period_us)


@nb.njit(nogil=True, cache=True)
def _judge(
    sheet_of: Places, own_of: Places, newest: Longs, bit: Octets, end: Longs, period: Longs, value: Longs,
    kind: Octets, bits: Octets, came: Longs, checks: npt.NDArray[np.uint16], periods: Longs,
    series_of: Places, last_us: Longs, last: Longs, lateness_us: int,
    verdict: Octets, flags: Octets, told: Longs, since: Longs, absent: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Ask the rules of each row, in the order of arrival."""
    never = np.iinfo(np.int64).min
    for row in range(len(end)):
        sheet = sheet_of[row]
        own = own_of[sheet]
        flag = 0
        if newest[own] != never:
            if end[row] <= newest[own] - waited_us(lateness_us, period[row]):
                verdict[row] = 3
                continue
            if end[row] < newest[own]:
                flag = 1
        one = np.int64(1) << np.int64(bit[row])
        check = np.uint16(mix(np.uint64(value[row])) >> np.uint64(48))
        if came[sheet] & one:
            verdict[row] = 1 if checks[sheet, bit[row]] == check else 2
            continue
        series = series_of[row]
        if kind[row] == 2:
            if last_us[series] == never:
                absent[row] = True
            elif end[row] < last_us[series]:
                verdict[row] = 3
                continue
            else:
                told[row], more = _difference(last[series], value[row], bits[row])
                flag |= more
                since[row] = last_us[series]
            last_us[series], last[series] = end[row], value[row]
        elif period[row] > 0 and (end[row] - period[row]) % period[row] != 0:
            flag |= 8
        came[sheet] |= one
        checks[sheet, bit[row]] = check
        periods[sheet] = max(periods[sheet], period[row])
        newest[own] = max(newest[own], end[row])
        verdict[row] = 0
        flags[row] = flag


@nb.njit(inline="always")
def _difference(before: int, now: int, bits: int) -> tuple[int, int]:
    """How much a cumulative counter grew, and what was noticed; both are thousandths."""
    # Unsigned, because a compiler may take it that signed numbers do not wrap, and then forgets that these did.
    grown: int = np.int64(np.uint64(now) - np.uint64(before))  # type: ignore[assignment]
    if now >= before:
        return grown, 0
    if bits == 64 and grown >= 0:
        return grown, 4
    turn = nb.int64(4_294_967_296_000)
    if bits == 32 and before >= turn // 2 and now < turn // 2:
        return grown + turn, 4
    return now, 2


def _bins(
    measured: pl.DataFrame,
    verdict: npt.NDArray[np.uint8],
    flags: npt.NDArray[np.uint8],
    told: Longs,
    since: Longs,
    absent: npt.NDArray[np.bool_],
) -> pl.DataFrame:
    """The accepted rows as `BINS`."""
    value = pl.Series("value_milli", told)
    if absent.any():
        value = value.to_frame().select(pl.when(~pl.Series(absent)).then(pl.col("value_milli"))).to_series()
    bins = measured.with_columns(
        value, pl.Series("begin_us", since), pl.Series("flags", flags), pl.lit(1, pl.UInt32).alias("readings")
    )
    if verdict.any():
        bins = bins.filter(pl.Series(verdict == _OK))
    return BINS.record.conform(bins)


def _aside(measured: pl.DataFrame, verdict: npt.NDArray[np.uint8]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The duplicates and the rejected rows."""
    if not verdict.any():
        return DUPLICATES.record.empty(), REJECTED.record.empty()
    duplicates = measured.filter(pl.Series(verdict == _DUPLICATE))
    # In one piece: Polars breaks over a format of pieces of which one is empty.
    rejected = [
        measured.filter(pl.Series(verdict == number))
        .rechunk()
        .with_columns(
            reason=pl.lit(reason), detail=pl.format("{} of {}", pl.col("counter").cast(pl.String), "name")
        )
        for number, reason in _REASONS.items()
    ]
    return DUPLICATES.record.conform(duplicates), REJECTED.record.conform(pl.concat(rejected))


def _kept(state: Grouped, after: _Memory, own_of: Places, lateness_us: int) -> Grouped:
    """What may still be asked for: sheets that can be told twice, series, and objects heard of within a week."""
    open_ = np.flatnonzero(
        (after.came != 0)
        & (after.sheet[3] > after.newest[own_of] - np.maximum(lateness_us, 2 * after.period))
    )
    recent = np.flatnonzero(after.newest > after.newest.max(initial=0) - _FORGET_US)
    standing = np.flatnonzero(after.last_us > after.last_us.max(initial=0) - _FORGET_US)
    rows = np.zeros(len(recent) + len(open_) + len(standing), ALIGNED.dtype)
    own, sheet, series = np.split(rows, [len(recent), len(recent) + len(open_)])
    own["what"], sheet["what"], series["what"] = _OBJECT, _SHEET, _SERIES
    own["object"], own["place"], own["end_us"] = (
        after.objects[recent],
        after.slices[recent],
        after.newest[recent],
    )
    sheet["object"], sheet["place"], sheet["end_us"] = (after.sheet[part][open_] for part in (0, 1, 3))
    sheet["period_us"], sheet["value"] = after.period[open_], after.came[open_]
    sheet["checks"] = after.checks[open_]
    series["object"], series["place"] = after.series[0][standing], after.series[1][standing]
    series["counter"] = after.series[2][standing].view(np.uint64)
    series["end_us"], series["value"] = after.last_us[standing], after.last[standing]
    buckets = np.unique(np.concatenate([state.keys, rows["object"] >> np.uint64(56)]))
    return by_bucket(buckets, np.ascontiguousarray(rows["object"]), rows)
