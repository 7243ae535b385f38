"""What an operator changes is in force without a restart; a file with mistakes is told of, and changes nothing."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.network.cells import inventory
from trunkline.bootstrap import network as watched
from trunkline.bootstrap.network import Network, keep_inventory, refresh
from trunkline.bootstrap.replay import EVENTS, MEASURED, sender_to
from trunkline.kernel.identity import name_words
from trunkline.records import network as records
from trunkline.stores.embedded.network import FOLDER

MINUTE_US = 60_000_000
NOON_US = 1_793_620_800_000_000


def measured(network: Network, at: int, cell: str) -> None:
    """One period of one cell."""
    begin, end = (
        datetime.fromtimestamp((NOON_US + part * MINUTE_US) // 1_000_000, UTC).isoformat()
        for part in (at, at + 1)
    )
    row = {"begin": begin, "end": end, "cell": cell, "technology": "NR", "RRU.PrbTotDl": 40}
    sender_to(network)(MEASURED, json.dumps(row).encode() + b"\n")


def failed(network: Network, at: int, cell: str) -> None:
    """One alarm of one cell."""
    row = {
        "event": f"e{at}", "name": cell, "time_us": NOON_US + at * MINUTE_US, "severity": "warning",
        "event_type": "environmentalAlarm", "probable_cause": "temperatureUnacceptable",
        "specific_problem": f"fan {at}",
    }  # fmt: skip
    sender_to(network)(EVENTS, json.dumps(row).encode() + b"\n")


def held_by(network: Network, cell: str) -> list[str]:
    """What holds a cell's standing alarms back, the newest first."""
    (word,) = name_words(pl.Series([cell])).tolist()
    alarms = network.reader.alarms(10, object_=word)
    return [alarm["held_by"] for alarm in sorted(alarms, key=lambda alarm: -alarm["raised_us"])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The network's folder of a platform that watches two cells."""
    kept = tmp_path / FOLDER
    kept.mkdir()
    keep_inventory(kept, inventory(2))
    return kept


def test_a_new_inventory_is_in_force_at_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cell that is new in the lists has its place; lists with mistakes change nothing and are told of once."""
    with watched.opened_network(folder.parent) as network:
        assert (refresh(network), len(network.inventory.cells)) == ([], 2)
        keep_inventory(folder, inventory(3))
        assert refresh(network) == [records.INVENTORY.name]
        assert (refresh(network), len(network.inventory.cells)) == ([], 3)
        for at in range(4):
            measured(network, at, "C3")
        (whole,) = name_words(pl.Series(["network"])).tolist()
        assert set(network.reader.kpis([whole], "PRBUsageDl", 0, 2**62, 10)["value_milli"]) == {40_000}
        (folder / watched.INVENTORY / "links.csv").write_text("link,from,to\nL,S1,nowhere\n")
        with caplog.at_level(logging.WARNING):
            assert (refresh(network), refresh(network)) == ([], [])
        assert [record.getMessage().count("stays as it was") for record in caplog.records] == [1]
        assert len(network.inventory.cells) == 3


def test_new_rules_about_alarms_are_in_force_at_once(folder: Path) -> None:
    """A window in the file holds back what comes after it, and only that; one with a mistake changes nothing."""
    rules = folder / watched.RULES
    with watched.opened_network(folder.parent) as network:
        failed(network, 1, "C1")
        window = {
            "name": "fans",
            "objects": ["C1"],
            "begin": "2026-11-02T00:00:00Z",
            "end": "2026-11-03T00:00:00Z",
        }
        rules.write_text(json.dumps({"windows": [window]}))
        assert refresh(network) == [records.ALARM_RULES.name]
        failed(network, 2, "C1")
        assert held_by(network, "C1") == ["maintenance:fans", ""]
        rules.write_text(json.dumps({"windows": [{**window, "end": "yesterday"}]}))
        assert refresh(network) == []
        failed(network, 3, "C1")
        assert held_by(network, "C1") == ["maintenance:fans", "maintenance:fans", ""]
