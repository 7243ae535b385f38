"""A short day of a small network, and everything that a watched network may say of it, to compare two lives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.network.cells import inventory
from trunkline import topology
from trunkline.bootstrap import network as watched
from trunkline.engines.embedded.engine import Engine, Settings
from trunkline.engines.embedded.sources import LiveSources, NamedFiles
from trunkline.engines.loop import tallied
from trunkline.network.detect.models import Models
from trunkline.network.pulse import pulses_at
from trunkline.ports import IncidentNote
from trunkline.records import network, network_sums
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.network import NetworkReader, NetworkStore

CELLS, PERIODS = 3, 8
NOON_US, PERIOD_US = 1_772_366_400_000_000, 300_000_000
END_US = NOON_US + PERIODS * PERIOD_US
BATCH_OCTETS = 1_500
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
_WALL_CLOCK = ("told_us", "committed_us")


def measured(first: int, last: int) -> bytes:
    """What the cells count in some periods; one of them dies in the fourth, and a wrong value is among them."""
    rows = []
    for period in range(first, last):
        begin, end = (
            pl.Series([NOON_US + at * PERIOD_US]).cast(pl.Datetime("us")).dt.strftime(_MOMENT)[0]
            for at in (period, period + 1)
        )
        for cell in range(1, CELLS + 1):
            dead = cell == 2 and period >= 4
            rows.append(
                {"cell": f"C{cell}", "technology": "NR", "begin": begin, "end": end,
                 "RRC.ConnEstabAtt": 0 if dead else 200 + 7 * period,
                 "RRC.ConnEstabSucc": 0 if dead else 190 + 7 * period,
                 "RRU.PrbTotDl": -3 if (cell, period) == (1, 2) else 0 if dead else 40 + cell}
            )  # fmt: skip
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def events() -> bytes:
    """A site loses its power and gets it back, an alarm flaps, a scan is seen; some of it comes twice."""
    rows = [
        (4 * PERIOD_US + 1, "C2", 1, "powerProblem", "power lost", "equipmentAlarm", 0),
        *(
            (at * 60_000_000, "C3", 6 if at % 2 else 3, "fanFailure", "fan", "environmentalAlarm", 0)
            for at in range(8)
        ),
        (
            5 * PERIOD_US,
            "FW1",
            4,
            "unauthorizedAccessAttempt",
            "scan",
            "securityServiceOrMechanismViolation",
            1,
        ),
        (7 * PERIOD_US, "C2", 6, "powerProblem", "power lost", "equipmentAlarm", 0),
    ]
    lines = [
        {"event": f"E{at}", "time_us": NOON_US + row[0], "name": row[1], "severity": row[2], "probable_cause": row[3],
         "specific_problem": row[4], "event_type": row[5], "text": row[4], "security": row[6]}
        for at, row in enumerate(sorted(rows))
    ]  # fmt: skip
    return b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, *lines[:3]])


def prepared(folder: Path) -> list[tuple[Path, str, str]]:
    """The files of the day, with their mapping and source."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        (folder / "morning.ndjson", "cells_ndjson", "ran", measured(0, 5)),
        (folder / "events.ndjson", "events_ndjson", "elements", events()),
        (folder / "evening.ndjson", "cells_ndjson", "ran", measured(5, PERIODS)),
    ]
    for path, *_, lines in files:
        path.write_bytes(lines)
    return [(path, mapping, source) for path, mapping, source, _ in files]


def tables() -> dict[str, object]:
    """What the steps look up: read once, used by every life."""
    mappings = watched.load_telemetry_mappings()
    folder = Path(__file__).parent / "there is no such folder"
    lists = watched.checked_inventory(inventory(CELLS))
    return {
        network.MAPPINGS.name: mappings,
        network.INVENTORY.name: lists,
        network.FORMULAS.name: watched.load_formulas(folder),
        network.MODELS.name: Models(),
        network.ALARM_RULES.name: watched.load_rules(folder),
        network.CAUSES.name: watched.load_causes(folder),
        network.WORTH.name: watched.NO_WORTH,
        network_sums.AGREEMENTS.name: watched.load_agreements(folder),
    }


def live(
    folder: Path,
    looked_up: dict[str, object],
    disk: Disk,
    files: Sequence[tuple[Path, str, str]],
    store_class: type[NetworkStore] = NetworkStore,
) -> None:
    """A short life: the day's files, what is posted, time that passes, an operator's hand, and keeping house between.

    What was done whole is not done again: whoever hands in sees whether it was answered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = store_class(folder, watched.states(), disk, keep_house=False)
    mappings: dict[str, Any] = looked_up[network.MAPPINGS.name]  # type: ignore[assignment]
    try:
        engine = Engine(
            store, topology.NETWORK, watched.ACCOUNTS, looked_up, mappings.__getitem__,
            Settings(batch_octets=BATCH_OCTETS), clock_us=lambda: END_US, count=tallied(network.MEASURED, network.BINS),
        )  # fmt: skip
        for path, mapping, source in files:
            if _was_read(store, path):
                continue
            named = NamedFiles(store, [(path, mapping, source)], mappings.__getitem__)
            engine.drive(named)
            for trouble in named.troubles:
                raise trouble
            while store.keeper.work():
                pass
        if not _was_posted(store):
            store.append("events_ndjson", "elements", events())
        engine.drive(LiveSources(store, disk, [], mappings.__getitem__, forever=False))
        engine.carry(topology.TIME, pulses_at(END_US + 3_600_000_000)).result()
        reader = NetworkReader(folder)
        for incident in reader.incidents(10):
            if not reader.incident_notes(incident["incident_id"]):
                store.note(IncidentNote(incident["incident_id"], END_US, "nora", "own", "nora"))
        while store.keeper.work():
            pass
    finally:
        store.close()


def _was_read(store: NetworkStore, path: Path) -> bool:
    """Whether a file was read to its end; offering it once more would count it as what came again."""
    asked = "SELECT 1 FROM files WHERE ended = 'done' AND path LIKE ?"
    return store.connection.execute(asked, (f"%{path.name}",)).fetchone() is not None


def _was_posted(store: NetworkStore) -> bool:
    """Whether what was posted lies durably in a spool, or was read from there already."""
    spools = store.connection.execute("SELECT raw, offset FROM files WHERE kind = 'spool'").fetchall()
    paths = [(store.folder / path, offset) for path, offset in spools]
    return any(offset or (path.exists() and path.stat().st_size) for path, offset in paths)


def said(folder: Path) -> dict[str, Any]:
    """Everything that the network's folder tells, without what depends on the clock on the wall or on batches."""
    reader = NetworkReader(folder)
    everything: dict[str, Any] = {
        "accounting": [vars(each) for each in reader.accounting()],
        "arithmetic": reader.alarm_counts(),
        "alarms": sorted(_plain(reader.alarms(1000)), key=str),
        "incidents": sorted(_plain(reader.incidents(1000)), key=str),
        "rejects": reader.rejects(None, 1000).drop("path", "number").sort("file", "line", "detail").rows(),
        "kpis": _last(reader.kpis(None, None, 0, 2**62, 10**6), ["object", "kpi", "slice", "begin_us"]),
        "tiles": reader.tiles(None, None, END_US).sort("layer", "tile", "metric").drop("bucket").rows(),
    }
    for table, key in (
        ("anomalies", "time_us"),
        ("alarm_changes", "time_us"),
        ("incident_changes", "time_us"),
    ):
        rows = reader.listed(table, 0, 10**6).drop("number")
        everything[table] = sorted(map(str, rows.sort(key, maintain_order=True).rows()))
    everything["notes"] = [
        (note["action"], note["text"])
        for row in reader.incidents(10)
        for note in reader.incident_notes(row["incident_id"])
    ]
    return everything


def remembered(folder: Path) -> dict[str, Any]:
    """What the steps remember: alarms and incidents whole, of all else how much."""
    store = NetworkStore(folder, watched.states(), keep_house=False)
    try:
        zero = np.array([0], np.uint64)
        return {
            state.name: sorted(map(str, store.gather(state, zero).rows.tolist()))
            for state in (network.ALARMED, network.CORRELATED)
        }
    finally:
        store.close()


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in (*_WALL_CLOCK, "number")} for row in rows
    ]


def _last(frame: pl.DataFrame, key: list[str]) -> list[tuple[Any, ...]]:
    """The newest row of each key: what is told again replaces what was told before."""
    return frame.unique(key, keep="first", maintain_order=True).sort(key).rows()
