"""Reading the lists of an inventory, CSV or GeoJSON, and finding every mistake in them with its line.

The bytes come from outside, so nothing is taken for granted: neither the encoding nor that a cell's site is listed. A
list with one wrong line is refused whole, because half a network raises alarms about the other half.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NAME_OCTETS_MOST = 200
MISTAKES_TOLD_MOST = 1_000

# What each list is called, what its rows are called, and the columns a row must and may have.
KINDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "areas": ("area", (), ("parent",)),
    "sites": ("site", ("latitude", "longitude"), ("area",)),
    "cells": ("cell", ("technology",), ("site", "latitude", "longitude", "area")),
    "routers": ("router", (), ("kind",)),
    "links": ("link", ("from", "to"), ()),
}
ROUTER_KINDS = ("router", "firewall", "core")
REFERS = {
    ("site", "area"): ("area",),
    ("cell", "area"): ("area",),
    ("cell", "site"): ("site",),
    ("area", "parent"): ("area",),
    ("link", "from"): ("site", "router"),
    ("link", "to"): ("site", "router"),
}
OUTLINES = ("Polygon", "MultiPolygon")


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and where."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """The mistake as it is told."""
        return f"{self.file}:{self.line}: {self.text}" if self.file else self.text


class InventoryError(ValueError):
    """The lists cannot be used; every mistake is named, with what to change."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        """Tell all of them, or the first thousand and how many more there are."""
        told = [str(mistake) for mistake in mistakes[:MISTAKES_TOLD_MOST]]
        if len(mistakes) > MISTAKES_TOLD_MOST:
            told.append(f"and {len(mistakes) - MISTAKES_TOLD_MOST:,} more mistakes")
        super().__init__("\n".join(told))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Listed:
    """One row of a list: its name, its columns as text, its place on earth if told, and where it stands."""

    name: str
    values: dict[str, str]
    latitude: float | None
    longitude: float | None
    file: str
    line: int
    outline: dict[str, Any] | None = None


@dataclass(frozen=True)
class Lists:
    """All rows by what they are (`cell`, `site`...), and the outlines of areas by name."""

    rows: dict[str, list[Listed]]
    outlines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, kind: str) -> list[Listed]:
        """The rows of one kind."""
        return self.rows.get(kind, [])


def read_lists(files: Mapping[str, bytes]) -> Lists:
    """The rows of all files by kind; a kind may come in several files. Raises `InventoryError`."""
    mistakes: list[Mistake] = []
    rows: dict[str, list[Listed]] = {}
    for file in sorted(files):
        stem, _, ending = file.rpartition("/")[2].rpartition(".")
        kind = next((kind for kind in KINDS if stem.startswith(kind)), None)
        reader: Callable[..., list[Listed]] | None = {"csv": _csv, "geojson": _geojson}.get(ending.lower())
        if kind is None or reader is None:
            expected = ", ".join(KINDS)
            mistakes.append(Mistake(file, 0, f"is none of {expected}, followed by .csv or .geojson"))
            continue
        try:
            text = files[file].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = files[file].count(b"\n", 0, error.start) + 1
            mistakes.append(Mistake(file, line, "is not UTF-8"))
            continue
        rows.setdefault(KINDS[kind][0], []).extend(reader(file, text, kind, mistakes))
    _judge(rows, mistakes)
    if mistakes:
        raise InventoryError(sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line)))
    outlines = {row.name: row.outline for row in rows.get("area", []) if row.outline is not None}
    return Lists(rows, outlines)


def _csv(file: str, text: str, kind: str, mistakes: list[Mistake]) -> list[Listed]:
    """Rows of a CSV with a heading."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    listed: list[Listed] = []
    try:
        heading = [column.strip() for column in next(reader, [])]
        if not _heading(file, heading, kind, mistakes):
            return []
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(heading):
                mistakes.append(
                    Mistake(file, line, f"has {len(cells)} columns where the heading has {len(heading)}")
                )
            elif cells:
                values = {column: cell.strip() for column, cell in zip(heading, cells, strict=True)}
                listed.append(_row(file, line, values, kind, mistakes))
            line = reader.line_num + 1
    except csv.Error as error:
        mistakes.append(Mistake(file, reader.line_num, f"is not CSV: {error}"))
    return listed


def _heading(file: str, heading: list[str], kind: str, mistakes: list[Mistake]) -> bool:
    """Whether the columns are those of the kind."""
    name, must, may = KINDS[kind]
    before = len(mistakes)
    known = {name, *must, *may}
    mistakes += [
        Mistake(file, 1, f"has no column {column!r}") for column in (name, *must) if column not in heading
    ]
    mistakes += [
        Mistake(file, 1, f"has an unknown column {column!r}; known are {', '.join(sorted(known))}")
        for column in heading
        if column not in known
    ]
    mistakes += [
        Mistake(file, 1, f"has the column {column!r} twice")
        for column in sorted({c for c in heading if heading.count(c) > 1})
    ]
    return len(mistakes) == before


def _geojson(file: str, text: str, kind: str, mistakes: list[Mistake]) -> list[Listed]:
    """Rows of a feature collection (RFC 7946); properties are columns, a point is a place, a polygon an outline."""
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        mistakes.append(Mistake(file, line, f"is not JSON: {error}"))
        return []
    features = whole.get("features") if isinstance(whole, dict) else None
    if not isinstance(features, list):
        mistakes.append(Mistake(file, 1, "is no FeatureCollection"))
        return []
    lines = _feature_lines(text, len(features))
    listed = []
    for feature, line in zip(features, lines, strict=True):
        row = _feature(file, line, feature, kind, mistakes)
        if row is not None:
            listed.append(row)
    return listed


def _feature_lines(text: str, count: int) -> list[int]:
    """The line on which each feature begins: the array is walked again, value by value."""
    decoder = json.JSONDecoder()
    at = text.index("[", text.index('"features"')) + 1
    lines: list[int] = []
    line, counted = 1, 0
    while len(lines) < count:
        while text[at] in " \t\r\n,":
            at += 1
        line += text.count("\n", counted, at)
        counted = at
        lines.append(line)
        _, at = decoder.raw_decode(text, at)
    return lines


def _feature(file: str, line: int, feature: Any, kind: str, mistakes: list[Mistake]) -> Listed | None:  # noqa: ANN401 -- it is what JSON gives
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(properties, dict):
        mistakes.append(Mistake(file, line, "is no Feature with properties"))
        return None
    name, must, may = KINDS[kind]
    values = {
        key: "" if value is None else str(value).strip()
        for key, value in properties.items()
        if key in {name, *must, *may}
    }
    geometry = feature.get("geometry")
    shape = geometry.get("type") if isinstance(geometry, dict) else None
    if shape == "Point":
        place = geometry.get("coordinates")
        if isinstance(place, list) and len(place) >= 2:
            values["longitude"], values["latitude"] = str(place[0]), str(place[1])
        else:
            mistakes.append(Mistake(file, line, "is a point without coordinates"))
    elif shape is not None and (shape not in OUTLINES or kind != "areas"):
        mistakes.append(Mistake(file, line, f"has a geometry {shape!r}; {kind} take points, areas polygons"))
    row = _row(file, line, values, kind, mistakes)
    return Listed(
        row.name, row.values, row.latitude, row.longitude, file, line, geometry if shape in OUTLINES else None
    )


def _row(file: str, line: int, values: dict[str, str], kind: str, mistakes: list[Mistake]) -> Listed:
    """Check one row by itself."""
    word, must, _ = KINDS[kind]
    name = values.get(word, "")
    if not name:
        mistakes.append(Mistake(file, line, f"has no name of its {word}"))
    elif len(name.encode()) > NAME_OCTETS_MOST:
        mistakes.append(Mistake(file, line, f"has a name longer than {NAME_OCTETS_MOST} octets"))
    mistakes += [
        Mistake(file, line, f"{word} {name!r} has no {column}") for column in must if not values.get(column)
    ]
    if word == "router":
        values = {**values, "kind": values.get("kind") or ROUTER_KINDS[0]}
        if values["kind"] not in ROUTER_KINDS:
            known = ", ".join(ROUTER_KINDS)
            mistakes.append(
                Mistake(file, line, f"router {name!r} is of kind {values['kind']!r}; known are {known}")
            )
    latitude = _degrees(file, line, values, "latitude", 90.0, mistakes)
    longitude = _degrees(file, line, values, "longitude", 180.0, mistakes)
    if (latitude is None) != (longitude is None) and bool(values.get("latitude")) != bool(
        values.get("longitude")
    ):
        mistakes.append(Mistake(file, line, f"{word} {name!r} has only one of latitude and longitude"))
    return Listed(name, values, latitude, longitude, file, line)


def _degrees(
    file: str, line: int, values: dict[str, str], column: str, most: float, mistakes: list[Mistake]
) -> float | None:
    text = values.get(column, "")
    if not text:
        return None
    try:
        degrees = float(text)
    except ValueError:
        degrees = float("nan")
    if not abs(degrees) <= most:
        mistakes.append(Mistake(file, line, f"{column} {text!r} is no number from -{most:.0f} to {most:.0f}"))
        return None
    return degrees


def _judge(rows: dict[str, list[Listed]], mistakes: list[Mistake]) -> None:
    """What only all lists together show: names used twice, references to nothing, circles, cells without a place."""
    first: dict[str, tuple[str, Listed]] = {}
    for kind, listed in rows.items():
        for row in listed:
            if row.name in first:
                other_kind, other = first[row.name]
                where = f"{other.file}:{other.line}"
                mistakes.append(
                    Mistake(
                        row.file, row.line, f"{kind} {row.name!r} has the name of a {other_kind} at {where}"
                    )
                )
            elif row.name:
                first[row.name] = (kind, row)
    for (kind, column), allowed in REFERS.items():
        for row in rows.get(kind, []):
            meant = row.values.get(column, "")
            if meant and (meant not in first or first[meant][0] not in allowed):
                expected = " or ".join(allowed)
                text = f"{kind} {row.name!r} names {meant!r} as {column}, which is no {expected} of the lists"
                mistakes.append(Mistake(row.file, row.line, text))
    for row in rows.get("cell", []):
        if not row.values.get("site") and not row.values.get("latitude"):
            text = f"cell {row.name!r} has neither a site nor a latitude and longitude"
            mistakes.append(Mistake(row.file, row.line, text))
    areas = {row.name: [row.values.get("parent", "")] for row in rows.get("area", [])}
    _circles(areas, {row.name: row for row in rows.get("area", [])}, "parent", mistakes)
    up: dict[str, list[str]] = {}
    for row in rows.get("link", []):
        up.setdefault(row.values.get("from", ""), []).append(row.values.get("to", ""))
    places = {row.values.get("from", ""): row for row in reversed(rows.get("link", []))}
    _circles(up, places, "to", mistakes)


def _circles(
    up: dict[str, list[str]], places: dict[str, Listed], column: str, mistakes: list[Mistake]
) -> None:
    """Whoever follows `column` must arrive: take away what leads nowhere until nothing or only circles are left."""
    left = {name: {other for other in others if other in up} for name, others in up.items()}
    carried: dict[str, list[str]] = {}
    for name, others in left.items():
        for other in others:
            carried.setdefault(other, []).append(name)
    done = [name for name, others in left.items() if not others]
    while done:
        name = done.pop()
        del left[name]
        for below in carried.get(name, []):
            left[below].discard(name)
            if not left[below]:
                done.append(below)
    for name in left:
        row = places[name]
        mistakes.append(
            Mistake(row.file, row.line, f"{name!r} leads back to itself, or into a circle, by {column!r}")
        )
