"""A bill as one HTML page that needs nothing else: readable in any browser, printable, and no script in it."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import Any

from trunkline.api.bills.document import quantity, words
from trunkline.kernel.money import to_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1c20; background: #fff; max-width: 46rem }
body { margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 0 .2rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .25rem .4rem; text-align: left; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid #b8bcc4 } tr + tr td { border-top: 1px solid #e6e8ec }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.total td { font-weight: 700; font-size: 1.15rem; border-top: 2px solid #1a1c20 } .muted { color: #565b66 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 1rem 0 }
dt { color: #565b66 } dd { margin: 0 }
@media print { body { margin: 0; max-width: none } }
"""


def html_page(bill: dict[str, Any]) -> str:
    """The page of a document (`document.document`)."""
    title = f"Bill {bill['bill_id']}"
    facts = facts_of(bill)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<header><h1>{escape(title)}</h1></header><main><dl>",
        *(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts),
        "</dl>",
        "<table><thead><tr><th>What</th>",
        f'<th class="number">{escape(bill["currency"])}</th></tr></thead><tbody>',
    ]
    for section, lines in groupby(bill["lines"], key=lambda line: line["title"]):
        parts.append(f'<tr><th colspan="2" scope="colgroup">{escape(section)}</th></tr>')
        parts += [_row(line["text"], line["amount_micros"]) for line in lines]
    parts.append(_row("Total", bill["total_micros"], "total"))
    if bill["payable"]["rate"]:
        parts.append(_row(in_other_currency(bill), bill["payable"]["total_micros"], "total"))
    parts.append("</tbody></table>")
    parts += _notes(bill)
    if bill["items"] is not None:
        parts += _items(bill)
    parts.append("</main></body></html>\n")
    return "".join(parts)


def facts_of(bill: dict[str, Any]) -> list[tuple[str, str]]:
    """What stands at the head of a bill."""
    currency = bill["currency"]
    facts = [
        ("Number", bill["subscriber"]),
        ("Plan", bill["plan"].partition("@")[0] or "none"),
        ("Period", f"{bill['from']} to {bill['until']} (not included)"),
        ("State", bill["state"]),
        ("Issued", bill["issued"]),
        ("Taxes in the total", f"{to_text(bill['tax_micros'])} {currency}"),
    ]
    if bill["credited_micros"]:
        facts.append(("Credit notes", f"{to_text(bill['credited_micros'])} {currency}"))
    if bill["payment"] == "postpaid":
        owed = f"{to_text(bill['payable']['owed_micros'])} {bill['payable']['currency']}"
        facts.append(("To be paid", f"{owed} until {bill['due']}"))
    else:
        facts.append(("To be paid", "nothing: taken from the prepaid balance"))
    return facts


def in_other_currency(bill: dict[str, Any]) -> str:
    """The line below the total of a bill that is to be paid in another currency."""
    return f"Total in {bill['payable']['currency']}: {bill['payable']['text']}"


def _row(text: str, micros: int, style: str = "") -> str:
    return (
        f'<tr class="{style}"><td>{escape(text)}</td><td class="number">{escape(to_text(micros))}</td></tr>'
    )


def _notes(bill: dict[str, Any]) -> list[str]:
    if not bill["notes"]:
        return []
    rows = [
        f"<tr><td>{escape(note['time'])}</td><td>{escape(note['action'])}: {escape(note['text'])}</td>"
        f'<td class="number">{escape(to_text(note["amount_micros"])) if note["amount_micros"] else ""}</td></tr>'
        for note in bill["notes"]
    ]
    return ["<h2>What was said of it</h2><table><tbody>", *rows, "</tbody></table>"]


def _items(bill: dict[str, Any]) -> list[str]:
    rows = [
        f"<tr><td>{escape(item['start'])}</td><td>{escape(item['kind'])}</td><td>{escape(item['with'])}</td>"
        f"<td>{escape(words(item['destination']))}</td>"
        f'<td class="number">{escape(quantity(item["units"], item["unit"]))}</td>'
        f'<td class="number">{escape(to_text(item["charged_micros"]))}</td></tr>'
        for item in bill["items"]
    ]
    head = "".join(f"<th>{name}</th>" for name in ("Began (UTC)", "Kind", "With", "To", "Used", "Charged"))
    return [
        f"<h2>Every use</h2><table><thead><tr>{head}</tr></thead><tbody>",
        *rows,
        "</tbody></table>",
    ]
