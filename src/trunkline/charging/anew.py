"""Charging what is stored once more, from nothing: in the order in which usage and movements of money arrived.

Reconciliation compares the result with the books, and a what-if compares two tariffs, so both go through here and
neither has an order of its own. What is taken from the books is only what happened outside the records: movements of
money, and when a record was taken back; what it gives back is worked out here as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.balances import charge
from trunkline.charging.corrections import RECORD, correct, corrected, is_reversal
from trunkline.charging.movements import post
from trunkline.charging.parts import is_part, parts_beside
from trunkline.charging.rate import rate
from trunkline.charging.reversal import reverse
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Grouped, Keys
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES, RowKind
from trunkline.records.usage import REJECTED

CONTRACTS = (int(RowKind.SUBSCRIPTION), int(RowKind.MEMBER), int(RowKind.LIMIT))
ChargeTurn = Callable[[pl.DataFrame, Grouped], Grouped]  # usage of one turn, accounts: the accounts after it
_TAKEN_BACK = ("seq", "subscriber", "time_us", "correction_id", "movement_id", *RECORD)


def keys_of(column: pl.Series) -> Keys:
    """The different words of a column, ascending."""
    return np.unique(column.to_numpy())


def opening(accounts: Grouped, metered: pl.DataFrame, orders: pl.DataFrame) -> Grouped:
    """The contracts alone of whoever used or moved something: what they have as long as nothing was used."""
    keys = np.union1d(keys_of(metered["subscriber"]), keys_of(orders["subscriber"]))
    owner = np.repeat(accounts.keys, np.diff(accounts.offsets))
    chosen = np.isin(accounts.rows["kind"], CONTRACTS) & np.isin(owner, keys)
    rows: npt.NDArray[Any] = accounts.rows[chosen]
    counts = np.bincount(np.searchsorted(keys, owner[chosen]), minlength=len(keys))
    return Grouped(keys, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows)


def in_turns(metered: pl.DataFrame, orders: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Usage and movements of each subscriber take turns: turn n begins with the subscriber's n-th movement."""
    orders = orders.sort("seq").with_columns(turn=pl.int_range(1, pl.len() + 1).over("subscriber"))
    at = metered.sort("seq", maintain_order=True).join_asof(
        orders.select("subscriber", "seq", "turn").sort("seq"),
        on="seq",
        by="subscriber",
        check_sortedness=False,
    )
    return at.with_columns(pl.col("turn").cast(pl.Int64).fill_null(0)), orders


def with_reversals(orders: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    """Movements, and the moments (`seq`) at which records (`RECORD`, null for a movement) were taken back."""
    taken_back = corrections.filter(is_reversal()).select(_TAKEN_BACK)
    return pl.concat([orders, taken_back], how="diagonal") if len(taken_back) else orders


@dataclass
class Again:
    """Usage that is charged once more, turn by turn, and what came of it until now.

    With `entries_of` the entries of these subscribers alone are kept: who wants no entries needs those of whoever has
    something taken back.
    """

    catalogue: Catalogue
    entries_of: pl.Series | None = None
    usage: list[pl.DataFrame] = field(default_factory=lambda: [CHARGED.record.empty()])
    entries: list[pl.DataFrame] = field(default_factory=lambda: [ENTRIES.record.empty()])
    refused: list[pl.DataFrame] = field(default_factory=lambda: [REJECTED.record.empty()])
    reversals: list[pl.DataFrame] = field(default_factory=lambda: [CORRECTIONS.record.empty()])

    def charge_turn(self, turn: pl.DataFrame, accounts: Grouped) -> Grouped:
        """Charge usage of one turn; the accounts after it."""
        rated, unpriced = rate(turn, accounts, self.catalogue).rows
        outcome = charge(rated, accounts, self.catalogue)
        charged, booked, _, rejected = outcome.rows
        self.usage.append(charged)
        mine = (
            pl.lit(value=True)
            if self.entries_of is None
            else pl.col("subscriber").is_in(self.entries_of.implode())
        )
        self.entries.append(booked.filter(mine))
        self.refused.extend((unpriced, rejected))
        return over(accounts, outcome.state)

    def take_back(self, orders: pl.DataFrame, accounts: Grouped) -> Grouped:
        """Give back what records of earlier turns took, by what they took here; the accounts after it."""
        usage = pl.concat([part.join(orders, on=RECORD, how="semi") for part in self.usage])
        originals = usage.join(
            orders.select(*RECORD, "time_us", "correction_id", "movement_id", pl.col("seq").alias("at_seq")),
            on=RECORD,
        )
        others = self._other_parts(originals)
        both = pl.concat([originals.select("seq"), others.select("seq")])
        entries = pl.concat([part.join(both, on="seq", how="semi") for part in self.entries])
        made = reverse(originals, entries, pl.concat(self.reversals), accounts, self.catalogue, others)
        moments = originals.select("at_seq", corrects_seq="seq")
        made = CORRECTIONS.record.conform(
            made.drop("seq").join(moments, on="corrects_seq", maintain_order="left").rename({"at_seq": "seq"})
        )
        outcome = correct(made, accounts, self.catalogue)
        self.entries.append(outcome.rows[0])
        self.reversals.append(made)
        return over(accounts, outcome.state)

    def _other_parts(self, originals: pl.DataFrame) -> pl.DataFrame:
        """All other parts under the references of calls that some records are parts of."""
        parts = originals.filter(is_part())
        if not len(parts):
            return CHARGED.record.empty()
        named = [parts_beside(part, parts) for part in self.usage]
        others = pl.concat(named).join(parts, on=RECORD, how="anti")
        return corrected(others, pl.concat(self.reversals))

    def all_usage(self) -> pl.DataFrame:
        """Charged usage (`CHARGED`), each record as its reversal left it."""
        return corrected(pl.concat(self.usage), pl.concat(self.reversals))

    def all_entries(self) -> pl.DataFrame:
        """Ledger entries (`ENTRIES`) of usage and of its reversals, these as the record's own."""
        of = pl.concat(self.reversals).select("seq", "corrects_seq")
        entries = pl.concat(self.entries)
        if not len(of):
            return entries
        own = entries.join(of, on="seq", how="left", maintain_order="left")
        return own.with_columns(pl.coalesce("corrects_seq", "seq").alias("seq")).select(entries.columns)


def take_turns(
    metered: pl.DataFrame,
    orders: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
    charge_turn: ChargeTurn,
    take_back: ChargeTurn | None = None,
) -> Grouped:
    """Book movements and charge usage (both with their `turn`), turn after turn; the accounts after the last.

    `take_back` is given the orders of a turn that take records back; without it there are none.
    """
    last = max(int(turns.max() or 0) for turns in (metered["turn"], orders["turn"]))  # type: ignore[arg-type]
    for turn in range(last + 1):
        if turn:
            now = orders.filter(pl.col("turn") == turn)
            if take_back is not None and RECORD[0] in orders.columns:
                taken_back = now.filter(pl.col(RECORD[0]).is_not_null())
                if len(taken_back):
                    accounts = take_back(taken_back, accounts)
                now = now.filter(pl.col(RECORD[0]).is_null())
            if len(now):
                accounts = over(accounts, post(now, accounts, catalogue).state)
        mine = metered if last == 0 else metered.filter(pl.col("turn") == turn)
        accounts = over(accounts, charge_turn(mine, accounts))
    return accounts


def over(accounts: Grouped, changed: Grouped | None) -> Grouped:
    """The accounts after a step that was given all of them."""
    assert changed is not None, "a step that was given accounts returns them"
    assert len(changed) == len(accounts), "a step loses no account"
    return changed
