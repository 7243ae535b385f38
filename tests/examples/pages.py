"""Pages whose commands are given: each `sh` block answers what the `text` block below it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
END = "@@@ end of block"
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class Block:
    """Commands of a page, and what they answer."""

    commands: str
    answer: str | None


def blocks(page: Path) -> list[Block]:
    """The `sh` blocks of a page, each with the `text` block that follows it."""
    found: list[Block] = []
    for language, text in FENCE.findall(page.read_text()):
        if language == "sh":
            found.append(Block(text, None))
        elif language == "text":
            assert found, f"{page.name} tells an answer before a command"
            assert found[-1].answer is None, f"{page.name} tells two answers to one block"
            found[-1] = Block(found[-1].commands, text)
    return found


def pattern(answer: str) -> re.Pattern[str]:
    """What a page says, line ends and runs of blanks aside; … stands for anything."""
    parts = [" ".join(part.split()) for part in answer.split("…")]
    return re.compile(".*?".join(re.escape(part) for part in parts), re.DOTALL)


def look_like_a_checkout(folder: Path) -> None:
    """Make a folder look like a fresh clone with its environment made."""
    for name in ("examples", "src"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "tests").mkdir()
    (folder / "tests" / "data").symlink_to(ROOT / "tests" / "data")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    command = programs / "trunkline"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from trunkline.cli import main; main()" "$@"\n')
    command.chmod(0o755)


def answers(folder: Path, page: list[Block], instead: dict[str, str] | None = None) -> list[str]:
    """What the blocks of a page say, given one after another in one shell, some words exchanged on the way."""
    script = "set -eo pipefail\n" + "".join(f"{block.commands}\necho '{END}'\n" for block in page)
    for word, other in (instead or {}).items():
        script = script.replace(word, other)
    path = f"{folder / '.venv' / 'bin'}:{Path(sys.executable).parent}:{SYSTEM_PATH}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    told = folder / "told"
    with told.open("wb") as output:
        run = subprocess.run(
            ["bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"],
            cwd=folder,
            env={**environment, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=240,
        )
    said = told.read_text()
    for word, other in (instead or {}).items():
        said = said.replace(other, word)
    assert run.returncode == 0, said[-4000:]
    return said.split(f"{END}\n")[:-1]


def assert_answered(page: list[Block], said: list[str]) -> None:
    """Assert that each block said what stands below it."""
    for block, answer in zip(page, said, strict=True):
        if block.answer is not None:
            matches = pattern(block.answer).fullmatch(" ".join(answer.split()))
            assert matches, f"{block.commands}\nsaid:\n{answer}\nbut the page says:\n{block.answer}"
