"""What is left of an account's money while sessions hold some of it: one subscriber, plain decimals, nothing shared.

Data cost a price for each whole kilobyte that the allowance does not cover; a call costs a fee, its first minute whole
and then each begun second. All that is promised, set apart or used is worth what it would cost if it were used now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

KILOBYTE = 1_000
SECOND = 1_000


@dataclass(frozen=True)
class Prices:
    """What things cost, in the currency's unit."""

    kilobyte: Decimal
    call: Decimal
    second: Decimal
    least_s: int = 60

    def of_call(self, ms: int) -> Decimal:
        """A call of so many milliseconds; none at all costs nothing."""
        seconds = int((Decimal(ms) / SECOND).to_integral_value(ROUND_CEILING))
        return self.call + max(seconds, self.least_s) * self.second if ms else Decimal(0)


@dataclass
class Session:
    """A session of data or a call: what it may still use, and of a call what it has used."""

    call: bool
    until: int
    granted: int = 0
    used: int = 0


@dataclass
class Purse:
    """One subscriber's money and allowance, and all that holds some of it."""

    prices: Prices
    money: Decimal
    allowance_kb: int
    credit: Decimal = Decimal(0)
    sessions: dict[str, Session] = field(default_factory=dict)
    apart: dict[str, tuple[Decimal, int]] = field(default_factory=dict)  # amount, until
    owed_kb: int = 0
    owed_calls: list[int] = field(default_factory=list)

    def reserve(self, name: str, used: int, wanted: int, *, call: bool, until: int) -> int:
        """A session reports what it used and asks for more: what it is granted."""
        before = self.sessions.get(name, Session(call, until))
        total = before.used + used if call else 0
        if not call:
            self._owe(used)
        mine = self.sessions[name] = Session(call, until, 0, total)
        low, high = 0, wanted
        while low < high:  # the most that can be paid for
            mine.granted = (low + high + 1) // 2
            if self._can_pay():
                low = mine.granted
            else:
                high = mine.granted - 1
        mine.granted = low
        return low

    def release(self, name: str, used: int) -> None:
        """A session is over."""
        session = self.sessions.pop(name)
        if session.call:
            self.owed_calls += [session.used + used] if session.used + used else []
        else:
            self._owe(used)

    def set_apart(self, name: str, amount: Decimal, until: int) -> bool:
        """An amount is set apart, wholly or not at all."""
        self.apart[name] = amount, until
        if self.money - self._owed() - self._apart() + self.credit >= 0 and self._can_pay():
            return True
        del self.apart[name]
        return False

    def give_back(self, name: str) -> None:
        """What was set apart is free again."""
        self.apart.pop(name, None)

    def expire(self, now: int) -> list[str]:
        """Promises that ended by themselves; a call is owed as far as it was reported. Names of the sessions."""
        over = [name for name, session in self.sessions.items() if session.until <= now]
        for name in over:
            self.release(name, 0)
        self.apart = {name: held for name, held in self.apart.items() if held[1] > now}
        return over

    def charge(self) -> None:
        """What is owed is taken."""
        self.money -= self._owed()
        self.allowance_kb = max(self.allowance_kb - self.owed_kb, 0)
        self.owed_kb, self.owed_calls = 0, []

    def available(self) -> Decimal:
        """The money that nobody has been promised: what would be left if all of it were used now."""
        return self.money - self._owed() - self._apart() - self._promised()

    def _owe(self, octets: int) -> None:
        self.owed_kb += _kilobytes(octets)

    def _owed(self) -> Decimal:
        data = max(self.owed_kb - self.allowance_kb, 0) * self.prices.kilobyte
        return data + sum((self.prices.of_call(ms) for ms in self.owed_calls), Decimal(0))

    def _apart(self) -> Decimal:
        return sum((amount for amount, _ in self.apart.values()), Decimal(0))

    def _promised(self) -> Decimal:
        data_kb = sum(_kilobytes(each.granted) for each in self.sessions.values() if not each.call)
        left_kb = max(self.allowance_kb - self.owed_kb, 0)
        calls = [each.used + each.granted for each in self.sessions.values() if each.call]
        of_data = max(data_kb - left_kb, 0) * self.prices.kilobyte
        return of_data + sum((self.prices.of_call(ms) for ms in calls), Decimal(0))

    def _can_pay(self) -> bool:
        """Whether all promises can be kept, or cost nothing."""
        promised = self._promised()
        return promised <= 0 or self.money - self._owed() - self._apart() - promised + self.credit >= 0


def _kilobytes(octets: int) -> int:
    return int((Decimal(octets) / KILOBYTE).to_integral_value(ROUND_CEILING))
