"""How much one sender may send: a bucket of tokens each, so that a flood of one does not slow the others.

The rate is what each sender may keep up, the burst what may come at once. Senders that are not heard of make room for
new ones; more senders at once than are remembered share one bucket, so that inventing senders gains nothing.
"""

from __future__ import annotations

from collections import OrderedDict

MOST_SENDERS = 10_000
_OTHERS = ""


class Shares:
    """Token buckets by sender; used by one thread."""

    def __init__(self, rate_per_s: float, burst: int, most_senders: int = MOST_SENDERS) -> None:
        self.rate_per_s, self.burst = rate_per_s, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._most = most_senders

    def take(self, peer: str, now_s: float) -> bool:
        """Whether one more message of the sender is within its share."""
        peer = peer if peer in self._buckets or self._room(now_s) else _OTHERS
        tokens = self._tokens(peer, now_s)
        granted = tokens >= 1
        self._buckets[peer] = (tokens - 1 if granted else tokens), now_s
        self._buckets.move_to_end(peer)
        return granted

    def spend(self, peer: str, now_s: float) -> None:
        """Count a message that was read already; a sender may fall below nothing and then has to wait."""
        peer = peer if peer in self._buckets or self._room(now_s) else _OTHERS
        self._buckets[peer] = self._tokens(peer, now_s) - 1, now_s
        self._buckets.move_to_end(peer)

    def wait_s(self, peer: str, now_s: float) -> float:
        """How long a sender should be kept waiting before its next message; 0 when it need not."""
        known = peer if peer in self._buckets else _OTHERS
        return max(0.0, (1 - self._tokens(known, now_s)) / self.rate_per_s)

    def _tokens(self, peer: str, now_s: float) -> float:
        tokens, then_s = self._buckets.get(peer, (float(self.burst), now_s))
        return min(self.burst, tokens + (now_s - then_s) * self.rate_per_s)

    def _room(self, now_s: float) -> bool:
        """Room for one more sender: there is, or the one that was silent longest has its whole burst again."""
        if len(self._buckets) < self._most:
            return True
        _, (tokens, then_s) = next(iter(self._buckets.items()))
        if tokens + (now_s - then_s) * self.rate_per_s < self.burst:
            return False
        self._buckets.popitem(last=False)
        return True
