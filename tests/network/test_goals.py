"""What goes wrong on simulated days is told in time, once, with its root, and nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from tests.score_network import FIRST, Size, Told, foreseen, played, scored_of, summary
from trunkline.network.carriage import carriage_of
from trunkline.network.inventory import Inventory
from trunkline.records import network as records

# As many seeds as there is time for; `python -m tests.score_network` plays twenty larger days.
SEEDS = int(os.environ.get("TRUNKLINE_TEST_NETWORK_SEEDS", "1"))
SIZE = Size(cells=45, hours=6, faults=4.0)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_what_goes_wrong_is_told_in_time_and_nothing_else(seed: int, tmp_path: Path) -> None:
    """Outages within a quarter of an hour, most within a minute; a cut is one incident; no incident is false."""
    score = scored_of(played(seed, SIZE, tmp_path), seed, SIZE)
    found = summary([score])
    assert found["dark"] > 0, score
    assert found["alarm_s"]["not_told"] == found["incident_s"]["not_told"] == 0, score["dark"]
    assert found["alarm_s"]["most"] <= 900, score["dark"]
    assert found["incident_known_s"]["most"] <= 900, score["dark"]
    assert score["false"] == []
    assert all(cut["right"] for cut in score["cuts"]), score["cuts"]


def risk(time_us: int, milli: int) -> dict[str, object]:
    """A forecast that cell 1 is interrupted within an hour."""
    return {"object": 1, "time_us": time_us, "horizon_s": 3600, "probability_milli": milli,
            "text": "C1 is likely to be interrupted within 60 minutes"}  # fmt: skip


@pytest.mark.parametrize(
    ("risks", "at_s", "expected"),
    [
        pytest.param([risk(0, 700)], 1200, (1, 0, 1, [1200.0]), id="foreseen"),
        pytest.param([risk(0, 700), risk(60_000_000, 100)], 1200, (1, 0, 0, []), id="taken back too early"),
        pytest.param([risk(0, 700)], 7200, (0, 1, 0, []), id="far too early"),
        pytest.param([risk(1_300_000_000, 700)], 1200, (0, 0, 0, []), id="told when it was there"),
        pytest.param([], 1200, (0, 0, 0, []), id="not foreseen"),
    ],
)
def test_forecasts_are_counted_as_written(
    risks: list[dict[str, object]], at_s: int, expected: tuple[int, int, int, list[float]]
) -> None:
    """Right, wrong, events foreseen, and how early, by the scorer's rules."""
    frame = records.RISKS.record.conform(
        pl.DataFrame(risks, schema_overrides={"object": pl.UInt64}) if risks else records.RISKS.record.empty()
    )
    schema = {"object": pl.UInt64, "at_us": pl.Int64, "end_us": pl.Int64}
    happened = pl.DataFrame(
        [(1, at_s * 1_000_000, at_s * 1_000_000 + 600_000_000)], schema=schema, orient="row"
    )
    told = Told(
        Size(), {records.RISKS.name: frame}, pl.DataFrame(), pl.DataFrame(), carriage_of(Inventory.empty()), 0
    )
    found = foreseen(told, "interrupted", happened, happened, 3600)
    assert (found.right, found.wrong, found.hit, found.lead_s) == expected
    assert found.events == 1
