"""Simulated days of which many records are cancelled or corrected, agreed by the second opinion to the micro-unit."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from tests.opinion.audit import audit
from tests.opinion.test_long_calls import in_parts
from tests.opinion.test_simulated_days import (
    EVER_US,
    Outcome,
    _assert_alerts,
    _assert_balances,
    _assert_entries,
    _assert_rejects,
)
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.charging.corrections import corrected
from trunkline.records.charging import CHARGED, CORRECTIONS
from trunkline.settings import Folders
from trunkline.simulator.settings import Settings
from trunkline.simulator.simulate import simulate
from trunkline.stores.embedded.reader import EmbeddedReader

EVERY = 7


def taking_back(lines: list[bytes]) -> list[bytes]:
    """Of every seventh record one that cancels it or corrects it; of some of them a second one, and of both a third."""
    made: list[bytes] = []
    for at, line in enumerate(lines[::EVERY]):
        said: dict[str, Any] = json.loads(line)
        name, cancels = str(said["id"]), at % 3 == 0
        said |= {"id": f"w-{name}", "of": name, "action": "cancel" if cancels else "correct"}
        if not cancels and "duration_ms" in said:
            said["duration_ms"] = said["duration_ms"] // 2 + 1
        made.append(json.dumps(said).encode())
        if at % 11 == 0:
            made.append(json.dumps({**said, "id": f"v-{name}"}).encode())
        if at % 13 == 0:
            made.append(
                json.dumps({**said, "id": f"u-{name}", "of": f"w-{name}", "action": "cancel"}).encode()
            )
    return made


@pytest.mark.parametrize(("seed", "parted"), [(3, False), (4, False), (5, True)])
def test_taken_back(tmp_path: Path, seed: int, parted: bool) -> None:
    """Every record, entry, alert and balance is the same in both books, and reconciliation finds nothing.

    Where calls are told in parts, some of these are cancelled or corrected, most of them of calls that are over.
    """
    people = int(os.environ.get("TRUNKLINE_TEST_WITHDRAWAL_SUBSCRIBERS", "30"))
    simulate(Settings(seed=seed, subscribers=people, cells=20, hours=24), tmp_path / "sim")
    files = sorted((tmp_path / "sim" / "cdrs").iterdir())
    lines = [line for path in files for line in path.read_bytes().splitlines() if line.strip()]
    if parted:
        lines = in_parts(lines, Random(seed))
        files = [tmp_path / "usage.ndjson"]
        files[0].write_bytes(b"".join(line + b"\n" for line in lines))
    later = tmp_path / "later.ndjson"
    later.write_bytes(b"".join(line + b"\n" for line in taking_back(lines)))
    data, tariffs = tmp_path / "data", tmp_path / "sim" / "tariffs"
    with opened(Folders(data=data, tariffs=str(tariffs))) as platform:
        done = ingest(platform, [*files, later], None, None)
    now_us = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    found = audit(tariffs, tmp_path / "sim" / "subscribers.csv", [*files, later], now_us)
    outcome = Outcome(EmbeddedReader(data), done.totals, found)
    assert done.withdrawn.cancelled > 20
    assert done.withdrawn.corrected > 20
    assert done.withdrawn.rejected > 5
    assert (done.totals.received, done.totals.held) == (
        found.intake.received,
        len(found.intake.held) + len(found.intake.withdrawing),
    )
    _assert_rejects(outcome)
    _assert_entries(outcome)
    _assert_alerts(outcome)
    _assert_balances(outcome)
    charged, corrections = (
        pl.concat([stream.record.empty(), *outcome.reader.scan(stream, -EVER_US, EVER_US)])
        for stream in (CHARGED, CORRECTIONS)
    )
    names = ("source", "record_id", "units", "list_micros", "charged_micros", "allowance_units")
    got = {(row[0], row[1]): row[2:] for row in corrected(charged, corrections).select(names).iter_rows()}
    assert got == {
        (v.source, v.record_id): (v.units, v.list_micros, v.charged_micros, v.allowance_units)
        for v in found.books.verdicts
        if v.status == "rated"
    }
    books = reconcile(outcome.reader, load_catalogue(data, None), load_mappings())
    assert (books["differences"], books["account_differences"]) == (0, 0), books
