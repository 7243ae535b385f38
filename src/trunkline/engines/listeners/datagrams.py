"""Listening for datagrams: syslog, traps and flows over UDP, each written down with its reception and its sender.

Nobody can be told to slow down over UDP. So what is too much of one sender, too long, or more than there is room for
is refused, counted and written down as such; also what the kernel had to drop, where it says so (Linux).
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from trunkline.engines.listeners.outbox import OTHERS, Outbox
from trunkline.engines.listeners.shares import Shares
from trunkline.kernel.envelope import wrap_octets, wrap_text

LONGEST_DATAGRAM = 65_535
_AT_ONCE = 256
_OFFERED_OCTETS = 256 << 10
_RECEIVE_BUFFER = 4 << 20
_DROPS = 40  # SO_RXQ_OVFL, Linux asm-generic/socket.h: how many datagrams this socket's queue had no room for
_HEAD = 100  # octets of a refused message that are told

Wrap = Callable[[int, str, bytes], bytes]
"""The line for a message, by reception in microseconds, sender and octets."""


@dataclass(frozen=True)
class Limits:
    """What one datagram and one sender may be."""

    message_octets: int
    rate_per_s: int  # messages that each sender may keep up
    burst: int


SYSLOG_LIMITS = Limits(8_192, 5_000, 20_000)  # RFC 5426 3.2: receivers should take 2,048 and may take more
TRAP_LIMITS = Limits(8_192, 500, 2_000)
FLOW_LIMITS = Limits(LONGEST_DATAGRAM, 5_000, 20_000)


def texts(received_us: int, peer: str, message: bytes) -> bytes:
    """The line of a text message."""
    return wrap_text(received_us, peer, message)


def octets(received_us: int, peer: str, message: bytes) -> bytes:
    """The line of a message of octets."""
    return wrap_octets(received_us, peer, message)


def octets_with(needed: Callable[[str, bytes], bytes]) -> Wrap:
    """Lines of octets with what is needed to read them (a flow exporter's templates) behind them."""

    def wrap(received_us: int, peer: str, message: bytes) -> bytes:
        beside = needed(peer, message)
        return (
            wrap_octets(received_us, peer, message, beside)
            if beside
            else wrap_octets(received_us, peer, message)
        )

    return wrap


class Datagrams:
    """One UDP socket and what becomes of what arrives there."""

    def __init__(
        self, address: tuple[str, int], outbox: Outbox, limits: Limits, wrap: Wrap,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Bind; raises OSError when the address cannot be had."""
        self._outbox, self._limits, self._wrap, self._clock_s = outbox, limits, wrap, clock_s
        self._shares = Shares(limits.rate_per_s, limits.burst)
        self._dropped = 0
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if sys.platform == "linux":
                self._socket.setsockopt(socket.SOL_SOCKET, _DROPS, 1)
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(0.25)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def receive(self, stopped: Callable[[], bool]) -> None:
        """Receive until `stopped`, and then what the kernel still holds."""
        try:
            while True:
                arrived = self._next()
                if arrived:
                    self._put(arrived)
                elif stopped():
                    return
        finally:
            self._socket.close()

    def _next(self) -> list[tuple[str, bytes]]:
        """What is there, some of it at a time; nothing when nothing came for a while."""
        arrived: list[tuple[str, bytes]] = []
        flags = 0
        try:
            while len(arrived) < _AT_ONCE:
                message, ancillary, _, sender = self._socket.recvmsg(LONGEST_DATAGRAM, 64, flags)
                arrived.append((str(sender[0]), message))
                if ancillary:
                    self._heard_of_drops(ancillary)
                flags = getattr(socket, "MSG_DONTWAIT", 0)
                if not flags:
                    break
        except (BlockingIOError, TimeoutError):
            pass
        return arrived

    def _heard_of_drops(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == _DROPS:
                dropped = int.from_bytes(data[:4], sys.byteorder)
                if dropped != self._dropped:
                    self._outbox.refuse(OTHERS, "busy", (dropped - self._dropped) % 2**32, reason="dropped")
                    self._dropped = dropped

    def _put(self, arrived: list[tuple[str, bytes]]) -> None:
        """Offer what is within its limits; tell what is not."""
        now_s, now_us = self._clock_s(), self._outbox.clock_us()
        lines: list[bytes] = []
        senders: dict[str, int] = {}
        waiting = 0
        for peer, message in arrived:
            if not self._shares.take(peer, now_s):
                self._outbox.refuse(peer, "flood")
            elif len(message) > self._limits.message_octets:
                self._outbox.refuse(peer, "oversize", len(message), message[:_HEAD])
            else:
                lines.append(self._wrap(now_us, peer, message))
                senders[peer] = senders.get(peer, 0) + 1
                waiting += len(lines[-1])
            if waiting >= _OFFERED_OCTETS:
                self._offer(lines, senders)
                lines, senders, waiting = [], {}, 0
        self._offer(lines, senders)

    def _offer(self, lines: list[bytes], senders: dict[str, int]) -> None:
        if lines and not self._outbox.offer(lines):
            for peer, count in senders.items():
                self._outbox.refuse(peer, "busy", count)
