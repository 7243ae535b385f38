"""Another system that charges what is charged here, or a little more: its rated file and the mapping that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tests.what_if.day import Day
from trunkline.bootstrap.shadow import FolderShadows, gate_of, mapping_of
from trunkline.kernel.dial import to_text as number_of
from trunkline.kernel.money import to_text
from trunkline.records.charging import CHARGED
from trunkline.records.usage import Direction, Kind, Report
from trunkline.stores.embedded.reader import EmbeddedReader

MAPPING = """
text: What the old system rated.
source: old
format: {kind: csv, header: true, delimiter: ";"}
columns:
  record_id: id
  source: source
  kind: type
  direction: {from: direction, default: originating}
  report: report
  session: session
  subscriber: payer
  start: {from: start, format: unix_us}
  session_start: {from: start, format: unix_us}
  duration: {from: ms, unit: ms}
  octets_down: octets
  events: events
  amount: charged
  currency: currency
"""


def row_of(row: dict[str, Any]) -> dict[str, Any]:
    """A charged use as the old system writes it."""
    kind = Kind(row["kind"])
    return {
        "id": row["record_id"], "source": row["source"], "type": kind.name.lower(),
        "direction": Direction(row["direction"]).name.lower(), "payer": number_of(row["subscriber"]),
        "start": row["start_us"], "ms": row["units"] if kind is Kind.VOICE else 0,
        "octets": row["units"] if kind is Kind.DATA else 0,
        "events": row["units"] if kind not in (Kind.VOICE, Kind.DATA) else 0, "charged": to_text(row["charged_micros"]),
        "currency": "EUR", "report": "" if row["report"] == Report.NONE else "interim",
        "session": row["session"] or "", "covered": row["allowance_units"], "micros": row["charged_micros"],
    }  # fmt: skip


def compared(day: Day, folder: Path) -> dict[str, Any]:
    """A comparison with a system that charges each tenth record a cent more, kept in the day's folder."""
    charged = pl.concat(list(EmbeddedReader(day.data).scan(CHARGED, -(2**62), 2**62))).sort("seq")
    rows = [row_of(row) for row in charged.iter_rows(named=True)]
    for row in rows[::10]:
        row["charged"] = to_text(row["micros"] + 10_001)
    (folder / "old.csv").write_text(pl.DataFrame(rows).write_csv(separator=";"))
    (folder / "old.yaml").write_text(MAPPING)
    shadows = FolderShadows(EmbeddedReader(day.data), {})
    mapping = mapping_of(str(folder / "old.yaml"), {})
    return shadows.run(folder / "old.csv", mapping, gate_of("99", "1"), None, None, None, "somebody")[0]
