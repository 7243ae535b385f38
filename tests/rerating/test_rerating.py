"""Re-rating a real data folder: the difference as entries of its own, previewed, booked once, and nothing else."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.rerating.small import (
    FROM_US,
    UNTIL_US,
    balances,
    charged,
    corrections,
    entries,
    history,
    reconciled,
    rerating,
)
from trunkline.charging.corrections import corrected
from trunkline.ports import Refused


def taken(folder: Path) -> dict[int, int]:
    """Money of each subscriber: what was charged, with all corrections."""
    now = corrected(history(folder), corrections(folder))
    return dict(now.group_by("subscriber").agg(pl.col("charged_micros").sum()).iter_rows())


def test_a_corrected_tariff(tmp_path: Path) -> None:
    """After booking, books and balances are those of a platform that had the right tariff from the beginning."""
    charged(tmp_path / "wrong", right=False)
    charged(tmp_path / "right", right=True)
    assert taken(tmp_path / "wrong") != taken(tmp_path / "right")
    with rerating(tmp_path / "wrong", right=True) as (_, rerates):
        assert reconciled(tmp_path / "wrong")["differences"] > 0
        preview = rerates.preview(FROM_US, UNTIL_US)
        assert preview["state"] == "preview"
        assert preview["left_out"] == {"raw_gone": 0, "not_priced": 0, "other_periods": 0}
        assert rerates.preview(FROM_US, UNTIL_US) == preview
        before = balances(tmp_path / "wrong")
        done = rerates.book(preview["rerate_id"])
        assert (done.repeated, done.moved) == (0, 0)
        assert (done.booked, done.records, done.micros) == (
            preview["accounts_differing"],
            preview["records_differing"],
            preview["difference_micros"],
        )
        assert done.booked > 10
        assert before != balances(tmp_path / "wrong")
        again = rerates.book(preview["rerate_id"])
        assert (again.booked, again.repeated, again.records) == (0, done.booked, 0)
        told = rerates.rerates(10)
        assert [each["state"] for each in told] == ["booked"]
        assert told[0]["booked_micros"] == preview["difference_micros"]
        second = rerates.preview(FROM_US, UNTIL_US)
        assert second["rerate_id"] != preview["rerate_id"]
        assert (second["records_differing"], second["state"]) == (0, "nothing to book")
    found = reconciled(tmp_path / "wrong")
    assert (found["differences"], found["account_differences"]) == (0, 0)
    assert taken(tmp_path / "wrong") == taken(tmp_path / "right")
    assert balances(tmp_path / "wrong") == balances(tmp_path / "right")


def test_every_entry_names_its_record(tmp_path: Path) -> None:
    """Each correction has a record that was charged, and the ledger's entries sum to what it says, by two sides."""
    charged(tmp_path, right=False)
    with rerating(tmp_path, right=True) as (_, rerates):
        rerates.book(rerates.preview(FROM_US, UNTIL_US)["rerate_id"])
    made, ledger = corrections(tmp_path), entries(tmp_path)
    booked = ledger.filter(pl.col("cause") == 9)
    assert set(booked["seq"]) <= set(made["seq"])
    named = made.join(history(tmp_path), left_on=("identity", "check", "corrects_seq"),
                      right_on=("identity", "check", "seq"), how="inner")  # fmt: skip
    assert len(named) == len(made)
    signed = (
        pl.when(pl.col("credit").cast(pl.String) == "balance").then(-pl.col("amount")).otherwise("amount")
    )
    money = booked.filter(pl.col("unit") == 0).group_by("seq").agg(signed.sum().alias("taken"))
    both = made.join(money, on="seq", how="left").with_columns(pl.col("taken").fill_null(0))
    assert both["taken"].to_list() == both["charged_micros"].to_list()
    assert ledger["seq"].len() == ledger.unique(("seq", "part")).height
    sides = {*booked["debit"].cast(pl.String), *booked["credit"].cast(pl.String)}
    assert sides == {"balance", "grants", "usage", "revenue"}


def test_an_account_that_moved_is_left(tmp_path: Path) -> None:
    """Usage after the preview leaves its account as it is, told; a new preview finds the rest."""
    charged(tmp_path, right=False, last=20)
    with rerating(tmp_path, right=True) as (_, rerates):
        preview = rerates.preview(FROM_US, UNTIL_US)
    charged(tmp_path, right=True, first=21)
    with rerating(tmp_path, right=True) as (_, rerates):
        done = rerates.book(preview["rerate_id"])
        assert done.moved > 0
        assert done.booked + done.moved == preview["accounts_differing"]
        rest = rerates.preview(FROM_US, UNTIL_US)
        assert rest["accounts_differing"] >= done.moved
        assert rerates.book(rest["rerate_id"]).moved == 0
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)


def test_a_draft_is_not_booked(tmp_path: Path) -> None:
    """A preview of a draft shows, but only the tariff in force is booked."""
    charged(tmp_path, right=False)
    files = {path.name: path.read_text() for path in (tmp_path / "tariffs").glob("*.yaml")}
    files["operator.yaml"] = files["operator.yaml"].replace('price: "0.1234"', 'price: "0.2"')
    with rerating(tmp_path, right=False) as (_, rerates):
        assert rerates.preview(FROM_US, UNTIL_US)["state"] == "nothing to book"
        preview = rerates.preview(FROM_US, UNTIL_US, tariffs=files)
        assert preview["difference_micros"] > 0
        with pytest.raises(Refused, match="another tariff"):
            rerates.book(preview["rerate_id"])
        with pytest.raises(Refused, match="no preview"):
            rerates.book("0" * 16)
    assert not len(corrections(tmp_path))
