"""The network's store: whatever the write at which the process dies, a new start ends where an undisturbed day does."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.faulty import Crashed, CrashingDisk, FullDisk, NoFsync
from tests.simulation.network_days import live, prepared, remembered, said, tables
from trunkline.ports import Commit, DiskFull, FolderDamaged
from trunkline.stores.embedded import keeper
from trunkline.stores.embedded.network import NetworkStore

EVERY = int(
    os.environ.get("TRUNKLINE_TEST_EVERY_WRITE", "5")
)  # 1 dies at each write; 5 at every fifth, all in turn


@pytest.fixture(autouse=True)
def _busy_house(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge early and remove at once, so that a short run crosses every kind of write."""
    monkeypatch.setattr(keeper, "FAN_IN", 3)
    monkeypatch.setattr(keeper, "IDLE_S", -1.0)
    monkeypatch.setattr(keeper, "LINGER_S", 0.0)
    monkeypatch.setattr(keeper, "INLINE_OCTETS", 0)


@pytest.fixture(scope="module")
def looked_up() -> dict[str, object]:
    """The tables, read once."""
    return tables()


def whole(folder: Path, looked_up: dict[str, object]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """An undisturbed day: what it tells, what it remembers, and the writes that it has."""
    disk = CrashingDisk(0)
    live(folder / "data", looked_up, disk, prepared(folder))
    return said(folder / "data"), remembered(folder / "data"), disk.log


def differences(folder: Path, expected: dict[str, Any], memory: dict[str, Any]) -> list[str]:
    """Of what the two lives tell differently."""
    found, held = said(folder / "data"), remembered(folder / "data")
    wrong = [
        f"{name}: {found[name]} instead of {expected[name]}"
        for name in expected
        if found[name] != expected[name]
    ]
    return wrong + [f"state {name}" for name in memory if held[name] != memory[name]]


def test_the_day_has_everything(tmp_path: Path, looked_up: dict[str, object]) -> None:
    """The comparison below compares something: of everything there is some, and it adds up."""
    expected, memory, writes = whole(tmp_path, looked_up)
    assert [name for name, value in expected.items() if not value] == []
    assert all(memory.values())
    assert len(writes) > 100
    counts = expected["arithmetic"]
    parts = ("active", "cleared", "deduplicated", "suppressed", "correlated")
    assert counts["raised"] == sum(counts[name] for name in parts) > 3
    for each in expected["accounting"]:
        parts = ("measured", "events", "duplicate", "rejected", "held")
        assert each["received"] == sum(each[name] for name in parts) > 0
    assert sum(each["rejected"] for each in expected["accounting"]) == len(expected["rejects"]) == 1


@pytest.mark.timeout(1800)
def test_every_write(tmp_path: Path, looked_up: dict[str, object]) -> None:
    """Die at each write in turn, forget what was not durable, start again, and compare with an undisturbed day."""
    expected, memory, writes = whole(tmp_path / "whole", looked_up)
    first = 1 + (os.getpid() % EVERY)
    print(f"{len(writes)} writes, dying at every {EVERY}th from {first} on")
    for at in range(first, len(writes) + 1, EVERY):
        folder = tmp_path / str(at)
        files = prepared(folder)
        disk = CrashingDisk(at, half=at % 2 == 0)
        with pytest.raises(Crashed):
            live(folder / "data", looked_up, disk, files)
        disk.forget()
        live(folder / "data", looked_up, CrashingDisk(0), files)
        wrong = differences(folder, expected, memory)
        assert not wrong, f"wrong after dying at write {at} ({disk.log[-3:]}): {wrong}"


def test_a_full_disk_stops_cleanly(tmp_path: Path, looked_up: dict[str, object]) -> None:
    """Without room nothing is half done; with room again it goes on."""
    expected, memory, writes = whole(tmp_path / "whole", looked_up)
    for at in range(5, len(writes), max(1, len(writes) // 4)):
        folder = tmp_path / str(at)
        files = prepared(folder)
        disk = FullDisk(at)
        with contextlib.suppress(DiskFull):  # nothing is raised when what was left needed no room
            live(folder / "data", looked_up, disk, files)
        disk.roomy = True
        live(folder / "data", looked_up, disk, files)
        assert not differences(folder, expected, memory), at


class EarlyStore(NetworkStore):
    """The planted bug: positions are committed before what was read."""

    def commit(self, commit: Commit) -> None:
        """Move the positions first."""
        for p in commit.progress:
            self.connection.execute(
                "UPDATE files SET offset = ?, line = ? WHERE file = ?", (p.offset, p.line, p.file)
            )
        super().commit(commit)


@pytest.mark.parametrize(("disk_of", "store_class"), [(NoFsync, NetworkStore), (CrashingDisk, EarlyStore)])
def test_the_harness_sees_a_planted_bug(
    tmp_path: Path, looked_up: dict[str, object], disk_of: type[CrashingDisk], store_class: type[NetworkStore]
) -> None:
    """With fsync left out, or positions that run ahead, some crash must show."""
    expected, memory, writes = whole(tmp_path / "whole", looked_up)
    wrong = 0
    commits = [number for number, write in enumerate(writes, 1) if write.startswith("commit")]
    before = commits[2::3] if store_class is EarlyStore else range(10, len(writes), max(1, len(writes) // 8))
    for at in before:
        folder = tmp_path / str(at)
        files = prepared(folder)
        disk = disk_of(at)
        with contextlib.suppress(Crashed):
            live(folder / "data", looked_up, disk, files, store_class)
        disk.forget()
        try:
            live(folder / "data", looked_up, CrashingDisk(0), files)
            wrong += bool(differences(folder, expected, memory))
        except (AssertionError, FolderDamaged):
            wrong += 1
        if wrong:
            return
    pytest.fail("no crash showed it")
