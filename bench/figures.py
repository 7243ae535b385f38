"""A figure and how it is told; medians of several runs, and memory as the kernel counts it."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE_OCTETS = 4096


@dataclass(frozen=True)
class Figure:
    """One measured number; `yardstick` was measured in the same run and `goal` says what we want."""

    name: str
    value: float
    unit: str
    goal: str
    runs: int = 1
    yardstick: str = ""
    yardstick_value: float | None = None

    def tell(self) -> None:
        """Print it as one JSON line."""
        line: dict[str, Any] = {
            "figure": self.name,
            "value": _short(self.value),
            "unit": self.unit,
            "goal": self.goal,
        }
        line["runs"] = self.runs
        if self.yardstick_value is not None:
            line |= {"yardstick": self.yardstick, "yardstick_value": _short(self.yardstick_value)}
            line["ratio"] = _short(self.value / self.yardstick_value)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def median(measure: Callable[[], float], runs: int) -> float:
    """The median of several runs."""
    return statistics.median(measure() for _ in range(runs))


def resident_octets(pid: int | str = "self") -> int:
    """Memory of a process that is its own: file pages that the kernel may take back are not counted."""
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        if ":" in line
    )
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem")) * 1024


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
