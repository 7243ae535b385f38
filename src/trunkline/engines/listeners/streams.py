"""Listening for streams: syslog over TCP and TLS, in either framing, each message with its reception and its sender.

RFC 6587 knows two framings and nobody says which is meant: a message that begins with a digit is octet-counted (3.4.1),
any other ends with a newline (3.4.2); RFC 5425 has the first over TLS. A sender that is too fast, or for which there is
no room, is not read from for a while, which slows it and nobody else. A message that is too long is skipped, told,
and never held in memory.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from trunkline.engines.listeners.outbox import Outbox
from trunkline.engines.listeners.shares import Shares
from trunkline.kernel.envelope import wrap_text

_PIECE = 64 << 10
_COUNT_DIGITS = 7  # of an octet count; more cannot be meant
_HEAD = 100  # octets of a refused message that are told
_WAIT_S = 0.02
_HANDSHAKE_S = 10.0
_LAST_CHANCE_S = 5.0  # for what a connection had sent when the listeners were stopped


@dataclass(frozen=True)
class StreamLimits:
    """What one message, one sender and all connections may be."""

    message_octets: int = 65_536
    rate_per_s: int = 20_000
    burst: int = 40_000
    connections: int = 512
    connections_of_one: int = 64


@dataclass
class Frames:
    """Messages of one connection, whichever framing each has; holds no more than one message."""

    longest: int
    refused: list[tuple[str, int, bytes]] = field(default_factory=list)  # notice, octets, head
    broken: bool = False
    _held: bytearray = field(default_factory=bytearray)
    _skip_octets: int = 0  # of a counted message that is too long
    _skipped: int = 0  # octets of a line that is too long, while its end has not come
    _head: bytes = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Messages that are whole with this piece."""
        self._held += piece
        while self._held and not self.broken:
            if self._skip_octets:
                gone = min(self._skip_octets, len(self._held))
                del self._held[:gone]
                self._skip_octets -= gone
            elif self._skipped:
                self._skip_line()
            elif self._held[0] in b"\n\r\0 ":
                del self._held[:1]  # between messages some senders put what they end lines with
            else:
                message = self._counted() if 0x31 <= self._held[0] <= 0x39 else self._line()
                if message is None:
                    return
                if message:
                    yield message

    def end(self) -> bytes:
        """The last message, when its newline never came; a counted message that is cut short is told instead."""
        if self._skipped:
            self.refused.append(("oversize", self._skipped, self._head))
        elif self._held and 0x31 <= self._held[0] <= 0x39 and not self.broken:
            self.refused.append(("garbled", len(self._held), bytes(self._held[:_HEAD])))
        elif self._held and not self.broken:
            return bytes(self._held)
        return b""

    def _counted(self) -> bytes | None:
        """A message with its length before it; empty when one was skipped, None when it is not whole yet."""
        blank = self._held.find(b" ", 0, _COUNT_DIGITS + 1)
        if blank < 0 or not self._held[:blank].isdigit():
            if len(self._held) <= _COUNT_DIGITS and self._held.isdigit():
                return None
            self.refused.append(("garbled", len(self._held), bytes(self._held[:_HEAD])))
            self.broken = True  # where the next message begins cannot be known
            return b""
        length = int(self._held[:blank])
        if length > self.longest:
            self.refused.append(("oversize", length, bytes(self._held[blank + 1 : blank + 1 + _HEAD])))
            del self._held[: blank + 1]
            self._skip_octets = length
            return b""
        if len(self._held) < blank + 1 + length:
            return None
        message = bytes(self._held[blank + 1 : blank + 1 + length])
        del self._held[: blank + 1 + length]
        return message

    def _line(self) -> bytes | None:
        """A message up to its newline; empty when it is being skipped, None when it is not whole yet."""
        end = self._held.find(b"\n")
        if end < 0 and len(self._held) <= self.longest:
            return None
        if end < 0 or end > self.longest:
            self._head = bytes(self._held[:_HEAD])
            self._skipped = 1  # counted octet by octet from here on
            del self._held[:1]
            return b""
        message = bytes(self._held[:end])
        del self._held[: end + 1]
        return message

    def _skip_line(self) -> None:
        end = self._held.find(b"\n")
        gone = len(self._held) if end < 0 else end
        self._skipped += gone
        del self._held[: gone if end < 0 else end + 1]
        if end >= 0:
            self.refused.append(("oversize", self._skipped, self._head))
            self._skipped = 0


class Streams:
    """One TCP or TLS port; runs in an event loop of its own thread."""

    def __init__(
        self,
        address: tuple[str, int],
        outbox: Outbox,
        limits: StreamLimits | None = None,
        tls: ssl.SSLContext | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tls` is the server's side: its certificate, and whom it asks for theirs."""
        self._address, self._outbox, self._tls, self._clock_s = address, outbox, tls, clock_s
        self._limits = limits or StreamLimits()
        self._shares = Shares(self._limits.rate_per_s, self._limits.burst)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.StreamWriter, str] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing = False

    async def open(self) -> int:
        """Listen; the port. Raises OSError when the address cannot be had."""
        self._server = await asyncio.start_server(
            self._serve, *self._address, ssl=self._tls, limit=_PIECE,
            ssl_handshake_timeout=_HANDSHAKE_S if self._tls else None,
        )  # fmt: skip
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more, end every connection, and hand over what each had sent whole."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * _LAST_CHANCE_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its beginning to its end."""
        task = asyncio.current_task()
        assert task is not None, "the server runs each connection as a task"
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        peer = str((writer.get_extra_info("peername") or ("-",))[0])
        of_one = sum(one == peer for one in self._connections.values())
        if len(self._connections) >= self._limits.connections or of_one >= self._limits.connections_of_one:
            self._outbox.refuse(peer, "busy")
            writer.close()
            return
        self._connections[writer] = peer
        frames = Frames(self._limits.message_octets)
        try:
            while not frames.broken:
                await self._patience(peer)
                piece = await reader.read(_PIECE)
                if not piece:
                    break
                await self._put(peer, list(frames.feed(piece)), frames)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass  # the sender went away; what was whole is taken, the rest is told below
        finally:
            last = frames.end()
            await self._put(peer, [last] if last else [], frames)
            del self._connections[writer]
            writer.close()

    async def _patience(self, peer: str) -> None:
        """Read nothing of a sender while it is too fast or there is no room for what it sends."""
        while True:
            wait_s = self._shares.wait_s(peer, self._clock_s())
            if self._closing or (wait_s == 0 and self._outbox.has_room):
                return
            await asyncio.sleep(max(wait_s, _WAIT_S))

    async def _put(self, peer: str, messages: list[bytes], frames: Frames) -> None:
        """Offer messages until they are taken; tell what was refused."""
        for notice, count, head in frames.refused:
            self._outbox.refuse(peer, notice, count, head)
        frames.refused.clear()
        if not messages:
            return
        now_s, now_us = self._clock_s(), self._outbox.clock_us()
        for _ in messages:
            self._shares.spend(peer, now_s)
        lines = [wrap_text(now_us, peer, message) for message in messages]
        gives_up_s = None
        while not self._outbox.offer(lines):
            if self._closing:
                gives_up_s = gives_up_s or self._clock_s() + _LAST_CHANCE_S
                if self._clock_s() >= gives_up_s:
                    self._outbox.refuse(peer, "busy", len(lines))
                    return
            await asyncio.sleep(_WAIT_S)
