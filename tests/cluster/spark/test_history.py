"""Reconciling a bucket's history, without Spark: it agrees with what was charged, and names what was tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tests.cluster.spark.buckets import Rows, rows_by_bucket, set_aside
from tests.cluster.spark.day import PARTITIONS, Day
from tests.cluster.spark.test_carry import carried, enrolled, messages, work
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.spark import judged_bucket
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.spark.carry import Work, bucket_folder
from trunkline.records import charging, usage
from trunkline.settings import Folders

__all__ = ["work"]  # the fixture


def found(work: Work, rows: Rows) -> list[dict[str, Any]]:
    """What judging every bucket finds."""
    catalogue: Any = work.tables[charging.TARIFFS.name]
    rejected = set_aside(rows)
    return [
        judged_bucket(
            rows.get(at, {}), Bucket(bucket_folder(work.folder, at), work.plan.states, 10**6), catalogue, rejected,
            BEGINNING_US, END_US,
        )
        for at in range(PARTITIONS)
    ]  # fmt: skip


def test_history_agrees(work: Work, day: Day) -> None:
    """Charged once more from nothing, each bucket is what it was; a use that cost more is named."""
    raw = work.plan.topic(usage.RAW)
    folders = Folders(data=Path(work.folder).parent / "driver", tariffs=str(day.folder / "tariffs"))
    written = (
        enrolled(work, folders)
        + carried(work, 1, messages(raw, day.lines[:2500]))
        + carried(work, 2, messages(raw, day.lines[2500:], 2500))
    )
    rows = rows_by_bucket(work, day.lines, written)
    right = found(work, rows)
    assert sum(each["records"] for each in right) == sum(each.rated for each in day.embedded.accounting())
    assert [(each["differences"], each["account_differences"]) for each in right] == [(0, 0)] * PARTITIONS
    stored = rows[0][charging.CHARGED.name]
    dearer = stored[:1].with_columns(pl.col("charged_micros") + 7)
    rows[0][charging.CHARGED.name] = pl.concat([dearer, stored[1:]])
    wrong = found(work, rows)
    assert wrong[0]["difference_micros"] == 7
    assert [each["record_id"] for each in wrong[0]["examples"]] == dearer["record_id"].to_list()
