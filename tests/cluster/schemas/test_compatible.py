"""The rules of change, asked against readers that know nothing of them: what may follow is truly read."""

from __future__ import annotations

import io
import os
from typing import Any

import fastavro
import jsonschema_rs
import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trunkline.engines.schemas.book import Book, Incompatible, rule_entry
from trunkline.engines.schemas.compatible import Rule, broken, unread
from trunkline.engines.schemas.shapes import Kind, Schema

EXAMPLES = int(os.environ.get("TRUNKLINE_TEST_EXAMPLES", "80"))
often = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "string", "bytes")


def avro(body: Any) -> Schema:
    """A schema of Avro."""
    return Schema.of(Kind.AVRO, body)


# -- Avro: a schema, a value of it, and another schema --------------------------------------------------------


def values(body: Any) -> st.SearchStrategy[Any]:
    """Values of a schema (of those that `schemas` makes)."""
    if isinstance(body, list):
        return st.one_of([values(each) for each in body])
    if isinstance(body, str):
        return {
            "null": st.none(), "boolean": st.booleans(), "int": st.integers(-(2**31), 2**31 - 1),
            "long": st.integers(-(2**63), 2**63 - 1), "float": st.floats(width=32, allow_nan=False),
            "double": st.floats(allow_nan=False), "string": st.text(max_size=4), "bytes": st.binary(max_size=4),
        }[body]  # fmt: skip
    if body["type"] == "array":
        return st.lists(values(body["items"]), max_size=3)
    if body["type"] == "map":
        return st.dictionaries(st.text(max_size=3), values(body["values"]), max_size=3)
    if body["type"] == "enum":
        return st.sampled_from(body["symbols"])
    if body["type"] == "fixed":
        return st.binary(min_size=body["size"], max_size=body["size"])
    return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in body["fields"]})


@st.composite
def types(draw: st.DrawFn, depth: int, name: str) -> Any:
    """A type; named ones are named for their place, so that two schemas may agree about them."""
    kinds = ["primitive", "primitive", "nullable", "enum", "fixed"]
    kind = draw(st.sampled_from([*kinds, "array", "map", "record"] if depth else kinds))
    if kind == "primitive":
        return draw(st.sampled_from(PRIMITIVES))
    if kind == "nullable":
        return ["null", draw(st.sampled_from(PRIMITIVES[1:]))]
    if kind == "enum":
        symbols = draw(st.lists(st.sampled_from("ABCD"), min_size=1, unique=True))
        told = {"type": "enum", "name": f"{name}_e", "symbols": symbols}
        return {**told, "default": symbols[0]} if draw(st.booleans()) else told
    if kind == "fixed":
        return {"type": "fixed", "name": f"{name}_f", "size": draw(st.integers(1, 2))}
    if kind == "array":
        return {"type": "array", "items": draw(types(depth - 1, f"{name}_a"))}
    if kind == "map":
        return {"type": "map", "values": draw(types(depth - 1, f"{name}_m"))}
    return draw(records(depth - 1, name))


@st.composite
def records(draw: st.DrawFn, depth: int = 2, name: str = "R") -> Any:
    """A record of a few fields, some with defaults."""
    fields = []
    for field in draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True)):
        body = draw(types(depth, f"{name}_{field}"))
        told: dict[str, Any] = {"name": field, "type": body}
        if isinstance(body, list):
            told["default"] = None
        elif body in ("int", "long") and draw(st.booleans()):
            told["default"] = 7
        fields.append(told)
    return {"type": "record", "name": name, "fields": fields}


@st.composite
def changed(draw: st.DrawFn, body: Any) -> Any:
    """A record after some change that people make."""
    fields = [dict(field) for field in body["fields"]]
    what = draw(st.sampled_from(["more", "fewer", "other", "wider", "renamed", "nothing"]))
    if what == "more":
        new = {"name": "z", "type": draw(types(1, "R_z"))}
        fields.append({**new, "default": None} if isinstance(new["type"], list) else new)
    elif what == "fewer" and len(fields) > 1:
        fields.pop(draw(st.integers(0, len(fields) - 1)))
    elif what == "other":
        fields[0] = {"name": fields[0]["name"], "type": draw(types(1, f"R_{fields[0]['name']}"))}
    elif what == "wider":
        wider = {"int": "long", "long": "double", "float": "double", "string": "bytes", "bytes": "string"}
        kind = fields[0]["type"]
        fields[0] = {
            "name": fields[0]["name"],
            "type": wider.get(kind, kind) if isinstance(kind, str) else kind,
        }
    elif what == "renamed":
        fields[0] = {**fields[0], "name": "y", "aliases": [fields[0]["name"]]}
    return {**body, "fields": fields}


def read(reader: Any, writer: Any, value: Any) -> Any:
    """What a reader makes of a written value; raises when it cannot."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(writer), value)
    out.seek(0)
    return fastavro.schemaless_reader(out, fastavro.parse_schema(writer), fastavro.parse_schema(reader))


@often
@given(st.data())
def test_what_avro_may_follow_is_read(data: st.DataObject) -> None:
    """No complaint: every value that was written is read by another library's own resolution."""
    writer = data.draw(records())
    reader = data.draw(st.one_of(changed(writer), records()))
    value = data.draw(values(writer))
    assume(unread(avro(reader), avro(writer)) == [])
    read(reader, writer, value)


@often
@given(st.data())
def test_a_schema_reads_itself(data: st.DataObject) -> None:
    """The same again may always follow, by every rule."""
    body = data.draw(records())
    for rule in Rule:
        assert broken(rule, avro(body), [avro(body), avro(body)]) == []


def test_what_avro_may_not() -> None:
    """The complaints are the right ones, and name the place."""
    base = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}

    def with_type(kind: Any, **more: Any) -> Schema:
        return avro({**base, "fields": [{"name": "a", "type": kind, **more}]})

    assert unread(with_type("long"), with_type("int")) == []
    assert unread(with_type("int"), with_type("long")) == ["a was long and became int"]
    assert unread(with_type(["null", "int"]), with_type("int")) == []
    assert unread(with_type("int"), with_type(["null", "int"])) == ["a was null and became int"]
    assert unread(with_type("string"), with_type("boolean")) == ["a was boolean and became string"]
    gone = avro({**base, "fields": []})
    assert unread(with_type("int"), gone) == ["a is missing where it is read, and has no default"]
    assert unread(with_type("int", default=1), gone) == []
    assert unread(gone, with_type("int")) == []
    enum = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
    fewer = {**enum, "symbols": ["A"]}
    assert unread(with_type(fewer), with_type(enum)) == [
        "a could be B, which it no longer can, and has no default"
    ]
    assert unread(with_type({**fewer, "default": "A"}), with_type(enum)) == []
    other = avro({**base, "name": "S"})
    assert unread(other, avro(base)) == ["the event was called R and became S"]
    assert unread(avro({**base, "name": "S", "aliases": ["R"]}), avro(base)) == []
    tree: Any = {"type": "record", "name": "T", "fields": [{"name": "next", "type": ["null", "T"]}]}
    assert unread(avro(tree), avro(tree)) == []
    json = Schema.of(Kind.JSON, {})
    assert unread(json, avro(base)) == ["AVRO became JSON"]


# -- JSON Schema ---------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")


@st.composite
def json_schemas(draw: st.DrawFn, depth: int = 2) -> Any:
    """A schema out of the words that are compared."""
    kinds = ["integer", "number", "string", "boolean", "null"] + (["object", "array"] if depth else [])
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=2, unique=True))
    body: dict[str, Any] = {"type": chosen[0] if len(chosen) == 1 else chosen}
    if not {"integer", "number"}.isdisjoint(chosen) and draw(st.booleans()):
        body[draw(st.sampled_from(["minimum", "maximum"]))] = draw(st.integers(-3, 3))
    if "string" in chosen and draw(st.booleans()):
        body[draw(st.sampled_from(["minLength", "maxLength"]))] = draw(st.integers(0, 2))
    if draw(st.integers(0, 5)) == 0:
        body["enum"] = draw(st.lists(st.sampled_from([0, 1, "x", "y", None, True]), min_size=1, max_size=3))
    if "object" in chosen:
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        body["properties"] = {name: draw(json_schemas(depth - 1)) for name in names}
        body["required"] = draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
        others: Any = draw(st.sampled_from([None, False, True, "schema"]))
        if others is not None:
            body["additionalProperties"] = draw(json_schemas(0)) if others == "schema" else others
    if "array" in chosen and draw(st.booleans()):
        body["items"] = draw(json_schemas(0))
    return body


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-4, 4), st.floats(-4, 4), st.sampled_from(["", "x", "y", "xyz"])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from([*NAMES, "d"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def json_changed(draw: st.DrawFn, body: Any) -> Any:
    """A schema after some change that people make."""
    told = orjson.loads(orjson.dumps(body))
    what = draw(st.sampled_from(["drop", "add", "open", "widen", "nothing"]))
    if what == "drop" and len(told) > 1:
        told.pop(draw(st.sampled_from(sorted(set(told) - {"type"}))))
    elif what == "add":
        told.setdefault("properties", {})["d"] = draw(json_schemas(0))
    elif what == "open":
        told["additionalProperties"] = draw(st.sampled_from([True, False]))
    elif what == "widen":
        before = told.get("type", [])
        told["type"] = sorted({*([before] if isinstance(before, str) else before), "null", "number"})
    return told


@often
@given(st.data())
def test_what_json_may_follow_holds(data: st.DataObject) -> None:
    """No complaint: every document that holds to the one schema holds to the other, says another library."""
    writer = data.draw(json_schemas())
    reader = data.draw(st.one_of(json_changed(writer), json_schemas()))
    assume(unread(Schema.of(Kind.JSON, reader), Schema.of(Kind.JSON, writer)) == [])
    before, after = jsonschema_rs.validator_for(writer), jsonschema_rs.validator_for(reader)
    for _ in range(8):
        document = data.draw(DOCUMENTS)
        assert not before.is_valid(document) or after.is_valid(document)


def test_what_json_may_not() -> None:
    """The complaints are the right ones, and name the place."""

    def told(**more: Any) -> Schema:
        return Schema.of(Kind.JSON, {"type": "object", **more})

    closed = {"additionalProperties": False}
    a = {"properties": {"a": {"type": "string"}}}
    assert unread(told(**a, **closed), told(**closed)) == []
    assert unread(told(**a), told()) != [], "an open object may have held another a"
    assert unread(told(**closed), told(**a, **closed)) == ["a may not be there any more"]
    assert unread(told(**a, required=["a"]), told(**a)) == ["a must be there, which it did not have to"]
    nullable = {"properties": {"a": {"type": ["string", "null"]}}}
    assert unread(told(**nullable), told(**a)) == []
    assert unread(told(**a), told(**nullable)) == ["a could be null, which it no longer can"]
    few, many = ({"properties": {"a": {"enum": list(each)}}} for each in ("x", "xy"))
    assert unread(told(**few), told(**many)) == ["a could be y, which it no longer can"]
    assert unread(told(**few), told(**a))[0].startswith("a may only be one of a list")
    strange = told(properties={"a": {"pattern": "x"}})
    assert unread(strange, told(**a)) == ["a says pattern differently, which cannot be compared"]
    bound = told(properties={"a": {"type": "integer", "minimum": 1}})
    free = told(properties={"a": {"type": "integer"}})
    assert unread(bound, free) == ["a must keep minimum 1, which it did not have to"]
    assert unread(free, bound) == []


# -- the book ------------------------------------------------------------------------------------------------


def entered(book: Book, subject: str, body: Any, rule: Rule = Rule.FULL) -> int:
    """Enter a schema; its number."""
    version, entries = book.enter(subject, avro(body), rule)
    for entry in entries:
        book.take(*entry)
    return version.number


def record(*fields: dict[str, Any]) -> Any:
    """A record of some fields."""
    return {"type": "record", "name": "R", "fields": list(fields)}


def test_a_book_keeps_numbers_for_ever() -> None:
    """The same schema has one number wherever it stands; a number is never given again."""
    book = Book()
    a, b = record({"name": "a", "type": "int"}), record({"name": "b", "type": "int"})
    assert entered(book, "one", a) == 1
    assert entered(book, "one", a) == 1
    assert entered(book, "two", a) == 1
    assert entered(book, "three", b) == 2
    assert [each.version for each in book.versions("one")] == [1]
    key = orjson.dumps({"keytype": "SCHEMA", "subject": "three", "version": 1, "magic": 1})
    book.take(key, None)
    assert book.versions("three") == []
    assert entered(book, "three", record({"name": "c", "type": "int"})) == 3


def test_a_book_refuses_what_may_not_follow() -> None:
    """The message says which rule, what breaks it, and what to do; another rule lets it in."""
    book = Book()
    entered(book, "s", record({"name": "a", "type": "int"}))
    with pytest.raises(Incompatible, match=r"rule is FULL.*a was int and became string.*Add columns"):
        book.enter("s", avro(record({"name": "a", "type": "string"})), Rule.NONE)
    book.take(*rule_entry("s", Rule.NONE))
    assert entered(book, "s", record({"name": "a", "type": "string"})) == 2
    assert [each.version for each in book.versions("s")] == [1, 2]


def test_transitive_rules_ask_every_version() -> None:
    """A default that came and went: the last version alone would not have noticed."""
    first = record({"name": "a", "type": "int"})
    second = record()
    third = record({"name": "a", "type": "string", "default": ""})
    earlier = [avro(first), avro(second)]
    assert broken(Rule.BACKWARD, avro(third), earlier) == []
    assert broken(Rule.BACKWARD_TRANSITIVE, avro(third), earlier) == [
        "new readers cannot read version 1: a was int and became string"
    ]


def test_another_registrys_messages_are_read() -> None:
    """Messages as Confluent's registry writes them, with those that mean nothing to us among them."""
    book = Book()
    book.take(b'{"keytype":"NOOP","magic":0}', None)
    book.take(b'{"keytype":"CONFIG","subject":"s","magic":0}', b'{"compatibilityLevel":"BACKWARD"}')
    value = {"subject": "s", "version": 3, "id": 17, "schema": '"string"', "deleted": False}
    book.take(b'{"keytype":"SCHEMA","subject":"s","version":3,"magic":1}', orjson.dumps(value))
    assert book.rules["s"] is Rule.BACKWARD
    assert [(each.version, each.number) for each in book.versions("s")] == [(3, 17)]
    assert entered(book, "s", "bytes") == 18
