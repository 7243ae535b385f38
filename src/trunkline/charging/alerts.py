"""Alerts: each crossing of a threshold is told once, and told again only after the value came back far enough.

What arrives here has already been narrowed to movements across a mark; this step remembers which marks are crossed, so
that a value that trembles around a mark does not call the customer every minute.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.ledger import Watched, watched
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group
from trunkline.records.charging import ALARMED, ALERTS

Array = npt.NDArray[Any]

_ALARMED = ALARMED.dtype
KEPT_DAYS = 120  # of periods: by then no record of an earlier one is taken any more
_TOLD = np.dtype([("row", "i8"), ("mark", "i4"), ("times", "i4")])


@nb.njit(nogil=True, cache=True)
def _row_of(
    rows: Array, begin: int, end: int, owner: int, counter: int, period: int, mark: int, member: int
) -> int:
    """Row of one mark of one period, or `end` when it was never told."""
    for at in range(begin, end):
        row = rows[at]
        if (
            row.definition == owner
            and row.counter == counter
            and row.period == period
            and row.mark == mark
            and row.member == member
        ):
            return at
    return end


@nb.njit(nogil=True, cache=True)
def _without_old(rows: Array, begin: int, end: int, oldest: int) -> int:
    """Drop the marks of periods before `oldest`, change by change, so that it does not matter where batches end."""
    kept = begin
    for at in range(begin, end):
        if rows[at].period == 0 or rows[at].period >= oldest:
            rows[kept] = rows[at]
            kept += 1
    return kept


@nb.njit(nogil=True, cache=True)
def _watch(
    w: Watched, offsets: Array, rows: Array, order: Array, first: Array, threshold: Array, period: Array, before: Array,
    after: Array, member: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    groups = len(offsets) - 1
    out_offsets = np.zeros(groups + 1, np.int64)
    most = 1
    for number in range(len(w.mark_count)):
        most = max(most, w.mark_count[number])
    out_rows = np.empty(len(rows) + len(order) * most, _ALARMED)
    told = np.empty(len(order) * most, _TOLD)
    written = nb.int64(0)
    count = nb.int64(0)
    for group in range(groups):
        begin = written
        for at in range(offsets[group], offsets[group + 1]):
            out_rows[written] = rows[at]
            written += 1
        for at in range(first[group], first[group + 1]):
            row = order[at]
            written = _without_old(out_rows, begin, written, nb.int64(period[row]) - KEPT_DAYS)
            number = threshold[row]
            owner, counter = w.owner[number], w.counter[number]
            for mark in range(w.mark_count[number]):
                level = w.mark[w.mark_first[number] + mark]
                if w.falling[number]:
                    crossed = before[row] >= level and after[row] < level
                    armed = after[row] >= level + w.hysteresis[number]
                else:
                    crossed = before[row] < level and after[row] >= level
                    armed = after[row] <= level - w.hysteresis[number]
                found = _row_of(out_rows, begin, written, owner, counter, period[row], level, member[row])
                if crossed and found == written:
                    out_rows[written].definition = owner
                    out_rows[written].counter = counter
                    out_rows[written].crossed = 0
                    out_rows[written].times = 0
                    out_rows[written].period = period[row]
                    out_rows[written].mark = level
                    out_rows[written].member = member[row]
                    written += 1
                if crossed and out_rows[found].crossed == 0:
                    out_rows[found].crossed = 1
                    out_rows[found].times += 1
                    told[count].row = row
                    told[count].mark = mark
                    told[count].times = out_rows[found].times
                    count += 1
                elif (
                    armed and not crossed and found < written
                ):  # without hysteresis, a mark that is met is crossed
                    out_rows[found].crossed = 0
        out_offsets[group + 1] = written
    return out_offsets, out_rows[:written], told[:count]


def watch(changes: pl.DataFrame, alarmed: Grouped, catalogue: Catalogue) -> Outcome:
    """Alerts for the marks that changes crossed while they were armed; state: which marks are crossed."""
    groups = locate(alarmed.keys, changes["subscriber"].to_numpy())
    order, first = order_by_group(groups, len(alarmed))
    offsets, rows, told = _watch(
        watched(catalogue),
        alarmed.offsets,
        alarmed.rows,
        order,
        first,
        changes["threshold"].to_numpy(),
        changes["period"].to_numpy(),
        changes["before"].to_numpy(),
        changes["after"].to_numpy(),
        changes["member"].fill_null(0).to_numpy(),
    )
    alerts = _alerts(changes[told["row"]], told, catalogue)
    return Outcome((alerts,), Grouped(alarmed.keys, offsets, rows))


def _alerts(crossed: pl.DataFrame, told: Array, catalogue: Catalogue) -> pl.DataFrame:
    """The alert of each crossing; its identity is made of what was crossed, so that a replay makes the same one."""
    thresholds = catalogue.thresholds
    number = crossed["threshold"].to_numpy()
    names = pl.Series([threshold.name for threshold in thresholds], dtype=pl.String)
    kinds = pl.Series([threshold.kind for threshold in thresholds], dtype=pl.String)
    marks = np.array([mark for threshold in thresholds for mark in threshold.marks], np.int64)
    alerts = crossed.with_columns(
        kind=kinds.gather(number),
        balance=names.gather(number),
        threshold=pl.Series(marks[watched(catalogue).mark_first[number] + told["mark"]]),
        times=pl.Series(np.ascontiguousarray(told["times"])),
    )
    shared = [
        not thresholds[at].counter and bool(catalogue.tables.balance_shared[thresholds[at].number])
        for at in number.tolist()
    ]
    alerts = _addressed(alerts, shared, catalogue)
    words = alerts.select(
        pl.concat_str("subscriber", "balance", "period", "threshold", "times", separator="/")
    )
    ids = [blake2b(each.encode(), digest_size=16).hexdigest() for each in words.to_series().to_list()]
    return ALERTS.record.conform(alerts.with_columns(alert_id=pl.Series(ids, dtype=pl.String)))


def _addressed(alerts: pl.DataFrame, shared: list[bool], catalogue: Catalogue) -> pl.DataFrame:
    """To whom each crossing is told: whose balance it is; of a shared one, the owner and the member who crossed it."""
    whose, users = alerts["member"].fill_null(0).to_list(), alerts["user"].fill_null(0).to_list()
    if not len(catalogue.members) or not (any(whose) or any(users)):
        return alerts
    told: list[pl.DataFrame] = []
    for row, owner in enumerate(alerts["subscriber"].to_list()):
        words = catalogue.members.words_of(owner)
        numbers = (whose[row], users[row]) if shared[row] else (whose[row],)
        told += [
            alerts[row].with_columns(subscriber=pl.lit(words[number], pl.UInt64))
            for number in dict.fromkeys(numbers)
        ]
    return pl.concat(told)
