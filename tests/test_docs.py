"""The documents keep up with the code: what exists is described, what is described exists."""

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from scripts import reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])

FENCE = re.compile(r"^```([\w-]*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
SHELLS = {"", "sh", "bash", "shell", "console"}


def name(path: Path) -> str:
    """A page's name in messages."""
    return path.relative_to(ROOT).as_posix()


def reference_text() -> str:
    """All of docs/reference."""
    return "\n".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))


def undocumented(names: list[str]) -> list[str]:
    """Which of the names stand nowhere in docs/reference, in code font."""
    text = reference_text()
    return [each for each in names if f"`{each}`" not in text and f"## {each}\n" not in text]


# -- what exists is described ---


def test_the_reference_is_what_the_code_says() -> None:
    """`make docs` would change nothing."""
    stale = [
        page
        for page, text in reference.pages().items()
        if not (reference.REFERENCE / page).exists() or (reference.REFERENCE / page).read_text() != text
    ]
    assert stale == [], "run `make docs` and read what it changed"


def test_every_command_and_option_is_described() -> None:
    """Each command and each of its options has a sentence, and stands in the reference."""
    silent = [path for path, command in reference.commands() if not (command.help or "").strip()]
    silent += [
        f"{path} {parameter.opts[0]}"
        for path, command in reference.commands()
        for parameter in reference.visible(command)
        if not (parameter.help or "").strip()
    ]
    assert silent == []
    options = [
        spelling
        for _, command in reference.commands()
        for parameter in reference.visible(command)
        if parameter.param_type_name == "option"
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    ]
    assert undocumented([path for path, _ in reference.commands()] + options) == []


def test_every_setting_is_described() -> None:
    """Each setting says what it is for (`doc` in its field's metadata), and stands in the reference."""
    fields = [
        (part, field) for part in reference.setting_parts() for field in part.__dataclass_fields__.values()
    ]
    assert fields, "trunkline.settings has no dataclass"
    silent = [
        f"{part.__name__}.{field.name}" for part, field in fields if not field.metadata.get("doc", "").strip()
    ]
    assert silent == []
    assert undocumented([field.name for _, field in fields]) == []


def test_every_metric_is_described() -> None:
    """Each metric has a sentence, and stands in the reference."""
    metrics = importlib.import_module("trunkline.api.metrics").METRICS
    assert metrics
    assert [metric.name for metric in metrics if not metric.text.strip()] == []
    assert undocumented([metric.name for metric in metrics]) == []


def test_every_reason_is_described() -> None:
    """Each reason that a record is set aside for tells a person what to do, and stands in the reference."""
    reasons = [reason for module in reference.record_modules() for reason in getattr(module, "REASONS", ())]
    assert reasons
    assert [reason.name for reason in reasons if not reason.text.strip()] == []
    assert undocumented([reason.name for reason in reasons]) == []


# -- what is described exists ---


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, made the way code hosts make them."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*$", text, re.MULTILINE)
    plain = (re.sub(r"[`*_]|\[|\]\([^)]*\)", "", heading) for heading in headings)
    return frozenset(re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in plain)


def broken_links(page: Path) -> Iterator[str]:
    """The links of a page that lead to no file or no heading of this checkout."""
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the checkout leads to a file, and to a heading of it."""
    assert list(broken_links(page)) == []


def shell_lines(page: Path) -> Iterator[str]:
    """The commands that a page shows: lines of shell blocks, and code within sentences."""
    text = page.read_text()
    for language, block in FENCE.findall(text):
        if language in SHELLS:
            for line in block.replace("\\\n", " ").splitlines():
                yield line.strip().removeprefix("$ ")
    yield from INLINE.findall(FENCE.sub("", text))


def calls(page: Path, program: str) -> Iterator[list[str]]:
    """The words after each call of the program on a page."""
    for line in shell_lines(page):
        for part in re.split(r"\s*(?:\|\|?|&&|;)\s+", line):
            try:
                words = shlex.split(part.replace("…", ""), comments=True)
            except ValueError:
                continue  # not a shell line; prose in an untagged block
            while words and "=" in words[0]:
                words = words[1:]
            if words and words[0].rpartition("/")[2] == program:
                yield words[1:]


def wrong(words: list[str], command: Any) -> str | None:
    """What a call says that the command line does not know; None when all is well."""
    while children := getattr(command, "commands", {}):
        if not words or words[0].startswith("-"):
            break
        word = words[0]
        if word not in children:
            return f"no command {word!r}"
        command, words = children[word], words[1:]
    known = {spelling for p in command.params for spelling in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        option = word.partition("=")[0]
        if re.match(r"--?[a-zA-Z]", option) and option not in known:
            return f"no option {option!r}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_shown_can_be_given(page: Path) -> None:
    """Every `trunkline …` on a page is a command with options that exist."""
    root = reference.commands()[0][1]
    mistakes = [
        f"trunkline {' '.join(words)}: {mistake}"
        for words in calls(page, "trunkline")
        if (mistake := wrong(words, root)) is not None
    ]
    assert mistakes == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_verbs_shown_can_be_made(page: Path) -> None:
    """Every `make …` on a page is a verb of the Makefile."""
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {word for words in calls(page, "make") for word in words if re.fullmatch(r"[a-z-]+", word)}
    assert shown - verbs == set()


def test_every_decision_is_listed() -> None:
    """The index of decisions names every page, so that none is written twice."""
    index = (DOCS / "decisions" / "README.md").read_text()
    assert [
        page.name for page in sorted((DOCS / "decisions").glob("[0-9]*.md")) if page.name not in index
    ] == []


def test_glossary_is_in_order() -> None:
    """A word is found by its letter, and has one meaning."""
    words = re.findall(r"^\*\*(.+?)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(words, key=str.casefold)
    assert len(words) == len({word.casefold() for word in words})
