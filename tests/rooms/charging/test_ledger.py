"""Movements and accounts: every order is booked once and rightly, or refused with a reason and without a trace."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.tariff_strategies import tried
from trunkline.kernel.dial import to_key
from trunkline.records.charging import NEVER_S, Cause

CALLER = "447700900001"
START_US = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 1_000_000
FILES = {
    "tariff.yaml": json.dumps(
        {
            "operator": {"name": "Test", "currency": "EUR", "time_zone": "UTC"},
            "rates": {"minute": {"price": "0.60", "per": "60s", "increments": ["1s"]}},
            "balances": {
                "main": {"unit": "money", "main": True},
                "bonus": {"unit": "money", "priority": 1},
                "minutes": {"unit": "time", "grant": "1m", "every": "month"},
                "extra": {"unit": "time", "priority": 5},
            },
        }
    ),
    "plan.yaml": json.dumps(
        {"plan": "p", "includes": ["minutes"], "prices": [{"usage": "voice", "rate": "minute"}]}
    ),
}


def opened() -> Platform:
    """One subscriber with 10.00."""
    platform = Platform.under(FILES)
    platform.enrol([{"subscriber": CALLER, "plan": "p", "opening_micros": 10_000_000}])
    return platform


def call(seq: int, seconds: int, days: int = 0) -> Use:
    """A call."""
    start_us = START_US + days * 86_400_000_000
    return Use(seq, "test", f"r{seq}", "voice", CALLER, start_us, seconds * 1000, called="4930123")


def moved(platform: Platform) -> list[tuple[str, str, int, str, int]]:
    """The ledger without the opening."""
    names = ("debit", "credit", "amount", "balance", "after")
    entries = platform.table("entries").filter(pl.col("seq") >= 0).sort("seq", "part")
    return list(entries.select(names).rows())


def test_the_order_of_balances() -> None:
    """Allowance first, then bought minutes by priority, then bonus money, then the main balance below zero."""
    platform = opened()
    assert platform.post(CALLER, "extra", 30_000, seq=0) == ""
    assert platform.post(CALLER, "bonus", 100_000, seq=1) == ""
    platform.charge([call(2, 120)])
    assert moved(platform) == [
        ("topups", "balance", 30_000, "extra", 30_000),
        ("topups", "balance", 100_000, "bonus", 100_000),
        ("grants", "balance", 60_000, "minutes", 60_000),
        ("balance", "usage", 30_000, "extra", 0),
        ("balance", "usage", 60_000, "minutes", 0),
        ("balance", "revenue", 100_000, "bonus", 0),
        ("balance", "revenue", 200_000, "main", 9_800_000),
    ]


@pytest.mark.parametrize(
    ("balance", "amount", "cause", "reason"),
    [
        ("main", 1, Cause.TOPUP, ""),
        ("main", -20_000_000, Cause.ADJUSTMENT, ""),
        ("main", 1, Cause.REFUND, ""),
        ("main", 0, Cause.TOPUP, "bad_amount"),
        ("main", -1, Cause.TOPUP, "bad_amount"),
        ("main", -1, Cause.REFUND, "bad_amount"),
        ("main", 2**62, Cause.TOPUP, "bad_amount"),
        ("gold", 1, Cause.TOPUP, "unknown_balance"),
        ("", 1, Cause.TOPUP, "unknown_balance"),
        ("main", 1, Cause.GRANT, "bad_cause"),
        ("extra", -1, Cause.ADJUSTMENT, "not_enough"),
    ],
)
def test_orders(balance: str, amount: int, cause: Cause, reason: str) -> None:
    """A refused order leaves no entry and no row behind."""
    platform = opened()
    before = platform.accounts[to_key(CALLER)].tolist()
    assert platform.post(CALLER, balance, amount, seq=0, cause=cause) == reason
    assert (platform.accounts[to_key(CALLER)].tolist() == before) == bool(reason)
    assert len(moved(platform)) == (0 if reason else 1)


def test_a_stranger_cannot_be_topped_up() -> None:
    """Nobody's account is opened by a movement."""
    assert opened().post("447700900009", "main", 1, seq=0) == "unknown_subscriber"


def test_loading_subscribers_again_changes_nothing() -> None:
    """The same file twice opens no account twice and pays no opening amount twice."""
    platform = opened()
    platform.charge([call(0, 90)])
    before = sorted(platform.accounts[to_key(CALLER)].tolist())
    platform.enrol([{"subscriber": CALLER, "plan": "p", "opening_micros": 10_000_000}])
    assert sorted(platform.accounts[to_key(CALLER)].tolist()) == before


def test_what_was_left_expires_once_nobody_can_ask_for_it() -> None:
    """Two months after its end an allowance is written off; until then a late call finds it."""
    platform = opened()
    platform.charge([call(0, 20), call(1, 10, days=30), call(2, 20), call(3, 10, days=75)])
    assert [entry for entry in moved(platform) if entry[1] == "expired"] == [
        ("balance", "expired", 20_000, "minutes", 0)
    ]
    assert platform.table("charged")["charged_micros"].sum() == 0


ORDERS = st.tuples(
    st.sampled_from(("main", "bonus", "extra", "minutes")),
    st.integers(-200_000, 200_000),
    st.sampled_from((Cause.TOPUP, Cause.ADJUSTMENT, Cause.REFUND)),
    st.sampled_from((NEVER_S, START_US // 1_000_000 + 3600)),
)


@tried(40)
@given(orders=st.lists(st.one_of(ORDERS, st.integers(0, 200)), max_size=12))
def test_a_balance_is_the_sum_of_its_entries(orders: list[tuple[str, int, Cause, int] | int]) -> None:
    """Whatever is ordered and used, in any order."""
    platform = opened()
    for seq, order in enumerate(orders):
        if isinstance(order, int):
            platform.charge([call(seq, order)])
        else:
            balance, amount, cause, until_s = order
            platform.post(CALLER, balance, amount, seq, cause, until_s)
    signed = pl.when(pl.col("credit") == "balance").then("amount").otherwise(-pl.col("amount"))
    sums = dict(platform.table("entries").group_by("balance").agg(signed.sum().alias("sum")).rows())
    for name in ("main", "bonus", "extra", "minutes"):
        assert platform.value(CALLER, name) == sums.get(name, 0)
        assert platform.value(CALLER, name) >= 0 or name == "main"
