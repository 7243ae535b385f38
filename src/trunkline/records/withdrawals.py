"""Records that are taken back where accounts lie apart: the orders, and what each account remembers of such things."""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import State
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES, MOVEMENTS


def _rows(record: Record) -> pl.List:
    """Rows of a record within one value."""
    return pl.List(
        pl.Struct(
            {name: pl.String if dtype == pl.Categorical() else dtype for name, dtype in record.schema.items()}
        )
    )


_ORDER = (
    *MOVEMENTS.record.columns,
    Column("withdrawal_id", pl.String, "Name of the order: its movement and what was known; carried once."),
    Column("correction_id", pl.String, "`cancel:` or `correct:`, and the record that takes the other back."),
    Column("identity", pl.UInt64, "First half of the digest of the record that is taken back."),
    Column("check", pl.UInt64, "Second half of that digest."),
    Column("rerated_seq", pl.Int64, "The account's newest re-rating that the order knows of; -1 for none."),
    Column(
        "charged",
        _rows(CHARGED.record),
        "The record as it was charged; of a part of a call, the call's other parts behind it.",
        personal=True,
    ),
    Column("entries", _rows(ENTRIES.record), "The ledger's entries of these records.", personal=True),
    Column("corrections", _rows(CORRECTIONS.record), "Corrections of these records.", personal=True),
)

WITHDRAWALS = Stream(
    "charging.withdrawals",
    Record(
        "Withdrawal",
        "A movement that takes a charged record back, with all that the record caused.",
        _ORDER,
        ("withdrawal_id",),
        400,
    ),
    key="subscriber",
    text="Records that are to be taken back on a cluster, on their way to the buckets of their accounts.",
)

WITHDRAWN = Stream(
    "charging.withdrawn",
    Record(
        "Record taken back",
        "A withdrawal that nothing stands against.",
        _ORDER,
        ("withdrawal_id",),
        400,
    ),
    key="subscriber",
    text="Withdrawals that are carried out.",
)

NOT_WITHDRAWN = Stream(
    "charging.not_withdrawn",
    Record(
        "Withdrawal left",
        "A withdrawal that was not carried out, and why.",
        (
            *MOVEMENTS.record.columns,
            Column("withdrawal_id", pl.String, "Name of the order."),
            Column("reason", pl.String, "Why it was left."),
        ),
        ("withdrawal_id",),
        400,
    ),
    key="subscriber",
    text="Withdrawals that were left, since the record was taken back before or corrected meanwhile.",
)

RERATED = Stream(
    "charging.rerated",
    Record(
        "Re-rated account",
        "An account of which a re-rating was booked.",
        (
            Column("seq", pl.Int64, "Arrival number of its last correction."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
        ),
        ("seq",),
        400,
    ),
    key="subscriber",
    text="Accounts that were re-rated, so that whoever takes a record back knows of it.",
)

TAKEN_BACK = State(
    "charging.taken_back",
    "subscriber",
    np.dtype([("identity", "u8"), ("check", "u8"), ("seq", "i8")]),
    "Which records of each account were taken back on a cluster, and by which arrival number; under 0 and 0, its newest"
    " re-rating.",
)
