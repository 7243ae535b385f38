"""Mappings of telemetry: the shipped ones are whole, and every mistake in one's own is told with its line."""

from __future__ import annotations

import pytest

from tests.rooms.network.telemetry.reading import shipped
from trunkline.kernel.mappings import MappingError
from trunkline.network.telemetry.mapping import SHIPPED, User, parse_mapping


def test_every_shipped_mapping_says_what_it_is_for() -> None:
    """Its first words are read by people who look for one."""
    assert [name for name in SHIPPED if not shipped()[name].text] == []


def test_all_mistakes_are_told_at_once() -> None:
    """Each with its line, as the operator sees them."""
    text = """\
format: {kind: csv, delimiter: ";;"}
colour: red
time: {format: sometime, zone: Mars/Olympus}
counters:
  A: {kind: often}
  B: {from: x, factor: 0}
  C: {from: x}
meanings:
  - {match: "(", severity: awful}
"""
    with pytest.raises(MappingError) as caught:
        parse_mapping("own", text)
    told = str(caught.value)
    for line, word in (
        (1, "delimiter"), (1, "object"), (2, "'colour'"), (3, "time.format"), (3, "Mars/Olympus"),
        (5, "kind is one of"),
        (6, "factor"), (7, "'x' fills two"), (9, "no pattern"), (9, "severity"),
    ):  # fmt: skip
        assert any(one.startswith(f"own:{line}: ") and word in one for one in told.splitlines()), (
            line,
            word,
            told,
        )


@pytest.mark.parametrize(
    "text", ["", "- a", "format: morse", "format: [", "format: {kind: ndjson, quote: x}"]
)
def test_what_is_no_mapping_is_refused(text: str) -> None:
    """Whatever stands in the file, there is a sentence for it."""
    with pytest.raises(MappingError):
        parse_mapping("own", text)


def test_passwords_stand_in_no_text() -> None:
    """A mapping that knows users can be printed, logged and shown in an error."""
    user = User("poller", b"", "sha", "labauthpass", "aes", "labprivpass")
    assert "pass" not in repr(shipped()["snmp_traps"].with_users((user,), ())) + repr(user)


def test_documents_end_where_their_root_ends() -> None:
    """Reading waits for the whole of a performance file, and for the end of a line of everything else."""
    xml = shipped()["pm_xml"]
    assert xml.record_end(b"<measCollecFile><a/>\n") == 0
    assert xml.record_end(b"<x:measDataFile></x:measDataFile >\n<measData") == 35
    assert shipped()["syslog"].record_end(b"<13>a\n<13>b") == 6
    assert (shipped()["cells_csv"].header_lines, xml.header_lines) == (1, 0)
