"""How an incident is judged afterwards: the time line, who owned it, how long until it was noticed, owned and over.

Time to detect is from the beginning of the trouble, as its earliest alarm tells it, to the opening of the incident;
time to repair from there to its end. Both are of event time, so that a replay gives the same figures; how fast the
platform itself was is measured elsewhere.
"""

from __future__ import annotations

import polars as pl

MILLISECOND_US = 1_000
# The queue: what costs most first, then whom it hits, how bad it is, and what waits longest.
ORDER = ("micros_per_minute", "subscribers", "severity", "opened_us", "incident_id")
_DESCENDING = (True, True, False, False, False)


def standing(changes: pl.DataFrame) -> pl.DataFrame:
    """Each incident as it was last told, out of its changes (`INCIDENTS`) in the order in which they came."""
    return changes.filter(pl.col("action").is_in(["open", "update", "close"])).unique(
        "incident_id", keep="last", maintain_order=True
    )


def queue(changes: pl.DataFrame) -> pl.DataFrame:
    """Open incidents in the order in which they should be worked on."""
    return standing(changes).filter(pl.col("action") != "close").sort(ORDER, descending=_DESCENDING)


def measures(changes: pl.DataFrame, notes: pl.DataFrame | None = None) -> pl.DataFrame:
    """For each incident: when it began, opened, was first owned and closed, and the times between in milliseconds.

    `notes` are what people did: `incident_id`, `time_us`, `action` (own or note). Columns: `incident_id`, `began_us`,
    `opened_us`, `owned_us`, `closed_us`, `detect_ms`, `own_ms`, `repair_ms`; null for what has not happened. An
    incident that merged into another ends with the merger and is measured there.
    """
    ended = changes.filter(pl.col("action") == "close").select("incident_id", closed_us="time_us")
    known = standing(changes).select("incident_id", "began_us", "opened_us")
    owned = pl.DataFrame(schema={"incident_id": pl.String, "owned_us": pl.Int64})
    if notes is not None:
        first = notes.filter(pl.col("action") == "own").group_by("incident_id")
        owned = first.agg(owned_us=pl.col("time_us").min())
    return (
        known.join(owned, on="incident_id", how="left")
        .join(ended, on="incident_id", how="left")
        .with_columns(
            detect_ms=(pl.col("opened_us") - pl.col("began_us")) // MILLISECOND_US,
            own_ms=(pl.col("owned_us") - pl.col("opened_us")) // MILLISECOND_US,
            repair_ms=(pl.col("closed_us") - pl.col("opened_us")) // MILLISECOND_US,
        )
        .select(
            "incident_id", "began_us", "opened_us", "owned_us", "closed_us", "detect_ms", "own_ms", "repair_ms"
        )
        .sort("opened_us", "incident_id")
    )  # fmt: skip


def means(measured: pl.DataFrame) -> dict[str, int | None]:
    """Mean time to detect, to own and to repair in milliseconds, rounded down; None where nothing has happened yet."""
    found: dict[str, int | None] = {}
    for name, column in (("mttd_ms", "detect_ms"), ("mtto_ms", "own_ms"), ("mttr_ms", "repair_ms")):
        values = measured[column].drop_nulls()
        found[name] = int(values.sum()) // len(values) if len(values) else None
    return found
