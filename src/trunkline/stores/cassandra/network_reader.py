"""Answers about the network out of Cassandra: the same as the embedded store gives.

Alarms and incidents as they stand are few and are sorted here; KPIs, tiles and findings are asked for hour by hour or
day by day, the newest first. Running numbers have gaps, and findings are in the order of their times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
import polars as pl

from trunkline.kernel.flow import Stream
from trunkline.ports import Accounting
from trunkline.records.network import (
    ALARM_COUNTS,
    ALARMS,
    ANOMALIES,
    BUCKET_SHIFT,
    BUCKETS,
    HEAT,
    INCIDENTS,
    KPIS,
    RISKS,
)
from trunkline.records.network_sums import BUDGETS
from trunkline.stores.cassandra import network_tables as own
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.network_writer import NETWORK_SHARD, row_of, shard_of
from trunkline.stores.cassandra.reader import _HELD_COLUMNS, _REJECT_COLUMNS, CassandraReader

HEAT_REMEMBERED_US = 3_600_000_000  # a tile that was not told again for so long is not shown
_MOST = 1_000_000
_HOURS_AT_ONCE = 4
_EDGE = "edge|"
_COUNTED = ("raised", "active", "cleared", "deduplicated", "suppressed", "correlated", "unmatched")
Item = dict[str, Any]


class CassandraNetworkReader(CassandraReader):
    """The network's side of a keyspace opened to read; any thread may ask."""

    # -- history ------------------------------------------------------------------------------------------

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
        also, values = "", list[Any]()
        if kpi is not None:
            also, values = also + " AND kpi = ?", [*values, kpi]
        if scope is not None:
            also, values = also + " AND scope = ?", [*values, scope]
        mine: list[tuple[str, tuple[Any, ...]]] = [
            ("", (tables.stored_word(bucket),)) for bucket in range(BUCKETS)
        ] if objects is None else [
            (" AND object = ?", (tables.stored_word(word >> BUCKET_SHIFT), tables.stored_word(word)))
            for word in objects
        ]  # fmt: skip
        found: list[pl.DataFrame] = []
        count = 0
        for hours in self._hours(KPIS, from_us, until_us):
            bounds = max(from_us, -(2**63)), min(until_us, 2**63 - 1)
            statement = own.KPI_TABLE.select(
                f"WHERE bucket = ? AND hour = ?{mine[0][0] if mine else ''}{also}"
                " AND end_us >= ? AND end_us < ? LIMIT ?",
            )
            asked = [
                (first, hour, *rest, *values, *bounds, limit) for hour in hours for _, (first, *rest) in mine
            ]
            for rows in self._connection.ask_all(statement, asked):
                found.append(tables.frame_of(rows, own.KPI_TABLE.columns))
                count += len(rows)
            if count >= limit:
                break
        return self._newest(KPIS, found, ["end_us", "position"], limit)

    def tiles(self, layer: str | None, metric: str | None, at_us: int) -> pl.DataFrame:
        """How every tile (`HEAT`) stood at a moment: its last row within the hour before it."""
        from_us = at_us - HEAT_REMEMBERED_US
        hours = range(from_us // own.HOUR_US, at_us // own.HOUR_US + 1)
        views = [view for view in self._views() if layer in (None, view[0]) and metric in (None, view[1])]
        statement = own.HEAT_TABLE.select(
            "WHERE layer = ? AND metric = ? AND hour = ? AND time_us > ? AND time_us <= ?"
        )
        asked = [(*view, hour, from_us, at_us) for view in views for hour in hours]
        frames = [
            tables.frame_of(rows, own.HEAT_TABLE.columns)
            for rows in self._connection.ask_all(statement, asked)
        ]
        rows = self._newest(HEAT, frames, ["time_us", "position"], None)
        return rows.unique(["layer", "tile", "metric"], keep="first", maintain_order=True)

    def newest_heat_us(self) -> int:
        """The newest moment that the map knows; 0 before any."""
        hours = self._parts(HEAT.name)[:1]
        statement = own.HEAT_TABLE.select("WHERE layer = ? AND metric = ? AND hour = ? LIMIT 1", ("time_us",))
        asked = [(*view, hour) for view in self._views() for hour in hours]
        return max(
            (row.time_us for rows in self._connection.ask_all(statement, asked) for row in rows), default=0
        )

    def anomalies(self, limit: int, offset: int = 0, objects: int | None = None) -> pl.DataFrame:
        """Findings of the detector (`ANOMALIES` with `number`), newest first."""
        mine = "" if objects is None else " AND object = ?"
        return self._found(
            ANOMALIES, mine, [] if objects is None else [tables.stored_word(objects)], limit, offset
        )

    def risks(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Forecasts (`RISKS` with `number`), newest first."""
        return self._found(RISKS, "", [], limit, offset)

    def _found(self, stream: Stream, mine: str, values: list[Any], limit: int, offset: int) -> pl.DataFrame:
        table, _ = own.HISTORY[stream.name]
        statement = table.select(f"WHERE day = ?{mine} LIMIT ?")
        frames: list[pl.DataFrame] = []
        count = 0
        for day in self._parts(stream.name):
            rows = self._connection.ask(statement, (day, *values, limit + offset))
            frames.append(tables.frame_of(rows, table.columns))
            count += len(rows)
            if count >= limit + offset:
                break
        empty = pl.DataFrame(schema={column.name: column.dtype for column in table.columns})
        newest = pl.concat([empty, *frames]).sort("time_us", "position", descending=True)
        return newest.select(pl.col("position").alias("number"), *stream.record.schema)[
            offset : offset + limit
        ]

    def _newest(
        self, stream: Stream, frames: Iterable[pl.DataFrame], order: list[str], limit: int | None
    ) -> pl.DataFrame:
        found = [frame for frame in frames if len(frame)]
        if not found:
            return stream.record.empty()
        rows = pl.concat(found).sort(order, descending=True, maintain_order=True)
        return stream.record.conform(rows if limit is None else rows.head(limit))

    def _hours(self, stream: Stream, from_us: int, until_us: int) -> Iterator[list[int]]:
        """Hours that have rows, newest first, some at a time."""
        first, last = from_us // own.HOUR_US, (until_us - 1) // own.HOUR_US
        hours = [hour for hour in self._parts(stream.name) if first <= hour <= last]
        for at in range(0, len(hours), _HOURS_AT_ONCE):
            yield hours[at : at + _HOURS_AT_ONCE]

    def _views(self) -> list[tuple[str, str]]:
        statement = own.VIEW_TABLE.select("WHERE shard = 0", ("layer", "metric"))
        return [(row.layer, row.metric) for row in self._connection.ask(statement)]

    # -- alarms -------------------------------------------------------------------------------------------

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
    ) -> list[Item]:
        """Alarms as they stand, the worst and then the newest first."""
        table = own.ALARM_TABLE
        asked: list[tuple[Any, ...]]
        if alarm_id is not None:
            if not alarm_id or alarm_id[0] not in "0123456789abcdef":
                return []
            where, asked = "shard = ? AND alarm_id = ?", [(shard_of(alarm_id), alarm_id)]
        elif number is not None:
            where, asked = "number = ?", [(number,)]
        elif object_ is not None:
            where, asked = "object = ?", [(tables.stored_word(object_),)]
        elif active:
            where, asked = "shard = ? AND standing = 1", [(shard,) for shard in range(own.SHARDS)]
        else:
            where, asked = "shard = ?", [(shard,) for shard in range(own.SHARDS)]
        rows = [
            row_of(row, table.columns)
            for found in self._connection.ask_all(table.select(f"WHERE {where}"), asked)
            for row in found
        ]
        wanted = {"number": number, "object": object_, "severity": severity, "alarm_id": alarm_id,
                  "security": None if security is None else int(security),
                  "standing": None if active is None else int(active)}  # fmt: skip
        rows = [
            row for row in rows if all(value is None or row[name] == value for name, value in wanted.items())
        ]
        rows.sort(key=lambda row: (not row["standing"], row["severity"], -row["raised_us"]))
        hidden = {"shard", "last", "standing"}
        return [
            {name: value for name, value in row.items() if name not in hidden}
            for row in rows[offset : offset + limit]
        ]

    def alarm_changes(self, alarm_id: str, limit: int = 1000) -> pl.DataFrame:
        """The life of one alarm (`ALARMS` with `number`), oldest first."""
        table = own.ALARM_CHANGE_TABLE
        rows = self._connection.ask(table.select("WHERE alarm_id = ? LIMIT ?"), (alarm_id, limit))
        return tables.frame_of(rows, table.columns)

    def changes_after(self, number: int, limit: int) -> pl.DataFrame:
        """Alarm changes of all alarms in their order, above a running `number`."""
        names = ["number", *ALARMS.record.schema]
        columns = [column for column in own.ALARM_LOG_TABLE.columns if column.name in names]
        statement = own.ALARM_LOG_TABLE.select("WHERE block = ? AND number > ? LIMIT ?", names)
        rows: list[Any] = []
        for block in sorted(self._parts("network.alarm_log")):
            if block >= number >> own.BLOCK_BITS and len(rows) < limit:
                rows += self._connection.ask(statement, (block, number, limit - len(rows)))
        return tables.frame_of(rows, columns)

    def alarm_attributes(self, alarm_ids: Sequence[str]) -> dict[str, Item]:
        """What other systems said of alarms and we do not work out ourselves."""
        statement = own.ATTRIBUTE_TABLE.select("WHERE alarm_id = ?")
        return {
            row.alarm_id: orjson.loads(row.body)
            for rows in self._connection.ask_all(statement, [(name,) for name in alarm_ids])
            for row in rows
        }

    def alarm_tasks(self, kind: str, limit: int, offset: int = 0, number: int | None = None) -> list[Item]:
        """Tasks that were ordered on alarms, newest first: `number`, `time_us` and what was kept."""
        also = "" if number is None else " AND number = ?"
        values = (kind, *(() if number is None else (number,)), limit + offset)
        rows = self._connection.ask(own.TASK_TABLE.select(f"WHERE kind = ?{also} LIMIT ?"), values)
        return [
            {"number": row.number, "time_us": row.time_us, **orjson.loads(row.body)} for row in rows[offset:]
        ]

    def alarm_counts(self) -> dict[str, int]:
        """What became of all that was raised: raised = active + cleared + deduplicated + suppressed + correlated."""
        rows = self._connection.ask(own.ALARM_COUNT_TABLE.select("WHERE shard = 0", _COUNTED))
        return {name: sum(int(getattr(row, name) or 0) for row in rows) for name in _COUNTED}

    # -- incidents ----------------------------------------------------------------------------------------

    def incidents(
        self, limit: int, offset: int = 0, *, incident_id: str | None = None, is_open: bool | None = None
    ) -> list[Item]:
        """Incidents as they stand: open ones first, by money a minute, customers and severity."""
        table = own.INCIDENT_TABLE
        asked: list[tuple[Any, ...]]
        if incident_id is not None:
            known = incident_id[:1] and incident_id[0] in "0123456789abcdef"
            where, asked = (
                "shard = ? AND incident_id = ?",
                [(shard_of(incident_id), incident_id)] if known else [],
            )
        else:
            where, asked = "shard = ?", [(shard,) for shard in range(own.SHARDS)]
        rows = [
            row_of(row, table.columns)
            for found in self._connection.ask_all(table.select(f"WHERE {where}"), asked)
            for row in found
        ]
        if is_open is not None:
            rows = [row for row in rows if (row["closed_us"] is None) == is_open]
        rows.sort(
            key=lambda row: (row["closed_us"] is not None, -row["micros_per_minute"], -row["subscribers"],
                             row["severity"], -row["opened_us"])
        )  # fmt: skip
        shown = rows[offset : offset + limit]
        return [
            {name: value for name, value in row.items() if name not in ("shard", "last")}
            | {"objects": json.loads(row["objects"]), "owner": self._owner(row["incident_id"]),
               "root_name": row["root_name"] or self._name_by_alarms(row["root_object"])}
            for row in shown
        ]  # fmt: skip

    def incident_changes(self, incident_id: str, limit: int = 1000) -> pl.DataFrame:
        """The life of one incident (`INCIDENTS` with `number`), oldest first."""
        table = own.INCIDENT_CHANGE_TABLE
        rows = self._connection.ask(table.select("WHERE incident_id = ? LIMIT ?"), (incident_id, limit))
        frame = tables.frame_of(rows, table.columns)
        objects = [json.loads(each) for each in frame.get_column("objects").to_list()]
        told = pl.Series("objects", objects, dtype=pl.List(pl.UInt64))
        return frame.with_columns(told).select("number", *INCIDENTS.record.schema)

    def incident_notes(self, incident_id: str, limit: int = 1000) -> list[Item]:
        """What people did about an incident, oldest first."""
        table = own.NOTE_TABLE
        rows = self._connection.ask(table.select("WHERE incident_id = ? LIMIT ?"), (incident_id, limit))
        return [{"number": row.time_us, **row_of(row, table.columns)} for row in rows]

    def customers(self, incident_id: str) -> list[int]:
        """Nobody: whom an incident hits is not told from a cluster's network."""
        del incident_id
        return []

    def _owner(self, incident_id: str) -> str:
        return next(
            (note["text"] for note in reversed(self.incident_notes(incident_id)) if note["action"] == "own"),
            "",
        )

    def _name_by_alarms(self, thing: int) -> str | None:
        """What alarms call something that the inventory does not know: an area, a slice, a technology."""
        found = self._connection.ask(
            own.ALARM_TABLE.select("WHERE object = ?", ("name",)), (tables.stored_word(thing),)
        )
        return next((row.name for row in found if row.name), None)

    # -- the rest -----------------------------------------------------------------------------------------

    def budgets(self) -> pl.DataFrame:
        """How every agreement stands (`BUDGETS` with `number`)."""
        names = ["number", *BUDGETS.record.schema]
        columns = [column for column in own.BUDGET_TABLE.columns if column.name in names]
        return tables.frame_of(
            self._connection.ask(own.BUDGET_TABLE.select("WHERE shard = 0", names)), columns
        )

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Rejected and not yet settled telemetry, with its octets."""
        return self._waiting(own.SET_ASIDE[0], _REJECT_COLUMNS, reason, limit, offset)

    def held(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Telemetry that a person should see, with its octets."""
        return self._waiting(own.SET_ASIDE[1], _HELD_COLUMNS, None, limit, offset)

    def progress(self) -> dict[str, Item]:
        """What each partition and edge of the network's engine said last, by its key, with `time_us`."""
        rows = self._connection.ask(tables.PROGRESS_TABLE.select("WHERE shard = ?"), (NETWORK_SHARD,))
        return {row.key: {**orjson.loads(row.told), "time_us": row.time_us} for row in rows}

    def accounting(self) -> list[Accounting]:
        """One row a source, over all time; what is between two steps is not counted yet, so it always adds up."""
        sums: dict[str, list[int]] = {}
        for key, told in self.progress().items():
            for source, counts in told.get("accounts", {}).items():
                row = sums.setdefault(source, [0] * 6)
                aside = (
                    [0, 0] if not key.startswith(_EDGE) else counts[2:4]
                )  # received, passed on, rejected, held
                told_of = counts if not key.startswith(_EDGE) else [sum(aside), 0, 0, 0, *aside]
                for at, count in enumerate(told_of):
                    row[at] += count
        return [
            Accounting(source, received, 0, duplicate, rejected, held, 0, measured, events)
            for source, (received, measured, events, duplicate, rejected, held) in sorted(sums.items())
        ]

    def counts(self) -> dict[str, int]:
        """How many alarms, incidents and findings there are, and what is newest."""
        alarms = self.alarms(_MOST)
        incidents = self._connection.ask_all(
            own.INCIDENT_TABLE.select("WHERE shard = ?", ("closed_us",)),
            [(shard,) for shard in range(own.SHARDS)],
        )
        closed = [row.closed_us for rows in incidents for row in rows]
        progress = self.progress()
        changes = self.changes_after(
            max(self._parts("network.alarm_log"), default=0) << own.BLOCK_BITS, _MOST
        )
        return {
            "alarms_active": sum(row["cleared_us"] is None for row in alarms),
            "alarms": len(alarms),
            "incidents_open": sum(each is None for each in closed),
            "incidents": len(closed),
            "anomalies": self._count(ANOMALIES),
            "risks": self._count(RISKS),
            "alarm_changes": int(changes["number"].max() or 0),  # type: ignore[arg-type]
            "rejected": len(self.rejects(None, _MOST)),
            "held": len(self.held(_MOST)),
            "newest_kpi_us": self._newest_kpi_us(),
            "newest_heat_us": self.newest_heat_us(),
            "commits": sum(told.get("commit", 0) for told in progress.values()),
            "committed_us": max((told["time_us"] for told in progress.values()), default=0),
        }

    def _count(self, stream: Stream) -> int:
        table, _ = own.HISTORY[stream.name]
        statement = f"SELECT count(*) FROM @{table.name} WHERE day = ?"  # noqa: S608 -- our own names
        asked = [(day,) for day in self._parts(stream.name)]
        return sum(int(rows[0][0]) for rows in self._connection.ask_all(statement, asked))

    def _newest_kpi_us(self) -> int:
        statement = own.KPI_TABLE.select("WHERE bucket = ? AND hour = ? LIMIT 1", ("end_us",))
        asked = [
            (tables.stored_word(bucket), hour)
            for hour in self._parts(KPIS.name)[:1]
            for bucket in range(BUCKETS)
        ]
        return max(
            (row.end_us for rows in self._connection.ask_all(statement, asked) for row in rows), default=0
        )


assert set(_COUNTED) <= set(ALARM_COUNTS.record.schema), "every count is a column"
