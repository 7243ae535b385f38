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
from trunkline.charging.periods import MONTHLY, period_at
from trunkline.charging.price import NO_PRICE, TOO_LARGE, band_at, limited, pack, per_catalogue, price_use
from trunkline.charging.rate import guide, subscription_at, version_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group
from trunkline.records.charging import ACCOUNT_ROW, CHARGED, NEVER_S, Cause, RowKind, Unit
from trunkline.records.usage import REJECTED, Kind

Array = npt.NDArray[Any]

KEPT_AFTER_END_S = 62 * 86_400  # a period's balances wait this long for late records

_SUBSCRIPTION, _BALANCE, _COUNTER = int(RowKind.SUBSCRIPTION), int(RowKind.BALANCE), int(RowKind.COUNTER)
_USAGE, _GRANT, _EXPIRY, _COUNTED = int(Cause.USAGE), int(Cause.GRANT), int(Cause.EXPIRY), 0
_MONEY = int(Unit.MONEY)
_VOICE = int(Kind.VOICE)
_UNIT_OF_KIND = np.array([0, Unit.TIME, Unit.EVENTS, Unit.OCTETS, Unit.EVENTS, Unit.EVENTS], np.uint8)

_REASONS = ("", "balance_blocked", "tariff_not_found", "too_large")
_BLOCKED, _NO_TARIFF, _LARGE = range(1, 4)

BALANCE = np.dtype(
    [
        ("increment", "i8"),
        ("factor_num", "i8"),
        ("factor_den", "i8"),
        ("grant", "i8"),
        ("priority", "i4"),
        ("nodes", "i4"),
        ("schedule", "i4"),
        ("rated_by", "i4"),
        ("zones", "u4"),
        ("bands", "u4"),
        ("known", "u1"),
        ("unit", "u1"),
        ("kinds", "u1"),
        ("directions", "u1"),
        ("blocker", "u1"),
        ("main", "u1"),
        ("period", "u1"),
    ]
)
COUNTER = np.dtype(
    [("zones", "u4"), ("nodes", "i4"), ("known", "u1"), ("unit", "u1"), ("kinds", "u1"), ("period", "u1"), ("watched", "u1")]
)


class Rules(NamedTuple):
    """The catalogue's arrays about balances and counters."""

    balances: Array
    counters: Array
    allowed: Array
    allowance_first: Array
    allowance_count: Array
    allowance: Array
    counted_first: Array
    counted_count: Array
    counted: Array
    main: int
    default_zone: int
    default_cycle_day: int
    most_new: int  # rows that one use can add to an account


@per_catalogue
def rules(catalogue: Catalogue) -> Rules:
    """The balance and counter arrays of a catalogue, packed for the kernel."""
    t = catalogue.tables
    balances = np.zeros(len(t.balance_known), BALANCE)
    for name in BALANCE.names or ():
        balances[name] = getattr(t, f"balance_{name}")
    counters = np.zeros(len(t.counter_known), COUNTER)
    for name in (COUNTER.names or ())[:-1]:
        counters[name] = getattr(t, f"counter_{name}")
    for threshold in catalogue.thresholds:
        if threshold.counter:
            counters["watched"][threshold.number] = 1
    most = int(t.version_allowance_count.max(initial=0)) + int(t.version_counter_count.max(initial=0)) + 2
    return Rules(
        balances=balances,
        counters=counters,
        allowed=t.allowed,
        allowance_first=t.version_allowance_first,
        allowance_count=t.version_allowance_count,
        allowance=t.allowance,
        counted_first=t.version_counter_first,
        counted_count=t.version_counter_count,
        counted=t.counted,
        main=catalogue.main_balance,
        default_zone=catalogue.default_zone,
        default_cycle_day=catalogue.default_cycle_day,
        most_new=most,
    )


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
def _serves(p: Any, b: Any, balance: int, use: Any) -> bool:
    """Whether a balance may pay for a use, by kind, direction, roaming zone, destination and time band."""
    rule = b.balances[balance]
    if (
        rule.known == 0
        or rule.kinds >> use.kind & 1 == 0
        or rule.directions >> use.direction & 1 == 0
        or rule.zones >> use.zone & 1 == 0
        or (rule.nodes >= 0 and b.allowed[rule.nodes, use.node] == 0)
    ):
        return False
    if rule.schedule >= 0:
        band, _ = band_at(p, rule.schedule, use.time_zone, use.start_us)
        return bool(rule.bands >> band & 1)
    return True


@nb.njit(nogil=True, cache=True)
def _counts(b: Any, counter: int, use: Any) -> bool:
    rule = b.counters[counter]
    return bool(
        rule.known
        and rule.kinds >> use.kind & 1
        and rule.zones >> use.zone & 1
        and (rule.nodes < 0 or b.allowed[rule.nodes, use.node])
    )


@nb.njit(nogil=True, cache=True)
def _find(work: Array, size: int, kind: int, definition: int, period: int) -> int:
    for at in range(size):
        if work[at].kind == kind and work[at].definition == definition and work[at].period == period:
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
def _expire(b: Any, work: Array, size: int, start_s: int, entries: Array, count: int, row: int) -> tuple[int, int, int]:
    """Drop what ended so long ago that no late record may ask for it; what was left expires in the ledger."""
    kept = 0
    part = 0
    for at in range(size):
        if work[at].kind != _SUBSCRIPTION and np.int64(work[at].valid_until_s) + KEPT_AFTER_END_S < start_s:
            if work[at].kind == _BALANCE and work[at].value > 0:
                left = work[at].value
                unit = b.balances[work[at].definition].unit
                count = _book(
                    entries, count, row, part, _EXPIRY, unit, ACCOUNT_BALANCE, ACCOUNT_EXPIRED, work[at], left, left, 0,
                    work[at].granted,
                )  # fmt: skip
                part += 1
            continue
        if kept != at:
            work[kept] = work[at]
        kept += 1
    return kept, count, part


@nb.njit(nogil=True, cache=True)
def _grant(
    p: Any, b: Any, version: int, use: Any, unit: int, work: Array, size: int, entries: Array, count: int, row: int, part: int
) -> tuple[int, int, int]:
    """Give the plan's allowances of this period that the use could draw on and that were not given yet."""
    first = np.int64(b.allowance_first[version])
    for at in range(first, first + b.allowance_count[version]):
        balance = np.int64(b.allowance[at])
        rule = b.balances[balance]
        if (rule.unit != unit and rule.unit != _MONEY) or not _serves(p, b, balance, use):
            continue
        period, from_s, until_s = np.int64(0), np.int64(0), np.int64(NEVER_S)
        if rule.period:
            period, from_s, until_s = period_at(p, rule.period, use.cycle_day, use.time_zone, use.start_us)
        if _find(work, size, _BALANCE, balance, period) >= 0:
            continue
        size = _add(work, size, _BALANCE, balance, period, rule.grant, rule.grant, from_s, until_s)
        count = _book(
            entries, count, row, part, _GRANT, rule.unit, ACCOUNT_GRANTS, ACCOUNT_BALANCE, work[size - 1], rule.grant, 0,
            rule.grant, rule.grant,
        )  # fmt: skip
        part += 1
    return size, count, part


@nb.njit(nogil=True, cache=True)
def _next(p: Any, b: Any, work: Array, size: int, used: Array, unit: int, use: Any) -> int:
    """The balance to draw on next: lowest priority number, then earliest end, then lowest number; -1 for none."""
    start_s = use.start_us // 1_000_000
    best = -1
    for at in range(size):
        if work[at].kind != _BALANCE or used[at]:
            continue
        rule = b.balances[work[at].definition]
        if (
            rule.unit != unit
            or rule.main
            or (work[at].value <= 0 and rule.blocker == 0)
            or work[at].valid_from_s > start_s
            or work[at].valid_until_s <= start_s
        ):
            continue
        if best >= 0:
            other = b.balances[work[best].definition]
            if rule.priority != other.priority:
                if rule.priority > other.priority:
                    continue
            elif work[at].valid_until_s != work[best].valid_until_s:
                if work[at].valid_until_s > work[best].valid_until_s:
                    continue
            elif work[at].definition >= work[best].definition:
                continue
        if _serves(p, b, work[at].definition, use):
            best = at
    return best


@nb.njit(nogil=True, cache=True)
def _main(b: Any, work: Array, size: int) -> tuple[int, int]:
    """Row of the main balance, made when the account has none yet, and the account's size."""
    at = _find(work, size, _BALANCE, b.main, 0)
    if at < 0:
        size = _add(work, size, _BALANCE, b.main, 0, 0, 0, 0, NEVER_S)
        at = size - 1
    return at, size


@nb.njit(nogil=True, cache=True)
def _counted(p: Any, b: Any, counter: int, use: Any, work: Array, size: int) -> int:
    """Value of a counter in the period of a use."""
    period = np.int64(0)
    if b.counters[counter].period:
        period, _, _ = period_at(p, b.counters[counter].period, use.cycle_day, use.time_zone, use.start_us)
    at = _find(work, size, _COUNTER, counter, period)
    return np.int64(work[at].value) if at >= 0 else np.int64(0)


@nb.njit(nogil=True, cache=True)
def _count(
    p: Any, b: Any, version: int, use: Any, unit: int, units: int, charged: int, work: Array, size: int, entries: Array,
    count: int, row: int,
) -> tuple[int, int]:  # fmt: skip
    """Add a use to the plan's counters; watched counters report the change."""
    first = np.int64(b.counted_first[version])
    for at in range(first, first + b.counted_count[version]):
        counter = np.int64(b.counted[at])
        rule = b.counters[counter]
        amount = charged if rule.unit == _MONEY else (units if rule.unit == unit else np.int64(0))
        if amount == 0 or not _counts(b, counter, use):
            continue
        period, from_s, until_s = np.int64(0), np.int64(0), np.int64(NEVER_S)
        if rule.period:
            period, from_s, until_s = period_at(p, rule.period, use.cycle_day, use.time_zone, use.start_us)
        found = _find(work, size, _COUNTER, counter, period)
        if found < 0:
            size = _add(work, size, _COUNTER, counter, period, 0, 0, from_s, until_s)
            found = size - 1
        before = work[found].value
        work[found].value = before + amount
        if rule.watched:
            count = _book(entries, count, row, 0, _COUNTED, rule.unit, 0, 0, work[found], amount, before, before + amount, 0)
    return size, count


@nb.njit(nogil=True, cache=True)
def _cover(
    p: Any, g: Any, b: Any, use: Any, unit: int, units: int, line: int, work: Array, size: int, used: Array, entries: Array,
    count: int, row: int, part: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Let unit balances cover a use from its front; units covered, money for priced ones (or a verdict < 0), entries."""
    covered = np.int64(0)
    money = np.int64(0)
    while covered < units:
        at = _next(p, b, work, size, used, unit, use)
        if at < 0:
            break
        used[at] = 1
        rule = b.balances[work[at].definition]
        want = (units - covered + rule.increment - 1) // rule.increment * rule.increment
        has = work[at].value * rule.factor_den // rule.factor_num // rule.increment * rule.increment
        takes = max(min(want, has), 0)
        if takes < want and rule.blocker:
            return covered, np.int64(-_BLOCKED), count, part
        if takes == 0:
            continue
        if rule.rated_by >= 0:
            version = version_at(g, rule.rated_by, use.start_us)
            priced = np.int64(-1)
            if version >= 0:
                service_row = g.version_row[version, (use.kind * 2 + use.direction) * g.zones + use.zone]
                if service_row >= 0:
                    priced = np.int64(g.line_of[service_row, use.node])
            if priced < 0:
                return covered, np.int64(-_NO_TARIFF), count, part
            if p.lines[priced].free == 0:
                price = price_use(
                    p, priced, use.kind == _VOICE, use.start_us, use.time_zone, covered, covered + takes, 0, covered == 0
                )
                if price < 0:
                    return covered, np.int64(-_NO_TARIFF if price == NO_PRICE else -_LARGE), count, part
                money += price
        amount = (takes * rule.factor_num + rule.factor_den - 1) // rule.factor_den
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
    p: Any, b: Any, use: Any, total: int, credit_limit: int, work: Array, size: int, used: Array, entries: Array, count: int,
    row: int, part: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Take an amount from money balances, the main one last; verdict, the account's size, entries."""
    left = total
    while left > 0:
        at = _next(p, b, work, size, used, _MONEY, use)
        if at < 0:
            break
        used[at] = 1
        takes = min(left, max(np.int64(work[at].value), 0))
        if takes < left and b.balances[work[at].definition].blocker:
            return np.int64(_BLOCKED), size, count, part
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
        at, size = _main(b, work, size)
        before = work[at].value
        work[at].value = before - left
        count = _book(
            entries, count, row, part, _USAGE, _MONEY, ACCOUNT_BALANCE, ACCOUNT_REVENUE, work[at], left, before,
            before - left, credit_limit,
        )  # fmt: skip
        part += 1
    return np.int64(0), size, count, part


@nb.njit(nogil=True, cache=True)
def _is_late(work: Array, size: int, start_s: int) -> bool:
    for at in range(size):
        if work[at].period != 0 and work[at].valid_from_s > start_s:
            return True
    return False


@nb.njit(nogil=True, cache=True)
def _grown(array: Array, size: int, fresh: Array) -> Array:
    fresh[:size] = array[:size]
    return fresh


@nb.njit(nogil=True, cache=True)
def _charge(
    p: Any, g: Any, b: Any, offsets: Array, rows: Array, order: Array, first: Array, kind: Array, direction: Array,
    start_us: Array, units: Array, version: Array, line: Array, node: Array, zone: Array, list_micros: Array, verdict: Array,
    charged: Array, covered_units: Array, late: Array,
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
        walk_in = size == 0
        room = size + (first[group + 1] - first[group]) * b.most_new + 2
        if room > len(work):
            room = max(room, 2 * len(work)) if room < 4096 else room
            work = np.empty(room, ACCOUNT_ROW)
            saved = np.empty(room, ACCOUNT_ROW)
            used = np.zeros(room, np.uint8)
        work[:size] = rows[offsets[group] : offsets[group + 1]]
        for at in range(first[group], first[group + 1]):
            row = order[at]
            start = start_us[row]
            start_s = start // 1_000_000
            if walk_in:
                cycle = np.int64(b.default_cycle_day)
                size = _add(
                    work, size, _SUBSCRIPTION, g.default_plan, 0, 0, b.default_zone + 65536 * cycle, 0, NEVER_S
                )
                walk_in = False
            if count + 2 * (size + b.most_new) + 8 > len(entries):
                entries = _grown(entries, count, np.empty(2 * len(entries) + 4 * (size + b.most_new), ENTRY))
            size, count, part = _expire(b, work, size, start_s, entries, count, row)
            subscription = subscription_at(work, 0, size, start_s)
            if subscription < 0:
                verdict[row] = _NO_TARIFF
                continue
            packed = np.int64(work[subscription].granted)
            limit = np.int64(work[subscription].value)
            use = Use(
                np.int64(kind[row]),
                np.int64(direction[row]),
                np.int64(zone[row]),
                np.int64(node[row]),
                start,
                packed & 0xFFFF,
                packed >> 16,
            )
            late[row] = _is_late(work, size, start_s)
            at_line = np.int64(line[row])
            if at_line < 0 or units[row] == 0 and list_micros[row] == 0:
                continue
            kept_size, kept_count = size, count
            saved[:size] = work[:size]
            unit = np.int64(_UNIT_OF_KIND[kind[row]])
            total = np.int64(0)
            covered = np.int64(0)
            failed = np.int64(0)
            rule = p.lines[at_line]
            if rule.free == 0:
                size, count, part = _grant(p, b, version[row], use, unit, work, size, entries, count, row, part)
                used[:size] = 0
                covered, money, count, part = _cover(
                    p, g, b, use, unit, units[row], at_line, work, size, used, entries, count, row, part
                )
                if money < 0:
                    failed = -money
                elif covered == 0 and rule.tiered == 0:
                    total = list_micros[row]
                elif rule.record_price:
                    total = list_micros[row] if covered < units[row] else np.int64(0)
                else:
                    before = _counted(p, b, rule.counter, use, work, size) if rule.tiered else np.int64(0)
                    rest = price_use(
                        p, at_line, kind[row] == _VOICE, start, use.time_zone, covered, units[row], before, covered == 0
                    )
                    if rest < 0:
                        failed = np.int64(_NO_TARIFF if rest == NO_PRICE else _LARGE)
                    else:
                        total = limited(p, at_line, money + rest)
                if failed == 0 and total > 0:
                    failed, size, count, part = _pay(
                        p, b, use, total, limit, work, size, used, entries, count, row, part
                    )
            if failed:
                verdict[row] = failed
                size, count = kept_size, kept_count
                work[:size] = saved[:size]
                continue
            charged[row] = total
            covered_units[row] = min(covered, units[row])
            size, count = _count(
                p, b, version[row], use, unit, units[row], total, work, size, entries, count, row
            )
        if written + size > len(out_rows):
            out_rows = _grown(out_rows, written, np.empty(2 * (written + size), ACCOUNT_ROW))
        out_rows[written : written + size] = work[:size]
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
        pack(catalogue),
        guide(catalogue),
        rules(catalogue),
        accounts.offsets,
        accounts.rows,
        order,
        first,
        batch["kind"].to_numpy(),
        batch["direction"].to_numpy(),
        batch["start_us"].to_numpy(),
        batch["units"].to_numpy(),
        batch["plan"].to_numpy(),
        batch["line"].to_numpy(),
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
