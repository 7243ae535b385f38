"""The detectors alone, on one core: values a second, and that what is remembered of a series has a fixed size."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl

from bench.figures import Figure, median, resident_octets
from trunkline.kernel.grouped import Grouped
from trunkline.network.detect.bands import SHOWN, Bands, fresh, watch
from trunkline.network.detect.detect import SERIES, detect
from trunkline.network.detect.models import Models
from trunkline.network.detect.patterns import Patterns, follow, unknown
from trunkline.records.network import KPIS

GOAL = "at least 2,000,000"
KPI_NAMES = 10
PERIOD_US = 30_000_000
MONDAY_US = 1_767_571_200_000_000
PATTERN_SERIES = 8
WEEK = 20_160  # periods of 30 s


def bands(work: Path, series: int, runs: int) -> list[Figure]:
    """The band of every series: the compiled loop alone, then the whole step from columns to columns."""
    del work
    rng = np.random.default_rng(1)
    values = [np.rint(rng.normal(50, 5, series) * 1000).astype(np.int64) for _ in range(4)]
    rows, at, none = fresh(series), np.arange(series), np.zeros(series, np.int64)
    moment = 0

    def loop() -> float:
        nonlocal moment
        moment += 1
        end = np.full(series, MONDAY_US + moment * PERIOD_US)
        began = time.perf_counter()
        watch(
            Bands(), rows, rows["profile"], at, end - PERIOD_US, end, values[moment % 4], none, none,
            np.zeros((0, SHOWN)),
        )  # fmt: skip
        return series / (time.perf_counter() - began)

    for _ in range(40):
        loop()
    alone = median(loop, runs)
    state = Grouped.empty(SERIES.dtype)

    def step() -> float:
        nonlocal moment, state
        moment += 1
        frame = _frame(series, values[moment % 4], MONDAY_US + moment * PERIOD_US)
        began = time.perf_counter()
        outcome = detect(frame, state, Models())
        seconds = time.perf_counter() - began
        assert outcome.state is not None, "the step remembers"
        state = outcome.state
        return series / seconds

    for _ in range(3):
        step()
    return [
        Figure("detector_band_kernel", alone, "values/s a core", GOAL, runs),
        Figure("detector_band_step", median(step, runs), "values/s", GOAL, runs),
        Figure("detector_band_state", float(SERIES.dtype.itemsize), "octets a series", "a fixed width"),
    ]


def patterns(work: Path, points: int) -> list[Figure]:
    """The deeper look at a few series, and memory before and after as much again."""
    del work
    p = Patterns()
    rng = np.random.default_rng(2)
    rows = unknown(PATTERN_SERIES, p)
    at = np.tile(np.arange(PATTERN_SERIES), points)
    times = np.repeat(MONDAY_US + np.arange(points) * 10 * PERIOD_US, PATTERN_SERIES)

    def run() -> float:
        seen = rng.normal(50, 5, len(at))
        began = time.perf_counter()
        follow(p, rows, at, times, seen)
        return len(at) / (time.perf_counter() - began)

    run()
    before = resident_octets()
    rate = run()
    grown = resident_octets() - before
    return [
        Figure("detector_patterns", rate, "values/s a core", "for the few series that are worth it"),
        Figure("detector_patterns_state", float(rows.dtype.itemsize), "octets a series", "a fixed width"),
        Figure("detector_patterns_growth", float(max(grown, 0)), "octets", "none with time"),
    ]


def week(work: Path, series: int) -> list[Figure]:
    """Memory of the band over a week of periods."""
    del work
    rng = np.random.default_rng(3)
    rows, at, none = fresh(series), np.arange(series), np.zeros(series, np.int64)
    before = 0
    for moment in range(WEEK):
        end = np.full(series, MONDAY_US + moment * PERIOD_US)
        seen = np.rint(rng.normal(50, 5, series) * 1000).astype(np.int64)
        watch(
            Bands(), rows, rows["profile"], at, end - PERIOD_US, end, seen, none, none, np.zeros((0, SHOWN))
        )
        if moment == WEEK // 7:
            before = resident_octets()
    grown = float(max(resident_octets() - before, 0))
    return [Figure("detector_week_growth", grown, "octets from the first day to the last", "none with time")]


def _frame(series: int, values: np.ndarray[tuple[int], np.dtype[np.int64]], end_us: int) -> pl.DataFrame:
    """One value of every series as `KPIS`."""
    objects = (np.arange(series, dtype=np.uint64) // KPI_NAMES + 1) * np.uint64(0x9E3779B97F4A7C15)
    names = pl.Series([f"Kpi{number}" for number in range(KPI_NAMES)])
    return KPIS.record.conform(
        pl.DataFrame({"object": objects, "value_milli": values}).with_columns(
            bucket=pl.col("object") // 2**56,
            name=pl.lit("Site/Cell"),
            kpi=names.gather(pl.Series(np.arange(series) % KPI_NAMES)),
            scope=pl.lit(1),
            slice=pl.lit(0),
            begin_us=pl.lit(end_us - PERIOD_US),
            end_us=pl.lit(end_us),
        )
    )
