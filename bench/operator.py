"""The operator that is measured: the demonstration operator's tariff, subscribers and plain lines of usage."""

from __future__ import annotations

from pathlib import Path

from trunkline.settings import Folders
from trunkline.simulator import Settings, bench_lines, bench_subscribers, make_world, write_operator

SEED = 1


def prepare(folder: Path, records: int, subscribers: int, days: int = 1) -> Path:
    """Write tariff, subscribers and usage into a folder; the usage file."""
    write_operator(make_world(Settings(subscribers=10, cells=10, hours=1)), folder)
    bench_subscribers(SEED, subscribers, folder / "subscribers.csv")
    usage = folder / "usage.ndjson"
    bench_lines(SEED, records, subscribers, usage, days=days)
    return usage


def folders(folder: Path, data: str = "data") -> Folders:
    """The settings of a data folder beside the operator's files."""
    return Folders(data=folder / data, tariffs=str(folder / "tariffs"))
