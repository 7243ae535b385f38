"""Spark's buckets take records back as one process does, and charging the history once more agrees with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
import polars as pl

from tests.billing import small
from tests.cluster.spark.test_books import Buckets, assert_booked_like
from tests.cluster.spark.test_carry import carried, messages, rows_of
from tests.withdrawals.small import Said, cancels, corrects, told
from trunkline.charging.withdrawals import order_of
from trunkline.engines.spark.carry import Work
from trunkline.engines.wire import rows_in, rows_out
from trunkline.kernel.columns import Record
from trunkline.records import usage
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES
from trunkline.records.withdrawals import NOT_WITHDRAWN, WITHDRAWALS
from trunkline.stores.embedded.reader import EmbeddedReader

DAYS = list(small.records(12, 14))
GONE = [line for line in DAYS if line["subscriber"] in (small.number(0), small.number(3))]


def lines_of(said: Sequence[Said]) -> list[bytes]:
    """A message each."""
    return [orjson.dumps(line) + b"\n" for line in said]


def written(buckets: Buckets, record: Record, topic: str) -> pl.DataFrame:
    """Everything in a topic of results."""
    found = [rows_in(bytes(m["value"]), record) for m in buckets.written if m["topic"] == topic]
    return pl.concat([record.empty(), *found])


def orders(buckets: Buckets) -> list[bytes]:
    """Orders to cancel what was charged of those who are taken back, as whoever serves makes them."""
    plan = buckets.work.plan
    charged, entries = (written(buckets, s.record, plan.topic(s)) for s in (CHARGED, ENTRIES))
    names = [str(line["id"]) for line in GONE]
    made = []
    for row in charged.filter(pl.col("record_id").is_in(names)).iter_slices(1):
        named = row.with_columns(
            correction_id="cancel:x-" + pl.col("record_id"),
            movement_id="cancel:msc:x-" + pl.col("record_id"),
            time_us=pl.lit(0, pl.Int64),
        )
        its = entries.filter(pl.col("seq") == row["seq"].item())
        made.append(
            order_of(named, CHARGED.record.empty(), its, CORRECTIONS.record.empty(), buckets.catalogue)
        )
    return list(rows_out(pl.concat(made)))


def test_a_cancelled_record(tmp_path: Path) -> None:
    """The accounts of one process; orders that come again change nothing, also under another one's name."""
    told(tmp_path / "one", DAYS, [cancels(line) for line in GONE])
    buckets = Buckets(tmp_path / "many", small.write(tmp_path))
    buckets.carry(lines_of(DAYS))
    sent = orders(buckets)
    assert sent
    for values in (sent, sent):
        buckets.order(WITHDRAWALS, values)
    reader = EmbeddedReader(tmp_path / "one" / "data")
    assert_booked_like(buckets, reader)
    made = written(buckets, CORRECTIONS.record, buckets.work.plan.topic(CORRECTIONS))
    wanted = pl.concat(reader.scan(CORRECTIONS, -(2**62), 2**62))
    assert sorted(made["correction_id"]) == sorted(wanted["correction_id"])
    again = pl.concat(rows_in(value, WITHDRAWALS.record) for value in sent)
    others = again.with_columns(pl.col("withdrawal_id") + "y")
    buckets.order(WITHDRAWALS, [*rows_out(others)])
    left = written(buckets, NOT_WITHDRAWN.record, buckets.work.plan.topic(NOT_WITHDRAWN))
    assert set(left["reason"]) == {"already_corrected"}
    assert len(left) == len(made)
    assert_booked_like(buckets, reader)


def test_a_record_that_takes_a_place(tmp_path: Path) -> None:
    """Under its own name it waits; under that of its place it is charged, once."""
    buckets = Buckets(tmp_path, small.write(tmp_path))
    work: Work = buckets.work
    raw, line = work.plan.topic(usage.RAW), lines_of([corrects(GONE[0], "better")])
    assert not len(rows_of(work.plan, carried(work, 1, messages(raw, line))))
    placed = rows_of(work.plan, carried(work, 2, messages(raw, line, 1, b"trunkline~c5")))
    assert placed["record_id"].to_list() == ["better~c5"]
    assert not len(rows_of(work.plan, carried(work, 3, messages(raw, line, 2, b"trunkline~c5"))))
