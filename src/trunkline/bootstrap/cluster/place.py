"""What every server of the profile is made of: a folder, ports, secrets, and a way to ask who answers."""

from __future__ import annotations

import secrets
import shutil
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trunkline.bootstrap.cluster.artifacts import fetched, pinned
from trunkline.ports import Refused

LOOPBACK = "127.0.0.1"
_PORTS = range(15_000, 32_000)


@dataclass(frozen=True)
class Place:
    """Where one server lives. `ports` has those of all the cluster's servers, by `server.port`."""

    name: str
    folder: Path
    secrets: Path
    jars: Path
    cluster_id: str
    ports: dict[str, int]

    def port(self, name: str) -> int:
        """One of this server's own ports."""
        return self.ports[f"{self.name}.{name}"]

    def java(self, artifacts: str, *, heap_mb: int) -> list[str]:
        """The beginning of a Java command: the program, its memory and its jars; the main class comes next."""
        jars = fetched(pinned(artifacts), self.jars)
        memory = [f"-Xms{heap_mb // 2}m", f"-Xmx{heap_mb}m"]
        return [
            java(),
            *memory,
            "-Djava.net.preferIPv4Stack=true",
            "-cp",
            f"{self.folder / 'conf'}:{jars}/*",
        ]


class Recipe(Protocol):
    """How one server is prepared, started, and recognised."""

    @property
    def name(self) -> str:
        """Its name within the cluster."""

    @property
    def wave(self) -> int:
        """When it is started: those of a later wave need those of the earlier ones."""

    @property
    def port_names(self) -> tuple[str, ...]:
        """The ports that it listens on."""

    def command(self, place: Place) -> list[str]:
        """Write its configuration (and, the first time, its data folder); how it is started."""

    def answers(self, place: Place) -> bool:
        """Whether this very server answers; False while it is not yet ready. Raises `Refused` at a stranger."""

    def settle(self, place: Place) -> None:
        """What is to be done once it answers, such as its first account; may be done again."""


def java() -> str:
    """The Java that runs the servers."""
    found = shutil.which("java")
    if found is None:
        raise Refused(
            "Java is not installed, and the servers run on it (17 or newer)."
            " On Debian and Ubuntu: apt-get install default-jre-headless maven"
        )
    return found


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now; held together, so that they differ.

    They are below those that the system gives to clients: a client that calls a dead server's port again and again
    would one day be given that very port as its own, and the server could not come back.
    """
    held: list[socket.socket] = []
    first = _PORTS.start + secrets.randbelow(len(_PORTS))
    try:
        for at in range(len(_PORTS)):
            if len(held) == count:
                return [each.getsockname()[1] for each in held]
            each = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(each)
            try:
                each.bind((LOOPBACK, _PORTS.start + (first + at) % len(_PORTS)))
            except OSError:
                held.pop().close()
        raise Refused(f"There are no {count} free ports between {_PORTS.start} and {_PORTS.stop}.")
    finally:
        for each in held:
            each.close()


def require_free(ports: Iterable[tuple[str, int]]) -> None:
    """Raise `Refused` when somebody listens on a port that a server of ours is to have."""
    for name, port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                raise Refused(
                    f"Port {port} ({name}) is taken by another program. Stop that, or start a cluster in"
                    " another folder, which takes other ports."
                ) from error


def listens(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0
