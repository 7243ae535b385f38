"""Mutations of real telemetry: no reader falls over, every record comes out somewhere, and cuts change nothing."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.telemetry.reading import NOW_US, PEER, Read, block, captured, shipped
from tests.rooms.network.telemetry.test_flows import spooled
from tests.rooms.network.telemetry.test_objects import header, line
from tests.rooms.network.telemetry.test_pm_xml import FILE
from tests.rooms.network.telemetry.test_tables import HEAD, row
from trunkline.kernel.envelope import unwrap, wrap_octets, wrap_text
from trunkline.network.telemetry.templates import Templates

SAMPLES: dict[str, bytes] = {
    "cells_csv": HEAD + row("C1", "1", "2", "-3") + row('"C 2"', "1.5e2", "", "-"),
    "pm_xml": FILE + FILE,
    "cells_ndjson": line(
        cell="C1", begin="2026-11-22T07:59:30Z", end="2026-11-22T08:00:00Z", a=1, b={"c": "2.5"}
    )
    * 2,
    "devices": line(device="m", model="smart-meter-1", time="2026-11-22T08:00:00Z", energy_wh=1, battery=50)
    * 2,
    "care_tickets": line(
        ticket="T", opened="2026-11-22T08:00:00Z", cell="C", category="x", msisdn="+447700900123"
    )
    * 2,
    "events_ndjson": line(
        name="C1", time_us=NOW_US, severity=1, event_type="equipmentAlarm", probable_cause="x"
    )
    * 2,
    "ves": line(event={"commonEventHeader": header("fault"), "faultFields": {"eventSeverity": "MAJOR"}})
    + line(
        event={
            "commonEventHeader": header("measurement"),
            "measurementFields": {"measurementInterval": 3, "a": 1},
        }
    ),
    "syslog": b"".join(wrap_text(NOW_US, PEER, one) for one in captured("syslog/*-udp-000[12].bin")),
    "snmp_traps": b"".join(wrap_octets(NOW_US, PEER, one) for one in captured("snmp/trap-00[01][26].bin")),
    "netflow": b"".join(
        wire
        for version in (5, 9, 10)
        for wire in spooled(captured(f"netflow/netflow-v{version}-000[14].bin"))
    ),
    "prometheus": b'# HELP a b\na{device="x",c="d\\n"} 1.5 1795334400000\nb_total 7e3\n',
}
SNIPPETS = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([
        b"\n", b"\r\n", b"\0", b'"', b"\\", b"{", b"}", b"[", b",", b"=", b" ", b"\xff", b"\xef\xbb\xbf", b"9" * 30,
        b"-",
        b"e9", b"1e308", b"null", b"<", b">", b"&", b"]]>", b"<!DOCTYPE", b"<13>", b"@1 ", b"#1 a flood 1 ",
        b"\x30\x84",
        b"\xd8\x00", "\u2028".encode(), b"9999-99-99T99:99:99Z", b"-1", b"NaN", b"Infinity",
    ]),
)  # fmt: skip
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), SNIPPETS), min_size=1, max_size=6)


def edited(octets: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Octets with pieces cut out and put in."""
    for where, cut, put in edits:
        at = int(where * len(octets))
        octets = octets[:at] + put + octets[at + cut :]
    return octets


def places(found: Read) -> set[int]:
    """Offsets at which something was read or set aside."""
    frames = (found.measured, found.events, found.rejected)
    return {offset for frame in frames for offset in frame.get_column("offset").to_list()}


def records(octets: bytes, mapping: str) -> set[int]:
    """Offsets of the lines that are not blank and no heading."""
    offsets, at = set(), 0
    for number, one in enumerate(octets.split(b"\n")):
        heading = mapping == "cells_csv" and number == 0
        if one.strip(b" \t\r\x0b\x0c") and not heading:
            offsets.add(at)
        at += len(one) + 1
    return offsets


@pytest.mark.parametrize("mapping", sorted(set(SAMPLES) - {"pm_xml"}))
@settings(max_examples=60, deadline=None)
@given(edits=EDITS)
def test_every_line_comes_out_somewhere(mapping: str, edits: list[tuple[float, int, bytes]]) -> None:
    """Measured, heard or set aside, at its own place, and nothing falls over."""
    octets = edited(SAMPLES[mapping], edits)
    found = Read(block(octets, mapping), shipped())
    lines = records(octets, mapping)
    if mapping == "cells_csv":  # a vertical tab or form feed alone is a row of one field there
        assert {offset for offset in lines if octets[offset:].split(b"\n")[0].strip()} <= places(found)
    else:
        assert lines == places(found)


@settings(max_examples=80, deadline=None)
@given(edits=EDITS)
def test_every_document_comes_out_somewhere(edits: list[tuple[float, int, bytes]]) -> None:
    """A performance file that is damaged is read as far as it can be, or set aside whole."""
    octets = edited(SAMPLES["pm_xml"], edits)
    found = Read(block(octets, "pm_xml"), shipped())
    assert places(found)
    assert len(found.rejected) + len(found.measured) >= 1


@pytest.mark.parametrize("mapping", sorted(set(SAMPLES) - {"pm_xml", "cells_csv"}))
@settings(max_examples=25, deadline=None)
@given(edits=EDITS, cut=st.floats(0, 1))
def test_cuts_between_lines_change_nothing(
    mapping: str, edits: list[tuple[float, int, bytes]], cut: float
) -> None:
    """One block or two, the rows are the same: a batch may be halved anywhere."""
    octets = edited(SAMPLES[mapping], edits)
    at = octets.find(b"\n", int(cut * len(octets))) + 1
    whole = Read(block(octets, mapping), shipped())
    line_at = 1 + octets.count(b"\n", 0, at)
    parts = [Read(block(octets[:at], mapping), shipped()),
             Read(block(octets[at:], mapping, offset=at, line=line_at), shipped())]  # fmt: skip
    for name in ("measured", "events", "rejected"):
        key = ["offset", "reason", "detail"] if name == "rejected" else ["offset", "identity", "payload"]
        joined = pl.concat([getattr(part, name) for part in parts])
        assert joined.sort(key).equals(getattr(whole, name).sort(key)), name


@settings(max_examples=300, deadline=None)
@given(octets=st.binary(max_size=200), peer=st.sampled_from([PEER, "::1"]))
def test_any_datagram_can_be_spooled_and_read(octets: bytes, peer: str) -> None:
    """An envelope gives back what was put into it, and templates are learnt from anything without harm."""
    Templates().needed(peer, b"\0\x09" + octets)
    Templates().needed(peer, b"\0\x0a" + octets)
    for wire, mapping in (
        (wrap_text(NOW_US, peer, octets), "syslog"), (wrap_octets(NOW_US, peer, octets), "netflow"),
        (wrap_octets(NOW_US, peer, b"\0\x09" + octets, octets), "netflow"),
        (wrap_octets(NOW_US, peer, octets), "snmp_traps"),
        (wrap_octets(NOW_US, peer, b"\0\x0a" + bytes([0, len(octets)]) + octets), "netflow"),
    ):  # fmt: skip
        assert wire.count(b"\n") == 1
        envelope = unwrap(wire[:-1])
        assert envelope is not None
        assert (envelope.received_us, envelope.peer) == (NOW_US, peer)
        assert places(Read(block(wire, mapping), shipped())) == {0}
