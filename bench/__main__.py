"""`python -m bench [NAME ...] [--quick]`: measure all figures or the named ones; `--quick` only sees that they run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import detector, live, throughput, volume
from bench.figures import Figure

# Name, what it measures, and its size: in full, and to see quickly whether it runs.
MEASURES: dict[str, tuple[Callable[[Path, int], list[Figure]], int, int]] = {
    "end_to_end": (lambda work, size: throughput.end_to_end(work, size, 5), 4_000_000, 200_000),
    "kernel": (lambda work, size: throughput.kernel(work, size, 5), 2_000_000, 200_000),
    "tariff": (lambda work, size: throughput.tariff(work, size, 5), 20_000, 2_000),
    "live": (live.post_to_balance, 60, 5),
    "detector": (lambda work, size: detector.bands(work, size, 5), 1_000_000, 50_000),
    "detector_patterns": (detector.patterns, 20_000, 500),
    "detector_week": (detector.week, 10_000, 10),
    "volume": (volume.memory_and_history, 100_000_000, 500_000),
    "sessions": (volume.open_sessions, 2_000_000, 50_000),
    "accounts": (volume.many_accounts, 50_000_000, 200_000),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*MEASURES, []], help="what to measure; all when left out"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one when left out")
    asked = parser.parse_args()
    for name in asked.names or MEASURES:
        measure, full, quick = MEASURES[name]
        with tempfile.TemporaryDirectory(dir=asked.work, prefix=f"bench-{name}-") as work:
            for figure in measure(Path(work), quick if asked.quick else full):
                figure.tell()
    return 0


if __name__ == "__main__":
    sys.exit(main())
