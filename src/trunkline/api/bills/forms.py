"""The forms in which a bill is handed on, and what makes each."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import orjson

from trunkline.api.bills.page import html_page


class Form(StrEnum):
    """What a bill is handed on as."""

    JSON = "json"
    HTML = "html"
    PDF = "pdf"


MEDIA_TYPES = {
    Form.JSON: "application/json",
    Form.HTML: "text/html; charset=utf-8",
    Form.PDF: "application/pdf",
}


def rendered(told: dict[str, Any], form: Form) -> bytes:
    """A document (`document.document`) in the form that was asked for."""
    if form is Form.JSON:
        return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if form is Form.HTML:
        return html_page(told).encode()
    from trunkline.api.bills.paper import pdf  # noqa: PLC0415 -- its library takes a while, and few ask for paper

    return pdf(told)
