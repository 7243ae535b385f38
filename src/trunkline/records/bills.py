"""Bills: what a period came to for one account, line by line, with all that is needed to check it.

A bill is one row and its lines are within it, so that it is written, read and kept whole. Amounts are micro-units of
the bill's currency.
"""

from __future__ import annotations

from enum import IntEnum

import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream


class Section(IntEnum):
    """What kind of line it is, in the order in which they stand on a bill; the numbers are stored, never reused."""

    RECURRING = 10
    ONE_OFF = 20
    USAGE = 30
    LATE = 35
    DISCOUNT = 40
    CAP = 50
    MINIMUM = 60
    TAX = 70
    ADJUSTMENT = 80
    REFUND = 90
    CORRECTION = 95
    TRANSFER_FEE = 97
    ROUNDING = 100


class Charge(IntEnum):
    """What an amount is for; the first five are `records.usage.Kind`. The numbers are stored and never reused."""

    VOICE = 1
    SMS = 2
    DATA = 3
    IOT = 4
    CONTENT = 5
    RECURRING = 16
    ONE_OFF = 17
    MINIMUM = 18


LINE = pl.Struct(
    {
        "section": pl.UInt8,  # Section
        "charge": pl.UInt8,  # Charge; 0 for what is for no one of them
        "name": pl.String,  # destination, traffic class, or the name of a fee, discount or tax
        "place": pl.String,  # roaming zone in which usage happened
        "earlier": pl.Boolean,  # usage of an earlier period that no bill held yet
        "uses": pl.Int64,  # how many uses, or entries of the ledger
        "units": pl.Int64,  # what they used, in their kind's unit
        "allowance_units": pl.Int64,  # of it, what allowances covered
        "other_micros": pl.Int64,  # of usage, what balances other than the main one paid: not in the amount
        "days": pl.Int64,  # of a fee by the day: days in force
        "of_days": pl.Int64,  # ... out of so many
        "base_micros": pl.Int64,  # what a fee, discount or tax is worked out of
        "millionths": pl.Int64,  # rate of a discount or tax
        "tax_micros": pl.Int64,  # of a tax: what it comes to, also when it was in the amounts already
        "amount_micros": pl.Int64,  # what it adds to the bill
        "day": pl.Int32,  # of usage of an earlier period: its local day since 1970; null on older bills
    }
)

PAYABLE = pl.Struct(
    {
        "currency": pl.String,  # in which the bill is to be paid
        "micros": pl.Int64,  # the total in it
        "ours": pl.Int64,  # rate: so many billionths of the bill's currency ...
        "theirs": pl.Int64,  # ... are worth so many of this one
        "since_us": pl.Int64,  # from when the rate holds; us UTC
        "source": pl.String,  # who published it
        "decimals": pl.UInt8,  # what the amount was rounded to ...
        "rounding": pl.UInt8,  # ... and how: `kernel.money.Rounding`
    }
)

BILLS = Stream(
    "charging.bills",
    Record(
        "Bill",
        "What a period came to for one account.",
        (
            Column(
                "seq",
                pl.Int64,
                "Arrival number; the ledger's entry of the bill has it, too. None on Spark, where it is booked later.",
            ),
            Column("bill_id", pl.String, "Made from account and period with the data folder's key."),
            Column("period", pl.Int32, "Year times 100 plus the month in which the period began."),
            Column("subscriber", pl.UInt64, "Whose account.", personal=True),
            Column("postpaid", pl.Boolean, "It is paid after it was issued."),
            Column("plan", pl.String, "Plan and effective date with which the period ended."),
            Column("currency", pl.String, "ISO 4217 code."),
            Column("from_us", pl.Int64, "First moment of the period.", "us UTC"),
            Column("until_us", pl.Int64, "First moment after it.", "us UTC"),
            Column("cut_seq", pl.Int64, "Only what arrived before this number is on it."),
            Column(
                "after_us",
                pl.Int64,
                "`until_us` of the bill before; the beginning of time for none.",
                "us UTC",
            ),
            Column("after_seq", pl.Int64, "`cut_seq` of the bill before; 0 for none."),
            Column("issued_us", pl.Int64, "When it was made.", "us UTC"),
            Column("due_us", pl.Int64, "Until when a postpaid one is to be paid.", "us UTC"),
            Column(
                "ledger_micros",
                pl.Int64,
                "What the ledger had taken for usage, less adjustments and refunds.",
                "micro-units",
            ),
            Column(
                "extra_micros", pl.Int64, "What the bill itself books: all its other lines.", "micro-units"
            ),
            Column("tax_micros", pl.Int64, "Taxes in the total, added or included.", "micro-units"),
            Column("total_micros", pl.Int64, "Sum of the lines, in whole smallest coins.", "micro-units"),
            Column(
                "paid_micros",
                pl.Int64,
                "Top-ups, vouchers and transfers of the same stretch, less what was handed on; not in the total.",
                "micro-units",
            ),
            Column("lines", pl.List(LINE), "What it is made of."),
            Column(
                "payable",
                PAYABLE,
                "The total in the currency that the plan is billed in, by the rate of the period's end; null where"
                " that is the bill's own.",
            ),
        ),
        ("bill_id",),
        3650,
    ),
    key="subscriber",
    text="Bills on their way to the ledger, and kept.",
)

NO_BILL_US = -(2**62)  # `after_us` where there was no bill before
