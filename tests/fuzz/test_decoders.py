"""Mutations of real input: a decoder never falls over, and every record comes out somewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.mediation.reading import Mediation, capture, read

OWN = (
    b'{"id":"a-1","type":"voice","subscriber":"447700900001","called":"+4930123456","start":"2026-11-21T08:15:30.250Z",'
    b'"duration_ms":61000,"cell":"C0012","cause":"normal"}\n'
    b'{"id":"a-2","type":"data","subscriber":"447700900002","start":"2026-11-21T09:15:30+01:00","octets_up":10,'
    b'"octets_down":50,"snssai":"1-000001","session":"s","report":"stop","session_start":"2026-11-21T08:00:00Z"}\n'
    b'{"id":"a-3","type":"content","subscriber":"447700900003","start_us":1795219215000000,"amount":"1.99","currency":"EUR"}\n'
)
EVENT = b'{"specversion":"1.0","id":"e","source":"/x","data":{"type":"sms","subscriber":"447700900001","start":"2026-11-21T08:15:30Z"}}\n'  # noqa: E501 -- as it is written
TABLE = b'"","447700900001","0303","c","Ann","SIP/1","SIP/2","Dial","","2026-11-21 08:15:28","","2026-11-21 08:16:31",63,61,"ANSWERED","D","1.7",""\n'  # noqa: E501 -- as it is written


def samples() -> dict[str, bytes]:
    """A few records of each mapping."""
    heading, *rows = capture("kamailio/acc_cdrs.csv").splitlines(keepends=True)[:5]
    return {
        "trunkline": OWN,
        "cloudevents": EVENT * 3,
        "asterisk_csv": TABLE * 3,
        "trunkline_csv": b"id,type,subscriber,start\na,sms,447700900001,2026-11-21T08:15:30Z\n"
        b"b,sms,447700900001,x\n",
        "kamailio_log": b"".join(capture("kamailio/cdr.log").splitlines(keepends=True)[:4]),
        "kamailio_json": b"".join(capture("kamailio/cdr_json.log").splitlines(keepends=True)[:4]),
        "kamailio_db_csv": heading + b"".join(rows),
        "freeradius_detail": b"\n\n".join(capture("freeradius/detail").split(b"\n\n")[200:204]) + b"\n\n",
        "freeradius_json": b"".join(capture("freeradius/acct.jsonl").splitlines(keepends=True)[200:204]),
    }


SAMPLES = samples()
SNIPPETS = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"\n",
            b"\n\n",
            b"\0",
            b'"',
            b"\\",
            b"{",
            b"}",
            b",",
            b"; ",
            b" = ",
            b"\xff",
            b"\xef\xbb\xbf",
            b"9" * 400,
            b"-",
            b"e9",
        ]
    ),
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), SNIPPETS), max_size=6)


def changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Cut out and put in."""
    for place, cut, snippet in changes:
        at = int(place * len(data))
        data = data[:at] + snippet + data[at + cut :]
    return data


def records(mapping: str, data: bytes) -> int:
    """How many records there are, counted in another way."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if mapping == "freeradius_detail":
        return len(
            [1 for block in re.split(rb"\n(?:[ \t\r]*\n)+|^(?:[ \t\r]*\n)+", data) if block.strip(b" \t\r\n")]
        )
    lines = [line for line in data.split(b"\n") if line.strip(b" \t\r")]
    return max(len(lines) - (mapping in ("trunkline_csv", "kamailio_db_csv")), 0)


@pytest.mark.parametrize("mapping", SAMPLES)
@given(changes=CHANGES)
@settings(max_examples=60)
def test_mutations(mapping: str, changes: list[tuple[float, int, bytes]]) -> None:
    """Cut, doubled and foreign octets in real records."""
    data = changed(SAMPLES[mapping], changes)
    usage, rejected = read(mapping, data)
    assert len(usage) + len(rejected) == records(mapping, data)
    for offset, length in rejected.select("offset", "length").iter_rows():
        assert data[offset : offset + length].strip()
    outcome = Mediation().unique(usage)
    assert sum(map(len, outcome.rows)) == len(usage)
    assert len(Mediation().metered(outcome.rows[0])) == len(outcome.rows[0])


@pytest.mark.parametrize("mapping", SAMPLES)
@given(data=st.binary(max_size=200))
@settings(max_examples=30)
def test_anything(mapping: str, data: bytes) -> None:
    """Octets without any sense."""
    usage, rejected = read(mapping, data)
    assert len(usage) + len(rejected) == records(mapping, data)
