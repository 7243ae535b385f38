"""Loops that are kept compiled are never older than what they were compiled from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.compiled import stamp

RATE = "RATE = {rate}\n"
LOOP = """
from numba import njit
from {package}.rates import RATE

@njit(cache=True)
def price(units):
    return units * RATE
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package: a loop, and the file that has its rate."""
    folder = tmp_path / "priced"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "rates.py").write_text(RATE.format(rate=2))
    (folder / "loop.py").write_text(LOOP.format(package="priced"))
    return folder


def priced(package: Path) -> int:
    """What a process of its own makes of ten units, and keeps."""
    code = "import trunkline\nfrom priced.loop import price\nprint(price(10))"
    places = os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"PYTHONPATH": places},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return int(done.stdout)


def test_a_constant_of_another_file_is_noticed(package: Path) -> None:
    """The loop's own file is the same, and the price is the new one."""
    assert priced(package) == 20
    assert list((package / "__pycache__").glob("*.nbi"))
    # a longer text: of two files of one second, Python tells the newer one by its size
    (package / "rates.py").write_text(RATE.format(rate=30))
    assert priced(package) == 300


def test_a_stamp_is_that_of_all_that_is_imported(package: Path) -> None:
    """A file that the loop does not reach changes nothing."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom trunkline.compiled import stamp\n"
        "print(stamp(Path(sys.argv[1])).hex())"
    )
    words = [sys.executable, "-c", code, str(package / "loop.py")]

    def told() -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout

    before = told()
    assert before.strip() == stamp(package / "loop.py").hex()
    (package / "aside.py").write_text("OTHER = 1\n")
    assert told() == before
    (package / "rates.py").write_text(RATE.format(rate=4))
    assert told() != before
