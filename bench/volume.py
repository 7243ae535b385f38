"""Large amounts: memory over a hundred million records, open sessions, fifty million accounts, long histories."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from bench.figures import Figure, percentile, resident_octets
from bench.operator import SEED, folders, prepare
from trunkline import topology
from trunkline.bootstrap.platform import ingest, opened
from trunkline.kernel.dial import to_key
from trunkline.records import charging
from trunkline.simulator import bench_lines
from trunkline.stores.embedded.reader import EmbeddedReader

GIGA = 1e9
DAYS = 30
START_US = 1_790_895_600_000_000  # 2026-10-02, midnight in Berlin
PARTS = 10
ASKED = 100
OPEN_IN_CHILD = (
    "import json, sys, time; from pathlib import Path; from bench.figures import resident_octets;"
    "from trunkline.bootstrap.platform import opened; from trunkline.settings import Folders;"
    "began = time.perf_counter(); context = opened(Folders(data=Path(sys.argv[1]))); platform = context.__enter__();"
    "print(json.dumps([time.perf_counter() - began, resident_octets()])); context.__exit__(None, None, None)"
)


def memory_and_history(work: Path, records: int, subscribers: int = 100_000) -> list[Figure]:
    """Memory after a tenth and after all of the records; then single subscribers' histories of thirty days."""
    prepare(work, 1, subscribers)
    sizes: list[int] = []
    with opened(folders(work)) as platform:
        for part in range(PARTS):
            lines = work / f"part-{part}.ndjson"
            bench_lines(SEED + part, records // PARTS, subscribers, lines, days=DAYS, start_us=START_US)
            marked = f"part-{part}"
            done = ingest(platform, [lines], None, marked)
            assert done.totals.rated == records // PARTS, "every record was rated"
            lines.unlink()
            sizes.append(resident_octets())
        status = platform.store.status()
        platform.store.keeper.compact()
    seen = status["states"]["usage.seen"]
    waits = _histories(EmbeddedReader(work / "data"), subscribers)
    return [
        Figure("memory_after_a_tenth", sizes[0] / GIGA, "GB", "", PARTS),
        Figure("memory_after_all", sizes[-1] / GIGA, "GB", f"as after a tenth, at {records:,} records", PARTS,
               "after a tenth", sizes[0] / GIGA),
        Figure("remembered_record_disk", seen["disk_octets"] / max(1, seen["disk_keys"]), "octets", ""),
        Figure("remembered_record_memory", seen["memory_octets"] / records, "octets", ""),
        Figure("history_of_30_days_p50", percentile(waits, 0.5) * 1000, "ms", f"at most 50, out of {records:,}", ASKED),
        Figure("history_of_30_days_p95", percentile(waits, 0.95) * 1000, "ms", "", ASKED),
    ]  # fmt: skip


def _histories(reader: EmbeddedReader, subscribers: int) -> list[float]:
    words = reader.subscribers(0, subscribers)
    waits, rows = [], 0
    for word in random.Random(SEED).sample(words, ASKED):
        began = time.perf_counter()
        found = reader.usage(word, -(2**62), 2**62, 100_000)
        waits.append(time.perf_counter() - began)
        rows += len(found)
    assert rows, "somebody used something"
    return waits


def open_sessions(work: Path, sessions: int) -> list[Figure]:
    """Data sessions that stay open, each reporting interim usage."""
    prepare(work, 1, 100_000)
    with opened(folders(work)) as platform:
        numbers = pl.read_csv(work / "subscribers.csv", infer_schema=False)["subscriber"]
        _reports(work / "warm.ndjson", "warm", numbers[:1000], 1)
        _reports(work / "first.ndjson", "first", numbers.gather(np.arange(sessions) % len(numbers)), 1)
        ingest(platform, [work / "warm.ndjson"], None, None)
        before = resident_octets()
        ingest(platform, [work / "first.ndjson"], None, None)
        grown = resident_octets() - before
        _reports(work / "second.ndjson", "first", numbers.gather(np.arange(sessions) % len(numbers)), 2)
        began = time.perf_counter()
        done = ingest(platform, [work / "second.ndjson"], None, None)
        seconds = time.perf_counter() - began
        assert not done.troubles, done.troubles
        assert done.totals.rated == sessions, "every report was rated"
    return [
        Figure("open_sessions_memory", grown / GIGA, "GB", f"at most 1, for {sessions:,} sessions"),
        Figure("session_reports", sessions / seconds, "reports/s", "at least 200,000"),
    ]


def _reports(path: Path, name: str, numbers: pl.Series, turn: int) -> None:
    """Interim reports number `turn` of all sessions, fifteen minutes apart."""
    n = np.arange(len(numbers))
    frame = pl.DataFrame(
        {
            "id": pl.Series(n).cast(pl.String) + f"-{name}-{turn}",
            "type": pl.Series(["data"]).gather(n * 0),
            "subscriber": numbers,
            "start": pl.Series([f"2026-11-02T10:{15 * turn:02d}:00.000Z"]).gather(n * 0),
            "session": f"{name}-" + pl.Series(n).cast(pl.String),
            "session_start": pl.Series(["2026-11-02T10:00:00.000Z"]).gather(n * 0),
            "report": pl.Series(["interim"]).gather(n * 0),
            "octets_up": pl.Series(n % 1000 * turn + 1),
            "octets_down": pl.Series(n % 9000 * turn + 1),
            "service": pl.Series(["internet"]).gather(n * 0),
        }
    )
    frame.write_ndjson(path)


def many_accounts(work: Path, accounts: int) -> list[Figure]:
    """Accounts with a subscription, money and an allowance: how long a start takes, and what it holds."""
    prepare(work, 1, 10)
    at_once = min(accounts, 1_000_000)
    with opened(folders(work)) as platform:
        plan = next(name for name in platform.catalogue.plans if name.startswith("smart"))
        base = np.uint64(to_key("99917"))
        for first in range(0, accounts, at_once):
            words = base + (np.arange(first, first + at_once, dtype=np.uint64) << np.uint64(12))
            rows = pl.DataFrame(
                {
                    "subscriber": words,
                    "plan": pl.Series([plan]).gather(np.zeros(at_once, np.int64)),
                    "from_s": np.zeros(at_once, np.int64),
                    "payment": pl.Series(["postpaid"]).gather(np.zeros(at_once, np.int64)),
                    "credit_limit_micros": np.zeros(at_once, np.int64),
                    "cycle_day": np.ones(at_once, np.int64),
                    "balance_micros": np.full(at_once, 10_000_000),
                }
            )
            platform.engine.carry(topology.SUBSCRIBERS, charging.SUBSCRIBERS.record.conform(rows)).result()
        while platform.store.keeper.work():
            pass
    told = subprocess.run(
        [sys.executable, "-c", OPEN_IN_CHILD, str(work / "data")], check=True, capture_output=True, text=True
    )
    seconds, octets = json.loads(told.stdout)
    return [
        Figure("start_with_accounts", seconds, "s", f"at most 90, with {accounts:,} accounts"),
        Figure("memory_of_accounts", octets / GIGA, "GB", "at most 8"),
    ]
