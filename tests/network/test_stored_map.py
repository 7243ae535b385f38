"""The map as the store keeps it: a tile stands as it was told last, whatever came at the same moment or commit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trunkline.ports import Commit
from trunkline.records.network import HEAT
from trunkline.stores.embedded.network import NetworkReader, NetworkStore
from trunkline.stores.embedded.segments import BACKLOG_ROWS

TILES, MOMENTS = 7, 3
Tile = tuple[int, int, int]  # tile, value, time


def rows(told: list[Tile]) -> pl.DataFrame:
    """Tiles as `HEAT`."""
    tile, value, time_us = zip(*told, strict=True)
    return HEAT.record.conform(
        pl.DataFrame({"tile": tile, "value_milli": value, "time_us": time_us}).with_columns(
            layer=pl.lit("h3:5"), metric=pl.lit("severity"), severity=pl.lit(1), cells=pl.lit(1)
        )
    )


@pytest.mark.parametrize("many", [40, 2_000, BACKLOG_ROWS + 1])
def test_of_what_was_told_at_one_moment_the_last_counts(tmp_path: Path, many: int) -> None:
    """In one commit, over several of them, and when these are merged; few rows, many, and a backlog of them."""
    chance = np.random.default_rng(many)
    expected: dict[int, tuple[int, int]] = {}
    with closing(NetworkStore(tmp_path, [], keep_house=False)) as store:
        for number in range(1, 9):
            told = list(
                zip(
                    chance.integers(TILES, size=many).tolist(),
                    chance.integers(10**9, size=many).tolist(),
                    (1 + chance.integers(MOMENTS, size=many)).tolist(),
                    strict=True,
                )
            )
            for tile, value, time_us in told:
                if tile not in expected or time_us >= expected[tile][0]:
                    expected[tile] = time_us, value
            store.commit(Commit(number, 0, 0, {HEAT.name: rows(told)}))
            assert _stored(tmp_path) == expected
        store.keeper.compact()
        assert _stored(tmp_path) == expected


def _stored(folder: Path) -> dict[int, tuple[int, int]]:
    tiles = NetworkReader(folder).tiles("h3:5", "severity", MOMENTS)
    assert tiles["tile"].is_unique().all()
    return {
        tile: (at, value) for tile, at, value in tiles.select("tile", "time_us", "value_milli").iter_rows()
    }
