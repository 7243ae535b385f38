"""Re-ratings as people and programs are told them: moments as text, numbers as whoever asks may see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from trunkline.api.shown import moment

Show = Callable[[int], str]

ROW = (
    "subscriber", "source", "record_id", "start", "plan", "charged_micros", "allowance_units", "list_micros",
)  # fmt: skip


def document(found: dict[str, Any], show: Show) -> dict[str, Any]:
    """A preview with its moments in words and its numbers as `show` shows them."""
    told = {name: value for name, value in found.items() if name not in ("from_us", "until_us", "made_us")}
    return told | {
        "made": moment(found["made_us"]),
        "from": moment(found["from_us"]),
        "until": moment(found["until_us"]),
        "subscriber": None if found["subscriber"] is None else show(found["subscriber"]),
        "top": [{**each, "subscriber": show(each["subscriber"])} for each in found["top"]],
    }


def rows_of(corrections: pl.DataFrame, show: Show) -> Iterator[tuple[Any, ...]]:
    """Corrections (`CORRECTIONS`) as rows of a table, its heading first."""
    yield ROW
    names = ("subscriber", "source", "record_id", "start_us", *ROW[4:])
    for word, source, record_id, start_us, *rest in corrections.select(names).iter_rows():
        yield show(word), source, record_id, moment(start_us), *rest
