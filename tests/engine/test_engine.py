"""The engine over its store, with a flow of three tiny steps."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard

from tests.engine import small
from trunkline.kernel.grouped import Keys
from trunkline.ports import FolderInUse, NearlyAllRejected
from trunkline.records.charging import ACCOUNTS
from trunkline.stores.embedded.store import Store


def owed(folder: Path) -> dict[int, int]:
    """Every account's value, as the next process finds it."""
    store = Store(folder, small.STATES)
    keys: Keys = np.arange(1000, dtype=np.uint64)
    groups = store.gather(ACCOUNTS, keys)
    store.close()
    return {int(k): int(groups.rows_of(int(k))["value"][0]) for k in keys if len(groups.rows_of(int(k)))}


def test_a_file_becomes_accounts_and_counts(tmp_path: Path) -> None:
    """What goes in is charged, durable, and accounted for."""
    data = small.lines(1000) + b"not a record\n" + small.lines(10)
    (tmp_path / "a.lines").write_bytes(data)
    counts = small.ingest(tmp_path / "data", tmp_path / "a.lines")
    assert counts == {
        "received": 1011, "rated": 1000, "duplicate": 10, "rejected": 1, "held": 0,
        "charged_micros": sum(small.expected(data).values()),
    }  # fmt: skip
    assert owed(tmp_path / "data") == small.expected(data)


def test_the_same_file_again_is_all_duplicates(tmp_path: Path) -> None:
    """Reading a file twice charges nobody twice."""
    (tmp_path / "a.lines").write_bytes(small.lines(500))
    small.ingest(tmp_path / "data", tmp_path / "a.lines")
    again = small.ingest(tmp_path / "data", tmp_path / "a.lines")
    assert (again["received"], again["rated"], again["duplicate"]) == (500, 0, 500)
    assert owed(tmp_path / "data") == small.expected(small.lines(500))


@pytest.mark.parametrize("octets", [1 << 10, 1 << 12, 1 << 20])
def test_borders_of_batches_change_nothing(tmp_path: Path, octets: int) -> None:
    """However a file is cut into batches, the accounts are the same."""
    data = small.lines(3000) + small.lines(300, first=1500)
    (tmp_path / "a.lines").write_bytes(data)
    counts = small.ingest(tmp_path / "data", tmp_path / "a.lines", batch_octets=octets)
    assert (counts["rated"], counts["duplicate"]) == (3000, 300)
    assert owed(tmp_path / "data") == small.expected(data)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_compressed_files_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    """Both gzip and zstd, several members too."""
    data = small.lines(2000)
    half = data.index(b"\n", len(data) // 2) + 1
    pack = gzip.compress if suffix == "gz" else zstandard.ZstdCompressor().compress
    (tmp_path / f"a.lines.{suffix}").write_bytes(pack(data[:half]) + pack(data[half:]))
    counts = small.ingest(tmp_path / "data", tmp_path / f"a.lines.{suffix}", batch_octets=4096)
    assert counts["rated"] == 2000
    assert owed(tmp_path / "data") == small.expected(data)


def test_a_last_line_without_newline_counts(tmp_path: Path) -> None:
    """The end of a file ends its last record."""
    (tmp_path / "a.lines").write_bytes(small.lines(10)[:-1])
    assert small.ingest(tmp_path / "data", tmp_path / "a.lines")["rated"] == 10


def test_one_process_writes(tmp_path: Path) -> None:
    """A second writer is told who the first one is."""
    store = Store(tmp_path / "data", small.STATES)
    with pytest.raises(FolderInUse, match="process"):
        Store(tmp_path / "data", small.STATES)
    store.close()


def test_a_record_that_breaks_a_step_is_held_alone(tmp_path: Path) -> None:
    """A poison record is set aside with its octets; its neighbours are charged."""
    data = small.lines(100) + b"777777,3,boom,20000\nundecodable\n" + small.lines(100, first=100)
    (tmp_path / "a.lines").write_bytes(data)
    counts = small.ingest(tmp_path / "data", tmp_path / "a.lines")
    assert (counts["received"], counts["rated"], counts["held"]) == (202, 200, 2)
    assert owed(tmp_path / "data") == small.expected(data)
    store = Store(tmp_path / "data", small.STATES)
    rows = store.connection.execute("SELECT reason, raw, line FROM held ORDER BY line").fetchall()
    store.close()
    assert rows == [("poison", b"777777,3,boom,20000", 101), ("poison", b"undecodable\n", 102)]


def test_a_file_of_rejects_is_stopped(tmp_path: Path) -> None:
    """The wrong file does not drain away: it stops, and nothing of it is kept."""
    (tmp_path / "good.lines").write_bytes(small.lines(50))
    (tmp_path / "wrong.lines").write_bytes(b"rubbish\n" * 2000)
    with pytest.raises(NearlyAllRejected, match="2000 of the first 2000"):
        small.ingest(tmp_path / "data", tmp_path / "wrong.lines", tmp_path / "good.lines")
    assert owed(tmp_path / "data") == small.expected(small.lines(50))
    store = Store(tmp_path / "data", small.STATES)
    assert store.connection.execute("SELECT count(*) FROM rejected").fetchone() == (0,)
    assert store.connection.execute(
        "SELECT offset, ended FROM files WHERE path LIKE '%wrong%'"
    ).fetchone() == (0, "")
    store.close()


def test_history_is_kept_with_arrival_numbers(tmp_path: Path) -> None:
    """Every charged record is in a segment, numbered in the order of the file."""
    (tmp_path / "a.lines").write_bytes(small.lines(5000))
    small.ingest(tmp_path / "data", tmp_path / "a.lines", batch_octets=1 << 14)
    frame = (
        pl.read_parquet(tmp_path / "data/segments/charging.usage/*.parquet")
        if list((tmp_path / "data/segments/charging.usage").glob("*"))
        else pl.DataFrame()
    )
    store = Store(tmp_path / "data", small.STATES)
    (rows,) = store.connection.execute(
        "SELECT sum(rows) FROM segments WHERE stream = 'charging.usage'"
    ).fetchone()
    store.close()
    assert rows == 5000
    assert len(frame) <= 5000
