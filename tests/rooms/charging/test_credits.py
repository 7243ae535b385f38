"""What an incident gives back, by rules that are data; mistakes in them are told all at once."""

from __future__ import annotations

import polars as pl
import pytest

from trunkline.charging.credits import HOUR_US, MINUTE_US, ServiceError, movement_name, parse_rules

RULES = """
tell: {severity: minor, after_minutes: 2, seen_within_hours: 12}
credits:
  power:
    causes: ["*power*"]
    severity: major
    least_minutes: 30
    per_hour: "0.50"
    cap: "3.00"
    booked: by itself
  the rest:
    severity: critical
    least_minutes: 60
    share: 2.5
    fees: {flat: "20.00", payg: 0}
    cap: "0.45"
"""
PLANS = pl.Series(["flat", "payg", "unheard of", None])


def test_rules_are_read() -> None:
    """As they were written; nothing written gives the usual ones, which credit nothing."""
    rules = parse_rules(RULES)
    assert (rules.telling.severity, rules.telling.after_us, rules.telling.within_us) == (
        3,
        2 * MINUTE_US,
        12 * HOUR_US,
    )
    assert [(each.name, each.by_itself) for each in rules.credits] == [("power", True), ("the rest", False)]
    assert parse_rules("").credits == ()


@pytest.mark.parametrize(
    ("cause", "severity", "minutes", "rule", "amounts"),
    [
        ("Mains POWER lost", 2, 30, "power", [250_000] * 4),  # half an hour of 0.50
        ("powerProblem", 1, 61, "power", [508_333] * 4),  # rounded down to micro-units
        ("powerProblem", 1, 60 * 24, "power", [3_000_000] * 4),  # never more than the cap
        ("powerProblem", 2, 29, None, None),  # too short for it, and not bad enough for the other
        ("powerProblem", 3, 90, None, None),  # not bad enough for either
        ("link down", 1, 60, "the rest", [450_000, 0, 0, 0]),  # 2.5 % of 20.00 is 0.50, capped
        ("link down", 1, 59, None, None),
    ],
)  # fmt: skip
def test_the_first_rule_that_fits_counts(
    cause: str, severity: int, minutes: int, rule: str | None, amounts: list[int] | None
) -> None:
    """A table that somebody at the customers' desk could read."""
    found = parse_rules(RULES).credit_for(cause, severity, minutes * MINUTE_US)
    assert (None if found is None else found.name) == rule
    if found is not None:
        assert found.amounts(PLANS, minutes * MINUTE_US) == amounts


def test_every_mistake_is_told() -> None:
    """In one go, each with its place."""
    with pytest.raises(ServiceError) as caught:
        parse_rules(
            "tell: {severity: awful, after_minutes: -1}\n"
            "credits:\n"
            "  a: {per_hour: '1', share: 2, cap: '1'}\n"
            "  b: {per_hour: lots, cap: '-1', booked: never}\n"
            "  c: {causes: power, least_minutes: true, per_hour: '1'}\n"
            "  d: {share: 200, fees: {flat: '0.0000001'}, cap: 1, reason: none}\n"
            "also: 1\n"
        )
    text = str(caught.value)
    for word in (
        "tell: severity", "after_minutes", "a: either per_hour or share", "a: a share needs fees", "b: per_hour",
        "b: cap", "b: booked", "c: causes", "c: least_minutes", "c: cap is missing", "d: share", "d: fees: flat",
        "d: 'reason' is unknown", "'also' is unknown",
    ):  # fmt: skip
        assert word in text, word
    for broken in ("tell: [", "- 1", "credits: 7", "credits: {a: 7}"):
        with pytest.raises(ServiceError):
            parse_rules(broken)


def test_a_credit_is_named_by_incident_and_customer() -> None:
    """The same always, another one for anybody else, and without the number in it."""
    name = movement_name("00aa", 0x5580)
    assert name == movement_name("00aa", 0x5580)
    assert len({name, movement_name("00ab", 0x5580), movement_name("00aa", 0x5590)}) == 3
    assert "5580" not in name
