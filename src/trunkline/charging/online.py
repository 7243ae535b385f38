"""Online charging: a session asks for quota before it uses anything, and no two sessions are promised the same money.

A request's used units are charged like every other usage, as a record of their own; what this module decides is what
may be used next. Data and events are charged as they are reported. A call is priced as one whole (a tariff may
change with its length), so its promise covers it from its first second, and it is charged when it ends.

A request that comes again (a retransmission in the words of TS 32.290) is given the answer it was given before.
Batches are small and answers are waited for, so rows are matched and written as arrays, without joins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.holds import Asks, promise
from trunkline.charging.rate import price_batch
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.records.online import ANSWERS, ASKED, QUOTAS, SESSIONS, Action
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
DAY_US = 86_400_000_000
NAME = ("session", "group", "invocation")
# What a session says once and need not say again.
SAID = (
    "kind",
    "direction",
    "subscriber",
    "calling",
    "called",
    "visited_plmn",
    "slice",
    "five_qi",
    "start_us",
)


def recall(requests: pl.DataFrame, sessions: Grouped) -> Outcome:
    """Set aside what was answered before; write the rest down, with the units that its promise has to cover."""
    beside = _beside(requests, sessions)
    new = ~beside.answered
    rows, units = beside.rows[new], beside.units[new]
    asked = ASKED.record.conform(
        _frame(requests.filter(pl.Series(new)), rows).with_columns(units=pl.Series(units))
    )
    old = sessions.rows[beside.same[beside.answered]]
    answers = _answers(requests.filter(pl.Series(beside.answered)), old)
    return Outcome((asked, answers), _with(sessions, beside, new))


def used(requests: pl.DataFrame, sessions: Grouped) -> pl.DataFrame:
    """What requests report that is charged now: their rows with `units`; none for what was answered before.

    Data and events as reported; a call when it is released, with all that it has used since it began.
    """
    beside = _beside(requests, sessions)
    charged = ~beside.answered & (beside.charged > 0)
    if not charged.any():
        return requests.clear()
    some = requests.filter(pl.Series(charged))
    return _frame(some, beside.rows[charged]).with_columns(units=pl.Series(beside.charged[charged]))


def reserve(asked: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Ask the accounts, in the order of arrival; what is asked with no units is given back."""
    groups = locate(accounts.keys, asked["subscriber"].to_numpy())
    assert len(asked) == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    priced = price_batch(asked, groups, accounts, catalogue)
    promised, after = promise(_asks(asked), priced, groups, accounts, catalogue)
    quotas = asked.select(NAME).with_columns(promised=pl.Series(promised), refusal=pl.Series(priced.verdict))
    return Outcome((QUOTAS.record.conform(quotas),), after)


def _asks(asked: pl.DataFrame) -> Asks:
    def column(name: str) -> Array:
        return asked[name].to_numpy()

    return Asks(
        column("hold"),
        column("time_us") // 1_000_000,
        column("until_us") // 1_000_000,
        column("kind"),
        column("direction"),
        column("start_us"),
        column("units"),
        column("amount_micros"),
    )


def answer(quotas: pl.DataFrame, sessions: Grouped) -> Outcome:
    """Tell each request what it may use, and remember it."""
    at = locate(sessions.keys, quotas["session"].to_numpy())
    same, _, _ = _matched(sessions, at, quotas["group"].to_numpy())
    rows = sessions.rows.copy()
    rows["granted"][same] = np.maximum(quotas["promised"].to_numpy() - rows["used"][same], 0)
    rows["refusal"][same] = quotas["refusal"].to_numpy()
    return Outcome((_answers(quotas, rows[same]),), Grouped(sessions.keys, sessions.offsets, rows))


def _answers(named: pl.DataFrame, rows: Array) -> pl.DataFrame:
    told = {name: np.ascontiguousarray(rows[name]) for name in ("wanted", "granted", "refusal")}
    return pl.DataFrame({name: named[name] for name in NAME} | told, schema=ANSWERS.record.schema)


class _Beside(NamedTuple):
    """What requests become, in arrays beside their rows."""

    at: Array  # i8: which of the sessions
    same: Array  # i8: the row that their rating group has now; -1 for none
    answered: Array  # bool: they were answered before
    rows: Array  # SESSIONS.dtype: what is written down of them, without an answer
    units: Array  # i8: what a promise has to cover
    charged: Array  # i8: what is charged now


def _beside(requests: pl.DataFrame, sessions: Grouped) -> _Beside:
    def column(name: str) -> Array:
        return requests[name].to_numpy()

    at = locate(sessions.keys, column("session"))
    same, first, newest = _matched(sessions, at, column("group"))
    rows = np.zeros(len(requests), SESSIONS.dtype)
    for name in ("group", "invocation", "wanted", *SAID):
        rows[name] = column(name)
    rows["service"] = requests["service"].fill_null("").to_list()
    held, had = sessions.rows, same >= 0
    silent = ~column("says") & (first >= 0)
    for name in (*SAID, "service"):
        rows[name][silent] = held[name][first[silent]]
    whole = rows["kind"] == int(Kind.VOICE)  # a call began when it began, whatever a later request says
    began = whole & (first >= 0)
    rows["start_us"][began] = held["start_us"][first[began]]
    released = column("action") == int(Action.RELEASE)
    before = np.zeros(len(requests), np.int64)
    before[had] = held["used"][same[had]]
    outstanding = np.where(whole, before + column("used"), 0)
    rows["used"] = np.where(released, 0, outstanding)
    rows["asked_us"] = column("time_us")
    rows["until_us"] = np.where(released, 0, column("until_us"))
    rows["day"] = column("time_us") // DAY_US
    return _Beside(
        at,
        same,
        column("invocation") <= newest,
        rows,
        np.where(released, 0, column("wanted") + outstanding),
        np.where(whole, np.where(released, outstanding, 0), column("used")),
    )


def _frame(requests: pl.DataFrame, rows: Array) -> pl.DataFrame:
    """Requests with what their sessions have said before."""
    said = [pl.Series(name, np.ascontiguousarray(rows[name])) for name in SAID]
    service = pl.Series("service", rows["service"].astype(str), dtype=pl.String).replace("", None)
    return requests.with_columns(*said, service)


def _with(sessions: Grouped, beside: _Beside, new: Array) -> Grouped:
    """Sessions with what is written down of new requests in the place of what their rating groups had."""
    owner = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    stays = np.ones(len(sessions.rows), np.bool_)
    stays[beside.same[new & (beside.same >= 0)]] = False
    owners = np.concatenate([owner[stays], beside.at[new]])
    rows = np.concatenate([sessions.rows[stays], beside.rows[new]])
    order = np.argsort(owners, kind="stable")
    offsets = np.zeros(len(sessions) + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=len(sessions)), out=offsets[1:])
    return Grouped(sessions.keys, offsets, rows[order])


def _matched(sessions: Grouped, at: Array, group: Array) -> tuple[Array, Array, Array]:
    rows = sessions.rows
    return _match(
        sessions.offsets,
        np.ascontiguousarray(rows["group"]),
        np.ascontiguousarray(rows["invocation"]),
        at,
        group,
    )


@nb.njit(nogil=True, cache=True)
def _match(
    offsets: Array, groups: Array, invocations: Array, at: Array, group: Array
) -> tuple[Array, Array, Array]:
    """For each request: its rating group's row, its session's first row, the newest invocation; -1 for none."""
    same = np.full(len(at), -1, np.int64)
    first = np.full(len(at), -1, np.int64)
    newest = np.full(len(at), -1, np.int64)
    for row in range(len(at)):
        for held in range(offsets[at[row]], offsets[at[row] + 1]):
            if first[row] < 0:
                first[row] = held
            if groups[held] == group[row]:
                same[row] = held
            newest[row] = max(newest[row], np.int64(invocations[held]))
    return same, first, newest
