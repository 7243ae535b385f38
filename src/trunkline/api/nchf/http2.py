"""An HTTP/2 server for network functions: prior knowledge in cleartext, or TLS (3GPP TS 29.500 clauses 5.2 and 5.3).

It stands right on the `h2` protocol machine and calls a service without a task for each request, because a server of
general purpose spent more on a request than all of charging does (docs/decisions/0041). It takes short requests and
gives short answers, bounds what one connection may hold, and ends connections that break the rules of RFC 9113.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

Headers = list[tuple[bytes, bytes]]
Reply = Callable[[int, Headers, bytes], None]  # status, headers and body; called in the server's thread

STREAMS_MAX = 1000  # requests at once on one connection
BODY_OCTETS_MAX = 256 << 10
HELD_OCTETS_MAX = 8 << 20  # of the unfinished requests of one connection
HEADER_OCTETS_MAX = 16 << 10
RESETS_MAX = 1000  # requests that a connection may take back before it is ended (CVE-2023-44487)
IDLE_S = 3600.0  # a network function keeps its connections
HANDSHAKE_S = 10.0
TICK_S = 0.5


@dataclass
class Request:
    """A request whose body is there."""

    method: bytes
    path: bytes
    authorization: bytes
    body: bytes
    too_large: bool


class Service(Protocol):
    """What answers requests, in the server's thread."""

    def answer(self, request: Request, reply: Reply) -> None:
        """Call `reply` once, now or later."""

    def tick(self) -> None:
        """Called a few times a second: a time to give up what waits for too long."""


@dataclass
class _Stream:
    method: bytes
    path: bytes
    authorization: bytes
    body: bytearray = field(default_factory=bytearray)
    too_large: bool = False


class Connection(asyncio.Protocol):
    """One connection with many requests on it at once."""

    def __init__(self, service: Service, open_ones: set[Connection]) -> None:
        """Speak when connected."""
        self._service, self._open_ones = service, open_ones
        self._streams: dict[int, _Stream] = {}
        self._unsent: dict[int, bytes] = {}  # bodies that wait for the window of the other side
        self._held_octets = self._resets = 0
        self._flushing = False
        self.last_s = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._transport.abort()  # nothing but HTTP/2 is spoken here
            return
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding=None,
                normalize_outbound_headers=False,
                validate_outbound_headers=False,
            )
        )
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_OCTETS_MAX,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(
            HELD_OCTETS_MAX
        )  # of the connection; each stream keeps its own
        self._open_ones.add(self)
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        """Nobody waits for answers any more."""
        self._open_ones.discard(self)
        self._streams.clear()
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        """Take what came; a breach of the protocol ends the connection."""
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError:
            self._flush()
            self._transport.close()
            return
        if self._held_octets > HELD_OCTETS_MAX or self._resets > RESETS_MAX:
            self._h2.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            self._transport.close()
            return
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._body(event)
        elif isinstance(event, h2.events.RequestReceived):
            assert event.stream_id is not None
            told = {bytes(name): bytes(value) for name, value in event.headers or ()}
            self._streams[event.stream_id] = _Stream(
                told.get(b":method", b""), told.get(b":path", b""), told.get(b"authorization", b"")
            )
        elif isinstance(event, h2.events.StreamEnded):
            self._ended(event)
        elif isinstance(event, h2.events.StreamReset):
            self._resets += 1
            self._forget(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for stream in list(self._unsent):
                self._send_body(stream)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._transport.close()

    def _body(self, event: h2.events.DataReceived) -> None:
        stream, octets = event.stream_id, event.data or b""
        assert stream is not None
        known = self._streams.get(stream)
        if known is not None and not known.too_large:
            known.body += octets
            self._held_octets += len(octets)
            if len(known.body) > BODY_OCTETS_MAX:
                self._held_octets -= len(known.body)
                known.too_large, known.body = True, bytearray()
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, stream)

    def _ended(self, event: h2.events.StreamEnded) -> None:
        stream = event.stream_id
        assert stream is not None
        known = self._streams.get(stream)
        if known is None:
            return
        self.last_s = time.monotonic()
        self._held_octets -= len(known.body)
        body, known.body = bytes(known.body), bytearray()

        def reply(status: int, headers: Headers, told: bytes) -> None:
            self._reply(stream, status, headers, told)

        self._service.answer(
            Request(known.method, known.path, known.authorization, body, known.too_large), reply
        )

    def _reply(self, stream: int, status: int, headers: Headers, body: bytes) -> None:
        if self._streams.pop(stream, None) is None or self._transport.is_closing():
            return  # it was taken back meanwhile
        try:
            self._h2.send_headers(stream, [(b":status", b"%d" % status), *headers], end_stream=not body)
            if body:
                self._unsent[stream] = body
                self._send_body(stream)
        except h2.exceptions.ProtocolError:
            self._unsent.pop(stream, None)  # the other side has closed the stream
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _send_body(self, stream: int) -> None:
        """Send what the windows let through."""
        try:
            while stream in self._unsent:
                body = self._unsent[stream]
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
                if room <= 0:
                    return
                self._h2.send_data(stream, body[:room], end_stream=room >= len(body))
                if room >= len(body):
                    del self._unsent[stream]
                else:
                    self._unsent[stream] = body[room:]
        except h2.exceptions.ProtocolError:
            self._unsent.pop(stream, None)

    def _forget(self, stream: int | None) -> None:
        if stream is not None:
            known = self._streams.pop(stream, None)
            self._held_octets -= len(known.body) if known is not None else 0
            self._unsent.pop(stream, None)

    def _flush(self) -> None:
        self._flushing = False
        octets = self._h2.data_to_send()
        if octets and not self._transport.is_closing():
            self._transport.write(octets)

    def close(self) -> None:
        """Say goodbye."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2.close_connection()
        self._flush()
        self._transport.close()


def tls_of(certificate: str, key: str, clients: str) -> ssl.SSLContext:
    """TLS for the server; with `clients`, only for those whose certificate one of these authorities has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key or None)
    if clients:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def serve(
    listener: socket.socket, service: Service, tls: ssl.SSLContext | None, stop: threading.Event
) -> None:
    """Answer what comes to a bound socket, until told to stop."""
    open_ones: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(service, open_ones),
        sock=listener,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_S if tls else None,
    )
    while not stop.is_set():
        await asyncio.sleep(TICK_S)  # another thread sets it
        service.tick()
        idle_s = time.monotonic() - IDLE_S
        for connection in [each for each in open_ones if each.last_s < idle_s]:
            connection.close()
    server.close()
    for connection in list(open_ones):
        connection.close()
    await asyncio.sleep(0)


class Mailbox:
    """Hands what other threads have for the server's thread over, with one wake-up for many."""

    def __init__(self) -> None:
        """Made in the server's thread, or before it runs."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = False

    def open(self) -> None:
        """The running loop is the one to wake."""
        self._loop = asyncio.get_running_loop()

    def put(self, call: Callable[[], None]) -> None:
        """Have something called in the server's thread; any thread may ask."""
        self._waiting.append(call)
        if not self._woken and self._loop is not None:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the server has stopped, and nobody waits
                self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._woken = False
        while self._waiting:
            self._waiting.popleft()()
