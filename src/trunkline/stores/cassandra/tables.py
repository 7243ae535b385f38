"""The tables, worked out from the map: columns, keys, how long rows are kept, and how they lie on disk.

History lies in partitions of (bucket of subscribers, day) as pages of rows, newest first, with an index on whose rows a
page holds; it is written once and expires, so its files are grouped by time of writing (TimeWindow).
Accounts are written again and again and looked up by key (Leveled). Words of 64 bits without sign are stored less
2**63, so that they keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from trunkline.kernel.columns import Column
from trunkline.kernel.flow import Stream
from trunkline.records.charging import ACCOUNTS, ALERTS, CHARGED, CORRECTIONS, ENTRIES, MOVEMENTS
from trunkline.records.giving import HANDED
from trunkline.records.usage import HELD, REJECTED

DAY_S = 86_400
DAY_US = 86_400_000_000
PACKS_KEPT_S = 3_600  # far longer than a settling takes
WINDOWS = 40  # of a history table's life; more files make reading slow, fewer expire late
WORD = 2**63
EVERY = 2**31 - 1  # as many rows as there are
TIME_OF = {CHARGED.name: "start_us", ENTRIES.name: "time_us", CORRECTIONS.name: "start_us"}
HISTORY = (CHARGED, ENTRIES, CORRECTIONS)
SET_ASIDE = (REJECTED, HELD)

# What a set-aside record has besides its stream's columns: where it came from, its octets, and a person's decision.
FOUND = (
    Column("path", pl.String, "Where its octets came from."),
    Column("mapping", pl.String, "How it was read."),
    Column("raw", pl.Binary, "Its octets.", personal=True),
)
DECIDED = (
    Column("settled", pl.String, "What a person decided; null while it waits."),
    Column("actor", pl.String, "Who decided."),
)
ANSWERED = (
    Column("number", pl.Int64, "Its place in the order of answers."),
    Column("status", pl.String, "booked or refused."),
)

_TYPES: dict[Any, str] = {
    pl.Int8: "smallint", pl.Int16: "smallint", pl.Int32: "int", pl.Int64: "bigint", pl.UInt8: "smallint",
    pl.UInt16: "int", pl.UInt32: "bigint", pl.UInt64: "bigint", pl.Boolean: "boolean", pl.String: "text",
    pl.Categorical: "text", pl.Binary: "blob", pl.List: "set<text>",
}  # fmt: skip
_DIGITS = 16
_WIDTH = {"smallint": ">i2", "int": ">i4", "bigint": ">i8"}


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, its key, and what the database must know besides."""

    name: str
    text: str
    columns: tuple[Column, ...]
    partition: tuple[str, ...]
    clustering: tuple[tuple[str, str], ...]  # name and ASC or DESC
    days_kept: int = 0  # 0: for good
    compaction: str = "{'class': 'LeveledCompactionStrategy'}"
    indexes: tuple[str, ...] = ()
    seconds_kept: int = 0  # of what lives for less than a day, and is gone at once when it is over

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def create(self, keyspace: str) -> list[str]:
        """Statements that make it where it is not there: the table, then each of its indexes."""
        columns = ", ".join(f'"{c.name}" {cql_type(c)}' for c in self.columns)
        within = f"{keyspace}.{self.name}"
        key = f"({', '.join(_quoted(self.partition))})"
        key = ", ".join([key, *_quoted(name for name, _ in self.clustering)])
        settings = [
            f"comment = '{self.text.replace(chr(39), chr(39) * 2)}'",
            f"compaction = {self.compaction}",
            f"default_time_to_live = {self.seconds_kept or self.days_kept * DAY_S}",
            *(["gc_grace_seconds = 0"] if self.seconds_kept else []),
        ]
        if self.clustering:
            order = ", ".join(f'"{name}" {way}' for name, way in self.clustering)
            settings.insert(0, f"CLUSTERING ORDER BY ({order})")
        made = [
            f"CREATE TABLE IF NOT EXISTS {within} ({columns}, PRIMARY KEY ({key})) WITH {' AND '.join(settings)}"
        ]
        made += [
            f"CREATE INDEX IF NOT EXISTS {self.name}_{name} ON {within} (\"{name}\") USING 'sai'"
            for name in self.indexes
        ]
        return made

    def insert(self, names: Sequence[str] | None = None, *, using: str = "") -> str:
        """A statement that writes the named columns (all by default); @ stands for the keyspace."""
        names = self.names if names is None else names
        return (  # the names are our own, out of the map
            f"INSERT INTO @{self.name} ({', '.join(_quoted(names))}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
            f"{f' USING {using}' if using else ''}"
        )

    def select(self, where: str, names: Sequence[str] | None = None) -> str:
        """A statement that reads the named columns (all by default); @ stands for the keyspace."""
        return (
            f"SELECT {', '.join(_quoted(self.names if names is None else names))} FROM @{self.name} {where}"  # noqa: S608 -- our own names
        )


def _quoted(names: Any) -> list[str]:  # noqa: ANN401 -- any iterable of names
    return [f'"{name}"' for name in names]


def cql_type(column: Column) -> str:
    """Cassandra's type of a column."""
    return _TYPES[column.dtype if isinstance(column.dtype, type) else type(column.dtype)]


def _integer(name: str, text: str) -> Column:
    return Column(name, pl.Int64, text)


BUCKET = Column("bucket", pl.Int32, "Bucket of subscribers.")
DAY = Column("day", pl.Int32, "Day of the row's time, since 1970, UTC.")
PAGE = Column(
    "rows", pl.String, "The rows, each all of its record's columns as a JSON object a line.", personal=True
)
OLDEST = Column("oldest_us", pl.Int64, "Time of its oldest row.", "us UTC")
COUNT = Column("count", pl.Int32, "How many rows it holds.")
ROW = "row"
_INDEXED = {
    "subscriber": Column(
        "subscribers", pl.List(pl.UInt64), "Whose rows, dial words less 2**63.", personal=True
    ),
    "identity": Column("identities", pl.List(pl.UInt64), "Of which records, digests less 2**63."),
}


def _name_of(stream: Stream) -> str:
    return stream.name.replace(".", "_").lower()


def indexed(stream: Stream) -> dict[str, str]:
    """The columns by which single rows of a history are looked for, and where a page keeps what they hold."""
    return {name: column.name for name, column in _INDEXED.items() if name in stream.record.schema}


def history(stream: Stream) -> Table:
    """The table of a stream that people look back at: pages of rows, each under its newest row's time and key."""
    record = stream.record
    columns = {column.name: column for column in record.columns}
    kept = [_INDEXED[name] for name in indexed(stream)]
    window = max(1, record.days_kept // WINDOWS)
    names = (TIME_OF[stream.name], *record.key)
    return Table(
        _name_of(stream),
        stream.text,
        (BUCKET, DAY, *(columns[name] for name in names), OLDEST, COUNT, *kept, PAGE),
        ("bucket", "day"),
        ((TIME_OF[stream.name], "DESC"), *((name, "ASC") for name in record.key)),
        record.days_kept,
        "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS',"
        f" 'compaction_window_size': {window}}}",
        tuple(column.name for column in kept),
    )


def set_aside(stream: Stream) -> Table:
    """The table of records that wait for a person; `number` says where in the topic one stands."""
    number = _integer("number", "Its place in the topic: offset, row and partition.")
    partition = Column("partition", pl.Int32, "Partition of the topic.")
    return Table(
        _name_of(stream),
        stream.text,
        (partition, number, *stream.record.columns, *FOUND, *DECIDED),
        ("partition",),
        (("number", "ASC"),),
        stream.record.days_kept,
        indexes=("reason",) if stream is HELD else (),  # whoever waits for other records is looked for often
    )


ACCOUNT_TABLE = Table(
    "charging_accounts",
    ACCOUNTS.text,
    (
        BUCKET,
        Column("subscriber", pl.UInt64, "Whose account, a dial word less 2**63.", personal=True),
        Column("rows", pl.Binary, "Its rows, each as records.charging.ACCOUNT_ROW, little-endian."),
    ),
    ("bucket",),
    (("subscriber", "ASC"),),
)
MOMENT = _integer("moment", "A write's own timestamp: one more than the number of the commit.")
PACK_TABLE = Table(
    "charging_account_packs",
    "What commits made of accounts, many in a value, until each of them is settled as a row.",
    (
        BUCKET,
        _integer("span", "Ten minutes of the moment."),
        Column("slot", pl.Int32, "Part of the bucket."),
        Column("moment_us", pl.Int64, "When it was told.", "us UTC"),
        Column("partition", pl.Int32, "One of the partitions of the changelog that it comes from."),
        Column(
            "accounts", pl.Binary, "The accounts: words, commits, counts of rows, and rows.", personal=True
        ),
    ),
    ("bucket", "span"),
    (("slot", "ASC"), ("moment_us", "ASC"), ("partition", "ASC")),
    compaction="{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'MINUTES',"
    " 'compaction_window_size': 10}",
    seconds_kept=PACKS_KEPT_S,
)
SINCE_TABLE = Table(
    "charging_accounts_since",
    "From when on packs hold what no row of an account holds yet.",
    (
        Column("shard", pl.Int32, "0."),
        Column("partition", pl.Int32, "Partition of the changelog."),
        Column("since_us", pl.Int64, "The moment.", "us UTC"),
    ),
    ("shard",),
    (("partition", "ASC"),),
    seconds_kept=PACKS_KEPT_S,
)
MOVEMENT_TABLE = Table(
    "charging_movements",
    MOVEMENTS.text,
    (*MOVEMENTS.record.columns, *ANSWERED, Column("reason", pl.String, "Why it was refused.")),
    ("movement_id",),
    (),
    MOVEMENTS.record.days_kept,
    indexes=("subscriber",),
)
ANSWER_TABLE = Table(
    "charging_answers",
    "Movements in the order in which they were answered, newest first.",
    (Column("partition", pl.Int32, "Partition of the topic."), ANSWERED[0], MOVEMENTS.record.columns[1]),
    ("partition",),
    (("number", "DESC"), ("movement_id", "ASC")),
    MOVEMENTS.record.days_kept,
)
TRANSFER_TABLE = Table(
    "charging_handed",
    HANDED.text,
    (DAY, *HANDED.record.columns),
    ("day",),
    (("time_us", "DESC"), ("transfer_id", "ASC")),
    HANDED.record.days_kept,
    indexes=("transfer_id", "subscriber", "receiver"),
)
TRANSFER_ORDER_TABLE = Table(
    "charging_transfer_orders",
    "What was ordered under the name of each transfer; the first order has it for good.",
    (
        Column("transfer_id", pl.String, "Name of the transfer."),
        Column("giver", pl.UInt64, "Who hands on, a dial word less 2**63.", personal=True),
        Column("receiver", pl.UInt64, "Who receives, a dial word less 2**63.", personal=True),
        Column("balance", pl.String, "Name of the balance definition."),
        _integer("amount", "How much the receiver gets."),
        Column("time_us", pl.Int64, "When it was ordered first.", "us UTC"),
    ),
    ("transfer_id",),
    (),
    HANDED.record.days_kept,
)
_VOUCHER = (
    Column("batch", pl.String, "Name of the batch."),
    _integer("number", "Number within the batch."),
)
VOUCHER_BATCH_TABLE = Table(
    "voucher_batches",
    "Vouchers that are alike.",
    (
        Column("shard", pl.Int32, "0."),
        _VOUCHER[0],
        Column("balance", pl.String, "Name of the balance definition that they add to."),
        _integer("amount", "How much each adds, in the balance's unit."),
        _integer("valid_days", "How long what they add may be used; null for ever."),
        Column("expires_us", pl.Int64, "From when on they cannot be redeemed.", "us UTC"),
        _integer("size", "How many there are."),
        Column("state", pl.String, "making, made, active or blocked."),
        Column("made_us", pl.Int64, "When they were made.", "us UTC"),
        Column("actor", pl.String, "Who made them."),
    ),
    ("shard",),
    (("batch", "ASC"),),
)
VOUCHER_TABLE = Table(
    "vouchers",
    "What is kept of each code.",
    (
        Column("digest", pl.Binary, "Keyed digest of the code."),
        *_VOUCHER,
        Column(
            "turn", pl.Int32, "Which of its codes it is; above 0 where another voucher had the ones before."
        ),
    ),
    ("digest",),
    (),
)
VOUCHER_TURNED_TABLE = Table(
    "vouchers_turned",
    "The vouchers whose first code another one had.",
    (*_VOUCHER, Column("turn", pl.Int32, "Which of its codes it has.")),
    ("batch",),
    (("number", "ASC"),),
)
VOUCHER_BLOCKED_TABLE = Table(
    "vouchers_blocked",
    "Vouchers that were taken out of circulation by themselves.",
    (
        *_VOUCHER,
        Column("time_us", pl.Int64, "When.", "us UTC"),
        Column("actor", pl.String, "By whom."),
    ),
    ("batch",),
    (("number", "ASC"),),
)
VOUCHER_WRONG_TABLE = Table(
    "vouchers_wrong",
    "Codes that were tried and are none.",
    (
        Column("subscriber", pl.UInt64, "For whom, a dial word less 2**63.", personal=True),
        Column("time_us", pl.Int64, "When.", "us UTC"),
    ),
    ("subscriber",),
    (("time_us", "ASC"),),
    400,
)
VOUCHER_ORDER_TABLE = Table(
    "voucher_orders",
    "Which voucher each order redeems.",
    (
        Column("subscriber", pl.UInt64, "For whom, a dial word less 2**63.", personal=True),
        Column("mark", pl.String, "What is kept of the order's name."),
        *_VOUCHER,
    ),
    ("subscriber", "mark"),
    (),
)
REDEEMED_TABLE = Table(
    "vouchers_redeemed",
    "Vouchers that an order has: on its way to the ledger, or there.",
    (
        *_VOUCHER,
        Column("mark", pl.String, "What is kept of the order's name."),
        Column("subscriber", pl.UInt64, "For whom, a dial word less 2**63.", personal=True),
        Column("balance", pl.String, "Name of the balance definition."),
        _integer("amount", "How much it adds."),
        Column("valid_until_s", pl.Int64, "Until when that may be used.", "s UTC"),
        Column("time_us", pl.Int64, "When it was ordered.", "us UTC"),
        Column("state", pl.String, "claimed, or booked."),
    ),
    ("batch", "number"),
    (),
    indexes=("batch", "state"),
)
VOUCHER_TABLES = (
    VOUCHER_BATCH_TABLE, VOUCHER_TABLE, VOUCHER_TURNED_TABLE, VOUCHER_BLOCKED_TABLE, VOUCHER_WRONG_TABLE,
    VOUCHER_ORDER_TABLE, REDEEMED_TABLE,
)  # fmt: skip
PROGRESS_TABLE = Table(
    "engine_progress",
    "How far each bucket and edge of the engine is, and its counts.",
    (
        Column("shard", pl.Int32, "0."),
        Column("key", pl.String, "Which bucket or edge."),
        Column("told", pl.String, "What it says, as JSON."),
        Column("time_us", pl.Int64, "When it said so.", "us UTC"),
    ),
    ("shard",),
    (("key", "ASC"),),
)
PART_TABLE = Table(
    "parts",
    "Which days and partitions a stream has rows of.",
    (Column("stream", pl.String, "The stream."), _integer("part", "A day or a partition.")),
    ("stream",),
    (("part", "DESC"),),
)
ALERT_COLUMNS = ALERTS.record.columns
ALERT_TABLE = Table(
    "customer_alerts",
    ALERTS.text,
    (_integer("number", "Its running number."), *ALERT_COLUMNS),
    ("subscriber",),
    (("number", "ASC"),),
    ALERTS.record.days_kept,
)
ALERT_LOG_TABLE = Table(
    "alert_log",
    "Alerts in the order of their running numbers, some a row; appended only where nothing is.",
    (
        _integer("block", "Hundred thousand of the number."),
        _integer("first", "Running number of the first of them."),
        Column("count", pl.Int32, "How many they are."),
        Column("rows", pl.Binary, "They, as an Arrow stream."),
    ),
    ("block",),
    (("first", "ASC"),),
)
ALERT_NUMBER_TABLE = Table(
    "alert_numbers",
    "The one number that each alert has for good.",
    (
        Column("shard", pl.Int32, "Part of the subscribers."),
        DAY,
        ALERT_COLUMNS[0],
        _integer("number", "Its running number."),
    ),
    ("shard", "day"),  # alerts of a partition get their numbers in one light-weight transaction
    (("alert_id", "ASC"),),
)
DELIVERY_TABLE = Table(
    "alert_deliveries",
    "What became of every alert on every channel; each is changed by light-weight transactions only.",
    (
        _integer("block", "Four thousand of the number."),
        _integer(
            "number", "Four times the alert's running number, and one more for each channel before its own."
        ),
        _integer("alert", "The alert's running number."),
        ALERT_COLUMNS[0],
        Column(
            "channel", pl.String, "By which channel; empty where it only says that the alert was planned."
        ),
        Column("subscriber", pl.UInt64, "Whom it is for, a dial word less 2**63.", personal=True),
        Column("kind", pl.String, "Kind of the alert."),
        Column("state", pl.String, "What became of it."),
        Column("attempts", pl.Int32, "How often it was tried."),
        Column("counted_from", pl.Int32, "Attempts before it was offered again by a person."),
        Column(
            "due_us", pl.Int64, "When it is tried next; while somebody tries it, when another may.", "us UTC"
        ),
        Column("changed_us", pl.Int64, "When its state changed last.", "us UTC"),
        Column("reason", pl.String, "Why it failed."),
    ),
    ("alert",),  # light-weight transactions wait for each other within a partition
    (("number", "ASC"),),
    indexes=("block", "state", "channel", "due_us"),
)
DELIVERIES_GONE_TABLE = Table(
    "alert_deliveries_gone",
    "What was let go of the ledger of deliveries.",
    (
        _integer("block", "Four thousand of the number."),
        _integer("rows", "Deliveries that it had."),
        _integer("alerts", "Alerts that they were of."),
    ),
    ("block",),
    (),
)
CHOICE_TABLE = Table(
    "alert_choices",
    "How customers wish to be told.",
    (
        Column("subscriber", pl.UInt64, "Whose choice, a dial word less 2**63.", personal=True),
        Column("channel", pl.String, "Of which channel."),
        Column("address", pl.String, "Mailbox, webhook or number.", personal=True),
        Column("language", pl.String, "In which language; empty: the operator's."),
        Column("time_zone", pl.String, "By which clock; empty: the account's."),
        Column("quiet_hours", pl.String, "When not; empty: the operator's."),
        Column("opted_out", pl.String, "Of which kinds not."),
    ),
    ("subscriber",),
    (("channel", "ASC"),),
)
AUDIT_TABLE = Table(
    "audit",
    "Every look at personal data and every change.",
    (
        _integer("day", "Day since 1970."),
        _integer("time_us", "When."),
        Column("actor", pl.String, "Who."),
        Column("role", pl.String, "In which role."),
        Column("action", pl.String, "What."),
        Column("subscriber", pl.UInt64, "Whom it concerns; 0 nobody.", personal=True),
        Column("detail", pl.String, "What exactly."),
    ),
    ("day",),
    (("time_us", "DESC"), ("actor", "ASC"), ("action", "ASC"), ("subscriber", "ASC"), ("detail", "ASC")),
)
RECONCILIATION_TABLE = Table(
    "reconciliations",
    "Results of reconciling.",
    (
        Column("shard", pl.Int32, "0."),
        _integer("time_us", "When."),
        Column("body", pl.String, "The result, as JSON."),
    ),
    ("shard",),
    (("time_us", "DESC"),),
)
META_TABLE = Table(
    "meta",
    "What must not change once rows are there.",
    (Column("name", pl.String, "What."), _integer("value", "How much.")),
    ("name",),
    (),
)

HISTORY_TABLES = {stream.name: history(stream) for stream in HISTORY}
ASIDE_TABLES = {stream.name: set_aside(stream) for stream in SET_ASIDE}
TABLES = (
    *HISTORY_TABLES.values(), *ASIDE_TABLES.values(), ACCOUNT_TABLE, PACK_TABLE, SINCE_TABLE, MOVEMENT_TABLE,
    ANSWER_TABLE, TRANSFER_TABLE, TRANSFER_ORDER_TABLE, *VOUCHER_TABLES, PROGRESS_TABLE,
    PART_TABLE, ALERT_TABLE, ALERT_LOG_TABLE, ALERT_NUMBER_TABLE, DELIVERY_TABLE,
    DELIVERIES_GONE_TABLE, CHOICE_TABLE, AUDIT_TABLE, RECONCILIATION_TABLE, META_TABLE,
)  # fmt: skip


# -- values --------------------------------------------------------------------------------------------------


def octets_of(column: Column, values: pl.Series) -> list[bytes | None]:
    """A column's values as the database's binary protocol wants them (CQL native protocol v5, section 6)."""
    kind = cql_type(column)
    if kind == "set<text>":
        return _sets(values)
    if kind in _WIDTH:
        if column.dtype == pl.UInt64:
            words = values.fill_null(0).to_numpy() ^ np.uint64(WORD)
            array = words.view(np.int64)
        else:
            array = values.cast(pl.Int64).fill_null(0).to_numpy()
        found = _cut(array.astype(_WIDTH[kind]))
    elif kind == "boolean":
        found = [b"\x01" if each else b"\x00" for each in values]
    else:
        text = values if kind == "blob" else values.cast(pl.String)
        return text.cast(pl.Binary).to_list()
    if not values.null_count():
        return found
    return [None if empty else each for each, empty in zip(found, values.is_null(), strict=True)]


def _sets(values: pl.Series) -> list[bytes | None]:
    """Lists of words as sets of their digits: how many, then each behind its width (CQL native protocol v5, 6.21).

    As text, because the index of a number is made for ranges, which nobody asks for, and costs several times as much.
    """
    counts = values.list.len().to_numpy()
    digits = values.explode().to_numpy().astype(">u8").tobytes().hex().encode()
    cells = np.empty(len(digits) // _DIGITS, [("width", ">i4"), ("word", f"S{_DIGITS}")])
    cells["width"], cells["word"] = _DIGITS, np.frombuffer(digits, f"S{_DIGITS}")
    octets, ends = cells.tobytes(), np.cumsum(counts) * cells.itemsize
    starts = ends - counts * cells.itemsize
    heads = _cut(counts.astype(">i4"))
    return [
        (head or b"") + octets[a:b] for head, a, b in zip(heads, starts.tolist(), ends.tolist(), strict=True)
    ]


def _cut(array: npt.NDArray[Any]) -> list[bytes | None]:
    width, octets = array.dtype.itemsize, array.tobytes()
    return [octets[at : at + width] for at in range(0, len(octets), width)]


def frame_of(rows: Sequence[Any], columns: Sequence[Column]) -> pl.DataFrame:
    """Rows as they were read, in the columns' types."""
    schema = {column.name: column.dtype for column in columns}
    raw = {name: (pl.Int64 if dtype == pl.UInt64 else pl.String if dtype == pl.Categorical() else dtype)
           for name, dtype in schema.items()}  # fmt: skip
    frame = pl.DataFrame([tuple(row) for row in rows], schema=raw, orient="row")
    words = [name for name, dtype in schema.items() if dtype == pl.UInt64]
    return frame.with_columns(
        *(
            pl.Series(
                name, frame[name].fill_null(-WORD).to_numpy().view(np.uint64) ^ np.uint64(WORD), pl.UInt64
            )
            for name in words
        )
    ).cast(dict(pl.Schema(schema)))  # type: ignore[arg-type]  # the schema's own types


def rows_of(frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
    """Each row's columns as one value; `unpacked` reads it."""
    names = [column.name for column in columns]
    plain = frame.select(names).cast({pl.Categorical: pl.String})
    return plain.select(pl.struct(names).struct.json_encode().alias(ROW)).to_series()


def unpacked(rows: Sequence[str], columns: Sequence[Column]) -> pl.DataFrame:
    """What `rows_of` made of rows, in the columns' types; a column that a row does not have yet is null."""
    read = [orjson.loads(row) for row in rows]
    return pl.DataFrame(
        [pl.Series(each.name, [row.get(each.name) for row in read], each.dtype) for each in columns]
    )


def stored_word(word: int) -> int:
    """A word of 64 bits without sign as it is stored."""
    return word - WORD


def digits_of(word: int) -> str:
    """A word of 64 bits without sign as an element of a set."""
    return f"{word:0{_DIGITS}x}"


def word_of(stored: int) -> int:
    """The word that was stored."""
    return stored + WORD


def buckets_of(subscribers: npt.NDArray[np.uint64], buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each subscriber: a multiplicative hash (Knuth, TAOCP 3, 6.4), so that neighbours are spread."""
    mixed = (subscribers ^ (subscribers >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed ^ (mixed >> np.uint64(29))) % np.uint64(buckets)).astype(np.int64)
