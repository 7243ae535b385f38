"""Usage on its way in: raw bytes, clean usage, and what was set aside and why.

One row of usage is one use of the network (TS 32.298 speaks of charging data records): a call, a message, one
report of a data session, an IoT event, a purchase. Numbers and identities travel as the 64-bit words of
`trunkline.kernel.dial`; times are microseconds UTC; volumes are octets; durations are milliseconds.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream, Table
from trunkline.kernel.grouped import State
from trunkline.kernel.outcomes import Reason


class Kind(IntEnum):
    """What was used; the numbers are stored and never reused."""

    VOICE = 1
    SMS = 2
    DATA = 3
    IOT = 4
    CONTENT = 5


class Direction(IntEnum):
    """Who began it, seen from the subscriber who pays: MO and MT in the words of TS 32.250."""

    ORIGINATING = 0
    TERMINATING = 1


class Report(IntEnum):
    """Which report of a session a record is; NONE for usage that is complete in one record.

    START, INTERIM and STOP report counters that only grow. PARTIAL and LAST are partial records (TS 32.240): each tells
    its own part of one call, with a sequence number; only the last one says how the call ended.
    """

    NONE = 0
    START = 1
    INTERIM = 2
    STOP = 3
    PARTIAL = 4
    LAST = 5


class Action(IntEnum):
    """What a record does: it tells of a use, takes one back that was told, or tells one anew."""

    NONE = 0
    CANCEL = 1
    CORRECT = 2


UNIT_OF_KIND = {
    Kind.VOICE: "ms",
    Kind.SMS: "events",
    Kind.DATA: "octets",
    Kind.IOT: "events",
    Kind.CONTENT: "events",
}

DAYS_REMEMBERED = 35
MARK = "~"  # on a cluster, behind the id of a record that came under a name of its own (`engines.naming`)

RAW = Stream(
    "usage.raw",
    Record(
        "Raw",
        "A block of whole lines (or of one message) as it came, with its place in its source.",
        (
            Column("file", pl.Int32, "The engine's number of the file, spool or partition."),
            Column(
                "source", pl.String, "Name of the source, for mappings that do not read it from the record."
            ),
            Column("mapping", pl.String, "Name of the mapping that reads the block."),
            Column("offset", pl.Int64, "Where the block begins in the file.", "octets"),
            Column("line", pl.Int64, "Number of the block's first line, from 1."),
            Column("bytes", pl.Binary, "The block itself.", personal=True),
            Column(
                "header",
                pl.Binary,
                "The file's header lines, where the mapping has some; null at its first block.",
            ),
            Column(
                "received_us",
                pl.Int64,
                "The engine's clock, for `in_the_future`; null: not judged.",
                "us UTC",
            ),
            Column(
                "newest_us",
                pl.Int64,
                "Newest start committed so far, for `too_old`; null: not judged.",
                "us UTC",
            ),
        ),
        ("file", "offset"),
        days_kept=90,
    ),
    key="file",
    text="What operators' systems hand in.",
)

PLACE = (
    Column("file", pl.Int32, "The engine's number of the file the record came in."),
    Column("line", pl.Int64, "Line of the file, from 1."),
    Column("offset", pl.Int64, "Where the record begins in the file.", "octets"),
    Column("length", pl.Int32, "How long the record is in the file.", "octets"),
)

IDENTITY = (
    Column(
        "source", pl.Categorical(), "The system that made the record; (source, record_id) is its identity."
    ),
    Column("record_id", pl.String, "The record's name within its source."),
    Column("identity", pl.UInt64, "First half of the 128-bit digest of (source, record_id)."),
    Column("check", pl.UInt64, "Second half of that digest."),
    Column(
        "payload",
        pl.UInt64,
        "Digest of what the record says; another value under one identity is a conflict.",
    ),
)

PART = Column(
    "part",
    pl.UInt16,
    "Sequence number of a partial record within its call, from 1; 0 for a record that is whole.",
)

USE = (
    Column("kind", pl.UInt8, "What was used: `Kind`."),
    Column("direction", pl.UInt8, "Who began it: `Direction`."),
    Column("report", pl.UInt8, "Which report of a session: `Report`."),
    Column("subscriber", pl.UInt64, "Who pays, as a dial word.", personal=True),
    Column("calling", pl.UInt64, "The calling number as a dial word; 0 when there is none.", personal=True),
    Column("called", pl.UInt64, "The called number as a dial word; 0 when there is none.", personal=True),
    Column(
        "start_us",
        pl.Int64,
        "When the use began; for a session report, when the reported stretch began.",
        "us UTC",
    ),
    Column("duration_ms", pl.Int64, "How long it lasted; cumulative in a session report.", "ms"),
    Column("octets_up", pl.Int64, "From the subscriber; cumulative in a session report.", "octets"),
    Column("octets_down", pl.Int64, "To the subscriber; cumulative in a session report.", "octets"),
    Column("events", pl.Int64, "Messages or events.", "events"),
    Column(
        "amount_micros", pl.Int64, "Price that the record itself brings (content); else 0.", "micro-units"
    ),
    Column("currency", pl.Categorical(), "Currency of that price; null when it brings none."),
    Column(
        "visited_plmn",
        pl.UInt32,
        "MCC and MNC of the visited network as a number (26201, 310410); 0 at home.",
    ),
    Column("cell", pl.Categorical(), "Cell where it began, as the network names it.", personal=True),
    Column(
        "slice", pl.UInt32, "S-NSSAI: SST in the top 8 bits, SD in the low 24 (TS 23.003 28.4.2); 0 for none."
    ),
    Column("five_qi", pl.UInt8, "5QI of the QoS flow (TS 23.501 5.7.2.1); 0 for none."),
    Column("service", pl.Categorical(), "DNN or APN, IoT event type, content category."),
    Column(
        "session",
        pl.String,
        "The session's name at its gateway, or the reference of the call that it is a part of; else null.",
    ),
    Column("session_start_us", pl.Int64, "When the session began; null outside sessions.", "us UTC"),
    Column(
        "session_key",
        pl.UInt64,
        "Digest of (source, session), the key of the session's state; 0 outside sessions.",
    ),
    Column("cause", pl.Categorical(), "Why it ended, in the words of its source."),
    Column("member", pl.UInt16, "Which member of a shared account used it; 0 for everybody who pays alone."),
    PART,
)

CORRECTING = (
    Column("action", pl.UInt8, "What the record does: `Action`."),
    Column("of", pl.String, "Name of the record of the same source that it cancels or corrects; else null."),
)

DECODED = Stream(
    "usage.decoded",
    Record(
        "Usage",
        "Clean usage with its identity and its place.",
        PLACE + IDENTITY + USE + CORRECTING,
        ("source", "record_id"),
        35,
    ),
    key="identity",
    text="Usage that passed decoding and validation.",
)

ARRIVAL = Column("seq", pl.Int64, "Arrival number, given by the engine: the order in which usage is charged.")

UNIQUE = Stream(
    "usage.unique",
    Record(
        "Unique usage",
        "Usage with its arrival number.",
        PLACE + IDENTITY + USE + (ARRIVAL,),
        ("source", "record_id"),
        35,
    ),
    key="session_key",
    text="Usage that was not seen before.",
)

METERED = Stream(
    "usage.metered",
    Record(
        "Metered usage",
        "Usage with the units that this record adds: a session's counters became differences.",
        PLACE
        + IDENTITY
        + USE
        + (ARRIVAL, Column("units", pl.Int64, "What this record adds, in its kind's unit.")),
        ("source", "record_id"),
        35,
    ),
    key="subscriber",
    text="Usage with the units to be rated.",
)

DUPLICATES = Stream(
    "usage.duplicates",
    Record(
        "Duplicate",
        "A record that came again, the same to the letter.",
        PLACE + IDENTITY[:2],
        ("file", "offset"),
        35,
    ),
    key="file",
    text="What came again; counted, not charged.",
)

HELD = Stream(
    "usage.held",
    Record(
        "Held",
        "A record that waits: for a person, because its identity was used before by a record that says something"
        " else; or for the record that it cancels or corrects.",
        PLACE + IDENTITY + (Column("reason", pl.String, "Why it waits."),),
        ("file", "offset"),
        365,
    ),
    key="file",
    text="Conflicts for a person to see, and cancellations and corrections on their way to what they are of.",
)

REJECTED = Stream(
    "usage.rejected",
    Record(
        "Rejected",
        "A record that cannot be charged as it is, with the first reason in the written order.",
        PLACE
        + (
            Column("source", pl.String, "The system that made the record."),
            Column("reason", pl.String, "One name out of `REASONS`."),
            Column("detail", pl.String, "What exactly was wrong, without personal data."),
        ),
        ("file", "offset"),
        365,
    ),
    key="file",
    text="What was set aside; the bytes stay in the store and can be corrected and offered again.",
)

MAPPINGS = Table("mappings", "How each source's records are read: a compiled mapping for each name.")

MEMBERS = Table("members", "Whose account each member of a shared one uses, and under which number.")

SEEN = State(
    "usage.seen",
    "identity",
    np.dtype([("check", "u8"), ("payload", "u8"), ("day", "i4")]),
    "Identities of charged records, to know a duplicate from a conflict.",
    days=DAYS_REMEMBERED,
    digests=True,
)

SESSIONS = State(
    "usage.sessions",
    "session_key",
    np.dtype(
        [
            ("start_us", "i8"),
            ("last_us", "i8"),
            ("octets_up", "i8"),
            ("octets_down", "i8"),
            ("duration_ms", "i8"),
            ("day", "i4"),
            ("stopped", "u1"),
        ]
    ),
    "The highest counters that each session has reported.",
    digests=True,
)

# The written order: a record with several faults is rejected for the one that stands first.
REASONS = (
    Reason(
        "unreadable",
        "The bytes are not a record of the mapping's format. Correct the line and offer it again.",
    ),
    Reason(
        "not_usage", "A notice of a network element, not usage (such as Accounting-On); nothing to charge."
    ),
    Reason("missing_id", "The record has no id, so it could not be told from its copies."),
    Reason(
        "missing_original", "A cancellation or correction does not say which record of its source it is of."
    ),
    Reason("missing_subscriber", "Nobody to charge: the record names no paying number."),
    Reason("bad_number", "A telephone number cannot be brought into international form."),
    Reason("unknown_kind", "The kind of usage is none of voice, sms, data, iot, content."),
    Reason("bad_time", "The time is missing, impossible or not in the mapping's format."),
    Reason(
        "in_the_future", "The record begins more than a day ahead of the clock; check the sender's clock."
    ),
    Reason(
        "too_old",
        "The record is older than the window of remembered identities, so a copy could not be recognised.",
    ),
    Reason(
        "bad_quantity",
        "Duration, volume, count or a partial record's number is missing, negative, fractional or too large.",
    ),
    Reason(
        "bad_amount", "The price that the record brings is missing, negative or has more than six decimals."
    ),
    Reason("wrong_currency", "The price that the record brings is in another currency than the tariff."),
    Reason(
        "unknown_subscriber",
        "No such subscriber, and the tariff names no plan for walk-ins. Load the subscriber.",
    ),
    Reason("no_plan_at_time", "The subscriber had no plan when the usage began."),
    Reason(
        "tariff_not_found",
        "The plan has no price for this usage. Add the destination or service to the tariff.",
    ),
    Reason("balance_blocked", "A balance that forbids going further is used up; nothing was charged."),
    Reason(
        "part_again",
        "This part of the call was told before by a record of another name; nothing was charged.",
    ),
    Reason(
        "too_large",
        "The amount does not fit the ledger; the record or the tariff is wrong by orders of magnitude.",
    ),
    Reason(
        "original_unknown",
        "The record that it cancels or corrects did not come within the days that identities are remembered.",
    ),
    Reason(
        "already_corrected",
        "What it cancels or corrects was cancelled or corrected before; name the record that took its place.",
    ),
    Reason(
        "session_report",
        "A report of a session is not corrected: its counters were told to the next one. Cancel it, or adjust.",
    ),
)
