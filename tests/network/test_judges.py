"""A model from outside judges KPIs of a network: named by a setting, told like our own findings, and guarded."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.network.cells import inventory
from trunkline.bootstrap.judges import SETTING, Guarded, models_of, refuse_judges
from trunkline.bootstrap.network import ingest_telemetry, keep_inventory, opened_network
from trunkline.network.detect.bands import FEATURES
from trunkline.ports import Refused
from trunkline.settings import Watched
from trunkline.stores.embedded.network import FOLDER, NetworkReader

HERE = "tests.network.test_judges"
PRB = "PRBUsageDl"
BEGIN, PERIODS = datetime(2026, 11, 2, tzinfo=UTC), 2 * 288


@dataclass
class Answering:
    """A judge that says the same of every row."""

    answer: Callable[[int], Any]
    name: str = "house-model"

    def judge(self, features: np.ndarray[Any, Any]) -> Any:
        """Its answer for so many rows."""
        return self.answer(len(features))


def alarmist() -> Answering:
    """Everything is unusual."""
    return Answering(np.ones)


def nameless() -> Answering:
    """A judge that nobody could name."""
    return Answering(np.zeros, "")


def short() -> Answering:
    """A judge that answers for one row, whatever it is asked."""
    return Answering(lambda _rows: np.zeros(1))


def boundless() -> Answering:
    """A judge that says 7 of 1."""
    return Answering(lambda rows: np.full(rows, 7.0))


def mute() -> object:
    """No judge at all."""
    return object()


def broken() -> Answering:
    """A model that cannot be loaded."""
    raise OSError("no such model")


def test_what_a_model_holds_for_unusual_is_told_with_its_name(tmp_path: Path) -> None:
    """From the setting through telemetry to a finding that says which model, of which KPI, and why."""
    lines = tmp_path / "day.ndjson"
    lines.write_bytes(b"".join(_line(at) for at in range(PERIODS)))
    told = {}
    for name, judges in (("ours", ""), ("both", f"{PRB}={HERE}:alarmist")):
        (tmp_path / name / FOLDER).mkdir(parents=True)
        keep_inventory(tmp_path / name / FOLDER, inventory(1))
        with opened_network(tmp_path / name, Watched(network_judges=judges)) as watch:
            _, wrong = ingest_telemetry(watch, [(lines, "cells_ndjson", None)])
        assert wrong == []
        told[name] = NetworkReader(tmp_path / name / FOLDER).anomalies(1000).drop("number")
    its = told["both"].filter(told["both"]["text"].str.contains("the model house-model holds for unusual"))
    assert set(its["kpi"]) == {PRB}
    assert "C1" in its["name"].to_list()
    ours = told["both"].filter(~told["both"]["text"].str.contains("house-model"))
    assert len(ours) > 0
    assert ours.rows() == told["ours"].rows()


def _line(at: int) -> bytes:
    """One cell's five minutes: quiet, and at the end suddenly full."""
    begin = BEGIN + timedelta(minutes=5 * at)
    load = 30 + at % 3 if at < PERIODS - 6 else 97
    said = {"cell": "C1", "technology": "NR", "begin": begin.isoformat(),
            "end": (begin + timedelta(minutes=5)).isoformat(), "RRU.PrbTotDl": load}  # fmt: skip
    return json.dumps(said).encode() + b"\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HERE}:alarmist", "names no KPI"),
        (f"PRBUsage={HERE}:alarmist", "there is no KPI PRBUsage"),
        (f"={HERE}:alarmist, ={HERE}:short", "comes twice"),
        (f"={HERE}", "names no function"),
        ("=no.such.module:alarmist", "ModuleNotFoundError"),
        (f"={HERE}:nobody", "AttributeError"),
        (f"={HERE}:broken", "OSError: no such model"),
        (f"={HERE}:mute", "is no judge"),
        (f"={HERE}:nameless", "it has no name"),
        (f"={HERE}:short", "as many numbers"),
        (f"={HERE}:boundless", "from 0 to 1"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(text: str, said: str) -> None:
    """Before anything is judged by it, and with what to do."""
    with pytest.raises(Refused, match=said) as refused:
        models_of(text, [PRB, "DLVolume"])
    assert SETTING in str(refused.value)


def test_one_model_for_a_kpi_and_one_for_all_others() -> None:
    """Each under its KPI; none when nothing is named."""
    models = models_of(f"{PRB}={HERE}:alarmist, ={HERE}:alarmist,", [PRB])
    assert set(models.judges) == {PRB, ""}
    assert models_of(" ", [PRB]).judges == {}


def test_a_model_that_fails_later_finds_nothing_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """The detector goes on, and the log does not fill."""

    def sometimes(rows: int) -> Any:
        if rows == 2:
            raise RuntimeError("out of patience")
        return np.ones(rows)

    judge = Guarded(Answering(sometimes))
    with caplog.at_level(logging.WARNING, "trunkline.network"):
        for _ in range(9):
            assert judge.judge(np.zeros((2, len(FEATURES)))).tolist() == [0.0, 0.0]
    assert judge.judge(np.zeros((3, len(FEATURES)))).tolist() == [1.0, 1.0, 1.0]
    assert [record.getMessage() for record in caplog.records] == [
        f"the model house-model failed, {times} times so far: out of patience" for times in (1, 2, 4, 8)
    ]


@pytest.mark.parametrize("engine", ["kafka", "spark"])
def test_a_cluster_takes_no_models_of_ones_own(engine: str) -> None:
    """It is said at the start; an empty setting is none."""
    refuse_judges("", engine)
    with pytest.raises(Refused, match=f"engine {engine} takes no models"):
        refuse_judges(f"={HERE}:alarmist", engine)
