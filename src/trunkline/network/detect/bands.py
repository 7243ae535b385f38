"""The band in which a series is expected, and when leaving it is told: the detector that every series of the
network has.

A series (one KPI of one object) is expected at what it was at the same hour of other weeks (until such a week
has passed, of other days; until then, at what it was lately), shifted by how much it lately ran above or below
that. Around it lies a band of several of the series' own usual deviations, never narrower than deviations that
were lived with before. So there is one set of parameters for all series, and none is told off for being as
noisy as it always was.

Nothing is looked at twice and nothing ahead: a series is a row of fixed width, moved on by each value in turn.
All series of a batch pass through one compiled loop.

Sources: the hour-of-week baseline is what operators draw by hand; robust scale by clipped deviations after P.
J. Huber, "Robust Statistics", 1981, 6.4; level shifts by the two-sided cumulative sum of E. S. Page, Biometrika
41 (1954) 100-115.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
Row = Any  # one of `Rows` in a compiled loop, where it has the fields of `ROW`
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Profile = npt.NDArray[np.int8]

HOUR_US = 3_600_000_000
HOURS_OF_WEEK = 168
MONDAY = 72  # 1970-01-01 was a Thursday
UNSEEN = -128  # an hour of the week that has not been lived through
LARGEST = 120  # of the whole numbers in which hours are kept
SMALLEST_UNIT = 2.0**-20
MOST_POINTS = 65_535
SECOND_US = 1_000_000

NONE, SPIKE, DIP, LEVEL_SHIFT, COLLAPSE, DRIFT = 0, 1, 2, 3, 4, 5
KINDS = ("", "spike", "dip", "level_shift", "collapse", "drift")

BEGUN, BACK, ACCEPTED = 0, 1, 2

# What a judge from outside is shown of each value.
FEATURES = (
    "deviation",  # from what was expected, in the series' usual deviations
    "reach",  # the same in half widths of its band
    "change",  # from what it was lately, in usual deviations
    "rise",  # cumulative sums of deviations above and below
    "fall",
    "offset",  # how far it lately ran above its hours, in usual deviations
    "ratio",  # to what was expected; 1 where nothing was
    "hour_sin",  # of the day
    "hour_cos",
    "weekend",
    "points",  # how many values were seen before
    "known",  # whether its week is known: 0 not, 0.5 other days, 1 this day
)
SHOWN = len(FEATURES) + 2  # and, for the sentence, what was expected and half the band's width

# Narrow, because each period of each cell reads and writes all of it: single precision, seconds, an octet an hour.
ROW = np.dtype(
    [
        ("series", "u8"),  # digest of object, KPI and slice
        ("last_us", "i8"),  # end of the newest period seen
        ("since_s", "u4"),  # when what is going on began
        ("told_s", "u4"),  # when that was told
        ("judged_s", "u4"),  # since when
        ("rise_s", "u4"),  # when the sums below last left zero
        ("fall_s", "u4"),
        ("recent", "f4"),  # what it was lately
        ("offset", "f4"),  # how far it lately ran above its hours
        ("scale", "f4"),  # mean deviation from what was expected
        ("reach", "f4"),  # largest deviation that was lived with, slowly forgotten,
        ("reach_unsure", "f4"),  # and the same of days whose own week was not known
        ("rise", "f4"),  # cumulative sums of deviations, in scales
        ("fall", "f4"),
        ("climb", "f4"),  # how far one of them has come since both were last nothing
        ("most", "f4"),  # how far they came and went back without being told, slowly forgotten
        ("peak", "f4"),  # largest deviation of what is going on, or of periods outside that are not told yet
        ("times", "f4"),  # by what the KPI multiplies its quotient, as far as can be seen
        ("hour_sum", "f4"),
        ("middle", "f4"),  # of `profile`
        ("unit", "f4"),  # of `profile`; 0 before anything was kept
        ("hour", "i4"),  # hours since 1970 of what `hour_sum` adds up
        ("hour_points", "u2"),
        ("points", "u2"),  # and then as many as there is room for
        ("kind", "i1"),  # what is going on
        ("outside", "i1"),  # periods in a row outside the band
        ("calm", "i1"),  # periods in a row well inside it, while something is going on
        ("judged", "i1"),  # SPIKE or DIP while a judge from outside holds it for unusual
        (
            "profile",
            "i1",
            (HOURS_OF_WEEK,),
        ),  # mean of each hour of the week from Monday 0 h UTC, in `unit` from `middle`
    ]
)
assert ROW.itemsize % 8 == 0, "rows are copied in whole words"

FINDING = np.dtype(
    [
        ("row", "i8"),  # of the batch
        ("since_us", "i8"),
        ("kind", "i4"),
        ("change", "i4"),  # BEGUN, BACK or ACCEPTED
        ("low", "f8"),
        ("high", "f8"),
        ("seen", "f8"),
        ("score", "f8"),
    ]
)


class Bands(NamedTuple):
    """The one set of parameters; times in seconds, widths in mean deviations."""

    learn_points: int = 32  # before that nothing is told
    width: float = 6.0  # of the band to each side
    reach: float = 1.2  # and at least this much more than was lived with
    at_once: float = 1.5  # so many half widths are told at the first period; less, at the second in a row
    unsure: float = 2.0  # the band is so much wider where only other days' hours are known
    inside: float = 0.5  # so much of the half width counts as back,
    inside_shift: float = 0.25  # and so much after a shift, which need not have left the band
    calm_points: int = 3  # in a row, until it is over; twice as many after a shift
    collapsed: float = 0.1  # of what was expected
    slack: float = 1.0  # a cumulative sum forgives so much a period
    shift: float = 25.0  # and is told beyond this
    accept_s: float = 86_400.0  # what lasts longer is how it is from now on
    recent_s: float = 1_800.0  # memories: of what was lately,
    offset_s: float = 172_800.0  # of running above the hours,
    scale_s: float = 86_400.0  # of deviations,
    reach_s: float = 1_209_600.0  # of the largest ones
    hour_share: float = 0.3  # of an hour's old mean that a new week replaces
    floor_share: float = 0.01  # deviations are not held for smaller than this share of what is expected
    floor: float = 0.05  # nor than this, in the KPI's unit


def fresh(count: int) -> Rows:
    """Rows of series that nothing is known of."""
    rows = np.zeros(count, ROW)
    rows["profile"] = UNSEEN
    rows["hour"] = -1
    return rows


@nb.njit(inline="always")
def _hour_mean(profile: Profile, middle: float, unit: float, hour: int) -> tuple[float, bool, bool]:
    """Mean at an hour of the week, whether any day knows it, and whether this very day of the week does."""
    for days in range(7):
        slot = hour - 24 * days
        if slot < 0:
            slot += HOURS_OF_WEEK
        if profile[slot] != UNSEEN:
            return middle + profile[slot] * unit, True, days == 0
    return 0.0, False, False


@nb.njit(inline="always")
def _baseline(profile: Profile, middle: float, unit: float, time_us: int) -> tuple[float, bool, bool]:
    """The week's mean at a time, drawn straight from the middle of one hour to that of the next."""
    hours = (time_us - 1) // HOUR_US
    hour = (hours + MONDAY) % HOURS_OF_WEEK
    mean, known, sure = _hour_mean(profile, middle, unit, hour)
    if not known:
        return 0.0, False, False
    share = (time_us - hours * HOUR_US) / HOUR_US - 0.5
    beside = hour + 1 if share > 0.0 else hour - 1
    other, other_known, _ = _hour_mean(profile, middle, unit, beside % HOURS_OF_WEEK)
    if other_known:
        mean += abs(share) * (other - mean)
    return mean, True, sure


@nb.njit(nogil=True, cache=True)
def _make_room(row: Row, profile: Profile, mean: float) -> None:
    """Choose middle and unit anew, so that all hours and one more can be kept, with a quarter to spare."""
    middle: float = np.float64(row.middle)
    unit: float = np.float64(row.unit)
    low, high = mean, mean
    for at in range(HOURS_OF_WEEK):
        if profile[at] != UNSEEN:
            low, high = min(low, middle + profile[at] * unit), max(high, middle + profile[at] * unit)
    row.middle = 0.5 * (low + high)
    # The middle is kept with seven digits: a large first mean lies off it, and with nothing else there is no width.
    row.unit = max(1.25 * max(high - row.middle, row.middle - low) / LARGEST, SMALLEST_UNIT)
    for at in range(HOURS_OF_WEEK):
        if profile[at] != UNSEEN:
            profile[at] = np.int8(np.rint((middle + profile[at] * unit - row.middle) / row.unit))


@nb.njit(nogil=True, cache=True)
def _keep_hour(row: Row, profile: Profile, share: float) -> None:
    """Put the mean of an hour that is over into the week; what is kept is free of the offset."""
    mean = row.hour_sum / row.hour_points - row.offset
    if row.unit == 0.0:
        row.middle = mean
        row.unit = SMALLEST_UNIT
    slot = (row.hour + MONDAY) % HOURS_OF_WEEK
    if profile[slot] != UNSEEN:
        before = row.middle + profile[slot] * row.unit
        mean = before + share * (mean - before)
    if abs(mean - row.middle) > LARGEST * row.unit:
        _make_room(row, profile, mean)
    profile[slot] = np.int8(np.rint((mean - row.middle) / row.unit))


@nb.njit(inline="always")
def _clipped(value: float, most: float) -> float:
    return min(max(value, -most), most)


@nb.njit(nogil=True, cache=True)
def _learn(
    p: Bands,
    row: Row,
    value: float,
    expected: float,
    known: bool,
    sure: bool,
    scale: float,
    half: float,
    passed_s: float,
) -> None:
    """Move what is known of a series by one value; what lies far out moves it no further than the band's edge."""
    deviation = value - expected
    share = 1.0 / (row.points + 1.0)
    if row.points == 0:
        row.recent = value
    else:
        near = expected + _clipped(deviation, max(half, scale))
        row.recent += max(passed_s / (p.recent_s + passed_s), share) * (near - row.recent)
    if sure:
        row.offset += passed_s / (p.offset_s + passed_s) * _clipped(deviation, 3.0 * scale)
    if row.kind == NONE:
        faded = max(passed_s / (p.scale_s + passed_s), share)
        row.scale += faded * (min(abs(deviation), 4.0 * scale) - row.scale)
        forgotten = 1.0 - min(passed_s / p.reach_s, 1.0)
        row.reach *= forgotten
        row.reach_unsure *= forgotten
        row.most *= forgotten
        row.climb = max(row.climb, row.rise, row.fall)
        if row.rise < 1.0 and row.fall < 1.0:
            row.most = max(row.most, row.climb)
            row.climb = 0.0
        if row.outside > 0:
            row.peak = max(row.peak, abs(deviation))
        elif sure:
            row.reach = max(row.reach, abs(deviation), row.peak)
            row.peak = 0.0
        elif row.points >= p.learn_points // 2:
            row.reach_unsure = max(row.reach_unsure, abs(deviation), row.peak)
            row.peak = 0.0
    if known or row.kind == NONE:  # what is unusual is not what an hour is known by
        row.hour_sum += expected + _clipped(deviation, 4.0 * scale) if known else value
        row.hour_points = min(row.hour_points + 1, MOST_POINTS)
    row.points = min(row.points + 1, MOST_POINTS)


@nb.njit(inline="always")
def _sum_up(p: Bands, row: Row, deviation: float, scale: float, begin_us: int) -> None:
    """Page's two cumulative sums of the deviations, in scales."""
    step = _clipped(deviation / scale, 4.0)
    if row.rise <= 0.0:
        row.rise_s = begin_us // SECOND_US
    if row.fall <= 0.0:
        row.fall_s = begin_us // SECOND_US
    row.rise = max(0.0, row.rise + step - p.slack)
    row.fall = max(0.0, row.fall - step - p.slack)


@nb.njit(nogil=True, cache=True)
def _begun(
    p: Bands,
    row: Row,
    deviation: float,
    half: float,
    collapsed: bool,
    known: bool,
    sure: bool,
    begin_us: int,
    end_us: int,
) -> bool:
    """Whether something begins with this value; if so the row says what and since when."""
    if abs(deviation) > half and (known or collapsed):  # the first dawn of a series is no anomaly
        row.outside += 1
        if row.outside == 1:
            row.since_s = begin_us // SECOND_US
        if row.outside >= 2 or abs(deviation) >= p.at_once * half:
            row.kind = SPIKE if deviation > 0.0 else (COLLAPSE if collapsed else DIP)
            return True
        return False
    row.outside = 0
    sum_now = max(row.rise, row.fall)
    if sure and sum_now > max(p.shift, p.reach * row.most):
        row.since_s = row.rise_s if row.rise >= row.fall else row.fall_s
        if deviation < 0.0 and collapsed:
            row.kind = COLLAPSE
        else:
            row.kind = LEVEL_SHIFT
        return True
    if sure and abs(row.offset) > half:
        row.kind = DRIFT
        row.since_s = end_us // SECOND_US - nb.int64(p.offset_s)
        return True
    return False


@nb.njit(inline="always")
def _on_its_side(row: Row, deviation: float) -> float:
    """How far a value is away in the direction of what is going on; below zero on the other side of it."""
    if row.kind == DIP or row.kind == COLLAPSE:
        return -deviation
    return deviation if row.kind == SPIKE else abs(deviation)


@nb.njit(nogil=True, cache=True)
def _over(p: Bands, row: Row, value: float, deviation: float, half: float, known: bool, end_us: int) -> int:
    """BACK when it has been well inside the band for a while, ACCEPTED when it has lasted too long, else BEGUN.

    What was too low is back, too, while it is above what is expected, and what was too high while it is below: the
    sort of thing that began is over, and on a first day what is expected has followed it for a part of the way. So
    nothing is then no return to it either: what has collapsed has to be more than a part of what it fell from.
    """
    away = abs(row.offset) if row.kind == DRIFT else _on_its_side(row, deviation)
    inside = p.inside_shift if row.kind == LEVEL_SHIFT else p.inside
    dead = row.kind == COLLAPSE and not known and value <= p.collapsed * row.peak
    row.calm = row.calm + 1 if away <= inside * half and not dead else 0
    if row.calm >= (2 * p.calm_points if row.kind == LEVEL_SHIFT else p.calm_points):
        return BACK
    if end_us // SECOND_US - row.told_s > p.accept_s:
        return ACCEPTED
    return BEGUN


@nb.njit(inline="always")
def _accept(row: Row, deviation: float) -> None:
    """Lift or lower the whole week to what it is now."""
    moved = row.offset if row.kind == DRIFT else row.offset + deviation
    row.middle += moved
    row.recent += deviation
    row.hour_sum += row.hour_points * moved
    row.offset = 0.0


@nb.njit(nogil=True, cache=True)
def _settle(row: Row, deviation: float, over: int) -> None:
    """What is over is over; what was accepted is the new level."""
    if over == ACCEPTED:
        _accept(row, deviation)
    elif row.kind != COLLAPSE:
        # Lived with, in part: a series that often does this is told when it does worse, an outage each time.
        row.reach = max(row.reach, 0.7 * min(row.peak, 4.0 * max(row.reach, row.scale)))
        row.reach_unsure = max(row.reach_unsure, 0.7 * min(row.peak, 4.0 * max(row.reach_unsure, row.scale)))
    row.kind = NONE
    row.outside = 0
    row.calm = 0
    row.peak = 0.0
    row.climb = 0.0
    row.rise = 0.0
    row.fall = 0.0


@nb.njit(nogil=True, cache=True)
def _show(
    shown: Floats,
    row: Row,
    value: float,
    expected: float,
    scale: float,
    half: float,
    known: float,
    end_us: int,
) -> None:
    """Write down the `FEATURES` of a value."""
    angle = 2.0 * np.pi * ((end_us - 1) % (24 * HOUR_US)) / (24 * HOUR_US)
    day = ((end_us - 1) // (24 * HOUR_US) + 3) % 7
    shown[0] = (value - expected) / scale
    shown[1] = (value - expected) / half
    shown[2] = (value - row.recent) / scale
    shown[3] = row.rise
    shown[4] = row.fall
    shown[5] = row.offset / scale
    shown[6] = value / expected if expected != 0.0 else 1.0
    shown[7] = np.sin(angle)
    shown[8] = np.cos(angle)
    shown[9] = 1.0 if day >= 5 else 0.0
    shown[10] = row.points
    shown[11] = known
    shown[12] = expected
    shown[13] = half


@nb.njit(nogil=True, cache=True)
def watch(
    p: Bands,
    rows: Rows,
    profiles: Profile,
    at: Longs,
    begin_us: Longs,
    end_us: Longs,
    value_milli: Longs,
    numerator_milli: Longs,
    denominator_milli: Longs,
    shown: Floats,
) -> Rows:
    """Pass values, in order of time within a series, through `rows` (changed in place); what is to be told.

    `at[i]` is the row of value i, `profiles` is `rows["profile"]`; `shown` takes the `FEATURES` of each value, or
    has no rows. Values not newer than the series' newest are passed over. Where a KPI is a quotient, what one event
    more or less would change is its smallest deviation: one of two calls missed at night is no 50 % of anything.
    """
    findings = np.empty(16, FINDING)
    count = 0
    for i in range(len(at)):
        row, profile = rows[at[i]], profiles[at[i]]
        if row.points > 0 and end_us[i] <= row.last_us:
            continue
        value = value_milli[i] * 1e-3
        passed_s = min((end_us[i] - row.last_us) * 1e-6, 3_600.0) if row.points > 0 else 0.0
        hour = (end_us[i] - 1) // HOUR_US
        if row.hour != hour:
            if row.hour_points > 0:
                _keep_hour(row, profile, p.hour_share)
            row.hour = hour
            row.hour_sum = 0.0
            row.hour_points = 0
        mean, known, sure = _baseline(profile, row.middle, row.unit, end_us[i])
        expected = mean + row.offset if known else row.recent
        if row.points == 0:
            expected = value
        deviation = value - expected
        if numerator_milli[i] != 0 and denominator_milli[i] != 0:
            row.times = abs(value * denominator_milli[i] / numerator_milli[i])
        one_event = row.times * 1e3 / denominator_milli[i] if denominator_milli[i] > 0 else 0.0
        scale = max(row.scale, p.floor_share * abs(expected) + p.floor, one_event)
        half = max(p.width * scale, p.reach * (row.reach if sure else row.reach_unsure))
        if known and not sure:
            half *= p.unsure
        if count + 2 > len(findings):
            more = np.empty(2 * len(findings), FINDING)
            more[:count] = findings[:count]
            findings = more
        if len(shown) > 0:
            _show(
                shown[i],
                row,
                value,
                expected,
                scale,
                half,
                1.0 if sure else (0.5 if known else 0.0),
                end_us[i],
            )
        change = -1
        _sum_up(p, row, deviation if sure else 0.0, scale, begin_us[i])
        collapsed = expected > 0.0 and value <= p.collapsed * expected
        before = row.kind
        if before != NONE:
            row.peak = max(row.peak, _on_its_side(row, deviation))
            over = _over(p, row, value, deviation, half, known, end_us[i])
            if over != BEGUN:
                change = over
            elif before == DIP and collapsed:
                change = BACK
        elif row.points >= p.learn_points and _begun(
            p, row, deviation, half, collapsed, known, sure, begin_us[i], end_us[i]
        ):
            row.peak = abs(deviation)
            row.told_s = end_us[i] // SECOND_US
            change = BEGUN
        if change >= 0:
            deeper = before == DIP and collapsed and change == BACK
            for part in range(2 if deeper else 1):
                told = findings[count]
                told.row = i
                told.since_us = nb.int64(row.since_s) * SECOND_US
                told.change = BEGUN if part == 1 else change
                told.kind = COLLAPSE if part == 1 else row.kind
                told.low = expected - half
                told.high = expected + half
                told.seen = value
                told.score = 1.0 - 0.5 * min(half / max(abs(deviation), 1e-12), 2.0)
                if told.kind == LEVEL_SHIFT or told.kind == DRIFT:
                    told.score = max(told.score, 0.5)
                count += 1
            if deeper:
                row.kind = COLLAPSE
            elif change != BEGUN:
                _settle(row, deviation, change)
                if change == ACCEPTED:
                    expected = value
                elif abs(deviation) > half and known:  # by the other side: perhaps another thing begins
                    row.outside = 1
                    row.since_s = begin_us[i] // SECOND_US
                elif abs(deviation) > half:  # what was lately is what it was while it was unusual
                    row.recent = expected = value
        _learn(p, row, value, expected, known, sure, scale, half, passed_s)
        row.last_us = end_us[i]
    return findings[:count]
