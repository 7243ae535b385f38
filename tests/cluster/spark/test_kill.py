"""`kill -9` of Spark's driver and of its workers at random moments: gone on, it is the day that nobody disturbed."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import threading
import urllib.request
from contextlib import suppress
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
WORKERS = int(os.environ.get("TRUNKLINE_TEST_SPARK_WORKER_KILLS", "4"))  # twenty want a longer day
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


@pytest.mark.timeout(3600)
def test_workers_die(kafka: Kafka, connector: str, day: Day, tmp_path: Path) -> None:
    """Workers die in the middle of their buckets; Spark does their tasks again, and the day is the same."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance, pause = random.Random(SEED), threading.Event()
    plan = topics_of(kafka.bootstrap_servers, "workers")
    produce(kafka.bootstrap_servers, plan, day.lines)
    port = free_port()
    life = Life(
        day, kafka.bootstrap_servers, plan, tmp_path, connector, spark_messages=str(SMALL_BATCH),
        spark_metrics_port=str(port),
    )  # fmt: skip
    assert life.batches.acquire(timeout=BEGINNING_S), "".join(life.said[-40:])
    assert life.batches.acquire(timeout=BEGINNING_S), "".join(life.said[-40:])
    told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    lag = [
        float(line.split()[-1])
        for line in told.splitlines()
        if line.startswith("trunkline_spark_lag_messages{")
    ]
    assert sum(lag) > 0, "most of the day still waits"
    assert float(re.findall(r'trunkline_spark_records{outcome="rated"} (\S+)', told)[0]) > 0
    kills = 0
    while kills < WORKERS and life.process.poll() is None:
        workers = life.workers()
        if workers:
            with suppress(ProcessLookupError):  # it ended by itself in this very moment
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
        pause.wait(chance.uniform(0, 1.5))
    done = life.result(1800)
    assert kills == WORKERS, f"only {kills} workers could be killed before the day was over"
    assert done["received"] == len(day.lines), f"seed {SEED}"
    assert_undisturbed(day, kafka.bootstrap_servers, plan, tmp_path, connector)


def assert_undisturbed(day: Day, servers: str, plan: Plan, checkpoint: Path, jars: str) -> None:
    """Everything is as if nobody had died, and reconciling finds nothing."""
    assert_same_day(day, servers, plan, checkpoint)
    books = reconciled(servers, plan, checkpoint, jars)
    assert (books["differences"], books["account_differences"]) == (0, 0), f"seed {SEED}: {books}"
    assert_same_minutes(servers, plan)


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
