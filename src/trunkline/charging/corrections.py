"""Corrections: what a record was charged is put right by entries of its own, which name the record.

Nothing is overwritten. A correction says what it does to each balance and counter of one account; the ledger takes it
like every other movement, and what a record comes to is what was charged for it and all its corrections together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.ledger import (
    ACCOUNT_BALANCE,
    COUNTED_CAUSE,
    ENTRY,
    LEDGER_ACCOUNTS,
    changes_of,
    entries_of,
)
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.under_way import CAME, FACTS, START, UNITS
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import (
    ACCOUNT_ROW,
    CANCELLED,
    CORRECTED,
    CORRECTION_CHANGE,
    Cause,
    RowKind,
)

Rows = npt.NDArray[Any]

RECORD = ("identity", "check")
BALANCE_KEY = ("subscriber", "member", "balance", "period")
GONE_S = 0  # `valid_until_s` of a balance that the account has let go of long ago: what is booked on it comes to zero
_OF_CALLS = (RowKind.CALL, RowKind.TAKEN)
KEPT = -1  # `granted` of a change that leaves it as it is


def is_reversal() -> pl.Expr:
    """Whether a correction took its record back whole, and not only a difference."""
    name = pl.col("correction_id")
    return name.str.starts_with(CANCELLED) | name.str.starts_with(CORRECTED)


def taken_back(corrections: pl.DataFrame) -> dict[tuple[int, int], str]:
    """The correction (`correction_id`) by which each record was taken back whole, by its identity and check."""
    rows = corrections.filter(is_reversal()).select(*RECORD, "correction_id")
    return {(first, second): name for first, second, name in rows.iter_rows()}


def correct(corrections: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Book corrections (`CORRECTIONS`) in their order: ledger entries, watched changes, and the accounts."""
    held = {
        int(key): [row.copy() for row in accounts.rows[begin:end]]
        for key, begin, end in zip(accounts.keys, accounts.offsets[:-1], accounts.offsets[1:], strict=True)
    }
    entries: list[Rows] = []
    for number, (subscriber, start_us, changes) in enumerate(
        corrections.select("subscriber", "start_us", "changes").iter_rows()
    ):
        account = held[subscriber]
        for part, change in enumerate(changes or ()):
            if change["kind"] in _OF_CALLS:
                _put_right(account, change, catalogue)
                continue
            entry = _changed(account, change, catalogue)
            if change["kind"] == RowKind.DRAWN:
                continue  # what a member took of a shared balance is written down with the account, not booked
            if entry["definition"] == catalogue.main_balance and entry["cause"] != COUNTED_CAUSE:
                entry["granted"] = _limit(account, start_us // 1_000_000)
            entry["row"], entry["part"] = number, part
            entries.append(entry)
        if any(change["kind"] == RowKind.CALL for change in changes or ()):
            account = _without_empty_calls(account)
        held[subscriber] = [row for row in account if not _is_gone(row)]
    booked = np.concatenate(entries) if entries else np.empty(0, ENTRY)
    return Outcome(
        (entries_of(booked, corrections, catalogue), changes_of(booked, corrections, catalogue)),
        _regrouped(accounts, held),
    )


def _changed(account: list[np.void], change: Mapping[str, Any], catalogue: Catalogue) -> Rows:
    """One change on one account, which is changed in place; its entry."""
    counted = change["kind"] == RowKind.COUNTER
    names = catalogue.counters if counted else catalogue.balances  # a DRAWN row is of a balance
    assert change["name"] in names, f"the catalogue lost {change['name']}"
    row = _row_of(account, names.index(change["name"]), change)
    before, amount = int(row["value"]), int(change["amount"])
    row["value"] = before + amount
    if change["granted"] != KEPT:
        row["granted"] = change["granted"]
    entry = np.zeros(1, ENTRY)
    entry["definition"], entry["period"] = row["definition"], row["period"]
    entry["amount"], entry["before"], entry["after"] = abs(amount), before, before + amount
    entry["granted"], entry["member"] = row["granted"], row["member"]
    if change["kind"] != RowKind.BALANCE:
        entry["cause"] = COUNTED_CAUSE
        return entry
    other = LEDGER_ACCOUNTS.index(change["other"])
    entry["cause"] = Cause.CORRECTION
    entry["unit"] = catalogue.tables.balance_unit[int(row["definition"])]
    entry["debit"], entry["credit"] = (other, ACCOUNT_BALANCE) if amount > 0 else (ACCOUNT_BALANCE, other)
    return entry


def _put_right(account: list[np.void], change: Mapping[str, Any], catalogue: Catalogue) -> None:
    """What a call under way is remembered to have come to, so that its next part adds to what is right now.

    Such a change has the call's key in `granted` and its row's `flags` in `other`; the `name` of a fact is its number.
    """
    flags = int(change["other"] or 0)
    if change["kind"] == RowKind.CALL:
        definition = int(change["name"])
    else:
        names = catalogue.counters if flags % 8 == RowKind.COUNTER else catalogue.balances
        definition = names.index(change["name"])
    wanted = (
        change["kind"], flags, definition, change["period"], change["member"] or 0, change["granted"],
        change["valid_from_s"], change["valid_until_s"],
    )  # fmt: skip
    fields = ("kind", "flags", "definition", "period", "member", "granted", "valid_from_s", "valid_until_s")
    row = next((each for each in account if wanted == tuple(int(each[name]) for name in fields)), None)
    if row is None:
        fact = definition if change["kind"] == RowKind.CALL else None
        if fact is not None and fact != START and (fact < FACTS or not _is_under_way(account, change)):
            return  # it is over meanwhile
        at = len(account)
        for number in (
            range(FACTS) if fact == START else (definition,)
        ):  # its facts stand one behind the other
            new = np.zeros((), ACCOUNT_ROW)
            for name, value in zip(fields, wanted, strict=True):
                new[name] = number if name == "definition" else value
            account.append(np.atleast_1d(new)[0])
        row = account[at]
    row["value"] += change["amount"]


def _is_under_way(account: list[np.void], change: Mapping[str, Any]) -> bool:
    """Whether the account remembers the call that a change is of."""
    return any(
        _call_of(row) == (change["granted"], change["period"], change["member"] or 0) for row in account
    )


def _call_of(row: np.void) -> tuple[int, int, int] | None:
    """The call that a fact is of, by its reference, its number and who used it."""
    if row["kind"] != RowKind.CALL:
        return None
    return int(row["granted"]), int(row["period"]), int(row["member"])


def _without_empty_calls(account: list[np.void]) -> list[np.void]:
    """The account without what it remembers of calls of which nothing is left."""
    came = {(_call_of(row), int(row["definition"])): int(row["value"]) for row in account if _call_of(row)}
    empty = {call for call, fact in came if fact == CAME and came[call, CAME] == came[call, UNITS] == 0}
    gone = {(call[0], call[1]) for call in empty if call is not None}
    return [
        row
        for row in account
        if _call_of(row) not in empty
        and not (row["kind"] == RowKind.TAKEN and (int(row["granted"]), int(row["flags"]) // 8) in gone)
    ]


def _row_of(account: list[np.void], definition: int, change: Mapping[str, Any]) -> np.void:
    """The row that a change speaks of; a new one where the account has none."""
    for row in account:
        if (
            row["kind"] == change["kind"]
            and row["definition"] == definition
            and row["period"] == change["period"]
            and row["valid_until_s"] == change["valid_until_s"]
            and row["member"] == (change["member"] or 0)
        ):
            return row
    new = np.zeros((), ACCOUNT_ROW)
    new["kind"], new["definition"], new["period"] = change["kind"], definition, change["period"]
    new["valid_from_s"], new["valid_until_s"] = change["valid_from_s"], change["valid_until_s"]
    new["member"] = change["member"] or 0
    account.append(np.atleast_1d(new)[0])
    return account[-1]


def _limit(account: list[np.void], at_s: int) -> int:
    """Credit limit of the subscription in force at a moment, which entries of the main balance carry."""
    found = [
        row
        for row in account
        if row["kind"] == RowKind.SUBSCRIPTION and row["member"] == 0 and row["valid_from_s"] <= at_s
    ]
    return int(max(found, key=lambda row: int(row["valid_from_s"]))["value"]) if found else 0


def _is_gone(row: np.void) -> bool:
    """Whether a row was there only to take entries of a balance that ended long ago, and all of them are booked."""
    return bool(row["kind"] == RowKind.BALANCE and row["valid_until_s"] == GONE_S and row["value"] == 0)


def _regrouped(accounts: Grouped, held: Mapping[int, list[np.void]]) -> Grouped:
    groups = [held[int(key)] for key in accounts.keys]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in groups])]).astype(np.int64)
    rows = [row for group in groups for row in group]
    return Grouped(accounts.keys, offsets, np.array(rows, ACCOUNT_ROW))


def sums_of(corrections: pl.DataFrame) -> pl.DataFrame:
    """What all corrections of each record come to: `RECORD`, the newest plan and list price, and sums."""
    return (
        corrections.sort("seq")
        .group_by(RECORD, maintain_order=True)
        .agg(
            pl.col("plan").last(),
            pl.col("list_micros").last(),
            pl.col("charged_micros").sum(),
            pl.col("allowance_units").sum(),
        )
    )


def corrected(charged: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    """Charged usage (`CHARGED`) with what its corrections (`CORRECTIONS`) made of it."""
    if not len(corrections):
        return charged
    both = charged.join(sums_of(corrections), on=RECORD, how="left", suffix="_now", maintain_order="left")
    return both.with_columns(
        pl.coalesce(pl.col("plan_now").cast(pl.String), pl.col("plan").cast(pl.String))
        .cast(pl.Categorical)
        .alias("plan"),
        pl.coalesce("list_micros_now", "list_micros").alias("list_micros"),
        pl.col("charged_micros") + pl.col("charged_micros_now").fill_null(0),
        pl.col("allowance_units") + pl.col("allowance_units_now").fill_null(0),
    ).select(charged.columns)


def moved(entries: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    """What each ledger entry did to its balance, and which record it is of, its own or by a correction.

    `entries` (`ENTRIES`) are those of records and of the corrections (`CORRECTIONS`). Returned: `seq` of the record,
    `subscriber`, `member`, `balance`, `period`, `other` (the operator's side), `amount` added to the balance, and
    `after` and `granted` as the entry says.
    """
    given = pl.col("credit").cast(pl.String) == "balance"
    return entries.join(corrections.select("seq", "corrects_seq"), on="seq", how="left").select(
        pl.coalesce("corrects_seq", "seq").alias("seq"),
        "subscriber",
        pl.col("member").fill_null(0),
        pl.col("balance").cast(pl.String),
        "period",
        pl.when(given)
        .then(pl.col("debit").cast(pl.String))
        .otherwise(pl.col("credit").cast(pl.String))
        .alias("other"),
        pl.when(given).then("amount").otherwise(-pl.col("amount")).alias("amount"),
        "after",
        "granted",
    )


def effects(entries: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    """What each record did to each balance by all its entries together: `moved`, summed."""
    return (
        moved(entries, corrections)
        .group_by("seq", "subscriber", "member", "balance", "period", "other")
        .agg(pl.col("amount").sum())
    )


def rows_of(accounts: Grouped, kind: RowKind) -> pl.DataFrame:
    """The rows of one kind as a frame, each with its subscriber."""
    names = (
        "kind", "flags", "member", "definition", "period", "valid_from_s", "valid_until_s", "value", "granted",
    )  # fmt: skip
    frame = pl.DataFrame({name: np.ascontiguousarray(accounts.rows[name]) for name in names})
    owner = np.repeat(accounts.keys, np.diff(accounts.offsets))
    return frame.with_columns(
        pl.Series("subscriber", owner, dtype=pl.UInt64),
        pl.col("valid_from_s", "valid_until_s").cast(pl.Int64),
    ).filter(pl.col("kind") == int(kind))


def settled(placed: pl.DataFrame) -> pl.DataFrame:
    """What is booked on a balance that ended long ago comes to nothing: what would be left of it expired with it."""
    gone = placed.filter(pl.col("valid_until_s") == GONE_S)
    over_ = (
        gone.group_by(*BALANCE_KEY)
        .agg(
            -pl.col("amount").sum(),
            *(pl.col(name).last() for name in placed.columns if name not in (*BALANCE_KEY, "amount")),
        )
        .filter(pl.col("amount") != 0)
        .with_columns(pl.lit("expired").alias("other"))
    )
    return pl.concat([placed, over_.select(placed.columns)])


def listed(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    """Rows as one list of `CORRECTION_CHANGE` for each value of a column; without a `kind` they are of balances."""
    if "kind" not in rows.columns:
        rows = rows.with_columns(kind=pl.lit(int(RowKind.BALANCE)))
    values = {"name": pl.col("balance")}
    fields = [
        values.get(name, pl.col(name)).cast(dtype).alias(name)
        for name, dtype in CORRECTION_CHANGE.to_schema().items()
    ]
    return (
        rows.sort(by, "kind", "member", "balance", "period", "valid_until_s", "other")
        .group_by(by, maintain_order=True)
        .agg(pl.struct(fields).alias("changes"))
    )
