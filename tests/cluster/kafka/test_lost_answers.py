"""An answer of the broker that never arrives, the answer to a commit above all: nothing is missing, nothing double."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.between import ADD_OFFSETS, END, OFFSETS, PRODUCE, Between, Fate, Request
from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.running import Day
from tests.cluster.kafka.workers import TIMES, chance_of, handing_in
from trunkline.engines.kafka.client import Server

COMMITS = TIMES or 6  # whose answer is lost
OTHERS = COMMITS // 2  # requests and other answers of a transaction that are lost beside them
GAP = 4  # transactions between two losses, on average
STEPS = 4 * (COMMITS + OTHERS)


class Losing:
    """Loses answers now and then, most of them those to commits."""

    def __init__(self) -> None:
        self.lost: Counter[tuple[int, Fate]] = Counter()
        self.begun = threading.Event()
        self._chance = chance_of("answers")
        self._lock = threading.Lock()

    def decide(self, request: Request) -> Fate:
        """The fate of a request."""
        with self._lock:
            if not self.begun.is_set() or self._chance.random() > 1 / GAP:
                return Fate.PASS
            if request.commits and self.lost[END, Fate.LOSE_ANSWER] < COMMITS:
                return self._lose(request, Fate.LOSE_ANSWER)
            of_a_transaction = request.api in (PRODUCE, ADD_OFFSETS, OFFSETS) or request.commits
            if of_a_transaction and self.others < OTHERS:
                return self._lose(request, self._chance.choice((Fate.LOSE_ANSWER, Fate.LOSE_REQUEST)))
            return Fate.PASS

    def _lose(self, request: Request, fate: Fate) -> Fate:
        self.lost[request.api, fate] += 1
        return fate

    @property
    def others(self) -> int:
        """How many were lost that are not answers to commits."""
        return self.lost.total() - self.lost[END, Fate.LOSE_ANSWER]

    @property
    def all(self) -> bool:
        """Whether everything was lost that was to be."""
        return self.lost[END, Fate.LOSE_ANSWER] >= COMMITS and self.others >= OTHERS


@pytest.mark.timeout(900)
def test_lost_answers(kafka: Kafka, truth: Truth) -> None:
    """A commit that is done, and of which the worker never hears, is neither done again nor forgotten."""
    losing = Losing()
    between = Between(kafka.bootstrap_servers, losing.decide)
    try:
        day = Day.made(truth.operator, kafka.settings(), "lost-answers")
        far = replace(day, server=Server(between.address))
        day.enrol()
        with far.running("one"):
            truth.begun(day)
            losing.begun.set()
            with handing_in(day, truth.rest, STEPS) as load:
                while not losing.all:
                    load.goes_on("work goes on behind what was lost")
            truth.finished(day)
    finally:
        between.close()
    print({f"{api} {fate.name}": count for (api, fate), count in losing.lost.items()})
    assert losing.lost[END, Fate.LOSE_ANSWER] == COMMITS
