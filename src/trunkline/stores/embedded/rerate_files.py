"""Previews of re-ratings of a cluster: a folder each, beside the state that they came of.

A preview has its folder's name when all of it is durable, and is never changed after that: the orders of each bucket of
subscribers as one Parquet file, and a summary. What a killed preview left has another name, and is cleared away later.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.records.charging import RERATES
from trunkline.stores.embedded.disk import Disk

SUMMARY, ENDING = "summary.json", ".parquet"
LEFT_S = 86_400
_ID = re.compile(r"[0-9a-f]{16}")


class RerateFiles:
    """The previews under one folder; any process may read."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Nothing is written before the first preview."""
        self.folder, self._disk = folder, disk or Disk()

    # -- written ----------------------------------------------------------------------------------------------

    def begun(self, rerate_id: str) -> Path:
        """An empty folder that buckets' orders are added to, until all of them are kept together."""
        for left in self.folder.glob(".*"):
            if time.time() - left.stat().st_mtime > LEFT_S:
                shutil.rmtree(left, ignore_errors=True)
        fresh = self.folder / f".{rerate_id}.{socket.gethostname()}.{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        return fresh

    def add(self, begun: Path, bucket: int, orders: pl.DataFrame) -> None:
        """Write the orders (`RERATES`) of a bucket; a task that is done again writes the same again."""
        rows, fresh = RERATES.record.conform(orders), begun / f".{bucket:04d}.{os.getpid()}"
        self._disk.remove(fresh)
        self._disk.fill(fresh, lambda file: rows.write_parquet(file, compression="zstd"))
        self._disk.rename(fresh, begun / f"{bucket:04d}{ENDING}")

    def keep(self, begun: Path, rerate_id: str, summary: dict[str, Any]) -> None:
        """Let a preview be there; where there is one of that name already, that one stays."""
        self._disk.write(begun / SUMMARY, [json.dumps(summary).encode()])
        self._disk.fsync_folder(begun)
        try:
            self._disk.rename(begun, self.folder / rerate_id)
        except OSError:
            if not (self.folder / rerate_id / SUMMARY).exists():
                raise
            shutil.rmtree(begun)
        self._disk.fsync_folder(self.folder)
        self._disk.fsync_folder(self.folder.parent)

    # -- read -------------------------------------------------------------------------------------------------

    def kept(self, rerate_id: str) -> dict[str, Any] | None:
        """The summary of a preview; None when there is none of that name."""
        path = self.folder / rerate_id / SUMMARY
        if not _ID.fullmatch(rerate_id) or not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def every(self) -> list[dict[str, Any]]:
        """All summaries, the newest first."""
        names = [path.name for path in self.folder.glob("[0-9a-f]*")]
        found = [summary for name in names if (summary := self.kept(name)) is not None]
        return sorted(found, key=lambda each: (-each["made_us"], each["rerate_id"]))

    def orders(self, rerate_id: str) -> Iterator[tuple[int, pl.DataFrame]]:
        """The orders (`RERATES`) of a preview, bucket by bucket."""
        for path in sorted((self.folder / rerate_id).glob(f"[0-9]*{ENDING}")):
            yield int(path.stem), RERATES.record.conform(pl.read_parquet(path))
