"""The preview of a re-rating on a cluster is the embedded one: by bucket, without Spark itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.billing import small
from tests.cluster.spark.buckets import set_aside
from tests.cluster.spark.day import PARTITIONS
from tests.cluster.spark.operator import Operator, operator
from tests.cluster.spark.test_books import NOW_US, Buckets, charge, embedded
from trunkline.bootstrap.catalogues import known_register, tariff_files
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.rerate_parts import About, added_up
from trunkline.bootstrap.rerating import FolderRerates
from trunkline.bootstrap.spark_rerating import previewed_bucket, summary_of
from trunkline.charging.rerating_orders import corrections_of
from trunkline.charging.tariffs import compile_catalogue
from trunkline.engines.spark.blobs import Bucket
from trunkline.kernel.dial import to_key

NOVEMBER_US = int(np.datetime64("2024-11-01", "us").astype(np.int64))
MESSAGES = "  - {usage: sms, zones: any, to: any, rate: message}\n"
TOLD = (
    "subscriber", "source", "record_id", "start_us", "plan", "charged_micros", "allowance_units", "list_micros",
)  # fmt: skip
LINES = 40  # in a message, so that places within messages do not tell records apart


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The operator."""
    return operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def both(people: Operator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Buckets, Path]:
    """Both months, charged by a cluster's buckets and embedded."""
    folder = tmp_path_factory.mktemp("charged")
    lines = [*people.october, *people.november]
    buckets = Buckets(folder, people.tariffs)
    buckets.carry([b"\n".join(lines[at : at + LINES]) for at in range(0, len(lines), LINES)])
    with embedded(folder, people.tariffs) as (platform, _):
        charge(platform, folder / "a.ndjson", lines)
    return buckets, folder


def both_say(
    both: tuple[Buckets, Path], draft: dict[str, str], about: About, tariffs: Path
) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """What a preview says, with its rows, after asserting that both ways say the same."""
    buckets, folder = both
    catalogue, _ = compile_catalogue(draft, known_register(buckets.folders.data))
    rows = buckets.rows()
    rejected = set_aside(rows)
    every = {at: buckets.state(at) for at in range(PARTITIONS)}
    every[9] = Bucket(folder / "0009", buckets.work.plan.states, 1)  # of nobody
    parts = [
        previewed_bucket(rows.get(at, {}), state, catalogue, rejected, about, "name", NOW_US)
        for at, state in every.items()
    ]
    found = summary_of([sums for _, sums in parts], catalogue, about, "name", NOW_US, draft=True)
    each = pl.concat(corrections_of(orders) for orders, _ in parts)
    with embedded(folder, tariffs) as (platform, _):
        rerates = FolderRerates(folder / "embedded", lambda: platform.catalogue, platform.mappings)
        wanted = rerates.preview(about.from_us, about.until_us, about.subscriber, about.plan, draft)
        corrections = rerates.corrections(wanted["rerate_id"])
    for name in added_up([]):
        assert found[name] == wanted[name], name
    listed = sorted(each.select(TOLD).rows())
    assert listed == sorted(corrections.select(TOLD).rows())
    return found, listed


def test_it_is_the_embedded_one(both: tuple[Buckets, Path], people: Operator, tmp_path: Path) -> None:
    """All, some days, one subscriber, and whoever has a plan: sums, plans, whom it concerns most, and every record."""
    draft = tariff_files(people.draft(tmp_path / "draft"))
    for about in (
        About(BEGINNING_US, END_US),
        About(NOVEMBER_US, END_US),
        About(BEGINNING_US, END_US, to_key(small.number(0))),
        About(BEGINNING_US, NOVEMBER_US, None, "plain"),
    ):
        found, listed = both_say(both, draft, about, people.tariffs)
        assert found["difference_micros"] > 0
        assert len(listed) == found["records_differing"] > 0
        assert found["records"] > found["records_differing"]


def test_nothing_differs_under_the_tariff_in_force(both: tuple[Buckets, Path], people: Operator) -> None:
    """What was charged rightly comes to the same, record by record."""
    found, listed = both_say(both, tariff_files(people.tariffs), About(BEGINNING_US, END_US), people.tariffs)
    assert (found["records_differing"], found["difference_micros"], listed) == (0, 0, [])


def test_what_has_no_price_is_left_out_alike(
    both: tuple[Buckets, Path], people: Operator, tmp_path: Path
) -> None:
    """Accounts with a use that the draft cannot price are left out, and no others, whatever lies beside it."""
    folder = people.draft(tmp_path / "draft")
    plain = (folder / "plain.yaml").read_text()
    assert MESSAGES in plain
    (folder / "plain.yaml").write_text(plain.replace(MESSAGES, ""))
    found, _ = both_say(both, tariff_files(folder), About(BEGINNING_US, END_US), people.tariffs)
    assert 0 < found["left_out"]["not_priced"] < small.PEOPLE
    assert found["left_out"]["raw_gone"] == 0
    assert found["not_priced"]
