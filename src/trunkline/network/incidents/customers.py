"""Which customers an incident hits: those who used one of its cells lately, before it began or while it lasts."""

from __future__ import annotations

import polars as pl

HIT = {"incident_id": pl.String, "subscriber": pl.UInt64}


def hit(incidents: pl.DataFrame, visits: pl.DataFrame, within_us: int) -> pl.DataFrame:
    """Who (`subscriber`) is hit by what (`incident_id`), each pair once, in their order.

    `incidents` has `incident_id`, `objects` (list of words), `began_us` and `until_us` (its end, or now); `visits` has
    `object` (a cell's word), `subscriber` and the first and last moment of use, `first_us` and `last_us`.
    """
    places = (
        incidents.select("incident_id", "began_us", "until_us", object="objects")
        .explode("object")
        .drop_nulls("object")
    )
    met = places.join(visits, on="object", how="inner")
    near = (pl.col("last_us") >= pl.col("began_us") - within_us) & (pl.col("first_us") <= pl.col("until_us"))
    return met.filter(near).select(list(HIT)).unique().sort("incident_id", "subscriber").cast(HIT)  # type: ignore[arg-type]
