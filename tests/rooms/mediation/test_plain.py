"""What is converted chunk by chunk is what the rules would have made of it column by column."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from tests.rooms.mediation.reading import NOW_US, capture, read, shipped
from trunkline.mediation import columns, plain
from trunkline.mediation.mapping import Mapping, Moment

TYPES = ["voice", "sms", "data", "iot", "content", "video", ""]
NUMBERS = ["447700900001", "+44 7700 900001", "00447700900001", "alice", "sip:+4477@x", "", "9" * 17, None]
TIMES = ["2026-11-21T08:15:30.250Z", "2026-11-21T08:15:30", "2026-02-30T00:00:00Z", "yesterday", "", None]
COUNTS = [0, 1, 61_000, -1, 2**61, 1.5, "12", "x", "", None]
TEXTS = ["C0012", "C0013", "Zürich \\ Nord", "", None]


def lines(seed: int, count: int) -> bytes:
    """Records of which many have faults, so that every status of every job occurs."""
    chance = random.Random(seed)
    choices: dict[str, list[Any]] = {
        "type": TYPES, "subscriber": NUMBERS, "calling": NUMBERS, "called": NUMBERS, "start": TIMES,
        "start_us": [1_795_000_000_000_000, "1795", None], "duration_ms": COUNTS, "octets_up": COUNTS,
        "octets_down": COUNTS, "events": COUNTS, "amount": ["0.25", "1.2345678", *COUNTS], "currency": ["EUR", None],
        "visited_plmn": [26201, 310410, 7, None], "cell": TEXTS, "service": TEXTS, "snssai": ["1-000001", "x", None],
        "five_qi": [9, 300, None], "report": ["start", "stop", "end", None], "session": ["s1", None],
        "direction": ["originating", "terminating", "up", None], "cause": TEXTS,
    }  # fmt: skip
    plain_call = {
        "id": "", "type": "voice", "subscriber": "447700900001", "start": TIMES[0], "duration_ms": 1, "cell": "C1",
    }  # fmt: skip
    records = []
    for number in range(count):
        changes = {name: chance.choice(values) for name, values in choices.items() if chance.random() < 0.15}
        record = {**plain_call, **changes, "id": f"r{number}"}
        records.append(json.dumps({name: value for name, value in record.items() if value is not None}))
    return "\n".join(records).encode() + b"\n"


def column_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be plain."""
    monkeypatch.setattr(columns, "jobs_of", lambda mapping: plain.Jobs([], columns.numbers_of(mapping)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_chunks_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage and rejects with their reasons are the same to the letter, over several chunks."""
    data = lines(seed, 2 * plain.CHUNK + 77)
    usage, rejected = read("trunkline", data)
    column_by_column(monkeypatch)
    usage_then, rejected_then = read("trunkline", data)
    assert len(usage) > plain.CHUNK // 2
    assert rejected["reason"].n_unique() > 5
    assert usage.equals(usage_then)
    assert rejected.equals(rejected_then)


@pytest.mark.parametrize(
    ("mapping", "name"),
    [
        ("kamailio_log", "kamailio/cdr.log"),
        ("kamailio_json", "kamailio/cdr_json.log"),
        ("kamailio_db_csv", "kamailio/acc_cdrs.csv"),
        ("freeradius_json", "freeradius/acct.jsonl"),
        ("freeradius_detail", "freeradius/detail"),
    ],
)
def test_captures_are_read_the_same(mapping: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mappings with other formats, fallbacks, gigawords and templates lose nothing by it either."""
    data = capture(name)
    usage, rejected = read(mapping, data)
    column_by_column(monkeypatch)
    usage_then, rejected_then = read(mapping, data)
    assert usage.equals(usage_then)
    assert rejected.equals(rejected_then)


def test_more_names_than_the_table_holds() -> None:
    """A batch in which nearly every cell is another one falls back to a table that grows."""
    count = plain.NAME_SLOTS
    data = b"".join(
        b'{"id":"r%d","type":"sms","subscriber":"447700900001","start":"2026-11-21T08:15:30Z","cell":"C%d"}\n'
        % (number, number)
        for number in range(count)
    )
    usage, rejected = read("trunkline", data)
    assert len(rejected) == 0
    assert usage["cell"].cast(str).to_list() == [f"C{number}" for number in range(count)]


def test_times_without_a_zone_are_read_in_the_mapping_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """One time without a zone among many with one is enough for another look at all."""
    known = shipped()["trunkline"]
    berlin = _in_zone(known, "Europe/Berlin")
    monkeypatch.setitem(shipped(), "trunkline", berlin)
    call = b'{"id":"%d","type":"sms","subscriber":"447700900001","start":"2026-11-21T08:15:30%s"}\n'
    usage, _ = read("trunkline", call % (1, b"Z") + call % (2, b""), received_us=NOW_US)
    first, second = usage["start_us"].to_list()
    assert first - second == 3_600_000_000


def _in_zone(mapping: Mapping, zone: str) -> Mapping:
    rules = tuple(
        replace(rule, moment=replace(rule.moment or Moment("iso8601"), zone=zone))
        for rule in mapping.columns["start"]
    )
    return replace(mapping, columns={**mapping.columns, "start": rules})
