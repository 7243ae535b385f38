"""Rows of committed streams as JSON for the page: numbers masked or in full, enumerations by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from trunkline.api.people import People
from trunkline.charging.delivery import severity
from trunkline.charging.reversal import with_references
from trunkline.kernel import dial
from trunkline.records.charging import CORRECTIONS, Cause, Unit
from trunkline.records.usage import UNIT_OF_KIND, Direction, Kind


def moment(us: int) -> str:
    """A time (us UTC) as ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def person(people: People, word: int, *, full: bool) -> dict[str, str]:
    """A subscriber: what to show, and the reference to ask with."""
    return {"number": people.show(word, full=full), "ref": people.reference(word)}


Who = Callable[[int, int | None], int]
"""The dial word of a member of an account: the owner's word and the member's number go in."""


def usage_rows(
    frame: pl.DataFrame,
    people: People,
    *,
    full: bool,
    whereabouts: bool,
    corrections: pl.DataFrame | None = None,
    who: Who | None = None,
) -> list[dict[str, Any]]:
    """Charged usage, with its corrections (`CORRECTIONS`) where they are given.

    The cell says where somebody is, so it is shown only with `whereabouts`. With `who`, what a member of a shared
    account used is shown as the member's.
    """
    made = CORRECTIONS.record.empty() if corrections is None else corrections
    rows = with_references(frame, made).iter_rows(named=True)
    return [_usage(row, people, full=full, whereabouts=whereabouts, who=who) for row in rows]


def _usage(
    row: dict[str, Any], people: People, *, full: bool, whereabouts: bool, who: Who | None
) -> dict[str, Any]:
    kind, member = Kind(row["kind"]), row.get("member") or 0
    user = who(row["subscriber"], member) if who and member else row["subscriber"]
    return {
        "source": row["source"],
        "record_id": row["record_id"],
        "kind": kind.name.lower(),
        "direction": Direction(row["direction"]).name.lower(),
        "subscriber": person(people, user, full=full),
        "calling": people.show(row["calling"] or 0, full=full),
        "called": _other(people, row["called"] or 0, full=full),
        "start_us": row["start_us"],
        "units": row["units"],
        "unit": UNIT_OF_KIND[kind],
        "visited_plmn": row["visited_plmn"] or 0,
        "cell": (row["cell"] or "") if whereabouts else "",
        "service": row["service"] or "",
        "plan": row["plan"] or "",
        "destination": row["destination"] or "",
        "list_micros": row["list_micros"],
        "charged_micros": row["charged_micros"],
        "allowance_units": row["allowance_units"],
        "late": bool(row["late"]),
        "corrected_micros": row["corrected_micros"],
        "cancelled_by": row["cancelled_by"],
        "corrected_by": row["corrected_by"],
        "corrects": row["corrects"],
    }


def _other(people: People, word: int, *, full: bool) -> str:
    """The called number; one that is no telephone number (a digest) is not shown at all."""
    return people.show(word, full=full) if dial.to_text(word) else ""


def alert_rows(frame: pl.DataFrame, people: People, currency: str, *, full: bool) -> list[dict[str, Any]]:
    """Alerts with their running number."""
    return [
        {
            "number": row["number"],
            "alert_id": row["alert_id"],
            "subscriber": person(people, row["subscriber"], full=full),
            "time_us": row["time_us"],
            "kind": row["kind"],
            "balance": row["balance"],
            "threshold": row["threshold"],
            "value": row["value"],
            "severity": severity(row["kind"], row["threshold"]),
            "currency": currency,
        }
        for row in frame.iter_rows(named=True)
    ]


def entry_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Ledger entries of one subscriber."""
    return [
        {
            "seq": row["seq"],
            "part": row["part"],
            "time_us": row["time_us"],
            "cause": Cause(row["cause"]).name.lower(),
            "unit": Unit(row["unit"]).name.lower(),
            "debit": row["debit"],
            "credit": row["credit"],
            "amount": row["amount"],
            "balance": row["balance"],
            "before": row["before"],
            "after": row["after"],
        }
        for row in frame.iter_rows(named=True)
    ]


def raw_text(raw: bytes | None) -> str:
    """The bytes of a record as text; what is not UTF-8 is shown as replacement characters."""
    return (raw or b"").decode("utf-8", errors="replace").rstrip("\r\n")
