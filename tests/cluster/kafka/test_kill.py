"""`kill -9` of workers at random moments of a day: what was charged is what one undisturbed process charges."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.workers import TIMES, Workers, chance_of, handing_in

KILLS = TIMES or 6
LONGEST_LIFE_S = 4.0
NAMES = ("one", "two")


@pytest.mark.timeout(900)
def test_kills_of_workers(workers: Callable[..., Workers], truth: Truth) -> None:
    """Whenever workers die, nothing is missing, nothing is double and no alert is told twice."""
    chance, running, pause = chance_of("kills"), workers(*NAMES), threading.Event()
    truth.begun(running.day)
    with handing_in(running.day, truth.rest, KILLS) as load:
        for _ in range(KILLS):
            load.step()
            pause.wait(chance.uniform(0.1, LONGEST_LIFE_S))
            name = chance.choice(NAMES)
            running.kill(name)
            running.start(name)
    truth.finished(running.day)
