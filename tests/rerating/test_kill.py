"""`kill -9` at random moments of a booking: ordered again, it books the rest; every account is corrected once."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.rerating.small import FROM_US, UNTIL_US, balances, charged, corrections, reconciled, rerating
from tests.simulation.lives import life

BOOKING = "tests.rerating.killed_booking"
KILLS = int(os.environ.get("TRUNKLINE_TEST_RERATE_KILLS", "2"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 0.3
MOST_LIVES = 50


@pytest.mark.timeout(900)
def test_killed_bookings(tmp_path: Path) -> None:
    """Whenever it dies, in the end everything is booked once: the same balances as without dying, no difference."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    whole, fresh = tmp_path / "whole", tmp_path / "fresh"
    charged(whole, right=False)
    with rerating(whole, right=True) as (_, rerates):
        preview = rerates.preview(FROM_US, UNTIL_US)
    shutil.copytree(whole, fresh)
    name = str(preview["rerate_id"])
    assert life(BOOKING, [str(whole), name], None)
    expected = balances(whole)
    kills = partly = 0
    for _ in range(MOST_LIVES):
        ended = life(
            BOOKING, [str(fresh), name], chance.uniform(0.0, LONGEST_LIFE_S) if kills < KILLS else None
        )
        kills += not ended
        partly += 0 < len(corrections(fresh)) < preview["records_differing"]
        if ended and kills >= KILLS:
            break
        if ended:
            shutil.rmtree(fresh)
            charged(fresh, right=False)
            with rerating(fresh, right=True) as (_, rerates):
                name = str(rerates.preview(FROM_US, UNTIL_US)["rerate_id"])
    print(f"{kills} kills, {partly} of them with a part booked")
    assert kills >= KILLS
    assert len(corrections(fresh)) == preview["records_differing"]
    assert balances(fresh) == expected
    with rerating(fresh, right=True) as (_, rerates):
        again = rerates.book(name)
        assert (again.booked, again.repeated, again.moved) == (0, preview["accounts_differing"], 0)
    found = reconciled(fresh)
    assert (found["differences"], found["account_differences"]) == (0, 0)
