"""Usage that is paid for before it happens: what is asked for, what is promised, and the sessions in between.

The words are those of 3GPP TS 32.290 (converged charging): a session asks for a quota for each of its rating groups,
reports what it used, asks again, and is released.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    LAPSE = 3  # the platform's own: nothing was heard of the session before its promises ended


def _of(*names: str) -> tuple[Column, ...]:
    """Columns that mean what they mean of usage."""
    return tuple(column for column in METERED.record.columns if column.name in names)


_KEY = ("session", "group", "invocation")
_NAMED = (
    *_of("subscriber", "member"),
    Column("session", pl.UInt64, "Digest that names the charging session."),
    Column("group", pl.UInt32, "Rating group within the session."),
    Column("invocation", pl.Int32, "Sequence number that the requester gave."),
)
_USE = _of(
    "kind", "direction", "calling", "called", "start_us", "visited_plmn", "slice", "five_qi", "service"
)
_WANTED = Column("wanted", pl.Int64, "Units asked for, in the unit of their kind; 0 when none are.")
_REFUSAL = Column("refusal", pl.UInt8, "Why nothing could be judged: number in `REFUSALS`; 0 when it could.")

REQUESTS = Stream(
    "online.requests",
    Record(
        "Quota request",
        "One rating group of a charging request.",
        (
            *_NAMED,
            Column("action", pl.UInt8, "What it wants: `Action`."),
            Column("time_us", pl.Int64, "When it was asked, by our clock.", "us UTC"),
            Column("until_us", pl.Int64, "When a promise made for it ends.", "us UTC"),
            Column("says", pl.Boolean, "Whether it says who uses what; else its session has said so before."),
            *_USE,
            Column("used", pl.Int64, "Units used since the request before."),
            _WANTED,
        ),
        _KEY,
        35,
    ),
    key="subscriber",
    text="Requests for quota on their way to the account.",
)

# Requests as the embedded engine hands them over: a batch is small, and answers are waited for.
REQUEST_ROW = np.dtype(
    [
        ("subscriber", "u8"),
        ("session", "u8"),
        ("group", "u4"),
        ("invocation", "i4"),
        ("action", "u1"),
        ("time_us", "i8"),
        ("until_us", "i8"),
        ("says", "?"),
        ("kind", "u1"),
        ("direction", "u1"),
        ("calling", "u8"),
        ("called", "u8"),
        ("start_us", "i8"),
        ("visited_plmn", "u4"),
        ("slice", "u4"),
        ("five_qi", "u1"),
        ("service", "S64"),
        ("used", "i8"),
        ("wanted", "i8"),
        ("member", "u2"),
    ]
)

ASKED = Stream(
    "online.asked",
    Record(
        "Asked quota",
        "A request that was not answered before, or what another rating group was promised and still has.",
        (
            *_NAMED,
            *_USE,
            *_of("amount_micros", "currency"),
            Column("asked", pl.Boolean, "Whether it is asked for now; else it is out, or owed."),
            Column("owed", pl.Boolean, "Whether it was used and waits to be charged."),
            Column(
                "units", pl.Int64, "Units of the promise: those wanted, and those used and not charged yet."
            ),
        ),
        _KEY,
        35,
    ),
    key="subscriber",
    text="What accounts are asked to promise.",
)

QUOTAS = Stream(
    "online.quotas",
    Record(
        "Quota",
        "What an account promised.",
        (*_NAMED, Column("promised", pl.Int64, "Units that the account can pay for."), _REFUSAL),
        _KEY,
        35,
    ),
    key="subscriber",
    text="Promises on their way back to their sessions.",
)

ANSWERS = Stream(
    "online.answers",
    Record(
        "Quota answer",
        "What the requester is told.",
        (
            *_NAMED,
            _WANTED,
            Column("granted", pl.Int64, "Units that may be used now; fewer than wanted are the last ones."),
            _REFUSAL,
        ),
        _KEY,
        35,
    ),
    key="subscriber",
    text="Answers to requests for quota.",
)

# In the place of a kind of usage: nothing is used, an amount of the balance whose number is the group is set apart.
APART = 0

# In the place of a promise's end. A lapsed session may be heard of again; a row that is OWED is no promise: its units
# were used, and wait to be charged under the name of its invocation.
RELEASED, LAPSED, OWED = 0, -1, -2

# What stops a promise besides money; the numbers are stored and never reused.
REFUSALS = ("", "unknown_subscriber", "no_plan_at_time", "tariff_not_found", "too_large", "wrong_currency")

_SESSION = [
    ("session", "u8"),
    ("group", "u4"),
    ("invocation", "i4"),  # the last one that was answered
    ("wanted", "i8"),  # by it
    ("granted", "i8"),
    ("used", "i8"),  # and not charged yet: a call's until it ends, or what is owed
    ("asked_us", "i8"),  # when it was last asked
    ("calling", "u8"),
    ("called", "u8"),
    ("start_us", "i8"),
    ("until_us", "i8"),  # the promise ends; RELEASED, LAPSED, or OWED
    ("day", "<u2"),  # days since 1970 of the last request
    ("member", "<u2"),  # who uses, within a shared account; 0 = its owner
    ("visited_plmn", "u4"),
    ("slice", "u4"),
    ("kind", "u1"),
    ("direction", "u1"),
    ("five_qi", "u1"),
    ("refusal", "u1"),  # number in REFUSALS
    ("service", "S64"),
]
_BEFORE_MEMBERS = [
    ("day", "i4") if name == "day" else (name, kind) for name, kind in _SESSION if name != "member"
]

SESSIONS = State(
    "online.sessions",
    "subscriber",
    np.dtype(_SESSION),
    "Each account's charging sessions, with what each rating group was last answered.",
    formerly=(np.dtype(_BEFORE_MEMBERS),),
)


@dataclass(frozen=True)
class Hold:
    """What of an account is spoken for: an amount that is set apart, or what a charging session was promised."""

    name: str  # of the reservation, or of the session; 16 hexadecimal digits
    owner: int  # dial word of the account's owner
    member: int  # who uses, within the account; 0 for its owner
    balance: str  # that an amount is set apart of; "" for a promise, which names none
    kind: int  # records.usage.Kind of a promise; 0 for an amount that is set apart
    group: int  # rating group of a promise; 0 otherwise
    units: int  # set apart, or promised and not used yet
    owed: int  # used already and not charged yet
    time_us: int  # when it was asked last
    until_us: int | None  # when it ends by itself; None for what only waits to be charged


@dataclass(frozen=True)
class WouldUse:
    """A use that somebody thinks of, to ask how much of it an account could pay for now."""

    subscriber: int  # dial word
    kind: int  # records.usage.Kind
    called: int  # dial word; 0 for none
    service: str  # name of the data network or service; "" for none
    units: int  # in the kind's own unit
    start_us: int
    rate_micros: int = 0  # the highest rate, in micro-units ...
    per_units: int = 0  # ... for so many units; 0: none is named
    cost_micros: int | None = None  # the highest cost of the whole use
