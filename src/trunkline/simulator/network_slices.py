"""What some cells count for each slice: sessions asked for and set up, data, delay and loss."""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.simulator.country import Floats, Ints, Truths
from trunkline.simulator.network_plan import Plan
from trunkline.simulator.schema import SLICES

SHARES = (0.08, 0.05, 0.03)  # of a cell's sessions, in the order of `SLICES`
CELLS_EVERY = 5  # one NR cell of five offers the slices
COUNTERS = (
    "SM.PDUSessionSetupReq", "SM.PDUSessionSetupSucc", "DRB.PdcpSduVolumeDL", "DRB.AirIfDelayDl",
    "DRB.PacketLossRateUl",
)  # fmt: skip


def slice_rows(
    plan: Plan,
    begin_us: Ints,
    period_us: int,
    columns: dict[str, Floats],
    silent: Truths,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """`begin_us, end_us, cell, technology, slice` and `COUNTERS`, out of what whole cells count in [bin, cell]."""
    cells = np.flatnonzero(plan.is_nr() == 1)[::CELLS_EVERY]
    bin_of, place = np.nonzero(~silent[:, cells])
    cell = cells[place]
    names = pl.Series(plan.cell_names)
    frames = []
    for name, share in zip(SLICES, SHARES, strict=True):
        asked = rng.binomial(columns["SM.PDUSessionSetupReq"][bin_of, cell].astype(np.int64), share)
        succeeded = columns["SM.PDUSessionSetupSucc"] / np.maximum(columns["SM.PDUSessionSetupReq"], 1)
        chance = np.where(columns["SM.PDUSessionSetupReq"] > 0, succeeded, 1.0)[bin_of, cell]
        frames.append(
            pl.DataFrame(
                {
                    "begin_us": begin_us[bin_of],
                    "end_us": begin_us[bin_of] + period_us,
                    "cell": names.gather(cell),
                    "technology": "NR",
                    "slice": name,
                    COUNTERS[0]: asked,
                    COUNTERS[1]: rng.binomial(asked, np.clip(chance, 0, 1)),
                    COUNTERS[2]: (columns[COUNTERS[2]][bin_of, cell] * share).round(2),
                    COUNTERS[3]: (columns[COUNTERS[3]][bin_of, cell] * 0.8).round(),
                    COUNTERS[4]: columns[COUNTERS[4]][bin_of, cell].astype(np.int64),
                }
            )
        )
    return pl.concat(frames).sort("begin_us", maintain_order=True)
