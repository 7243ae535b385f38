"""The double-entry ledger: each entry moves an amount from a debit account to a credit account.

Because one entry carries both sides, debits equal credits in every unit at every moment; `before` and `after` say what
it did to the subscriber's balance, so a balance is the sum of its own entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.tariffs.catalogue import Catalogue, Threshold
from trunkline.records.charging import CHANGES, ENTRIES

Array = npt.NDArray[Any]

# The operator's side of every movement; the numbers are the kernel's own and are never stored.
LEDGER_ACCOUNTS = ("balance", "grants", "usage", "revenue", "topups", "adjustments", "expired", "refunds")
(
    ACCOUNT_BALANCE,
    ACCOUNT_GRANTS,
    ACCOUNT_USAGE,
    ACCOUNT_REVENUE,
    ACCOUNT_TOPUPS,
    ACCOUNT_ADJUSTMENTS,
    ACCOUNT_EXPIRED,
    ACCOUNT_REFUNDS,
) = range(8)

ENTRY = np.dtype(
    [
        ("row", "i8"),
        ("amount", "i8"),
        ("before", "i8"),
        ("after", "i8"),
        ("granted", "i8"),
        ("definition", "i4"),
        ("period", "i4"),
        ("part", "i2"),
        ("cause", "u1"),
        ("unit", "u1"),
        ("debit", "u1"),
        ("credit", "u1"),
    ]
)

PERCENT = 1000  # changes of allowances and caps are told in thousandths of a percent


def entries_of(entries: Array, batch: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Ledger entries as rows, with the seq, subscriber and time of what caused them."""
    row = pl.Series(entries["row"])
    accounts = pl.Series(LEDGER_ACCOUNTS, dtype=pl.Categorical)
    balances = pl.Series(catalogue.balances, dtype=pl.Categorical)
    return pl.DataFrame(
        {
            "seq": batch["seq"].gather(row),
            "part": np.ascontiguousarray(entries["part"]),
            "subscriber": batch["subscriber"].gather(row),
            "time_us": batch["start_us"].gather(row),
            "cause": np.ascontiguousarray(entries["cause"]),
            "unit": np.ascontiguousarray(entries["unit"]),
            "debit": accounts.gather(np.ascontiguousarray(entries["debit"])),
            "credit": accounts.gather(np.ascontiguousarray(entries["credit"])),
            "amount": np.ascontiguousarray(entries["amount"]),
            "balance": balances.gather(np.ascontiguousarray(entries["definition"])),
            "period": np.ascontiguousarray(entries["period"]),
            "before": np.ascontiguousarray(entries["before"]),
            "after": np.ascontiguousarray(entries["after"]),
            "granted": np.ascontiguousarray(entries["granted"]),
        },
        schema=ENTRIES.record.schema,
    )


def changes_of(entries: Array, batch: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The few movements that cross a mark, or come back far enough to arm it again."""
    found: list[pl.DataFrame] = []
    counted = entries["cause"] == 0
    for number, threshold in enumerate(catalogue.thresholds):
        chosen = (entries["definition"] == threshold.number) & (counted == threshold.counter)
        if not chosen.any():
            continue
        mine = entries[chosen]
        before, after = measured(threshold, mine, "before"), measured(threshold, mine, "after")
        near = crosses(threshold, before, after)
        if not near.any():
            continue
        row = pl.Series(mine["row"][near])
        found.append(
            pl.DataFrame(
                {
                    "seq": batch["seq"].gather(row),
                    "subscriber": batch["subscriber"].gather(row),
                    "time_us": batch["start_us"].gather(row),
                    "threshold": np.full(int(near.sum()), number, np.int32),
                    "period": np.ascontiguousarray(mine["period"][near]),
                    "before": before[near],
                    "after": after[near],
                    "value": np.ascontiguousarray(mine["after"][near]),
                },
                schema=CHANGES.record.schema,
            )
        )
    return pl.concat(found) if found else CHANGES.record.empty()


def measured(threshold: Threshold, entries: Array, side: str) -> npt.NDArray[np.int64]:
    """What a threshold looks at: thousandths of a percent used, or micro-units left (credit included)."""
    value = entries[side].astype(np.int64)
    if threshold.kind == "low_balance":
        return value + entries["granted"]
    if threshold.kind == "spend_cap":
        return value * (100 * PERCENT) // max(threshold.limit, 1)
    granted = np.maximum(entries["granted"].astype(np.int64), 1)
    return (granted - value) * (100 * PERCENT) // granted


def crosses(
    threshold: Threshold, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Rows that cross a mark in either direction, with the hysteresis on the way back."""
    near = np.zeros(len(before), np.bool_)
    falling = threshold.kind == "low_balance"
    for mark in threshold.marks:
        if falling:
            crossed = (before >= mark) & (after < mark)
            armed = (before < mark + threshold.hysteresis) & (after >= mark + threshold.hysteresis)
        else:
            level, back = mark * PERCENT, (mark - threshold.hysteresis) * PERCENT
            crossed = (before < level) & (after >= level)
            armed = (before > back) & (after <= back)
        near |= crossed | armed
    return near
