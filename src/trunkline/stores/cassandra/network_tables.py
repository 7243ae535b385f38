"""The tables of the network's results, worked out from the map as those of usage are.

KPIs lie in partitions of (bucket of objects, hour), tiles by layer, metric and hour, findings by day: written once and
let go, so grouped by time of writing. How an alarm or an incident stands is one row that is written again at each
change, under the number of that change as the write's timestamp: whoever writes an older one changes nothing. Changes
are numbered by where they lie in their topic, of which one partition has rows: the order is the engine's own.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from trunkline.kernel.columns import Column
from trunkline.kernel.flow import Stream
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
)
from trunkline.records.network_sums import BUDGETS
from trunkline.stores.cassandra.tables import ASIDE_TABLES, WINDOWS, Table, set_aside

HOUR_US = 3_600_000_000
SHARDS = 16  # of alarms and incidents as they stand
BLOCK_BITS = 27  # of a change's number: thousands of messages


def _column(name: str, text: str) -> Column:
    return Column(name, pl.Int64, text)


NUMBER = _column("number", "Its place in the topic: message and row.")
POSITION = _column("position", "Its place in the topic: message, row and partition.")
HOUR = Column("hour", pl.Int32, "Hour of the row's time, since 1970, UTC.")
DAY = Column("day", pl.Int32, "Day of the row's time, since 1970, UTC.")
SHARD = Column("shard", pl.Int32, "By the first digit of the name.")
OBJECTS = Column("objects", pl.String, "What is affected, as JSON.")


def _name(stream: Stream) -> str:
    return stream.name.replace(".", "_")


def _by_time(stream: Stream) -> str:
    window = max(1, stream.record.days_kept // WINDOWS)
    return (
        "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS',"
        f" 'compaction_window_size': {window}}}"
    )


def _history(
    stream: Stream, time: str, part: Column, partition: tuple[str, ...], indexes: tuple[str, ...] = ()
) -> Table:
    """Rows newest first within their partition; what is told again stands beside what was told."""
    record = stream.record
    return Table(
        _name(stream), stream.text, (part, POSITION, *record.columns), (*partition, part.name),
        ((time, "DESC"), ("position", "DESC")), record.days_kept, _by_time(stream), indexes,
    )  # fmt: skip


KPI_TABLE = _history(KPIS, "end_us", HOUR, ("bucket",), ("object", "kpi", "scope"))
HEAT_TABLE = _history(HEAT, "time_us", HOUR, ("layer", "metric"))
ANOMALY_TABLE = _history(ANOMALIES, "time_us", DAY, (), ("object",))
RISK_TABLE = _history(RISKS, "time_us", DAY, ())
VIEW_TABLE = Table(
    "network_views",
    "Layers and metrics that the map has.",
    (SHARD, *(column for column in HEAT.record.columns if column.name in ("layer", "metric"))),
    ("shard",),
    (("layer", "ASC"), ("metric", "ASC")),
)
HISTORY = {
    KPIS.name: (KPI_TABLE, "end_us"), HEAT.name: (HEAT_TABLE, "time_us"),
    ANOMALIES.name: (ANOMALY_TABLE, "time_us"), RISKS.name: (RISK_TABLE, "time_us"),
}  # fmt: skip

ALARM_CHANGE_TABLE = Table(
    "network_alarm_changes", "The life of each alarm.", (NUMBER, *ALARMS.record.columns), ("alarm_id",),
    (("number", "ASC"),), ALARMS.record.days_kept, _by_time(ALARMS),
)  # fmt: skip
ALARM_LOG_TABLE = Table(
    "network_alarm_log", "Changes of all alarms in their order.",
    (_column("block", "Number without its last bits."), NUMBER, *ALARMS.record.columns), ("block",),
    (("number", "ASC"),), ALARMS.record.days_kept, _by_time(ALARMS),
)  # fmt: skip
_STANDS = {"object": pl.UInt64, "root": pl.UInt64, "alarm_key": pl.UInt64}
ALARM_TABLE = Table(
    "network_alarms",
    "Every alarm as it stands.",
    (
        SHARD, Column("alarm_id", pl.String, "Its name."),
        *(Column(name, dtype, "As its last change left it.") for name, dtype in _STANDS.items()),
        *(Column(name, pl.Int64, "As its last change left it.") for name in (
            "number", "last", "raised_us", "changed_us", "cleared_us", "severity", "worst", "acked", "acked_us",
            "security", "changes", "standing",
        )),
        *(Column(name, pl.String, "As its last change left it.") for name in (
            "name", "event_type", "probable_cause", "specific_problem", "text", "acked_by", "cleared_by", "held_by",
        )),
    ),
    ("shard",), (("alarm_id", "ASC"),), ALARMS.record.days_kept, indexes=("object", "number", "standing"),
)  # fmt: skip
INCIDENT_CHANGE_TABLE = Table(
    "network_incident_changes", "The life of each incident.",
    (NUMBER, *(OBJECTS if c.name == "objects" else c for c in INCIDENTS.record.columns)), ("incident_id",),
    (("number", "ASC"),), INCIDENTS.record.days_kept, _by_time(INCIDENTS),
)  # fmt: skip
INCIDENT_TABLE = Table(
    "network_incidents",
    "Every incident as it stands.",
    (
        SHARD, Column("incident_id", pl.String, "Its name."), OBJECTS,
        Column("root_object", pl.UInt64, "Object of the probable root cause."),
        *(Column(name, pl.Int64, "As its last change left it.") for name in (
            "last", "opened_us", "began_us", "changed_us", "closed_us", "alarms", "subscribers", "micros_per_minute",
            "severity", "told_us",
        )),
        *(Column(name, pl.String, "As its last change left it.") for name in (
            "root_name", "cause", "why", "at_risk",
        )),
    ),
    ("shard",), (("incident_id", "ASC"),), INCIDENTS.record.days_kept,
)  # fmt: skip
NOTE_TABLE = Table(
    "network_incident_notes",
    "What people did about incidents.",
    (
        Column("incident_id", pl.String, "The incident."), _column("time_us", "When."),
        Column("actor", pl.String, "Who."), Column("action", pl.String, "own or note."),
        Column("text", pl.String, "What."),
    ),
    ("incident_id",), (("time_us", "ASC"), ("actor", "ASC"), ("action", "ASC")), INCIDENTS.record.days_kept,
)  # fmt: skip
ATTRIBUTE_TABLE = Table(
    "network_alarm_attributes",
    "What other systems said of alarms.",
    (Column("alarm_id", pl.String, "The alarm."), Column("body", pl.String, "What, as JSON.")),
    ("alarm_id",),
    (),
    ALARMS.record.days_kept,
)
TASK_TABLE = Table(
    "network_alarm_tasks",
    "Tasks that were ordered on alarms, and what came of them.",
    (
        Column("kind", pl.String, "What kind of task."), NUMBER, _column("time_us", "When."),
        Column("body", pl.String, "What was ordered and came of it, as JSON."),
    ),
    ("kind",), (("number", "DESC"),), ALARMS.record.days_kept,
)  # fmt: skip
BUDGET_TABLE = Table(
    "network_budgets", BUDGETS.text, (SHARD, NUMBER, *BUDGETS.record.columns), ("shard",), (("object", "ASC"),),
    BUDGETS.record.days_kept,
)  # fmt: skip
ALARM_COUNT_TABLE = Table(
    "network_alarm_counts", ALARM_COUNTS.text, (SHARD, *ALARM_COUNTS.record.columns), ("shard",),
    (("component", "ASC"),),
)  # fmt: skip


def _aside(stream: Stream, *more: Column) -> Stream:
    """A stream of what was set aside, without the octets that a table of such rows adds."""
    record = stream.record
    columns = tuple(column for column in record.columns if column.name != "raw")
    return replace(stream, record=replace(record, columns=(*columns, *more)))


SET_ASIDE = (_aside(REJECTED), _aside(HELD, Column("record_id", pl.String, "Its identity, hexadecimal.")))
ASIDE_TABLES |= {stream.name: set_aside(stream) for stream in SET_ASIDE}

TABLES = (
    KPI_TABLE, HEAT_TABLE, ANOMALY_TABLE, RISK_TABLE, VIEW_TABLE, ALARM_CHANGE_TABLE, ALARM_LOG_TABLE, ALARM_TABLE,
    INCIDENT_CHANGE_TABLE, INCIDENT_TABLE, NOTE_TABLE, ATTRIBUTE_TABLE, TASK_TABLE, BUDGET_TABLE, ALARM_COUNT_TABLE,
    *(ASIDE_TABLES[stream.name] for stream in SET_ASIDE),
)  # fmt: skip
