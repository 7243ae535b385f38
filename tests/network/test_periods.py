"""Whole periods of all cells, the way that is made for them: it gives what the general way gives, to the digit.

A network of a few hundred cells is told period by period, as files of all cells: with cells that die, lose their
traffic or come late, with rows that come twice and values that are none. What is stored is compared between one thread
and lanes, between files in order and files that were shuffled, and with what an earlier version stored (`STORED`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import polars.testing
import pytest

from bench.network import START_US, write_inventory, write_period
from trunkline.bootstrap import network as watched
from trunkline.engines.embedded import engine
from trunkline.kernel.flow import Stream
from trunkline.ports import Commit
from trunkline.records import network, network_sums
from trunkline.stores.embedded.network import FOLDER

CELLS, PERIODS = 90, 42
COMPARED = (
    network.KPIS, network.HEAT, network.ANOMALIES, network.RISKS, network.ALARMS, network.ALARM_COUNTS,
    network.INCIDENTS, network_sums.LATE_PARTS,
)  # fmt: skip
# Digests of all rows by stream, of an engine that carried each batch as a whole, in one thread and without short cuts.
STORED: dict[str, str] = {
    "network.kpis": "fa17d82b924ea454",
    "network.heat": "c2bd6a625599a2fb",
    "network.anomalies": "f4663784e00406ce",
    "network.risks": "774a8018483263e7",
    "network.alarms": "d87eea19d60d3d86",
    "network.alarm_counts": "ecde1e54138ed4dd",
    "network.incidents": "085b4fdfdfdbe477",
    "network.late_parts": "3aff6d555993093a",
}

Frames = dict[str, pl.DataFrame]


def written(path: Path, number: int) -> None:
    """A period as the bench writes it, and what goes wrong in it."""
    write_period(path, CELLS, number)
    rows = pl.read_csv(path, infer_schema_length=None)
    cell = np.arange(CELLS)
    if number >= 36:  # the first cells lose their traffic, the next ones say nothing any more
        dead = pl.Series(cell < 12)
        rows = rows.with_columns(
            pl.when(dead).then(0).otherwise(pl.col(name)).alias(name)
            for name in ("DRB.UEThpDl", "RRC.ConnEstabSucc", "DRB.PdcpSduVolumeDL")
        ).filter(pl.Series((cell < 12) | (cell >= 20)))
    if number % 7 == 3:  # some come one period late
        rows = rows.with_columns(
            pl.col("begin_us", "end_us") - pl.Series((cell[: len(rows)] % 40 == 5) * 30_000_000)
        )
    if number % 5 == 2:  # one again, and a value that is none
        rows = pl.concat([rows, rows[30:31]]).with_columns(pl.col("RRC.ConnEstabAtt").cast(pl.String))
        rows[40, "RRC.ConnEstabAtt"] = "many"
    rows.write_csv(path)


@pytest.fixture(scope="module")
def periods(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files."""
    folder = tmp_path_factory.mktemp("periods")
    paths = [folder / f"{number:03d}.csv" for number in range(PERIODS)]
    for number, path in enumerate(paths):
        written(path, number)
    return paths


def stored(data: Path, files: list[Path]) -> Frames:
    """Everything that is stored of the files, each read to its end before the next one."""
    frames: dict[str, list[pl.DataFrame]] = {stream.name: [stream.record.empty()] for stream in COMPARED}

    def heard(commit: Commit) -> None:
        for name in frames.keys() & commit.frames.keys():
            frames[name].append(commit.frames[name])

    write_inventory(data / FOLDER / watched.INVENTORY, CELLS)
    with watched.opened_network(data) as opened:
        opened.engine.listeners.append(heard)
        for path in files:
            totals, troubles = watched.ingest_telemetry(opened, [(path, "cells_csv", "bench")])
            assert not troubles
            assert totals.received == totals.measured + totals.rejected + totals.duplicate + totals.held
        watched.advance(opened, START_US + (PERIODS + 20) * 30_000_000)
    return {
        stream.name: pl.concat([stream.record.conform(each) for each in frames[stream.name]])
        for stream in COMPARED
    }


def in_order(stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in an order of their own, without what counts commits."""
    names = [name for name, dtype in stream.record.schema.items() if not isinstance(dtype, pl.List)]
    return rows.select(names).sort(names, nulls_last=True)


def digest(stream: Stream, rows: pl.DataFrame) -> str:
    """A digest of all rows, whatever their order."""
    return hashlib.sha256(in_order(stream, rows).write_csv().encode()).hexdigest()[:16]


def same(ours: Frames, theirs: Frames) -> None:
    """Fail with the first difference."""
    for stream in COMPARED:
        polars.testing.assert_frame_equal(
            in_order(stream, ours[stream.name]), in_order(stream, theirs[stream.name])
        )


@pytest.fixture(scope="module")
def whole(periods: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """What is stored when every batch is carried as a whole."""
    return stored(tmp_path_factory.mktemp("whole"), periods)


@pytest.fixture
def in_lanes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lanes and two decoders from the first row on; the argument says how many lanes."""

    def set_up(count: int) -> None:
        borders = tuple(network.BUCKETS * lane // count for lane in range(1, count))
        monkeypatch.setattr(watched, "LANES", replace(watched.LANES, borders=borders, least_rows=1))
        monkeypatch.setattr(engine, "_LARGE_OCTETS", 1)

    return set_up


def test_lanes_store_what_one_thread_stores(
    periods: list[Path], whole: Frames, in_lanes: Callable[[int], None], tmp_path: Path
) -> None:
    """KPIs, tiles, findings, forecasts, alarms and incidents."""
    in_lanes(3)
    same(stored(tmp_path, periods), whole)


def test_the_order_of_rows_in_a_file_means_nothing(
    periods: list[Path], whole: Frames, in_lanes: Callable[[int], None], tmp_path: Path
) -> None:
    """Rows that come in another order every time are found, too, where the steady way does not lead to them."""
    in_lanes(2)
    shuffled = []
    for number, path in enumerate(periods):
        rows = pl.read_csv(path, infer_schema=False).sample(fraction=1.0, shuffle=True, seed=number)
        rows.write_csv(tmp_path / path.name)
        shuffled.append(tmp_path / path.name)
    same(stored(tmp_path / "data", shuffled), whole)


def test_it_is_what_an_earlier_version_stored(whole: Frames) -> None:
    """Short cuts must not change a digit; whoever changes one on purpose writes the new digests down."""
    assert {stream.name: digest(stream, whole[stream.name]) for stream in COMPARED} == STORED
    for stream in (network.KPIS, network.HEAT, network.ANOMALIES, network.ALARMS, network.INCIDENTS):
        assert len(whole[stream.name]), f"without {stream.name} it proves nothing of it"


@pytest.mark.parametrize("lanes", [0, 2])
def test_what_is_told_early_is_what_is_committed(
    periods: list[Path],
    in_lanes: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lanes: int,
) -> None:
    """The map of KPIs is told whole before the commit that it belongs to, and that begins with the same rows."""
    monkeypatch.setattr(watched, "EARLY", replace(watched.EARLY, least_rows=1))
    if lanes:
        in_lanes(lanes)
    told: list[tuple[int, pl.DataFrame]] = []
    committed: list[Commit] = []
    write_inventory(tmp_path / FOLDER / watched.INVENTORY, CELLS)
    with watched.opened_network(tmp_path) as opened:
        opened.engine.early_listeners.append(lambda number, rows: told.append((number, rows)))
        opened.engine.listeners.append(committed.append)
        for path in periods[:6]:
            watched.ingest_telemetry(opened, [(path, "cells_csv", "bench")])
            assert told[-1][0] == committed[-1].number
    with_tiles = [commit for commit in committed if network.HEAT.name in commit.frames]
    assert [number for number, _ in told] == [commit.number for commit in with_tiles]
    for (_, rows), commit in zip(told, with_tiles, strict=True):
        heat = commit.frames[network.HEAT.name]
        polars.testing.assert_frame_equal(rows, heat[: len(rows)])
        assert heat[len(rows) :]["metric"].unique().to_list() in ([], ["severity"])
