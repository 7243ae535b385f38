"""A record that ends every process that touches it is found, set aside with its reason, and the partition goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day
from tests.cluster.kafka.working import DEADLY_MICROS, deadly_plan
from tests.engine import small
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.loop import POISON
from trunkline.records.charging import ACCOUNTS
from trunkline.records.usage import HELD

RECORDS = 300
DEADLY = 123
MOST_DEATHS = 40


@pytest.mark.timeout(600)
def test_a_deadly_record(kafka: Kafka) -> None:
    """Workers die of it a bounded number of times; then it alone is held and everything else is charged once."""
    plan, server = deadly_plan("deadly"), Server(kafka.bootstrap_servers)
    make(server, topics(plan, 1, 1), 1)
    day = Day(Path(), server, plan)
    lines = small.lines(RECORDS).splitlines(keepends=True)
    lines[DEADLY] = f"{DEADLY},{DEADLY % 7},{DEADLY_MICROS},20000\n".encode()
    sender = day.producer()
    for first in range(0, RECORDS, 30):
        sender.produce(plan.topic(plan.raw), b"".join(lines[first : first + 30]), partition=0)
    assert sender.flush(30) == 0

    deaths = 0
    while not (counts := day.accounts()) or sum(sums[0] for sums in counts.values()) < RECORDS:
        assert deaths <= MOST_DEATHS, "the partition did not go on"
        deaths += _one_life(kafka.bootstrap_servers, day)
        print(f"{deaths} deaths, {counts}")
    assert deaths > 3, "it was deadly, and tried more than once"

    held = day.rows(HELD, 1)
    assert held["reason"].to_list() == [POISON]
    assert held["record_id"].to_list() == [str(DEADLY)]
    good = b"".join(line for number, line in enumerate(lines) if number != DEADLY)
    (bucket,) = day.built({})
    groups = bucket.gather(ACCOUNTS, bucket.memories[ACCOUNTS.name].held.all_keys())
    owed = {int(key): int(groups.rows_of(int(key))["value"][0]) for key in groups.keys}
    assert owed == small.expected(good)


def _one_life(brokers: str, day: Day) -> int:
    """A worker, until it dies or everything is carried; whether it died."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.kafka.working"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        told = {"settings": {"bootstrap.servers": brokers}, "prefix": day.plan.prefix, "deadly": True}
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
                return 1
            if sum(sums[0] for sums in day.accounts().values()) == RECORDS:
                process.terminate()
                process.wait(60)
                return 0
