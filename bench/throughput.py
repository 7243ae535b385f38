"""From a file of call records to balances that can be asked: the whole way, and its innermost loop alone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import polars as pl

from bench.figures import Figure, median
from bench.operator import folders, prepare
from trunkline.bootstrap.platform import ingest, opened
from trunkline.charging.balances import draw_batch
from trunkline.charging.rate import price_batch
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Register
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.mediation.decode import decode
from trunkline.mediation.meter import meter
from trunkline.records import charging, usage
from trunkline.stores.embedded.reader import EmbeddedReader

SUBSCRIBERS = 100_000
GOAL = "at least 500,000 and a ratio of 0.4; aim 1,000,000 and 0.7"


def end_to_end(work: Path, records: int, runs: int) -> list[Figure]:
    """NDJSON file to decoded, deduplicated, rated, charged, alerted, durable and queryable."""
    lines = prepare(work, records, SUBSCRIBERS)

    def run() -> float:
        shutil.rmtree(work / "data", ignore_errors=True)
        with opened(folders(work)) as platform:
            began = time.perf_counter()
            done = ingest(platform, [lines], None, None)
            seconds = time.perf_counter() - began
        counts = EmbeddedReader(work / "data").accounting()
        assert sum(each.rated for each in counts) == records == done.totals.received, "every record was rated"
        return records / seconds

    def bare() -> float:
        began = time.perf_counter()
        assert len(pl.read_ndjson(lines)) == records
        return records / (time.perf_counter() - began)

    run()  # compiles, and warms the disk's cache for both
    reading = median(bare, runs)
    return [
        Figure(
            "end_to_end", median(run, runs), "CDR/s", GOAL, runs,
            "polars.read_ndjson of the same file", reading,
        )
    ]  # fmt: skip


def kernel(work: Path, records: int, runs: int) -> list[Figure]:
    """Rating and charging alone, on one core, from columns to columns."""
    lines = prepare(work, records, SUBSCRIBERS)
    with opened(folders(work)) as platform:
        catalogue, mappings = platform.catalogue, platform.mappings
        block = usage.RAW.record.conform(
            pl.DataFrame(
                {
                    "file": [1],
                    "source": [None],
                    "mapping": ["trunkline"],
                    "offset": [0],
                    "line": [1],
                    "bytes": [lines.read_bytes()],
                }
            )
        )
        decoded = decode(block, mappings).rows[0].with_columns(seq=pl.int_range(records))
        metered = meter(
            decoded, Grouped.empty(usage.SESSIONS.dtype, np.unique(decoded["session_key"].to_numpy()))
        ).rows[0]
        keys = np.unique(metered["subscriber"].to_numpy())
        accounts = platform.store.gather(charging.ACCOUNTS, keys)
    metered = metered.sort("subscriber", "seq")
    groups = locate(keys, metered["subscriber"].to_numpy())

    def run() -> float:
        began = time.perf_counter()
        priced = price_batch(metered, groups, accounts, catalogue)
        drawn = draw_batch(metered, priced, groups, accounts, catalogue)
        seconds = time.perf_counter() - began
        assert not priced.verdict.any(), "every record was priced"
        assert not drawn.verdict.any(), "every record was charged"
        return records / seconds

    run()
    return [Figure("rate_and_charge_kernel", median(run, runs), "CDR/s a core", "at least 10,000,000", runs)]


def tariff(_work: Path, prefixes: int, runs: int) -> list[Figure]:
    """A rate sheet of many prefixes becomes a catalogue: how long a change of tariff takes."""
    rows = [
        f"Place {at // 4},{at + 10_000},0.{at % 97 + 1:04d},60s,{1 + at % 2}s,1s,\n" for at in range(prefixes)
    ]
    files = {
        "operator.yaml": "operator: {name: Bench, currency: EUR, time_zone: UTC}\n"
        "balances:\n  main: {unit: money, main: true}\n",
        "plan.yaml": "plan: p\nprices:\n  - {usage: voice, sheet: world.csv}\n",
        "world.csv": "destination,prefix,price,per,first,next,connect_fee\n" + "".join(rows),
    }

    def run() -> float:
        began = time.perf_counter()
        compile_catalogue(files, Register({}, {}, {}, {}))
        return time.perf_counter() - began

    run()
    return [Figure("tariff_compiled", median(run, runs), "s", f"{prefixes:,} prefixes", runs)]
