"""Money as whole micro-units, and every way of rounding by its name.

An amount is an int64 count of millionths of the currency's unit; the currency stands beside it. Text is read
through `decimal`, never through a float.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import IntEnum
from fractions import Fraction

MICROS = 1_000_000
HIGHEST = 2**63 - 1
MOST_DIGITS = 40  # before or behind the point; a larger exponent would cost minutes to write out


class Rounding(IntEnum):
    """Ways of rounding, by name; the numbers are stored and never reused."""

    UP = 1  # away from zero
    DOWN = 2  # toward zero
    HALF_UP = 3  # to the nearest; halves away from zero
    HALF_EVEN = 4  # to the nearest; halves to the even neighbour


def divide(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Whole quotient of two integers (denominator > 0), rounded by name."""
    sign = -1 if numerator < 0 else 1
    whole, rest = divmod(abs(numerator), denominator)
    if rest and (
        rounding is Rounding.UP
        or (rounding is Rounding.HALF_UP and 2 * rest >= denominator)
        or (
            rounding is Rounding.HALF_EVEN
            and (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))
        )
    ):
        whole += 1
    return sign * whole


def exact(text: str | int | Decimal) -> Fraction:
    """The exact value of a decimal number written as text; floats are refused because they are not exact."""
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError) as error:
        raise ValueError(f"not a decimal number: {text!r}") from error
    if not value.is_finite() or (value and abs(value.adjusted()) > MOST_DIGITS):
        raise ValueError(f"not a number of a size that money has: {text!r}")
    return Fraction(value)


def to_micros(text: str | int | Decimal) -> int:
    """Micro-units of an amount such as "0.35"; more than six decimals are refused, not rounded."""
    value = exact(text) * MICROS
    if value.denominator != 1:
        raise ValueError(f"more than six decimals: {text!r}")
    if abs(value.numerator) > HIGHEST:
        raise ValueError(f"amount too large: {text!r}")
    return value.numerator


def to_text(micros: int) -> str:
    """An amount as people read it: at least two decimals, no more than needed."""
    sign = "-" if micros < 0 else ""
    whole, rest = divmod(abs(micros), MICROS)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{decimals}"
