"""Bills of a cluster: Parquet files in the folder that driver and executors share, beside the state that they came of.

Each bucket of subscribers has a folder of its own with files by number, and each file is the bills that one run made
there: whole and durable before it has its name, and never changed. A number is given to one writer only, so of two runs
that overlap one finds the other's bills and makes none of them again. Beside a file stands a mark as soon as what its
bills book was handed in.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import polars as pl

from trunkline.records.bills import BILLS
from trunkline.stores.embedded.bills import billed_periods
from trunkline.stores.embedded.disk import Disk

ENDING, MARK = ".parquet", ".handed-in"
LAST = ("subscriber", "period", "until_us", "cut_seq")


@dataclass(frozen=True)
class Known:
    """What a bucket's folder held at one moment."""

    last: pl.DataFrame  # the newest bill of each account: `LAST`
    next: int  # the number of the next file


class BillFiles:
    """The bills under one folder; any process may read, and whoever runs bills may write."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Nothing is written before the first bill."""
        self.folder, self._disk = folder, disk or Disk()

    # -- written ----------------------------------------------------------------------------------------------

    def known(self, bucket: int) -> Known:
        """What is there of a bucket; read it before its bills are made."""
        paths = self._paths(bucket)
        every = _read(paths).select(LAST).sort("subscriber", "period").collect()
        last = every.group_by("subscriber", maintain_order=True).last()
        return Known(last, _number(paths[-1]) + 1 if paths else 0)

    def add(self, bucket: int, number: int, bills: pl.DataFrame) -> None:
        """Keep bills (`BILLS`) as the file of a number; raises `FileExistsError` when another run has made that one."""
        folder = self._of(bucket)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        rows = BILLS.record.conform(bills)
        path = folder / f"{number:06d}{ENDING}"
        keep_once(self._disk, path, lambda file: rows.write_parquet(file, compression="zstd"))
        for each in (folder, self.folder, self.folder.parent):
            self._disk.fsync_folder(each)

    def waiting(self) -> Iterator[tuple[Path, pl.DataFrame]]:
        """Files of which it is not certain that what their bills book was handed in, with their bills."""
        for path in self._paths():
            if not path.with_suffix(MARK).exists():
                yield path, _read([path]).collect()

    def handed_in(self, path: Path) -> None:
        """Mark a file: what its bills book is durable where it is booked from."""
        mark = path.with_suffix(MARK)
        if not mark.exists():
            self._disk.write(mark, [])
            self._disk.fsync_folder(path.parent)

    # -- read -------------------------------------------------------------------------------------------------

    def of_bucket(self, bucket: int, period: int | None = None) -> pl.DataFrame:
        """Bills of a bucket's subscribers, of one period or of all."""
        return _read(self._paths(bucket)).filter(_of_period(period)).collect()

    def bills(
        self,
        subscriber: int | None = None,
        period: int | None = None,
        limit: int = 50,
        offset: int = 0,
        *,
        lines: bool = True,
    ) -> pl.DataFrame:
        """Bills, the newest period first and by subscriber within it; without `lines` that column is left empty."""
        wanted = _of_period(period)
        if subscriber is not None:
            wanted &= pl.col("subscriber") == pl.lit(subscriber, dtype=pl.UInt64)
        columns = [name for name in BILLS.record.schema if lines or name != "lines"]
        order = _read(self._paths()).filter(wanted).select(columns)
        found = order.sort("period", "subscriber", descending=[True, False]).slice(offset, limit).collect()
        return BILLS.record.conform(found)

    def bill(self, bill_id: str) -> pl.DataFrame:
        """One bill by its name; no row when there is none."""
        return _read(self._paths()).filter(pl.col("bill_id") == bill_id).collect()

    def last_of(self, subscriber: int) -> pl.DataFrame:
        """The newest bill of an account (`LAST`); no row before the first."""
        mine = _read(self._paths()).filter(pl.col("subscriber") == pl.lit(subscriber, dtype=pl.UInt64))
        return mine.select(LAST).sort("period").tail(1).collect()

    def periods(self) -> pl.DataFrame:
        """What was billed, the newest period first (`bills.billed_periods`)."""
        return billed_periods([_read(self._paths())])

    # -- how --------------------------------------------------------------------------------------------------

    def _of(self, bucket: int) -> Path:
        return self.folder / f"{bucket:04d}"

    def _paths(self, bucket: int | None = None) -> list[Path]:
        folder = "[0-9][0-9][0-9][0-9]" if bucket is None else f"{bucket:04d}"
        return sorted(self.folder.glob(f"{folder}/[0-9]*{ENDING}"))


def keep_once(disk: Disk, path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """A file that is whole and durable before it has its name; raises `FileExistsError` where the name is taken."""
    fresh = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")
    disk.remove(fresh)
    disk.fill(fresh, write)
    try:
        path.hardlink_to(fresh)
    finally:
        disk.remove(fresh)


def _read(paths: list[Path]) -> pl.LazyFrame:
    """The bills of files; none of none."""
    if not paths:
        return BILLS.record.empty().lazy()
    lacking = pl.ScanCastOptions(missing_struct_fields="insert")
    return pl.scan_parquet(paths, schema=BILLS.record.schema, missing_columns="insert", cast_options=lacking)


def _number(path: Path) -> int:
    return int(path.stem)


def _of_period(period: int | None) -> pl.Expr:
    return pl.lit(value=True) if period is None else pl.col("period") == period
