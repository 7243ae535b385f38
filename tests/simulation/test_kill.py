"""A hundred times `kill -9` at random moments of the real flow: resumed, it reconciles to zero each time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.charging_process import TOPUPS
from tests.simulation.lives import Lives, lives_of
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.reconcile import reconcile
from trunkline.records.charging import Cause
from trunkline.simulator import LIVELY_FAULTS, Settings, simulate
from trunkline.stores.embedded.reader import EmbeddedReader

KILLS = int(os.environ.get("TRUNKLINE_TEST_KILLS", "100"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_LIFE_S = 0.7
EVER = (-(2**62), 2**62)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small operator's day with its faults, in one file."""
    out = tmp_path_factory.mktemp("operator")
    simulate(Settings(seed=7, subscribers=250, cells=20, hours=24, **LIVELY_FAULTS), out)
    with (out / "all.ndjson").open("wb") as file:
        for part in sorted((out / "cdrs").iterdir()):
            file.write(part.read_bytes())
    return out


@pytest.fixture
def lives(operator: Path) -> Iterator[Lives]:
    """Started once; ended with the test."""
    with lives_of("tests.simulation.charging_process", operator) as started:
        yield started


@pytest.mark.timeout(900)
def test_a_hundred_kills(tmp_path: Path, operator: Path, lives: Lives) -> None:
    """Whenever it dies, nothing is lost and nothing is twice: usage, top-ups, balances, to the micro-unit."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    kills, folder, mappings = 0, 0, load_mappings()
    while kills < KILLS:
        folder += 1
        data = tmp_path / str(folder)
        data.mkdir()
        done = False
        while not done:
            killed = kills < KILLS
            moment = chance.uniform(-0.5, LONGEST_LIFE_S) if killed else None
            done = lives.live(data, moment)
            kills += killed and not done
        check(data, load_catalogue(data, None), mappings, (operator / "all.ndjson").read_bytes())
    print(f"{kills} kills in {folder} folders")


def check(data: Path, catalogue: object, mappings: object, lines: bytes) -> None:
    """The books are right."""
    reader = EmbeddedReader(data)
    result = reconcile(reader, catalogue, mappings)  # type: ignore[arg-type]
    assert (result["differences"], result["account_differences"]) == (0, 0), f"seed {SEED}: {result}"
    totals = reader.accounting()
    for total in totals:
        assert total.received == total.rated + total.duplicate + total.rejected + total.held
    files = reader.files()
    assert set(files["ended"]) == {"done"}, "a life that was killed after its end reads the file once more"
    assert set(files["records"]) == {lines.count(b"\n")}, f"seed {SEED}: every line is read once"
    assert sum(total.received for total in totals) == files["records"].sum()
    entries = reader.entries(None, *EVER, 10**6)
    booked = entries.filter(
        (entries["cause"] == int(Cause.TOPUP)) & (entries["time_us"] >= 1_800_000_000_000_000)
    )
    assert len(booked) == TOPUPS, f"seed {SEED}: each top-up is booked once"
    assert sum(booked["amount"]) == sum(1_000_000 + at for at in range(TOPUPS))
