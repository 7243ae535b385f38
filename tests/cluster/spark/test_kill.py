"""`kill -9` of Spark's driver, with its workers, at random moments: gone on, it is the day that nobody disturbed."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.spark.day import (
    Day,
    Life,
    assert_same_day,
    assert_same_minutes,
    produce,
    reconciled,
    topics_of,
)
from trunkline.engines.plan import Plan

DRIVERS = int(os.environ.get("TRUNKLINE_TEST_SPARK_KILLS", "3"))  # a life begins in a quarter of a minute
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
SMALL_BATCH = 200
BEGINNING_S = 240
LONGEST_WAIT_S = 4.0


@pytest.mark.timeout(3600)
def test_drivers_die(kafka: Kafka, connector: str, day: Day, tmp_path: Path) -> None:
    """Driver, JVM and workers die together in the middle of batches; nothing is missing and nothing counts twice."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance, pause = random.Random(SEED), threading.Event()
    plan = topics_of(kafka.bootstrap_servers, "drivers")
    produce(kafka.bootstrap_servers, plan, day.lines)
    kills = 0
    for _ in range(DRIVERS):
        life = Life(day, kafka.bootstrap_servers, plan, tmp_path, connector, spark_messages=str(SMALL_BATCH))
        assert life.batches.acquire(timeout=BEGINNING_S), "".join(life.said[-40:])
        pause.wait(chance.uniform(0, LONGEST_WAIT_S))
        kills += life.process.poll() is None
        life.kill()
    assert kills == DRIVERS, "the day was over before it could be disturbed"
    last = Life(day, kafka.bootstrap_servers, plan, tmp_path, connector, spark_messages="5000").result(900)
    assert last["received"] == len(day.lines), f"seed {SEED}"
    assert_undisturbed(day, kafka.bootstrap_servers, plan, tmp_path, connector)


def assert_undisturbed(day: Day, servers: str, plan: Plan, checkpoint: Path, jars: str) -> None:
    """Everything is as if nobody had died, and reconciling finds nothing."""
    assert_same_day(day, servers, plan, checkpoint)
    books = reconciled(servers, plan, checkpoint, jars)
    assert (books["differences"], books["account_differences"]) == (0, 0), f"seed {SEED}: {books}"
    assert_same_minutes(servers, plan)
