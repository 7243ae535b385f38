"""What a tariff says of other currencies, compiled: whole billionths, by currency and ascending moment."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trunkline.kernel.money import Rounding

BILLIONTHS = 10**9


@dataclass(frozen=True)
class ExchangeRate:
    """From a moment on so much of the tariff's currency (`ours`) is worth so much of another (`theirs`), in billionths.

    One of the two is one whole unit, whichever way the rate was written, so neither way loses a digit of it.
    """

    currency: str
    since_us: int
    ours: int
    theirs: int
    source: str = ""  # who published it


def rate_text(ours: int, theirs: int, own: str, currency: str) -> str:
    """A rate as it was written: what one unit of the other currency is in ours, or the other way round."""
    if theirs == BILLIONTHS:
        return f"1 {currency} = {_decimal(ours)} {own}"
    return f"1 {own} = {_decimal(theirs)} {currency}"


def _decimal(billionths: int) -> str:
    return f"{Decimal(billionths).scaleb(-9).normalize():f}"


@dataclass(frozen=True)
class Exchange:
    """Rates by currency and ascending moment, and how an amount is rounded."""

    rates: tuple[ExchangeRate, ...]
    decimals: int
    mode: Rounding

    def rate_at(self, currency: str, us: int) -> ExchangeRate | None:
        """The rate of a currency that is in force at a moment."""
        return next(
            (each for each in reversed(self.rates) if each.currency == currency and each.since_us <= us), None
        )
