"""Learning what brings about what from a platform's own alarms, and measuring its incidents, by command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from trunkline.bootstrap import network as watched
from trunkline.bootstrap.network import load_causes
from trunkline.cli import app
from trunkline.kernel.identity import name_words
from trunkline.network.alarms.life import alarm_ids
from trunkline.ports import Commit
from trunkline.records.network import ALARMS, INCIDENTS
from trunkline.stores.embedded.network import FOLDER

S = 1_000_000
HEAT, FAN, DOOR = "environmentalAlarm|heat|", "equipmentAlarm|fan|", "environmentalAlarm|door|"


def history() -> pl.DataFrame:
    """Two weeks in which heat often stops the fan, and doors open whenever they like."""
    chance = np.random.default_rng(3)
    heat = np.sort(chance.integers(0, 14 * 86_400, 300))
    fan = heat[chance.random(300) < 0.5] + 20
    door = chance.integers(0, 14 * 86_400, 300)
    parts = [
        ("heat", "environmentalAlarm", heat),
        ("fan", "equipmentAlarm", fan),
        ("door", "environmentalAlarm", door),
    ]
    frame = pl.concat(
        pl.DataFrame(
            {
                "time_us": times * S,
                "probable_cause": cause,
                "event_type": kind,
                "name": [f"S{i % 5}" for i in range(len(times))],
            }
            if cause == "door"
            else {
                "time_us": times * S,
                "probable_cause": cause,
                "event_type": kind,
                "name": ["S1"] * len(times),
            }
        )
        for cause, kind, times in parts
    ).with_row_index("alarm_key")
    frame = frame.with_columns(
        object=pl.Series(name_words(frame["name"]), dtype=pl.UInt64),
        action=pl.lit("raise"), severity=pl.lit(2), specific_problem=pl.lit(""), security=pl.lit(0), actor=pl.lit(""),
        root=pl.lit(0), held_by=pl.lit(""), component=pl.lit(0),
        alarm_id=pl.Series(alarm_ids(frame["alarm_key"].to_numpy(), frame["time_us"].to_numpy())),
    )  # fmt: skip
    return ALARMS.record.conform(frame)


def incident(action: str, time_us: int) -> dict[str, object]:
    """One change of one incident."""
    return {
        "incident_id": "00000000000000aa", "time_us": time_us, "action": action, "root_object": 1, "root_name": "S1",
        "cause": "heat", "why": "It said so.", "objects": [1], "alarms": 1, "subscribers": 0, "micros_per_minute": 0,
        "severity": 2, "opened_us": 100 * S, "began_us": 40 * S, "at_risk": "", "actor": "", "component": 0,
    }  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two weeks of alarms and an incident in it."""
    with watched.opened_network(tmp_path) as watch:
        incidents = INCIDENTS.record.conform(
            pl.DataFrame([incident("open", 100 * S), incident("close", 400 * S)])
        )
        frames = {ALARMS.name: history(), INCIDENTS.name: incidents}
        watch.store.commit(Commit(watch.store.number + 1, 500 * S, watch.store.next_seq, frames))
    return tmp_path


def answer(*words: str) -> object:
    """What a command answers."""
    result = CliRunner().invoke(app, ["network", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_graph_is_learnt_and_put_in_force(data: Path) -> None:
    """What the alarms show is found, can be shown again, and is what a platform would look things up in."""
    learnt = answer("causes", "learn", "--data", str(data))
    assert [(row["cause_name"], row["effect_name"]) for row in learnt] == [(HEAT, FAN)]  # type: ignore[attr-defined]
    assert answer("causes", "show", "--data", str(data)) == learnt
    assert len(load_causes(data / FOLDER)) == 1


def test_what_is_known_beforehand_is_kept(data: Path, tmp_path: Path) -> None:
    """An edge of the operator's own stands in the graph whatever the alarms show; one struck out does not."""
    prior = tmp_path / "prior.csv"
    prior.write_text(f"cause_name,effect_name,holds\n{DOOR},{HEAT},true\n{HEAT},{FAN},false\n")
    learnt = answer("causes", "learn", "--data", str(data), "--prior", str(prior))
    assert [(row["cause_name"], row["effect_name"]) for row in learnt] == [(DOOR, HEAT)]  # type: ignore[attr-defined]


def test_incidents_are_measured(data: Path) -> None:
    """Times to notice and to repair come from the incidents' own changes."""
    told = answer("measures", "--data", str(data))
    assert isinstance(told, dict)
    assert (told["mttd_ms"], told["mttr_ms"], told["mtto_ms"]) == (60_000, 300_000, None)
    assert CliRunner().invoke(app, ["network", "measures", "--data", str(data)]).exit_code == 0
