"""Usage that is paid for before it happens: what is asked for, what is promised, and the sessions in between.

The words are those of 3GPP TS 32.290 (converged charging): a session asks for a quota for each of its rating groups,
reports what it used, asks again, and is released.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import State
from trunkline.records.usage import METERED


class Action(IntEnum):
    """What a request wants; the numbers are stored and never reused."""

    RESERVE = 1
    RELEASE = 2


_ASKED_OF = tuple(
    column
    for column in METERED.record.columns
    if column.name
    in (
        "kind",
        "direction",
        "subscriber",
        "calling",
        "called",
        "start_us",
        "amount_micros",
        "currency",
        "visited_plmn",
        "slice",
        "five_qi",
        "service",
    )
)

_NAMED = (
    Column("seq", pl.Int64, "Arrival number."),
    Column("session", pl.UInt64, "Digest that names the charging session."),
    Column("group", pl.UInt32, "Rating group within the session."),
    Column("hold", pl.UInt64, "Digest of both: the name of the promise in the account."),
    Column("invocation", pl.Int32, "Sequence number that the requester gave."),
    Column("action", pl.UInt8, "What it wants: `Action`."),
    Column("time_us", pl.Int64, "When it was asked.", "us UTC"),
    Column("until_us", pl.Int64, "When a promise made for it ends.", "us UTC"),
)

_SPENT = (
    Column("used", pl.Int64, "Units used since the request before, in the unit of their kind."),
    Column("wanted", pl.Int64, "Units asked for; 0 when none are."),
)
_KEY = ("session", "group", "invocation")

REQUESTS = Stream(
    "online.requests",
    Record(
        "Quota request",
        "One rating group of a charging request.",
        _NAMED
        + (Column("says", pl.Boolean, "Whether it says who uses what; else the session has said so before."),)
        + _ASKED_OF
        + _SPENT,
        _KEY,
        35,
    ),
    key="session",
    text="Requests for quota on their way to the account.",
)

ASKED = Stream(
    "online.asked",
    Record(
        "Asked quota",
        "A request that was not answered before, with the units that a promise has to cover.",
        _NAMED
        + _ASKED_OF
        + (
            Column(
                "units", pl.Int64, "Units to be promised: those wanted, and those used and not charged yet."
            ),
        ),
        _KEY,
        35,
    ),
    key="subscriber",
    text="What accounts are asked to promise.",
)

_REFUSAL = Column("refusal", pl.UInt8, "Why nothing could be judged: number in `REFUSALS`; 0 when it could.")

QUOTAS = Stream(
    "online.quotas",
    Record(
        "Quota",
        "What an account promised.",
        (
            *_NAMED[1:3],
            _NAMED[4],
            Column("promised", pl.Int64, "Units that the account can pay for."),
            _REFUSAL,
        ),
        _KEY,
        35,
    ),
    key="session",
    text="Promises on their way back to their sessions.",
)

ANSWERS = Stream(
    "online.answers",
    Record(
        "Quota answer",
        "What the requester is told.",
        (
            *_NAMED[1:3],
            _NAMED[4],
            _SPENT[1],
            Column(
                "granted", pl.Int64, "Units that may be used now; fewer than asked for are the last ones."
            ),
            _REFUSAL,
        ),
        _KEY,
        35,
    ),
    key="session",
    text="Answers to requests for quota.",
)

# What stops a promise besides money; the numbers are stored and never reused.
REFUSALS = ("", "unknown_subscriber", "no_plan_at_time", "tariff_not_found", "too_large", "wrong_currency")

SESSIONS = State(
    "online.sessions",
    "session",
    np.dtype(
        [
            ("group", "u4"),
            ("invocation", "i4"),  # the last one that was answered
            ("wanted", "i8"),  # by it
            ("granted", "i8"),
            ("used", "i8"),  # and not charged yet
            ("asked_us", "i8"),  # when it was last asked
            ("subscriber", "u8"),
            ("calling", "u8"),
            ("called", "u8"),
            ("start_us", "i8"),
            ("until_us", "i8"),  # the promise ends; 0 = the session was released
            ("day", "i4"),  # days since 1970 of the last request
            ("visited_plmn", "u4"),
            ("slice", "u4"),
            ("kind", "u1"),
            ("direction", "u1"),
            ("five_qi", "u1"),
            ("refusal", "u1"),  # number in REFUSALS
            ("service", "S64"),
        ]
    ),
    "Charging sessions that were opened, with what each rating group was last answered.",
    digests=True,
)
