"""Schemas worked out from records, and rows as the single events that such a schema describes.

A column is written down once, in `records/`; Avro 1.11 and JSON Schema (2020-12) of it follow. Outside nobody knows
our 64-bit words: a number travels as its digits, an identity as sixteen hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.dial import to_text

NAMESPACE = "trunkline"
WORD = {"type": "fixed", "name": "word", "namespace": NAMESPACE, "size": 8}
_AVRO: dict[type[pl.DataType], str] = {
    pl.Int8: "int", pl.Int16: "int", pl.Int32: "int", pl.UInt8: "int", pl.UInt16: "int",
    pl.UInt32: "long", pl.Int64: "long", pl.Float32: "float", pl.Float64: "double", pl.Boolean: "boolean",
    pl.String: "string", pl.Categorical: "string", pl.Enum: "string", pl.Binary: "bytes",
}  # fmt: skip
_JSON = {
    "int": "integer", "long": "integer", "float": "number", "double": "number", "boolean": "boolean",
    "string": "string",
}  # fmt: skip
_RANGES: dict[type[pl.DataType], tuple[int, int]] = {
    pl.Int8: (-(2**7), 2**7 - 1), pl.Int16: (-(2**15), 2**15 - 1), pl.Int32: (-(2**31), 2**31 - 1),
    pl.Int64: (-(2**63), 2**63 - 1), pl.UInt8: (0, 2**8 - 1), pl.UInt16: (0, 2**16 - 1),
    pl.UInt32: (0, 2**32 - 1),
}  # fmt: skip


class Kind(StrEnum):
    """What a schema is written in; the names are those of Confluent's registry."""

    AVRO = "AVRO"
    JSON = "JSON"


@dataclass(frozen=True)
class Schema:
    """A schema as it is kept: the same text is the same schema."""

    kind: Kind
    text: str

    @classmethod
    def of(cls, kind: Kind, body: Any) -> Schema:  # noqa: ANN401 -- JSON
        """A schema whose text is always written alike: fields stay in their order, blanks go."""
        return cls(kind, orjson.dumps(body).decode())

    @cached_property
    def body(self) -> Any:  # noqa: ANN401 -- JSON
        """What the text says."""
        return orjson.loads(self.text)


def columns(record: Record) -> Schema:
    """What batches of a record hold between our own steps: every column may be missing, then it is null."""
    known: set[str] = set()
    fields = [_field(column, _column_type(column.dtype, known), nullable=True) for column in record.columns]
    return Schema.of(Kind.AVRO, _avro_record(record, fields))


def layout(dtype: np.dtype[Any]) -> Schema:
    """What a state's rows look like in its changelog: octets as they lie in memory, so any change is another type."""
    told = ", ".join(
        f"{name} {_places(dtype[name])}x{dtype.fields[name][1]}" for name in dtype.names or () if dtype.fields
    )
    name = f"layout_{hashlib.sha256(told.encode()).hexdigest()[:12]}"
    fixed = {"type": "fixed", "name": name, "namespace": NAMESPACE, "size": dtype.itemsize, "doc": told}
    return Schema.of(Kind.AVRO, fixed)


def _places(dtype: np.dtype[Any]) -> str:
    """What a field's octets are; of several numbers side by side, which numbers and how many."""
    base, shape = dtype.subdtype or (dtype, ())
    return base.str + "".join(f"[{count}]" for count in shape)


def event(record: Record, kind: Kind, *, closed: bool = False) -> Schema:
    """What a single event of a record looks like; the columns of its key are always there.

    `closed` refuses other fields than these (JSON only: Avro has no others): right for what is handed in, while
    whoever reads what we hand out should expect more one day.
    """
    if kind is Kind.AVRO:
        fields = [_field(c, _event_type(c), nullable=c.name not in record.key) for c in record.columns]
        return Schema.of(kind, _avro_record(record, fields))
    properties = {column.name: _property(column, column.name not in record.key) for column in record.columns}
    body = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _name(record),
        "description": record.text,
        "type": "object",
        "properties": properties,
        "required": list(record.key),
    }
    return Schema.of(kind, {**body, "additionalProperties": False} if closed else body)


def events(frame: pl.DataFrame, record: Record) -> list[dict[str, Any]]:
    """Rows as events: numbers as digits (null where only a digest is known), identities in hexadecimal."""
    told = record.conform(frame)
    for column in record.columns:
        if column.dtype == pl.UInt64:
            values = told.get_column(column.name)
            words = {key: _word(key, column) for key in values.unique().drop_nulls().to_list()}
            told = told.with_columns(
                pl.Series(column.name, [words.get(key) for key in values.to_list()], pl.String)
            )
    return told.to_dicts()


def _word(key: int, column: Column) -> str | None:
    return (to_text(key) or None) if column.personal else f"{key:016x}"


def _name(record: Record) -> str:
    return "".join(part.capitalize() for part in re.findall(r"[A-Za-z0-9]+", record.name))


def _avro_record(record: Record, fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": _name(record),
        "namespace": NAMESPACE,
        "doc": record.text,
        "fields": fields,
    }


def _field(column: Column, kind: Any, *, nullable: bool) -> dict[str, Any]:  # noqa: ANN401 -- Avro's JSON
    told = {"name": column.name, "doc": _doc(column)}
    if nullable:
        return {**told, "type": ["null", kind], "default": None}
    return {**told, "type": kind}


def _doc(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    return f"{column.text.removesuffix('.')}{unit}{'; personal' if column.personal else ''}."


def _column_type(dtype: Any, known: set[str]) -> Any:  # noqa: ANN401 -- Polars' type or its class; Avro's JSON
    """Avro's type of a column; a 64-bit word without sign is no `long`, so it is eight octets."""
    if isinstance(dtype, pl.List):
        return {"type": "array", "items": _column_type(dtype.inner, known)}
    if isinstance(dtype, pl.Struct):
        name = "_".join(field.name for field in dtype.fields)
        if name in known:
            return f"{NAMESPACE}.{name}"
        known.add(name)
        parts = [{"name": each.name, "type": _column_type(each.dtype, known)} for each in dtype.fields]
        return {"type": "record", "name": name, "namespace": NAMESPACE, "fields": parts}
    if _class(dtype) is not pl.UInt64:
        return _AVRO[_class(dtype)]
    if "word" in known:
        return f"{NAMESPACE}.word"
    known.add("word")
    return WORD


def _event_type(column: Column) -> str:
    return "string" if _class(column.dtype) is pl.UInt64 else _AVRO[_class(column.dtype)]


def _property(column: Column, nullable: bool) -> dict[str, Any]:  # noqa: FBT001 -- says itself what it is
    name = _JSON[_event_type(column)]
    told: dict[str, Any] = {"description": _doc(column), "type": [name, "null"] if nullable else name}
    if _class(column.dtype) in _RANGES:
        told["minimum"], told["maximum"] = _RANGES[_class(column.dtype)]
    return told


def _class(dtype: pl.DataType | type[pl.DataType]) -> type[pl.DataType]:
    return dtype if isinstance(dtype, type) else type(dtype)
