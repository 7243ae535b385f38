"""Running numbers for alerts: each alert has one for good, and whoever reads on from a number misses none.

Several writers deliver alerts at once and any may die in between. The log is appended to only where nothing is (a
light-weight transaction at the log's end), and an alert's number is what the first to say so said. A writer that died
between the two leaves numbers that belong to nobody; they are passed over once the alert has its number from the
next writer, and until then nobody reads beyond them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import polars as pl
from cassandra.query import BatchStatement

from trunkline.records.charging import ALERTS
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection, bound

BLOCK = 100_000
SHARDS = 8
ALERTS_A_ROW = 500
_ASKED_AT_ONCE, _NUMBERED_AT_ONCE = 500, 100
_NUMBERS = tables.ALERT_NUMBER_TABLE.select(
    "WHERE shard = ? AND day = ? AND alert_id IN ?", ("alert_id", "number")
)


class AlertLog:
    """The alerts of a keyspace in their order."""

    def __init__(self, connection: Connection) -> None:
        """The tables must be there."""
        self._connection = connection
        self._end = 1

    def append(self, alerts: pl.DataFrame) -> None:
        """Give each alert that has none its number; an alert that comes again changes nothing."""
        known = self.numbers(alerts)
        new = alerts.filter(~pl.col("alert_id").is_in(list(known))).unique("alert_id", maintain_order=True)
        for part in new.iter_slices(ALERTS_A_ROW):
            first = self._append(part)
            self._number(part.with_columns(number=pl.int_range(first, first + len(part), dtype=pl.Int64)))
            known |= self.numbers(part)
        self._list(
            alerts.with_columns(number=pl.col("alert_id").replace_strict(known, return_dtype=pl.Int64))
        )

    def after(self, number: int, limit: int) -> pl.DataFrame:
        """Alerts above a number, in order, up to the first whose number is not certain yet."""
        found: list[pl.DataFrame] = []
        count = 0
        for first, rows in self._log(number):
            part = rows.with_columns(number=pl.int_range(first, first + len(rows), dtype=pl.Int64))
            part = part.filter(pl.col("number") > number)
            numbers = self.numbers(part)
            certain = part.get_column("alert_id").is_in(list(numbers))
            whole = bool(certain.all())
            if not whole:
                part = part[: int((~certain).arg_max() or 0)]
            part = part.filter(
                pl.col("number")
                == pl.col("alert_id").replace_strict(numbers, default=-1, return_dtype=pl.Int64)
            )
            found.append(part)
            count += len(part)
            if not whole or count >= limit:
                break
        schema: dict[str, Any] = {"number": pl.Int64, **ALERTS.record.schema}
        if not found:
            return pl.DataFrame(schema=schema)
        return pl.concat(found).select(list(schema)).head(limit)

    def last(self) -> int:
        """The highest number that the log has; 0 when it is empty."""
        return self._find_end() - 1

    def numbers(self, alerts: pl.DataFrame) -> dict[str, int]:
        """The numbers of those alerts that have one."""
        found: dict[str, int] = {}
        asked = [(*place, names) for place, names in _placed(alerts, _ASKED_AT_ONCE)]
        for rows in self._connection.ask_all(_NUMBERS, asked):
            found |= {row.alert_id: row.number for row in rows}
        return found

    def _append(self, part: pl.DataFrame) -> int:
        """Append to the log's end; the number of the first."""
        out = io.BytesIO()
        part.write_ipc_stream(out, compression="uncompressed")
        statement = tables.ALERT_LOG_TABLE.insert() + " IF NOT EXISTS"
        while True:
            first = self._find_end()
            (answer,) = self._connection.ask(statement, (first // BLOCK, first, len(part), out.getvalue()))
            if answer[0]:
                self._end = first + len(part)
                return first

    def _find_end(self) -> int:
        """The number behind the last; whoever believes an older end finds it taken."""
        statement = tables.ALERT_LOG_TABLE.select(
            "WHERE block = ? AND first >= ? ORDER BY first DESC LIMIT 1", ("first", "count")
        )
        while True:
            rows = self._connection.ask(statement, (self._end // BLOCK, self._end))
            if not rows:
                return self._end
            self._end = rows[0].first + rows[0].count

    def _number(self, offered: pl.DataFrame) -> None:
        """Give alerts their offered `number` where they have none, those of one partition in one transaction."""
        statement = self._connection.prepared(tables.ALERT_NUMBER_TABLE.insert() + " IF NOT EXISTS")
        wanted = dict(zip(offered.get_column("alert_id"), offered.get_column("number"), strict=True))
        for place, names in _placed(offered, _NUMBERED_AT_ONCE):
            left = names
            while left:
                batch = BatchStatement()
                for name in left:
                    batch.add(statement, (*place, name, wanted[name]))
                answers = self._connection.decide(batch)
                if answers[0][0]:
                    break
                # Where one has a number already none is written, and the answer tells which have.
                known = {answer.alert_id for answer in answers if answer.alert_id is not None}
                assert known, "it was refused because of one that is there"
                left = [name for name in left if name not in known]

    def _list(self, alerts: pl.DataFrame) -> None:
        """By subscriber, for those who ask about one."""
        table = tables.ALERT_TABLE
        statement = self._connection.prepared(table.insert())
        values = zip(*(tables.octets_of(c, alerts.get_column(c.name)) for c in table.columns), strict=True)
        self._connection.write_all(bound(statement, row) for row in values)

    def _log(self, after: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """Rows of the log that may hold numbers above `after`."""
        statement = tables.ALERT_LOG_TABLE.select("WHERE block = ? AND first > ?", ("first", "rows"))
        at = max(0, after - ALERTS_A_ROW)  # a row that begins there cannot reach beyond
        for block in range(at // BLOCK, self.last() // BLOCK + 1):
            for row in self._connection.ask(statement, (block, at)):
                yield row.first, ALERTS.record.conform(pl.read_ipc_stream(row.rows))


def _placed(alerts: pl.DataFrame, most: int) -> Iterator[tuple[tuple[int, int], list[str]]]:
    """Names of alerts by where their numbers are kept (shard and day), so many at a time."""
    shards = tables.buckets_of(alerts.get_column("subscriber").to_numpy(), SHARDS)
    placed = alerts.select(
        pl.Series("shard", shards, pl.Int32), (pl.col("time_us") // tables.DAY_US).alias("day"), "alert_id"
    )
    for (shard, day), part in placed.group_by("shard", "day", maintain_order=True):
        names = part.get_column("alert_id").to_list()
        for first in range(0, len(names), most):
            yield (int(str(shard)), int(str(day))), names[first : first + most]
