"""Transfers where accounts lie apart: what the two sides send each other, and what became of it."""

from __future__ import annotations

import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream
from trunkline.records.charging import MOVEMENTS

_HANDED_ON = (
    Column("time_us", pl.Int64, "When it was ordered.", "us UTC"),
    Column("balance", pl.String, "Name of the balance definition."),
    Column("amount", pl.Int64, "How much the receiver gets."),
)

OFFERS = Stream(
    "charging.offers",
    Record(
        "Offer",
        "An order to hand something on, where the receiver's account lies: on a cluster, transfers begin with it.",
        (
            Column("seq", pl.Int64, "Arrival number."),
            Column("transfer_id", pl.String, "Name of the transfer; the same name is booked once."),
            Column("subscriber", pl.UInt64, "Who is to receive.", personal=True),
            Column("giver", pl.UInt64, "Who hands on.", personal=True),
            *_HANDED_ON,
        ),
        ("transfer_id",),
        400,
    ),
    key="subscriber",
    text="Orders to hand something on, which the receiver's side looks at first.",
)

HANDOVERS = Stream(
    "charging.handovers",
    Record(
        "Handover",
        "A transfer where the giver's account lies, which decides it.",
        (
            Column("seq", pl.Int64, "Arrival number."),
            Column("transfer_id", pl.String, "Name of the transfer; the same name is booked once."),
            Column("subscriber", pl.UInt64, "Who hands on.", personal=True),
            Column("receiver", pl.UInt64, "Who is to receive.", personal=True),
            Column("known", pl.Boolean, "Whether the receiver has an account."),
            *_HANDED_ON,
        ),
        ("transfer_id",),
        400,
    ),
    key="subscriber",
    text="Transfers on their way to the giver's side.",
)

HANDED = Stream(
    "charging.handed",
    Record(
        "Handed on",
        "A transfer that the giver's side has booked; what the receiver gets is on its way since the same moment.",
        (
            Column("seq", pl.Int64, "Arrival number of the giver's side."),
            Column("transfer_id", pl.String, "Name of the transfer."),
            Column("subscriber", pl.UInt64, "Who handed on.", personal=True),
            Column("receiver", pl.UInt64, "Who receives.", personal=True),
            *_HANDED_ON,
            Column("fee_micros", pl.Int64, "What it cost the giver besides.", "micro-units"),
        ),
        ("transfer_id",),
        400,
    ),
    key="subscriber",
    text="Transfers that were booked.",
)

SIDES = Stream(
    "charging.sides",
    Record(
        "Side of a transfer",
        "A movement that a transfer consists of: what the giver gave and paid, and what the receiver gets.",
        MOVEMENTS.record.columns,
        ("movement_id",),
        400,
    ),
    key="subscriber",
    text="The movements that booked transfers consist of.",
)

NOT_HANDED = Stream(
    "charging.not_handed",
    Record(
        "Refused transfer",
        "A transfer that was not booked, and why.",
        HANDOVERS.record.columns + (Column("reason", pl.String, "Why it was not booked."),),
        ("transfer_id",),
        400,
    ),
    key="subscriber",
    text="Transfers that could not be booked.",
)
