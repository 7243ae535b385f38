"""Whatever prefixes people invent: the search in ranges finds what a patient reader of the tariff would find."""

import json
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trunkline.charging.tariffs import Catalogue, compile_catalogue, empty_register
from trunkline.charging.tariffs.catalogue import NONE, find_ranges
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
