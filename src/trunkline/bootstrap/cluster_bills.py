"""Bills of a cluster that Spark charges, without Spark: looked at, previewed, disputed and credited.

Bills are files that the bill run has kept, and what people say of them are files beside those. A preview is worked out
by the function that embedded uses, out of the account and the history that were delivered. A credit note is written
down before it is handed in as a movement under its own name, so who dies in between leaves it to whoever goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trunkline.bootstrap.bill_notes import (
    CREDIT,
    credit_name,
    disputed,
    known_bill,
    movement_of,
    refuse_more_than_left,
    said,
    with_notes,
)
from trunkline.bootstrap.bills import FOREVER_US, Move, items_of, previewed
from trunkline.charging.bills.bill import ENTRY_COLUMNS, USAGE_COLUMNS
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Grouped, Rows
from trunkline.ports import BillNote, BillRun, Reader, Refused
from trunkline.records.charging import CORRECTIONS, Cause, Unit
from trunkline.settings import Folders, Spark
from trunkline.stores.embedded.bill_files import BillFiles
from trunkline.stores.embedded.bills import NAMING, Part
from trunkline.stores.embedded.note_files import Kept, NoteFiles

log = logging.getLogger("trunkline.bills")

FOLDER = "bills"  # in the checkpoint's folder, whose fate bills share
EVERY_ROW = 2**31 - 1
MADE_BY_SPARK = (
    "Bills of a cluster are made by Spark; order it where Spark runs:"
    " trunkline bill run --period MONTH --engine spark"
)


def checkpoint_of(folders: Folders, spark: Spark) -> Path:
    """The folder of Spark's offsets and state, and of what shares their fate."""
    return (Path(spark.spark_checkpoint) if spark.spark_checkpoint else folders.data / "spark").absolute()


def bills_in(folders: Folders, spark: Spark) -> BillFiles:
    """The bills beside the state; raises `Refused` where there is no such folder, which else would have no bill."""
    checkpoint = checkpoint_of(folders, spark)
    if not checkpoint.is_dir():
        raise Refused(
            f"{checkpoint} is no folder of Spark's state. Name the one that the query writes to, and that bills lie"
            " in: TRUNKLINE_SPARK_CHECKPOINT."
        )
    return BillFiles(checkpoint / FOLDER)


class ClusterBills:
    """Bills of a cluster that Spark charges (`ports.Bills`); the bill run and its check are `spark_bills`."""

    def __init__(
        self,
        files: BillFiles,
        catalogue: Callable[[], Catalogue],
        reader: Callable[[], Reader],
        move: Move,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Only previews and uses ask `catalogue` and `reader`, only credit notes `move`: else files are enough."""
        self._files, self._notes = files, NoteFiles(files.folder)
        self._catalogue, self._reader, self._move, self._now_us = catalogue, reader, move, now_us

    # -- asked ----------------------------------------------------------------------------------------------

    def preview(self, subscriber: int) -> dict[str, Any] | None:
        """The bill of the running period as it would be if it ended with what is delivered now."""
        reader = self._reader()
        rows = reader.account(subscriber)
        if not len(rows):
            return None
        usage = reader.usage(subscriber, -FOREVER_US, FOREVER_US, EVERY_ROW)
        entries = reader.entries(subscriber, -FOREVER_US, FOREVER_US, EVERY_ROW)
        part = part_of(subscriber, rows, self._files.last_of(subscriber), usage, entries)
        return previewed(part, rows, self._catalogue(), self._now_us())

    def bills(
        self, subscriber: int | None, period: int | None, limit: int, offset: int = 0, *, lines: bool = True
    ) -> list[dict[str, Any]]:
        """Bills, the newest period first; each with its state and what was credited."""
        found = self._files.bills(subscriber, period, limit, offset, lines=lines)
        return [self._with_notes(row)[0] for row in found.iter_rows(named=True)]

    def bill(self, bill_id: str) -> dict[str, Any] | None:
        """One bill, with what was said of it."""
        found = self._files.bill(bill_id)
        return self._with_notes(found.row(0, named=True))[0] if len(found) else None

    def periods(self) -> list[dict[str, Any]]:
        """What was billed, by period."""
        return self._files.periods().to_dicts()

    def items(self, bill: dict[str, Any], limit: int) -> pl.DataFrame:
        """Charged usage that stands on a bill, in order of time; all that is kept of it."""
        usage = self._reader().usage(bill["subscriber"], -FOREVER_US, bill["until_us"], EVERY_ROW)
        return items_of(bill, usage, limit)

    # -- ordered --------------------------------------------------------------------------------------------

    def run(self, period: int) -> BillRun:  # noqa: ARG002 -- the port's
        """Refused: a run goes through the whole of history, which takes Spark."""
        raise Refused(MADE_BY_SPARK)

    def dispute(self, bill_id: str, actor: str, text: str, *, settled: bool = False) -> None:
        """Write down that a bill is disputed, or that the dispute is settled."""

        def note(bill: dict[str, Any], _: Sequence[Kept]) -> BillNote:
            return disputed(bill, self._now_us(), actor, text, settled=settled)

        self._said(bill_id, note)

    def credit(self, bill_id: str, amount_micros: int, actor: str, text: str, name: str | None = None) -> str:
        """Give some of a bill back: written down beside it, and booked as one movement under its own name.

        What no worker answered in time is booked by whoever asks again, or by any process that serves.
        """
        line = said(text)
        movement_id = credit_name(bill_id, amount_micros, line, name)

        def note(bill: dict[str, Any], notes: Sequence[Kept]) -> BillNote | Kept:
            known = next((each for each in notes if each.note.movement_id == movement_id), None)
            if known is not None:
                return known
            refuse_more_than_left(bill, amount_micros)
            return BillNote(bill_id, self._now_us(), actor, CREDIT, amount_micros, movement_id, line)

        self._book(self._said(bill_id, note))
        return movement_id

    def go_on(self) -> int:
        """Book the credit notes of which nobody knows what became; how many there were."""
        waiting = list(self._notes.waiting())
        for kept in waiting:
            try:
                self._book(kept)
            except Refused as error:
                log.warning("a credit note that waited is none: %s", error)
        return len(waiting)

    # -- how --------------------------------------------------------------------------------------------------

    def _said(self, bill_id: str, note: Callable[[dict[str, Any], Sequence[Kept]], BillNote | Kept]) -> Kept:
        """Keep what is to be said of a bill, worked out once more where somebody else says something meanwhile."""
        while True:
            found = self._files.bill(bill_id)
            row = found.row(0, named=True) if len(found) else None
            bill, notes = self._with_notes(known_bill(row, bill_id))
            wanted = note(bill, notes)
            if isinstance(wanted, Kept):
                return wanted
            try:
                return self._notes.add(len(notes), wanted)
            except FileExistsError:
                continue
            except PermissionError as error:
                raise Refused(
                    f"Who works here may not write to {self._files.folder}, where disputes and credit notes are kept."
                ) from error

    def _book(self, kept: Kept) -> None:
        """Hand in a credit note that waits; raises `Refused` for one that the ledger refuses, or refused before."""
        note, state = kept.note, kept.state
        if state == "waiting":
            subscriber = int(self._files.bill(note.bill_id)["subscriber"].item())
            (answer,) = self._move([movement_of(note, subscriber, self._catalogue())])
            state = "refused" if answer["status"] == "refused" else "booked"
            self._notes.became(kept, booked=state == "booked")
        if state == "refused":
            raise Refused(
                f"The ledger refused the credit note {note.movement_id}. Order it under another --id."
            )

    def _with_notes(self, bill: dict[str, Any]) -> tuple[dict[str, Any], list[Kept]]:
        """A bill with what people said of it; what waits to be booked is credited, since it will be."""
        notes = self._notes.notes(bill["bill_id"])
        credited = sum(each.note.amount_micros for each in notes if each.state != "refused")
        return with_notes(bill, [each.told() for each in notes], credited), notes


def part_of(
    subscriber: int, rows: Rows, last: pl.DataFrame, usage: pl.DataFrame, entries: pl.DataFrame
) -> Part:
    """What a preview needs of one account. Usage and its entries are delivered apart: half of a use is none yet."""
    entries = entries.filter(pl.col("unit") == int(Unit.MONEY))
    of_usage = pl.col("cause") == int(Cause.USAGE)
    paid, used = entries.filter(of_usage)["seq"], usage["seq"]
    usage = usage.filter((pl.col("charged_micros") == 0) | pl.col("seq").is_in(paid.implode()))
    entries = entries.filter(~of_usage | pl.col("seq").is_in(used.implode()))
    arrived = [int(frame["seq"].max()) for frame in (usage, entries) if len(frame)]  # type: ignore[arg-type]
    return Part(
        accounts=Grouped(np.array([subscriber], np.uint64), np.array([0, len(rows)], np.int64), rows),
        last=last,
        usage=_plain(usage, USAGE_COLUMNS),
        entries=_plain(entries, ENTRY_COLUMNS),
        corrections=CORRECTIONS.record.empty().select(NAMING),
        cut_seq=max(arrived, default=-1) + 1,
    )


def _plain(rows: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Some columns, categories as text."""
    return rows.select(columns).with_columns(pl.col(pl.Categorical).cast(pl.String))
