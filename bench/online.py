"""How fast network functions are answered: sessions that ask, report and release, over real HTTP/2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from bench import network_functions
from bench.figures import Figure, percentile
from bench.operator import prepare
from trunkline.bootstrap.tokens import add_token

SECONDS = 20
SUBSCRIBERS = 50_000
START = "from trunkline.cli import main; main()"
GOALS = "at least 2,000 (aim: 10,000)", "at most 20"


def requests(work: Path, rate: int) -> list[Figure]:
    """Requests a second that are answered, and p99 of their time, when so many a second are sent."""
    prepare(work, 1_000, SUBSCRIBERS)
    numbers = [f"9990{at:09d}" for at in range(SUBSCRIBERS)]
    with (work / "subscribers.csv").open("a") as file:
        file.writelines(f"{number},payg,,,,,1,500.00\n" for number in numbers)
    token = add_token(work / "data", "bench", "billing")
    port = _free_port()
    command = [sys.executable, "-c", START, "run", "--data", str(work / "data"), "--port", "0",
               "--tariffs", str(work / "tariffs")]  # fmt: skip
    environment = os.environ | {"TRUNKLINE_ONLINE_PORT": str(port)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                if "The page:" in line:
                    break
            with ProcessPoolExecutor(1, get_context("spawn")) as beside:
                beside.submit(network_functions.ask, port, token, numbers[-200:], 50, 8).result()  # compiles
                before_s = _cpu_s(running.pid)
                answers = beside.submit(network_functions.ask, port, token, numbers, rate, SECONDS).result()
            cpu_s = _cpu_s(running.pid) - before_s
        finally:
            running.terminate()
            running.wait(60)
    took = answers.took_s
    return [
        Figure("online_requests", len(took) / answers.lasted_s, "requests/s", GOALS[0], len(took)),
        Figure("online_p99", percentile(took, 0.99) * 1000, "ms", GOALS[1], len(took)),
        Figure("online_p50", percentile(took, 0.5) * 1000, "ms", "", len(took)),
        Figure("online_cpu", cpu_s / len(took) * 1_000_000, "us of CPU a request", "", len(took)),
        Figure(
            "online_client_cpu", answers.cpu_s / len(took) * 1_000_000, "us of CPU a request", "", len(took)
        ),
        Figure("online_errors", answers.wrong, "answers", "0", len(took)),
    ]


def _cpu_s(process: int) -> float:
    """Seconds of CPU that a process and those it started have used: on a busy machine this tells more than the clock.

    0 off Linux.
    """
    home = Path(f"/proc/{process}")
    if not home.exists():
        return 0.0
    fields = (home / "stat").read_text().rpartition(")")[2].split()
    own_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    started = [int(each) for names in home.glob("task/*/children") for each in names.read_text().split()]
    return own_s + sum(map(_cpu_s, started))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
