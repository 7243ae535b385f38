"""What a use costs: the walk of one use through time bands, tiers and slots, in whole numbers.

A use of so many units is walked from where allowances stopped covering it. A stretch ends where the time band
changes (calls only), where accumulated usage enters the next tier, or where the use ends. Inside a stretch whole
increments are charged by the slot in force; an increment that was begun is finished at its price, even past the
border. Each stretch is rounded once, by its rate's own rule, and no float takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs.catalogue import FOREVER, Catalogue
from trunkline.kernel.money import Rounding

NO_PRICE = -1
TOO_LARGE = -2
LARGEST = np.int64(2**62)

DAY_S = 86_400
KEPT_CATALOGUES = 8
_UP, _DOWN, _HALF_UP = int(Rounding.UP), int(Rounding.DOWN), int(Rounding.HALF_UP)
Array = npt.NDArray[Any]
Packed = TypeVar("Packed")

LINE = np.dtype(
    [
        ("schedule", "i4"),
        ("band_first", "i4"),
        ("counter", "i4"),
        ("free", "u1"),
        ("record_price", "u1"),
        ("tiered", "u1"),
        ("pad", "u1"),
        ("max_cost", "i8"),
        ("min_charge", "i8"),
    ]
)
RATE = np.dtype(
    [
        ("den", "i8"),
        ("step", "i8"),
        ("fee", "i8"),
        ("tier_first", "i4"),
        ("tier_count", "i4"),
        ("mode", "i8"),
    ]
)
TIER = np.dtype([("from_units", "i8"), ("slot_first", "i4"), ("slot_count", "i4")])
SLOT = np.dtype([("from_units", "i8"), ("increment", "i8"), ("price", "i8")])


class Prices(NamedTuple):
    """The catalogue's pricing arrays, packed so that what is used together lies together."""

    lines: Array
    band_rate: Array
    rates: Array
    tiers: Array
    slots: Array
    schedule_day: Array
    special_first: Array
    special_count: Array
    special_day: Array
    special_type: Array
    day_first: Array
    day_count: Array
    segment_start_s: Array
    segment_band: Array
    zone_first: Array
    zone_count: Array
    offset_from_us: Array
    offset_s: Array


def _packed(dtype: np.dtype[Any], columns: dict[str, Array]) -> Array:
    rows = np.zeros(len(next(iter(columns.values()))), dtype)
    for name, column in columns.items():
        rows[name] = column
    return rows


def per_catalogue(build: Callable[[Catalogue], Packed]) -> Callable[[Catalogue], Packed]:
    """Keep what `build` makes of a catalogue, for the few catalogues in use."""
    kept: dict[int, tuple[Catalogue, Packed]] = {}  # holding the catalogue keeps its id from being used again

    @wraps(build)
    def of(catalogue: Catalogue) -> Packed:
        if id(catalogue) not in kept:
            while len(kept) >= KEPT_CATALOGUES:
                kept.pop(next(iter(kept)))
            kept[id(catalogue)] = (catalogue, build(catalogue))
        return kept[id(catalogue)][1]

    return of


@per_catalogue
def pack(catalogue: Catalogue) -> Prices:
    """The pricing arrays of a catalogue."""
    t = catalogue.tables
    return Prices(
        lines=_packed(
            LINE,
            {
                "schedule": t.line_schedule,
                "band_first": t.line_band_first,
                "counter": t.line_counter,
                "free": t.line_free,
                "record_price": t.line_record_price,
                "tiered": t.line_counter >= 0,
                "max_cost": t.line_max_cost,
                "min_charge": t.line_min_charge,
            },
        ),
        band_rate=t.band_rate,
        rates=_packed(
            RATE,
            {
                "den": t.rate_den,
                "step": t.rate_step,
                "fee": t.rate_fee,
                "tier_first": t.rate_tier_first,
                "tier_count": t.rate_tier_count,
                "mode": t.rate_mode,
            },
        ),
        tiers=_packed(
            TIER, {"from_units": t.tier_from, "slot_first": t.tier_slot_first, "slot_count": t.tier_slot_count}
        ),
        slots=_packed(SLOT, {"from_units": t.slot_from, "increment": t.slot_increment, "price": t.slot_price}),
        schedule_day=t.schedule_day,
        special_first=t.schedule_special_first,
        special_count=t.schedule_special_count,
        special_day=t.special_day,
        special_type=t.special_type,
        day_first=t.day_first,
        day_count=t.day_count,
        segment_start_s=t.segment_start_s,
        segment_band=t.segment_band,
        zone_first=t.zone_first,
        zone_count=t.zone_count,
        offset_from_us=t.offset_from_us,
        offset_s=t.offset_s,
    )


@nb.njit(nogil=True, cache=True)
def offset_at(p: Any, zone: int, us: int) -> tuple[int, int]:
    """Seconds that a zone's clocks are ahead of UTC at a moment, and the moment (us) at which that ends."""
    low = np.int64(p.zone_first[zone])
    end = low + p.zone_count[zone]
    high = end
    while high - low > 1:
        middle = (low + high) >> 1
        if p.offset_from_us[middle] <= us:
            low = middle
        else:
            high = middle
    until = p.offset_from_us[low + 1] if low + 1 < end else FOREVER
    return np.int64(p.offset_s[low]), until


@nb.njit(nogil=True, cache=True)
def band_at(p: Any, schedule: int, zone: int, us: int) -> tuple[int, int]:
    """Time band of a schedule at a moment in a zone, and the moment (us) up to which it surely holds."""
    offset, until = offset_at(p, zone, us)
    local_us = us + offset * 1_000_000
    second = local_us // 1_000_000
    day = second // DAY_S
    of_day = second - day * DAY_S
    day_type = p.schedule_day[schedule, (day + 3) % 7]  # 1970-01-01 was a Thursday
    low = np.int64(p.special_first[schedule])
    high = low + p.special_count[schedule]
    while low < high:
        middle = (low + high) >> 1
        if p.special_day[middle] < day:
            low = middle + 1
        else:
            high = middle
    if low < p.special_first[schedule] + p.special_count[schedule] and p.special_day[low] == day:
        day_type = p.special_type[low]
    first = np.int64(p.day_first[day_type])
    last = first + p.day_count[day_type] - 1
    at = first
    while at < last and p.segment_start_s[at + 1] <= of_day:
        at += 1
    border_s = np.int64(p.segment_start_s[at + 1]) if at < last else np.int64(DAY_S)
    border_us = (day * DAY_S + border_s - offset) * 1_000_000
    return np.int64(p.segment_band[at]), min(until, border_us)


@nb.njit(nogil=True, cache=True)
def rounded(numerator: int, denominator: int, mode: int) -> int:
    """Whole quotient of two non-negative numbers by a rounding's number (`kernel.money.Rounding`)."""
    whole = numerator // denominator
    rest = numerator - whole * denominator
    if rest == 0 or mode == _DOWN:
        return whole
    if mode == _UP:
        return whole + 1
    twice = rest - (denominator - rest)
    if twice > 0 or (twice == 0 and (mode == _HALF_UP or whole % 2 == 1)):
        return whole + 1
    return whole


@nb.njit(nogil=True, cache=True)
def _slots(p: Any, tier: int, begin: int, end: int) -> tuple[int, int]:
    """Numerator of the increments from `begin` until `end` is passed, and where they stop."""
    first = np.int64(p.tiers[tier].slot_first)
    last = first + p.tiers[tier].slot_count - 1
    numerator = np.int64(0)
    position = begin
    for at in range(first, last + 1):
        border = p.slots[at + 1].from_units if at < last else LARGEST
        if position >= border:
            continue
        increment = p.slots[at].increment
        price = p.slots[at].price
        count = (min(end, border) - position + increment - 1) // increment
        if price > 0 and count > (LARGEST - numerator) // price:
            return np.int64(TOO_LARGE), position
        numerator += count * price
        position += count * increment
        if position >= end:
            break
    return numerator, position


@nb.njit(nogil=True, cache=True)
def price_use(
    p: Any, line: int, timed: bool, start_us: int, zone: int, begin: int, end: int, counted: int, fee: bool
) -> int:
    """Micro-units for the units `begin`..`end` of a use; `NO_PRICE` or `TOO_LARGE` where there is none.

    `timed`: units are ms and the use is split at band borders; else the band at the start holds throughout.
    `counted`: the tier counter's value before the use. `fee`: the connect fee is due.
    """
    total = np.int64(0)
    if end <= begin:
        return total
    schedule = np.int64(p.lines[line].schedule)
    band_first = np.int64(p.lines[line].band_first)
    position = np.int64(begin)
    band = np.int64(0)
    until_us = np.int64(FOREVER)
    if schedule >= 0:
        band, until_us = band_at(p, schedule, zone, start_us + (position * 1000 if timed else 0))
    while position < end:
        rate = p.band_rate[band_first + band]
        if rate < 0:
            return np.int64(NO_PRICE)
        den = p.rates[rate].den
        border = np.int64(end)
        if timed and until_us < FOREVER:
            border = min(border, (until_us - start_us + 999) // 1000)
        tier = np.int64(p.rates[rate].tier_first)
        last = tier + p.rates[rate].tier_count - 1
        while tier < last and p.tiers[tier + 1].from_units <= counted + position:
            tier += 1
        if tier < last:
            border = min(border, p.tiers[tier + 1].from_units - counted)
        numerator, position = _slots(p, tier, position, border)
        if numerator < 0:
            return np.int64(TOO_LARGE)
        if fee:
            numerator += p.rates[rate].fee * den
            fee = False
        step = p.rates[rate].step
        total += rounded(numerator, den * step, p.rates[rate].mode) * step
        if total < 0 or total > LARGEST:
            return np.int64(TOO_LARGE)
        if timed and schedule >= 0 and position < end:
            band, until_us = band_at(p, schedule, zone, start_us + position * 1000)
    return total


@nb.njit(nogil=True, cache=True)
def limited(p: Any, line: int, total: int) -> int:
    """A use's amount after its line's minimum charge and maximum cost."""
    if total > 0 and total < p.lines[line].min_charge:
        total = p.lines[line].min_charge
    if p.lines[line].max_cost >= 0 and total > p.lines[line].max_cost:
        total = p.lines[line].max_cost
    return total
