"""Periods of allowances and counters: days, weeks and billing months in the subscriber's own time.

A period is named by its first local day, counted from 1970-01-01; months begin on the subscriber's cycle day.
"""

from __future__ import annotations

import numba as nb

from trunkline.charging.price import DAY_S, Vector, offset_at

NO_PERIOD, DAILY, WEEKLY, MONTHLY = range(4)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def day_of(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a Gregorian date; years begin in March so that leap days come last."""
    if month <= 2:
        year -= 1
        month += 12
    in_year = (153 * (month - 3) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + in_year - 719_468


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def date_of(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970-01-01."""
    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return year, month, day


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _midnight_s(t: Vector, zone: int, day: int) -> int:
    """First second (UTC) of a local day; where clocks skip midnight (as in Chile), the second of the skip."""
    guess = nb.int64(day) * DAY_S
    before, change_us = offset_at(t, zone, (guess - DAY_S) * 1_000_000)
    after, _ = offset_at(t, zone, (guess + DAY_S) * 1_000_000)
    change_s = change_us // 1_000_000
    if before == after or guess - before < change_s:
        return guess - before
    return max(change_s, guess - after)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def period_at(t: Vector, every: int, cycle_day: int, zone: int, us: int) -> tuple[int, int, int]:
    """Name of the period that holds a moment, its first second and the first second after it (both UTC)."""
    offset, _ = offset_at(t, zone, us)
    day = (us // 1_000_000 + offset) // DAY_S
    if every == DAILY:
        first, after = day, day + 1
    elif every == WEEKLY:
        first = day - (day + 3) % 7  # 1970-01-01 was a Thursday
        after = first + 7
    else:
        year, month, of_month = date_of(day)
        if of_month < cycle_day:
            month -= 1
            if month == 0:
                year, month = year - 1, 12
        first = day_of(year, month, cycle_day)
        after = day_of(year + 1, 1, cycle_day) if month == 12 else day_of(year, month + 1, cycle_day)
    return first, _midnight_s(t, zone, first), _midnight_s(t, zone, after)
