"""Whatever prefixes and schedules people invent: they compile to what a patient reader of the tariff would find."""

import json
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trunkline.charging.tariffs import Catalogue, compile_catalogue, empty_register
from trunkline.charging.tariffs.calendars import week
from trunkline.charging.tariffs.catalogue import NONE, find_ranges
from trunkline.charging.tariffs.literals import WEEKDAYS
from trunkline.charging.tariffs.reading import read
from trunkline.kernel import dial
from trunkline.records.usage import Kind

DIGITS = st.text("0123*", min_size=1, max_size=5)
LONG = st.text("01", min_size=14, max_size=16)
PREFIXES = st.lists(DIGITS | LONG, min_size=1, max_size=4, unique=True)
PLACES = st.dictionaries(st.sampled_from("abcdefgh"), PREFIXES, min_size=1, max_size=8)
WHOLE = st.lists(
    DIGITS | LONG | st.sampled_from(["voicemail", "0123456789012345678"]), max_size=3, unique=True
)
CALLED = st.lists(DIGITS | LONG | st.just("voicemail"), min_size=1, max_size=30)


def owners(places: dict[str, list[str]]) -> dict[str, list[str]]:
    """Each prefix under one destination only, as a checked tariff has it."""
    owner = {prefix: name for name, prefixes in reversed(places.items()) for prefix in prefixes}
    return {
        name: kept
        for name, prefixes in places.items()
        if (kept := [prefix for prefix in prefixes if owner[prefix] == name])
    }


def tariff(places: dict[str, list[str]], numbers: list[str], rows: list[list[str]]) -> Catalogue:
    """A plan with these rows of prices, one rate a row, so that a line tells its row."""
    frame = {
        "operator": {"currency": "EUR"},
        "balances": {"main": {"unit": "money", "main": "true"}},
        "destinations": {
            **{name: {"prefixes": prefixes} for name, prefixes in places.items()},
            **({"whole": {"numbers": numbers}} if numbers else {}),
        },
    }
    plan = {
        "plan": "p",
        "prices": [
            {"usage": "voice", "to": names, "rate": {"price": str(at + 1), "per": "1s"}}
            for at, names in enumerate(rows)
        ],
    }
    return compile_catalogue({"a.yaml": json.dumps(frame), "p.yaml": json.dumps(plan)}, empty_register())[0]


def price(catalogue: Catalogue, digits: str) -> int:
    """Price of a second to a number, in whole units; 0 when there is none."""
    t = catalogue.tables
    node = find_ranges(t, np.array([dial.to_key(digits)], np.uint64))[0]
    row = int(t.version_row[0, int(Kind.VOICE) * 2])
    line = int(t.line_of[row, node]) if row != NONE else NONE
    if line == NONE:
        return 0
    rate = t.band_rate[t.line_band_first[line]]
    return int(t.slot_price[t.tier_slot_first[t.rate_tier_first[rate]]]) // 1_000_000


def naive(places: dict[str, list[str]], numbers: list[str], priced: dict[str, int], digits: str) -> int:
    """The whole number if it is priced, else the longest prefix; names and overlong numbers have no prefixes."""
    if digits in numbers and "whole" in priced:
        return priced["whole"]
    longest = {
        prefix: priced[name]
        for name, prefixes in places.items()
        if name in priced
        for prefix in prefixes
        if digits.startswith(prefix) and len(digits) <= dial.LONGEST and digits != "voicemail"
    }
    return longest[max(longest, key=len)] if longest else 0


@given(PLACES, WHOLE, CALLED, st.data())
def test_ranges_find_the_longest_prefix(
    places: dict[str, list[str]], numbers: list[str], called: list[str], data: st.DataObject
) -> None:
    """For any prefixes, whole numbers and priced subset of them, ranges and a naive search agree."""
    places = owners(places)
    # a whole number of sixteen digits and a prefix of sixteen digits are the same number
    numbers = [
        each
        for each in numbers
        if not any(each in prefixes and len(each) == 16 for prefixes in places.values())
    ]
    names = [*places, *(["whole"] if numbers else [])]
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    catalogue = tariff(places, numbers, [[name] for name in chosen])
    priced = {name: at + 1 for at, name in enumerate(chosen)}
    tried = [
        *called,
        *numbers,
        *(prefix + "1" for prefixes in places.values() for prefix in prefixes if len(prefix) < 16),
    ]
    for digits in tried:
        assert price(catalogue, digits) == naive(places, numbers, priced, digits), digits


@given(PLACES, WHOLE)
def test_ranges_are_disjoint_and_ascending(places: dict[str, list[str]], numbers: list[str]) -> None:
    """The kernels' search relies on it."""
    places = owners(places)
    t = tariff(places, numbers, [[next(iter(places))]]).tables
    ranges = list(zip(t.range_first.tolist(), t.range_last.tolist(), strict=True))
    assert all(first <= last for first, last in ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))
    assert ((t.range_node >= 0) & (t.range_node < t.line_of.shape[1])).all()


# -- schedules ---------------------------------------------------------------------------------------------

QUARTERS = st.sampled_from([f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in (0, 30)])
SOME = {
    "days": st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=3, unique=True),
    "dates": st.lists(
        st.sampled_from(["2026-01-01", "12-25", "02-29", "2026-06-05"]), min_size=1, max_size=2, unique=True
    ),
    "months": st.lists(st.sampled_from([1, 2, 6, 12]), min_size=1, max_size=2, unique=True),
    "month_days": st.lists(st.sampled_from([1, 5, 25, 29, 31]), min_size=1, max_size=2, unique=True),
    "years": st.lists(st.sampled_from([2026, 2028]), min_size=1, max_size=2, unique=True),
    "from": QUARTERS,
    "to": QUARTERS,
}
ROWS = st.fixed_dictionaries({"band": st.sampled_from("abc")}, optional=SOME).filter(
    lambda row: (
        len(row) > 1 and row.get("from", "00:00") != row.get("to", "24:00") and row.get("to") != "00:00"
    )
)
MOMENTS = st.datetimes(datetime(2025, 12, 20), datetime(2028, 3, 5)) | st.datetimes(
    datetime(2026, 1, 1), datetime(2026, 1, 3)
)


def holds(row: dict[str, Any], day: date) -> bool:
    """Whether a row's conditions hold on a day."""
    return (
        WEEKDAYS[day.weekday()] in row.get("days", WEEKDAYS)
        and ("dates" not in row or day.isoformat() in row["dates"] or day.strftime("%m-%d") in row["dates"])
        and day.month in row.get("months", [day.month])
        and day.day in row.get("month_days", [day.day])
        and day.year in row.get("years", [day.year])
    )


def matches(row: dict[str, Any], local: datetime) -> bool:
    """Whether a row holds at a local moment; past midnight it belongs to the day before."""
    start, end, now = row.get("from", "00:00"), row.get("to", "24:00"), local.strftime("%H:%M")
    if start < end:
        return start <= now < end and holds(row, local.date())
    evening = now >= start and holds(row, local.date())
    return evening or (now < end and holds(row, local.date() - timedelta(days=1)))


@given(st.lists(ROWS, max_size=5), st.lists(MOMENTS, min_size=1, max_size=20))
def test_schedules_hold_as_their_rows_read(rows: list[dict[str, Any]], moments: list[datetime]) -> None:
    """At any local moment the band is that of the first row that matches."""
    rows = [*rows, {"band": "rest"}]
    files = {"a.yaml": json.dumps({"operator": {"currency": "EUR"}, "schedules": {"s": rows}})}
    schedule = read(files)[0].schedules["s"]
    found = week(schedule)
    special = dict(found.special)
    for local in moments:
        segments = special.get((local.date() - date(1970, 1, 1)).days, found.usual[local.weekday()])
        second = local.hour * 3600 + local.minute * 60 + local.second
        band = [band for start, band in segments if start <= second][-1]
        assert schedule.bands[band] == next(row["band"] for row in rows if matches(row, local))
