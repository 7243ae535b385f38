"""The preview of a re-rating on a cluster: a period of its history charged once more, bucket by bucket, by Spark.

The buckets' tasks do what embedded is done at once, with the same functions, so what a record and an account come to is
the embedded answer. Nothing is written and nothing can be booked of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import polars as pl

from trunkline.bootstrap.catalogues import known_register
from trunkline.bootstrap.rerate_parts import About, added_up, part_of
from trunkline.bootstrap.spark import Running, bucket_facts, opened, set_aside
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.spark import history
from trunkline.engines.spark.blobs import Bucket
from trunkline.records.charging import CORRECTIONS, ENTRIES
from trunkline.settings import Folders, Kafka, Spark

TOLD = (
    "subscriber", "source", "record_id", "start_us", "plan", "charged_micros", "allowance_units", "list_micros",
    "corrects_seq",
)  # fmt: skip


def run(
    folders: Folders,
    kafka: Kafka,
    spark: Spark,
    about: About,
    tariffs: Mapping[str, str] | None,
    *,
    each: bool,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """What a period comes to under the tariff in force or under files of a draft; with `each`, record by record.

    Raises `TariffError` with the draft's mistakes.
    """
    draft = None if tariffs is None else compile_catalogue(tariffs, known_register(folders.data))[0]
    with opened(folders, kafka, spark, looking=True) as running:
        catalogue = draft or running.catalogue
        return preview(running, catalogue, about.checked(catalogue), draft=draft is not None, each=each)


def preview(
    running: Running, catalogue: Catalogue, about: About, *, draft: bool, each: bool
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Let every bucket work out its part, and add them up."""
    now_us = time.time_ns() // 1000
    known = running.spark.sparkContext.broadcast((catalogue, set_aside(running)))

    def judge(rows: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        return previewed_bucket(rows, state, *known.value, about, now_us, each=each)

    parts = history.found(running.spark, running.engine.sent, running.engine.settings, judge)
    return answer_of(parts, catalogue, about, now_us, draft=draft)


def previewed_bucket(
    rows: Mapping[str, pl.DataFrame],
    state: Bucket,
    catalogue: Catalogue,
    rejected: pl.DataFrame,
    about: About,
    now_us: int,
    *,
    each: bool,
) -> dict[str, Any]:
    """One bucket's part. `rejected` holds the places of all that was set aside."""
    ordered, facts = bucket_facts(rows, state, rejected)
    entries = rows.get(ENTRIES.name, ENTRIES.record.empty())
    part = part_of(ordered, facts, entries, catalogue, about, name_of(catalogue, about), now_us)
    told = part.corrections.select(TOLD).with_columns(pl.col("plan", "source").cast(pl.String))
    return {"sums": part.sums, "rows": told.to_dict(as_series=False) if each else None}


def answer_of(
    parts: list[dict[str, Any]], catalogue: Catalogue, about: About, now_us: int, *, draft: bool
) -> tuple[dict[str, Any], pl.DataFrame]:
    """The buckets' parts as a preview is told, and the corrections of which there are rows, in the records' order."""
    schema = {name: CORRECTIONS.record.schema[name] for name in TOLD} | {
        "plan": pl.String,
        "source": pl.String,
    }
    frames = [pl.DataFrame(part["rows"], schema) for part in parts if part["rows"] is not None]
    rows = pl.concat([pl.DataFrame(schema=schema), *frames]).sort("corrects_seq", "subscriber")
    told = {
        "rerate_id": name_of(catalogue, about), "made_us": now_us, **vars(about), "tariff": catalogue.fingerprint,
        "draft": draft, "currency": catalogue.currency, **added_up([part["sums"] for part in parts]),
        "state": "preview",
    }  # fmt: skip
    return told, rows


def name_of(catalogue: Catalogue, about: About) -> str:
    """A preview's name, after what was asked."""
    question = (*vars(about).values(), catalogue.fingerprint)
    return blake2b(json.dumps(question).encode(), digest_size=8).hexdigest()
