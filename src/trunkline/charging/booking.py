"""The rows of one account at work: adding one, finding the one of a moment, and changing one with its entry.

An account at work is an array of rows with `size` of them in use. These pieces change rows in place, book ledger
entries behind `count`, and return both numbers where they grew; short ones are inlined, because handing an array to
a compiled function costs as much as most of them do.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.ledger import ACCOUNT_BALANCE
from trunkline.charging.periods import period_at
from trunkline.records.charging import CARRIED, NEVER_S

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]
Row: TypeAlias = Any  # one row of an account inside a kernel


@nb.njit(inline="always")
def add_row(
    work: Array, size: int, kind: int, definition: int, period: int, granted: int, from_s: int, until_s: int,
    member: int,
) -> int:  # fmt: skip
    """Append a row without a value to an account; its new size."""
    work[size].kind = kind
    work[size].flags = 0
    work[size].definition = definition
    work[size].period = period
    work[size].member = member
    work[size].value = 0
    work[size].granted = granted
    work[size].valid_from_s = from_s
    work[size].valid_until_s = until_s
    return size + 1


@nb.njit(inline="always")
def move(
    account: Row,
    change: int,
    entries: Array,
    count: int,
    row: int,
    part: int,
    cause: int,
    unit: int,
    other: int,
    user: int,
) -> int:
    """Change a balance and book it: what the balance gives, the other side receives."""
    entry = entries[count]
    entry.row = row
    entry.part = part
    entry.cause = cause
    entry.unit = unit
    entry.debit = other if change > 0 else ACCOUNT_BALANCE
    entry.credit = ACCOUNT_BALANCE if change > 0 else other
    entry.definition = account.definition
    entry.period = account.period
    entry.amount = abs(change)
    entry.before = account.value
    account.value += change
    entry.after = account.value
    entry.granted = account.granted
    entry.member = account.member
    entry.user = user
    return count + 1


@nb.njit(inline="always")
def held(
    work: Array, size: int, kind: int, definition: int, periodic: bool, start_s: int, member: int
) -> int:
    """Row of a balance or counter for a moment; its bounds tell its period without any calendar. -1 for none.

    What was carried over is no period's own balance, and is not found.
    """
    found = -1
    for at in range(size):
        if (
            work[at].kind == kind
            and work[at].definition == definition
            and work[at].member == member
            and (work[at].period != 0) == periodic
            and work[at].period < CARRIED
            and work[at].valid_from_s <= start_s
            and work[at].valid_until_s > start_s
        ):
            found = at
            break
    return found


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def period_of(t: Vector, every: int, cycle_day: int, zone: int, start_us: int) -> tuple[int, int, int]:
    """Name, first second and end of the period of a moment; a balance without periods is always valid."""
    if every == 0:
        return nb.int64(0), nb.int64(0), nb.int64(NEVER_S)
    return period_at(t, every, cycle_day, zone, start_us)
