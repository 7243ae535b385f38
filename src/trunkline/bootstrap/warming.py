"""Compiling before anybody waits: the steps are run once over a record that is nobody's, and nothing is kept.

The loops are compiled at their first call, which takes about a minute on a fresh installation and is remembered on
disk from then on. A platform that says it is charging should be able to, so `run` does this first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from trunkline import topology
from trunkline.kernel.flow import Flow
from trunkline.kernel.grouped import Grouped

LINE = b'{"id":"0","type":"voice","subscriber":"1","called":"1","start":"2026-01-01T00:00:00Z","duration_ms":1000}\n'
READING = (
    b'{"cell":"warming","technology":"NR","begin":"2026-01-01T00:00:00Z","end":"2026-01-01T00:05:00Z",'
    b'"RRC.ConnEstabAtt.Sum":10,"RRC.ConnEstabSucc.Sum":9,"RRU.PrbTotDl":50}\n'
)
VES = (
    b'{"event":{"commonEventHeader":{"domain":"fault","eventId":"warming","eventName":"Fault_warming",'
    b'"lastEpochMicrosec":1767225900000000,"startEpochMicrosec":1767225900000000,"priority":"High",'
    b'"reportingEntityName":"warming","sequence":0,"sourceName":"warming","version":"4.1","vesEventListenerVersion":"7.2"},'
    b'"faultFields":{"faultFieldsVersion":"4.0","alarmCondition":"warming","eventSeverity":"CRITICAL",'
    b'"eventSourceType":"other","specificProblem":"warming","vfStatus":"Active"}}}\n'
)


def warm(tables: dict[str, Any]) -> None:
    """Run every step of the usage flow once, in memory."""
    _run_once(topology.USAGE, tables, {"trunkline": LINE})


def warm_network(tables: dict[str, Any]) -> None:
    """Run the steps of the network's flow once, in memory."""
    _run_once(topology.NETWORK, tables, {"cells_ndjson": READING, "ves": VES})


def _run_once(flow: Flow, tables: dict[str, Any], blocks: dict[str, bytes]) -> None:
    """Every step over blocks by mapping; of the network, only those that something reaches."""
    count = len(blocks)
    block = {
        "file": list(range(count)), "mapping": list(blocks), "offset": [0] * count, "line": [1] * count,
        "bytes": list(blocks.values()), "source": ["warming"] * count,
    }  # fmt: skip
    entry = flow.steps[0]
    rows = {entry.reads.name: entry.reads.record.conform(pl.DataFrame(block))}
    for step in flow.steps:
        batch = rows.get(step.reads.name, step.reads.record.empty())
        if step.reads in entry.writes:
            batch = batch.with_columns(seq=pl.int_range(pl.len(), dtype=pl.Int64))
        if not len(batch) and step in topology.NETWORK.steps:
            continue
        remembered = []
        if step.state is not None:
            keys = np.unique(batch.get_column(step.state.key).to_numpy())
            remembered = [Grouped.empty(step.state.dtype, keys)]
        outcome = step.run(batch, *remembered, *(tables[table.name] for table in step.looks_up))
        for stream, written in zip(step.writes, outcome.rows, strict=True):
            before = [rows[stream.name]] if stream.name in rows else []
            rows[stream.name] = pl.concat([*before, written], how="diagonal_relaxed")
