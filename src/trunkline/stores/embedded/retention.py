"""Letting go of what was kept long enough: history, raw files, settled decisions.

The days stand in the records; an operator may keep less or more. What is counted (accounting, balances, the
register of files) stays: a sum must not change because its parts were let go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.records.charging import ALERTS, CHARGED, ENTRIES
from trunkline.records.usage import HELD, RAW, REJECTED
from trunkline.stores.embedded.manifest import transaction
from trunkline.stores.embedded.store import Store

DAY_US = 86_400_000_000
DAYS_KEPT = {
    stream.name: stream.record.days_kept for stream in (CHARGED, ENTRIES, ALERTS, RAW, REJECTED, HELD)
}


@dataclass(frozen=True)
class LetGo:
    """What retention removed."""

    segments: int
    rows: int
    raw_files: int
    records_set_aside: int
    alerts: int


def retain(store: Store, now_us: int, days: Mapping[str, int] | None = None) -> LetGo:
    """Remove what is older than its days; segments go when their newest event is."""
    kept = {**DAYS_KEPT, **(days or {})}
    before = {name: now_us - count * DAY_US for name, count in kept.items()}
    execute = store.connection.execute
    with store.writing, transaction(store.connection, store.disk, store.folder):
        gone, rows = [], 0
        # What stands at the beginning of time (an account's opening balance) is not old, it has always been so.
        for stream in (CHARGED.name, ENTRIES.name):
            old = execute(
                "SELECT segment, path, rows FROM segments WHERE stream = ? AND until_us < ? AND until_us > 0",
                (stream, before[stream]),
            ).fetchall()
            store.connection.executemany("DELETE FROM segments WHERE segment = ?", [(row[0],) for row in old])
            gone += old
            rows += sum(row[2] for row in old)
        raw = execute(
            "SELECT raw FROM files WHERE raw IS NOT NULL AND ended <> '' AND begun_us < ?",
            (before[RAW.name],),
        ).fetchall()
        execute(
            "UPDATE files SET raw = NULL WHERE raw IS NOT NULL AND ended <> '' AND begun_us < ?",
            (before[RAW.name],),
        )
        aside = sum(
            execute(
                f"DELETE FROM {table} WHERE settled IS NOT NULL AND time_us < ?",  # noqa: S608 -- our own names
                (before[stream],),
            ).rowcount
            for table, stream in (("rejected", REJECTED.name), ("held", HELD.name))
        )
        alerts = execute("DELETE FROM alerts WHERE time_us < ?", (before[ALERTS.name],)).rowcount
    store.keeper.linger([row[1] for row in gone])
    store.keeper.linger([row[0] for row in raw])
    return LetGo(len(gone), rows, len(raw), aside, alerts)
