"""`kill -9` at random moments of a watched network: resumed, it ends where an undisturbed day does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.simulation.network_days import live, prepared, remembered, said, tables
from trunkline.stores.embedded.disk import Disk

KILLS = int(os.environ.get("TRUNKLINE_TEST_NETWORK_KILLS", "4"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 4.0


class Lives:
    """The process that forks lives."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pause = threading.Event()

    def line(self) -> str:
        """The next answer."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline().strip()
        assert answer, "the process of the lives ended"
        assert not answer.startswith("failed"), answer
        return answer

    def live(self, folder: Path, until_s: float | None) -> bool:
        """One life, killed some time after it was ready, or left alone; whether it came to its end."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        child = int(self.line().split()[1])
        answer = self.line()
        if until_s is not None:
            self.pause.wait(until_s)
            with suppress(ProcessLookupError):  # it came to its end in this very moment
                os.kill(child, signal.SIGKILL)
        done = False
        while answer != "over":
            answer = self.line()
            done = done or answer == "done"
        return done


@contextmanager
def lives() -> Iterator[Lives]:
    """Started once; ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.network_process"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        yield Lives(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.timeout(1800)
def test_whenever_it_is_killed(tmp_path: Path) -> None:
    """Alarms, incidents, KPIs, tiles, accounting and what the steps remember are as if nothing had happened."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    live(tmp_path / "whole" / "data", tables(), Disk(), prepared(tmp_path / "whole"))
    expected, memory = said(tmp_path / "whole" / "data"), remembered(tmp_path / "whole" / "data")
    chance, kills, number = random.Random(SEED), 0, 0
    with lives() as process:
        while kills < KILLS:
            number += 1
            folder, done = tmp_path / str(number), False
            while not done:
                killed = kills < KILLS
                done = process.live(folder, chance.uniform(0.0, LONGEST_LIFE_S) if killed else None)
                kills += killed and not done
            found = said(folder / "data")
            assert [name for name in expected if found[name] != expected[name]] == [], f"seed {SEED}"
            assert remembered(folder / "data") == memory, f"seed {SEED}"
    print(f"{kills} kills in {number} days")
