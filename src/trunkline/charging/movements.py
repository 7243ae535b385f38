"""Movements that are not usage: opening an account, top-ups, adjustments, refunds, sides of transfers.

They take the same road as usage (one ledger, one order of arrival for each subscriber), so a balance is
always the sum of its entries. They are rare beside usage, and plain Python over the few rows of an account
keeps their rules readable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.ledger import (
    ACCOUNT_ADJUSTMENTS,
    ACCOUNT_BALANCE,
    ACCOUNT_BILLS,
    ACCOUNT_BONUSES,
    ACCOUNT_CREDIT_NOTES,
    ACCOUNT_GRANTS,
    ACCOUNT_REFUNDS,
    ACCOUNT_TOPUPS,
    ACCOUNT_TRANSFER_FEES,
    ACCOUNT_TRANSFERS,
    ACCOUNT_VOUCHERS,
    ENTRY,
    changes_of,
    entries_of,
)
from trunkline.charging.periods import period_at
from trunkline.charging.rate import subscription_at
from trunkline.charging.renewal import includes_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.giving_rules import BonusRule
from trunkline.charging.vector import vectors
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.kernel.outcomes import Reason
from trunkline.records.charging import ACCOUNT_ROW, CARRIED, NEVER_S, REFUSED, Cause, RowKind

Rows = npt.NDArray[Any]

_OTHER_SIDE = {
    Cause.TOPUP: ACCOUNT_TOPUPS,
    Cause.ADJUSTMENT: ACCOUNT_ADJUSTMENTS,
    Cause.REFUND: ACCOUNT_REFUNDS,
    Cause.BILL: ACCOUNT_BILLS,
    Cause.CREDIT: ACCOUNT_CREDIT_NOTES,
    Cause.TRANSFER: ACCOUNT_TRANSFERS,
    Cause.TRANSFER_FEE: ACCOUNT_TRANSFER_FEES,
    Cause.BONUS: ACCOUNT_BONUSES,
    Cause.VOUCHER: ACCOUNT_VOUCHERS,
}
_EITHER_WAY = frozenset({Cause.ADJUSTMENT, Cause.BILL, Cause.TRANSFER, Cause.TRANSFER_FEE})
_EARN_BONUSES = frozenset({Cause.TOPUP, Cause.VOUCHER})
_HIGHEST = 2**62

MOVEMENT_REASONS = (
    Reason("unknown_subscriber", "No such subscriber. Load the subscriber first."),
    Reason(
        "unknown_balance", "The catalogue has no balance of that name. `trunkline tariff show` lists them."
    ),
    Reason(
        "bad_cause",
        "Only top-ups, vouchers, adjustments, refunds, bills, credit notes and transfers can be ordered.",
    ),
    Reason("bad_amount", "The amount is zero, too large, or negative where only adding makes sense."),
    Reason("not_enough", "An allowance cannot go below zero."),
)


def post(movements: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Book movements in their order: ledger entries, watched changes, refused movements, and the accounts."""
    held = {int(key): accounts.rows_of(int(key)).copy() for key in accounts.keys}
    entries: list[Rows] = []
    refused: list[tuple[int, str]] = []
    for number, order in enumerate(movements.iter_rows(named=True)):
        account, entry, reason = book(held[order["subscriber"]], order, catalogue)
        if reason:
            refused.append((number, reason))
            continue
        account, earned = _bonuses(account, order, catalogue)
        held[order["subscriber"]] = account
        for part, each in enumerate((entry, *earned)):
            each["row"], each["part"] = number, part
            entries.append(each)
    # With the type said, numpy does not compare the fields of every one of them.
    booked = np.concatenate(entries, dtype=ENTRY) if entries else np.empty(0, ENTRY)
    batch = movements.rename({"time_us": "start_us"})
    rows = movements[[number for number, _ in refused]].with_columns(
        reason=pl.Series([reason for _, reason in refused], dtype=pl.String)
    )
    return Outcome(
        (
            entries_of(booked, batch, catalogue),
            changes_of(booked, batch, catalogue),
            REFUSED.record.conform(rows),
        ),
        regroup(accounts, held),
    )


def book(account: Rows, order: dict[str, Any], catalogue: Catalogue) -> tuple[Rows, Rows, str]:
    """One movement on one account: the account after it, its entry, or the reason why not."""
    nothing = np.empty(0, ENTRY)
    if len(account) == 0:
        return account, nothing, "unknown_subscriber"
    if order["balance"] not in catalogue.balances or not order["balance"]:
        return account, nothing, "unknown_balance"
    if order["cause"] not in _OTHER_SIDE or order["cause"] == Cause.BONUS:
        return account, nothing, "bad_cause"
    amount = int(order["amount"])
    if amount == 0 or abs(amount) >= _HIGHEST or (amount < 0 and order["cause"] not in _EITHER_WAY):
        return account, nothing, "bad_amount"
    balance = catalogue.balances.index(order["balance"])
    account, at = row_for(account, balance, order, catalogue)
    row = account[at]
    before = int(row["value"])
    main = balance == catalogue.main_balance
    if before + amount < 0 and amount < 0 and not main:
        return account, nothing, "not_enough"
    if abs(before + amount) >= _HIGHEST:
        return account, nothing, "bad_amount"
    row["value"] = before + amount
    if not main:
        row["granted"] = int(row["granted"]) + max(amount, 0)
    return account, _entry(order, row, amount, before, balance, account, catalogue), ""


def row_for(account: Rows, balance: int, order: dict[str, Any], catalogue: Catalogue) -> tuple[Rows, int]:
    """The balance's row that the movement belongs to; a new one where there is none with that validity."""
    main = balance == catalogue.main_balance
    time_s = order["time_us"] // 1_000_000
    until = NEVER_S if main else int(order["valid_until_s"])
    for at, row in enumerate(account):
        if row["kind"] != RowKind.BALANCE or row["definition"] != balance or row["member"]:
            continue
        periodic = (
            0 < row["period"] < CARRIED
            and until == NEVER_S
            and row["valid_from_s"] <= time_s < row["valid_until_s"]
        )
        # What was carried over can be handed on; what is added makes a row of its own.
        own = row["period"] == 0 or (row["period"] >= CARRIED and order["amount"] < 0)
        if main or periodic or (own and row["valid_until_s"] == until):
            return account, at
    new = np.zeros(1, ACCOUNT_ROW)
    new["kind"] = RowKind.BALANCE
    new["definition"] = balance
    new["valid_until_s"] = until
    return np.concatenate([account, new]), len(account)


def _bonuses(account: Rows, order: dict[str, Any], catalogue: Catalogue) -> tuple[Rows, list[Rows]]:
    """What a top-up of the main balance brings beside itself: the account after it, and an entry for each bonus."""
    entries: list[Rows] = []
    main = catalogue.balances[catalogue.main_balance]
    if order["cause"] not in _EARN_BONUSES or order["balance"] != main or not catalogue.giving.bonuses:
        return account, entries
    time_us = int(order["time_us"])
    at = subscription_at(account, 0, len(account), time_us // 1_000_000, 0)
    if at < 0:
        return account, entries
    contract = account[at]
    for rule in catalogue.giving.bonuses:
        if not rule.asks(int(order["amount"]), int(contract["definition"]), time_us):
            continue
        period = _period_of(rule, int(contract["granted"]), time_us, catalogue)
        given = (
            (account["kind"] == RowKind.BALANCE)
            & (account["definition"] == rule.balance)
            & (account["member"] == 0)
        )
        if bool((given & (account["period"] == period)).any()):
            continue  # once in each period; the row that it made tells
        row = np.zeros(1, ACCOUNT_ROW)
        row["kind"], row["definition"], row["period"] = RowKind.BALANCE, rule.balance, period
        row["value"] = row["granted"] = rule.amount
        row["valid_until_s"] = min(time_us // 1_000_000 + rule.valid_s, NEVER_S)
        account = np.concatenate([account, row])
        bonus = order | {"cause": int(Cause.BONUS)}
        entries.append(_entry(bonus, row[0], rule.amount, 0, rule.balance, account, catalogue))
    return account, entries


def _period_of(rule: BonusRule, contract: int, time_us: int, catalogue: Catalogue) -> int:
    """Number of the period in which a bonus is given once, by the subscriber's clocks and cycle day."""
    zone, cycle_day = contract % 65536, contract // 65536
    number, _, _ = period_at(vectors(catalogue).t, rule.every, cycle_day, zone, time_us)
    return int(number)


def _entry(
    order: dict[str, Any],
    row: np.void,
    amount: int,
    before: int,
    balance: int,
    account: Rows,
    catalogue: Catalogue,
) -> Rows:
    entry = np.zeros(1, ENTRY)
    other = _OTHER_SIDE[Cause(order["cause"])]
    entry["cause"] = order["cause"]
    entry["unit"] = catalogue.tables.balance_unit[balance]
    entry["debit"], entry["credit"] = (other, ACCOUNT_BALANCE) if amount > 0 else (ACCOUNT_BALANCE, other)
    entry["definition"] = balance
    entry["period"] = row["period"]
    entry["amount"] = abs(amount)
    entry["before"], entry["after"] = before, before + amount
    entry["granted"] = row["granted"]
    if balance == catalogue.main_balance:
        at = subscription_at(account, 0, len(account), order["time_us"] // 1_000_000, 0)
        entry["granted"] = account[at]["value"] if at >= 0 else 0
    return entry


def enrol(subscribers: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Open accounts and add subscriptions; what is there stays, so loading a file again changes nothing."""
    size = len(subscribers)
    plans = {name: number for number, name in enumerate(catalogue.plans) if name}
    zones = {name: number for number, name in enumerate(catalogue.time_zones) if name}
    number = subscribers["plan"].replace_strict(plans, default=-1, return_dtype=pl.Int64).to_numpy()
    zone = (
        subscribers["time_zone"]
        .replace_strict(zones, default=None, return_dtype=pl.Int64)
        .fill_null(catalogue.default_zone)
        .to_numpy()
    )
    assert size == 0 or number.min() >= 0, "an unknown plan passed the reading of subscribers"
    rows = np.zeros(size, ACCOUNT_ROW)
    rows["kind"] = RowKind.SUBSCRIPTION
    rows["flags"] = (subscribers["payment"] == "postpaid").to_numpy()
    rows["definition"] = number
    rows["value"] = subscribers["credit_limit_micros"].to_numpy()
    rows["granted"] = zone + 65536 * subscribers["cycle_day"].to_numpy()
    rows["valid_from_s"] = subscribers["from_s"].to_numpy()
    rows["valid_until_s"] = NEVER_S
    rows["member"] = subscribers["member"].fill_null(0).to_numpy()
    return _enrol(subscribers, accounts, rows, catalogue)


def _enrol(subscribers: pl.DataFrame, accounts: Grouped, rows: Rows, catalogue: Catalogue) -> Outcome:
    groups = locate(accounts.keys, subscribers["subscriber"].to_numpy())
    new = (accounts.offsets[1:] - accounts.offsets[:-1] == 0)[groups] & (rows["member"] == 0)
    opening = subscribers["balance_micros"].to_numpy()
    held_groups = np.repeat(np.arange(len(accounts)), np.diff(accounts.offsets))
    opened = np.flatnonzero(new & (opening != 0))
    balances = np.zeros(len(opened), ACCOUNT_ROW)
    balances["kind"] = RowKind.BALANCE
    balances["definition"] = catalogue.main_balance
    balances["value"] = opening[opened]
    balances["valid_until_s"] = NEVER_S
    joined, joining = _joined(subscribers)
    limits, limited = _limits(subscribers, catalogue)
    every = np.concatenate([accounts.rows, rows, balances, joined, limits])
    owner = np.concatenate([held_groups, groups, groups[opened], groups[joining], groups[limited]])
    kept = _first_of_each(every, owner)
    every, owner = every[kept], owner[kept]
    order = np.argsort(owner, kind="stable")
    offsets = np.searchsorted(owner[order], np.arange(len(accounts) + 1)).astype(np.int64)
    after = Grouped(accounts.keys, offsets, every[order])
    _end_allowances(subscribers, after, catalogue)
    grown = _grown(subscribers, accounts, after, catalogue)
    entries = np.zeros(len(opened), ENTRY)
    entries["row"] = opened
    entries["cause"] = Cause.TOPUP
    entries["debit"], entries["credit"] = ACCOUNT_TOPUPS, ACCOUNT_BALANCE
    negative = opening[opened] < 0
    entries["debit"][negative], entries["credit"][negative] = ACCOUNT_BALANCE, ACCOUNT_TOPUPS
    entries["definition"] = catalogue.main_balance
    entries["amount"] = np.abs(opening[opened])
    entries["after"] = opening[opened]
    entries["granted"] = rows["value"][opened]
    batch = subscribers.with_columns(start_us=pl.col("from_s").cast(pl.Int64) * 1_000_000)
    return Outcome((entries_of(np.concatenate([entries, grown]), batch, catalogue),), after)


def _end_allowances(subscribers: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> None:
    """Let allowances that are granted already end where a plan that does not include them takes over."""
    ends = catalogue.tables.balance_ends
    if not ends.any():
        return
    t = vectors(catalogue).t
    for owner in np.unique(subscribers["subscriber"].to_numpy()):
        account = accounts.rows_of(int(owner))
        contracts = np.sort(account[account["kind"] == RowKind.SUBSCRIPTION], order="valid_from_s")
        of_balances = (account["kind"] == RowKind.BALANCE) | (
            (account["kind"] == RowKind.TAKEN) & (account["flags"] % 8 == RowKind.BALANCE)
        )  # what open calls took of them is found by the same bounds
        for at in np.flatnonzero(of_balances & (account["period"] != 0)):
            row = account[at]
            if not ends[row["definition"]]:
                continue
            begins_s = contracts["valid_from_s"][contracts["member"] == row["member"]]
            within = (begins_s > row["valid_from_s"]) & (begins_s < row["valid_until_s"])
            balance, member = int(row["definition"]), int(row["member"])
            for begin_s in begins_s[within].tolist():
                if not includes_at(t, account, len(account), balance, member, begin_s):
                    row["valid_until_s"] = begin_s
                    break


def _joined(subscribers: pl.DataFrame) -> tuple[Rows, npt.NDArray[np.int64]]:
    """A row for each member that an account has, and which of the subscribers each is: the first row of each."""
    member = subscribers["member"].fill_null(0).to_numpy()
    at = np.flatnonzero(member)
    rows = np.zeros(len(at), ACCOUNT_ROW)
    rows["kind"] = RowKind.MEMBER
    rows["member"] = member[at]
    rows["value"] = subscribers["number"].to_numpy()[at].astype(np.uint64).view(np.int64) if len(at) else 0
    first = subscribers.select(pl.col("from_s").min().over("subscriber", "member")).to_series()
    rows["valid_from_s"] = first.to_numpy()[at]
    rows["valid_until_s"] = NEVER_S
    return rows, at


def _limits(subscribers: pl.DataFrame, catalogue: Catalogue) -> tuple[Rows, npt.NDArray[np.int64]]:
    """A row for each limit of a member's own; it holds as long as the subscription that it came with."""
    of = (
        subscribers.with_row_index("at")
        .filter(pl.col("limits").list.len() > 0)
        .explode("limits")
        .unnest("limits")
    )
    rows = np.zeros(len(of), ACCOUNT_ROW)
    rows["kind"] = RowKind.LIMIT
    rows["member"] = of["member"].to_numpy()
    rows["definition"] = [catalogue.balances.index(name) for name in of["balance"]]
    rows["value"] = of["most"].to_numpy()
    rows["valid_from_s"] = of["from_s"].to_numpy()
    rows["valid_until_s"] = NEVER_S
    return rows, of["at"].to_numpy().astype(np.int64)


def _grown(subscribers: pl.DataFrame, before: Grouped, after: Grouped, catalogue: Catalogue) -> Rows:
    """Add to pools that are granted already what each new member brings into them; the entries of it.

    A member belongs to every period that ends after it joined, so it does not matter whether it is enrolled before or
    after the first use.
    """
    entries: list[Rows] = []
    member = subscribers["member"].fill_null(0).to_numpy()
    more = catalogue.tables.balance_grant_per_member
    for owner in np.unique(subscribers["subscriber"].to_numpy()[member != 0]) if more.any() else ():
        known = before.rows_of(int(owner))
        held = set(known["member"][known["kind"] == int(RowKind.MEMBER)].tolist())
        account = after.rows_of(int(owner))
        for row in account[(account["kind"] == int(RowKind.MEMBER))]:
            if int(row["member"]) in held:
                continue
            for at in np.flatnonzero((account["kind"] == int(RowKind.BALANCE)) & (account["member"] == 0)):
                pool = account[at]
                brought = int(more[pool["definition"]])
                if brought and 0 < pool["period"] < CARRIED and row["valid_from_s"] < pool["valid_until_s"]:
                    said = (subscribers["subscriber"] == int(owner)) & (
                        subscribers["member"] == int(row["member"])
                    )
                    entries.append(_brought(pool, brought, int(said.arg_true()[0]), len(entries), catalogue))
    return np.concatenate(entries) if entries else np.empty(0, ENTRY)


def _brought(pool: np.void, amount: int, row: int, part: int, catalogue: Catalogue) -> Rows:
    """Add an amount to a pool's row; the entry of it."""
    entry = np.zeros(1, ENTRY)
    entry["row"], entry["part"], entry["cause"] = row, part, Cause.GRANT
    entry["unit"] = catalogue.tables.balance_unit[int(pool["definition"])]
    entry["debit"], entry["credit"] = ACCOUNT_GRANTS, ACCOUNT_BALANCE
    entry["definition"], entry["period"] = pool["definition"], pool["period"]
    entry["amount"], entry["before"] = amount, pool["value"]
    pool["value"] += amount
    pool["granted"] += amount
    entry["after"], entry["granted"] = pool["value"], pool["granted"]
    return entry


def _first_of_each(rows: Rows, owner: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Positions to keep: of subscriptions and limits of the same second the last one given, of the rest the first."""
    frame = pl.DataFrame(
        {
            "at": np.arange(len(rows)),
            "owner": owner,
            "kind": np.ascontiguousarray(rows["kind"]),
            "definition": np.ascontiguousarray(rows["definition"]),
            "from": np.ascontiguousarray(rows["valid_from_s"]),
            "period": np.ascontiguousarray(rows["period"]),
            "until": np.ascontiguousarray(rows["valid_until_s"]),
            "member": np.ascontiguousarray(rows["member"]),
        }
    )
    dated = pl.col("kind").is_in([int(RowKind.SUBSCRIPTION), int(RowKind.LIMIT)])
    named = pl.when(pl.col("kind") == int(RowKind.LIMIT)).then("definition").otherwise(0)
    last = frame.filter(dated).unique(["owner", "member", "kind", named, "from"], keep="last")
    first = frame.filter(~dated).unique(
        ["owner", "member", "kind", "definition", "period", "until"], keep="first"
    )
    return pl.concat([last, first])["at"].sort().to_numpy()


def regroup(accounts: Grouped, held: dict[int, Rows]) -> Grouped:
    groups = [held[int(key)] for key in accounts.keys]
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in groups])]).astype(np.int64)
    return Grouped(
        accounts.keys, offsets, np.concatenate(groups, dtype=ACCOUNT_ROW) if groups else accounts.rows
    )
