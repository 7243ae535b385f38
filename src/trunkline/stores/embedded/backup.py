"""Copying a data folder while it is written to, and bringing a copy back.

The manifest is copied first, by SQLite's own means, and is one moment. Everything else that it names never changes
and is linked or copied after it. A merge may remove a file meanwhile; then a newer moment is taken, and what is
already there is kept. A backup counts as made only when every file that it names is there and whole.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trunkline.ports import FolderDamaged, Refused
from trunkline.stores.embedded import manifest
from trunkline.stores.embedded.disk import Disk, full_disk_named

_TRIES = 20
_NOT_COPIED = ("lock",)
_STORES_WITHIN = ("network",)  # folders with a manifest of their own, a moment of their own
_SQLITE = ".sqlite"


@dataclass(frozen=True)
class BackedUp:
    """What a backup holds."""

    commit: int
    files: int
    octets: int


def backup(data: Path, target: Path, disk: Disk | None = None) -> BackedUp:
    """Copy the folder as it is at one moment; any process may, while another one writes."""
    disk = disk or Disk()
    if not (data / manifest.NAME).exists():
        raise Refused(f"{data} holds no data of trunkline.")
    if target.exists() and any(target.iterdir()):
        raise Refused(f"{target} is not empty. Name a folder that is empty or does not exist.")
    target.mkdir(parents=True, exist_ok=True)
    for _ in range(_TRIES):
        _copy_sqlite(data / manifest.NAME, target / manifest.NAME, disk)
        named = _named(target)
        if _copy_named(data, target, named, disk):
            _copy_others(data, target, disk)
            _remove_unnamed(target, named, disk)
            for within in _STORES_WITHIN:
                if (data / within / manifest.NAME).exists():
                    backup(data / within, target / within, disk)
            return verify(target)
    raise FolderDamaged(f"{data} changed too fast, or files that it names are missing; no backup was made.")


def restore(source: Path, data: Path, disk: Disk | None = None) -> BackedUp:
    """Bring a backup back as a new data folder."""
    verify(source)
    if (data / manifest.NAME).exists():
        raise Refused(f"{data} holds data already. Restore into an empty folder, then exchange the two.")
    return backup(source, data, disk)


def verify(folder: Path) -> BackedUp:
    """Whether everything that a folder's manifest names is there and whole; raises `FolderDamaged`."""
    with closing(manifest.open_to_read(folder)) as connection:
        (fine,) = connection.execute("PRAGMA integrity_check").fetchone()
        if fine != "ok":
            raise FolderDamaged(f"{folder / manifest.NAME}: {fine}")
        number = connection.execute("SELECT value FROM meta WHERE name = 'number'").fetchone()
    octets = 0
    named = _named(folder)
    for name, size in named.items():
        path = folder / name
        if not path.exists() or (size is not None and path.stat().st_size < size):
            raise FolderDamaged(f"{path} is missing or shorter than it was written")
        octets += path.stat().st_size
    within = [verify(folder / name) for name in _STORES_WITHIN if (folder / name / manifest.NAME).exists()]
    return BackedUp(
        number[0] if number else 0,
        len(named) + sum(each.files for each in within),
        octets + sum(each.octets for each in within),
    )


def _copy_sqlite(source: Path, target: Path, disk: Disk) -> None:
    target.unlink(missing_ok=True)
    with (
        full_disk_named(target),
        closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE").fetchall()
    disk.fsync(target)


def _named(folder: Path) -> dict[str, int | None]:
    """Every file that a manifest names, with its size where that is fixed."""
    with closing(manifest.open_to_read(folder)) as connection:
        fixed = connection.execute(
            "SELECT path, octets FROM runs WHERE path IS NOT NULL"
            " UNION ALL SELECT path, octets FROM segments WHERE path IS NOT NULL"
        ).fetchall()
        raw = connection.execute(
            "SELECT raw, iif(kind = 'spool', offset, NULL) FROM files WHERE raw IS NOT NULL"
        ).fetchall()
    return dict(fixed) | dict(raw)


def _copy_named(data: Path, target: Path, named: dict[str, int | None], disk: Disk) -> bool:
    """Link or copy; False when a file was merged away meanwhile."""
    folders = {(target / name).parent for name in named}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for name in named:
        if (target / name).exists() and not name.startswith("spool/"):
            continue
        try:
            if name.startswith("spool/"):
                _copy(data / name, target / name, disk)  # it grows, so it must not be one file with two names
            else:
                disk.link(data / name, target / name)
        except FileNotFoundError:
            return False
    for folder in folders:
        disk.fsync_folder(folder)
    return True


def _copy_others(data: Path, target: Path, disk: Disk) -> None:
    """What else lies in the folder (the tariff, tokens) and is not named by the manifest."""
    for path in sorted(data.rglob("*")):
        relative = path.relative_to(data)
        if (
            relative.parts[0] in ("runs", "segments", "raw", "spool", *_NOT_COPIED, *_STORES_WITHIN)
            or not path.is_file()
        ):
            continue
        if path.name == manifest.NAME or path.name.endswith(("-wal", "-shm", "-journal")):
            continue
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == _SQLITE:
            _copy_sqlite(path, target / relative, disk)
            shutil.copymode(path, target / relative)
        else:
            _copy(path, target / relative, disk)


def _copy(path: Path, target: Path, disk: Disk) -> None:
    octets = path.stat().st_size
    disk.require_space(target.parent, octets)
    with full_disk_named(target):
        shutil.copyfile(path, target)
        shutil.copymode(path, target)
    disk.fsync(target)


def _remove_unnamed(target: Path, named: dict[str, int | None], disk: Disk) -> None:
    for top in ("runs", "segments"):
        for path in (target / top).rglob("*"):
            if path.is_file() and str(path.relative_to(target)) not in named:
                disk.remove(path)
