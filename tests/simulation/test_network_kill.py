"""`kill -9` at random moments of a watched network: resumed, it ends where an undisturbed day does."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.simulation.lives import lives_of
from tests.simulation.network_days import live, prepared, remembered, said, tables
from trunkline.stores.embedded.disk import Disk

KILLS = int(os.environ.get("TRUNKLINE_TEST_NETWORK_KILLS", "4"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 4.0


@pytest.mark.timeout(1800)
def test_whenever_it_is_killed(tmp_path: Path) -> None:
    """Alarms, incidents, KPIs, tiles, accounting and what the steps remember are as if nothing had happened."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    live(tmp_path / "whole" / "data", tables(), Disk(), prepared(tmp_path / "whole"))
    expected, memory = said(tmp_path / "whole" / "data"), remembered(tmp_path / "whole" / "data")
    chance, kills, number = random.Random(SEED), 0, 0
    with lives_of("tests.simulation.network_process") as process:
        while kills < KILLS:
            number += 1
            folder, done = tmp_path / str(number), False
            while not done:
                killed = kills < KILLS
                done = process.live(folder, chance.uniform(0.0, LONGEST_LIFE_S) if killed else None)
                kills += killed and not done
            found = said(folder / "data")
            assert [name for name in expected if found[name] != expected[name]] == [], f"seed {SEED}"
            assert remembered(folder / "data") == memory, f"seed {SEED}"
    print(f"{kills} kills in {number} days")
