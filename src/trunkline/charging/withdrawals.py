"""Withdrawals: a record is taken back in the bucket that keeps its account, out of an order that says what it caused.

Where accounts lie apart, history is read in one place and accounts are kept in another. The order brings what the
record did; what it gives back is worked out here, from the account as it is. A record is taken back once, whoever
orders it how often, and an order that does not know of the account's newest re-rating is left: made again, it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from trunkline.charging.corrections import RECORD, correct, corrected, is_reversal
from trunkline.charging.reversal import reverse
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped, Rows
from trunkline.kernel.outcomes import Reason
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES, NEVER_S, Cause
from trunkline.records.withdrawals import NOT_WITHDRAWN, TAKEN_BACK, WITHDRAWALS, WITHDRAWN

WITHDRAWAL_REASONS = (
    Reason("original_unknown", "The order does not tell of the record that it takes back."),
    Reason("already_corrected", "A record before it has taken the same one back."),
    Reason("moved_since", "Something was corrected since the order was made; it is made again."),
)
NEVER_RERATED = -1

_TOLD = {"charged": CHARGED.record, "entries": ENTRIES.record, "corrections": CORRECTIONS.record}
_RERATED = 0  # `identity` and `check` of the row that tells of re-ratings


def order_of(
    original: pl.DataFrame,
    others: pl.DataFrame,
    entries: pl.DataFrame,
    corrections: pl.DataFrame,
    catalogue: Catalogue,
) -> pl.DataFrame:
    """The order (`WITHDRAWALS`) to take one record back.

    `original` is that record as it was charged (`CHARGED`), with `correction_id`, `movement_id` and `time_us` of its
    reversal; `others` are the other parts of its call. `entries` are those of all of them, and `corrections` are all of
    their account.
    """
    mine = pl.concat([CHARGED.record.conform(original), others])
    known = corrections.join(mine, on=RECORD, how="semi", maintain_order="left")
    rerated = corrections.filter(~is_reversal()).get_column("seq").max()
    newest = NEVER_RERATED if rerated is None else int(rerated)  # type: ignore[arg-type]  # of whole numbers
    now = corrected(CHARGED.record.conform(original), known)
    told = {"charged": mine, "entries": entries, "corrections": known}
    # What was known is in the name: an order that was left is given again under another one.
    mark = f"@{newest}-{len(mine)}-{len(known)}"
    row = original.select("subscriber", "identity", "check", "correction_id", "movement_id", "time_us")
    return WITHDRAWALS.record.conform(
        row.with_columns(
            (pl.col("movement_id") + mark).alias("withdrawal_id"),
            pl.lit(int(Cause.CORRECTION)).alias("cause"),
            pl.lit(catalogue.balances[catalogue.main_balance]).alias("balance"),
            pl.lit(NEVER_S).alias("valid_until_s"),
            pl.lit(int(now["charged_micros"].item())).alias("amount"),
            pl.lit(newest).alias("rerated_seq"),
            *(_packed(name, rows) for name, rows in told.items()),
        )
    )


def _packed(name: str, rows: pl.DataFrame) -> pl.Series:
    """Rows as one value."""
    return pl.Series(name, [_TOLD[name].conform(rows).to_dicts()], WITHDRAWALS.record.schema[name])


def judge(orders: pl.DataFrame, taken_back: Grouped) -> Outcome:
    """Part orders (`WITHDRAWALS`) into those that are carried out (`WITHDRAWN`) and those that are left."""
    held = _held(taken_back)
    reasons = []
    for order in orders.iter_rows(named=True):
        account, record = held[order["subscriber"]], (order["identity"], order["check"])
        reason = _left(account, record, order)
        if not reason:
            account[record] = order["seq"]
        reasons.append(reason)
    marked = orders.with_columns(pl.Series("reason", reasons, dtype=pl.String))
    fit = WITHDRAWN.record.conform(marked.filter(pl.col("reason") == ""))
    left = NOT_WITHDRAWN.record.conform(marked.filter(pl.col("reason") != ""))
    return Outcome((fit, left), _grouped(taken_back, held))


def _left(account: dict[tuple[int, int], int], record: tuple[int, int], order: Mapping[str, Any]) -> str:
    """Why an order is left, by what its account remembers."""
    told = [(row["identity"], row["check"]) for row in order["charged"] or ()]
    known = {row["seq"] for row in order["corrections"] or ()}
    if record not in told:
        return "original_unknown"
    if record in account:
        return "already_corrected"
    if any(account[each] not in known for each in told if each in account):
        return "moved_since"
    newest = account.get((_RERATED, _RERATED), NEVER_RERATED)
    return "moved_since" if newest > order["rerated_seq"] else ""


def take_back(orders: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Carry orders (`WITHDRAWN`) out one after the other: corrections, entries, watched changes, and the accounts."""
    made: list[pl.DataFrame] = []
    entries: list[pl.DataFrame] = []
    changes: list[pl.DataFrame] = []
    for order in orders.iter_slices(1):
        reversal = _reversal(order, accounts, catalogue)
        outcome = correct(reversal, accounts, catalogue)
        assert outcome.state is not None, "correcting tells how accounts are"
        accounts = outcome.state
        for kept, rows in zip((made, entries, changes), (reversal, *outcome.rows), strict=True):
            kept.append(rows)
    return Outcome(tuple(pl.concat(rows) for rows in (made, entries, changes)), accounts)


def _reversal(order: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> pl.DataFrame:
    """The correction (`CORRECTIONS`) that an order comes to."""
    charged, entries, corrections = (_unpacked(order, name) for name in _TOLD)
    now = corrected(charged, corrections)
    names = order.select(*RECORD, "correction_id", "movement_id", "time_us")
    original = names.join(now, on=RECORD, how="inner")
    others = now.join(names, on=RECORD, how="anti", maintain_order="left")
    reversal = reverse(original, entries, corrections, accounts, catalogue, others)
    return reversal.with_columns(order.get_column("seq"))


def _unpacked(order: pl.DataFrame, name: str) -> pl.DataFrame:
    """The rows that are one value of an order."""
    return _TOLD[name].conform(order.select(pl.col(name).explode()).drop_nulls().unnest(name))


def note(rerated: pl.DataFrame, taken_back: Grouped) -> Outcome:
    """Remember each account's newest re-rating (`RERATED`)."""
    held = _held(taken_back)
    for seq, subscriber in rerated.select("seq", "subscriber").sort("seq").iter_rows():
        held[subscriber][_RERATED, _RERATED] = seq
    return Outcome((), _grouped(taken_back, held))


def _held(taken_back: Grouped) -> dict[int, dict[tuple[int, int], int]]:
    """What each account remembers: arrival numbers by record."""
    return {int(key): _by_record(taken_back.rows_of(int(key))) for key in taken_back.keys}


def _by_record(rows: Rows) -> dict[tuple[int, int], int]:
    return {(int(row["identity"]), int(row["check"])): int(row["seq"]) for row in rows}


def _grouped(before: Grouped, held: dict[int, dict[tuple[int, int], int]]) -> Grouped:
    """The same as a state's groups."""
    groups = [held[int(key)] for key in before.keys]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in groups])]).astype(np.int64)
    rows = [(*record, seq) for group in groups for record, seq in group.items()]
    return Grouped(before.keys, offsets, np.array(rows, TAKEN_BACK.dtype))
