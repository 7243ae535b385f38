"""Partitions that are added while workers run: edges take them, buckets are for ever."""

from __future__ import annotations

import pytest
from confluent_kafka.cimpl import NewPartitions

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.running import EDGE_PARTITIONS, Day
from tests.waiting import until
from trunkline.bootstrap.kafka import plan_of, work_of
from trunkline.engines.kafka.client import Unfit
from trunkline.engines.kafka.topics import make, topics
from trunkline.records import usage
from trunkline.settings import Folders


def add(day: Day, topic: str, partitions: int) -> None:
    """What an operator does who wants more partitions."""
    day.admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(60)


@pytest.mark.timeout(900)
def test_an_edge_grows(kafka: Kafka, truth: Truth) -> None:
    """What is handed in by a partition that an edge was given while workers run is charged as everything else."""
    day = Day.made(truth.operator, kafka.settings(), "wider-edge")
    day.enrol()
    with day.running("one", "two"):
        truth.begun(day)
        add(day, day.plan.topic(usage.RAW), EDGE_PARTITIONS + 2)
        day.hand_in(truth.rest, 20, partition=EDGE_PARTITIONS + 1)
        truth.finished(day)


@pytest.mark.timeout(900)
def test_the_work_topic_grows(kafka: Kafka, truth: Truth) -> None:
    """A partition more than there are buckets is passed over and told; the day is charged as if it were not there."""
    day = Day.made(truth.operator, kafka.settings(), "more-work")
    day.enrol()
    with day.running("one") as (worker,):
        truth.begun(day)
        add(day, day.plan.work, day.plan.buckets + 1)
        until(
            lambda: worker.status()["charger"].get("passed_over") == [day.plan.buckets],
            "the worker knows of it", 120, 0.2,
        )  # fmt: skip
        day.hand_in(truth.rest, 20)
        truth.finished(day)
    wanted = topics(day.plan, EDGE_PARTITIONS, 1)
    assert make(day.server, wanted, 1) == [], "the next worker starts, too"


def test_another_number_of_buckets(kafka: Kafka, truth: Truth) -> None:
    """Whoever says another number of buckets than the cluster was begun with is refused, and told what to do."""
    day = Day.made(truth.operator, kafka.settings(), "other-buckets")
    day.work("first")
    more, fewer = (plan_of(day.plan.prefix, day.plan.buckets + by) for by in (1, -1))
    with pytest.raises(Unfit, match=r"has 4 partitions and should have 5.*Growing"):
        make(day.server, topics(more, EDGE_PARTITIONS, 1), 1)
    for topic in topics(more, EDGE_PARTITIONS, 1):
        if topic.fixed and topic.partitions == more.buckets:
            add(day, topic.name, more.buckets)
    for plan in (more, fewer):
        make(day.server, topics(plan, EDGE_PARTITIONS, 1), 1)
        with pytest.raises(Unfit, match=rf"begun with 4 buckets, not {plan.buckets}.*Growing"):
            work_of(day.server, plan, Folders(tariffs=str(truth.operator / "tariffs")), "second")
