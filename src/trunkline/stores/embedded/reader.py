"""Answers from what is committed, for any process, while one other process writes.

Every question is asked of one moment: the manifest is read in a transaction, and the files that it names never
change. A merge may remove a file between the two; then the question is asked again of the next moment.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from trunkline.kernel.columns import Record
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Grouped, Rows, State
from trunkline.kernel.identity import identity_of
from trunkline.ports import Accounting, AuditEvent, FolderDamaged
from trunkline.records.charging import ACCOUNTS, ALERTS, CHARGED, CORRECTED, CORRECTIONS, ENTRIES, MOVEMENTS
from trunkline.records.usage import DAYS_REMEMBERED, SEEN
from trunkline.stores.embedded import manifest, runs, segments
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word, transaction, word_of

_DAY_US = 86_400_000_000
_TRIES = 5
_OPENED_RUNS = 256
_WORDS = ("subscriber",)  # columns of dial words, stored less 2**63

_T = TypeVar("_T")


class EmbeddedReader:
    """A data folder opened to read; any thread may ask."""

    def __init__(self, folder: Path) -> None:
        """Raises `FileNotFoundError` when the folder holds no data."""
        self.folder = folder
        self._threads = threading.local()
        self._opened: OrderedDict[str, runs.Run] = OrderedDict()
        self._opening = threading.Lock()
        self._connection()

    # -- accounts -----------------------------------------------------------------------------------------

    def account(self, subscriber: int) -> Rows:
        """Rows of one account (`ACCOUNT_ROW`); empty when the subscriber is unknown."""
        return self._again(lambda: self._rows_of(ACCOUNTS, subscriber))

    def of_key(self, state: State, key: int) -> Rows:
        """All that is remembered of one kind under one key."""
        return self._again(lambda: self._rows_of(state, key))

    def accounts(self) -> Grouped:
        """Every account at one moment, for recomputations."""
        return self.every(ACCOUNTS)

    def every(self, state: State) -> Grouped:
        """All that is remembered of one kind, at one moment."""

        def ask() -> Grouped:
            with self._moment() as connection:
                parts = [run.slice(0, len(run)) for run in self._runs(connection, state, 0, 2**64 - 1)]
            return runs.newest(parts[::-1], state.dtype)

        return self._again(ask)

    def rejected_places(self) -> pl.DataFrame:
        """Where records stand that were rejected, settled or not."""
        return self._table(
            "SELECT DISTINCT file, line FROM rejected", (), {"file": pl.Int64, "line": pl.Int64}
        )

    def charged_conflicts(self) -> pl.DataFrame:
        """Held records that a person let be charged: where they stand, and the number that ends their new name."""
        return self._table(
            "SELECT file, line, number FROM held WHERE settled = 'charge'",
            (),
            dict.fromkeys(("file", "line", "number"), pl.Int64),
        )

    def subscribers(self, after: int, limit: int) -> list[int]:
        """Dial words of known subscribers above `after`, ascending."""
        return [int(key) for key in self.accounts_after(after, limit).keys]

    def accounts_after(self, after: int, limit: int) -> Grouped:
        """The accounts of the next subscribers above `after`, ascending."""

        def ask() -> Grouped:
            parts = []
            with self._moment() as connection:
                for run in self._runs(connection, ACCOUNTS, after, 2**64 - 1):
                    first = int(np.searchsorted(run.keys, np.uint64(after), side="right"))
                    parts.append(run.slice(first, min(first + limit, len(run))))
            found = runs.newest(parts[::-1], ACCOUNTS.dtype)
            last = min(limit, len(found))
            offsets = found.offsets[: last + 1]
            return Grouped(found.keys[:last], offsets, found.rows[: int(offsets[-1])])

        return self._again(ask)

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
        return self._history(CHARGED, subscriber, from_us, until_us, limit, offset, member)

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
        return self._history(ENTRIES, subscriber, from_us, until_us, limit, offset, member)

    def usage_record(self, source: str, record_id: str) -> pl.DataFrame:
        """The charged usage of one record identity; no row when there is none."""
        first, second = identity_of(source, record_id)
        wanted = (pl.col("identity") == first) & (pl.col("check") == second)

        def ask() -> pl.DataFrame:
            seen = self._rows_of(SEEN, first)
            days = [int(row["day"]) for row in seen if int(row["check"]) == second]
            from_us, until_us = (min(days) - 1, max(days) + 2) if days else (-(2**26), 2**26)
            with self._moment() as connection:
                parts = self._segments(connection, CHARGED, None, from_us * _DAY_US, until_us * _DAY_US)
                frames = pl.collect_all([part.filter(wanted) for _, part in parts])
            return _joined(frames, CHARGED.record).filter(pl.col("record_id") == record_id)

        return self._again(ask)

    def corrections_of(self, usage: pl.DataFrame) -> pl.DataFrame:
        """Corrections (`CORRECTIONS`) of some charged usage, and those that it made of others."""
        if not len(usage):
            return CORRECTIONS.record.empty()
        near_us = (DAYS_REMEMBERED + 1) * _DAY_US  # between a record and the one that takes its place
        begun = usage["start_us"]
        from_us, until_us = int(begun.min()) - near_us, int(begun.max()) + near_us  # type: ignore[arg-type]
        mine = pl.col("identity").is_in(usage["identity"].implode()) | pl.col("correction_id").is_in(
            (CORRECTED + usage["record_id"]).implode()
        )

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                parts = self._segments(connection, CORRECTIONS, None, from_us, until_us)
                return _joined(pl.collect_all([part.filter(mine) for _, part in parts]), CORRECTIONS.record)

        return self._again(ask).sort("seq")

    def scan(self, stream: Stream, from_us: int, until_us: int) -> Iterator[pl.DataFrame]:
        """All stored rows of a stretch of time, a segment at a time and in no order, for recomputations."""
        time = pl.col(segments.TIME_OF[stream.name])
        with self._moment() as connection:
            for _, part in self._segments(connection, stream, None, from_us, until_us):
                frame = part.filter((time >= from_us) & (time < until_us)).collect()
                if len(frame):
                    yield stream.record.conform(frame)

    def _history(
        self,
        stream: Stream,
        subscriber: int | None,
        from_us: int,
        until_us: int,
        limit: int,
        offset: int,
        member: int | None,
    ) -> pl.DataFrame:
        time = segments.TIME_OF[stream.name]
        within = (pl.col(time) >= from_us) & (pl.col(time) < until_us)
        order = [time, "seq", *(["part"] if stream is ENTRIES else [])]
        most = limit + offset

        def ask() -> pl.DataFrame:
            with self._moment() as connection:
                parts = self._segments(connection, stream, subscriber, from_us, until_us)
                if subscriber is not None:
                    mine = within & (pl.col("subscriber") == pl.lit(subscriber, dtype=pl.UInt64))
                    frames = pl.collect_all([part.filter(mine) for _, part in parts])
                else:
                    frames = _newest_of(parts, within, order, most)
            found = _joined(frames, stream.record)
            if member is not None:
                found = found.filter(pl.col("member") == member)
            return found.sort(order, descending=True)[offset:most]

        return self._again(ask)

    # -- what was set aside, told, booked ------------------------------------------------------------------

    def alerts(self, after: int, limit: int, subscriber: int | None = None) -> pl.DataFrame:
        """Alerts in the order of commit with a running `number` above `after`."""
        mine = "" if subscriber is None else " AND subscriber = ?"
        columns = ["number", *ALERTS.record.schema]
        return self._table(
            f"SELECT {', '.join(columns)} FROM alerts WHERE number > ?{mine} ORDER BY number LIMIT ?",  # noqa: S608
            (after, *(() if subscriber is None else (stored_word(subscriber),)), limit),
            {"number": pl.Int64, **ALERTS.record.schema},
        )

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Rejected and not yet settled records, with their octets."""
        one = "" if reason is None else " AND t.reason = ?"
        return self._table(
            "SELECT t.number, t.file, f.path, t.line, t.source, f.mapping, t.reason, t.detail, t.raw"  # noqa: S608
            f" FROM rejected t LEFT JOIN files f USING (file) WHERE t.settled IS NULL{one}"
            " ORDER BY t.number LIMIT ? OFFSET ?",
            (*(() if reason is None else (reason,)), limit, offset),
            {
                "number": pl.Int64, "file": pl.Int32, "path": pl.String, "line": pl.Int64, "source": pl.String,
                "mapping": pl.String, "reason": pl.String, "detail": pl.String, "raw": pl.Binary,
            },
        )  # fmt: skip

    def held(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Conflicts that wait for a person, with their octets."""
        return self._table(
            "SELECT t.number, t.file, f.path, t.line, t.source, t.record_id, t.reason, t.raw"
            " FROM held t LEFT JOIN files f USING (file) WHERE t.settled IS NULL ORDER BY t.number LIMIT ? OFFSET ?",
            (limit, offset),
            {
                "number": pl.Int64, "file": pl.Int32, "path": pl.String, "line": pl.Int64, "source": pl.String,
                "record_id": pl.String, "reason": pl.String, "raw": pl.Binary,
            },
        )  # fmt: skip

    def waiting(self, reasons: Sequence[str]) -> pl.DataFrame:
        """Held records that wait for one of these reasons, in the order in which they came, with their octets."""
        whole = ("number", "file", "line", "offset")
        texts = ("source", "mapping", "record_id", "reason", "kept")
        return self._table(
            "SELECT t.number, t.file, t.line, t.offset, t.source, f.mapping, t.record_id, t.reason, f.raw AS kept,"
            " t.raw FROM held t LEFT JOIN files f USING (file) WHERE t.settled IS NULL"
            " AND t.reason IN (SELECT value FROM json_each(?)) ORDER BY t.number",
            (json.dumps(list(reasons)),),
            dict.fromkeys(whole, pl.Int64) | dict.fromkeys(texts, pl.String) | {"raw": pl.Binary},
        )

    def caused(
        self, identities: Iterable[tuple[int, int]]
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """What records did: charged usage (`CHARGED`), entries and corrections of the records with these identities."""
        wanted = sorted(set(identities))

        def ask() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
            seen = [(first, second, self._rows_of(SEEN, first)) for first, second in wanted]
            days = [int(r["day"]) for _, second, rows in seen for r in rows if int(r["check"]) == second]
            if not days:
                return CHARGED.record.empty(), ENTRIES.record.empty(), CORRECTIONS.record.empty()
            longest = (
                DAYS_REMEMBERED + 1
            )  # between a report and the beginning of the stretch that it tells of
            from_us, until_us = (min(days) - longest) * _DAY_US, (max(days) + 2) * _DAY_US
            named = pl.DataFrame(
                wanted, schema={"identity": pl.UInt64, "check": pl.UInt64}, orient="row"
            ).lazy()

            def found(stream: Stream, among: pl.LazyFrame, by: Sequence[str]) -> pl.DataFrame:
                parts = self._segments(connection, stream, None, from_us, until_us)
                mine = (part.join(among, on=by, how="semi") for _, part in parts)
                return _joined(pl.collect_all(list(mine)), stream.record)

            with self._moment() as connection:
                charged = found(CHARGED, named, ("identity", "check"))
                corrections = found(CORRECTIONS, named, ("identity", "check"))
                seqs = pl.concat([charged.select("seq"), corrections.select("seq")]).lazy()
                return charged, found(ENTRIES, seqs, ("seq",)), corrections

        return self._again(ask)

    def movements(self, subscriber: int | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """Booked and refused movements, newest first: the columns of MOVEMENTS plus `status`, `reason`."""
        mine = "" if subscriber is None else " WHERE subscriber = ?"
        columns = [*MOVEMENTS.record.schema, "status", "reason"]
        return self._table(
            f"SELECT {', '.join(columns)} FROM movements{mine} ORDER BY number DESC LIMIT ? OFFSET ?",  # noqa: S608
            (*(() if subscriber is None else (stored_word(subscriber),)), limit, offset),
            {**MOVEMENTS.record.schema, "status": pl.String, "reason": pl.String},
        )

    def accounting(self) -> list[Accounting]:
        """One row a source, over all time."""
        return [
            Accounting(*row)
            for row in self._rows(
                "SELECT source, sum(received), sum(rated), sum(duplicate), sum(rejected), sum(held),"
                " sum(charged_micros) FROM accounting GROUP BY source ORDER BY source"
            )
        ]

    def accounting_by_hour(self, from_us: int, until_us: int) -> pl.DataFrame:
        """One row a source and hour of arrival."""
        return self._table(
            "SELECT * FROM accounting WHERE hour >= ? AND hour < ? ORDER BY hour, source",
            (from_us // 3_600_000_000, -(-until_us // 3_600_000_000)),
            {"source": pl.String} | dict.fromkeys(
                ("hour", "received", "rated", "duplicate", "rejected", "held", "charged_micros"), pl.Int64
            ),
        )  # fmt: skip

    def position(self) -> int:
        """The next arrival number: everything that is committed has a lower one."""
        rows = self._rows("SELECT value FROM meta WHERE name = 'next_seq'")
        return int(rows[0][0]) if rows else 0

    def files(self) -> pl.DataFrame:
        """Every file that was handed in: where its octets are kept and how far it is read."""
        names = ("file", "path", "kind", "source", "mapping", "octets", "offset", "line", "records", "rejected",
                 "ended",
                 "raw", "begun_us")  # fmt: skip
        texts = ("path", "kind", "source", "mapping", "ended", "raw")
        return self._table(
            f"SELECT {', '.join(names)} FROM files ORDER BY file",  # noqa: S608 -- our own names
            (),
            {name: pl.String if name in texts else pl.Int64 for name in names},
        )

    def status(self) -> dict[str, Any]:
        """Files and their positions, counts, sizes, the newest event time, the last commit."""

        def ask() -> dict[str, Any]:
            with self._moment() as connection:
                meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
                segments = connection.execute(
                    "SELECT stream, count(*), sum(rows), sum(octets), max(until_us) FROM segments GROUP BY stream"
                ).fetchall()
                states = connection.execute(
                    "SELECT state, count(*), sum(keys), sum(octets) FROM runs GROUP BY state"
                ).fetchall()
                files = connection.execute(
                    "SELECT kind, count(*), sum(ended = ''), sum(records), sum(offset) FROM files GROUP BY kind"
                ).fetchall()
                spooled = [
                    (self.folder / raw, offset)
                    for raw, offset in connection.execute(
                        "SELECT raw, offset FROM files WHERE kind = 'spool' AND ended = ''"
                    )
                ]
                return {
                    "commits": meta.get("number", 0),
                    "committed_us": meta.get("committed_us", 0),
                    "newest_us": max((row[4] for row in segments if row[0] == CHARGED.name), default=0),
                    "streams": {
                        name: {"segments": count, "rows": rows, "octets": octets}
                        for name, count, rows, octets, _ in segments
                    },
                    "states": {
                        name: {"runs": count, "keys": keys, "octets": octets}
                        for name, count, keys, octets in states
                    },
                    "files": {
                        kind: {"files": count, "open": still, "records": records, "octets": octets}
                        for kind, count, still, records, octets in files
                    },
                    "spool_octets": sum(
                        max(0, path.stat().st_size - offset) for path, offset in spooled if path.exists()
                    ),
                    "rejected_open": _count(connection, "rejected WHERE settled IS NULL"),
                    "held_open": _count(connection, "held WHERE settled IS NULL"),
                    "alerts": _count(connection, "alerts"),
                    "movements": _count(connection, "movements"),
                    "accounting": [vars(row) for row in self.accounting()],
                }

        return self._again(ask)

    def reconciliations(self, limit: int) -> list[dict[str, Any]]:
        """Past reconciliations, newest first."""
        rows = self._rows(
            "SELECT number, time_us, body FROM reconciliations ORDER BY number DESC LIMIT ?", limit
        )
        return [{"number": number, "time_us": time_us, **json.loads(body)} for number, time_us, body in rows]

    def audit(self, limit: int, offset: int = 0) -> pl.DataFrame:
        """Audit events, newest first."""
        return self._table(
            "SELECT number, time_us, actor, role, action, subscriber, detail FROM audit"
            " ORDER BY number DESC LIMIT ? OFFSET ?",
            (limit, offset),
            {
                "number": pl.Int64, "time_us": pl.Int64, "actor": pl.String, "role": pl.String, "action": pl.String,
                "subscriber": pl.UInt64, "detail": pl.String,
            },
        )  # fmt: skip

    # -- how ----------------------------------------------------------------------------------------------

    def _again(self, ask: Callable[[], _T]) -> _T:
        """Ask; when a merge took a file away meanwhile, ask of the next moment."""
        for _ in range(_TRIES - 1):
            try:
                return ask()
            except (FileNotFoundError, FolderDamaged, pl.exceptions.ComputeError):
                continue
        return ask()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = manifest.open_to_read(self.folder)
        return connection

    @contextmanager
    def moment(self) -> Iterator[None]:
        """All that is asked within is answered from one moment; keep it short, because merges go on meanwhile."""
        with self._moment():
            yield

    @contextmanager
    def _moment(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection().execute(sql, values).fetchall()

    def _table(self, sql: str, values: tuple[Any, ...], schema: dict[str, Any]) -> pl.DataFrame:
        names = list(schema)
        rows = [list(row) for row in self._rows(sql, *values)]
        for at, name in enumerate(names):
            if name in _WORDS:
                for row in rows:
                    row[at] = word_of(row[at])
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _rows_of(self, state: State, key: int) -> Rows:
        wanted = np.array([key], np.uint64)
        with self._moment() as connection:
            for run in self._runs(connection, state, key, key):
                known, groups = run.known(wanted)
                if known[0]:
                    return groups.rows
        return np.empty(0, state.dtype)

    def _runs(self, connection: sqlite3.Connection, state: State, low: int, high: int) -> Iterator[runs.Run]:
        """The runs that may hold keys of a range, newest first."""
        rows = connection.execute(
            "SELECT run, path, octets FROM runs WHERE state = ? AND first_key <= ? AND last_key >= ?"
            " ORDER BY last_commit DESC",
            (state.name, stored_word(high), stored_word(low)),
        ).fetchall()
        for number, path, octets in rows:
            if path is not None:
                yield self._opened_run(path, octets, state)
            else:
                (body,) = connection.execute("SELECT body FROM runs WHERE run = ?", (number,)).fetchone()
                yield runs.decode(body, state.dtype, f"run {number} of the manifest")

    def _opened_run(self, path: str, octets: int, state: State) -> runs.Run:
        with self._opening:
            run = self._opened.get(path)
            if run is None or run.octets != octets:
                run = self._opened[path] = runs.open_file(self.folder / path, octets, state.dtype)
            self._opened.move_to_end(path)
            while len(self._opened) > _OPENED_RUNS:
                self._opened.popitem(last=False)
            return run

    def _segments(
        self,
        connection: sqlite3.Connection,
        stream: Stream,
        subscriber: int | None,
        from_us: int,
        until_us: int,
    ) -> list[tuple[int, pl.LazyFrame]]:
        """The newest event of each segment that may hold rows, and the segment, newest first."""
        mine = "" if subscriber is None else " AND first_key <= ? AND last_key >= ?"
        word = () if subscriber is None else (stored_word(subscriber),) * 2
        rows = connection.execute(
            "SELECT segment, path, until_us FROM segments WHERE stream = ? AND until_us >= ? AND from_us < ?"  # noqa: S608
            f"{mine} ORDER BY until_us DESC",
            (stream.name, max(from_us, -(2**63)), min(until_us, 2**63 - 1), *word),
        ).fetchall()
        parts = []
        for number, path, newest_us in rows:
            parts.append((newest_us, segments.opened(self.folder, connection, number, path)))
        return parts


class EmbeddedAudit:
    """Where every look at personal data and every change is written down; any process may."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Raises `FileNotFoundError` when the folder holds no data."""
        if not (folder / manifest.NAME).exists():
            raise FileNotFoundError(f"{folder} holds no data of trunkline")
        self._folder, self._disk = folder, disk or Disk()
        self._lock = threading.Lock()
        self._connection = manifest.open_to_write(folder)

    def record(self, event: AuditEvent) -> None:
        """Write one event durably."""
        self._write(
            "INSERT INTO audit (time_us, actor, role, action, subscriber, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (
                event.time_us,
                event.actor,
                event.role,
                event.action,
                stored_word(event.subscriber),
                event.detail,
            ),
        )

    def add_reconciliation(self, time_us: int, body: dict[str, Any]) -> int:
        """Keep the result of a reconciliation; its number."""
        return self._write(
            "INSERT INTO reconciliations (time_us, body) VALUES (?, ?)", (time_us, json.dumps(body))
        )

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _write(self, sql: str, values: tuple[Any, ...]) -> int:
        with self._lock, transaction(self._connection, self._disk, self._folder):
            return self._connection.execute(sql, values).lastrowid or 0


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 -- our own names
    return int(count)


def _newest_of(
    parts: list[tuple[int, pl.LazyFrame]], within: pl.Expr, order: list[str], most: int
) -> list[pl.DataFrame]:
    """Enough segments, newest first, to hold the newest `most` rows."""
    frames: list[pl.DataFrame] = []
    kept = pl.DataFrame()
    for newest_us, part in parts:
        if len(kept) >= most and kept[order[0]][most - 1] > newest_us:
            break
        frames = [
            *([kept] if len(kept) else []),
            part.filter(within).sort(order, descending=True).head(most).collect(),
        ]
        kept = pl.concat(frames, how="diagonal_relaxed").sort(order, descending=True).head(most)
    return [kept] if len(kept) else []


def _joined(frames: list[pl.DataFrame], record: Record) -> pl.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return record.empty()
    return record.conform(pl.concat(frames, how="diagonal_relaxed"))
