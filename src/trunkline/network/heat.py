"""The heat map: how each metric stands in each tile, told again only where it moved enough to be seen.

A tile shows the cells whose windows ended last: numerators and denominators of its cells are added up as for areas, so
that a tile and an area with the same cells show the same number. It is told when as many cells have brought their
part as in the window before, else when the data's clock moves on; and then only if its value moved by the metric's
step, or its severity or the number of its cells changed. What does not change is told again every half hour, each tile
at a time of its own, so that whoever looks back an hour finds every tile. A tile from which nothing is heard any more
is told once with no value. A cell whose windows do not lie on the grid of its period has a wrong clock and is not drawn
until it has the right one.

The severity of a KPI's tile follows from the marks of its formula. The metric `severity` counts the alarms of the
cells and sites in a tile that stand; the tile's severity is the worst of them. What is held back by maintenance or for
flapping is not counted; what is dark behind a cut is, although the cut alone is told.
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
from trunkline.network.alarm_words import on_the_map
from trunkline.network.formula import Form, Formulas, divided, numbers_of
from trunkline.network.inventory import AREA_LAYER, RESOLUTIONS, Inventory
from trunkline.network.sheets import Longs, Words, by_bucket, sheets
from trunkline.records.network import BUCKET_SHIFT, HEAT, Scope, Severity
from trunkline.records.network_sums import TILE_CHANGES

Rows = npt.NDArray[Any]

SEVERITY = "severity"
_SEVERITY = 65_535  # the number of that metric
_COUNT_BITS = 20  # alarms of one severity in a tile: up to a million
_STALE_PERIODS = 4
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # neighbouring tiles are far apart times this (Knuth, TAOCP 3, 6.4)
_AGAIN_US = 1_800_000_000  # what does not change is told again after so long
_LAYERS = {f"h3:{resolution}": resolution for resolution in RESOLUTIONS} | {"area": AREA_LAYER}

DRAWN_ALARMS = State(
    "network.drawn_alarms",
    "object",
    np.dtype([("alarm_key", "u8"), ("severity", "u1")]),
    "Severities with which the standing alarms of each object are drawn.",
)

TILES = State(
    "network.tiles",
    "bucket",
    np.dtype(
        [
            ("tile", "u8"),
            ("layer", "u1"),
            ("metric", "u2"),
            ("end_us", "i8"),
            ("period_us", "i8"),
            ("numerator", "i8"),
            ("denominator", "i8"),
            ("cells", "i4"),
            ("usual", "i4"),  # cells of the window before
            ("told", "u1"),  # 0 never, 1 with a value, 2 without
            ("told_value", "i8"),
            ("told_cells", "i4"),
            ("told_severity", "u1"),
        ]
    ),
    "What each tile adds up to, and what was told of it last.",
)


def drawn_kpis(formulas: Formulas) -> npt.NDArray[np.int64]:
    """Numbers of the KPIs on the map; a product of shares cannot be added up and is not among them."""
    numbers = [kpi.number for kpi in formulas.kpis if kpi.step_milli > 0 and kpi.form is not Form.PRODUCT]
    return np.array(sorted(numbers), np.int64)


# -- what cells change ---------------------------------------------------------------------------------------


def spread(kpis: pl.DataFrame, formulas: Formulas, inventory: Inventory) -> Outcome:
    """`KPIS` of cells into `TILE_CHANGES`: what the newest window of each tile gains."""
    drawn, numbers = inventory.drawn, drawn_kpis(formulas)
    column = np.full(formulas.kpi_columns + 1, -1, np.int32)
    column[numbers] = np.arange(len(numbers), dtype=np.int32)
    metric = column[formulas.kpi_numbers(kpis["kpi"])]
    begin, end = _array(kpis["begin_us"]), _array(kpis["end_us"])
    shown = (metric >= 0) & (_array(kpis["scope"]) == Scope.CELL) & (_array(kpis["slice"]) == 0)
    shown &= _array(kpis["value_milli"].is_not_null())
    period = np.maximum(end - begin, 1)
    shown &= begin % period == 0
    rows = np.flatnonzero(shown)
    cell = locate(inventory.cell_keys, _array(kpis["object"])[rows]) if len(inventory.cells) else rows * 0 - 1
    rows, cell = rows[cell >= 0], cell[cell >= 0]
    shape = len(numbers), len(drawn.tiles)  # rows come KPI by KPI: so what is near in time is near in memory
    latest = np.full(shape, np.iinfo(np.int64).min)
    numerator, denominator = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    cells = np.zeros(shape, np.int32)
    _spread(
        cell, metric[rows], end[rows], _array(kpis["numerator_milli"])[rows], _array(kpis["denominator_milli"])[rows],
        drawn.leaves, drawn.up, drawn.upwards, latest, numerator, denominator, cells,
    )  # fmt: skip
    which, tile = np.nonzero(cells)
    return Outcome(
        (
            _changes(
                drawn.layers[tile], drawn.tiles[tile], formulas.kpi_names.gather(numbers[which].astype(np.uint32)),
                latest[which, tile], numerator[which, tile], denominator[which, tile], cells[which, tile],
            ),
        )
    )  # fmt: skip


def _array(series: pl.Series) -> npt.NDArray[Any]:
    return np.ascontiguousarray(series.to_numpy())


@nb.njit(nogil=True, cache=True)
def _spread(
    cell: Longs, metric: npt.NDArray[np.int32], end: Longs, numerator: Longs, denominator: Longs,
    leaves: npt.NDArray[np.int64], up: Longs, upwards: Longs, latest: npt.NDArray[np.int64],
    numerators: npt.NDArray[np.int64], denominators: npt.NDArray[np.int64], cells: npt.NDArray[np.int32],
) -> None:  # fmt: skip
    """Add each row to the finest tile and the area of its cell, and these to the ones that they lie in."""
    for row in range(len(cell)):
        for leaf in range(2):
            tile = leaves[cell[row], leaf]
            if tile >= 0:
                _gain_one(
                    metric[row], tile, end[row], numerator[row], denominator[row], 1,
                    latest, numerators, denominators, cells,
                )  # fmt: skip
    for m in range(latest.shape[0]):
        for place in range(len(upwards)):
            tile = upwards[place]
            if up[tile] >= 0 and cells[m, tile] > 0:
                _gain_one(
                    m, up[tile], latest[m, tile], numerators[m, tile], denominators[m, tile], cells[m, tile],
                    latest, numerators, denominators, cells,
                )  # fmt: skip


@nb.njit(inline="always")
def _gain_one(
    m: int, tile: int, end: int, numerator: int, denominator: int, more: int,
    latest: npt.NDArray[np.int64], numerators: npt.NDArray[np.int64], denominators: npt.NDArray[np.int64],
    cells: npt.NDArray[np.int32],
) -> None:  # fmt: skip
    """A newer window begins a tile's sums anew; an older one is not shown."""
    if end > latest[m, tile]:
        latest[m, tile] = end
        numerators[m, tile], denominators[m, tile], cells[m, tile] = 0, 0, 0
    if end == latest[m, tile]:
        numerators[m, tile] += numerator
        denominators[m, tile] += denominator
        cells[m, tile] += more


def _changes(
    layers: npt.NDArray[np.uint8], tiles: Words, metric: pl.Series, time_us: Longs, numerator: Longs,
    denominator: Longs, cells: npt.NDArray[np.int32],
) -> pl.DataFrame:  # fmt: skip
    return pl.DataFrame(
        {
            "layer": _layer_names(layers),
            "tile": tiles,
            "metric": metric,
            "time_us": time_us,
            "numerator": numerator,
            "denominator": denominator,
            "cells": cells,
            "bucket": _bucket_of(tiles),
        },
        schema=TILE_CHANGES.record.schema,
    )


def _bucket_of(tiles: Words) -> Words:
    """Neighbouring tiles share their highest octet, so tiles are spread by a product."""
    words: Words = (tiles * _SPREAD) >> np.uint64(BUCKET_SHIFT)
    return words


def _layer_names(layers: npt.NDArray[np.uint8]) -> pl.Series:
    names = pl.Series([*_LAYERS], dtype=pl.String)
    place = np.zeros(256, np.uint32)
    place[list(_LAYERS.values())] = np.arange(len(_LAYERS), dtype=np.uint32)
    return names.gather(place[layers])


def spread_alarms(alarms: pl.DataFrame, state: Grouped, inventory: Inventory) -> Outcome:
    """`ALARMS` into `TILE_ALARMS` of the metric `severity`, for cells and sites."""
    held = {
        (int(key), int(row["alarm_key"])): int(row["severity"])
        for key in state.keys
        for row in state.rows_of(int(key))
    }
    standing: dict[int, int] = {}
    for key, _ in held:
        standing[key] = standing.get(key, 0) + 1
    columns = alarms.select(
        "object", "alarm_key", "time_us", "severity",
        drawn=(pl.col("action") != "clear")
        & (pl.col("severity") < Severity.CLEARED)
        & on_the_map(pl.col("held_by")),
    )  # fmt: skip
    changes: list[tuple[int, int, int, int, int]] = []
    for object_, alarm, time_us, severity, drawn in columns.iter_rows():
        before, after = held.pop((object_, alarm), 0), severity if drawn else 0
        if after:
            held[object_, alarm] = after
        count = standing.get(object_, 0)
        standing[object_] = count + (after > 0) - (before > 0)
        if before != after:
            more = [a - b for a, b in zip(_packed(after), _packed(before), strict=True)]
            changes.append((object_, time_us, more[0], more[1], (standing[object_] > 0) - (count > 0)))
    return Outcome((_placed(changes, inventory),), _held(held, state))


def _packed(severity: int) -> tuple[int, int]:
    """One alarm as a count in two words: critical, major, minor in the first, warning, indeterminate in the other."""
    if severity == 0:
        return 0, 0
    if severity <= Severity.MINOR:
        return 1 << _COUNT_BITS * (severity - 1), 0
    return 0, 1 << _COUNT_BITS * (severity - Severity.WARNING)


def _held(held: dict[tuple[int, int], int], state: Grouped) -> Grouped:
    ordered = sorted(held.items())
    rows = np.array([(alarm, severity) for (_, alarm), severity in ordered], DRAWN_ALARMS.dtype)
    objects = np.array([object_ for (object_, _), _ in ordered], np.uint64)
    keys = np.union1d(state.keys, objects)
    return Grouped(keys, np.append(np.searchsorted(objects, keys), len(objects)).astype(np.int64), rows)


def _placed(changes: list[tuple[int, int, int, int, int]], inventory: Inventory) -> pl.DataFrame:
    """Changes of objects as changes of the tiles that they stand in."""
    drawn = inventory.drawn
    places: dict[int, list[int]] = {}
    sites = _array(inventory.cells["site"])
    rows = []
    for object_, time_us, first, second, cells in changes:
        if object_ not in places:
            mine = np.flatnonzero(
                (inventory.cell_keys == np.uint64(object_)) | ((sites == np.uint64(object_)) & (object_ != 0))
            )
            of = [drawn.of[drawn.first[cell] : drawn.first[cell + 1]] for cell in mine.tolist()]
            places[object_] = np.unique(np.concatenate(of)).tolist() if of else []
        rows += [(place, time_us, first, second, cells) for place in places[object_]]
    if not rows:
        return TILE_CHANGES.record.empty()
    place, time_us, first_word, second_word, counts = np.ascontiguousarray(np.array(rows, np.int64).T)
    metric = pl.repeat(SEVERITY, len(rows), dtype=pl.String, eager=True)
    return _changes(
        drawn.layers[place],
        drawn.tiles[place],
        metric,
        time_us,
        first_word,
        second_word,
        counts.astype(np.int32),
    )


# -- what is drawn -------------------------------------------------------------------------------------------


def draw(changes: pl.DataFrame, state: Grouped, formulas: Formulas) -> Outcome:
    """`TILE_CHANGES` into the `HEAT` of the tiles that look different now."""
    numbers = formulas.kpi_numbers(changes["metric"])
    alarms = _array((changes["metric"] == SEVERITY).fill_null(value=False))
    metric = np.where(alarms, _SEVERITY, numbers).astype(np.uint16)
    layer = numbers_of(changes["layer"], _LAYERS).astype(np.uint8)
    rows = state.rows
    zeros = np.zeros(len(rows), np.int64)
    known = np.ascontiguousarray(rows["tile"]), _metric_word(rows["layer"], rows["metric"]), zeros, zeros
    nothing = np.zeros(len(changes), np.int64)
    found = sheets(known, _array(changes["tile"]), _metric_word(layer, metric), nothing, nothing)
    tiles = np.zeros(len(found), TILES.dtype)
    tiles[: len(rows)] = rows
    fresh = slice(len(rows), len(found))
    tiles["tile"][fresh] = found.objects[fresh]
    tiles["layer"][fresh] = (found.places[fresh] >> np.uint64(16)).astype(np.uint8)
    tiles["metric"][fresh] = found.places[fresh].astype(np.uint16)
    tiles["end_us"][fresh] = np.iinfo(np.int64).min
    complete = _gain(
        tiles, found.of, alarms, _array(changes["time_us"]), _array(changes["numerator"]),
        _array(changes["denominator"]), _array(changes["cells"]),
    )  # fmt: skip
    which = np.flatnonzero(complete)
    return Outcome((_tell(tiles, which, _due(tiles, which), formulas),), _kept(state, tiles))


def draw_alarms(changes: pl.DataFrame, state: Grouped, formulas: Formulas) -> Outcome:
    """`TILE_ALARMS` into `HEAT` in the same manner: alarms are known long after KPIs, and the map need not wait."""
    return draw(changes, state, formulas)


def fade(pulses: pl.DataFrame, state: Grouped, formulas: Formulas) -> Outcome:
    """`PULSES` into the `HEAT` of tiles of which some cells did not come, or none any more, and of standing alarms."""
    tiles = state.rows.copy()
    times = pulses.group_by("bucket").agg(pl.col("time_us").max()).sort("bucket")
    now_us = np.full(len(state), np.iinfo(np.int64).min)
    group = locate(state.keys, times["bucket"].to_numpy())
    now_us[group[group >= 0]] = times["time_us"].to_numpy()[group >= 0]
    waited, again = _waited(tiles, state.offsets, now_us)
    return Outcome((_tell(tiles, waited, again, formulas),), _kept(state, tiles))


@nb.njit(nogil=True, cache=True)
def _waited(tiles: Rows, offsets: Longs, now_us: Longs) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """Tiles that show cells and that time has come to, and which of them are told again although nothing changed.

    Those of which nothing is heard any more show nothing. Alarms that stand are told again as of the last half hour of
    their tile that is over, so it does not matter how often the clock was looked at.
    """
    waited, again = np.empty(len(tiles), np.int64), np.zeros(len(tiles), np.bool_)
    count = 0
    for group in range(len(now_us)):
        for at in range(offsets[group], offsets[group + 1]):
            row = tiles[at]
            if row.cells <= 0 or row.end_us > now_us[group]:
                continue
            if row.metric == _SEVERITY:
                over_us = now_us[group] - (now_us[group] + _turn_us(row.tile)) % _AGAIN_US
                if over_us <= row.end_us:
                    continue
                row.end_us, again[count] = over_us, True
            elif row.end_us + _STALE_PERIODS * row.period_us <= now_us[group]:
                row.numerator, row.denominator, row.cells = 0, 0, 0
            waited[count] = at
            count += 1
    return waited[:count], again[:count]


@nb.njit(nogil=True, cache=True)
def _due(tiles: Rows, which: Longs) -> npt.NDArray[np.bool_]:
    """Which of these tiles of KPIs tell the first window of a half hour of theirs."""
    due = np.zeros(len(which), np.bool_)
    for at in range(len(which)):
        row = tiles[which[at]]
        due[at] = row.metric != _SEVERITY and (row.end_us + _turn_us(row.tile)) % _AGAIN_US < row.period_us
    return due


@nb.njit(inline="always")
def _turn_us(tile: int) -> int:
    """How much earlier than the half hour of the clock a tile's own is, so that not all are told at once."""
    return nb.int64((np.uint64(tile) * _SPREAD) >> np.uint64(34)) * 1_000_000 % _AGAIN_US


def _metric_word(layer: npt.NDArray[np.uint8], metric: npt.NDArray[np.uint16]) -> Words:
    words: Words = layer.astype(np.uint64) << np.uint64(16) | metric.astype(np.uint64)
    return words


@nb.njit(nogil=True, cache=True)
def _gain(
    tiles: Rows, of: npt.NDArray[np.int32], alarms: npt.NDArray[np.bool_], time_us: Longs, numerator: Longs,
    denominator: Longs, cells: npt.NDArray[np.int32],
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Add changes to their tiles; which of these have as many cells as in the window before."""
    newest_us = np.empty(len(tiles), np.int64)
    for at in range(len(tiles)):
        newest_us[at] = tiles[at].end_us
    for row in range(len(of)):  # of a batch only the newest window of a tile is shown, whoever told it first
        if not alarms[row]:
            newest_us[of[row]] = max(newest_us[of[row]], time_us[row])
    complete = np.zeros(len(tiles), np.bool_)
    for row in range(len(of)):
        tile = tiles[of[row]]
        complete[of[row]] = True
        if alarms[row]:
            tile.end_us = max(tile.end_us, time_us[row])
        elif time_us[row] < newest_us[of[row]]:
            continue
        elif time_us[row] > tile.end_us:
            if tile.cells > 0:
                tile.usual = tile.cells
                tile.period_us = time_us[row] - tile.end_us
            tile.end_us = time_us[row]
            tile.numerator, tile.denominator, tile.cells = 0, 0, 0
        tile.numerator += numerator[row]
        tile.denominator += denominator[row]
        tile.cells += cells[row]
    for at in range(len(tiles)):
        if complete[at] and tiles[at].metric != _SEVERITY:
            complete[at] = tiles[at].cells >= (tiles[at].usual if tiles[at].usual > 0 else 1)
    return complete


def _tell(tiles: Rows, which: Longs, again: npt.NDArray[np.bool_], formulas: Formulas) -> pl.DataFrame:
    """`HEAT` of those of the tiles that look different from what was told, or are due; the tiles remember it."""
    program, judged = formulas.program, _judging(formulas)
    rows, value, severity, known = _moved(
        tiles,
        which,
        again,
        program.multiply,
        program.divide,
        judged.steps,
        judged.leasts,
        judged.goods,
        judged.marks,
    )
    told = tiles[rows]
    names = pl.concat([formulas.kpi_names, pl.Series([SEVERITY], dtype=pl.String)])
    words = np.ascontiguousarray(told["tile"])
    return pl.DataFrame(
        {
            "layer": _layer_names(told["layer"]),
            "tile": words,
            "metric": names.gather(np.minimum(told["metric"], formulas.kpi_columns).astype(np.uint32)),
            "time_us": np.ascontiguousarray(told["end_us"]),
            "value_milli": value,
            "severity": severity,
            "cells": np.ascontiguousarray(told["cells"]),
            "bucket": _bucket_of(words),
        },
        schema=HEAT.record.schema,
    ).with_columns(value_milli=pl.when(pl.Series(known)).then(pl.col("value_milli")))


@dataclass(frozen=True)
class _Judging:
    """How each KPI is judged, by its number; `goods` is 1 when high is good, -1 when low is, 0 without marks."""

    steps: Longs
    leasts: Longs
    goods: Longs
    marks: Longs  # [KPI, severity]


def _judging(formulas: Formulas) -> _Judging:
    count = formulas.kpi_columns
    steps, leasts, goods = np.ones(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    marks = np.zeros((count, int(Severity.CLEARED)), np.int64)
    for kpi in formulas.kpis:
        steps[kpi.number], leasts[kpi.number] = max(kpi.step_milli, 1), kpi.least_milli
        if kpi.marks:
            goods[kpi.number] = 1 if kpi.good == "high" else -1
            marks[kpi.number, [int(each) for each in kpi.marks]] = list(kpi.marks.values())
    return _Judging(steps, leasts, goods, marks)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _moved(
    tiles: Rows, which: Longs, again: npt.NDArray[np.bool_], multiply: Longs, divide: Longs, steps: Longs,
    leasts: Longs, goods: Longs, marks: Longs,
) -> tuple[Longs, Longs, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:  # fmt: skip
    """Tiles to be told, their values and severities, and whether there is a value; what is told is remembered."""
    rows, values = np.empty(len(which), np.int64), np.empty(len(which), np.int64)
    severities, knowns = np.empty(len(which), np.uint8), np.empty(len(which), np.bool_)
    count = 0
    for place in range(len(which)):
        at = which[place]
        tile = tiles[at]
        value, severity, step, known = nb.int64(0), nb.int64(6), nb.int64(1), True
        kpi = nb.int64(tile.metric)
        if kpi == _SEVERITY:
            value, severity = _alarms(tile.numerator, tile.denominator)
        else:
            known = tile.denominator != 0 and tile.cells > 0
            if kpi < len(multiply):
                step = steps[kpi]
                if tile.denominator != 0:
                    value = divided(tile.numerator, tile.denominator, multiply[kpi], divide[kpi])
                if known and tile.denominator >= leasts[kpi] and goods[kpi] != 0:
                    for mark in range(4, 0, -1):
                        limit = marks[kpi, mark]
                        if value < limit if goods[kpi] > 0 else value > limit:
                            severity = nb.int64(mark)
        shown = 1 if known else 2
        moved = shown != tile.told or severity != tile.told_severity or tile.cells != tile.told_cells
        moved = moved or (known and abs(value - tile.told_value) >= step)
        if not (moved or again[place]) or (shown == 2 and tile.told == 0 and tile.cells == 0):
            continue
        tile.told, tile.told_value = shown, value
        tile.told_cells, tile.told_severity = tile.cells, severity
        rows[count], values[count], severities[count], knowns[count] = at, value, severity, known
        count += 1
    return rows[:count], values[:count], severities[:count], knowns[:count]


@nb.njit(inline="always")
def _alarms(first: int, second: int) -> tuple[int, int]:
    """How many alarms stand in a tile, in thousandths, and the worst severity among them."""
    counts = nb.int64((1 << _COUNT_BITS) - 1)
    standing, worst = nb.int64(0), nb.int64(6)
    for place in range(4, -1, -1):
        word = nb.int64(first) if place < 3 else nb.int64(second)
        here = word >> nb.int64(_COUNT_BITS * (place if place < 3 else place - 3)) & counts
        standing += here
        if here > 0:
            worst = nb.int64(place + 1)
    return 1_000 * standing, worst


def _kept(state: Grouped, tiles: npt.NDArray[Any]) -> Grouped:
    """All tiles but those that show nothing and were told so."""
    needed = (tiles["cells"] != 0) | (tiles["told"] == 1)
    if len(tiles) == len(state.rows) and bool(needed.all()):
        return Grouped(state.keys, state.offsets, tiles)
    alive = tiles[needed]
    words = _bucket_of(np.ascontiguousarray(alive["tile"]))
    buckets = np.unique(np.concatenate([state.keys, words]))
    return by_bucket(buckets, words << np.uint64(BUCKET_SHIFT), alive)
