"""Performance files in XML: what the standard writes is read, and what could do harm is refused before it is parsed."""

from __future__ import annotations

import pytest

from tests.rooms.network.telemetry.reading import read, read_with

NAMESPACE = b"http://www.3gpp.org/ftp/specs/archive/32_series/32.435#measCollec"
HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n<measCollecFile xmlns="' + NAMESPACE + b'">' + (
    b'<fileHeader fileFormatVersion="32.435 V10.0" vendorName="Lab" dnPrefix="DC=net.example">'
    b'<fileSender localDn="ManagedElement=gnb-1"/><measCollec beginTime="2026-11-22T07:45:00Z"/></fileHeader>\n'
    b'<measData><managedElement localDn="SubNetwork=1,ManagedElement=gnb-1" userLabel="Tower 1"/>\n'
)  # fmt: skip
PERIOD = b'<granPeriod duration="PT900S" endTime="2026-11-22T09:00:00+01:00"/>'
TAIL = b'</measData><fileFooter><measCollec endTime="2026-11-22T08:00:00Z"/></fileFooter></measCollecFile>\n'
LISTED = (
    b'<measInfo measInfoId="RRC">' + PERIOD + b'<measType p="1">RRC.ConnEstabAtt</measType>'
    b'<measType p="2">RRU.PrbTotDl</measType><measType p="3">DRB.UEThpDl.SNSSAI_1</measType>'
    b'<measValue measObjLdn="GNBDUFunction=1,NRCellDU=3"><r p="2">34.5</r><r p="1">234</r><r p="3">NIL</r></measValue>'
    b'<measValue measObjLdn="GNBDUFunction=1,NRCellDU=4"><r p="1">1</r><suspect>true</suspect></measValue></measInfo>\n'
)
SHORT = (
    b"<measInfo>" + PERIOD + b"<measTypes>RRC.ConnEstabAtt DRB.UEThpDl.SNSSAI_1</measTypes>"
    b'<measValue measObjLdn="EUtranCellFDD=9"><measResults>7 12</measResults></measValue></measInfo>'
)
FILE = HEAD + LISTED + SHORT + TAIL


def test_both_forms_of_results_are_read() -> None:
    """Results by place and results in a row, of NR and LTE; NIL is no reading and suspect results are set aside."""
    found = read(FILE, "pm_xml")
    assert found.values() == {
        ("gnb-1/3", "RRC.ConnEstabAtt"): 234_000,
        ("gnb-1/3", "RRU.PrbTotDl"): 34_500,
        ("gnb-1/9", "RRC.ConnEstabAtt"): 7_000,
        ("gnb-1/9", "DRB.UEThpDl"): 12_000,
    }
    assert found.reasons == ["suspect"]
    assert found.measured.get_column("technology").unique(maintain_order=True).to_list() == ["NR", "LTE"]
    assert found.measured.get_column("slice").to_list() == [0, 0, 0, 1 << 24]
    assert found.measured.select("begin_us", "end_us").unique().rows() == [
        (1_795_333_500_000_000, 1_795_334_400_000_000)
    ]


def test_the_newer_root_is_read() -> None:
    """TS 28.532 calls the file measDataFile and the element measEntity."""
    newer = FILE.replace(b"measCollecFile", b"measDataFile").replace(
        b"managedElement local", b"measEntity local"
    )
    assert read(newer, "pm_xml").values() == read(FILE, "pm_xml").values()


def test_documents_behind_each_other_are_each_read() -> None:
    """Files in a spool stand one behind the other; what is cut short at the end is one reject."""
    found = read(FILE + FILE + HEAD, "pm_xml")
    assert len(found.measured) == 8
    assert found.rejected.select("offset", "reason").rows() == [
        (0, "suspect"), (len(FILE), "suspect"), (2 * len(FILE), "unreadable")
    ]  # fmt: skip


def test_names_are_what_the_mapping_makes_of_them() -> None:
    """A template may ask for any part of the distinguished names."""
    found = read_with(FILE, 'format: pm_xml\nobject: "{SubNetwork}-{NRCellDU}"\n')
    assert {name for name, _ in found.values()} == {"1-3"}
    assert sorted(found.reasons) == ["bad_value", "missing_object", "suspect"]


@pytest.mark.parametrize(
    "markup",
    [
        b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]>',
        b'<!DOCTYPE a SYSTEM "file:///secret">',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1/p"> %p;]>',
    ],
)
def test_a_document_that_declares_entities_is_refused_whole(markup: bytes) -> None:
    """Neither bombs nor references to elsewhere reach a parser."""
    found = read(FILE.replace(b"?>\n", b"?>\n" + markup, 1), "pm_xml")
    assert (len(found.measured), found.reasons) == (0, ["forbidden_markup"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp037", "utf-7"])
def test_a_declaration_cannot_hide_in_an_encoding(encoding: str) -> None:
    """What is not UTF-8, US-ASCII or ISO-8859-1 is not parsed."""
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    bomb = head + '<!DOCTYPE a [<!ENTITY x "ha">]><measCollecFile>&x;</measCollecFile>'
    for octets in (bomb.encode(encoding), bomb.encode()):
        found = read(octets, "pm_xml")
        assert len(found.measured) == 0
        assert set(found.reasons) <= {"unreadable", "forbidden_markup"}
        assert found.reasons


def test_a_deep_document_harms_nobody() -> None:
    """A hundred thousand elements within each other are refused or read, and nothing falls over."""
    deep = b"<measCollecFile>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</measCollecFile>"
    assert read(deep, "pm_xml").reasons in (["unreadable"], ["not_telemetry"])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<measResults>7 12<", b"<measResults>7<", "unreadable"),
        (b'p="3">NIL', b'p="8">NIL', "unreadable"),
        (b'duration="PT900S"', b'duration="P"', "bad_time"),
        (b">234<", b">many<", "bad_value"),
        (b">34.5<", b">134.5<", "bad_value"),
    ],
)
def test_what_is_wrong_is_set_aside_and_the_rest_is_kept(old: bytes, new: bytes, reason: str) -> None:
    """One object's fault is not another's."""
    found = read(FILE.replace(old, new, 1), "pm_xml")
    assert reason in found.reasons
    assert len(found.measured) >= 2
