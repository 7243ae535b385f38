"""Amounts between TM Forum's decimals with a unit and our whole micro-units, milliseconds and octets; always exact."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from trunkline.api.problems import Problem
from trunkline.records.charging import Unit

_UNITS = {
    Unit.TIME: {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000},
    Unit.OCTETS: {
        "B": 1,
        **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
        **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
    },
    Unit.EVENTS: {"events": 1},
}
_NAMES = {
    "second": "s",
    "seconds": "s",
    "minute": "min",
    "minutes": "min",
    "kB": "KB",
    "1": "events",
    "event": "events",
}
USAGE_TYPES = {Unit.MONEY: "monetary", Unit.TIME: "voice", Unit.OCTETS: "data", Unit.EVENTS: "sms"}
HIGHEST = 2**62


def quantity(amount: int, unit: Unit, currency: str) -> dict[str, object]:
    """An amount as TM Forum writes it: money in the currency, time in seconds, data in octets."""
    if unit is Unit.MONEY:
        return {"amount": plain(Decimal(amount).scaleb(-6)), "units": currency}
    if unit is Unit.TIME:
        return {"amount": plain(Decimal(amount).scaleb(-3)), "units": "s"}
    return {"amount": amount, "units": "B" if unit is Unit.OCTETS else "events"}


def money(micros: int, currency: str) -> dict[str, object]:
    """An amount of money as TM Forum writes it."""
    return {"unit": currency, "value": plain(Decimal(micros).scaleb(-6))}


def plain(number: Decimal) -> Decimal:
    """The same number without superfluous zeros behind the point."""
    return number.quantize(Decimal(1)) if number == number.to_integral_value() else number.normalize()


def whole(amount: Decimal, units: str, unit: Unit, currency: str) -> int:
    """The amount in our own unit; answers 400 when the unit is another one or something would be lost."""
    if unit is Unit.MONEY:
        if units != currency:
            raise Problem(400, "wrong_unit", f"This balance holds money; its unit is {currency}.")
        factor = 1_000_000
    else:
        known = _UNITS[unit]
        name = _NAMES.get(units, units)
        if name not in known:
            raise Problem(400, "wrong_unit", f"The units of this balance are {', '.join(known)}.")
        factor = known[name]
    value = Fraction(amount) * factor
    if value.denominator != 1:
        raise Problem(
            400, "too_precise", "The amount has more decimals than the balance can hold; nothing is rounded."
        )
    if abs(value.numerator) >= HIGHEST:
        raise Problem(400, "too_large", "The amount is too large.")
    return value.numerator
