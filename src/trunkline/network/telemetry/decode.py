"""Decoding telemetry: blocks of octets become measurements and events, or are set aside with one reason.

What is accounted for is a reading: one value of one counter, or one event. A record that cannot be read at all is one
reading that was set aside. So received = measured + events + rejected, in every batch and wherever a batch is cut:
nothing is remembered between records, and the same octets give the same rows on every replay.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Dict

import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.network.telemetry import exposition, flows, objects, pm_xml, syslog, table, traps, ves
from trunkline.network.telemetry.lines import LONGEST_OCTETS, Lines, Places, find_lines
from trunkline.network.telemetry.mapping import Mapping
from trunkline.network.telemetry.readings import NO_EVENTS, NO_MEASURED, NO_REJECTS, Readings, finished

_OF_LINES: dict[str, Callable[[Lines, Mapping, Readings], None]] = {
    "ndjson": objects.read_objects,
    "ves": ves.read_events,
    "syslog": syslog.read_messages,
    "snmp": traps.read_traps,
    "netflow": flows.read_datagrams,
    "prometheus": exposition.read_samples,
}


def decode(blocks: pl.DataFrame, mappings: Dict[str, Mapping]) -> Outcome:
    """Read blocks (`TELEMETRY`) by their mappings into `MEASURED`, `EVENTS` and `REJECTED`, in the order of arrival."""
    measured, events, rejected = [NO_MEASURED], [NO_EVENTS], [NO_REJECTS]
    for mapping, part in _runs(blocks, mappings):
        places, readings = _read(part, mapping)
        if len(places):
            rows = finished(readings, places, mapping.times.ahead_us)
            for into, frame in zip((measured, events, rejected), rows, strict=True):
                into.append(frame)
    return Outcome((_stacked(measured), _stacked(events), _stacked(rejected)))


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame of several; the first is empty and only there for its schema."""
    whole = [frame for frame in frames if len(frame)]
    if not whole:
        return frames[0]
    return whole[0] if len(whole) == 1 else pl.concat(whole)


def _runs(blocks: pl.DataFrame, mappings: Dict[str, Mapping]) -> list[tuple[Mapping, pl.DataFrame]]:
    """Neighbouring blocks of one mapping together, so that many small ones cost no more than a large one."""
    names = blocks["mapping"].to_list()
    runs, begin = [], 0
    for at in range(1, len(names) + 1):
        if at == len(names) or names[at] != names[begin]:
            runs.append((mappings[names[begin]], blocks[begin:at]))
            begin = at
    return runs


def _read(blocks: pl.DataFrame, mapping: Mapping) -> tuple[Places, Readings]:
    """What a run of blocks of one mapping holds."""
    if mapping.kind == "csv":
        return table.read_tables(blocks, mapping)
    if mapping.kind == "pm_xml":
        return pm_xml.read_files(blocks, mapping)
    lines, readings = find_lines(blocks, mapping.source), Readings()
    _OF_LINES[mapping.kind](_set_aside(lines, readings), mapping, readings)
    return lines.places, readings


def _set_aside(lines: Lines, readings: Readings) -> Lines:
    """Lines without those that are no messages: what a listener refused is told, and what is far too long is not read.

    A flood is a security event of the sender that caused it; messages that were too long or garbled are rejected.
    """
    lines.done.update(lines.notices)
    for at, notice in lines.notices.items():
        if notice.notice in ("oversize", "garbled"):
            reason = "too_large" if notice.notice == "oversize" else "unreadable"
            readings.reject(at, reason, f"the listener refused {notice.count} octets from {notice.peer}")
            continue
        flood = notice.notice == "flood"
        readings.event(
            at, f"{notice.received_us} {notice.peer} {notice.notice}", notice.peer, notice.received_us, 4,
            event_type="securityServiceOrMechanismViolation" if flood else "processingErrorAlarm",
            cause="telemetryFlood" if flood else "congestion",
            problem="more messages than the listener takes from one sender" if flood else "the listener had no room",
            text=f"{notice.count} messages were refused", security=int(flood),
        )  # fmt: skip
    for at, message in enumerate(lines.messages):
        if len(message) > LONGEST_OCTETS and at not in lines.notices:
            readings.reject(at, "too_large", f"longer than {LONGEST_OCTETS} octets")
            lines.done.add(at)
    return lines
