"""The data's own clock: how far time has come for every bucket, whether or not anything arrived for it.

A cell that has fallen silent sends nothing that could tell. So each batch tells all buckets how far the newest
period reaches, less the lateness that is waited for, and whoever waits for somebody looks at this clock.
"""

from __future__ import annotations

import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.network.formula import Formulas
from trunkline.records.network import BUCKETS, PULSES


def pulse(bins: pl.DataFrame, formulas: Formulas) -> Outcome:
    """One row of `PULSES` a bucket: the newest end of `BINS` less the lateness that the formulas wait for."""
    newest_us = bins.get_column("end_us").max()
    assert isinstance(newest_us, int), "a batch of bins has an end"
    return Outcome((pulses_at(newest_us - formulas.lateness_us),))


def pulses_at(time_us: int) -> pl.DataFrame:
    """`PULSES` of every bucket at one moment."""
    return PULSES.record.conform(
        pl.DataFrame({"bucket": pl.int_range(BUCKETS, dtype=pl.UInt64, eager=True)}).with_columns(
            component=pl.lit(0, dtype=pl.UInt64), time_us=pl.lit(time_us, dtype=pl.Int64)
        )
    )
