"""Charging what is stored once more, from nothing: in the order in which usage and movements of money arrived.

Reconciliation compares the result with the books, and a what-if compares two tariffs, so both go through here and
neither has an order of its own. What is taken from the books is only what happened outside the records.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.movements import post
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Grouped, Keys
from trunkline.records.charging import RowKind

ChargeTurn = Callable[[pl.DataFrame, Grouped], Grouped]  # usage of one turn, accounts: the accounts after it


def keys_of(column: pl.Series) -> Keys:
    """The different words of a column, ascending."""
    return np.unique(column.to_numpy())


def opening(accounts: Grouped, metered: pl.DataFrame, orders: pl.DataFrame) -> Grouped:
    """The subscriptions alone of whoever used or moved something: what they have as long as nothing was used."""
    keys = np.union1d(keys_of(metered["subscriber"]), keys_of(orders["subscriber"]))
    owner = np.repeat(accounts.keys, np.diff(accounts.offsets))
    chosen = (accounts.rows["kind"] == int(RowKind.SUBSCRIPTION)) & np.isin(owner, keys)
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


def take_turns(
    metered: pl.DataFrame,
    orders: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
    charge_turn: ChargeTurn,
) -> Grouped:
    """Book movements and charge usage (both with their `turn`), turn after turn; the accounts after the last."""
    last = max(int(turns.max() or 0) for turns in (metered["turn"], orders["turn"]))  # type: ignore[arg-type]
    for turn in range(last + 1):
        if turn:
            accounts = over(accounts, post(orders.filter(pl.col("turn") == turn), accounts, catalogue).state)
        mine = metered if last == 0 else metered.filter(pl.col("turn") == turn)
        accounts = over(accounts, charge_turn(mine, accounts))
    return accounts


def over(accounts: Grouped, changed: Grouped | None) -> Grouped:
    """The accounts after a step that was given all of them."""
    assert changed is not None, "a step that was given accounts returns them"
    assert len(changed) == len(accounts), "a step loses no account"
    return changed
