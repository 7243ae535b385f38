"""A worker's process, made to be killed. It imports before it is needed, because that takes longer than living.

The one line on standard input is a JSON object: the settings of the brokers, a prefix, buckets, the operator's folder
and the worker's name, and what else `Work` is made of. Without a line it ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import polars as pl

from tests.cluster.kafka.running import Day
from tests.engine import small
from trunkline.bootstrap.kafka import new_held, plan_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.promising import ROLES
from trunkline.engines.kafka.worker import Work, Worker
from trunkline.engines.plan import Plan
from trunkline.kernel.flow import Flow, Outcome
from trunkline.kernel.grouped import Grouped

DEADLY_MICROS = 666


def deadly_charge(batch: pl.DataFrame, accounts: Grouped) -> Outcome:
    """As the small flow charges; but one amount ends the process, and nothing can be caught."""
    if (batch["amount_micros"] == DEADLY_MICROS).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return small.charge(batch, accounts)


def deadly_plan(prefix: str) -> Plan:
    """The small flow, one bucket."""
    decode, deduplicate, charge = small.FLOW.steps
    flow = Flow("deadly", small.FLOW.text, (decode, deduplicate, replace(charge, run=deadly_charge)))
    return Plan(flow, small.ACCOUNTING, (), "subscriber", buckets=1, prefix=prefix)


def deadly_work(brokers: str, prefix: str) -> Work:
    """A worker of that plan."""
    return Work(
        Server(brokers), deadly_plan(prefix), {}, lambda _name: small.LINES, new_held, "deadly", named=True
    )


def live(told: dict[str, object]) -> None:
    """One worker's life, until it is killed or told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = told["settings"]
    assert isinstance(settings, dict), "settings are names and values"
    known = {name: str(value) for name, value in settings.items() if name != "bootstrap.servers"}
    if told.get("deadly"):
        Worker(deadly_work(str(settings["bootstrap.servers"]), str(told["prefix"]))).run(stop)
        return
    day = Day(
        Path(str(told["operator"])),
        Server(str(settings["bootstrap.servers"]), lambda: known),
        plan_of(str(told["prefix"]), int(str(told["buckets"]))),
    )
    work = replace(
        day.work(str(told["name"]), named=bool(told.get("named", True))),
        transaction_s=float(str(told.get("transaction_s", Work.transaction_s))),
    )
    Worker(work, kinds=ROLES).run(stop)


def main() -> None:
    """Import everything, say so, wait for the line, live."""
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(message)s")
    print("ready", flush=True)
    line = sys.stdin.readline()
    if line.strip():
        live(json.loads(line))


if __name__ == "__main__":
    main()
