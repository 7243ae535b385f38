"""Whatever the write at which the process dies: after a new start nothing is lost and nothing is twice."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.engine import small
from tests.simulation.faulty import Crashed, CrashingDisk, FullDisk, NoFsync
from trunkline.engines.embedded.engine import Engine, Settings
from trunkline.engines.embedded.sources import LiveSources, NamedFiles
from trunkline.ports import DiskFull, FolderDamaged
from trunkline.records.charging import ACCOUNTS, CHARGED, ENTRIES
from trunkline.stores.embedded import compaction, keeper, states, young
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.reader import EmbeddedReader
from trunkline.stores.embedded.store import Store

FIRST, SECOND, POSTED = small.lines(60), small.lines(60, first=30), small.lines(40, first=80)


@pytest.fixture(autouse=True)
def _busy_house(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge early and remove at once, so that a short run crosses every kind of write."""
    monkeypatch.setattr(states, "YOUNG_KEYS", 50)
    monkeypatch.setattr(young, "MANY_KEYS", 10)
    monkeypatch.setattr(states, "_FIRST_ROOM", 1000)
    monkeypatch.setattr(keeper, "FAN_IN", 3)
    monkeypatch.setattr(keeper, "IDLE_S", -1.0)
    monkeypatch.setattr(keeper, "LINGER_S", 0.0)
    monkeypatch.setattr(keeper, "INLINE_OCTETS", 0)
    monkeypatch.setattr(compaction, "FAN_IN", 2)
    monkeypatch.setattr("trunkline.stores.embedded.store.INLINE_OCTETS", 0)
    monkeypatch.setattr("trunkline.stores.embedded.segments.INLINE_OCTETS", 0)
    monkeypatch.setattr("trunkline.stores.embedded.segments.BACKLOG_ROWS", 15)


def run(
    folder: Path, disk: Disk, files: list[Path], *, post: bool = True, store_class: type[Store] = Store
) -> None:
    """A short life: two files, some posted lines, and keeping house between."""
    store = store_class(folder, small.STATES, disk, keep_house=False)
    try:
        engine = Engine(
            store, small.FLOW, small.ACCOUNTING, {}, lambda _: small.LINES, Settings(batch_octets=400)
        )
        for file in files:
            named = NamedFiles(store, [(file, "small", "test")], lambda _: small.LINES)
            engine.drive(named)
            for trouble in named.troubles:
                raise trouble
            while store.keeper.work():
                pass
        if post:
            store.append("small", "test", POSTED)
        engine.drive(LiveSources(store, disk, [], lambda _: small.LINES, forever=False))
    finally:
        store.close()


def assert_right(folder: Path, sources: tuple[bytes, ...]) -> None:
    """Accounts, history and accounting agree with the second opinion, and nothing lies about."""
    owed = small.expected(*sources)
    store = Store(folder, small.STATES, keep_house=False)
    keys = np.arange(20, dtype=np.uint64)
    groups = store.gather(ACCOUNTS, keys)
    found = {
        int(key): int(groups.rows_of(int(key))["value"][0]) for key in keys if len(groups.rows_of(int(key)))
    }
    named = {
        row[0] for row in store.connection.execute("SELECT path FROM runs UNION SELECT path FROM segments")
    }
    store.close()
    assert found == owed
    reader = EmbeddedReader(folder)
    for stream, amount in ((CHARGED, "charged_micros"), (ENTRIES, "amount")):
        rows = (reader.usage if stream is CHARGED else reader.entries)(None, -(2**62), 2**62, 10**6)
        assert rows[amount].sum() == sum(owed.values())
        assert len(rows) == rows["seq"].n_unique()
    assert reader.usage(3, -(2**62), 2**62, 100)["charged_micros"].sum() == owed[3]
    assert int(reader.account(3)["value"][0]) == owed[3]
    total = reader.accounting()[0]
    assert total.received == total.rated + total.duplicate + total.rejected + total.held
    assert total.rated == len({line.split(b",")[0] for part in sources for line in part.splitlines()})
    lying = {
        str(path.relative_to(folder))
        for top in ("runs", "segments")
        for path in (folder / top).rglob("*.*")
        if path.is_file()
    }
    assert lying == {name for name in named if name is not None}


def prepared(folder: Path) -> list[Path]:
    """The two files that are handed in."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "first.lines", folder / "second.lines"]
    for path, data in zip(files, (FIRST, SECOND), strict=True):
        path.write_bytes(data)
    return files


def changes_of_a_life(folder: Path) -> int:
    """How many writes a life without a crash has."""
    disk = CrashingDisk(0)
    run(folder / "data", disk, prepared(folder))
    assert_right(folder / "data", (FIRST, SECOND, POSTED))
    return disk.changes


def test_every_write(tmp_path: Path) -> None:
    """Die at each write in turn, forget what was not durable, start again, and compare."""
    changes = changes_of_a_life(tmp_path / "whole")
    assert changes > 100
    began = time.monotonic()
    for at in range(1, changes + 1):
        folder = tmp_path / str(at)
        files = prepared(folder)
        disk = CrashingDisk(at, half=at % 2 == 0)
        with pytest.raises(Crashed):
            run(folder / "data", disk, files)
        disk.forget()
        run(folder / "data", CrashingDisk(0), files)
        try:
            assert_right(folder / "data", (FIRST, SECOND, POSTED))
        except AssertionError as error:
            raise AssertionError(f"wrong after dying at write {at}: {disk.log[-3:]}") from error
    print(f"{changes} crashes in {time.monotonic() - began:.0f} s")


def test_a_full_disk_stops_cleanly(tmp_path: Path) -> None:
    """Without room nothing is half done; with room again it goes on."""
    changes = changes_of_a_life(tmp_path / "whole")
    for at in range(1, changes + 1, 7):
        folder = tmp_path / str(at)
        files = prepared(folder)
        disk = FullDisk(at)
        with contextlib.suppress(DiskFull):  # nothing is raised when what was left needed no room
            run(folder / "data", disk, files)
            assert at > changes - 10
        disk.roomy = True
        run(folder / "data", disk, files)
        assert_right(folder / "data", (FIRST, SECOND, POSTED))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_disk_that_is_full_for_polars_is_called_full(tmp_path: Path) -> None:
    """Polars says it in a sentence of its own, not by a number."""
    (tmp_path / "full").symlink_to("/dev/full")
    frame = pl.DataFrame({"seq": range(100_000)})
    with pytest.raises(DiskFull):
        Disk().fill(tmp_path / "full", lambda file: frame.write_ipc(file, compression="uncompressed"))


def harmed(folder: Path, disk_of: type[CrashingDisk], store_class: type[Store] = Store) -> int:
    """How many crashes out of some leave wrong books."""
    wrong = 0
    for at in range(20, 140, 10):
        here = folder / str(at)
        files = prepared(here)
        disk = disk_of(at)
        with contextlib.suppress(Crashed):
            run(here / "data", disk, files, store_class=store_class)
        disk.forget()
        try:
            run(here / "data", CrashingDisk(0), files, store_class=store_class)
            assert_right(here / "data", (FIRST, SECOND, POSTED))
        except (AssertionError, FolderDamaged):
            wrong += 1
    return wrong


class EarlyStore(Store):
    """The planted bug: positions are committed before what was read."""

    def commit(self, commit):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Move the positions first."""
        for p in commit.progress:
            self.connection.execute(
                "UPDATE files SET offset = ?, line = ? WHERE file = ?", (p.offset, p.line, p.file)
            )
        super().commit(commit)


def test_the_harness_sees_a_skipped_fsync(tmp_path: Path) -> None:
    """With fsync planted out, some crash must show."""
    assert harmed(tmp_path, NoFsync) > 0


def test_the_harness_sees_an_early_position(tmp_path: Path) -> None:
    """With positions committed early, some crash must show."""
    assert harmed(tmp_path, CrashingDisk, EarlyStore) > 0
