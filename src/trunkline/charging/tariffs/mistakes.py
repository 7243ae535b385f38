"""What is wrong with a tariff, all of it at once, each with its place and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple


class Place(NamedTuple):
    """Where something is written; lines and columns count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake of a tariff; the text says what to do."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class TariffError(ValueError):
    """The tariff cannot be used; `mistakes` are all of them, so that one round of correcting is enough."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        head = "1 mistake" if count == 1 else f"{count} mistakes"
        super().__init__("\n".join([f"the tariff has {head}:", *map(str, self.mistakes)]))


class Mistakes:
    """A growing list of mistakes; the same one is kept once."""

    def __init__(self) -> None:
        self._found: dict[Mistake, None] = {}

    def add(self, place: Place, text: str) -> None:
        self._found[Mistake(*place, text)] = None

    def __len__(self) -> int:
        return len(self._found)

    def sorted(self) -> list[Mistake]:
        """By file and line, as a person corrects them."""
        return sorted(self._found)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as `; did you mean "peak"?`, or the known names when they are few, or nothing."""
    names = sorted(known)
    folded = {each.casefold(): each for each in reversed(names)}
    close = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{folded[close[0]]}"?'
    if names and len(names) <= 12:
        return f"; known are {', '.join(names)}"
    return ""
