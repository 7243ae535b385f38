"""The files of a tariff as trees that remember their lines, before anything is made of their words.

Scalars stay the text that was written, so an amount is never a float and a date never another calendar's. YAML is
composed, not constructed; rate sheets are CSV. What cannot even be parsed is a mistake with its place.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from trunkline.charging.tariffs.mistakes import Mistake, Mistakes, Place

DEEPEST = 32


@dataclass(frozen=True)
class Scalar:
    """One written word; `null` when nothing stands there."""

    place: Place
    text: str
    null: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Fields:
    """Keys and their values in the written order, repeated keys included."""

    place: Place
    items: tuple[tuple[Scalar, Node], ...]

    def get(self, name: str) -> Node | None:
        """The value of the first such key, or None."""
        return next((value for key, value in self.items if key.text == name), None)


Node = Scalar | Items | Fields


@dataclass(frozen=True)
class SheetRow:
    """One row of a rate sheet: its line in the file, and its cells by column name."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Sheet:
    """A CSV file: column names as written in its first line, and its rows."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]


@dataclass(frozen=True)
class Source:
    """All files of a tariff: the YAML documents in the order of their files, the sheets by name."""

    documents: tuple[Fields, ...]
    sheets: dict[str, Sheet]
    mistakes: tuple[Mistake, ...]
    fingerprint: str


def read_tariffs(files: Mapping[str, str]) -> Source:
    """Parse every `.yaml`, `.yml` and `.csv` file; others are left alone."""
    mistakes = Mistakes()
    documents: list[Fields] = []
    sheets: dict[str, Sheet] = {}
    for name in sorted(files):
        text = files[name].removeprefix("\ufeff")
        if name.lower().endswith((".yaml", ".yml")):
            documents += _documents(name, text, mistakes)
        elif name.lower().endswith(".csv"):
            sheets[name] = _sheet(name, text, mistakes)
    return Source(tuple(documents), sheets, tuple(mistakes.sorted()), _fingerprint(documents, sheets))


def _documents(name: str, text: str, mistakes: Mistakes) -> list[Fields]:
    """The documents of one YAML file; an unreadable file gives those before the fault."""
    found: list[Fields] = []
    try:
        for composed in YAML(typ="rt", pure=True).compose_all(text):
            if composed is None:
                continue
            root = _node(name, composed, mistakes, {}, 0)
            if isinstance(root, Fields):
                found.append(root)
            elif not (isinstance(root, Scalar) and root.null):
                mistakes.add(
                    root.place,
                    "a tariff file holds sections such as `operator:` or `plan:`, not a bare list or word",
                )
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)
        said = " ".join(str(part) for part in (error.problem, error.context) if part)
        mistakes.add(place, f"not YAML: {said}; check indentation, colons, quotes and brackets just above")
    except RecursionError:
        mistakes.add(Place(name, 1, 1), "nested too deeply to be a tariff")
    except YAMLError as error:
        mistakes.add(
            Place(name, 1, 1), f"not YAML: {' '.join(str(error).split())}; is the file saved as UTF-8 text?"
        )
    return found


def _node(name: str, composed: Any, mistakes: Mistakes, done: dict[int, Node], depth: int) -> Node:  # noqa: ANN401 - ruamel's nodes are untyped
    """Our tree of a composed node; an alias becomes what it stands for."""
    place = Place(name, composed.start_mark.line + 1, composed.start_mark.column + 1)
    if id(composed) in done:
        return done[id(composed)]
    made: Node = Scalar(place, "", null=True)
    done[id(composed)] = made  # what an alias to its own inside finds: nothing, in finite time
    if depth > DEEPEST:
        mistakes.add(place, "nested too deeply to be a tariff")
    elif isinstance(composed, ScalarNode):
        null = composed.style is None and composed.value in {"", "~", "null", "Null", "NULL"}
        made = Scalar(place, composed.value, null)
    elif isinstance(composed, SequenceNode):
        made = Items(place, tuple(_node(name, each, mistakes, done, depth + 1) for each in composed.value))
    else:
        assert isinstance(composed, MappingNode)
        made = Fields(place, tuple(_pairs(name, composed, mistakes, done, depth)))
    done[id(composed)] = made
    return made


def _pairs(
    name: str, composed: MappingNode, mistakes: Mistakes, done: dict[int, Node], depth: int
) -> list[tuple[Scalar, Node]]:
    pairs: list[tuple[Scalar, Node]] = []
    for key, value in composed.value:
        word = _node(name, key, mistakes, done, depth + 1)
        if isinstance(word, Scalar):
            pairs.append((word, _node(name, value, mistakes, done, depth + 1)))
        else:
            mistakes.add(word.place, "a key is one word, not a list or a mapping")
    return pairs


def _sheet(name: str, text: str, mistakes: Mistakes) -> Sheet:
    """The rows of a CSV file; blank lines and lines that begin with # are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: tuple[str, ...] = ()
    rows: list[SheetRow] = []
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
                continue
            cells = [cell.strip() for cell in cells]  # noqa: PLW2901 - the written cells without their margins
            if not columns:
                columns = tuple(cell.lower() for cell in cells)
            elif len(cells) != len(columns):
                mistakes.add(
                    Place(name, line, 1),
                    f"{len(cells)} cells where the first line names {len(columns)} columns; "
                    'add or remove commas, or quote a cell that holds one: "a, b"',
                )
            else:
                rows.append(SheetRow(line, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        mistakes.add(Place(name, reader.line_num, 1), f"not CSV: {error}; check the quotes")
    return Sheet(name, columns, tuple(rows))


def _fingerprint(documents: list[Fields], sheets: dict[str, Sheet]) -> str:
    """Digest of what the files say: comments, quotes, line ends and indentation do not count."""
    said = [
        [[document.place.file, _plain(document)] for document in documents],
        [
            [sheet.name, sheet.columns, [list(row.cells.values()) for row in sheet.rows]]
            for sheet in sheets.values()
        ],
    ]
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _plain(node: Node) -> object:
    """A tree without its places; pairs stay lists because their order may matter."""
    if isinstance(node, Scalar):
        return None if node.null else node.text
    if isinstance(node, Items):
        return ["list", *(_plain(each) for each in node.items)]
    return ["keys", *([key.text, _plain(value)] for key, value in node.items)]
