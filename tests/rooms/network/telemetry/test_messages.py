"""Syslog and traps as real programs send them: what each message means, whom it speaks of, and when."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rooms.network.telemetry.reading import NOW_US, PEER, captured, read, read_with, shipped
from trunkline.kernel.envelope import wrap_notice, wrap_octets, wrap_text
from trunkline.network.telemetry import syslog
from trunkline.records.network import Severity

LOGGED_US = 1_795_321_760_000_000  # 2026-11-22 04:29:20 UTC, when the captures were made
RECEIVED_US = LOGGED_US + 1_000_000


def messages(pattern: str) -> bytes:
    """Captured datagrams as the listener spools them."""
    return b"".join(wrap_text(RECEIVED_US, PEER, datagram) for datagram in captured(pattern))


def trap(number: int) -> bytes:
    """A captured trap as the listener spools it."""
    (datagram,) = captured(f"snmp/trap-{number:04d}.bin")
    return wrap_octets(RECEIVED_US, PEER, datagram)


def test_logger_is_read_in_both_formats() -> None:
    """The same news in RFC 3164 and RFC 5424 is one alarm, at the second and at the microsecond."""
    found = read(messages("syslog/logger-udp-*.bin"), "syslog")
    down = found.events.filter(probable_cause="linkDown")
    assert (len(found.events), len(down), found.reasons) == (14, 12, [])
    assert down.select("name", "severity", "event_type").unique().rows() == [
        ("vm:ge-0/0/7", 2, "communicationsAlarm")
    ]
    assert down.get_column("alarm_key").n_unique() == 1
    assert down.get_column("time_us").to_list()[:2] == [LOGGED_US, LOGGED_US + 201_100]
    rest = found.events.filter(probable_cause="local0")
    assert rest.select("name", "time_us", "text", "alarm_key").rows() == [
        (PEER, RECEIVED_US, "no time, no host", 0),
        ("vm", LOGGED_US + 229_852, "Zeile mit Umlaut äöü und 漢字", 0),
    ]


def test_rsyslog_is_read_in_both_formats() -> None:
    """A lost neighbour is one alarm of its router, whichever priority it was told with."""
    found = read(messages("syslog/rsyslog-*-udp-*.bin"), "syslog")
    lost = found.events.filter(probable_cause="bgpNeighborDown")
    assert (len(found.events), len(lost), found.reasons) == (14, 12, [])
    assert lost.select("name", "specific_problem").unique().rows() == [("edge1.lab.example", "127.0.0.9")]
    assert set(found.events.filter(specific_problem="smsc").get_column("text")) == {
        'first line#012second line#011tab "quoted" ]'
    }


def test_a_stream_in_lines_is_read_as_a_file() -> None:
    """A log file of RFC 5424 needs no envelope."""
    (stream,) = captured("syslog/rsyslog-5424-tcp-lf-0001.bin")
    found = read(stream, "syslog", received_us=None)
    assert (len(found.events), found.reasons) == (7, [])


def test_what_clears_has_the_key_of_what_was_raised() -> None:
    """Down and up of a port, and of a neighbour, are one alarm's life."""
    lines = [
        b"<187>Nov 22 08:00:00 r1 %LINK-3-UPDOWN: Interface GigabitEthernet0/1, changed state to down",
        b"<189>Nov 22 08:00:05 r1 %LINK-5-UPDOWN: Interface GigabitEthernet0/1, changed state to up",
        b"<133>Nov 22 08:00:06 r1 bgpd[7]: neighbor 10.0.0.1 Down - holdtimer expired",
        b"<133>Nov 22 08:00:09 r1 bgpd[7]: neighbor 10.0.0.1 Up",
    ]
    found = read(b"\n".join(lines), "syslog")
    keys, severities = (
        found.events.get_column("alarm_key").to_list(),
        found.events.get_column("severity").to_list(),
    )
    assert severities == [Severity.MAJOR, Severity.CLEARED] * 2
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert found.events.get_column("name").to_list() == ["r1:GigabitEthernet0/1"] * 2 + ["r1"] * 2


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("SYN flood from 198.51.100.7 detected", "flood"),
        ("possible port scan from 198.51.100.7", "scan"),
        ("signalling storm on MME pool 2", "signallingStorm"),
        ("attach burst from TAC 4711", "simlessAttachBurst"),
        ("512 attach requests without a SIM in 10 s", "simlessAttachBurst"),
        ("SIM-less registration attempts on AMF 3", "simlessAttachBurst"),
        ("registration rejected: illegal UE", "simlessAttachBurst"),
        ("Failed password for root from 198.51.100.7", "authenticationFailure"),
    ],
)
def test_security_is_a_kind_of_its_own(said: str, cause: str) -> None:
    """Scans, floods, storms and bursts of attaches are marked, each by its cause, with X.736's event type."""
    found = read(f"<132>Nov 22 08:00:00 fw1 fw: {said}".encode(), "syslog")
    assert found.events.select("probable_cause", "security", "event_type").rows() == [
        (cause, 1, "securityServiceOrMechanismViolation")
    ]


@pytest.mark.parametrize(
    ("stamp", "received", "expected"),
    [
        ("Dec 31 23:59:59", 1_798_761_600, 1_798_761_599),  # received at the very beginning of 2027
        ("Jan  1 00:00:01", 1_798_761_599, 1_798_761_601),  # the sender is two seconds ahead of us
        ("Feb 29 12:00:00", 1_835_438_400, 1_835_438_400),  # 2028 is a leap year
    ],
)
def test_the_older_format_gets_the_nearest_year(stamp: str, received: int, expected: int) -> None:
    """RFC 3164 has no year; the one that brings the message nearest to its reception is meant."""
    found = read(
        wrap_text(received * 1_000_000, PEER, f"<13>{stamp} h p: m".encode()), "syslog", received_us=None
    )
    assert found.events.get_column("time_us").to_list() == [expected * 1_000_000]


def test_a_clock_ahead_is_not_believed() -> None:
    """An event cannot be later than its reception: more than five minutes ahead it happened when it was received."""
    text = "<13>1 2026-11-22T{} h p - - - m"
    lines = [
        wrap_text(NOW_US, PEER, text.format(at).encode()) for at in ("08:05:30Z", "08:05:32Z", "07:00:31Z")
    ]
    found = read(b"".join(lines), "syslog")
    assert found.events.get_column("time_us").to_list() == [
        NOW_US + 299_000_000,
        NOW_US,
        NOW_US - 3_600_000_000,
    ]


@pytest.mark.parametrize(
    "message",
    [
        b"hello",
        b"<192>Nov 22 08:00:00 h p: m",
        b"<13>",
        b"<13>1 yesterday h p - - - m",
        b"<13>1 - h p - - [a b] m",
        b"\\0",
    ],
)
def test_what_is_no_syslog_is_set_aside(message: bytes) -> None:
    """Garbage is one reject with a reason, and the next message is read."""
    found = read(
        wrap_text(NOW_US, PEER, message) + wrap_text(NOW_US, PEER, b"<13>Nov 22 08:00:00 h p: m"), "syslog"
    )
    assert (found.reasons, len(found.events)) == (["unreadable"], 1)


def test_the_same_octets_are_the_same_event() -> None:
    """A copy that the network made has the identity of the first, so it is told as a duplicate."""
    found = read(messages("syslog/logger-udp-0002.bin") * 2, "syslog")
    assert found.events.select("identity", "check", "payload").n_unique() == 1


def test_every_captured_trap_is_read() -> None:
    """v1, v2c and v3 with each digest and cipher: interfaces go down and up, each an alarm's life."""
    found = read(b"".join(map(trap, range(1, 20))), "snmp_traps")
    assert (len(found.events), found.reasons) == (19, [])
    down = found.events.filter(probable_cause="linkDown")
    expected = [(1, 2), (1, 6), (2, 2), (2, 6), (7, 2), (7, 6), (4096, 2)] + [(5, 2), (5, 2), (5, 6)] + (
        [(6, 2), (6, 6), (6, 2), (6, 2)]
    )  # fmt: skip
    of_v1 = down.get_column("name").str.starts_with("127.0.0.21:")
    assert down.filter(~of_v1).select("name", "severity").rows() == [
        (f"{PEER}:ge-0/0/{port}", severity) for port, severity in expected
    ]
    assert down.filter(of_v1).select("name", "severity").rows() == [
        ("127.0.0.21:ge-0/0/3", 2), ("127.0.0.21:ge-0/0/3", 6)
    ]  # fmt: skip
    assert found.events.get_column("time_us").unique().to_list() == [RECEIVED_US]
    fan = found.events.filter(specific_problem="1.3.6.1.4.1.8072.9999.0.42")
    assert fan.select("text", "alarm_key").rows() == [("fan 2 failed; 18446744073709551615", 0)]
    assert found.events.filter(probable_cause="authenticationFailure").get_column("security").to_list() == [1]


def test_a_trap_must_be_from_whom_it_says() -> None:
    """One flipped octet of an authenticated trap, an unknown user or another community, and it is set aside."""
    for number in (14, 15, 16, 18, 19):
        (octets,) = captured(f"snmp/trap-{number:04d}.bin")
        for at in range(60, len(octets), 7):
            forged = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
            found = read(wrap_octets(RECEIVED_US, PEER, forged), "snmp_traps")
            assert len(found.events) == 0
            assert found.reasons[0] in ("not_authentic", "unreadable")
    (octets,) = captured("snmp/trap-0002.bin")
    other = read(wrap_octets(RECEIVED_US, PEER, octets.replace(b"public", b"secret")), "snmp_traps")
    assert other.reasons == ["not_authentic"]
    (octets,) = captured("snmp/trap-0013.bin")
    unknown = read(wrap_octets(RECEIVED_US, PEER, octets.replace(b"noauth", b"nobody")), "snmp_traps")
    assert unknown.reasons == ["not_authentic"]


def test_a_level_below_the_users_is_refused() -> None:
    """A user with a key cannot be played by a message that says it needs none (RFC 3414 3.2)."""
    (octets,) = captured("snmp/trap-0013.bin")
    played = octets.replace(b"noauth", b"privae")  # six letters of another user's name
    assert read(wrap_octets(RECEIVED_US, PEER, played), "snmp_traps").reasons == ["not_authentic"]
    text = "format: snmp\n"
    assert read_with(trap(14), text).reasons == ["not_authentic"]


def test_traps_and_notices_need_their_envelope() -> None:
    """A trap has no time of its own, so without a reception it has none."""
    octets = trap(2).split(b" ")[-1]
    assert read(octets, "snmp_traps", received_us=None).reasons == ["missing_object"]


def test_what_a_listener_refused_is_told() -> None:
    """A flood is a security event of its sender, a message that was too long is set aside: nothing vanishes."""
    lines = wrap_notice(NOW_US, PEER, "flood", 12_345) + wrap_notice(
        NOW_US, PEER, "oversize", 70_000, b"<13>very"
    )
    for mapping in ("syslog", "snmp_traps", "netflow", "ves", "prometheus"):
        found = read(lines, mapping)
        assert found.events.select("name", "probable_cause", "security", "text").rows() == [
            (PEER, "telemetryFlood", 1, "12345 messages were refused")
        ]
        assert found.reasons == ["too_large"]


def test_a_message_cannot_pretend_to_be_a_notice() -> None:
    """A sender that writes a listener's line is read as any other sender."""
    inside = wrap_notice(NOW_US, "10.0.0.1", "flood", 1)
    found = read(wrap_text(NOW_US, PEER, inside), "syslog")
    assert (len(found.events), found.reasons) == (0, ["unreadable"])


OWN = (
    "(?i)k",
    r"down$",
    r"^a\sb",
    r"a\sb\b",
    "x{2,3}[^ ]",
    r"(?P<port>ge-\d+)|lost",
    r"a[\w.]+z",
    r"it's \d{1,4} %",
)
WORDS = (
    "Interface ge-0/0/7, changed state to down", "neighbor 10.0.0.9 Down", "link up", "flood", "K", "\x1f", "\t", " ",
    "a", "b", "xxx", "down", "lost", "z", "it's 12 %", "ä", ":", "eth0", "carrier lost", "port scan", "\u017f",
)  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=8))
@settings(max_examples=100, deadline=None)
def test_what_is_asked_of_all_at_once_misses_nothing(words: list[str]) -> None:
    """A message in which a rule is found is a suspect: by shipped rules, by own ones, and by those hard to compare."""
    said = "".join(words).strip()
    for match in (
        *[meaning.match for meaning in shipped()["syslog"].meanings],
        *OWN,
        r"(?=a)b|down",
        r"\Adown\Z",
    ):
        mapping = replace(
            shipped()["syslog"], meanings=(replace(shipped()["syslog"].meanings[0], match=match),)
        )
        (suspect,) = syslog.suspects([said], mapping)
        assert suspect or not re.search(match, said), (match, said)


def test_most_messages_are_not_asked_one_by_one() -> None:
    """The shipped rules are all asked at once, and what says nothing is no suspect."""
    said = ["session 4 of user 7 closed after 9 s", "Interface ge-0/0/7, changed state to down"]
    assert syslog.suspects(said, shipped()["syslog"]) == [False, True]
