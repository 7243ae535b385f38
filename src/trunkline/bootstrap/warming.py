"""Compiling before anybody waits: the steps are run once over a record that is nobody's, and nothing is kept.

The loops are compiled at their first call, which takes about a minute on a fresh installation and is remembered on
disk from then on. A platform that says it is charging should be able to, so `run` does this first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from trunkline import topology
from trunkline.kernel.grouped import Grouped
from trunkline.records import usage

LINE = b'{"id":"0","type":"voice","subscriber":"1","called":"1","start":"2026-01-01T00:00:00Z","duration_ms":1000}\n'


def warm(tables: dict[str, Any]) -> None:
    """Run every step of the usage flow once, in memory."""
    block = {"file": [0], "mapping": ["trunkline"], "offset": [0], "line": [1], "bytes": [LINE]}
    rows = {usage.RAW.name: usage.RAW.record.conform(pl.DataFrame(block))}
    for step in topology.USAGE.steps:
        batch = rows.get(step.reads.name, step.reads.record.empty())
        if step.reads is usage.DECODED:
            batch = batch.with_columns(seq=pl.int_range(pl.len(), dtype=pl.Int64))
        remembered = []
        if step.state is not None:
            keys = np.unique(batch.get_column(step.state.key).to_numpy())
            remembered = [Grouped.empty(step.state.dtype, keys)]
        outcome = step.run(batch, *remembered, *(tables[table.name] for table in step.looks_up))
        for stream, written in zip(step.writes, outcome.rows, strict=True):
            rows[stream.name] = written
