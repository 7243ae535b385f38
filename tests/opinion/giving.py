"""A second opinion of fees for transfers and of bonuses: decimals, dates and dictionaries, nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal
from zoneinfo import ZoneInfo

WAYS = {"up": ROUND_UP, "down": ROUND_DOWN, "half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}


def fee(amount: Decimal, fixed: Decimal, percent: Decimal, decimals: int, way: str) -> Decimal:
    """What handing on an amount costs besides."""
    share = amount * percent / 100
    return fixed + share.quantize(Decimal(1).scaleb(-decimals), rounding=WAYS[way])


@dataclass(frozen=True)
class Promise:
    """What a tariff promises for a top-up."""

    balance: str
    amount: int
    above: Decimal
    valid: timedelta
    every: str
    plan: str = ""


@dataclass
class Giver:
    """Remembers what was given to one subscriber, by the first day of the period."""

    zone: ZoneInfo
    cycle_day: int
    plan: str
    given: set[tuple[str, date]] = field(default_factory=set)

    def top_up(
        self, amount: Decimal, moment: datetime, promises: list[Promise]
    ) -> list[tuple[str, int, datetime]]:
        """What a top-up brings: balance, amount, end."""
        found = []
        for each in promises:
            if amount < each.above or each.plan not in ("", self.plan):
                continue
            key = (each.balance, self._first_day(moment, each.every))
            if key in self.given:
                continue
            self.given.add(key)
            found.append((each.balance, each.amount, moment.astimezone(UTC) + each.valid))
        return found

    def _first_day(self, moment: datetime, every: str) -> date:
        day = moment.astimezone(self.zone).date()
        if every == "day":
            return day
        if every == "week":
            return day - timedelta(days=day.weekday())
        while day.day != self.cycle_day:
            day -= timedelta(days=1)
        return day
