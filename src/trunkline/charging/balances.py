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

from trunkline.charging.drawing import COUNTED_CAUSE, Use, add_row, expire, survey, take, unit_of
from trunkline.charging.ledger import ENTRY, changes_of, entries_of
from trunkline.charging.rate import Priced, subscription_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import DEFAULT_CYCLE_DAY, DEFAULT_PLAN, DEFAULT_ZONE, MOST_NEW, vectors
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group, put_back
from trunkline.records.charging import ACCOUNT_ROW, CHARGED, NEVER_S, RowKind
from trunkline.records.usage import REJECTED

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

_REASONS = ("", "balance_blocked", "tariff_not_found", "too_large")  # by verdict
_SUBSCRIPTION = int(RowKind.SUBSCRIPTION)


@nb.njit(inline="always")
def _copy(rows: Array, begin: int, into: Array, at: int, count: int) -> None:
    for step in range(count):  # a loop, because slices of records are copied through a temporary
        into[at + step] = rows[begin + step]


@nb.njit(nogil=True, cache=True)
def _grown(array: Array, size: int, fresh: Array) -> Array:
    _copy(array, 0, fresh, 0, size)
    return fresh


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _charge_account(
    t: Vector, order: Array, at: int, last: int, kind: Array, direction: Array, start_us: Array, unit: Array,
    units: Array, version: Array, line: Array, node: Array, zone: Array, list_micros: Array, verdict: Array,
    charged: Array, covered_units: Array, late: Array, work: Array, saved: Array, used: Array, size: int,
    entries: Array, count: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Charge uses of one account, in order, while there is room: the next use, the account's size, entries."""
    most_new = t[MOST_NEW]
    row = nb.int64(at)
    size, count = nb.int64(size), nb.int64(count)
    while row < last and size + most_new < len(work) and count + 2 * (size + most_new) + 8 <= len(entries):
        start_s = start_us[row] // 1_000_000
        if size == 0:
            packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
            size = add_row(work, size, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S)
        over, late[row] = survey(work, size, start_s)
        part = nb.int64(0)
        if over:
            size, count, part = expire(t, work, size, start_s, entries, count, order[row])
        if line[row] >= 0 and (units[row] != 0 or list_micros[row] != 0):
            subscription = subscription_at(work, 0, size, start_s)
            packed = nb.int64(work[subscription].granted)
            use = Use(
                order[row], nb.int64(kind[row]), nb.int64(direction[row]), nb.int64(zone[row]), nb.int64(node[row]),
                start_us[row], start_s, packed & 0xFFFF, packed >> 16, nb.int64(unit[row]), units[row],
                nb.int64(version[row]), nb.int64(line[row]), list_micros[row],
            )  # fmt: skip
            kept_size, kept_count = size, count
            _copy(work, 0, saved, 0, size)
            limit = nb.int64(work[subscription].value)
            failed, total, covered, size, count = take(t, use, limit, work, size, used, entries, count, part)
            if failed:
                verdict[row] = failed
                size, count = kept_size, kept_count
                _copy(saved, 0, work, 0, size)
            else:
                charged[row] = total
                covered_units[row] = covered
        row += 1
    return row, size, count


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _charge(
    t: Vector, offsets: Array, rows: Array, order: Array, first: Array, kind: Array, direction: Array, start_us: Array,
    unit: Array, units: Array, version: Array, line: Array, node: Array, zone: Array, list_micros: Array,
    verdict: Array, charged: Array, covered_units: Array, late: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    groups = len(offsets) - 1
    out_offsets = np.zeros(groups + 1, np.int64)
    out_rows = np.empty(len(rows) + groups * 2 + 64, ACCOUNT_ROW)
    written = nb.int64(0)
    entries = np.empty(len(order) * 2 + 256, ENTRY)
    count = nb.int64(0)
    room = nb.int64(64)
    work, saved, used = np.empty(room, ACCOUNT_ROW), np.empty(room, ACCOUNT_ROW), np.zeros(room, np.uint8)
    for group in range(groups):
        size = offsets[group + 1] - offsets[group]
        if size > room:
            room = 2 * size
            work, saved = np.empty(room, ACCOUNT_ROW), np.empty(room, ACCOUNT_ROW)
            used = np.zeros(room, np.uint8)
        _copy(rows, offsets[group], work, 0, size)
        at = first[group]
        while True:
            at, size, count = _charge_account(
                t, order, at, first[group + 1], kind, direction, start_us, unit, units, version, line, node, zone,
                list_micros, verdict, charged, covered_units, late, work, saved, used, size, entries, count,
            )  # fmt: skip
            if at == first[group + 1]:
                break
            if size + t[MOST_NEW] >= room:
                room = 2 * room + t[MOST_NEW]
                work = _grown(work, size, np.empty(room, ACCOUNT_ROW))
                saved, used = np.empty(room, ACCOUNT_ROW), np.zeros(room, np.uint8)
            more = 2 * len(entries) + 4 * (size + t[MOST_NEW]) + 8
            if count + 2 * (size + t[MOST_NEW]) + 8 > len(entries):
                entries = _grown(entries, count, np.empty(more, ENTRY))
        if written + size > len(out_rows):
            out_rows = _grown(out_rows, written, np.empty(2 * (written + size), ACCOUNT_ROW))
        _copy(work, 0, out_rows, written, size)
        written += size
        out_offsets[group + 1] = written
    return out_offsets, out_rows[:written], entries[:count]


class Drawn(NamedTuple):
    """What charging makes of a batch: the accounts after it, its entries, and arrays beside its rows."""

    accounts: Grouped
    entries: Array  # ledger.ENTRY, with what counters tell among them
    verdict: Array  # u1: 0 = charged, else the number of a reason
    charged: Array  # i8 micro-units
    covered: Array  # i8 units that allowances paid
    late: Array  # bool


def draw_batch(
    batch: pl.DataFrame, priced: Priced, groups: Array, accounts: Grouped, catalogue: Catalogue
) -> Drawn:
    """Take each row's use from its account, in the order of the rows."""
    size = len(batch)
    order, first = order_by_group(groups, len(accounts))
    verdict, late = np.zeros(size, np.uint8), np.zeros(size, np.bool_)
    charged, covered = np.zeros(size, np.int64), np.zeros(size, np.int64)

    def column(name: str) -> Array:
        return batch[name].to_numpy()[order]

    kind = column("kind")
    offsets, rows, entries = _charge(
        vectors(catalogue).t,
        accounts.offsets,
        accounts.rows,
        order,
        first,
        kind,
        column("direction"),
        column("start_us"),
        unit_of(kind),
        column("units"),
        priced.version[order],
        priced.line[order],
        priced.node[order],
        priced.zone[order],
        priced.list_micros[order],
        verdict,
        charged,
        covered,
        late,
    )
    return Drawn(
        Grouped(accounts.keys, offsets, rows),
        entries,
        put_back(verdict, order),
        put_back(charged, order),
        put_back(covered, order),
        put_back(late, order),
    )


def charge(batch: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Take rated usage from balances: charged usage, entries, watched changes, rejects, and the accounts."""
    groups = locate(accounts.keys, batch["subscriber"].to_numpy())
    assert len(batch) == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    columns = ("plan", "price_line", "node", "zone", "list_micros")
    priced = Priced(np.zeros(0, np.uint8), *(batch[name].to_numpy() for name in columns))
    drawn = draw_batch(batch, priced, groups, accounts, catalogue)
    done = batch.with_columns(
        charged_micros=pl.Series(drawn.charged),
        allowance_units=pl.Series(drawn.covered),
        late=pl.Series(drawn.late),
    )
    rejected = REJECTED.record.empty()
    refused = drawn.verdict != 0
    if refused.any():
        reasons = pl.Series("reason", [_REASONS[code] for code in drawn.verdict[refused]], dtype=pl.String)
        rejected = REJECTED.record.conform(batch.filter(pl.Series(refused)).with_columns(reason=reasons))
        done = done.filter(pl.Series(~refused))
    booked = drawn.entries["cause"] != COUNTED_CAUSE
    return Outcome(
        (
            _named(done, catalogue),
            entries_of(drawn.entries if booked.all() else drawn.entries[booked], batch, catalogue),
            changes_of(drawn.entries, batch, catalogue),
            rejected,
        ),
        drawn.accounts,
    )


def _named(done: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Charged usage as it is kept: numbers of plan and destination become the names that people read."""
    plans = pl.Series(catalogue.versions, dtype=pl.Categorical)
    nodes = pl.Series(catalogue.nodes, dtype=pl.Categorical)
    return CHARGED.record.conform(
        done.with_columns(plan=plans.gather(done["plan"]), destination=nodes.gather(done["node"]))
    )
