"""The octets of HTTP/2: frames as they are cut out of a line and put together again (RFC 9113 clause 4 and 6).

A server for network functions spends most of its time here, so this is plain arithmetic on octets without an object
for each frame (docs/decisions/0052). Header blocks are read by `hpack`; those we send are literals that leave the
other side's table as it is (RFC 7541 6.2.2), so nothing is remembered between two answers.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_OCTETS = 9
FRAME_OCTETS_MAX = 16_384  # RFC 9113 6.5.2: what everybody takes, and we do not ask for more
WINDOW_OCTETS = 65_535  # of a connection, and of a stream unless told otherwise
WINDOW_OCTETS_MAX = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

Headers = list[tuple[bytes, bytes]]

_TWO, _FOUR, _PAIR = Struct(">HI"), Struct(">I"), Struct(">II")
_STATIC = {
    b"content-length": 28,
    b"content-type": 31,
    b"location": 46,
    b"retry-after": 53,
}  # RFC 7541 appendix A
_STATUS = {200: b"\x88", 204: b"\x89", 400: b"\x8c", 404: b"\x8d", 500: b"\x8e"}


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113 clause 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class Setting(IntEnum):
    """What the two sides tell each other at the beginning (RFC 9113 6.5.2)."""

    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class Broken(Exception):
    """The other side has broken the rules: the connection ends."""

    def __init__(self, code: Code, why: str) -> None:
        """Say which rule."""
        super().__init__(why)
        self.code = code


class StreamBroken(Exception):
    """The rules were broken on one stream, which ends; the others go on."""

    def __init__(self, stream: int, code: Code) -> None:
        """Say on which."""
        super().__init__(stream, code)
        self.stream, self.code = stream, code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, of a payload that is not too long."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def settings(told: dict[Setting, int]) -> bytes:
    """Our settings."""
    return frame(SETTINGS, 0, 0, b"".join(_TWO.pack(name, value) for name, value in told.items()))


def settings_in(payload: bytes) -> list[tuple[int, int]]:
    """Settings of the other side, in their order; unknown ones are among them."""
    if len(payload) % 6:
        raise Broken(Code.FRAME_SIZE_ERROR, "settings have six octets each")
    return [_TWO.unpack_from(payload, at) for at in range(0, len(payload), 6)]


def number_in(payload: bytes) -> int:
    """The one number of WINDOW_UPDATE and RST_STREAM; the reserved bit of the former is left out by the caller."""
    if len(payload) != 4:
        raise Broken(Code.FRAME_SIZE_ERROR, "four octets are expected")
    return int.from_bytes(payload, "big")


def window_update(stream: int, octets: int) -> bytes:
    """More room for the other side."""
    return frame(WINDOW_UPDATE, 0, stream, _FOUR.pack(octets))


def reset(stream: int, code: Code) -> bytes:
    """The end of a stream."""
    return frame(RST_STREAM, 0, stream, _FOUR.pack(code))


def goaway(last: int, code: Code) -> bytes:
    """The end of a connection; requests up to `last` were taken."""
    return frame(GOAWAY, 0, 0, _PAIR.pack(last, code))


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of DATA and HEADERS without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(Code.PROTOCOL_ERROR, "the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def header_block(status: int, headers: Headers) -> bytes:
    """The header block of an answer, in literals that nobody has to remember."""
    parts = [_STATUS.get(status) or b"\x08\x03%d" % status]
    for name, value in headers:
        at = _STATIC.get(name)
        if at is None:
            parts.append(b"\0" + _length(len(name)) + name)
        else:
            parts.append(b"\x0f%c" % (at - 15))
        parts.append(_length(len(value)) + value)
    return b"".join(parts)


def _length(octets: int) -> bytes:
    """A length as an integer with a prefix of seven bits (RFC 7541 5.1); no Huffman code."""
    if octets < 127:
        return b"%c" % octets
    octets -= 127
    told = bytearray(b"\x7f")
    while octets >= 128:
        told.append(octets & 127 | 128)
        octets >>= 7
    told.append(octets)
    return bytes(told)
