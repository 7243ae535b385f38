"""Whoever waits for the brokers at the end of a life still hears of a password that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.running import Day
from trunkline.engines.kafka.client import Lost, Server
from trunkline.engines.kafka.committer import Turn
from trunkline.engines.kafka.worker import RouterLife
from trunkline.engines.wire import Message

WAITED_S = 4.0


@pytest.mark.timeout(600)
def test_a_closing_router_looks_for_new_passwords(kafka: Kafka, truth: Truth) -> None:
    """While the last turn waits for the brokers, the file with the password is read again every second."""
    day = Day.made(truth.operator, kafka.settings(), "closing")
    asked = 0

    def properties() -> Mapping[str, str]:
        nonlocal asked
        asked += 1
        return day.server.properties()

    work = replace(day.work("closing"), server=Server(day.server.brokers, properties))
    life = RouterLife(work)
    try:
        life.committer.put(Turn([Message("closing.nowhere", 0, b"x")], []))
        before = asked
        with pytest.raises(Lost, match="not committed"):
            life.committer.drain(WAITED_S)
        assert asked - before >= WAITED_S / 2
    finally:
        life.close()
