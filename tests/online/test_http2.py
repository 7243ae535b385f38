"""HTTP/2 as it is spoken to network functions, well and badly: no connection harms another, and none holds too much."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.api.nchf import http2
from trunkline.api.nchf.frames import PREFACE, Code, frame, header_block
from trunkline.api.nchf.http2 import BODY_OCTETS_MAX, STREAMS_MAX, Reply, Request, serve

PATIENCE_S = 120.0
FIELDS = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/echo"), (b":authority", b"here")]
BLOCK = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in FIELDS)


@dataclass
class Echo:
    """A service that says what it was told, at once, or when it is told to for paths that begin with /wait."""

    waiting: list[tuple[Request, Reply]] = field(default_factory=list)
    taken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    release: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: Request, reply: Reply) -> None:
        """Keep it, or answer."""
        if request.path.startswith(b"/wait"):
            self.waiting.append((request, reply))
            self.taken.release()
        else:
            self._echo(request, reply)

    def tick(self) -> None:
        """Answer what waits, once that is allowed."""
        while self.release.is_set() and self.waiting:
            self._echo(*self.waiting.pop())

    @staticmethod
    def _echo(request: Request, reply: Reply) -> None:
        status = 413 if request.too_large else 200
        body = request.method + b" " + request.path + b" " + request.body
        reply(status, [(b"content-type", b"text/plain"), (b"x-length", b"%d" % len(request.body))], body)


class Line:
    """A connection, and what came on it that nobody has looked at."""

    def __init__(self, port: int) -> None:
        """Connect; nothing is said yet."""
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = b""

    def __enter__(self) -> Self:
        """Keep it open for a block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it."""
        self._socket.close()

    def send(self, *said: bytes | Frame) -> None:
        """Say octets and frames."""
        self._socket.sendall(b"".join(each if isinstance(each, bytes) else each.serialize() for each in said))

    def last(self) -> None:
        """Nothing more will be said."""
        self._socket.shutdown(socket.SHUT_WR)

    def octets(self) -> bytes:
        """Octets that came; none when the other side has closed."""
        try:
            return self._socket.recv(65_536)
        except ConnectionResetError:
            return b""

    def frames(self) -> Iterator[Frame]:
        """What is said, until the line is closed."""
        while True:
            while len(self._left) >= 9:
                cut, length = Frame.parse_frame_header(memoryview(self._left[:9]))
                if len(self._left) < 9 + length:
                    break
                cut.parse_body(memoryview(self._left[9 : 9 + length]))
                self._left = self._left[9 + length :]
                yield cut
            more = self.octets()
            if not more:
                return
            self._left += more

    def until(self, kind: type[Frame], stream: int = 0) -> Any:
        """The next frame of a kind on a stream."""
        for each in self.frames():
            if isinstance(each, kind) and each.stream_id == stream and "ACK" not in each.flags:
                return each
        raise AssertionError("the line was closed")


@dataclass
class Server:
    """A running server."""

    port: int
    echo: Echo

    def line(self) -> Line:
        """A connection on which nothing is said yet."""
        return Line(self.port)

    def greeted(self, *frames: Frame) -> Line:
        """A connection on which the beginning, and some frames, are said."""
        line = self.line()
        line.send(PREFACE, SettingsFrame(0), *frames)
        return line


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all tests: what one does must not disturb the next."""
    echo, over, loop = Echo(), asyncio.Event(), asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(listener, echo, None, over)))
    thread.start()
    yield Server(listener.getsockname()[1], echo)
    loop.call_soon_threadsafe(over.set)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    loop.close()


@pytest.fixture(autouse=True)
def _others_are_served(server: Server) -> Iterator[None]:
    """Whatever a test does to its own connection, somebody else is answered before and after it."""
    with server.greeted() as other:
        peer = Peer(other)
        assert peer.post(b"/echo", b"before") == (200, b"POST /echo before")
        yield
        assert peer.post(b"/echo", b"after") == (200, b"POST /echo after")


class Peer:
    """A client by the book: `h2` on a socket."""

    def __init__(self, line: Line, *, window: int | None = None) -> None:
        """Go on after the greeting, or greet with a window of so many octets."""
        self.line, self.gives_room = line, window != 0
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        begun = self.h2.data_to_send()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            line.send(begun + self.h2.data_to_send())
        self.events: list[h2.events.Event] = []

    def begin(self, path: bytes, body: bytes, *more: tuple[bytes, bytes]) -> int:
        """Send a request whole; its stream."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(name, path if name == b":path" else value) for name, value in FIELDS]
        self.h2.send_headers(stream, [*fields, *more], end_stream=not body)
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.hear()
                continue
            self.h2.send_data(stream, body[:room], end_stream=room >= len(body))
            body = body[room:]
        self.line.send(self.h2.data_to_send())
        return stream

    def hear(self) -> None:
        """Take what comes."""
        self.line.send(self.h2.data_to_send())
        octets = self.line.octets()
        assert octets, "the line was closed"
        for event in self.h2.receive_data(octets):
            self.events.append(event)
            if isinstance(event, h2.events.DataReceived) and self.gives_room:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.line.send(self.h2.data_to_send())

    def answer(self, stream: int) -> tuple[int, bytes]:
        """Status and body of a request."""
        while True:
            mine = [event for event in self.events if getattr(event, "stream_id", None) == stream]
            assert not any(isinstance(event, h2.events.StreamReset) for event in mine), mine
            if any(isinstance(event, h2.events.StreamEnded) for event in mine):
                (told,) = (event for event in mine if isinstance(event, h2.events.ResponseReceived))
                body = b"".join(event.data for event in mine if isinstance(event, h2.events.DataReceived))
                return int(dict(told.headers)[b":status"]), body
            self.hear()

    def post(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        """One request and its answer."""
        return self.answer(self.begin(path, body))


def _ending(line: Line) -> int:
    """Why the server ended the connection."""
    with line:
        (last,) = (each for each in line.frames() if isinstance(each, GoAwayFrame))
        return last.error_code


def _request(stream: int, *flags: str, block: bytes = BLOCK) -> HeadersFrame:
    return HeadersFrame(stream, block, flags=["END_HEADERS", *flags])


def test_requests_are_answered_on_one_connection_and_each_by_its_own(server: Server) -> None:
    """Many at once, bodies of every length up to the largest, header fields that are indexed and not."""
    with server.line() as line:
        peer = Peer(line, window=1 << 20)
        bodies = [bytes([at]) * at**3 for at in range(60)] + [b"x" * BODY_OCTETS_MAX]
        streams = [peer.begin(b"/echo", body, (b"authorization", b"Bearer x")) for body in bodies]
        for stream, body in zip(streams, bodies, strict=True):
            assert peer.answer(stream) == (200, b"POST /echo " + body)
        assert peer.post(b"/echo", b"x" * (BODY_OCTETS_MAX + 1)) == (413, b"POST /echo ")
        assert peer.post(b"/echo", b"") == (200, b"POST /echo ")


def test_an_answer_waits_for_the_windows_of_the_other_side(server: Server) -> None:
    """With a window of nothing only the header comes; each octet of room lets one octet through."""
    with server.line() as line:
        peer = Peer(line, window=0)
        stream = peer.begin(b"/echo", b"")
        while not any(isinstance(event, h2.events.ResponseReceived) for event in peer.events):
            peer.hear()
        body = b""
        for _ in range(11):
            assert not any(isinstance(event, h2.events.StreamEnded) for event in peer.events)
            peer.h2.increment_flow_control_window(1, stream)
            before = len(peer.events)
            while not any(isinstance(event, h2.events.DataReceived) for event in peer.events[before:]):
                peer.hear()
        body = b"".join(event.data for event in peer.events if isinstance(event, h2.events.DataReceived))
        assert body == b"POST /echo "
        other = peer.begin(b"/echo", b"")
        peer.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
        assert peer.answer(other) == (200, b"POST /echo ")


def test_the_windows_of_the_whole_connection_are_kept(server: Server) -> None:
    """Octets of many streams together never exceed what the connection has room for; `h2` would complain."""
    with server.line() as line:
        peer = Peer(line, window=1 << 20)
        streams = [peer.begin(b"/echo", b"y" * 200_000) for _ in range(3)]
        for stream in streams:
            assert peer.answer(stream) == (200, b"POST /echo " + b"y" * 200_000)


def test_what_is_taken_back_is_not_answered_and_the_others_are(server: Server) -> None:
    """RST_STREAM in the middle of a request, and while its answer is worked out."""
    server.echo.release.clear()
    with server.line() as line:
        peer = Peer(line, window=65_535)
        kept, gone = peer.begin(b"/wait/1", b"kept"), peer.begin(b"/wait/2", b"gone")
        for _ in range(2):
            assert server.echo.taken.acquire(timeout=PATIENCE_S)
        half = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(half, FIELDS)
        peer.h2.send_data(half, b"half")
        for stream in (gone, half):
            peer.h2.reset_stream(stream)
        line.send(peer.h2.data_to_send())
        server.echo.release.set()
        assert peer.answer(kept) == (200, b"POST /wait/1 kept")
        assert peer.post(b"/echo", b"next") == (200, b"POST /echo next")
        answered = {event.stream_id for event in peer.events if isinstance(event, h2.events.ResponseReceived)}
        assert answered.isdisjoint({gone, half})


def test_who_says_goodbye_still_gets_the_answers_that_wait(server: Server) -> None:
    """GOAWAY ends nothing that was begun; then the line is closed."""
    server.echo.release.clear()
    line = server.greeted(_request(1, "END_STREAM", block=BLOCK.replace(b"/echo", b"/wait")))
    assert server.echo.taken.acquire(timeout=PATIENCE_S)
    line.send(GoAwayFrame(0, last_stream_id=0, error_code=0))
    line.send(_request(3, "END_STREAM"))
    server.echo.release.set()
    with line:
        frames = list(line.frames())
    assert [each.stream_id for each in frames if isinstance(each, HeadersFrame)] == [1]
    assert [each.error_code for each in frames if isinstance(each, RstStreamFrame)] == [Code.REFUSED_STREAM]


def test_streams_beyond_the_most_are_refused_and_may_be_sent_again(server: Server) -> None:
    """The other requests of the connection stay; the refused one was not begun."""
    server.echo.release.clear()
    waiting = BLOCK.replace(b"/echo", b"/wait")
    with server.greeted() as line:
        line.send(b"".join(
            _request(2 * at + 1, "END_STREAM", block=waiting).serialize() for at in range(STREAMS_MAX + 1)
        ))  # fmt: skip
        assert line.until(RstStreamFrame, 2 * STREAMS_MAX + 1).error_code == Code.REFUSED_STREAM
        for _ in range(STREAMS_MAX):
            assert server.echo.taken.acquire(timeout=PATIENCE_S)
        server.echo.release.set()
        line.until(HeadersFrame, 1)
        line.send(_request(2 * STREAMS_MAX + 3, "END_STREAM"))
        line.until(HeadersFrame, 2 * STREAMS_MAX + 3)


def test_pings_and_unknown_frames_are_answered_and_passed_over(server: Server) -> None:
    """PING comes back with its octets; an extension and a priority change nothing."""
    with server.greeted(PriorityFrame(7, depends_on=3)) as line:
        line.send(frame(0xEE, 0xFF, 0, b"?"), PingFrame(0, b"12345678"))
        assert any(isinstance(each, PingFrame) and each.opaque_data == b"12345678" for each in line.frames())
        line.send(_request(9, "END_STREAM"))
        line.until(HeadersFrame, 9)


def test_a_header_block_in_pieces_and_a_request_with_trailers(server: Server) -> None:
    """CONTINUATION, padding, priority and trailers, as RFC 9113 allows them."""
    first = HeadersFrame(1, BLOCK[:5], pad_length=7, depends_on=0, flags=["PADDED", "PRIORITY"])
    parts = [ContinuationFrame(1, BLOCK[5:9]), ContinuationFrame(1, BLOCK[9:], flags=["END_HEADERS"])]
    body = DataFrame(1, b"body", pad_length=9, flags=["PADDED"])
    trailers = _request(1, "END_STREAM", block=b"\0\x03abc\x01d")
    with server.greeted(first, *parts, body, trailers) as line:
        assert line.until(DataFrame, 1).data == b"POST /echo body"


LONG = b"\0\x01a" + b"\x7f\x81\x7d" + b"v" * 16_128  # more than the longest list of header fields
BREACHES = {
    "not HTTP/2": (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", Code.PROTOCOL_ERROR),
    "no settings first": (PREFACE + PingFrame(0, b"12345678").serialize(), Code.PROTOCOL_ERROR),
}
FRAMES: dict[str, tuple[Sequence[bytes | Frame], Code]] = {
    "an even stream": ([_request(2, "END_STREAM")], Code.PROTOCOL_ERROR),
    "a stream that has ended": ([_request(5, "END_STREAM"), _request(3, "END_STREAM")], Code.STREAM_CLOSED),
    "something within a header block": ([HeadersFrame(1, BLOCK), PingFrame(0, b"12345678")], Code.PROTOCOL_ERROR),
    "another stream's continuation": ([HeadersFrame(1, BLOCK), ContinuationFrame(3, b"")], Code.PROTOCOL_ERROR),
    "a continuation of nothing": ([ContinuationFrame(1, BLOCK)], Code.PROTOCOL_ERROR),
    "a flood of continuations": (
        [HeadersFrame(1, BLOCK), *(ContinuationFrame(1, b"") for _ in range(1000))], Code.ENHANCE_YOUR_CALM,
    ),
    "a header block without end": (
        [HeadersFrame(1, BLOCK), *(ContinuationFrame(1, b"x" * 10_000) for _ in range(10))], Code.ENHANCE_YOUR_CALM,
    ),
    "too long a list of header fields": ([_request(1, block=LONG + LONG)], Code.FRAME_SIZE_ERROR),
    "a list of header fields that unfolds": (
        [_request(1, block=b"\x40\x01a\x7f\x81\x1e" + b"v" * 4_000 + b"\xbe" * 5_000)], Code.ENHANCE_YOUR_CALM,
    ),
    "a header block that cannot be read": ([_request(1, block=b"\xff\xff\xff\xff")], Code.COMPRESSION_ERROR),
    "data of no request": ([DataFrame(1, b"x")], Code.PROTOCOL_ERROR),
    "data of the connection": (
        [frame(0, 0, 0, b"x")], Code.PROTOCOL_ERROR,
    ),
    "room for no request": ([WindowUpdateFrame(5, window_increment=1)], Code.PROTOCOL_ERROR),
    "more room than there may be": ([WindowUpdateFrame(0, window_increment=2**31 - 1)], Code.FLOW_CONTROL_ERROR),
    "a reset of no request": ([RstStreamFrame(1, error_code=0)], Code.PROTOCOL_ERROR),
    "a push": ([PushPromiseFrame(1, 2, BLOCK, flags=["END_HEADERS"])], Code.PROTOCOL_ERROR),
    "a window too large": ([SettingsFrame(0, {4: 2**31})], Code.FLOW_CONTROL_ERROR),
    "frames too small": ([SettingsFrame(0, {5: 100})], Code.PROTOCOL_ERROR),
    "pings without end": ([PingFrame(0, b"12345678") for _ in range(20_000)], Code.ENHANCE_YOUR_CALM),
    "settings without end": ([SettingsFrame(0, {3: 1}) for _ in range(20_000)], Code.ENHANCE_YOUR_CALM),
    "empty data without end": (
        [_request(1), *(DataFrame(1, b"") for _ in range(20_000))], Code.ENHANCE_YOUR_CALM,
    ),
    "requests taken back without end": (
        [each for at in range(2000) for each in (_request(2 * at + 1), RstStreamFrame(2 * at + 1, error_code=8))],
        Code.ENHANCE_YOUR_CALM,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BREACHES, *FRAMES])
def test_who_breaks_the_rules_is_told_so_and_goes_alone(server: Server, name: str) -> None:
    """GOAWAY with the code of RFC 9113; the fixture asks on another connection before and after."""
    if name in BREACHES:
        octets, code = BREACHES[name]
        line = server.line()
        line.send(octets)
    else:
        frames, code = FRAMES[name]
        line = server.greeted()
        try:
            line.send(*frames)
        except (BrokenPipeError, ConnectionResetError):
            assert name.endswith("without end"), "it was ended before all was said"
            return
    try:
        assert _ending(line) == code
    except ValueError:
        assert name.endswith("without end"), "closing a line with unread octets may lose the last words"


@pytest.mark.parametrize(
    "block",
    [
        BLOCK.replace(b":method", b":mathed"),
        BLOCK + b"\0\x0aconnection\x05close",
        BLOCK + b"\0\x01A\x01b",
        b"\0\x01a\x01b" + BLOCK,
        BLOCK + b"\0\x0econtent-length\x039x9",
        BLOCK + b"\0\x0econtent-length\x0217",
        b"",
    ],
)
def test_a_malformed_request_ends_its_stream_alone(server: Server, block: bytes) -> None:
    """RFC 9113 8.1.1: a stream error; the connection goes on."""
    with server.greeted(_request(1, "END_STREAM", block=block)) as line:
        assert line.until(RstStreamFrame, 1).error_code == Code.PROTOCOL_ERROR
        line.send(_request(3, "END_STREAM"))
        line.until(HeadersFrame, 3)


def test_octets_come_in_any_pieces(server: Server) -> None:
    """Cut wherever it may be, what is said is the same."""
    octets = PREFACE + SettingsFrame(0).serialize() + _request(1).serialize()
    octets += DataFrame(1, b"abc", flags=["END_STREAM"]).serialize()
    for width in (1, 2, 3, 7, 10, 31):
        with server.line() as line:
            for at in range(0, len(octets), width):
                line.send(octets[at : at + width])
            assert line.until(DataFrame, 1).data == b"POST /echo abc"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)),
                max_size=12))  # fmt: skip
def test_any_frames_at_all_do_no_harm(server: Server, said: list[tuple[int, int, int, bytes]]) -> None:
    """Frames made by chance are answered by frames that `hyperframe` can read, or by the end of the line."""
    line = server.greeted()
    octets = b"".join(
        len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
        for kind, flags, stream, body in said
    )
    line.send(octets)
    line.last()
    with line:
        list(line.frames())


@settings(max_examples=200, deadline=None)
@given(
    st.integers(200, 599),
    st.lists(
        st.tuples(
            st.sampled_from([b"location", b"content-type", b"content-length", b"x-more"]),
            st.binary(max_size=400),
        )
    ),
)
def test_header_blocks_are_read_as_they_were_meant(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Another decoder reads what we wrote, and remembers nothing of it."""
    decoder = hpack.Decoder()
    assert decoder.decode(header_block(status, headers), raw=True) == [(b":status", b"%d" % status), *headers]
    assert len(decoder.header_table.dynamic_entries) == 0


def test_a_line_that_is_not_read_is_ended_before_it_fills_the_memory(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks and never takes the answers is let go of."""
    monkeypatch.setattr(http2, "UNREAD_OCTETS_MAX", 1 << 20)
    line = server.greeted(
        SettingsFrame(0, {4: 2**31 - 1}), WindowUpdateFrame(0, window_increment=2**31 - 1 - 65_535)
    )
    body = b"z" * 16_000
    try:
        for at in range(2_000):
            line.send(_request(2 * at + 1))
            for part in range(8):
                line.send(DataFrame(2 * at + 1, body, flags=["END_STREAM"] if part == 7 else []).serialize())
    except (BrokenPipeError, ConnectionResetError):
        line.__exit__()
        return
    pytest.fail("all of it was taken")
