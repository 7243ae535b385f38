"""Borders inside and between uses, as a table: where a stretch ends it is rounded, where nothing changes it is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.charging_room import Platform
from tests.opinion.pricing import Use

CALLER = "447700900001"
SCHEDULES = {
    "office": [
        {"band": "peak", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "19:00"},
        {"band": "off_peak"},
    ]
}
CENTS_UP = {"decimals": 2, "mode": "up"}


def at(text: str) -> int:
    """Microseconds since 1970 of a moment in UTC."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
        microseconds=1
    )


def charged(rates: dict[str, Any], prices: list[dict[str, Any]], uses: list[Use], **shared: Any) -> list[int]:
    """Money taken for each use under a small tariff."""
    tariff: dict[str, Any] = {
        "operator": {"name": "Test", "currency": "EUR", "time_zone": shared.pop("time_zone", "UTC")},
        "destinations": {"germany": {"prefixes": ["49"]}},
        "schedules": SCHEDULES,
        "rates": rates,
        "balances": {"main": {"unit": "money", "main": True}} | shared.pop("balances", {}),
    } | {key: value for key, value in shared.items() if key == "counters"}
    plan = {
        "plan": "p",
        "prices": prices,
        "includes": shared.get("includes", []),
        "counters": list(shared.get("counters", {})),
    }
    files = {"tariff.yaml": json.dumps(tariff), "plan.yaml": json.dumps(plan)}
    files |= {f"{extra['plan']}.yaml": json.dumps(extra) for extra in shared.get("plans", [])}
    platform = Platform.under(files)
    platform.enrol([{"subscriber": CALLER, "plan": "p"}])
    platform.charge(uses)
    assert platform.table("rejected").is_empty()
    return platform.table("charged").sort("seq")["charged_micros"].to_list()


def call(start: str, seconds: float, seq: int = 0) -> Use:
    """A call to Germany."""
    return Use(seq, "test", f"r{seq}", "voice", CALLER, at(start), round(seconds * 1000), called="4930123")


@pytest.mark.parametrize(
    ("start", "seconds", "micros", "why"),
    [
        ("2026-11-21T12:00:00", 59, 10_000, "one stretch is rounded once: 0.00983.. up to 0.01"),
        ("2026-11-21T23:59:30", 59, 10_000, "midnight within one band (a weekend) is no border"),
        ("2026-03-29T00:59:30", 59, 10_000, "nor is the moment at which clocks change"),
        (
            "2026-11-20T07:59:30",
            59,
            20_000,
            "08:00 on a Friday is: 30 s and 29 s are rounded up by themselves",
        ),
        (
            "2026-11-20T07:59:59.999500",
            0.001,
            10_000,
            "an increment that has begun before the border ends the use",
        ),
    ],
)
def test_stretches_are_rounded_once(start: str, seconds: float, micros: int, why: str) -> None:
    """A stretch ends where the band changes and nowhere else."""
    rates = {
        "cheap": {"price": "0.01", "per": "60s", "increments": ["1s"], "rounding": CENTS_UP},
        "dear": {"price": "0.02", "per": "60s", "increments": ["1s"], "rounding": CENTS_UP},
    }
    prices = [{"usage": "voice", "schedule": "office", "rate": {"peak": "dear", "off_peak": "cheap"}}]
    assert charged(rates, prices, [call(start, seconds)], time_zone="Europe/London") == [micros], why


def test_a_priced_allowance_moves_through_tiers() -> None:
    """What an allowance covers at another plan's price is priced by that plan's tiers, wherever its counter stands."""
    tiers = [{"from": "0s", "price": "0.60", "per": "60s"}, {"from": "60s", "price": "0.06", "per": "60s"}]
    for tier in tiers:
        tier["increments"] = ["1s"]  # type: ignore[assignment]
    taken = charged(
        {
            "flat": {"price": "1.00", "per": "60s", "increments": ["1s"]},
            "tiered": {"counter": "talk", "tiers": tiers},
        },
        [{"usage": "voice", "rate": "flat"}],
        [call("2026-11-21T12:00:00", 60, 0), call("2026-11-21T13:00:00", 60, 1)],
        balances={"minutes": {"unit": "time", "grant": "10m", "every": "month", "rated_by": "discount"}},
        counters={"talk": {"unit": "time", "every": "month"}},
        includes=["minutes"],
        plans=[
            {"plan": "discount", "prices": [{"usage": "voice", "rate": "tiered"}]},
        ],
    )
    assert taken == [600_000, 60_000]


def test_nothing_used_costs_nothing() -> None:
    """Zero units are accounted for and cost nothing, even when the record brings a price."""
    rates = {"own": {"price": "record"}, "minute": {"price": "1.00", "per": "60s", "connect_fee": "0.50"}}
    prices = [{"usage": "content", "rate": "own"}, {"usage": "voice", "rate": "minute", "min_charge": "0.20"}]
    bought = [
        Use(
            seq,
            "test",
            f"r{seq}",
            "content",
            CALLER,
            at("2026-11-21T12:00:00"),
            events,
            amount_micros=990_000,
        )
        for seq, events in enumerate((0, 1))
    ]
    assert charged(rates, prices, [*bought, call("2026-11-21T12:00:00", 0, 2)]) == [0, 990_000, 0]


@pytest.mark.parametrize("zone", ["America/Santiago", "America/Havana", "Africa/Cairo", "Europe/London"])
def test_a_day_without_midnight_is_granted_once(zone: str) -> None:
    """Where clocks skip midnight, the evening before and the morning after are still two days, each with one grant."""
    minutes = {"unit": "time", "grant": "1m", "every": "day"}
    skips = {
        "America/Santiago": "2026-09-06T04:00:00",
        "America/Havana": "2026-03-08T05:00:00",
        "Africa/Cairo": "2026-04-23T22:00:00",
        "Europe/London": "2026-03-29T00:00:00",
    }
    midnight = datetime.fromisoformat(skips[zone])
    starts = [midnight + timedelta(minutes=offset) for offset in (-100, -40, -1, 0, 10, 70)]
    taken = charged(
        {"flat": {"price": "1.00", "per": "60s", "increments": ["1s"]}},
        [{"usage": "voice", "rate": "flat"}],
        [call(start.isoformat(), 30, seq) for seq, start in enumerate(starts)],
        balances={"minutes": minutes},
        includes=["minutes"],
        time_zone=zone,
    )
    assert taken == [0, 0, 500_000, 0, 0, 500_000]


def test_a_huge_allowance_of_a_fine_factor_covers_what_it_should() -> None:
    """A century of minutes at a factor of six decimals does not fit 64 bits in between; it covers all the same."""
    balances = {
        "century": {
            "unit": "time", "grant": "52560000m", "every": "month", "usage": ["voice"],
            "to": ["germany"], "factor": "0.999999",
        }
    }  # fmt: skip
    rates = {"minutes": {"price": "0.10", "per": "60s", "increments": ["1s"]}}
    prices = [{"usage": "voice", "to": "any", "rate": "minutes"}]
    assert charged(
        rates, prices, [call("2026-11-20T12:00:00", 60)], balances=balances, includes=["century"]
    ) == [0]
