"""When people use their phones, and where they are then: the daily curves and the way to work.

Whereabouts are worked out from person and moment alone, never rolled, so that two uses within a minute are in
the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from trunkline.simulator.country import Floats, Ints, Truths
from trunkline.simulator.people import LEISURE_CELLS, People, Role
from trunkline.simulator.settings import Settings

HOUR_S = 3_600
DAY_S = 86_400
COMMUTE_S = 2_400

HOLIDAYS = ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))

# Uses a person a weekday: rows are roles, columns voice, sms, data sessions, purchases.
VOICE, SMS, DATA, CONTENT = range(4)
DAILY = np.array(
    [
        [4.0, 1.6, 9.0, 0.02],  # worker
        [2.4, 3.0, 13.0, 0.04],  # student
        [2.8, 0.6, 3.0, 0.004],  # retired
        [3.4, 1.6, 8.0, 0.02],  # shift
        [10.0, 2.4, 11.0, 0.015],  # business
        [0.0, 0.0, 0.0, 0.0],  # meter
        [0.0, 0.0, 0.0, 0.0],  # vehicle
        [0.0, 0.0, 14.0, 0.0],  # robot
    ]
)

# Hourly weights, 0 to 23 h; a weekday's are scaled to one, weekends keep their proportion to it.
_VOICE_WEEKDAY = "6 3 2 1 1 3 12 35 70 95 105 110 105 100 100 105 120 135 135 120 95 65 35 15"
_VOICE_WEEKEND = "13 9 5 3 2 2 3 7 18 46 80 100 105 95 88 85 90 95 95 90 78 58 42 26"
_SMS_WEEKDAY = "15 8 4 2 2 4 20 50 70 75 80 85 100 95 85 95 105 120 130 135 135 120 85 40"
_SMS_WEEKEND = "30 20 11 6 3 3 4 10 28 60 85 95 100 95 90 92 98 105 115 120 120 110 90 60"
_DATA_WEEKDAY = "35 20 12 9 8 12 30 65 80 75 75 80 95 90 80 85 95 110 120 130 140 140 110 70"
_DATA_WEEKEND = "60 38 22 14 10 11 18 35 60 80 95 100 105 105 105 105 110 115 125 130 140 140 120 90"
_OFFICE_WEEKDAY = "1 1 0 0 0 2 10 45 110 150 160 155 110 115 150 155 140 100 55 35 25 15 8 3"
_OFFICE_WEEKEND = "1 1 0 0 0 1 3 6 12 18 22 24 22 20 18 18 18 18 18 16 14 10 6 3"
_EVEN = " ".join(["1"] * 24)

_DATA = (_DATA_WEEKDAY, _DATA_WEEKEND)
_USUAL = ((_VOICE_WEEKDAY, _VOICE_WEEKEND), (_SMS_WEEKDAY, _SMS_WEEKEND), _DATA, _DATA)
_OFFICE = ((_OFFICE_WEEKDAY, _OFFICE_WEEKEND),) * 4
_ALWAYS = ((_EVEN, _EVEN),) * 4
_CURVES_OF_ROLE = (_USUAL, _USUAL, _USUAL, _USUAL, _OFFICE, _ALWAYS, _ALWAYS, _ALWAYS)


def _curves() -> Floats:
    """[role, kind, weekend, hour]: the share of a weekday's uses that falls into the hour."""
    weights = np.array(
        [[[curve.split() for curve in days] for days in kinds] for kinds in _CURVES_OF_ROLE], np.float64
    )
    of_weekday: Floats = weights[:, :, :1, :].sum(axis=3, keepdims=True)
    return weights / of_weekday


CURVES = _curves()


@dataclass(frozen=True)
class Hour:
    """One hour of the simulation: where it lies in UTC and on the country's clock."""

    number: int
    start_us: int
    local_s: int  # seconds since 1970 on the local clock
    local_hour: int
    free_day: bool  # Saturday, Sunday or a holiday
    next_free_day: bool  # the same for the hour that follows


def start_of(settings: Settings, time_zone: str) -> int:
    """The simulation's first moment: local midnight, in microseconds UTC."""
    midnight = datetime.combine(settings.start, time(), ZoneInfo(time_zone))
    return int(midnight.timestamp()) * 1_000_000


def hour_of(number: int, start_us: int, time_zone: str) -> Hour:
    """The hour by its number; hours follow each other in UTC, so that a change of the clock loses none."""
    begins = datetime.fromtimestamp(start_us // 1_000_000, UTC) + timedelta(hours=number)
    local = begins.astimezone(ZoneInfo(time_zone))
    after = (begins + timedelta(hours=1)).astimezone(ZoneInfo(time_zone))
    offset = local.utcoffset()
    assert offset is not None, "a zoned time has an offset"
    return Hour(
        number=number,
        start_us=start_us + number * HOUR_S * 1_000_000,
        local_s=start_us // 1_000_000 + number * HOUR_S + int(offset.total_seconds()),
        local_hour=local.hour,
        free_day=_is_free(local),
        next_free_day=_is_free(after),
    )


def _is_free(local: datetime) -> bool:
    return local.weekday() >= 5 or (local.month, local.day) in HOLIDAYS


def uses_within(
    hour: Hour, people: People, kind: int, habit: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Who uses the kind in this hour, once for each use, and how many ms into the hour.

    The rate runs straight from this hour's value to the next one's, so that the day has no steps.
    """
    now = _rate(hour.local_hour, hour.free_day, people, kind)
    then = _rate(hour.local_hour + 1, hour.next_free_day, people, kind)
    uses = rng.poisson((now + then) / 2 * DAILY[people.role, kind] * habit)
    who = np.repeat(np.arange(len(people)), uses)
    rolled = rng.random(len(who))
    a, b = now[who], then[who]
    level = np.abs(b - a) < 1e-9
    into = np.where(
        level, rolled, (np.sqrt(a * a + rolled * (b * b - a * a)) - a) / np.where(level, 1.0, b - a)
    )
    return who, (into.clip(0, 0.9999999) * HOUR_S * 1000).astype(np.int64)


def _rate(local_hour: int, free_day: bool, people: People, kind: int) -> Floats:
    rate: Floats = CURVES[people.role, kind, int(free_day), (local_hour - people.later_h) % 24]
    return rate


def cells_at(people: People, who: Ints, local_s: Ints) -> Ints:
    """The cell in which each of `who` is at a moment of the local clock."""
    begins = people.works_from_s[who] + mix(who, local_s // DAY_S) % 1_800 - 900
    day, into = np.divmod(local_s - begins, DAY_S)
    lasts = people.works_for_s[who]
    towards = into >= DAY_S - COMMUTE_S
    working_day = _works_on(people, who, np.where(towards, day + 1, day)) & (lasts > 0)
    at_work = working_day & (into < lasts)
    on_the_way = working_day & (towards | ((into >= lasts) & (into < lasts + COMMUTE_S)))
    out = _is_out(who, local_s, people.role[who])
    leisure = people.leisure[who, mix(who, local_s // DAY_S + 7) % LEISURE_CELLS]
    cell = np.where(out, leisure, people.home[who])
    return np.where(at_work, people.work[who], np.where(on_the_way, people.way[who], cell))


def _works_on(people: People, who: Ints, day: Ints) -> Truths:
    """Mondays to Fridays but for holidays; shift workers any five of seven days."""
    weekday = (day + 3) % 7
    free = (weekday >= 5) | np.isin(day, _holidays_around(int(day[0]) if len(day) else 0))
    return np.where(people.role[who] == Role.SHIFT, (day + who) % 7 < 5, ~free)


def _holidays_around(day: int) -> list[int]:
    """Holidays of the year of a day since 1970 and of its neighbours, as days since 1970."""
    year = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).year
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        (datetime(y, month, date, tzinfo=UTC) - epoch).days
        for y in (year - 1, year, year + 1)
        for month, date in HOLIDAYS
    ]


def _is_out(who: Ints, local_s: Ints, role: Ints) -> Truths:
    """A quarter of the evenings and two fifths of the weekend's days are spent out, two hours at a time."""
    weekend = (local_s // DAY_S + 3) % 7 >= 5
    hour = local_s % DAY_S // HOUR_S
    awake = np.where(weekend, hour >= 10, hour >= 17) & (hour < 23)
    rolled = mix(who, local_s // (2 * HOUR_S)) % 100
    return awake & (rolled < np.where(weekend, 40, 25)) & (role < Role.METER)


def mix(who: Ints, what: Ints) -> Ints:
    """A number from 0 to 2**31 - 1 that looks random but follows from both (splitmix64's finish)."""
    word = who.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + what.astype(np.uint64) * np.uint64(
        0xD1B54A32D192ED03
    )
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Ints = (word >> np.uint64(33)).astype(np.int64)
    return mixed
