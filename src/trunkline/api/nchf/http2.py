"""An HTTP/2 server for network functions: prior knowledge in cleartext, or TLS (3GPP TS 29.500 clauses 5.2 and 5.3).

It speaks RFC 9113 itself and calls a service without a task for each request, because a server of general purpose, and
a protocol machine of general purpose after it, spent more on a request than all of charging does
(docs/decisions/0041, 0052). It takes short requests and gives short answers, bounds what one connection may hold, and
ends connections that break the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast

import hpack

from trunkline.api.nchf import frames
from trunkline.api.nchf.frames import Broken, Code, Headers, Setting, StreamBroken

Reply = Callable[[int, Headers, bytes], None]  # status, headers and body; called in the server's thread

STREAMS_MAX = 1000  # requests at once on one connection
BODY_OCTETS_MAX = 256 << 10
HELD_OCTETS_MAX = 8 << 20  # of the unfinished requests of one connection
STREAM_OCTETS = 512 << 10  # that a stream may send before it waits for more room
HEADER_OCTETS_MAX = 16 << 10
BLOCK_OCTETS_MAX = 32 << 10  # of one header block as it is sent
BLOCK_FRAMES_MAX = 64  # CONTINUATION frames of one header block (CVE-2024-27316)
RESETS_MAX = 1000  # requests that a connection may take back before it is ended (CVE-2023-44487)
CHATTER_MAX = 10_000  # frames in a row that ask for nothing (CVE-2019-9512, 9515, 9518)
UNREAD_OCTETS_MAX = 16 << 20  # of answers that the other side does not take
IDLE_S = 3600.0  # a network function keeps its connections
HANDSHAKE_S = 10.0
TICK_S = 0.5
_OF_A_CONNECTION = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")


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


class _Stream:
    """A request that comes, is being answered, or whose answer waits for room."""

    __slots__ = (
        "authorization", "body", "ended", "length", "method", "path", "room", "taken", "told", "too_large", "unsent",
    )  # fmt: skip

    def __init__(self, method: bytes, path: bytes, authorization: bytes, length: int, room: int) -> None:
        self.method, self.path, self.authorization = method, path, authorization
        self.length = length  # of the body as the request says; -1 where it does not
        self.body = bytearray()
        self.told = 0  # octets of the body so far
        self.taken = 0  # octets for which no new room was given
        self.too_large = self.ended = False
        self.room = room  # octets that the other side takes
        self.unsent = b""


class Connection(asyncio.Protocol):
    """One connection with many requests on it at once."""

    def __init__(self, service: Service, open_ones: set[Connection]) -> None:
        """Speak when connected."""
        self._service, self._open_ones = service, open_ones
        self._streams: dict[int, _Stream] = {}
        self._unsent: set[int] = set()  # streams whose body waits for the window of the other side
        self._out: list[bytes] = []
        self._in = b""
        self._greeted = self._set = self._leaving = self._flushing = False
        self._last = 0  # the highest stream that was begun
        self._room = self._first_room = (
            frames.WINDOW_OCTETS
        )  # that the other side takes: all streams, a new one
        self._may_send = frames.WINDOW_OCTETS + HELD_OCTETS_MAX  # the other side, in all
        self._largest_frame = frames.FRAME_OCTETS_MAX
        self._held_octets = self._resets = self._chatter = 0
        self._block: tuple[int, bool, bytearray] | None = (
            None  # stream, its end, and octets of a header block
        )
        self._block_frames = 0
        self._hpack = hpack.Decoder(HEADER_OCTETS_MAX)
        self.last_s = time.monotonic()

    # -- the line ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        self._transport = cast("asyncio.Transport", transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._transport.abort()  # nothing but HTTP/2 is spoken here
            return
        self._out += [
            frames.settings({
                Setting.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                Setting.INITIAL_WINDOW_SIZE: STREAM_OCTETS,
                Setting.MAX_HEADER_LIST_SIZE: HEADER_OCTETS_MAX,
            }),
            frames.window_update(0, HELD_OCTETS_MAX),
        ]  # fmt: skip
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
            self._cut(self._in + data if self._in else data)
            if self._held_octets > HELD_OCTETS_MAX or self._resets > RESETS_MAX:
                raise Broken(Code.ENHANCE_YOUR_CALM, "too much is asked and not finished")  # noqa: TRY301 -- ends here like all others
            if self._chatter > CHATTER_MAX:
                raise Broken(Code.ENHANCE_YOUR_CALM, "nothing is asked")  # noqa: TRY301
        except Broken as broken:
            self._end(broken.code)
            return
        self._flush()

    def _cut(self, octets: bytes) -> None:
        """Take frame after frame; what is left of the last one waits."""
        at, end = 0, len(octets)
        if not self._greeted:
            begun = octets[: len(frames.PREFACE)]
            if not frames.PREFACE.startswith(begun):
                raise Broken(Code.PROTOCOL_ERROR, "this is not HTTP/2 with prior knowledge")
            if len(begun) < len(frames.PREFACE):
                self._in = octets
                return
            self._greeted, at = True, len(frames.PREFACE)
        while end - at >= frames.HEAD_OCTETS:
            length = octets[at] << 16 | octets[at + 1] << 8 | octets[at + 2]
            if length > frames.FRAME_OCTETS_MAX:
                raise Broken(Code.FRAME_SIZE_ERROR, "a frame is longer than we take")
            first = at + frames.HEAD_OCTETS
            if end - first < length:
                break
            kind, flags = octets[at + 3], octets[at + 4]
            stream = int.from_bytes(octets[at + 5 : first], "big") & 0x7FFFFFFF
            at = first + length
            try:
                self._take(kind, flags, stream, octets[first:at])
            except StreamBroken as broken:
                self._break(broken)
        self._in = octets[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream != self._block[0]):
            raise Broken(Code.PROTOCOL_ERROR, "a header block was not finished")
        if not self._set:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise Broken(Code.PROTOCOL_ERROR, "settings come first")
            self._set = True
        if kind == frames.DATA:
            self._data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._headers(flags, stream, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._window(stream, payload)
        elif kind == frames.CONTINUATION:
            self._continuation(flags, payload)
        elif kind == frames.SETTINGS:
            self._settings(flags, stream, payload)
        elif kind == frames.PING:
            self._ping(flags, stream, payload)
        elif kind == frames.RST_STREAM:
            self._reset(stream, payload)
        elif kind == frames.GOAWAY:
            self._goaway(stream, payload)
        elif kind == frames.PRIORITY:
            self._priority(stream, payload)
        elif kind == frames.PUSH_PROMISE:
            raise Broken(Code.PROTOCOL_ERROR, "a client pushes nothing")
        else:
            self._chatter += 1  # an extension that we do not know (RFC 9113 5.5)

    # -- requests ------------------------------------------------------------------------------------------

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream & 1:
            raise Broken(Code.PROTOCOL_ERROR, "clients begin odd streams")
        block = frames.unpadded(flags, payload)
        if flags & frames.WITH_PRIORITY:
            if len(block) < 5:
                raise Broken(Code.FRAME_SIZE_ERROR, "the priority is missing")
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._begun(stream, block, ends=bool(flags & frames.END_STREAM))
        else:
            self._block, self._block_frames = (stream, bool(flags & frames.END_STREAM), bytearray(block)), 0

    def _continuation(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise Broken(Code.PROTOCOL_ERROR, "there is nothing to continue")
        stream, ends, block = self._block
        block += payload
        self._block_frames += 1
        if len(block) > BLOCK_OCTETS_MAX or self._block_frames > BLOCK_FRAMES_MAX:
            raise Broken(Code.ENHANCE_YOUR_CALM, "a header block is too long")
        if flags & frames.END_HEADERS:
            self._block = None
            self._begun(stream, bytes(block), ends=ends)

    def _begun(self, stream: int, block: bytes, *, ends: bool) -> None:
        """A header block is whole: a new request, or what trails the body of one."""
        try:
            told = cast("Iterable[tuple[bytes, bytes]]", self._hpack.decode(block, raw=True))
        except hpack.OversizedHeaderListError:
            raise Broken(Code.ENHANCE_YOUR_CALM, "a header block is too long") from None
        except hpack.HPACKError:
            raise Broken(Code.COMPRESSION_ERROR, "a header block cannot be read") from None
        known = self._streams.get(stream)
        if stream <= self._last:
            if known is None or known.ended:
                raise Broken(Code.STREAM_CLOSED, "the stream has ended")
            if not ends or any(name[:1] == b":" for name, _ in told):
                raise StreamBroken(stream, Code.PROTOCOL_ERROR)  # trailers end a request
            self._ended(stream, known)
            return
        self._last = stream
        if len(self._streams) >= STREAMS_MAX or self._leaving:
            raise StreamBroken(stream, Code.REFUSED_STREAM)
        known = self._streams[stream] = _request(stream, told, self._first_room)
        if ends:
            self._ended(stream, known)

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        octets = len(payload)
        if stream == 0 or stream > self._last:
            raise Broken(Code.PROTOCOL_ERROR, "data of no request")
        self._may_send -= octets
        if self._may_send < 0:
            raise Broken(Code.FLOW_CONTROL_ERROR, "more is sent than there is room for")
        if self._may_send < HELD_OCTETS_MAX // 2:
            room = frames.WINDOW_OCTETS + HELD_OCTETS_MAX - self._may_send
            self._out.append(frames.window_update(0, room))
            self._may_send += room
        known = self._streams.get(stream)
        if known is None or known.ended:
            raise StreamBroken(stream, Code.STREAM_CLOSED)
        body = frames.unpadded(flags, payload)
        known.taken += octets
        if known.taken > STREAM_OCTETS:
            raise StreamBroken(stream, Code.FLOW_CONTROL_ERROR)
        self._keep(known, body)
        if flags & frames.END_STREAM:
            self._ended(stream, known)
        elif known.taken > STREAM_OCTETS // 2:
            self._out.append(frames.window_update(stream, known.taken))
            known.taken = 0
        if not body:
            self._chatter += 1

    def _keep(self, known: _Stream, body: bytes) -> None:
        """Put octets behind those of a request; of one that is too large none are kept."""
        known.told += len(body)
        if known.too_large:
            return
        known.body += body
        self._held_octets += len(body)
        if len(known.body) > BODY_OCTETS_MAX:
            self._held_octets -= len(known.body)
            known.too_large, known.body = True, bytearray()

    def _ended(self, stream: int, known: _Stream) -> None:
        if known.length not in (-1, known.told):
            raise StreamBroken(stream, Code.PROTOCOL_ERROR)
        known.ended = True
        self.last_s = time.monotonic()
        self._chatter = 0
        self._held_octets -= len(known.body)
        body, known.body = bytes(known.body), bytearray()

        def reply(status: int, headers: Headers, told: bytes) -> None:
            self._reply(stream, status, headers, told)

        self._service.answer(
            Request(known.method, known.path, known.authorization, body, known.too_large), reply
        )

    # -- answers -------------------------------------------------------------------------------------------

    def _reply(self, stream: int, status: int, headers: Headers, body: bytes) -> None:
        known = self._streams.get(stream)
        if known is None or self._transport.is_closing():
            return  # it was taken back meanwhile
        block = frames.header_block(status, headers)
        if known.method == b"HEAD":
            body = b""
        flags = frames.END_HEADERS | (0 if body else frames.END_STREAM)
        self._out.append(frames.frame(frames.HEADERS, flags, stream, block))
        known.unsent = body
        if body:
            self._unsent.add(stream)
            self._send_body(stream, known)
        else:
            self._close_stream(stream)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _send_body(self, stream: int, known: _Stream) -> None:
        """Send what the windows let through."""
        while known.unsent:
            octets = min(known.room, self._room, self._largest_frame, len(known.unsent))
            if octets <= 0:
                return
            part, known.unsent = known.unsent[:octets], known.unsent[octets:]
            known.room -= octets
            self._room -= octets
            flags = 0 if known.unsent else frames.END_STREAM
            self._out.append(frames.frame(frames.DATA, flags, stream, part))
        self._unsent.discard(stream)
        self._close_stream(stream)

    def _send_bodies(self) -> None:
        """There is more room: the oldest requests come first."""
        for stream in sorted(self._unsent):
            self._send_body(stream, self._streams[stream])

    def _close_stream(self, stream: int) -> None:
        """A request is answered."""
        self._forget(stream)
        if self._leaving and not self._streams:
            self._flush()
            self._transport.close()

    def _forget(self, stream: int) -> None:
        known = self._streams.pop(stream, None)
        if known is not None:
            self._held_octets -= len(known.body)
            self._unsent.discard(stream)

    def _flush(self) -> None:
        self._flushing = False
        if self._out and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
            if self._transport.get_write_buffer_size() > UNREAD_OCTETS_MAX:
                self._transport.abort()
        self._out.clear()

    # -- frames about the connection -----------------------------------------------------------------------

    def _window(self, stream: int, payload: bytes) -> None:
        octets = frames.number_in(payload) & frames.WINDOW_OCTETS_MAX
        known = self._streams.get(stream)
        if stream > self._last:
            raise Broken(Code.PROTOCOL_ERROR, "room for no request")
        if octets == 0 and stream:
            raise StreamBroken(stream, Code.PROTOCOL_ERROR)
        if octets == 0:
            raise Broken(Code.PROTOCOL_ERROR, "no room is given")
        self._chatter += 1
        if stream == 0:
            self._room += octets
            if self._room > frames.WINDOW_OCTETS_MAX:
                raise Broken(Code.FLOW_CONTROL_ERROR, "more room than there may be")
            self._send_bodies()
        elif known is not None:
            known.room += octets
            if known.room > frames.WINDOW_OCTETS_MAX:
                raise StreamBroken(stream, Code.FLOW_CONTROL_ERROR)
            if known.unsent:
                self._send_body(stream, known)

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        self._chatter += 1
        if stream:
            raise Broken(Code.PROTOCOL_ERROR, "settings are about the connection")
        if flags & frames.ACK:
            if payload:
                raise Broken(Code.FRAME_SIZE_ERROR, "what is acknowledged is not said again")
            return
        for name, value in frames.settings_in(payload):
            if name == Setting.INITIAL_WINDOW_SIZE:
                self._new_window(value)
            elif name == Setting.MAX_FRAME_SIZE:
                if not frames.FRAME_OCTETS_MAX <= value < 1 << 24:
                    raise Broken(Code.PROTOCOL_ERROR, "no frame may be so long")
                self._largest_frame = min(value, 1 << 17)
            elif name == Setting.ENABLE_PUSH and value > 1:
                raise Broken(Code.PROTOCOL_ERROR, "yes or no is expected")
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._send_bodies()

    def _new_window(self, octets: int) -> None:
        """The other side changes the room that its streams have; it may become less than nothing."""
        if octets > frames.WINDOW_OCTETS_MAX:
            raise Broken(Code.FLOW_CONTROL_ERROR, "more room than there may be")
        change, self._first_room = octets - self._first_room, octets
        for known in self._streams.values():
            known.room += change
            if known.room > frames.WINDOW_OCTETS_MAX:
                raise Broken(Code.FLOW_CONTROL_ERROR, "more room than there may be")

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        self._chatter += 1
        if stream:
            raise Broken(Code.PROTOCOL_ERROR, "a ping is about the connection")
        if len(payload) != 8:
            raise Broken(Code.FRAME_SIZE_ERROR, "eight octets are expected")
        if not flags & frames.ACK:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _reset(self, stream: int, payload: bytes) -> None:
        frames.number_in(payload)
        if stream == 0 or stream > self._last:
            raise Broken(Code.PROTOCOL_ERROR, "no such request was begun")
        self._resets += 1
        self._forget(stream)

    def _goaway(self, stream: int, payload: bytes) -> None:
        """The other side begins nothing more; what it has asked is answered."""
        if stream or len(payload) < 8:
            raise Broken(Code.PROTOCOL_ERROR, "a goodbye is about the connection")
        self._leaving = True
        if not self._streams:
            self._flush()
            self._transport.close()

    def _priority(self, stream: int, payload: bytes) -> None:
        """Of no effect since RFC 9113."""
        self._chatter += 1
        if stream == 0:
            raise Broken(Code.PROTOCOL_ERROR, "a priority is about a stream")
        if len(payload) != 5:
            raise StreamBroken(stream, Code.FRAME_SIZE_ERROR)

    def _break(self, broken: StreamBroken) -> None:
        """End one stream; the others go on."""
        self._resets += broken.code != Code.REFUSED_STREAM
        self._forget(broken.stream)
        self._out.append(frames.reset(broken.stream, broken.code))

    def _end(self, code: Code) -> None:
        """End the connection, and say why."""
        self._out.append(frames.goaway(self._last, code))
        self._flush()
        self._transport.close()

    def close(self) -> None:
        """Say goodbye."""
        self._end(Code.NO_ERROR)


def _request(stream: int, told: Iterable[tuple[bytes, bytes]], room: int) -> _Stream:
    """A request by its header fields (RFC 9113 8.2 and 8.3); one that is malformed is refused."""
    fields: dict[bytes, bytes] = {}
    regular = False
    for name, value in told:
        if name[:1] == b":":
            if regular or name in fields or name not in (b":method", b":path", b":scheme", b":authority"):
                raise StreamBroken(stream, Code.PROTOCOL_ERROR)
        else:
            regular = True
            if name != name.lower() or name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
                raise StreamBroken(stream, Code.PROTOCOL_ERROR)
        fields[name] = value
    length = fields.get(b"content-length")
    if not fields.get(b":path") or b":method" not in fields or b":scheme" not in fields:
        raise StreamBroken(stream, Code.PROTOCOL_ERROR)
    if length is not None and not (length.isdigit() and len(length) < 16):
        raise StreamBroken(stream, Code.PROTOCOL_ERROR)
    told_octets = -1 if length is None else int(length)
    return _Stream(fields[b":method"], fields[b":path"], fields.get(b"authorization", b""), told_octets, room)


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
    listener: socket.socket, service: Service, tls: ssl.SSLContext | None, over: asyncio.Event
) -> None:
    """Answer what comes to a bound socket, until it is over."""
    open_ones: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(service, open_ones),
        sock=listener,
        ssl=tls,
        ssl_handshake_timeout=HANDSHAKE_S if tls else None,
    )
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), TICK_S)
        service.tick()
        idle_s = time.monotonic() - IDLE_S
        for connection in [each for each in open_ones if each.last_s < idle_s]:
            connection.close()
    server.close()
    for connection in list(open_ones):
        connection.close()
    await asyncio.sleep(0)
