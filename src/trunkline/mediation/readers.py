"""Reading one record in plain Python: the judge of every record that a scanner did not fully understand.

These readers say what a format means; `scan` only does the same faster where nothing is unusual. Each takes
the octets of one record and returns the wanted fields in the mapping's order (None for an absent field), or
raises `Unreadable` with what was wrong, in words that repeat nothing of the record.

JSON: when a name occurs twice in an object the last value counts. Numbers are kept as written. In lines of
pairs and in blocks a wanted field that occurs twice is an error, because the text of one field could then
pretend to be another (a SIP reason phrase is chosen by the far end).
"""

from __future__ import annotations

import csv
import io
import json
from typing import NoReturn

LONGEST_OCTETS = 1 << 20

Fields = list[str | None]
Paths = tuple[tuple[str, ...], ...]


class Unreadable(ValueError):
    """The octets are not a record of the format; never offer them again unchanged."""


class NoMark(ValueError):
    """The line does not hold the mapping's mark, so it is another kind of line of the same log."""


def text_of(record: bytes) -> str:
    """The record as text."""
    if len(record) > LONGEST_OCTETS:
        raise Unreadable(f"longer than {LONGEST_OCTETS} octets")
    if b"\0" in record:
        raise Unreadable("holds a NUL octet")
    try:
        return record.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 at octet {error.start}") from error


def read_object(record: bytes, paths: Paths, mark: bytes) -> Fields:
    """The wanted fields of a JSON object."""
    text = behind_mark(record, mark)
    if mark:
        text = text[max(text.find("{"), 0) :]
    try:
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=_not_json)
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON at character {error.pos}: {error.msg}") from error
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return [_field(value, path) for path in paths]


def _not_json(_word: str) -> NoReturn:
    raise Unreadable("not JSON: NaN or Infinity")


def _field(value: object, path: tuple[str, ...]) -> str | None:
    """One field of an object, by its path."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        if value is not None:
            _check(value)
        return value
    raise Unreadable(f"{'.'.join(path)} is nested")


def _check(text: str) -> None:
    """Refuse what JSON's escapes can write and UTF-8 text cannot hold."""
    if "\0" in text:
        raise Unreadable("holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Unreadable("holds half a surrogate pair") from error


def read_row(
    record: bytes, columns: tuple[int, ...], delimiter: str, quote: str, fewest: int, count: int
) -> Fields:
    """The wanted fields of a delimited row; `columns[i]` is the wanted field in column i, or -1."""
    text = text_of(record)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise Unreadable(f"not a row: {error}") from error
    if len(rows) != 1:
        raise Unreadable("a carriage return stands in the row")
    if not fewest <= len(rows[0]) <= len(columns):
        raise Unreadable(f"{len(rows[0])} columns instead of {fewest} to {len(columns)}")
    fields: Fields = [None] * count
    for column, value in zip(columns, rows[0], strict=False):
        if column >= 0:
            fields[column] = value
    return fields


def read_pairs(record: bytes, paths: Paths, mark: bytes, between: str) -> Fields:
    """The wanted fields of a line of `key=value` pairs."""
    found: dict[str, str] = {}
    wanted = {path[0] for path in paths}
    for part in behind_mark(record, mark).split(between):
        name, equals, value = part.partition("=")
        if equals and name in wanted:
            if name in found:
                raise Unreadable(f"{name} stands twice in the line")
            found[name] = value
    return [found.get(path[0]) for path in paths]


def read_block(record: bytes, paths: Paths) -> Fields:
    """The wanted fields of a block of indented ` name = value` lines."""
    found: dict[str, str] = {}
    wanted = {path[0] for path in paths}
    for number, line in enumerate(text_of(record).split("\n"), start=1):
        if not line.startswith(("\t", " ")):
            continue
        name, equals, value = line.removesuffix("\r").lstrip("\t \r").partition(" = ")
        if not equals or not name or "=" in name:
            raise Unreadable(f"line {number} of the record is not 'name = value'")
        if name not in wanted:
            continue
        if name in found:
            raise Unreadable(f"{name} stands twice in the record")
        found[name] = _unquoted(value, number)
    return [found.get(path[0]) for path in paths]


def _unquoted(value: str, number: int) -> str:
    """A value without its quotes and escapes, as FreeRADIUS writes them."""
    if not value.startswith('"'):
        return value
    if len(value) < 2 or not value.endswith('"'):
        raise Unreadable(f"line {number} of the record ends inside quotes")
    inner = value[1:-1]
    if "\\" not in inner:
        return inner
    octets = bytearray()
    at = 0
    raw = inner.encode()
    simple = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord('"'): 34, ord("\\"): 92, ord("'"): 39}
    while at < len(raw):
        if raw[at] != ord("\\"):
            octets.append(raw[at])
            at += 1
        elif at + 1 < len(raw) and raw[at + 1] in simple:
            octets.append(simple[raw[at + 1]])
            at += 2
        elif (
            raw[at + 1 : at + 4].isdigit()
            and len(raw[at + 1 : at + 4]) == 3
            and max(raw[at + 1 : at + 4]) < ord("8")
        ):
            octets.append(int(raw[at + 1 : at + 4], 8) & 0xFF)
            at += 4
        else:
            raise Unreadable(f"line {number} of the record holds an unknown escape")
    return text_of(bytes(octets))


def behind_mark(record: bytes, mark: bytes) -> str:
    """The text behind the mapping's mark."""
    if len(record) <= LONGEST_OCTETS and mark:
        at = record.find(mark)
        if at < 0:
            raise NoMark
        text_of(record)
        record = record[at + len(mark) :]
    return text_of(record)
