"""A mapping says how one system writes its records; it is text that an operator writes and we compile.

`parse_mapping` reports every mistake at once, each with its line. Where the text comes from is the caller's
business. `docs/reference/mappings.md` tells people what may stand in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trunkline.kernel.mappings import MappingError, Problem
from trunkline.mediation import convert
from trunkline.mediation.scan import Keys
from trunkline.records.usage import Action, Direction, Kind, Report

SHIPPED = (
    "trunkline",
    "trunkline_csv",
    "cloudevents",
    "asterisk_csv",
    "freeswitch_csv",
    "kamailio_log",
    "kamailio_json",
    "kamailio_db_csv",
    "freeradius_detail",
    "freeradius_json",
)

VOCABULARIES: dict[str, dict[str, int]] = {
    "kind": {kind.name.lower(): kind.value for kind in Kind},
    "direction": {direction.name.lower(): direction.value for direction in Direction},
    "report": {report.name.lower(): report.value for report in Report},
    "action": {action.name.lower(): action.value for action in Action},
}
TEXTS = ("record_id", "source", "currency", "cell", "service", "session", "cause", "of")
NUMBERS = ("subscriber", "calling", "called")
TIMES = ("start", "session_start")
DURATIONS = ("duration",)
VOLUMES = ("octets_up", "octets_down")
COUNTS = ("events", "five_qi", "part")
TARGETS = (
    *TEXTS, *VOCABULARIES, *NUMBERS, *TIMES, *DURATIONS, *VOLUMES, *COUNTS, "amount", "visited_plmn", "slice",
)  # fmt: skip

DURATION_UNITS = {"us": (1, 1000), "ms": (1, 1), "s": (1000, 1), "min": (60_000, 1), "h": (3_600_000, 1)}
VOLUME_UNITS = {"B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMG", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}
ROUNDINGS = {"exact": convert.EXACT, "up": convert.UP, "down": convert.DOWN, "half_up": convert.HALF_UP}
FORMATS = ("iso8601", "unix_s", "unix_ms", "unix_us", "julian_day")
DIRECTIVES = "YymdebHMSfzZ"


@dataclass(frozen=True)
class Condition:
    """A field has one of these values."""

    field: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Moment:
    """How a time is written, and what turns it into the time that is wanted."""

    format: str
    zone: str = "UTC"
    zones: tuple[tuple[str, int], ...] = ()
    minus: int | None = None
    minus_factor: int = 0
    plus_us: int = 0
    round_us: int = 1


@dataclass(frozen=True)
class Part:
    """A piece of a template: a literal, a field of the source, or a column already worked out."""

    literal: str = ""
    field: int | None = None
    column: str = ""


@dataclass(frozen=True)
class Rule:
    """One way of filling a column; of several rules the first that finds something fills it."""

    fields: tuple[int, ...] = ()
    constant: str | None = None
    default: str | None = None
    template: tuple[Part, ...] = ()
    extract: str | None = None
    values: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    moment: Moment | None = None
    factor: int = 1
    divisor: int = 1
    rounding: int = convert.EXACT
    high: int | None = None
    zero_unless: tuple[Condition, ...] = ()
    identity: bool = False


@dataclass(frozen=True)
class Format:
    """How records and fields are found in bytes."""

    kind: str
    mark: bytes = b""
    between: str = "; "
    delimiter: str = ","
    quote: str = '"'
    header: bool = False
    columns: tuple[str, ...] = ()
    fewest: int = 0
    multiline: bool = False


@dataclass(frozen=True)
class Numbering:
    """How telephone numbers are written, so that they can be brought into international form."""

    country_code: str = ""
    international_prefixes: tuple[str, ...] = ()
    national_prefix: str = ""


@dataclass(frozen=True, eq=False)
class Mapping:
    """A compiled mapping: all that decoding asks about one system's records."""

    name: str
    text: str
    source: str
    format: Format
    paths: tuple[tuple[str, ...], ...]
    keys: Keys
    numbering: Numbering
    home_plmn: tuple[int, ...]
    not_usage: tuple[Condition, ...]
    required: tuple[int, ...]
    columns: Dict[str, tuple[Rule, ...]]

    @property
    def header_lines(self) -> int:
        """How many lines at the head of a file are no records but say what its columns are."""
        return 1 if self.format.header else 0

    def record_end(self, data: bytes | bytearray) -> int:
        """How many octets at the head of `data` are whole records; the rest waits for what comes next."""
        if self.format.kind == "blocks":
            ends = [match.end() for match in re.finditer(rb"\n[ \t\r]*\n", data)]
            return ends[-1] if ends else 0
        last = data.rfind(b"\n") + 1
        if self.format.multiline:
            quote = self.format.quote.encode()
            while last > 0 and data.count(quote, 0, last) % 2:
                last = data.rfind(b"\n", 0, last - 1) + 1
        return last


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


@dataclass
class _Reader:
    """Reads the tree once, collecting mistakes and the source fields that are asked for."""

    problems: list[Problem] = field(default_factory=list)
    paths: list[tuple[str, ...]] = field(default_factory=list)
    nested: bool = False

    def mapping(self, name: str, tree: Any) -> Mapping | None:  # noqa: ANN401 -- YAML may hold anything
        """The whole file."""
        if not isinstance(tree, dict):
            self.problem(1, "a mapping is a YAML mapping with `format` and `columns`")
            return None
        known = (
            "text", "source", "format", "numbers", "home_plmn", "not_usage_when", "required", "columns",
        )  # fmt: skip
        self.known_only(tree, known, "a mapping")
        form = self.format(tree)
        self.nested = form.kind == "ndjson"
        if form.kind == "csv":
            self.paths = []
        columns = self.columns(tree)
        conditions = self.conditions(tree, "not_usage_when")
        required = tuple(self.field(tree, "required", one) for one in self.texts(tree, "required"))
        for missing in ("record_id", "kind", "subscriber", "start"):
            if missing not in columns:
                self.problem(self.line(tree, "columns"), f"columns: {missing} is not filled by anything")
        if form.kind == "csv" and form.columns:
            for path in self.paths:
                if path[0] not in form.columns:
                    self.problem(self.line(tree, "columns"), f"{path[0]!r} is not one of format.columns")
        paths = tuple(self.paths)
        return Mapping(
            name=name,
            text=self.text(tree, "text", ""),
            source=self.text(tree, "source", name),
            format=form,
            paths=paths,
            keys=Keys(paths),
            numbering=self.numbering(tree),
            home_plmn=tuple(self.plmn(tree, code) for code in self.texts(tree, "home_plmn")),
            not_usage=conditions,
            required=required,
            columns=columns,
        )

    # -- parts of the file ---------------------------------------------------------------------------------

    def format(self, tree: Any) -> Format:  # noqa: ANN401
        """The section `format`: a name, or a mapping with `kind`."""
        section = tree.get("format")
        if isinstance(section, str):
            section = {"kind": section}
        if not isinstance(section, dict):
            self.problem(self.line(tree, "format"), "format is missing: ndjson, csv, pairs or blocks")
            return Format("ndjson")
        allowed = {
            "ndjson": ("kind", "begins"),
            "csv": ("kind", "delimiter", "quote", "header", "columns", "fewest", "multiline"),
            "pairs": ("kind", "begins", "between"),
            "blocks": ("kind",),
        }
        kind = section.get("kind")
        if kind not in allowed:
            self.problem(
                self.line(tree, "format"), f"format.kind is one of {', '.join(allowed)}, not {kind!r}"
            )
            return Format("ndjson")
        self.known_only(section, allowed[kind], f"format {kind}")
        columns = self.texts(section, "columns")
        header = self.flag(section, "header")
        if kind == "csv" and not header and not columns:
            self.problem(self.line(tree, "format"), "csv needs `header: true` or `columns`")
        for key in ("delimiter", "quote"):
            if len(self.text(section, key, ",").encode()) != 1:
                self.problem(self.line(section, key), f"format.{key} is one ASCII character")
        fewest = section.get("fewest", len(columns))
        if not isinstance(fewest, int) or not 0 <= fewest <= max(len(columns), 0):
            self.problem(self.line(section, "fewest"), "format.fewest is a number of columns")
            fewest = 0
        return Format(
            kind=kind,
            mark=self.text(section, "begins", "").encode(),
            between=self.text(section, "between", "; ") or "; ",
            delimiter=self.text(section, "delimiter", ","),
            quote=self.text(section, "quote", '"'),
            header=header,
            columns=columns,
            fewest=fewest,
            multiline=self.flag(section, "multiline"),
        )

    def numbering(self, tree: Any) -> Numbering:  # noqa: ANN401
        """The section `numbers`."""
        section = tree.get("numbers") or {}
        if not isinstance(section, dict):
            self.problem(self.line(tree, "numbers"), "numbers is a mapping")
            return Numbering()
        self.known_only(section, ("country_code", "international_prefixes", "national_prefix"), "numbers")
        found = Numbering(
            country_code=self.text(section, "country_code", "").removeprefix("+"),
            international_prefixes=self.texts(section, "international_prefixes"),
            national_prefix=self.text(section, "national_prefix", ""),
        )
        for digits in (found.country_code, found.national_prefix, *found.international_prefixes):
            if digits and not digits.isdecimal():
                self.problem(self.line(tree, "numbers"), f"numbers: {digits!r} is not made of digits")
        if found.national_prefix and not found.country_code:
            self.problem(self.line(tree, "numbers"), "numbers: national_prefix needs a country_code")
        return found

    def columns(self, tree: Any) -> dict[str, tuple[Rule, ...]]:  # noqa: ANN401
        """The section `columns`."""
        section = tree.get("columns")
        if not isinstance(section, dict):
            self.problem(self.line(tree, "columns"), "columns is missing: what fills each column of usage")
            return {}
        rules: dict[str, tuple[Rule, ...]] = {}
        for target, spec in section.items():
            if target not in TARGETS:
                self.problem(
                    self.line(section, target),
                    f"columns: no such column {target!r}; there are {', '.join(TARGETS)}",
                )
                continue
            line = self.line(section, target)
            specs = spec if isinstance(spec, list) else [spec]
            rules[target] = tuple(self.rule(target, one, line) for one in specs)
        return rules

    def rule(self, target: str, spec: Any, line: int) -> Rule:  # noqa: ANN401
        """One way of filling a column."""
        if isinstance(spec, str):
            spec = {"from": spec}
        if not isinstance(spec, dict):
            self.problem(line, f"columns.{target} is the name of a field or a mapping with `from`")
            return Rule()
        line = self.line(spec, next(iter(spec), "")) if spec else line
        self.known_only(spec, _options(target), f"columns.{target}")
        ways = [way for way in ("from", "constant", "template") if way in spec]
        if len(ways) != 1:
            self.problem(line, f"columns.{target} needs exactly one of from, constant, template")
        rule = Rule(
            fields=tuple(self.field(spec, "from", one) for one in self.texts(spec, "from")),
            constant=self.text(spec, "constant", "") if "constant" in spec else None,
            default=self.text(spec, "default", "") if "default" in spec else None,
            template=self.template(spec),
            extract=self.pattern(spec),
            values=self.values(target, spec),
            empty=self.texts(spec, "empty"),
            moment=self.moment(spec) if target in TIMES else None,
            high=self.field(spec, "high_word", spec["high_word"]) if "high_word" in spec else None,
            zero_unless=self.conditions(spec, "zero_unless"),
            identity=self.flag(spec, "identity"),
            **self.units(target, spec),
        )
        self.check_fixed(target, rule, line)
        return rule

    def check_fixed(self, target: str, rule: Rule, line: int) -> None:
        """A constant or a default of a closed vocabulary must be in it."""
        for fixed in (rule.constant, rule.default):
            if fixed is not None and target in VOCABULARIES and fixed not in VOCABULARIES[target]:
                self.problem(
                    line, f"columns.{target}: {fixed!r} is none of {', '.join(VOCABULARIES[target])}"
                )

    def units(self, target: str, spec: Any) -> dict[str, int]:  # noqa: ANN401
        """Factor, divisor and rounding of a quantity."""
        rounding = self.text(spec, "round", "exact")
        if target in TIMES:
            return {}
        if rounding not in ROUNDINGS:
            self.problem(
                self.line(spec, "round"), f"round is one of {', '.join(ROUNDINGS)}, not {rounding!r}"
            )
        found = {"rounding": ROUNDINGS.get(rounding, 0)}
        unit = self.text(spec, "unit", "")
        if target in DURATIONS and "from" in spec:
            if unit not in DURATION_UNITS:
                self.problem(
                    self.line(spec, "unit"), f"columns.{target} needs a unit: {', '.join(DURATION_UNITS)}"
                )
            found["factor"], found["divisor"] = DURATION_UNITS.get(unit, (1, 1))
        elif target in VOLUMES:
            if unit and unit not in VOLUME_UNITS:
                self.problem(
                    self.line(spec, "unit"), f"unit is one of {', '.join(VOLUME_UNITS)}, not {unit!r}"
                )
            found["factor"] = VOLUME_UNITS.get(unit, 1)
        elif target == "amount":
            found["factor"] = 1_000_000
        return found

    def moment(self, spec: Any) -> Moment:  # noqa: ANN401
        """How a time is written."""
        written = self.text(spec, "format", "")
        if written not in FORMATS:
            for directive in re.findall("%(.?)", written) or [""]:
                if directive == "" or directive not in DIRECTIVES:
                    self.problem(
                        self.line(spec, "format"),
                        f"format is one of {', '.join(FORMATS)}, or a pattern of %{' %'.join(DIRECTIVES)}",
                    )
                    break
        zone = self.text(spec, "zone", "UTC")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            self.problem(self.line(spec, "zone"), f"no such time zone: {zone!r}")
        step = self.text(spec, "round", "us")
        steps = {"us": 1, "ms": 1000, "s": 1_000_000}
        if step not in steps:
            self.problem(self.line(spec, "round"), "a time is rounded to us, ms or s")
        minus = spec.get("minus")
        minus_field, factor = None, 0
        if minus is not None:
            if (
                not isinstance(minus, dict)
                or self.text(minus, "unit", "") not in DURATION_UNITS
                or "from" not in minus
            ):
                self.problem(self.line(spec, "minus"), "minus is {from: field, unit: s}")
            else:
                minus_field = self.field(minus, "from", minus["from"])
                times, divisor = DURATION_UNITS[self.text(minus, "unit", "")]
                factor = times * 1000 // divisor
        plus = spec.get("plus_ms", 0)
        if not isinstance(plus, int):
            self.problem(self.line(spec, "plus_ms"), "plus_ms is a whole number")
            plus = 0
        return Moment(
            written, zone, self.zone_names(spec), minus_field, factor, plus * 1000, steps.get(step, 1)
        )

    def zone_names(self, spec: Any) -> tuple[tuple[str, int], ...]:  # noqa: ANN401
        """Abbreviations that %Z understands, with their offsets in microseconds."""
        names = {"UTC": 0, "GMT": 0, "Z": 0}
        for name, offset in self.section(spec, "zone_names").items():
            match = re.fullmatch(r"([+-])(\d\d):(\d\d)", str(offset))
            if match is None:
                self.problem(self.line(spec, "zone_names"), f'zone_names: {offset!r} is not like "+01:00"')
                continue
            minutes = int(match[2]) * 60 + int(match[3])
            names[str(name)] = (minutes if match[1] == "+" else -minutes) * 60_000_000
        return tuple(names.items())

    def values(self, target: str, spec: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401
        """What the source's words mean in ours."""
        found = tuple((str(key), str(value)) for key, value in self.section(spec, "values").items())
        vocabulary = VOCABULARIES.get(target)
        for key, value in found:
            if vocabulary is not None and value not in vocabulary:
                self.problem(
                    self.line(spec, "values"),
                    f"columns.{target}.values: {key} means {value!r}, which is none of {', '.join(vocabulary)}",
                )
        return found

    def template(self, spec: Any) -> tuple[Part, ...]:  # noqa: ANN401
        """`{field}` and `{=column}` between literal text."""
        text = self.text(spec, "template", "")
        if "template" in spec and not re.fullmatch(r"(?:[^{}]|\{[^{}]+\})+", text):
            self.problem(self.line(spec, "template"), f"template: braces are not in pairs in {text!r}")
            return ()
        parts = []
        for piece in re.findall(r"[^{}]+|\{[^{}]+\}", text):
            if not piece.startswith("{"):
                parts.append(Part(literal=piece))
            elif piece.startswith("{="):
                column = piece[2:-1]
                if column not in TARGETS or column in TEXTS or column in NUMBERS:
                    self.problem(
                        self.line(spec, "template"), f"template: {{={column}}} is no column of whole numbers"
                    )
                parts.append(Part(column=column))
            else:
                parts.append(Part(field=self.field(spec, "template", piece[1:-1])))
        return tuple(parts)

    def pattern(self, spec: Any) -> str | None:  # noqa: ANN401
        """A regular expression whose first group is what is wanted."""
        if "extract" not in spec:
            return None
        text = self.text(spec, "extract", "")
        try:
            groups = re.compile(text).groups
        except re.error as error:
            self.problem(self.line(spec, "extract"), f"extract is not a regular expression: {error}")
            return None
        if groups != 1:
            self.problem(self.line(spec, "extract"), "extract needs one group in parentheses")
        return text

    def conditions(self, tree: Any, key: str) -> tuple[Condition, ...]:  # noqa: ANN401
        """Fields, each with the values that make the condition true."""
        section = self.section(tree, key)
        return tuple(
            Condition(self.field(section, name, name), self.texts(section, name)) for name in section
        )

    def plmn(self, tree: Any, code: str) -> int:  # noqa: ANN401
        """A network code such as 26201."""
        if not code.isdecimal() or len(code) not in (5, 6):
            self.problem(self.line(tree, "home_plmn"), f"home_plmn: {code!r} is not five or six digits")
            return 0
        return int(code)

    # -- values of keys ------------------------------------------------------------------------------------

    def field(self, tree: Any, key: str, name: Any) -> int:  # noqa: ANN401
        """Number of a source field, made known if it is new."""
        if not isinstance(name, str) or not name:
            self.problem(self.line(tree, key), f"{key}: {name!r} is not the name of a field")
            return 0
        path = tuple(name.split(".")) if self.nested else (name,)
        if path not in self.paths:
            self.paths.append(path)
        return self.paths.index(path)

    def section(self, tree: Any, key: str) -> Any:  # noqa: ANN401
        """A mapping below a key, empty when it is absent."""
        found = tree.get(key)
        if found is None:
            return {}
        if not isinstance(found, dict):
            self.problem(self.line(tree, key), f"{key} is a mapping")
            return {}
        return found

    def text(self, tree: Any, key: str, otherwise: str) -> str:  # noqa: ANN401
        """A text below a key; whole numbers are taken as written."""
        found = tree.get(key, otherwise)
        if isinstance(found, bool) or not isinstance(found, str | int):
            self.problem(self.line(tree, key), f"{key} is a text; put it in quotes")
            return otherwise
        return str(found)

    def texts(self, tree: Any, key: str) -> tuple[str, ...]:  # noqa: ANN401
        """A text or a list of texts below a key."""
        found = tree.get(key, [])
        items = found if isinstance(found, list) else [found]
        for item in items:
            if not isinstance(item, str):
                self.problem(self.line(tree, key), f"{key}: {item!r} is not a text; put it in quotes")
        return tuple(str(item) for item in items)

    def flag(self, tree: Any, key: str) -> bool:  # noqa: ANN401
        """True or false below a key."""
        found = tree.get(key, False)
        if not isinstance(found, bool):
            self.problem(self.line(tree, key), f"{key} is true or false")
        return bool(found)

    def known_only(self, tree: Any, known: tuple[str, ...], where: str) -> None:  # noqa: ANN401
        """Report keys that mean nothing, which are most often misspelt."""
        for key in tree:
            if key not in known:
                self.problem(self.line(tree, key), f"{where} knows no {key!r}; it knows {', '.join(known)}")

    def line(self, tree: Any, key: Any) -> int:  # noqa: ANN401
        """The line of a key, from 1."""
        places: Callable[[Any], tuple[int, int]] | None = getattr(getattr(tree, "lc", None), "key", None)
        if places is None:
            return 1
        try:
            return places(key)[0] + 1
        except KeyError:
            return int(tree.lc.line) + 1

    def problem(self, line: int, text: str) -> None:
        """Note a mistake."""
        self.problems.append(Problem(line, text))


def _options(target: str) -> tuple[str, ...]:
    """What may stand in a column's mapping."""
    common = ("from", "constant", "default", "extract", "values", "empty")
    if target in TEXTS:
        return (*common, "template")
    if target in TIMES:
        return ("from", "format", "zone", "zone_names", "minus", "plus_ms", "round", "extract", "empty")
    if target in NUMBERS:
        return (*common, "identity")
    if target in DURATIONS or target in VOLUMES or target in COUNTS:
        return (*common, "unit", "round", "high_word", "zero_unless")
    return common
