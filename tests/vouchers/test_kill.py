"""`kill -9` at random moments of redeeming: every voucher is redeemed once, and the books agree."""

from __future__ import annotations

import os
import random
from pathlib import Path

import polars as pl
import pytest

from tests.giving.small import PEOPLE, entries, left, reconciled
from tests.simulation.lives import life
from tests.vouchers.killed_redeeming import SIZE
from tests.vouchers.small import vouching
from trunkline.records.charging import Cause

REDEEMING = "tests.vouchers.killed_redeeming"
KILLS = int(os.environ.get("TRUNKLINE_TEST_VOUCHER_KILLS", "2"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 0.5
MOST_LIVES = 50


@pytest.mark.timeout(900)
def test_killed_redeeming(tmp_path: Path) -> None:
    """After every death what is used is what is booked; whoever goes on under the same names redeems each once."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    kills, ended = 0, False
    for _ in range(MOST_LIVES):
        ended = life(
            REDEEMING, [str(tmp_path)], chance.uniform(0.0, LONGEST_LIFE_S) if kills < KILLS else None
        )
        kills += not ended
        if (tmp_path / "data" / "manifest.sqlite").exists():
            used_is_booked(tmp_path)
        if ended:
            break
    assert ended
    assert used_is_booked(tmp_path) == SIZE
    shares = [sum(number % PEOPLE == at for number in range(1, SIZE + 1)) for at in range(PEOPLE)]
    assert [left(tmp_path, at, "main") for at in range(PEOPLE)] == [
        30_000_000 + 5_000_000 * n for n in shares
    ]
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)


def used_is_booked(folder: Path) -> int:
    """How many vouchers are used: as many as entries of the ledger, and all are accounted for."""
    with vouching(folder) as (_, _, vouchers):
        found = vouchers.batches()
    booked = len(entries(folder).filter(pl.col("cause") == int(Cause.VOUCHER)))
    used = sum(counts.used for _, counts in found)
    assert used == booked
    return used
