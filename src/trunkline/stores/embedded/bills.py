"""Bills of a data folder: what a bill run must read, the bills that were made, and what people said of them.

Bills are segments like the rest of the history, named in the same manifest at the same moment as the ledger's entries
that they booked. Disputes and credit notes are few and lie in a table beside them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Grouped
from trunkline.ports import BillNote
from trunkline.records.bills import BILLS, PAYABLE
from trunkline.records.charging import ACCOUNTS, CHARGED, CORRECTIONS, ENTRIES, Unit
from trunkline.stores.embedded import manifest, runs, segments
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word, transaction
from trunkline.stores.embedded.reader import EmbeddedReader

_DAY_US = 86_400_000_000
_LONGEST_US = (
    94 * _DAY_US
)  # from the first of a bill's month to the end of its period, by any clock and cycle day
_NOTES = """
CREATE TABLE IF NOT EXISTS bill_notes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, bill_id TEXT NOT NULL, time_us INTEGER NOT NULL, actor TEXT NOT NULL,
    action TEXT NOT NULL, amount_micros INTEGER NOT NULL, movement_id TEXT UNIQUE, text TEXT NOT NULL)
"""
NAMING = ("seq", "correction_id", "source", "record_id")
NOTE_SCHEMA = {
    "number": pl.Int64, "bill_id": pl.String, "time_us": pl.Int64, "actor": pl.String, "action": pl.String,
    "amount_micros": pl.Int64, "movement_id": pl.String, "text": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """What a bill run needs of a range of accounts, at one moment."""

    accounts: Grouped
    last: pl.DataFrame  # the newest bill of each: `subscriber, period, until_us, cut_seq`
    usage: pl.DataFrame
    entries: pl.DataFrame
    corrections: pl.DataFrame  # `NAMING`: what tells which record an entry is of
    cut_seq: int  # everything that arrived before it is here


class EmbeddedBills(EmbeddedReader):
    """A data folder opened to read bills, and all that bills are made of; any thread may ask."""

    def part(
        self, words: Sequence[int], until_us: int, usage_columns: Sequence[str], entry_columns: Sequence[str]
    ) -> Part:
        """Accounts, bills, usage and money entries of ascending dial words, of events before a moment."""
        low, high = words[0], words[-1]

        def ask() -> Part:
            with self._moment() as connection:
                accounts = self._accounts_between(connection, low, high)
                last = self._last(connection, low, high)
                row = connection.execute("SELECT value FROM meta WHERE name = 'next_seq'").fetchone()
                after = _oldest(last, len(accounts))
                usage = self._rows_between(connection, CHARGED, low, high, until_us, after, usage_columns)
                entries = self._rows_between(connection, ENTRIES, low, high, until_us, after, entry_columns)
                named = self._rows_between(connection, CORRECTIONS, low, high, until_us, after, NAMING)
            return Part(accounts, last, usage, entries, named, int(row[0]) if row else 0)

        return self._again(ask)

    def owners(self, words: Sequence[int]) -> tuple[Grouped, pl.DataFrame]:
        """Accounts of ascending dial words and the newest bill of each, at one moment."""

        def ask() -> tuple[Grouped, pl.DataFrame]:
            with self._moment() as connection:
                return (
                    self._accounts_between(connection, words[0], words[-1]),
                    self._last(connection, words[0], words[-1]),
                )

        return self._again(ask)

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
        wanted = pl.lit(value=True)
        from_us, until_us = -(2**62), 2**62
        if subscriber is not None:
            wanted &= pl.col("subscriber") == pl.lit(subscriber, dtype=pl.UInt64)
        if period is not None:
            wanted &= pl.col("period") == period
            from_us, until_us = _span(period)
        low, high = (0, 2**64 - 1) if subscriber is None else (subscriber, subscriber)
        columns = [name for name in BILLS.record.schema if lines or name != "lines"]

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                parts = self._bill_segments(connection, low, high, from_us, until_us)
                order = {"by": ["period", "subscriber"], "descending": [True, False]}
                frames = pl.collect_all(
                    [part.filter(wanted).select(columns).sort(**order).head(offset + limit) for part in parts]  # type: ignore[arg-type]
                )
                found = BILLS.record.conform(
                    pl.concat([BILLS.record.empty().select(columns), *frames], how="vertical_relaxed")
                )
            return found.sort(**order)[offset : offset + limit]  # type: ignore[arg-type]

        return self._again(ask)

    def bill(self, bill_id: str) -> pl.DataFrame:
        """One bill by its name; no row when there is none."""
        head = bill_id.partition("-")[0]
        if not head.isascii() or not head.isdigit() or len(head) != 6:
            return BILLS.record.empty()
        from_us, until_us = _span(int(head))

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                parts = self._bill_segments(connection, 0, 2**64 - 1, from_us, until_us)
                frames = pl.collect_all([part.filter(pl.col("bill_id") == bill_id) for part in parts])
            return BILLS.record.conform(pl.concat([BILLS.record.empty(), *frames], how="vertical_relaxed"))

        return self._again(ask)

    def periods(self) -> pl.DataFrame:
        """What was billed, the newest period first (`billed_periods`)."""

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                return billed_periods(self._bill_segments(connection, 0, 2**64 - 1, -(2**62), 2**62))

        return self._again(ask)

    def bills_between(self, low: int, high: int, period: int | None) -> pl.DataFrame:
        """Bills of a range of subscribers, of one period or of all."""
        wanted = _between(low, high)
        from_us, until_us = -(2**62), 2**62
        if period is not None:
            wanted &= pl.col("period") == period
            from_us, until_us = _span(period)

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                parts = self._bill_segments(connection, low, high, from_us, until_us)
                frames = pl.collect_all([part.filter(wanted) for part in parts])
            return pl.concat([BILLS.record.empty(), *frames], how="vertical_relaxed")

        return self._again(ask)

    def money_between(self, low: int, high: int, columns: Sequence[str]) -> pl.DataFrame:
        """Entries of money of a range of subscribers, all that are kept."""

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                return self._rows_between(connection, ENTRIES, low, high, 2**62, (-(2**62), 0), columns)

        return self._again(ask)

    def booked(self, prefix: str) -> pl.DataFrame:
        """Booked movements whose name begins so, oldest first: `movement_id, time_us, amount`."""
        return self._table(
            "SELECT movement_id, time_us, amount FROM movements WHERE status = 'booked'"
            " AND movement_id >= ? AND movement_id < ? ORDER BY number",
            (prefix, prefix + "\U0010ffff"),
            {"movement_id": pl.String, "time_us": pl.Int64, "amount": pl.Int64},
        )

    def notes(self, bill_id: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """What people said of one bill or of all, newest first."""
        known = self._rows("SELECT 1 FROM sqlite_master WHERE name = 'bill_notes'")
        if not known:
            return pl.DataFrame(schema=NOTE_SCHEMA)
        one = "" if bill_id is None else " WHERE bill_id = ?"
        return self._table(
            f"SELECT {', '.join(NOTE_SCHEMA)} FROM bill_notes{one} ORDER BY number DESC LIMIT ? OFFSET ?",  # noqa: S608
            (*(() if bill_id is None else (bill_id,)), limit, offset),
            NOTE_SCHEMA,
        )

    # -- how ----------------------------------------------------------------------------------------------

    def _last(self, connection: sqlite3.Connection, low: int, high: int) -> pl.DataFrame:
        names = ["subscriber", "period", "until_us", "cut_seq"]
        parts = self._bill_segments(connection, low, high, -(2**62), 2**62)
        frames = pl.collect_all([part.filter(_between(low, high)).select(names) for part in parts])
        every = pl.concat([BILLS.record.empty().select(names), *frames])
        return every.sort("subscriber", "period").group_by("subscriber", maintain_order=True).last()

    def _bill_segments(
        self, connection: sqlite3.Connection, low: int, high: int, from_us: int, until_us: int
    ) -> list[pl.LazyFrame]:
        rows = connection.execute(
            "SELECT segment, path FROM segments WHERE stream = ? AND until_us >= ? AND from_us < ?"
            " AND first_key <= ? AND last_key >= ?",
            (BILLS.name, from_us, until_us, stored_word(high), stored_word(low)),
        ).fetchall()
        return [whole_bills(segments.opened(self.folder, connection, *row)) for row in rows]

    def _rows_between(
        self,
        connection: sqlite3.Connection,
        stream: Stream,
        low: int,
        high: int,
        until_us: int,
        after: tuple[int, int],
        columns: Sequence[str],
    ) -> pl.DataFrame:
        """Rows that may stand on no bill yet: newer than the oldest of the last bills, by event or by arrival."""
        after_us, after_seq = after
        rows = connection.execute(
            "SELECT segment, path FROM segments WHERE stream = ? AND from_us < ?"
            " AND (until_us >= ? OR last_seq >= ?) AND first_key <= ? AND last_key >= ?",
            (stream.name, min(until_us, 2**62), after_us, after_seq, stored_word(high), stored_word(low)),
        ).fetchall()
        time = pl.col(segments.TIME_OF[stream.name])
        wanted = _between(low, high) & (time < until_us) & ((time >= after_us) | (pl.col("seq") >= after_seq))
        if stream is ENTRIES:
            wanted &= pl.col("unit") == int(Unit.MONEY)
        schema = stream.record.schema
        plain = [
            pl.col(name).cast(pl.String) if isinstance(schema[name], pl.Categorical) else pl.col(name)
            for name in columns
        ]
        parts = [segments.opened(self.folder, connection, number, path) for number, path in rows]
        frames = pl.collect_all([part.filter(wanted).select(plain) for part in parts])
        return pl.concat([stream.record.empty().select(plain), *frames], how="vertical_relaxed")

    def _accounts_between(self, connection: sqlite3.Connection, low: int, high: int) -> Grouped:
        parts = []
        for run in self._runs(connection, ACCOUNTS, low, high):
            first = int(np.searchsorted(run.keys, np.uint64(low)))
            parts.append(run.slice(first, int(np.searchsorted(run.keys, np.uint64(high), side="right"))))
        return runs.newest(parts[::-1], ACCOUNTS.dtype)


class EmbeddedBillNotes:
    """Where disputes and credit notes are written down; any process may."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Raises `FileNotFoundError` when the folder holds no data."""
        if not (folder / manifest.NAME).exists():
            raise FileNotFoundError(f"{folder} holds no data of trunkline")
        self._folder, self._disk = folder, disk or Disk()
        self._connection = manifest.open_to_write(folder)
        with transaction(self._connection, self._disk, folder):
            self._connection.execute(_NOTES)

    def add(self, note: BillNote) -> None:
        """Write one down durably; a credit note whose movement is written down already is passed over."""
        with transaction(self._connection, self._disk, self._folder):
            self._connection.execute(
                "INSERT OR IGNORE INTO bill_notes (bill_id, time_us, actor, action, amount_micros, movement_id, text)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    note.bill_id,
                    note.time_us,
                    note.actor,
                    note.action,
                    note.amount_micros,
                    note.movement_id,
                    note.text,
                ),
            )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def billed_periods(parts: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """What was billed, the newest period first: a row for each currency that its bills are to be paid in.

    `period, payable_currency, bills, total_micros, tax_micros, paid_micros, payable_micros`; all but the last are in
    the bills' own currency.
    """
    names = ("total_micros", "tax_micros", "paid_micros", "payable_micros")
    other = pl.col("payable").struct
    paid_in = other.field("currency").fill_null(pl.col("currency")).alias("payable_currency")
    payable = other.field("micros").fill_null(pl.col("total_micros")).alias("payable_micros")
    frames = pl.collect_all(
        [
            part.with_columns(paid_in, payable)
            .group_by("period", "payable_currency")
            .agg(pl.len().cast(pl.Int64).alias("bills"), pl.col(names).sum())
            for part in parts
        ]
    )
    keys = {"period": pl.Int32, "payable_currency": pl.String}
    empty = pl.DataFrame(schema=keys | dict.fromkeys(("bills", *names), pl.Int64))
    sums = pl.concat([empty, *frames]).group_by(*keys).sum()
    return sums.sort(*keys, descending=[True, False])


def whole_bills(bills: pl.LazyFrame) -> pl.LazyFrame:
    """Stored bills with all columns that bills have now."""
    if "payable" in bills.collect_schema():
        return bills
    return bills.with_columns(pl.lit(None, PAYABLE).alias("payable"))


def _oldest(last: pl.DataFrame, accounts: int) -> tuple[int, int]:
    """Behind which moment and arrival everything of all accounts is billed; the beginning when some have no bill."""
    if accounts == 0 or len(last) < accounts:
        return -(2**62), 0
    until_us, cut_seq = last.select(pl.min("until_us"), pl.min("cut_seq")).row(0)
    return until_us, cut_seq


def _between(low: int, high: int) -> pl.Expr:
    return pl.col("subscriber").is_between(pl.lit(low, dtype=pl.UInt64), pl.lit(high, dtype=pl.UInt64))


def _span(period: int) -> tuple[int, int]:
    """Moments between which bills of a period end."""
    year, month = divmod(period, 100)
    if not 1 <= month <= 12 or not 1970 <= year <= 2200:
        return 0, 0
    begin = int(np.datetime64(f"{year:04d}-{month:02d}-01", "us").astype(np.int64))
    return begin, begin + _LONGEST_US


def words_of(reader: EmbeddedReader, size: int) -> Iterator[list[int]]:
    """Dial words of all accounts, ascending, so many at once."""
    after = 0
    while True:
        words = reader.subscribers(after, size)
        if words:
            yield words
        if len(words) < size:
            return
        after = words[-1]
