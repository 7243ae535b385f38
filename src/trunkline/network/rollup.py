"""Adding up: KPIs of areas, technologies, slices and the whole network, out of what their cells brought.

Numerators and denominators are added, never percentages averaged; a product of shares is worked out anew from the
sums. A sum is told as soon as as many cells have brought their part as in the newest window that is closed (or all that
the inventory knows), at the latest when the window closes: when the thing itself has gone on by the lateness, or the
data's clock has. A part that comes after that is still added for a quarter of an hour, and the KPI told once more: the
later row counts. What comes even later is set aside as `LATE_PARTS`, and nothing is lost from the KPIs of cells.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.kernel.grouping import locate
from trunkline.network.formula import Form, Formulas, quotients
from trunkline.network.inventory import Inventory
from trunkline.network.kpi import slice_names
from trunkline.network.sheets import Words, by_bucket
from trunkline.records.network import BUCKET_SHIFT, KPIS, Scope
from trunkline.records.network_sums import LATE_PARTS

KEPT_US = 900_000_000
KEPT_PERIODS = 4
WITNESSES = 8  # of its most cells in a window, the part that must have come to another one
_UNTOLD = -1

SUMS = State(
    "network.sums",
    "bucket",
    np.dtype(
        [
            ("object", "u8"),
            ("slice", "u4"),
            ("kpi", "u2"),
            ("begin_us", "i8"),
            ("end_us", "i8"),
            ("numerator", "i8"),
            ("denominator", "i8"),
            ("cells", "i4"),
            ("missing", "i4"),
            ("told", "i4"),  # cells in the sum that was told; -1 before any was
        ]
    ),
    "KPIs of areas, technologies, slices and the network in the windows of the last quarter of an hour.",
)

_KEY = ["object", "slice", "begin_us", "end_us", "kpi"]


def add_up(parts: pl.DataFrame, state: Grouped, formulas: Formulas, inventory: Inventory) -> Outcome:
    """`PARTS` into the `KPIS` of larger things, and the `LATE_PARTS` that came after their window was forgotten."""
    before = _frame(state)
    newest = before.select("object", newest_us=_newest_us()).unique("object")
    length = pl.col("end_us") - pl.col("begin_us")
    kept_us = pl.max_horizontal(pl.lit(KEPT_US), KEPT_PERIODS * length)
    judged = parts.join(newest, on="object", how="left", maintain_order="left").with_columns(
        late=(pl.col("end_us") <= pl.col("newest_us") - kept_us).fill_null(value=False)
    )
    on_time = judged.filter(~pl.col("late"))
    added = pl.DataFrame(
        {
            "object": on_time["object"],
            "slice": on_time["slice"],
            "kpi": formulas.kpi_numbers(on_time["kpi"]).astype(np.uint16),
            "begin_us": on_time["begin_us"],
            "end_us": on_time["end_us"],
            "numerator": on_time["numerator_milli"],
            "denominator": on_time["denominator_milli"],
            "cells": on_time["cells"],
            "missing": on_time["missing"],
        }
    ).with_columns(told=pl.lit(_UNTOLD, pl.Int32))
    sums = _merged(pl.concat([before, added]))
    sums = sums.with_columns(newest_us=_newest_us())
    kpis, sums = _tell(sums, formulas, inventory)
    kept = sums.filter(pl.col("end_us") > pl.col("newest_us") - kept_us)
    late = LATE_PARTS.record.conform(judged.filter(pl.col("late")))
    return Outcome((kpis, late), _state(state, kept))


def settle(pulses: pl.DataFrame, state: Grouped, formulas: Formulas, inventory: Inventory) -> Outcome:
    """`PULSES` into the `KPIS` whose windows the data's clock has closed, although cells are missing from them."""
    times = pulses.group_by("bucket").agg(pl.col("time_us").max())
    sums = (
        _frame(state)
        .with_columns(bucket=pl.col("object") // (1 << BUCKET_SHIFT))
        .join(times, on="bucket", how="left", maintain_order="left")
        .with_columns(newest_us=pl.max_horizontal(_newest_us(), pl.col("time_us") + formulas.lateness_us))
    )
    kpis, sums = _tell(sums, formulas, inventory)
    return Outcome((kpis,), _state(state, sums))


def _frame(state: Grouped) -> pl.DataFrame:
    return pl.DataFrame({name: np.ascontiguousarray(state.rows[name]) for name in SUMS.dtype.names or ()})


def _newest_us() -> pl.Expr:
    """How far each thing has come: to its newest window that a good part of its cells have reached.

    A cell whose clock runs ahead would otherwise close windows that hardly anybody has brought a part to.
    """
    reached = pl.col("cells") * WITNESSES >= pl.col("cells").max().over("object")
    return pl.col("end_us").filter(reached).max().over("object")


def _merged(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.group_by(_KEY, maintain_order=True)
        .agg(pl.col("numerator", "denominator", "cells", "missing").sum(), pl.col("told").max())
        .select(rows.columns)
    )


def _tell(sums: pl.DataFrame, formulas: Formulas, inventory: Inventory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The KPIs to tell now, and the sums with what was told."""
    if not len(sums):
        return KPIS.record.empty(), sums
    waited_us = pl.max_horizontal(pl.lit(formulas.lateness_us), 2 * (pl.col("end_us") - pl.col("begin_us")))
    targets = inventory.targets
    everyone = pl.DataFrame({"object": targets.objects, "everyone": targets.cells}).unique("object")
    judged = (
        sums.with_columns(closed=pl.col("end_us") <= pl.col("newest_us") - waited_us)
        .join(everyone, on="object", how="left", maintain_order="left")
        .with_columns(
            usual=pl.col("cells")
            .filter(pl.col("closed"))
            .sort_by(pl.col("end_us").filter(pl.col("closed")))
            .last()
            .over("object", "slice", "kpi")
        )
    )
    enough = (pl.col("cells") >= pl.min_horizontal("usual", "everyone")).fill_null(value=False)
    again = pl.col("told") >= 0
    judged = judged.with_columns(
        tell=((pl.col("cells") > pl.col("told")) & (pl.col("closed") | enough | again))
        | (pl.col("closed") & (pl.col("told") == _UNTOLD))
    ).with_columns(told=pl.when("tell").then(pl.col("cells")).otherwise(pl.col("told")))
    single = _single(judged.filter(pl.col("tell")), formulas)
    products = _products(judged, formulas)
    rows = pl.concat([single, products])
    return _named(rows, formulas, inventory), judged.select(*(SUMS.dtype.names or ()), "newest_us")


def _single(rows: pl.DataFrame, formulas: Formulas) -> pl.DataFrame:
    """Ratios, means and sums with their values."""
    kpi = rows["kpi"].to_numpy().astype(np.int64)
    numerator = rows["numerator"].to_numpy()
    is_sum = formulas.program.form[kpi] == Form.SUM
    denominator = np.where(is_sum & (rows["cells"].to_numpy() > 0), 1_000, rows["denominator"].to_numpy())
    value = np.zeros(len(rows), np.int64)
    quotients(numerator, denominator, formulas.program.multiply, formulas.program.divide, kpi, value)
    return rows.select(*_KEY, "missing", "numerator").with_columns(
        pl.Series("denominator", denominator, pl.Int64),
        pl.Series("value", value)
        .to_frame()
        .select(pl.when(pl.Series(denominator != 0)).then(pl.col("value")))
        .to_series(),
    )


def _products(judged: pl.DataFrame, formulas: Formulas) -> pl.DataFrame:
    """Products of which a factor is told now, and every factor has been told."""
    window = ["object", "slice", "begin_us", "end_us"]
    found = [_single(judged.clear(), formulas)]
    for kpi in formulas.kpis:
        if kpi.form is not Form.PRODUCT:
            continue
        numbers = [formulas.kpi(name).number for name in kpi.factors]
        mine = judged.filter(pl.col("kpi").is_in(numbers))
        whole = mine.group_by(window, maintain_order=True).agg(
            pl.col("tell").any(),
            (pl.col("told") >= 0).sum().alias("factors"),
            pl.col("missing").sum(),
            # A share of a share: in floating point, and only then rounded half away from zero to thousandths.
            share=(pl.col("numerator") / pl.col("denominator")).clip(upper_bound=1.0).product(),
            nothing=(pl.col("denominator") == 0).any(),
            denominator=pl.col("denominator").min(),
        )
        told = whole.filter(pl.col("tell"), pl.col("factors") == len(numbers))
        value = pl.when(~pl.col("nothing")).then(
            (pl.col("share") * 100_000 + 0.5).floor().cast(pl.Int64, strict=False)
        )
        found.append(
            told.with_columns(value=value, kpi=pl.lit(kpi.number, pl.UInt16))
            .with_columns(
                numerator=(pl.col("share") * pl.col("denominator")).fill_nan(0).floor().cast(pl.Int64),
                missing=pl.col("missing").cast(pl.Int32),
            )
            .select(found[0].columns)
        )
    return pl.concat(found)


def _named(rows: pl.DataFrame, formulas: Formulas, inventory: Inventory) -> pl.DataFrame:
    """Rows as `KPIS`."""
    targets = inventory.targets
    objects, slices = rows["object"].to_numpy(), rows["slice"].to_numpy()
    at = locate(targets.objects, objects)
    at = np.where(slices != 0, -1, at)
    names = pl.concat([targets.names, pl.Series([""], dtype=pl.String)])
    technologies = pl.concat([targets.technologies, pl.Series([""], dtype=pl.String)])
    scopes = np.append(targets.scopes, np.uint8(Scope.SLICE))
    place = np.where(at >= 0, at, len(targets.scopes)).astype(np.uint32)
    different, which = np.unique(slices, return_inverse=True)
    frame = rows.with_columns(
        name=pl.when(pl.col("slice") != 0)
        .then(slice_names(different.astype(np.uint32)).gather(which.astype(np.uint32)))
        .otherwise(names.gather(place)),
        scope=pl.Series(scopes[place]),
        technology=technologies.gather(place),
        kpi=formulas.kpi_names.gather(rows["kpi"].cast(pl.UInt32)),
        value_milli="value",
        numerator_milli="numerator",
        denominator_milli="denominator",
        missing=pl.col("missing").clip(0, 65_535),
        bucket=pl.col("object") // (1 << BUCKET_SHIFT),
    )
    return KPIS.record.conform(frame)


def _state(state: Grouped, sums: pl.DataFrame) -> Grouped:
    rows: npt.NDArray[np.void] = np.zeros(len(sums), SUMS.dtype)
    for name in SUMS.dtype.names or ():
        rows[name] = sums[name].to_numpy()
    objects: Words = np.ascontiguousarray(rows["object"])
    buckets = np.unique(np.concatenate([state.keys, objects >> np.uint64(BUCKET_SHIFT)]))
    return by_bucket(buckets, objects, rows)
