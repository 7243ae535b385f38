"""Workers replaced one by one while usage comes in: work goes on meanwhile, and nobody is charged twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.workers import TIMES, Workers, chance_of, handing_in

NAMES = ("one", "two", "three")
REPLACEMENTS = TIMES or len(NAMES)
KILLED = REPLACEMENTS // 3  # of them; the others are asked to end


@pytest.mark.timeout(900)
def test_a_rolling_upgrade(workers: Callable[..., Workers], truth: Truth) -> None:
    """Each is stopped and started again under its name, some without being asked; the others carry on meanwhile."""
    running, chance = workers(*NAMES), chance_of("upgrade")
    day = running.day
    truth.begun(day)
    killed = set(chance.sample(range(REPLACEMENTS), KILLED))
    with handing_in(day, truth.rest, 2 * REPLACEMENTS) as load:
        for number in range(REPLACEMENTS):
            name = NAMES[number % len(NAMES)]
            load.step()
            if number in killed:
                running.kill(name)
            else:
                assert running.stop(name) == 0, running.said(name)
            load.goes_on("the others carry on")
            running.start(name)
    truth.finished(day)
    assert running.ended() == []
