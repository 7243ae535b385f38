"""Online charging: a session asks for quota before it uses anything, and no two sessions are promised the same money.

A request's used units are charged like every other usage, as a record of their own, many together and a moment later;
until then they are owed, and no promise overlooks them. What this module decides is what may be used next. Data and
events are owed as they are reported. A call is priced as one whole (a tariff may
change with its length), so its promise covers it from its first second, and it is charged when it ends.

Sessions of a shared account's members lie with their owner's, like all that is the account's; each says which member
uses, whose own plan, limits and share decide beside the owner's money.

A request that comes again (a retransmission in the words of TS 32.290) is given the answer it was given before.
Batches are small and answers are waited for, so all is done on arrays of rows (`decide`), without frames and joins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.quota import Quotas, left_over, promise, unlimited
from trunkline.charging.rate import UNKNOWN, Priced, few_class_nodes, price_columns
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.records.online import (
    ANSWERS,
    APART,
    ASKED,
    LAPSED,
    OWED,
    QUOTAS,
    RELEASED,
    REQUEST_ROW,
    SESSIONS,
    Action,
)
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]
Rows = npt.NDArray[Any]  # SESSIONS.dtype

DAY_US = 86_400_000_000
REMEMBERED_US = DAY_US  # so long is a session that is over known, for what is sent again
NAME = ("subscriber", "member", "session", "group", "invocation")
USE = ("kind", "direction", "calling", "called", "start_us", "visited_plmn", "slice", "five_qi")
WHO = ("member", *USE)


class Asked(NamedTuple):
    """What accounts are asked, in arrays side by side: what is out and owed first, then what is asked now."""

    subscriber: Array  # u8
    rows: Rows  # SESSIONS.dtype: who uses what, under which name
    units: Array  # i8: of the promise, or of what is owed
    asked: Array  # bool: is asked now
    owed: Array  # bool: was used and waits to be charged
    ceiling: Array | None = None  # quota.CEILING: what is paid at most; None where nobody names anything


class Recalled(NamedTuple):
    """What requests become before the accounts are asked."""

    asked: Asked
    again: Array  # i8: requests that were answered before
    told: Rows  # what they were answered
    sessions: Grouped  # with the others written down, not answered yet


def recall_rows(requests: Rows, sessions: Grouped) -> Recalled:
    """Set aside what was answered before; write the rest down, and put beside it what its subscribers are promised.

    What a request reports as used is owed from now on: it is a row of its own until it is charged (`owed`).
    """
    beside = _beside(requests, sessions)
    new = ~beside.answered
    asking = int(np.count_nonzero(new))
    known, owners = _known(sessions, beside, requests["time_us"])
    waits = owing(known)
    due = new & (beside.charged > 0)
    debts = beside.rows[due]
    debts["until_us"], debts["used"], debts["granted"] = OWED, beside.charged[due], 0
    asked = Asked(
        sessions.keys[np.concatenate([owners, beside.at[due], beside.at[new]])],
        np.concatenate([known, debts, beside.rows[new]]),
        np.concatenate(
            [known["used"] + np.where(waits, 0, known["granted"]), debts["used"], beside.units[new]]
        ),
        np.arange(len(known) + len(debts) + asking) >= len(known) + len(debts),
        np.concatenate([waits, np.arange(len(debts) + asking) < len(debts)]),
    )
    again = np.flatnonzero(beside.answered & (beside.same >= 0))
    told = sessions.rows[beside.same[again]]
    return Recalled(asked, again, told, _with(sessions, beside, new, debts, beside.at[due]))


def reserve_rows(asked: Asked, accounts: Grouped, catalogue: Catalogue) -> tuple[Array, Array]:
    """Ask the accounts in turn: units promised (i8), and why nothing could be judged (u1), beside what is asked.

    What is asked with no units is given back.
    """
    groups = locate(accounts.keys, asked.subscriber)
    assert len(groups) == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    quotas, priced = _quotas(asked, groups, accounts, catalogue)
    return promise(quotas, priced, groups, accounts, catalogue), priced.verdict


def reserved(sessions: Rows, accounts: Grouped, now_us: int, catalogue: Catalogue) -> Array:
    """How much of each row of one account (i8) is promised, set apart, or used and not charged yet, at a moment.

    `sessions` are the account's. Said as if all of it were used now, in the order in which it was asked.
    """
    known = (owing(sessions) | (sessions["until_us"] > now_us)) & (sessions["used"] + sessions["granted"] > 0)
    rows = sessions[known]
    units = rows["used"] + np.where(owing(rows), 0, rows["granted"])
    none = np.zeros(len(rows), np.bool_)
    groups = np.zeros(len(rows), np.int64)
    asked = Asked(np.repeat(accounts.keys, len(rows)), rows, units, none, owing(rows))
    quotas, priced = _quotas(asked, groups, accounts, catalogue)
    return accounts.rows["value"] - left_over(quotas, priced, groups, accounts, catalogue)


def _quotas(asked: Asked, groups: Array, accounts: Grouped, catalogue: Catalogue) -> tuple[Quotas, Priced]:
    """What accounts are asked, with how each is rated; an amount that is set apart is not rated."""
    rows = asked.rows
    apart = rows["kind"] == APART
    of = {name: np.ascontiguousarray(rows[name]) for name in WHO} | {
        "units": asked.units,
        "amount_micros": np.zeros(len(rows), np.int64),
    }
    of["kind"] = np.where(apart, np.uint8(Kind.DATA), of["kind"])
    traffic = zip(of["kind"].tolist(), rows["service"].tolist(), rows["slice"].tolist(), rows["five_qi"].tolist(),
                  strict=True)  # fmt: skip
    nodes = few_class_nodes(
        [(kind, service.decode() or None, slice_, qi) for kind, service, slice_, qi in traffic], catalogue
    )
    none = np.zeros(len(rows), np.bool_)
    priced = price_columns(of, nodes, none, groups, accounts, catalogue)
    priced.verdict[apart & (priced.verdict != UNKNOWN)] = 0
    quotas = Quotas(
        name_of(rows["session"], rows["group"]), asked.asked, asked.units.copy(), of["kind"], of["direction"],
        of["start_us"], of["amount_micros"], asked.owed, of["member"],
        np.where(apart, rows["group"].astype(np.int64), np.int64(-1)),
        unlimited(len(rows)) if asked.ceiling is None else asked.ceiling,
    )  # fmt: skip
    return quotas, priced


def answer_rows(named: Rows, subscribers: Array, promised: Array, refusal: Array, sessions: Grouped) -> Rows:
    """Write into the sessions what each named row is told (in place), and return their rows as they are now."""
    same = _matched(sessions, locate(sessions.keys, subscribers), named).same
    rows = sessions.rows
    rows["granted"][same] = np.maximum(promised - rows["used"][same], 0)
    rows["refusal"][same] = refusal
    return np.asarray(rows[same])


def decide(
    requests: Rows, sessions: Grouped, accounts: Grouped, catalogue: Catalogue
) -> tuple[Rows, Grouped]:
    """All steps at once: the rows that the requests are answered with, and the sessions from now on."""
    recalled = recall_rows(requests, sessions)
    asked = recalled.asked
    promised, refusal = reserve_rows(asked, accounts, catalogue)
    now = asked.asked
    told = answer_rows(asked.rows[now], asked.subscriber[now], promised[now], refusal[now], recalled.sessions)
    return np.concatenate([recalled.told, told]), recalled.sessions


def usable(
    requests: Rows, ceilings: Array, sessions: Grouped, accounts: Grouped, catalogue: Catalogue
) -> tuple[Array, Array]:
    """What `requests` would be granted now (units, i8), and why nothing could be judged (u1); nothing is promised.

    `ceilings` (`quota.CEILING`) stand beside them: units that cost more than one of them says are not among the answer.
    """
    asked = recall_rows(requests, sessions).asked
    of_all = unlimited(len(asked.rows))
    of_all[np.flatnonzero(asked.asked)] = ceilings
    promised, refusal = reserve_rows(asked._replace(ceiling=of_all), accounts, catalogue)
    return promised[asked.asked], refusal[asked.asked]


# -- the same as steps of the map ----------------------------------------------------------------------------


def recall(requests: pl.DataFrame, sessions: Grouped) -> Outcome:
    """`recall_rows` over columns."""
    rows = np.zeros(len(requests), REQUEST_ROW)
    for name in REQUEST_ROW.names or ():
        rows[name] = (
            requests["service"].fill_null("").to_list() if name == "service" else requests[name].to_numpy()
        )
    recalled = recall_rows(rows, sessions)
    told = _answers(requests[recalled.again], recalled.told)
    return Outcome((_framed(recalled.asked), told), recalled.sessions)


def reserve(asked: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """`reserve_rows` over columns."""
    rows = np.zeros(len(asked), SESSIONS.dtype)
    for name in ("session", "group", "invocation", *WHO):
        rows[name] = asked[name].to_numpy()
    rows["service"] = asked["service"].fill_null("").to_list()
    now = asked["asked"].to_numpy()
    quantities = Asked(
        asked["subscriber"].to_numpy(), rows, asked["units"].to_numpy(), now, asked["owed"].to_numpy()
    )
    promised, refusal = reserve_rows(quantities, accounts, catalogue)
    told = {name: asked[name].to_numpy()[now] for name in NAME} | {
        "promised": promised[now],
        "refusal": refusal[now],
    }
    return Outcome((pl.DataFrame(told, schema=QUOTAS.record.schema),))


def answer(quotas: pl.DataFrame, sessions: Grouped) -> Outcome:
    """`answer_rows` over columns."""
    named = np.zeros(len(quotas), SESSIONS.dtype)
    for name in ("session", "group"):
        named[name] = quotas[name].to_numpy()
    told, after = (quotas[name].to_numpy() for name in ("promised", "refusal"))
    kept = Grouped(sessions.keys, sessions.offsets, sessions.rows.copy())
    rows = answer_rows(named, quotas["subscriber"].to_numpy(), told, after, kept)
    return Outcome((_answers(quotas, rows),), kept)


def _answers(named: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    told = {name: np.ascontiguousarray(rows[name]) for name in ("wanted", "granted", "refusal")}
    return pl.DataFrame({name: named[name] for name in NAME} | told, schema=ANSWERS.record.schema)


def _framed(asked: Asked) -> pl.DataFrame:
    """What accounts are asked, as columns."""
    rows = asked.rows
    columns: dict[str, Any] = {
        name: np.ascontiguousarray(rows[name]) for name in ("session", "group", "invocation", *WHO)
    }
    columns |= {
        "subscriber": asked.subscriber,
        "units": asked.units,
        "asked": asked.asked,
        "owed": asked.owed,
    }
    columns |= {"service": [service.decode() or None for service in rows["service"].tolist()]}
    columns |= {"amount_micros": np.zeros(len(rows), np.int64), "currency": [None] * len(rows)}
    schema = ASKED.record.schema
    return pl.DataFrame([pl.Series(name, columns[name], dtype=dtype) for name, dtype in schema.items()])


# -- what is owed --------------------------------------------------------------------------------------------


def owing(rows: Rows) -> Array:
    """Which rows of sessions are used and wait to be charged."""
    return np.asarray(rows["until_us"] == OWED)


def owed(sessions: Grouped) -> pl.DataFrame:
    """What was used and waits to be charged, with `units`.

    Data and events come as they were reported; a call when it is over, with all that it has used since it began.
    """
    waits = owing(sessions.rows)
    rows = sessions.rows[waits]
    none = np.zeros(len(rows), np.bool_)
    return _framed(
        Asked(sessions.keys[_owners(sessions)[waits]], rows, np.ascontiguousarray(rows["used"]), none, ~none)
    )


def struck(sessions: Grouped, due: Grouped) -> Grouped:
    """The sessions without what was owed in `due`, an earlier look at the same keys; what came since stays owed.

    What is owed is only ever put behind what was owed before, so the first ones of each key are those that were due.
    """
    assert np.array_equal(sessions.keys, due.keys), "the same subscribers are looked at again"
    counts = np.bincount(_owners(due)[owing(due.rows)], minlength=len(due))
    waits, owners = owing(sessions.rows), _owners(sessions)
    before = np.concatenate([[0], np.cumsum(waits)])  # how many are owed before each row
    rank = before[:-1] - before[sessions.offsets[owners]]
    gone = waits & (rank < counts[owners])
    was, now = due.rows[owing(due.rows)], sessions.rows[gone]
    assert all(np.array_equal(was[name], now[name]) for name in ("session", "group", "invocation"))
    offsets = np.zeros(len(sessions) + 1, np.int64)
    np.cumsum(np.bincount(owners[~gone], minlength=len(sessions)), out=offsets[1:])
    return Grouped(sessions.keys, offsets, sessions.rows[~gone])


def _owners(groups: Grouped) -> Array:
    """Which key each row belongs to."""
    return np.repeat(np.arange(len(groups)), np.diff(groups.offsets))


def name_of(session: Array, group: Array) -> Array:
    """Name of the promise of each rating group: its session's digest, turned by the group (an odd multiplier)."""
    turns = (group.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return session ^ turns


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


def _beside(requests: Rows, sessions: Grouped) -> _Beside:
    at = locate(sessions.keys, requests["subscriber"])
    same, first, newest = _matched(sessions, at, requests)
    held, had = sessions.rows, same >= 0
    rows = _said(requests, held, first)
    whole = rows["kind"] == int(Kind.VOICE)
    lapsed = requests["action"] == int(Action.LAPSE)
    over = lapsed | (requests["action"] == int(Action.RELEASE))
    rows["invocation"][lapsed] = newest[lapsed]
    before = np.zeros(len(requests), np.int64)
    before[had] = held["used"][same[had]]
    outstanding = np.where(whole, before + requests["used"], 0)
    rows["used"] = np.where(over, 0, outstanding)
    rows["until_us"] = np.where(over, np.where(lapsed, LAPSED, RELEASED), requests["until_us"])
    return _Beside(
        at,
        same,
        (requests["invocation"] <= newest) & ~lapsed,
        rows,
        np.where(over, 0, requests["wanted"] + outstanding),
        np.where(whole, np.where(over, outstanding, 0), requests["used"]),
    )


def _said(requests: Rows, held: Rows, first: Array) -> Rows:
    """Requests as rows of sessions; what one does not say, its session has said."""
    rows = np.zeros(len(requests), SESSIONS.dtype)
    for name in ("session", "group", "invocation", "wanted", *WHO):
        rows[name] = requests[name]
    rows["service"] = requests["service"]
    rows["asked_us"] = requests["time_us"]
    rows["day"] = rows["asked_us"] // DAY_US
    known = first >= 0
    silent = ~requests["says"] & known
    for name in (*USE, "service"):
        rows[name][silent] = held[name][first[silent]]
    rows["member"][known] = held["member"][first[known]]  # whose session it is was said when it began
    began = (rows["kind"] == int(Kind.VOICE)) & known  # a call began when it began, whatever is said later
    rows["start_us"][began] = held["start_us"][first[began]]
    return rows


def _known(sessions: Grouped, beside: _Beside, time_us: Array) -> tuple[Rows, Array]:
    """What the subscribers of new requests are promised or owe now: rows, and whose each is."""
    now_us = np.full(len(sessions), np.iinfo(np.int64).max)
    new = ~beside.answered
    now_us[beside.at[new]] = time_us[new]
    owners = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    rows = sessions.rows
    out = (rows["until_us"] > now_us[owners]) & (rows["used"] + rows["granted"] > 0)
    known = out | ((rows["until_us"] == OWED) & (now_us[owners] < np.iinfo(np.int64).max))
    return rows[known], owners[known]


def _with(sessions: Grouped, beside: _Beside, new: Array, owing: Rows, owing_at: Array) -> Grouped:
    """Sessions with what is written down of new requests in the place of what their rating groups had.

    A session that has been over for a day is forgotten; what is owed stays until it is charged.
    """
    rows = sessions.rows
    owners = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    now_us = np.zeros(len(sessions), np.int64)
    now_us[beside.at[new]] = beside.rows["asked_us"][new]
    stays = (rows["until_us"] > 0) | (rows["asked_us"] >= now_us[owners] - REMEMBERED_US)
    stays |= rows["until_us"] == OWED
    stays[beside.same[new & (beside.same >= 0)]] = False
    owner = np.concatenate([owners[stays], owing_at, beside.at[new]])
    order = np.argsort(owner, kind="stable")
    offsets = np.zeros(len(sessions) + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=len(sessions)), out=offsets[1:])
    return Grouped(sessions.keys, offsets, np.concatenate([rows[stays], owing, beside.rows[new]])[order])


def _matched(sessions: Grouped, at: Array, named: Rows) -> _Matched:
    rows = sessions.rows
    found = _match(
        sessions.offsets,
        np.ascontiguousarray(rows["session"]),
        np.ascontiguousarray(rows["group"]),
        np.ascontiguousarray(rows["invocation"]),
        owing(rows),
        at,
        np.ascontiguousarray(named["session"]),
        np.ascontiguousarray(named["group"]),
    )
    return _Matched(*found)


@nb.njit(nogil=True, cache=True)
def _match(
    offsets: Array,
    sessions: Array,
    groups: Array,
    invocations: Array,
    owed_rows: Array,
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
            if sessions[held] != session[row] or owed_rows[held]:
                continue
            if first[row] < 0:
                first[row] = held
            if groups[held] == group[row]:
                same[row] = held
            newest[row] = max(newest[row], np.int64(invocations[held]))
    return same, first, newest
