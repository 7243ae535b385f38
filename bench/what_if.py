"""What if: stored usage priced by a tariff and charged once more, on one core, from columns to the answer's tables."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl

from bench.figures import Figure, median
from bench.operator import folders, prepare
from trunkline.bootstrap.platform import opened
from trunkline.charging.anew import opening
from trunkline.charging.what_if import compare_sides, laid_out, price_side
from trunkline.kernel.grouped import Grouped
from trunkline.mediation.decode import decode
from trunkline.mediation.meter import meter
from trunkline.records import charging, usage

SUBSCRIBERS = 100_000
EVER_US = 2**62


def pricing(work: Path, records: int, runs: int) -> list[Figure]:
    """One side of a what-if (rating and charging with a draft), and the comparison of both sides."""
    lines = prepare(work, records, SUBSCRIBERS)
    with opened(folders(work)) as platform:
        catalogue = platform.catalogue
        block = pl.DataFrame(
            {"file": [1], "mapping": ["trunkline"], "offset": [0], "line": [1], "bytes": [lines.read_bytes()]}
        )
        read = decode(usage.RAW.record.conform(block), platform.mappings).rows[0]
        decoded = read.with_columns(seq=pl.int_range(records))
        sessions = Grouped.empty(usage.SESSIONS.dtype, np.unique(decoded["session_key"].to_numpy()))
        metered = meter(decoded, sessions).rows[0]
        held = platform.store.gather(charging.ACCOUNTS, np.unique(metered["subscriber"].to_numpy()))
    used, orders = laid_out(metered, charging.MOVEMENTS.record.empty())
    accounts = opening(held, used, orders)

    def one_side() -> float:
        began = time.perf_counter()
        side = price_side(used, orders, accounts, catalogue)
        seconds = time.perf_counter() - began
        assert not side.reason.any(), "every record was priced"
        return records / seconds

    side = price_side(used, orders, accounts, catalogue), catalogue  # compiles, too

    def compared() -> float:
        began = time.perf_counter()
        found = compare_sides(used, side, side, -EVER_US, EVER_US)
        seconds = time.perf_counter() - began
        assert found.running_micros == found.draft_micros > 0
        return records / seconds

    return [
        Figure("what_if_pricing", median(one_side, runs), "CDR/s a core", "at least 5,000,000", runs),
        Figure("what_if_comparison", median(compared, runs), "CDR/s", "tables of both sides", runs),
    ]
