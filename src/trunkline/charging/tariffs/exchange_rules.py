"""What a tariff says of other currencies, compiled: whole billionths, by currency and ascending moment."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.kernel.money import Rounding

BILLIONTHS = 10**9


@dataclass(frozen=True)
class ExchangeRate:
    """How many billionths of the tariff's currency one unit of another is, from a moment on."""

    currency: str
    since_us: int
    billionths: int


@dataclass(frozen=True)
class Exchange:
    """Rates by currency and ascending moment, and how an amount is rounded."""

    rates: tuple[ExchangeRate, ...]
    decimals: int
    mode: Rounding
