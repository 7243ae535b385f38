"""A mapping reports all its mistakes at once, each with its line."""

from __future__ import annotations

import pytest

from tests.rooms.mediation.reading import shipped
from trunkline.kernel.mappings import MappingError
from trunkline.mediation.mapping import SHIPPED, parse_mapping

BAD = """\
text: Everything wrong
format:
  kind: csv
  delimiter: ";;"
  colums: [a]
numbers: {country_code: "x", national_prefix: "0"}
not_usage_when: [a]
columns:
  record_id: {template: "{a"}
  kind: {constant: telepathy}
  subscriber: {from: a, constant: b}
  strat: when
  start: {from: when, format: "%Q", zone: Mars/Olympus, round: min, minus: 5}
  duration: {from: secs}
  octets_up: {from: up, unit: MiBs, round: nearest}
  report: {from: r, values: {Begin: beginning}}
  cell: {from: cell, extract: "(a)(b"}
  service: 7
"""


def test_every_mistake_at_once() -> None:
    """Each mistake is told with its line, in the order of lines."""
    with pytest.raises(MappingError) as caught:
        parse_mapping("bad", BAD)
    lines = [problem.line for problem in caught.value.problems]
    assert lines == sorted(lines)
    assert set(lines) >= {2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}
    said = str(caught.value)
    for word in ("colums", "telepathy", "strat", "Mars/Olympus", "minus is", "MiBs", "nearest", "beginning"):
        assert word in said, word
    assert said.startswith("bad:")


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "a: *nothing", "format: ndjson\ncolumns: {}\n"])
def test_what_is_no_mapping(text: str) -> None:
    """Text that is no mapping is refused, not half understood."""
    with pytest.raises(MappingError):
        parse_mapping("none", text)


def test_shipped_mappings_say_what_they_read() -> None:
    """Every shipped mapping compiles and has its sentence."""
    assert set(shipped()) == set(SHIPPED)
    assert all(mapping.text.endswith(".") for mapping in shipped().values())


@pytest.mark.parametrize(
    ("mapping", "data", "whole"),
    [
        ("trunkline", b'{"a":1}\n{"b"', 8),
        ("trunkline", b"no end", 0),
        ("freeradius_detail", b"Sun\n\ta = 1\n\nSun\n\tb", 12),
        ("freeradius_detail", b"Sun\n\ta = 1\n", 0),
        ("freeradius_detail", b"Sun\r\n\ta = 1\r\n\r\nSun", 15),
    ],
)
def test_where_whole_records_end(mapping: str, data: bytes, whole: int) -> None:
    """The engine learns how much of its buffer is whole records."""
    assert shipped()[mapping].record_end(data) == whole


def test_quoted_line_breaks_hold_a_record_together() -> None:
    """A line break inside quotes ends no record where the mapping says so."""
    mapping = parse_mapping(
        "t",
        "format: {kind: csv, columns: [i, s, t], multiline: true}\n"
        "columns: {record_id: i, kind: {constant: sms}, subscriber: s, start: {from: t, format: unix_s}}\n",
    )
    assert mapping.record_end(b'1,2,3\n"a\nb",2,3\n"c\n') == 16
    assert mapping.record_end(b'"c\nd') == 0
    assert shipped()["trunkline_csv"].header_lines == 1
    assert shipped()["trunkline"].header_lines == 0
