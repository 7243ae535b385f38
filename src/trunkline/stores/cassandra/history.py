"""History in pages: rows of one bucket and day that came in one message, up to so many in one row of the database.

A node pays for each row that it writes and for each value of it, and a use has thirty. A page stands at its newest
row's time and key, so the same message makes the same pages, and what is delivered twice changes nothing. Pages of
other messages may hold a row again, and are told apart by its key when they are read. An index names the subscribers
of a page, and the identities of its records; a correction is of both, the record that it corrects and the one that
takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import polars as pl

from trunkline.kernel.flow import Stream
from trunkline.kernel.identity import identities, identity_of
from trunkline.records.charging import CHARGED, CORRECTED, CORRECTIONS, ENTRIES
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.mutations import mutations

PAGE_ROWS = 64
PAGES_THEN_GIVES_WAY = 200  # as values of Python more would hold the interpreter, too
MUTATIONS_AT_ONCE = 8  # in the node a balance waits behind these and no more
_DAYS_AT_ONCE = 16
_PAGES_FIRST = 16  # asked for of a bucket and day; then four times as many
_DAY_MAX = 2**31 - 1
_MAKER = "maker"


class History:
    """Streams that people look back at; any thread may ask, and any number of processes may write the same."""

    def __init__(self, connection: Connection) -> None:
        """The connection's tables must be there."""
        self._connection = connection

    def write(self, stream: Stream, pages: pl.DataFrame, give_way: Callable[[], object]) -> None:
        """Write pages whose days are noted; `give_way` is called between some of them and the next."""
        table = tables.HISTORY_TABLES[stream.name]
        # What stands at the beginning of time, such as an opening balance, is not old: it is never let go.
        for part, using in (
            (pages.filter(pl.col("day") > 0), ""),
            (pages.filter(pl.col("day") <= 0), "TTL 0"),
        ):
            statement = table.insert(using=using)
            for some in part.iter_slices(PAGES_THEN_GIVES_WAY):
                give_way()
                written = mutations(self._connection, table.columns, some, ("bucket", "day"), statement)
                self._connection.write_all(written, MUTATIONS_AT_ONCE)

    def pages(self, stream: Stream, messages: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """The rows of some messages as pages, the columns of the stream's table."""
        table, time = tables.HISTORY_TABLES[stream.name], tables.TIME_OF[stream.name]
        frame = pl.concat(
            stream.record.conform(rows).with_columns(message=pl.lit(at)) for at, rows in enumerate(messages)
        )
        buckets = tables.buckets_of(frame.get_column("subscriber").to_numpy(), self._connection.buckets)
        place = ["message", "bucket", "day"]
        key = stream.record.key
        return (
            frame.with_columns(
                pl.Series("bucket", buckets, pl.Int32),
                (pl.col(time) // tables.DAY_US).cast(pl.Int32).alias("day"),
                tables.rows_of(frame, stream.record.columns),
                *_makers(stream, frame),
            )
            .sort(*place, time, *key, descending=[False, False, False, True, *([False] * len(key))])
            .with_columns(page=pl.int_range(pl.len()).over(place) // PAGE_ROWS)
            .group_by(*place, "page", maintain_order=True)
            .agg(
                pl.col(time).last().alias("oldest_us"),
                *(pl.col(name).first() for name in (time, *key)),
                *(_noted(stream, name).unique().alias(kept) for name, kept in tables.indexed(stream).items()),
                pl.len().cast(pl.Int32).alias("count"),
                pl.col(tables.ROW).str.join("\n").alias(tables.PAGE.name),
            )
            .select(table.names)
        )

    def read(
        self,
        stream: Stream,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int,
        member: int | None,
    ) -> pl.DataFrame:
        """Rows of a stream within a time, newest first; of everyone when subscriber is None."""
        order = [tables.TIME_OF[stream.name], "seq", *(["part"] if stream is ENTRIES else [])]
        most = max(1, limit + offset)
        frames: list[pl.DataFrame] = []
        count = 0
        for days in self._days(stream, from_us, until_us):
            rows = self._of_days(
                stream, subscriber, days, from_us, until_us, most if member is None else tables.EVERY
            )
            if member is not None:  # is told apart behind the store, so all rows of the account are read
                rows = rows.filter(pl.col("member") == member)
            frames.append(rows)
            count += len(rows)
            if count >= most:
                break
        found = pl.concat(frames) if frames else stream.record.empty()
        return found.sort(order, descending=True)[offset : limit + offset]

    def record(self, source: str, record_id: str) -> pl.DataFrame:
        """The charged usage of one record identity; no row when there is none."""
        first, second = identity_of(source, record_id)
        found = self.concerning(CHARGED, [first])
        return found.filter((pl.col("check") == second) & (pl.col("record_id") == record_id))

    def concerning(self, stream: Stream, identity: Iterable[int]) -> pl.DataFrame:
        """Rows in whose pages records with these first halves of an identity are; others are among them."""
        return self._containing(stream, "identities", identity)

    def of_accounts(self, stream: Stream, subscribers: Iterable[int]) -> pl.DataFrame:
        """All rows of some accounts, for streams of which an account has few."""
        words = sorted(set(subscribers))
        return self._containing(stream, "subscribers", words).filter(pl.col("subscriber").is_in(words))

    def of_days(self, stream: Stream, places: Iterable[tuple[int, int]]) -> pl.DataFrame:
        """All rows of some accounts on some days: of each, its subscriber and a moment of the day (us UTC)."""
        wanted = {(subscriber, moment_us // tables.DAY_US) for subscriber, moment_us in places}
        if not wanted:
            return stream.record.empty()
        days = [day for _, day in wanted]
        statement = tables.PART_TABLE.select("WHERE stream = ? AND part <= ? AND part >= ?", ("part",))
        noted = {row.part for row in self._connection.ask(statement, (stream.name, max(days), min(days)))}
        table = tables.HISTORY_TABLES[stream.name]
        asked = [
            (self._bucket(subscriber), day, tables.digits_of(subscriber))
            for subscriber, day in sorted(wanted)
            if day in noted
        ]
        where = "WHERE bucket = ? AND day = ? AND subscribers CONTAINS ?"
        found = self._connection.ask_all(table.select(where, (tables.PAGE.name,)), asked)
        return _unpacked(stream, [row.rows for rows in found for row in rows])

    def _containing(self, stream: Stream, index: str, words: Iterable[int]) -> pl.DataFrame:
        statement = tables.HISTORY_TABLES[stream.name].select(
            f"WHERE {index} CONTAINS ?", (tables.PAGE.name,)
        )
        asked = [(tables.digits_of(word),) for word in sorted(set(words))]
        pages = {row.rows for rows in self._connection.ask_all(statement, asked) for row in rows}
        return _unpacked(stream, sorted(pages))

    def _bucket(self, subscriber: int) -> int:
        return int(tables.buckets_of(np.array([subscriber], np.uint64), self._connection.buckets)[0])

    def _days(self, stream: Stream, from_us: int, until_us: int) -> Iterator[list[int]]:
        """Days that have rows, newest first, some at a time."""
        newest = min((until_us - 1) // tables.DAY_US, _DAY_MAX)
        oldest = max(from_us // tables.DAY_US, -_DAY_MAX)
        statement = tables.PART_TABLE.select("WHERE stream = ? AND part <= ? AND part >= ?", ("part",))
        days = [row.part for row in self._connection.ask(statement, (stream.name, newest, oldest))]
        at, some = 0, 1
        while at < len(days):
            yield days[at : at + some]
            at, some = at + some, min(_DAYS_AT_ONCE, some * 4)

    def _of_days(
        self,
        stream: Stream,
        subscriber: int | None,
        days: Sequence[int],
        from_us: int,
        until_us: int,
        most: int,
    ) -> pl.DataFrame:
        """The newest `most` rows and more of some days."""
        table, time = tables.HISTORY_TABLES[stream.name], tables.TIME_OF[stream.name]
        mine = "" if subscriber is None else " AND subscribers CONTAINS ?"
        word: tuple[str, ...] = () if subscriber is None else (tables.digits_of(subscriber),)
        buckets = range(self._connection.buckets)
        if subscriber is not None:
            one = self._bucket(subscriber)
            buckets = range(one, one + 1)
        statement = table.select(
            f'WHERE bucket = ? AND day = ?{mine} AND "{time}" >= ? AND oldest_us < ? LIMIT ? ALLOW FILTERING',
            (time, tables.PAGE.name),
        )
        bounds = max(from_us, -(2**63)), min(until_us, 2**63 - 1)
        wanted = pl.col(time).is_between(from_us, until_us, closed="left")
        if subscriber is not None:
            wanted &= pl.col("subscriber") == subscriber
        rows: dict[tuple[int, int], pl.DataFrame] = {}
        asked, pages = (
            [(bucket, day) for day in days for bucket in buckets],
            1 if subscriber is None else _PAGES_FIRST,
        )
        while asked:
            values = [(*each, *word, *bounds, pages) for each in asked]
            cut = {}  # those that have more pages, none of which holds anything newer than their last one's newest row
            for each, found in zip(asked, self._connection.ask_all(statement, values), strict=True):
                rows[each] = _unpacked(stream, [row.rows for row in found]).filter(wanted)
                if len(found) == pages:
                    cut[each] = int(getattr(found[-1], time))
            times = pl.concat([each.get_column(time) for each in rows.values()]).top_k(most).to_list()
            oldest: int | None = min(times) if len(times) == most else None
            asked = [each for each, last in cut.items() if oldest is None or last >= oldest]
            pages = min(tables.EVERY, 4 * pages)
        return pl.concat(rows.values()) if rows else stream.record.empty()

    def newest_us(self, stream: Stream) -> int:
        """The time of the newest row; 0 when there is none."""
        table, time = tables.HISTORY_TABLES[stream.name], tables.TIME_OF[stream.name]
        for days in self._days(stream, 0, 2**62):
            asked = [(bucket, day) for day in days for bucket in range(self._connection.buckets)]
            found = self._connection.ask_all(
                table.select("WHERE bucket = ? AND day = ? LIMIT 1", (time,)), asked
            )
            times = [getattr(row, time) for rows in found for row in rows]
            if times:
                return int(max(times))
        return 0


def _makers(stream: Stream, frame: pl.DataFrame) -> list[pl.Series]:
    """Of corrections, the first half of the identity of the record that takes the place, or of the corrected one."""
    if stream is not CORRECTIONS:
        return []
    name, source = frame.get_column("correction_id"), frame.get_column("source").cast(pl.String)
    made, _ = identities(source, name.str.strip_prefix(CORRECTED))
    takes = name.str.starts_with(CORRECTED)
    return [pl.Series(_MAKER, made, pl.UInt64).zip_with(takes, frame.get_column("identity")).alias(_MAKER)]


def _noted(stream: Stream, name: str) -> pl.Expr:
    """What the index of a page is told of a column."""
    made = stream is CORRECTIONS and name == "identity"
    return pl.col(name).append(pl.col(_MAKER)) if made else pl.col(name)


def _unpacked(stream: Stream, pages: Sequence[str]) -> pl.DataFrame:
    """Rows of pages, each row once."""
    rows = [row for page in pages for row in page.split("\n")]
    return tables.unpacked(rows, stream.record.columns).unique(
        stream.record.key, keep="any", maintain_order=True
    )
