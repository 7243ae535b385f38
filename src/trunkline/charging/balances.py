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

from trunkline.charging.booking import add_row
from trunkline.charging.calls import ROOM, Found, Uses, charge_part
from trunkline.charging.drawing import Use, expire, survey, take, unit_of
from trunkline.charging.ledger import ENTRY, changes_of, entries_of
from trunkline.charging.rate import Priced, member_of, subscription_at, version_at
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import DEFAULT_CYCLE_DAY, DEFAULT_PLAN, DEFAULT_ZONE, MOST_NEW, vectors
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group, put_back
from trunkline.records.charging import ACCOUNT_ROW, CHARGED, NEVER_S, RowKind
from trunkline.records.usage import REJECTED, Kind, Report

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]

_REASONS = ("", "balance_blocked", "tariff_not_found", "too_large", "part_again")  # by verdict
_SUBSCRIPTION = int(RowKind.SUBSCRIPTION)


@nb.njit(inline="always")
def _copy(rows: Array, begin: int, into: Array, at: int, count: int) -> None:
    for step in range(count):  # a loop, because slices of records are copied through a temporary
        into[at + step] = rows[begin + step]


@nb.njit(nogil=True, cache=True)
def _grown(array: Array, size: int, fresh: Array) -> Array:
    _copy(array, 0, fresh, 0, size)
    return fresh


class Reached(NamedTuple):
    """How far a batch is charged; the account at work has `size` rows, or -1 while none is at work."""

    group: int
    at: int
    size: int
    written: int  # rows of accounts that are done
    booked: int  # entries


@nb.njit(inline="always")
def _charge_use(
    t: Vector, uses: Uses, at: int, found: Found, work: Array, saved: Array, used: Array, size: int, entries: Array,
    count: int,
) -> tuple[int, int]:  # fmt: skip
    """Charge one use to the account at work: the account's size, entries."""
    start_us = uses.start_us[at]
    start_s = start_us // 1_000_000
    if size == 0:
        packed = t[DEFAULT_ZONE] + 65536 * t[DEFAULT_CYCLE_DAY]
        size = add_row(work, size, _SUBSCRIPTION, t[DEFAULT_PLAN], 0, packed, 0, NEVER_S, 0)
    member = nb.int64(uses.member[at])
    over, found.late[at] = survey(work, size, start_s, member)
    part = nb.int64(0)
    if over:
        size, count, part = expire(t, work, size, start_s, entries, count, uses.row[at])
    if len(uses.call) != 0 and uses.call[at] != 0:
        return charge_part(t, uses, at, found, work, saved, used, size, entries, count, part)
    units, list_micros, line = uses.units[at], uses.list_micros[at], nb.int64(uses.line[at])
    if line >= 0 and (units != 0 or list_micros != 0):
        subscription = subscription_at(work, 0, size, start_s, member)
        packed = nb.int64(work[subscription].granted)
        limit = nb.int64(work[subscription].value)
        owner, owner_packed = nb.int64(-1), nb.int64(0)
        if member != 0:  # the owner pays what allowances leave over
            limit = nb.int64(0)
            payer = subscription_at(work, 0, size, start_s, 0)
            if payer >= 0:
                limit = nb.int64(work[payer].value)
                owner = version_at(t, nb.int64(work[payer].definition), start_us)
                owner_packed = nb.int64(work[payer].granted)
        use = Use(
            uses.row[at], nb.int64(uses.kind[at]), nb.int64(uses.direction[at]), nb.int64(uses.zone[at]),
            nb.int64(uses.node[at]), start_us, start_s, packed & 0xFFFF, packed >> 16, nb.int64(uses.unit[at]), units,
            nb.int64(uses.version[at]), line, list_micros, member, owner, owner_packed & 0xFFFF, owner_packed >> 16,
            nb.int64(work[subscription].valid_from_s),
        )  # fmt: skip
        kept_size, kept_count = size, count
        _copy(work, 0, saved, 0, size)
        failed, total, covered, size, count = take(t, use, limit, work, size, used, entries, count, part)
        if failed:
            found.verdict[at] = failed
            size, count = kept_size, kept_count
            _copy(saved, 0, work, 0, size)
        else:
            found.charged[at] = total
            found.covered[at] = covered
    return size, count


@nb.njit(inline="always")
def _of_call(room: int) -> int:
    """Rows that an account may come to have by a part of a call: each of its own may be written down once more."""
    return 2 * room + ROOM


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _charge_accounts(
    t: Vector, offsets: Array, rows: Array, first: Array, uses: Uses, found: Found, work: Array, saved: Array,
    used: Array, out_offsets: Array, out_rows: Array, entries: Array, reached: Reached,
) -> Reached:  # fmt: skip
    """Charge account after account while there is room in `work`, `out_rows` and `entries`."""
    most_new = t[MOST_NEW]
    group, at, size = nb.int64(reached.group), nb.int64(reached.at), nb.int64(reached.size)
    written, count = nb.int64(reached.written), nb.int64(reached.booked)
    while group < len(offsets) - 1:
        if size < 0:
            size = offsets[group + 1] - offsets[group]
            if size + most_new >= len(work):
                return Reached(group, at, nb.int64(-1), written, count)
            _copy(rows, offsets[group], work, 0, size)
            at = first[group]
        last = first[group + 1]
        while at < last:
            room = size + most_new
            if len(uses.call) != 0 and uses.call[at] != 0:
                room = _of_call(room)
            if room >= len(work) or count + 2 * room + 8 > len(entries):
                break
            size, count = _charge_use(t, uses, at, found, work, saved, used, size, entries, count)
            at += 1
        if at < last or written + size > len(out_rows):
            return Reached(group, at, size, written, count)
        _copy(work, 0, out_rows, written, size)
        written += size
        group += 1
        out_offsets[group] = written
        size = nb.int64(-1)
    return Reached(group, at, size, written, count)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def _charge(
    t: Vector, offsets: Array, rows: Array, first: Array, uses: Uses, found: Found
) -> tuple[Array, Array, Array]:
    groups = len(offsets) - 1
    out_offsets = np.zeros(groups + 1, np.int64)
    out_rows = np.empty(len(rows) + groups * 2 + 64, ACCOUNT_ROW)
    entries = np.empty(len(uses.row) * 2 + 256, ENTRY)
    work, saved, used = np.empty(64, ACCOUNT_ROW), np.empty(64, ACCOUNT_ROW), np.zeros(64, np.uint8)
    reached = Reached(nb.int64(0), nb.int64(0), nb.int64(-1), nb.int64(0), nb.int64(0))
    while True:
        reached = _charge_accounts(
            t, offsets, rows, first, uses, found, work, saved, used, out_offsets, out_rows, entries, reached
        )
        if reached.group == groups:
            return out_offsets, out_rows[: reached.written], entries[: reached.booked]
        size = max(reached.size, offsets[reached.group + 1] - offsets[reached.group]) + t[MOST_NEW]
        if len(uses.part):
            size = _of_call(size)
        if size >= len(work):
            work = _grown(work, max(reached.size, nb.int64(0)), np.empty(2 * size, ACCOUNT_ROW))
            saved, used = np.empty(2 * size, ACCOUNT_ROW), np.zeros(2 * size, np.uint8)
        if reached.booked + 2 * size + 8 > len(entries):
            entries = _grown(entries, reached.booked, np.empty(2 * len(entries) + 4 * size + 8, ENTRY))
        if reached.written + size > len(out_rows):
            out_rows = _grown(out_rows, reached.written, np.empty(2 * (reached.written + size), ACCOUNT_ROW))


class Drawn(NamedTuple):
    """What charging makes of a batch: the accounts after it, its entries, and arrays beside its rows."""

    accounts: Grouped
    entries: Array  # ledger.ENTRY, with what counters tell among them
    verdict: Array  # u1: 0 = charged, else the number of a reason
    charged: Array  # i8 micro-units
    covered: Array  # i8 units that allowances paid
    late: Array  # bool
    of_calls: (
        tuple[Array, Array] | None
    )  # list price and plan version of each row, where some are parts of calls


def draw_batch(
    batch: pl.DataFrame, priced: Priced, groups: Array, accounts: Grouped, catalogue: Catalogue
) -> Drawn:
    """Take each row's use from its account, in the order of the rows."""
    size = len(batch)
    order, first = order_by_group(groups, len(accounts))
    found = Found(
        np.zeros(size, np.uint8), np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size, np.bool_)
    )

    def column(name: str) -> Array:
        return batch[name].to_numpy()[order]

    kind = column("kind")
    calls = _calls(batch, order)
    uses = Uses(
        order,
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
        member_of(batch)[order],
        *calls,
    )
    offsets, rows, entries = _charge(
        vectors(catalogue).t, accounts.offsets, accounts.rows, first, uses, found
    )
    in_place = Found(*(put_back(values, order) for values in found))
    of_calls = (put_back(uses.list_micros, order), put_back(uses.version, order)) if len(uses.part) else None
    return Drawn(Grouped(accounts.keys, offsets, rows), entries, *in_place, of_calls)


def _calls(batch: pl.DataFrame, order: Array) -> tuple[Array, Array, Array, Array]:
    """Of which call each use is a part (`Uses.call`, `part`, `last`, `begun_us`).

    Partial records are, and so are the reports of a call: what a report adds is no call of its own.
    """
    nothing = np.zeros(0, np.int64)
    report = batch["report"].to_numpy()
    is_part = (report != Report.NONE) & (
        (report >= Report.PARTIAL) | (batch["kind"].to_numpy() == Kind.VOICE)
    )
    if not is_part.any():
        return nothing, np.zeros(0, np.uint16), np.zeros(0, np.bool_), nothing
    begun_us = batch.select(pl.coalesce("session_start_us", "start_us")).to_series()
    call = np.where(is_part, batch["session_key"].to_numpy().view(np.int64), 0)
    last = (report == Report.LAST) | (report == Report.STOP)
    return (
        call[order],
        batch["part"].fill_null(0).to_numpy()[order],
        last[order],
        begun_us.to_numpy()[order],
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
    if drawn.of_calls is not None:  # a part is listed at what it adds to its call, by the plan of its call
        listed, version = (pl.Series(values) for values in drawn.of_calls)
        done = done.with_columns(list_micros=listed, plan=version)
    rejected = REJECTED.record.empty()
    refused = drawn.verdict != 0
    if refused.any():
        reasons = pl.Series("reason", [_REASONS[code] for code in drawn.verdict[refused]], dtype=pl.String)
        rejected = REJECTED.record.conform(batch.filter(pl.Series(refused)).with_columns(reason=reasons))
        done = done.filter(pl.Series(~refused))
    return Outcome(
        (
            _named(done, catalogue),
            entries_of(drawn.entries, batch, catalogue),
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
