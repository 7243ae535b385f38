"""`kill -9` at random moments of transfers: there is never one side without the other, and none is booked twice."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.giving.killed_transfers import ORDERS
from tests.giving.small import PEOPLE, entries, everything, giving, left, reconciled
from tests.simulation.lives import life
from trunkline.records.charging import Cause

HANDING_ON = "tests.giving.killed_transfers"
KILLS = int(os.environ.get("TRUNKLINE_TEST_TRANSFER_KILLS", "2"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 0.5
MOST_LIVES = 50


@pytest.mark.timeout(900)
def test_killed_transfers(tmp_path: Path) -> None:
    """After every death both sides of what was booked are there; in the end all have what they have without dying."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert life(HANDING_ON, [str(whole)], None)
    expected = [left(whole, at, "main") for at in range(PEOPLE)]
    kills = 0
    for _ in range(MOST_LIVES):
        ended = life(
            HANDING_ON, [str(killed)], chance.uniform(0.0, LONGEST_LIFE_S) if kills < KILLS else None
        )
        kills += not ended
        both_sides(killed)
        if ended and kills >= KILLS:
            break
        if ended:
            shutil.rmtree(killed)
    assert kills >= KILLS
    assert [left(killed, at, "main") for at in range(PEOPLE)] == expected
    found = reconciled(killed)
    assert (found["differences"], found["account_differences"]) == (0, 0)


def both_sides(folder: Path) -> None:
    """What went out came in, transfer by transfer, and nothing is lost but the fees."""
    ledger = entries(folder)
    handed = ledger.filter(pl.col("cause") == int(Cause.TRANSFER))
    sides = handed.group_by("seq").agg(pl.len(), pl.col("amount").n_unique().alias("amounts"))
    assert sides.filter((pl.col("len") != 2) | (pl.col("amounts") != 1)).is_empty()
    fees = ledger.filter(pl.col("cause") == int(Cause.TRANSFER_FEE))["amount"].sum()
    assert everything(folder, "main") == PEOPLE * 30_000_000 - fees
    with giving(folder) as (_, _, transfers):
        booked = transfers.transfers(None, 10_000)
    assert len(booked) == len(sides) == len({each.transfer_id for each in booked})
    assert {each.transfer_id for each in booked} <= {each.transfer_id for each in ORDERS}
