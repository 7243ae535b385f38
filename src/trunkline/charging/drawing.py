"""One use at one account: which balances may pay for it, in which order, and what each gives.

These are the compiled pieces of charging. An account at work is an array of rows with `size` of them in use; a
piece changes rows in place, books ledger entries behind `count`, and returns both numbers where they grew. The
short pieces are inlined, because handing an array to a compiled function costs as much as most of them do; none of
them allocates, so none counts references (`_nrt=False`), which took a third of their time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.charging.booking import Row, add_row, held, move, period_of
from trunkline.charging.ledger import (
    ACCOUNT_EXPIRED,
    ACCOUNT_GRANTS,
    ACCOUNT_REVENUE,
    ACCOUNT_USAGE,
    COUNTED_CAUSE,
)
from trunkline.charging.price import LARGEST, NO_PRICE, band_at, limited, price_use
from trunkline.charging.rate import line_at, version_at
from trunkline.charging.renewal import carry_over, grant_at, grant_of
from trunkline.charging.vector import (
    ALLOWANCE,
    B_BANDS,
    B_BLOCKER,
    B_DEN,
    B_INCREMENT,
    B_LIMIT,
    B_MAIN,
    B_NUM,
    B_PERIOD,
    B_PRIORITY,
    B_RATED_BY,
    B_RENEWAL,
    B_SCHEDULE,
    B_SHARED,
    B_UNIT,
    BALANCE,
    BALANCE_W,
    BALANCE_WORDS,
    C_PERIOD,
    C_UNIT,
    C_WATCHED,
    CARRIED_FIRST,
    COUNTED,
    COUNTED_NODE,
    COUNTED_SERVICE,
    COUNTER,
    COUNTER_W,
    COUNTER_WORDS,
    L_COUNTER,
    L_FREE,
    L_RECORD,
    LINE,
    LINE_W,
    MAIN,
    N_KEPT_S,
    PLAIN,
    RENEWAL,
    RENEWAL_W,
    SERVED_NODE,
    SERVED_SERVICE,
    V_ALLOWANCE,
    V_ALLOWANCES,
    V_COUNTED,
    V_COUNTEDS,
    VERSION,
    VERSION_W,
    WORD_BITS,
    ZONES,
)
from trunkline.records.charging import CARRIED, NEVER_S, Cause, RowKind, Unit
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

KEPT_AFTER_END_S = 62 * 86_400  # a period's balances wait this long for late records
BLOCKED, NO_TARIFF, LARGE = range(1, 4)  # verdicts; 0 is "charged"

_SUBSCRIPTION, _BALANCE, _COUNTER = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE), int(RowKind.COUNTER)
_MEMBER, _LIMIT, _DRAWN = int(RowKind.MEMBER), int(RowKind.LIMIT), int(RowKind.DRAWN)
_CALL, _TAKEN = int(RowKind.CALL), int(RowKind.TAKEN)
_USAGE, _GRANT, _EXPIRY = int(Cause.USAGE), int(Cause.GRANT), int(Cause.EXPIRY)
_MONEY = int(Unit.MONEY)
_VOICE = int(Kind.VOICE)
_UNIT_OF_KIND = np.array([0, Unit.TIME, Unit.EVENTS, Unit.OCTETS, Unit.EVENTS, Unit.EVENTS], np.uint8)


class Use(NamedTuple):
    """What eligibility and pricing ask about a use."""

    row: int  # of the batch
    kind: int
    direction: int
    zone: int
    node: int
    start_us: int
    start_s: int
    time_zone: int
    cycle_day: int
    unit: int
    units: int
    version: int
    line: int
    list_micros: int
    member: int  # who uses: 0 is the account's owner
    owner_version: (
        int  # the owner's plan version, whose shared allowances a member's use may draw on; -1 for none
    )
    owner_zone: int
    owner_cycle_day: int
    subscribed_s: int  # since when the subscription in force is: limits of its own have the same date


@nb.njit(inline="always")
def survey(work: Array, size: int, start_s: int, member: int) -> tuple[bool, bool]:
    """Whether something ended long ago, and whether the owner or this member has already seen a later period."""
    over = False
    late = False
    for at in range(size):
        over |= nb.int64(work[at].valid_until_s) + KEPT_AFTER_END_S < start_s
        mine = work[at].member == member or work[at].member == 0
        late |= mine and work[at].period != 0 and work[at].valid_from_s > start_s
    return over, late


@nb.njit(inline="always")
def _kept_s(t: Vector, row: Row) -> int:
    """How long a row is kept behind its end; what may still be carried over waits for as many periods."""
    kept_s = nb.int64(KEPT_AFTER_END_S)
    if row.kind == _BALANCE or row.kind == _DRAWN:
        kept_s += t[t[RENEWAL] + row.definition * RENEWAL_W + N_KEPT_S]
    return kept_s


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _is_open(work: Array, kept: int, taken: int) -> bool:
    """Whether the call that a row TAKEN is of is among the rows that are kept; its facts stand before it."""
    for at in range(kept):
        if (
            work[at].kind == _CALL
            and work[at].granted == work[taken].granted
            and work[at].period == work[taken].flags // 8
        ):
            return True
    return False


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def expire(
    t: Vector, work: Array, size: int, start_s: int, entries: Array, count: int, row: int
) -> tuple[int, int, int]:
    """Drop what ended so long ago that no late record may ask for it; what was left expires in the ledger."""
    kept = nb.int64(0)
    part = nb.int64(0)
    for at in range(size):
        lasting = work[at].kind == _SUBSCRIPTION or work[at].kind == _MEMBER or work[at].kind == _LIMIT
        gone = not lasting and nb.int64(work[at].valid_until_s) + _kept_s(t, work[at]) < start_s
        if gone or (work[at].kind == _TAKEN and not _is_open(work, kept, at)):
            if work[at].kind == _BALANCE and work[at].value > 0:
                unit = t[t[BALANCE] + work[at].definition * BALANCE_W + B_UNIT]
                left = work[at].value
                count = move(work[at], -left, entries, count, row, part, _EXPIRY, unit, ACCOUNT_EXPIRED, 0)
                part += 1
            continue
        work[kept] = work[at]
        kept += 1
    return kept, count, part


@nb.njit(inline="always")
def _fits(t: Vector, by_service: int, by_node: int, words: int, definition: int, use: Use) -> bool:
    """Whether a balance or counter fits a use, as the catalogue's tables of bits say."""
    service = (use.kind * 2 + use.direction) * t[ZONES] + use.zone
    word = definition // WORD_BITS
    fitting = t[t[by_service] + service * t[words] + word] & t[t[by_node] + use.node * t[words] + word]
    return fitting >> (definition % WORD_BITS) & 1 == 1


@nb.njit(inline="always")
def _serves(t: Vector, balance: int, use: Use) -> bool:
    """Whether a balance may pay for a use, by kind, direction, roaming zone, destination and time band."""
    fits = _fits(t, SERVED_SERVICE, SERVED_NODE, BALANCE_WORDS, balance, use)
    rule = t[BALANCE] + balance * BALANCE_W
    if fits and t[rule + B_SCHEDULE] >= 0:
        band, _ = band_at(t, t[rule + B_SCHEDULE], use.time_zone, use.start_us)
        fits = t[rule + B_BANDS] >> band & 1 == 1
    return fits


@nb.njit(inline="always")
def counts(t: Vector, counter: int, use: Use) -> bool:
    """Whether a counter counts a use."""
    return _fits(t, COUNTED_SERVICE, COUNTED_NODE, COUNTER_WORDS, counter, use)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _grant(
    t: Vector, use: Use, version: int, shared: bool, work: Array, size: int, entries: Array, count: int, part: int
) -> tuple[int, int, int]:  # fmt: skip
    """Give a plan version's allowances of this period that the use could draw on and that were not given yet.

    Shared ones are the account's, `shared` says whether they are given; the others are the user's own.
    """
    plan = t[VERSION] + version * VERSION_W
    first = t[ALLOWANCE] + t[plan + V_ALLOWANCE]
    for at in range(first, first + t[plan + V_ALLOWANCES]):
        balance = t[at]
        rule = t[BALANCE] + balance * BALANCE_W
        unit = t[rule + B_UNIT]
        if (unit != use.unit and unit != _MONEY) or not _serves(t, balance, use):
            continue
        if (t[rule + B_SHARED] != 0) != shared and use.member != 0:
            continue
        member = nb.int64(0) if shared else use.member
        if held(work, size, _BALANCE, balance, t[rule + B_PERIOD] != 0, use.start_s, member) >= 0:
            continue
        cycle_day, zone = (use.owner_cycle_day, use.owner_zone) if shared else (use.cycle_day, use.time_zone)
        period, from_s, until_s = period_of(t, t[rule + B_PERIOD], cycle_day, zone, use.start_us)
        if t[rule + B_RENEWAL] == PLAIN:
            grant = grant_of(t, work, size, balance, until_s)
        else:
            size, count, part = carry_over(
                t, work, size, balance, member, cycle_day, zone, from_s, until_s, use.start_s, entries, count, use.row,
                part, use.member,
            )  # fmt: skip
            grant, from_s, until_s = grant_at(
                t, work, size, balance, member, zone, from_s, until_s, use.start_s
            )
        size = add_row(work, size, _BALANCE, balance, period, grant, from_s, until_s, member)
        count = move(
            work[size - 1], grant, entries, count, use.row, part, _GRANT, unit, ACCOUNT_GRANTS, use.member
        )
        part += 1
    return size, count, part


@nb.njit(inline="always")
def _end_s(t: Vector, row: Row) -> int:
    """The end by which a balance waits for its turn."""
    end_s = nb.int64(row.valid_until_s)
    if row.period >= CARRIED and t[t[BALANCE] + row.definition * BALANCE_W + B_RENEWAL] == CARRIED_FIRST:
        end_s = nb.int64(row.valid_from_s)
    return end_s


@nb.njit(inline="always")
def _before(t: Vector, one: Row, other: Row) -> bool:
    """Whether one balance is drawn on before another: lower priority number, then earlier end, then lower number.

    What was carried over stands, where it is used first, with its period's beginning instead of its end.
    """
    mine = t[t[BALANCE] + one.definition * BALANCE_W + B_PRIORITY]
    theirs = t[t[BALANCE] + other.definition * BALANCE_W + B_PRIORITY]
    earlier = one.definition < other.definition
    if one.definition == other.definition:
        earlier = one.period < other.period
    my_end_s, their_end_s = _end_s(t, one), _end_s(t, other)
    if my_end_s != their_end_s:
        earlier = my_end_s < their_end_s
    if mine != theirs:
        earlier = mine < theirs
    return earlier


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _next(t: Vector, work: Array, size: int, used: Array, unit: int, use: Use) -> int:
    """The balance to draw on next; -1 for none. The main balance is never next: it takes what is left over."""
    best = nb.int64(-1)
    for at in range(size):
        if work[at].kind != _BALANCE or used[at]:
            continue
        rule = t[BALANCE] + work[at].definition * BALANCE_W
        if (
            t[rule + B_UNIT] != unit
            or t[rule + B_MAIN]
            or not (work[at].member == use.member or (work[at].member == 0 and t[rule + B_SHARED] != 0))
            or (work[at].value <= 0 and t[rule + B_BLOCKER] == 0)
            or work[at].valid_from_s > use.start_s
            or work[at].valid_until_s <= use.start_s
            or (best >= 0 and not _before(t, work[at], work[best]))
        ):
            continue
        if _serves(t, work[at].definition, use):
            best = nb.int64(at)
    return best


@nb.njit(inline="always")
def _counted(t: Vector, counter: int, use: Use, work: Array, size: int) -> int:
    """Value of a counter in the period of a use."""
    periodic = t[t[COUNTER] + counter * COUNTER_W + C_PERIOD] != 0
    at = held(work, size, _COUNTER, counter, periodic, use.start_s, use.member)
    return nb.int64(work[at].value) if at >= 0 else nb.int64(0)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def counted_before(t: Vector, line: int, use: Use, work: Array, size: int) -> int:
    """What the counter that chooses a line's tier has counted in the period of a use; 0 where there is none."""
    counter = t[t[LINE] + line * LINE_W + L_COUNTER]
    return _counted(t, counter, use, work, size) if counter >= 0 else nb.int64(0)


@nb.njit(inline="always")
def _count(
    t: Vector, use: Use, charged: int, work: Array, size: int, entries: Array, count: int
) -> tuple[int, int]:
    """Add a use to the plan's counters; watched counters report the change."""
    plan = t[VERSION] + use.version * VERSION_W
    first = t[COUNTED] + t[plan + V_COUNTED]
    for at in range(first, first + t[plan + V_COUNTEDS]):
        counter = t[at]
        rule = t[COUNTER] + counter * COUNTER_W
        unit = t[rule + C_UNIT]
        amount = charged if unit == _MONEY else (use.units if unit == use.unit else nb.int64(0))
        if amount == 0 or not counts(t, counter, use):
            continue
        found = held(work, size, _COUNTER, counter, t[rule + C_PERIOD] != 0, use.start_s, use.member)
        if found < 0:
            period, from_s, until_s = period_of(
                t, t[rule + C_PERIOD], use.cycle_day, use.time_zone, use.start_us
            )
            size = add_row(work, size, _COUNTER, counter, period, 0, from_s, until_s, use.member)
            found = size - 1
        if t[rule + C_WATCHED]:
            count = move(work[found], amount, entries, count, use.row, 0, COUNTED_CAUSE, unit, 0, use.member)
        else:
            work[found].value += amount
    return size, count


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _priced_cover(t: Vector, plan: int, use: Use, begin: int, end: int, work: Array, size: int) -> int:
    """What the plan behind a priced balance asks for the units that the balance covers; a failure is below zero."""
    line = line_at(t, version_at(t, plan, use.start_us), use.kind, use.direction, use.zone, use.node)
    if line < 0:
        return nb.int64(NO_PRICE)
    rule = t[LINE] + line * LINE_W
    if t[rule + L_FREE]:
        return nb.int64(0)
    counter = t[rule + L_COUNTER]
    counted = _counted(t, counter, use, work, size) if counter >= 0 else nb.int64(0)
    timed = use.kind == _VOICE
    return price_use(t, line, timed, use.start_us, use.time_zone, begin, end, counted, begin == 0)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _drawn(use: Use, work: Array, size: int, of: int) -> int:
    """Row that says what the user took of a shared balance; -1 for none. What was carried over has one of its own."""
    balance = nb.int64(work[of].definition)
    if work[of].period < CARRIED:
        return held(work, size, _DRAWN, balance, work[of].period != 0, use.start_s, use.member)
    for at in range(size):
        if (
            work[at].kind == _DRAWN
            and work[at].definition == balance
            and work[at].member == use.member
            and work[at].period == work[of].period
        ):
            return nb.int64(at)
    return nb.int64(-1)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _room(t: Vector, use: Use, work: Array, size: int, of: int) -> int:
    """How much the user may still take of a shared balance in its period, by the member's own limit or the rule's."""
    balance = nb.int64(work[of].definition)
    rule = t[BALANCE] + balance * BALANCE_W
    limit = t[rule + B_LIMIT]
    for at in range(size):
        if (
            work[at].kind == _LIMIT
            and work[at].definition == balance
            and work[at].member == use.member
            and work[at].valid_from_s == use.subscribed_s
        ):
            limit = nb.int64(work[at].value)
    if limit < 0:
        return nb.int64(LARGEST)
    drawn = _drawn(use, work, size, of)
    return max(limit - (nb.int64(work[drawn].value) if drawn >= 0 else nb.int64(0)), 0)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _note(use: Use, work: Array, size: int, of: int, amount: int) -> int:
    """Write down that the user took an amount of a shared balance; the account's size."""
    balance, periodic = nb.int64(work[of].definition), work[of].period != 0
    drawn = _drawn(use, work, size, of)
    if drawn < 0:
        from_s, until_s = nb.int64(0), nb.int64(NEVER_S)
        if periodic:
            from_s, until_s = nb.int64(work[of].valid_from_s), nb.int64(work[of].valid_until_s)
        size = add_row(work, size, _DRAWN, balance, nb.int64(work[of].period), 0, from_s, until_s, use.member)
        drawn = size - 1
    work[drawn].value += amount
    return size


@nb.njit(inline="always")
def _cover(
    t: Vector, use: Use, work: Array, size: int, used: Array, entries: Array, count: int, part: int
) -> tuple[int, int, int, int, int]:
    """Let unit balances cover a use from its front: units covered, money for priced ones (below zero: failed)."""
    covered = nb.int64(0)
    money = nb.int64(0)
    while covered < use.units and money >= 0:
        at = _next(t, work, size, used, use.unit, use)
        if at < 0:
            break
        used[at] = 1
        rule = t[BALANCE] + work[at].definition * BALANCE_W
        increment, num, den = t[rule + B_INCREMENT], t[rule + B_NUM], t[rule + B_DEN]
        want = (use.units - covered + increment - 1) // increment * increment
        if want > LARGEST // num:
            money = nb.int64(-LARGE)
            break
        left = max(nb.int64(work[at].value), 0)
        if t[rule + B_SHARED]:
            left = min(left, _room(t, use, work, size, at))
        pays = left * den // num if left <= LARGEST // den else left // num * den
        has = pays // increment * increment
        takes = min(want, has)
        if takes < want and t[rule + B_BLOCKER]:
            money = nb.int64(-BLOCKED)
            break
        if takes == 0:
            continue
        if t[rule + B_RATED_BY] >= 0:
            price = _priced_cover(t, t[rule + B_RATED_BY], use, covered, covered + takes, work, size)
            if price < 0:
                money = nb.int64(-NO_TARIFF if price == NO_PRICE else -LARGE)
                break
            money += price
        amount = (takes * num + den - 1) // den
        count = move(
            work[at], -amount, entries, count, use.row, part, _USAGE, use.unit, ACCOUNT_USAGE, use.member
        )
        if t[rule + B_SHARED]:
            size = _note(use, work, size, at, amount)
        part += 1
        covered += takes
    return covered, money, size, count, part


@nb.njit(inline="always")
def _pay(
    t: Vector, use: Use, total: int, limit: int, work: Array, size: int, used: Array, entries: Array, count: int,
    part: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Take an amount from money balances, the main one last: verdict, the account's size, entries."""
    left = total
    failed = nb.int64(0)
    while left > 0:
        at = _next(t, work, size, used, _MONEY, use)
        if at < 0:
            break
        used[at] = 1
        takes = min(left, max(nb.int64(work[at].value), 0))
        shared = t[t[BALANCE] + work[at].definition * BALANCE_W + B_SHARED] != 0
        if shared:
            takes = min(takes, _room(t, use, work, size, at))
        if takes < left and t[t[BALANCE] + work[at].definition * BALANCE_W + B_BLOCKER]:
            failed = nb.int64(BLOCKED)
            break
        if takes > 0:
            count = move(
                work[at], -takes, entries, count, use.row, part, _USAGE, _MONEY, ACCOUNT_REVENUE, use.member
            )
            if shared:
                size = _note(use, work, size, at, takes)
            part += 1
            left -= takes
    if left > 0 and failed == 0:
        at = held(work, size, _BALANCE, t[MAIN], periodic=False, start_s=0, member=0)
        if at < 0:
            size = add_row(work, size, _BALANCE, t[MAIN], 0, 0, 0, NEVER_S, 0)
            at = size - 1
        work[at].granted = limit
        count = move(
            work[at], -left, entries, count, use.row, part, _USAGE, _MONEY, ACCOUNT_REVENUE, use.member
        )
    return failed, size, count


@nb.njit(inline="always")
def _total(t: Vector, use: Use, covered: int, money: int, work: Array, size: int) -> int:
    """What a use still costs after allowances; `NO_PRICE` or `TOO_LARGE` where there is no such amount."""
    rule = t[LINE] + use.line * LINE_W
    tiered = t[rule + L_COUNTER] >= 0
    total = use.list_micros
    if t[rule + L_RECORD]:
        total = use.list_micros if covered < use.units else nb.int64(0)
    elif covered > 0 or tiered:
        counted = _counted(t, t[rule + L_COUNTER], use, work, size) if tiered else nb.int64(0)
        timed = use.kind == _VOICE
        total = price_use(
            t, use.line, timed, use.start_us, use.time_zone, covered, use.units, counted, covered == 0
        )
        if total >= 0:
            total = limited(t, use.line, money + total)
    return total


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def take(
    t: Vector, use: Use, limit: int, work: Array, size: int, used: Array, entries: Array, count: int, part: int
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Charge one use to one account: verdict, money, units covered, the account's size, entries.

    `limit` is the credit limit of the subscription, which the main balance's row carries for the alerts.
    """
    total = nb.int64(0)
    covered = nb.int64(0)
    failed = nb.int64(0)
    if t[t[LINE] + use.line * LINE_W + L_FREE] == 0:
        size, count, part = _grant(t, use, use.version, False, work, size, entries, count, part)  # noqa: FBT003
        if use.owner_version >= 0:
            size, count, part = _grant(t, use, use.owner_version, True, work, size, entries, count, part)  # noqa: FBT003
        for at in range(size):
            used[at] = 0
        covered, money, size, count, part = _cover(t, use, work, size, used, entries, count, part)
        if money < 0:
            return -money, total, covered, size, count
        total = _total(t, use, covered, money, work, size)
        if total < 0:
            return nb.int64(NO_TARIFF if total == NO_PRICE else LARGE), total, covered, size, count
        if total > 0:
            failed, size, count = _pay(t, use, total, limit, work, size, used, entries, count, part)
    if failed == 0:
        size, count = _count(t, use, total, work, size, entries, count)
    return failed, total, min(covered, use.units), size, count


def unit_of(kinds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What each kind of usage is counted in (`records.charging.Unit`)."""
    return _UNIT_OF_KIND[kinds]
