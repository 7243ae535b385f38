"""What the simulator's tests share: a plain week and a day on which everything goes wrong, each made once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.simulator import Settings, simulate

WEEK = Settings(seed=7, subscribers=900, cells=120, hours=168)
BAD_DAY = Settings(
    seed=3,
    subscribers=900,
    hours=24,
    duplicates=0.05,
    late=0.04,
    corrupt=0.06,
    conflicts=0.03,
    out_of_order=0.05,
)

FIELDS = {
    "id": pl.String,
    "source": pl.String,
    "type": pl.String,
    "subscriber": pl.String,
    "direction": pl.String,
    "calling": pl.String,
    "called": pl.String,
    "start": pl.String,
    "duration_ms": pl.Int64,
    "octets_up": pl.Int64,
    "octets_down": pl.Int64,
    "service": pl.String,
    "snssai": pl.String,
    "five_qi": pl.Int64,
    "session": pl.String,
    "report": pl.String,
    "session_start": pl.String,
    "amount": pl.String,
    "currency": pl.String,
    "cell": pl.String,
    "visited_plmn": pl.String,
    "cause": pl.String,
}


@dataclass(frozen=True)
class Simulated:
    """A simulation on disk."""

    settings: Settings
    folder: Path
    summary: dict[str, Any]

    @property
    def parts(self) -> list[Path]:
        """The usage files in order."""
        return sorted((self.folder / "cdrs").iterdir())

    def lines(self) -> list[bytes]:
        """All lines in order of arrival."""
        return [line for part in self.parts for line in part.read_bytes().splitlines()]

    def usage(self) -> pl.DataFrame:
        """All usage, with its time on the country's clock; only for simulations without corrupt lines."""
        frame = pl.concat([pl.read_ndjson(part, schema=FIELDS) for part in self.parts if part.stat().st_size])
        started = pl.col("start").str.to_datetime(time_zone="UTC").dt.convert_time_zone("Europe/Berlin")
        return frame.with_columns(local=started)

    def truth(self) -> pl.DataFrame:
        """All true records."""
        return pl.read_parquet(self.folder / "truth" / "usage" / "*.parquet")

    def faults(self) -> list[dict[str, Any]]:
        """All faults."""
        return [
            json.loads(line) for line in (self.folder / "truth" / "faults.ndjson").read_bytes().splitlines()
        ]


def simulated(settings: Settings, folder: Path) -> Simulated:
    """Simulate into the folder."""
    return Simulated(settings, folder, simulate(settings, folder))


def mean(values: pl.Series) -> float:
    """The mean of numbers, or the share of truths."""
    return float(values.drop_nulls().to_numpy().mean())
