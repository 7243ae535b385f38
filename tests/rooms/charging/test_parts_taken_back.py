"""A part of a call is cancelled or corrected: the call goes on as though that part had never come."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.subscribed import books_of
from tests.rooms.charging.test_calls import (
    PLAN,
    TOLL,
    call_rows,
    charged,
    counters,
    cut,
    in_parts,
    numbered_anew,
    part,
)
from tests.rooms.charging.test_rerating import assert_sums
from tests.rooms.charging.test_reversal import taken_back
from tests.tariff_strategies import random_uses, subscribers, tariffs, tried
from trunkline.charging.corrections import corrected
from trunkline.kernel.dial import to_key
from trunkline.records.charging import CORRECTIONS, RowKind

SUMS = ("list_micros", "charged_micros", "allowance_units")


def costs(platform: Platform, made: pl.DataFrame) -> list[int]:
    """What each record comes to, in cents."""
    return [
        micros // 10_000 for micros in corrected(platform.table("charged"), made)["charged_micros"].to_list()
    ]


@pytest.mark.parametrize(
    ("plan", "minutes", "wrong", "then", "cents"),
    [
        # 10 minutes instead of 5 in the middle: 15 minutes and a begun one, the first ten at 10 cents, one fee
        ("plain", (10, 10, 0.5), 2, 5, (115, 0, 5, 25)),
        ("plain", (10, 10, 0.5), 1, 10, (0, 50, 5, 115)),  # the first one, with its fee, for the same again
        ("plain", (10, 10, 0.5), 1, 5, (0, 50, 5, 90)),  # one fee, ten minutes at 10 cents, six at 5
        # of ten minutes five are free, as before, and two less are paid: the right part gives money back
        ("five", (3, 3, 6), 1, 1, (0, 30, 30, -10)),
        ("plain", (10, 10, 0.5), 3, None, (115, 50, 0)),
    ],
)
@pytest.mark.parametrize("over", [True, False])
def test_what_a_corrected_part_comes_to(
    plan: str, minutes: tuple[float, ...], wrong: int, then: float | None, cents: tuple[int, ...], over: bool
) -> None:
    """A table that a tariff clerk can check; it is the same whether the call was over or not."""
    parts = [part(n, m, last=over and n == len(minutes)) for n, m in enumerate(minutes, 1)]
    platform = charged(plan, *parts)
    made = taken_back(platform, [wrong], first_seq=8)
    assert call_rows(platform) > 0, "a call without one of its parts is not over"
    if then is not None:
        right = replace(parts[wrong - 1], seq=9, record_id="right", units=int(then * 60_000))
        platform.charge([right])
    assert costs(platform, made) == list(cents)
    assert platform.value("441", "main") == 50_000_000 - 10_000 * sum(cents)
    assert (call_rows(platform) == 0) == (over and then is not None)
    assert_sums(platform)


def test_all_parts_cancelled() -> None:
    """Nothing is left of the call, in money, in allowances and in what is remembered."""
    platform = charged("five", part(1, 3), part(2, 6), part(3, 6, last=True))
    made = CORRECTIONS.record.empty()
    for first_seq, seq in enumerate((2, 1, 3), 10):
        made = pl.concat([made, taken_back(platform, [seq], made, first_seq)])
    assert platform.value("441", "main") == 50_000_000
    assert platform.value("441", "minutes") == 300_000
    assert call_rows(platform) == 0


def test_the_place_in_the_call_is_free_again() -> None:
    """What takes a part's place is no part that came again, and has the beginning and the destination of the call."""
    platform = charged("plain", part(1, 10), part(2, 10))
    made = taken_back(platform, [1], first_seq=4)
    platform.charge([part(1, 4, seq=5, record_id="right"), part(1, 4, seq=6, record_id="again")])
    assert platform.table("rejected").select("line", "reason").rows() == [(6, "part_again")]
    assert sum(costs(platform, made)) == 15 + 100 + 20


def test_after_a_tariff_that_numbers_places_anew() -> None:
    """A call that was over goes on where it went, by the numbers of the tariff with which the right part is charged."""
    files = [
        {"a.yaml": json.dumps(each), "toll.yaml": json.dumps(PLAN)} for each in (TOLL, numbered_anew(TOLL))
    ]
    platform, later = (Platform.under(each) for each in files)
    platform.enrol([{"subscriber": "441", "plan": "toll", "opening_micros": 50_000_000}])
    platform.charge([part(n, 10, last=n == 2, visited_plmn=20801) for n in (1, 2)])
    platform.catalogue = later.catalogue
    made = taken_back(platform, [2], first_seq=4)
    platform.charge([part(2, 7, seq=5, record_id="right", last=True, visited_plmn=20801)])
    assert costs(platform, made) == [0, 0, 50]
    assert call_rows(platform) == 0


def held(platform: Platform) -> dict[tuple[int, int, str, int], int]:
    """What counters of each account and member hold."""
    return {
        (
            key,
            int(row["member"]),
            platform.catalogue.counters[int(row["definition"])],
            int(row["period"]),
        ): int(row["value"])
        for key, rows in platform.accounts.items()
        for row in rows
        if row["kind"] == RowKind.COUNTER and row["value"]
    }


@tried(30)
@given(
    files=tariffs(), rows=subscribers(), seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 600_000), max_size=5),
    order=st.randoms(use_true_random=False), late=st.booleans(),
)  # fmt: skip
def test_in_the_end_the_call_is_the_right_one(
    files: dict[str, str], rows: list[dict[str, Any]], seed: int, cuts: list[int], order: Random, late: bool
) -> None:
    """For any tariff, cut and order: with wrong parts taken back it costs what the right ones cost alone."""
    calls = [use for use in random_uses(seed, 12) if use.kind in ("voice", "data") and use.units]
    assume(calls)
    parts = cut(calls[-1], cuts, "call")
    order.shuffle(parts)
    right, wronged = Platform.under(files), Platform.under(files)
    for platform in (right, wronged):
        platform.enrol(rows)
    wrong = [each for each in parts if order.random() < 0.5]
    first = [replace(each, units=each.units // 2 + 7) if each in wrong else each for each in parts]
    made = CORRECTIONS.record.empty()
    later = []
    for number, each in enumerate(first):
        seq = 100 * (number + 1)
        wronged.charge([replace(each, seq=seq, record_id=f"{seq}")])
        if parts[number] is not each:
            later.append((seq, parts[number]))
        while later and (not late or number == len(first) - 1):
            gone, right_ = later.pop(order.randrange(len(later)))
            at = seq + 1 + 2 * len(made)
            made = pl.concat([made, taken_back(wronged, [gone], made, at)])
            wronged.charge([replace(right_, seq=at + 1)])
    for seq, each in enumerate(parts, 100):
        right.charge([replace(each, seq=seq)])
    assume(all(line < 100 for platform in (right, wronged) for line in platform.table("rejected")["line"]))
    now = corrected(wronged.table("charged"), made)
    assert [right.table("charged")[name].sum() for name in SUMS] == [now[name].sum() for name in SUMS]
    assert counters(right) == counters(wronged)
    names = right.catalogue.balances[1:]
    assert {name: right.value(calls[-1].subscriber, name) for name in names} == {
        name: wronged.value(calls[-1].subscriber, name) for name in names
    }
    event(f"parts: {len(parts)}, wrong: {len(wrong)}")


@tried(20)
@given(files=tariffs(), rows=subscribers(), seed=st.integers(0, 10**6), count=st.integers(1, 30))
def test_among_other_usage(files: dict[str, str], rows: list[dict[str, Any]], seed: int, count: int) -> None:
    """The second opinion agrees on every balance, counter and record, whatever parts are taken back in between."""
    chance = Random(seed)
    uses = [replace(use, begun_us=0) for use in in_parts(random_uses(seed, count), chance)]
    platform, books = Platform.under(files), books_of(files, rows, [])
    platform.enrol(rows)
    made, standing = CORRECTIONS.record.empty(), []
    for use in (replace(each, seq=10 * at) for at, each in enumerate(uses)):
        platform.charge([use])
        books.charge(use)
        standing += [use] if use.part and use.seq in platform.table("charged")["seq"] else []
        if not standing or chance.random() < 0.6:
            continue
        gone = standing.pop(chance.randrange(len(standing)))
        made = pl.concat([made, taken_back(platform, [gone.seq], made, use.seq + 1)])
        books.take_back(gone.source, gone.record_id)
        if chance.random() < 0.6:
            name, units = f"{gone.record_id}!", gone.units // 2
            again = replace(gone, seq=use.seq + 2, record_id=name, units=units)
            platform.charge([again])
            books.charge(again)
    now = corrected(platform.table("charged"), made)
    assert {row[0]: row[1:] for row in now.select("record_id", "units", *SUMS).iter_rows()} == {
        v.record_id: (v.units, v.list_micros, v.charged_micros, v.allowance_units)
        for v in books.verdicts
        if v.status == "rated"
    }
    assert sorted(platform.table("rejected")["reason"].to_list()) == sorted(
        v.reason for v in books.verdicts if v.status != "rated"
    )
    for subscriber in books.subscribers():
        for balance in platform.catalogue.balances[1:]:
            assert platform.value(subscriber, balance) == books.value(subscriber, balance), balance
    members = platform.catalogue.members
    assert held(platform) == {
        (*members.account_of(to_key(row.of)), row.rule.name, row.period): row.value
        for account in books.accounts.values()
        for row in account.counters
        if row.value
    }
    event(f"taken back: {len(made) > 0}")
