"""What people say of a cluster's bills: a file a note, beside the bills, which nobody overwrites.

A bill's notes stand in one row: each has the next number, and a number has one writer. Whoever comes second looks again
at what was said before, so a bill is not disputed twice and not credited beyond its total by two at once. A credit note
is written before it is booked; a mark beside it says what became of that, and without one it is to be booked still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from trunkline.ports import BillNote
from trunkline.stores.embedded.bill_files import keep_once
from trunkline.stores.embedded.disk import Disk

FOLDER = "notes"  # in that of the bills
ENDING, BOOKED, REFUSED = ".json", ".booked", ".refused"


@dataclass(frozen=True)
class Kept:
    """A note that is there."""

    number: int
    note: BillNote
    state: str  # of a credit note: `booked`, `refused` by the ledger, or `waiting` to be booked; else empty

    def told(self) -> dict[str, Any]:
        """As the notes of an embedded bill."""
        more = "" if self.state in ("", "booked") else f" ({self.state})"
        return {**asdict(self.note), "number": self.number, "action": f"{self.note.action}{more}"}


class NoteFiles:
    """The notes of the bills in one folder; whoever may write there may add to them."""

    def __init__(self, bills: Path, disk: Disk | None = None) -> None:
        """Nothing is written before the first note."""
        self._bills, self._folder, self._disk = bills, bills / FOLDER, disk or Disk()

    def notes(self, bill_id: str) -> list[Kept]:
        """What was said of one bill, oldest first."""
        return [self._read(path) for path in sorted((self._folder / bill_id).glob(f"[0-9]*{ENDING}"))]

    def add(self, number: int, note: BillNote) -> Kept:
        """Keep a bill's note of a number; raises `FileExistsError` when somebody else has said something meanwhile."""
        folder = self._folder / note.bill_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{number:06d}{ENDING}"
        keep_once(self._disk, path, lambda file: file.write(orjson.dumps(asdict(note))))
        for each in (folder, self._folder, self._bills):
            self._disk.fsync_folder(each)
        return self._read(path)

    def became(self, kept: Kept, *, booked: bool) -> None:
        """Mark a credit note: the ledger has booked it, or refused it."""
        folder = self._folder / kept.note.bill_id
        mark = folder / f"{kept.number:06d}{BOOKED if booked else REFUSED}"
        if not mark.exists():
            self._disk.write(mark, [])
            self._disk.fsync_folder(folder)

    def waiting(self) -> Iterator[Kept]:
        """Credit notes of which nobody knows what became."""
        for path in sorted(self._folder.glob(f"*/[0-9]*{ENDING}")):
            if not any(path.with_suffix(mark).exists() for mark in (BOOKED, REFUSED)):
                kept = self._read(path)
                if kept.state:
                    yield kept

    def _read(self, path: Path) -> Kept:
        note = BillNote(**orjson.loads(path.read_bytes()))
        state = ""
        if note.movement_id is not None:
            known = (mark for mark in (BOOKED, REFUSED) if path.with_suffix(mark).exists())
            state = next(known, ".waiting")[1:]
        return Kept(int(path.stem), note, state)
