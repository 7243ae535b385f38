"""A telemetry mapping says how one kind of sender writes; it is text that an operator writes and we compile.

A device model is a mapping too: its fields, their units and their ranges are data, so a new type of device needs no
code. `parse_mapping` reports every mistake at once, each with its line. The README of this folder tells people what
may stand in a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trunkline.kernel.mappings import MappingError, Problem
from trunkline.network.telemetry.numbers import LARGEST_FACTOR
from trunkline.records.network import Counting, Severity

SHIPPED = (
    "cells_csv",
    "cells_ndjson",
    "pm_xml",
    "ves",
    "syslog",
    "snmp_traps",
    "netflow",
    "prometheus",
    "events_ndjson",
    "care_tickets",
    "devices",
    "drive_test_csv",
)

KINDS = ("csv", "ndjson", "pm_xml", "ves", "syslog", "snmp", "netflow", "prometheus")
EVENT_TYPES = (  # X.733 8.1.1 and X.736 8.1.1
    "communicationsAlarm", "qualityOfServiceAlarm", "processingErrorAlarm", "equipmentAlarm", "environmentalAlarm",
    "integrityViolation", "operationalViolation", "physicalViolation", "securityServiceOrMechanismViolation",
    "timeDomainViolation",
)  # fmt: skip
SEVERITIES = {severity.name.lower(): int(severity) for severity in Severity}
COUNTINGS = {counting.name.lower(): int(counting) for counting in Counting}
TIME_FORMATS = ("iso8601", "unix_s", "unix_ms", "unix_us")
DOCUMENT_ENDS = re.compile(rb"</(?:[\w.-]+:)?(?:measCollecFile|measDataFile)\s*>\s*")
AHEAD_US = 300_000_000  # how far a sender's clock may be ahead before it is not believed


@dataclass(frozen=True)
class Column:
    """What fills one column: the first of its ways whose fields are all there, or a constant.

    A way is a row of pieces, each a text and whether that names a field; a field alone is the shortest way.
    """

    ways: tuple[tuple[tuple[str, bool], ...], ...] = ()
    constant: str | None = None
    values: Dict[str, str] = field(default_factory=dict)
    default: str | None = None

    @cached_property
    def single(self) -> str:
        """The field that alone fills it, if there is one: most columns of most mappings are such."""
        alone = len(self.ways) == 1 and len(self.ways[0]) == 1 and self.ways[0][0][1]
        return self.ways[0][0][0] if alone and self.constant is None and not self.values else ""

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of all fields it looks at."""
        return tuple(dict.fromkeys(name for way in self.ways for name, is_field in way if is_field))

    @property
    def plain(self) -> bool:
        """Whether it is one field as it stands."""
        return len(self.ways) == 1 and len(self.ways[0]) == 1 and not self.values and self.default is None


NOTHING = Column(constant="")


@dataclass(frozen=True)
class Times:
    """Where the period stands and how its times are written; only an end and no length: a reading at one moment."""

    begin: str = ""
    end: str = ""
    format: str = "iso8601"
    zone: str = "UTC"
    period_us: int = 0
    ahead_us: int = AHEAD_US


@dataclass(frozen=True)
class Counter:
    """One counter: how its sender calls it, how it travels, how it counts, and what its values may be."""

    field: str
    name: str
    kind: int = Counting.DELTA
    numerator: int = 1  # of the factor from the sender's unit to ours
    denominator: int = 1
    low_milli: int | None = None
    high_milli: int | None = None


@dataclass(frozen=True)
class Meaning:
    """What a message means that matches: a syslog text by pattern, a trap by its OID, an event by its name."""

    match: str
    severity: int | None = None  # None: the sender's own
    event_type: str = "communicationsAlarm"
    cause: str = ""
    problem: str = ""
    object: str = ""  # a template over what the match found; empty: the sender
    security: int = 0
    alarm: bool = True


@dataclass(frozen=True)
class EventColumns:
    """Where an event stands in a JSON object."""

    record_id: Column = NOTHING
    severity: Column = NOTHING
    event_type: Column = NOTHING
    cause: Column = NOTHING
    problem: Column = NOTHING
    text: Column = NOTHING
    subscriber: Column = NOTHING
    security: Column = NOTHING


@dataclass(frozen=True)
class User:
    """One SNMPv3 user (RFC 3414) and its passwords; given by the engine, never written in a mapping."""

    name: str
    engine: bytes = b""  # the sender's engine id; empty: any
    auth: str = ""  # md5, sha, sha224, sha256, sha384, sha512
    auth_password: str = ""
    privacy: str = ""  # des, aes
    privacy_password: str = ""

    def __repr__(self) -> str:
        """Its name only: passwords stand in no message."""
        return f"User({self.name!r})"


@dataclass(frozen=True, eq=False)
class Mapping:
    """A compiled mapping: all that decoding asks about one kind of sender."""

    name: str
    text: str
    source: str
    kind: str
    delimiter: str = ","
    header: bool = True
    columns: tuple[str, ...] = ()
    object: Column = NOTHING
    technology: Column = NOTHING
    slice: Column = NOTHING
    five_qi: Column = NOTHING
    times: Times = field(default_factory=Times)
    empty: tuple[str, ...] = ("",)
    counters: Dict[str, Counter] = field(default_factory=dict)
    others: bool = True  # whether fields that nothing names are counters of their own name
    ignored: tuple[str, ...] = ()
    model: str = ""  # field that names the device model of a record
    models: Dict[str, Dict[str, Counter]] = field(default_factory=dict)
    event: EventColumns | None = None
    meanings: tuple[Meaning, ...] = ()
    users: tuple[User, ...] = ()
    communities: tuple[str, ...] = ()

    @property
    def header_lines(self) -> int:
        """How many lines at the head of a file are no records but say what its columns are."""
        return 1 if self.kind == "csv" and self.header else 0

    def record_end(self, data: bytes | bytearray) -> int:
        """How many octets at the head of `data` are whole records; the rest waits for what comes next."""
        if self.kind == "pm_xml":
            ends = [found.end() for found in DOCUMENT_ENDS.finditer(data)]
            return ends[-1] if ends else 0
        return data.rfind(b"\n") + 1

    def with_users(self, users: tuple[User, ...], communities: tuple[str, ...]) -> Mapping:
        """The same mapping, knowing whom to believe."""
        return replace(self, users=users, communities=communities)


def parse_mapping(name: str, text: str) -> Mapping:
    """Compile a mapping; raises `MappingError` with every mistake in it."""
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise MappingError(name, [Problem(line, f"not YAML: {error.problem}")]) from error
    reader = _Reader()
    mapping = reader.mapping(name, tree)
    if reader.problems or mapping is None:
        raise MappingError(name, reader.problems)
    return mapping


_KNOWN = (
    "text", "source", "format", "object", "technology", "slice", "five_qi", "time", "empty", "counters", "others",
    "ignored", "model", "models", "event", "meanings",
)  # fmt: skip


@dataclass
class _Reader:
    """Reads the tree once and collects mistakes."""

    problems: list[Problem] = field(default_factory=list)

    def mapping(self, name: str, tree: Any) -> Mapping | None:  # noqa: ANN401 -- YAML may hold anything
        """The whole file."""
        if not isinstance(tree, dict):
            self.problem(1, "a mapping is a YAML mapping with `format`")
            return None
        self.known_only(tree, _KNOWN, "a mapping")
        kind, delimiter, header, columns = self.format(tree)
        if kind == "csv" and "object" not in tree:
            self.problem(1, "a csv mapping says with `object` which column names what is measured")
        models = self.section(tree, "models")
        return Mapping(
            name=name,
            text=self.one(tree, "text"),
            source=self.one(tree, "source") or name,
            kind=kind,
            delimiter=delimiter,
            header=header,
            columns=columns,
            object=self.column(tree, "object"),
            technology=self.column(tree, "technology"),
            slice=self.column(tree, "slice"),
            five_qi=self.column(tree, "five_qi"),
            times=self.times(tree),
            empty=self.texts(tree, "empty") if "empty" in tree else ("",),
            counters=self.counters(tree, "counters"),
            others=self.choice(tree, "others", ("keep", "ignore"), "keep") == "keep",
            ignored=self.texts(tree, "ignored"),
            model=self.one(tree, "model"),
            models={str(model): self.counters(models, model) for model in models},
            event=self.event(tree),
            meanings=tuple(self.meaning(one) for one in self.list(tree, "meanings")),
        )

    # -- sections ------------------------------------------------------------------------------------------

    def format(self, tree: Any) -> tuple[str, str, bool, tuple[str, ...]]:  # noqa: ANN401
        """The section `format`: a name, or a mapping with `kind`."""
        section = tree.get("format")
        section = {"kind": section} if isinstance(section, str) else section
        if not isinstance(section, dict) or section.get("kind") not in KINDS:
            self.problem(self.line(tree, "format"), f"format (or format.kind) is one of {', '.join(KINDS)}")
            return "ndjson", ",", True, ()
        csv = section["kind"] == "csv"
        self.known_only(section, ("kind", "delimiter", "columns") if csv else ("kind",), "format")
        columns = self.texts(section, "columns")
        delimiter = self.one(section, "delimiter") or ","
        if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
            self.problem(self.line(section, "delimiter"), "format.delimiter is one ASCII character")
        return str(section["kind"]), delimiter, not columns, columns

    def column(self, tree: Any, key: str) -> Column:  # noqa: ANN401
        """One column: a field, a template with {fields}, a list of them of which the first fills it, or a mapping."""
        spec = tree.get(key)
        if spec is None:
            return NOTHING
        if isinstance(spec, str | list):
            spec = {"from": spec}
        if not isinstance(spec, dict):
            self.problem(
                self.line(tree, key), f"{key} is a field, a template, a list of them or a mapping with `from`"
            )
            return NOTHING
        self.known_only(spec, ("from", "constant", "values", "default"), key)
        if ("from" in spec) == ("constant" in spec):
            self.problem(self.line(tree, key), f"{key} needs either from or constant")
        return Column(
            ways=tuple(_way(one) for one in self.texts(spec, "from")),
            constant=self.one(spec, "constant") if "constant" in spec else None,
            values={_text(name): _text(value) for name, value in self.section(spec, "values").items()},
            default=self.one(spec, "default") if "default" in spec else None,
        )

    def times(self, tree: Any) -> Times:  # noqa: ANN401
        """The section `time`."""
        section = self.section(tree, "time")
        self.known_only(section, ("begin", "end", "format", "zone", "period_s", "ahead_s"), "time")
        form = self.one(section, "format") or "iso8601"
        if form not in TIME_FORMATS and "%" not in form:
            self.problem(
                self.line(section, "format"), f"time.format is a pattern or one of {', '.join(TIME_FORMATS)}"
            )
        zone = self.one(section, "zone") or "UTC"
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.problem(self.line(section, "zone"), f"time.zone: no such zone {zone!r}")
        return Times(
            begin=self.one(section, "begin"),
            end=self.one(section, "end"),
            format=form,
            zone=zone,
            period_us=self.seconds(section, "period_s", 0),
            ahead_us=self.seconds(section, "ahead_s", AHEAD_US),
        )

    def counters(self, tree: Any, key: Any) -> dict[str, Counter]:  # noqa: ANN401
        """A section of counters by the name under which they travel."""
        found: dict[str, Counter] = {}
        for name, given in self.section(tree, key).items():
            spec = {} if given is None else {"from": given} if isinstance(given, str) else given
            line = self.line(tree[key], name)
            if not isinstance(spec, dict):
                self.problem(line, f"counter {name} is a field or a mapping")
                continue
            self.known_only(
                spec, ("from", "kind", "factor", "low", "high", "unit", "text"), f"counter {name}"
            )
            factor = self.number(spec, "factor", line)
            fraction = Fraction(1) if factor is None else Fraction(factor)
            if fraction <= 0 or max(fraction.numerator, fraction.denominator) > LARGEST_FACTOR:
                self.problem(
                    line, f"counter {name}: factor lies between 0.000001 and 1000000, with six decimals"
                )
                fraction = Fraction(1)
            low, high = self.number(spec, "low", line), self.number(spec, "high", line)
            counter = Counter(
                field=self.one(spec, "from") or str(name),
                name=str(name),
                kind=COUNTINGS[self.choice(spec, "kind", tuple(COUNTINGS), "delta")],
                numerator=fraction.numerator,
                denominator=fraction.denominator,
                low_milli=None if low is None else int(low * 1000),
                high_milli=None if high is None else int(high * 1000),
            )
            if counter.field in found:
                self.problem(line, f"field {counter.field!r} fills two counters")
            found[counter.field] = counter
        return found

    def event(self, tree: Any) -> EventColumns | None:  # noqa: ANN401
        """The section `event`."""
        if "event" not in tree:
            return None
        section = self.section(tree, "event")
        names = tuple(EventColumns.__dataclass_fields__)
        self.known_only(section, names, "event")
        return EventColumns(**{name: self.column(section, name) for name in names})

    def meaning(self, spec: Any) -> Meaning:  # noqa: ANN401
        """One rule of what a message means."""
        if not isinstance(spec, dict) or not self.one(spec, "match"):
            self.problem(self.line(spec, "match") if isinstance(spec, dict) else 1, "a meaning needs `match`")
            return Meaning("")
        line = self.line(spec, "match")
        known = ("match", "severity", "event_type", "cause", "problem", "object", "security", "alarm")
        self.known_only(spec, known, "a meaning")
        match = self.one(spec, "match")
        try:
            re.compile(match)
        except re.error as error:
            self.problem(line, f"match is no pattern: {error}")
        severity = self.choice(spec, "severity", (*SEVERITIES, ""), "")
        return Meaning(
            match=match,
            severity=SEVERITIES.get(severity),
            event_type=self.choice(spec, "event_type", EVENT_TYPES, EVENT_TYPES[0]),
            cause=self.one(spec, "cause"),
            problem=self.one(spec, "problem"),
            object=self.one(spec, "object"),
            security=int(bool(spec.get("security"))),
            alarm=bool(spec.get("alarm", True)),
        )

    # -- values --------------------------------------------------------------------------------------------

    def section(self, tree: Any, key: Any) -> Any:  # noqa: ANN401
        """A mapping within a mapping."""
        found = tree.get(key) if isinstance(tree, dict) else None
        if found is not None and not isinstance(found, dict):
            self.problem(self.line(tree, key), f"{key} is a mapping")
            return {}
        return found or {}

    def list(self, tree: Any, key: str) -> list[Any]:  # noqa: ANN401
        """A list within a mapping."""
        found = tree.get(key) or []
        if not isinstance(found, list):
            self.problem(self.line(tree, key), f"{key} is a list")
            return []
        return found

    def one(self, tree: Any, key: str) -> str:  # noqa: ANN401
        """A text; empty when it is not there."""
        found = tree.get(key)
        if isinstance(found, dict | list):
            self.problem(self.line(tree, key), f"{key} is a text")
            return ""
        return "" if found is None else _text(found)

    def texts(self, tree: Any, key: str) -> tuple[str, ...]:  # noqa: ANN401
        """A text or a list of texts."""
        found = tree.get(key)
        if found is None:
            return ()
        return tuple(_text(one) for one in found) if isinstance(found, list) else (_text(found),)

    def choice(self, tree: Any, key: str, known: tuple[str, ...], default: str) -> str:  # noqa: ANN401
        """One of a closed list."""
        found = self.one(tree, key) or default
        if found not in known:
            self.problem(self.line(tree, key), f"{key} is one of {', '.join(known)}, not {found!r}")
            return default
        return found

    def number(self, tree: Any, key: str, line: int) -> Decimal | None:  # noqa: ANN401
        """A number, exactly as it is written."""
        found = tree.get(key)
        if found is None:
            return None
        try:
            value = Decimal(str(found))
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite():
            self.problem(line, f"{key} is a number, not {found!r}")
            return None
        return value

    def seconds(self, tree: Any, key: str, default_us: int) -> int:  # noqa: ANN401
        """A length of time in microseconds."""
        value = self.number(tree, key, self.line(tree, key))
        return default_us if value is None else int(value * 1_000_000)

    def known_only(self, tree: Any, known: tuple[str, ...], where: str) -> None:  # noqa: ANN401
        """Nothing may stand where nobody looks."""
        for key in tree:
            if key not in known:
                self.problem(self.line(tree, key), f"{where} knows no {key!r}; it knows {', '.join(known)}")

    def line(self, tree: Any, key: Any) -> int:  # noqa: ANN401
        """The line of a key, from 1."""
        try:
            return int(tree.lc.key(key)[0]) + 1
        except (AttributeError, KeyError, TypeError):
            return 1

    def problem(self, line: int, text: str) -> None:
        """Remember a mistake."""
        self.problems.append(Problem(line, text))


def _text(value: object) -> str:
    """A scalar as a person wrote it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _way(text: str) -> tuple[tuple[str, bool], ...]:
    """A field's name, or a template: text with {fields} in it."""
    if "{" not in text:
        return ((text, True),)
    pieces = re.split(r"\{([^{}]+)\}", text)
    return tuple((piece, bool(at % 2)) for at, piece in enumerate(pieces) if piece)
