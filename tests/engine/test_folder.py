"""The data folder as a whole: backup while it is written to, restore, retention, compaction, spools and watching."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest

from tests.engine import small
from tests.engine.test_engine import owed
from tests.waiting import until
from trunkline.engines.embedded.sources import LiveSources, NamedFiles
from trunkline.ports import AuditEvent, FolderDamaged, Refused
from trunkline.stores.embedded.backup import backup, restore, verify
from trunkline.stores.embedded.reader import EmbeddedAudit, EmbeddedReader
from trunkline.stores.embedded.retention import retain
from trunkline.stores.embedded.store import Store

EVER = (-(2**62), 2**62)


def framing(_mapping: str) -> small.Lines:
    """Plain lines."""
    return small.LINES


def test_a_backup_of_a_busy_folder_is_one_moment(tmp_path: Path) -> None:
    """While it is written to, a copy is made, brought back, and goes on from its moment to the same end."""
    data = b"".join(small.lines(300, first=300 * part) for part in range(20))
    (tmp_path / "a.lines").write_bytes(data)
    store, engine = small.opened(tmp_path / "data", batch_octets=2000)
    named = NamedFiles(store, [(tmp_path / "a.lines", "small", "test")], framing)
    driving = threading.Thread(target=engine.drive, args=(named,))
    driving.start()
    until(lambda: store.number >= 5, "five commits")
    copies = [backup(tmp_path / "data", tmp_path / f"copy{turn}") for turn in range(3)]
    driving.join()
    store.close()
    assert copies[0].commit >= 5
    for turn, copy in enumerate(copies):
        restored = tmp_path / f"restored{turn}"
        assert restore(tmp_path / f"copy{turn}", restored).commit == copy.commit
        rows = EmbeddedReader(restored).usage(None, *EVER, 10**6)
        assert sum(owed(restored).values()) == rows["charged_micros"].sum()
        small.ingest(restored, tmp_path / "a.lines")
        assert owed(restored) == small.expected(data)


def test_a_damaged_backup_is_not_brought_back(tmp_path: Path) -> None:
    """A missing file is told before anything is restored."""
    (tmp_path / "a.lines").write_bytes(small.lines(20_000))
    small.ingest(tmp_path / "data", tmp_path / "a.lines")
    backup(tmp_path / "data", tmp_path / "copy")
    next((tmp_path / "copy/segments").rglob("*.parquet")).unlink()
    with pytest.raises(FolderDamaged, match="missing"):
        restore(tmp_path / "copy", tmp_path / "back")
    with pytest.raises(Refused, match="already"):
        restore(tmp_path / "data", tmp_path / "data")


def test_compaction_changes_no_answer(tmp_path: Path) -> None:
    """History is the same before and after, in order, for one subscriber and for everyone."""
    for part in range(12):
        (tmp_path / "a.lines").write_bytes(
            small.lines(2000, first=2000 * part, subscribers=50, day=20_000 + 9 * part)
        )
        small.ingest(tmp_path / "data", tmp_path / "a.lines")
    reader = EmbeddedReader(tmp_path / "data")

    def answers() -> list[pl.DataFrame]:
        return [
            reader.usage(7, *EVER, 10**6),
            reader.usage(7, *EVER, 10, 20),
            reader.usage(None, *EVER, 25),
            reader.entries(3, *EVER, 100),
            reader.usage_record("test", "4321"),
        ]

    before = answers()
    assert len(before[0]) == 12 * 40
    assert before[1]["seq"].to_list() == before[0]["seq"].to_list()[20:30]
    store = Store(tmp_path / "data", small.STATES, keep_house=False)
    store.keeper.compact()
    (levels,) = store.connection.execute("SELECT count(DISTINCT level) FROM segments").fetchone()
    store.close()
    assert levels == 1
    for old, new in zip(before, answers(), strict=True):
        assert old.equals(new)


def test_what_is_old_is_let_go(tmp_path: Path) -> None:
    """Segments and raw files go by their days; balances stay."""
    day_us = 86_400_000_000
    for day in (20_000, 20_500):
        (tmp_path / "a.lines").write_bytes(small.lines(100, first=day, day=day))
        small.ingest(tmp_path / "data", tmp_path / "a.lines")
    before = owed(tmp_path / "data")
    store = Store(tmp_path / "data", small.STATES, keep_house=False)
    gone = retain(store, 20_510 * day_us, {"usage.raw": 0})
    raw = list((tmp_path / "data/raw").iterdir())
    store.close()
    assert (gone.segments, gone.rows) == (2, 200)
    assert len(raw) == 2, "a file that was begun later than the given moment stays"
    assert owed(tmp_path / "data") == before
    assert len(EmbeddedReader(tmp_path / "data").usage(None, *EVER, 1000)) == 100


def live(tmp_path: Path, store: Store, watch: Path | None = None, *, forever: bool = False) -> LiveSources:
    """Live sources over a store."""
    watched = [(watch, "small", "watched")] if watch else []
    return LiveSources(store, store.disk, watched, framing, forever=forever)


def test_spooled_lines_are_charged_and_survive(tmp_path: Path) -> None:
    """What was acknowledged is read by this process or the next; half a line behind it is cut off."""
    store, engine = small.opened(tmp_path / "data")
    spool, end = store.append("small", "test", small.lines(10))
    assert end == len(small.lines(10))
    store.close()
    with spool.path.open("ab") as file:
        file.write(b"99,1,")
    store, engine = small.opened(tmp_path / "data")
    store.append("small", "test", small.lines(10, first=10))
    totals = engine.drive(live(tmp_path, store))
    store.close()
    assert totals.rated == 20
    assert owed(tmp_path / "data") == small.expected(small.lines(20))


def test_status_says_what_waits_in_the_spool(tmp_path: Path) -> None:
    """Octets that were acknowledged and are not charged yet are counted, until they are."""
    store, engine = small.opened(tmp_path / "data")
    _, end = store.append("small", "test", small.lines(10))
    reader = EmbeddedReader(tmp_path / "data")
    assert reader.status()["spool_octets"] == end
    engine.drive(live(tmp_path, store))
    assert reader.status()["spool_octets"] == 0
    store.close()


def test_a_watched_folder_is_emptied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole files are taken once and moved; unfinished ones wait; a hopeless one is marked with its reason."""
    monkeypatch.setattr("trunkline.engines.embedded.sources.STABLE_S", 0.3)
    watch = tmp_path / "in"
    watch.mkdir()
    store, engine = small.opened(tmp_path / "data")
    stop = threading.Event()
    sources = live(tmp_path, store, watch, forever=True)
    driving = threading.Thread(target=engine.drive, args=(sources, stop))
    driving.start()
    (watch / "a.lines").write_bytes(small.lines(100))
    (watch / "b.lines.tmp").write_bytes(small.lines(100, first=500))
    (watch / ".hidden").write_bytes(small.lines(100, first=600))
    (watch / "wrong.lines").write_bytes(b"rubbish\n" * 1500)
    (watch / "cut.lines").write_bytes(b"\x1f\x8b\x08\x00broken")
    taken = ("taken/a.lines", "wrong.lines.failed", "cut.lines.failed")
    until(lambda: all((watch / name).exists() for name in taken), "files are taken")
    (watch / "b.lines.tmp").rename(watch / "b.lines")
    until((watch / "taken/b.lines").exists, "the renamed file is taken")
    stop.set()
    driving.join()
    store.close()
    assert sorted(path.name for path in watch.iterdir()) == [
        ".hidden", "cut.lines.failed", "cut.lines.reason", "taken", "wrong.lines.failed", "wrong.lines.reason",
    ]  # fmt: skip
    assert "1500 of the first 1500" in (watch / "wrong.lines.reason").read_text()
    assert owed(tmp_path / "data") == small.expected(small.lines(100), small.lines(100, first=500))


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    """A file that is shorter than what was read of it stops with a clear error."""
    path = tmp_path / "a.lines"
    path.write_bytes(small.lines(1000))
    store, engine = small.opened(tmp_path / "data", batch_octets=1 << 10)
    named = NamedFiles(store, [(path, "small", "test")], framing)
    first = named.fill(100)
    assert first
    with path.open("r+b") as file:
        file.truncate(500)
    engine.drive(named)
    store.close()
    assert [type(trouble).__name__ for trouble in named.troubles] == ["SourceBroken"]
    assert "shrank" in str(named.troubles[0])


def test_everyone_may_write_to_the_audit_trail(tmp_path: Path) -> None:
    """An audit event of another process is durable beside the writing one."""
    store, _ = small.opened(tmp_path / "data")
    audit = EmbeddedAudit(tmp_path / "data")
    audit.record(AuditEvent(1, "anna", "care", "looked at an account", 2**63 + 5, ""))
    audit.add_reconciliation(2, {"records": 3, "differences": 0})
    rows = EmbeddedReader(tmp_path / "data").audit(10)
    assert rows["subscriber"].to_list() == [2**63 + 5]
    assert EmbeddedReader(tmp_path / "data").reconciliations(1)[0]["records"] == 3
    store.close()
    assert verify(tmp_path / "data").commit == 0
