"""What a bill says, in words and exact amounts: the one document that JSON, HTML and PDF are made of.

Numbers of people are shown as the caller may see them, masked unless asked for in full. No sum is worked out here
that the bill does not hold, so that paper cannot say anything else than the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from trunkline.charging.bills.payable import worth
from trunkline.charging.tariffs.exchange_rules import rate_text
from trunkline.charging.tariffs.tariff import ALWAYS_US
from trunkline.kernel import dial, money
from trunkline.records.bills import Charge, Section
from trunkline.records.usage import UNIT_OF_KIND, Kind

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
Show = Callable[[int], str]

SECTION_TITLES = {
    Section.RECURRING: "Monthly fees",
    Section.ONE_OFF: "One-off fees",
    Section.USAGE: "Usage",
    Section.LATE: "Too late to be asked for",
    Section.DISCOUNT: "Discounts",
    Section.CAP: "Beyond your cap",
    Section.MINIMUM: "Up to the minimum",
    Section.TAX: "Taxes",
    Section.ADJUSTMENT: "Adjustments",
    Section.REFUND: "Refunds",
    Section.CORRECTION: "Corrections",
    Section.TRANSFER_FEE: "Fees for transfers",
    Section.ROUNDING: "Rounding",
}
CHARGE_WORDS = {
    Charge.VOICE: "Calls",
    Charge.SMS: "Messages",
    Charge.DATA: "Data",
    Charge.IOT: "Things",
    Charge.CONTENT: "Content",
    Charge.RECURRING: "monthly fees",
    Charge.ONE_OFF: "one-off fees",
    Charge.MINIMUM: "minimum",
}


def summary(bill: dict[str, Any], show: Show) -> dict[str, Any]:
    """What a list shows of a bill."""
    owed = bill["total_micros"] - bill["credited_micros"] if bill["postpaid"] else 0
    return {
        "bill_id": bill["bill_id"],
        "period": period_text(bill["period"]),
        "state": bill["state"],
        "subscriber": show(bill["subscriber"]),
        "plan": bill["plan"],
        "payment": "postpaid" if bill["postpaid"] else "prepaid",
        "currency": bill["currency"],
        "from": moment(bill["from_us"]),
        "until": moment(bill["until_us"]),
        "issued": moment(bill["issued_us"]),
        "due": moment(bill["due_us"]) if bill["postpaid"] else None,
        "total_micros": bill["total_micros"],
        "tax_micros": bill["tax_micros"],
        "paid_micros": bill["paid_micros"],
        "credited_micros": bill["credited_micros"],
        "owed_micros": owed,
        "payable": payable(bill, owed),
    }


def payable(bill: dict[str, Any], owed_micros: int) -> dict[str, Any]:
    """What a bill is to be paid in: its total and what is owed of it, at the rate that the bill keeps.

    What is owed after credit notes is worked out of what is left of the bill, so that a bill credited whole owes
    nothing.
    """
    rate = bill["payable"]
    if rate is None:
        own = {"currency": bill["currency"], "total_micros": bill["total_micros"], "owed_micros": owed_micros}
        return own | {"rate": "", "since": None, "source": "", "text": ""}
    said = rate_text(rate["ours"], rate["theirs"], bill["currency"], rate["currency"])
    since = moment(rate["since_us"]) if rate["since_us"] > ALWAYS_US else None
    whence = ", ".join(filter(None, (f"since {since}" if since else "", rate["source"])))
    return {
        "currency": rate["currency"],
        "total_micros": rate["micros"],
        "owed_micros": worth(owed_micros, rate),
        "rate": said,
        "since": since,
        "source": rate["source"],
        "text": f"{said} ({whence})" if whence else said,
    }


def document(bill: dict[str, Any], show: Show, items: pl.DataFrame | None = None) -> dict[str, Any]:
    """A bill whole; with `items` (`CHARGED`) each use is told."""
    return {
        **summary(bill, show),
        "lines": [_line(line) for line in bill["lines"]],
        "notes": [
            {
                "time": moment(note["time_us"]),
                "action": note["action"],
                "amount_micros": note["amount_micros"],
                "movement_id": note["movement_id"] or "",
                "text": note["text"],
            }
            for note in bill["notes"]
        ],
        "items": None if items is None else [_item(row, show) for row in items.iter_rows(named=True)],
    }


def _line(line: dict[str, Any]) -> dict[str, Any]:
    section = Section(line["section"])
    charge = Charge(line["charge"]) if line["charge"] else None
    return {
        "section": section.name.lower(),
        "title": SECTION_TITLES[section],
        "text": _text(section, charge, line),
        "charge": charge.name.lower() if charge else "",
        "name": line["name"],
        "place": line["place"],
        "earlier": line["earlier"],
        "day": _on(line["day"]).removeprefix(": ") or None,
        "uses": line["uses"],
        "units": line["units"],
        "unit": UNIT_OF_KIND[Kind(line["charge"])] if section is Section.USAGE else "",
        "allowance_units": line["allowance_units"],
        "other_micros": line["other_micros"],
        "days": line["days"],
        "of_days": line["of_days"],
        "base_micros": line["base_micros"],
        "millionths": line["millionths"],
        "tax_micros": line["tax_micros"],
        "amount_micros": line["amount_micros"],
    }


def _text(section: Section, charge: Charge | None, line: dict[str, Any]) -> str:
    """A line in words."""
    name = words(line["name"])
    percent = f"{money.to_text(line['millionths'] * 100).removesuffix('.00')} %"
    if section is Section.USAGE:
        assert charge is not None, "usage is of a kind"
        where = "" if line["place"] in ("", "home") else f" in {words(line['place'])}"
        earlier = f", of an earlier period{_on(line['day'])}" if line["earlier"] else ""
        used = quantity(line["units"], UNIT_OF_KIND[Kind(charge)])
        return (
            f"{CHARGE_WORDS[charge]} to {name or 'other numbers'}{where}: {used} in {line['uses']:,}{earlier}"
        )
    if section is Section.RECURRING:
        return (
            f"{name}, {line['days']} of {line['of_days']} days" if line["days"] != line["of_days"] else name
        )
    if section is Section.DISCOUNT:
        assert charge is not None, "a discount is of a charge"
        return f"{name}: {percent} of {CHARGE_WORDS[charge].lower()}"
    if section is Section.TAX:
        included = ", included" if line["tax_micros"] and not line["amount_micros"] else ""
        tax = f": {money.to_text(line['tax_micros'])}" if included else ""
        return f"{line['name']} {percent} of {money.to_text(line['base_micros'])}{included}{tax}"
    if section is Section.LATE:
        assert charge is not None, "what came too late is of a kind"
        return f"{CHARGE_WORDS[charge]}, {line['uses']:,} told too late"
    if section is Section.CAP:
        return f"usage beyond {money.to_text(line['base_micros'])}"
    if section is Section.MINIMUM:
        return f"up to {money.to_text(line['base_micros'])}"
    if section is Section.ROUNDING:
        return "to the smallest coin"
    if section is Section.CORRECTION and line["name"]:
        return f"taken back: {line['name']}"
    return name if section is Section.ONE_OFF else f"{line['uses']:,} booked"


def _on(day: int | None) -> str:
    """The day of late usage; bills of long ago do not tell it."""
    return f": {date.fromordinal(EPOCH_ORDINAL + day).isoformat()}" if day else ""


def _item(row: dict[str, Any], show: Show) -> dict[str, Any]:
    kind = Kind(row["kind"])
    called = row["called"] or 0
    return {
        "start": moment(row["start_us"]),
        "kind": kind.name.lower(),
        "with": show(called) if called and dial.to_text(called) else (row["service"] or ""),
        "destination": row["destination"] or "",
        "units": row["units"],
        "unit": UNIT_OF_KIND[kind],
        "allowance_units": row["allowance_units"],
        "charged_micros": row["charged_micros"],
    }


def period_text(period: int) -> str:
    """202611 as 2026-11."""
    return f"{period // 100:04d}-{period % 100:02d}"


def moment(us: int) -> str:
    """A moment as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def words(name: str) -> str:
    """A name of the tariff as people read it."""
    return name.replace("_", " ")


def quantity(units: int, unit: str) -> str:
    """Units as people read them: whole seconds, megabytes rounded down, counts."""
    if unit == "ms":
        seconds = units // 1000
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} h"
    if unit == "octets":
        return f"{units // 1000 / 1000:,.3f} MB"
    return f"{units:,}"
