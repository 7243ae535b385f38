"""A worker's process, made to be killed. It imports before it is needed, because that takes longer than living.

The one line on standard input is a JSON object: the settings of the brokers, a prefix, buckets, the operator's folder
and the worker's name. Without a line it ends.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from pathlib import Path

from tests.cluster.kafka.running import Day
from trunkline.bootstrap.kafka import plan_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.worker import Worker


def live(told: dict[str, object]) -> None:
    """One worker's life, until it is killed or told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = told["settings"]
    assert isinstance(settings, dict), "settings are names and values"
    known = {name: str(value) for name, value in settings.items() if name != "bootstrap.servers"}
    day = Day(
        Path(str(told["operator"])),
        Server(str(settings["bootstrap.servers"]), lambda: known),
        plan_of(str(told["prefix"]), int(str(told["buckets"]))),
    )
    Worker(day.work(str(told["name"]), named=True)).run(stop)


def main() -> None:
    """Import everything, say so, wait for the line, live."""
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(message)s")
    print("ready", flush=True)
    line = sys.stdin.readline()
    if line.strip():
        live(json.loads(line))


if __name__ == "__main__":
    main()
