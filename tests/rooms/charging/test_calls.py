"""A long call told in parts is charged as the one call that it is, however it was cut and shuffled."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.opinion.subscribed import books_of
from tests.rooms.charging.test_rating_second_opinion import compare
from tests.rooms.charging.test_rerating import book, looked, opening
from tests.tariff_strategies import SUBSCRIBERS, random_uses, subscribers, tariffs, tried
from trunkline.kernel.dial import to_key
from trunkline.records.charging import CORRECTIONS, RowKind

T0 = 1_795_219_200_000_000  # 2026-11-21 00:00 UTC
MINUTE_MS = 60_000
TARIFF = {
    "a.yaml": json.dumps(
        {
            "operator": {
                "name": "Test",
                "currency": "EUR",
                "time_zone": "UTC",
                "rounding": {"decimals": 2, "mode": "half_up"},
            },
            "destinations": {"all": {"prefixes": ["4"]}},
            "rates": {
                "falling": {
                    "slots": [
                        {"from": "0s", "price": "0.10", "per": "60s", "increment": "60s"},
                        {"from": "10m", "price": "0.05", "per": "60s", "increment": "60s"},
                    ],
                    "connect_fee": "0.15",
                }
            },
            "balances": {
                "main": {"unit": "money", "main": True},
                "minutes": {
                    "unit": "time",
                    "usage": ["voice"],
                    "grant": "5m",
                    "every": "month",
                    "increment": "60s",
                },
            },
        }
    ),
    "plain.yaml": json.dumps(
        {
            "plan": "plain",
            "prices": [{"usage": "voice", "to": "any", "rate": "falling", "min_charge": "0.30"}],
        }
    ),
    "five.yaml": json.dumps(
        {
            "plan": "five",
            "includes": ["minutes"],
            "prices": [{"usage": "voice", "to": "any", "rate": "falling", "min_charge": "0.30"}],
        }
    ),
}


def part(number: int, minutes: float, *, last: bool = False, seq: int = 0, **more: Any) -> Use:
    """A part of ten minutes or less of one call; parts of a call stand behind each other."""
    return replace(
        Use(
            seq=seq or number,
            source="switch",
            record_id=f"call/{number}",
            kind="voice",
            subscriber="441",
            start_us=T0 + (number - 1) * 600_000_000,
            units=int(minutes * MINUTE_MS),
            called="442",
            session="call",
            part=number,
            last=last,
        ),
        **more,
    )


def charged(plan: str, *parts: Use) -> Platform:
    platform = Platform.under(TARIFF)
    platform.enrol([{"subscriber": "441", "plan": plan, "opening_micros": 50_000_000}])
    for each in parts:
        platform.charge([each])
    return platform


def call_rows(platform: Platform) -> int:
    """How many rows the account keeps of calls that are under way."""
    kinds = platform.accounts[to_key("441")]["kind"]
    return int(((kinds == RowKind.CALL) | (kinds == RowKind.TAKEN)).sum())


@pytest.mark.parametrize(
    ("plan", "minutes", "cents"),
    [
        # one fee, the first ten minutes at 10 cents, the rest at 5; begun minutes count once, over the sum
        ("plain", (10, 10, 0.5), (115, 50, 5)),
        ("plain", (0.5, 0.3, 0.1), (30, 0, 0)),  # the least charge of a call, once; the minute is begun once
        ("plain", (0.5, 0.6, 10), (30, 5, 90)),
        ("five", (3, 3, 6), (0, 30, 30)),  # five minutes are free; the money begins in the second part
        ("five", (5, 10), (0, 75)),
    ],
)
def test_what_each_part_adds(plan: str, minutes: tuple[float, ...], cents: tuple[int, ...]) -> None:
    """A table that a tariff clerk can check."""
    parts = [part(n, m, last=n == len(minutes)) for n, m in enumerate(minutes, 1)]
    platform = charged(plan, *parts)
    got = platform.table("charged")
    assert got["charged_micros"].to_list() == [10_000 * each for each in cents]
    assert got["part"].to_list() == [1, 2, 3][: len(minutes)]
    assert platform.value("441", "main") == 50_000_000 - 10_000 * sum(cents)
    assert call_rows(platform) == 0


def test_a_gap_keeps_the_call_open_and_costs_nothing_twice() -> None:
    """The last part before the middle one: what came is charged, what is missing is known, and then it is whole."""
    platform = charged("plain", part(1, 10), part(3, 10, last=True, seq=2))
    assert call_rows(platform) > 0
    assert platform.table("charged")["charged_micros"].sum() == 1_650_000
    platform.charge([part(2, 10, seq=3)])
    assert platform.table("charged")["charged_micros"].sum() == 1_150_000 + 1_000_000
    assert call_rows(platform) == 0


def test_a_part_under_another_name_is_refused() -> None:
    """The same number of the same call is not charged twice, whatever the record is called."""
    platform = charged("plain", part(1, 10), part(1, 10, seq=2, record_id="again"))
    assert platform.table("rejected")["reason"].to_list() == ["part_again"]
    assert platform.table("charged")["charged_micros"].sum() == 1_150_000


def test_a_reference_that_is_used_again_is_another_call() -> None:
    """Two days later a switch counts its references from the beginning."""
    later = part(1, 10, seq=2, record_id="other", start_us=T0 + 2 * 86_400_000_000)
    platform = charged("plain", part(1, 10), later)
    assert platform.table("charged")["charged_micros"].to_list() == [1_150_000, 1_150_000]
    more = part(2, 10, last=True, seq=3)
    platform.charge([more])
    assert platform.table("charged")["charged_micros"].to_list()[-1] == 500_000


def test_calls_of_long_ago_are_forgotten() -> None:
    """A call that never ended leaves the account with the balances of its time."""
    platform = charged("five", part(1, 10), part(1, 1, seq=2, session="x", start_us=T0 + 90 * 86_400_000_000))
    kinds = platform.accounts[to_key("441")]
    assert len(set(kinds["granted"][kinds["kind"] == RowKind.CALL].tolist())) == 1


@pytest.mark.parametrize("plan", ["plain", "five"])
def test_a_re_rating_while_a_call_is_under_way(plan: str) -> None:
    """Put right in the middle of a call, it goes on from there: in the end it costs what it should have all along."""
    rows = [{"subscriber": "441", "plan": plan, "opening_micros": 50_000_000}]
    parts = [part(1, 10), part(2, 10), part(3, 10, last=True)]
    better = {**TARIFF, "a.yaml": TARIFF["a.yaml"].replace('"0.10"', '"0.04"')}
    right, wrong = Platform.under(better), Platform.under(TARIFF)
    right.enrol(rows)
    wrong.enrol(rows)
    right.charge(parts)
    wrong.charge(parts[:2])
    wrong.catalogue = right.catalogue
    found = looked(wrong, parts[:2], CORRECTIONS.record.empty(), opening(rows, wrong))
    assert found.corrections["charged_micros"].sum() < 0
    book(wrong, found)
    wrong.charge(parts[2:])
    assert wrong.value("441", "main") == right.value("441", "main")
    assert call_rows(wrong) == 0


TOLL = {
    "operator": {
        "name": "Test", "currency": "EUR", "time_zone": "UTC", "home_plmn": [26201],
        "rounding": {"decimals": 2, "mode": "half_up"},
    },
    "zones": {"near": {"mcc": [208]}, "world": {"default": True}},
    "destinations": {"there": {"prefixes": ["44"]}, "rest": {"prefixes": ["4"]}},
    "rates": {
        "cheap": {"price": "0.10", "per": "60s", "increments": ["60s"]},
        "dear": {"price": "5.00", "per": "60s", "increments": ["60s"]},
    },
    "balances": {
        "main": {"unit": "money", "main": True},
        "minutes": {
            "unit": "time", "usage": ["voice"], "to": ["there"], "zones": ["near"], "grant": "12m", "every": "month",
        },
    },
}  # fmt: skip
PLAN = {
    "plan": "toll",
    "includes": ["minutes"],
    "prices": [
        {"usage": "voice", "zones": ["near"], "to": "there", "rate": "cheap"},
        {"usage": "voice", "zones": "any", "to": "any", "rate": "dear"},
    ],
}


def numbered_anew(now: dict[str, Any]) -> dict[str, Any]:
    """The same tariff with destinations and zones before those that were there, which get other numbers by it."""
    more = {f"new{at}": {"prefixes": [f"{at}"]} for at in range(1, 4)}
    return {
        **now,
        "zones": {"before": {"mcc": [310]}, "between": {"mcc": [311]}, **now["zones"]},
        "destinations": {**more, **now["destinations"]},
    }


@pytest.mark.parametrize("turned", [False, True], ids=["more", "fewer"])
@pytest.mark.parametrize("moment", [1, 2])
def test_a_new_tariff_while_a_call_is_under_way(moment: int, *, turned: bool) -> None:
    """What numbers places anew moves no call: it goes on where it went, at that place's price and allowance."""
    tariffs = [
        {"a.yaml": json.dumps(each), "toll.yaml": json.dumps(PLAN)} for each in (TOLL, numbered_anew(TOLL))
    ]
    before, after = (Platform.under(each) for each in (reversed(tariffs) if turned else tariffs))
    assert before.catalogue.nodes != after.catalogue.nodes
    assert before.catalogue.zones != after.catalogue.zones
    for platform in (before, after):
        platform.enrol([{"subscriber": "441", "plan": "toll", "opening_micros": 50_000_000}])
    parts = [part(n, 10, last=n == 3, visited_plmn=20801) for n in (1, 2, 3)]
    after.charge(parts)
    for at, each in enumerate(parts):
        if at == moment:
            before.catalogue = after.catalogue
        before.charge([each])
    assert after.table("charged")["charged_micros"].sum() == 18 * 100_000
    assert (
        before.table("charged")["charged_micros"].to_list()
        == after.table("charged")["charged_micros"].to_list()
    )
    assert before.value("441", "main") == after.value("441", "main")
    assert call_rows(before) == 0


def cut(use: Use, cuts: list[int], name: str) -> list[Use]:
    """A use as its parts: their own starts and lengths, numbered from 1."""
    ends = [*sorted(min(each, use.units) for each in cuts), use.units]
    parts, begin = [], 0
    for number, end in enumerate(ends, 1):
        start_us = use.start_us + (begin * 1000 if use.kind == "voice" else 0)
        parts.append(
            replace(
                use, record_id=f"{use.record_id}/{number}", units=end - begin, start_us=start_us, session=name,
                part=number, last=number == len(ends),
            )
        )  # fmt: skip
        begin = end
    return parts


def in_parts(uses: list[Use], chance: Random) -> list[Use]:
    """Many of the calls and data sessions in parts, which come in any order among the others.

    Never so late that their period is closed for good: the two halves of the stream lie months apart.
    """
    halves = ([use for use in uses if 2 * use.seq // len(uses) == half] for half in (0, 1))
    made = [use for half in halves for use in _half_in_parts(half, chance)]
    return [replace(use, seq=seq) for seq, use in enumerate(made)]


def _half_in_parts(uses: list[Use], chance: Random) -> list[Use]:
    made: list[Use] = []
    for use in uses:
        if use.kind not in ("voice", "data") or use.subscriber not in SUBSCRIBERS or chance.random() < 0.4:
            made.append(use)
            continue
        cuts = [chance.randint(0, max(use.units, 1)) for _ in range(chance.randint(0, 4))]
        parts = cut(use, cuts, chance.choice((f"s{use.seq}", f"s{use.seq}", "again")))
        if chance.random() < 0.4:
            chance.shuffle(parts)
        if chance.random() < 0.3:
            parts = [replace(each, begun_us=use.start_us) for each in parts]
        if chance.random() < 0.2:
            parts.pop(chance.randrange(len(parts)))
        for each in parts:
            made.insert(chance.randint(max(len(made) - 6, 0), len(made)), each)
    return made


@tried(40)
@given(
    files=tariffs(),
    rows=subscribers(),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    size=st.integers(1, 60),
)
def test_parts_among_other_usage(
    files: dict[str, str], rows: list[dict[str, Any]], seed: int, count: int, size: int
) -> None:
    """The second opinion agrees on every record, entry, alert and balance, wherever batches are cut."""
    uses = in_parts(random_uses(seed, count), Random(seed))
    platform = Platform.under(files)
    platform.enrol(rows)
    for begin in range(0, len(uses), size):
        platform.charge(uses[begin : begin + size])
    compare(platform, books_of(files, rows, uses))


@tried(60)
@given(
    files=tariffs(), rows=subscribers(), seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 600_000), max_size=6),
    order=st.randoms(use_true_random=False), again=st.booleans(),
)  # fmt: skip
def test_parts_sum_to_the_call(
    files: dict[str, str], rows: list[dict[str, Any]], seed: int, cuts: list[int], order: Random, again: bool
) -> None:
    """For any tariff, any cut and any order: the parts together cost, list and cover what one record would."""
    uses = random_uses(seed, 12)
    calls = [use for use in uses if use.kind in ("voice", "data") and use.units]
    assume(calls)
    before, call = [use for use in uses if use is not calls[-1]], calls[-1]
    parts = cut(call, cuts, "call")
    order.shuffle(parts)
    joined, parted = Platform.under(files), Platform.under(files)
    for platform in (joined, parted):
        platform.enrol(rows)
        if again:
            platform.charge(before)
    joined.charge([replace(call, seq=100)])
    for seq, each in enumerate(parts, 100):
        parted.charge([replace(each, seq=seq)])
    assume(all(line < 100 for platform in (joined, parted) for line in platform.table("rejected")["line"]))
    sums = ("units", "list_micros", "charged_micros", "allowance_units")
    whole, of_parts = (platform.table("charged").select("seq", *sums) for platform in (joined, parted))
    assert [whole[name].sum() for name in sums] == [of_parts[name].sum() for name in sums]
    assert counters(joined) == counters(parted)
    assert {name: joined.value(call.subscriber, name) for name in joined.catalogue.balances[1:2]} == {
        name: parted.value(call.subscriber, name) for name in parted.catalogue.balances[1:2]
    }


def counters(platform: Platform) -> dict[tuple[int, int, int], int]:
    """What each counter of each subscriber counted."""
    return {
        (key, int(row["definition"]), int(row["period"])): int(row["value"])
        for key, rows in platform.accounts.items()
        for row in rows[rows["kind"] == RowKind.COUNTER]
        if row["value"]
    }
