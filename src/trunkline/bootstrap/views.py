"""What people are shown on a terminal: accounts and usage in words and units, numbers masked unless asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from trunkline.api.people import mask
from trunkline.charging.reversal import with_references
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.under_way import OpenCall, open_calls
from trunkline.kernel import money
from trunkline.kernel.dial import to_text
from trunkline.kernel.grouped import Rows
from trunkline.records.charging import CARRIED, NEVER_S, RowKind, Unit
from trunkline.records.usage import UNIT_OF_KIND, Direction, Kind

_UNITS = {"ms": Unit.TIME, "octets": Unit.OCTETS, "events": Unit.EVENTS}


def masked(word: int) -> str:
    """A number with its middle hidden."""
    return mask(to_text(word))


def moment(us: int) -> str:
    """A time (us UTC) as ISO 8601 with milliseconds."""
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amount(unit: int, value: int, currency: str) -> str:
    """A value in its unit, as people read it."""
    if unit == Unit.MONEY:
        return f"{money.to_text(value)} {currency}"
    if unit == Unit.TIME:
        minutes, rest = divmod(abs(value), 60_000)
        return f"{'-' if value < 0 else ''}{minutes}:{rest / 1000:04.1f} min"
    if unit == Unit.OCTETS:
        return f"{value / 1e6:,.3f} MB"
    return f"{value:,}"


def account_rows(
    rows: Rows, catalogue: Catalogue, words: Mapping[int, int] | None = None
) -> list[dict[str, Any]]:
    """An account's subscriptions, balances and counters as rows to show; `words` are its members by number."""
    words = words or {}
    shown: list[dict[str, Any]] = []
    for row in np.sort(rows, order=["kind", "definition", "period"]):
        kind, number = RowKind(int(row["kind"])), int(row["definition"])
        if kind in (RowKind.MEMBER, RowKind.LIMIT, RowKind.CALL, RowKind.TAKEN):
            continue
        if kind is RowKind.DRAWN and not rows["member"].any():
            continue  # nobody else shares it
        until = int(row["valid_until_s"])
        common = {
            "kind": kind.name.lower(),
            "valid_from": moment(int(row["valid_from_s"]) * 1_000_000) if row["valid_from_s"] else None,
            "valid_until": moment(until * 1_000_000) if until != NEVER_S else None,
        }
        if kind is RowKind.SUBSCRIPTION:
            shown.append(
                common
                | {"name": catalogue.plans[number], "unit": None, "value": None, "granted": None, "text": ""}
            )
            continue
        balance = kind is not RowKind.COUNTER
        units = catalogue.tables.balance_unit if balance else catalogue.tables.counter_unit
        unit, value = int(units[number]), int(row["value"])
        shown.append(
            common
            | {
                "name": (catalogue.balances if balance else catalogue.counters)[number],
                "unit": Unit(unit).name.lower(),
                "value": value,
                "granted": int(row["granted"]) if kind is RowKind.BALANCE else None,
                "text": amount(unit, value, catalogue.currency)
                + _whose(row, catalogue, words)
                + _carried(row),
            }
        )
    return shown + [_call(each, catalogue) for each in open_calls(rows)]


def _call(call: OpenCall, catalogue: Catalogue) -> dict[str, Any]:
    """A call that is told in parts and not over, as a row to show."""
    missing = f"; missing: {', '.join(map(str, call.missing))}" if call.missing else ""
    parts = f"{call.parts} parts, " if call.parts else ""
    charged = f"{money.to_text(call.charged_micros)} {catalogue.currency}"
    return {
        "kind": "call",
        "name": Kind(call.kind).name.lower(),
        "valid_from": moment(call.begun_us),
        "valid_until": None,
        "unit": "money",
        "value": call.charged_micros,
        "granted": None,
        "text": f"{parts}{used(call, catalogue.currency)}, {charged} so far{missing}",
    }


def used(call: OpenCall, currency: str) -> str:
    """How much of a call is known to have been used."""
    return amount(_UNITS[UNIT_OF_KIND[Kind(call.kind)]], call.units, currency)


def _carried(row: Any) -> str:  # noqa: ANN401 -- a row of a numpy table
    """Whether a balance was carried over, behind its amount."""
    return ", carried over" if row["kind"] == RowKind.BALANCE and row["period"] >= CARRIED else ""


def _whose(row: Any, catalogue: Catalogue, words: Mapping[int, int]) -> str:  # noqa: ANN401 -- a row of a numpy table
    """Who shares a balance, or who took of it, behind its amount."""
    if row["kind"] == RowKind.DRAWN:
        return f" by {masked(words.get(int(row['member']), 0))}"
    if (
        len(words) > 1
        and row["kind"] == RowKind.BALANCE
        and catalogue.tables.balance_shared[int(row["definition"])]
    ):
        return f", shared by {len(words)}"
    return ""


def usage_rows(
    usage: pl.DataFrame, corrections: pl.DataFrame, currency: str, *, full: bool
) -> list[dict[str, Any]]:
    """Charged usage with its corrections (`CORRECTIONS`) as rows to show."""
    show = to_text if full else masked
    units = {Kind.VOICE: Unit.TIME, Kind.DATA: Unit.OCTETS}
    return [
        {
            "start": moment(row["start_us"]),
            "kind": Kind(row["kind"]).name.lower(),
            "direction": Direction(row["direction"]).name.lower(),
            "other": show(row["called"] if row["direction"] == Direction.ORIGINATING else row["calling"]),
            "destination": row["destination"],
            "units": row["units"],
            "used": amount(units.get(Kind(row["kind"]), Unit.EVENTS), row["units"], currency),
            "list_micros": row["list_micros"],
            "charged_micros": row["charged_micros"],
            "corrected_micros": row["corrected_micros"],
            "charged": f"{money.to_text(row['charged_micros'] + row['corrected_micros'])} {currency}",
            "cancelled_by": row["cancelled_by"],
            "corrected_by": row["corrected_by"],
            "corrects": row["corrects"],
            "remark": _remark(row),
            "allowance_units": row["allowance_units"],
            "plan": row["plan"],
            "late": row["late"],
            "source": row["source"],
            "record_id": row["record_id"],
        }
        for row in with_references(usage, corrections).iter_rows(named=True)
    ]


def _remark(row: dict[str, Any]) -> str:
    """What refers to a record, in a few words."""
    told = ("cancelled by {cancelled_by}", "corrected by {corrected_by}", "corrects {corrects}")
    said = [text.format(**row) for text in told if row[text.split("{")[1][:-1]] is not None]
    if row["corrected_micros"] and not said:
        said.append("re-rated")
    return ", ".join([*said, *(["late"] if row["late"] else [])])


def alert_rows(alerts: pl.DataFrame, catalogue: Catalogue, *, full: bool) -> list[dict[str, Any]]:
    """Alerts as rows to show."""
    show = to_text if full else masked
    return [
        {
            "number": row["number"],
            "time": moment(row["time_us"]),
            "subscriber": show(row["subscriber"]),
            "kind": row["kind"],
            "balance": row["balance"],
            "threshold": row["threshold"],
            "value": row["value"],
            "alert_id": row["alert_id"],
            "text": _alert_text(row, catalogue),
        }
        for row in alerts.iter_rows(named=True)
    ]


_SERVICE = {
    "service_issue": "service trouble where they were lately (incident {incident})",
    "service_restored": "service is back (incident {incident}) after {minutes} min",
    "service_goes_on": "incident {incident} is over after {minutes} min; another one is not",
}


def _alert_text(row: dict[str, Any], catalogue: Catalogue) -> str:
    if row["kind"] in _SERVICE:
        return _SERVICE[row["kind"]].format(incident=row["balance"], minutes=row["value"])
    if row["kind"] == "low_balance":
        return f"{money.to_text(row['value'])} {catalogue.currency} left, below {money.to_text(row['threshold'])}"
    return f"{row['threshold']} % of {row['balance']} used"
