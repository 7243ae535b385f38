"""An auditor's books over a whole stream: everybody subscribed, every use charged, by the second opinion alone."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from tests.charging_room import Platform
from tests.opinion.accounts import Books
from tests.opinion.pricing import Use
from tests.opinion.tariff import read
from trunkline.kernel.dial import to_key


def books_of(files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]) -> Books:
    """The books as an auditor keeps them."""
    books = Books(read(files))
    for row in rows:
        zone = row.get("time_zone")
        books.subscribe(
            row["subscriber"],
            row["plan"],
            row.get("from_s", 0),
            ZoneInfo(zone) if zone else None,
            row.get("cycle_day"),
            row.get("opening_micros", 0),
            row.get("credit_micros", 0),
            row.get("owner"),
            row.get("limits"),
        )
    for use in uses:
        books.charge(use)
    return books


def assert_same(platform: Platform, books: Books) -> None:
    """Assert that records, ledger, alerts and balances are those of the second opinion."""
    got = {row["record_id"]: row for row in platform.table("charged").iter_rows(named=True)}
    for verdict in books.verdicts:
        row = got.pop(verdict.record_id)
        assert (row["list_micros"], row["charged_micros"], row["allowance_units"], row["late"]) == (
            verdict.list_micros,
            verdict.charged_micros,
            verdict.allowance_units,
            verdict.late,
        ), verdict
    assert not got
    names = ("subscriber", "debit", "credit", "amount", "balance", "before", "after", "granted")
    entries = platform.table("entries").filter(pl.col("cause") != 3).sort("seq", "part").select("seq", *names)
    written = [
        (e.seq, to_key(e.subscriber), e.debit, e.credit, e.amount, e.balance, e.before, e.after, e.granted)
        for e in books.ledger
    ]
    assert entries.rows() == written
    alerts = platform.table("alerts").select("seq", "subscriber", "balance", "threshold").rows()
    assert sorted(alerts) == sorted(
        (a.seq, to_key(a.subscriber), a.balance, a.threshold) for a in books.alerts
    )
