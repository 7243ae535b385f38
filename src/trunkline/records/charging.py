"""Money on its way out: rated usage, ledger entries, alerts, and the rows of a subscriber's account.

Amounts are micro-units of the catalogue's currency. An entry moves an amount from a debit account to a credit
account, so debits equal credits in every unit by construction.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream, Table
from trunkline.kernel.grouped import State
from trunkline.records.usage import METERED, PART


class Unit(IntEnum):
    """What a balance counts; the numbers are stored and never reused."""

    MONEY = 0  # micro-units
    TIME = 1  # ms
    OCTETS = 2
    EVENTS = 3


class RowKind(IntEnum):
    """What a row of an account is; the numbers are stored and never reused."""

    SUBSCRIPTION = 1  # definition = plan, value = 0; in force from valid_from_s
    BALANCE = 2  # definition = balance definition, value = what is left, granted = what was given
    COUNTER = 3  # definition = counter definition, value = used in the period
    MEMBER = 4  # member belongs to the account: value = its dial word, as a signed number
    LIMIT = 5  # definition = shared balance, value = the most that the member may take of it in a period
    DRAWN = 6  # definition = shared balance, value = what the member took of it in the period
    # A fact of a call that is told in parts: flags = its kind + 8 * its direction, definition = which fact,
    # period = which call under its reference, granted = key of the reference; TAKEN: flags = kind of row + 8 * that.
    CALL = 7
    TAKEN = 8  # what such a call did to another row of the account: its definition, period, member and bounds


class Cause(IntEnum):
    """Why an entry was booked; the numbers are stored and never reused."""

    USAGE = 1
    GRANT = 2
    TOPUP = 3
    ADJUSTMENT = 4
    EXPIRY = 5
    REFUND = 6
    BILL = 7  # fees, taxes, discounts and rounding: what a bill adds to the usage that was taken already
    CREDIT = 8  # a credit note: some of a bill given back
    CORRECTION = 9  # what a record was charged, put right by a re-rating or taken back by a later record
    TRANSFER = 10  # handed on from one subscriber to another; both sides have one arrival number
    TRANSFER_FEE = 11  # what the giver pays for it
    BONUS = 12  # what a top-up brought beside itself
    ROLLOVER = 13  # what was left of an allowance when it was renewed, on its way into the next period
    VOUCHER = 14  # a voucher was redeemed


ACCOUNT_ROW = np.dtype(
    [
        ("kind", "u1"),  # RowKind
        ("flags", "u1"),  # SUBSCRIPTION: bit 0 = postpaid
        ("definition", "u2"),  # number of the plan, balance or counter in the catalogue's register
        (
            "period",
            "<u2",
        ),  # number of the period (days since 1970 of its first local day); 0 for none; + CARRIED
        ("member", "<u2"),  # whose within a shared account; 0 = of the account's owner, or of all
        ("value", "i8"),  # SUBSCRIPTION: credit limit in micro-units
        ("granted", "i8"),  # SUBSCRIPTION: number of the time zone + 65536 * cycle day
        ("valid_from_s", "u4"),  # seconds since 1970; 0 = always
        ("valid_until_s", "u4"),  # first second at which it is no longer valid; NEVER_S = never
    ]
)
NEVER_S = 2**32 - 1
CARRIED = 2**15  # is added to a period's number for what was carried over from it; periods reach it in 2059

ACCOUNTS = State(
    "charging.accounts",
    "subscriber",
    ACCOUNT_ROW,
    "Every subscriber's subscriptions, balances and counters; those of a group's members lie with their owner's.",
    formerly=(
        np.dtype(
            [
                ("kind", "u1"),
                ("flags", "u1"),
                ("definition", "u2"),
                ("period", "i4"),
                ("value", "i8"),
                ("granted", "i8"),
                ("valid_from_s", "u4"),
                ("valid_until_s", "u4"),
            ]
        ),
    ),
)

TARIFFS = Table("tariffs", "The compiled catalogue: plans, destinations, prices, balances and counters.")

OF_MEMBER = Column(
    "member", pl.UInt16, "Which member of a shared account; 0 for its owner and for everybody who is alone."
)

# Metering and pricing have used these up; what nobody asks for again is not carried along.
USED_UP = (
    "payload",
    "duration_ms",
    "octets_up",
    "octets_down",
    "events",
    "amount_micros",
    "currency",
    "five_qi",
)

RATED = Stream(
    "charging.rated",
    Record(
        "Rated usage",
        "Usage with its price before any balance is touched.",
        tuple(column for column in METERED.record.columns if column.name not in USED_UP)
        + (
            Column("plan", pl.UInt16, "Number of the plan version that priced it."),
            Column(
                "price_line",
                pl.Int32,
                "Number of the catalogue's line that priced it; -1 for zero units without a price.",
            ),
            Column("node", pl.Int32, "Number of the destination or traffic class it went to."),
            Column("zone", pl.Int32, "Number of the roaming zone it happened in; 0 at home."),
            Column(
                "list_micros",
                pl.Int64,
                "Price by the first tier, before allowances and discounts.",
                "micro-units",
            ),
        ),
        ("source", "record_id"),
        35,
    ),
    key="subscriber",
    text="Priced usage on its way to the balances.",
)

CHARGED = Stream(
    "charging.usage",
    Record(
        "Charged usage",
        "What a subscriber used and what it cost: the history that people ask for.",
        (
            Column("seq", pl.Int64, "Arrival number: the order in which usage was charged."),
            Column("file", pl.Int32, "The engine's number of the file the record came in."),
            Column("line", pl.Int64, "Line of the file, from 1."),
            Column("source", pl.Categorical(), "The system that made the record."),
            Column("record_id", pl.String, "The record's name within its source."),
            Column("identity", pl.UInt64, "First half of the digest of (source, record_id)."),
            Column("check", pl.UInt64, "Second half of that digest."),
            Column("kind", pl.UInt8, "What was used: `Kind`."),
            Column("direction", pl.UInt8, "Who began it: `Direction`."),
            Column("report", pl.UInt8, "Which report of a session: `Report`."),
            Column("subscriber", pl.UInt64, "Who pays, as a dial word.", personal=True),
            Column("calling", pl.UInt64, "The calling number as a dial word.", personal=True),
            Column("called", pl.UInt64, "The called number as a dial word.", personal=True),
            Column("start_us", pl.Int64, "When it began.", "us UTC"),
            Column("units", pl.Int64, "What it used, in its kind's unit."),
            Column("visited_plmn", pl.UInt32, "Visited network; 0 at home."),
            Column("cell", pl.Categorical(), "Cell where it began.", personal=True),
            Column("slice", pl.UInt32, "S-NSSAI; 0 for none."),
            Column("service", pl.Categorical(), "DNN or APN, IoT event type, content category."),
            Column(
                "session",
                pl.String,
                "The session's name at its gateway, or the reference of the call that it is a part of.",
            ),
            Column("cause", pl.Categorical(), "Why it ended, in the words of its source."),
            Column("plan", pl.Categorical(), "Plan and effective date that priced it."),
            Column("destination", pl.Categorical(), "Destination or traffic class."),
            Column("list_micros", pl.Int64, "Price before allowances.", "micro-units"),
            Column("charged_micros", pl.Int64, "Money taken from balances.", "micro-units"),
            Column("allowance_units", pl.Int64, "Units that allowances covered."),
            Column(
                "late", pl.Boolean, "It belonged to a period before the newest that the account has seen."
            ),
            OF_MEMBER,
            PART,
        ),
        ("source", "record_id"),
        400,
    ),
    key="subscriber",
    text="Charged usage, kept as the subscriber's history.",
)

ENTRIES = Stream(
    "charging.entries",
    Record(
        "Ledger entry",
        "An amount moved from a debit account to a credit account.",
        (
            Column("seq", pl.Int64, "Arrival number of what caused it."),
            Column("part", pl.Int16, "Which entry of that cause, from 0; (seq, part) names the entry."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
            Column("time_us", pl.Int64, "When its cause happened.", "us UTC"),
            Column("cause", pl.UInt8, "Why: `Cause`."),
            Column("unit", pl.UInt8, "What is moved: `Unit`."),
            Column("debit", pl.Categorical(), "Ledger account that gives."),
            Column("credit", pl.Categorical(), "Ledger account that receives."),
            Column("amount", pl.Int64, "How much, never negative, in the unit."),
            Column("balance", pl.Categorical(), "Name of the balance definition that changed."),
            Column("period", pl.Int32, "Period of the balance; 0 for none."),
            Column("before", pl.Int64, "The balance before."),
            Column("after", pl.Int64, "The balance after."),
            Column("granted", pl.Int64, "What the balance was given; for the main balance its credit limit."),
            Column("member", pl.UInt16, "Whose balance within a shared account; 0 for what all share."),
        ),
        ("seq", "part"),
        400,
    ),
    key="subscriber",
    text="The double-entry ledger.",
)

CHANGES = Stream(
    "charging.changes",
    Record(
        "Watched change",
        "A balance or counter that moved across a threshold's mark, or back far enough to arm it again.",
        (
            Column("seq", pl.Int64, "Arrival number of what caused it."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
            Column("time_us", pl.Int64, "When its cause happened.", "us UTC"),
            Column("threshold", pl.Int32, "Number of the catalogue's threshold."),
            Column("period", pl.Int32, "Period of the balance or counter; 0 for none."),
            Column("before", pl.Int64, "Percent used in millionths, or micro-units left, before."),
            Column("after", pl.Int64, "The same, after."),
            Column("value", pl.Int64, "What is left, or what was counted, after."),
            Column("member", pl.UInt16, "Whose balance within a shared account; 0 for what all share."),
            Column("user", pl.UInt16, "Which member moved it."),
        ),
        ("seq", "threshold"),
        35,
    ),
    key="subscriber",
    text="Movements near a threshold, on their way to the alerts.",
)

CORRECTION_CHANGE = pl.Struct(
    {
        "kind": pl.UInt8,  # RowKind: a balance, which is booked in the ledger, or a counter, which is not
        "name": pl.String,  # of the balance or counter
        "period": pl.Int32,
        "valid_from_s": pl.Int64,
        "valid_until_s": pl.Int64,
        "other": pl.String,  # the operator's side of the entry; empty for a counter
        "amount": pl.Int64,  # what is added; negative takes away
        "granted": pl.Int64,  # what the row says it was given from now on; -1 leaves it as it is
        "member": pl.UInt16,  # whose within a shared account
    }
)

CANCELLED, CORRECTED = "cancel:", "correct:"  # how the name of a reversal begins; the record's name follows

CORRECTIONS = Stream(
    "charging.corrections",
    Record(
        "Correction",
        "What one record was charged put right; the ledger's entries of it have its `seq`.",
        (
            Column("seq", pl.Int64, "Arrival number of the correction."),
            Column(
                "correction_id",
                pl.String,
                "Name of the preview that made it; `cancel:` or `correct:` and a record's name.",
            ),
            Column("movement_id", pl.String, "Name of the account's movement; the same name is booked once."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
            Column("corrects_seq", pl.Int64, "Arrival number of the record that is corrected."),
            Column("source", pl.Categorical(), "The system that made that record."),
            Column("record_id", pl.String, "That record's name within its source."),
            Column("identity", pl.UInt64, "First half of the digest of (source, record_id)."),
            Column("check", pl.UInt64, "Second half of that digest."),
            Column("start_us", pl.Int64, "When the corrected use began.", "us UTC"),
            Column("time_us", pl.Int64, "When the correction was ordered.", "us UTC"),
            Column("plan", pl.Categorical(), "Plan and effective date that price it from now on."),
            Column("list_micros", pl.Int64, "Price before allowances from now on.", "micro-units"),
            Column("charged_micros", pl.Int64, "What is added to the money taken.", "micro-units"),
            Column("allowance_units", pl.Int64, "What is added to the units that allowances covered."),
            Column("changes", pl.List(CORRECTION_CHANGE), "What it does to balances and counters."),
        ),
        ("correction_id", "source", "record_id"),
        400,
    ),
    key="subscriber",
    text="Corrections on their way to the ledger, and kept with the records that they correct.",
)

MOVEMENTS = Stream(
    "charging.movements",
    Record(
        "Movement",
        "An order to move money or units that is not usage: top-up, adjustment, refund.",
        (
            Column("seq", pl.Int64, "Arrival number."),
            Column("movement_id", pl.String, "Name of the movement; the same name is booked once."),
            Column("cause", pl.UInt8, "Why: `Cause`."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
            Column("time_us", pl.Int64, "When it was ordered.", "us UTC"),
            Column("balance", pl.String, "Name of the balance definition."),
            Column("amount", pl.Int64, "How much is added; negative takes away."),
            Column("valid_until_s", pl.Int64, "End of validity of what is added; NEVER_S = never.", "s UTC"),
        ),
        ("movement_id",),
        400,
    ),
    key="subscriber",
    text="Top-ups, adjustments and refunds on their way to the ledger.",
)

# What a re-rating does to one record: `CORRECTIONS` without what the whole order says once.
ORDERED_CORRECTION = pl.Struct(
    {
        "corrects_seq": pl.Int64,
        "source": pl.String,
        "record_id": pl.String,
        "identity": pl.UInt64,
        "check": pl.UInt64,
        "start_us": pl.Int64,
        "plan": pl.String,
        "list_micros": pl.Int64,
        "charged_micros": pl.Int64,
        "allowance_units": pl.Int64,
        "changes": pl.List(CORRECTION_CHANGE),
    }
)

RERATES = Stream(
    "charging.rerates",
    Record(
        "Re-rating order",
        "A movement that is made of corrections: one account's part of a re-rating, booked whole or not at all.",
        MOVEMENTS.record.columns
        + (
            Column("correction_id", pl.String, "Name of the preview that it is a part of."),
            Column("guard", pl.String, "How the account stood in the preview; else it is left as it is."),
            Column("tariff", pl.String, "The tariff that it was previewed under; booked under no other."),
            Column("corrections", pl.List(ORDERED_CORRECTION), "What is done to each record."),
            Column("seqs", pl.List(pl.Int64), "Arrival numbers of the corrections."),
        ),
        ("movement_id",),
        400,
    ),
    key="subscriber",
    text="Re-ratings that were previewed on a cluster, account by account, on their way to the ledger.",
)

REFUSED = Stream(
    "charging.refused",
    Record(
        "Refused movement",
        "A movement that was not booked, and why.",
        MOVEMENTS.record.columns + (Column("reason", pl.String, "Why it was not booked."),),
        ("movement_id",),
        400,
    ),
    key="subscriber",
    text="Movements that could not be booked.",
)

TRANSFERS = Stream(
    "charging.transfers",
    Record(
        "Transfer",
        "An order to hand something on from one subscriber to another, a row for each of the two.",
        (
            Column("seq", pl.Int64, "Arrival number; both rows have the same."),
            Column("transfer_id", pl.String, "Name of the transfer; the same name is booked once."),
            Column("subscriber", pl.UInt64, "One of the two.", personal=True),
            Column("gives", pl.Boolean, "Whether it is the one who gives."),
            Column("time_us", pl.Int64, "When it was ordered.", "us UTC"),
            Column("balance", pl.String, "Name of the balance definition."),
            Column("amount", pl.Int64, "How much the other one receives."),
        ),
        ("transfer_id", "gives"),
        400,
    ),
    key="subscriber",
    text="Transfers between subscribers on their way to the ledger.",
)

MEMBER_LIMIT = pl.Struct({"balance": pl.String, "most": pl.Int64})

SUBSCRIBERS = Stream(
    "charging.subscribers",
    Record(
        "Subscriber",
        "A subscriber's plan from a moment on; several rows of one subscriber are its history of plans.",
        (
            Column("seq", pl.Int64, "Arrival number."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
            Column("plan", pl.String, "Name of the plan."),
            Column("from_s", pl.Int64, "From when on; 0 = always.", "s UTC"),
            Column("payment", pl.String, "prepaid or postpaid."),
            Column(
                "credit_limit_micros", pl.Int64, "How far below zero the main balance may go.", "micro-units"
            ),
            Column("time_zone", pl.String, "Time zone of the subscriber; null = the operator's."),
            Column(
                "cycle_day", pl.Int64, "Day of the month on which the subscriber's periods begin, 1 to 28."
            ),
            Column("balance_micros", pl.Int64, "Opening amount of the main balance.", "micro-units"),
            OF_MEMBER,
            Column(
                "number", pl.UInt64, "The member's own number as a dial word; 0 for an owner.", personal=True
            ),
            Column(
                "limits", pl.List(MEMBER_LIMIT), "What the member may take of shared balances in a period."
            ),
        ),
        ("subscriber", "member", "from_s"),
        400,
    ),
    key="subscriber",
    text="Subscribers as the CRM hands them in.",
)

ALERTS = Stream(
    "CustomerAlerts",
    Record(
        "Customer alert",
        "A threshold was crossed, or an incident of the network hits the customer or is over.",
        (
            Column(
                "alert_id",
                pl.String,
                "Made from subscriber, balance, period, threshold and crossing, or from subscriber and incident.",
            ),
            Column("seq", pl.Int64, "Arrival number of what caused it."),
            Column("subscriber", pl.UInt64, "Whom it concerns.", personal=True),
            Column(
                "time_us",
                pl.Int64,
                "When the usage that crossed began; when the incident opened or closed.",
                "us UTC",
            ),
            Column(
                "kind",
                pl.String,
                "allowance, low_balance or spend_cap; of an incident service_issue, service_restored, or"
                " service_goes_on when it is over and another one is not.",
            ),
            Column("balance", pl.String, "Name of the balance or counter, or of the incident."),
            Column(
                "threshold",
                pl.Int64,
                "The threshold: percent for allowances and caps, micro-units for low balance; an incident's severity.",
            ),
            Column("value", pl.Int64, "What is left or spent now; minutes since the incident began."),
            Column("period", pl.Int32, "Period of the balance; 0 for none."),
        ),
        ("alert_id",),
        400,
    ),
    key="subscriber",
    text="What customers are told, each crossing once, each incident once when it hits and once when it is over.",
)

HITS = Stream(
    "charging.hits",
    Record(
        "Hit",
        "An incident of the network hits a customer, or does so no longer.",
        (
            Column("seq", pl.Int64, "Arrival number."),
            Column("incident_id", pl.String, "Name of the incident: 16 hexadecimal digits."),
            Column("subscriber", pl.UInt64, "Whom it hits.", personal=True),
            Column("action", pl.String, "begin or end."),
            Column("time_us", pl.Int64, "When the incident opened, or closed.", "us UTC"),
            Column("severity", pl.UInt8, "Worst severity of its alarms (X.733): 1 critical to 5."),
            Column("minutes", pl.Int64, "Since it began, until then; rounded down.", "minutes"),
        ),
        ("incident_id", "subscriber", "action"),
        400,
    ),
    key="subscriber",
    text="Who is hit by an incident of the network, on the way to being told.",
)

HIT = State(
    "charging.hit",
    "subscriber",
    np.dtype([("incident", "u8"), ("told_us", "i8"), ("over", "u1")]),
    "Which incidents each customer was told of, and which of them are over.",
)

ALARMED = State(
    "charging.alarmed",
    "subscriber",
    np.dtype(
        [
            ("definition", "u2"),  # number of the balance or counter in the catalogue's register
            ("counter", "u1"),
            ("crossed", "u1"),  # 1 = told, and not armed again
            ("times", "<u2"),  # how often it was told
            ("member", "<u2"),  # whose within a shared account
            ("period", "i4"),
            ("mark", "i8"),  # thousandths of a percent, or what is left, as measured
        ]
    ),
    "Which marks are crossed and not armed again; by name and mark, so that another tariff finds its own.",
    formerly=(
        np.dtype(
            [
                ("definition", "u2"),
                ("counter", "u1"),
                ("crossed", "u1"),
                ("times", "i4"),
                ("period", "i4"),
                ("mark", "i8"),
            ]
        ),
    ),
)

MINUTES = Stream(
    "charging.minutes",
    Record(
        "Minute",
        "What a subscriber used in a minute, whole: a later row of the same minute replaces an earlier one.",
        (
            Column("subscriber", pl.UInt64, "Whose use.", personal=True),
            Column("minute_us", pl.Int64, "When the minute began.", "us UTC"),
            Column("kind", pl.UInt8, "What was used: `Kind`."),
            Column("uses", pl.Int64, "Records that were charged."),
            Column("units", pl.Int64, "What they used, in their kind's unit."),
            Column("charged_micros", pl.Int64, "Money taken from balances.", "micro-units"),
        ),
        ("subscriber", "minute_us", "kind"),
        400,
    ),
    key="subscriber",
    text="Use and money a minute, by subscriber and kind.",
)
