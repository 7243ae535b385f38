"""The network served from Cassandra: a day carried on Kafka is answered as the embedded store answers it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.cluster.cassandra.conftest import contact
from tests.cluster.conftest import Cassandra, Kafka
from tests.cluster.parity.network_day import DAY, Embedded, batches, made, network_folder, working
from tests.network.watching import simulated
from tests.page.serve import Served, served
from tests.waiting import until
from trunkline.api.access import Role
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap import network as watched
from trunkline.bootstrap import network_serving
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.embedded.sources import LiveSources
from trunkline.engines.kafka.client import Server
from trunkline.settings import Kafka as KafkaSettings
from trunkline.settings import Watched
from trunkline.stores.cassandra.connection import Connection

PREFIX, BUCKETS, PERIODS = "served", 2, 12
ALARM = "/tmf-api/alarm/v4"
# What each store gives numbers of its own for, and when it was told.
OWN = {"number", "told_us", "now_us", "id", "href", "commits", "committed_us", "alarm_changes"}
MAY_BE_EMPTY = {"/api/v1/network/risks", "/api/v1/network/heat"}
MADE_OF_NUMBERS = re.compile(r"/alarm/\d+")


@dataclass
class World:
    """The same day behind two servers."""

    cluster: Served
    embedded: Served
    deliveries: list[Any]

    def both(self, path: str, **params: Any) -> tuple[Any, Any]:
        """What each answers, without what is its own."""
        return _plain(get(self.cluster, path, **params)), _plain(get(self.embedded, path, **params))


def get(server: Served, path: str, **params: Any) -> Any:
    """What a server answers to somebody who may do everything."""
    return send(server, "GET", path, params=params).json()


TRIES = 24


def send(server: Served, method: str, path: str, **said: Any) -> httpx.Response:
    """Ask a server, and again while it is catching up."""
    headers = {"Authorization": f"Bearer {server.tokens[Role.ADMIN]}"}
    tries = 1
    while True:
        answer = httpx.request(method, f"{server.url}{path}", headers=headers, timeout=120, **said)
        if answer.status_code != 429 or tries == TRIES:
            break
        tries += 1
    assert answer.status_code < 300, answer.text
    return answer


def _plain(said: Any) -> Any:
    if isinstance(said, dict):
        return {name: _plain(value) for name, value in said.items() if name not in OWN}
    if isinstance(said, list):
        return sorted(
            (_plain(each) for each in said), key=lambda each: orjson.dumps(each, option=orjson.OPT_SORT_KEYS)
        )
    return MADE_OF_NUMBERS.sub("/alarm/0", said) if isinstance(said, str) else said


@contextmanager
def embedded_side(data: Path) -> Iterator[Watching]:
    """The embedded platform over what it has."""
    with watched.opened_network(data) as opened:
        sources = LiveSources(opened.store, opened.store.disk, (), opened.mappings.__getitem__)
        board = HeatBoard(opened.reader)
        board.load()
        yield Watching(opened.reader, watched.NetworkHands(opened, Spooling(opened.engine, sources)), board)


@pytest.fixture(scope="module")
def world(
    kafka: Kafka,
    cassandra: Cassandra,
    tables_made: Connection,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """A day carried by a worker and delivered, and by the embedded engine."""
    place = tmp_path_factory.mktemp("served")
    folder = simulated(place / "day", DAY)
    day = batches(folder, PERIODS)
    network_folder(folder, place / "embedded")
    (place / "spare").mkdir()
    Embedded(place / "embedded", day, place / "spare")
    known = {name: str(value) for name, value in kafka.settings().items() if name != "bootstrap.servers"}
    mine = network_folder(folder, place / "cluster")
    ours = made(mine, Server(kafka.bootstrap_servers, lambda: known), f"{PREFIX}", BUCKETS)
    settings = KafkaSettings(
        kafka_brokers=kafka.bootstrap_servers, kafka_prefix=PREFIX, kafka_buckets=BUCKETS, kafka_copies=1
    )
    with (
        working(ours, "worker") as workers,
        network_serving.opened(settings, Watched(), lambda: Connection(contact(cassandra))) as (
            watching,
            roles,
        ),
        embedded_side(place / "embedded") as other,
    ):
        assert watching is not None
        for number, batch in enumerate(day, start=1):
            workers.hand_in(batch)
            workers.carried(number)
        expected = other.reader.counts()
        same = ("alarms", "incidents", "anomalies", "rejected", "held", "newest_kpi_us", "newest_heat_us")

        def delivered() -> bool:
            found = watching.reader.counts()
            return all(found[name] == expected[name] for name in same)

        until(delivered, "everything is delivered", 240, every_s=1.0)
        until(
            lambda: watching.reader.accounting() == other.reader.accounting(), "all counts are delivered", 120
        )
        until(lambda: not any(sum(role.delivered.lag.values()) for role in roles), "nothing is behind", 120)
        with served(5, network=watching) as cluster, served(5, network=other) as embedded:
            yield World(cluster, embedded, list(roles))


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/api/v1/network", {}),
        ("/api/v1/network/places", {}),
        ("/api/v1/network/shapes", {"layer": "h3:6"}),
        ("/api/v1/network/heat", {"layer": "h3:5", "metric": "PRBUsageDl"}),
        ("/api/v1/network/heat", {"layer": "h3:6", "metric": "severity"}),
        ("/api/v1/network/kpis", {"object": ["C0003", "C0011"], "limit": 20_000}),
        ("/api/v1/network/kpis", {"kpi": "PRBUsageDl", "scope": "cell", "limit": 20_000}),
        ("/api/v1/network/kpis", {"scope": "network", "limit": 20_000}),
        ("/api/v1/network/anomalies", {"limit": 1000}),
        ("/api/v1/network/anomalies", {"object": "C0003", "limit": 1000}),
        ("/api/v1/network/risks", {"limit": 1000}),
        ("/api/v1/network/budgets", {}),
        ("/api/v1/network/alarms", {"limit": 1000}),
        ("/api/v1/network/alarms", {"active": "true", "limit": 1000}),
        ("/api/v1/network/incidents", {"limit": 1000}),
        (f"{ALARM}/alarm", {"limit": 1000}),
    ],
)
def test_the_same_answers(world: World, path: str, params: dict[str, Any]) -> None:
    """Routes of the network and of TMF642 say the same, whichever store they ask."""
    ours, theirs = world.both(path, **params)
    if path == "/api/v1/network":
        for said in (ours["said"], theirs["said"]):
            said.pop("views")  # of the board, which knows what it has seen since it began
    assert ours == theirs
    if path not in MAY_BE_EMPTY and "object" not in params:
        assert ours if path.startswith(ALARM) else ours.get("items") or ours.get("said")


def test_lives_are_told_whole(world: World) -> None:
    """Every change of each alarm and each incident, in its order."""
    alarms = get(world.embedded, "/api/v1/network/alarms", limit=1000)["items"]
    incidents = get(world.embedded, "/api/v1/network/incidents", limit=1000)["items"]
    assert alarms
    assert incidents
    for row in alarms[:20]:
        ours, theirs = world.both(f"/api/v1/network/alarms/{row['alarm_id']}")
        assert ours == theirs
    for row in incidents[:20]:
        ours, theirs = world.both(f"/api/v1/network/incidents/{row['incident_id']}")
        assert ours == theirs


def test_hands_on_alarms_go_through_the_engine(world: World) -> None:
    """TMF642 creates, acknowledges, comments and clears; a note stays with its incident; work is planned."""
    server = world.cluster
    order = {
        "alarmType": "equipmentAlarm", "perceivedSeverity": "major", "probableCause": "powerProblem",
        "specificProblem": "by hand", "alarmedObject": {"id": "C0003"}, "sourceSystemId": "ems-1", "state": "raised",
        "alarmRaisedTime": "2026-11-03T10:00:00Z", "proposedRepairedActions": "look at it",
    }  # fmt: skip
    made_ = send(server, "POST", f"{ALARM}/alarm", json=order).json()
    assert made_["proposedRepairedActions"] == "look at it"
    name = made_["id"]
    acknowledged = send(server, "PATCH", f"{ALARM}/alarm/{name}", json={"ackState": "acknowledged"}).json()
    assert acknowledged["ackState"] == "acknowledged"
    cleared = send(server, "PATCH", f"{ALARM}/alarm/{name}", json={"state": "cleared"}).json()
    assert cleared["state"] == "cleared"
    incident = get(server, "/api/v1/network/incidents", limit=1)["items"][0]["incident_id"]
    send(server, "POST", f"/api/v1/network/incidents/{incident}/own", json={"owner": "nora"})
    assert get(server, f"/api/v1/network/incidents/{incident}")["said"]["owner"] == "nora"
    window = {
        "window_id": "mast work",
        "objects": ["C0005"],
        "begin_us": 1,
        "end_us": 10**16,
        "reason": "new mast",
    }
    send(server, "POST", "/api/v1/network/maintenance", json=window)
    assert [row["window_id"] for row in get(server, "/api/v1/network/maintenance")["items"]] == ["mast work"]
    held = send(
        server,
        "POST",
        f"{ALARM}/alarm",
        json={**order, "alarmedObject": {"id": "C0005"}, "specificProblem": "under it"},
    ).json()
    assert "mast work" in held["plannedOutageIndicator"]
