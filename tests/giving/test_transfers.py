"""Transfers by the real engine: both sides or neither, once, whatever happens at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from tests.giving.small import (
    PEOPLE,
    START_US,
    entries,
    everything,
    giving,
    left,
    order,
    reconciled,
    top_up,
    use_data,
    word,
)
from trunkline.ports import NotTransferred, Refused
from trunkline.records.charging import Cause

MB = 1_000_000


def test_money_changes_hands(tmp_path: Path) -> None:
    """The receiver gets the amount, the giver pays it and the fee; the entries of both have one arrival number."""
    with giving(tmp_path) as (_, _, transfers):
        booked, repeated = transfers.transfer(order("t1", 0, 1, 5_000_000))
        assert (booked.amount, booked.fee_micros, repeated) == (5_000_000, 160_000, False)  # 0.10 and 0.0625
        assert (left(tmp_path, 0, "main"), left(tmp_path, 1, "main")) == (24_840_000, 35_000_000)
        again, repeated = transfers.transfer(order("t1", 0, 1, 5_000_000, minute=9))
        assert (again, repeated) == (booked, True)
        with pytest.raises(Refused, match="another transfer"):
            transfers.transfer(order("t1", 0, 2, 5_000_000))
        assert left(tmp_path, 0, "main") == 24_840_000
    mine = entries(tmp_path).filter(pl.col("cause").is_in([int(Cause.TRANSFER), int(Cause.TRANSFER_FEE)]))
    assert mine["seq"].n_unique() == 1
    assert mine.select("part", "subscriber", "debit", "credit", "amount", "after").rows() == [
        (0, word(0), "balance", "transfers", 5_000_000, 25_000_000),
        (1, word(1), "transfers", "balance", 5_000_000, 35_000_000),
        (2, word(0), "balance", "transfer_fees", 160_000, 24_840_000),
    ]
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)


def test_units_keep_their_end(tmp_path: Path) -> None:
    """What ends first goes first, each piece with the end it had; allowances end with the giver's period."""
    end_s = START_US // 1_000_000 + 86_400
    with giving(tmp_path) as (platform, serving, transfers):
        top_up(serving, "s1", 0, 100 * MB, "spare")
        top_up(serving, "s2", 0, 30 * MB, "spare", until_s=end_s)
        transfers.transfer(order("t1", 0, 1, 50 * MB, "spare"))
        rows = serving.reader.account(word(1))
        catalogue = platform.catalogue
        spare = rows[rows["definition"] == catalogue.balances.index("spare")]
        spare = spare[spare["kind"] == 2]
        assert sorted((int(row["valid_until_s"]), int(row["value"])) for row in spare) == [
            (end_s, 30 * MB), (2**32 - 1, 20 * MB),
        ]  # fmt: skip
        with pytest.raises(NotTransferred, match="does not have that much"):
            transfers.transfer(order("t2", 2, 1, 5 * MB, "data"))  # nothing was granted yet
        use_data(platform, tmp_path / "a.ndjson", {2: 100 * MB})
        booked, _ = transfers.transfer(order("t3", 2, 1, 400 * MB, "data", minute=1))
        assert booked.fee_micros == 250_000
        given = serving.reader.account(word(1))
        given = given[(given["kind"] == 2) & (given["definition"] == catalogue.balances.index("data"))]
        assert [(int(row["period"]), int(row["value"])) for row in given] == [(0, 400 * MB)]
        assert int(given["valid_until_s"][0]) < 2**32 - 1
        assert left(tmp_path, 2, "data") == 500 * MB
        use_data(platform, tmp_path / "b.ndjson", {1: 50 * MB, 2: 600 * MB}, minute=5)
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)


@pytest.mark.parametrize(
    ("giver", "receiver", "amount", "balance", "reason"),
    [
        (0, 0, 5_000_000, "main", "same_subscriber"),
        (0, 1, 999_999, "main", "below_least"),
        (0, 1, 20_000_001, "main", "above_most"),
        (0, 1, 5_000_000, "gift", "not_transferable"),
        (0, 1, 5_000_000, "gold", "not_transferable"),
        (0, 1, 5_000_000, "", "not_transferable"),
        (0, 99, 5_000_000, "main", "unknown_subscriber"),
        (99, 0, 5_000_000, "main", "unknown_subscriber"),
        (0, 1, 5 * MB, "spare", "not_enough"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, giver: int, receiver: int, amount: int, balance: str, reason: str
) -> None:
    """Whatever stands against it, nothing is booked and nobody has anything else than before."""
    with giving(tmp_path) as (_, _, transfers):
        before = entries(tmp_path)
        with pytest.raises(NotTransferred) as refused:
            transfers.transfer(order("t1", giver, receiver, amount, balance))
        assert refused.value.reason == reason
        assert transfers.found("t1") is None
        assert transfers.transfer(order("t1", 0, 1, 1_000_000))[1] is False  # the name is still free
    assert len(entries(tmp_path)) == len(before) + 3


def test_the_fee_counts_and_credit_does_not(tmp_path: Path) -> None:
    """Thirty are not enough for a fee on top; who is billed pays a fee with the bill, and still hands on no credit."""
    billed = PEOPLE - 1
    with giving(tmp_path) as (_, serving, transfers):
        transfers.transfer(order("t1", 0, 1, 15_000_000))
        with pytest.raises(NotTransferred, match="does not have that much"):
            transfers.transfer(order("t2", 0, 1, 14_600_000))
        top_up(serving, "s1", billed, 10 * MB, "data", until_s=START_US // 1_000_000 + 3600)
        for at in range(2):
            transfers.transfer(order(f"t{3 + at}", billed, 1, 14_500_000))
        assert left(tmp_path, billed, "main") == 30_000_000 - 2 * (14_500_000 + 280_000)
        transfers.transfer(order("t5", billed, 1, 10 * MB, "data"))
        transfers.transfer(order("t6", 1, 2, 1_000_000))
        with pytest.raises(NotTransferred, match="does not have that much"):
            transfers.transfer(order("t7", billed, 1, 1_000_000))


def test_at_the_same_moment(tmp_path: Path) -> None:
    """Everybody hands on to everybody at once, each order twice: each is booked once, and nobody goes below zero."""
    orders = [
        order(f"t{giver}-{receiver}-{turn}", giver, receiver, 4_000_000 + turn)
        for giver in range(PEOPLE)
        for receiver in range(PEOPLE)
        for turn in range(2)
        if giver != receiver
    ]
    with giving(tmp_path) as (_, _, transfers):
        before = everything(tmp_path, "main")

        def tried(at: int) -> bool:
            try:
                return not transfers.transfer(orders[at % len(orders)])[1]
            except NotTransferred:
                return False

        with ThreadPoolExecutor(8) as pool:
            first = sum(pool.map(tried, range(2 * len(orders))))
        booked = transfers.transfers(None, 1000)
        assert first == len(booked) == len({each.transfer_id for each in booked}) > 0
        assert all(left(tmp_path, at, "main") >= 0 for at in range(PEOPLE - 1))
        assert everything(tmp_path, "main") == before - sum(each.fee_micros for each in booked)
        mine = transfers.transfers(word(3), 1000)
        assert mine == [each for each in booked if word(3) in (each.giver, each.receiver)]
        assert transfers.transfers(None, 3, 2) == booked[2:5]
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)
