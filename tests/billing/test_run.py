"""A bill run over a real data folder: each account once, the sum of bills the ledger's, and nothing lost on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.billing.small import PEOPLE, billing, charge, number, records
from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.reconcile import reconcile
from trunkline.charging.bills.bill import ENTRY_COLUMNS
from trunkline.charging.bills.check import check
from trunkline.kernel.dial import to_key
from trunkline.ports import Refused
from trunkline.records.charging import RowKind
from trunkline.stores.embedded.bill_files import BillFiles
from trunkline.stores.embedded.bills import EmbeddedBills, whole_bills
from trunkline.stores.embedded.reader import EmbeddedReader

DECEMBER_US = int(datetime(2026, 12, 31, tzinfo=UTC).timestamp()) * 1_000_000
IGNORED = ["seq", "issued_us", "bill_id"]


def main_balance(data: Path, at: int) -> int:
    """What the main balance holds now."""
    rows = EmbeddedReader(data).account(to_key(number(at)))
    catalogue = load_catalogue(data, None)
    main = rows[(rows["kind"] == RowKind.BALANCE) & (rows["definition"] == catalogue.main_balance)]
    return int(main["value"].sum())


def assert_right(bills: FolderBills, count: int) -> None:
    """Assert that every bill agrees with the ledger."""
    found = bills.check(None)
    assert found.differences.is_empty(), found.differences
    assert found.bills == count
    assert found.bill_micros == found.ledger_micros


def test_two_months(tmp_path: Path) -> None:
    """October and November are billed once each, late records on the later bill, and balances are what bills say."""
    with billing(tmp_path, DECEMBER_US) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 28))
        done = bills.run(202610)
        assert (done.bills, done.billed, done.running, done.behind, done.ahead) == (PEOPLE, 0, 0, 0, 0)
        again = bills.run(202610)
        assert (again.bills, again.billed) == (0, PEOPLE)
        assert_right(bills, PEOPLE)
        with pytest.raises(Refused, match="not a period"):
            bills.run(202613)
        assert bills.run(202612).behind == PEOPLE
        charge(platform, tmp_path / "b.ndjson", records(29, 31))  # October's, after its bills were made
        charge(platform, tmp_path / "c.ndjson", records(1, 20, 11))
        done = bills.run(202611)
        assert (done.bills, done.behind) == (PEOPLE, 0)
        assert_right(bills, 2 * PEOPLE)
    every = bills.bills(None, None, 1000)
    assert [bill["period"] for bill in every] == [202611] * PEOPLE + [202610] * PEOPLE
    assert any(line["earlier"] for bill in every[:PEOPLE] for line in bill["lines"])
    on_the_first = [
        bill
        for at in range(0, PEOPLE, 4)
        for bill in every[PEOPLE:]
        if bill["subscriber"] == to_key(number(at))
    ]
    assert not any(line["earlier"] for bill in on_the_first for line in bill["lines"])
    for at in range(PEOPLE):
        mine = [bill["total_micros"] for bill in every if bill["subscriber"] == to_key(number(at))]
        assert main_balance(tmp_path / "data", at) == -sum(mine)
    result = reconcile(
        EmbeddedReader(tmp_path / "data"), load_catalogue(tmp_path / "data", None), load_mappings()
    )
    assert (result["differences"], result["account_differences"]) == (0, 0)


def test_two_currencies_stand_apart(tmp_path: Path) -> None:
    """Bills of plans that are billed in dinars come to dinars; the ledger agrees for each currency by itself."""
    with billing(tmp_path) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        done = bills.run(202610)
        made = bills.bills(None, None, 1000)
        checked = bills.check(None)
        periods = bills.periods()
    abroad = [bill for bill in made if bill["payable"]]
    assert {bill["plan"] for bill in abroad} == {"saver@always"}
    at_home = sum(bill["total_micros"] for bill in made if not bill["payable"])
    dinars = sum(bill["payable"]["micros"] for bill in abroad)
    assert done.payable_micros == {"EUR": at_home, "KWD": dinars}
    assert done.total_micros == at_home + sum(bill["total_micros"] for bill in abroad)
    assert [(row["currency"], row["payable_micros"]) for row in checked.currencies.iter_rows(named=True)] == [
        ("EUR", at_home), ("KWD", dinars),
    ]  # fmt: skip
    assert checked.currencies["bill_micros"].to_list() == checked.currencies["ledger_micros"].to_list()
    assert [(row["payable_currency"], row["payable_micros"]) for row in periods] == [
        ("EUR", at_home), ("KWD", dinars),
    ]  # fmt: skip


def test_nothing_is_billed_without_a_rate(tmp_path: Path) -> None:
    """A rate that some account lacks is named before the first bill is made; a preview refuses it, too."""
    with billing(tmp_path, DECEMBER_US) as (platform, whole):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        exchange = platform.catalogue.exchange
        assert exchange is not None
        later = replace(platform.catalogue, exchange=replace(exchange, rates=exchange.rates[1:]))
        data, now_us = tmp_path / "data", [DECEMBER_US]
        bills = FolderBills(data, lambda: later, platform.engine, now_us=lambda: now_us[0], at_once=10)
        with pytest.raises(
            Refused, match=r"no rate of KWD at 2026-11-01T03:59:59.999Z, the end of 2 periods"
        ):
            bills.run(202610)
        assert whole.bills(None, None, 1) == []
        now_us[0] = int(datetime(2026, 10, 31, tzinfo=UTC).timestamp()) * 1_000_000
        with pytest.raises(Refused, match="no rate of KWD"):
            bills.preview(to_key(number(8)))
        assert bills.preview(to_key(number(0))) is not None
        assert whole.run(202610).bills == PEOPLE


def test_bills_of_before_currencies_are_read(tmp_path: Path) -> None:
    """Bills that were kept without the column are bills in their own currency, beside newer ones."""
    with billing(tmp_path) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        bills.run(202610)
        made = EmbeddedBills(tmp_path / "data").bills(limit=1000)
    files = BillFiles(tmp_path / "files")
    files.add(0, 0, made)
    [path] = (tmp_path / "files").glob("*/*.parquet")
    made.drop("payable").write_parquet(path)
    files.add(0, 1, made)
    found = files.bills(limit=1000)
    assert found["payable"].null_count() == made["payable"].null_count() + PEOPLE
    assert found.filter(pl.col("payable").is_not_null()).equals(made.filter(pl.col("payable").is_not_null()))
    assert whole_bills(made.drop("payable").lazy()).collect().schema == made.schema


def test_a_preview_at_the_end_is_the_bill(tmp_path: Path) -> None:
    """What a preview shows in the last second of a period is what the bill says."""
    with billing(tmp_path) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        bills.run(202610)
        made = {bill["subscriber"]: bill for bill in bills.bills(None, 202610, 1000)}
    with billing(tmp_path / "other") as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        moment_us = [0]
        data = tmp_path / "other" / "data"
        before = FolderBills(data, lambda: platform.catalogue, now_us=lambda: moment_us[0])
        ignored = (*IGNORED, "state", "cut_seq")
        for at in range(PEOPLE):
            bill = made[to_key(number(at))]
            moment_us[0] = bill["until_us"] - 1
            seen = before.preview(bill["subscriber"])
            assert seen is not None
            assert {name: seen[name] for name in seen if name not in ignored} == {
                name: bill[name] for name in bill if name not in ignored
            }
        assert before.preview(to_key("4999")) is None
        with pytest.raises(Refused, match="only reads"):
            before.run(202610)


def test_a_period_that_runs_is_not_billed(tmp_path: Path) -> None:
    """Accounts whose month is not over wait for the next run, and get their bill then."""
    middle_us = int(datetime(2026, 11, 8, tzinfo=UTC).timestamp()) * 1_000_000
    with billing(tmp_path, middle_us) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        first = bills.run(202610)
        assert (first.bills, first.running) == (PEOPLE // 2, PEOPLE // 2)
    with billing(tmp_path) as (_, bills):
        second = bills.run(202610)
        assert (second.bills, second.billed, second.running) == (PEOPLE // 2, PEOPLE // 2, 0)
        assert_right(bills, PEOPLE)


def test_credit_notes_and_disputes(tmp_path: Path) -> None:
    """A credit note books one movement, once, at most what the bill came to; a dispute is opened and settled."""
    with billing(tmp_path) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        bills.run(202610)
        bill = bills.bills(to_key(number(0)), None, 1)[0]
        name = str(bill["bill_id"])
        before = main_balance(tmp_path / "data", 0)
        bills.dispute(name, "care", "the calls of the 5th")
        with pytest.raises(Refused, match="already"):
            bills.dispute(name, "care", "again")
        assert bills.bills(to_key(number(0)), None, 1)[0]["state"] == "disputed"
        first = bills.credit(name, 500_000, "billing", "goodwill")
        assert bills.credit(name, 500_000, "billing", "goodwill") == first
        assert bills.credit(name, 500_000, "billing", "goodwill", "second") != first
        with pytest.raises(Refused, match="at most what is left"):
            bills.credit(name, int(bill["total_micros"]), "billing", "all of it")
        with pytest.raises(Refused, match="no bill"):
            bills.credit("202610-0000", 1, "billing", "whose?")
        bills.dispute(name, "care", "agreed", settled=True)
        found = bills.bill(name)
        assert found is not None
        assert (found["state"], found["credited_micros"]) == ("issued", 1_000_000)
        assert [note["action"] for note in found["notes"]] == ["dispute", "credit", "credit", "settle"]
        assert main_balance(tmp_path / "data", 0) == before + 1_000_000
        assert_right(bills, PEOPLE)
        rest = int(bill["total_micros"]) - 1_000_000
        bills.credit(name, rest, "billing", "the rest")
        gone = bills.bill(name)
        assert gone is not None
        assert gone["state"] == "credited"


def test_a_wrong_ledger_is_noticed(tmp_path: Path) -> None:
    """The check fails when an entry is missing, when one is there twice, and when a bill was changed."""
    with billing(tmp_path) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        bills.run(202610)
        reader = EmbeddedBills(tmp_path / "data")
        made = reader.bills_between(0, 2**64 - 1, 202610)
        entries = reader.money_between(0, 2**64 - 1, ENTRY_COLUMNS)
        assert check(made, entries, platform.catalogue).differences.is_empty()
        less = check(made, entries.filter(pl.col("seq") != entries["seq"].max()), platform.catalogue)
        assert less.differences["what"].to_list() == ["what the bill booked"]
        assert less.bill_micros != less.ledger_micros
        usage = entries.filter(pl.col("cause") == 1).head(1)
        twice = check(made, pl.concat([entries, usage]), platform.catalogue)
        assert twice.differences["what"].to_list() == ["what the ledger took"]
        changed = made.with_columns(pl.col("total_micros") + 10_000)
        named = check(changed, entries, platform.catalogue).differences["what"].value_counts().rows()
        assert sorted(named) == [("the sum of its lines", PEOPLE), ("the total by its rate", 4)]
