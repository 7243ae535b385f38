"""Whatever the tariff and the usage: the platform and the second opinion agree on every record and entry."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import event, given

from tests.charging_room import Platform
from tests.opinion.accounts import Books
from tests.opinion.pricing import Use
from tests.opinion.tariff import read
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.kernel.dial import to_key
from trunkline.records.charging import Unit


def second_opinion(files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]) -> Books:
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
        )
    for use in uses:
        books.charge(use)
    return books


def compare(platform: Platform, books: Books) -> None:
    """Assert that both say the same of every record, entry, alert and balance."""
    words = {to_key(subscriber): subscriber for subscriber in books.subscribers()}
    expected = {
        (v.seq, v.record_id): (
            v.list_micros,
            v.charged_micros,
            v.allowance_units,
            v.destination,
            v.plan,
            v.late,
        )
        for v in books.verdicts
        if v.status == "rated"
    }
    got = {
        (row["seq"], row["record_id"]): (
            row["list_micros"],
            row["charged_micros"],
            row["allowance_units"],
            row["destination"],
            row["plan"].partition(" with ")[0],
            row["late"],
        )
        for row in platform.table("charged").iter_rows(named=True)
    }
    refused = {v.record_id: v.reason for v in books.verdicts if v.status == "rejected"}
    rejects = platform.table("rejected")
    assert dict(zip(rejects["line"], rejects["reason"], strict=True)) == {
        int(name.removeprefix("r")): reason for name, reason in refused.items()
    }
    assert got == expected
    entries = [
        (
            row["seq"],
            words[row["subscriber"]],
            Unit(row["unit"]).name.lower(),
            row["debit"],
            row["credit"],
            row["amount"],
        )
        + (row["balance"], row["period"], row["before"], row["after"], row["granted"])
        for row in platform.table("entries").sort("seq", "part", maintain_order=True).iter_rows(named=True)
        if row["debit"] != "topups"
    ]
    assert entries == [
        (
            e.seq,
            e.subscriber,
            e.unit,
            e.debit,
            e.credit,
            e.amount,
            e.balance,
            e.period,
            e.before,
            e.after,
            e.granted,
        )
        for e in books.ledger
    ]
    alerts = [
        (row["seq"], words[row["subscriber"]], row["kind"], row["balance"], row["threshold"], row["period"])
        for row in platform.table("alerts").iter_rows(named=True)
    ]
    assert sorted(alerts) == sorted(
        (a.seq, a.subscriber, a.kind, a.balance, a.threshold, a.period) for a in books.alerts
    )
    for subscriber in words.values():
        for balance in platform.catalogue.balances[1:]:
            assert platform.value(subscriber, balance) == books.value(subscriber, balance), (
                subscriber,
                balance,
            )


@tried(40)
@given(files=tariffs(), rows=subscribers(), uses=streams())
def test_random_tariffs_and_usage(files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]) -> None:
    """Two programs that share no line price, charge, book and tell the same."""
    platform = Platform.under(files)
    platform.enrol(rows)
    platform.charge(uses)
    books = second_opinion(files, rows, uses)
    for verdict in books.verdicts:
        event(f"{verdict.status} {verdict.reason}")
    compare(platform, books)
