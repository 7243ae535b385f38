"""A line around each message that a listener receives, so that what came off the network can be read again for ever.

A listener writes one line a message into its spool: when it came, from whom, and the message itself. Decoding reads
the same line again on a replay and finds the same time, so that nothing depends on when a replay happens.

    @<received_us> <peer> <message>              a message; text is escaped, octets are in base64 (RFC 4648 4)
    #<received_us> <peer> <what> <count> <head>  a notice of the listener: it refused `count` messages, and why

A message cannot pretend to be a notice: the first octet of every line is the listener's own.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

NOTICES = ("flood", "oversize", "busy", "garbled")
_ESCAPES = {0x5C: b"\\\\", 0x0A: b"\\n", 0x0D: b"\\r", 0x00: b"\\0"}
_MEANINGS = {ord("\\"): b"\\", ord("n"): b"\n", ord("r"): b"\r", ord("0"): b"\0"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around a message: when it came (us UTC) and the sender's address; for a notice what and how many."""

    received_us: int
    peer: str
    message: bytes
    notice: str = ""
    count: int = 0


def wrap_text(received_us: int, peer: str, message: bytes) -> bytes:
    """A line with a text message; newlines, carriage returns, NULs and backslashes in it are escaped."""
    return b"@%d %s %s\n" % (received_us, peer.encode(), escaped(message))


def wrap_octets(received_us: int, peer: str, *parts: bytes) -> bytes:
    """A line with a message of octets, each part in base64 with a blank between."""
    encoded = b" ".join(binascii.b2a_base64(part, newline=False) for part in parts)
    return b"@%d %s %s\n" % (received_us, peer.encode(), encoded)


def wrap_notice(received_us: int, peer: str, notice: str, count: int, head: bytes = b"") -> bytes:
    """A line that says what a listener refused: `count` messages (for "oversize": octets) and how the first began."""
    assert notice in NOTICES, notice
    return b"#%d %s %s %d %s\n" % (received_us, peer.encode(), notice.encode(), count, escaped(head))


def unwrap(line: bytes) -> Envelope | None:
    """What stands in a line of a listener's spool; None when it is no such line. Text is still escaped."""
    kind = line[:1]
    if kind == b"@":
        head = line[1:].split(b" ", 2)
        if len(head) == 3 and _is_time(head[0]) and head[1].isascii():
            return Envelope(int(head[0]), head[1].decode(), head[2])
    elif kind == b"#":
        head = line[1:].split(b" ", 4)
        whole = len(head) == 5 and _is_time(head[0]) and head[1].isascii() and _is_time(head[3])
        if whole and head[2].isascii() and head[2].decode() in NOTICES:
            return Envelope(int(head[0]), head[1].decode(), head[4], head[2].decode(), int(head[3]))
    return None


def _is_time(word: bytes) -> bool:
    return 0 < len(word) <= 18 and word.isdigit()


def escaped(message: bytes) -> bytes:
    """Octets that fit into one line."""
    if b"\\" in message:
        message = message.replace(b"\\", b"\\\\")
    for octet in (0x0A, 0x0D, 0x00):
        if octet in message:
            message = message.replace(bytes((octet,)), _ESCAPES[octet])
    return message


def unescaped(text: bytes) -> bytes:
    """The octets that were escaped; a backslash before anything else stands for itself."""
    if b"\\" not in text:
        return text
    into = bytearray()
    at = 0
    while True:
        found = text.find(b"\\", at)
        if found < 0 or found + 1 == len(text):
            return bytes(into + text[at:])
        into += text[at:found]
        meaning = _MEANINGS.get(text[found + 1])
        into += meaning if meaning is not None else text[found : found + 2]
        at = found + 2


def octets_of(message: bytes) -> tuple[bytes, ...]:
    """The parts of a message of octets; raises ValueError when it is not base64."""
    return tuple(binascii.a2b_base64(part, strict_mode=True) for part in message.split(b" "))
