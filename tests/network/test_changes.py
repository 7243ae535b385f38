"""What an operator changes is in force without a restart; a file with mistakes is told of, and changes nothing."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pytest

from tests.network.cells import inventory
from trunkline.bootstrap import network as watched
from trunkline.bootstrap.network import Network, keep_inventory, refresh
from trunkline.bootstrap.replay import EVENTS, MEASURED, sender_to
from trunkline.kernel.identity import name_words
from trunkline.network.causes.graph import CausalGraph
from trunkline.records import network as records
from trunkline.records import network_sums
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


def network_kpi(network: Network) -> list[int]:
    """What was told of the whole network's load, in thousandths, the newest first."""
    (whole,) = name_words(pl.Series(["network"])).tolist()
    return network.reader.kpis([whole], "PRBUsageDl", 0, 2**62, 10)["value_milli"].to_list()


def test_new_formulas_are_in_force_at_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A KPI is reckoned by the new file from the next window on; one whose own example is wrong changes nothing."""
    shipped = (files("trunkline.network.formulas") / "network.yaml").read_text()
    mean, example = "    mean: RRU.PrbTotDl\n", "{given: {RRU.PrbTotDl: 61.5}, value: 61.5}"
    assert (shipped.count(mean), shipped.count(example)) == (1, 1)
    halved = shipped.replace(mean, mean + "    times: 1/2\n")
    with watched.opened_network(folder.parent) as network:
        for at in range(4):
            measured(network, at, "C1")
        assert set(network_kpi(network)) == {40_000}
        (folder / watched.FORMULAS).write_text(halved)
        with caplog.at_level(logging.WARNING):
            assert (refresh(network), refresh(network)) == ([], [])
        assert [record.getMessage().count("stays as it was") for record in caplog.records] == [1]
        (folder / watched.FORMULAS).write_text(
            halved.replace(example, example.replace("e: 61.5", "e: 30.75"))
        )
        assert refresh(network) == [records.FORMULAS.name]
        for at in range(4, 8):
            measured(network, at, "C1")
        assert network_kpi(network)[0] == 20_000


def test_new_agreements_are_in_force_at_once(folder: Path) -> None:
    """A promise counts from the next window on; one with a mistake changes nothing."""
    promise = "campus: {enterprise: Example Ltd, area: network, kpi: PRBUsageDl, mark: 99, share: 90}\n"
    with watched.opened_network(folder.parent) as network:
        for at in range(4):
            measured(network, at, "C1")
        assert len(network.reader.budgets()) == 0
        (folder / watched.AGREEMENTS).write_text(promise.replace("PRBUsageDl", "PRBUsage"))
        assert refresh(network) == []
        (folder / watched.AGREEMENTS).write_text(promise)
        assert refresh(network) == [network_sums.AGREEMENTS.name]
        for at in range(4, 12):
            measured(network, at, "C1")
        assert set(network.reader.budgets()["name"]) == {"campus"}


def causes_of(network: Network) -> CausalGraph:
    """The graph in force."""
    return cast("CausalGraph", network.engine.tables[records.CAUSES.name])


def test_what_brings_about_what_is_in_force_at_once(folder: Path) -> None:
    """A learnt graph is taken up; a file that is none changes nothing."""
    graph = CausalGraph(
        np.array([1], np.uint64), np.array([2], np.uint64), np.array([700]), np.array([9_000]),
        {1: "equipmentAlarm|equipmentMalfunction|fan", 2: "environmentalAlarm|temperatureUnacceptable|hot"},
    )  # fmt: skip
    causes = folder / watched.CAUSES
    with watched.opened_network(folder.parent) as network:
        causes.write_text("no,graph\n1,2\n")
        assert refresh(network) == []
        assert len(causes_of(network)) == 0
        graph.to_frame().write_csv(causes)
        assert refresh(network) == [records.CAUSES.name]
        assert causes_of(network).to_frame().equals(graph.to_frame())
