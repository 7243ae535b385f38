"""One long call that a switch tells in several records is charged as the one call that it is.

A part is charged when it comes: what the call so far comes to, all its parts together, less what its earlier parts were
charged. So money is known within seconds, the connect fee is due once, increments and the price's slots run over the
whole length, and the sum of all parts is the charge of one record that tells the same, however the call was cut and in
whatever order its parts came.

For that an account remembers, while a call is under way, a few facts of it (`RowKind.CALL`) and what it did to each
balance and counter (`RowKind.TAKEN`). A part first gives all of that back, in memory alone, then charges the whole of
the call, and books the difference. The call is over when the last part and all before it came; a gap keeps it open.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.booking import add_row, move
from trunkline.charging.drawing import LARGE, NO_TARIFF, Use, take
from trunkline.charging.ledger import ACCOUNT_REVENUE, ACCOUNT_USAGE, COUNTED_CAUSE
from trunkline.charging.price import NO_PRICE, limited, price_use
from trunkline.charging.rate import line_at, subscription_at, version_at
from trunkline.charging.under_way import (
    BITS,
    CAME,
    CHARGED,
    COVERED,
    END,
    FACTS,
    LAST,
    LIST,
    PLACE,
    PLACED,
    START,
    UNITS,
    UNPLACED_US,
)
from trunkline.charging.vector import (
    B_MAIN,
    B_UNIT,
    BALANCE,
    BALANCE_W,
    C_UNIT,
    C_WATCHED,
    COUNTER,
    COUNTER_W,
    L_FREE,
    L_RECORD,
    LINE,
    LINE_W,
    PLACES,
)
from trunkline.records.charging import NEVER_S, Cause, RowKind, Unit
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

PART_AGAIN = 4  # verdict beside those of `drawing`
APART_US = 86_400_000_000  # parts of one call lie no further apart; beyond that a reference is used again
MOST_OPEN = 31  # calls under one reference that are told apart
ROOM = FACTS + 1  # rows that a part may add, besides one for each row that its call changes

_BALANCE, _COUNTER, _DRAWN = int(RowKind.BALANCE), int(RowKind.COUNTER), int(RowKind.DRAWN)
_CALL, _TAKEN = int(RowKind.CALL), int(RowKind.TAKEN)
_USAGE, _GRANT, _ROLLOVER = int(Cause.USAGE), int(Cause.GRANT), int(Cause.ROLLOVER)
_MONEY = int(Unit.MONEY)
_VOICE = int(Kind.VOICE)
NODE_WIDTH = 1 << 16  # roaming zones fit below it,
PLACE_WIDTH = 1 << 40  # nodes below this, and how both are numbered above


class Uses(NamedTuple):
    """The uses of a batch, account by account, each account's in the order of arrival."""

    row: Array  # i8: where the use stands in the batch
    kind: Array
    direction: Array
    start_us: Array
    unit: Array
    units: Array
    version: Array
    line: Array
    node: Array
    zone: Array
    list_micros: Array
    member: Array
    # Empty where no use is a part of a call:
    call: Array  # i8: key of the call that it is a part of; 0 for a use that is whole
    part: Array  # u2: its number; 0 where counters tell what is missing
    last: Array  # bool: whether the call ended with it
    begun_us: Array  # i8: when the call began, as far as the record says


class Found(NamedTuple):
    """What charging finds for each use; the arrays run beside `Uses`."""

    verdict: Array  # u1: 0 = charged, else the number of a reason
    charged: Array  # i8 micro-units
    covered: Array  # i8 units that allowances paid
    late: Array  # bool


@nb.njit(nogil=True, cache=True)
def _fact(work: Array, size: int, key: int, number: int, member: int, definition: int) -> int:
    """Row of a fact of a call; -1 where there is none."""
    found = nb.int64(-1)
    for at in range(size):
        if (
            work[at].kind == _CALL
            and work[at].granted == key
            and work[at].definition == definition
            and work[at].period == number
            and work[at].member == member
        ):
            found = nb.int64(at)
            break
    return found


@nb.njit(nogil=True, cache=True)
def _number_of(
    work: Array, size: int, key: int, member: int, what: int, from_us: int, until_us: int
) -> tuple[int, int]:
    """Which call under a reference lies at a moment, the earliest (0: none), and the number for the next one."""
    found, most, earliest = nb.int64(0), nb.int64(0), nb.int64(0)
    for at in range(size):
        row = work[at]
        if row.kind != _CALL or row.granted != key or row.definition != START or row.member != member:
            continue
        number = nb.int64(row.period)
        most = max(most, number)
        end = _fact(work, size, key, number, member, END)
        near = row.value - APART_US <= until_us and from_us <= work[end].value + APART_US
        near &= row.flags == what
        if near and (found == 0 or row.value < earliest):
            found, earliest = number, nb.int64(row.value)
    return found, min(most + 1, MOST_OPEN)


@nb.njit(nogil=True, cache=True)
def _opened(
    work: Array, size: int, key: int, number: int, member: int, what: int, start_us: int, end_us: int
) -> int:
    """Write down that a call began; the account's size."""
    for definition in range(FACTS):
        size = add_row(work, size, _CALL, definition, number, key, 0, NEVER_S, member)
        work[size - 1].flags = what
    work[size - FACTS + START].value = start_us
    work[size - FACTS + END].value = end_us
    work[size - FACTS + PLACED].value = UNPLACED_US
    return size


@nb.njit(nogil=True, cache=True)
def _ticked(work: Array, size: int, key: int, number: int, member: int, part: int) -> tuple[int, bool]:
    """Tick off a part's number: the account's size, and whether it had not come before."""
    definition = FACTS + (part - 1) // BITS
    bit = nb.int64(1) << ((part - 1) % BITS)
    at = _fact(work, size, key, number, member, definition)
    if at < 0:
        size = add_row(work, size, _CALL, definition, number, key, 0, NEVER_S, member)
        at = size - 1
    if work[at].value & bit:
        return size, False
    work[at].value |= bit
    return size, True


@nb.njit(nogil=True, cache=True)
def _same(work: Array, taken: int, at: int) -> bool:
    """Whether a row TAKEN is of another row of the account."""
    one, other = work[taken], work[at]
    return (
        one.flags % 8 == other.kind
        and one.definition == other.definition
        and one.period == other.period
        and one.member == other.member
        and one.valid_from_s == other.valid_from_s
        and one.valid_until_s == other.valid_until_s
    )


@nb.njit(nogil=True, cache=True)
def _give_back(work: Array, size: int, key: int, number: int) -> None:
    """Undo, in the account at work alone, what a call did to balances and counters until now."""
    for taken in range(size):
        if work[taken].kind != _TAKEN or work[taken].granted != key or work[taken].flags // 8 != number:
            continue
        for at in range(size):
            if _same(work, taken, at):
                work[at].value -= work[taken].value
                break


@nb.njit(nogil=True, cache=True)
def _note_taken(work: Array, size: int, key: int, number: int, at: int, change: int) -> int:
    """Write down what a call did to a row; the account's size."""
    for taken in range(size):
        if (
            work[taken].kind == _TAKEN
            and work[taken].granted == key
            and work[taken].flags // 8 == number
            and _same(work, taken, at)
        ):
            work[taken].value += change
            return size
    of = work[at]
    size = add_row(
        work, size, _TAKEN, of.definition, of.period, key, of.valid_from_s, of.valid_until_s, of.member
    )
    work[size - 1].flags = of.kind + 8 * number
    work[size - 1].value = change
    return size


@nb.njit(nogil=True, cache=True)
def _forget(work: Array, size: int, key: int, number: int, member: int) -> int:
    """Drop all that is known of a call; the account's size."""
    kept = nb.int64(0)
    for at in range(size):
        row = work[at]
        fact = row.kind == _CALL and row.period == number and row.member == member
        taken = row.kind == _TAKEN and row.flags // 8 == number
        if (fact or taken) and row.granted == key:
            continue
        work[kept] = work[at]
        kept += 1
    return kept


@nb.njit(nogil=True, cache=True)
def place_at(t: Vector, node: int, zone: int) -> int:
    """Where a call goes, with the numbering by which it is said: each tariff numbers places afresh."""
    return nb.int64(t[PLACES]) * PLACE_WIDTH + node * NODE_WIDTH + zone


@nb.njit(nogil=True, cache=True)
def _listed(t: Vector, use: Use, record_micros: int) -> int:
    """What a whole call comes to before allowances; `NO_PRICE` or `TOO_LARGE` where there is no such amount."""
    base = t[LINE] + use.line * LINE_W
    if t[base + L_RECORD]:
        return limited(t, use.line, record_micros)
    if t[base + L_FREE]:
        return nb.int64(0)
    timed = use.kind == _VOICE
    total = price_use(t, use.line, timed, use.start_us, use.time_zone, 0, use.units, 0, True)  # noqa: FBT003
    return limited(t, use.line, total) if total >= 0 else total


@nb.njit(nogil=True, cache=True)
def _whole_call(
    t: Vector, uses: Uses, at: int, work: Array, size: int, start_us: int, units: int, place: int
) -> tuple[Use, int]:
    """The call so far as one use, by the contract and the place with which it began, and its credit limit."""
    member = nb.int64(uses.member[at])
    kind, direction = nb.int64(uses.kind[at]), nb.int64(uses.direction[at])
    node, zone = place % PLACE_WIDTH // NODE_WIDTH, place % NODE_WIDTH
    start_s = start_us // 1_000_000
    subscription = subscription_at(work, 0, size, start_s, member)
    if subscription < 0:  # it was already under way when the contract began
        subscription = subscription_at(work, 0, size, uses.start_us[at] // 1_000_000, member)
    version = version_at(t, nb.int64(work[subscription].definition), start_us)
    line = line_at(t, version, kind, direction, zone, node)
    if line < 0:
        version, line = nb.int64(uses.version[at]), nb.int64(uses.line[at])
    packed, limit = nb.int64(work[subscription].granted), nb.int64(work[subscription].value)
    owner, owner_packed = nb.int64(-1), nb.int64(0)
    if member != 0:  # the owner pays what allowances leave over
        limit = nb.int64(0)
        payer = subscription_at(work, 0, size, start_s, 0)
        if payer >= 0:
            limit = nb.int64(work[payer].value)
            owner = version_at(t, nb.int64(work[payer].definition), start_us)
            owner_packed = nb.int64(work[payer].granted)
    use = Use(
        uses.row[at], kind, direction, zone, node, start_us, start_s, packed & 0xFFFF, packed >> 16,
        nb.int64(uses.unit[at]), units, version, line, nb.int64(0), member, owner, owner_packed & 0xFFFF,
        owner_packed >> 16, nb.int64(work[subscription].valid_from_s),
    )  # fmt: skip
    return use, limit


@nb.njit(nogil=True, cache=True)
def _with_list(use: Use, list_micros: int) -> Use:
    """The same use with its price before allowances."""
    return Use(
        use.row, use.kind, use.direction, use.zone, use.node, use.start_us, use.start_s, use.time_zone, use.cycle_day,
        use.unit, use.units, use.version, use.line, nb.int64(list_micros), use.member, use.owner_version,
        use.owner_zone, use.owner_cycle_day, use.subscribed_s,
    )  # fmt: skip


@nb.njit(nogil=True, cache=True)
def _book_difference(
    t: Vector, use: Use, key: int, number: int, saved: Array, kept_size: int, work: Array, size: int, entries: Array,
    begin: int, count: int, part: int,
) -> tuple[int, int]:  # fmt: skip
    """Turn what charging the whole call did into what it does beyond its earlier parts: the account's size, entries.

    Entries from `begin` on are those of the whole call. Its grants and what they carried over stay; the rest is told
    anew, a row of the account at a time and the main balance last, from how the account stood before this part
    (`saved`).
    """
    grants = nb.int64(begin)
    while grants < count and (entries[grants].cause == _GRANT or entries[grants].cause == _ROLLOVER):
        grants += 1
    count = grants
    part += grants - begin
    rows = nb.int64(size)
    for step in range(2 * rows):
        at = step % rows
        kind = nb.int64(work[at].kind)
        if kind != _BALANCE and kind != _COUNTER and kind != _DRAWN:
            continue
        main = kind == _BALANCE and t[t[BALANCE] + work[at].definition * BALANCE_W + B_MAIN] != 0
        if main != (step >= rows):  # the main balance is the last, as always
            continue
        before = nb.int64(saved[at].value) if at < kept_size else nb.int64(0)
        if kind == _BALANCE:
            for granted in range(begin, grants):
                of = entries[granted]
                if (
                    of.definition == work[at].definition
                    and of.period == work[at].period
                    and of.member == work[at].member
                    and (at >= kept_size or (of.cause == _ROLLOVER and of.before == before))
                ):
                    before = nb.int64(of.after)
        change = nb.int64(work[at].value) - before
        if change == 0:
            continue
        size = _note_taken(work, size, key, number, at, change)
        if kind == _BALANCE:
            unit = t[t[BALANCE] + work[at].definition * BALANCE_W + B_UNIT]
            other = ACCOUNT_REVENUE if unit == _MONEY else ACCOUNT_USAGE
            work[at].value = before
            count = move(work[at], change, entries, count, use.row, part, _USAGE, unit, other, use.member)
            part += 1
        elif kind == _COUNTER and t[t[COUNTER] + work[at].definition * COUNTER_W + C_WATCHED]:
            unit = t[t[COUNTER] + work[at].definition * COUNTER_W + C_UNIT]
            work[at].value = before
            count = move(work[at], change, entries, count, use.row, 0, COUNTED_CAUSE, unit, 0, use.member)
    return size, count


@nb.njit(nogil=True, cache=True)
def _copied(rows: Array, size: int, into: Array) -> int:
    for at in range(size):
        into[at] = rows[at]
    return size


@nb.njit(nogil=True, cache=True)
def charge_part(
    t: Vector, uses: Uses, at: int, found: Found, work: Array, saved: Array, used: Array, size: int, entries: Array,
    count: int, part: int,
) -> tuple[int, int]:  # fmt: skip
    """Charge what one part adds to its call: the account's size, entries. A part that is refused changes nothing.

    What the record is listed at and the plan version that priced it are those of its call; they go into `uses`.
    """
    key, member, units = nb.int64(uses.call[at]), nb.int64(uses.member[at]), nb.int64(uses.units[at])
    begun_us = min(nb.int64(uses.start_us[at]), nb.int64(uses.begun_us[at]))
    end_us = nb.int64(uses.start_us[at]) + (units * 1000 if uses.kind[at] == _VOICE else nb.int64(0))
    what = nb.int64(uses.kind[at]) + 8 * nb.int64(uses.direction[at])
    number, following = _number_of(work, size, key, member, what, begun_us, end_us)
    if number == 0 and units == 0 and uses.part[at] == 0:
        return size, count  # a report that begins or ends a session in which nothing was used
    kept_size, kept_count = size, count
    _copied(work, size, saved)
    if number == 0:
        number = following
        size = _opened(work, size, key, number, member, what, begun_us, end_us)
    if uses.part[at] != 0:
        size, new = _ticked(work, size, key, number, member, nb.int64(uses.part[at]))
        if not new:
            found.verdict[at] = PART_AGAIN
            return _copied(saved, kept_size, work), kept_count
    head = _fact(work, size, key, number, member, START)  # the other facts stand behind it
    _add_part(t, uses, at, work, size, head, begun_us, end_us)
    record_micros = nb.int64(work[head + LIST].value) + nb.int64(uses.list_micros[at])
    whole = nb.int64(work[head + UNITS].value)
    if uses.line[at] >= 0 and whole != 0:
        start_us = nb.int64(work[head + START].value)
        use, limit = _whole_call(t, uses, at, work, size, start_us, whole, nb.int64(work[head + PLACE].value))
        listed = _listed(t, use, record_micros)
        failed, total, covered = nb.int64(0), nb.int64(0), nb.int64(0)
        if listed < 0:
            failed = nb.int64(NO_TARIFF if listed == NO_PRICE else LARGE)
        else:
            use = _with_list(use, listed)
            _give_back(work, size, key, number)
            failed, total, covered, size, count = take(t, use, limit, work, size, used, entries, count, part)
        if failed:
            found.verdict[at] = failed
            return _copied(saved, kept_size, work), kept_count
        size, count = _book_difference(
            t, use, key, number, saved, kept_size, work, size, entries, kept_count, count, part
        )
        uses.version[at] = use.version
        uses.list_micros[at] = listed - work[head + LIST].value
        found.charged[at] = total - work[head + CHARGED].value
        found.covered[at] = covered - work[head + COVERED].value
        work[head + LIST].value = listed
        work[head + CHARGED].value = total
        work[head + COVERED].value = covered
    last, came = nb.int64(work[head + LAST].value), nb.int64(work[head + CAME].value)
    if (last > 0 and came == last) or (uses.part[at] == 0 and uses.last[at]):
        size = _forget(work, size, key, number, member)
    return size, count


@nb.njit(nogil=True, cache=True)
def _add_part(
    t: Vector, uses: Uses, at: int, work: Array, size: int, head: int, begun_us: int, end_us: int
) -> None:
    """Write down what a part adds to what is known of its call."""
    start_us = nb.int64(uses.start_us[at])
    work[head + START].value = min(nb.int64(work[head + START].value), begun_us)
    work[head + END].value = max(nb.int64(work[head + END].value), end_us)
    # The earliest part says where it went; what it said by another tariff's numbers means nothing, so this one says it.
    anew = nb.int64(work[head + PLACE].value) // PLACE_WIDTH != t[PLACES]
    if uses.line[at] >= 0 and (anew or start_us < work[head + PLACED].value):
        work[head + PLACED].value = min(nb.int64(work[head + PLACED].value), start_us)
        work[head + PLACE].value = place_at(t, nb.int64(uses.node[at]), nb.int64(uses.zone[at]))
    work[head + UNITS].value += uses.units[at]
    if uses.part[at] != 0:
        work[head + CAME].value += 1
        if uses.last[at]:
            work[head + LAST].value = max(nb.int64(work[head + LAST].value), nb.int64(uses.part[at]))
    until_s = nb.int64(work[head + END].value) // 1_000_000 + 1
    for row in range(size):
        if (
            work[row].kind == _CALL
            and work[row].granted == work[head].granted
            and work[row].period == work[head].period
            and work[row].member == work[head].member
        ):
            work[row].valid_until_s = until_s
