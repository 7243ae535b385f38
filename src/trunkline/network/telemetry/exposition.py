"""Samples that an exporter shows: the Prometheus text format 0.0.4, one sample a line, comments are no samples.

A sample's object is what the mapping makes of its labels; labels that are not in the object stay behind the counter's
name, so that two samples never become one. `_total`, `_sum`, `_count` and `_bucket` count since the exporter started.
"""

from __future__ import annotations

import re

from trunkline.kernel.envelope import unescaped
from trunkline.network.telemetry.lines import NEVER_RECEIVED, Lines
from trunkline.network.telemetry.mapping import Column, Counter, Mapping
from trunkline.network.telemetry.readings import Readings, filled
from trunkline.records.network import Counting

_SAMPLE = re.compile(
    r"([A-Za-z_:][\w:]*)\s*(?:\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?\s+(\S+)(?:\s+(-?\d{1,18}))?\s*(?:#.*)?"
)
_LABEL = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_CUMULATIVE = ("_total", "_sum", "_count", "_bucket")
_UNIMPORTANT = {"instance", "job"}
_NOT_NUMBERS = {"nan", "+inf", "-inf", "inf"}


def read_samples(lines: Lines, mapping: Mapping, readings: Readings) -> None:
    """Read each line as one sample."""
    received = lines.places.received_us.tolist()
    for record, message in enumerate(lines.messages):
        if record in lines.done:
            continue
        octets = unescaped(message) if lines.enveloped[record] else message
        text = octets.decode(errors="replace").strip()
        if text.startswith("#"):
            readings.reject(record, "not_telemetry", "a comment")
            continue
        found = _SAMPLE.fullmatch(text)
        labels = _labels(found[2] or "") if found else None
        if found is None or labels is None:
            readings.reject(record, "unreadable", "not a sample of the text format")
            continue
        time_us = int(found[4]) * 1000 if found[4] else received[record]
        if time_us == NEVER_RECEIVED:
            readings.reject(record, "bad_time", "the sample has no time, and came in no envelope")
            continue
        labels.setdefault("instance", lines.peers[record])
        _read(record, found[1], labels, found[3], time_us, mapping, readings)


def _labels(text: str) -> dict[str, str] | None:
    """The labels of a sample; None when they cannot be read."""
    labels: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        found = _LABEL.match(text, at)
        if not found or found[1] in labels:
            return None
        labels[found[1]] = found[2].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
        at = found.end()
    return labels


def _read(
    record: int,
    metric: str,
    labels: dict[str, str],
    value: str,
    time_us: int,
    mapping: Mapping,
    readings: Readings,
) -> None:
    """One sample."""
    named = mapping.counters.get(metric)
    if named is None and not mapping.others:
        readings.reject(record, "not_telemetry", "a metric that the mapping leaves out")
        return
    kind = Counting.CUMULATIVE if metric.endswith(_CUMULATIVE) else Counting.GAUGE
    counter = named or Counter(metric, metric, int(kind))
    name = filled(mapping.object, labels.get) or labels["instance"]
    if not name:
        readings.reject(record, "missing_object", "the sample names nothing, and came from nowhere")
        return
    if value.lower() in _NOT_NUMBERS:
        readings.reject(record, "bad_value", f"{metric}: not finite")
        return
    said = _said(mapping.object, labels)
    rest = ",".join(f"{key}={labels[key]}" for key in sorted(labels) if key not in said)
    readings.value(
        record, (name, filled(mapping.technology, labels.get), 0, 0),
        (f"{counter.name}{{{rest}}}" if rest else counter.name, counter.kind), (time_us, time_us), value,
        (counter.numerator, counter.denominator), (counter.low_milli, counter.high_milli),
    )  # fmt: skip


def _said(column: Column, labels: dict[str, str]) -> set[str]:
    """Labels that the object's name already tells."""
    for way in column.ways:
        asked = {name for name, is_field in way if is_field}
        if all(labels.get(name) for name in asked):
            return asked | _UNIMPORTANT
    return _UNIMPORTANT
