"""`kill -9` at random moments of the bill run: started again, it makes what is missing; every account has one bill."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.billing.small import PEOPLE, billing, charge, records
from tests.simulation.lives import life
from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.catalogues import load_catalogue

RUN = "tests.billing.killed_run"
KILLS = int(os.environ.get("TRUNKLINE_TEST_BILL_KILLS", "2"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 0.5
MOST_LIVES = 50
IGNORED = ("seq", "issued_us", "bill_id", "cut_seq")


def told(data: Path) -> list[dict[str, object]]:
    """Every bill, without what another run may say otherwise."""
    catalogue = load_catalogue(data, None)
    found = FolderBills(data, lambda: catalogue).bills(None, 202610, 1000)
    return [{name: value for name, value in bill.items() if name not in IGNORED} for bill in found]


@pytest.mark.timeout(900)
def test_killed_runs(tmp_path: Path) -> None:
    """Whenever it dies: each account has one bill, the same as without dying, and the books agree."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    whole = tmp_path / "whole"
    with billing(whole) as (platform, _):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
    fresh = tmp_path / "fresh"
    shutil.copytree(whole, fresh)
    assert life(RUN, [str(whole)], None)
    expected = told(whole / "data")
    assert len(expected) == PEOPLE
    kills = 0
    for _ in range(MOST_LIVES):
        ended = life(RUN, [str(fresh)], chance.uniform(0.0, LONGEST_LIFE_S) if kills < KILLS else None)
        kills += not ended
        if ended and kills >= KILLS:
            break
        if ended:
            shutil.rmtree(fresh)
            shutil.copytree(whole, fresh, ignore=shutil.ignore_patterns("data"))
            with billing(fresh) as (platform, _):
                charge(platform, tmp_path / "a.ndjson", records(1, 31))
    assert kills >= KILLS
    assert told(fresh / "data") == expected
    with billing(fresh) as (_, bills):
        again = bills.run(202610)
        assert (again.bills, again.billed) == (0, PEOPLE)
        checked = bills.check(None)
        assert checked.differences.is_empty()
        assert checked.bills == PEOPLE
