"""What the topics of a cluster hold, bucket by bucket, as Spark's tasks make it of lines; without Spark itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from tests.cluster.spark.test_carry import Given, messages
from trunkline.engines.loop import PLACE
from trunkline.engines.spark.carry import Work, decode_messages, frames_of
from trunkline.records import usage

Rows = dict[int, dict[str, pl.DataFrame]]


def rows_by_bucket(work: Work, lines: Sequence[bytes], written: Sequence[dict[str, Any]]) -> Rows:
    """Raw records, decoded, and everything that was written, by bucket and stream."""
    raw = messages(work.plan.topic(usage.RAW), lines)
    cells = [cell for part in decode_messages(Given(work), None)(iter([raw])) for cell in part.to_pylist()]
    names = {work.plan.topic(stream): stream.name for stream in work.plan.results}
    cells += [
        {
            "bucket": each["partition"],
            "stream": names[each["topic"]],
            "partition": 0,
            "offset": at,
            "piece": 0,
        }
        | {"rows": each["value"]}
        for at, each in enumerate(written)
        if each["topic"] in names
    ]
    return {
        bucket: {
            name: pl.concat(frames, how="diagonal_relaxed")
            for name, frames in frames_of([cell for cell in cells if cell["bucket"] == bucket]).items()
        }
        for bucket in range(work.plan.buckets)
    }


def set_aside(rows: Rows) -> pl.DataFrame:
    """Places of what stands as rejected, in all buckets together."""
    none = usage.REJECTED.record.empty()
    return pl.concat([each.get(usage.REJECTED.name, none).select(PLACE) for each in rows.values()])
