"""Network functions that ask for quota, in a process of their own: what they cost is not the platform's.

They speak HTTP/2 with frames put together beforehand and read of an answer what they need, so that two cores are
enough for them and for the platform beside them. A session begins when it is due, whether or not others were answered.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import hpack

API = "/nchf-convergedcharging/v3"
CONNECTIONS = 8
UPDATES = 3  # of each session
REQUESTS = UPDATES + 2
PATIENCE_S = 120.0
_ROOM = 2**31 - 1
_HEADERS, _DATA, _RESET, _SETTINGS, _PING, _GOAWAY = 1, 0, 3, 4, 6, 7
_WANTED = b'"requestedUnit":{"totalVolume":1000000}'
_USED = b'"usedUnitContainer":[{"localSequenceNumber":%d,"totalVolume":%d}]'


@dataclass
class Answers:
    """What was measured: seconds that each answer took, how many were no success, and how long it all lasted."""

    took_s: list[float] = field(default_factory=list)
    wrong: int = 0
    lasted_s: float = 0.0
    cpu_s: float = 0.0


def ask(port: int, token: str, numbers: Sequence[str], rate: int, seconds: float) -> Answers:
    """Offer so many requests a second for so long, and wait for all answers."""
    return asyncio.run(_ask(port, token, numbers, rate, seconds))


async def _ask(port: int, token: str, numbers: Sequence[str], rate: int, seconds: float) -> Answers:
    answers = Answers()
    lines = [_Line(port, token, answers) for _ in range(CONNECTIONS)]
    loop = asyncio.get_running_loop()
    for line in lines:
        await loop.create_connection(lambda line=line: line, "127.0.0.1", port)  # type: ignore[misc]
    lines[0].begin(numbers[-1], 0, time.perf_counter())  # the platform compiles
    await asyncio.wait_for(lines[0].idle.wait(), PATIENCE_S)
    answers.took_s.clear()
    gc.freeze()
    began, every_s = time.perf_counter(), REQUESTS / rate
    cpu_s = time.process_time()
    for at in range(int(seconds / every_s)):
        due = began + at * every_s
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        lines[at % CONNECTIONS].begin(numbers[at % (len(numbers) - 1)], at + 1, due)
    for line in lines:
        await asyncio.wait_for(line.idle.wait(), PATIENCE_S)
    answers.lasted_s, answers.cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    return answers


@dataclass(slots=True)
class _Session:
    """A session of data, from its first quota to its release."""

    common: bytes  # the part of its requests that stays
    sent_s: float
    place: bytes = b""
    invocation: int = 0


class _Line(asyncio.Protocol):
    """One HTTP/2 connection with many requests on it at once."""

    def __init__(self, port: int, token: str, answers: Answers) -> None:
        self._answers = answers
        self._before = hpack.Encoder().encode([(":method", "POST"), (":scheme", "http")])
        self._before += _literal(b":authority", b"127.0.0.1:%d" % port)
        self._behind = _literal(b"authorization", b"Bearer " + token.encode())
        self._behind += _literal(b"content-type", b"application/json")
        self._waiting: dict[int, _Session] = {}
        self._stream, self._in, self._out = 1, b"", list[bytes]()
        self._decoder = hpack.Decoder()
        self._taken = 0
        self.idle = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = _frame(_SETTINGS, 0, 0, b"\x00\x04" + _ROOM.to_bytes(4, "big"))
        room = _frame(8, 0, 0, (_ROOM - 65_535).to_bytes(4, "big"))
        transport.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + room)

    def begin(self, number: str, at: int, due_s: float) -> None:
        """Open a session."""
        common = (
            b'{"subscriberIdentifier":"msisdn-%b","nfConsumerIdentification":{"nFName":"smf-bench",'
            b'"nodeFunctionality":"SMF"},"invocationTimeStamp":"%b","pDUSessionChargingInformation":{"chargingId":%d,'
            b'"pduSessionInformation":{"pduSessionID":1,"dnnId":"internet"}},"multipleUnitUsage":[{"ratingGroup":10,'
            % (number.encode(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode(), at)
        )
        self._send(_Session(common, due_s))
        self._flush()

    def _send(self, session: _Session) -> None:
        at, path = session.invocation, f"{API}/chargingdata".encode()
        usage = _WANTED
        if 0 < at <= UPDATES:
            path, usage = session.place + b"/update", _USED % (at, 900_000) + b"," + _WANTED
        elif at > UPDATES:
            path, usage = session.place + b"/release", _USED % (at, 100_000)
        body = session.common + usage + b'}],"invocationSequenceNumber":%d}' % at
        stream, self._stream = self._stream, self._stream + 2
        block = self._before + b"\x04" + _text(path) + self._behind
        self._out += [_frame(_HEADERS, 4, stream, block), _frame(_DATA, 1, stream, body)]
        self._waiting[stream] = session
        self.idle.clear()

    def data_received(self, data: bytes) -> None:
        octets, at = self._in + data, 0
        now = time.perf_counter()
        while len(octets) - at >= 9:
            length = int.from_bytes(octets[at : at + 3], "big")
            if len(octets) - at - 9 < length:
                break
            kind, flags, stream = (
                octets[at + 3],
                octets[at + 4],
                int.from_bytes(octets[at + 5 : at + 9], "big"),
            )
            payload = octets[at + 9 : at + 9 + length]
            at += 9 + length
            if kind == _HEADERS:
                self._answered(stream, payload, now)
            elif kind == _DATA:
                self._taken += length
            elif kind in (_SETTINGS, _PING) and not flags & 1:
                self._out.append(_frame(kind, 1, 0, payload if kind == _PING else b""))
            assert kind not in (_RESET, _GOAWAY), payload
        self._in = octets[at:]
        if self._taken > 1 << 20:
            self._out.append(_frame(8, 0, 0, self._taken.to_bytes(4, "big")))
            self._taken = 0
        self._flush()
        if not self._waiting:
            self.idle.set()

    def _answered(self, stream: int, block: bytes, now_s: float) -> None:
        headers = dict(self._decoder.decode(block, raw=True))
        session = self._waiting.pop(stream)
        self._answers.took_s.append(now_s - session.sent_s)
        self._answers.wrong += not headers[b":status"].startswith(b"2")
        place = headers.get(b"location", b"")
        if place:
            session.place = place[place.find(API.encode()) :]
        session.invocation += 1
        session.sent_s = now_s
        if session.place and session.invocation < REQUESTS:
            self._send(session)

    def _flush(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that is not put into the other side's table (RFC 7541 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(octets: bytes) -> bytes:
    assert len(octets) < 127 + 128, "an integer of one or two octets"
    long = len(octets) >= 127
    return (b"\x7f%c" % (len(octets) - 127) if long else b"%c" % len(octets)) + octets
