"""The bill run of a cluster: each bucket's bills in one task, out of what the topics hold and the state beside them.

A task keeps its bills as one file before anything is booked, and then what they add is handed in as movements under
their names, which are booked once however often they come. So a run that was killed is simply started again: bills
that are there stay as they are, the others are made, and what was not certainly handed in is handed in again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.bootstrap.bills import (
    bills_due,
    kept_key,
    rates_missing,
    refuse_missing,
    refuse_no_period,
    together,
)
from trunkline.bootstrap.cluster_bills import bills_in
from trunkline.bootstrap.spark import Running, opened
from trunkline.charging.bills.bill import ENTRY_COLUMNS, USAGE_COLUMNS
from trunkline.charging.bills.check import DIFFERENCES, NOTHING_CHECKED, Checked, check
from trunkline.charging.bills.issue import movements_of
from trunkline.charging.bills.payable import CURRENCIES, Missing
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.plan import BUCKET_BITS
from trunkline.engines.spark import history
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.wire import rows_out
from trunkline.kernel.flow import Stream
from trunkline.ports import BillRun, Refused
from trunkline.records.charging import ACCOUNTS, CHARGED, CORRECTIONS, ENTRIES, MOVEMENTS
from trunkline.settings import Folders, Kafka, Spark
from trunkline.stores.embedded.bill_files import BillFiles
from trunkline.stores.embedded.bills import NAMING, Part

KEY = "bills.key"  # of their names; in the folder of the bills


class SparkBills:
    """Bills of a cluster, as far as Spark makes and checks them; all else is `cluster_bills`."""

    def __init__(self, folders: Folders, kafka: Kafka, spark: Spark) -> None:
        """Nothing is opened before it is asked for; raises `Refused` where Spark's folder is not."""
        self._folders, self._kafka, self._spark = folders, kafka, spark
        self.files = bills_in(folders, spark)

    def run(self, period: int) -> BillRun:
        """Make the bills of a period that is over and have none yet, and hand in what they book; can be repeated."""
        refuse_no_period(period)
        began, now_us = time.monotonic(), time.time_ns() // 1000
        with opened(self._folders, self._kafka, self._spark, looking=True) as running:
            done = made(running, self.files, period, now_us)
            hand_in(running, self.files)
        return replace(done, seconds=round(time.monotonic() - began, 3))

    def check(self, period: int | None) -> Checked:
        """Whether the sum of bills equals the ledger that the topics hold, for one period or for all."""
        with opened(self._folders, self._kafka, self._spark, looking=True) as running:
            return checked(running, self.files, period)


def made(running: Running, files: BillFiles, period: int, now_us: int) -> BillRun:
    """Let every bucket make and keep the bills that it is due, out of what is whole in topics and state."""
    kept_key(files.folder / KEY)
    folder = str(files.folder)
    known = running.spark.sparkContext.broadcast(running.catalogue)

    def judge(rows: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        return asdict(billed_bucket(rows, state, known.value, Path(folder), period, now_us))

    engine = running.engine
    before = history.whole_until(engine.settings)
    refuse_missing(_missing(running, files, period, now_us, before))
    streams = (CHARGED, ENTRIES)
    parts = history.found(running.spark, engine.sent, engine.settings, judge, streams, before)
    done = BillRun(period, 0, 0, 0, 0, 0, 0, 0.0)
    for part in parts:
        done = together(done, BillRun(**part))
    return done


def _missing(running: Running, files: BillFiles, period: int, now_us: int, before: int) -> list[Missing]:
    """Rates that are missing for the bills of a period, of all buckets: asked before the first bill is kept."""
    if not running.catalogue.bills.payable:
        return []
    folder = str(files.folder)
    known = running.spark.sparkContext.broadcast(running.catalogue)

    def judge(_: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        return {"missing": missing_of_bucket(state, known.value, Path(folder), period, now_us)}

    engine = running.engine
    parts = history.found(running.spark, engine.sent, engine.settings, judge, (), before)
    return [Missing(*each) for part in parts for each in part["missing"]]


def missing_of_bucket(
    state: Bucket, catalogue: Catalogue, folder: Path, period: int, now_us: int
) -> list[Missing]:
    """The rates without which one bucket's accounts cannot be billed."""
    last = BillFiles(folder).known(int(state.folder.name)).last
    return rates_missing(state.everything(ACCOUNTS), last, catalogue, period, now_us)


def billed_bucket(
    rows: Mapping[str, pl.DataFrame],
    state: Bucket,
    catalogue: Catalogue,
    folder: Path,
    period: int,
    now_us: int,
) -> BillRun:
    """Make and keep one bucket's bills of a period; `state` is as it was when all rows before it were whole.

    What arrived later is on the next bill. Raises `FileExistsError` when another run makes bills of this bucket.
    """
    files, bucket = BillFiles(folder), int(state.folder.name)
    known = files.known(bucket)
    cut_seq = state.next_row << BUCKET_BITS
    if len(known.last) and int(known.last.select(pl.max("cut_seq")).item()) > cut_seq:
        raise Refused(
            "The state is older than the newest bills. Let the query run on, or restore both together."
        )
    part = Part(
        accounts=state.everything(ACCOUNTS),
        last=known.last,
        usage=_plain(rows, CHARGED, USAGE_COLUMNS),
        entries=_plain(rows, ENTRIES, ENTRY_COLUMNS),
        corrections=CORRECTIONS.record.empty().select(NAMING),
        cut_seq=cut_seq,
    )
    key = kept_key(folder / KEY)
    found, done = bills_due(part, catalogue, period, now_us, key)
    if len(found):
        files.add(bucket, known.next, found)
    return done


def hand_in(running: Running, files: BillFiles) -> int:
    """Hand in what kept bills book, where it is not certain that it was; how many movements."""
    engine, count = running.engine, 0
    for path, kept in files.waiting():
        moved = movements_of(kept.with_columns(pl.lit(0, pl.Int64).alias("seq")), running.catalogue)
        history.hand_in(running.spark, engine.sent, engine.settings, MOVEMENTS, list(rows_out(moved)))
        files.handed_in(path)
        count += len(moved)
    return count


def checked(running: Running, files: BillFiles, period: int | None) -> Checked:
    """Compare bills with the ledger that the topics hold, bucket by bucket."""
    folder = str(files.folder)
    known = running.spark.sparkContext.broadcast(running.catalogue)

    def judge(rows: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        found = checked_bucket(rows, state, known.value, Path(folder), period)
        frames = ("differences", "currencies")
        return vars(found) | {name: getattr(found, name).to_dicts() for name in frames}

    engine = running.engine
    whole = NOTHING_CHECKED
    for part in history.found(running.spark, engine.sent, engine.settings, judge, (ENTRIES,)):
        frames = {"differences": DIFFERENCES, "currencies": CURRENCIES}
        whole = whole.with_part(
            Checked(
                **(part | {name: pl.DataFrame(part[name], frames[name], orient="row") for name in frames})
            )
        )
    return whole


def checked_bucket(
    rows: Mapping[str, pl.DataFrame], state: Bucket, catalogue: Catalogue, folder: Path, period: int | None
) -> Checked:
    """Compare one bucket's bills with its entries."""
    bills = BillFiles(folder).of_bucket(int(state.folder.name), period)
    return check(bills, _plain(rows, ENTRIES, ENTRY_COLUMNS), catalogue)


def _plain(rows: Mapping[str, pl.DataFrame], stream: Stream, columns: tuple[str, ...]) -> pl.DataFrame:
    """Some columns of a stream's rows, its categories as text; none where the bucket has none."""
    found = rows.get(stream.name, stream.record.empty()).select(columns)
    return found.with_columns(pl.col(pl.Categorical).cast(pl.String))
