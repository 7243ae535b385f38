"""Deduplicating events: what was heard before is counted and not heard again.

An event is known by its identity, the digest of what names it. One that says the same is a duplicate; one that says
something else under the same identity is held for a person. Measurements need no such memory: the step that aligns
them knows which periods of a series it has seen. Copies within a batch are treated in their order, so that the
borders of batches change nothing.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.records.network import DUPLICATES, HEARD, HELD, SEEN

DAY_US = 86_400_000_000
CONFLICT = "conflict"
_WHO = ["identity", "check"]


def deduplicate(events: pl.DataFrame, seen: Grouped) -> Outcome:
    """Part `EVENTS` into `HEARD`, `DUPLICATES` and `HELD`; the state returned holds the identities added."""
    known = pl.DataFrame(
        {
            "identity": np.repeat(seen.keys, np.diff(seen.offsets)),
            "check": np.ascontiguousarray(seen.rows["check"]),
            "seen": np.ascontiguousarray(seen.rows["payload"]),
            "day": np.ascontiguousarray(seen.rows["day"]),
        }
    )
    rows = events.join(known.drop("day"), on=_WHO, how="left", maintain_order="left").with_columns(
        first=pl.int_range(pl.len()).over(_WHO) == 0,
        said=pl.coalesce("seen", pl.col("payload").first().over(_WHO)),
    )
    fresh = pl.col("seen").is_null() & pl.col("first")
    same = pl.col("payload") == pl.col("said")
    heard = rows.filter(fresh)
    duplicates, conflicts = rows.filter(~fresh & same), rows.filter(~fresh & ~same)
    assert len(heard) + len(duplicates) + len(conflicts) == len(events), "every event comes out once"
    return Outcome(
        (
            HEARD.record.conform(heard),
            DUPLICATES.record.conform(duplicates),
            HELD.record.conform(conflicts.with_columns(reason=pl.lit(CONFLICT))),
        ),
        _added(known, heard),
    )


def _added(known: pl.DataFrame, heard: pl.DataFrame) -> Grouped:
    """The groups of the identities that were added, what they held before first."""
    new = heard.select(
        "identity",
        "check",
        seen=pl.col("payload"),
        day=(pl.col("time_us") // DAY_US).cast(pl.Int32),
    )
    before = known.join(new.select("identity").unique(), on="identity", how="semi")
    rows = pl.concat([before, new]).sort("identity", maintain_order=True)
    keys, counts = np.unique(rows["identity"].to_numpy(), return_counts=True)
    state = np.empty(len(rows), SEEN.dtype)
    state["check"], state["payload"] = rows["check"].to_numpy(), rows["seen"].to_numpy()
    state["day"] = rows["day"].to_numpy()
    return Grouped(keys.astype(np.uint64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), state)
