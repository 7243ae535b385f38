"""How a row of simulated usage is printed: trunkline's own usage schema, one flat JSON object a line.

Rows hold whole numbers; where the schema asks for words, the number is the word's place in one of these lists.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from trunkline.simulator.lines import MISSING, Field, Form, Ints, Layout

TYPES = ("voice", "sms", "data", "iot", "content")
LETTERS = ("v", "s", "d", "i", "c")
SOURCES = ("msc", "smsc", "upf", "iot", "shop")
DIRECTIONS = ("originating", "terminating")
REPORTS = ("start", "interim", "stop")
CAUSES = ("normal", "no_answer", "busy", "radio_lost")
SLICES = ("1-000001", "1-000047", "2-000010")
PURCHASES = (  # category, price, share
    ("game", "0.99", 0.18),
    ("game", "4.99", 0.14),
    ("game", "9.99", 0.05),
    ("video", "2.99", 0.12),
    ("video", "3.99", 0.10),
    ("music", "1.29", 0.11),
    ("parking", "1.50", 0.10),
    ("parking", "2.20", 0.06),
    ("ticket", "2.90", 0.10),
    ("ticket", "3.60", 0.04),
)
SERVICES = (
    "internet", "corporate", "gaming", "factory", "meter.read", "meter.alarm", "vehicle.position",
    "game", "video", "music", "parking", "ticket",
)  # fmt: skip

# A row: its name (type, hour and n), what is printed, and what only the truth knows (units, end_us).
COLUMNS = (
    "type", "hour", "n", "subscriber", "direction", "calling", "called", "start_us", "duration_ms", "octets_up",
    "octets_down", "cell", "visited_plmn", "slice", "five_qi", "service", "session_hour", "session_n", "report",
    "session_start_us", "amount", "cause", "units", "end_us",
)  # fmt: skip

HOUR_WIDTH = 4
N_WIDTH = 7

_QUOTE = '"'
LINE = Layout(
    (
        Field("type", '{"id":"', form=Form.WORD, words=LETTERS),
        Field("hour", "", width=HOUR_WIDTH),
        Field("n", "-", _QUOTE, width=N_WIDTH),
        Field("type", ',"source":"', _QUOTE, form=Form.WORD, words=SOURCES),
        Field("type", ',"type":"', _QUOTE, form=Form.WORD, words=TYPES),
        Field("subscriber", ',"subscriber":"', _QUOTE),
        Field("direction", ',"direction":"', _QUOTE, form=Form.WORD, words=DIRECTIONS),
        Field("calling", ',"calling":"', _QUOTE),
        Field("called", ',"called":"', _QUOTE),
        Field("start_us", ',"start":"', _QUOTE, form=Form.TIME),
        Field("duration_ms", ',"duration_ms":'),
        Field("octets_up", ',"octets_up":'),
        Field("octets_down", ',"octets_down":'),
        Field("service", ',"service":"', _QUOTE, form=Form.WORD, words=SERVICES),
        Field("slice", ',"snssai":"', _QUOTE, form=Form.WORD, words=SLICES),
        Field("five_qi", ',"five_qi":'),
        Field("session_hour", ',"session":"p', width=HOUR_WIDTH),
        Field("session_n", "-", _QUOTE, width=N_WIDTH),
        Field("report", ',"report":"', _QUOTE, form=Form.WORD, words=REPORTS),
        Field("session_start_us", ',"session_start":"', _QUOTE, form=Form.TIME),
        Field(
            "amount",
            ',"amount":"',
            '","currency":"EUR"',
            form=Form.WORD,
            words=tuple(p for _, p, _ in PURCHASES),
        ),
        Field("cell", ',"cell":"C', _QUOTE, width=4),
        Field("visited_plmn", ',"visited_plmn":"', _QUOTE),
        Field("cause", ',"cause":"', _QUOTE, form=Form.WORD, words=CAUSES),
    ),
    end="}\n",
)


def print_lines(rows: pl.DataFrame) -> Iterator[tuple[bytes, Ints]]:
    """The rows as NDJSON, some thousands at a time, and where each line ends in its part."""
    columns = {
        name: np.asarray(rows[name].to_numpy(), np.int64)
        for name in dict.fromkeys(field.column for field in LINE.fields)
    }
    return LINE.print(columns)


def record_id() -> pl.Expr:
    """The record's id as text, for the truth."""
    letter = pl.col("type").replace_strict(range(len(LETTERS)), LETTERS, return_dtype=pl.String)
    return pl.format("{}{}-{}", letter, _padded("hour", HOUR_WIDTH), _padded("n", N_WIDTH))


def session_id() -> pl.Expr:
    """The session's name as text, for the truth; null outside sessions."""
    name = pl.format("p{}-{}", _padded("session_hour", HOUR_WIDTH), _padded("session_n", N_WIDTH))
    return pl.when(pl.col("session_n") != MISSING).then(name)


def _padded(column: str, width: int) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(width)
