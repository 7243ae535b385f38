"""Telling network functions that a session may ask again, or has ended here (TS 32.291 5.2.2.5).

Who was granted his last units and has topped up since is told REAUTHORIZATION, so that he need not wait for the end of
the quota's validity; a session that vanished and was closed is told ABORT_CHARGING. Sent over HTTP/2, once: a network
function that does not hear it asks again by itself when the validity of its quota ends.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import h2.connection
import h2.events
import h2.exceptions
import orjson

from trunkline.api.callbacks import PATIENCE_S, Callbacks
from trunkline.api.problems import Problem

log = logging.getLogger("trunkline.nchf")

SESSIONS_MAX = 1_000_000


@dataclass
class _Session:
    uri: str
    subscriber: int


class Notifier:
    """Remembers where open sessions want to be told, and tells them. Any thread may call."""

    def __init__(self, callbacks: Callbacks) -> None:
        """Nothing is told before `run`."""
        self._callbacks = callbacks
        self._lock = threading.Lock()
        self._sessions: dict[int, _Session] = {}
        self._limited: dict[
            int, dict[int, list[int]]
        ] = {}  # subscriber: session: groups that got their last units
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(10_000)

    def opened(self, session: int, subscriber: int, uri: str) -> None:
        """A session was opened and says where it wants to be told."""
        with self._lock:
            if len(self._sessions) < SESSIONS_MAX:
                self._sessions[session] = _Session(uri, subscriber)

    def answered(self, session: int, limited: Sequence[int]) -> None:
        """These rating groups of a session got fewer units than they asked for; none when all got all."""
        with self._lock:
            known = self._sessions.get(session)
            if known is None:
                return
            sessions = self._limited.setdefault(known.subscriber, {})
            if limited:
                sessions[session] = list(limited)
            else:
                sessions.pop(session, None)
            if not sessions:
                del self._limited[known.subscriber]

    def topped_up(self, subscriber: int) -> None:
        """There is more in the account than when quotas were last granted."""
        with self._lock:
            limited = self._limited.pop(subscriber, {})
            told = [(self._sessions[session].uri, groups) for session, groups in limited.items()]
        for uri, groups in told:
            self._tell(uri, {
                "notificationType": "REAUTHORIZATION",
                "reauthorizationDetails": [{"ratingGroup": group} for group in groups],
            })  # fmt: skip

    def ended(self, session: int, *, vanished: bool) -> None:
        """A session was released, or closed because nothing was heard of it."""
        with self._lock:
            known = self._sessions.pop(session, None)
            if known is not None and known.subscriber in self._limited:
                self._limited[known.subscriber].pop(session, None)
        if known is not None and vanished:
            self._tell(known.uri, {"notificationType": "ABORT_CHARGING"})

    def _tell(self, uri: str, body: dict[str, object]) -> None:
        try:
            self._waiting.put_nowait((uri, orjson.dumps(body)))
        except queue.Full:
            log.warning("too many notifications wait; one was left out")

    def run(self, stop: threading.Event) -> None:
        """Send what waits, one after another, until told to stop."""
        while not stop.is_set():
            try:
                uri, body = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                status = post(self._callbacks, uri, body)
            except (OSError, Problem, h2.exceptions.ProtocolError) as error:
                log.warning("a notification was not taken: %s", type(error).__name__)
                continue
            if not 200 <= status < 300:
                log.warning("a notification was answered with %d", status)


def post(callbacks: Callbacks, uri: str, body: bytes) -> int:
    """One POST over HTTP/2, with prior knowledge or by ALPN; the status that is answered."""
    parts = urlsplit(uri)
    line = callbacks.connected(uri, ("h2",))
    line.settimeout(PATIENCE_S)
    with line:
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, [
            (":method", "POST"),
            (":path", (parts.path or "/") + (f"?{parts.query}" if parts.query else "")),
            (":scheme", parts.scheme),
            (":authority", parts.netloc),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ])  # fmt: skip
        connection.send_data(stream, body, end_stream=True)
        while True:
            line.sendall(connection.data_to_send())
            octets = line.recv(65_536)
            if not octets:
                raise ConnectionError("the line was closed before an answer came")
            for event in connection.receive_data(octets):
                if isinstance(event, h2.events.ResponseReceived):
                    return next(int(value) for name, value in event.headers if name == b":status")
                if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise ConnectionError("the request was refused")
