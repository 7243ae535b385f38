"""Own records, tables and envelopes: what each column becomes, and for which reason a record is set aside."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from tests.rooms.mediation.reading import NOW_US, blocks, read, shipped
from trunkline.kernel.dial import to_key, to_text
from trunkline.mediation.decode import decode
from trunkline.records.usage import DECODED, REASONS, REJECTED, Direction, Kind, Report

CALL = {
    "id": "d0-000001",
    "type": "voice",
    "subscriber": "447700900001",
    "direction": "originating",
    "calling": "447700900001",
    "called": "493012345678",
    "start": "2026-11-21T08:15:30.250Z",
    "duration_ms": 61000,
    "cell": "C0012",
    "cause": "normal",
}


def one(**changes: object) -> bytes:
    """The call as a line, with some fields changed; None leaves a field out."""
    return (
        json.dumps({key: value for key, value in (CALL | changes).items() if value is not None}).encode()
        + b"\n"
    )


def usage_of(line: bytes) -> dict[str, Any]:
    usage, rejected = read("trunkline", line)
    assert rejected["detail"].to_list() == []
    return usage.row(0, named=True)


def reason_of(line: bytes, **clocks: int | None) -> str:
    usage, rejected = read("trunkline", line, **clocks)
    assert len(usage) == 0
    return str(rejected["reason"][0])


def test_a_call() -> None:
    """Every column of a plain call."""
    row = usage_of(one())
    assert row["kind"] == Kind.VOICE
    assert row["direction"] == Direction.ORIGINATING
    assert row["report"] == Report.NONE
    assert to_text(row["subscriber"]) == "447700900001"
    assert to_text(row["called"]) == "493012345678"
    assert row["start_us"] == 1_795_248_930_250_000
    assert row["duration_ms"] == 61_000
    assert (row["source"], row["record_id"], row["cell"], row["cause"]) == (
        "trunkline",
        "d0-000001",
        "C0012",
        "normal",
    )
    assert row["session"] is None
    assert row["session_start_us"] is None
    assert row["session_key"] == 0


def test_data_in_a_slice_abroad() -> None:
    """Volumes, slice, 5QI, network and service of a data record."""
    row = usage_of(
        one(
            type="data",
            duration_ms=None,
            octets_up=10,
            octets_down=5_000_000_000,
            snssai="1-00000a",
            five_qi=9,
            visited_plmn="26201",
            service="internet",
        )
    )
    assert row["kind"] == Kind.DATA
    assert (row["octets_up"], row["octets_down"]) == (10, 5_000_000_000)
    assert row["slice"] == 1 << 24 | 10
    assert row["five_qi"] == 9
    assert row["visited_plmn"] == 26201
    assert row["service"] == "internet"


@pytest.mark.parametrize(
    ("written", "number"), [("1", 1 << 24), ("01000001", 1 << 24 | 1), ("128-FFFFFF", 128 << 24 | 0xFFFFFF)]
)
def test_slices(written: str, number: int) -> None:
    """The three ways of writing an S-NSSAI."""
    assert usage_of(one(snssai=written))["slice"] == number


def test_content_brings_its_price() -> None:
    """A purchase's price becomes micro-units."""
    row = usage_of(one(type="content", amount="1.99", currency="EUR", duration_ms=None))
    assert (row["amount_micros"], row["currency"], row["events"]) == (1_990_000, "EUR", 1)


def test_events_count_one_unless_said() -> None:
    """A message is one event; a call is none."""
    assert usage_of(one(type="sms", duration_ms=None))["events"] == 1
    assert usage_of(one(type="iot", duration_ms=None, events=7))["events"] == 7
    assert usage_of(one())["events"] == 0


def test_numbers_and_text_are_read_alike() -> None:
    """A number may be written as a JSON number or as text."""
    assert (
        usage_of(one(duration_ms="61000", subscriber=447700900001))["payload"] == usage_of(one())["payload"]
    )


@pytest.mark.parametrize(
    "written",
    [
        "+447700900001",
        "00447700900001",
        "447700900001",
        "sip:+447700900001@x.example;user=phone",
        "tel:+44-7700-900001",
    ],
)
def test_forms_of_a_number(written: str) -> None:
    """Every written form of one number is the same subscriber."""
    assert to_text(usage_of(one(subscriber=written))["subscriber"]) == "447700900001"


@pytest.mark.parametrize("written", ["112", "*100#", "999"])
def test_short_numbers_stay(written: str) -> None:
    """Emergency and service numbers are not taken for anything else."""
    assert to_text(usage_of(one(called=written))["called"]) == written


def test_a_sender_may_be_a_name() -> None:
    """An alphanumeric sender is kept as a digest."""
    assert usage_of(one(calling="InfoSMS"))["calling"] == to_key("InfoSMS")


@pytest.mark.parametrize(
    ("written", "start_us"),
    [
        ("2026-11-21T08:15:30Z", 1_795_248_930_000_000),
        ("2026-11-21 08:15:30.5", 1_795_248_930_500_000),
        ("2026-11-21T09:15:30.1234567+01:00", 1_795_248_930_123_456),
        ("2024-02-29T23:59:59-0330", 1_709_263_799_000_000),
    ],
)
def test_times(written: str, start_us: int) -> None:
    """Separators, fractions and offsets of ISO 8601."""
    assert usage_of(one(start=written))["start_us"] == start_us


def test_a_start_may_be_a_whole_number() -> None:
    """Microseconds say the same as text."""
    assert usage_of(one(start=None, start_us=1_795_248_930_250_000))["payload"] == usage_of(one())["payload"]


def test_session_reports() -> None:
    """A report keeps its session, its beginning and its kind."""
    report = one(
        type="data",
        duration_ms=None,
        octets_up=1,
        session="s-1",
        report="interim",
        session_start="2026-11-21T08:00:00Z",
    )
    row = usage_of(report)
    assert row["report"] == Report.INTERIM
    assert row["session"] == "s-1"
    assert row["session_start_us"] == 1_795_248_000_000_000
    assert row["session_key"] != 0


def test_a_session_start_is_worked_out_where_it_can_be() -> None:
    """From a start report or from the duration; never from nothing."""
    first = usage_of(one(type="data", duration_ms=None, session="s-1", report="start"))
    assert first["session_start_us"] == first["start_us"]
    later = usage_of(one(type="data", octets_up=1, session="s-1", report="interim"))
    assert later["session_start_us"] == later["start_us"] - 61_000_000
    assert (
        reason_of(one(type="data", duration_ms=None, octets_up=1, session="s-1", report="stop")) == "bad_time"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ""}, "missing_id"),
        ({"id": None, "subscriber": None}, "missing_id"),
        ({"subscriber": None}, "missing_subscriber"),
        ({"subscriber": "bob"}, "bad_number"),
        ({"called": "+44770090000100000"}, "bad_number"),
        ({"called": "00-12"}, "bad_number"),
        ({"called": "12 34", "type": "fax"}, "bad_number"),
        ({"type": "fax"}, "unknown_kind"),
        ({"type": None}, "unknown_kind"),
        ({"direction": "sideways"}, "unknown_kind"),
        ({"start": None}, "bad_time"),
        ({"start": "2026-02-29T00:00:00Z"}, "bad_time"),
        ({"start": "yesterday"}, "bad_time"),
        ({"start": "1969-12-31T23:59:59Z"}, "bad_time"),
        ({"start": "2026-11-21T24:00:00Z"}, "bad_time"),
        ({"start": "2027-11-21T08:15:30Z"}, "in_the_future"),
        ({"duration_ms": None}, "bad_quantity"),
        ({"duration_ms": -1}, "bad_quantity"),
        ({"duration_ms": 1.5}, "bad_quantity"),
        ({"duration_ms": 10**30}, "bad_quantity"),
        ({"duration_ms": 2**61}, "bad_quantity"),
        ({"five_qi": 256}, "bad_quantity"),
        ({"snssai": "one"}, "bad_quantity"),
        ({"visited_plmn": "1"}, "bad_quantity"),
        ({"type": "data"}, "bad_quantity"),
        ({"type": "content"}, "bad_amount"),
        ({"amount": "-0.01"}, "bad_amount"),
        ({"amount": "0.0000001"}, "bad_amount"),
        ({"cell": ["a"]}, "unreadable"),
        ({"cell": "\0"}, "unreadable"),
    ],
)
def test_reasons(changes: dict[str, object], reason: str) -> None:
    """Each fault has its reason."""
    assert reason_of(one(**changes)) == reason


def test_what_is_older_than_the_memory_is_not_taken() -> None:
    """Beyond the window of remembered identities a copy could not be told."""
    line = one()
    assert reason_of(line, newest_us=NOW_US + 40 * 86_400_000_000) == "too_old"
    assert len(read("trunkline", line, received_us=None, newest_us=NOW_US)[0]) == 1


def test_the_first_reason_in_the_written_order_wins() -> None:
    """Of several faults the one that stands first is told."""
    order = [reason.name for reason in REASONS]
    faults: list[tuple[str, object]] = [
        ("amount", "x"),
        ("duration_ms", "x"),
        ("start", "x"),
        ("type", "x"),
        ("called", "x"),
        ("subscriber", ""),
        ("id", ""),
    ]
    changes: dict[str, object] = {}
    ranks = []
    for field, value in faults:
        changes[field] = value
        ranks.append(order.index(reason_of(one(**changes))))
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(faults)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b'{"id":"x', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"42", "not a JSON object"),
        (b'{"id":NaN}', "NaN"),
        (b'{"id":"\xff"}', "not UTF-8"),
        (b'{"id":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"id":"\\ud800"}', "surrogate"),
        (b'{"id":"a\0b"}', "NUL"),
        (b'{"id":{"a":1}}', "id is nested"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"id":"' + b"x" * (1 << 20) + b'"}', "longer than"),
        (one()[:-1] + b" trailing", "not JSON"),
    ],
)
def test_a_bad_line_never_harms_its_neighbours(line: bytes, detail: str) -> None:
    """Whatever is in a line, the lines around it are read, and its place is kept."""
    data = one(id="a") + line + b"\r\n\r\n  \n" + one(id="b")
    usage, rejected = read("trunkline", data)
    assert usage["record_id"].to_list() == ["a", "b"]
    assert usage["line"].to_list() == [1, 5]
    assert rejected["reason"].to_list() == ["unreadable"]
    assert detail in rejected["detail"][0]
    at, length = rejected.select("offset", "length").row(0)
    assert data[at : at + length] == line


def test_of_two_equal_names_the_last_counts() -> None:
    """As in other JSON readers; null counts, too."""
    line = one()[:-2] + b',"duration_ms":5,"cell":null,"cause":"\\u0041"}\n'
    row = usage_of(line)
    assert (row["duration_ms"], row["cell"], row["cause"]) == (5, None, "A")


def test_unknown_and_nested_fields_are_left_alone() -> None:
    """Fields that nobody asked for may hold anything."""
    row = usage_of(
        b' { "extra" : {"a":[1,{"b":null}]} ,' + one(cell="Zürich")[1:-2] + b', "more" : [1, 2e5] } '
    )
    assert row["duration_ms"] == 61000
    assert row["cell"] == "Zürich"


def test_places_are_those_of_the_file() -> None:
    """Offset, length and line find the record in its file again, wherever blocks are cut."""
    first, second = one(id="a") + b"\n" + one(id="b"), one(id="c")
    usage, _ = read("trunkline", first, second)
    data = first + second
    for offset, length, record_id in usage.select("offset", "length", "record_id").iter_rows():
        assert json.loads(data[offset : offset + length])["id"] == record_id
    assert usage["line"].to_list() == [1, 3, 4]
    assert usage["file"].to_list() == [7, 7, 7]


def test_blocks_of_several_mappings_keep_their_order() -> None:
    """Rows come out in the order of arrival."""
    event = {"specversion": "1.0", "id": "e1", "source": "/pgw", "type": "usage", "data": CALL}
    mixed = pl.concat(
        [
            blocks("trunkline", one(id="a")),
            blocks("cloudevents", json.dumps(event).encode()),
            blocks("trunkline", one(id="b")),
        ]
    )
    usage, rejected = decode(mixed, shipped()).rows
    assert rejected["detail"].to_list() == []
    assert usage.select("source", "record_id").rows() == [
        ("trunkline", "a"),
        ("/pgw", "e1"),
        ("trunkline", "b"),
    ]
    assert usage["payload"].n_unique() == 1, "the same use under three names"


def test_the_engine_may_name_the_source_and_the_record_knows_better() -> None:
    """The record's own source wins over the engine's."""
    named = blocks("trunkline", one() + one(source="mine")).with_columns(source=pl.lit("theirs"))
    assert decode(named, shipped()).rows[0]["source"].to_list() == ["theirs", "mine"]


def test_nothing_gives_empty_frames() -> None:
    """No records are two empty frames with the right columns."""
    for data in (b"", b"\n", b" \r\n\n"):
        usage, rejected = read("trunkline", data)
        assert usage.schema == DECODED.record.schema
        assert rejected.schema == REJECTED.record.schema
        assert len(usage) == len(rejected) == 0


HEADING = b"cause,id,type,subscriber,called,start,duration_ms\n"


def test_a_table_with_a_heading_in_any_order() -> None:
    """The heading names the columns, also for blocks that do not hold it."""
    rows = [
        b"normal,a,voice,+447700900001,112,2026-11-21T08:15:30Z,5\n",
        b'"say ""hi"", all",b,voice,447700900001,112,2026-11-21T08:15:30Z,5\r\n',
    ]
    whole, none = read("trunkline_csv", b"\xef\xbb\xbf" + HEADING + rows[0] + rows[1])
    assert len(none) == 0
    assert whole["cause"].to_list() == ["normal", 'say "hi", all']
    assert whole["line"].to_list() == [2, 3]
    parted, _ = read("trunkline_csv", HEADING + rows[0], rows[1])
    assert parted.drop("offset").equals(whole.drop("offset"))


def test_a_broken_row_of_a_table_harms_nobody() -> None:
    """An open quote or a missing column stays within its line."""
    good = b"normal,%s,voice,447700900001,112,2026-11-21T08:15:30Z,5\n"
    data = HEADING + good % b"a" + b'"open,b,voice\n' + b"too,few\n" + good % b"c" + b"x," + good % b"d"
    usage, rejected = read("trunkline_csv", data)
    assert usage["record_id"].to_list() == ["a", "c"]
    assert rejected.select("line", "reason").rows() == [
        (3, "unreadable"),
        (4, "unreadable"),
        (6, "unreadable"),
    ]


def test_asterisk() -> None:
    """Billed seconds from the answer on; nothing when nobody answered."""
    answered = b'"","447700900001","0303","ctx","""Ann"" <447700900001>","SIP/1-01","SIP/2-02","Dial","SIP/2,30","2026-11-21 08:15:28","2026-11-21 08:15:30","2026-11-21 08:16:31",63,61,"ANSWERED","DOCUMENTATION","1795248928.7",""\n'  # noqa: E501 -- as it is written
    busy = (
        answered.replace(b'"2026-11-21 08:15:30"', b"")
        .replace(b"63,61", b"3,3")
        .replace(b"ANSWERED", b"BUSY")
    )
    usage, rejected = read("asterisk_csv", answered + busy)
    assert rejected["detail"].to_list() == []
    assert usage["duration_ms"].to_list() == [61_000, 0]
    assert usage["start_us"].to_list() == [1_795_248_930_000_000, 1_795_248_928_000_000]
    assert to_text(usage["called"][0]) == "44303"


def test_freeswitch() -> None:
    """The template that FreeSWITCH comes with."""
    line = b'"Ann","447700900001","0049301234567","default","2026-11-21 08:15:28","2026-11-21 08:15:30","2026-11-21 08:16:31","63","61","NORMAL_CLEARING","a-uuid","","","PCMA","PCMA"\n'  # noqa: E501 -- as it is written
    usage, rejected = read("freeswitch_csv", line)
    assert rejected["detail"].to_list() == []
    row = usage.row(0, named=True)
    assert (row["record_id"], row["duration_ms"], row["cause"]) == ("a-uuid", 61_000, "NORMAL_CLEARING")
    assert to_text(row["called"]) == "49301234567"
