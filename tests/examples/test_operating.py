"""What operators are told to set and to watch exists under that name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import orjson

from tests.examples.pages import ROOT
from tests.live.platform import trunkline
from trunkline.api.metrics import METRICS
from trunkline.engines.spark.figures import FIGURES
from trunkline.settings import PARTS, PREFIX

TEXT = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "operating").glob("*.md")))
NO_SETTINGS = {
    "TRUNKLINE_ENGINE",
    "TRUNKLINE_TOKEN",
    "TRUNKLINE_URL",  # read by the command line for another platform
    "TRUNKLINE_TEST_KILLS",
    "TRUNKLINE_TEST_SEED",  # read by the tests
}


def test_metrics_to_watch_exist() -> None:
    """An alarm on a metric that nobody writes would never ring."""
    named = set(re.findall(r"\btrunkline_[a-z_]+", TEXT))
    assert named
    assert named - {metric.name for metric in (*METRICS, *FIGURES)} == set()


def test_settings_exist() -> None:
    """A setting that is misspelt does nothing, silently."""
    known = {f"{PREFIX}{field.name.upper()}" for part in PARTS for field in dataclasses.fields(part)}
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", TEXT))
    assert named
    assert named - known - NO_SETTINGS == set()


def test_a_backup_that_is_restored_reconciles(tmp_path: Path) -> None:
    """Backup, restore, retention and the same file again, as the pages tell it: no money moves."""
    call = {
        "id": "a1", "type": "voice", "subscriber": "447700900001", "called": "447700900002",
        "start": "2026-11-20T09:00:00Z", "duration_ms": 61000,
    }  # fmt: skip
    usage, data, copy, fresh = (tmp_path / name for name in ("usage.ndjson", "data", "copy", "fresh"))
    usage.write_bytes(orjson.dumps(call) + b"\n")
    told = trunkline(
        "ingest", usage, "--tariffs", ROOT / "examples" / "live_call" / "tariffs", "--data", data
    )
    assert (told["rated"], told["charged_micros"]) == (1, 610_000)
    trunkline("backup", copy, "--data", data)
    trunkline("restore", copy, "--data", fresh)
    trunkline("retain", "--data", fresh)
    assert trunkline("ingest", usage, "--data", fresh)["duplicate"] == 1
    books = trunkline("reconcile", "--data", fresh)
    assert (books["records"], books["accounts"], books["differences"]) == (1, 6, 0)
