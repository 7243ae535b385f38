"""How fast network functions are answered on a cluster: a broker, a worker, a door, each a process of its own.

Two figures of time: under the load that is asked for, and when requests come one after another, which is what a
commit costs.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench import network_functions
from bench.cluster.kafka import PATIENCE_S, broker
from bench.cluster.latency import start, stop
from bench.figures import Figure, percentile
from bench.operator import prepare
from trunkline.bootstrap.kafka import plan_of
from trunkline.bootstrap.tokens import add_token
from trunkline.engines.kafka.bucket import progress_key
from trunkline.engines.kafka.client import Server, consumer
from trunkline.engines.kafka.follower import last_progress

SECONDS = 20
SUBSCRIBERS = 2_000
BUCKETS = 4
ALONE = 2  # requests a second, so that none waits for another


def requests(work: Path, rate: int) -> list[Figure]:
    """Requests a second that are answered, and how long an answer takes: when so many come, and alone."""
    prepare(work, 1_000, 10)
    numbers = [f"9990{at:09d}" for at in range(SUBSCRIBERS)]
    with (work / "subscribers.csv").open("a") as file:
        file.writelines(f"{number},payg,,,,,1,500.00\n" for number in numbers)
    token = add_token(work / "data", "bench", "billing")
    port = _free_port()
    running: list[subprocess.Popen[str]] = []
    with broker(work) as server:
        environment = os.environ | {
            "TRUNKLINE_KAFKA_BROKERS": server.brokers, "TRUNKLINE_KAFKA_COPIES": "1",
            "TRUNKLINE_KAFKA_BUCKETS": str(BUCKETS), "TRUNKLINE_ONLINE_PORT": str(port),
        }  # fmt: skip
        try:
            run = ["run", "--engine", "kafka", "--tariffs", str(work / "tariffs")]
            running.append(start(run, environment, work / "worker.log", "is charging on"))
            _until_enrolled(server)
            door = ["door", "--data", str(work / "data")]
            running.append(start(door, environment, work / "door.log", "answers network functions"))
            with ProcessPoolExecutor(1, get_context("spawn")) as beside:
                ask = network_functions.ask
                beside.submit(ask, port, token, numbers[-200:], 50, 8).result()  # compiles
                alone = beside.submit(
                    ask, port, token, numbers, ALONE * network_functions.REQUESTS, 10
                ).result()
                answers = beside.submit(ask, port, token, numbers, rate, SECONDS).result()
        finally:
            for process in reversed(running):
                stop(process)
    took, single = answers.took_s, alone.took_s
    return [
        Figure(
            "kafka_online_requests",
            len(took) / answers.lasted_s,
            "requests/s",
            f"{rate:,} offered",
            len(took),
        ),
        Figure("kafka_online_p50", percentile(took, 0.5) * 1000, "ms", "", len(took)),
        Figure("kafka_online_p99", percentile(took, 0.99) * 1000, "ms", "", len(took)),
        Figure("kafka_online_alone_p50", percentile(single, 0.5) * 1000, "ms", "", len(single)),
        Figure("kafka_online_alone_p99", percentile(single, 0.99) * 1000, "ms", "", len(single)),
        Figure("kafka_online_errors", answers.wrong + alone.wrong, "answers", "0", len(took) + len(single)),
    ]


def _until_enrolled(server: Server) -> None:
    """Return when all buckets together have taken every subscriber."""
    plan = plan_of(buckets=BUCKETS)
    reader = consumer(server, f"{plan.prefix}.follower", {"enable.partition.eof": True})
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            told = [last_progress(reader, plan, at, progress_key(at)) for at in range(BUCKETS)]
            if sum(each["arrivals"] for each in told if each) >= SUBSCRIBERS:
                return
            assert time.monotonic() < deadline, "the subscribers were not enrolled"
            threading.Event().wait(0.5)
    finally:
        reader.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
