"""What was expected of one series, value by value: the band that the detector would have gone by, for a chart.

It is worked out afresh from the KPIs that are kept, in their order and without looking ahead, so that a chart can show
it for every moment and not only where something was found.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.network.detect.bands import FEATURES, SHOWN, fresh, watch
from trunkline.network.detect.models import Models

EXPECTED = {"end_us": pl.Int64, "low_milli": pl.Int64, "high_milli": pl.Int64}
_POINTS = FEATURES.index("points")


def expected(kpis: pl.DataFrame, models: Models) -> pl.DataFrame:
    """The band (`EXPECTED`) of each value of one series (`KPIS`), oldest first; none while the series is learnt."""
    rows = kpis.filter(pl.col("value_milli").is_not_null())
    rows = rows.unique("end_us", keep="first", maintain_order=True).sort("end_us")
    if not len(rows):
        return pl.DataFrame(schema=EXPECTED)
    state, shown = fresh(1), np.zeros((len(rows), SHOWN))
    watch(
        models.bands,
        state,
        state["profile"],
        np.zeros(len(rows), np.int64),
        rows["begin_us"].to_numpy(),
        rows["end_us"].to_numpy(),
        rows["value_milli"].to_numpy(),
        rows["numerator_milli"].fill_null(0).to_numpy(),
        rows["denominator_milli"].fill_null(0).to_numpy(),
        shown,
    )
    bands = pl.DataFrame(
        {
            "end_us": rows["end_us"],
            "low_milli": np.rint((shown[:, -2] - shown[:, -1]) * 1000),
            "high_milli": np.rint((shown[:, -2] + shown[:, -1]) * 1000),
        }
    )
    learnt = pl.Series(shown[:, _POINTS] >= models.bands.learn_points)
    return bands.filter(learnt).select(pl.col(name).cast(dtype) for name, dtype in EXPECTED.items())
