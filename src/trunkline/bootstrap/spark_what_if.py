"""What if over months: a cluster's history priced by both tariffs, bucket by bucket, by Spark.

The buckets' tasks do what embedded is done at once, with the same functions, and the parts of the answer add up,
because every account lies whole in one bucket. So the answer is the embedded one. Nothing is written or booked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import polars as pl

from trunkline.bootstrap.spark import Running, bucket_facts, opened, set_aside
from trunkline.bootstrap.what_if import answer_of, both_tariffs, days, keep, studied
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.spark import history
from trunkline.engines.spark.blobs import Bucket
from trunkline.settings import Folders, Kafka, Spark


def run(
    folders: Folders,
    kafka: Kafka,
    spark: Spark,
    draft: Mapping[str, str],
    first: str | None,
    last: str | None,
    actor: str,
) -> dict[str, Any]:
    """Work out what a draft would do to what the topics hold, and keep the answer in the driver's data folder.

    Raises `TariffError` with the draft's mistakes and `Refused`, both before any long work.
    """
    moments = days(first, last)
    tariffs = both_tariffs(folders.data, draft)
    with opened(folders, kafka, spark, looking=True) as running:
        answer = what_if(running, tariffs, *moments)
    return keep(folders.data, answer, first, last, actor)


def what_if(
    running: Running, tariffs: tuple[Catalogue, Catalogue], from_us: int, until_us: int
) -> dict[str, Any]:
    """Price usage that began in a stretch of time by both tariffs; subscribers stand in the answer as dial words."""
    began = time.monotonic()
    known = running.spark.sparkContext.broadcast((tariffs, set_aside(running)))

    def judge(rows: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        return studied_bucket(rows, state, *known.value, from_us, until_us)

    parts = history.found(running.spark, running.engine.sent, running.engine.settings, judge)
    return answer_of(parts, tariffs, from_us, until_us, began)


def studied_bucket(
    rows: Mapping[str, pl.DataFrame],
    state: Bucket,
    tariffs: tuple[Catalogue, Catalogue],
    rejected: pl.DataFrame,
    from_us: int,
    until_us: int,
) -> dict[str, Any]:
    """One bucket's part of the answer. `rejected` holds the places of all that was set aside."""
    ordered, facts = bucket_facts(rows, state, rejected)
    return studied(ordered, facts, tariffs, from_us, until_us)
