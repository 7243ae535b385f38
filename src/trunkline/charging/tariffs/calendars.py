"""Time as tariffs need it: when a time zone changes its offset, and which band holds on which day.

Offsets come from the tzdata package, not from the machine, so that the same tariff compiles alike everywhere.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs.literals import DAY_S, FIRST_YEAR, LAST_YEAR
from trunkline.charging.tariffs.mistakes import nearest
from trunkline.charging.tariffs.tariff import Schedule, ScheduleRow

EPOCH = date(1970, 1, 1)
UTC = ZoneInfo("UTC")
BEGINNING = -(2**62)
UNCOVERED = -1

Segments = tuple[tuple[int, int], ...]  # (second of the day at which it begins, band), the first at 0


class Week(NamedTuple):
    """A schedule by day: what usual weekdays hold, and the days that are unlike their weekday."""

    usual: tuple[Segments, ...]
    special: tuple[tuple[int, Segments], ...]


@lru_cache(maxsize=64)
def time_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the tz database; another name is a ValueError that suggests one."""
    if name not in _zone_names():
        raise ValueError(f'"{name}" is not a time zone such as Europe/London{nearest(name, _zone_names())}')
    folder = files("tzdata").joinpath("zoneinfo")
    with folder.joinpath(*name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=64)
def transitions(name: str) -> tuple[tuple[int, int], ...]:
    """(microsecond UTC, offset in seconds from then on) from 1970 to 2060; the first entry holds since ever.

    Found by looking at every day and halving the days on which the offset changes; no zone has ever
    changed and changed back within one day since 1970.
    """
    zone = time_zone(name)
    found = [(BEGINNING, _offset(zone, 0))]
    last = (date(LAST_YEAR + 1, 1, 1) - EPOCH).days
    for day in range(1, last + 1):
        offset = _offset(zone, day * DAY_S)
        if offset != found[-1][1]:
            low, high = (day - 1) * DAY_S, day * DAY_S
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if _offset(zone, middle) == offset else (middle, high)
            found.append((high * 1_000_000, offset))
    return tuple(found)


def _offset(zone: ZoneInfo, at_s: int) -> int:
    offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)).astimezone(zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())


def week(schedule: Schedule) -> Week:
    """Which band holds when; UNCOVERED where no row matches."""
    usual = usual_week(schedule)
    if not any(row.special for row in schedule.rows):
        return Week(usual, ())
    days, holds = _special_days(schedule)
    # Most days are alike: each pair of a day and the one before it is worked out once.
    pairs, kinds = _alike(np.hstack([holds[1:], holds[:-1]]))
    made = [_segments(schedule, list(holds[at + 1]), list(holds[at])) for at in kinds]
    unlike = np.array([[each != day for day in usual] for each in made])
    special = np.flatnonzero(unlike[pairs, (days[1:] + 3) % 7])
    return Week(
        usual,
        tuple(
            (day, made[pair])
            for day, pair in zip(days[special + 1].tolist(), pairs[special].tolist(), strict=True)
        ),
    )


def _alike(rows: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A number for each row that equal rows share, counted from 0, and by that number where such a row stands."""
    numbers = np.zeros(len(rows), np.int64)
    for column in rows.T:
        split = 2 * numbers + column
        numbers = (np.cumsum(np.bincount(split) > 0) - 1)[split]
    where = np.zeros(numbers.max() + 1, np.int64)
    where[numbers] = np.arange(len(rows))
    return numbers, where


def usual_week(schedule: Schedule) -> tuple[Segments, ...]:
    """Which band holds when on each weekday that is nothing else."""
    return tuple(
        _segments(
            schedule,
            [_usual(row, day) for row in schedule.rows],
            [_usual(row, (day - 1) % 7) for row in schedule.rows],
        )
        for day in range(7)
    )


def _usual(row: ScheduleRow, weekday: int) -> bool:
    """Whether a row holds on a weekday that is nothing else."""
    return not row.special and (row.days is None or weekday in row.days)


def _special_days(schedule: Schedule) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Every day from 2000 to 2060 (and the one before), and which rows hold on it."""
    first = (date(FIRST_YEAR, 1, 1) - EPOCH).days - 1
    days = np.arange(first, (date(LAST_YEAR, 12, 31) - EPOCH).days + 1)
    dated = days.astype("datetime64[D]")
    years = dated.astype("datetime64[Y]").astype(int) + 1970
    months = dated.astype("datetime64[M]").astype(int) % 12 + 1
    month_days = (dated - dated.astype("datetime64[M]")).astype(int) + 1
    holds = np.ones((len(days), len(schedule.rows)), bool)
    for at, row in enumerate(schedule.rows):
        dates = None if row.dates is None else {(each - EPOCH).days for each in row.dates}
        for column, allowed in (
            ((days + 3) % 7, row.days),
            (months, row.months),
            (month_days, row.month_days),
            (years, row.years),
            (days, dates),
        ):
            if allowed is not None:
                holds[:, at] &= np.isin(column, sorted(allowed))
    return days, holds


def _segments(schedule: Schedule, today: list[bool], yesterday: list[bool]) -> Segments:
    """The bands of one day; a row that runs past midnight belongs to the day on which it began."""
    bands = schedule.bands
    spans: list[tuple[int, int, int]] = []
    for row, now, before in zip(schedule.rows, today, yesterday, strict=True):
        band = bands.index(row.band)
        if row.end_s > row.start_s:
            spans += [(row.start_s, row.end_s, band)] if now else []
        else:
            spans += [(0, row.end_s, band)] if before else []
            spans += [(row.start_s, DAY_S, band)] if now else []
    found: list[tuple[int, int]] = []
    for start in sorted({0, *(edge for span in spans for edge in span[:2] if edge < DAY_S)}):
        band = next((span[2] for span in spans if span[0] <= start < span[1]), UNCOVERED)
        if not found or found[-1][1] != band:
            found.append((start, band))
    return tuple(found)
