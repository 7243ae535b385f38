"""Whole simulated days through the real embedded engine, every record compared with the second opinion.

Copies, conflicts, late and damaged lines included. A failure prints the seed; the same seed makes the same days.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.opinion.audit import Audit, audit
from tests.opinion.families import share as let_families_share
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.kernel.dial import to_key
from trunkline.kernel.flow import Stream
from trunkline.records.charging import CHARGED, ENTRIES, Cause, RowKind, Unit
from trunkline.settings import Folders
from trunkline.simulator.settings import Settings
from trunkline.simulator.simulate import simulate
from trunkline.stores.embedded.reader import EmbeddedReader

EVER_US = 2**62
WEEK_HOURS = 168
DAY_HOURS = 24


@dataclass(frozen=True)
class Outcome:
    """What the platform stored, and what the auditor says."""

    reader: EmbeddedReader
    totals: Any
    audit: Audit


def charged(folder: Path, faulty: bool, *, families: bool = False, **wanted: Any) -> Outcome:
    """Simulate, ingest with the real engine, and audit the same files; families share where that is wanted."""
    share = 0.01 if faulty else 0.0
    settings = Settings(
        **wanted, duplicates=share, late=share, corrupt=share, conflicts=share / 2, out_of_order=2 * share
    )
    simulate(settings, folder / "sim")
    if families:
        assert let_families_share(folder / "sim" / "tariffs", folder / "sim" / "subscribers.csv") > 2
    files = sorted((folder / "sim" / "cdrs").iterdir())
    for path in files:
        _without_clocks_at_their_birth(path)
    with opened(Folders(data=folder / "data", tariffs=str(folder / "sim" / "tariffs"))) as platform:
        done = ingest(platform, files, None, None)
    assert not done.troubles
    now_us = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    found = audit(folder / "sim" / "tariffs", folder / "sim" / "subscribers.csv", files, now_us)
    return Outcome(EmbeddedReader(folder / "data"), done.totals, found)


def _without_clocks_at_their_birth(path: Path) -> None:
    """Take out the lines dated 1999: what is too old depends on what was committed before, which is tried elsewhere."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b'"start":"1999-' not in line))


def assert_agreed(outcome: Outcome) -> None:
    """Assert that every record, entry, alert and balance is the same in both books."""
    _assert_counts(outcome)
    _assert_rejects(outcome)
    _assert_records(outcome)
    _assert_entries(outcome)
    _assert_alerts(outcome)
    _assert_balances(outcome)


def _assert_counts(outcome: Outcome) -> None:
    intake, verdicts = outcome.audit.intake, outcome.audit.books.verdicts
    rated = sum(verdict.status == "rated" for verdict in verdicts)
    totals = outcome.totals
    assert (totals.received, totals.duplicate, totals.held) == (
        intake.received,
        intake.duplicates,
        len(intake.held),
    )
    assert totals.rated == rated
    assert totals.received == totals.rated + totals.duplicate + totals.rejected + totals.held
    assert totals.charged_micros == sum(verdict.charged_micros for verdict in verdicts)


def _assert_rejects(outcome: Outcome) -> None:
    books, intake = outcome.audit.books, outcome.audit.intake
    expected = [refused.reason for refused in intake.refused]
    expected += [verdict.reason for verdict in books.verdicts if verdict.status == "rejected"]
    got = outcome.reader.rejects(None, 10**6)["reason"].to_list()
    assert sorted(got) == sorted(expected)


def _stored(outcome: Outcome, stream: Stream) -> pl.DataFrame:
    frames: list[pl.DataFrame] = [stream.record.empty(), *outcome.reader.scan(stream, -EVER_US, EVER_US)]
    return pl.concat(frames, how="vertical_relaxed")


def _assert_records(outcome: Outcome) -> None:
    got = {
        (row["source"], row["record_id"]): (
            row["units"],
            row["list_micros"],
            row["charged_micros"],
            row["allowance_units"],
            row["destination"],
            row["plan"].partition(" with ")[0],
            row["late"],
        )
        for row in _stored(outcome, CHARGED).iter_rows(named=True)
    }
    expected = {
        (v.source, v.record_id): (
            v.units,
            v.list_micros,
            v.charged_micros,
            v.allowance_units,
            v.destination,
            v.plan,
            v.late,
        )
        for v in outcome.audit.books.verdicts
        if v.status == "rated"
    }
    different = [(key, got.get(key), value) for key, value in expected.items() if got.get(key) != value]
    assert not different, f"{len(different)} of {len(expected)} records differ, the first: {different[:3]}"
    assert set(got) == set(expected)


def _assert_entries(outcome: Outcome) -> None:
    """Each subscriber's ledger, in order: numbers of arrival differ, what was moved does not."""
    got: dict[int, list[Any]] = {}
    entries = _stored(outcome, ENTRIES).filter(pl.col("cause") != int(Cause.TOPUP)).sort("seq", "part")
    for row in entries.iter_rows(named=True):
        got.setdefault(row["subscriber"], []).append(
            (
                Unit(row["unit"]).name.lower(),
                row["debit"],
                row["credit"],
                row["amount"],
                row["balance"],
                row["period"],
            )
            + (row["before"], row["after"], row["granted"])
        )
    expected: dict[int, list[Any]] = {}
    for e in outcome.audit.books.ledger:
        expected.setdefault(to_key(e.subscriber), []).append(
            (e.unit, e.debit, e.credit, e.amount, e.balance, e.period, e.before, e.after, e.granted)
        )
    assert got == expected


def _assert_alerts(outcome: Outcome) -> None:
    rows = outcome.reader.alerts(0, 10**6)
    names = ("subscriber", "kind", "balance", "threshold", "period")
    got = sorted(rows.select(names).rows())
    assert got == sorted(
        (to_key(a.subscriber), a.kind, a.balance, a.threshold, a.period) for a in outcome.audit.books.alerts
    )


def _assert_balances(outcome: Outcome) -> None:
    with_names = {name: number for number, name in enumerate(_balance_names(outcome))}
    members = load_catalogue(outcome.reader.folder, None).members
    for subscriber, account in outcome.audit.books.accounts.items():
        words = members.words_of(to_key(subscriber))
        rows = outcome.reader.account(to_key(subscriber))
        held = rows[rows["kind"] == RowKind.BALANCE]
        got = sorted(
            (words[int(row["member"])], int(row["definition"]), int(row["period"]), int(row["value"]))
            for row in held
            if row["value"]
        )
        expected = sorted(
            (to_key(each.of), with_names[each.rule.name], each.period, each.value)
            for each in account.balances
            if each.value
        )
        assert got == expected, subscriber
        drawn = rows[rows["kind"] == RowKind.DRAWN]
        taken = sorted(
            (words[int(r["member"])], int(r["definition"]), int(r["period"]), int(r["value"])) for r in drawn
        )
        assert taken == sorted(
            (to_key(user), with_names[name], period, value)
            for (user, name, period), value in account.drawn.items()
        ), subscriber


def _balance_names(outcome: Outcome) -> list[str]:
    """Register numbers are given in the order of definition, from 1."""
    return ["", *outcome.audit.books.tariff.balances]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_faulty_day(tmp_path: Path, seed: int) -> None:
    """A day with copies, conflicts, late, overtaken and damaged records is charged alike by both."""
    assert_agreed(charged(tmp_path, True, seed=seed, subscribers=80, cells=20, hours=DAY_HOURS))


def test_families_share(tmp_path: Path) -> None:
    """A faulty stretch over the end of a month in which families share one account each; it reconciles, too."""
    people = int(os.environ.get("TRUNKLINE_FAMILY_SUBSCRIBERS", "90"))
    hours = int(os.environ.get("TRUNKLINE_FAMILY_HOURS", "48"))
    begins = date(2026, 10, 30)
    outcome = charged(
        tmp_path, True, families=True, seed=11, subscribers=people, cells=20, hours=hours, start=begins
    )
    assert_agreed(outcome)
    shared = [e for e in outcome.audit.books.ledger if e.subscriber != e.user]
    assert shared, "no member used anything"
    found = reconcile(outcome.reader, load_catalogue(outcome.reader.folder, None), load_mappings())
    assert (found["differences"], found["account_differences"]) == (0, 0), found


def test_a_week(tmp_path: Path) -> None:
    """A week, with the weekend, renewals of the week and of the month, and every record agreed."""
    people = int(os.environ.get("TRUNKLINE_WEEK_SUBSCRIBERS", "60"))
    outcome = charged(
        tmp_path, True, seed=7, subscribers=people, cells=20, hours=WEEK_HOURS, start=date(2026, 10, 27)
    )
    assert_agreed(outcome)
    assert outcome.audit.books.alerts, "a week without a single alert tries nothing"
