"""A worker of the engine kafka carries a previewed re-rating as Spark does: whole and once, or not where it moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tests.engine.test_passing_on import OPENED, Cluster
from tests.giving.small import START_US, word
from trunkline.charging.rerating import guards
from trunkline.engines.plan import BUCKET_BITS, buckets_of
from trunkline.records import charging
from trunkline.records.charging import NEVER_S, Cause, RowKind

GIVEN = (700_000, 50_000)  # back for each of two records


def order(cluster: Cluster, name: str) -> pl.DataFrame:
    """An order that gives back something of two records, by how the account stands now."""
    key = np.array([word(0)], np.uint64)
    bucket = cluster.buckets[int(buckets_of(key, len(cluster.buckets))[0])]
    held = bucket.gather(charging.ACCOUNTS, key)
    corrections = [
        {
            "corrects_seq": at, "source": "msc", "record_id": f"r{at}", "identity": at, "check": at,
            "start_us": START_US, "plan": "plain", "list_micros": 0, "charged_micros": -amount, "allowance_units": 0,
            "changes": [
                {
                    "kind": int(RowKind.BALANCE), "name": "main", "period": 0, "valid_from_s": 0,
                    "valid_until_s": NEVER_S, "other": "revenue", "amount": amount, "granted": -1, "member": 0,
                }
            ],
        }
        for at, amount in enumerate(GIVEN)
    ]  # fmt: skip
    row = {
        "movement_id": name, "cause": int(Cause.CORRECTION), "subscriber": word(0), "time_us": START_US,
        "balance": "main", "amount": sum(GIVEN), "valid_until_s": NEVER_S, "correction_id": "test",
        "guard": guards(held)["guard"].item(), "tariff": cluster.tariff, "corrections": corrections,
    }  # fmt: skip
    known = {name: dtype for name, dtype in charging.RERATES.record.schema.items() if name in row}
    return charging.RERATES.record.conform(pl.DataFrame([row], schema=known))


def test_it_is_booked_whole_and_once(tmp_path: Path) -> None:
    """Two corrections with a number each, by one order that comes twice; what was previewed before it is left."""
    cluster = Cluster(tmp_path)
    first, late = order(cluster, "first"), order(cluster, "late")
    for each in (first, first, late, late):
        cluster.hand_in(charging.RERATES.name, each)
    assert cluster.money(0) == OPENED + sum(GIVEN)
    told = [
        (each["movement_id"], each["status"], each["reason"])
        for each in cluster.told
        if "movement_id" in each
    ]
    assert told == [
        ("first", "booked", ""),
        ("first", "repeated", ""),
        ("late", "refused", "moved_since"),
        ("late", "refused", "moved_since"),
    ]
    (made,) = cluster.results[charging.CORRECTIONS.name]
    numbers = (made["seq"].to_numpy() >> BUCKET_BITS).tolist()
    assert numbers == [numbers[0], numbers[0] + 1]
    booked = pl.concat(cluster.results[charging.ENTRIES.name]).filter(
        pl.col("cause") == int(Cause.CORRECTION)
    )
    assert booked.select("seq", "amount").rows() == list(zip(made["seq"].to_list(), GIVEN, strict=True))
    (refused,) = cluster.results[charging.REFUSED.name]
    assert refused.select("movement_id", "amount", "reason").rows() == [("late", sum(GIVEN), "moved_since")]
