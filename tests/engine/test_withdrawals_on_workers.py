"""A worker of the engine kafka takes a record back once, and only by an order that knows what was corrected."""

from __future__ import annotations

from pathlib import Path

import orjson
import polars as pl

from tests.engine.test_passing_on import OPENED, Cluster
from tests.engine.test_rerating_on_workers import GIVEN, order
from tests.giving.small import START_US, number, word
from trunkline.charging.withdrawals import order_of
from trunkline.engines.naming import place_mark_of, reading, renamed
from trunkline.records import charging, giving, usage, withdrawals
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES

COST = 120_000
CALL = {
    "id": "c-1", "type": "voice", "source": "msc", "subscriber": number(0), "called": "4915112349999",
    "start": "2026-09-21T10:00:00Z", "duration_ms": 60_000,
}  # fmt: skip


def charged(cluster: Cluster) -> None:
    """A call of somebody."""
    (at,) = cluster.plan.part(giving.OFFERS, pl.DataFrame({"subscriber": [word(0)]})).tolist()
    cluster.buckets[at].carry_lines(orjson.dumps(CALL) + b"\n", "trunkline", "msc", START_US)
    cluster.end_turn(at)
    assert cluster.money(0) == OPENED - COST


def withdrawal(cluster: Cluster, name: str) -> pl.DataFrame:
    """The order to cancel the call, made of all that the topics hold by now."""
    (call,) = cluster.results[CHARGED.name]
    entries = pl.concat(cluster.results[ENTRIES.name]).filter(pl.col("seq") == call["seq"].item())
    corrections = pl.concat([CORRECTIONS.record.empty(), *cluster.results.get(CORRECTIONS.name, [])])
    named = call.with_columns(
        correction_id=pl.lit(f"cancel:{name}"),
        movement_id=pl.lit(f"cancel:msc:{name}"),
        time_us=pl.lit(START_US, pl.Int64),
    )
    return order_of(named, CHARGED.record.empty(), entries, corrections, cluster.catalogue)


def told(cluster: Cluster) -> list[tuple[str, str, str]]:
    """What was answered to withdrawals."""
    names = ("withdrawal_id", "status", "reason")
    return [tuple(each[name] for name in names) for each in cluster.told if names[0] in each]


def test_it_is_taken_back_once(tmp_path: Path) -> None:
    """By its name once, by another one's order not again, and the correction names the record."""
    cluster = Cluster(tmp_path)
    charged(cluster)
    first, other = withdrawal(cluster, "x"), withdrawal(cluster, "y")
    for each in (first, first, other):
        cluster.hand_in(withdrawals.WITHDRAWALS.name, each)
    assert cluster.money(0) == OPENED
    assert told(cluster) == [
        ("cancel:msc:x@-1-1-0", "booked", ""),
        ("cancel:msc:x@-1-1-0", "repeated", ""),
        ("cancel:msc:y@-1-1-0", "refused", "already_corrected"),
    ]
    (made,) = cluster.results[CORRECTIONS.name]
    assert made.select("correction_id", "record_id", "charged_micros").rows() == [("cancel:x", "c-1", -COST)]
    (left,) = cluster.results[withdrawals.NOT_WITHDRAWN.name]
    assert left.select("movement_id", "amount").rows() == [("cancel:msc:y", COST)]


def test_who_does_not_know_of_a_re_rating_is_left(tmp_path: Path) -> None:
    """An order made before a re-rating was booked is left; made again, it goes through."""
    cluster = Cluster(tmp_path)
    charged(cluster)
    early = withdrawal(cluster, "x")
    cluster.hand_in(charging.RERATES.name, order(cluster, "rerated"))
    cluster.hand_in(withdrawals.WITHDRAWALS.name, early)
    assert cluster.money(0) == OPENED - COST + sum(GIVEN)
    cluster.hand_in(withdrawals.WITHDRAWALS.name, withdrawal(cluster, "x"))
    assert cluster.money(0) == OPENED + sum(GIVEN)
    newest = max(cluster.results[CORRECTIONS.name][0]["seq"].to_list())
    assert told(cluster) == [
        ("cancel:msc:x@-1-1-0", "refused", "moved_since"),
        (f"cancel:msc:x@{newest}-1-0", "booked", ""),
    ]
    assert [len(rows) for rows in cluster.results[CORRECTIONS.name]] == [len(GIVEN), 1]


def test_who_takes_a_place_is_usage() -> None:
    """Under the mark of a place a correcting record is usage by a name of its own; under a conflict's it waits."""
    row = {"source": "msc", "record_id": "c-2", "identity": 1, "check": 1, "action": 2, "of": "c-1"}
    known = {name: dtype for name, dtype in usage.DECODED.record.schema.items() if name in row}
    rows = usage.DECODED.record.conform(pl.DataFrame([row], schema=known))
    mapping, mark = reading("trunkline" + place_mark_of(7))
    placed = renamed(rows, mark)
    assert mapping == "trunkline"
    assert placed.select("record_id", "action").rows() == [("c-2~c7", 0)]
    assert placed["identity"].item() != 1
    assert renamed(rows, "~7").select("record_id", "action").rows() == [("c-2~7", 2)]
