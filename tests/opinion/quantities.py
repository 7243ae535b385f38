"""Amounts, lengths and volumes as people write them, read exactly."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

MICROS = 1_000_000

# How many of the platform's units (ms, octets, events) one written unit is.
WRITTEN_UNITS = {
    "": 1,
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}


def amount(text: str) -> Fraction:
    """An amount of money in whole currency units."""
    return Fraction(Decimal(text))


def micros(text: str) -> int:
    """An amount of money that must be a whole number of micro-units."""
    value = amount(text) * MICROS
    assert value.denominator == 1, f"{text} is finer than a micro-unit"
    return value.numerator


def units(text: str) -> int:
    """A length or volume such as `90s`, `10m`, `1KiB` or a bare count, in the platform's units."""
    match = re.fullmatch(r"([0-9.]+) *([A-Za-z]*)", text)
    assert match, f"not a quantity: {text!r}"
    value = Fraction(Decimal(match[1])) * WRITTEN_UNITS[match[2]]
    assert value.denominator == 1, f"{text} is finer than one unit"
    return value.numerator


def rounded(value: Fraction, decimals: int, mode: str) -> Fraction:
    """A non-negative value rounded to so many decimals: up, down, half_up or half_even."""
    scaled = value * 10**decimals
    whole, rest = divmod(scaled.numerator, scaled.denominator)
    twice = 2 * rest
    up = {
        "up": rest > 0,
        "down": False,
        "half_up": twice >= scaled.denominator,
        "half_even": twice > scaled.denominator or (twice == scaled.denominator and whole % 2 == 1),
    }[mode]
    return Fraction(whole + up, 10**decimals)


def at_least(value: Fraction | int) -> int:
    """The smallest whole number that is not below the value."""
    exact = Fraction(value)
    return -(-exact.numerator // exact.denominator)


def at_most(value: Fraction | int) -> int:
    """The largest whole number that is not above the value."""
    exact = Fraction(value)
    return exact.numerator // exact.denominator
