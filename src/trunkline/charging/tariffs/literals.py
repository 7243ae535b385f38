"""The words of a tariff as exact integers: amounts, durations, volumes, times, dates, prefixes, slices.

Every function takes the text as written and raises ValueError with a sentence that says what to write instead.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from enum import Enum
from fractions import Fraction
from zoneinfo import ZoneInfo

from trunkline.kernel import dial, money

DAY_S = 86_400
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIRST_YEAR, LAST_YEAR = 2000, 2060
HIGHEST_UNITS = 2**62
NO_SD = 0xFFFFFF


class Measure(Enum):
    """What a quantity is written in; a bare number fits every kind of usage."""

    TIME = "ms"
    OCTETS = "octets"
    BARE = "units"


SUFFIXES = {
    "ms": (Measure.TIME, 1),
    "s": (Measure.TIME, 1000),
    "m": (Measure.TIME, 60_000),
    "min": (Measure.TIME, 60_000),
    "h": (Measure.TIME, 3_600_000),
    "d": (Measure.TIME, 86_400_000),
    "B": (Measure.OCTETS, 1),
    "KB": (Measure.OCTETS, 10**3),
    "kB": (Measure.OCTETS, 10**3),
    "MB": (Measure.OCTETS, 10**6),
    "GB": (Measure.OCTETS, 10**9),
    "TB": (Measure.OCTETS, 10**12),
    "KiB": (Measure.OCTETS, 2**10),
    "MiB": (Measure.OCTETS, 2**20),
    "GiB": (Measure.OCTETS, 2**30),
    "TiB": (Measure.OCTETS, 2**40),
}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
DECIMAL = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
MONTH_DAY = re.compile(r"(\d{2})-(\d{2})", re.ASCII)
SLICE_SD = re.compile(r"(\d{1,3})-([0-9A-Fa-f]{6})", re.ASCII)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
SLICE_WHOLE = re.compile(r"[0-9A-Fa-f]{8}")


def quantity(text: str) -> tuple[int, Measure]:
    """A duration (`90s`), volume (`1MB`) or bare count as whole units (ms, octets, units)."""
    written = QUANTITY.fullmatch(text)
    if not written:
        raise ValueError(
            f'"{text}" is not a quantity; write a duration such as 60s or 10m, a volume such as 1MB, or a number'
        )
    number, suffix = written.groups()
    if suffix and suffix not in SUFFIXES:
        raise ValueError(
            f'"{text}" has an unknown unit; durations end in ms, s, m, h, d, volumes in B, KB, MB, GB, KiB, MiB, GiB'
        )
    measure, size = SUFFIXES[suffix] if suffix else (Measure.BARE, 1)
    units = Fraction(number) * size
    if units.denominator != 1:
        raise ValueError(f'"{text}" is not a whole number of {measure.value}; write it in a smaller unit')
    if units >= HIGHEST_UNITS:
        raise ValueError(f'"{text}" is too large to count exactly')
    return int(units), measure


def price(text: str) -> Fraction:
    """The exact value of a price in the currency's unit; as many decimals as wanted up to 15."""
    if not DECIMAL.fullmatch(text):
        hint = "; write a point, not a comma" if "," in text else ""
        raise ValueError(f'"{text}" is not an amount such as "0.35"{hint}')
    if len(text.partition(".")[2]) > 15 or len(text) > 30:
        raise ValueError(f'"{text}" has more digits than can be computed exactly; keep to 15 decimals')
    return money.exact(text)


def amount(text: str) -> int:
    """An amount in whole micro-units."""
    price(text)
    try:
        return money.to_micros(text)
    except ValueError as error:
        raise ValueError(f'"{text}" has more than six decimals; an amount is kept in millionths') from error


def percent(text: str, highest: int) -> int:
    """Millionths of a percentage such as "19" or "8.875%"."""
    value = price(text.removesuffix("%")) * 10_000
    if value.denominator != 1 or value > highest * 10_000:
        raise ValueError(f'"{text}" is not a percentage from 0 to {highest} with at most four decimals')
    return int(value)


def whole(text: str, lowest: int, highest: int) -> int:
    """A whole number between two bounds."""
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise ValueError(f'"{text}" is not a whole number from {lowest} to {highest}')
    return int(text)


def factor(text: str) -> Fraction:
    """A factor above zero such as "1.5"."""
    value = price(text)
    if value <= 0 or value.numerator > 10**6 or value.denominator > 10**6:
        raise ValueError(f'"{text}" is not a factor between 0.000001 and 1000000')
    return value


def truth(text: str) -> bool:
    """True or false."""
    if text not in {"true", "false"}:
        raise ValueError(f'"{text}" is neither true nor false')
    return text == "true"


def clock(text: str) -> int:
    """Seconds of the day of a time such as "08:00", "22:30:15" or "24:00"."""
    written = CLOCK.fullmatch(text)
    if written:
        hours, minutes, seconds = (int(part or 0) for part in written.groups())
        at = hours * 3600 + minutes * 60 + seconds
        if minutes < 60 and seconds < 60 and at <= DAY_S:
            return at
    raise ValueError(f'"{text}" is not a time of day; write "08:00" or "22:30:15", in quotes')


def day(text: str) -> date:
    """A date such as 2026-12-25."""
    try:
        return date.fromisoformat(text if DATE.fullmatch(text) else "")
    except ValueError as error:
        raise ValueError(f'"{text}" is not a date; write 2026-12-25') from error


def holiday(text: str) -> tuple[date, ...]:
    """One date, or every year's for a month and day such as "12-25" (of the years that have it)."""
    written = MONTH_DAY.fullmatch(text)
    if not written:
        try:
            return (day(text),)
        except ValueError as error:
            raise ValueError(
                f'"{text}" is not a date; write "2026-12-25", or "12-25" for every year'
            ) from error
    month, in_month = int(written[1]), int(written[2])
    found = []
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        try:
            found.append(date(year, month, in_month))
        except ValueError:
            continue
    if not found:
        raise ValueError(f'"{text}" is in no calendar; write month and day as "12-25"')
    return tuple(found)


def moment(text: str, zone: ZoneInfo) -> int:
    """Microseconds UTC of a date (its midnight) or date and time; without an offset it is local in `zone`."""
    try:
        if len(text) == 10:
            local = datetime.combine(day(text), time(), zone)
        else:
            local = datetime.fromisoformat(text)
            local = local if local.tzinfo else local.replace(tzinfo=zone)
    except ValueError as error:
        raise ValueError(
            f'"{text}" is not a date or a time; write 2026-01-01 or 2026-01-01T06:00:00+01:00'
        ) from error
    return (local - datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))) // timedelta(microseconds=1)


def weekday(text: str) -> int:
    """0 for Monday to 6 for Sunday."""
    short = text.lower()[:3]
    full = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    if short in WEEKDAYS and text.lower() in (short, full[WEEKDAYS.index(short)]):
        return WEEKDAYS.index(short)
    raise ValueError(f'"{text}" is not a weekday; write mon, tue, wed, thu, fri, sat or sun')


def prefix(text: str) -> str:
    """The digits of a prefix; one + before them is allowed."""
    digits = text.removeprefix("+")
    if not digits:
        raise ValueError("a prefix needs at least one digit; for every number write `to: any` in the price")
    try:
        dial.prefix_range(digits)
    except ValueError as error:
        raise ValueError(
            f'"{text}" is not a prefix; write up to 16 digits (also *, #, A, B) without spaces'
        ) from error
    return digits


def number(text: str) -> str:
    """A whole number or a name such as voicemail, matched to the letter."""
    if not text or any(symbol.isspace() for symbol in text):
        raise ValueError(f'"{text}" is not a number; write digits without spaces')
    return text.removeprefix("+")


def plmn(text: str) -> int:
    """A network's MCC and MNC as one number."""
    if not text.isascii() or not text.isdigit() or len(text) not in {5, 6}:
        raise ValueError(f'"{text}" is not a network; write MCC and MNC together, such as 26201 or "00101"')
    return int(text)


def mcc(text: str) -> int:
    """A mobile country code."""
    if not text.isascii() or not text.isdigit() or len(text) != 3:
        raise ValueError(f'"{text}" is not a mobile country code; write three digits such as 262')
    return int(text)


def network_slice(text: str) -> tuple[int, ...]:
    """An S-NSSAI as SST << 24 | SD; a lone SST has two words, since networks write it without an SD or with FFFFFF."""
    written = SLICE_SD.fullmatch(text)
    if written and int(written[1]) < 256:
        sst, sd = int(written[1]), int(written[2], 16)
    elif SLICE_WHOLE.fullmatch(text):
        sst, sd = divmod(int(text, 16), 1 << 24)
    elif text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 256:
        sst, sd = int(text), NO_SD
    else:
        raise ValueError(f'"{text}" is not a slice; write SST and SD such as "1-000001", or "01000001"')
    return (sst << 24, sst << 24 | NO_SD) if sd == NO_SD else (sst << 24 | sd,)
