"""Frames of KPIs for tests, and a detector that is fed with them batch by batch as an engine would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np
import polars as pl

from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import name_words
from trunkline.network.detect.clocks import CLOCKS, tell_time
from trunkline.network.detect.detect import SERIES, detect
from trunkline.network.detect.models import Models
from trunkline.network.detect.silence import LISTENED, listen, miss
from trunkline.network.formula import SHIPPED, parse_formulas
from trunkline.records.network import BINS, BUCKET_SHIFT, KPIS, PULSES

FORMULAS = parse_formulas(
    (resources.files("trunkline.network") / "formulas" / f"{SHIPPED}.yaml").read_text(encoding="utf-8")
)
MONDAY_US = 1_767_571_200_000_000  # 2026-01-05 00:00 UTC


def kpi_frame(
    name: str,
    values: Sequence[float | None],
    *,
    period_s: int = 300,
    kpi: str = "DLVolume",
    start_us: int = MONDAY_US,
) -> pl.DataFrame:
    """One series as `KPIS`, a row for each period."""
    count = len(values)
    word = int(name_words(pl.Series([name]))[0])
    end = start_us + (np.arange(count) + 1) * period_s * 1_000_000
    return KPIS.record.conform(
        pl.DataFrame(
            {
                "object": pl.Series([word] * count, dtype=pl.UInt64),
                "name": [name] * count,
                "scope": [1] * count,
                "slice": [0] * count,
                "kpi": [kpi] * count,
                "begin_us": end - period_s * 1_000_000,
                "end_us": end,
                "value_milli": pl.Series(
                    [None if v is None else round(v * 1000) for v in values], dtype=pl.Int64
                ),
                "bucket": pl.Series([word >> BUCKET_SHIFT] * count, dtype=pl.UInt64),
            }
        )
    )


def bin_frame(name: str, ends_us: Sequence[int], period_us: int) -> pl.DataFrame:
    """One counter as `BINS`."""
    word = int(name_words(pl.Series([name]))[0])
    ends = np.asarray(ends_us, np.int64)
    return BINS.record.conform(
        pl.DataFrame(
            {
                "object": pl.Series([word] * len(ends), dtype=pl.UInt64),
                "name": [name] * len(ends),
                "begin_us": ends - period_us,
                "end_us": ends,
                "value_milli": [1000] * len(ends),
                "bucket": pl.Series([word >> BUCKET_SHIFT] * len(ends), dtype=pl.UInt64),
            }
        )
    )


def pulse_frame(time_us: int) -> pl.DataFrame:
    """The data's clock for every bucket."""
    return PULSES.record.conform(
        pl.DataFrame(
            {"bucket": pl.int_range(256, dtype=pl.UInt64, eager=True), "time_us": [time_us] * 256}
        ).with_columns(component=pl.lit(0, dtype=pl.UInt64))
    )


@dataclass
class Store:
    """What an engine does with state: gives the groups of a batch's keys, and takes what they hold from now on."""

    dtype: np.dtype[Any]
    groups: dict[int, Any] = field(default_factory=dict)

    def gather(self, keys: pl.Series) -> Grouped:
        """The groups of these keys; empty where nothing is known."""
        wanted = np.unique(keys.to_numpy())
        rows = [self.groups.get(int(key), np.empty(0, self.dtype)) for key in wanted]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in rows])]).astype(np.int64)
        return Grouped(wanted, offsets, np.concatenate([np.empty(0, self.dtype), *rows]))

    def put(self, state: Grouped) -> None:
        """Keep what a step returned."""
        for at, key in enumerate(state.keys.tolist()):
            self.groups[key] = state.rows[state.offsets[at] : state.offsets[at + 1]].copy()


@dataclass
class Watched:
    """The steps of the room with their state, fed batch by batch."""

    models: Models = field(default_factory=Models)
    series: Store = field(default_factory=lambda: Store(SERIES.dtype))
    listened: Store = field(default_factory=lambda: Store(LISTENED.dtype))
    clocks: Store = field(default_factory=lambda: Store(CLOCKS.dtype))

    def detect(self, kpis: pl.DataFrame) -> pl.DataFrame:
        """Anomalies of a batch of KPIs."""
        outcome = detect(kpis, self.series.gather(kpis["bucket"]), self.models)
        assert outcome.state is not None
        self.series.put(outcome.state)
        return outcome.rows[0]

    def listen(self, bins: pl.DataFrame) -> pl.DataFrame:
        """Who is back with a batch of bins."""
        return self._keep(listen(bins, self.listened.gather(bins["bucket"]), FORMULAS))

    def miss(self, time_us: int) -> pl.DataFrame:
        """Who is silent when the data's clock shows this."""
        pulses = pulse_frame(time_us)
        return self._keep(miss(pulses, self.listened.gather(pulses["bucket"])))

    def tell_time(self, bins: pl.DataFrame) -> pl.DataFrame:
        """Whose clock is wrong or right again with a batch of bins."""
        outcome = tell_time(bins, self.clocks.gather(bins["bucket"]))
        assert outcome.state is not None
        self.clocks.put(outcome.state)
        return outcome.rows[0]

    def _keep(self, outcome: Any) -> pl.DataFrame:
        self.listened.put(outcome.state)
        rows: pl.DataFrame = outcome.rows[0]
        return rows


def told(anomalies: pl.DataFrame) -> list[tuple[str, int]]:
    """Kinds in order, with whether they ended."""
    return list(zip(anomalies["kind"].to_list(), anomalies["ended"].to_list(), strict=True))


def days(count: int, shape: Callable[[float, int], float], seed: int, noise: float = 0.05) -> list[float]:
    """Values every five minutes: `shape(hour, weekday)`, and a seeded noise in proportion."""
    rng = np.random.default_rng(seed)
    times = np.arange(count * 288)
    clean = np.array([shape(at % 288 / 12, at // 288 % 7) for at in times.tolist()])
    return (clean * (1 + rng.normal(0, noise, len(times)))).tolist()  # type: ignore[no-any-return]


def busy(hour: float, weekday: int) -> float:
    """Traffic of a cell: quiet nights, an evening's peak, less at week-ends."""
    return (20 + 80 * max(0.0, float(np.sin((hour - 6) / 18 * np.pi)))) * (0.8 if weekday >= 5 else 1.0)
