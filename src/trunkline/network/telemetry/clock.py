"""Times as senders write them become microseconds UTC; a column holds few different ones, and each is read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.network.telemetry.mapping import Times

Longs = npt.NDArray[np.int64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNITS = {"unix_s": 1_000_000, "unix_ms": 1000, "unix_us": 1}
LONGEST = 40  # characters of a time


@dataclass(frozen=True)
class Periods:
    """When each row's period began and ended, and where that could not be read."""

    begin_us: Longs
    end_us: Longs
    wrong: npt.NDArray[np.bool_]


def micros(text: str, form: str, zone: str) -> int | None:
    """One time in microseconds UTC; None when it is not in the format. A time without a zone is in the mapping's."""
    text = text.strip()
    if not text or len(text) > LONGEST:
        return None
    factor = _UNITS.get(form)
    try:
        if factor is not None:
            return _counted(text, factor)
        if form == "iso8601":
            moment = datetime.fromisoformat(text)
        else:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 -- the zone is put in below
        return _utc(moment, zone)
    except (ValueError, OverflowError):
        return None


def _counted(text: str, factor: int) -> int | None:
    """Seconds, milliseconds or microseconds since 1970, with decimals; what lies behind a microsecond is cut."""
    whole, _, part = text.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 18 and (part == "" or part.isdigit())):
        return None
    digits = {1_000_000: 6, 1000: 3, 1: 0}[factor]
    return int(whole) * factor + int((part + "000000")[:digits] or "0")


def _utc(moment: datetime, zone: str) -> int | None:
    """Microseconds UTC; of a local time that comes twice the earlier, of one that never comes nothing."""
    if moment.tzinfo is None:
        local = moment.replace(tzinfo=_zone(zone), fold=0)
        if local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) != moment:
            return None
        moment = local
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def column_micros(column: pl.Series | None, times: Times) -> tuple[Longs, npt.NDArray[np.bool_]] | None:
    """A column of times, and where there is none; None when there is no such column."""
    if column is None:
        return None
    if len(column) and column.null_count() == 0 and column.n_unique() == 1:
        moment = micros(column[0], times.format, times.zone)
        return np.full(len(column), moment or 0, np.int64), np.full(len(column), moment is None, np.bool_)
    known = {
        text: None if text is None else micros(text, times.format, times.zone)
        for text in column.unique(maintain_order=True).to_list()
    }
    moments = [known[text] for text in column.to_list()]
    return (
        np.array([moment or 0 for moment in moments], np.int64),
        np.array([moment is None for moment in moments], np.bool_),
    )


def periods(times: Times, column_of: Callable[[str], pl.Series | None], count: int) -> Periods:
    """Begin and end of each row's period, whichever of them the mapping knows."""
    begin = column_micros(column_of(times.begin), times) if times.begin else None
    end = column_micros(column_of(times.end), times) if times.end else None
    nothing = np.zeros(count, np.int64), np.ones(count, np.bool_)
    if begin is not None and end is not None:
        return Periods(begin[0], end[0], begin[1] | end[1])
    if end is not None:
        return Periods(end[0] - times.period_us, *end)
    if begin is not None:
        return Periods(begin[0], begin[0] + times.period_us, begin[1])
    return Periods(nothing[0], *nothing)


def period(times: Times, field_of: Callable[[str], str | None]) -> tuple[int, int] | None:
    """Begin and end of one record's period."""
    begin = micros(field_of(times.begin) or "", times.format, times.zone) if times.begin else None
    end = micros(field_of(times.end) or "", times.format, times.zone) if times.end else None
    if times.begin and times.end:
        return None if begin is None or end is None else (begin, end)
    if end is not None:
        return end - times.period_us, end
    return None if begin is None else (begin, begin + times.period_us)
