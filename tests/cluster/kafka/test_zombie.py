"""A worker that stood still while its partitions moved, and wakes: what it has in hand counts once, or not at all."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.between import END, OFFSETS, Between, Fate, Request
from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.workers import TIMES, Workers, chance_of, handing_in
from tests.waiting import until

ROUNDS = -(-TIMES // 3) or 1
WAIT_S = 240.0
END_OF_A_LIFE = "a life of the charger is over"

# Where it freezes, how long brokers wait for its transaction, and what becomes of that one.
CASES = (
    pytest.param(OFFSETS, 90.0, id="before-its-offsets"),  # refused: the group is a generation further
    pytest.param(END, 10.0, id="before-its-commit"),  # refused: the broker has given the transaction up
    pytest.param(END, 90.0, id="before-its-commit-in-time"),  # done, and the new owner has waited for it
)


class Trap:
    """Freezes a worker at the moment when it sends a certain request of the charger's, which is held back."""

    def __init__(self, api: int, chance: random.Random) -> None:
        self._api, self._chance = api, chance
        self._left = -1
        self.freeze: Callable[[], None] = lambda: None
        self.caught, self.woken = threading.Event(), threading.Event()

    def arm(self) -> None:
        """Catch the next one, or one of the next."""
        self.caught.clear()
        self.woken.clear()
        self._left = self._chance.randrange(1, 4)

    def decide(self, request: Request) -> Fate:
        """Let everything pass, but some late."""
        if (
            request.api == self._api
            and b".charger." in request.frame
            and (request.api == OFFSETS or request.commits)
        ):
            self._left -= 1
            if self._left == 0:
                self.freeze()
                self.caught.set()
                self.woken.wait(WAIT_S)
        return Fate.PASS


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("api", "transaction_s"), CASES)
def test_a_zombie(
    workers: Callable[..., Workers], kafka: Kafka, truth: Truth, api: int, transaction_s: float
) -> None:
    """Nothing that it still writes is committed beside what the new owner does; it knows, and joins again."""
    trap = Trap(api, chance_of("zombie"))
    between = Between(kafka.bootstrap_servers, trap.decide)
    try:
        running = workers()
        day = running.day
        running.start(
            "zombie",
            settings={"bootstrap.servers": between.address},
            transaction_s=transaction_s,
            named=False,
        )
        trap.freeze = lambda: running.freeze("zombie")
        truth.begun(day)
        running.start("heir", named=False)

        def over(lives: int) -> bool:
            return running.said("zombie").count(END_OF_A_LIFE) >= lives

        half = day.plan.buckets // 2
        both, alone = {"zombie": half, "heir": half}, {"heir": day.plan.buckets}
        until(lambda: day.owners() == both, "both have buckets", WAIT_S, 0.5)
        with handing_in(day, truth.rest, ROUNDS) as load:
            for number in range(ROUNDS):
                trap.arm()
                load.step()
                until(trap.caught.is_set, "it has something in hand", WAIT_S, 0.1)
                until(lambda: day.owners() == alone, "its partitions have moved", WAIT_S, 0.5)
                running.wake("zombie")
                trap.woken.set()
                until(partial(over, number + 1), "it knows that this life is over", WAIT_S, 0.2)
                until(lambda: day.owners() == both, "it has joined again", WAIT_S, 0.5)
        truth.finished(day)
        assert running.ended() == []
        print(running.said("zombie"))
    finally:
        trap.woken.set()
        between.close()
