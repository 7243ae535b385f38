"""Charging: usage is taken from balances, allowances first, and every movement becomes a ledger entry.

Each subscriber's usage is charged in the order of its arrival, so it does not matter where a stream is cut into
batches. Allowances are granted when the first use of their period asks for them; a late record finds the balances
of its own period. What a use still costs after allowances is taken from money balances; the main balance takes the
rest and may go below zero, because the use has already happened.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.ledger import (
    ACCOUNT_BALANCE,
    ACCOUNT_EXPIRED,
    ACCOUNT_GRANTS,
    ACCOUNT_REVENUE,
    ACCOUNT_USAGE,
    ENTRY,
    changes_of,
    entries_of,
)
from trunkline.charging.periods import period_at
from trunkline.charging.price import NO_PRICE, band_at, limited, price_use
from trunkline.charging.rate import line_at, subscription_at, version_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import (
    ALLOWANCE,
    ALLOWED,
    B_BANDS,
    B_BLOCKER,
    B_DEN,
    B_DIRECTIONS,
    B_GRANT,
    B_INCREMENT,
    B_KINDS,
    B_KNOWN,
    B_MAIN,
    B_NODES,
    B_NUM,
    B_PERIOD,
    B_PRIORITY,
    B_RATED_BY,
    B_SCHEDULE,
    B_UNIT,
    B_ZONES,
    BALANCE,
    BALANCE_W,
    C_KINDS,
    C_KNOWN,
    C_NODES,
    C_PERIOD,
    C_UNIT,
    C_WATCHED,
    C_ZONES,
    COUNTED,
    COUNTER,
    COUNTER_W,
    DEFAULT_CYCLE_DAY,
    DEFAULT_PLAN,
    DEFAULT_ZONE,
    L_COUNTER,
    L_FREE,
    L_RECORD,
    LINE,
    LINE_W,
    MAIN,
    MOST_NEW,
    NODES,
    V_ALLOWANCE,
    V_ALLOWANCES,
    V_COUNTED,
    V_COUNTEDS,
    VERSION,
    VERSION_W,
    vectors,
)
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group
from trunkline.records.charging import ACCOUNT_ROW, CHARGED, NEVER_S, Cause, RowKind, Unit
from trunkline.records.usage import REJECTED, Kind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

KEPT_AFTER_END_S = 62 * 86_400  # a period's balances wait this long for late records

_SUBSCRIPTION, _BALANCE, _COUNTER = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE), int(RowKind.COUNTER)
_USAGE, _GRANT, _EXPIRY, _COUNTED = int(Cause.USAGE), int(Cause.GRANT), int(Cause.EXPIRY), 0
_MONEY = int(Unit.MONEY)
_VOICE = int(Kind.VOICE)
_UNIT_OF_KIND = np.array([0, Unit.TIME, Unit.EVENTS, Unit.OCTETS, Unit.EVENTS, Unit.EVENTS], np.uint8)

_REASONS = ("", "balance_blocked", "tariff_not_found", "too_large")
_BLOCKED, _NO_TARIFF, _LARGE = range(1, 4)

class Use(NamedTuple):
    """One use inside the kernel: what eligibility and pricing ask about it."""

    kind: int
    direction: int
    zone: int
    node: int
    start_us: int
    time_zone: int
    cycle_day: int


@nb.njit(nogil=True, cache=True)
def _serves(t: Vector, balance: int, use: Any) -> bool:
    """Whether a balance may pay for a use, by kind, direction, roaming zone, destination and time band."""
    rule = t[BALANCE] + balance * BALANCE_W
    if (
        t[rule + B_KNOWN] == 0
        or t[rule + B_KINDS] >> use.kind & 1 == 0
        or t[rule + B_DIRECTIONS] >> use.direction & 1 == 0
        or t[rule + B_ZONES] >> use.zone & 1 == 0
        or (t[rule + B_NODES] >= 0 and t[t[ALLOWED] + t[rule + B_NODES] * t[NODES] + use.node] == 0)
    ):
        return False
    if t[rule + B_SCHEDULE] >= 0:
        band, _ = band_at(t, t[rule + B_SCHEDULE], use.time_zone, use.start_us)
        return t[rule + B_BANDS] >> band & 1 == 1
    return True


@nb.njit(nogil=True, cache=True)
def _counts(t: Vector, counter: int, use: Any) -> bool:
    rule = t[COUNTER] + counter * COUNTER_W
    return (
        t[rule + C_KNOWN] == 1
        and t[rule + C_KINDS] >> use.kind & 1 == 1
        and t[rule + C_ZONES] >> use.zone & 1 == 1
        and (t[rule + C_NODES] < 0 or t[t[ALLOWED] + t[rule + C_NODES] * t[NODES] + use.node] == 1)
    )


@nb.njit(nogil=True, cache=True)
def _held(work: Array, size: int, kind: int, definition: int, periodic: bool, start_s: int) -> int:
    """Row of a balance or counter for a moment; its bounds tell its period without any calendar. -1 when there is none."""
    for at in range(size):
        if (
            work[at].kind == kind
            and work[at].definition == definition
            and (work[at].period != 0) == periodic
            and work[at].valid_from_s <= start_s
            and work[at].valid_until_s > start_s
        ):
            return at
    return -1


@nb.njit(nogil=True, cache=True)
def _add(
    work: Array, size: int, kind: int, definition: int, period: int, value: int, granted: int, from_s: int, until_s: int
) -> int:
    work[size].kind = kind
    work[size].flags = 0
    work[size].definition = definition
    work[size].period = period
    work[size].value = value
    work[size].granted = granted
    work[size].valid_from_s = from_s
    work[size].valid_until_s = until_s
    return size + 1


@nb.njit(nogil=True, cache=True)
def _book(
    entries: Array,
    count: int,
    row: int,
    part: int,
    cause: int,
    unit: int,
    debit: int,
    credit: int,
    account: Any,
    amount: int,
    before: int,
    after: int,
    granted: int,
) -> int:
    entry = entries[count]
    entry.row = row
    entry.part = part
    entry.cause = cause
    entry.unit = unit
    entry.debit = debit
    entry.credit = credit
    entry.definition = account.definition
    entry.period = account.period
    entry.amount = amount
    entry.before = before
    entry.after = after
    entry.granted = granted
    return count + 1


@nb.njit(nogil=True, cache=True)
def _survey(work: Array, size: int, start_s: int) -> tuple[bool, bool]:
    """Whether something ended long ago, and whether the account has already seen a later period."""
    over = False
    late = False
    for at in range(size):
        over |= np.int64(work[at].valid_until_s) + KEPT_AFTER_END_S < start_s
        late |= work[at].period != 0 and work[at].valid_from_s > start_s
    return over, late


@nb.njit(nogil=True, cache=True)
def _expire(t: Vector, work: Array, size: int, start_s: int, entries: Array, count: int, row: int) -> tuple[int, int, int]:
    """Drop what ended so long ago that no late record may ask for it; what was left expires in the ledger."""
    kept = 0
    part = 0
    for at in range(size):
        if work[at].kind != _SUBSCRIPTION and np.int64(work[at].valid_until_s) + KEPT_AFTER_END_S < start_s:
            if work[at].kind == _BALANCE and work[at].value > 0:
                left = work[at].value
                unit = t[t[BALANCE] + work[at].definition * BALANCE_W + B_UNIT]
                count = _book(
                    entries, count, row, part, _EXPIRY, unit, ACCOUNT_BALANCE, ACCOUNT_EXPIRED, work[at], left, left, 0,
                    work[at].granted,
                )  # fmt: skip
                part += 1
            continue
        work[kept] = work[at]
        kept += 1
    return kept, count, part


@nb.njit(nogil=True, cache=True)
def _period(t: Vector, every: int, use: Any) -> tuple[int, int, int]:
    """Name, first second and end of the period of a use; a balance without periods is always valid."""
    if every == 0:
        return np.int64(0), np.int64(0), np.int64(NEVER_S)
    return period_at(t, every, use.cycle_day, use.time_zone, use.start_us)


@nb.njit(nogil=True, cache=True)
def _grant(
    t: Vector, version: int, use: Any, unit: int, work: Array, size: int, entries: Array, count: int, row: int, part: int
) -> tuple[int, int, int]:
    """Give the plan's allowances of this period that the use could draw on and that were not given yet."""
    plan = t[VERSION] + version * VERSION_W
    start_s = use.start_us // 1_000_000
    first = t[ALLOWANCE] + t[plan + V_ALLOWANCE]
    for at in range(first, first + t[plan + V_ALLOWANCES]):
        balance = t[at]
        rule = t[BALANCE] + balance * BALANCE_W
        counts = t[rule + B_UNIT]
        if (counts != unit and counts != _MONEY) or not _serves(t, balance, use):
            continue
        if _held(work, size, _BALANCE, balance, t[rule + B_PERIOD] != 0, start_s) >= 0:
            continue
        period, from_s, until_s = _period(t, t[rule + B_PERIOD], use)
        grant = t[rule + B_GRANT]
        size = _add(work, size, _BALANCE, balance, period, grant, grant, from_s, until_s)
        count = _book(
            entries, count, row, part, _GRANT, counts, ACCOUNT_GRANTS, ACCOUNT_BALANCE, work[size - 1], grant, 0, grant, grant
        )
        part += 1
    return size, count, part


@nb.njit(nogil=True, cache=True)
def _before(t: Vector, one: Any, other: Any) -> bool:
    """Whether one balance is drawn on before another: lower priority number, then earlier end, then lower number."""
    mine = t[t[BALANCE] + one.definition * BALANCE_W + B_PRIORITY]
    theirs = t[t[BALANCE] + other.definition * BALANCE_W + B_PRIORITY]
    if mine != theirs:
        return mine < theirs
    if one.valid_until_s != other.valid_until_s:
        return one.valid_until_s < other.valid_until_s
    return one.definition < other.definition


@nb.njit(nogil=True, cache=True)
def _next(t: Vector, work: Array, size: int, used: Array, unit: int, use: Any) -> int:
    """The balance to draw on next; -1 for none. The main balance is never next: it takes what is left over."""
    start_s = use.start_us // 1_000_000
    best = -1
    for at in range(size):
        if work[at].kind != _BALANCE or used[at]:
            continue
        rule = t[BALANCE] + work[at].definition * BALANCE_W
        if (
            t[rule + B_UNIT] != unit
            or t[rule + B_MAIN]
            or (work[at].value <= 0 and t[rule + B_BLOCKER] == 0)
            or work[at].valid_from_s > start_s
            or work[at].valid_until_s <= start_s
            or (best >= 0 and not _before(t, work[at], work[best]))
        ):
            continue
        if _serves(t, work[at].definition, use):
            best = at
    return best


@nb.njit(nogil=True, cache=True)
def _main(t: Vector, work: Array, size: int) -> tuple[int, int]:
    """Row of the main balance, made when the account has none yet, and the account's size."""
    at = _held(work, size, _BALANCE, t[MAIN], False, 0)
    if at < 0:
        size = _add(work, size, _BALANCE, t[MAIN], 0, 0, 0, 0, NEVER_S)
        at = size - 1
    return at, size


@nb.njit(nogil=True, cache=True)
def _counted(t: Vector, counter: int, use: Any, work: Array, size: int) -> int:
    """Value of a counter in the period of a use."""
    periodic = t[t[COUNTER] + counter * COUNTER_W + C_PERIOD] != 0
    at = _held(work, size, _COUNTER, counter, periodic, use.start_us // 1_000_000)
    return np.int64(work[at].value) if at >= 0 else np.int64(0)


@nb.njit(nogil=True, cache=True)
def _count(
    t: Vector, version: int, use: Any, unit: int, units: int, charged: int, work: Array, size: int, entries: Array, count: int,
    row: int,
) -> tuple[int, int]:  # fmt: skip
    """Add a use to the plan's counters; watched counters report the change."""
    plan = t[VERSION] + version * VERSION_W
    start_s = use.start_us // 1_000_000
    first = t[COUNTED] + t[plan + V_COUNTED]
    for at in range(first, first + t[plan + V_COUNTEDS]):
        counter = t[at]
        rule = t[COUNTER] + counter * COUNTER_W
        counts = t[rule + C_UNIT]
        amount = charged if counts == _MONEY else (units if counts == unit else np.int64(0))
        if amount == 0 or not _counts(t, counter, use):
            continue
        found = _held(work, size, _COUNTER, counter, t[rule + C_PERIOD] != 0, start_s)
        if found < 0:
            period, from_s, until_s = _period(t, t[rule + C_PERIOD], use)
            size = _add(work, size, _COUNTER, counter, period, 0, 0, from_s, until_s)
            found = size - 1
        before = work[found].value
        work[found].value = before + amount
        if t[rule + C_WATCHED]:
            count = _book(entries, count, row, 0, _COUNTED, counts, 0, 0, work[found], amount, before, before + amount, 0)
    return size, count


@nb.njit(nogil=True, cache=True)
def _priced_cover(t: Vector, plan: int, use: Any, begin: int, end: int, work: Array, size: int) -> int:
    """What the plan behind a priced balance asks for the units that the balance covers; a failure is below zero."""
    line = line_at(t, version_at(t, plan, use.start_us), use.kind, use.direction, use.zone, use.node)
    if line < 0:
        return np.int64(NO_PRICE)
    if t[t[LINE] + line * LINE_W + L_FREE]:
        return np.int64(0)
    counter = t[t[LINE] + line * LINE_W + L_COUNTER]
    counted = _counted(t, counter, use, work, size) if counter >= 0 else np.int64(0)
    return price_use(t, line, use.kind == _VOICE, use.start_us, use.time_zone, begin, end, counted, begin == 0)


@nb.njit(nogil=True, cache=True)
def _cover(
    t: Vector, use: Any, unit: int, units: int, work: Array, size: int, used: Array, entries: Array, count: int, row: int,
    part: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Let unit balances cover a use from its front: units covered, money for priced ones (below zero: failed), entries."""
    covered = np.int64(0)
    money = np.int64(0)
    while covered < units:
        at = _next(t, work, size, used, unit, use)
        if at < 0:
            break
        used[at] = 1
        rule = t[BALANCE] + work[at].definition * BALANCE_W
        increment, num, den = t[rule + B_INCREMENT], t[rule + B_NUM], t[rule + B_DEN]
        want = (units - covered + increment - 1) // increment * increment
        has = max(work[at].value * den // num // increment * increment, 0)
        takes = min(want, has)
        if takes < want and t[rule + B_BLOCKER]:
            return covered, np.int64(-_BLOCKED), count, part
        if takes == 0:
            continue
        if t[rule + B_RATED_BY] >= 0:
            price = _priced_cover(t, t[rule + B_RATED_BY], use, covered, covered + takes, work, size)
            if price < 0:
                return covered, np.int64(-_NO_TARIFF if price == NO_PRICE else -_LARGE), count, part
            money += price
        amount = (takes * num + den - 1) // den
        before = work[at].value
        work[at].value = before - amount
        count = _book(
            entries, count, row, part, _USAGE, unit, ACCOUNT_BALANCE, ACCOUNT_USAGE, work[at], amount, before,
            before - amount, work[at].granted,
        )  # fmt: skip
        part += 1
        covered += takes
    return covered, money, count, part


@nb.njit(nogil=True, cache=True)
def _pay(
    t: Vector, use: Any, total: int, credit_limit: int, work: Array, size: int, used: Array, entries: Array, count: int,
    row: int, part: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Take an amount from money balances, the main one last: verdict, the account's size, entries."""
    left = total
    while left > 0:
        at = _next(t, work, size, used, _MONEY, use)
        if at < 0:
            break
        used[at] = 1
        takes = min(left, max(np.int64(work[at].value), 0))
        if takes < left and t[t[BALANCE] + work[at].definition * BALANCE_W + B_BLOCKER]:
            return np.int64(_BLOCKED), size, count
        if takes == 0:
            continue
        before = work[at].value
        work[at].value = before - takes
        count = _book(
            entries, count, row, part, _USAGE, _MONEY, ACCOUNT_BALANCE, ACCOUNT_REVENUE, work[at], takes, before,
            before - takes, work[at].granted,
        )  # fmt: skip
        part += 1
        left -= takes
    if left > 0:
        at, size = _main(t, work, size)
        before = work[at].value
        work[at].value = before - left
        count = _book(
            entries, count, row, part, _USAGE, _MONEY, ACCOUNT_BALANCE, ACCOUNT_REVENUE, work[at], left, before,
            before - left, credit_limit,
        )  # fmt: skip
    return np.int64(0), size, count


@nb.njit(nogil=True, cache=True)
def _total(
    t: Vector, use: Any, line: int, units: int, list_micros: int, covered: int, money: int, work: Array, size: int
) -> int:
    """What a use still costs after allowances; `NO_PRICE` or `TOO_LARGE` where there is no such amount."""
    rule = t[LINE] + line * LINE_W
    tiered = t[rule + L_COUNTER] >= 0
    if t[rule + L_RECORD]:
        return list_micros if covered < units else np.int64(0)
    if covered == 0 and not tiered:
        return list_micros
    counted = _counted(t, t[rule + L_COUNTER], use, work, size) if tiered else np.int64(0)
    rest = price_use(t, line, use.kind == _VOICE, use.start_us, use.time_zone, covered, units, counted, covered == 0)
    return rest if rest < 0 else limited(t, line, money + rest)


@nb.njit(nogil=True, cache=True)
def _take(
    t: Vector, use: Any, version: int, line: int, units: int, list_micros: int, limit: int, work: Array, size: int,
    used: Array, entries: Array, count: int, row: int, part: int,
) -> tuple[int, int, int, int, int]:  # fmt: skip
    """Charge one use to one account: verdict, money, units covered, the account's size, entries."""
    unit = np.int64(_UNIT_OF_KIND[use.kind])
    total = np.int64(0)
    covered = np.int64(0)
    if t[t[LINE] + line * LINE_W + L_FREE] == 0:
        size, count, part = _grant(t, version, use, unit, work, size, entries, count, row, part)
        for at in range(size):
            used[at] = 0
        covered, money, count, part = _cover(t, use, unit, units, work, size, used, entries, count, row, part)
        if money < 0:
            return -money, total, covered, size, count
        total = _total(t, use, line, units, list_micros, covered, money, work, size)
        if total < 0:
            return np.int64(_NO_TARIFF if total == NO_PRICE else _LARGE), total, covered, size, count
        if total > 0:
            failed, size, count = _pay(t, use, total, limit, work, size, used, entries, count, row, part)
            if failed:
                return failed, total, covered, size, count
    covered = min(covered, units)
    size, count = _count(t, version, use, unit, units, total, work, size, entries, count, row)
    return np.int64(0), total, covered, size, count


@nb.njit(nogil=True, cache=True)
def _copy(rows: Array, begin: int, into: Array, at: int, count: int) -> None:
    for step in range(count):  # a loop, because slices of records are copied through a temporary
        into[at + step] = rows[begin + step]


@nb.njit(nogil=True, cache=True)
def _grown(array: Array, size: int, fresh: Array) -> Array:
    _copy(array, 0, fresh, 0, size)
    return fresh


@nb.njit(nogil=True, cache=True)
def _copy(rows: Array, begin: int, into: Array, at: int, count: int) -> None:
    for step in range(count):  # a loop, because slices of records are copied through a temporary
        into[at + step] = rows[begin + step]


@nb.njit(nogil=True, cache=True)
def _grown(array: Array, size: int, fresh: Array) -> Array:
    _copy(array, 0, fresh, 0, size)
    return fresh


@nb.njit(nogil=True, cache=True)
def _charge(
    t: Vector, offsets: Array, rows: Array, order: Array, first: Array, kind: Array, direction: Array, start_us: Array,
    units: Array, version: Array, line: Array, node: Array, zone: Array, list_micros: Array, verdict: Array, charged: Array,
    covered_units: Array, late: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    groups = len(offsets) - 1
    out_offsets = np.zeros(groups + 1, np.int64)
    out_rows = np.empty(len(rows) + groups * 2 + 64, ACCOUNT_ROW)
    written = np.int64(0)
    entries = np.empty(len(order) * 2 + 256, ENTRY)
    count = np.int64(0)
    work = np.empty(64, ACCOUNT_ROW)
    saved = np.empty(64, ACCOUNT_ROW)
    used = np.zeros(64, np.uint8)
    for group in range(groups):
        size = offsets[group + 1] - offsets[group]
        if size > len(work):
            work = np.empty(2 * size, ACCOUNT_ROW)
        _copy(rows, offsets[group], work, 0, size)
        for at in range(first[group], first[group + 1]):
            row = order[at]
            start = start_us[row]
            start_s = start // 1_000_000
            if size == 0:
                packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
                size = _add(work, size, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, 0, packed, 0, NEVER_S)
            if size + t[MOST_NEW] + 2 > min(len(work), len(saved)):
                work = _grown(work, size, np.empty(2 * len(work) + t[MOST_NEW], ACCOUNT_ROW))
                saved, used = np.empty(len(work), ACCOUNT_ROW), np.zeros(len(work), np.uint8)
            if count + 2 * (size + t[MOST_NEW]) + 8 > len(entries):
                entries = _grown(entries, count, np.empty(2 * len(entries) + 4 * (size + t[MOST_NEW]), ENTRY))
            over, late[row] = _survey(work, size, start_s)
            part = 0
            if over:
                size, count, part = _expire(t, work, size, start_s, entries, count, row)
            if line[row] < 0 or (units[row] == 0 and list_micros[row] == 0):
                continue
            subscription = subscription_at(work, 0, size, start_s)
            packed = np.int64(work[subscription].granted)
            use = Use(
                np.int64(kind[row]),
                np.int64(direction[row]),
                np.int64(zone[row]),
                np.int64(node[row]),
                start,
                packed & 0xFFFF,
                packed >> 16,
            )
            kept_size, kept_count = size, count
            _copy(work, 0, saved, 0, size)
            failed, total, covered, size, count = _take(
                t, use, np.int64(version[row]), np.int64(line[row]), units[row], list_micros[row],
                np.int64(work[subscription].value), work, size, used, entries, count, row, part,
            )  # fmt: skip
            if failed:
                verdict[row] = failed
                size, count = kept_size, kept_count
                _copy(saved, 0, work, 0, size)
                continue
            charged[row] = total
            covered_units[row] = covered
        if written + size > len(out_rows):
            out_rows = _grown(out_rows, written, np.empty(2 * (written + size), ACCOUNT_ROW))
        _copy(work, 0, out_rows, written, size)
        written += size
        out_offsets[group + 1] = written
    return out_offsets, out_rows[:written], entries[:count]


def charge(batch: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Take rated usage from balances: charged usage, ledger entries, watched changes, rejects, and the accounts."""
    size = len(batch)
    groups = locate(accounts.keys, batch["subscriber"].to_numpy())
    assert size == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    order, first = order_by_group(groups, len(accounts))
    verdict = np.zeros(size, np.uint8)
    charged, covered = np.zeros(size, np.int64), np.zeros(size, np.int64)
    late = np.zeros(size, np.bool_)
    offsets, rows, entries = _charge(
        vectors(catalogue).t,
        accounts.offsets,
        accounts.rows,
        order,
        first,
        batch["kind"].to_numpy(),
        batch["direction"].to_numpy(),
        batch["start_us"].to_numpy(),
        batch["units"].to_numpy(),
        batch["plan"].to_numpy(),
        batch["price_line"].to_numpy(),
        batch["node"].to_numpy(),
        batch["zone"].to_numpy(),
        batch["list_micros"].to_numpy(),
        verdict,
        charged,
        covered,
        late,
    )
    state = Grouped(accounts.keys, offsets, rows)
    done = batch.with_columns(
        charged_micros=pl.Series(charged), allowance_units=pl.Series(covered), late=pl.Series(late)
    )
    rejected = REJECTED.record.empty()
    refused = verdict != 0
    if refused.any():
        reasons = pl.Series("reason", [_REASONS[code] for code in verdict[refused]], dtype=pl.String)
        rejected = REJECTED.record.conform(batch.filter(pl.Series(refused)).with_columns(reason=reasons))
        done = done.filter(pl.Series(~refused))
    booked = entries["cause"] != _COUNTED
    return Outcome(
        (
            _named(done, catalogue),
            entries_of(entries[booked] if not booked.all() else entries, batch, catalogue),
            changes_of(entries, batch, catalogue),
            rejected,
        ),
        state,
    )


def _named(done: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Charged usage as it is kept: numbers of plan and destination become the names that people read."""
    plans = pl.Series(catalogue.versions, dtype=pl.Categorical)
    nodes = pl.Series(catalogue.nodes, dtype=pl.Categorical)
    return CHARGED.record.conform(
        done.with_columns(plan=plans.gather(done["plan"]), destination=nodes.gather(done["node"]))
    )
