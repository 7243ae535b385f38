"""What is wrong with a mapping file, told the same way by every room that reads such files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake in a mapping, with its line from 1."""

    line: int
    text: str


class MappingError(ValueError):
    """A mapping cannot be used; correct all its problems and load it again."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        """Tell all problems, in the order of their lines."""
        self.name = name
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{name}:{problem.line}: {problem.text}" for problem in self.problems))
