"""A day is played again: into a data folder and into a running platform, as fast as it is taken or at a pace."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

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


def replayed(*words: str, token: str = "") -> dict[str, float]:
    """What `trunkline network replay` answers to a script."""
    answer = CliRunner().invoke(app, ["network", "replay", *words, "--json"], env={TOKEN: token})
    assert answer.exit_code == 0, (answer.output, answer.exception)
    said: dict[str, float] = json.loads(answer.output)
    return said


def test_a_day_comes_whole_into_a_folder_and_into_a_running_platform(day: Path, tmp_path: Path) -> None:
    """Both ways everything arrives, once, and the same KPIs come of it."""
    told = list(pieces(day))
    lines = sum(part.count(b"\n") for each in told for part in (each.measured, each.events, each.tickets))
    found = []
    for way in ("folder", "platform"):
        with watch(tmp_path / way, day / "inventory") as watching:
            if way == "platform":
                with served(20, network=watching.watching) as server:
                    token = server.tokens[Role.ADMIN]
                    assert replayed(str(day), "--url", server.url, token=token)["pieces"] == len(told)
                watching.settle()
        if way == "folder":
            assert replayed(str(day), "--data", str(tmp_path / way))["pieces"] == len(told)
        with watch(tmp_path / way, day / "inventory") as watching:
            (source,) = watching.watching.reader.accounting()
            assert source.source == "replay"
            kpis = watching.watching.reader.kpis(None, None, 0, 2**62, 100_000)
            found.append((source.received, kpis.select("object", "kpi", "slice", "end_us", "value_milli")))
    (received, one), (again, other) = found
    assert received == again >= lines
    assert len(one)
    assert one.sort(one.columns).equals(other.sort(other.columns))


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
