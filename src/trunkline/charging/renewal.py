"""What happens to an allowance when its period begins, and when the plan changes within a period.

An allowance is granted when the first use of its period asks for it, and that is when it is renewed: what is left of
the periods before is carried over by the balance's rule, into rows that keep the number of the period they come from
(`CARRIED` added). Periods in which nothing was used are granted then, so that what is carried does not depend on
whether something was used; an account begins with the first period that it used, or again when that was too long ago.
A plan that begins or ends within a period brings its share by days, or ends its allowances, where the rule says so.
All of it is worked out from the account's own rows, so that a stream may be cut anywhere, and charged again.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.booking import add_row, move
from trunkline.charging.ledger import ACCOUNT_CARRIED, ACCOUNT_GRANTS
from trunkline.charging.periods import period_at
from trunkline.charging.price import DAY_S, offset_at, rounded
from trunkline.charging.rate import subscription_at, version_at
from trunkline.charging.vector import (
    ALLOWANCE,
    B_GRANT,
    B_PER_MEMBER,
    B_PERIOD,
    B_UNIT,
    BALANCE,
    BALANCE_W,
    N_BY_DAY,
    N_DAY_MODE,
    N_DAY_STEP,
    N_ENDS,
    N_MODE,
    N_MOST,
    N_PERIODS,
    N_SHARE,
    RENEWAL,
    RENEWAL_W,
    V_ALLOWANCE,
    V_ALLOWANCES,
    VERSION,
    VERSION_W,
)
from trunkline.records.charging import CARRIED, Cause, RowKind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

MILLION = 1_000_000
_SUBSCRIPTION, _BALANCE, _MEMBER = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE), int(RowKind.MEMBER)
_GRANT, _ROLLOVER = int(Cause.GRANT), int(Cause.ROLLOVER)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def includes_at(t: Vector, work: Array, size: int, balance: int, member: int, at_s: int) -> bool:
    """Whether the plan that somebody has at a moment includes an allowance."""
    subscription = subscription_at(work, 0, size, at_s, member)
    if subscription < 0:
        return False
    version = version_at(t, nb.int64(work[subscription].definition), at_s * MILLION)
    if version < 0:
        return False
    plan = t[VERSION] + version * VERSION_W
    first = t[ALLOWANCE] + t[plan + V_ALLOWANCE]
    for at in range(first, first + t[plan + V_ALLOWANCES]):
        if t[at] == balance:
            return True
    return False


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _since(t: Vector, work: Array, size: int, balance: int, member: int, at_s: int, from_s: int) -> int:
    """Since when, not before `from_s`, the plans that somebody has had until a moment all include an allowance."""
    begin_s = nb.int64(at_s) + 1
    while begin_s > from_s and includes_at(t, work, size, balance, member, begin_s - 1):
        subscription = subscription_at(work, 0, size, begin_s - 1, member)
        begin_s = nb.int64(work[subscription].valid_from_s)
    return max(begin_s, nb.int64(from_s))


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _until(t: Vector, work: Array, size: int, balance: int, member: int, at_s: int, until_s: int) -> int:
    """Until when, not after `until_s`, no plan takes over behind a moment that does not include an allowance."""
    end_s = nb.int64(until_s)
    for at in range(size):
        begin_s = nb.int64(work[at].valid_from_s)
        taken_over = work[at].kind == _SUBSCRIPTION and work[at].member == member and at_s < begin_s < end_s
        if taken_over and not includes_at(t, work, size, balance, member, begin_s):
            end_s = begin_s
    return end_s


@nb.njit(inline="always")
def _members(work: Array, size: int, until_s: int) -> int:
    """How many belong to an account before a moment, the owner among them."""
    count = 1
    for at in range(size):
        if work[at].kind == _MEMBER and work[at].valid_from_s < until_s:
            count += 1
    return count


@nb.njit(inline="always")
def grant_of(t: Vector, work: Array, size: int, balance: int, until_s: int) -> int:
    """What a balance is granted for a whole period that ends at a moment."""
    rule = t[BALANCE] + balance * BALANCE_W
    grant = t[rule + B_GRANT]
    if t[rule + B_PER_MEMBER]:
        grant += t[rule + B_PER_MEMBER] * _members(work, size, until_s)
    return grant


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _day(t: Vector, zone: int, second: int) -> int:
    """Local day of a moment, counted from 1970-01-01."""
    offset, _ = offset_at(t, zone, second * MILLION)
    return (second + offset) // DAY_S


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def grant_at(
    t: Vector, work: Array, size: int, balance: int, member: int, zone: int, from_s: int, until_s: int, at_s: int
) -> tuple[int, int, int]:  # fmt: skip
    """What is granted at a moment within a period, from when and until when it may be used.

    By days, the day on which the plan begins counts whole; the share is rounded to the rule's step, by its way.
    """
    rule = t[RENEWAL] + balance * RENEWAL_W
    grant = grant_of(t, work, size, balance, until_s)
    begin_s, end_s = nb.int64(from_s), nb.int64(until_s)
    if t[rule + N_BY_DAY] or t[rule + N_ENDS]:
        begin_s = _since(t, work, size, balance, member, at_s, from_s)
    if t[rule + N_ENDS]:
        end_s = _until(t, work, size, balance, member, at_s, until_s)
    if t[rule + N_BY_DAY] and begin_s > from_s:
        last = _day(t, zone, until_s)
        days, left = last - _day(t, zone, from_s), last - _day(t, zone, begin_s)
        whole = days * t[rule + N_DAY_STEP]
        share = rounded(grant % whole * left, whole, t[rule + N_DAY_MODE])
        grant = min(grant, (grant // whole * left + share) * t[rule + N_DAY_STEP])
    return grant, begin_s, end_s


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _latest(work: Array, size: int, balance: int, member: int, start_s: int, until_s: int) -> int:
    """Row of the newest period of an allowance that is over; -1 when there is none or a later one was granted."""
    found = nb.int64(-1)
    for at in range(size):
        if (
            work[at].kind != _BALANCE
            or work[at].definition != balance
            or work[at].member != member
            or work[at].period == 0
            or work[at].period >= CARRIED
        ):
            continue
        if work[at].valid_from_s >= until_s:
            return nb.int64(-1)
        over = work[at].valid_until_s <= start_s
        if over and (found < 0 or work[at].valid_until_s > work[found].valid_until_s):
            found = nb.int64(at)
    return found


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _carry(
    t: Vector, work: Array, size: int, of: int, until_s: int, entries: Array, count: int, row: int, part: int, user: int
) -> tuple[int, int, int]:  # fmt: skip
    """Carry what is left of a period's allowance over, by its rule's share and cap: size, entries, part."""
    balance = nb.int64(work[of].definition)
    rule = t[RENEWAL] + balance * RENEWAL_W
    unit = t[t[BALANCE] + balance * BALANCE_W + B_UNIT]
    left, share = nb.int64(work[of].value), t[rule + N_SHARE]
    amount = left // MILLION * share + rounded(left % MILLION * share, MILLION, t[rule + N_MODE])
    if t[rule + N_MOST] >= 0:
        amount = min(amount, t[rule + N_MOST])
    if amount <= 0:
        return size, count, part
    size = add_row(
        work, size, _BALANCE, balance, nb.int64(work[of].period) + CARRIED, amount, nb.int64(work[of].valid_from_s),
        until_s, nb.int64(work[of].member),
    )  # fmt: skip
    count = move(work[of], -amount, entries, count, row, part, _ROLLOVER, unit, ACCOUNT_CARRIED, user)
    count = move(
        work[size - 1], amount, entries, count, row, part + 1, _ROLLOVER, unit, ACCOUNT_CARRIED, user
    )
    return size, count, part + 2


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def carry_over(
    t: Vector, work: Array, size: int, balance: int, member: int, cycle_day: int, zone: int, from_s: int, until_s: int,
    start_s: int, entries: Array, count: int, row: int, part: int, user: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Carry over what is left of the periods before one that is granted now: the account's size, entries, part.

    The newest period that is known stands for all before it: they were carried over when that one was granted.
    """
    rule = t[RENEWAL] + balance * RENEWAL_W
    periods = t[rule + N_PERIODS]
    latest = _latest(work, size, balance, member, start_s, until_s) if periods > 0 else nb.int64(-1)
    if latest < 0:
        return size, count, part
    every = t[t[BALANCE] + balance * BALANCE_W + B_PERIOD]
    unit = t[t[BALANCE] + balance * BALANCE_W + B_UNIT]
    first_s, known = nb.int64(from_s), False
    for back in range(1, periods + 1):
        end_s = first_s
        number, first_s, _ = period_at(t, every, cycle_day, zone, (end_s - 1) * MILLION)
        of = nb.int64(-1)
        if work[latest].valid_until_s > first_s:
            of, known = latest, True
        elif includes_at(t, work, size, balance, member, end_s - 1):
            grant, begin_s, last_s = grant_at(t, work, size, balance, member, zone, first_s, end_s, end_s - 1)
            size = add_row(work, size, _BALANCE, balance, number, grant, begin_s, last_s, member)
            of = nb.int64(size - 1)
            count = move(work[of], grant, entries, count, row, part, _GRANT, unit, ACCOUNT_GRANTS, user)
            part += 1
        if of >= 0 and includes_at(t, work, size, balance, member, nb.int64(work[of].valid_until_s)):
            last_s = nb.int64(until_s)
            for _ in range(periods - back):
                _, _, last_s = period_at(t, every, cycle_day, zone, last_s * MILLION)
            if t[rule + N_ENDS]:
                last_s = _until(t, work, size, balance, member, nb.int64(work[of].valid_until_s), last_s)
            if last_s > start_s:
                size, count, part = _carry(t, work, size, of, last_s, entries, count, row, part, user)
        if known:
            break
    return size, count, part
