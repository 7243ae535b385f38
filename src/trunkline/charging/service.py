"""Telling customers of the network's troubles: once when an incident hits them, once when it is over.

Who is hit is found out elsewhere and may be found out again, after a crash or when more is known; this step remembers
whom it told of what, so that nobody is told the same twice. The end of one incident is not called the end of the
trouble while the customer is hit by another one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.dial import to_text
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ALERTS, HIT

Rows = npt.NDArray[Any]

BEGIN, END = "begin", "end"
ISSUE, RESTORED, GOES_ON = "service_issue", "service_restored", "service_goes_on"
KEPT_US = 400 * 86_400_000_000  # an incident that is over is known for so long


def tell(hits: pl.DataFrame, told: Grouped) -> Outcome:
    """`HITS` into `ALERTS`, in their order; state: what each customer was told of."""
    held = {int(key): told.rows_of(int(key)) for key in told.keys}
    rows = []
    for hit in hits.iter_rows(named=True):
        held[hit["subscriber"]], kind = _told(held[hit["subscriber"]], hit)
        if kind:
            rows.append(_alert(hit, kind))
    groups = [held[int(key)] for key in told.keys]
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    state = Grouped(told.keys, offsets, np.concatenate([*groups, np.empty(0, HIT.dtype)]))
    return Outcome((pl.DataFrame(rows, schema=ALERTS.record.schema),), state)


def _told(rows: Rows, hit: dict[str, Any]) -> tuple[Rows, str]:
    """What a customer knows after a hit, and the kind of the alert that it needs; empty when it needs none."""
    incident, time_us = int(hit["incident_id"], 16), hit["time_us"]
    rows = rows[(rows["over"] == 0) | (rows["told_us"] > time_us - KEPT_US)].copy()
    known = np.flatnonzero(rows["incident"] == np.uint64(incident))
    if hit["action"] == BEGIN:
        if len(known):
            return rows, ""
        return np.concatenate([rows, np.array([(incident, time_us, 0)], HIT.dtype)]), ISSUE
    assert hit["action"] == END, f"a hit begins or ends, and does not {hit['action']!r}"
    if not len(known) or rows["over"][known[0]]:
        return rows, ""
    rows["over"][known[0]] = 1
    return rows, GOES_ON if bool((rows["over"] == 0).any()) else RESTORED


def _alert(hit: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "alert_id": _alert_id(hit["subscriber"], hit["incident_id"], hit["action"]),
        "seq": hit["seq"],
        "subscriber": hit["subscriber"],
        "time_us": hit["time_us"],
        "kind": kind,
        "balance": hit["incident_id"],
        "threshold": hit["severity"],
        "value": hit["minutes"],
        "period": 0,
    }


def _alert_id(subscriber: int, incident_id: str, action: str) -> str:
    """Name of one telling; a replay makes the same name, and the number in it tells nobody's identity."""
    words = f"{subscriber}/{to_text(subscriber)}/{incident_id}/{action}"
    return blake2b(words.encode(), digest_size=16).hexdigest()
