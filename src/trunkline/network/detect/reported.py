"""Who reported, and for which periods: what `BINS` say of an object before any of its counters is looked at."""

from __future__ import annotations

import polars as pl

from trunkline.network.sheets import beginnings


def periods(bins: pl.DataFrame) -> pl.DataFrame:
    """Each object's periods in these `BINS` in order of their ends: bucket, object, end_us, begin_us, name."""
    rows = beginnings(bins["object"].to_numpy(), bins["end_us"].to_numpy())
    return (
        bins.select("bucket", "object", "begin_us", "end_us", "name")[rows]
        .lazy()
        .group_by("bucket", "object", "end_us")
        .agg(pl.col("begin_us").max(), pl.col("name").first())
        .sort("end_us", "object")
        .collect()
    )
