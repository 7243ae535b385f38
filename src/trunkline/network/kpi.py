"""KPIs: from counters that tell what happened to numbers that say how good it was, for each cell and window.

A bin at least as long as the window of the formulas is a window of its own, exactly as the element cut it; shorter bins
are gathered into windows of that length, in which they end. A KPI of a window is told once all its counters are there:
nothing can change it any more, because `align` lets each bin through only once. What stays incomplete is told when the
object itself has gone on so far that the rest would be refused as late, or when the data's clock says that
it has fallen silent; then the value is null and `missing` says how many bins never came. (Should the rest
come after such a silence after all, the KPI is told once more, whole; the later row counts.) A denominator of zero
gives a null value with nothing missing. A KPI of which no counter came is not told at all: silence is a finding of
its own.

KPIs are made of the totals over all 5QIs. Rows with a slice are KPIs of the cell in that slice.

What whole KPIs of cells add to areas, technologies, slices and the network goes on as `PARTS`.
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
from trunkline.kernel.grouping import locate
from trunkline.kernel.identity import name_words
from trunkline.network.formula import Formulas, Program, divided
from trunkline.network.inventory import Inventory
from trunkline.network.sheets import Longs, Places, Sheets, Words, beginnings, by_bucket, sheets
from trunkline.records.network import BUCKET_SHIFT, KPIS, Scope
from trunkline.records.network_sums import PARTS

Bits = npt.NDArray[np.uint64]

_OBJECT, _WINDOW, _VALUE = 0, 1, 2
_NEVER = np.iinfo(np.int64).min

WINDOWS = State(
    "network.windows",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),
            ("slice", "u4"),
            ("number", "u2"),  # of the counter, for a value
            ("what", "u1"),
            ("begin_us", "i8"),
            ("end_us", "i8"),  # of an object: its newest
            ("value", "i8"),  # the sum; of a window: which KPIs are told, a bit each
            (
                "covered_us",
                "i8",
            ),  # how much of the window was measured; of a window: which KPIs were told incomplete
            ("count", "u4"),  # bins in the sum
        ]
    ),
    "Counters of windows that are not complete, and how far their objects have come.",
)


@dataclass(frozen=True)
class _Open:
    """Windows under way: counters in columns `[counter, window]`, `numbers` names the counters."""

    sheet: Sheets
    gathered: npt.NDArray[np.bool_]
    told: Bits
    flushed: Bits
    newest: Longs  # of each window's object and slice
    numbers: npt.NDArray[np.int16]
    total: npt.NDArray[np.int64]
    count: npt.NDArray[np.int32]
    covered: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Told:
    """KPIs that are told now, one row each."""

    window: Places
    kpi: npt.NDArray[np.int16]
    numerator: Longs
    denominator: Longs
    value: Longs
    valued: npt.NDArray[np.bool_]
    whole: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.uint16]


def tell(bins: pl.DataFrame, state: Grouped, formulas: Formulas, inventory: Inventory) -> Outcome:
    """`BINS` into the `KPIS` of cells that are complete or overdue, and the `PARTS` of larger things."""
    under_way = _gathered(bins, state, formulas)
    closing = _overdue(under_way, formulas.lateness_us)
    told, keep, now_told = _evaluate(under_way, closing, formulas, inventory)
    kept = _kept(state, under_way, keep, now_told, under_way.flushed, ~closing)
    return Outcome(
        (_kpis(under_way, told, formulas, inventory, bins), _parts(under_way, told, formulas, inventory)),
        kept,
    )


def flush(pulses: pl.DataFrame, state: Grouped, formulas: Formulas, inventory: Inventory) -> Outcome:
    """`PULSES` into `KPIS`: what silent objects left incomplete is told as it is, and kept in case the rest comes."""
    under_way = _gathered(None, state, formulas)
    times = pulses.group_by("bucket").agg(pl.col("time_us").max()).sort("bucket")
    at = locate(times["bucket"].to_numpy(), under_way.sheet.objects >> np.uint64(BUCKET_SHIFT))
    assert len(at) == 0 or at.min() >= 0, "state is given for the buckets of the pulses"
    now_us = times["time_us"].to_numpy()[at] + formulas.lateness_us
    period = under_way.sheet.ends - under_way.sheet.begins
    silent = under_way.sheet.ends <= now_us - np.maximum(formulas.lateness_us, 2 * period)
    told, keep, _ = _evaluate(under_way, silent, formulas, inventory)
    fresh = (under_way.flushed[told.window] >> told.kpi.astype(np.uint64)) & np.uint64(1) == 0
    flushed = under_way.flushed.copy()
    np.bitwise_or.at(flushed, told.window, np.uint64(1) << told.kpi.astype(np.uint64))
    everything = np.ones(len(silent), np.bool_)
    kept = _kept(state, under_way, keep | (under_way.count > 0), under_way.told, flushed, everything)
    return Outcome((_kpis(under_way, _only(told, fresh), formulas, inventory, None),), kept)


def _only(told: _Told, rows: npt.NDArray[np.bool_]) -> _Told:
    return _Told(
        told.window[rows], told.kpi[rows], told.numerator[rows], told.denominator[rows], told.value[rows],
        told.valued[rows], told.whole[rows], told.missing[rows],
    )  # fmt: skip


# -- gathering -----------------------------------------------------------------------------------------------


def _gathered(bins: pl.DataFrame | None, state: Grouped, formulas: Formulas) -> _Open:
    """The open windows of the state with a batch's bins added."""
    rows = state.rows
    windows, values, own = (rows[rows["what"] == what] for what in (_WINDOW, _VALUE, _OBJECT))
    column = np.ascontiguousarray
    known = (
        column(windows["object"]), column(windows["slice"]).astype(np.uint64), column(windows["begin_us"]),
        column(windows["end_us"]),
    )  # fmt: skip
    new = _new(bins, formulas)
    stored = (
        column(values["object"]),
        values["slice"].astype(np.uint64),
        column(values["begin_us"]),
        column(values["end_us"]),
    )
    sheet = sheets(known, *(np.concatenate(pair) for pair in zip(stored, new.keys, strict=True)))
    number = np.concatenate([values["number"].astype(np.int16), new.number])
    numbers, place = _columns(number, formulas)
    shape = len(numbers), len(sheet)
    total, count, covered = np.zeros(shape, np.int64), np.zeros(shape, np.int32), np.zeros(shape, np.int64)
    old = len(values)
    _put_back(sheet.of[:old], place[number[:old]], column(values["value"]), column(values["count"]),
              column(values["covered_us"]), total, count, covered)  # fmt: skip
    _add(sheet.of[old:], place[new.number], new.value, new.covered, total, count, covered)
    told, flushed = np.zeros(len(sheet), np.uint64), np.zeros(len(sheet), np.uint64)
    told[: len(windows)] = column(windows["value"]).view(np.uint64)
    flushed[: len(windows)] = column(windows["covered_us"]).view(np.uint64)
    newest = _newest(sheet, own, new)
    gathered = sheet.ends - sheet.begins < formulas.window_us
    gathered |= np.isin(np.arange(len(sheet)), sheet.of[old:][new.gathered]) if new.gathered.any() else False
    gathered[: len(windows)] |= column(windows["count"]) > 0
    return _Open(sheet, gathered, told, flushed, newest, numbers, total, count, covered)


@dataclass(frozen=True)
class _New:
    """The bins of a batch that formulas use."""

    keys: tuple[Words, Words, Longs, Longs]
    number: npt.NDArray[np.int16]
    value: Longs
    covered: Longs
    gathered: npt.NDArray[np.bool_]
    objects: Words  # of the sheets of all bins of the batch, their slices and their ends
    slices: Words
    ends: Longs


def _new(bins: pl.DataFrame | None, formulas: Formulas) -> _New:
    nothing, none = np.empty(0, np.uint64), np.empty(0, np.int64)
    if bins is None:
        number = none.astype(np.int16)
        return _New((nothing, nothing, none, none), number, none, none, none > 0, nothing, nothing, none)
    number = formulas.counter_numbers(bins["counter"])
    objects, ends = _array(bins["object"]), _array(bins["end_us"])
    used = (
        (number >= 0)
        & (_array(bins["five_qi"].fill_null(0)) == 0)
        & _array(bins["value_milli"].is_not_null())
    )
    value, begins = _array(bins["value_milli"].fill_null(0)), _array(bins["begin_us"])
    slices = _array(bins["slice"].fill_null(0)).astype(np.uint64)
    told = beginnings(objects, ends, slices)
    all_ends, all_objects, all_slices = ends[told], objects[told], slices[told]
    if not used.all():
        objects, slices, begins, ends = (each[used] for each in (objects, slices, begins, ends))
        number, value = number[used], value[used]
    covered = ends - begins
    gathered = covered < formulas.window_us
    if gathered.any():
        until = -(-ends // formulas.window_us) * formulas.window_us
        begins = np.where(gathered, until - formulas.window_us, begins)
        ends = np.where(gathered, until, ends)
    return _New(
        (objects, slices, begins, ends), number, value, covered, gathered, all_objects, all_slices, all_ends
    )


def _array(series: pl.Series) -> npt.NDArray[Any]:
    return np.ascontiguousarray(series.to_numpy())


def _columns(
    number: npt.NDArray[np.int16], formulas: Formulas
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
    """The counters that occur, and the column of each counter number."""
    occurs = np.zeros(formulas.columns + 1, np.bool_)
    occurs[number] = True
    numbers = np.flatnonzero(occurs[: formulas.columns]).astype(np.int16)
    place = np.full(formulas.columns + 1, -1, np.int32)
    place[numbers] = np.arange(len(numbers), dtype=np.int32)
    return numbers, place


@nb.njit(nogil=True, cache=True)
def _put_back(
    window: Places, column: Places, value: Longs, bins: npt.NDArray[np.uint32], measured: Longs,
    total: npt.NDArray[np.int64], count: npt.NDArray[np.int32], covered: npt.NDArray[np.int64],
) -> None:  # fmt: skip
    for row in range(len(window)):
        total[column[row], window[row]] = value[row]
        count[column[row], window[row]] = bins[row]
        covered[column[row], window[row]] = measured[row]


@nb.njit(nogil=True, cache=True)
def _add(
    window: Places, column: Places, value: Longs, measured: Longs,
    total: npt.NDArray[np.int64], count: npt.NDArray[np.int32], covered: npt.NDArray[np.int64],
) -> None:  # fmt: skip
    for row in range(len(window)):
        total[column[row], window[row]] += value[row]
        count[column[row], window[row]] += 1
        covered[column[row], window[row]] += measured[row]


def _newest(sheet: Sheets, own: npt.NDArray[Any], new: _New) -> Longs:
    """How far the object of each window has come in its slice, by the state and by all bins of the batch."""
    known, slices = np.ascontiguousarray(own["object"]), own["slice"].astype(np.uint64)
    zeros = np.zeros(len(known), np.int64)
    objects = np.concatenate([sheet.objects, new.objects])
    nothing = np.zeros(len(objects), np.int64)
    places = np.concatenate([sheet.places, new.slices])
    found = sheets((known, slices, zeros, zeros), objects, places, nothing, nothing)
    newest = np.full(len(found), _NEVER)
    newest[: len(known)] = own["end_us"]
    _raise(newest, found.of[len(sheet) :], new.ends)
    return newest[found.of[: len(sheet)]]


@nb.njit(nogil=True, cache=True)
def _raise(newest: Longs, of: Places, ends: Longs) -> None:
    for row in range(len(of)):
        newest[of[row]] = max(newest[of[row]], ends[row])


def _overdue(under_way: _Open, lateness_us: int) -> npt.NDArray[np.bool_]:
    """Windows whose missing bins would be refused by `align` as late."""
    period = under_way.sheet.ends - under_way.sheet.begins
    overdue: npt.NDArray[np.bool_] = under_way.sheet.ends <= under_way.newest - np.maximum(
        lateness_us, 2 * period
    )
    return overdue


# -- evaluating ----------------------------------------------------------------------------------------------


def _evaluate(
    under_way: _Open, closing: npt.NDArray[np.bool_], formulas: Formulas, inventory: Inventory
) -> tuple[_Told, npt.NDArray[np.bool_], Bits]:
    """What can be told now, which counters are still waited with, and which KPIs of each window are told."""
    program, column = formulas.program, np.full(formulas.columns + 1, -1, np.int64)
    column[under_way.numbers] = np.arange(len(under_way.numbers))
    kpis = _possible(program, column)
    technology = _technology(under_way.sheet.objects, inventory)
    most = len(under_way.sheet) * len(kpis)
    told = _Told(
        np.empty(most, np.int32), np.empty(most, np.int16), np.empty(most, np.int64), np.empty(most, np.int64),
        np.empty(most, np.int64), np.empty(most, np.bool_), np.empty(most, np.bool_), np.empty(most, np.uint16),
    )  # fmt: skip
    keep = np.zeros(under_way.total.shape, np.bool_)
    bits = under_way.told.copy()
    count = 0
    for kpi in kpis:
        mine = _having(formulas, kpi, technology)
        count = _one(
            kpi, mine, *_terms_of(program, kpi), column, under_way.total, under_way.count, under_way.covered,
            under_way.sheet.begins, under_way.sheet.ends, under_way.gathered, closing, bits, under_way.flushed,
            int(program.form[kpi]), int(program.multiply[kpi]), int(program.divide[kpi]),
            keep, count, told.window, told.kpi, told.numerator, told.denominator, told.value, told.valued,
            told.whole, told.missing,
        )  # fmt: skip
    return _only(told, np.arange(most) < count) if count < most else told, keep, bits


def _possible(program: Program, column: Longs) -> list[int]:
    """KPIs of which at least one counter occurs."""
    found = []
    for kpi in range(len(program.form)):
        _, counter, _, _ = _terms_of(program, kpi)
        if (column[counter[counter >= 0]] >= 0).any():
            found.append(kpi)
    return found


def _terms_of(program: Program, kpi: int) -> tuple[Longs, Longs, Longs, Longs]:
    """Terms of a KPI: where each pair of sums begins, counters, signs, and where each numerator ends.

    A product has a pair of sums for each factor; any other KPI has one pair.
    """
    of = [int(each) for each in program.factors[kpi] if each >= 0] or [kpi]
    counter = np.concatenate([program.counter[program.first[k] : program.first[k + 1]] for k in of])
    sign = np.concatenate([program.sign[program.first[k] : program.first[k + 1]] for k in of])
    lengths = [int(program.first[k + 1] - program.first[k]) for k in of]
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.int64)
    middle = first[:-1] + np.array([int(program.middle[k] - program.first[k]) for k in of], np.int64)
    return first, counter, sign, middle


def _technology(objects: Words, inventory: Inventory) -> pl.Series:
    """The technology of the cell of each window; empty where none is listed."""
    return _text(inventory.cells["object"], inventory.cells["technology"], objects)


def _having(formulas: Formulas, kpi: int, technology: pl.Series) -> npt.NDArray[np.bool_]:
    """Which windows are of cells that have the KPI: those of its technology, and those of which none is known."""
    wanted = next(each.technology for each in formulas.kpis if each.number == kpi)
    if not wanted:
        return np.ones(len(technology), np.bool_)
    return _array((technology == wanted) | (technology == ""))


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _one(
    kpi: int, mine: npt.NDArray[np.bool_], first: Longs, counter: Longs, sign: Longs, middle: Longs, column: Longs,
    total: npt.NDArray[np.int64], count: npt.NDArray[np.int32], covered: npt.NDArray[np.int64],
    begins: Longs, ends: Longs, gathered: npt.NDArray[np.bool_], closing: npt.NDArray[np.bool_],
    bits: Bits, flushed: Bits, form: int, multiply: int, divide: int, keep: npt.NDArray[np.bool_], at: int,
    out_window: Places, out_kpi: npt.NDArray[np.int16], out_numerator: Longs, out_denominator: Longs, out_value: Longs,
    out_valued: npt.NDArray[np.bool_], out_whole: npt.NDArray[np.bool_], out_missing: npt.NDArray[np.uint16],
) -> int:  # fmt: skip
    """One KPI in all windows; returns how many rows are told by now."""
    one = np.uint64(1) << np.uint64(kpi)
    for window in range(len(begins)):
        if bits[window] & one or not mine[window]:
            continue
        there, absent, missing = 0, 0, 0
        for term in range(len(counter)):
            if counter[term] < 0:
                continue
            place = column[counter[term]]
            bins = count[place, window] if place >= 0 else 0
            if bins == 0:
                absent += 1
                missing += 1
            else:
                there += 1
                if gathered[window] and covered[place, window] > 0:
                    length = covered[place, window] // bins
                    missing += max(
                        0, (ends[window] - begins[window] - covered[place, window] + length // 2) // length
                    )
        if there == 0:
            continue
        if (gathered[window] or absent > 0) and not closing[window]:
            for term in range(len(counter)):
                if counter[term] >= 0 and column[counter[term]] >= 0:
                    keep[column[counter[term]], window] = True
            continue
        if closing[window] and absent > 0 and flushed[window] & one:
            bits[window] |= one
            continue
        window_milli = (ends[window] - begins[window]) // 1_000
        valued = absent == 0
        value, numerator, denominator = nb.int64(100_000_000_000), nb.int64(0), nb.int64(0)
        fewest = nb.int64(2**62)
        for factor in range(len(middle)):
            numerator, denominator = nb.int64(0), nb.int64(0)
            for term in range(first[factor], first[factor + 1]):
                place = nb.int64(-1)
                amount = nb.int64(window_milli)
                if counter[term] >= 0:
                    place = column[counter[term]]
                    amount = total[place, window] if place >= 0 else nb.int64(0)
                if term < middle[factor]:
                    numerator += sign[term] * amount
                    if form == 1 and place >= 0:
                        denominator += nb.int64(count[place, window]) * 1_000
                else:
                    denominator += sign[term] * amount
            if form == 2:
                denominator = nb.int64(1_000)
            if denominator == 0:
                valued = False
            elif form == 3:
                value = _share_of(value, numerator, denominator)
                fewest = min(fewest, denominator)
        if valued and form == 3:
            value = (value + 500_000) // 1_000_000
            numerator, denominator = _share_of(fewest, value, nb.int64(100_000)), fewest
        elif valued:
            value = divided(numerator, denominator, multiply, divide)
        bits[window] |= one
        out_window[at], out_kpi[at] = window, kpi
        out_numerator[at], out_denominator[at] = numerator, denominator
        out_value[at], out_valued[at], out_whole[at] = value, valued, absent == 0
        out_missing[at] = min(missing, 65_535)
        at += 1
    return at


@nb.njit(inline="always", error_model="numpy")
def _share_of(value: int, numerator: int, denominator: int) -> int:
    """`value * numerator / denominator`, rounded down, for shares from 0 to 1; large sums are halved together.

    A share above one counts as one: what succeeds in a window may have been asked for in the one before.
    """
    numerator = min(numerator, denominator)
    while denominator >= nb.int64(1) << nb.int64(31):
        numerator >>= nb.int64(1)
        denominator >>= nb.int64(1)
    return value // denominator * numerator + value % denominator * numerator // denominator


# -- telling -------------------------------------------------------------------------------------------------


def slice_names(slices: npt.NDArray[np.uint32]) -> pl.Series:
    """`S-NSSAI 1-00002a`: service type and differentiator (TS 23.003 28.4.2)."""
    return pl.Series(
        [f"S-NSSAI {int(each) >> 24}-{int(each) & 0xFFFFFF:06x}" for each in slices], dtype=pl.String
    )


def _kpis(
    under_way: _Open, told: _Told, formulas: Formulas, inventory: Inventory, bins: pl.DataFrame | None
) -> pl.DataFrame:
    """The rows of `KPIS` of cells and other elements; what the inventory does not list is named by its bins."""
    if len(told.window) == 0:
        return KPIS.record.empty()
    names, cells = inventory.names.select("object", "name"), inventory.cells
    if bins is not None:
        names = _with_unlisted(names, bins)
    objects = under_way.sheet.objects
    name = _text(names["object"], names["name"], objects)
    technology = _text(cells["object"], cells["technology"], objects)
    window = pl.Series(told.window)
    valued = pl.Series(told.valued)
    frame = pl.DataFrame(
        {
            "object": pl.Series(objects).gather(window),
            "name": name.gather(window),
            "scope": pl.repeat(int(Scope.CELL), len(window), dtype=pl.UInt8, eager=True),
            "technology": technology.gather(window),
            "slice": pl.Series(under_way.sheet.places.astype(np.uint32)).gather(window),
            "kpi": formulas.kpi_names.gather(told.kpi.astype(np.uint32)),
            "begin_us": under_way.sheet.begins[told.window],
            "end_us": under_way.sheet.ends[told.window],
            "value_milli": told.value,
            "numerator_milli": told.numerator,
            "denominator_milli": told.denominator,
            "missing": told.missing,
            "bucket": pl.Series(objects >> np.uint64(BUCKET_SHIFT)).gather(window),
        }
    )
    if not told.valued.all():
        frame = frame.with_columns(value_milli=pl.when(valued).then(pl.col("value_milli")))
    return frame.select(KPIS.record.schema.names())


def _with_unlisted(names: pl.DataFrame, bins: pl.DataFrame) -> pl.DataFrame:
    """The inventory's names, and those of objects that only measurements name."""
    objects = _array(bins["object"])
    listed = locate(_array(names["object"]), objects) >= 0 if len(names) else np.zeros(len(objects), np.bool_)
    if listed.all():
        return names
    others = bins.select("object", pl.col("name").cast(pl.String)).filter(pl.Series(~listed))
    return pl.concat([names, others.unique("object", keep="first")])


def _text(keys: pl.Series, texts: pl.Series, objects: Words) -> pl.Series:
    """The text of each object; empty for those that are not listed."""
    at = locate(_array(keys), objects) if len(keys) else np.full(len(objects), -1, np.int64)
    with_none = pl.concat([texts, pl.Series([""], dtype=pl.String)])
    return with_none.gather(np.where(at >= 0, at, len(texts)).astype(np.uint32))


def _parts(under_way: _Open, told: _Told, formulas: Formulas, inventory: Inventory) -> pl.DataFrame:
    """What the whole KPIs of cells add to areas, technologies, the network and slices."""
    targets, sheet = inventory.targets, under_way.sheet
    cell = (
        locate(inventory.cell_keys, sheet.objects)
        if len(inventory.cells)
        else np.full(len(sheet), -1, np.int64)
    )
    of_slice = sheet.places != 0
    at = np.where(of_slice, -1, cell)
    pairs = np.where(
        of_slice & (cell >= 0), 1, np.where(at >= 0, targets.first[at + 1] - targets.first[at], 0)
    )
    first = np.zeros(len(sheet) + 1, np.int64)
    np.cumsum(pairs, out=first[1:])
    slices = np.unique(sheet.places[of_slice]).astype(np.uint32)
    slice_objects = name_words(slice_names(slices))
    owner = np.repeat(np.arange(len(sheet)), pairs)
    object_ = _target_objects(first, at, owner, targets.first, targets.of, targets.objects)
    mine = of_slice[owner]
    object_[mine] = slice_objects[np.searchsorted(slices, sheet.places[owner[mine]].astype(np.uint32))]
    length = np.maximum(sheet.ends - sheet.begins, 1)
    until = -(-sheet.ends // length) * length
    nothing = np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64)
    sums = sheets(nothing, object_, sheet.places[owner], (until - length)[owner], until[owner])
    shape = len(sums), formulas.kpi_columns
    numerator, denominator = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    cells, missing = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    _sum_up(told.window, told.kpi, told.numerator, told.denominator, told.whole, told.missing,
            formulas.program.form, first, sums.of, numerator, denominator, cells, missing)  # fmt: skip
    sum_, kpi = np.nonzero(cells)
    return pl.DataFrame(
        {
            "object": sums.objects[sum_],
            "slice": sums.places[sum_].astype(np.uint32),
            "kpi": formulas.kpi_names.gather(kpi.astype(np.uint32)),
            "begin_us": sums.begins[sum_],
            "end_us": sums.ends[sum_],
            "numerator_milli": numerator[sum_, kpi],
            "denominator_milli": denominator[sum_, kpi],
            "missing": missing[sum_, kpi],
            "cells": cells[sum_, kpi],
            "bucket": sums.objects[sum_] >> np.uint64(BUCKET_SHIFT),
        },
        schema=PARTS.record.schema,
    )


def _target_objects(
    first: Longs, at: Longs, owner: Longs, of_first: Longs, of: Longs, objects: Words
) -> Words:
    """The target of each pair of window and target; whatever for windows of slices."""
    nth = np.arange(len(owner)) - first[owner]
    place = np.where(at[owner] >= 0, of_first[at[owner]] + nth, 0)
    return objects[of[place]] if len(of) else np.zeros(len(owner), np.uint64)


@nb.njit(nogil=True, cache=True)
def _sum_up(
    window: Places, kpi: npt.NDArray[np.int16], numerator: Longs, denominator: Longs, whole: npt.NDArray[np.bool_],
    missing: npt.NDArray[np.uint16], form: npt.NDArray[np.int8], first: Longs, sum_of: Places,
    numerators: npt.NDArray[np.int64], denominators: npt.NDArray[np.int64],
    cells: npt.NDArray[np.int32], missings: npt.NDArray[np.int32],
) -> None:  # fmt: skip
    for row in range(len(window)):
        k = kpi[row]
        if form[k] == 3 or not whole[row]:
            continue
        for pair in range(first[window[row]], first[window[row] + 1]):
            at = sum_of[pair]
            missings[at, k] += missing[row]
            numerators[at, k] += numerator[row]
            denominators[at, k] += denominator[row]
            cells[at, k] += 1


# -- remembering ---------------------------------------------------------------------------------------------


def _kept(
    state: Grouped,
    under_way: _Open,
    keep: npt.NDArray[np.bool_],
    told: Bits,
    flushed: Bits,
    open_: npt.NDArray[np.bool_],
) -> Grouped:
    """Counters that are still waited with, their windows, and how far their objects have come."""
    column, window = np.nonzero(keep & (under_way.count > 0) & open_[None, :])
    windows = np.unique(window)
    sheet = under_way.sheet
    pairs = np.stack([sheet.objects[windows], sheet.places[windows]])
    objects, first = np.unique(pairs, axis=1, return_index=True)
    rows = np.zeros(len(window) + len(windows) + len(first), WINDOWS.dtype)
    values, opened, own = np.split(rows, [len(window), len(window) + len(windows)])
    for part, of in ((values, window), (opened, windows)):
        part["object"], part["slice"] = sheet.objects[of], sheet.places[of]
        part["begin_us"], part["end_us"] = sheet.begins[of], sheet.ends[of]
    values["what"], opened["what"], own["what"] = _VALUE, _WINDOW, _OBJECT
    values["number"], values["value"] = under_way.numbers[column], under_way.total[column, window]
    values["count"], values["covered_us"] = under_way.count[column, window], under_way.covered[column, window]
    opened["value"], opened["covered_us"] = told[windows].view(np.int64), flushed[windows].view(np.int64)
    opened["count"] = under_way.gathered[windows]
    own["object"], own["slice"], own["end_us"] = objects[0], objects[1], under_way.newest[windows[first]]
    buckets = np.unique(np.concatenate([state.keys, rows["object"] >> np.uint64(BUCKET_SHIFT)]))
    return by_bucket(buckets, np.ascontiguousarray(rows["object"]), rows)
