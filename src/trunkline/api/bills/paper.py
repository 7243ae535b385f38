"""A bill as PDF, by ReportLab (BSD): A4, one table a part, page numbers, and no more than the HTML page says.

The file is made without a date and with fixed names, so that the same bill is the same file to the octet.
"""

from __future__ import annotations

import io
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from trunkline.api.bills.document import quantity, words
from trunkline.api.bills.page import facts_of, in_other_currency
from trunkline.kernel.money import to_text

_TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=9, leading=12)
_NUMBER = ParagraphStyle("number", parent=_TEXT, alignment=2)
_HEAD = ParagraphStyle("head", parent=_TEXT, fontName="Helvetica-Bold")
_TITLE = ParagraphStyle("title", parent=_HEAD, fontSize=16, leading=20)
_TOTAL = ParagraphStyle("total", parent=_HEAD, alignment=2)
_MARGIN = 18 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_GRID = TableStyle(
    [
        ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.HexColor("#d5d8de")),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 1.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
    ]
)


def pdf(bill: dict[str, Any]) -> bytes:
    """The file of a document (`document.document`)."""
    story: list[Flowable] = [Paragraph(f"Bill {escape(bill['bill_id'])}", _TITLE), Spacer(0, 4 * mm)]
    story.append(_table([[_cell(name), _cell(value)] for name, value in facts_of(bill)], (0.25, 0.75)))
    story.append(Spacer(0, 5 * mm))
    rows = []
    for section, lines in groupby(bill["lines"], key=lambda line: line["title"]):
        rows.append([_cell(section, _HEAD), ""])
        rows += [[_cell(line["text"]), _cell(to_text(line["amount_micros"]), _NUMBER)] for line in lines]
    total = f"{to_text(bill['total_micros'])} {bill['currency']}"
    rows.append([_cell("Total", _HEAD), _cell(total, _TOTAL)])
    if bill["payable"]["rate"]:
        other = f"{to_text(bill['payable']['total_micros'])} {bill['payable']['currency']}"
        rows.append([_cell(in_other_currency(bill), _HEAD), _cell(other, _TOTAL)])
    story.append(_table(rows, (0.78, 0.22)))
    if bill["items"]:
        story += [Spacer(0, 6 * mm), Paragraph("Every use", _HEAD)]
        story.append(_table([_item(item) for item in bill["items"]], (0.2, 0.09, 0.21, 0.2, 0.15, 0.15)))
    out = io.BytesIO()
    made = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN, bottomMargin=_MARGIN,
        title=f"Bill {bill['bill_id']}", author="", invariant=1,
    )  # fmt: skip
    made.build(story, onFirstPage=_footer, onLaterPages=_footer)
    return out.getvalue()


def _cell(text: str, style: ParagraphStyle = _TEXT) -> Paragraph:
    """Text in the fonts that every reader has; what they lack is shown as a question mark."""
    return Paragraph(escape(text.encode("cp1252", "replace").decode("cp1252")), style)


def _table(rows: list[list[Any]], shares: tuple[float, ...]) -> Table:
    return Table(rows, colWidths=[_WIDTH * share for share in shares], style=_GRID, repeatRows=0)


def _item(item: dict[str, Any]) -> list[Paragraph]:
    return [
        _cell(item["start"]),
        _cell(item["kind"]),
        _cell(item["with"]),
        _cell(words(item["destination"])),
        _cell(quantity(item["units"], item["unit"]), _NUMBER),
        _cell(to_text(item["charged_micros"]), _NUMBER),
    ]


def _footer(canvas: Any, made: Any) -> None:  # noqa: ANN401 -- ReportLab hands them untyped
    canvas.setFont("Helvetica", 8)
    canvas.drawRightString(A4[0] - _MARGIN, 10 * mm, str(made.page))
