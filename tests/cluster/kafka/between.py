"""A hand between a client and its broker: it passes everything on, and may hold a request back or lose an answer.

Clients ask brokers where brokers are, so in every answer but what is fetched the broker's port is replaced by ours
(host and port stand next to each other in the protocol's answers). Requests are known by their first four octets:
`api_key` and `api_version` (Kafka protocol guide, "Request Header").
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

PRODUCE, FETCH, ADD_OFFSETS, END, OFFSETS = 0, 1, 25, 26, 28  # api keys (Kafka protocol guide, "API Keys")
_FLEXIBLE_END = 3  # from this version of EndTxn on, a field of tags stands at its end
_HOST = b"127.0.0.1"


class Fate(Enum):
    """What becomes of a request."""

    PASS = auto()
    LOSE_REQUEST = auto()  # the connection is cut before the broker hears of it
    LOSE_ANSWER = auto()  # the broker does it, and the connection is cut instead of its answer


@dataclass(frozen=True)
class Request:
    """One request of a client."""

    api: int
    version: int
    frame: bytes

    @property
    def commits(self) -> bool:
        """Whether it ends a transaction by committing it."""
        return self.api == END and self.frame[-2 if self.version >= _FLEXIBLE_END else -1] == 1


class Between:
    """Listens on a free port of loopback for as long as it is open."""

    def __init__(self, broker: str, decide: Callable[[Request], Fate]) -> None:
        """`decide` sees each request before the broker does; while it waits, so does the client."""
        host, _, port = broker.partition(":")
        self._broker, self._decide = (host, int(port)), decide
        self._listening = socket.create_server((_HOST.decode(), 0))
        self._open: set[socket.socket] = set()
        self.address = f"{_HOST.decode()}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        self._listening.close()
        for each in list(self._open):
            _cut(each)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._broker) as broker:
            self._open |= {client, broker}
            asked: dict[int, tuple[int, Fate]] = {}
            back = threading.Thread(target=self._answers, args=(broker, client, asked), daemon=True)
            back.start()
            try:
                while frame := _frame(client):
                    api, version, number = struct.unpack_from(">hhi", frame)
                    fate = self._decide(Request(api, version, frame))
                    if fate is Fate.LOSE_REQUEST:
                        break
                    asked[number] = api, fate
                    broker.sendall(struct.pack(">i", len(frame)) + frame)
            finally:
                _cut(client)
                _cut(broker)
                back.join()
                self._open -= {client, broker}

    def _answers(
        self, broker: socket.socket, client: socket.socket, asked: dict[int, tuple[int, Fate]]
    ) -> None:
        theirs = _HOST + struct.pack(">i", self._broker[1])
        ours = _HOST + struct.pack(">i", self._listening_port)
        with suppress(OSError):
            while frame := _frame(broker):
                api, fate = asked.pop(struct.unpack_from(">i", frame)[0])
                if fate is Fate.LOSE_ANSWER:
                    break
                frame = frame if api == FETCH else frame.replace(theirs, ours)
                client.sendall(struct.pack(">i", len(frame)) + frame)
        _cut(client)
        _cut(broker)

    @property
    def _listening_port(self) -> int:
        return int(self.address.rpartition(":")[2])


def _frame(whose: socket.socket) -> bytes:
    """The next request or answer; empty at the end."""
    head = _octets(whose, 4)
    return _octets(whose, struct.unpack(">i", head)[0]) if head else b""


def _octets(whose: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = whose.recv(count - len(found))
        if not part:
            return b""
        found += part
    return bytes(found)


def _cut(whose: socket.socket) -> None:
    with suppress(OSError):
        whose.shutdown(socket.SHUT_RDWR)
