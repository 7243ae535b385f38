"""`python -m bench.cluster [NAME ...] [--quick]`: measure the cluster's figures; `--quick` only sees that they run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.cluster import kafka, spark
from bench.figures import Figure

# Name, what it measures, and its size: in full, and to see quickly whether it runs.
MEASURES: dict[str, tuple[Callable[[Path, int], list[Figure]], int, int]] = {
    "kafka_carried": (kafka.carried, 2_000_000, 100_000),
    "spark_carried": (spark.carried, 1_500_000, 100_000),
    "spark_live": (spark.live, 20, 5),
    "spark_recovery": (spark.recovery, 5_000_000, 20_000),
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*MEASURES, []], help="what to measure; all when left out"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one when left out")
    asked = parser.parse_args()
    for name in asked.names or MEASURES:
        measure, full, quick = MEASURES[name]
        with tempfile.TemporaryDirectory(dir=asked.work, prefix="trunkline-") as work:
            for figure in measure(Path(work), quick if asked.quick else full):
                figure.tell()
    return 0


if __name__ == "__main__":
    sys.exit(main())
