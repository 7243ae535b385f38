"""How much of a use an account can still promise to pay for, beside all it has promised already.

A promise is kept whatever happens next: the sessions of an account may use all of their quota, and end in any order.
So a quota is tried by charging it, on a copy of the account, together with every quota that is out, in every order;
whatever the tariff says (tiers, allowances that suit one use and not another, blockers, a highest cost), the account
must not end below its credit limit in any of them. Using less never makes the others dearer.

What was used already and waits to be charged (it is *owed*) is charged on the copy first, in its order, as the ledger
will charge it.
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

EVERY_ORDER = (
    4  # so many sessions are tried in every order; more of them in every order that turns or reverses theirs
)

_SUBSCRIPTION, _BALANCE = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE)
_VOICE = int(Kind.VOICE)


class Quotas(NamedTuple):
    """Quotas of some accounts, in arrays beside the rows of a batch: those that are out, and those that are asked."""

    name: Array  # u8: what is asked under a name replaces what is out under it
    asked: Array  # bool: is asked now; else it is out
    units: Array  # i8: out, or wanted; 0 wanted gives back
    kind: Array
    direction: Array
    start_us: Array
    amount_micros: Array  # i8: the price that comes with the use itself, where the tariff says so
    owed: Array  # bool: was used, and is not charged yet; neither out nor asked


class _Uses(NamedTuple):
    """The uses of one account inside the kernel, in account order."""

    name: Array
    asked: Array
    owed: Array
    units: Array
    kind: Array
    direction: Array
    start_us: Array
    unit: Array
    amount: Array
    verdict: Array
    version: Array
    line: Array
    node: Array
    zone: Array


@nb.njit(inline="always")
def _use(t: Vector, of: _Uses, at: int, units: int, packed: int, subscribed_s: int) -> Use:
    """A use of so many units, with its price by the first tier; below zero where it has none."""
    line = nb.int64(of.line[at])
    kind = nb.int64(of.kind[at])
    time_zone = packed & 0xFFFF
    price = nb.int64(0)
    rule = t[LINE] + line * LINE_W
    if t[rule + L_RECORD]:
        price = nb.int64(of.amount[at])
    elif t[rule + L_FREE] == 0:
        price = price_use(t, line, kind == _VOICE, of.start_us[at], time_zone, 0, units, 0, True)  # noqa: FBT003 -- the fee is due
    if price >= 0:
        price = limited(t, line, price)
    return Use(
        nb.int64(0), kind, nb.int64(of.direction[at]), nb.int64(of.zone[at]), nb.int64(of.node[at]), of.start_us[at],
        of.start_us[at] // 1_000_000, time_zone, packed >> 16, nb.int64(of.unit[at]), units,
        nb.int64(of.version[at]), line, price, nb.int64(0), nb.int64(-1), nb.int64(0), nb.int64(0),
        nb.int64(subscribed_s),
    )  # fmt: skip


@nb.njit(inline="always")
def _main_value(t: Vector, rows: Array, size: int) -> int:
    """What the main balance holds; 0 while there is none."""
    value = nb.int64(0)
    for at in range(size):
        if rows[at].kind == _BALANCE and rows[at].definition == t[MAIN]:
            value = nb.int64(rows[at].value)
    return value


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _payable_so(
    t: Vector, of: _Uses, out: Array, order: Array, count: int, packed: int, subscribed_s: int, limit: int,
    account: Array, size: int, trial: Array, used: Array, entries: Array,
) -> bool:  # fmt: skip
    """Whether an account can pay for uses that are charged in this order."""
    for at in range(size):
        trial[at] = account[at]
    grown = nb.int64(size)
    for step in range(count):
        use = _use(t, of, out[order[step]], of.units[out[order[step]]], packed, subscribed_s)
        if use.list_micros < 0:
            return False
        failed, _, _, grown, _ = take(t, use, limit, trial, grown, used, entries, nb.int64(0), nb.int64(0))
        if failed:
            return False
    after = _main_value(t, trial, grown)
    return after >= -limit or after >= _main_value(t, account, size)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _turned(order: Array, spins: Array, count: int) -> bool:
    """The next of all orders (B. R. Heap, "Permutations by Interchanges", 1963); false when there is none."""
    at = nb.int64(1)
    while at < count:
        if spins[at] < at:
            other = spins[at] if at % 2 else nb.int64(0)
            order[other], order[at] = order[at], order[other]
            spins[at] += 1
            return True
        spins[at] = 0
        at += 1
    return False


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _payable(
    t: Vector, of: _Uses, out: Array, count: int, packed: int, subscribed_s: int, limit: int, account: Array, size: int,
    trial: Array, used: Array, entries: Array, order: Array, spins: Array,
) -> bool:  # fmt: skip
    """Whether an account can pay for uses in whatever order they end."""
    for at in range(count):
        order[at], spins[at] = at, 0
    if count <= EVERY_ORDER:
        while True:
            if not _payable_so(
                t, of, out, order, count, packed, subscribed_s, limit, account, size, trial, used, entries
            ):
                return False
            if not _turned(order, spins, count):
                return True
    for turn in range(2 * count):
        for at in range(count):
            place = (at + turn) % count
            order[at] = place if turn < count else count - 1 - place
        if not _payable_so(
            t, of, out, order, count, packed, subscribed_s, limit, account, size, trial, used, entries
        ):
            return False
    return True


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _answer(
    t: Vector, of: _Uses, at: int, out: Array, count: int, account: Array, size: int, trial: Array, used: Array,
    entries: Array, order: Array, spins: Array,
) -> int:  # fmt: skip
    """The most units, up to those wanted, that the account can promise beside `count` others that are out."""
    start_s = of.start_us[at] // 1_000_000
    subscription = subscription_at(account, 0, size, start_s, 0)
    packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
    limit, subscribed_s = nb.int64(0), nb.int64(0)
    if subscription >= 0:
        subscribed_s = nb.int64(account[subscription].valid_from_s)
        packed, limit = nb.int64(account[subscription].granted), nb.int64(account[subscription].value)
    else:
        size = add_row(account, size, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S, 0)
    out[count] = at
    wanted = of.units[at]
    low, high = nb.int64(0), wanted + 1
    middle = wanted
    while high - low > 1:
        of.units[at] = middle
        if _payable(
            t,
            of,
            out,
            count + 1,
            packed,
            subscribed_s,
            limit,
            account,
            size,
            trial,
            used,
            entries,
            order,
            spins,
        ):
            low = middle
        else:
            high = middle
        middle = low + ((high - low) >> 1)
    of.units[at] = low
    return low


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _settled(
    t: Vector, of: _Uses, at: int, account: Array, size: int, trial: Array, used: Array, entries: Array
) -> int:
    """Charge what is owed on the copy of the account; its size. What cannot be charged leaves it as it was."""
    subscription = subscription_at(account, 0, size, of.start_us[at] // 1_000_000, 0)
    packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
    limit, subscribed_s = nb.int64(0), nb.int64(0)
    grown = nb.int64(size)
    for row in range(size):
        trial[row] = account[row]
    if subscription >= 0:
        subscribed_s = nb.int64(account[subscription].valid_from_s)
        packed, limit = nb.int64(account[subscription].granted), nb.int64(account[subscription].value)
    else:
        grown = add_row(trial, grown, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S, 0)
    use = _use(t, of, at, of.units[at], packed, subscribed_s)
    if use.list_micros < 0:
        return nb.int64(size)
    failed, _, _, grown, _ = take(t, use, limit, trial, grown, used, entries, nb.int64(0), nb.int64(0))
    if failed:
        return nb.int64(size)
    for row in range(grown):
        account[row] = trial[row]
    return nb.int64(grown)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _promise(t: Vector, offsets: Array, rows: Array, first: Array, of: _Uses, promised: Array) -> None:
    """Answer the asked quotas of each account in turn."""
    for group in range(len(offsets) - 1):
        begin, end = first[group], first[group + 1]
        size = offsets[group + 1] - offsets[group]
        quotas = end - begin
        room = size + 1 + quotas * (t[MOST_NEW] + 2)
        account, trial = np.empty(room, ACCOUNT_ROW), np.empty(room, ACCOUNT_ROW)
        used, entries = np.zeros(room, np.uint8), np.empty(2 * room + 8, ENTRY)
        out, order, spins = np.empty(quotas, np.int64), np.empty(quotas, np.int64), np.empty(quotas, np.int64)
        for at in range(size):
            account[at] = rows[offsets[group] + at]
        counts = np.zeros(quotas, np.bool_)
        for at in range(begin, end):
            if of.owed[at] and of.verdict[at] == 0 and of.units[at] > 0:
                size = _settled(t, of, at, account, size, trial, used, entries)
        for at in range(begin, end):
            out_now = not of.asked[at] and not of.owed[at]
            counts[at - begin] = out_now and of.verdict[at] == 0 and of.units[at] > 0
        for at in range(begin, end):
            if not of.asked[at]:
                continue
            count = nb.int64(0)
            for other in range(begin, end):
                counts[other - begin] &= of.name[other] != of.name[at]
                if counts[other - begin]:
                    out[count] = other
                    count += 1
            if of.verdict[at] == 0 and of.units[at] > 0:
                promised[at] = _answer(
                    t, of, at, out, count, account, size, trial, used, entries, order, spins
                )
                counts[at - begin] = promised[at] > 0


def promise(quotas: Quotas, priced: Priced, groups: Array, accounts: Grouped, catalogue: Catalogue) -> Array:
    """Units promised to each row that asks (i8), in the order of the rows; 0 for the others.

    `priced` says how each row is rated, `groups` to which of the accounts it belongs.
    """
    order, first = order_by_group(groups, len(accounts))
    promised = np.zeros(len(order), np.int64)
    uses = _Uses(
        quotas.name[order],
        quotas.asked[order],
        quotas.owed[order],
        quotas.units[order],
        quotas.kind[order],
        quotas.direction[order],
        quotas.start_us[order],
        unit_of(quotas.kind)[order],
        quotas.amount_micros[order],
        priced.verdict[order],
        priced.version[order],
        priced.line[order],
        priced.node[order],
        priced.zone[order],
    )
    _promise(vectors(catalogue).t, accounts.offsets, accounts.rows, first, uses, promised)
    return put_back(promised, order)
