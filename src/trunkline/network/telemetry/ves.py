"""ONAP VES 7: events of virtual and physical network functions as JSON (VES Event Listener 7.2.1).

Each line is one event or one list of events. Faults, threshold crossings and syslog are events; measurements and
heartbeats are measured. What is in other domains says neither how much nor that something is wrong: it is set aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from trunkline.network.telemetry import names
from trunkline.network.telemetry.lines import Lines
from trunkline.network.telemetry.mapping import Mapping
from trunkline.network.telemetry.objects import fields_of, loaded, scalar
from trunkline.network.telemetry.readings import Readings, filled
from trunkline.records.network import Counting, Severity

VERSION = re.compile(r"^7(\.\d+){0,3}$")
_SEVERITIES = {"CRITICAL": 1, "MAJOR": 2, "MINOR": 3, "WARNING": 4, "NORMAL": 6}
_CROSSED = {"CRIT": 1, "MAJ": 2}
_FIRST_US, _LAST_US = 1, 4_102_444_800_000_000  # up to 2100
_TOTALS = ("Octets", "Packets", "Accumulated", "Errors", "Count")
_SYSLOG_SEVERITIES = {"Alert": 1, "Critical": 1, "Debug": 5, "Emergency": 1, "Error": 2, "Info": 5, "Notice": 5,
                      "Warning": 4}  # fmt: skip


def read_events(lines: Lines, mapping: Mapping, readings: Readings) -> None:
    """Read each line as one VES event, with or without the object `event` around it, or as a list `eventList`."""
    for record, message in enumerate(lines.messages):
        if record in lines.done:
            continue
        given = loaded(message)
        listed = given.get("eventList") if isinstance(given, dict) else None
        if listed is None:
            _read(record, given.get("event", given) if isinstance(given, dict) else None, mapping, readings)
        elif not isinstance(listed, list) or not listed:
            readings.reject(record, "unreadable", "eventList is no list of events")
        else:
            for event in listed:
                _read(record, event, mapping, readings)


def _read(record: int, event: object, mapping: Mapping, readings: Readings) -> None:
    """One event."""
    header = event.get("commonEventHeader") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(header, dict):
        readings.reject(record, "unreadable", "not a VES event: commonEventHeader is missing")
        return
    fault = faulty(header)
    if fault:
        readings.reject(record, *fault)
        return
    read = _DOMAINS.get(str(header["domain"]))
    if read is None:
        readings.reject(record, "not_telemetry", "a domain that neither measures nor reports trouble")
        return
    section = event.get(_SECTIONS[str(header["domain"])], {})
    name = filled(mapping.object, fields_of(header)) or str(header.get("sourceName", ""))
    if not isinstance(section, dict):
        readings.reject(record, "unreadable", "the domain's fields are no object")
    elif not name:
        readings.reject(record, "missing_object", "sourceName is empty")
    else:
        read(record, name, header, section, readings)


def faulty(header: dict[str, Any]) -> tuple[str, str] | None:
    """What is wrong with a common header: a reason and its detail."""
    for field in ("domain", "eventId", "eventName", "sourceName"):
        if not isinstance(header.get(field), str):
            return "unreadable", f"commonEventHeader.{field} is missing"
    if not VERSION.match(str(header.get("vesEventListenerVersion", "7"))):
        return "unreadable", "vesEventListenerVersion is not 7"
    for field in ("startEpochMicrosec", "lastEpochMicrosec"):
        value = header.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or not _FIRST_US <= value <= _LAST_US:
            return "bad_time", f"commonEventHeader.{field} is no time in microseconds"
    return None


def _record_id(header: dict[str, Any]) -> str:
    """An event's name: senders begin event ids anew and count updates, so source, sequence and time belong to it."""
    fields = ("domain", "reportingEntityName", "sourceName", "eventId", "sequence", "lastEpochMicrosec")
    return "\x1f".join(str(header.get(field, "")) for field in fields)


def _fault(
    record: int, name: str, header: dict[str, Any], section: dict[str, Any], readings: Readings
) -> None:
    """faultFields: an alarm raised, changed or (NORMAL) cleared."""
    severity = _SEVERITIES.get(str(section.get("eventSeverity")))
    if severity is None:
        readings.reject(record, "bad_severity", "faultFields.eventSeverity is none of VES")
        return
    interface = scalar(section.get("alarmInterfaceA")) or ""
    security = str(section.get("eventCategory", "")).lower() == "security"
    readings.event(
        record, _record_id(header), f"{name}:{interface}" if interface else name, header["lastEpochMicrosec"], severity,
        event_type="securityServiceOrMechanismViolation" if security else _type_of(str(section.get("eventSourceType"))),
        cause=scalar(section.get("alarmCondition")) or str(header["eventName"]),
        problem=scalar(section.get("specificProblem")) or "", text=_told(section), security=int(security),
    )  # fmt: skip


def _told(section: dict[str, Any]) -> str:
    more = section.get("alarmAdditionalInformation") or {}
    pairs = [f"{key}={scalar(value)}" for key, value in more.items()] if isinstance(more, dict) else []
    return ", ".join([scalar(section.get("specificProblem")) or "", *pairs]).strip(", ")


def _type_of(source: str) -> str:
    """X.733's type of an alarm by what VES calls the kind of thing that raised it."""
    if source in ("port", "link", "router", "switch", "externalInterface", "virtualNetwork"):
        return "communicationsAlarm"
    if source in ("card", "slotIdentifier", "disk", "hardware", "rack", "portInterface"):
        return "equipmentAlarm"
    return "processingErrorAlarm" if source in ("virtualMachine", "virtualNetworkFunction", "host", "software") else (
        "communicationsAlarm"
    )  # fmt: skip


def _crossed(
    record: int, name: str, header: dict[str, Any], section: dict[str, Any], readings: Readings
) -> None:
    """thresholdCrossingAlertFields: a threshold crossed (SET, CONT) or no longer (CLEAR)."""
    action, word = str(section.get("alertAction")), str(section.get("eventSeverity"))
    severity = _CROSSED.get(word, _SEVERITIES.get(word))
    if action not in ("SET", "CONT", "CLEAR") or severity is None:
        readings.reject(record, "bad_severity", "alertAction or eventSeverity is none of VES")
        return
    parameters = section.get("additionalParameters")
    first = (
        parameters[0]
        if isinstance(parameters, list) and parameters and isinstance(parameters[0], dict)
        else {}
    )
    name_of = scalar(first.get("name")) or scalar(section.get("elementType")) or str(header["eventName"])
    security = "security" in str(section.get("alertType", "")).lower()
    readings.event(
        record, _record_id(header), name, header["lastEpochMicrosec"],
        int(Severity.CLEARED) if action == "CLEAR" else severity,
        event_type="qualityOfServiceAlarm", cause="thresholdCrossed", problem=name_of,
        text=scalar(section.get("alertDescription")) or "", security=int(security),
    )  # fmt: skip


def _syslog(
    record: int, name: str, header: dict[str, Any], section: dict[str, Any], readings: Readings
) -> None:
    """syslogFields: a line of a log, kept as an event that raises nothing by itself."""
    readings.event(
        record, _record_id(header), name, header["lastEpochMicrosec"],
        _SYSLOG_SEVERITIES.get(str(section.get("syslogSev")), int(Severity.INDETERMINATE)),
        cause=scalar(section.get("syslogTag")) or "", problem=scalar(section.get("syslogMsgId")) or "",
        text=scalar(section.get("syslogMsg")) or "", alarm=False,
    )  # fmt: skip


def _heartbeat(
    record: int, name: str, header: dict[str, Any], _section: dict[str, Any], readings: Readings
) -> None:
    """A heartbeat is measured, so that its silence can be seen."""
    at = header["lastEpochMicrosec"]
    readings.value(record, (name, "", 0, 0), ("Heartbeat", int(Counting.GAUGE)), (at, at), "1")


def _measurement(
    record: int, name: str, header: dict[str, Any], section: dict[str, Any], readings: Readings
) -> None:
    """measurementFields: every number in it, called by the path of names that leads to it."""
    seconds = scalar(section.get("measurementInterval"))
    end = header["lastEpochMicrosec"]
    try:
        begin = end - int(float(seconds or "") * 1_000_000)
    except (ValueError, OverflowError):
        readings.reject(record, "bad_time", "measurementFields.measurementInterval is no number of seconds")
        return
    found: list[tuple[str, str, str]] = []
    _collect(section, name, "", found)
    for thing, path, value in found:
        short, word, five_qi = names.flow_of(path)
        kind = Counting.DELTA if any(total in path for total in _TOTALS) else Counting.GAUGE
        readings.value(record, (thing, "", word, five_qi), (short, int(kind)), (begin, end), value)
    if not found:
        readings.reject(record, "missing_counter", "measurementFields holds no number")


def _collect(section: dict[str, Any], name: str, path: str, into: list[tuple[str, str, str]]) -> None:
    """Numbers of an object; each member of a list is a thing of its own, called by its identifier."""
    for key, value in section.items():
        if key in ("measurementInterval", "measurementFieldsVersion") or key.endswith("Identifier"):
            continue
        below = f"{path}.{key}" if path else key
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            into.append((name, below, str(value)))
        elif isinstance(value, dict) and key in ("hashMap", "additionalFields", "additionalMeasurements"):
            into += [(name, str(inner), text) for inner, text in value.items() if _is_number(text)]
        elif isinstance(value, dict) and path.count(".") < 3:
            _collect(value, name, below, into)
        elif isinstance(value, list):
            for at, member in enumerate(value):
                if isinstance(member, dict):
                    _collect(
                        member,
                        f"{name}:{_called(member, at)}",
                        "" if key == "additionalMeasurements" else below,
                        into,
                    )


def _is_number(text: object) -> bool:
    if not isinstance(text, str):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def _called(member: dict[str, Any], at: int) -> str:
    """What a member of a list is called: its identifier or name, else its place."""
    for key, value in member.items():
        if (key.endswith("Identifier") or key == "name") and isinstance(value, str | int):
            return str(value)
    return str(at)


_SECTIONS = {
    "fault": "faultFields", "thresholdCrossingAlert": "thresholdCrossingAlertFields", "syslog": "syslogFields",
    "heartbeat": "heartbeatFields", "measurement": "measurementFields",
}  # fmt: skip
_DOMAINS: dict[str, Callable[[int, str, dict[str, Any], dict[str, Any], Readings], None]] = {
    "fault": _fault, "thresholdCrossingAlert": _crossed, "syslog": _syslog, "heartbeat": _heartbeat,
    "measurement": _measurement,
}  # fmt: skip
