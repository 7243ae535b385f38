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

from trunkline.charging.quota import Quotas, promise
from trunkline.charging.rate import price_batch
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.records.online import ANSWERS, ASKED, LAPSED, QUOTAS, RELEASED, SESSIONS, Action
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
Rows = npt.NDArray[Any]  # SESSIONS.dtype

DAY_US = 86_400_000_000
REMEMBERED_US = DAY_US  # so long is a session that is over known, for what is sent again
NAME = ("subscriber", "session", "group", "invocation")
USE = ("kind", "direction", "calling", "called", "start_us", "visited_plmn", "slice", "five_qi")


def recall(requests: pl.DataFrame, sessions: Grouped) -> Outcome:
    """Set aside what was answered before; write the rest down, and put beside it what its subscribers are promised."""
    beside = _beside(requests, sessions)
    new = ~beside.answered
    out, owners = _out(sessions, beside, requests["time_us"].to_numpy())
    asked = _asked(
        sessions.keys[np.concatenate([owners, beside.at[new]])],
        np.concatenate([out, beside.rows[new]]),
        np.concatenate([out["used"] + out["granted"], beside.units[new]]),
    ).with_columns(asked=pl.Series(np.arange(len(out) + int(new.sum())) >= len(out)))
    again = sessions.rows[beside.same[beside.answered & (beside.same >= 0)]]
    told = _answers(requests.filter(pl.Series(beside.answered & (beside.same >= 0))), again)
    return Outcome((ASKED.record.conform(asked), told), _with(sessions, beside, new))


def used(requests: pl.DataFrame, sessions: Grouped) -> pl.DataFrame:
    """What requests report that is charged now, with `units`; none for what was answered before.

    Data and events as reported; a call when it is over, with all that it has used since it began.
    """
    beside = _beside(requests, sessions)
    charged = ~beside.answered & (beside.charged > 0)
    return _asked(sessions.keys[beside.at[charged]], beside.rows[charged], beside.charged[charged])


def reserve(asked: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Ask the accounts, in the order of arrival; what is asked with no units is given back."""
    groups = locate(accounts.keys, asked["subscriber"].to_numpy())
    assert len(asked) == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    priced = price_batch(asked, groups, accounts, catalogue)

    def column(name: str) -> Array:
        return asked[name].to_numpy()

    quotas = Quotas(
        name_of(column("session"), column("group")),
        column("asked"),
        column("units").copy(),
        column("kind"),
        column("direction"),
        column("start_us"),
        column("amount_micros"),
    )
    promised = promise(quotas, priced, groups, accounts, catalogue)
    told = asked.select(NAME).with_columns(promised=pl.Series(promised), refusal=pl.Series(priced.verdict))
    return Outcome((QUOTAS.record.conform(told.filter(asked["asked"])),))


def answer(quotas: pl.DataFrame, sessions: Grouped) -> Outcome:
    """Tell each request what it may use, and remember it."""
    at = locate(sessions.keys, quotas["subscriber"].to_numpy())
    same = _matched(sessions, at, quotas).same
    rows = sessions.rows.copy()
    rows["granted"][same] = np.maximum(quotas["promised"].to_numpy() - rows["used"][same], 0)
    rows["refusal"][same] = quotas["refusal"].to_numpy()
    return Outcome((_answers(quotas, rows[same]),), Grouped(sessions.keys, sessions.offsets, rows))


def name_of(session: Array, group: Array) -> Array:
    """Name of the promise of each rating group: its session's digest, turned by the group (an odd multiplier)."""
    turns = (group.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return session ^ turns


def _answers(named: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    told = {name: np.ascontiguousarray(rows[name]) for name in ("wanted", "granted", "refusal")}
    return pl.DataFrame({name: named[name] for name in NAME} | told, schema=ANSWERS.record.schema)


def _asked(subscribers: Array, rows: Rows, units: Array) -> pl.DataFrame:
    """Rows of sessions as usage that can be priced."""
    names = ("session", "group", "invocation", *USE)
    columns: dict[str, Any] = {name: np.ascontiguousarray(rows[name]) for name in names}
    service = pl.Series(rows["service"].astype(str), dtype=pl.String).replace("", None)
    return pl.DataFrame(
        {"subscriber": subscribers} | columns | {"service": service, "units": units}
    ).with_columns(amount_micros=pl.lit(0, pl.Int64))


class _Matched(NamedTuple):
    """What is known of each request; positions in the sessions' rows, -1 for none."""

    same: Array  # i8: its rating group
    first: Array  # i8: its session
    newest: Array  # i8: the session's last invocation


class _Beside(NamedTuple):
    """What requests become, in arrays beside their rows."""

    at: Array  # i8: which of the subscribers
    same: Array  # i8: the row that their rating group has now; -1 for none
    answered: Array  # bool: they were answered before
    rows: Rows  # what is written down of them, without an answer
    units: Array  # i8: what a promise has to cover
    charged: Array  # i8: what is charged now


def _beside(requests: pl.DataFrame, sessions: Grouped) -> _Beside:
    def column(name: str) -> Array:
        return requests[name].to_numpy()

    at = locate(sessions.keys, column("subscriber"))
    same, first, newest = _matched(sessions, at, requests)
    held, had = sessions.rows, same >= 0
    rows = _said(requests, held, first)
    whole = rows["kind"] == int(Kind.VOICE)
    lapsed = column("action") == int(Action.LAPSE)
    over = lapsed | (column("action") == int(Action.RELEASE))
    rows["invocation"][lapsed] = newest[lapsed]
    before = np.zeros(len(requests), np.int64)
    before[had] = held["used"][same[had]]
    outstanding = np.where(whole, before + column("used"), 0)
    rows["used"] = np.where(over, 0, outstanding)
    rows["until_us"] = np.where(over, np.where(lapsed, LAPSED, RELEASED), column("until_us"))
    return _Beside(
        at,
        same,
        (column("invocation") <= newest) & ~lapsed,
        rows,
        np.where(over, 0, column("wanted") + outstanding),
        np.where(whole, np.where(over, outstanding, 0), column("used")),
    )


def _said(requests: pl.DataFrame, held: Rows, first: Array) -> Rows:
    """Requests as rows of sessions; what one does not say, its session has said."""
    rows = np.zeros(len(requests), SESSIONS.dtype)
    for name in ("session", "group", "invocation", "wanted", *USE):
        rows[name] = requests[name].to_numpy()
    rows["service"] = requests["service"].fill_null("").to_list()
    rows["asked_us"] = requests["time_us"].to_numpy()
    rows["day"] = rows["asked_us"] // DAY_US
    known = first >= 0
    silent = ~requests["says"].to_numpy() & known
    for name in (*USE, "service"):
        rows[name][silent] = held[name][first[silent]]
    began = (rows["kind"] == int(Kind.VOICE)) & known  # a call began when it began, whatever is said later
    rows["start_us"][began] = held["start_us"][first[began]]
    return rows


def _out(sessions: Grouped, beside: _Beside, time_us: Array) -> tuple[Rows, Array]:
    """What the subscribers of new requests are promised now: rows, and which of the subscribers each belongs to."""
    now_us = np.full(len(sessions), np.iinfo(np.int64).max)
    new = ~beside.answered
    now_us[beside.at[new]] = time_us[new]
    owners = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    rows = sessions.rows
    out = (rows["until_us"] > now_us[owners]) & (rows["used"] + rows["granted"] > 0)
    return rows[out], owners[out]


def _with(sessions: Grouped, beside: _Beside, new: Array) -> Grouped:
    """Sessions with what is written down of new requests in the place of what their rating groups had.

    A session that has been over for a day is forgotten.
    """
    rows = sessions.rows
    owners = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    now_us = np.zeros(len(sessions), np.int64)
    now_us[beside.at[new]] = beside.rows["asked_us"][new]
    stays = (rows["until_us"] > 0) | (rows["asked_us"] >= now_us[owners] - REMEMBERED_US)
    stays[beside.same[new & (beside.same >= 0)]] = False
    owner = np.concatenate([owners[stays], beside.at[new]])
    order = np.argsort(owner, kind="stable")
    offsets = np.zeros(len(sessions) + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=len(sessions)), out=offsets[1:])
    return Grouped(sessions.keys, offsets, np.concatenate([rows[stays], beside.rows[new]])[order])


def _matched(sessions: Grouped, at: Array, named: pl.DataFrame) -> _Matched:
    rows = sessions.rows
    found = _match(
        sessions.offsets,
        np.ascontiguousarray(rows["session"]),
        np.ascontiguousarray(rows["group"]),
        np.ascontiguousarray(rows["invocation"]),
        at,
        named["session"].to_numpy(),
        named["group"].to_numpy(),
    )
    return _Matched(*found)


@nb.njit(nogil=True, cache=True)
def _match(
    offsets: Array,
    sessions: Array,
    groups: Array,
    invocations: Array,
    at: Array,
    session: Array,
    group: Array,
) -> tuple[Array, Array, Array]:
    """For each request: its rating group's row, its session's first row, the session's newest invocation."""
    same = np.full(len(at), -1, np.int64)
    first = np.full(len(at), -1, np.int64)
    newest = np.full(len(at), -1, np.int64)
    for row in range(len(at)):
        for held in range(offsets[at[row]], offsets[at[row] + 1]):
            if sessions[held] != session[row]:
                continue
            if first[row] < 0:
                first[row] = held
            if groups[held] == group[row]:
                same[row] = held
            newest[row] = max(newest[row], np.int64(invocations[held]))
    return same, first, newest
