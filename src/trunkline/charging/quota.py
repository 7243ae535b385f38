"""How much of a use an account can still promise to pay for, beside all it has promised already.

A promise is kept whatever happens next: the sessions of an account may use all of their quota, and end in any order.
So a quota is tried by charging it, on a copy of the account, together with every quota that is out, in every order;
whatever the tariff says (tiers, allowances that suit one use and not another, blockers, a highest cost), the account
must not end below its credit limit in any of them. Using less never makes the others dearer.

What was used already and waits to be charged (it is *owed*) is charged on the copy first, in its order, as the ledger
will charge it. Members of a shared account ask its owner's: their quotas stand beside each other like those of several
sessions of one subscriber, each with its user's own plan, limits and share.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.booking import add_row
from trunkline.charging.drawing import Use, counted_before, take, unit_of
from trunkline.charging.ledger import ENTRY
from trunkline.charging.price import dearer, limited, price_use
from trunkline.charging.rate import Priced, line_at, subscription_at, version_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import (
    B_DEN,
    B_NUM,
    B_RATED_BY,
    BALANCE,
    BALANCE_W,
    DEFAULT_CYCLE_DAY,
    DEFAULT_PLAN,
    DEFAULT_ZONE,
    L_END,
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
from trunkline.records.charging import ACCOUNT_ROW, NEVER_S, Cause, RowKind
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

EVERY_ORDER = (
    4  # so many sessions are tried in every order; more of them in orders that turn or reverse theirs
)
TURNS_MOST = 32  # of so many of these at most: pools have hundreds of sessions at once

_SUBSCRIPTION, _BALANCE = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE)
_VOICE = int(Kind.VOICE)
_USAGE = int(Cause.USAGE)


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
    member: Array  # u2: who uses it; 0 is the account's owner
    balance: Array  # i8: nothing is used, an amount of this balance is set apart; -1 for a use
    ceiling: Array  # CEILING: what the asker is ready to pay at most


# A ceiling that an asker names: micro-units for so many units (0 units: no highest rate), and for the whole use.
CEILING = np.dtype([("rate_micros", "i8"), ("per_units", "i8"), ("cost_micros", "i8")])
UNNAMED = 2**62  # no highest cost


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
    member: Array
    balance: Array
    rate_micros: Array
    per_units: Array
    cost_micros: Array


class _Terms(NamedTuple):
    """What the subscriptions of an account say about one use, as charging reads them (`balances`)."""

    packed: int  # time zone and cycle day of who uses
    subscribed_s: int  # since when that subscription is
    owner_version: int  # whose shared allowances a member draws on; -1 for none
    owner_packed: int
    limit: int  # of who pays: the owner


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _terms(t: Vector, account: Array, size: int, start_us: int, member: int) -> _Terms:
    """The terms of a use that begins at a moment."""
    start_s = start_us // 1_000_000
    packed, subscribed_s = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY], nb.int64(0)
    owner_version, owner_packed, limit = nb.int64(-1), nb.int64(0), nb.int64(0)
    own = subscription_at(account, 0, size, start_s, member)
    if own >= 0:
        packed, subscribed_s = nb.int64(account[own].granted), nb.int64(account[own].valid_from_s)
        limit = nb.int64(account[own].value)
    if member != 0:
        limit = nb.int64(0)
        payer = subscription_at(account, 0, size, start_s, 0)
        if payer >= 0:
            limit = nb.int64(account[payer].value)
            owner_version = version_at(t, nb.int64(account[payer].definition), start_us)
            owner_packed = nb.int64(account[payer].granted)
    return _Terms(packed, subscribed_s, owner_version, owner_packed, limit)


@nb.njit(inline="always")
def _use(t: Vector, of: _Uses, at: int, units: int, terms: _Terms) -> Use:
    """A use of so many units, with its price by the first tier; below zero where it has none."""
    line = nb.int64(of.line[at])
    kind = nb.int64(of.kind[at])
    time_zone = terms.packed & 0xFFFF
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
        of.start_us[at] // 1_000_000, time_zone, terms.packed >> 16, nb.int64(of.unit[at]), units,
        nb.int64(of.version[at]), line, price, nb.int64(of.member[at]), terms.owner_version,
        terms.owner_packed & 0xFFFF, terms.owner_packed >> 16, terms.subscribed_s,
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
def _too_dear(
    t: Vector,
    of: _Uses,
    at: int,
    use: Use,
    covered: int,
    account: Array,
    size: int,
    entries: Array,
    count: int,
) -> bool:
    """Whether some of a use is charged at more than the highest rate that its asker names.

    `entries` tell what the use was charged, `covered` how much of it allowances cover; what they cover costs nothing,
    unless another plan prices it. Tiers are those of the account as it stands.
    """
    micros, per = of.rate_micros[at], of.per_units[at]
    timed = use.kind == _VOICE
    begin = nb.int64(0)
    for each in range(count):
        if entries[each].cause != _USAGE or entries[each].unit != use.unit or begin >= covered:
            continue
        rule = t[BALANCE] + entries[each].definition * BALANCE_W
        end = min(begin + nb.int64(entries[each].amount) * t[rule + B_DEN] // t[rule + B_NUM], covered)
        if t[rule + B_RATED_BY] >= 0:
            version = version_at(t, t[rule + B_RATED_BY], use.start_us)
            line = line_at(t, version, use.kind, use.direction, use.zone, use.node)
            if t[t[LINE] + line * LINE_W + L_FREE] == 0:
                before = counted_before(t, line, use, account, size)
                if dearer(t, line, timed, use.start_us, use.time_zone, begin, end, before, micros, per):
                    return True
        begin = end
    rule = t[LINE] + use.line * LINE_W
    if covered >= use.units or t[rule + L_FREE] or t[rule + L_RECORD]:
        return False
    before = counted_before(t, use.line, use, account, size)
    return dearer(t, use.line, timed, use.start_us, use.time_zone, covered, use.units, before, micros, per)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _payable_so(
    t: Vector, of: _Uses, out: Array, order: Array, count: int, limit: int, account: Array, size: int, trial: Array,
    used: Array, entries: Array,
) -> bool:  # fmt: skip
    """Whether an account can pay for uses that are charged in this order."""
    for at in range(size):
        trial[at] = account[at]
    grown = nb.int64(size)
    for step in range(count):
        at = out[order[step]]
        use = _use(
            t, of, at, of.units[at], _terms(t, account, size, of.start_us[at], nb.int64(of.member[at]))
        )
        if use.list_micros < 0:
            return False
        failed, total, covered, grown, booked = take(
            t, use, limit, trial, grown, used, entries, nb.int64(0), nb.int64(0)
        )
        end_at_cost = t[t[LINE] + use.line * LINE_W + L_END]
        if failed or total > of.cost_micros[at] or (end_at_cost >= 0 and total > end_at_cost):
            return False
        if of.per_units[at] and _too_dear(t, of, at, use, covered, account, size, entries, booked):
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
    t: Vector, of: _Uses, out: Array, count: int, limit: int, account: Array, size: int, trial: Array, used: Array,
    entries: Array, order: Array, spins: Array,
) -> bool:  # fmt: skip
    """Whether an account can pay for uses in whatever order they end."""
    for at in range(count):
        order[at], spins[at] = at, 0
    if count <= EVERY_ORDER:
        while True:
            if not _payable_so(t, of, out, order, count, limit, account, size, trial, used, entries):
                return False
            if not _turned(order, spins, count):
                return True
    turns = min(2 * count, TURNS_MOST)
    for step in range(turns):
        turn = step * 2 * count // turns
        for at in range(count):
            place = (at + turn) % count
            order[at] = place if turn < count else count - 1 - place
        if not _payable_so(t, of, out, order, count, limit, account, size, trial, used, entries):
            return False
    return True


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _answer(
    t: Vector, of: _Uses, at: int, out: Array, count: int, account: Array, size: int, trial: Array, used: Array,
    entries: Array, order: Array, spins: Array,
) -> int:  # fmt: skip
    """The most units, up to those wanted, that the account can promise beside `count` others that are out."""
    if subscription_at(account, 0, size, of.start_us[at] // 1_000_000, 0) < 0:
        packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
        size = add_row(account, size, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S, 0)
    limit = _terms(t, account, size, of.start_us[at], nb.int64(of.member[at])).limit
    out[count] = at
    wanted = of.units[at]
    low, high = nb.int64(0), wanted + 1
    middle = wanted
    while high - low > 1:
        of.units[at] = middle
        if _payable(
            t, of, out, count + 1, limit, account, size, trial, used, entries, order, spins
        ):  # fmt: skip
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
    grown = nb.int64(size)
    for row in range(size):
        trial[row] = account[row]
    if subscription_at(account, 0, size, of.start_us[at] // 1_000_000, 0) < 0:
        packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
        grown = add_row(trial, grown, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S, 0)
    terms = _terms(t, trial, grown, of.start_us[at], nb.int64(of.member[at]))
    limit = terms.limit
    use = _use(t, of, at, of.units[at], terms)
    if use.list_micros < 0:
        return nb.int64(size)
    failed, _, _, grown, _ = take(t, use, limit, trial, grown, used, entries, nb.int64(0), nb.int64(0))
    if failed:
        return nb.int64(size)
    for row in range(grown):
        account[row] = trial[row]
    return nb.int64(grown)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _set_apart(t: Vector, of: _Uses, at: int, account: Array, size: int, limit: int) -> int:
    """Take an amount from the rows of one balance, those that end first before the others; what is missing of it.

    The main balance may go down to the credit limit.
    """
    left = of.units[at]
    balance, start_s = of.balance[at], of.start_us[at] // 1_000_000
    before = nb.int64(-1)
    while left > 0:
        best = nb.int64(-1)
        for row in range(size):
            until_s = nb.int64(account[row].valid_until_s) * 65536 + row  # no two rows are alike
            if (
                account[row].kind == _BALANCE
                and account[row].definition == balance
                and account[row].member == 0
                and account[row].valid_from_s <= start_s
                and account[row].valid_until_s > start_s
                and until_s > before
                and (best < 0 or until_s < nb.int64(account[best].valid_until_s) * 65536 + best)
            ):
                best = nb.int64(row)
        if best < 0:
            break
        before = nb.int64(account[best].valid_until_s) * 65536 + best
        room = nb.int64(account[best].value) + (limit if balance == t[MAIN] else nb.int64(0))
        takes = min(left, max(room, 0))
        account[best].value -= takes
        left -= takes
    return left


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _apart(
    t: Vector, of: _Uses, at: int, out: Array, count: int, account: Array, size: int, trial: Array, used: Array,
    entries: Array, order: Array, spins: Array, saved: Array,
) -> int:  # fmt: skip
    """Set an amount apart, wholly or not at all: what is out must be paid for by what remains. Units set apart."""
    limit = _terms(t, account, size, of.start_us[at], nb.int64(0)).limit
    for row in range(size):
        saved[row] = account[row]
    if _set_apart(t, of, at, account, size, limit) == 0 and _payable(
        t, of, out, count, limit, account, size, trial, used, entries, order, spins
    ):
        return nb.int64(of.units[at])
    for row in range(size):
        account[row] = saved[row]
    of.units[at] = 0
    return nb.int64(0)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _left(t: Vector, offsets: Array, rows: Array, first: Array, of: _Uses, left: Array) -> None:
    """What each row of the accounts would hold if all that is out and owed were used now, in its order."""
    for group in range(len(offsets) - 1):
        begin, end = first[group], first[group + 1]
        size = offsets[group + 1] - offsets[group]
        room = size + 1 + (end - begin) * (t[MOST_NEW] + 2)
        account, trial = np.empty(room, ACCOUNT_ROW), np.empty(room, ACCOUNT_ROW)
        used, entries = np.zeros(room, np.uint8), np.empty(2 * room + 8, ENTRY)
        for at in range(size):
            account[at] = rows[offsets[group] + at]
        grown = size
        for at in range(begin, end):
            if of.balance[at] >= 0:
                limit = _terms(t, account, grown, of.start_us[at], nb.int64(0)).limit
                _set_apart(t, of, at, account, grown, limit)
            elif of.verdict[at] == 0 and of.units[at] > 0:
                grown = _settled(t, of, at, account, grown, trial, used, entries)
        for at in range(size):
            left[offsets[group] + at] = account[at].value


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
        saved = np.empty(room, ACCOUNT_ROW)
        for at in range(begin, end):
            if of.owed[at] and of.verdict[at] == 0 and of.units[at] > 0:
                size = _settled(t, of, at, account, size, trial, used, entries)
        for at in range(begin, end):
            if of.balance[at] >= 0 and not of.asked[at]:
                limit = _terms(t, account, size, of.start_us[at], nb.int64(0)).limit
                _set_apart(t, of, at, account, size, limit)
        for at in range(begin, end):
            out_now = not of.asked[at] and not of.owed[at] and of.balance[at] < 0
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
            if of.balance[at] >= 0 and of.verdict[at] == 0 and of.units[at] > 0:
                promised[at] = _apart(
                    t, of, at, out, count, account, size, trial, used, entries, order, spins, saved
                )
            elif of.verdict[at] == 0 and of.units[at] > 0:
                promised[at] = _answer(
                    t, of, at, out, count, account, size, trial, used, entries, order, spins
                )
                counts[at - begin] = promised[at] > 0


def unlimited(count: int) -> Array:
    """So many ceilings (`CEILING`) that nobody has named."""
    ceilings = np.zeros(count, CEILING)
    ceilings["cost_micros"] = UNNAMED
    return ceilings


def promise(quotas: Quotas, priced: Priced, groups: Array, accounts: Grouped, catalogue: Catalogue) -> Array:
    """Units promised to each row that asks (i8), in the order of the rows; 0 for the others.

    `priced` says how each row is rated, `groups` to which of the accounts it belongs.
    """
    order, first = order_by_group(groups, len(accounts))
    promised = np.zeros(len(order), np.int64)
    uses = _in_order(quotas, priced, order)
    _promise(vectors(catalogue).t, accounts.offsets, accounts.rows, first, uses, promised)
    return put_back(promised, order)


def left_over(
    quotas: Quotas, priced: Priced, groups: Array, accounts: Grouped, catalogue: Catalogue
) -> Array:
    """What each row of the accounts would hold (i8) if all that is out, set apart and owed were used now, in order."""
    order, first = order_by_group(groups, len(accounts))
    left = np.zeros(len(accounts.rows), np.int64)
    uses = _in_order(quotas, priced, order)
    _left(vectors(catalogue).t, accounts.offsets, accounts.rows, first, uses, left)
    return left


def _in_order(quotas: Quotas, priced: Priced, order: Array) -> _Uses:
    """Quotas account by account."""
    return _Uses(
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
        quotas.member[order],
        quotas.balance[order],
        np.ascontiguousarray(quotas.ceiling["rate_micros"][order]),
        np.ascontiguousarray(quotas.ceiling["per_units"][order]),
        np.ascontiguousarray(quotas.ceiling["cost_micros"][order]),
    )
