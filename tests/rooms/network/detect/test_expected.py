"""The band of a chart: what the detector would have expected before each value, and nothing from later ones."""

from __future__ import annotations

import polars as pl

from trunkline.network.detect.expected import expected
from trunkline.network.detect.models import Models
from trunkline.records.network import KPIS

PERIOD_US = 300_000_000


def series(values: list[float | None]) -> pl.DataFrame:
    """KPIs of one cell, a window after the other."""
    return KPIS.record.conform(
        pl.DataFrame(
            {
                "begin_us": [at * PERIOD_US for at in range(len(values))],
                "end_us": [(at + 1) * PERIOD_US for at in range(len(values))],
                "value_milli": [None if value is None else int(value * 1000) for value in values],
            },
            schema_overrides={"value_milli": pl.Int64},
        )
    )


def test_what_is_usual_lies_within_and_a_leap_does_not() -> None:
    """Of a steady series, once it is learnt; windows without a value have no band."""
    values: list[float | None] = [50.0 + at % 7 for at in range(600)]
    values[500], values[550] = 400.0, None
    kpis = series(values)
    found = expected(kpis, Models()).join(kpis.select("end_us", "value_milli"), on="end_us")
    assert 0 < len(found) < 599
    inside = found.filter(pl.col("value_milli").is_between("low_milli", "high_milli"))
    assert (501 * PERIOD_US) not in inside["end_us"]
    assert (551 * PERIOD_US) not in found["end_us"]
    assert len(inside) > 0.9 * len(found)


def test_nothing_is_known_beforehand() -> None:
    """What comes later changes no band, and a series of nothing has none."""
    values: list[float | None] = [50.0 + at % 7 for at in range(600)]
    whole, part = expected(series(values), Models()), expected(series(values[:400]), Models())
    assert whole.head(len(part)).equals(part)
    assert len(expected(series([]), Models())) == 0
    assert len(expected(series([None, None]), Models())) == 0
