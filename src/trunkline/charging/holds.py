"""Reservations: what of an account is promised to uses that are still going on, and what may still be promised.

A promise is found by charging the use that asks for it on a copy of the account, with everything that is promised
already taken away, so that whatever the tariff says (tiers, allowances, blockers, a highest cost) a promise is what
the charge will be. The copy's movements become hold rows of the account; its balances themselves stay as they are
until the use is charged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.drawing import Use, add_row, take, unit_of
from trunkline.charging.ledger import ENTRY
from trunkline.charging.price import limited, price_use
from trunkline.charging.rate import Priced, subscription_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import (
    B_GRANT,
    BALANCE,
    BALANCE_W,
    DEFAULT_CYCLE_DAY,
    DEFAULT_PLAN,
    DEFAULT_ZONE,
    L_FREE,
    L_RECORD,
    LINE,
    LINE_W,
    MAIN,
    MOST_NEW,
    vectors,
)
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import order_by_group, put_back
from trunkline.records.charging import ACCOUNT_ROW, NEVER_S, RowKind
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

_SUBSCRIPTION, _BALANCE, _HOLD = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE), int(RowKind.HOLD)
_VOICE = int(Kind.VOICE)


class Asks(NamedTuple):
    """What asks for a promise, in arrays beside the rows of a batch."""

    hold: Array  # u8: name of the reservation; the same name replaces its earlier promise
    now_s: Array  # i8: promises that ended before are void
    until_s: Array  # i8: when the new promise ends
    kind: Array
    direction: Array
    start_us: Array
    units: Array  # i8: wanted; 0 gives a promise back
    amount_micros: Array  # i8: the price that comes with the use itself, where the tariff says so


@nb.njit(inline="always")
def _list_price(t: Vector, use: Use, amount: int) -> int:
    """Price of a use by the first tier, before any balance; below zero where there is none."""
    rule = t[LINE] + use.line * LINE_W
    total = nb.int64(0)
    if t[rule + L_RECORD]:
        total = amount
    elif t[rule + L_FREE] == 0:
        total = price_use(t, use.line, use.kind == _VOICE, use.start_us, use.time_zone, 0, use.units, 0, True)  # noqa: FBT003 -- the fee is due
    return limited(t, use.line, total) if total >= 0 else total


@nb.njit(inline="always")
def _dropped(work: Array, size: int, hold: int, now_s: int) -> int:
    """Take away an earlier promise of the same name, and those whose time is over; the account's size."""
    kept = nb.int64(0)
    for at in range(size):
        if work[at].kind == _HOLD and (work[at].granted == hold or work[at].valid_until_s <= now_s):
            continue
        work[kept] = work[at]
        kept += 1
    return kept


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _unpromised(t: Vector, work: Array, size: int, copy: Array) -> int:
    """The account with all promises taken from its balances; its size.

    A promise of an allowance that nobody has used yet stands on a balance that is only granted with that use.
    """
    left = nb.int64(0)
    for at in range(size):
        if work[at].kind != _HOLD:
            copy[left] = work[at]
            left += 1
    for at in range(size):
        if work[at].kind != _HOLD:
            continue
        found = nb.int64(-1)
        for row in range(left):
            if (
                copy[row].kind == _BALANCE
                and copy[row].definition == work[at].definition
                and copy[row].period == work[at].period
                and copy[row].valid_until_s == work[at].valid_from_s
            ):
                found = nb.int64(row)
        if found < 0:
            grant = t[t[BALANCE] + work[at].definition * BALANCE_W + B_GRANT]
            grant = nb.int64(0) if work[at].definition == t[MAIN] else grant
            left = add_row(
                copy, left, _BALANCE, work[at].definition, work[at].period, grant, 0, work[at].valid_from_s
            )
            copy[left - 1].value = grant
            found = left - 1
        copy[found].value -= work[at].value
    return left


@nb.njit(inline="always")
def _main_value(t: Vector, work: Array, size: int) -> int:
    """What the main balance holds; 0 while there is none."""
    value = nb.int64(0)
    for at in range(size):
        if work[at].kind == _BALANCE and work[at].definition == t[MAIN]:
            value = nb.int64(work[at].value)
    return value


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _payable(
    t: Vector, use: Use, units: int, amount: int, limit: int, free: Array, size: int, trial: Array, used: Array,
    entries: Array,
) -> tuple[bool, int]:  # fmt: skip
    """Charge so many units on a copy: whether the account can pay for them, and the copy's size."""
    tried = Use(
        use.row, use.kind, use.direction, use.zone, use.node, use.start_us, use.start_s, use.time_zone, use.cycle_day,
        use.unit, units, use.version, use.line, nb.int64(0),
    )  # fmt: skip
    price = _list_price(t, tried, amount)
    if price < 0:
        return False, size
    tried = Use(
        use.row, use.kind, use.direction, use.zone, use.node, use.start_us, use.start_s, use.time_zone, use.cycle_day,
        use.unit, units, use.version, use.line, price,
    )  # fmt: skip
    for at in range(size):
        trial[at] = free[at]
    before = _main_value(t, free, size)
    failed, _, _, grown, _ = take(t, tried, limit, trial, size, used, entries, nb.int64(0), nb.int64(0))
    after = _main_value(t, trial, grown)
    return failed == 0 and (after >= -limit or after >= before), grown


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _most(
    t: Vector,
    use: Use,
    amount: int,
    limit: int,
    free: Array,
    size: int,
    trial: Array,
    used: Array,
    entries: Array,
) -> int:
    """The most units, up to those wanted, that an account can pay for; what more units cost never falls."""
    payable, _ = _payable(t, use, use.units, amount, limit, free, size, trial, used, entries)
    if payable:
        return use.units
    low, high = nb.int64(0), use.units
    while high - low > 1:
        middle = low + ((high - low) >> 1)
        payable, _ = _payable(t, use, middle, amount, limit, free, size, trial, used, entries)
        if payable:
            low = middle
        else:
            high = middle
    return low


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _promise(
    t: Vector,
    free: Array,
    size: int,
    trial: Array,
    tried: int,
    hold: int,
    until_s: int,
    work: Array,
    held: int,
) -> int:
    """Write what a use takes from each balance as hold rows of its account; the account's size."""
    for at in range(tried):
        if trial[at].kind != _BALANCE:
            continue
        before = nb.int64(0)  # of the main balance, where there was none
        if at < size:
            before = nb.int64(free[at].value)
        elif trial[at].definition != t[MAIN]:
            before = nb.int64(trial[at].granted)
        if trial[at].value != before:
            ends = nb.int64(trial[at].valid_until_s)
            held = add_row(work, held, _HOLD, trial[at].definition, trial[at].period, hold, ends, until_s)
            work[held - 1].value = before - trial[at].value
    return held


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _reserve_in_account(
    t: Vector, order: Array, at: int, hold: Array, now_s: Array, until_s: Array, kind: Array, direction: Array,
    start_us: Array, unit: Array, units: Array, amount: Array, verdict: Array, version: Array, line: Array,
    node: Array, zone: Array, granted: Array, work: Array, size: int, free: Array, trial: Array, used: Array,
    entries: Array,
) -> int:  # fmt: skip
    """Answer one request of an account; the account's size."""
    size = _dropped(work, size, hold[at], now_s[at])
    if verdict[at] != 0 or units[at] == 0:
        return size
    start_s = start_us[at] // 1_000_000
    subscription = subscription_at(work, 0, size, start_s)
    limit = nb.int64(work[subscription].value) if subscription >= 0 else nb.int64(0)
    packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
    left = _unpromised(t, work, size, free)
    if subscription >= 0:
        packed = nb.int64(work[subscription].granted)
    else:
        left = add_row(free, left, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S)
    use = Use(
        order[at], nb.int64(kind[at]), nb.int64(direction[at]), nb.int64(zone[at]), nb.int64(node[at]), start_us[at],
        start_s, packed & 0xFFFF, packed >> 16, nb.int64(unit[at]), units[at], nb.int64(version[at]),
        nb.int64(line[at]), nb.int64(0),
    )  # fmt: skip
    most = _most(t, use, amount[at], limit, free, left, trial, used, entries)
    granted[at] = most
    if most > 0:
        _, tried = _payable(t, use, most, amount[at], limit, free, left, trial, used, entries)
        size = _promise(t, free, left, trial, tried, hold[at], until_s[at], work, size)
    return size


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _reserve(
    t: Vector, offsets: Array, rows: Array, order: Array, first: Array, hold: Array, now_s: Array, until_s: Array,
    kind: Array, direction: Array, start_us: Array, unit: Array, units: Array, amount: Array, verdict: Array,
    version: Array, line: Array, node: Array, zone: Array, granted: Array,
) -> tuple[Array, Array]:  # fmt: skip
    groups = len(offsets) - 1
    most_new = t[MOST_NEW]
    out_offsets = np.zeros(groups + 1, np.int64)
    out_rows = np.empty(len(rows) + len(order) * (most_new + 2), ACCOUNT_ROW)
    written = nb.int64(0)
    for group in range(groups):
        asked = first[group + 1] - first[group]
        size = offsets[group + 1] - offsets[group]
        room = size + (asked + 1) * (most_new + 2)
        work, free, trial = (
            np.empty(room, ACCOUNT_ROW),
            np.empty(room, ACCOUNT_ROW),
            np.empty(room, ACCOUNT_ROW),
        )
        used, entries = np.zeros(room, np.uint8), np.empty(2 * room + 8, ENTRY)
        for at in range(size):
            work[at] = rows[offsets[group] + at]
        for at in range(first[group], first[group + 1]):
            size = _reserve_in_account(
                t, order, at, hold, now_s, until_s, kind, direction, start_us, unit, units, amount, verdict, version,
                line, node, zone, granted, work, size, free, trial, used, entries,
            )  # fmt: skip
        if written + size > len(out_rows):
            grown = np.empty(2 * (written + size), ACCOUNT_ROW)
            for at in range(written):
                grown[at] = out_rows[at]
            out_rows = grown
        for at in range(size):
            out_rows[written + at] = work[at]
        written += size
        out_offsets[group + 1] = written
    return out_offsets, out_rows[:written]


def promise(
    asks: Asks, priced: Priced, groups: Array, accounts: Grouped, catalogue: Catalogue
) -> tuple[Array, Grouped]:
    """Units promised to each row (i8), in the order of the rows, and the accounts with the promises in them."""
    order, first = order_by_group(groups, len(accounts))
    granted = np.zeros(len(order), np.int64)
    offsets, rows = _reserve(
        vectors(catalogue).t,
        accounts.offsets,
        accounts.rows,
        order,
        first,
        asks.hold[order].view(np.int64),
        asks.now_s[order],
        asks.until_s[order],
        asks.kind[order],
        asks.direction[order],
        asks.start_us[order],
        unit_of(asks.kind)[order],
        asks.units[order],
        asks.amount_micros[order],
        priced.verdict[order],
        priced.version[order],
        priced.line[order],
        priced.node[order],
        priced.zone[order],
        granted,
    )
    return put_back(granted, order), Grouped(accounts.keys, offsets, rows)
