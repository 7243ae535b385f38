"""Schemas out of records, and rows as events: what others read is what we wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import polars as pl
import pytest
import yaml  # type: ignore[import-untyped]  # it carries no types

import trunkline.mediation
from trunkline.engines.schemas.compatible import Rule, broken, unread
from trunkline.engines.schemas.frames import decoder, encoder, framed, unframed
from trunkline.engines.schemas.shapes import Kind, columns, event, events, layout
from trunkline.engines.wire import Unreadable
from trunkline.kernel.columns import Column, Record
from trunkline.kernel.dial import to_key
from trunkline.kernel.flow import Stream
from trunkline.records import charging, network, network_sums, usage
from trunkline.records import events as known_events

STREAMS = [
    thing
    for module in (charging, usage, network, network_sums)
    for thing in vars(module).values()
    if isinstance(thing, Stream)
]
ALERT = pl.DataFrame(
    {
        "alert_id": ["a1", "a2"], "seq": [1, 2], "subscriber": [to_key("447700900001"), to_key("x" * 30)],
        "time_us": [1_700_000_000_000_000, 0], "kind": ["low_balance", "allowance"], "balance": ["main", None],
        "threshold": [5_000_000, 80], "value": [-(2**62), 0], "period": [0, None],
    },
    schema_overrides={"subscriber": pl.UInt64},
)  # fmt: skip


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_every_stream_has_a_schema_that_holds(stream: Stream) -> None:
    """Whatever a record's columns are, what its batches hold can be told, and reads itself."""
    told = columns(stream.record)
    assert [field["name"] for field in told.body["fields"]] == list(stream.record.schema)
    assert unread(told, told) == []


@pytest.mark.parametrize("kind", list(Kind))
def test_events_come_back_as_they_went(kind: Kind) -> None:
    """Numbers as digits, nothing where only a digest is known, every whole number to the last digit."""
    record = charging.ALERTS.record
    schema = event(record, kind)
    there, back = encoder(schema), decoder(schema)
    told = events(ALERT, record)
    assert [each["subscriber"] for each in told] == ["447700900001", None]
    assert [back(there(each)) for each in told] == told
    assert told[0]["value"] == -(2**62)


def test_identities_are_hexadecimal() -> None:
    """A word that is nobody's number has sixteen hexadecimal digits; no reader's signed long is in the way."""
    rows = pl.DataFrame(
        {"source": ["x"], "record_id": ["1"], "identity": [2**64 - 1]},
        schema_overrides={"identity": pl.UInt64},
    )
    assert events(rows, charging.CHARGED.record)[0]["identity"] == "f" * 16


def test_the_usage_event_is_what_the_mapping_reads() -> None:
    """Its fields are those that the mapping `trunkline` takes, no more and no fewer."""
    path = Path(trunkline.mediation.__file__).parent / "mappings" / "trunkline.yaml"
    said: set[str] = set()
    for value in yaml.safe_load(path.read_text())["columns"].values():
        for each in value if isinstance(value, list) else [value]:
            said.add(each["from"] if isinstance(each, dict) else each)
    assert set(known_events.USAGE_EVENT.record.schema) == said


def test_frames() -> None:
    """A frame is an octet 0 and four octets, the highest first; anything else is refused."""
    assert framed(258, b"xy") == b"\x00\x00\x00\x01\x02xy"
    assert unframed(framed(2**31 - 1, b"")) == (2**31 - 1, b"")
    for wrong in (b"", b"\x00\x00\x00", b"\x01\x00\x00\x00\x01x", b'{"id":1}'):
        with pytest.raises(Unreadable):
            unframed(wrong)


def test_what_does_not_hold_is_refused_without_being_told() -> None:
    """The reason names the place and the rule, and nothing of what was sent."""
    record = known_events.USAGE_EVENT.record
    told = decoder(event(record, Kind.JSON, closed=True))
    with pytest.raises(Unreadable, match="called breaks 'type'") as caught:
        told(b'{"id":"1","type":"voice","called":447700900001}')
    assert "4477009" not in str(caught.value)
    for wrong in (b"[]", b"{", b'{"id":"1"}', b'{"id":"1","type":"sms","more":1}'):
        with pytest.raises(Unreadable):
            told(wrong)
    avro = decoder(event(record, Kind.AVRO))
    for wrong in (b"", b"\x02", encoder(event(record, Kind.AVRO))({"id": "1", "type": "sms"}) + b"\x00"):
        with pytest.raises(Unreadable):
            avro(wrong)


def test_json_schemas_are_schemas() -> None:
    """What we say is JSON Schema is."""
    for stream in (charging.ALERTS, charging.CHARGED, known_events.USAGE_EVENT):
        jsonschema_rs.meta.validate(event(stream.record, Kind.JSON).body)


def test_another_layout_is_another_schema() -> None:
    """A state's rows may not change quietly, not even where they stay as long."""
    before = np.dtype([("a", "u2"), ("b", "i2")])
    same = broken(Rule.FULL, layout(np.dtype([("a", "u2"), ("b", "i2")])), [layout(before)])
    assert same == []
    for other in (
        [("b", "i2"), ("a", "u2")],
        [("a", "i2"), ("b", "i2")],
        [("a", "u2"), ("b", "i2"), ("c", "u1")],
    ):
        assert broken(Rule.FULL, layout(np.dtype(other)), [layout(before)])
    many, as_long = np.dtype([("a", "i8", 2)]), np.dtype([("a", "f4", 4)])
    assert broken(Rule.FULL, layout(as_long), [layout(many)]), "several numbers in a field are told, too"


def changed(record: Record, **change: Any) -> Record:
    """A record with something else about it."""
    return replace(record, **change)


def test_what_a_record_may_become() -> None:
    """A column may come, and may go where nothing relies on it; its type may not change."""
    record = charging.ALERTS.record
    more = changed(record, columns=(*record.columns, Column("language", pl.String, "Language.")))
    other = changed(record, columns=(*record.columns[:-1], Column("period", pl.String, "Period.")))
    fewer = changed(record, columns=record.columns[1:], key=("seq",))
    full = Rule.FULL_TRANSITIVE
    assert broken(full, columns(more), [columns(record)]) == []
    assert broken(full, columns(fewer), [columns(record)]) == []
    wrong = broken(full, columns(other), [columns(more), columns(record)])
    assert any("period may be int, which its readers do not expect" in each for each in wrong), wrong
    for kind in Kind:
        assert broken(Rule.FORWARD, event(more, kind), [event(record, kind)]) == []
        assert broken(Rule.FORWARD, event(fewer, kind), [event(record, kind)])
    # what is handed in may say more by and by: we read by the new schema what was written by the old one
    opened = event(more, Kind.JSON, closed=True), event(record, Kind.JSON, closed=True)
    assert broken(Rule.BACKWARD, opened[0], [opened[1]]) == []
    assert broken(Rule.BACKWARD, opened[1], [opened[0]])
