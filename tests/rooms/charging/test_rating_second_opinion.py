"""Whatever the tariff and the usage: the platform and the second opinion agree on every record and entry."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import event, given

from tests.charging_room import Platform
from tests.opinion.accounts import Books
from tests.opinion.pricing import Use
from tests.opinion.subscribed import books_of
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.kernel.dial import to_key
from trunkline.records.charging import Unit


def compare(platform: Platform, books: Books) -> None:
    """Assert that both say the same of every record, entry, alert and balance."""
    words = {to_key(subscriber): subscriber for subscriber in books.subscribers()}
    _compare_records(platform, books)
    _compare_entries(platform, books, words)
    alerts = platform.table("alerts").select("seq", "subscriber", "kind", "balance", "threshold", "period")
    assert sorted((row[0], words[row[1]], *row[2:]) for row in alerts.rows()) == sorted(
        (a.seq, a.subscriber, a.kind, a.balance, a.threshold, a.period) for a in books.alerts
    )
    for subscriber in words.values():
        for balance in platform.catalogue.balances[1:]:
            assert platform.value(subscriber, balance) == books.value(subscriber, balance), (
                subscriber,
                balance,
            )


def _compare_records(platform: Platform, books: Books) -> None:
    rejects = platform.table("rejected")
    assert dict(zip(rejects["line"], rejects["reason"], strict=True)) == {
        verdict.seq: verdict.reason for verdict in books.verdicts if verdict.status == "rejected"
    }
    names = (
        "seq",
        "record_id",
        "list_micros",
        "charged_micros",
        "allowance_units",
        "destination",
        "late",
        "plan",
    )
    got = [
        (*row[:-1], row[-1].partition(" with ")[0])
        for row in platform.table("charged").select(names).sort("seq").rows()
    ]
    assert got == [
        tuple(getattr(verdict, name) for name in names)
        for verdict in books.verdicts
        if verdict.status == "rated"
    ]


def _compare_entries(platform: Platform, books: Books, words: dict[int, str]) -> None:
    names = ("debit", "credit", "amount", "balance", "period", "before", "after", "granted")
    entries = (
        platform.table("entries").filter(pl.col("debit") != "topups").sort("seq", "part", maintain_order=True)
    )
    got = [
        (row[0], words[row[1]], Unit(row[2]).name.lower(), *row[3:])
        for row in entries.select("seq", "subscriber", "unit", *names).rows()
    ]
    assert got == [
        (entry.seq, entry.subscriber, entry.unit, *(getattr(entry, name) for name in names))
        for entry in books.ledger
    ]


@tried(40)
@given(files=tariffs(), rows=subscribers(), uses=streams())
def test_random_tariffs_and_usage(files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]) -> None:
    """Two programs that share no line price, charge, book and tell the same."""
    platform = Platform.under(files)
    platform.enrol(rows)
    platform.charge(uses)
    books = books_of(files, rows, uses)
    for verdict in books.verdicts:
        event(f"{verdict.status} {verdict.reason}")
    compare(platform, books)
