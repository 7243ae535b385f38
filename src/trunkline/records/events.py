"""Single events as other systems exchange them with us: a record that stands alone, in names that a person can read.

Between our own steps rows travel as batches of columns; nobody else has to know those. What is handed in by itself, as
Avro or JSON, has the fields that are described here.
"""

from __future__ import annotations

import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream

USAGE_EVENT = Stream(
    "usage.event",
    Record(
        "Usage event",
        "One use of the network as a producer tells it: the fields of the mapping `trunkline`.",
        (
            Column("id", pl.String, "The record's name within its source; the same name is charged once."),
            Column("type", pl.String, "voice, sms, data, iot or content."),
            Column("source", pl.String, "The system that made the record."),
            Column("direction", pl.String, "originating or terminating; originating when nothing is said."),
            Column("subscriber", pl.String, "Who pays: digits of the number.", personal=True),
            Column("calling", pl.String, "Digits or identity of who began it.", personal=True),
            Column("called", pl.String, "Digits that were called.", personal=True),
            Column("start", pl.String, "When it began, ISO 8601 with its offset; or say `start_us`."),
            Column("start_us", pl.Int64, "When it began.", "us UTC"),
            Column("duration_ms", pl.Int64, "How long it lasted.", "ms"),
            Column("octets_up", pl.Int64, "Octets from the subscriber."),
            Column("octets_down", pl.Int64, "Octets to the subscriber."),
            Column("events", pl.Int64, "How many messages or IoT events it counts."),
            Column("amount", pl.String, "Price of content as a decimal number, never a float."),
            Column("currency", pl.String, "Currency of that price, ISO 4217."),
            Column("visited_plmn", pl.String, "Visited network, MCC and MNC; nothing at home."),
            Column("cell", pl.String, "Cell where it began.", personal=True),
            Column("snssai", pl.String, "Slice: SST and SD in hexadecimal (TS 23.003)."),
            Column("five_qi", pl.Int32, "5QI of the flow (TS 23.501)."),
            Column("service", pl.String, "DNN or APN, IoT event type, content category."),
            Column("session", pl.String, "The session's name at its gateway, or a long call's reference."),
            Column(
                "report",
                pl.String,
                "start, interim or stop for reports of a session; partial or last for parts of a call.",
            ),
            Column(
                "session_start", pl.String, "When the session began, ISO 8601; or say `session_start_us`."
            ),
            Column("session_start_us", pl.Int64, "When the session began.", "us UTC"),
            Column("cause", pl.String, "Why it ended, in the words of its source."),
            Column("action", pl.String, "cancel or correct, when it takes back an earlier record."),
            Column("of", pl.String, "The earlier record's name within the same source."),
            Column("part", pl.Int32, "Number of a part within its call, from 1."),
        ),
        ("id", "type"),
        90,
    ),
    key="subscriber",
    text="Single uses that producers hand in as Avro or JSON; they become lines of `usage.raw`.",
)
