"""NetFlow and IPFIX of softflowd: sums agree with its own count, and a template may come long before its data."""

from __future__ import annotations

import polars as pl
import pytest

from tests.rooms.network.telemetry.reading import NOW_US, PEER, Read, block, captured, read, shipped
from trunkline.kernel.envelope import wrap_octets
from trunkline.network.telemetry.templates import Templates


def spooled(datagrams: list[bytes], templates: Templates | None = None, peer: str = PEER) -> list[bytes]:
    """Datagrams as the listener spools them, with the templates that they need."""
    templates = Templates() if templates is None else templates
    return [
        wrap_octets(NOW_US, peer, datagram, *filter(None, [templates.needed(peer, datagram)]))
        for datagram in datagrams
    ]


def sums(found: Read) -> dict[str, int]:
    """Whole sums by counter."""
    grouped = found.measured.group_by("counter").agg(pl.col("value_milli").sum())
    return dict(grouped.iter_rows())


# softflowd's own statistics of its v9 run: 93 flows, 676 packets, 4,385,723 + 102,991 octets.
@pytest.mark.parametrize(
    ("version", "flows", "packets", "octets"),
    [(5, 102, 774, 4_544_745), (9, 93, 676, 4_488_714), (10, 92, 683, 4_476_211)],
)
def test_sums_are_the_exporters_own(version: int, flows: int, packets: int, octets: int) -> None:
    """Flows, packets and octets of each version; octets travel as thousands."""
    found = read(b"".join(spooled(captured(f"netflow/netflow-v{version}-*.bin"))), "netflow")
    assert found.reasons == []
    told = sums(found)
    assert (told["IF.Flows"], told["IF.FlowPackets"], told["IF.FlowOctets"]) == (
        flows * 1000,
        packets * 1000,
        octets,
    )
    assert found.measured.get_column("name").unique().to_list() == [f"{PEER}:0"]
    assert found.measured.select("counter", "end_us").is_unique().all()


@pytest.mark.parametrize("version", [9, 10])
def test_each_datagram_can_be_read_by_itself(version: int) -> None:
    """Whichever way the spool is cut and in whichever order it is read, the rows are the same."""
    lines = spooled(captured(f"netflow/netflow-v{version}-*.bin"))
    whole = read(b"".join(lines), "netflow").measured.drop("file", "line", "offset").sort("identity")
    parts = [Read(block(line, "netflow"), shipped()).measured for line in reversed(lines)]
    assert pl.concat(parts).drop("file", "line", "offset").sort("identity").equals(whole)


@pytest.mark.parametrize("version", [9, 10])
def test_data_before_their_template_are_set_aside(version: int) -> None:
    """They are told, not guessed; and another exporter's template is none."""
    first, *rest = captured(f"netflow/netflow-v{version}-*.bin")
    templates = Templates()
    templates.needed("127.0.0.6", first)
    found = read(b"".join(spooled(rest, templates)), "netflow")
    assert (len(found.measured), found.reasons) == (0, ["unknown_template"] * 3)


@pytest.mark.parametrize("version", [9, 10])
def test_templates_survive_a_restart(version: int) -> None:
    """What the listener wrote down is what it knew."""
    first, *rest = captured(f"netflow/netflow-v{version}-*.bin")
    templates = Templates()
    templates.needed(PEER, first)
    assert templates.changes > 0
    again = Templates.read(templates.written())
    assert again.changes == 0
    assert spooled(rest, again) == spooled(rest, templates)


def test_templates_are_bounded() -> None:
    """Somebody who sends templates without end forgets his own, and memory stays as it is."""
    templates = Templates(most=8)
    (first, *_) = captured("netflow/netflow-v9-0001.bin")
    for number in range(100):
        templates.needed(f"127.0.1.{number}", first)
    assert len(templates.written().splitlines()) == 8


def test_variable_lengths_and_private_fields_are_read() -> None:
    """IPFIX may send texts of any length and fields of its own among those we want (RFC 7011 3.2, 7)."""
    template = bytes.fromhex("0100 0004 0001 0004 0052 ffff 8001 0004 00001234 000a 0004")
    data = b"".join(
        octets.to_bytes(4, "big") + name + b"\1\2\3\4" + interface.to_bytes(4, "big")
        for octets, name, interface in ((7, b"\5uplnk", 1), (9, b"\xff\0\7uplnk-2", 2), (11, b"\0", 1))
    )
    sets = b"\0\2" + (4 + len(template)).to_bytes(2, "big") + template
    sets += b"\1\0" + (4 + len(data)).to_bytes(2, "big") + data
    head = (
        b"\0\x0a" + (16 + len(sets)).to_bytes(2, "big") + (NOW_US // 1_000_000).to_bytes(4, "big") + bytes(8)
    )
    found = read(b"".join(spooled([head + sets])), "netflow")
    assert found.reasons == []
    octets = {key: value for key, value in found.values().items() if key[1] == "IF.FlowOctets"}
    assert octets == {(f"{PEER}:1", "IF.FlowOctets"): 18, (f"{PEER}:2", "IF.FlowOctets"): 9}


def test_what_is_no_datagram_is_set_aside() -> None:
    """Cut short, of another version, or not even base64."""
    (datagram, *_) = captured("netflow/netflow-v5-0001.bin")
    lines = spooled([datagram[:100], b"\0\7" + datagram[2:], b""]) + [b"@1 127.0.0.1 %%%\n"]
    assert read(b"".join(lines), "netflow").reasons == ["unreadable"] * 4
