"""The fast way finds what the plain way finds: every scanner agrees with its reader on whatever it takes."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.mediation.reading import blocks, shipped
from trunkline.kernel.texts import PADDING, Texts, of_series, to_series
from trunkline.mediation import readers, scan
from trunkline.mediation.mapping import Mapping
from trunkline.mediation.records import _read, _scan, _table_columns, find_records

NAMES = st.sampled_from(
    [
        "id",
        "type",
        "start",
        "subscriber",
        "data",
        "source",
        "time",
        "x",
        "ü",
        'q"',
        "duration_ms",
        "subscriberx",
        "subscribes",
    ]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False), st.text(max_size=30),
    st.sampled_from(["voice", "447700900001", "2026-11-21T08:15:30Z", "", "a\\b", 'a"b', "\0", "日本", "x" * 40]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=6,
)


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """JSON objects as senders write them, with names twice, odd spacing and sometimes a broken end."""
    pairs = draw(st.lists(st.tuples(NAMES, VALUES), max_size=8))
    ascii_only = draw(st.booleans())
    space = draw(st.sampled_from(["", " ", "\t", " \r"]))
    text = ("," + space).join(
        json.dumps(name, ensure_ascii=ascii_only)
        + space
        + ":"
        + space
        + json.dumps(value, ensure_ascii=ascii_only)
        for name, value in pairs
    )
    whole = ("{" + space + text + space + "}").encode()
    cut = draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    return whole[:cut] + draw(st.sampled_from([b"", b"", b" ", b"}", b"x", b"\xff"]))


def same(mapping: Mapping, record: bytes, around: bytes = b"") -> None:
    """Scan a record by itself, or before another one, and compare with the reader."""
    columns = _table_columns(mapping, None)
    data = np.frombuffer(record + around + b"\0" * PADDING, np.uint8)
    starts = np.zeros((len(mapping.paths), 1), np.int32)
    lengths = np.full((len(mapping.paths), 1), -1, np.int32)
    status = np.zeros(1, np.uint8)
    _scan(mapping, columns, data, np.array([0, len(record)], np.int32), starts, lengths, status)
    if status[0] != scan.PLAIN:
        return
    found = [Texts(data, starts[row], lengths[row]).text(0) for row in range(len(mapping.paths))]
    assert found == _read(mapping, columns, record)


@given(objects())
def test_json(record: bytes) -> None:
    """JSON objects, with names twice, odd spacing and broken ends."""
    for name in ("trunkline", "cloudevents"):
        same(shipped()[name], record)
        same(shipped()[name], record, b'","id":"no')


@given(st.binary(max_size=60))
def test_json_of_any_octets(record: bytes) -> None:
    """Any octets at all, bare and inside a value."""
    same(shipped()["trunkline"], record.replace(b"\n", b""))
    same(shipped()["trunkline"], b'{"id":"' + record.replace(b"\n", b"") + b'"}')


ROW = st.lists(
    st.sampled_from(["", "a", "a b", '"a"', '"a,b"', '"a""b"', 'a"b', '"a"b', "ü", "\0", '"']), max_size=20
)


@given(ROW)
def test_tables(fields: list[str]) -> None:
    """Rows with every kind of quoting."""
    for name in ("asterisk_csv", "freeswitch_csv"):
        same(shipped()[name], ",".join(fields).encode())


PAIRS = st.lists(
    st.sampled_from(
        [
            "caller=a",
            "callee=b=c",
            "duration=0.5",
            "sip_reason=",
            "x",
            "",
            "call_id=ü",
            "=",
            "pai=\0",
            "call_id=1",
        ]
    ),
    max_size=8,
)


@given(PAIRS, st.sampled_from(["; ", ";", "; ; "]))
def test_pairs(parts: list[str], between: str) -> None:
    """Pairs with missing signs, doubled fields and other separators."""
    same(shipped()["kamailio_log"], ("log_write_cdr(): " + between.join(parts)).encode())


LINES = st.lists(
    st.sampled_from(
        ["Sun Nov 22", "\tTimestamp = 5", "\tAcct-Session-Time = 7\r", '\tCalling-Station-Id = "44"', '\tCalling-Station-Id = "44',  # noqa: E501 -- as it is written
         '\tCalled-Station-Id = "a\\"b"', "\tx", "\tx = ", "\t = 3", " 3GPP-SGSN-MCC-MNC = 1 = 2", "\tTimestamp = 6", "\tx=y = 1",  # noqa: E501 -- as it is written
         '\tAcct-Terminate-Cause = "\\374"', '\tCalled-Station-Id = "\u00fc"', "\tTimestamp = \0", '\tUser-Name = "']
    ),
    max_size=8,
)  # fmt: skip


@given(LINES)
def test_blocks(lines: list[str]) -> None:
    """Blocks with escapes, doubled fields and broken lines."""
    same(shipped()["freeradius_detail"], "\n".join(lines).encode())


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_lines_are_split_as_python_splits_them(pieces: list[bytes]) -> None:
    """The same lines, places and numbers as bytes.split gives."""
    data = b"\n".join(pieces)
    expected = [line.removesuffix(b"\r") for line in data.split(b"\n") if line.strip(b" \t\r")]
    records = find_records(blocks("trunkline", data).with_columns(offset=9), shipped()["trunkline"])
    found = [
        data[at - 9 : at - 9 + length] for at, length in zip(records.offset, records.length, strict=True)
    ]
    assert found == expected
    for line, text in zip(records.line, found, strict=True):
        assert data.split(b"\n")[line - 1].removesuffix(b"\r") == text


@given(st.binary(max_size=12))
def test_utf8_is_what_python_says(octets: bytes) -> None:
    """The compiled check of UTF-8 agrees with the decoder."""
    try:
        octets.decode()
        valid = True
    except UnicodeDecodeError:
        valid = False
    assert scan.valid_utf8(np.frombuffer(octets, np.uint8), 0, len(octets)) == valid


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=70))
def test_texts_go_to_polars_and_back(texts: list[str | None]) -> None:
    """What is handed to Polars is what was there; empty becomes null."""
    series = pl.Series("t", texts, dtype=pl.String)
    there = of_series(series)
    assert [there.text(at) for at in range(len(there))] == texts
    assert to_series("t", there).to_list() == [text or None for text in texts]


def test_longest() -> None:
    """The limit that the documentation names."""
    assert readers.LONGEST_OCTETS == 1 << 20
