"""Sites: a broker each, and a mirror between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.mirror import Mirror
from trunkline.bootstrap.cluster.profile import Cluster

Site = Callable[[str], Kafka]


@pytest.fixture
def site(server_folder: Path, servers: Cluster) -> Iterator[Site]:
    """Makes sites, each with a broker of its own; they end with the test."""
    made: list[Kafka] = []

    def make(name: str) -> Kafka:
        fresh = Kafka(Cluster(server_folder / name, servers.jars, leashed=True), ("kafka",), secure=False)
        made.append(fresh)
        fresh.up()
        return fresh

    yield make
    for each in made:
        for server in each.cluster.status():
            each.cluster.kill(server.name)


def mirror(source: Kafka, target: Kafka, prefix: str) -> None:
    """Begin to bring everything of a prefix from one site to the other."""
    recipe = Mirror(source.endpoint, f"{prefix}\\..*", f"{prefix}\\..*", broker=Broker(secure=False))
    target.cluster.up([recipe])
