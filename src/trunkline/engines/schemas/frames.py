"""Events on the wire as Confluent's serializers write them: an octet 0, four octets of the schema's number, the event.

What the number means stands in the registry. Avro events are the bare binary encoding (no container, no names); JSON
events are UTF-8 text.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import fastavro
import jsonschema_rs
import orjson

from trunkline.engines.schemas.shapes import Kind, Schema
from trunkline.engines.wire import Unreadable

_HEAD = struct.Struct(">bI")
_MAGIC = 0

Encode = Callable[[dict[str, Any]], bytes]
Decode = Callable[[bytes], dict[str, Any]]


def framed(number: int, payload: bytes) -> bytes:
    """An event with the number of its schema before it."""
    return _HEAD.pack(_MAGIC, number) + payload


def unframed(value: bytes) -> tuple[int, bytes]:
    """Number of the schema, and the event; raises `Unreadable`."""
    if len(value) < _HEAD.size or value[0] != _MAGIC:
        raise Unreadable("not an event with the number of its schema before it (magic octet 0)")
    return int(_HEAD.unpack_from(value)[1]), value[_HEAD.size :]


def encoder(schema: Schema) -> Encode:
    """Writes events of a schema."""
    if schema.kind is Kind.JSON:
        return orjson.dumps
    parsed = fastavro.parse_schema(schema.body)

    def encode(event: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, event)
        return out.getvalue()

    return encode


def decoder(schema: Schema) -> Decode:
    """Reads events of a schema, and raises `Unreadable`: what it says holds nothing of what was sent."""
    return _json_decoder(schema) if schema.kind is Kind.JSON else _avro_decoder(schema)


def _avro_decoder(schema: Schema) -> Decode:
    parsed = fastavro.parse_schema(schema.body)

    def decode(payload: bytes) -> dict[str, Any]:
        rest = io.BytesIO(payload)
        try:
            event = fastavro.schemaless_reader(rest, parsed, None)
        except Exception as error:  # foreign octets fail in as many ways as there are
            raise Unreadable(f"not Avro of its schema: {type(error).__name__}") from error
        if rest.tell() != len(payload):
            raise Unreadable("octets are left behind the Avro event: it was written with another schema")
        if not isinstance(event, dict):
            raise Unreadable("its Avro schema is not a record")
        return event

    return decode


def _json_decoder(schema: Schema) -> Decode:
    validator = jsonschema_rs.validator_for(schema.body)

    def decode(payload: bytes) -> dict[str, Any]:
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise Unreadable("not JSON") from error
        if not isinstance(event, dict):
            raise Unreadable("not a JSON object")
        if not validator.is_valid(event):
            wrong = next(iter(validator.iter_errors(event)))
            place = "/".join(str(part) for part in wrong.instance_path)
            rule = str(wrong.schema_path[-1]) if wrong.schema_path else "schema"
            raise Unreadable(f"not what its schema says: {place or 'the event'} breaks {rule!r}")
        return event

    return decode
