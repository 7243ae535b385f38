"""Reconciling a bucket's history, without Spark: it agrees with what was charged, and names what was tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tests.cluster.spark.day import PARTITIONS, Day
from tests.cluster.spark.test_carry import Given, carried, enrolled, messages, work
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.spark import judged_bucket
from trunkline.engines.loop import PLACE
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.spark.carry import Work, bucket_folder, decode_messages, frames_of
from trunkline.records import charging, usage
from trunkline.settings import Folders

__all__ = ["work"]  # the fixture


def found(work: Work, rows: dict[int, dict[str, pl.DataFrame]]) -> list[dict[str, Any]]:
    """What judging every bucket finds."""
    catalogue: Any = work.tables[charging.TARIFFS.name]
    none = usage.REJECTED.record.empty()
    rejected = pl.concat([each.get(usage.REJECTED.name, none).select(PLACE) for each in rows.values()])
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
    cells = [
        c for b in decode_messages(Given(work), None)(iter([messages(raw, day.lines)])) for c in b.to_pylist()
    ]
    names = {work.plan.topic(stream): stream.name for stream in work.plan.results}
    cells += [
        {
            "bucket": m["partition"],
            "stream": names[str(m["topic"])],
            "partition": 0,
            "offset": at,
            "piece": 0,
            "rows": m["value"],
        }
        for at, m in enumerate(written)
        if m["topic"] in names
    ]
    rows = {
        bucket: {
            name: pl.concat(frames, how="diagonal_relaxed")
            for name, frames in frames_of([c for c in cells if c["bucket"] == bucket]).items()
        }
        for bucket in range(PARTITIONS)
    }
    right = found(work, rows)
    assert sum(each["records"] for each in right) == sum(each.rated for each in day.embedded.accounting())
    assert [(each["differences"], each["account_differences"]) for each in right] == [(0, 0)] * PARTITIONS
    stored = rows[0][charging.CHARGED.name]
    dearer = stored[:1].with_columns(pl.col("charged_micros") + 7)
    rows[0][charging.CHARGED.name] = pl.concat([dearer, stored[1:]])
    wrong = found(work, rows)
    assert wrong[0]["difference_micros"] == 7
    assert [each["record_id"] for each in wrong[0]["examples"]] == dearer["record_id"].to_list()
