"""Where a network function is notified: a small HTTP/2 server that keeps what it is sent."""

from __future__ import annotations

import json
import queue
import socket
import threading
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded


class Ear:
    """A network function's notification address: an HTTP/2 server that keeps the bodies it is sent."""

    def __init__(self) -> None:
        """Listen on loopback."""
        self._bodies: queue.Queue[bytes] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.root = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        """Begin to hear."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hear no more."""
        self._listener.close()

    def heard(self) -> object:
        """The next body."""
        return json.loads(self._bodies.get(timeout=120))

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                line.settimeout(60)
                self._hear(line)

    def _hear(self, line: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        ended = False
        while not ended:
            line.sendall(connection.data_to_send())
            octets = line.recv(65_536)
            if not octets:
                return
            for event in connection.receive_data(octets):
                if isinstance(event, DataReceived):
                    self._bodies.put(event.data)
                if isinstance(event, StreamEnded):
                    connection.send_headers(event.stream_id, [(":status", "204")], end_stream=True)
                    ended = True
        line.sendall(connection.data_to_send())
