"""Writing what the network's flow made: whatever is delivered twice, or late, changes nothing here, either.

How an alarm stands follows from its changes, one after another. So the row that stands is read, brought up to the
change, and written under the change's number; a change that it has seen is passed over, and a writer that was thought
dead writes under an older number, which the database does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
import polars as pl

from trunkline.kernel.columns import Column
from trunkline.kernel.flow import Stream
from trunkline.ports import IncidentNote
from trunkline.records.network import ALARM_COUNTS, ALARMS, HEAT, HELD, INCIDENTS, REJECTED, Severity
from trunkline.records.network_sums import BUDGETS
from trunkline.stores.cassandra import network_tables as own
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.writer import PARTITION_BITS, ROW_BITS, Writer

NETWORK_SHARD = 1  # of the table of progress; 0 is usage's
Item = dict[str, Any]


def shard_of(name: str) -> int:
    """Where an alarm or an incident lies: names are digests in hexadecimal."""
    return int(name[:1], 16) % own.SHARDS


class NetworkWriter(Writer):
    """Writes the network's results into one keyspace."""

    def rows(self, stream: Stream, frame: pl.DataFrame, partition: int = 0, position: int = 0) -> None:
        """Write rows of a message at `position` of a topic's `partition`; they are durable when this returns."""
        if not len(frame):
            return
        number = ((position + 1) << ROW_BITS) + pl.col("_row").cast(pl.Int64)
        frame = frame.with_row_index("_row").with_columns(
            number=number, position=number * (1 << PARTITION_BITS) + partition
        )
        if stream.name in own.HISTORY:
            self._network_history(stream, frame)
        elif stream.name == ALARMS.name:
            self._alarm_changes(frame)
        elif stream.name == INCIDENTS.name:
            self._incident_changes(frame)
        elif stream.name == BUDGETS.name:
            self._newest(own.BUDGET_TABLE, frame)
        elif stream.name == ALARM_COUNTS.name:
            self._newest(own.ALARM_COUNT_TABLE, frame)
        elif stream.name in (REJECTED.name, HELD.name):
            self._network_aside(stream, frame, partition, position)

    def network_progress(self, key: str, told: Mapping[str, Any], number: int, time_us: int) -> None:
        """How far a partition or an edge is, as of its message `number`; an older one changes nothing."""
        self.connection.ask(
            tables.PROGRESS_TABLE.insert(using="TIMESTAMP ?"),
            (NETWORK_SHARD, key, orjson.dumps(told).decode(), time_us, number + 1),
        )

    # -- history ------------------------------------------------------------------------------------------

    def _network_history(self, stream: Stream, frame: pl.DataFrame) -> None:
        table, time = own.HISTORY[stream.name]
        part = table.partition[-1]
        length_us = own.HOUR_US if part == "hour" else tables.DAY_US
        frame = frame.with_columns((pl.col(time) // length_us).cast(pl.Int32).alias(part))
        self._note(stream.name, frame.get_column(part).unique().to_list())
        if stream.name == HEAT.name:
            views = frame.select(shard=pl.lit(0, pl.Int32), layer="layer", metric="metric").unique()
            self._write(own.VIEW_TABLE.columns, views, ("shard",), own.VIEW_TABLE.insert())
        self._write(table.columns, frame, table.partition, table.insert())

    def _newest(self, table: tables.Table, frame: pl.DataFrame) -> None:
        """Rows of which the one that was told last counts."""
        shown = frame.unique(table.clustering[0][0], keep="last", maintain_order=True)
        shown = shown.with_columns(shard=pl.lit(0, pl.Int32), moment="number")
        columns = (*table.columns, tables.MOMENT)
        self._write(columns, shown, table.partition, table.insert(using="TIMESTAMP ?"))

    def _network_aside(self, stream: Stream, frame: pl.DataFrame, partition: int, position: int) -> None:
        served = next(each for each in own.SET_ASIDE if each.name == stream.name)
        if "identity" in frame.columns:
            words = [f"{word or 0:016x}" for word in frame.get_column("identity").to_list()]
            frame = frame.with_columns(record_id=pl.Series(words, dtype=pl.String))
        self._set_aside(served, frame.drop("_row", "number", "position"), partition, position)

    # -- what stands --------------------------------------------------------------------------------------

    def _alarm_changes(self, frame: pl.DataFrame) -> None:
        block = (pl.col("number") // (1 << own.BLOCK_BITS)).alias("block")
        frame = frame.with_columns(block)
        self._note("network.alarm_log", frame.get_column("block").unique().to_list())
        for table in (own.ALARM_CHANGE_TABLE, own.ALARM_LOG_TABLE):
            self._write(table.columns, frame, table.partition, table.insert())
        self._bring_up(own.ALARM_TABLE, "alarm_id", _in_order(frame), alarm_after)

    def _incident_changes(self, frame: pl.DataFrame) -> None:
        said = [orjson.dumps(list(each or [])).decode() for each in frame.get_column("objects").to_list()]
        frame = frame.with_columns(pl.Series("objects", said, dtype=pl.String))
        table = own.INCIDENT_CHANGE_TABLE
        self._write(table.columns, frame, table.partition, table.insert())
        self._bring_up(own.INCIDENT_TABLE, "incident_id", _in_order(frame), incident_after)

    def _bring_up(
        self, table: tables.Table, key: str, changes: list[Item], after: Callable[[Item | None, Item], Item]
    ) -> None:
        """Bring what stands up to changes, in their order."""
        names = list(dict.fromkeys(change[key] for change in changes))
        asked = [(shard_of(name), name) for name in names]
        statement = table.select(f'WHERE shard = ? AND "{key}" = ?')
        known = {
            name: row_of(found[0], table.columns) if found else None
            for name, found in zip(names, self.connection.ask_all(statement, asked), strict=True)
        }
        stands: dict[str, Item] = {}
        for change in changes:
            name = change[key]
            before = stands.get(name, known[name])
            if before is None or change["number"] > before["last"]:
                stands[name] = {
                    **after(before, change), key: name, "shard": shard_of(name), "last": change["number"],
                }  # fmt: skip
        self._write_stands(table, stands.values())

    def _write_stands(self, table: tables.Table, rows: Iterable[Item]) -> None:
        schema = {column.name: column.dtype for column in table.columns}
        frame = pl.DataFrame(list(rows), schema=schema, orient="row").with_columns(moment="last")
        columns = (*table.columns, tables.MOMENT)
        self._write(columns, frame, table.partition, table.insert(using="TIMESTAMP ?"))

    # -- what people and other systems say ----------------------------------------------------------------

    def note(self, note: IncidentNote) -> None:
        """Write down what a person did about an incident."""
        values = (note.incident_id, note.time_us, note.actor, note.action, note.text)
        self.connection.ask(own.NOTE_TABLE.insert(), values)

    def annotate(self, alarm_id: str, attributes: Mapping[str, Any]) -> None:
        """Keep what another system says of an alarm; null forgets it. Two that speak at once are both heard."""
        table = own.ATTRIBUTE_TABLE
        while True:
            rows = self.connection.ask(table.select("WHERE alarm_id = ?", ("body",)), (alarm_id,))
            before = orjson.loads(rows[0].body) if rows else {}
            body = {name: value for name, value in {**before, **attributes}.items() if value is not None}
            said = orjson.dumps(body).decode()
            if rows:
                statement = f"UPDATE @{table.name} SET body = ? WHERE alarm_id = ? IF body = ?"  # noqa: S608 -- our own names
                answer = self.connection.ask(statement, (said, alarm_id, rows[0].body))
            else:
                answer = self.connection.ask(table.insert() + " IF NOT EXISTS", (alarm_id, said))
            if answer[0][0]:
                return

    def add_task(self, kind: str, time_us: int, body: Mapping[str, Any]) -> int:
        """Keep a task that somebody ordered on alarms; its number, which is its time or the next one free."""
        number, said = time_us, orjson.dumps(body).decode()
        statement = own.TASK_TABLE.insert() + " IF NOT EXISTS"
        while not self.connection.ask(statement, (kind, number, time_us, said))[0][0]:
            number += 1
        return number


def row_of(row: Any, columns: Iterable[Column]) -> Item:  # noqa: ANN401 -- the driver carries no types
    """A row as it was read, its words as they were."""
    found = {}
    for column in columns:
        value = getattr(row, column.name)
        found[column.name] = (
            tables.word_of(value) if column.dtype == pl.UInt64 and value is not None else value
        )
    return found


def _in_order(frame: pl.DataFrame) -> list[Item]:
    """Changes of one message in the order of their times, as the embedded store brings things up to them.

    Their numbers ascend in that order, so that each is passed over once it was seen.
    """
    numbers = frame.get_column("number")
    return list(frame.sort("time_us", maintain_order=True).with_columns(numbers).iter_rows(named=True))


def alarm_after(before: Item | None, change: Item) -> Item:
    """How an alarm stands after a change."""
    action, cleared = change["action"], change["severity"] == Severity.CLEARED
    severity = change["severity"]
    if before is None:
        said = (
            "object",
            "alarm_key",
            "name",
            "event_type",
            "probable_cause",
            "specific_problem",
            "text",
            "security",
        )
        row: Item = {name: change[name] for name in said} | {
            "number": change["number"], "raised_us": change["time_us"], "changed_us": change["time_us"],
            "cleared_us": None, "severity": severity, "worst": severity, "acked": 0, "acked_by": None,
            "acked_us": None, "cleared_by": None, "changes": 1,
        }  # fmt: skip
    else:
        row = before | {
            "changed_us": max(before["changed_us"], change["time_us"]), "changes": before["changes"] + 1,
            "severity": severity, "worst": min(before["worst"], severity),
        }  # fmt: skip
    row |= {"held_by": change["held_by"], "root": change["root"] or 0}
    if action in ("raise", "update") and not cleared:
        row |= {"text": row["text"] if change["text"] is None else change["text"], "cleared_us": None}
    if cleared or action == "clear":
        row |= {
            "cleared_us": change["time_us"], "cleared_by": change["actor"], "severity": int(Severity.CLEARED),
        }  # fmt: skip
    if action in ("ack", "unack"):
        row |= {"acked": int(action == "ack"), "acked_by": change["actor"], "acked_us": change["time_us"]}
    return row | {"standing": int(row["cleared_us"] is None)}


def incident_after(before: Item | None, change: Item) -> Item:
    """How an incident stands after a change."""
    said = ("root_object", "root_name", "cause", "why", "objects", "alarms", "subscribers", "micros_per_minute",
            "severity", "at_risk")  # fmt: skip
    row = {name: change[name] for name in said} | {
        "changed_us": change["time_us"], "closed_us": change["time_us"] if change["action"] == "close" else None,
    }  # fmt: skip
    if before is None:
        return row | {
            "opened_us": change["opened_us"],
            "began_us": change["began_us"],
            "told_us": change["told_us"],
        }
    return before | row | {"began_us": min(before["began_us"], change["began_us"])}
