"""What a use costs: the walk of one use through time bands, tiers and slots, in whole numbers.

A use of so many units is walked from where allowances stopped covering it. A stretch ends where the time
band changes (calls only; midnight changes nothing by itself), where accumulated usage enters the next tier,
or where the use ends. Inside a stretch whole increments are charged by the slot in force; an increment that
was begun is finished at its price, even past the border. Each stretch is rounded once, by its rate's own
rule, and no float takes part.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs.catalogue import FOREVER
from trunkline.charging.vector import (
    BAND,
    DAY,
    L_BAND,
    L_MAX,
    L_MIN,
    L_SCHEDULE,
    LINE,
    LINE_W,
    OFFSET,
    R_DEN,
    R_FEE,
    R_MODE,
    R_STEP,
    R_TIER,
    R_TIERS,
    RATE,
    RATE_W,
    S_FROM,
    S_INCREMENT,
    S_PRICE,
    SCH_SPECIAL,
    SCH_SPECIALS,
    SCHEDULE,
    SCHEDULE_W,
    SEGMENT,
    SLOT,
    SLOT_W,
    SPECIAL,
    T_FROM,
    T_SLOT,
    T_SLOTS,
    TIER,
    TIER_W,
    ZONE,
)
from trunkline.kernel.money import Rounding

NO_PRICE = -1
TOO_LARGE = -2
LARGEST = 2**62

DAY_S = 86_400
_UP, _DOWN, _HALF_UP = int(Rounding.UP), int(Rounding.DOWN), int(Rounding.HALF_UP)
Vector = npt.NDArray[np.int64]


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def offset_at(t: Vector, zone: int, us: int) -> tuple[int, int]:
    """Seconds that a zone's clocks are ahead of UTC at a moment, and the moment (us) at which that ends."""
    low = t[t[ZONE] + 2 * zone]
    end = low + t[t[ZONE] + 2 * zone + 1]
    high = end
    base = t[OFFSET]
    while high - low > 1:
        middle = (low + high) >> 1
        if t[base + 2 * middle] <= us:
            low = middle
        else:
            high = middle
    until = t[base + 2 * (low + 1)] if low + 1 < end else nb.int64(FOREVER)
    return t[base + 2 * low + 1], until


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _day_type(t: Vector, schedule: int, day: int) -> int:
    """Day type of a local day: a special day's own, else its weekday's."""
    base = t[SCHEDULE] + schedule * SCHEDULE_W
    begin = t[base + SCH_SPECIAL]
    end = begin + t[base + SCH_SPECIALS]
    low, high = begin, end
    while low < high:
        middle = (low + high) >> 1
        if t[t[SPECIAL] + 2 * middle] < day:
            low = middle + 1
        else:
            high = middle
    if low < end and t[t[SPECIAL] + 2 * low] == day:
        return t[t[SPECIAL] + 2 * low + 1]
    return t[base + (day + 3) % 7]  # 1970-01-01 was a Thursday


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def band_at(t: Vector, schedule: int, zone: int, us: int) -> tuple[int, int]:
    """Time band of a schedule at a moment in a zone, and the moment (us) up to which it surely holds."""
    offset, until = offset_at(t, zone, us)
    second = us // 1_000_000 + offset
    day = second // DAY_S
    of_day = second - day * DAY_S
    day_type = _day_type(t, schedule, day)
    at = t[t[DAY] + 2 * day_type]
    last = at + t[t[DAY] + 2 * day_type + 1] - 1
    base = t[SEGMENT]
    while at < last and t[base + 2 * (at + 1)] <= of_day:
        at += 1
    border_s = t[base + 2 * (at + 1)] if at < last else nb.int64(DAY_S)
    border_us = (day * DAY_S + border_s - offset) * 1_000_000
    return t[base + 2 * at + 1], min(until, border_us)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
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


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _slots(t: Vector, tier: int, begin: int, end: int) -> tuple[int, int]:
    """Numerator of the increments from `begin` until `end` is passed, and where they stop."""
    at = t[SLOT] + t[t[TIER] + tier * TIER_W + T_SLOT] * SLOT_W
    last = at + (t[t[TIER] + tier * TIER_W + T_SLOTS] - 1) * SLOT_W
    numerator = nb.int64(0)
    position = nb.int64(begin)
    while at <= last and position < end:
        border = t[at + SLOT_W + S_FROM] if at < last else LARGEST
        if position < border:
            increment = t[at + S_INCREMENT]
            price = t[at + S_PRICE]
            count = (min(end, border) - position + increment - 1) // increment
            if price > 0 and count > (LARGEST - numerator) // price:
                return nb.int64(TOO_LARGE), position
            numerator += count * price
            position += count * increment
        at += SLOT_W
    return numerator, position


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _settled(t: Vector, rate: int, numerator: int) -> int:
    """Micro-units of a stretch of one rate, rounded by that rate's rule."""
    if numerator == 0:
        return nb.int64(0)
    step = t[rate + R_STEP]
    return rounded(numerator, t[rate + R_DEN] * step, t[rate + R_MODE]) * step


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def price_use(
    t: Vector, line: int, timed: bool, start_us: int, zone: int, begin: int, end: int, counted: int, fee: bool
) -> int:
    """Micro-units for the units `begin`..`end` of a use; `NO_PRICE` or `TOO_LARGE` where there is none.

    `timed`: units are ms and the use is split at band borders; else the band at the start holds throughout.
    `counted`: the tier counter's value before the use. `fee`: the connect fee is due.
    """
    total = nb.int64(0)
    if end <= begin:
        return total
    stretch = nb.int64(0)  # numerator of the increments since the band or the tier changed, not rounded yet
    stretch_rate, stretch_band, stretch_tier = nb.int64(-1), nb.int64(-1), nb.int64(-1)
    schedule = t[t[LINE] + line * LINE_W + L_SCHEDULE]
    bands = t[BAND] + t[t[LINE] + line * LINE_W + L_BAND]
    position = nb.int64(begin)
    band = nb.int64(0)
    until_us = nb.int64(FOREVER)
    if schedule >= 0:
        band, until_us = band_at(t, schedule, zone, start_us + (position * 1000 if timed else 0))
    while position < end:
        number = t[bands + band]
        if number < 0:
            return nb.int64(NO_PRICE)
        rate = t[RATE] + number * RATE_W
        border = nb.int64(end)
        if timed and until_us < FOREVER:
            border = min(border, (until_us - start_us + 999) // 1000)
        tier = t[rate + R_TIER]
        last = tier + t[rate + R_TIERS] - 1
        while tier < last and t[t[TIER] + (tier + 1) * TIER_W + T_FROM] <= counted + position:
            tier += 1
        if tier < last:
            border = min(border, t[t[TIER] + (tier + 1) * TIER_W + T_FROM] - counted)
        if band != stretch_band or tier != stretch_tier:
            total += _settled(t, stretch_rate, stretch)
            stretch, stretch_rate, stretch_band, stretch_tier = nb.int64(0), rate, band, tier
        numerator, position = _slots(t, tier, position, border)
        if fee:
            stretch += t[rate + R_FEE] * t[rate + R_DEN]
            fee = False
        stretch += numerator
        if numerator < 0 or stretch < 0 or total < 0 or total > LARGEST:
            return nb.int64(TOO_LARGE)
        if timed and schedule >= 0 and position < end:
            band, until_us = band_at(t, schedule, zone, start_us + position * 1000)
    total += _settled(t, stretch_rate, stretch)
    return total if 0 <= total <= LARGEST else nb.int64(TOO_LARGE)


@nb.njit(inline="always")
def limited(t: Vector, line: int, total: int) -> int:
    """A use's amount after its line's minimum charge and maximum cost."""
    least = t[t[LINE] + line * LINE_W + L_MIN]
    most = t[t[LINE] + line * LINE_W + L_MAX]
    if 0 < total < least:
        total = least
    if most >= 0 and total > most:
        total = most
    return total


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def above(one: int, of: int, other: int, other_of: int) -> bool:
    """Whether the fraction one/of is above other/other_of; all are whole, the denominators above zero.

    By continued fractions, so that no product of two of them has to fit into 64 bits.
    """
    while True:
        whole, other_whole = one // of, other // other_of
        rest, other_rest = one - whole * of, other - other_whole * other_of
        if whole != other_whole or other_rest == 0 or rest == 0:
            return whole > other_whole or (whole == other_whole and other_rest == 0 and rest > 0)
        one, of, other, other_of = other_of, other_rest, of, rest


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def dearer(
    t: Vector, line: int, timed: bool, start_us: int, zone: int, begin: int, end: int, counted: int, micros: int,
    per: int,
) -> bool:  # fmt: skip
    """Whether any slot in force for the units `begin`..`end` of a use asks more than `micros` for `per` units.

    What an increment costs counts, as it is charged (`price_use`); the connect fee is no rate.
    """
    schedule = t[t[LINE] + line * LINE_W + L_SCHEDULE]
    bands = t[BAND] + t[t[LINE] + line * LINE_W + L_BAND]
    position, band, until_us = nb.int64(begin), nb.int64(0), nb.int64(FOREVER)
    while position < end:
        if schedule >= 0 and (timed or position == begin):
            band, until_us = band_at(t, schedule, zone, start_us + (position * 1000 if timed else 0))
        if t[bands + band] < 0:
            return True
        rate = t[RATE] + t[bands + band] * RATE_W
        border = nb.int64(end)
        if timed and until_us < FOREVER:
            border = min(border, (until_us - start_us + 999) // 1000)
        tier = t[rate + R_TIER]
        last_tier = tier + t[rate + R_TIERS] - 1
        while tier < last_tier and t[t[TIER] + (tier + 1) * TIER_W + T_FROM] <= counted + position:
            tier += 1
        if tier < last_tier:
            border = min(border, t[t[TIER] + (tier + 1) * TIER_W + T_FROM] - counted)
        at = t[SLOT] + t[t[TIER] + tier * TIER_W + T_SLOT] * SLOT_W
        last = at + (t[t[TIER] + tier * TIER_W + T_SLOTS] - 1) * SLOT_W
        while at < last and t[at + SLOT_W + S_FROM] <= position:
            at += SLOT_W
        if at < last:
            border = min(border, t[at + SLOT_W + S_FROM])
        price, increment, den = t[at + S_PRICE], t[at + S_INCREMENT], t[rate + R_DEN]
        if increment > LARGEST // den:  # beyond 64 bits: by whole micro-units an increment, rounded up
            price, den = (price + den - 1) // den, nb.int64(1)
        if above(price, increment * den, micros, per):
            return True
        position += max((border - position + increment - 1) // increment, 1) * increment
    return False
