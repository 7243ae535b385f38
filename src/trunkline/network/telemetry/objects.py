"""Lines of JSON: measurements of cells and devices, events, and tickets of customer care.

A mapping with an `event` section reads events; any other reads measurements. A device names its model, and the model's
fields are its counters. What JSON writes as null is no reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from trunkline.kernel.dial import to_key
from trunkline.network.telemetry import clock, names
from trunkline.network.telemetry.lines import Lines
from trunkline.network.telemetry.mapping import EVENT_TYPES, Counter, EventColumns, Mapping
from trunkline.network.telemetry.readings import Readings, filled, number_up_to, severity_of, slice_word

FieldOf = Callable[[str], "str | None"]
_NOT_DIALLED = re.compile(r"[\s()./-]")


def read_objects(lines: Lines, mapping: Mapping, readings: Readings) -> None:
    """Read each line as one JSON object."""
    for record, message in enumerate(lines.messages):
        if record in lines.done:
            continue
        given = loaded(message)
        if not isinstance(given, dict):
            readings.reject(record, "unreadable", "not a JSON object")
            continue
        field_of = fields_of(given)
        if mapping.event is not None:
            _read_event(record, message, field_of, mapping.event, mapping, readings)
        else:
            _read_measurement(record, given, field_of, mapping, readings)


def loaded(message: bytes) -> Any:  # noqa: ANN401 -- JSON may hold anything
    """A JSON value; None when it is none, or nested too deeply."""
    try:
        return orjson.loads(message)
    except (orjson.JSONDecodeError, RecursionError):
        return None


def fields_of(given: dict[str, Any]) -> FieldOf:
    """Looks a field up as text: by its name as it stands, else step by step where the name has dots."""

    def field_of(name: str) -> str | None:
        value: Any = given.get(name)
        if value.__class__ is str:
            return str(value)
        if value is None and "." in name:
            value = given
            for step in name.split("."):
                value = value.get(step) if isinstance(value, dict) else None
        return scalar(value)

    return field_of


def scalar(value: object) -> str | None:
    """A JSON scalar as text; None for null and for what is nested."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def _read_measurement(
    record: int, given: dict[str, Any], field_of: FieldOf, mapping: Mapping, readings: Readings
) -> None:
    """All values of one object in one period."""
    name = filled(mapping.object, field_of)
    word = slice_word(filled(mapping.slice, field_of))
    five_qi = number_up_to(filled(mapping.five_qi, field_of), 255)
    period = clock.period(mapping.times, field_of)
    counters: dict[str, Counter] | None = None
    if mapping.model:
        counters = dict(mapping.models.get(field_of(mapping.model) or "", {}))
    if word is None or five_qi is None:
        readings.reject(record, "unreadable", "the slice is no S-NSSAI or the 5QI no number up to 255")
    elif counters == {}:
        readings.reject(record, "unknown_model", "no such device model")
    elif not name:
        readings.reject(record, "missing_object", "the record names nothing that is measured")
    elif period is None:
        readings.reject(record, "bad_time", "the time is missing or not in the mapping's format")
    else:
        technology = filled(mapping.technology, field_of)
        values = _values(given, field_of, mapping) if counters is None else _of_model(counters, field_of)
        if not values:
            readings.reject(record, "missing_counter", "the record holds no value")
        for counter, value in values:
            short, named_slice, named_five_qi = names.flow_of(counter.name)
            readings.value(
                record, (name, technology, named_slice or word, named_five_qi or five_qi), (short, counter.kind),
                period, value, (counter.numerator, counter.denominator), (counter.low_milli, counter.high_milli),
            )  # fmt: skip


def _of_model(counters: dict[str, Counter], field_of: FieldOf) -> list[tuple[Counter, str]]:
    """The fields of a device that its model knows."""
    found = ((counter, field_of(counter.field)) for counter in counters.values())
    return [(counter, value) for counter, value in found if value is not None]


def _values(given: dict[str, Any], field_of: FieldOf, mapping: Mapping) -> list[tuple[Counter, str]]:
    """The values that the mapping names, and with `others: keep` every other number, one object deep."""
    values = _of_model(dict(mapping.counters), field_of)
    if not mapping.others:
        return [(counter, value) for counter, value in values if value not in mapping.empty]
    used = {*mapping.ignored, *mapping.counters, mapping.times.begin, mapping.times.end}
    for column in (mapping.object, mapping.technology, mapping.slice, mapping.five_qi):
        used.update(column.asked)
    for key, value in given.items():
        inner = value.items() if isinstance(value, dict) else ((key, value),)
        for name, one in inner:
            if name in used or key in used or isinstance(one, bool):
                continue
            counter = mapping.counters.get(name)
            if isinstance(one, int | float) or (isinstance(value, dict) and isinstance(one, str)):
                values.append((counter or Counter(name, name), str(one)))
    return [(counter, value) for counter, value in values if value not in mapping.empty]


def _read_event(
    record: int,
    message: bytes,
    field_of: FieldOf,
    columns: EventColumns,
    mapping: Mapping,
    readings: Readings,
) -> None:
    """One event or ticket."""
    name = filled(mapping.object, field_of)
    period = clock.period(mapping.times, field_of)
    severity = severity_of(filled(columns.severity, field_of))
    event_type = filled(columns.event_type, field_of) or "communicationsAlarm"
    if not name:
        readings.reject(record, "missing_object", "the event names nothing in the network")
    elif period is None:
        readings.reject(record, "bad_time", "the time is missing or not in the mapping's format")
    elif severity is None:
        readings.reject(record, "bad_severity", "the severity is none that is known")
    elif event_type not in EVENT_TYPES:
        readings.reject(record, "unreadable", "the event type is none of X.733 and X.736")
    else:
        readings.event(
            record,
            filled(columns.record_id, field_of) or message.decode(errors="replace"),
            name,
            period[1],
            severity,
            event_type=event_type,
            cause=filled(columns.cause, field_of),
            problem=filled(columns.problem, field_of),
            text=filled(columns.text, field_of),
            subscriber=dialled(filled(columns.subscriber, field_of)),
            security=int(filled(columns.security, field_of) in ("1", "true")),
        )


def dialled(number: str) -> int:
    """The dial word of a number in international form, however it is spaced; 0 for none."""
    digits = _NOT_DIALLED.sub("", number).removeprefix("+")
    return to_key(digits.removeprefix("00"))
