"""Transfers: what one subscriber hands on to another, booked on both accounts at one moment or on neither.

The tariff says what may be handed on, how much at a time, and what that costs. Only what is there can be handed on,
never credit, and what had an end keeps it, so nothing lives longer by changing hands. The sides of a transfer are
movements with one arrival number; by that number, and by their names, the ledger's entries name each other.

Where the two accounts may lie apart, the receiver's side is asked first whether there is an account at all, the giver's
side decides and books what it gives, and what the receiver gets goes on its way in the same moment, as a movement that
cannot be refused any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.ledger import ENTRY, changes_of, entries_of
from trunkline.charging.movements import book, regroup, row_for
from trunkline.charging.rate import subscription_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.giving_rules import TransferRule
from trunkline.kernel.flow import Outcome, Stream
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.kernel.outcomes import Reason
from trunkline.records.charging import CARRIED, MOVEMENTS, NEVER_S, REFUSED, Cause, RowKind
from trunkline.records.giving import HANDED, HANDOVERS, NOT_HANDED, SIDES

Rows = npt.NDArray[Any]
Order = dict[str, Any]

TRANSFER_REASONS = (
    Reason("unknown_subscriber", "One of the two is no subscriber. Load the subscriber first."),
    Reason("same_subscriber", "Nobody can hand something on to himself."),
    Reason("not_transferable", "The tariff has no rule by which this balance may be handed on."),
    Reason("below_least", "It is less than the tariff lets be handed on at a time."),
    Reason("above_most", "It is more than the tariff lets be handed on at a time."),
    Reason("not_enough", "The giver does not have that much, with the fee. Credit cannot be handed on."),
)


def names_begin(transfer_id: str) -> str:
    """What the names of all movements of a transfer begin with."""
    return f"transfer:{transfer_id}:"


def transfer(orders: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Book transfers (`TRANSFERS`) in their order.

    Ledger entries, watched changes, the movements that a transfer consists of (all with its `seq`), the giver's side
    of refused ones with a reason, and the accounts where something was booked.
    """
    held = {int(key): accounts.rows_of(int(key)).copy() for key in accounts.keys}
    sides: list[Order] = []
    entries: list[Rows] = []
    refused: list[Order] = []
    for group in orders.partition_by("transfer_id", maintain_order=True):
        giver, receiver = _both(group)
        found, reason = planned(giver, receiver, held, catalogue)
        changed: dict[int, Rows] = {}
        booked: list[Rows] = []
        for side in found:
            account = changed.get(side["subscriber"], held[side["subscriber"]]).copy()
            account, entry, reason = book(account, side, catalogue)
            if reason:
                break
            changed[side["subscriber"]] = account
            entry["row"], entry["part"] = len(sides) + len(booked), len(booked)
            booked.append(entry)
        if reason:
            refused.append(_movement(giver, "out", Cause.TRANSFER, -giver["amount"]) | {"reason": reason})
            continue
        held |= changed
        sides += found
        entries += booked
    movements = MOVEMENTS.record.conform(pl.DataFrame(sides, schema=MOVEMENTS.record.schema))
    every = np.concatenate(entries) if entries else np.empty(0, ENTRY)
    batch = movements.rename({"time_us": "start_us"})
    return Outcome(
        (
            entries_of(every, batch, catalogue),
            changes_of(every, batch, catalogue),
            movements,
            REFUSED.record.conform(pl.DataFrame(refused, schema=REFUSED.record.schema)),
        ),
        regroup(accounts, held) if sides else None,
    )


def offer(offers: pl.DataFrame, accounts: Grouped) -> Outcome:
    """Send offers (`OFFERS`) on to the giver's side (`HANDOVERS`), with whether the receiver has an account.

    An account that is there stays there, so what is said holds when it arrives.
    """
    groups = locate(accounts.keys, offers["subscriber"].to_numpy())
    known = (accounts.offsets[1:] > accounts.offsets[:-1])[groups]
    rows = offers.rename({"subscriber": "receiver", "giver": "subscriber"})
    return Outcome((HANDOVERS.record.conform(rows.with_columns(known=pl.Series(known, dtype=pl.Boolean))),))


def hand_over(handovers: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Book the giver's side of transfers (`HANDOVERS`) in their order.

    Ledger entries, watched changes, what the receivers get (`MOVEMENTS`, to be posted where their accounts lie), all
    sides, the transfers that were booked, those that were refused with a reason, and the accounts.
    """
    held = {int(key): accounts.rows_of(int(key)).copy() for key in accounts.keys}
    given: list[Order] = []
    taken: list[Order] = []
    entries: list[Rows] = []
    handed: list[Order] = []
    refused: list[Order] = []
    for order in handovers.iter_rows(named=True):
        account = held[order["subscriber"]]
        there = bool(len(account)) and order["known"]
        receiver = order | {"subscriber": order["receiver"]}
        found, reason = sides_of(order, receiver, account, catalogue, there=there)
        mine = [side for side in found if side["subscriber"] == order["subscriber"]]
        booked: list[Rows] = []
        for side in mine:
            account, entry, reason = book(account.copy(), side, catalogue)
            if reason:
                break
            entry["row"], entry["part"] = len(given) + len(booked), len(booked)
            booked.append(entry)
        if reason:
            refused.append(order | {"reason": reason})
            continue
        held[order["subscriber"]] = account
        given += mine
        taken += [side for side in found if side["subscriber"] != order["subscriber"]]
        entries += booked
        fee = sum(-side["amount"] for side in mine if side["cause"] == int(Cause.TRANSFER_FEE))
        handed.append(order | {"fee_micros": fee})
    batch = _frame(MOVEMENTS, given).rename({"time_us": "start_us"})
    every = np.concatenate(entries) if entries else np.empty(0, ENTRY)
    return Outcome(
        (
            entries_of(every, batch, catalogue),
            changes_of(every, batch, catalogue),
            _frame(MOVEMENTS, taken),
            _frame(SIDES, given + taken),
            _frame(HANDED, handed),
            _frame(NOT_HANDED, refused),
        ),
        regroup(accounts, held) if handed else None,
    )


def _frame(stream: Stream, rows: list[Order]) -> pl.DataFrame:
    """Rows as the stream has them."""
    schema = stream.record.schema
    return stream.record.conform(
        pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)
    )


def _both(group: pl.DataFrame) -> tuple[Order, Order]:
    """The two rows of a transfer: the giver's and the receiver's."""
    rows = group.sort("gives", descending=True).to_dicts()
    assert [row["gives"] for row in rows] == [True, False], "a transfer has a giver and a receiver"
    return rows[0], rows[1]


def planned(
    giver: Order, receiver: Order, held: dict[int, Rows], catalogue: Catalogue
) -> tuple[list[Order], str]:
    """The movements that a transfer consists of, or the reason why it cannot be."""
    account = held[giver["subscriber"]]
    there = bool(len(account)) and bool(len(held[receiver["subscriber"]]))
    return sides_of(giver, receiver, account, catalogue, there=there)


def sides_of(
    giver: Order, receiver: Order, account: Rows, catalogue: Catalogue, *, there: bool
) -> tuple[list[Order], str]:
    """As `planned`, from the giver's `account` alone; `there` says whether both have one."""
    amount = int(giver["amount"])
    known = giver["balance"] in catalogue.balances and giver["balance"] != ""
    balance = catalogue.balances.index(giver["balance"]) if known else -1
    rule = catalogue.giving.transfer(balance) if known else None
    if giver["subscriber"] == receiver["subscriber"]:
        return [], "same_subscriber"
    if not there:
        return [], "unknown_subscriber"
    if rule is None:
        return [], "not_transferable"
    if amount < rule.least:
        return [], "below_least"
    if amount > rule.most:
        return [], "above_most"
    fee = rule.fee_for(amount)
    pieces = _pieces(account, giver, rule, catalogue)
    needed = (0 if _billed(account, giver) else fee) + (amount if balance == catalogue.main_balance else 0)
    if sum(piece for piece, _, _ in pieces) < amount or 0 < needed > _own_money(account, catalogue):
        return [], "not_enough"
    sides = []
    for at, (piece, until_s, end_s) in enumerate(pieces):
        number = f":{at + 1}" if at else ""
        sides.append(_movement(giver, f"out{number}", Cause.TRANSFER, -piece, until_s))
        sides.append(_movement(receiver, f"in{number}", Cause.TRANSFER, piece, end_s))
    if fee:
        main = catalogue.balances[catalogue.main_balance]
        sides.append(_movement(giver | {"balance": main}, "fee", Cause.TRANSFER_FEE, -fee))
    return sides, ""


def _pieces(
    account: Rows, giver: Order, rule: TransferRule, catalogue: Catalogue
) -> list[tuple[int, int, int]]:
    """Where the amount is taken from, what ends first coming first.

    How much, the validity by which a movement finds that row of the account, and the end of validity that the receiver
    gets; less than the amount when there is no more.
    """
    time_s = int(giver["time_us"]) // 1_000_000
    left = int(giver["amount"])
    mine = (
        (account["kind"] == RowKind.BALANCE)
        & (account["definition"] == rule.balance)
        & (account["member"] == 0)
    )
    valid = mine & (account["valid_from_s"] <= time_s) & (account["valid_until_s"] > time_s)
    found = []
    for at in sorted(
        np.flatnonzero(valid & (account["value"] > 0)), key=lambda at: account[at]["valid_until_s"]
    ):
        row = account[at]
        end_s = int(row["valid_until_s"])
        until_s = NEVER_S if 0 < row["period"] < CARRIED else end_s
        order = giver | {"valid_until_s": until_s, "amount": -left}
        if row_for(account, rule.balance, order, catalogue)[1] != at:
            continue  # a movement could not find it again, so it stays where it is
        piece = min(left, int(row["value"]))
        found.append((piece, until_s, end_s))
        left -= piece
        if left == 0:
            break
    return found


def _own_money(account: Rows, catalogue: Catalogue) -> int:
    """Money of the main balance, without credit; below zero when there is a debt."""
    main = (account["kind"] == RowKind.BALANCE) & (account["definition"] == catalogue.main_balance)
    return int(account["value"][main].sum())


def _billed(account: Rows, giver: Order) -> bool:
    """Whether the giver pays fees with a bill, and need not have the money now."""
    at = subscription_at(account, 0, len(account), int(giver["time_us"]) // 1_000_000, 0)
    return at >= 0 and bool(account[at]["flags"] & 1)


def _movement(side: Order, name: str, cause: Cause, amount: int, until_s: int = NEVER_S) -> Order:
    """One side of a transfer as a movement."""
    return {
        "seq": side["seq"],
        "movement_id": names_begin(side["transfer_id"]) + name,
        "cause": int(cause),
        "subscriber": side["subscriber"],
        "time_us": side["time_us"],
        "balance": side["balance"],
        "amount": amount,
        "valid_until_s": until_s,
    }
