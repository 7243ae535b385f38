"""Who is told by which channel, and when: quiet hours by the clock on the wall, choices, pauses between attempts."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.charging.choices import ChoiceError, parse_choice, read_choices
from trunkline.charging.delivery import (
    HELD,
    KINDS,
    OPTED_OUT,
    TOO_OLD,
    WAITING,
    Choice,
    Quiet,
    Usual,
    Verdict,
    judge,
    parse_quiet,
    pause_us,
    quiet_until_us,
    severity,
    ways,
)
from trunkline.kernel.dial import to_key

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
SPRING_US = 1_774_659_600_000_000  # 2026-03-28 01:00 UTC; clocks in Berlin jump a day later
AUTUMN_US = 1_792_803_600_000_000  # 2026-10-24 01:00 UTC; clocks in Berlin go back a day later
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
ALERT = {"kind": "allowance", "threshold": 80, "time_us": SPRING_US}


def minutes_of_day(moments_us: range, zone: str) -> list[int]:
    """What the clock on the wall shows, by Polars instead of Python's own."""
    moments = pl.Series(moments_us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return (moments.dt.hour().cast(pl.Int32) * 60 + moments.dt.minute().cast(pl.Int32)).to_list()


@given(
    quiet=st.builds(Quiet, st.integers(0, 1439), st.integers(0, 1439)),
    zone=st.sampled_from(ZONES),
    start=st.sampled_from([SPRING_US, AUTUMN_US, 1_771_200_000_000_000]),
    offset_us=st.integers(0, 3 * DAY_US),
)
def test_quiet_ends_at_the_first_minute_that_is_not(
    quiet: Quiet, zone: str, start: int, offset_us: int
) -> None:
    """Over nights with an hour twice or an hour missing: until the answer it is quiet, and at the answer it is not."""
    now_us = start + offset_us
    until_us = quiet_until_us(quiet, zone, now_us)
    assert 0 <= until_us - now_us <= 2 * DAY_US
    first = now_us // MINUTE_US * MINUTE_US
    shown = minutes_of_day(range(first, until_us + 1, MINUTE_US), zone)
    span = range(quiet.from_min, quiet.until_min + (1440 if quiet.until_min < quiet.from_min else 0))
    is_quiet = [minute in span or minute + 1440 in span for minute in shown]
    assert not is_quiet[-1]
    assert all(is_quiet[:-1])


@pytest.mark.parametrize(
    ("now", "zone", "quiet", "until"),
    [
        ("2026-03-28 23:30", "Europe/Berlin", "22:00-07:00", "2026-03-29 05:00"),  # an hour is missing
        ("2026-03-29 00:45", "Europe/Berlin", "01:00-02:30", "2026-03-29 01:00"),  # 02:30 is missing
        ("2026-10-24 21:00", "Europe/Berlin", "22:00-07:00", "2026-10-25 06:00"),  # an hour is there twice
        ("2026-10-25 00:15", "Europe/Berlin", "01:00-02:30", "2026-10-25 00:30"),  # the first 02:30
        ("2026-10-25 01:10", "Europe/Berlin", "01:00-02:30", "2026-10-25 01:30"),  # the second
        ("2026-07-01 12:00", "Europe/Berlin", "22:00-07:00", "2026-07-01 12:00"),
        ("2026-07-01 12:00", "Asia/Kathmandu", "17:45-18:00", "2026-07-01 12:15"),
        ("2026-07-01 12:00", "Europe/Berlin", "none", "2026-07-01 12:00"),
    ],
)
def test_quiet_hours_by_example(now: str, zone: str, quiet: str, until: str) -> None:
    """As a person would say it with a calendar at hand."""
    moments = (
        pl.Series([now, until]).str.to_datetime("%Y-%m-%d %H:%M", time_unit="us").cast(pl.Int64).to_list()
    )
    assert quiet_until_us(parse_quiet(quiet), zone, moments[0]) == moments[1]


TWO_KINDS = frozenset({"allowance", "spend_cap"})
NIGHT_US = AUTUMN_US  # 03:00 in Berlin
USUAL = Usual(("webhook",), quiet=Quiet(22 * 60, 7 * 60), urgent=frozenset({"spend_cap"}), oldest_us=DAY_US)


@pytest.mark.parametrize(
    ("kind", "threshold", "age_us", "choice", "state"),
    [
        ("allowance", 80, 0, Choice("webhook"), HELD),
        ("allowance", 80, 0, Choice("webhook", quiet=Quiet()), WAITING),
        ("allowance", 80, 0, Choice("webhook", time_zone="America/New_York"), WAITING),
        ("spend_cap", 100, 0, Choice("webhook"), WAITING),
        ("spend_cap", 80, 0, Choice("webhook"), HELD),
        ("low_balance", 0, 0, Choice("webhook"), HELD),
        ("spend_cap", 100, 0, Choice("webhook", opted_out=frozenset({"spend_cap"})), OPTED_OUT),
        ("allowance", 80, 0, Choice("webhook", opted_out=frozenset({"all"})), OPTED_OUT),
        ("allowance", 80, DAY_US + 1, Choice("webhook"), TOO_OLD),
        ("allowance", 80, DAY_US, Choice("webhook"), HELD),
    ],
)
def test_what_is_done_with_an_alert(
    kind: str, threshold: int, age_us: int, choice: Choice, state: str
) -> None:
    """At three in the night: what the customer chose, else what is usual; what blocks is told at any hour."""
    alert = {"kind": kind, "threshold": threshold, "time_us": NIGHT_US - age_us}
    verdict = judge(alert, choice, USUAL, "Europe/Berlin", NIGHT_US)
    assert verdict == Verdict(state, NIGHT_US + (4 * HOUR_US if state == HELD else 0))


def test_who_chose_nothing_is_told_by_the_usual_channels() -> None:
    """And who chose is told by what was chosen only."""
    assert [choice.channel for choice in ways([], USUAL)] == ["webhook"]
    assert ways([Choice("email", "a@example.org")], USUAL) == [Choice("email", "a@example.org")]
    assert ways([], Usual()) == []


@given(st.text(min_size=1), st.integers(1, 40))
def test_pauses_double_up_to_an_hour(key: str, attempts: int) -> None:
    """Between a half and the whole of 2 s doubled each time; the same name waits the same time."""
    whole = min(HOUR_US, 2_000_000 * 2 ** (attempts - 1))
    assert whole // 2 <= pause_us(key, attempts) <= whole
    assert pause_us(key, attempts) == pause_us(key, attempts)


def test_deliveries_do_not_come_again_together() -> None:
    """A thousand that failed together are spread over the time between."""
    pauses = {pause_us(f"{number:032x}.sms", 5) for number in range(1000)}
    assert len(pauses) > 500
    assert max(pauses) - min(pauses) > 14_000_000


def test_severities() -> None:
    """Reaching a cap and having nothing left are critical; every kind has one."""
    assert severity("low_balance", 0) == severity("spend_cap", 100) == "critical"
    assert severity("low_balance", 1) == severity("allowance", 80) == "warning"
    assert {severity(kind, 1) for kind in KINDS} <= {"info", "warning", "critical"}


# -- choices ---------------------------------------------------------------------------------------------------


def test_choices_of_a_file() -> None:
    """Columns in any order, a sign before the number, and empty fields for what the operator has."""
    content = (
        "channel,subscriber,address,quiet_hours,opted_out\n"
        'email,+4915112345678,a@example.org,22:00-07:00,"allowance spend_cap"\nsms,4915112345678,,none,\n'
    )
    word = to_key("4915112345678")
    assert read_choices("c.csv", content.encode()) == [
        (word, Choice("email", "a@example.org", quiet=Quiet(1320, 420), opted_out=TWO_KINDS)),
        (word, Choice("sms", quiet=Quiet())),
    ]


def test_mistakes_of_a_file_are_told_with_lines_and_without_addresses() -> None:
    """All of them at once, and nobody's number or mailbox in them."""
    content = (
        "subscriber,channel,address,language,time_zone,quiet_hours,opted_out\n"
        "4915112345678,fax,,,,,\n"
        "4915112345678,email,secret at home,,,,\n"
        "nobody,sms,,english,Mars/Olympus,25:00-07:00,weather\n"
        "4915112345678,sms,,,,,\n"
        "4915112345678,sms,,,,,\n"
    )
    with pytest.raises(ChoiceError) as caught:
        read_choices("c.csv", content.encode())
    lines = str(caught.value).split("\n")
    assert [line.split(": ")[0] for line in lines] == ["c.csv:2", "c.csv:3", "c.csv:4", "c.csv:6"]
    assert "secret" not in str(caught.value)
    assert "4915112345678" not in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("email", ""), ("email", "a@b@example.org"), ("email", "a\r\nBcc: b@example.org"), ("email", "@example.org"),
        ("webhook", "ftp://example.org/"), ("webhook", "https://"), ("webhook", "https://example.org/ x"),
        ("webhook", "https://user:pass@example.org/"), ("sms", "nobody"), ("sms", "+49-151"), ("email", "a" * 400),
        ("pigeon", "home"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(channel: str, address: str) -> None:
    """What cannot be an address is refused when it is chosen, not when it is needed."""
    with pytest.raises(ChoiceError):
        parse_choice({"channel": channel, "address": address})
