"""Records that take others back, as a data folder and a cluster settle them: what they say, and what is answered.

Where their originals are found and how they are settled is each one's own; the rules are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from trunkline.mediation.decode import decode
from trunkline.mediation.deduplicate import CANCELS, CORRECTS
from trunkline.mediation.mapping import Mapping as Reading
from trunkline.records import usage
from trunkline.records.charging import CANCELLED, CORRECTED
from trunkline.records.usage import DAYS_REMEMBERED, Report

WAITING = (CANCELS, CORRECTS)
ACTOR = "trunkline"
_DAY_US = 86_400_000_000
REMEMBERED_US = DAYS_REMEMBERED * _DAY_US
_REPORTS = (Report.START, Report.INTERIM, Report.STOP)
_DETAILS = {
    "original_unknown": "no such record came in {days} days",
    "already_corrected": "a record before it has done so",
    "session_report": "its original is a report of a session",
}


@dataclass(frozen=True)
class Wish:
    """One held record that cancels or corrects, and what it was found to be."""

    row: Mapping[str, Any]  # as it waits: `number`, `reason`, `raw` and more
    said: Mapping[str, Any]  # as decoded: source, record_id, identity, check, start_us
    original: tuple[int, int]  # identity and check of the record that it is of
    name: str  # under which it is charged
    reason: str = ""  # why it is rejected
    done: bool = False  # this record took its original back before

    @property
    def corrects(self) -> bool:
        """Whether it is charged itself."""
        return bool(self.row["reason"] == CORRECTS)

    @property
    def reversal_id(self) -> str:
        """Name of the correction that takes its original back."""
        return (CORRECTED if self.corrects else CANCELLED) + self.name

    @property
    def movement_id(self) -> str:
        """Name of what it does to the account, booked once."""
        word, name = self.reversal_id.split(":", 1)
        return f"{word}:{self.said['source']}:{name}"

    @property
    def decision(self) -> str:
        """What became of it."""
        return "rejected" if self.reason else "corrected" if self.corrects else "cancelled"

    def judged(self, report: int | None, before: str | None, newest_us: int) -> Wish | None:
        """The wish as it is settled now, with the reason why it cannot be done, if there is one; None when it waits.

        `report` is that of its original, which was charged; `before` names what took that back.
        """
        if report is None:
            late = self.said["start_us"] < newest_us - REMEMBERED_US
            return replace(self, reason="original_unknown") if late else None
        if before is not None and before != self.reversal_id:
            return replace(self, reason="already_corrected")
        if self.corrects and report in _REPORTS:
            return replace(self, reason="session_report")
        return replace(self, done=before is not None)

    def refused(self) -> pl.DataFrame:
        """One that cannot be done, as a rejected record (`REJECTED`) with its octets (`raw`)."""
        place = {name: self.row[name] for name in ("file", "line", "offset")}
        detail = _DETAILS[self.reason].format(days=DAYS_REMEMBERED)
        said = {name: self.said[name] for name in ("length", "source")}
        row = {**place, **said, "reason": self.reason, "detail": detail}
        rows = usage.REJECTED.record.conform(pl.DataFrame([row]))
        return rows.with_columns(raw=pl.Series([self.row["raw"]], dtype=pl.Binary))


def read_again(rows: pl.DataFrame, mappings: Mapping[str, Reading]) -> pl.DataFrame:
    """Held records as they were decoded (`DECODED`): of those that can still be read, and take others back.

    `rows` have the columns of `RAW` but `bytes`, which is their `raw`; each has a place (`file`, `line`) of its own.
    """
    raw = usage.RAW.record.conform(rows.with_columns(pl.col("raw").alias("bytes")))
    return decode(raw, mappings).rows[0].filter(pl.col("of").is_not_null())
