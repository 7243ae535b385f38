"""Real servers for the tests of the cluster, each started once a session, stopped whatever happens, never mocked.

Ask for a fixture and the server runs: `kafka` (one broker without passwords, quick), `three_racks` (three brokers with
TLS, passwords and permissions), `cassandra`, `postgresql`, `connect`. Where Java or Maven is missing, the test is
left out by name, and on the build server that is a failure (see tests/conftest.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from trunkline.bootstrap.cluster import connect as connect_worker
from trunkline.bootstrap.cluster import postgresql as postgresql_server
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.kafka import Broker, Endpoint
from trunkline.bootstrap.cluster.place import Place
from trunkline.bootstrap.cluster.profile import Cluster
from trunkline.bootstrap.cluster.servers import brokers, jars_folder
from trunkline.ports import Refused
from trunkline.settings import Servers

# Every JVM here is young when it dies: to compile its code whole takes more of the machine than it ever gives back.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
MISSING = [program for program in ("java", "mvn") if shutil.which(program) is None]


@dataclass(frozen=True)
class Kafka:
    """A running Kafka: how to reach it, and the means to break it."""

    cluster: Cluster
    names: tuple[str, ...]
    secure: bool

    @property
    def endpoint(self) -> Endpoint:
        """How the administrator reaches it: `.settings()` for confluent_kafka, `.java_settings()` for the JVM."""
        return self._broker(self.names[0]).endpoint(self.cluster.place(self.names[0]))

    @property
    def bootstrap_servers(self) -> str:
        """Addresses of all its brokers."""
        return self.endpoint.bootstrap_servers

    def settings(self) -> dict[str, str | int | float | bool]:
        """What confluent_kafka needs to come in as the administrator."""
        return self.endpoint.settings()

    def kill(self, name: str) -> None:
        """`kill -9` of one broker."""
        self.cluster.kill(name)

    def up(self) -> None:
        """Start what was killed, and wait until all answer."""
        self.cluster.up([self._broker(name) for name in self.names])

    def _broker(self, name: str) -> Broker:
        return next(
            each for each in brokers(racks=len(self.names) > 1, secure=self.secure) if each.name == name
        )


@dataclass(frozen=True)
class Cassandra:
    """A running Cassandra: how to reach it, and the means to break it."""

    cluster: Cluster

    @property
    def place(self) -> Place:
        """Where it lives: ports and secrets."""
        return self.cluster.place("cassandra")

    @property
    def port(self) -> int:
        """Where clients find it, on 127.0.0.1."""
        return self.place.port("cql")

    @property
    def user(self) -> str:
        """Its administrator."""
        return "admin"

    @property
    def password_file(self) -> Path:
        """The administrator's password."""
        return Node().password_file(self.place)

    @property
    def ca_file(self) -> Path:
        """The authority whose certificate it shows."""
        return self.place.secrets / "ca.pem"

    def kill(self) -> None:
        """`kill -9`."""
        self.cluster.kill("cassandra")

    def up(self) -> None:
        """Start it again, and wait until it answers."""
        self.cluster.up([Node()])


@dataclass(frozen=True)
class PostgreSQL:
    """A running PostgreSQL whose changes can be followed."""

    cluster: Cluster

    @property
    def place(self) -> Place:
        """Where it lives: ports and secrets."""
        return self.cluster.place("postgresql")

    def sql(self, statements: str) -> str:
        """What it answers to its administrator."""
        return postgresql_server.Server().sql(self.place, statements)


@dataclass(frozen=True)
class Connect:
    """A running Kafka Connect, beside the broker of `kafka`."""

    cluster: Cluster
    recipe: connect_worker.Connect

    @property
    def place(self) -> Place:
        """Where it lives: ports and secrets."""
        return self.cluster.place("connect")

    def ask(self, method: str, path: str) -> Any:
        """What it answers to those who may configure it."""
        return self.recipe.ask(self.place, method, path)

    def put(self, name: str, config: dict[str, str]) -> None:
        """Begin a connector, or change it."""
        self.recipe.put(self.place, name, config)

    def state(self, name: str) -> list[str]:
        """State of a connector and of its tasks."""
        return self.recipe.state(self.place, name)


@pytest.fixture(scope="session", autouse=True)
def _stopping_cleans_up() -> Iterator[None]:
    """Being asked to stop (SIGTERM) ends a run as Ctrl-C does, so that servers are stopped."""

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupted)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short path that other accounts may pass through: PostgreSQL runs under its own and has sockets there."""
    with tempfile.TemporaryDirectory(prefix="trunkline-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="session")
def servers(server_folder: Path) -> Iterator[Cluster]:
    """The cluster that the session's servers belong to; they end with the tests, however those end."""
    if MISSING:
        pytest.skip(
            f"{' and '.join(MISSING)} not installed; on Debian and Ubuntu: apt-get install default-jre-headless maven"
        )
    cluster = Cluster(server_folder / "servers", jars_folder(Servers()), leashed=True)
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def kafka(servers: Cluster) -> Iterator[Kafka]:
    """One broker without passwords, for tests of everything but security."""
    running = Kafka(servers, ("kafka",), secure=False)
    running.up()
    yield running
    servers.down(["kafka"])


@pytest.fixture(scope="session")
def three_racks(server_folder: Path, servers: Cluster) -> Iterator[Kafka]:
    """Three brokers in three racks, with TLS, passwords and permissions."""
    cluster = Cluster(server_folder / "racks", servers.jars, leashed=True)
    running = Kafka(cluster, tuple(each.name for each in brokers(racks=True)), secure=True)
    running.up()
    yield running
    cluster.down()


@pytest.fixture(scope="session")
def cassandra(servers: Cluster) -> Iterator[Cassandra]:
    """One node with TLS and a password."""
    running = Cassandra(servers)
    running.up()
    yield running
    servers.down(["cassandra"])


@pytest.fixture(scope="session")
def postgresql(servers: Cluster) -> Iterator[PostgreSQL]:
    """One server with `wal_level=logical`."""
    try:
        postgresql_server.program("postgres")
    except Refused as missing:
        pytest.skip(str(missing))
    servers.up([postgresql_server.Server()])
    yield PostgreSQL(servers)
    servers.down(["postgresql"])


@pytest.fixture(scope="session")
def connect(kafka: Kafka) -> Iterator[Connect]:
    """One worker beside the broker of `kafka`."""
    recipe = connect_worker.Connect(broker=Broker(secure=False))
    kafka.cluster.up([recipe])
    yield Connect(kafka.cluster, recipe)
    kafka.cluster.down(["connect"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A first test starts its servers, which on a busy machine takes minutes."""
    for item in items:
        if "tests/cluster/" in item.nodeid and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))
