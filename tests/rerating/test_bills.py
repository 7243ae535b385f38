"""Bills and corrections: what a re-rating books stands on the next bill, once, and bills stay the ledger's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.billing import small
from tests.rerating.small import FROM_US, UNTIL_US, charged, reconciled, rerating
from trunkline.records.bills import Section

DECEMBER_US = int(datetime(2026, 12, 31, tzinfo=UTC).timestamp()) * 1_000_000


def test_a_billed_period_is_corrected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """October's bills stay; November's hold October's corrections as one line, and both months add up."""
    charged(tmp_path, right=False)
    with small.billing(tmp_path) as (_, bills):
        bills.run(202610)
        october = {bill["subscriber"]: bill["total_micros"] for bill in bills.bills(None, 202610, 1000)}
    with rerating(tmp_path, right=True) as (_, rerates):
        preview = rerates.preview(FROM_US, UNTIL_US)
        assert preview["accounts_differing"] > 10
        rerates.book(preview["rerate_id"])
        made = (
            rerates.corrections(preview["rerate_id"])
            .group_by("subscriber")
            .agg(pl.col("charged_micros").sum())
        )
        given = dict(made.iter_rows())
    # the platform of the bills has the right tariff, too
    monkeypatch.setattr(small, "write", lambda _: tmp_path / "tariffs")
    with small.billing(tmp_path, DECEMBER_US) as (_, bills):
        bills.run(202611)
        november = bills.bills(None, 202611, 1000)
        checked = bills.check(None)
        assert {
            bill["subscriber"]: bill["total_micros"] for bill in bills.bills(None, 202610, 1000)
        } == october
    assert checked.differences.is_empty()
    assert checked.bill_micros == checked.ledger_micros
    lines = {
        bill["subscriber"]: line["amount_micros"]
        for bill in november
        for line in bill["lines"]
        if line["section"] == Section.CORRECTION
    }
    assert lines == {word: micros for word, micros in given.items() if word in lines}
    assert {word for word, micros in given.items() if micros} <= set(lines)
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)
