"""`kill -9` of Spark's driver, executors and Python workers at random moments: the day is as if nobody had died."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

import pyspark
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

TIMES = int(os.environ.get("TRUNKLINE_TEST_KILLS", "0"))
DRIVERS = TIMES or 2  # a life begins in a quarter of a minute
EXECUTORS = TIMES or 1  # the next one has to start first
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
BATCHES_A_LIFE = 10  # at most, within the longest wait: so the day is not over before the last life
BEGINNING_S = 900
LONGEST_WAIT_S = 4.0


@pytest.mark.timeout(3600)
def test_drivers_die(kafka: Kafka, connector: str, day: Day, tmp_path: Path) -> None:
    """Driver, JVM and workers die together in the middle of batches; nothing is missing and nothing counts twice."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance, pause = random.Random(SEED), threading.Event()
    plan = topics_of(kafka.bootstrap_servers, "drivers")
    produce(kafka.bootstrap_servers, plan, day.lines)
    kills, small = 0, str(len(day.lines) // (BATCHES_A_LIFE * DRIVERS))
    for _ in range(DRIVERS):
        life = Life(day, kafka.bootstrap_servers, plan, tmp_path, connector, spark_messages=small)
        assert life.batches.acquire(timeout=BEGINNING_S), "".join(life.said[-40:])
        pause.wait(chance.uniform(0, LONGEST_WAIT_S))
        kills += life.process.poll() is None
        life.kill()
    assert kills == DRIVERS, "the day was over before it could be disturbed"
    last = Life(day, kafka.bootstrap_servers, plan, tmp_path, connector, spark_messages="5000").result(900)
    assert last["received"] == len(day.lines), f"seed {SEED}"
    assert_undisturbed(day, kafka.bootstrap_servers, plan, tmp_path, connector)


@pytest.mark.timeout(3600)
def test_executors_die(
    kafka: Kafka, connector: str, day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executors die with the shuffled rows that they hold, and single Python workers in the midst of a bucket.

    Tasks and stages are done again elsewhere, and nothing differs.
    """
    plan = topics_of(kafka.bootstrap_servers, "executors")
    produce(kafka.bootstrap_servers, plan, day.lines)
    monkeypatch.setenv("SPARK_HOME", str(installed(tmp_path / "spark")))
    life = Life(
        day, kafka.bootstrap_servers, plan, tmp_path, connector, spark_master="local-cluster[2,1,1024]",
        spark_messages=str(len(day.lines) // (3 + 4 * EXECUTORS)),
    )  # fmt: skip
    try:
        disturb(life, life.executors, EXECUTORS)
        disturb(life, life.pythons, EXECUTORS)
        done = life.result(1800)
    finally:
        life.kill()
    assert done["received"] == len(day.lines), f"seed {SEED}"
    assert_undisturbed(day, kafka.bootstrap_servers, plan, tmp_path, connector)


def installed(folder: Path) -> Path:
    """Spark as it is installed, in a folder of the test's: executors write their logs beside it."""
    folder.mkdir()
    for part in Path(pyspark.__file__).parent.iterdir():
        (folder / part.name).symlink_to(part)
    return folder


def disturb(life: Life, there: Callable[[], list[int]], times: int) -> None:
    """`kill -9` some of a life's processes, one after the other, each after a batch has ended in spite of the last."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance, pause = random.Random(SEED), threading.Event()
    kills = 0
    while kills < times:
        assert life.batches.acquire(timeout=BEGINNING_S), f"after {kills} kills: " + "".join(life.said[-40:])
        pause.wait(chance.uniform(0, 1.5))
        found = there()
        assert life.process.poll() is None, f"only {kills} could be killed before the day was over"
        if found:
            with suppress(ProcessLookupError):  # it ended by itself in this very moment
                os.kill(chance.choice(found), SIGKILL)
                kills += 1


def assert_undisturbed(day: Day, servers: str, plan: Plan, checkpoint: Path, jars: str) -> None:
    """Everything is as if nobody had died, and reconciling finds nothing."""
    assert_same_day(day, servers, plan, checkpoint)
    books = reconciled(servers, plan, checkpoint, jars)
    assert (books["differences"], books["account_differences"]) == (0, 0), f"seed {SEED}: {books}"
    assert_same_minutes(servers, plan)
