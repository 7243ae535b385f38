"""Brokers that die while workers charge: one of three is enough to lose, at any moment, and for good."""

from __future__ import annotations

import threading

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.running import Day
from tests.cluster.kafka.workers import TIMES, chance_of, handing_in
from tests.waiting import until

KILLS = TIMES or 2
COPIES = 3
LONGEST_PEACE_S = 4.0
WAIT_S = 300.0


def in_step(day: Day) -> bool:
    """Whether every partition of the day has all its copies in step again."""
    found = day.admin.list_topics(timeout=30).topics
    return all(
        len(part.isrs) == COPIES
        for name, topic in found.items()
        if name.startswith((f"{day.plan.prefix}.", "__"))
        for part in topic.partitions.values()
    )


@pytest.mark.timeout(1800)
def test_brokers_die(three_racks: Kafka, truth: Truth) -> None:
    """`kill -9` of brokers, one at a time, the last one for good: work goes on, and nothing is missing or double."""
    chance, pause = chance_of("racks"), threading.Event()
    day = Day.made(truth.operator, three_racks.settings(), "racks", copies=COPIES)
    day.enrol()
    try:
        with day.running("one", "two"):
            truth.begun(day)
            with handing_in(day, truth.rest, 2 * (KILLS + 1)) as load:
                for left in range(KILLS, -1, -1):
                    load.step()
                    pause.wait(chance.uniform(0.1, LONGEST_PEACE_S))
                    name = chance.choice(three_racks.names)
                    three_racks.kill(name)
                    load.goes_on(f"work goes on without {name}")
                    if left:
                        three_racks.up()
                        until(lambda: in_step(day), "all copies in step", WAIT_S, 0.5)
            truth.finished(day)
    finally:
        three_racks.up()
