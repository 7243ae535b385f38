"""Bills over a data folder: previews for whoever asks, the bill run, disputes and credit notes.

A run goes through the accounts in parts. What a part needs is read at one moment, worked out by the pure bill, and
carried by the engine like every other order: bills, ledger entries and the movements' names become true in one commit.
So a run that was killed is simply started again, and makes the bills that are missing.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from trunkline import topology
from trunkline.bootstrap.bill_notes import (
    CREDIT,
    credit_name,
    disputed,
    known_bill,
    movement_of,
    names_begin,
    refuse_more_than_left,
    said,
    with_notes,
)
from trunkline.bootstrap.views import moment
from trunkline.charging.bills.bill import ENTRY_COLUMNS, USAGE_COLUMNS, bills
from trunkline.charging.bills.check import NOTHING_CHECKED, Checked, check
from trunkline.charging.bills.cycles import Cycles, cycles, period_of
from trunkline.charging.bills.issue import movements_of
from trunkline.charging.bills.payable import Missing, by_currency, missing_rates
from trunkline.charging.bills.payable import together as missing_together
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.loop import Carrier
from trunkline.kernel.grouped import Grouped, Rows
from trunkline.ports import BillNote, BillRun, Commit, Movement, Refused
from trunkline.records.bills import BILLS
from trunkline.stores.embedded.bills import EmbeddedBillNotes, EmbeddedBills, Part, words_of
from trunkline.stores.embedded.disk import Disk

KEY_FILE = "catalogue/bills.key"
PREVIEW = "preview"
ACCOUNTS_AT_ONCE = 100_000
MOST_NOTES = 1000
FOREVER_US = 2**62

Move = Callable[[Sequence[Movement]], list[dict[str, Any]]]


class FolderBills:
    """Bills of a data folder (`ports.Bills`). Without an engine nothing can be ordered, only read."""

    def __init__(
        self,
        data: Path,
        catalogue: Callable[[], Catalogue],
        engine: Engine | None = None,
        move: Move | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        *,
        at_once: int = ACCOUNTS_AT_ONCE,
    ) -> None:
        """`engine` and `move` carry orders; both come from the one process that writes."""
        self._data, self._catalogue, self._engine, self._move = data, catalogue, engine, move
        self._now_us, self._at_once = now_us, at_once
        self._reader = EmbeddedBills(data)
        self._running = threading.Lock()

    # -- asked ----------------------------------------------------------------------------------------------

    def preview(self, subscriber: int) -> dict[str, Any] | None:
        """The bill of the running period as it would be if it ended with what is known now."""
        rows = self._reader.account(subscriber)
        if not len(rows):
            return None
        now_us, catalogue = self._now_us(), self._catalogue()
        return previewed(self._part([subscriber], FOREVER_US), rows, catalogue, now_us)

    def bills(
        self, subscriber: int | None, period: int | None, limit: int, offset: int = 0, *, lines: bool = True
    ) -> list[dict[str, Any]]:
        """Bills, the newest period first; each with its state and what was credited."""
        found = self._reader.bills(subscriber, period, limit, offset, lines=lines)
        return [self._with_notes(row) for row in found.iter_rows(named=True)]

    def bill(self, bill_id: str) -> dict[str, Any] | None:
        """One bill, with what was said of it."""
        found = self._reader.bill(bill_id)
        return self._with_notes(found.row(0, named=True)) if len(found) else None

    def periods(self) -> list[dict[str, Any]]:
        """What was billed, by period."""
        return self._reader.periods().to_dicts()

    def items(self, bill: dict[str, Any], limit: int) -> pl.DataFrame:
        """Charged usage that stands on a bill, in order of time; all that is kept of it."""
        found = self._reader.usage(bill["subscriber"], -FOREVER_US, bill["until_us"], FOREVER_US)
        return items_of(bill, found, limit)

    def check(self, period: int | None) -> Checked:
        """Whether the sum of bills equals the ledger, for one period or for all."""
        found = NOTHING_CHECKED
        catalogue = self._catalogue()
        for words in words_of(self._reader, self._at_once):
            made = self._reader.bills_between(words[0], words[-1], period)
            if not len(made):
                continue
            entries = self._reader.money_between(words[0], words[-1], ENTRY_COLUMNS)
            part = check(made, entries, catalogue)
            found = found.with_part(part)
        return found

    # -- ordered --------------------------------------------------------------------------------------------

    def run(self, period: int) -> BillRun:
        """Make the bills of a period that is over and have none yet; can be repeated at any time."""
        engine = self._writer()
        refuse_no_period(period)
        if not self._running.acquire(blocking=False):
            raise Refused("A bill run is going on already; wait for its end.")
        began = time.monotonic()
        try:
            refuse_missing(self._missing(period))
            done = BillRun(period, 0, 0, 0, 0, 0, 0, 0.0)
            for words in words_of(self._reader, self._at_once):
                done = self._run_part(engine, words, done)
        finally:
            self._running.release()
        return replace(done, seconds=round(time.monotonic() - began, 3))

    def _missing(self, period: int) -> Iterator[Missing]:
        """Rates that are missing for the bills of a period: asked before the first of them is made."""
        now_us, catalogue = self._now_us(), self._catalogue()
        if catalogue.bills.payable:
            for words in words_of(self._reader, self._at_once):
                yield from rates_missing(*self._reader.owners(words), catalogue, period, now_us)

    def _run_part(self, engine: Engine, words: Sequence[int], done: BillRun) -> BillRun:
        now_us, catalogue = self._now_us(), self._catalogue()
        part = self._part(words, now_us)
        made, mine = bills_due(part, catalogue, done.period, now_us, self._key())
        if len(made):
            engine.order(lambda writing, number: _issue(writing, number, made, catalogue)).result()
        return together(done, mine)

    def dispute(self, bill_id: str, actor: str, text: str, *, settled: bool = False) -> None:
        """Write down that a bill is disputed, or that the dispute is settled."""
        self._note(disputed(self._known(bill_id), self._now_us(), actor, text, settled=settled))

    def credit(self, bill_id: str, amount_micros: int, actor: str, text: str, name: str | None = None) -> str:
        """Give some of a bill back: one movement of the ledger, named after the bill, with the reason beside it."""
        self._writer()
        assert self._move is not None, "who has an engine can move money"
        bill, line = self._known(bill_id), said(text)
        movement_id = credit_name(bill_id, amount_micros, line, name)
        if not len(self._reader.booked(movement_id)):
            refuse_more_than_left(bill, amount_micros)
        note = BillNote(bill_id, self._now_us(), actor, CREDIT, amount_micros, movement_id, line)
        answer = self._move([movement_of(note, bill["subscriber"], self._catalogue())])[0]
        if answer["status"] == "refused":
            raise Refused(f"The credit note was refused: {answer['reason']}.")
        self._note(note)
        return movement_id

    # -- how --------------------------------------------------------------------------------------------------

    def _writer(self) -> Engine:
        if self._engine is None:
            raise Refused("This process only reads; order it of the one that writes to the data folder.")
        return self._engine

    def _part(self, words: Sequence[int], until_us: int) -> Part:
        return self._reader.part(words, until_us, USAGE_COLUMNS, ENTRY_COLUMNS)

    def _key(self) -> bytes:
        return kept_key(self._data / KEY_FILE)

    def _known(self, bill_id: str) -> dict[str, Any]:
        return known_bill(self.bill(bill_id), bill_id)

    def _note(self, note: BillNote) -> None:
        notes = EmbeddedBillNotes(self._data)
        try:
            notes.add(note)
        finally:
            notes.close()

    def _with_notes(self, bill: dict[str, Any]) -> dict[str, Any]:
        """A bill with what people said of it. What was credited is what the ledger booked, whatever was said."""
        notes = self._reader.notes(bill["bill_id"], MOST_NOTES).to_dicts()[::-1]
        booked = self._reader.booked(names_begin(bill["bill_id"]))
        return with_notes(bill, notes, int(booked["amount"].sum()))


def refuse_no_period(period: int) -> None:
    """Raise `Refused` for a number that names no month."""
    if not 1 <= period % 100 <= 12 or not 1970 <= period // 100 <= 2105:
        raise Refused(f"{period} is not a period such as 202611.")


def bills_due(
    part: Part, catalogue: Catalogue, period: int, now_us: int, key: bytes
) -> tuple[pl.DataFrame, BillRun]:
    """The bills (`BILLS`) that some accounts are due, and what became of each of them; nothing is kept or booked."""
    due = cycles(part.accounts, part.last, catalogue, period)
    over = _over(due, now_us)
    refuse_missing(missing_rates(over, catalogue))
    made = _made(part, replace(due, terms=over), catalogue, period, now_us, key)
    running, total_micros = len(due.terms) - len(over), int(made["total_micros"].sum())
    sums = by_currency(made, pl.lit(0, pl.Int64))
    payable_micros = dict(sums.select("currency", "payable_micros").iter_rows())
    return made, BillRun(
        period, len(made), due.billed, running, due.behind, due.ahead, total_micros, 0.0, payable_micros
    )


def previewed(part: Part, rows: Rows, catalogue: Catalogue, now_us: int) -> dict[str, Any] | None:
    """One account's bill of the running period out of what is known now; None where it has been made.

    `rows` are the account's. Nothing is kept or booked, and the bill has no name of its own.
    """
    period = period_of(rows, catalogue, now_us)
    due = cycles(part.accounts, part.last, catalogue, period)
    if not len(due.terms):
        return None
    refuse_missing(missing_rates(due.terms, catalogue))
    made = _made(part, due, catalogue, period, now_us, b"")
    unsaid = {"bill_id": PREVIEW, "state": PREVIEW, "credited_micros": 0, "notes": []}
    return made.row(0, named=True) | unsaid


def items_of(bill: dict[str, Any], usage: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Of an account's charged usage before the bill's end, what stands on it, in order of time."""
    before = (pl.col("start_us") < bill["after_us"]) & (pl.col("seq") < bill["after_seq"])
    return usage.filter((pl.col("seq") < bill["cut_seq"]) & ~before).sort("start_us", "seq").head(limit)


def rates_missing(
    accounts: Grouped, last: pl.DataFrame, catalogue: Catalogue, period: int, now_us: int
) -> list[Missing]:
    """The rates without which some accounts behind their `last` bills cannot be billed now."""
    return missing_rates(_over(cycles(accounts, last, catalogue, period), now_us), catalogue)


def _over(due: Cycles, now_us: int) -> pl.DataFrame:
    """The terms of accounts whose period is over."""
    return due.terms.filter(pl.col("until_us") <= now_us)


def refuse_missing(missing: Iterable[Missing]) -> None:
    """Raise `Refused` where a rate is missing, with the currency and the moment."""
    found = missing_together(missing)
    if found:
        told = "; ".join(
            f"no rate of {each.currency} at {moment(each.until_us - 1)}, the end of {each.accounts:,} periods"
            for each in found[:5]
        )
        raise Refused(f"No bill is made: {told}. Add it to `exchange` in the tariff.")


def together(one: BillRun, other: BillRun) -> BillRun:
    """What two parts of a run did."""
    return BillRun(
        one.period,
        one.bills + other.bills,
        one.billed + other.billed,
        one.running + other.running,
        one.behind + other.behind,
        one.ahead + other.ahead,
        one.total_micros + other.total_micros,
        one.seconds + other.seconds,
        {
            currency: one.payable_micros.get(currency, 0) + other.payable_micros.get(currency, 0)
            for currency in sorted({*one.payable_micros, *other.payable_micros})
        },
    )


def _made(
    part: Part, due: Cycles, catalogue: Catalogue, period: int, now_us: int, key: bytes
) -> pl.DataFrame:
    return bills(
        due, part.usage, part.entries, catalogue, period, part.cut_seq, now_us, key, part.corrections
    )


def kept_key(path: Path) -> bytes:
    """The key of bills' names; drawn when the first bill is made, and kept with the folder."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        disk, fresh = Disk(), path.with_suffix(".new")
        disk.remove(fresh)
        disk.write(fresh, [secrets.token_bytes(32).hex().encode()])
        fresh.chmod(0o600)
        disk.rename(fresh, path)
        disk.fsync_folder(path.parent)
    return bytes.fromhex(path.read_text(encoding="ascii"))


def _issue(
    engine: Engine, number: int, made: pl.DataFrame, catalogue: Catalogue
) -> tuple[Commit | None, Any]:
    """One part of a run, carried in its turn: bills, entries and movements in one commit."""
    rows = engine.numbered(made)
    carried = Carrier(topology.BILLING, engine.tables, engine.states).whole(rows, number)
    booked = movements_of(rows, catalogue)
    columns = [name for name in Movement.__dataclass_fields__ if name in booked.columns]
    movements = [
        (Movement(*values), seq, "booked", "")
        for seq, values in zip(booked["seq"].to_list(), booked.select(columns).iter_rows(), strict=True)
    ]
    commit = engine.commit_of(number, carried, movements=movements)
    return replace(commit, frames={**commit.frames, BILLS.name: rows}), None
