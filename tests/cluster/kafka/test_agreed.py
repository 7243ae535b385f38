"""A door that runs sees members who come: their sessions go to the account that pays, and nobody starts it again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.charging_online import operator
from tests.waiting import until
from trunkline.bootstrap import online_cluster
from trunkline.bootstrap.kafka import agreed_catalogue, plan_of, server_of
from trunkline.engines.kafka.topics import make, topics
from trunkline.kernel.dial import to_key
from trunkline.settings import Folders, Http, Online
from trunkline.settings import Kafka as KafkaSettings

OWNER = "447700900003"
LATER = [f"4477009001{at:02d}" for at in range(12)]


@pytest.mark.timeout(600)
def test_members_who_come_are_seen(kafka: Kafka, tmp_path: Path) -> None:
    """Each member's place is its own until the workers agree on whose it is, and then the owner's."""
    folder = operator(tmp_path, {OWNER: "5.00"})
    chosen = KafkaSettings(kafka_brokers=kafka.bootstrap_servers, kafka_prefix="members", kafka_buckets=3)
    server, plan = server_of(chosen), plan_of(chosen.kafka_prefix, chosen.kafka_buckets)
    make(server, topics(plan, 1, 1), 1)
    folders = Folders(data=tmp_path / "door", tariffs=str(folder / "tariffs"))
    heading = (folder / "subscribers.csv").read_text().splitlines()[0]
    agreed_catalogue(server, plan, folders, "one", f"{heading}\n{OWNER},family,5.00,\n".encode())
    stop, begun = threading.Event(), threading.Event()
    lives: list[online_cluster.DoorLife] = []

    def started(life: online_cluster.DoorLife) -> None:
        lives.append(life)
        begun.set()

    settings = Online(online_port=-1)
    door = threading.Thread(
        target=online_cluster.run, args=(folders, Http(), chosen, settings, stop, started)
    )
    door.start()
    try:
        assert begun.wait(120)
        (life,) = lives
        words = [to_key(number) for number in LATER]
        assert [life.payer_of(word) for word in words] == words
        assert {life.door.place(word) for word in words} == {0, 1, 2}
        rows = "".join(f"{number},family,,{OWNER}\n" for number in LATER)
        agreed_catalogue(server, plan, folders, "two", f"{heading}\n{OWNER},family,5.00,\n{rows}".encode())
        until(lambda: life.payer_of(words[-1]) == to_key(OWNER), "the door knows the members", 120, 0.1)
        assert {life.payer_of(word) for word in words} == {to_key(OWNER)}
        assert {life.door.place(word) for word in words} == {life.door.place(to_key(OWNER))}
    finally:
        stop.set()
        door.join(60)
    assert not door.is_alive()
