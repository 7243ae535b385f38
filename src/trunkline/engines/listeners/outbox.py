"""Between sockets and the spool: a bounded queue that one thread empties into durable appends.

Memory never grows with what is sent: a full outbox takes nothing more, and who offers is told at once. What came while
one append was made durable shares the next one, so that a flood costs few fsyncs. What could not be taken is counted
by sender and reason and written down, too, once a second: nothing vanishes without a line about it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.kernel.envelope import wrap_notice
from trunkline.ports import Busy

Take = Callable[[str, bytes], object]
"""Make lines of a mapping durable, `take(mapping, lines)`; raises `Busy` when the platform is catching up."""

MOST_OCTETS = 8 << 20
MOST_NOTED = 256  # senders of which refusals are told one by one; all others are told together
OTHERS = "-"
_LAST_CHANCE_S = 10.0


@dataclass
class Counts:
    """What one listener took and refused since it started, for people and metrics."""

    messages: int = 0
    octets: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(
        default_factory=dict
    )  # of what was refused: flood, busy, oversize, garbled, dropped


class Outbox:
    """Lines of one listener on their way into its spool. Any thread may offer."""

    def __init__(
        self, mapping: str, take: Take, most_octets: int = MOST_OCTETS,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:  # fmt: skip
        """`take` is called by the thread that runs `empty` alone."""
        self.mapping = mapping
        self.counts = Counts()
        self.clock_us = clock_us
        self._take, self._most_octets = take, most_octets
        self._lines: list[bytes] = []
        self._octets = 0
        self._refused: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._changed = threading.Condition()
        self._closing = False

    def offer(self, lines: list[bytes]) -> bool:
        """Take lines, all or none; False when there is no room. An empty outbox takes whatever one reading brought."""
        octets = sum(map(len, lines))
        with self._changed:
            if self._closing or (self._octets and self._octets + octets > self._most_octets):
                return False
            self._lines += lines
            self._octets += octets
            self.counts.messages += len(lines)
            self.counts.octets += octets
            self._changed.notify_all()
        return True

    def refuse(self, peer: str, notice: str, count: int = 1, head: bytes = b"", reason: str = "") -> None:
        """Note what was not taken: `count` messages of a sender, for "oversize" and "garbled" octets.

        It is counted under the notice, or under a `reason` that says it more exactly.
        """
        with self._changed:
            messages = 1 if notice in ("oversize", "garbled") else count
            self.counts.refused += messages
            name = reason or notice
            self.counts.reasons[name] = self.counts.reasons.get(name, 0) + messages
            key = (peer, notice)
            if key not in self._refused and len(self._refused) >= MOST_NOTED:
                key = (OTHERS, notice)
            known, first = self._refused.get(key, (0, head))
            self._refused[key] = known + count, first

    @property
    def has_room(self) -> bool:
        """Whether a message of usual length would be taken now."""
        with self._changed:
            return self._octets < self._most_octets // 2 and not self._closing

    def empty(self, notice_every_s: float = 1.0) -> None:
        """Write down what is offered until `close`, and then what is left; raises what the disk raises."""
        noticed_s = time.monotonic()
        while True:
            with self._changed:
                if not self._lines and not self._closing:
                    self._changed.wait(notice_every_s / 4)
                now_s = time.monotonic()
                if self._refused and (now_s - noticed_s >= notice_every_s or self._closing):
                    self._note()
                    noticed_s = now_s
                lines, closing = self._lines, self._closing
                self._lines = []
            if lines:
                self._write(b"".join(lines))
                with self._changed:
                    self._octets -= sum(map(len, lines))
                    self._changed.notify_all()
            elif closing:
                return

    def close(self) -> None:
        """Take nothing more; `empty` returns when what was taken is durable."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _note(self) -> None:
        """Lines about what was refused; there is always room for them."""
        now_us = self.clock_us()
        for (peer, notice), (count, head) in self._refused.items():
            line = wrap_notice(now_us, peer, notice, count, head)
            self._lines.append(line)
            self._octets += len(line)
        self._refused.clear()

    def _write(self, octets: bytes) -> None:
        """Append, as often as it takes; at the end a spool that stays full is trouble, not silence."""
        gives_up_s: float | None = None
        while True:
            try:
                self._take(self.mapping, octets)
            except Busy as busy:
                now_s = time.monotonic()
                gives_up_s = now_s + _LAST_CHANCE_S if gives_up_s is None and self._closing else gives_up_s
                if gives_up_s is not None and now_s >= gives_up_s:
                    raise
                with self._changed:
                    self._changed.wait(min(busy.retry_after_s, 0.25))
                continue
            return
