"""Trouble of the client's own while partitions are given out ends a life, never a role."""

from __future__ import annotations

from typing import ClassVar

import pytest
from confluent_kafka import TopicPartition

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.running import Day
from trunkline.engines.kafka.worker import ChargerLife, Roles, RouterLife

AT_ONCE_S = 0.00001


class Hasty(RouterLife):
    """Asks the brokers once for an answer that cannot be there in time, as happens while one of them dies."""

    asked: ClassVar[list[str]] = []

    def begin(self, part: TopicPartition) -> None:
        """Ask, then do as everybody does."""
        if not self.asked:
            self.asked.append(part.topic)
            self.consumer.committed([part], AT_ONCE_S)
        super().begin(part)


@pytest.mark.timeout(900)
def test_an_answer_that_is_late(kafka: Kafka, truth: Truth) -> None:
    """The router's next life begins, and everything is carried."""
    roles: Roles = {"router": Hasty, "charger": ChargerLife}
    day = Day.made(truth.operator, kafka.settings(), "late-answers")
    day.enrol()
    with day.running("one", roles=roles) as (worker,):
        truth.begun(day)
        assert worker.lives["router"] > 1, worker.last_trouble
        assert "TIMED_OUT" in worker.last_trouble
