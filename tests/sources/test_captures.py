"""What real network software wrote, through the real command line: every record accounted for, every amount agreed."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.live.platform import trunkline
from tests.sources.calls import calls_of, second_opinion

ROOT = Path(__file__).parents[2]
TARIFFS = ROOT / "examples" / "tariffs"
CAPTURES = ROOT / "tests" / "data" / "sources"
OUTCOMES = ("received", "rated", "duplicate", "rejected", "held")
ALL = ("--limit", "10000")


def counts(told: dict[str, Any]) -> list[int]:
    """Received, rated, duplicate, rejected, held."""
    return [told[name] for name in OUTCOMES]


def ingested(data: Path, capture: str, mapping: str) -> dict[str, Any]:
    """A capture charged into a data folder by `trunkline ingest`."""
    told: dict[str, Any] = trunkline(
        "ingest", CAPTURES / capture, "--mapping", mapping, "--tariffs", TARIFFS, "--data", data
    )
    return told


def test_every_call_of_the_proxy_is_charged_what_the_second_opinion_says(tmp_path: Path) -> None:
    """6,000 calls, 6,000 amounts: the whole file's money agrees record by record, and again from the raw records."""
    told = ingested(tmp_path, "kamailio/cdr.log.gz", "kamailio_log")
    assert counts(told) == [6000, 6000, 0, 0, 0]
    calls = calls_of(gzip.decompress((CAPTURES / "kamailio/cdr.log.gz").read_bytes()))
    books = second_opinion(calls, TARIFFS)
    expected = {
        v.record_id: (v.units, v.charged_micros, v.allowance_units, v.destination) for v in books.verdicts
    }
    got = {
        row["record_id"]: (row["units"], row["charged_micros"], row["allowance_units"], row["destination"])
        for row in trunkline("usage", "--data", tmp_path, *ALL)
    }
    assert got == expected
    assert told["charged_micros"] == sum(micros for _, micros, _, _ in expected.values())
    books_again = trunkline("reconcile", "--data", tmp_path)
    assert (books_again["records"], books_again["differences"], books_again["difference_micros"]) == (
        6000,
        0,
        0,
    )


def test_a_log_that_is_offered_again_charges_nobody_twice(tmp_path: Path) -> None:
    """The same calls in another of the proxy's formats are the same records."""
    first = ingested(tmp_path, "kamailio/cdr.log.gz", "kamailio_log")
    assert counts(ingested(tmp_path, "kamailio/cdr.log.gz", "kamailio_log")) == [6000, 0, 6000, 0, 0]
    json = ingested(tmp_path, "kamailio/cdr_json.log", "kamailio_json")
    assert (json["received"], json["rated"], json["charged_micros"]) == (1000, 0, 0)
    (line,) = trunkline("status", "--data", tmp_path)["accounting"]
    assert line["charged_micros"] == first["charged_micros"]


def test_calls_agree_with_the_callers_own_clock(tmp_path: Path) -> None:
    """Charged durations are within 5 ms of what SIPp measured for each call."""
    ingested(tmp_path, "kamailio/cdr.log.gz", "kamailio_log")
    charged = {row["record_id"]: row["units"] for row in trunkline("usage", "--data", tmp_path, *ALL)}
    lines = gzip.decompress((CAPTURES / "kamailio/caller.csv.gz").read_bytes()).decode().splitlines()
    seen = 0
    for fields in (line.split(",") for line in lines):
        if fields[-1] and re.fullmatch(r"[\d.]+", fields[-1]):
            answered, hung_up = (
                Decimal(s) * 1000 + Decimal(us) / 1000 for s, us in (fields[5:7], fields[7:9])
            )
            assert abs(charged[fields[0]] - (hung_up - answered)) <= 5, fields
            seen += 1
    assert seen == 4861


# -- data sessions ---


def sessions_of(name: str) -> dict[str, int]:
    """Octets of each subscriber: of each session its highest counters, one packet at a time, in plain Python."""
    highest: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    records = gzip.decompress((CAPTURES / name).read_bytes()).decode().strip().split("\n\n")
    for record in records:
        pairs = (line.strip().split(" = ", 1) for line in record.split("\n")[1:])
        packet = {key: value.strip('"') for key, value in pairs}
        if packet["Acct-Status-Type"] not in ("Start", "Interim-Update", "Stop"):
            continue
        counters = highest[packet["Calling-Station-Id"], packet["Acct-Unique-Session-Id"], began(packet)]
        for at, way in enumerate(("Input", "Output")):
            octets = int(packet.get(f"Acct-{way}-Octets", 0)) + (
                int(packet.get(f"Acct-{way}-Gigawords", 0)) << 32
            )
            counters[at] = max(counters[at], octets)
    totals: dict[str, int] = defaultdict(int)
    for (subscriber, _, _), counters in highest.items():
        totals[subscriber] += sum(counters)
    return totals


def began(packet: dict[str, str]) -> int:
    """When the packet's session began, as seconds of an arbitrary day: a session id may come again for another one."""
    found = re.match(r"(\w+) (\d+) (\d+) (\d+):(\d+):(\d+) UTC", packet["Event-Timestamp"])
    assert found
    _, day, _, hours, minutes, seconds = found.groups()
    happened = ((int(day) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    return happened - int(packet.get("Acct-Session-Time", 0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("freeradius/detail.gz", [3210, 3108, 100, 2, 0]), ("freeradius/detail-crash.gz", [929, 880, 47, 2, 0])],
)
def test_every_octet_of_the_sessions_is_charged_once(tmp_path: Path, name: str, expected: list[int]) -> None:
    """Copies, late interims, a restart that uses ids again, a server that was killed: each octet counts once."""
    told = ingested(tmp_path, name, "freeradius_detail")
    assert counts(told) == expected
    rejects = trunkline("rejects", "list", "--data", tmp_path)
    assert [each["reason"] for each in rejects] == ["not_usage", "not_usage"]
    total = sum(row["units"] for row in trunkline("usage", "--data", tmp_path, *ALL))
    assert total == sum(sessions_of(name).values())
    assert trunkline("reconcile", "--data", tmp_path)["differences"] == 0
    assert counts(ingested(tmp_path, name, "freeradius_detail")) == [expected[0], 0, expected[0] - 2, 2, 0]
