"""The double-entry ledger: each entry moves an amount from a debit account to a credit account.

Because one entry carries both sides, debits equal credits in every unit at every moment; `before` and `after` say what
it did to the subscriber's balance, so a balance is the sum of its own entries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import per_catalogue
from trunkline.records.charging import CARRIED, CHANGES, ENTRIES, Cause

Array = npt.NDArray[Any]

# The operator's side of every movement; the numbers are the kernel's own and are never stored.
LEDGER_ACCOUNTS = (
    "balance", "grants", "usage", "revenue", "topups", "adjustments", "expired", "refunds", "bills", "credit_notes",
    "transfers", "transfer_fees", "bonuses", "carried", "vouchers",
)  # fmt: skip
(
    ACCOUNT_BALANCE,
    ACCOUNT_GRANTS,
    ACCOUNT_USAGE,
    ACCOUNT_REVENUE,
    ACCOUNT_TOPUPS,
    ACCOUNT_ADJUSTMENTS,
    ACCOUNT_EXPIRED,
    ACCOUNT_REFUNDS,
    ACCOUNT_BILLS,
    ACCOUNT_CREDIT_NOTES,
    ACCOUNT_TRANSFERS,
    ACCOUNT_TRANSFER_FEES,
    ACCOUNT_BONUSES,
    ACCOUNT_CARRIED,
    ACCOUNT_VOUCHERS,
) = range(15)

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
        ("member", "u2"),  # whose balance
        ("user", "u2"),  # who moved it
    ]
)

EXACT_UP_TO = 2**46
COUNTED_CAUSE = 0  # marks what a counter tells; it is no ledger entry
_GRANT, _ROLLOVER = int(Cause.GRANT), int(Cause.ROLLOVER)
_TOLD = (
    "part",
    "cause",
    "unit",
    "amount",
    "period",
    "before",
    "after",
    "granted",
    "member",
)  # as `_laid_out` takes them
PERCENT = 1000  # changes of allowances and caps are told in thousandths of a percent


def entries_of(entries: Array, batch: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Ledger entries as rows, with the seq, subscriber and time of what caused them; what counters tell is left out."""
    count = len(entries)
    seq, time_us = np.empty(count, np.int64), np.empty(count, np.int64)
    subscriber = np.empty(count, np.uint64)
    columns = {name: np.empty(count, ENTRY[name]) for name in _TOLD}
    codes = tuple(np.empty(count, np.uint32) for _ in range(3))
    booked = _laid_out(
        entries, batch["seq"].to_numpy(), batch["subscriber"].to_numpy(), batch["start_us"].to_numpy(),
        seq, subscriber, time_us, *columns.values(), *codes,
    )  # fmt: skip
    accounts = pl.Series(LEDGER_ACCOUNTS, dtype=pl.Categorical)
    balances = pl.Series(catalogue.balances, dtype=pl.Categorical)
    debit, credit, definition = (pl.Series(values[:booked]) for values in codes)
    return pl.DataFrame(
        {
            "seq": seq[:booked],
            "part": columns["part"][:booked],
            "subscriber": subscriber[:booked],
            "time_us": time_us[:booked],
            "cause": columns["cause"][:booked],
            "unit": columns["unit"][:booked],
            "debit": accounts.gather(debit),
            "credit": accounts.gather(credit),
            "amount": columns["amount"][:booked],
            "balance": balances.gather(definition),
            "period": columns["period"][:booked],
            "before": columns["before"][:booked],
            "after": columns["after"][:booked],
            "granted": columns["granted"][:booked],
            "member": columns["member"][:booked],
        },
        schema=ENTRIES.record.schema,
    )


@nb.njit(nogil=True, cache=True)
def _laid_out(
    entries: Array, seqs: Array, subscribers: Array, times_us: Array, seq: Array, subscriber: Array, time_us: Array,
    part: Array, cause: Array, unit: Array, amount: Array, period: Array, before: Array, after: Array, granted: Array,
    member: Array, debit: Array, credit: Array, definition: Array,
) -> int:  # fmt: skip
    """Entries, one behind the other, as columns in one pass; how many of them were booked."""
    to = nb.int64(0)
    for at in range(len(entries)):
        entry = entries[at]
        if entry.cause == COUNTED_CAUSE:
            continue
        seq[to], subscriber[to], time_us[to] = seqs[entry.row], subscribers[entry.row], times_us[entry.row]
        part[to], cause[to], unit[to] = entry.part, entry.cause, entry.unit
        amount[to], period[to], granted[to] = entry.amount, entry.period, entry.granted
        before[to], after[to], member[to] = entry.before, entry.after, entry.member
        debit[to], credit[to], definition[to] = entry.debit, entry.credit, entry.definition
        to += 1
    return to


class Watched(NamedTuple):
    """The catalogue's thresholds as arrays: which marks belong to which balance or counter."""

    of_balance: Array  # i8 [register number, 2]: first and count in `number`
    of_counter: Array
    number: Array  # thresholds, by balance, then by counter
    owner: Array  # by threshold: register number of its balance or counter
    counter: Array  # by threshold: 1 = of a counter
    falling: Array  # by threshold: 1 = told when what is left falls below the mark
    limit: Array  # by threshold: the cap; 0 where percent are of what was granted
    hysteresis: Array  # by threshold, in the unit of the measure
    mark_first: Array  # by threshold
    mark_count: Array
    mark: Array  # in the unit of the measure
    main: int  # register number of the balance whose credit counts as left


@per_catalogue
def watched(catalogue: Catalogue) -> Watched:
    """The thresholds of a catalogue for the kernels."""
    thresholds = catalogue.thresholds
    scales = [1 if threshold.kind == "low_balance" else PERCENT for threshold in thresholds]
    counts = [len(threshold.marks) for threshold in thresholds]
    number: list[int] = []
    owners = []
    for counter, names in ((False, catalogue.balances), (True, catalogue.counters)):
        spans = np.zeros((len(names) + 1, 2), np.int64)
        for owner in range(len(names)):
            mine = [
                at for at, each in enumerate(thresholds) if each.counter == counter and each.number == owner
            ]
            spans[owner] = len(number), len(mine)
            number += mine
        owners.append(spans)
    marks = [
        mark * scale for threshold, scale in zip(thresholds, scales, strict=True) for mark in threshold.marks
    ]
    return Watched(
        of_balance=owners[0],
        of_counter=owners[1],
        number=np.array(number, np.int64),
        owner=np.array([threshold.number for threshold in thresholds], np.int64),
        counter=np.array([threshold.counter for threshold in thresholds], np.int64),
        falling=np.array([threshold.kind == "low_balance" for threshold in thresholds], np.uint8),
        limit=np.array([threshold.limit if threshold.counter else 0 for threshold in thresholds], np.int64),
        hysteresis=np.array(
            [threshold.hysteresis * scale for threshold, scale in zip(thresholds, scales, strict=True)],
            np.int64,
        ),
        mark_first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        mark_count=np.array(counts, np.int64),
        mark=np.array(marks, np.int64),
        main=catalogue.main_balance,
    )


@nb.njit(nogil=True, cache=True)
def _measure(value: int, granted: int, limit: int, falling: int, credit: int) -> int:
    """Thousandths of a percent used (of what was granted, or of the cap), or what is left, credit included."""
    if falling:
        return value + credit
    used, whole = (value, limit) if limit > 0 else (granted - value, max(granted, 1))
    while max(abs(used), whole) > EXACT_UP_TO:  # beyond it, to a part in 2**46, so that nothing overflows
        used, whole = used >> 1, whole >> 1
    return used * (100 * PERCENT) // whole


@nb.njit(nogil=True, cache=True)
def _crosses(falling: int, level: int, hysteresis: int, before: int, after: int) -> bool:
    """Whether a movement crosses a mark, or comes back far enough to arm it again."""
    if falling:
        return before >= level > after or before < level + hysteresis <= after
    return before < level <= after or before > level - hysteresis >= after


@nb.njit(nogil=True, cache=True)
def _near(w: Watched, entries: Array) -> Array:
    """Entry, threshold, measure before and measure after of the movements near a mark."""
    found = np.empty((64, 4), np.int64)
    count = 0
    for at in range(len(entries)):
        if entries[at].cause == _GRANT or entries[at].cause == _ROLLOVER or entries[at].period >= CARRIED:
            continue  # a new period begins with every mark armed; marks are about its own allowance
        definition = entries[at].definition
        counted = entries[at].cause == COUNTED_CAUSE
        first = w.of_counter[definition, 0] if counted else w.of_balance[definition, 0]
        for step in range(w.of_counter[definition, 1] if counted else w.of_balance[definition, 1]):
            number = w.number[first + step]
            falling = w.falling[number]
            granted = entries[at].granted
            credit = 0
            if entries[at].definition == w.main:
                credit = granted
            before = _measure(entries[at].before, granted, w.limit[number], falling, credit)
            after = _measure(entries[at].after, granted, w.limit[number], falling, credit)
            near = False
            for mark in range(w.mark_first[number], w.mark_first[number] + w.mark_count[number]):
                near |= _crosses(falling, w.mark[mark], w.hysteresis[number], before, after)
            if near:
                if count == len(found):
                    more = np.empty((2 * count, 4), np.int64)
                    more[:count] = found
                    found = more
                found[count, 0] = at
                found[count, 1] = number
                found[count, 2] = before
                found[count, 3] = after
                count += 1
    return found[:count]


def changes_of(entries: Array, batch: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The few movements that cross a mark, or come back far enough to arm it again."""
    if not catalogue.thresholds or len(entries) == 0:
        return CHANGES.record.empty()
    near = _near(watched(catalogue), entries)
    mine = entries[near[:, 0]]
    row = pl.Series(np.ascontiguousarray(mine["row"]))
    return pl.DataFrame(
        {
            "seq": batch["seq"].gather(row),
            "subscriber": batch["subscriber"].gather(row),
            "time_us": batch["start_us"].gather(row),
            "threshold": near[:, 1].astype(np.int32),
            "period": np.ascontiguousarray(mine["period"]),
            "before": near[:, 2],
            "after": near[:, 3],
            "value": np.ascontiguousarray(mine["after"]),
            "member": np.ascontiguousarray(mine["member"]),
            "user": np.ascontiguousarray(mine["user"]),
        },
        schema=CHANGES.record.schema,
    )
