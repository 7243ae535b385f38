"""`kill -9` of workers at random moments of a day: what was charged is what one undisturbed process charges."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, day_in_two
from tests.cluster.parity.comparing import Embedded, same, same_account
from trunkline.records import charging, usage

KILLS = int(os.environ.get("TRUNKLINE_TEST_CLUSTER_KILLS", "20"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 4.0
NAMES = ("one", "two")
PIECES = 60


class Workers:
    """Worker processes by name, and one that waits to take the next name; all end with the test."""

    def __init__(self, day: Day, settings: dict[str, object]) -> None:
        self.day, self.settings = day, settings
        self.living: dict[str, subprocess.Popen[str]] = {}
        self._spare = self._new()

    @staticmethod
    def _new() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.kafka.working"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    def start(self, name: str) -> None:
        """A worker of that name; there is none."""
        process, self._spare = self._spare, self._new()
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        told = {
            "settings": self.settings, "prefix": self.day.plan.prefix, "buckets": self.day.plan.buckets,
            "operator": str(self.day.operator), "name": name,
        }  # fmt: skip
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        self.living[name] = process

    def kill(self, name: str) -> None:
        """`kill -9`."""
        process = self.living.pop(name)
        process.kill()
        process.wait(30)

    def close(self) -> None:
        """Kill what still lives."""
        for name in list(self.living):
            self.kill(name)
        self._spare.kill()
        self._spare.wait(30)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small operator's day; its first hour stands alone."""
    return day_in_two(tmp_path_factory.mktemp("kills") / "operator")


@pytest.fixture(scope="module")
def embedded(operator: Path, tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """That day, undisturbed, in one process."""
    return Embedded(
        operator, tmp_path_factory.mktemp("embedded"), [operator / "first.ndjson", operator / "rest.ndjson"]
    )


@pytest.fixture
def workers(operator: Path, kafka: Kafka) -> Iterator[Workers]:
    """Two workers on a day of their own."""
    day = Day.made(operator, kafka.settings(), f"kills-{SEED}")
    day.enrol()
    started = Workers(day, dict(kafka.settings()))
    for name in NAMES:
        started.start(name)
    yield started
    started.close()


@pytest.mark.timeout(900)
def test_kills_of_workers(workers: Workers, embedded: Embedded, operator: Path) -> None:
    """Whenever workers die, nothing is missing, nothing is double and no alert is told twice."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance, day = random.Random(SEED), workers.day
    first, rest = ((operator / name).read_bytes() for name in ("first.ndjson", "rest.ndjson"))
    day.enrolled()
    day.hand_in(first, 50)
    day.drained(first.count(b"\n"))
    lines = rest.splitlines(keepends=True)
    pieces = [
        b"".join(lines[at * len(lines) // PIECES : (at + 1) * len(lines) // PIECES]) for at in range(PIECES)
    ]
    over = threading.Event()

    def hand_in() -> None:
        for piece in pieces:
            day.hand_in(piece, 20)
            over.wait(KILLS * LONGEST_LIFE_S / 2 / PIECES)

    sending = threading.Thread(target=hand_in)
    sending.start()
    pause = threading.Event()
    for _ in range(KILLS):
        pause.wait(chance.uniform(0.1, LONGEST_LIFE_S))
        name = chance.choice(NAMES)
        workers.kill(name)
        workers.start(name)
    over.set()
    sending.join(120)
    assert not sending.is_alive()
    day.drained(first.count(b"\n") + len(lines), 180)
    check(day, embedded)


def check(day: Day, embedded: Embedded) -> None:
    """What the cluster holds is what one undisturbed process holds."""
    theirs = embedded.rows()
    for stream in (charging.CHARGED, charging.ENTRIES, charging.ALERTS, usage.REJECTED, usage.HELD):
        same(stream.name, day.rows(stream, len(theirs[stream.name])), theirs[stream.name])
    accounts = embedded.reader.accounts()
    ours = day.account(day.built(), accounts.keys)
    assert all(same_account(ours[int(key)], accounts.rows_of(int(key))) for key in accounts.keys)
    charged = sum(sums[5] for sums in day.accounts().values())
    assert charged == sum(each.charged_micros for each in embedded.accounting().values())
