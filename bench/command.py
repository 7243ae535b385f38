"""The command line of a set of measures: all of them or the named ones, in full or only to see that they run."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.figures import Figure

# What measures, in a folder of its own and at a size: in full, and to see quickly whether it runs.
Measures = Mapping[str, tuple[Callable[[Path, int], list[Figure]], int, int]]


def measure_named(program: str, text: str | None, measures: Measures) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog=program, description=text)
    parser.add_argument(
        "names", nargs="*", choices=[*measures, []], help="what to measure; all when left out"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one when left out")
    asked = parser.parse_args()
    for name in asked.names or measures:
        measure, full, quick = measures[name]
        with tempfile.TemporaryDirectory(dir=asked.work, prefix="trunkline-") as work:
            for figure in measure(Path(work), quick if asked.quick else full):
                figure.tell()
    return 0
