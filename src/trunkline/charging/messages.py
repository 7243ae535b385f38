"""The words in which customers are told: a file for each language, which a clerk can edit, checked before it is used.

A sentence names what it is about in braces, such as {balance}; each kind of alert knows its own names, and a name that
it does not know is a mistake with its line, not a customer who reads braces. Amounts are written as the language's
file says, and rounded down to two decimals, so that nobody is promised more than there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Formatter
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trunkline.charging.delivery import KINDS
from trunkline.charging.service import GOES_ON, ISSUE, RESTORED
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.kernel.money import MICROS
from trunkline.records.charging import Unit

SHIPPED = ("en", "de")
FALLBACK = "en"
PARTS = ("subject", "text", "short")
LONGEST = {"subject": 120, "text": 2000, "short": 300}  # letters as written in the file
_OF_BALANCE = ("balance", "value", "moment")
_OF_INCIDENT = ("incident", "minutes", "moment")
NAMES: Mapping[str, tuple[str, ...]] = {
    "allowance": ("percent", *_OF_BALANCE),
    "low_balance": ("threshold", *_OF_BALANCE),
    "spend_cap": ("percent", *_OF_BALANCE),
    **dict.fromkeys((ISSUE, RESTORED, GOES_ON), _OF_INCIDENT),
}
_WRITING = {"decimal": ".", "thousands": ",", "moment": "%Y-%m-%d %H:%M"}
_MOMENT = re.compile(r"(?:%[dmYyHM]|[^%\n])+")
_LANGUAGE = re.compile(r"[a-z]{2,3}")


class MessageError(ValueError):
    """Templates cannot be used; the text names every mistake with its file and line."""


@dataclass(frozen=True)
class Words:
    """What one kind of alert says in one language; `short` is for channels that count letters."""

    subject: str
    text: str
    short: str


@dataclass(frozen=True)
class Language:
    """A language's words, and how it writes numbers and moments."""

    name: str
    kinds: Mapping[str, Words]
    decimal: str
    thousands: str
    moment: str


Templates = Mapping[str, Language]


def parse_language(language: str, text: str, name: str) -> Language:
    """One language's file; raises `MessageError` with every mistake. A kind may be left out."""
    mistakes: list[tuple[int, str]] = []
    try:
        tree: Any = YAML(pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise MessageError(f"{name}:{mark.line + 1 if mark else 1}: this is not YAML") from error
    if not _LANGUAGE.fullmatch(language):
        mistakes.append((1, f"{language!r} is no language such as en or de (ISO 639)"))
    parts = _fields(tree, ("writing", "kinds"), 1, "the file", mistakes)
    writing = _writing(parts.get("writing"), _line(tree, "writing"), mistakes)
    kinds = {}
    given = _fields(parts.get("kinds"), KINDS, _line(tree, "kinds"), "kinds", mistakes)
    for kind, said in given.items():
        if kind in KINDS:
            kinds[kind] = _words(kind, said, _line(given, kind), mistakes)
    if mistakes:
        raise MessageError("\n".join(f"{name}:{line}: {said}" for line, said in sorted(mistakes)))
    return Language(language, kinds, **writing)


def joined(shipped: Templates, own: Templates) -> Templates:
    """An operator's own languages over the shipped ones: what a file of one's own leaves out stays as it was."""
    found = dict(shipped)
    for name, language in own.items():
        below = shipped.get(name)
        kinds = {**(below.kinds if below else {}), **language.kinds}
        found[name] = Language(name, kinds, language.decimal, language.thousands, language.moment)
    return found


def told(templates: Templates, language: str, alert: Mapping[str, Any], figures: Mapping[str, str]) -> Words:
    """What to tell of an alert; in English where the language or the kind has no words of its own."""
    wanted = templates.get(language)
    words = wanted.kinds.get(alert["kind"]) if wanted else None
    words = words or templates[FALLBACK].kinds[alert["kind"]]
    return Words(*(each.format_map(figures) for each in (words.subject, words.text, words.short)))


def figures(
    templates: Templates, language: str, alert: Mapping[str, Any], unit: int, currency: str, zone: str
) -> dict[str, str]:
    """What the names in braces stand for; `unit` is that of the alert's balance (`records.charging.Unit`)."""
    writing = templates.get(language) or templates[FALLBACK]
    name, threshold = str(alert["balance"]), int(alert["threshold"])
    if alert["kind"] in (ISSUE, RESTORED, GOES_ON):
        said = {"incident": name, "minutes": str(alert["value"])}
    else:
        said = {
            "balance": name.replace("_", " "),
            "percent": str(threshold),
            "threshold": quantity(writing, Unit.MONEY, threshold, currency),
            "value": quantity(writing, unit, int(alert["value"]), currency),
        }
    local = datetime.fromtimestamp(alert["time_us"] // 1_000_000, UTC).astimezone(time_zone(zone))
    return said | {"moment": local.strftime(writing.moment)}


def quantity(writing: Language, unit: int, value: int, currency: str) -> str:
    """An amount in a language's way of writing, rounded down to two decimals or to whole minutes and events."""
    if unit == Unit.MONEY:
        return f"{_decimal(writing, value // (MICROS // 100))} {currency}"
    if unit == Unit.TIME:
        return f"{value // 60_000} min"
    if unit == Unit.OCTETS:
        return f"{_decimal(writing, value // 10_000)} MB"
    return str(value)


def _decimal(writing: Language, hundredths: int) -> str:
    sign = "-" if hundredths < 0 else ""
    whole, rest = divmod(abs(hundredths), 100)
    return f"{sign}{f'{whole:,}'.replace(',', writing.thousands)}{writing.decimal}{rest:02d}"


# -- reading ---------------------------------------------------------------------------------------------------


def _fields(
    tree: Any,  # noqa: ANN401 -- it is what YAML gives
    known: tuple[str, ...],
    line: int,
    place: str,
    mistakes: list[tuple[int, str]],
) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        mistakes.append((line, f"{place}: fields are expected ({', '.join(known)})"))
        return {}
    mistakes += [
        (_line(tree, key), f"{place}: {key!r} is unknown; known are {', '.join(known)}")
        for key in tree
        if key not in known
    ]
    return tree


def _line(tree: Any, key: str) -> int:  # noqa: ANN401 -- as above
    """Line of a key, from 1; the first where it has none."""
    try:
        return int(tree.lc.key(key)[0]) + 1
    except (AttributeError, KeyError, TypeError):
        return 1


def _writing(tree: Any, line: int, mistakes: list[tuple[int, str]]) -> dict[str, str]:  # noqa: ANN401 -- as above
    if tree is None:
        return dict(_WRITING)
    given = _fields(tree, tuple(_WRITING), line, "writing", mistakes)
    found = {key: str(given.get(key, usual)) for key, usual in _WRITING.items()}
    mistakes += [
        (_line(tree, key), f"writing: {key} is one sign that is no digit")
        for key in ("decimal", "thousands")
        if len(found[key]) > 1 or found[key].isdigit() or (key == "decimal" and not found[key])
    ]
    if not _MOMENT.fullmatch(found["moment"]):
        mistakes.append(
            (_line(tree, "moment"), "writing: moment is made of %d %m %Y %y %H %M and other signs")
        )
    return found


def _words(kind: str, tree: Any, line: int, mistakes: list[tuple[int, str]]) -> Words:  # noqa: ANN401 -- as above
    given = _fields(tree, PARTS, line, kind, mistakes)
    found: dict[str, str] = {}
    for part in PARTS:
        said = given.get(part)
        if said is None and part == "short" and "text" in found:
            found[part] = found["text"]
            continue
        at = _line(tree, part) if part in given else line
        if not isinstance(said, str) or not said.strip():
            mistakes.append((at, f"{kind}: {part} is missing or no text"))
            continue
        if len(said) > LONGEST[part]:
            mistakes.append((at, f"{kind}: {part} has {len(said)} letters, more than {LONGEST[part]}"))
        if part == "subject" and "\n" in said.strip():
            mistakes.append((at, f"{kind}: subject has more than one line"))
        mistakes += [(at, f"{kind}: {part}: {wrong}") for wrong in _wrong_names(kind, said)]
        found[part] = said.strip()
    return Words(found.get("subject", ""), found.get("text", ""), found.get("short", ""))


def _wrong_names(kind: str, said: str) -> list[str]:
    """What is wrong with the names in braces."""
    known = ", ".join("{" + name + "}" for name in NAMES[kind])
    try:
        parts = list(Formatter().parse(said))
    except ValueError:
        return ["a brace stands alone; write {{ or }} for a brace itself"]
    return [
        f"{{{name}}} is unknown here; known are {known}"
        for _, name, form, conversion in parts
        if name is not None and (name not in NAMES[kind] or form or conversion)
    ]
