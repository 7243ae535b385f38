"""What the network's flow leaves behind: KPIs and tiles as segments, alarms and incidents and all else in tables.

The network has a data folder of its own within the platform's, so that a burst of telemetry, a merge of its states or
a full spool never waits in the line in which money is committed. A commit is all or nothing here as there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import State
from trunkline.ports import Accounting, Commit, IncidentNote
from trunkline.records import usage
from trunkline.records.network import (
    ALARM_COUNTS,
    ALARMS,
    ANOMALIES,
    HEAT,
    HELD,
    INCIDENTS,
    KPIS,
    REJECTED,
    RISKS,
    Severity,
)
from trunkline.records.network_sums import BUDGETS, LATE_PARTS
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word, transaction, word_of
from trunkline.stores.embedded.reader import EmbeddedReader
from trunkline.stores.embedded.segments import TIME_OF
from trunkline.stores.embedded.store import Store

FOLDER = "network"
DAY_US = 86_400_000_000
HEAT_REMEMBERED_US = 3_600_000_000  # a tile that was not told again for so long is not shown
LISTED: dict[str, Stream] = {
    "anomalies": ANOMALIES,
    "risks": RISKS,
    "alarm_changes": ALARMS,
    "incident_changes": INCIDENTS,
    "budgets": BUDGETS,
    "late_parts": LATE_PARTS,
}
_ORDER = dict.fromkeys(("anomalies", "risks", "alarm_changes", "incident_changes", "budgets"), "time_us") | {
    "late_parts": "end_us"
}
# Telemetry that was set aside lies where usage does in its own folder, so that it is settled in the same way.
_SET_ASIDE = {REJECTED.name: usage.REJECTED.name, HELD.name: usage.HELD.name}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS telemetry_accounting (
    source TEXT NOT NULL, hour INTEGER NOT NULL, received INTEGER NOT NULL, measured INTEGER NOT NULL,
    events INTEGER NOT NULL, duplicate INTEGER NOT NULL, rejected INTEGER NOT NULL, held INTEGER NOT NULL,
    PRIMARY KEY (source, hour)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS active_alarms (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    alarm_id TEXT NOT NULL UNIQUE, alarm_key INTEGER NOT NULL, object INTEGER NOT NULL, name TEXT,
    raised_us INTEGER NOT NULL, changed_us INTEGER NOT NULL, cleared_us INTEGER, severity INTEGER NOT NULL,
    worst INTEGER NOT NULL, event_type TEXT, probable_cause TEXT, specific_problem TEXT, text TEXT,
    acked INTEGER NOT NULL DEFAULT 0, acked_by TEXT, acked_us INTEGER, cleared_by TEXT, held_by TEXT,
    root INTEGER, security INTEGER NOT NULL DEFAULT 0, changes INTEGER NOT NULL DEFAULT 1);
CREATE INDEX IF NOT EXISTS active_alarms_by_state ON active_alarms (cleared_us, severity, raised_us);
CREATE INDEX IF NOT EXISTS active_alarms_by_object ON active_alarms (object);
CREATE TABLE IF NOT EXISTS open_incidents (
    incident_id TEXT PRIMARY KEY, opened_us INTEGER NOT NULL, began_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL, closed_us INTEGER,
    root_object INTEGER NOT NULL, root_name TEXT, cause TEXT, why TEXT, objects TEXT NOT NULL, alarms INTEGER NOT NULL,
    subscribers INTEGER NOT NULL, micros_per_minute INTEGER NOT NULL, severity INTEGER NOT NULL,
    at_risk TEXT NOT NULL, owner TEXT NOT NULL DEFAULT '', told_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS open_incidents_by_state ON open_incidents (closed_us, micros_per_minute);
CREATE TABLE IF NOT EXISTS incident_notes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, incident_id TEXT NOT NULL, time_us INTEGER NOT NULL, actor TEXT NOT NULL,
    action TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS incident_notes_by_incident ON incident_notes (incident_id, number);
CREATE TABLE IF NOT EXISTS alarm_counts (
    component INTEGER PRIMARY KEY, raised INTEGER NOT NULL, active INTEGER NOT NULL, cleared INTEGER NOT NULL,
    deduplicated INTEGER NOT NULL, suppressed INTEGER NOT NULL, correlated INTEGER NOT NULL,
    unmatched INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS incident_customers (
    incident_id TEXT NOT NULL, subscriber INTEGER NOT NULL, told_us INTEGER NOT NULL,
    PRIMARY KEY (incident_id, subscriber)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS served_incidents (incident_id TEXT PRIMARY KEY, time_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarm_attributes (alarm_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarm_tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, time_us INTEGER NOT NULL, body TEXT NOT NULL);
"""


class NetworkStore(Store):
    """The writing side of the network's folder."""

    def __init__(
        self, folder: Path, states: Sequence[State], disk: Disk | None = None, *, keep_house: bool = True
    ) -> None:
        """Open or make the folder; raises `FolderInUse` when another process writes to it."""
        super().__init__(folder, states, disk, keep_house=keep_house)
        with self.writing:
            self.connection.executescript(_SCHEMA + "".join(_table_of(*each) for each in LISTED.items()))

    def commit(self, commit: Commit) -> None:
        """Make everything in it true at once; rows of history are numbered by the commit they came with."""
        frames = dict(commit.frames)
        for stream in (KPIS, HEAT):
            if stream.name in frames:
                frames[stream.name] = frames[stream.name].with_columns(
                    seq=pl.lit(commit.number, dtype=pl.Int64)
                )
        for ours, kept in _SET_ASIDE.items():
            if ours in frames:
                frames[kept] = _as_of_usage(frames.pop(ours))
        super().commit(Commit(**{**vars(commit), "frames": frames}))

    def note(self, note: IncidentNote) -> None:
        """Write down what a person did about an incident."""
        with self.writing, transaction(self.connection, self.disk, self.folder):
            self.connection.execute(
                "INSERT INTO incident_notes (incident_id, time_us, actor, action, text) VALUES (?, ?, ?, ?, ?)",
                (note.incident_id, note.time_us, note.actor, note.action, note.text),
            )
            if note.action == "own":
                self.connection.execute(
                    "UPDATE open_incidents SET owner = ? WHERE incident_id = ?", (note.text, note.incident_id)
                )

    def annotate(self, alarm_id: str, attributes: Mapping[str, Any]) -> None:
        """Keep what other systems say of an alarm and we do not work out ourselves; null forgets an attribute."""
        with self.writing, transaction(self.connection, self.disk, self.folder):
            row = self.connection.execute(
                "SELECT body FROM alarm_attributes WHERE alarm_id = ?", (alarm_id,)
            ).fetchone()
            body = {**(json.loads(row[0]) if row else {}), **attributes}
            kept = {name: value for name, value in body.items() if value is not None}
            self.connection.execute(
                "INSERT OR REPLACE INTO alarm_attributes VALUES (?, ?)", (alarm_id, json.dumps(kept))
            )

    def add_task(self, kind: str, time_us: int, body: Mapping[str, Any]) -> int:
        """Keep a task that somebody ordered on alarms, and what came of it; its number."""
        with self.writing, transaction(self.connection, self.disk, self.folder):
            row = self.connection.execute(
                "INSERT INTO alarm_tasks (kind, time_us, body) VALUES (?, ?, ?)",
                (kind, time_us, json.dumps(body)),
            )
        assert row.lastrowid is not None, "SQLite numbers every row"
        return row.lastrowid

    def serve(self, incident_id: str, subscribers: Sequence[int], now_us: int) -> None:
        """Write down which customers were told of an incident."""
        with self.writing, transaction(self.connection, self.disk, self.folder):
            self.connection.executemany(
                "INSERT OR IGNORE INTO incident_customers VALUES (?, ?, ?)",
                [(incident_id, stored_word(each), now_us) for each in subscribers],
            )

    def served(self, incident_id: str, now_us: int) -> None:
        """Write down that an incident is over and all that it hit were told so."""
        with self.writing, transaction(self.connection, self.disk, self.folder):
            self.connection.execute(
                "INSERT OR IGNORE INTO served_incidents VALUES (?, ?)", (incident_id, now_us)
            )

    def let_go(self, now_us: int) -> int:
        """Remove rows of tables and segments that were kept long enough; how many."""
        gone: list[tuple[str | None]] = []
        rows = 0
        with self.writing, transaction(self.connection, self.disk, self.folder):
            for table, column, days in (
                ("rejected", "time_us", REJECTED.record.days_kept),
                ("held", "time_us", HELD.record.days_kept),
                ("incident_customers", "told_us", INCIDENTS.record.days_kept),
                ("served_incidents", "time_us", INCIDENTS.record.days_kept),
            ):
                rows += self.connection.execute(
                    f"DELETE FROM {table} WHERE {column} < ?",  # noqa: S608 -- our own names
                    (now_us - days * DAY_US,),
                ).rowcount
            for table, stream in LISTED.items():
                if table in _ORDER:
                    before = now_us - stream.record.days_kept * DAY_US
                    rows += self.connection.execute(
                        f"DELETE FROM {table} WHERE {_ORDER[table]} < ?",  # noqa: S608 -- our own names
                        (before,),
                    ).rowcount
            for stream in (KPIS, HEAT):
                old = self.connection.execute(
                    "SELECT segment, path FROM segments WHERE stream = ? AND until_us < ?",
                    (stream.name, now_us - stream.record.days_kept * DAY_US),
                ).fetchall()
                self.connection.executemany(
                    "DELETE FROM segments WHERE segment = ?", [(each[0],) for each in old]
                )
                gone += [(each[1],) for each in old]
        self.keeper.linger([each[0] for each in gone])
        return rows + len(gone)

    def _write_small(self, commit: Commit) -> None:
        counts, rest = commit.counts, Commit(**{**vars(commit), "counts": ()})
        super()._write_small(rest)
        hour = commit.time_us // 3_600_000_000
        self.connection.executemany(
            "INSERT INTO telemetry_accounting VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " received = received + excluded.received, measured = measured + excluded.measured,"
            " events = events + excluded.events, duplicate = duplicate + excluded.duplicate,"
            " rejected = rejected + excluded.rejected, held = held + excluded.held",
            [
                (c.source, hour, c.received, c.measured, c.events, c.duplicate, c.rejected, c.held)
                for c in counts
            ],
        )
        for table, stream in LISTED.items():
            frame = commit.frames.get(stream.name)
            if frame is not None and len(frame):
                columns = _quoted(stream)
                marks = ", ".join("?" * len(columns))
                self.connection.executemany(
                    f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 -- our own names
                    list(_stored(stream.record.conform(frame))),
                )
        if ALARM_COUNTS.name in commit.frames:
            self.connection.executemany(
                "INSERT OR REPLACE INTO alarm_counts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                list(_stored(ALARM_COUNTS.record.conform(commit.frames[ALARM_COUNTS.name]))),
            )
        for row in _changes(commit, ALARMS):
            self._change_alarm(row)
        for row in _changes(commit, INCIDENTS):
            self._change_incident(row, commit.time_us)

    def _change_alarm(self, row: dict[str, Any]) -> None:
        """Bring what is known of one alarm up to a change of it."""
        action, cleared = row["action"], row["severity"] == Severity.CLEARED
        self.connection.execute(
            "INSERT INTO active_alarms (alarm_id, alarm_key, object, name, raised_us, changed_us, cleared_us, severity,"
            " worst, event_type, probable_cause, specific_problem, text, held_by, root, security)"
            " VALUES (:alarm_id, :alarm_key, :object, :name, :time_us, :time_us, NULL, :severity, :severity,"
            " :event_type, :probable_cause, :specific_problem, :text, :held_by, :root, :security)"
            " ON CONFLICT (alarm_id) DO UPDATE SET changed_us = max(changed_us, :time_us), changes = changes + 1,"
            " severity = :severity, worst = min(worst, :severity), held_by = :held_by, root = :root",
            row | {name: stored_word(int(row[name] or 0)) for name in ("alarm_key", "object", "root")},
        )
        execute, name = self.connection.execute, row["alarm_id"]
        if action in ("raise", "update") and not cleared:
            execute(
                "UPDATE active_alarms SET text = coalesce(?, text), cleared_us = NULL WHERE alarm_id = ?",
                (row["text"], name),
            )
        if cleared or action == "clear":
            execute(
                "UPDATE active_alarms SET cleared_us = ?, cleared_by = ?, severity = ? WHERE alarm_id = ?",
                (row["time_us"], row["actor"], int(Severity.CLEARED), name),
            )
        if action in ("ack", "unack"):
            execute(
                "UPDATE active_alarms SET acked = ?, acked_by = ?, acked_us = ? WHERE alarm_id = ?",
                (action == "ack", row["actor"], row["time_us"], name),
            )

    def _name_by_alarms(self, thing: int) -> str | None:
        """What alarms call something that the inventory does not know: an area, a slice, a technology."""
        row = self.connection.execute(
            "SELECT name FROM active_alarms WHERE object = ? AND name IS NOT NULL LIMIT 1",
            (stored_word(thing),),
        ).fetchone()
        return None if row is None else str(row[0])

    def _change_incident(self, row: dict[str, Any], now_us: int) -> None:
        """Bring what is known of one incident up to a change of it."""
        self.connection.execute(
            "INSERT INTO open_incidents (incident_id, opened_us, began_us, at_risk, changed_us,"
            " closed_us, root_object, root_name, cause,"
            " why, objects, alarms, subscribers, micros_per_minute, severity, told_us) VALUES (:incident_id,"
            " :opened_us, :began_us, :at_risk, :time_us,"
            " iif(:action = 'close', :time_us, NULL), :root_object, :root_name, :cause, :why,"
            " :objects, :alarms, :subscribers, :micros_per_minute, :severity, :now_us)"
            " ON CONFLICT (incident_id) DO UPDATE SET changed_us = :time_us,"
            " closed_us = iif(:action = 'close', :time_us, NULL), root_object = :root_object, root_name = :root_name,"
            " cause = :cause, why = :why, objects = :objects, alarms = :alarms, subscribers = :subscribers,"
            " micros_per_minute = :micros_per_minute, severity = :severity, began_us = min(began_us, :began_us),"
            " at_risk = :at_risk",
            row
            | {
                "root_object": stored_word(int(row["root_object"] or 0)),
                "root_name": row["root_name"] or self._name_by_alarms(int(row["root_object"] or 0)),
                "objects": json.dumps(list(row["objects"] or [])),
                "now_us": now_us,
            },
        )


class NetworkReader(EmbeddedReader):
    """Answers about the network from what is committed; any thread of any process may ask."""

    def kpis(
        self,
        objects: Sequence[int] | None,
        kpi: str | None,
        from_us: int,
        until_us: int,
        limit: int,
        scope: int | None = None,
    ) -> pl.DataFrame:
        """KPIs (`KPIS`) whose window ends within a stretch of time, newest first."""
        wanted = (pl.col("end_us") >= from_us) & (pl.col("end_us") < until_us)
        if objects is not None:
            wanted &= pl.col("object").is_in(list(objects))
        if kpi is not None:
            wanted &= pl.col("kpi") == kpi
        if scope is not None:
            wanted &= pl.col("scope") == scope
        one = objects[0] if objects is not None and len(objects) == 1 else None
        return self._newest(KPIS, one, wanted, from_us, until_us, limit)

    def tiles(self, layer: str | None, metric: str | None, at_us: int) -> pl.DataFrame:
        """How every tile (`HEAT`) stood at a moment: its last row within the hour before it."""
        from_us = at_us - HEAT_REMEMBERED_US
        wanted = (pl.col("time_us") > from_us) & (pl.col("time_us") <= at_us)
        if layer is not None:
            wanted &= pl.col("layer") == layer
        if metric is not None:
            wanted &= pl.col("metric") == metric
        rows = self._newest(HEAT, None, wanted, from_us, at_us + 1, None)
        return rows.unique(["layer", "tile", "metric"], keep="first", maintain_order=True)

    def newest_heat_us(self) -> int:
        """The newest moment that the map knows; 0 before any."""
        rows = self._rows("SELECT max(until_us) FROM segments WHERE stream = ?", HEAT.name)
        return int(rows[0][0] or 0)

    def listed(
        self,
        table: str,
        after: int,
        limit: int,
        *,
        newest: bool = False,
        where: str = "",
        values: tuple[Any, ...] = (),
    ) -> pl.DataFrame:
        """Rows of one of `LISTED` with their running `number`: those above `after`, or the newest first."""
        stream = LISTED[table]
        columns = ["number", *_quoted(stream)]
        order = "DESC" if newest else "ASC"
        also = f" AND {where}" if where else ""
        rows = self._rows(
            f"SELECT {', '.join(columns)} FROM {table} WHERE number > ?{also} ORDER BY number {order} LIMIT ?",  # noqa: S608
            after, *values, limit,
        )  # fmt: skip
        return _frame(rows, {"number": pl.Int64, **stream.record.schema})

    def anomalies(self, limit: int, offset: int = 0, objects: int | None = None) -> pl.DataFrame:
        """Findings of the detector (`ANOMALIES` with `number`), newest first."""
        where, values = ("object = ?", (stored_word(objects),)) if objects is not None else ("", ())
        return self.listed("anomalies", 0, limit + offset, newest=True, where=where, values=values)[offset:]

    def risks(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Forecasts (`RISKS` with `number`), newest first."""
        return self.listed("risks", 0, limit + offset, newest=True)[offset:]

    def budgets(self) -> pl.DataFrame:
        """How every agreement stands: its newest row (`BUDGETS` with `number`)."""
        newest = "number IN (SELECT max(number) FROM budgets GROUP BY object)"
        return self.listed("budgets", 0, 10_000, where=newest)

    def alarms(
        self,
        limit: int,
        offset: int = 0,
        *,
        alarm_id: str | None = None,
        number: int | None = None,
        active: bool | None = None,
        object_: int | None = None,
        severity: int | None = None,
        security: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Alarms as they stand, the worst and then the newest first."""
        conditions: list[tuple[str, Any]] = []
        if alarm_id is not None:
            conditions.append(("alarm_id = ?", alarm_id))
        if number is not None:
            conditions.append(("number = ?", number))
        if object_ is not None:
            conditions.append(("object = ?", stored_word(object_)))
        if severity is not None:
            conditions.append(("severity = ?", severity))
        if security is not None:
            conditions.append(("security = ?", int(security)))
        if active is not None:
            conditions.append(("(cleared_us IS NULL) = ?", int(active)))
        where = " AND ".join(["1", *(text for text, _ in conditions)])
        return self._dicts(
            f"SELECT * FROM active_alarms WHERE {where} ORDER BY cleared_us IS NOT NULL, severity, raised_us DESC"  # noqa: S608
            " LIMIT ? OFFSET ?",
            (*(value for _, value in conditions), limit, offset),
            ("alarm_key", "object", "root"),
        )

    def alarm_changes(self, alarm_id: str, limit: int = 1000) -> pl.DataFrame:
        """The life of one alarm, oldest first."""
        return self.listed("alarm_changes", 0, limit, where="alarm_id = ?", values=(alarm_id,))

    def alarm_attributes(self, alarm_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What other systems said of alarms."""
        return {
            name: json.loads(body)
            for name, body in self._rows(
                "SELECT alarm_id, body FROM alarm_attributes"
                " WHERE alarm_id IN (SELECT value FROM json_each(?))", json.dumps(list(alarm_ids)),
            )
        }  # fmt: skip

    def alarm_tasks(
        self, kind: str, limit: int, offset: int = 0, number: int | None = None
    ) -> list[dict[str, Any]]:
        """Tasks ordered on alarms, newest first: `number, time_us` and what was kept."""
        one = "" if number is None else " AND number = ?"
        return [
            {"number": found, "time_us": time_us, **json.loads(body)}
            for found, time_us, body in self._rows(
                f"SELECT number, time_us, body FROM alarm_tasks WHERE kind = ?{one}"  # noqa: S608 -- our own names
                " ORDER BY number DESC LIMIT ? OFFSET ?",
                kind, *(() if number is None else (number,)), limit, offset,
            )
        ]  # fmt: skip

    def changes_after(self, number: int, limit: int) -> pl.DataFrame:
        """Alarm changes in the order of commit with a running `number` above the one given."""
        return self.listed("alarm_changes", number, limit)

    def incidents(
        self, limit: int, offset: int = 0, *, incident_id: str | None = None, is_open: bool | None = None
    ) -> list[dict[str, Any]]:
        """Incidents as they stand: the open ones first, by money a minute, customers and severity."""
        where, values = "1", []
        if incident_id is not None:
            where, values = f"{where} AND incident_id = ?", [incident_id]
        if is_open is not None:
            where += " AND closed_us IS NULL" if is_open else " AND closed_us IS NOT NULL"
        rows = self._dicts(
            f"SELECT * FROM open_incidents WHERE {where} ORDER BY closed_us IS NOT NULL, micros_per_minute DESC,"  # noqa: S608
            " subscribers DESC, severity, opened_us DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
            ("root_object",),
        )
        return [row | {"objects": json.loads(row["objects"])} for row in rows]

    def incident_changes(self, incident_id: str, limit: int = 1000) -> pl.DataFrame:
        """The life of one incident, oldest first."""
        return self.listed("incident_changes", 0, limit, where="incident_id = ?", values=(incident_id,))

    def incident_notes(self, incident_id: str, limit: int = 1000) -> list[dict[str, Any]]:
        """What people did about an incident, oldest first."""
        return self._dicts(
            "SELECT * FROM incident_notes WHERE incident_id = ? ORDER BY number LIMIT ?",
            (incident_id, limit),
            (),
        )

    def unserved(self, closed_after_us: int) -> list[dict[str, Any]]:
        """Incidents that are open, or ended lately, of which customers may have to be told; oldest first."""
        rows = self._dicts(
            "SELECT * FROM open_incidents o WHERE (closed_us IS NULL OR closed_us > ?) AND NOT EXISTS"
            " (SELECT 1 FROM served_incidents s WHERE s.incident_id = o.incident_id) ORDER BY opened_us, incident_id",
            (closed_after_us,),
            ("root_object",),
        )
        return [row | {"objects": json.loads(row["objects"])} for row in rows]

    def customers(self, incident_id: str) -> list[int]:
        """Dial words of the customers who were told of an incident, ascending."""
        return [
            word_of(word)
            for (word,) in self._rows(
                "SELECT subscriber FROM incident_customers WHERE incident_id = ? ORDER BY subscriber",
                incident_id,
            )
        ]

    def alarm_counts(self) -> dict[str, int]:
        """What became of all that was raised: raised = active + cleared + deduplicated + suppressed + correlated."""
        names = ("raised", "active", "cleared", "deduplicated", "suppressed", "correlated", "unmatched")
        rows = self._rows(f"SELECT {', '.join(f'sum({name})' for name in names)} FROM alarm_counts")  # noqa: S608
        return {name: int(value or 0) for name, value in zip(names, rows[0], strict=True)}

    def accounting(self) -> list[Accounting]:
        """One row a source, over all time."""
        return [
            Accounting(source, received, 0, duplicate, rejected, held, 0, measured, events)
            for source, received, duplicate, rejected, held, measured, events in self._rows(
                "SELECT source, sum(received), sum(duplicate), sum(rejected), sum(held), sum(measured), sum(events)"
                " FROM telemetry_accounting GROUP BY source ORDER BY source"
            )
        ]

    def counts(self) -> dict[str, int]:
        """How many alarms, incidents, anomalies and rejects there are, and what is newest."""

        def one(sql: str) -> int:
            rows = self._rows(sql)
            return int(rows[0][0] or 0) if rows else 0

        return {
            "alarms_active": one("SELECT count(*) FROM active_alarms WHERE cleared_us IS NULL"),
            "alarms": one("SELECT count(*) FROM active_alarms"),
            "incidents_open": one("SELECT count(*) FROM open_incidents WHERE closed_us IS NULL"),
            "incidents": one("SELECT count(*) FROM open_incidents"),
            "anomalies": one("SELECT count(*) FROM anomalies"),
            "risks": one("SELECT count(*) FROM risks"),
            "alarm_changes": one("SELECT max(number) FROM alarm_changes"),
            "rejected": one("SELECT count(*) FROM rejected WHERE settled IS NULL"),
            "held": one("SELECT count(*) FROM held WHERE settled IS NULL"),
            "newest_kpi_us": one(f"SELECT max(until_us) FROM segments WHERE stream = '{KPIS.name}'"),  # noqa: S608
            "newest_heat_us": self.newest_heat_us(),
            "commits": one("SELECT value FROM meta WHERE name = 'number'"),
            "committed_us": one("SELECT value FROM meta WHERE name = 'committed_us'"),
        }

    def _newest(
        self, stream: Stream, key: int | None, wanted: pl.Expr, from_us: int, until_us: int, limit: int | None
    ) -> pl.DataFrame:
        """The rows that are wanted, newest first; of one time the later commit, and in a commit the later row."""

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                parts = [part for _, part in self._segments(connection, stream, key, from_us, until_us)]
                frames = [
                    frame for frame in pl.collect_all([part.filter(wanted) for part in parts]) if len(frame)
                ]
            if not frames:
                return stream.record.empty()
            rows = pl.concat(frames, how="diagonal_relaxed").reverse()
            rows = rows.sort([TIME_OF[stream.name], "seq"], descending=True, maintain_order=True)
            return stream.record.conform(rows if limit is None else rows.head(limit))

        return self._again(ask)

    def _dicts(self, sql: str, values: tuple[Any, ...], words: tuple[str, ...]) -> list[dict[str, Any]]:
        cursor = self._connection().execute(sql, values)
        names = [each[0] for each in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for row in rows:
            for word in words:
                row[word] = word_of(row[word])
        return rows


def _as_of_usage(rows: pl.DataFrame) -> pl.DataFrame:
    """Telemetry that was set aside, in the columns in which usage is."""
    if "identity" not in rows.columns:
        return rows
    names = [f"{word or 0:016x}" for word in rows["identity"].to_list()]
    return rows.with_columns(record_id=pl.Series(names, dtype=pl.String))


def _table_of(table: str, stream: Stream) -> str:
    """A table with the columns of a stream, in the order of commit."""
    kinds = {pl.String: "TEXT", pl.Binary: "BLOB"}
    columns = ", ".join(
        f'"{column.name}" {"TEXT" if isinstance(column.dtype, pl.List) else kinds.get(column.dtype, "INTEGER")}'  # type: ignore[arg-type]
        for column in stream.record.columns
    )
    schema = stream.record.schema
    key = next((n for n in ("alarm_id", "incident_id", "object") if n in schema), None)
    index = f"CREATE INDEX IF NOT EXISTS {table}_by_{key} ON {table} ({key}, number);" if key else ""
    return f"CREATE TABLE IF NOT EXISTS {table} (number INTEGER PRIMARY KEY AUTOINCREMENT, {columns});{index}"


def _quoted(stream: Stream) -> list[str]:
    """Names of columns as SQL takes any of them."""
    return [f'"{name}"' for name in stream.record.schema]


def _stored(frame: pl.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Rows as SQLite keeps them: words less 2**63, lists as JSON."""
    words = [at for at, dtype in enumerate(frame.dtypes) if dtype == pl.UInt64]
    lists = [at for at, dtype in enumerate(frame.dtypes) if isinstance(dtype, pl.List)]
    if not words and not lists:
        yield from frame.iter_rows()
        return
    for row in frame.iter_rows():
        values = list(row)
        for at in words:
            values[at] = stored_word(values[at] or 0)
        for at in lists:
            values[at] = json.dumps(list(values[at] or []))
        yield tuple(values)


def _frame(rows: list[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    """Rows of SQLite as a frame."""
    words = [at for at, dtype in enumerate(schema.values()) if dtype == pl.UInt64]
    lists = [at for at, dtype in enumerate(schema.values()) if isinstance(dtype, pl.List)]
    given = []
    for row in rows:
        values = list(row)
        for at in words:
            values[at] = word_of(values[at])
        for at in lists:
            values[at] = json.loads(values[at])
        given.append(values)
    return pl.DataFrame(given, schema=schema, orient="row")


def _changes(commit: Commit, stream: Stream) -> Iterator[dict[str, Any]]:
    """The changes of a commit in the order of their time, as they were written."""
    frame = commit.frames.get(stream.name)
    if frame is not None:
        yield from stream.record.conform(frame).sort("time_us", maintain_order=True).iter_rows(named=True)
