"""Whether a schema may follow another: the rules of Confluent's registry, and what breaks them in words.

BACKWARD: who reads by the new schema reads what was written by the old one. FORWARD: who reads by the old one reads
what is written by the new one. FULL: both. `_TRANSITIVE` asks it of every version that there was, not only of the
last. For Avro the question is answered by the rules of schema resolution (Avro 1.11, Schema Resolution); for JSON
Schema by whether everything that holds to the one holds to the other. Where that cannot be seen, the answer is no.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from trunkline.engines.schemas.shapes import Kind, Schema

Json = Any


class Rule(StrEnum):
    """Confluent's compatibility levels."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"


def broken(rule: Rule, fresh: Schema, earlier: Sequence[Schema]) -> list[str]:
    """What a new schema breaks, in words; `earlier` in the order of their versions. Nothing: it may follow."""
    if rule is Rule.NONE or not earlier:
        return []
    asked = enumerate(earlier, 1) if rule.endswith("_TRANSITIVE") else [(len(earlier), earlier[-1])]
    found: list[str] = []
    for version, before in asked:
        if rule.startswith(("BACKWARD", "FULL")):
            found += [f"new readers cannot read version {version}: {each}" for each in unread(fresh, before)]
        if rule.startswith(("FORWARD", "FULL")):
            found += [
                f"readers of version {version} cannot read the new one: {each}"
                for each in unread(before, fresh)
            ]
    return found


def unread(reader: Schema, writer: Schema) -> list[str]:
    """Why who reads by `reader` cannot read everything written by `writer`; nothing when they can."""
    if reader.kind is not writer.kind:
        return [f"{writer.kind} became {reader.kind}"]
    if reader.kind is Kind.JSON:
        return list(_json(reader.body, writer.body, ""))
    return list(_Avro(reader.body, writer.body).complaints())


# -- Avro ----------------------------------------------------------------------------------------------------

_PROMOTED = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}
_NAMED = ("record", "error", "enum", "fixed")


class _Names:
    """Named types of one schema, by full name."""

    def __init__(self, body: Json) -> None:
        self._known: dict[str, Json] = {}
        self._find(body, "")

    def _find(self, body: Json, space: str) -> None:
        if isinstance(body, list):
            for branch in body:
                self._find(branch, space)
        elif isinstance(body, dict):
            if body.get("type") in _NAMED:
                space = full_name(body, space).rpartition(".")[0]
                self._known[full_name(body, space)] = {**body, "namespace": space}
            for name in ("type", "items", "values"):
                if isinstance(body.get(name), dict | list):
                    self._find(body[name], space)
            for field in body.get("fields", ()):
                self._find(field["type"], space)

    def resolved(self, body: Json, space: str) -> Json:
        """A type as an object with its `type`, or a list for a union."""
        if isinstance(body, list):
            return body
        if isinstance(body, dict):
            kind = body["type"]
            if isinstance(kind, dict | list):
                return self.resolved(kind, space)
            if kind in _NAMED:
                return self._known[full_name(body, space)]
            return body if not self._is_name(kind, space) else self.resolved(kind, space)
        return self._known[self._full(body, space)] if self._is_name(body, space) else {"type": body}

    def _is_name(self, name: str, space: str) -> bool:
        return self._full(name, space) in self._known

    def _full(self, name: str, space: str) -> str:
        qualified = f"{space}.{name}" if space and "." not in name else name
        return qualified if qualified in self._known else name


def full_name(body: dict[str, Json], space: str) -> str:
    """Full name of a named type, in the namespace that surrounds it."""
    name = str(body["name"])
    space = str(body.get("namespace", space))
    return name if "." in name or not space else f"{space}.{name}"


class _Avro:
    """One question: whether `reader` reads what `writer` wrote."""

    def __init__(self, reader: Json, writer: Json) -> None:
        self._reader, self._writer = _Names(reader), _Names(writer)
        self._bodies = reader, writer
        self._asked: set[tuple[str, str]] = set()

    def complaints(self) -> Iterator[str]:
        """Everything that is in the way."""
        return self._types(self._bodies[0], self._bodies[1], "", ("", ""))

    def _types(self, reader: Json, writer: Json, where: str, spaces: tuple[str, str]) -> Iterator[str]:
        reader, writer = (
            self._reader.resolved(reader, spaces[0]),
            self._writer.resolved(writer, spaces[1]),
        )
        if isinstance(writer, list):  # whichever branch was written must be read
            for branch in writer:
                yield from self._types(reader, branch, where, spaces)
            return
        if isinstance(reader, list):
            tried = [list(self._types(branch, writer, where, spaces)) for branch in reader]
            if tried and all(tried):
                same = [
                    t
                    for b, t in zip(reader, tried, strict=True)
                    if self._kind(b, spaces[0]) == writer["type"]
                ]
                yield from (
                    same[0]
                    if same
                    else [f"{where or 'the event'} may be {writer['type']}, which its readers do not expect"]
                )
            elif not tried:
                yield f"{where or 'the event'} can be nothing"
            return
        kind, was = reader["type"], writer["type"]
        if kind == was:
            yield from self._same(kind, reader, writer, where)
        elif kind not in _PROMOTED.get(was, ()):
            yield f"{where or 'the event'} was {was} and became {kind}"

    def _kind(self, body: Json, space: str) -> Json:
        found = self._reader.resolved(body, space)
        return None if isinstance(found, list) else found["type"]

    def _same(self, kind: str, reader: Json, writer: Json, where: str) -> Iterator[str]:
        spaces = reader.get("namespace", ""), writer.get("namespace", "")
        if kind == "array":
            yield from self._types(reader["items"], writer["items"], f"{where}[]", spaces)
        elif kind == "map":
            yield from self._types(reader["values"], writer["values"], f"{where}{{}}", spaces)
        elif kind in _NAMED:
            names = full_name(reader, ""), full_name(writer, "")
            if not _same_name(reader, writer):
                yield f"{where or 'the event'} was called {names[1]} and became {names[0]}"
            elif kind == "fixed":
                if reader["size"] != writer["size"]:
                    yield f"{where} had {writer['size']} octets and became {reader['size']}"
            elif kind == "enum":
                lost = [each for each in writer["symbols"] if each not in reader["symbols"]]
                if lost and "default" not in reader:
                    yield f"{where} could be {', '.join(lost)}, which it no longer can, and has no default"
            elif names not in self._asked:  # a type within itself is asked about once
                self._asked.add(names)
                yield from self._fields(reader, writer, where, spaces)

    def _fields(self, reader: Json, writer: Json, where: str, spaces: tuple[str, str]) -> Iterator[str]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            names = (field["name"], *field.get("aliases", ()))
            found = next((written[name] for name in names if name in written), None)
            place = f"{where}.{field['name']}" if where else field["name"]
            if found is not None:
                yield from self._types(field["type"], found["type"], place, spaces)
            elif "default" not in field:
                yield f"{place} is missing where it is read, and has no default"


def _same_name(reader: Json, writer: Json) -> bool:
    """Names as resolution compares them: the last part, or one of the reader's aliases in full."""
    theirs = full_name(writer, "")
    space = reader.get("namespace", "")
    aliases = {each if "." in each or not space else f"{space}.{each}" for each in reader.get("aliases", ())}
    return str(reader["name"]).rpartition(".")[2] == theirs.rpartition(".")[2] or theirs in aliases


# -- JSON Schema ---------------------------------------------------------------------------------------------

_SAYS_NOTHING = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "readOnly",
     "writeOnly", "connect.index", "connect.type"}
)  # fmt: skip
_COMPARED = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "minimum", "maximum",
     "minLength", "maxLength", "minItems", "maxItems"}
)  # fmt: skip
_ALL_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_LOWEST = ("minimum", "minLength", "minItems")
_HIGHEST = ("maximum", "maxLength", "maxItems")
_BOUND_TYPES = {
    "minimum": {"integer", "number"}, "maximum": {"integer", "number"}, "minLength": {"string"},
    "maxLength": {"string"}, "minItems": {"array"}, "maxItems": {"array"},
}  # fmt: skip


def _json(reader: Json, writer: Json, where: str) -> Iterator[str]:
    """Why something that holds to `writer` may not hold to `reader`."""
    here = where or "the event"
    if reader is True or reader == {} or writer is False or reader == writer:
        return
    if reader is False:
        yield f"{here} may not be there any more"
        return
    writer = {} if writer is True else writer
    strange = {
        name
        for body in (reader, writer)
        for name in body
        if name not in _SAYS_NOTHING and name not in _COMPARED
    }
    different = sorted(name for name in strange if reader.get(name) != writer.get(name))
    if different:
        yield f"{here} says {', '.join(different)} differently, which cannot be compared"
        return
    kinds = _kinds(writer)
    if not kinds:
        return  # nothing was ever written by such a schema
    lost = sorted(kind for kind in kinds if not _takes(kind, _declared(reader)))
    if lost:
        yield f"{here} could be {', '.join(lost)}, which it no longer can"
    yield from _json_values(reader, writer, here)
    for name in (*_LOWEST, *_HIGHEST):
        if name in reader and kinds & _BOUND_TYPES[name] and _tighter(name, reader[name], writer.get(name)):
            yield f"{here} must keep {name} {reader[name]}, which it did not have to"
    if "object" in kinds:
        yield from _json_object(reader, writer, where)
    if "array" in kinds and "items" in reader:
        yield from _json(reader["items"], writer.get("items", True), f"{where}[]")


def _declared(body: dict[str, Json]) -> frozenset[str]:
    told = body.get("type")
    if told is None:
        return _ALL_TYPES
    return frozenset([told] if isinstance(told, str) else told)


def _kinds(body: dict[str, Json]) -> frozenset[str]:
    """Types that a value of this schema may have, as far as they matter: of numbers, both where both may be."""
    return _declared(body)


def _takes(kind: str, kinds: frozenset[str]) -> bool:
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _json_values(reader: dict[str, Json], writer: dict[str, Json], here: str) -> Iterator[str]:
    """Closed lists of values."""
    allowed = reader.get("enum", [reader["const"]] if "const" in reader else None)
    if "enum" in reader and "const" in reader:
        allowed = [reader["const"]] if reader["const"] in reader["enum"] else []
    if allowed is None:
        return
    written = writer.get("enum", [writer["const"]] if "const" in writer else None)
    if written is None:
        yield f"{here} may only be one of a list, which it did not have to"
        return
    known = [(type(each), each) for each in allowed]
    lost = [each for each in written if (type(each), each) not in known]
    if lost:
        yield f"{here} could be {', '.join(map(str, lost))}, which it no longer can"


def _tighter(name: str, bound: float, before: float | None) -> bool:
    if before is None:
        return not (name in _LOWEST and name != "minimum" and bound <= 0)
    return bound > before if name in _LOWEST else bound < before


def _json_object(reader: dict[str, Json], writer: dict[str, Json], where: str) -> Iterator[str]:
    mine, theirs = reader.get("properties", {}), writer.get("properties", {})
    needed, given = set(reader.get("required", ())), set(writer.get("required", ()))
    others, their_others = reader.get("additionalProperties", True), writer.get("additionalProperties", True)
    for name in sorted(needed - given):
        yield f"{where}.{name}".lstrip(".") + " must be there, which it did not have to"
    for name in sorted(mine.keys() | theirs.keys()):
        place = f"{where}.{name}".lstrip(".")
        if name in theirs:
            yield from _json(mine.get(name, others), theirs[name], place)
        elif their_others is not False:  # written without a promise, read with one
            yield from _json(mine[name], their_others, place)
    if their_others is not False:
        yield from _json(others, their_others, f"{where}.*".lstrip("."))
