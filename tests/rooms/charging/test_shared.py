"""Shared balances: one account, many members, limits, and the order in which a member's use draws on them."""

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
from trunkline.kernel.dial import to_key
from trunkline.records.charging import RowKind

MOTHER, SON, DAUGHTER, ALONE = "491701", "491702", "491703", "491704"
TARIFF = {
    "tariff.yaml": """
operator: {name: Shared, currency: EUR, time_zone: Europe/Berlin, country_code: "49", home_plmn: ["26201"]}
zones: {world: {default: true}}
classes: {internet: {usage: data}}
balances:
  main: {unit: money, main: true, low: ["5.00"], hysteresis: "0.50"}
  own: {unit: octets, grant: 1KB, every: month, classes: [internet], increment: 1, priority: 5, thresholds: [100]}
  pool: {unit: octets, grant: 10KB, every: month, classes: [internet], increment: 1, priority: 10, shared: true,
    member_limit: 4KB, thresholds: [50, 80], hysteresis: 5}
  joint: {unit: octets, grant: 0, grant_per_member: 1KB, every: month, classes: [internet], increment: 1, priority: 20,
    shared: true}
  treats: {unit: money, grant: "0.50", every: week, priority: 30, shared: true, member_limit: "0.20"}
counters:
  spend: {unit: money, every: month, cap: "1.00", thresholds: [50, 100]}
rates:
  per_kb: {price: "0.01", per: 1KB}
""",
    "family.yaml": """
plan: family
effective: 2020-01-01
includes: [pool, joint, treats]
counters: [spend]
prices:
  - {usage: data, class: [internet], rate: per_kb}
""",
    "child.yaml": """
plan: child
effective: 2020-01-01
includes: [own]
counters: [spend]
prices:
  - {usage: data, class: [internet], rate: per_kb}
""",
}
FAMILY: list[dict[str, Any]] = [
    {
        "subscriber": MOTHER,
        "plan": "family",
        "opening_micros": 6_000_000,
        "cycle_day": 5,
        "credit_micros": 1_000_000,
    },
    {"subscriber": SON, "plan": "child", "owner": MOTHER, "limits": {"pool": 2_000}},
    {"subscriber": DAUGHTER, "plan": "child", "owner": MOTHER, "time_zone": "America/New_York"},
    {"subscriber": ALONE, "plan": "family", "opening_micros": 6_000_000},
]


def data(seq: int, who: str, octets: int, day: int = 10, hour: int = 12) -> Use:
    """Octets through the home network."""
    start = datetime(2026, 11, 1, hour, tzinfo=UTC).timestamp() + (day - 1) * 86_400
    return Use(seq, "test", f"r{seq}", "data", who, int(start * 1_000_000), octets)


def charged(uses: list[Use], batch: int = 1000, rows: list[dict[str, Any]] = FAMILY) -> Platform:
    """A platform that has charged these uses, in batches of this size."""
    platform = Platform.under(TARIFF)
    platform.enrol(rows)
    for begin in range(0, len(uses), batch):
        platform.charge(uses[begin : begin + batch])
    return platform


def left(platform: Platform, who: str, balance: str, member: int = 0) -> int:
    """What is left of a balance of an account."""
    rows = platform.accounts[to_key(who)]
    mine = (rows["kind"] == RowKind.BALANCE) & (rows["member"] == member)
    return int(rows["value"][mine & (rows["definition"] == platform.catalogue.balances.index(balance))].sum())


def drawn(platform: Platform, who: str, balance: str) -> dict[int, int]:
    """What each member took of a shared balance."""
    rows = platform.accounts[to_key(who)]
    mine = rows[
        (rows["kind"] == RowKind.DRAWN) & (rows["definition"] == platform.catalogue.balances.index(balance))
    ]
    found: dict[int, int] = {}
    for row in mine:
        found[int(row["member"])] = found.get(int(row["member"]), 0) + int(row["value"])
    return found


def test_own_before_shared_up_to_the_limit_and_the_owner_pays_the_rest() -> None:
    """The son's kilobyte goes first, then two of the pool, then one from the joint grant, the rest is his mother's."""
    platform = charged([data(0, SON, 9_000)])
    assert left(platform, MOTHER, "own", 1) == 0
    assert drawn(platform, MOTHER, "pool") == {1: 2_000}
    assert drawn(platform, MOTHER, "joint") == {1: 3_000}
    assert drawn(platform, MOTHER, "treats") == {1: 30_000}
    assert left(platform, MOTHER, "main") == 6_000_000
    assert platform.table("charged")["charged_micros"].to_list() == [30_000]
    assert platform.table("charged")["subscriber"].to_list() == [to_key(MOTHER)]


def test_a_pool_grows_with_its_members() -> None:
    """Each member brings a kilobyte; who joins after the first use brings it, too."""
    platform = charged([data(0, MOTHER, 1)])
    assert left(platform, MOTHER, "joint") == 3_000
    platform.enrol([*FAMILY, {"subscriber": "491709", "plan": "child", "owner": MOTHER}])
    assert left(platform, MOTHER, "joint") == 4_000
    assert left(charged([data(0, ALONE, 1)]), ALONE, "joint") == 1_000
    before = platform.accounts[to_key(MOTHER)].tolist()
    platform.enrol([*FAMILY, {"subscriber": "491709", "plan": "child", "owner": MOTHER}])
    assert sorted(before) == sorted(platform.accounts[to_key(MOTHER)].tolist()), (
        "loading again changes nothing"
    )


def test_marks_of_a_shared_balance_are_told_to_the_owner_and_to_who_crossed_them() -> None:
    """Half of the pool is crossed by the daughter; her own kilobyte is told to nobody else."""
    platform = charged([data(0, MOTHER, 4_000), data(1, DAUGHTER, 3_000)])
    told = platform.table("alerts").select("subscriber", "balance", "threshold").rows()
    assert sorted(told) == sorted(
        [(to_key(DAUGHTER), "own", 100), (to_key(MOTHER), "pool", 50), (to_key(DAUGHTER), "pool", 50)]
    )


def test_the_same_family_by_the_second_opinion() -> None:
    """Weeks of a family, late records among them, agree to the micro-unit."""
    who = (MOTHER, SON, DAUGHTER, ALONE)
    uses = [
        data(seq, who[seq % 4], 300 + 977 * seq % 2_500, day=1 + seq * 7 % 40, hour=seq % 24)
        for seq in range(160)
    ]
    platform = charged(uses, batch=37)
    assert_same(platform, books_of(TARIFF, FAMILY, uses))


USES = st.lists(
    st.tuples(st.sampled_from((MOTHER, SON, DAUGHTER)), st.integers(0, 6_000), st.integers(3, 60)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(USES, st.integers(1, 9))
def test_however_they_use_it(said: list[tuple[str, int, int]], batch: int) -> None:
    """Members' shares add up to what was used, no limit is exceeded, and it does not matter where batches end."""
    uses = [data(seq, who, octets, day) for seq, (who, octets, day) in enumerate(said)]
    platform = charged(uses, batch)
    assert_same(platform, books_of(TARIFF, FAMILY, uses))
    whole = charged(uses)
    rows = platform.accounts[to_key(MOTHER)]
    assert rows.tolist() == whole.accounts[to_key(MOTHER)].tolist()
    entries = platform.table("entries").filter(pl.col("credit").cast(pl.String) != "balance")
    for balance in ("pool", "joint", "treats"):
        used = entries.filter(pl.col("balance").cast(pl.String) == balance, pl.col("cause") == 1)[
            "amount"
        ].sum()
        assert used == sum(drawn(platform, MOTHER, balance).values()), balance
    for row in rows[rows["kind"] == RowKind.DRAWN]:
        limits = {"pool": 2_000 if row["member"] == 1 else 4_000, "treats": 200_000}
        assert row["value"] <= limits.get(platform.catalogue.balances[row["definition"]], 2**62)


@settings(max_examples=20, deadline=None)
@given(USES, st.randoms(use_true_random=False))
def test_other_accounts_do_not_matter(said: list[tuple[str, int, int]], random: Any) -> None:
    """What happens in another account, and when, changes nothing in this one."""
    uses = [data(seq, who, octets, day) for seq, (who, octets, day) in enumerate(said)]
    others = [data(1_000 + seq, ALONE, octets, day) for seq, (_, octets, day) in enumerate(said)]
    mixed = list(uses)
    for other in others:
        mixed.insert(random.randint(0, len(mixed)), other)
    alone, together = charged(uses), charged(mixed, 5)
    assert alone.accounts[to_key(MOTHER)].tolist() == together.accounts[to_key(MOTHER)].tolist()


@pytest.mark.parametrize(
    ("when", "status"), [(1, "rejected"), (20, "charged")], ids=["before it joined", "after it joined"]
)
def test_a_member_has_no_plan_before_it_joins(when: int, status: str) -> None:
    """A member uses the account from the day of its first plan on."""
    joins_s = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp())
    rows = [FAMILY[0], {"subscriber": SON, "plan": "child", "owner": MOTHER, "from_s": joins_s}]
    platform = charged([data(0, SON, 100, when)], rows=rows)
    assert len(platform.table(status)) == 1
