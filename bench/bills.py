"""The bill run: a month's bills of many accounts, each with fees, usage, a discount, taxes and its ledger entry."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure
from bench.operator import SEED
from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.platform import ingest, opened
from trunkline.settings import Folders
from trunkline.simulator import Settings, bench_lines, bench_subscribers, make_world, write_operator

RECORDS_AN_ACCOUNT = 8
START_US = 1_790_895_600_000_000  # 2026-10-02, midnight in Berlin
DECEMBER_US = int(datetime(2026, 12, 15, tzinfo=UTC).timestamp()) * 1_000_000
LONGEST_S = 600
BILLING = """
billing: {rounding: half_even, due: 14d}
discounts: {volume: {of: [usage], tiers: [{from: "2.00", percent: "5"}, {from: "10.00", percent: "10"}]}}
taxes:
  vat: {label: VAT, percent: "19", zones: [home, eu]}
  levy: {percent: "0.5", of: [data], included: true}
"""
FEES = '\nfees: {monthly: "9.99", insurance: "1.49"}\ndiscounts: [volume]\n'


def run(work: Path, accounts: int) -> list[Figure]:
    """Bill October for `accounts` accounts with usage, and check the bills against the ledger."""
    write_operator(make_world(Settings(subscribers=10, cells=10, hours=1)), work)
    tariffs = work / "tariffs"
    for plan in tariffs.glob("plan_*.yaml"):
        plan.write_text(plan.read_text() + FEES)
    (tariffs / "billing.yaml").write_text(BILLING)
    bench_subscribers(SEED, accounts, work / "subscribers.csv")
    usage = work / "usage.ndjson"
    bench_lines(SEED, RECORDS_AN_ACCOUNT * accounts, accounts, usage, days=28, start_us=START_US)
    with opened(Folders(data=work / "data", tariffs=str(tariffs))) as platform:
        assert not ingest(platform, [usage], None, None).troubles
        usage.unlink()
        bills = FolderBills(
            work / "data", lambda: platform.catalogue, platform.engine, now_us=lambda: DECEMBER_US
        )
        began = time.perf_counter()
        done = bills.run(202610)
        seconds = time.perf_counter() - began
        assert done.bills == accounts, done
        began = time.perf_counter()
        checked = bills.check(202610)
        checking_s = time.perf_counter() - began
        assert checked.differences.is_empty(), checked.differences
        assert checked.bill_micros == checked.ledger_micros, "the sum of bills is not the ledger's"
    a_million_s = seconds / accounts * 1_000_000
    return [
        Figure(
            "bill_run", accounts / seconds, "bills/s", f"at least {1_000_000 // LONGEST_S:,} on two cores"
        ),
        Figure("bill_run_of_a_million", a_million_s, "s", f"at most {LONGEST_S}, from {accounts:,} accounts"),
        Figure("bill_check", accounts / checking_s, "bills/s", "every bill against the ledger"),
    ]
