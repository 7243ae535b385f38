"""Promises about any stream of usage: where it is cut, who stands beside whom, and how often it is done change nothing.

And the books balance: what a ledger says happened is what the accounts show, to the last micro-unit.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.records.charging import Cause, RowKind

Case = tuple[Platform, list[dict[str, Any]], list[Use]]


def run(files: dict[str, str], rows: list[dict[str, Any]], batches: list[list[Use]]) -> Platform:
    """The platform after all batches."""
    platform = Platform.under(files)
    platform.enrol(rows)
    for batch in batches:
        platform.charge(batch)
    return platform


def assert_alike(one: Platform, other: Platform) -> None:
    """Assert that both wrote the same rows and hold the same accounts; engines promise no order of rows."""
    orders = {
        "charged": ["seq"],
        "entries": ["seq", "part"],
        "alerts": ["seq", "alert_id"],
        "rejected": ["line"],
    }
    for name, order in orders.items():
        assert_frame_equal(
            one.table(name).sort(order), other.table(name).sort(order), categorical_as_str=True
        )
    assert set(one.accounts) == set(other.accounts)
    for key, rows in one.accounts.items():
        assert rows.tolist() == other.accounts[key].tolist()
    assert {key: rows.tolist() for key, rows in one.alarmed.items() if len(rows)} == {
        key: rows.tolist() for key, rows in other.alarmed.items() if len(rows)
    }


@tried(15)
@given(files=tariffs(), rows=subscribers(), uses=streams(), data=st.data())
def test_a_stream_may_be_cut_anywhere(
    files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use], data: st.DataObject
) -> None:
    """Batches of any sizes give the rows and accounts of one batch."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(uses)), max_size=4)))
    batches = [uses[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(uses)], strict=True)]
    assert_alike(run(files, rows, [uses]), run(files, rows, [batch for batch in batches if batch]))


@tried(15)
@given(files=tariffs(), rows=subscribers(), uses=streams(), chance=st.randoms(use_true_random=False))
def test_neighbours_may_change_places(
    files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use], chance: Any
) -> None:
    """However subscribers' uses are interleaved, each subscriber's own order decides alone."""
    queues: dict[str, list[Use]] = defaultdict(list)
    for use in uses:
        queues[use.subscriber].append(use)
    shuffled = [use.subscriber for use in uses]
    chance.shuffle(shuffled)
    assert_alike(run(files, rows, [uses]), run(files, rows, [[queues[name].pop(0) for name in shuffled]]))


@tried(10)
@given(files=tariffs(), rows=subscribers(), uses=streams())
def test_the_same_input_gives_the_same_output(
    files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]
) -> None:
    """Nothing but the input decides: no clock, no chance, no order of a dictionary."""
    assert_alike(run(files, rows, [uses]), run(files, list(rows), [list(uses)]))


@tried(25)
@given(files=tariffs(), rows=subscribers(), uses=streams())
def test_the_books_balance(files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]) -> None:
    """Every entry moves what it says; every balance is the sum of its entries; usage is paid for exactly once."""
    platform = run(files, rows, [uses])
    entries = platform.table("entries")
    charged = platform.table("charged")
    assert entries.select(pl.struct("seq", "part", "subscriber").is_duplicated().any()).item() is False
    _assert_steps(entries)
    _assert_sums(platform, entries)
    money = entries.filter(pl.col("credit") == "revenue").group_by("seq").agg(pl.col("amount").sum())
    paid = charged.join(money, on="seq", how="left").with_columns(pl.col("amount").fill_null(0))
    assert paid.filter(pl.col("amount") != pl.col("charged_micros")).is_empty()
    assert money.join(charged, on="seq", how="anti").is_empty()
    assert charged.filter(
        (pl.col("allowance_units") > pl.col("units")) | (pl.col("charged_micros") < 0)
    ).is_empty()
    assert len(charged) + len(platform.table("rejected")) == len(uses)


def _assert_steps(entries: pl.DataFrame) -> None:
    """Before plus or minus the amount is after, and never an amount below zero; units never go below zero."""
    signed = pl.when(pl.col("credit") == "balance").then("amount").otherwise(-pl.col("amount"))
    assert entries.filter(pl.col("before") + signed != pl.col("after")).is_empty()
    assert entries.filter(pl.col("amount") < 0).is_empty()
    assert entries.filter((pl.col("debit") == "balance") == (pl.col("credit") == "balance")).is_empty()
    assert entries.filter((pl.col("unit") != 0) & (pl.col("after") < 0)).is_empty()


def _assert_sums(platform: Platform, entries: pl.DataFrame) -> None:
    """Grants, less what was used, less what expired, is what the accounts hold."""
    signed = pl.when(pl.col("credit") == "balance").then("amount").otherwise(-pl.col("amount"))
    sums = {
        (row["subscriber"], row["balance"], row["period"]): row["sum"]
        for row in entries.group_by("subscriber", "balance", "period")
        .agg(signed.sum().alias("sum"))
        .iter_rows(named=True)
    }
    held: dict[tuple[int, str, int], int] = defaultdict(int)
    for key, rows in platform.accounts.items():
        for row in rows[rows["kind"] == RowKind.BALANCE]:
            held[key, platform.catalogue.balances[row["definition"]], int(row["period"])] += int(row["value"])
    assert {key: value for key, value in sums.items() if value} == {
        key: value for key, value in held.items() if value
    }
    causes = {int(cause) for cause in Cause}
    assert set(entries["cause"].unique().to_list()) <= causes


@tried(15)
@given(files=tariffs(), rows=subscribers(), uses=streams())
def test_an_allowance_never_makes_usage_dearer(
    files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]
) -> None:
    """Without priced allowances, tiers and least charges, nobody pays more than the list price."""
    platform = run(files, rows, [uses])
    text = "".join(files.values())
    if "rated_by" in text or "tiers" in text or "min_charge" in text or "rounding" in text:
        return
    dearer = platform.table("charged").filter(pl.col("charged_micros") > pl.col("list_micros"))
    assert dearer.is_empty()


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_split_call_is_not_a_split_batch(cut: int) -> None:
    """An example a person can follow: three calls on a two-minute allowance, cut after each of them."""
    files = {
        "t.yaml": """
operator: {name: T, currency: EUR}
rates: {flat: {price: "0.60", per: 60s, increments: [1s]}}
balances: {main: {unit: money, main: true}, minutes: {unit: time, grant: 2m, every: month}}
plan: p
includes: [minutes]
prices: [{usage: voice, rate: flat}]
"""
    }
    calls = [
        Use(seq, "s", f"r{seq}", "voice", "447700900001", 1_795_262_400_000_000, 50_000, called="4930")
        for seq in range(3)
    ]
    platform = run(files, [{"subscriber": "447700900001", "plan": "p"}], [calls[:cut], calls[cut:]])
    assert platform.table("charged").sort("seq")["charged_micros"].to_list() == [0, 0, 300_000]
    assert platform.table("charged").sort("seq")["allowance_units"].to_list() == [50_000, 50_000, 20_000]
