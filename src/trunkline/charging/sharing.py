"""Shared accounts as their members see them: what of an account concerns whom, and who used how much of what is shared.

All rows of a group lie in its owner's account. A member sees what is the member's own and what all share; the owner
sees the own balances, what all share, and what each member took of it. Nobody sees another member's own balances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Rows
from trunkline.records.charging import RowKind

_OF_ALL = (int(RowKind.DRAWN), int(RowKind.MEMBER), int(RowKind.LIMIT))


@dataclass(frozen=True)
class Share:
    """What one member took of one shared balance in one period."""

    member: int  # number within the account; 0 is the owner
    balance: int  # register number
    period: int
    used: int  # in the balance's unit
    limit: int | None  # the most in a period; None for no limit
    from_s: int
    until_s: int


def concerning(rows: Rows, member: int, catalogue: Catalogue) -> Rows:
    """The rows (`ACCOUNT_ROW`) of an account that concern one of its members; 0 is the owner. Empty for a stranger."""
    if not rows["member"].any() and member == 0:
        return rows
    kinds = rows["kind"]
    mine = rows["member"] == member
    if not mine.any():
        return rows[:0]
    if member == 0:
        return rows[mine | np.isin(kinds, _OF_ALL)]
    shared = catalogue.tables.balance_shared[rows["definition"]] == 1 if len(rows) else mine
    return rows[mine | ((rows["member"] == 0) & (kinds == int(RowKind.BALANCE)) & shared)]


def place_of(row: Any) -> tuple[int, int, int, int]:  # noqa: ANN401 - a row of a numpy table
    """What tells a balance's row (`ACCOUNT_ROW`) from every other of its account."""
    return int(row["definition"]), int(row["period"]), int(row["valid_until_s"]), int(row["member"])


def shares(rows: Rows, catalogue: Catalogue) -> list[Share]:
    """Who took how much of what is shared, by balance, period and member."""
    drawn = np.sort(rows[rows["kind"] == int(RowKind.DRAWN)], order=["definition", "period", "member"])
    return [
        Share(
            int(row["member"]),
            int(row["definition"]),
            int(row["period"]),
            int(row["value"]),
            _limit(rows, int(row["member"]), int(row["definition"]), catalogue),
            int(row["valid_from_s"]),
            int(row["valid_until_s"]),
        )
        for row in drawn
    ]


def _limit(rows: Rows, member: int, balance: int, catalogue: Catalogue) -> int | None:
    """The limit that came with a member's newest subscription, or the tariff's."""
    mine = rows[rows["member"] == member]
    plans = mine[mine["kind"] == int(RowKind.SUBSCRIPTION)]["valid_from_s"]
    own = mine[(mine["kind"] == int(RowKind.LIMIT)) & (mine["definition"] == balance)]
    dated = own[own["valid_from_s"] == plans.max()] if len(plans) else own
    if len(dated):
        return int(dated[0]["value"])
    said = int(catalogue.tables.balance_member_limit[balance])
    return said if said >= 0 else None
