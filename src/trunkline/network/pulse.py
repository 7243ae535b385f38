"""The data's own clock: how far time has come for every bucket, whether or not anything arrived for it.

A cell that has fallen silent sends nothing that could tell. So whoever waits for somebody looks at this clock, which
all elements move together. It must not follow one of them: a cell whose clock runs ahead would make all others look
late. A bucket has come as far as the middle one of its objects that told something, and the clock as far as an eighth
of the buckets (three at least, where there are so many) have come; of the one or two buckets of a tiny network
the newest counts.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, State
from trunkline.network.formula import Formulas
from trunkline.network.sheets import beginnings
from trunkline.records.network import ADVANCES, BUCKETS, PULSES

CLOCK = State(
    "network.clock",
    "component",
    np.dtype([("bucket", "u8"), ("time_us", "i8")]),
    "How far the objects of each bucket have come.",
)
WITNESSES, SHARE = 3, 8


def advance(bins: pl.DataFrame) -> Outcome:
    """How far these `BINS` let each bucket come (`ADVANCES`): the middle of its objects' newest ends."""
    told = bins.select("bucket", "object", "end_us")
    told = told[beginnings(told["object"].to_numpy(), told["end_us"].to_numpy())]
    ends = told.group_by("bucket", "object").agg(pl.col("end_us").max())
    rows = ends.group_by("bucket").agg(
        pl.col("end_us").quantile(0.5, "lower").cast(pl.Int64).alias("time_us")
    )
    rows = rows.sort("bucket").with_columns(component=pl.lit(0, dtype=pl.UInt64))
    return Outcome((ADVANCES.record.conform(rows),))


def pulse(advances: pl.DataFrame, clock: Grouped, formulas: Formulas) -> Outcome:
    """`PULSES` of all buckets at the clock's time less the lateness that the formulas wait for."""
    before = pl.DataFrame({"bucket": clock.rows["bucket"].copy(), "time_us": clock.rows["time_us"].copy()})
    known = pl.concat([before, advances.select("bucket", "time_us")]).group_by("bucket").agg(
        pl.col("time_us").max()
    ).sort("bucket")  # fmt: skip
    rows = np.empty(len(known), CLOCK.dtype)
    rows["bucket"], rows["time_us"] = known["bucket"].to_numpy(), known["time_us"].to_numpy()
    newest = np.sort(rows["time_us"])[::-1]
    witness = 0 if len(newest) < WITNESSES else max(WITNESSES, -(-len(newest) // SHARE)) - 1
    state = Grouped(clock.keys, np.array([0, len(rows)], np.int64), rows)
    return Outcome((pulses_at(int(newest[witness]) - formulas.lateness_us),), state)


def pulses_at(time_us: int) -> pl.DataFrame:
    """`PULSES` of every bucket at one moment."""
    return PULSES.record.conform(
        pl.DataFrame({"bucket": pl.int_range(BUCKETS, dtype=pl.UInt64, eager=True)}).with_columns(
            component=pl.lit(0, dtype=pl.UInt64), time_us=pl.lit(time_us, dtype=pl.Int64)
        )
    )
