"""Online charging put together: the rules of the trade over the embedded engine, and sessions that vanished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import polars as pl

from trunkline import topology
from trunkline.charging import online as rules
from trunkline.engines.embedded.online import OnlineRules
from trunkline.kernel.dial import to_text
from trunkline.records import online
from trunkline.records.usage import Direction, Kind

SOURCE = "online"
_UNITS = {Kind.VOICE: "duration_ms", Kind.DATA: "octets_down"}


def usage_lines(charged: pl.DataFrame) -> bytes:
    """What sessions used, as records of our own schema; their names are made from session, group and invocation."""
    return b"".join(orjson.dumps(_record(row)) + b"\n" for row in charged.iter_rows(named=True))


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    record = {
        "id": f"{row['session']:016x}-{row['group']}-{row['invocation']}",
        "source": SOURCE,
        "type": Kind(row["kind"]).name.lower(),
        "subscriber": to_text(row["subscriber"]),
        "direction": Direction(row["direction"]).name.lower(),
        "calling": to_text(row["calling"] or 0),
        "called": to_text(row["called"] or 0),
        "start_us": row["start_us"],
        _UNITS.get(row["kind"], "events"): row["units"],
        "visited_plmn": str(row["visited_plmn"]) if row["visited_plmn"] else "",
        "snssai": f"{row['slice']:08x}" if row["slice"] else "",
        "five_qi": row["five_qi"] or None,
        "service": row["service"],
        "session": None,
    }
    return {name: value for name, value in record.items() if value not in (None, "")}


RULES = OnlineRules(
    topology.ONLINE,
    online.SESSIONS,
    online.ANSWERS,
    rules.used,
    usage_lines,
    int(online.Action.RELEASE),
    online.REFUSALS,
)
