"""What tests of listeners share: listeners that run in a thread, and a spool in memory that may be full."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.waiting import until
from trunkline.engines.listeners.listeners import Listeners
from trunkline.kernel.envelope import Envelope, unescaped, unwrap
from trunkline.ports import Busy

LOOPBACK = ("127.0.0.1", 0)


@dataclass
class Spool:
    """Keeps what is appended; while `full` it says that it is busy, as the platform does."""

    appended: list[tuple[str, bytes]] = field(default_factory=list)
    full: bool = False

    def take(self, mapping: str, octets: bytes) -> None:
        """Append whole lines."""
        assert octets.endswith(b"\n")
        if self.full:
            raise Busy(1)
        self.appended.append((mapping, octets))

    def envelopes(self, mapping: str = "syslog") -> list[Envelope]:
        """Everything that came for a mapping, out of its lines."""
        found = []
        for name, octets in list(self.appended):
            for line in octets.splitlines() if name == mapping else ():
                envelope = unwrap(line)
                assert envelope is not None, line[:80]
                found.append(envelope)
        return found

    def messages(self, mapping: str = "syslog") -> list[bytes]:
        """The messages among them."""
        return [unescaped(one.message) for one in self.envelopes(mapping) if not one.notice]

    def notices(self, mapping: str = "syslog") -> dict[str, int]:
        """How much was refused, by notice."""
        counts: dict[str, int] = {}
        for one in self.envelopes(mapping):
            if one.notice:
                counts[one.notice] = counts.get(one.notice, 0) + one.count
        return counts


@contextmanager
def running(listeners: Listeners) -> Iterator[Listeners]:
    """Run until the block ends; whatever went wrong in a thread is raised."""
    stop, opened = threading.Event(), threading.Event()
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            listeners.run(stop, opened.set)
        except BaseException as error:  # noqa: BLE001 -- raised again below
            trouble.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: opened.is_set() or trouble, "the listeners to open", 30)
        yield listeners
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
    if trouble:
        raise trouble[0]


def send(port: int, *datagrams: bytes) -> None:
    """Datagrams over loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for datagram in datagrams:
            out.sendto(datagram, ("127.0.0.1", port))


def stream(port: int, octets: bytes) -> None:
    """A connection that sends and ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as out:
        out.sendall(octets)
