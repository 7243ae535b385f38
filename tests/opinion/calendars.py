"""Local time: which band holds at a moment, when it ends, and which billing period a moment belongs to."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from tests.opinion.tariff import BandRow

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1)
HOUR_US = 3_600_000_000


def at(us: int) -> datetime:
    """The moment, in UTC."""
    return EPOCH + timedelta(microseconds=us)


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 of a moment."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def band(schedule: tuple[BandRow, ...], zone: ZoneInfo, us: int) -> str | None:
    """The band of the first row that fits the local moment."""
    local = at(us).astimezone(zone)
    second = local.hour * 3600 + local.minute * 60 + local.second
    for row in schedule:
        if _fits(row, local.date(), second):
            return row.band
    return None


def next_border_us(schedule: tuple[BandRow, ...], zone: ZoneInfo, us: int, until_us: int) -> int:
    """The first moment after `us`, and before `until_us`, at which another band begins; else `until_us`."""
    now = band(schedule, zone, us)
    for moment in _candidates(schedule, zone, us, until_us):
        if band(schedule, zone, moment) != now:
            return moment
    return until_us


def _fits(row: BandRow, day: date, second: int) -> bool:
    """A row that runs past midnight belongs to the day on which it began."""
    if row.start_s < row.end_s:
        return _fits_day(row, day) and row.start_s <= second < row.end_s
    return (_fits_day(row, day) and second >= row.start_s) or (
        _fits_day(row, day - timedelta(days=1)) and second < row.end_s
    )


def _fits_day(row: BandRow, day: date) -> bool:
    if row.days is not None and day.weekday() not in row.days:
        return False
    if row.months is not None and day.month not in row.months:
        return False
    if row.month_days is not None and day.day not in row.month_days:
        return False
    if row.years is not None and day.year not in row.years:
        return False
    if row.dates is None or row.yearly is None:
        return True
    return day in row.dates or (day.month, day.day) in row.yearly


def _candidates(schedule: tuple[BandRow, ...], zone: ZoneInfo, us: int, until_us: int) -> list[int]:
    """Every moment in (us, until_us) at which the wall clock shows a border of a row, or jumps."""
    borders = {0} | {row.start_s for row in schedule} | {row.end_s for row in schedule}
    day = at(us).astimezone(zone).date() - timedelta(days=1)
    last = at(until_us).astimezone(zone).date() + timedelta(days=1)
    found = set()
    while day <= last:
        for second in borders - {86_400}:
            clock = time(second // 3600, second // 60 % 60, second % 60)
            for fold in (0, 1):
                found.add(to_us(datetime.combine(day, clock, tzinfo=zone).replace(fold=fold)))
        found.update(_jumps(zone.key, day))
        day += timedelta(days=1)
    return sorted(moment for moment in found if us < moment < until_us)


@lru_cache(maxsize=100_000)
def _jumps(zone_name: str, day: date) -> tuple[int, ...]:
    """Moments of a UTC day at which the zone's clocks are put forward or back; they are whole quarters of an hour."""
    zone = ZoneInfo(zone_name)
    start = to_us(datetime.combine(day, time(), tzinfo=UTC))
    quarters = [start + quarter * HOUR_US // 4 for quarter in range(97)]
    if at(quarters[0]).astimezone(zone).utcoffset() == at(quarters[-1]).astimezone(zone).utcoffset():
        return ()
    return tuple(
        moment
        for before, moment in pairwise(quarters)
        if at(before).astimezone(zone).utcoffset() != at(moment).astimezone(zone).utcoffset()
    )


def period(every: str | None, zone: ZoneInfo, cycle_day: int, us: int) -> tuple[int, int, int]:
    """The period that a moment belongs to: its number, its first second, and the first second after it.

    The number is the local day, since 1970, on which it begins. Without renewal there is one period, number 0.
    """
    if every is None:
        return 0, 0, 2**32 - 1
    day = at(us).astimezone(zone).date()
    if every == "day":
        first, after = day, day + timedelta(days=1)
    elif every == "week":
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
    else:
        first = _cycle_start(day.year, day.month, cycle_day)
        if first > day:
            first = _cycle_start(*_month_before(day.year, day.month), cycle_day)
        after = _cycle_start(*_month_after(first.year, first.month), cycle_day)
    return (first - EPOCH_DAY).days, _midnight_s(first, zone), _midnight_s(after, zone)


def _cycle_start(year: int, month: int, cycle_day: int) -> date:
    """The cycle day of a month, or its last day when the month is shorter."""
    next_month = date(*_month_after(year, month), 1)
    length = (next_month - date(year, month, 1)).days
    return date(year, month, min(cycle_day, length))


def _month_after(year: int, month: int) -> tuple[int, int]:
    return (year + 1, 1) if month == 12 else (year, month + 1)


def _month_before(year: int, month: int) -> tuple[int, int]:
    return (year - 1, 12) if month == 1 else (year, month - 1)


def _midnight_s(day: date, zone: ZoneInfo) -> int:
    """The first second at which the wall clock shows the day; it is searched, because some clocks skip midnight."""
    low = to_us(datetime.combine(day, time(), tzinfo=UTC)) // 1_000_000 - 36 * 3600
    high = low + 72 * 3600
    while high - low > 1:
        middle = (low + high) // 2
        if at(middle * 1_000_000).astimezone(zone).date() >= day:
            high = middle
        else:
            low = middle
    return high
