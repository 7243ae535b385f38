"""Renewals: what is carried over, for how long and in which order, and what a change of plan within a period brings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.opinion.subscribed import assert_same, books_of
from trunkline.charging.tariffs import check, describe
from trunkline.kernel.dial import to_key
from trunkline.records.charging import CARRIED, Cause, RowKind

ANNA, BEN, CARLA = "491701", "491702", "491703"
TARIFF = {
    "tariff.yaml": """
operator: {name: Renewal, currency: EUR, time_zone: Europe/Berlin, time_zones: [America/Santiago], country_code: "49",
  home_plmn: ["26201"]}
zones: {world: {default: true}}
classes: {internet: {usage: data}}
balances:
  main: {unit: money, main: true}
  plain: {unit: octets, grant: 2KB, every: week, classes: [internet], increment: 1, priority: 50, thresholds: [50, 100]}
  kept: {unit: octets, grant: 1001, every: month, classes: [internet], increment: 1, priority: 10, thresholds: [80],
    rollover: {periods: 2, share: "50%", rounding: up, most: 400, used: first}}
  daily: {unit: octets, grant: 100, every: day, classes: [internet], increment: 1, priority: 20,
    rollover: {periods: 3, used: last}, pro_rata: day}
  gold: {unit: octets, grant: 10KB, every: month, classes: [internet], increment: 1, priority: 5,
    rollover: {periods: 1, share: "33.3%", rounding: half_even}, on_change: ends,
    pro_rata: {by: day, rounding: half_up, step: 7}}
  silver: {unit: octets, grant: 5KB, every: month, classes: [internet], increment: 1, priority: 5,
    pro_rata: {by: day, rounding: down}}
  pool: {unit: octets, grant: 1KB, grant_per_member: 100, every: month, classes: [internet], increment: 1, priority: 3,
    shared: true, member_limit: 700, rollover: {periods: 1, used: last}, on_change: ends}
  cash: {unit: money, grant: "0.31", every: month, priority: 30, pro_rata: {by: day, step: "0.01"},
    rollover: {periods: 12, most: "0.10", used: first}}
rates:
  per_kb: {price: "0.01", per: 1KB}
""",
    "plans.yaml": """
plan: keeper
includes: [kept, plain]
prices: [{usage: data, class: [internet], rate: per_kb}]
---
plan: saver
includes: [daily, cash]
prices: [{usage: data, class: [internet], rate: per_kb}]
---
plan: gold
includes: [gold, kept]
prices: [{usage: data, class: [internet], rate: per_kb}]
---
plan: silver
includes: [silver]
prices: [{usage: data, class: [internet], rate: per_kb}]
---
plan: family
includes: [pool, plain]
prices: [{usage: data, class: [internet], rate: per_kb}]
""",
}
PLANS = ("keeper", "saver", "gold", "silver", "family")


def second(month: int, day: int, hour: int = 12, year: int = 2026) -> int:
    """A moment in UTC."""
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


def data(seq: int, who: str, octets: int, at_s: int) -> Use:
    """Octets through the home network."""
    return Use(seq, "test", f"r{seq}", "data", who, at_s * 1_000_000, octets)


def charged(rows: list[dict[str, Any]], uses: list[Use], batch: int = 1000) -> Platform:
    """A platform that has charged these uses, in batches of this size."""
    platform = Platform.under(TARIFF)
    platform.enrol(rows)
    for begin in range(0, len(uses), batch):
        platform.charge(uses[begin : begin + batch])
    return platform


def held(platform: Platform, who: str, balance: str) -> list[tuple[bool, int, int]]:
    """Rows of a balance, whether carried over, what is left and what it began with, by their end."""
    rows = platform.accounts[to_key(who)]
    mine = rows[
        (rows["kind"] == RowKind.BALANCE) & (rows["definition"] == platform.catalogue.balances.index(balance))
    ]
    return [
        (int(row["period"]) >= CARRIED, int(row["value"]), int(row["granted"]))
        for row in sorted(mine, key=lambda row: (row["valid_from_s"], row["valid_until_s"]))
    ]


def assert_whole(platform: Platform) -> None:
    """Assert that what was granted is what was used, what expired and what is left; what left a period arrived."""
    entries = platform.table("entries").with_columns(pl.col("balance").cast(pl.String))

    def total(balance: str, cause: Cause) -> int:
        mine = entries.filter(pl.col("balance") == balance, pl.col("cause") == int(cause))
        given = (
            pl.when(pl.col("credit").cast(pl.String) == "balance").then("amount").otherwise(-pl.col("amount"))
        )
        return int(mine.select(given.sum()).item())

    for balance in ("kept", "daily", "gold", "silver", "pool", "cash"):
        left = sum(
            value
            for key in platform.accounts
            for row in [platform.accounts[key]]
            for value in row["value"][
                (row["kind"] == RowKind.BALANCE)
                & (row["definition"] == platform.catalogue.balances.index(balance))
            ].tolist()
        )
        assert total(balance, Cause.GRANT) == left - total(balance, Cause.USAGE) - total(
            balance, Cause.EXPIRY
        )
        assert total(balance, Cause.ROLLOVER) == 0


def test_half_of_what_is_left_stays_two_months_and_goes_first() -> None:
    """Of 901 octets left of January 400 are carried over, the cap; February's use takes them before its own."""
    uses = [data(0, ANNA, 100, second(1, 10)), data(1, ANNA, 150, second(2, 10))]
    platform = charged([{"subscriber": ANNA, "plan": "keeper"}], uses)
    assert held(platform, ANNA, "kept") == [(False, 501, 1001), (True, 250, 400), (False, 1001, 1001)]
    platform.charge([data(2, ANNA, 300, second(3, 10))])
    assert held(platform, ANNA, "kept") == [
        (False, 501, 1001), (True, 0, 400), (False, 601, 1001), (True, 350, 400), (False, 1001, 1001),
    ]  # fmt: skip
    platform.charge([data(3, ANNA, 10, second(5, 10))])
    assert [row for row in held(platform, ANNA, "kept") if row[0]] == [
        (True, 0, 400), (True, 350, 400), (True, 390, 400), (True, 400, 400),
    ]  # fmt: skip
    assert_whole(platform)


def test_a_month_without_use_is_carried_over_too() -> None:
    """Nothing was used in February: its allowance is granted in March, and its share is there beside January's."""
    uses = [data(0, ANNA, 1001, second(1, 10)), data(1, ANNA, 1, second(3, 10))]
    platform = charged([{"subscriber": ANNA, "plan": "keeper"}], uses)
    assert held(platform, ANNA, "kept") == [
        (False, 0, 1001), (False, 601, 1001), (True, 399, 400), (False, 1001, 1001),
    ]  # fmt: skip


def test_whoever_comes_late_finds_what_was_carried_over() -> None:
    """A record of January that comes in February draws on what January left, carried over or not."""
    uses = [
        data(0, ANNA, 1, second(1, 10)),
        data(1, ANNA, 1, second(2, 10)),
        data(2, ANNA, 700, second(1, 20)),
    ]
    platform = charged([{"subscriber": ANNA, "plan": "keeper"}], uses)
    assert held(platform, ANNA, "kept") == [(False, 299, 1001), (True, 0, 400), (False, 1001, 1001)]
    assert platform.table("charged")["charged_micros"].to_list() == [0, 0, 0]
    assert platform.table("charged")["late"].to_list() == [False, False, True]


def test_no_warning_is_given_for_what_is_carried_over() -> None:
    """Marks are about the period's own allowance: neither carrying over nor using what was carried tells anybody."""
    uses = [data(0, ANNA, 500, second(1, 10)), data(1, ANNA, 251, second(2, 10))]
    platform = charged([{"subscriber": ANNA, "plan": "keeper"}], uses)
    assert len(platform.table("alerts")) == 0
    platform.charge([data(2, ANNA, 801, second(2, 11))])
    assert platform.table("alerts")["threshold"].to_list() == [80]


def test_a_plan_that_begins_within_a_month_brings_its_share_of_days() -> None:
    """Silver from 11 November on brings 20 of 30 days, rounded down; gold's allowance ends that day."""
    rows: list[dict[str, Any]] = [
        {"subscriber": ANNA, "plan": "gold"},
        {"subscriber": ANNA, "plan": "silver", "from_s": second(11, 11, 8)},
    ]
    uses = [
        data(0, ANNA, 1000, second(11, 2)), data(1, ANNA, 100, second(11, 20)), data(2, ANNA, 50, second(11, 10)),
    ]  # fmt: skip
    platform = charged(rows, uses)
    assert held(platform, ANNA, "silver") == [(False, 3233, 3333)]
    assert held(platform, ANNA, "gold") == [(False, 8950, 10_000)]
    assert held(platform, ANNA, "kept") == [(False, 1001, 1001)]
    assert_whole(platform)


def test_an_allowance_that_is_there_ends_when_the_plan_changes_later() -> None:
    """The change is loaded after gold's allowance was granted: it ends all the same, and nothing of it is carried."""
    platform = charged([{"subscriber": ANNA, "plan": "gold"}], [data(0, ANNA, 1000, second(11, 2))])
    platform.enrol([{"subscriber": ANNA, "plan": "silver", "from_s": second(11, 11, 8)}])
    platform.charge([data(1, ANNA, 100, second(11, 20)), data(2, ANNA, 50, second(11, 10))])
    assert held(platform, ANNA, "gold") == [(False, 8950, 10_000)]
    assert held(platform, ANNA, "silver") == [(False, 3233, 3333)]
    platform.enrol([{"subscriber": ANNA, "plan": "gold", "from_s": second(11, 21)}])
    platform.charge([data(3, ANNA, 1, second(11, 22)), data(4, ANNA, 1, second(12, 22))])
    # 10 of 30 days of 10,000, to the nearest multiple of 7: 3,332. A third of what is left of it is carried over.
    assert held(platform, ANNA, "gold") == [
        (False, 8950, 10_000), (False, 2222, 3332), (True, 1108, 1109), (False, 10_000, 10_000),
    ]  # fmt: skip


_ROWS = st.lists(
    st.tuples(st.sampled_from([ANNA, BEN]), st.sampled_from(PLANS), st.integers(0, 200)), max_size=6
)
_USES = st.lists(
    st.tuples(st.sampled_from([ANNA, BEN, CARLA]), st.integers(0, 12_000), st.integers(0, 260 * 4)),
    min_size=1,
    max_size=40,
)
_DAY_S = 86_400
# Quarters of a day that a record is late at most: far behind the 62 days after which what ended is forgotten.
LATEST = 700


def _story(
    changes: list[tuple[str, str, int]], said: list[tuple[str, int, int]], when_sorted: bool
) -> tuple[list[dict[str, Any]], list[Use]]:
    """Subscribers with changes of plan, one of them with a member, and their uses over most of a year."""
    begin_s = second(1, 15, 3)
    rows: list[dict[str, Any]] = [
        {"subscriber": ANNA, "plan": "family", "cycle_day": 5},
        {"subscriber": BEN, "plan": "saver", "time_zone": "America/Santiago"},
        {"subscriber": CARLA, "plan": "keeper", "owner": ANNA, "from_s": begin_s, "limits": {"pool": 300}},
    ]
    for who, plan, day in changes:
        row = {"subscriber": who, "plan": plan, "from_s": begin_s + day * _DAY_S + 7}
        rows.append(row | {"cycle_day": 5 if who == ANNA else 1})
    steps = sorted(said, key=lambda each: each[2] + (0 if when_sorted else each[1] * 31 % LATEST))
    uses = [data(seq, who, octets, begin_s + at * _DAY_S // 4) for seq, (who, octets, at) in enumerate(steps)]
    return rows, uses


@settings(max_examples=80, deadline=None)
@given(_ROWS, _USES, st.booleans(), st.integers(1, 7))
def test_a_second_opinion_agrees(
    changes: list[tuple[str, str, int]], said: list[tuple[str, int, int]], when_sorted: bool, batch: int
) -> None:
    """Whatever plans follow each other and however usage comes, every entry is as an auditor books it; all is whole."""
    rows, uses = _story(changes, said, when_sorted)
    platform = charged(rows, uses, batch)
    assert_whole(platform)
    assert_same(platform, books_of(TARIFF, rows, uses))


@settings(max_examples=30, deadline=None)
@given(_ROWS, _USES, st.randoms(use_true_random=False))
def test_other_accounts_and_borders_of_batches_do_not_matter(
    changes: list[tuple[str, str, int]], said: list[tuple[str, int, int]], random: Any
) -> None:
    """Cut anywhere and mixed with others in any order, each account gets the entries that it gets in one piece."""
    rows, uses = _story(changes, said, when_sorted=True)
    shuffled = random.sample(uses, len(uses))
    order = {who: iter([use for use in uses if (use.subscriber == BEN) == who]) for who in (True, False)}
    mixed = [next(order[use.subscriber == BEN]) for use in shuffled]
    names = (
        "seq",
        "part",
        "debit",
        "credit",
        "amount",
        "balance",
        "period",
        "before",
        "after",
        "granted",
        "member",
    )
    whole, cut = charged(rows, uses), charged(rows, mixed, 3)
    assert (
        whole.table("entries")
        .sort("seq", "part")
        .select(names)
        .equals(cut.table("entries").sort("seq", "part").select(names))
    )


@pytest.mark.parametrize(
    ("wrong", "line", "text"),
    [
        ("kept: {unit: octets, rollover: {periods: 1}}", 2, "about what is granted each period"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {share: 50}}", 2, "for how many further periods"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {periods: 13}}", 2, "from 1 to 12"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {periods: 1, rounding: up}}", 2, "write `share`, too"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {periods: 1, share: 0}}", 2, "carries nothing over"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {periods: 1, used: never}}", 2, "first"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {periods: 1, most: 1m}}", 2, "counts octets"),
        ("kept: {unit: octets, grant: 1, every: day, rollover: {period: 1}}", 2, "periods"),
        ("kept: {unit: octets, grant: 1, every: day, pro_rata: hours}", 2, "day"),
        ("kept: {unit: octets, grant: 1, every: day, pro_rata: {step: 1MB}}", 2, "by what it is shared out"),
        ("kept: {unit: octets, grant: 1, every: day, pro_rata: {by: day, step: 2000TB}}", 2, "larger than any"),
        ("kept: {unit: octets, grant: 1, every: day, on_change: goes}", 2, "stays"),
        ("main: {unit: money, main: true, on_change: ends}", 2, "about what is granted each period"),
    ],
)  # fmt: skip
def test_mistakes_have_their_line(wrong: str, line: int, text: str) -> None:
    """Each mistake in the rules of renewal is told with its line."""
    files = {"wrong.yaml": f"balances:\n  {wrong}\n"}
    assert any(found.line == line and text in found.text for found in check(files)), check(files)


def test_in_words() -> None:
    """What a tariff says of renewals is told in words."""
    told = {row["balance"]: row for row in describe(TARIFF).balances}
    assert (
        told["kept"]["left at renewal"]
        == "50.00 % carried over, rounded up, at most 400B, for 2 months, used first"
    )
    assert told["plain"]["left at renewal"] == "ends"
    assert told["gold"]["plan changes"] == "begins by the day, rounded half_up to 7B, ends"
    assert told["plain"]["plan changes"] == "begins whole, stays"
