"""`kill -9` at random moments of settling: begun again it settles the rest, and each record is taken back once."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from tests.billing import small
from tests.rerating.small import balances, corrections, reconciled
from tests.simulation.lives import life
from tests.withdrawals.small import Said, cancels, corrects, told
from trunkline.bootstrap.platform import opened
from trunkline.engines.embedded.sources import NamedFiles
from trunkline.settings import Folders

SETTLING = "tests.withdrawals.killed_settling"
KILLS = int(os.environ.get("TRUNKLINE_TEST_WITHDRAWAL_KILLS", "3"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 0.5
MOST_LIVES = 50


@pytest.mark.timeout(900)
def test_killed_settling(tmp_path: Path) -> None:
    """Whenever it dies, in the end everything is settled once: the same balances as without dying, no difference."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    days = list(small.records(12, 16))
    late = days[1::4]
    waits = [cancels(line) if at % 2 else corrects(line) for at, line in enumerate(late)]
    first, whole = tmp_path / "first", tmp_path / "whole"
    told(first, waits, [line for line in days if line not in late])
    _only_charged(first, late)
    shutil.copytree(first, whole)
    assert life(SETTLING, [str(whole)], None)
    expected, made = balances(whole), corrections(whole)
    assert len(made) > 10
    kills = partly = 0
    for _ in range(MOST_LIVES):
        ended = life(SETTLING, [str(first)], chance.uniform(0.0, LONGEST_LIFE_S) if kills < KILLS else None)
        kills += not ended
        partly += 0 < len(corrections(first)) < len(made)
        if ended:
            break
    print(f"{kills} kills, {partly} times with a part settled")
    assert balances(first) == expected
    assert sorted(corrections(first)["correction_id"]) == sorted(made["correction_id"])
    found = reconciled(first)
    assert (found["differences"], found["account_differences"]) == (0, 0)


def _only_charged(folder: Path, lines: Sequence[Said]) -> None:
    """Charge records without settling what waits for them."""
    path = folder / "originals.ndjson"
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    with opened(Folders(data=folder / "data", tariffs=str(folder / "tariffs"))) as platform:
        files = NamedFiles(platform.store, [(path, "trunkline", "msc")], platform.mappings.__getitem__)
        assert platform.engine.drive(files).rated > 0
