"""An auditor's books over a whole stream: everybody subscribed, every use charged, by the second opinion alone."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from tests.opinion.accounts import Books
from tests.opinion.pricing import Use
from tests.opinion.tariff import read


def books_of(files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]) -> Books:
    """The books as an auditor keeps them."""
    books = Books(read(files))
    for row in rows:
        zone = row.get("time_zone")
        books.subscribe(
            row["subscriber"],
            row["plan"],
            row.get("from_s", 0),
            ZoneInfo(zone) if zone else None,
            row.get("cycle_day"),
            row.get("opening_micros", 0),
            row.get("credit_micros", 0),
            row.get("owner"),
            row.get("limits"),
        )
    for use in uses:
        books.charge(use)
    return books
