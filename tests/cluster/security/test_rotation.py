"""Passwords change while everything runs: nothing is started again, and every later connection is let in."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, small_day
from tests.cluster.kafka.test_rights import with_password
from tests.contract.test_ports import topup
from tests.waiting import until
from trunkline.api.workers import Worker
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.kafka import client_properties
from trunkline.bootstrap.workers import Listener, saying
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.rights import grant, rights
from trunkline.kernel.dial import to_key
from trunkline.ports import Busy

PRINCIPALS = {"engine": "rotating-worker", "server": "rotating-serve"}
FIRST, SECOND = "first-password", "second-password"


@dataclass(frozen=True)
class Accounts:
    """Accounts whose settings lie in files, as an operator has them."""

    settings: dict[str, Any]
    folder: Path

    def server(self, who: str) -> Server:
        """The brokers, by the file of an account."""
        path = self.folder / f"{who}.properties"
        return Server(str(self.settings["bootstrap.servers"]), lambda: client_properties(path))

    def set_password(self, who: str, password: str) -> None:
        """Change it at the brokers, and then in the file."""
        with_password(self.settings, who, password)
        file = credentials.keep(self.folder / f"{who}.password", password)
        told = {**self.settings, "sasl.username": who, "sasl.password.file": str(file)}
        del told["sasl.password"], told["bootstrap.servers"]
        lines = "".join(f"{name}={value}\n" for name, value in told.items())
        credentials.keep(self.folder / f"{who}.properties", lines)

    def lets_in(self, who: str, password: str) -> bool:
        """Whether the brokers let somebody in."""
        admin = AdminClient(
            {**self.settings, "sasl.username": who, "sasl.password": password, "log_level": 0}
        )
        try:
            admin.list_topics(timeout=15)
        except KafkaException:
            return False
        return True


@pytest.fixture
def intake(three_racks: Kafka, tmp_path: Path) -> tuple[Day, Accounts]:
    """A small day on three racks, and accounts of their own."""
    operator = small_day(tmp_path / "operator", 40, 6)
    day = Day.made(operator, three_racks.settings(), "rotated", 2, copies=3)
    accounts = Accounts(three_racks.settings(), tmp_path / "accounts")
    for who in PRINCIPALS.values():
        accounts.set_password(who, FIRST)
    grant(day.server, rights(day.plan, PRINCIPALS))
    return day, accounts


@pytest.mark.timeout(2400)
def test_workers_and_serve_learn_new_passwords(three_racks: Kafka, intake: tuple[Day, Accounts]) -> None:
    """Every broker is killed once after the change, so that no old connection is left; charging goes on."""
    day, accounts = intake
    lines = b"".join(part.read_bytes() for part in sorted((day.operator / "cdrs").iterdir()))
    half = lines[: lines.index(b"\n", len(lines) // 2) + 1]
    subscriber = (day.operator / "subscribers.csv").read_text().splitlines()[1].split(",")[0]
    for who in PRINCIPALS.values():
        until(lambda who=who: accounts.lets_in(who, FIRST), "the first password is good", 120, 1.0)  # type: ignore[misc]
    day.enrol()
    weak = Day(day.operator, accounts.server(PRINCIPALS["engine"]), day.plan)
    nobody: Any = None  # decisions about set-aside records are not asked for here

    def known() -> list[Worker]:
        return [Worker("rotating", "kafka", time.time_ns() // 1000, 0, 0.0)]

    with (
        weak.running("rotating"),
        saying(weak.server, day.plan, known),
        closing(Listener(accounts.server(PRINCIPALS["server"]), [day.plan])) as listener,
    ):
        serving = ClusterIntake(accounts.server(PRINCIPALS["server"]), day.plan, load_mappings(None), nobody)
        try:
            day.enrolled(600)
            day.hand_in(half, 100)
            day.drained(half.count(b"\n"))
            assert serving.move([topup("before", 1_000_000, to_key(subscriber))])[0]["status"] == "booked"
            for who in PRINCIPALS.values():
                accounts.set_password(who, SECOND)
            for who in PRINCIPALS.values():
                until(lambda who=who: not accounts.lets_in(who, FIRST), "the first is good no more", 120, 1.0)  # type: ignore[misc]
            for name in three_racks.names:
                three_racks.kill(name)
                three_racks.up()
            assert until(lambda: moved(serving, subscriber), "a movement is booked", 600, 1.0)
            day.hand_in(lines[len(half) :], 100)
            day.drained(lines.count(b"\n"))
            now_us = time.time_ns() // 1000
            heard = lambda: any(word.told_us > now_us for word in listener.workers())  # noqa: E731
            until(heard, "what the workers say is heard", 120, 1.0)
        finally:
            serving.close()


def moved(serving: ClusterIntake, subscriber: str) -> bool:
    """Whether a movement is booked; asked again under its name it is booked once."""
    try:
        return serving.move([topup("after", 1_000_000, to_key(subscriber))])[0]["status"] in (
            "booked",
            "repeated",
        )
    except Busy:
        return False
