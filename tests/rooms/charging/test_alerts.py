"""Alerts: each crossing is told once, and told again only after the value came back far enough."""

from __future__ import annotations

import json
from typing import Any

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from trunkline.charging.tariffs.catalogue import Register
from trunkline.charging.tariffs.compiling import compile_catalogue

NOON_US = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z
CALLER = "447700900001"


def platform_with(**balances: Any) -> Platform:
    """One subscriber, calls and messages at 1.00 each minute or message, and the balances given."""
    main = {"main": {"unit": "money", "main": True}}
    tariff = {
        "operator": {"name": "Test", "currency": "EUR"},
        "rates": {
            "minute": {"price": "1.00", "per": "60s", "increments": ["1s"]},
            "message": {"price": "1.00", "per": "1"},
        },
        "balances": main | balances,
    }
    granted = [name for name, rule in balances.items() if "grant" in rule]
    plan = {
        "plan": "p",
        "includes": granted,
        "prices": [{"usage": "voice", "rate": "minute"}, {"usage": "sms", "rate": "message"}],
    }
    platform = Platform.under({"tariff.yaml": json.dumps(tariff), "plan.yaml": json.dumps(plan)})
    platform.enrol([{"subscriber": CALLER, "plan": "p", "opening_micros": 10_000_000}])
    return platform


def sms(seq: int, events: int = 1, days: int = 0) -> Use:
    """A message."""
    return Use(
        seq, "test", f"r{seq}", "sms", CALLER, NOON_US + days * 86_400_000_000, events, called="4930123"
    )


def told(platform: Platform) -> list[tuple[int, str, int]]:
    """Which use told of which threshold of which balance."""
    return [
        (row["seq"], row["balance"], row["threshold"])
        for row in platform.table("alerts").iter_rows(named=True)
    ]


def test_a_mark_that_is_met_exactly_is_told() -> None:
    """All of an allowance used is 100 %, with and without hysteresis."""
    for hysteresis in (0, 5):
        rule = {
            "unit": "events",
            "usage": ["sms"],
            "grant": "10",
            "every": "month",
            "thresholds": [50, 80, 100],
        }
        platform = platform_with(texts=rule | {"hysteresis": hysteresis})
        platform.charge([sms(0, 4), sms(1), sms(2, 3), sms(3, 2)])
        assert told(platform) == [(1, "texts", 50), (2, "texts", 80), (3, "texts", 100)]


def test_one_use_may_cross_several_marks() -> None:
    """Each of them is told."""
    rule = {"unit": "events", "usage": ["sms"], "grant": "10", "every": "month", "thresholds": [50, 80, 100]}
    platform = platform_with(texts=rule)
    platform.charge([sms(0, 10)])
    assert told(platform) == [(0, "texts", 50), (0, "texts", 80), (0, "texts", 100)]


def test_a_new_period_is_told_anew() -> None:
    """Another month has marks of its own."""
    rule = {"unit": "events", "usage": ["sms"], "grant": "10", "every": "month", "thresholds": [50]}
    platform = platform_with(texts=rule)
    platform.charge([sms(0, 6), sms(1, 6, days=20)])
    assert told(platform) == [(0, "texts", 50), (1, "texts", 50)]


def test_low_looks_at_what_is_left() -> None:
    """Of a balance other than the main one nothing but its own value counts, however much it was given."""
    platform = platform_with(bonus={"unit": "money", "low": ["2.00"], "priority": 1})
    platform.open(CALLER, "bonus", 5_000_000)
    platform.charge([sms(0, 3), sms(1)])
    assert told(platform) == [(1, "bonus", 2_000_000)]


def test_the_credit_limit_counts_for_the_main_balance() -> None:
    """Low means that little is left before the limit, not before zero."""
    tariff = {
        "operator": {"name": "Test", "currency": "EUR"},
        "rates": {"message": {"price": "1.00", "per": "1"}},
        "balances": {"main": {"unit": "money", "main": True, "low": ["2.00"]}},
    }
    plan = {"plan": "p", "prices": [{"usage": "sms", "rate": "message"}]}
    platform = Platform.under({"tariff.yaml": json.dumps(tariff), "plan.yaml": json.dumps(plan)})
    platform.enrol([{"subscriber": CALLER, "plan": "p", "credit_micros": 5_000_000, "payment": "postpaid"}])
    platform.charge([sms(0, 3), sms(1)])
    assert told(platform) == [(1, "main", 2_000_000)]


def test_another_tariff_knows_what_was_told() -> None:
    """A tariff with more thresholds in front does not take one balance's marks for another's, nor tell twice."""
    rule = {"unit": "events", "usage": ["sms"], "grant": "10", "every": "month", "thresholds": [50, 80]}
    before = platform_with(texts=rule)
    before.charge([sms(0, 6)])
    assert told(before) == [(0, "texts", 50)]

    register = Register({"p": 1}, {"main": 1, "texts": 2}, {}, {"UTC": 1})
    after = platform_with(
        talk={"unit": "time", "grant": "1m", "every": "day", "thresholds": [50]}, texts=rule
    )
    catalogue, grown = compile_catalogue(after.files, register)
    assert grown.balances["texts"] == 2
    again = Platform(catalogue, accounts=before.accounts, alarmed=before.alarmed)
    again.charge([sms(1), sms(2)])
    assert told(again) == [(2, "texts", 80)]


def test_a_topped_up_balance_is_told_again() -> None:
    """Low money is told, a top-up beyond the hysteresis arms the mark, and the next fall is told again."""
    main = {"main": {"unit": "money", "main": True, "low": ["5.00"], "hysteresis": "1.00"}}
    platform = platform_with(**main)
    platform.charge([sms(0, 6)])
    platform.post(CALLER, "main", 1_500_000, seq=1)
    platform.charge([sms(2)])
    platform.post(CALLER, "main", 3_000_000, seq=3)
    platform.charge([sms(4, 3)])
    assert told(platform) == [(0, "main", 5_000_000), (4, "main", 5_000_000)]
