"""A proxy's log in plain Python, and its money by the second opinion: no line is shared with the platform."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from tests.opinion.accounts import Books
from tests.opinion.audit import enrol
from tests.opinion.pricing import Use
from tests.opinion.tariff import read_directory

CDR = "log_write_cdr(): "


def calls_of(log: bytes) -> list[dict[str, str]]:
    """The fields of every whole line of accounting."""
    lines = log[: log.rfind(b"\n") + 1].decode().splitlines()
    return [
        dict(pair.split("=", 1) for pair in line.partition(CDR)[2].split("; "))
        for line in lines
        if CDR in line
    ]


def e164(dialled: str) -> str:
    """A British number as dialled, in international form: +44…, 0044…, or 0… within the country."""
    digits = re.sub(r"^sip:|@.*$", "", dialled)
    if digits.startswith("+"):
        return digits[1:]
    if digits.startswith("00"):
        return digits[2:]
    return f"44{digits[1:]}" if digits.startswith("0") else digits


def use_of(number: int, call: dict[str, str]) -> Use:
    """A call as the second opinion takes it; the asserted identity pays."""
    return Use(
        seq=number,
        source="kamailio",
        record_id=call["call_id"],
        kind="voice",
        subscriber=e164(call["pai"]),
        start_us=int(Decimal(call["start_time"]) * 1_000_000),
        units=int(Decimal(call["duration"]) * 1000),
        calling=e164(call["pai"]),
        called=e164(call["callee"]),
    )


def second_opinion(calls: list[dict[str, str]], tariffs: Path, subscribers: Path | None = None) -> Books:
    """The calls charged again, one by one, in the order of the log."""
    books = Books(read_directory(tariffs))
    if subscribers is not None:
        enrol(books, subscribers)
    for number, call in enumerate(calls):
        books.charge(use_of(number, call))
    return books
