"""Performance files of 3GPP: counters of managed objects as XML (TS 32.435 4.1; TS 28.532 11.3.2.1.4, measDataFile).

A document that declares a type or entities is refused whole before a parser sees it, and only encodings are read in
which such a declaration cannot hide; so neither entity expansion nor an outside reference can happen. A result that
its element marks as suspect is set aside, and NIL is no reading: in both cases the bin is missing, which KPIs show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET  # what could do harm is refused before it is parsed

import numpy as np
import polars as pl

from trunkline.network.telemetry import clock, names, wide
from trunkline.network.telemetry.lines import Places, find_documents
from trunkline.network.telemetry.mapping import DOCUMENT_ENDS, NOTHING, Counter, Mapping
from trunkline.network.telemetry.numbers import thousandths
from trunkline.network.telemetry.readings import Readings, filled

LARGEST_OCTETS = 64 << 20
_ENCODING = re.compile(rb"^(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)[\"']")
_PLAIN_ENCODINGS = {b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1"}
_DURATION = re.compile(r"^P(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?$")
_TECHNOLOGIES = {"NRCell": "NR", "EUtranCell": "LTE", "UtranCell": "UMTS", "GsmCell": "GSM"}


def read_files(blocks: pl.DataFrame, mapping: Mapping) -> tuple[Places, Readings]:
    """The documents of a run of blocks."""
    readings = Readings()
    ends = [[found.end() for found in DOCUMENT_ENDS.finditer(octets)] for octets in blocks["bytes"].to_list()]
    places, documents = find_documents(blocks, mapping.source, ends)
    for record, document in enumerate(documents):
        refusal = _refusal(document)
        if refusal:
            readings.reject(record, *refusal)
            continue
        try:
            root = ET.fromstring(document)  # noqa: S314 -- it declares nothing
        except (ET.ParseError, ValueError, LookupError) as error:
            readings.reject(record, "unreadable", f"not XML: {error}")
            continue
        if _kind(root) not in ("measCollecFile", "measDataFile"):
            readings.reject(record, "unreadable", "the document is no performance file")
        elif not _read_document(record, root, mapping, readings):
            readings.reject(record, "not_telemetry", "the file holds no result")
    return places, readings


def _refusal(document: bytes) -> tuple[str, str] | None:
    """Why a document is not parsed at all."""
    if len(document) > LARGEST_OCTETS:
        return "too_large", f"longer than {LARGEST_OCTETS} octets"
    if b"\0" in document:
        return "unreadable", "the document holds NUL octets"
    encoding = _ENCODING.match(document[:1000])
    if encoding and encoding[1].lower() not in _PLAIN_ENCODINGS:
        return "unreadable", "the document is in another encoding than UTF-8, US-ASCII or ISO-8859-1"
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        return "forbidden_markup", "the document declares a type or entities"
    return None


def _kind(element: ET.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _under(element: ET.Element, kind: str) -> Iterator[ET.Element]:
    return (child for child in element if _kind(child) == kind)


def _read_document(record: int, root: ET.Element, mapping: Mapping, readings: Readings) -> bool:
    """Everything a file measured; False when it holds nothing."""
    anything = False
    for data in _under(root, "measData"):
        entity = next((child for child in data if _kind(child) in ("managedElement", "measEntity")), None)
        element = "" if entity is None else entity.get("localDn", "") or entity.get("userLabel", "")
        for info in _under(data, "measInfo"):
            anything |= _read_info(record, element, info, mapping, readings)
    return anything


def _read_info(record: int, element: str, info: ET.Element, mapping: Mapping, readings: Readings) -> bool:
    """One group of counters, with the results of every object."""
    period = _period(info, mapping)
    places, counters = _counters(info, mapping)
    rows: list[tuple[str, str]] = []
    texts: list[str] = []
    anything = False
    for value in _under(info, "measValue"):
        anything = True
        where = _where(element, value.get("measObjLdn", ""), mapping)
        results = _results(value, places)
        suspect = next((child.text or "" for child in _under(value, "suspect")), "").strip().lower()
        if period is None:
            readings.reject(record, "bad_time", "granPeriod has no endTime or duration that can be read")
        elif not where[0]:
            readings.reject(record, "missing_object", "neither managedElement nor measObjLdn names anything")
        elif not counters:
            readings.reject(record, "missing_counter", "measInfo names no counter")
        elif results is None:
            readings.reject(record, "unreadable", f"{where[0]}: results and counters are not the same number")
        elif suspect in ("true", "1"):
            readings.reject(record, "suspect", f"{where[0]}: the element does not trust these results")
        else:
            rows.append(where)
            texts += results
    if rows and period is not None:
        _spread(record, rows, texts, counters, period, mapping, readings)
    return anything


def _spread(
    record: int, rows: list[tuple[str, str]], texts: list[str], counters: list[Counter], period: tuple[int, int],
    mapping: Mapping, readings: Readings,
) -> None:  # fmt: skip
    """Hand on the results of one group."""
    count = len(rows)
    none = np.zeros(count, np.int64)
    where = wide.Rows(
        np.full(count, record, np.int64),
        pl.Series([name for name, _ in rows], dtype=pl.String),
        pl.Series([technology for _, technology in rows], dtype=pl.String),
        none, none, np.full(count, period[0], np.int64), np.full(count, period[1], np.int64),
    )  # fmt: skip
    values = thousandths(pl.Series(texts, dtype=pl.String), *wide.factors(counters), mapping.empty)
    wide.spread(readings, where, counters, *values)


def _period(info: ET.Element, mapping: Mapping) -> tuple[int, int] | None:
    """Begin and end of a granularity period."""
    for period in _under(info, "granPeriod"):
        found = _DURATION.match(period.get("duration", ""))
        end = clock.micros(period.get("endTime", ""), "iso8601", mapping.times.zone)
        if found and end is not None and any(found.groups()):
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            return end - 1_000_000 * (seconds + 60 * (minutes + 60 * (hours + 24 * days))), end
    return None


def _counters(info: ET.Element, mapping: Mapping) -> tuple[dict[str, int], list[Counter]]:
    """The counters of a group: where each `p` stands, and what each is."""
    given: list[tuple[str, str]] = []
    for child in info:
        if _kind(child) == "measTypes":
            given += [(str(at), name) for at, name in enumerate((child.text or "").split(), start=1)]
        elif _kind(child) == "measType":
            given.append((child.get("p", str(len(given) + 1)), (child.text or "").strip()))
    counters = [mapping.counters.get(name) or Counter(name, name) for _, name in given]
    return {place: at for at, (place, _) in enumerate(given)}, counters


def _results(value: ET.Element, places: dict[str, int]) -> list[str] | None:
    """The results of one object in the counters' order; None when they do not fit. A result that is absent is none."""
    for child in _under(value, "measResults"):
        results = (child.text or "").split()
        return results if len(results) == len(places) else None
    texts = [""] * len(places)
    for child in _under(value, "r"):
        at = places.get(child.get("p", ""))
        if at is None:
            return None
        texts[at] = (child.text or "").strip()
    return texts


def _where(element: str, ldn: str, mapping: Mapping) -> tuple[str, str]:
    """The object's name and technology: managed element and cell, or what the mapping says."""
    above, below = names.parts_of(element), names.parts_of(ldn)

    def field_of(name: str) -> str | None:
        if name == "element":
            return above[-1][1] if above else None
        if name == "cell":
            return below[-1][1] if below else None
        if name in ("element_dn", "object_dn"):
            return element if name == "element_dn" else ldn
        return next((value for kind, value in (*below, *above) if kind == name), None)

    technology = filled(mapping.technology, field_of)
    if not technology and below:
        technology = next(
            (word for start, word in _TECHNOLOGIES.items() if below[-1][0].startswith(start)), ""
        )
    if mapping.object is not NOTHING:
        return filled(mapping.object, field_of), technology
    if above and below and below[-1] != above[-1]:
        return f"{above[-1][1]}/{below[-1][1]}", technology
    return (above or below or (("", ""),))[-1][1], technology
