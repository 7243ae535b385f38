"""A day is played again: into a data folder and into a running platform, as fast as it is taken or at a pace."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.network.watching import simulated, watch
from tests.page.serve import served
from trunkline.api.access import Role
from trunkline.bootstrap.replay import pieces, play
from trunkline.cli.app import app
from trunkline.cli.hand import TOKEN
from trunkline.simulator import Settings

SMALL = Settings(seed=7, subscribers=100, cells=10, hours=1)
PERIOD_S = 300


class Patience(threading.Event):
    """Waits for nothing, and remembers for how long it should have."""

    def __init__(self) -> None:
        """Nothing was waited for."""
        super().__init__()
        self.waited_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Not stopped."""
        self.waited_s.append(timeout or 0.0)
        return False


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of a small network."""
    return simulated(tmp_path_factory.mktemp("day"), SMALL, PERIOD_S)


def said(*words: str, token: str = "") -> dict[str, float]:
    """What a command of `trunkline network` answers to a script."""
    answer = CliRunner().invoke(app, ["network", *words, "--json"], env={TOKEN: token})
    assert answer.exit_code == 0, (answer.output, answer.exception)
    told: dict[str, float] = json.loads(answer.output)
    return told


def kept(data: Path, day: Path) -> tuple[int, pl.DataFrame]:
    """How much a data folder has received, and its KPIs."""
    with watch(data, day / "inventory") as watching:
        (source,) = watching.watching.reader.accounting()
        kpis = watching.watching.reader.kpis(None, None, 0, 2**62, 100_000)
    assert source.source == "replay"
    columns = ["object", "kpi", "slice", "end_us", "value_milli"]
    return source.received, kpis.select(columns).sort(columns)


def test_a_day_comes_whole_into_a_folder_and_into_a_running_platform(day: Path, tmp_path: Path) -> None:
    """Both ways everything arrives, once, and the same KPIs come of it."""
    folder, platform, told = tmp_path / "folder", tmp_path / "platform", list(pieces(day))
    said("inventory", "load", str(day / "inventory"), "--data", str(folder))
    assert said("replay", str(day), "--data", str(folder))["pieces"] == len(told)
    with watch(platform, day / "inventory") as watching:
        with served(20, network=watching.watching) as server:
            token = server.tokens[Role.ADMIN]
            assert said("replay", str(day), "--url", server.url, token=token)["pieces"] == len(told)
        watching.settle()
    lines = sum(part.count(b"\n") for each in told for part in (each.measured, each.events, each.tickets))
    (received, one), (again, other) = kept(folder, day), kept(platform, day)
    assert received == again >= lines
    assert len(one)
    assert one.equals(other)


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_a_pace_is_kept(day: Path, speed: float) -> None:
    """Each piece waits until its time has come at that speed, less what has passed since the beginning."""
    patience, began = Patience(), time.monotonic()
    count = play(day, lambda _mapping, _lines: None, speed, patience)
    passed_s = time.monotonic() - began
    assert count == len(patience.waited_s) == 3600 // PERIOD_S
    for number, waited_s in enumerate(patience.waited_s):
        due_s = number * PERIOD_S / speed
        assert max(0.0, due_s - passed_s) <= waited_s <= due_s
