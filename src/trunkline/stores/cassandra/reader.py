"""The answers that people's tools ask for, out of Cassandra: the same as the embedded store gives.

Where the database keeps no order over everybody, the newest rows of each partition are asked for at once and merged.
Two things differ and are said: alerts and set-aside records have running numbers with gaps, and nothing of the
engine's own files is known here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from trunkline.kernel.columns import Column
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Grouped, Rows
from trunkline.ports import Accounting, AuditEvent, Refused, SetAside
from trunkline.records.charging import CHARGED, CORRECTED, CORRECTIONS, ENTRIES, MOVEMENTS
from trunkline.records.usage import HELD, MARK, REJECTED
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.accounts import Accounts
from trunkline.stores.cassandra.alerts import AlertLog
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.history import History
from trunkline.stores.cassandra.writer import partition_of

_EDGE = "edge|"  # how progress is named; see engines.kafka
_MOST = 1_000_000
_REJECT_COLUMNS = ("number", "file", "path", "line", "source", "mapping", "reason", "detail", "raw")
_HELD_COLUMNS = ("number", "file", "path", "line", "source", "record_id", "reason", "raw")


class CassandraReader:
    """A keyspace opened to read; any thread may ask."""

    def __init__(self, connection: Connection) -> None:
        """The connection's tables must be there."""
        self._connection = connection
        self._alerts, self._accounts = AlertLog(connection), Accounts(connection)
        self._history = History(connection)

    # -- accounts -----------------------------------------------------------------------------------------

    def account(self, subscriber: int) -> Rows:
        """Rows of one account (`ACCOUNT_ROW`); empty when the subscriber is unknown."""
        return self._accounts.read(subscriber, time.time_ns() // 1000)

    def subscribers(self, after: int, limit: int) -> list[int]:
        """Dial words of known subscribers above `after`, ascending; who is new is listed within seconds."""
        return self._accounts.words_after(after, limit)

    def accounts_after(self, after: int, limit: int) -> Grouped:
        """The accounts of the next subscribers above `after`, ascending, as they were settled some seconds ago."""
        return self._accounts.settled_after(after, limit)

    # -- history ------------------------------------------------------------------------------------------

    def usage(
        self,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int = 0,
        member: int | None = None,
    ) -> pl.DataFrame:
        """Charged usage (`CHARGED`), newest first; of everyone when subscriber is None."""
        return self._history.read(CHARGED, subscriber, from_us, until_us, limit, offset, member)

    def entries(
        self,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int = 0,
        member: int | None = None,
    ) -> pl.DataFrame:
        """Ledger entries (`ENTRIES`), newest first."""
        return self._history.read(ENTRIES, subscriber, from_us, until_us, limit, offset, member)

    def corrections_of(self, usage: pl.DataFrame) -> pl.DataFrame:
        """Corrections (`CORRECTIONS`) of some charged usage, and those that it made of others."""
        of = self._history.of_days(CORRECTIONS, usage.select("subscriber", "start_us").iter_rows())
        # On a cluster only what bears a mark has taken another one's place (`engines.naming`).
        marked = usage.filter(pl.col("record_id").str.contains(MARK, literal=True))
        makes = self._history.concerning(CORRECTIONS, marked.get_column("identity"))
        mine = pl.col("identity").is_in(usage["identity"].implode()) | pl.col("correction_id").is_in(
            (CORRECTED + usage["record_id"]).implode()
        )
        found = pl.concat([of, makes]).filter(mine)
        return found.unique(CORRECTIONS.record.key, keep="any").sort("seq")

    def usage_record(self, source: str, record_id: str) -> pl.DataFrame:
        """The charged usage of one record identity; no row when there is none."""
        return self._history.record(source, record_id)

    # -- what was set aside, told, booked -----------------------------------------------------------------

    def alerts(self, after: int, limit: int, subscriber: int | None = None) -> pl.DataFrame:
        """Alerts in the order of commit with a running `number` above `after`."""
        if subscriber is None:
            return self._alerts.after(after, limit)
        statement = tables.ALERT_TABLE.select("WHERE subscriber = ? AND number > ? LIMIT ?")
        rows = self._connection.ask(statement, (tables.stored_word(subscriber), after, limit))
        return tables.frame_of(rows, tables.ALERT_TABLE.columns)

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Rejected and not yet settled records, with their octets."""
        return self._waiting(REJECTED, _REJECT_COLUMNS, reason, limit, offset)

    def held(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Conflicts that wait for a person, with their octets."""
        return self._waiting(HELD, _HELD_COLUMNS, None, limit, offset)

    def set_aside(self, stream: Stream, number: int) -> SetAside:
        """One rejected or held record; raises `Refused` when it is unknown or settled."""
        table = tables.ASIDE_TABLES[stream.name]
        place = partition_of(number), number
        rows = self._connection.ask(table.select("WHERE partition = ? AND number = ?"), place)
        if not rows:
            raise Refused(f"There is no {stream.name.partition('.')[2]} record number {number}.")
        row = rows[0]
        if row.settled is not None:
            raise Refused(
                f"The {stream.name.partition('.')[2]} record number {number} is settled already: {row.settled}."
            )
        return SetAside(
            number, row.file, Path(row.path or ""), row.line, row.offset, row.source or "", row.mapping or "",
            getattr(row, "record_id", None) or "", row.reason, row.raw or b"",
        )  # fmt: skip

    def settle(self, stream: Stream, number: int, decision: str, actor: str) -> None:
        """Write down a person's decision, once; raises `Refused` when there is one already."""
        table = tables.ASIDE_TABLES[stream.name]
        statement = (
            f"UPDATE @{table.name} SET settled = ?, actor = ? WHERE partition = ? AND number = ?"  # noqa: S608 -- our own names
            " IF settled = null AND reason > ''"
        )
        (answer,) = self._connection.ask(statement, (decision, actor, partition_of(number), number))
        if not answer[0]:
            raise Refused(
                f"The {stream.name.partition('.')[2]} record number {number} is unknown or settled already."
            )

    def movements(self, subscriber: int | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Booked and refused movements, newest first: the columns of MOVEMENTS plus `status`, `reason`."""
        table, most = tables.MOVEMENT_TABLE, limit + offset
        if subscriber is None:
            newest = tables.ANSWER_TABLE.select("WHERE partition = ? LIMIT ?", ("number", "movement_id"))
            asked = [(part, most) for part in self._parts("answers")]
            listed = [row for rows in self._connection.ask_all(newest, asked) for row in rows]
            listed.sort(key=lambda row: row.number, reverse=True)
            # What was asked for again was answered again: it stands where its newest answer does, once.
            names = list(dict.fromkeys(row.movement_id for row in listed))[:most]
            found = self._connection.ask_all(
                table.select("WHERE movement_id = ?"), [(each,) for each in names]
            )
            rows = [row for part in found for row in part]
        else:
            rows = self._connection.ask(
                table.select("WHERE subscriber = ?"), (tables.stored_word(subscriber),)
            )
        frame = tables.frame_of(rows, table.columns).filter(
            pl.col("status").is_not_null() & pl.col("balance").is_not_null()
        )
        frame = frame.sort("number", descending=True)[offset:most]
        return frame.select(*MOVEMENTS.record.schema, "status", "reason")

    def accounting(self) -> list[Accounting]:
        """One row a source, over all time; what is between two steps is not counted yet, so it always adds up."""
        sums: dict[str, list[int]] = {}
        for key, told in self.progress().items():
            for source, counts in told.get("accounts", {}).items():
                row = sums.setdefault(source, [0] * 6)
                if key.startswith(_EDGE):  # received, passed on, rejected, held
                    row[0] += counts[2] + counts[3]
                    row[3] += counts[2]
                    row[4] += counts[3]
                else:  # received, rated, duplicate, rejected, held, charged
                    for at, count in enumerate(counts):
                        row[at] += count
        return [Accounting(source, *counts) for source, counts in sorted(sums.items())]

    def progress(self) -> dict[str, dict[str, Any]]:
        """What each bucket and edge of the engine said last, by its key, with `time_us`."""
        rows = self._connection.ask(tables.PROGRESS_TABLE.select("WHERE shard = 0"))
        return {row.key: {**orjson.loads(row.told), "time_us": row.time_us} for row in rows}

    def status(self) -> dict[str, Any]:
        """Counts, the newest event time, the last commit; what only one machine's store knows is empty."""
        progress = self.progress()
        accounting = self.accounting()
        rated = sum(each.rated for each in accounting)
        return {
            "commits": sum(told.get("commit", 0) for told in progress.values()),
            "committed_us": max((told["time_us"] for told in progress.values()), default=0),
            "newest_us": self._history.newest_us(CHARGED),
            "streams": {CHARGED.name: {"rows": rated}},
            "states": {},
            "files": {},
            "spool_octets": 0,
            "rejected_open": len(self.rejects(None, _MOST)),
            "held_open": len(self.held(_MOST)),
            "alerts": self._alerts.last(),
            "movements": len({row.movement_id for rows in self._answered() for row in rows}),
            "accounting": [vars(row) for row in accounting],
        }

    def reconciliations(self, limit: int) -> list[dict[str, Any]]:
        """Past reconciliations, newest first."""
        rows = self._connection.ask(tables.RECONCILIATION_TABLE.select("WHERE shard = 0 LIMIT ?"), (limit,))
        return [{"number": row.time_us, "time_us": row.time_us, **json.loads(row.body)} for row in rows]

    def audit(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Audit events, newest first."""
        columns = tables.AUDIT_TABLE.columns[1:]
        statement = tables.AUDIT_TABLE.select("WHERE day = ? LIMIT ?", [column.name for column in columns])
        rows: list[Any] = []
        for day in self._parts("audit"):
            rows += self._connection.ask(statement, (day, limit + offset - len(rows)))
            if len(rows) >= limit + offset:
                break
        frame = tables.frame_of(rows[offset : offset + limit], columns)
        return frame.select(pl.col("time_us").alias("number"), pl.all())

    # -- how ----------------------------------------------------------------------------------------------

    def _parts(self, stream: str) -> list[int]:
        """Days or partitions that a stream has rows of, the highest first."""
        statement = tables.PART_TABLE.select("WHERE stream = ?", ("part",))
        return [row.part for row in self._connection.ask(statement, (stream,))]

    def _answered(self) -> Iterator[list[Any]]:
        statement = tables.ANSWER_TABLE.select("WHERE partition = ?", ("movement_id",))
        return self._connection.ask_all(statement, [(part,) for part in self._parts("answers")])

    def _waiting(
        self, stream: Stream, names: Sequence[str], reason: str | None, limit: int, offset: int
    ) -> pl.DataFrame:
        """Records of a stream that wait, in the order of their numbers."""
        table = tables.ASIDE_TABLES[stream.name]
        shown = {column.name: column for column in table.columns}
        columns: list[Column] = [shown[name] for name in names]
        statement = table.select("WHERE partition = ?", (*names, "settled"))
        found: list[Any] = []
        for partition in self._parts(stream.name):
            waiting = 0
            for row in self._connection.each(statement, (partition,)):
                if row.settled is None and (reason is None or row.reason == reason):
                    found.append(tuple(row)[:-1])
                    waiting += 1
                    if waiting >= limit + offset:
                        break
        found.sort(key=lambda row: row[0])
        return tables.frame_of(found[offset : offset + limit], columns)


class CassandraAudit:
    """Where every look at personal data and every change is written down; any process may."""

    def __init__(self, connection: Connection) -> None:
        """The connection's tables must be there."""
        self._connection = connection

    def record(self, event: AuditEvent) -> None:
        """Write one event durably."""
        day = event.time_us // tables.DAY_US
        self._connection.ask(tables.PART_TABLE.insert(), ("audit", day))
        self._connection.ask(
            tables.AUDIT_TABLE.insert(),
            (day, event.time_us, event.actor, event.role, event.action, tables.stored_word(event.subscriber),
             event.detail),
        )  # fmt: skip

    def add_reconciliation(self, time_us: int, body: dict[str, Any]) -> int:
        """Keep the result of a reconciliation; its number."""
        self._connection.ask(tables.RECONCILIATION_TABLE.insert(), (0, time_us, json.dumps(body)))
        return time_us
