"""Accounts as they stand: told at once in packs, and settled into rows of their own soon after.

A row an account is what is looked up and listed, and a node pays for each row that it writes. So what commits changed
is told as packs first: the changed accounts of a slot of subscribers as one value, which costs little however many
accounts change. A pack says what an account holds as of a commit, so it may be there twice, late, or beside others, and
the newest commit wins, packs and row alike. `SINCE` says from when on a pack may hold what no row holds yet.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.grouped import Grouped, Rows
from trunkline.records.charging import ACCOUNTS
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.mutations import mutations

SLOTS = 8  # of each bucket
SPAN_US = 600_000_000  # packs of ten minutes are a partition
_HEAD = struct.Struct("<I")  # how many accounts; then their words, commits, counts of rows, and rows
Numbers = npt.NDArray[np.int64]


class Accounts:
    """The accounts of a keyspace; any thread may ask, and any number of processes may tell the same."""

    def __init__(self, connection: Connection) -> None:
        """The connection's tables must be there."""
        self._connection = connection

    # -- writing ------------------------------------------------------------------------------------------

    def tell(self, groups: Grouped, numbers: Numbers, moment_us: int, partition: int) -> None:
        """Show what accounts hold as of commit `numbers[i]`, at a moment (us UTC).

        `partition` is one of those that it comes from: nobody else has it at that moment. It is durable, and can be
        read, when this returns.
        """
        if not len(groups):
            return
        slots = self._slots(groups.keys)
        order = np.argsort(slots, kind="stable")
        counts = np.diff(groups.offsets)[order]
        ends = np.cumsum(counts)
        moved = groups.offsets[:-1][order] - (ends - counts)
        rows = groups.rows[np.repeat(moved, counts) + np.arange(len(groups.rows))]
        keys, numbers, ends = groups.keys[order], numbers[order], np.concatenate([[0], ends])
        found, starts = np.unique(slots[order], return_index=True)
        packs = [
            _pack(keys[a:b], numbers[a:b], counts[a:b], rows[int(ends[a]) : int(ends[b])])
            for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(keys)], strict=True)
        ]
        frame = pl.DataFrame(
            {
                "bucket": found // SLOTS, "span": moment_us // SPAN_US, "slot": found % SLOTS, "moment_us": moment_us,
                "partition": partition, "accounts": pl.Series(packs, dtype=pl.Binary),
            }
        )  # fmt: skip
        table = tables.PACK_TABLE
        self._connection.write_all(
            mutations(self._connection, table.columns, frame, ("bucket",), table.insert())
        )

    def settle(self, groups: Grouped, numbers: Numbers) -> None:
        """Keep what accounts hold as of commit `numbers[i]` as a row each; an older commit changes nothing."""
        width = groups.rows.dtype.itemsize
        octets = np.ascontiguousarray(groups.rows).tobytes()
        starts, ends = groups.offsets[:-1] * width, groups.offsets[1:] * width
        values = {
            "bucket": self._slots(groups.keys) // SLOTS,
            "subscriber": groups.keys,
            "rows": pl.Series(
                [octets[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)], dtype=pl.Binary
            ),
            "moment": numbers + 1,  # the write's own timestamp, by which the nodes keep the newest
        }
        table = tables.ACCOUNT_TABLE
        columns = (*table.columns, tables.MOMENT)
        frame = pl.DataFrame(values)
        statement = table.insert(using="TIMESTAMP ?")
        self._connection.write_all(mutations(self._connection, columns, frame, ("bucket",), statement))

    def begin(self, since: Mapping[int, int]) -> None:
        """By partition of the changelog, the moment (us UTC) before which every pack that it told is settled."""
        rows = [(0, partition, moment_us) for partition, moment_us in since.items()]
        self._connection.write_rows(tables.SINCE_TABLE.insert(), rows)

    # -- reading ------------------------------------------------------------------------------------------

    def since(self) -> dict[int, int]:
        """What `begin` said last, by partition; those that have been idle for an hour are not there."""
        rows = self._connection.ask(tables.SINCE_TABLE.select("WHERE shard = 0", ("partition", "since_us")))
        return {row.partition: row.since_us for row in rows}

    def read(self, subscriber: int, now_us: int) -> Rows:
        """Rows of one account (`ACCOUNT_ROW`) at a moment (us UTC); empty when the subscriber is unknown."""
        since = self.since()  # first of all: what is settled later is in a row that is read later
        slot = int(self._slots(np.array([subscriber], np.uint64))[0])
        newest, number = b"", -1
        if since:
            oldest_us = min(since.values())
            spans = range(oldest_us // SPAN_US, max(now_us, *since.values()) // SPAN_US + 2)
            asked = [(slot // SLOTS, span, slot % SLOTS, oldest_us) for span in spans]
            for packs in self._connection.ask_all(_PACKS, asked):
                for pack in packs:
                    found = _in_pack(pack.accounts, subscriber)
                    if found is not None and found[0] > number:
                        number, newest = found
        row = self._connection.ask(_ROW, (slot // SLOTS, tables.stored_word(subscriber)))
        if row and row[0].moment - 1 > number:
            newest = row[0].rows
        return np.frombuffer(newest, ACCOUNTS.dtype)

    def words_after(self, after: int, limit: int) -> list[int]:
        """Dial words of the next subscribers above `after` that have a row, ascending."""
        return [tables.word_of(row.subscriber) for row in self._rows_after(after, limit, ("subscriber",))]

    def settled_after(self, after: int, limit: int) -> Grouped:
        """The rows of the next subscribers above `after`, ascending; what is told and not settled is not in them."""
        found = self._rows_after(after, limit, ("subscriber", "rows"))
        groups = [np.frombuffer(row.rows, ACCOUNTS.dtype) for row in found]
        keys = np.array([tables.word_of(row.subscriber) for row in found], np.uint64)
        offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
        return Grouped(keys, offsets, np.concatenate([np.empty(0, ACCOUNTS.dtype), *groups]))

    def _rows_after(self, after: int, limit: int, names: tuple[str, ...]) -> list[Any]:
        statement = tables.ACCOUNT_TABLE.select("WHERE bucket = ? AND subscriber > ? LIMIT ?", names)
        asked = [(bucket, tables.stored_word(after), limit) for bucket in range(self._connection.buckets)]
        found = [row for rows in self._connection.ask_all(statement, asked) for row in rows]
        return sorted(found, key=lambda row: row.subscriber)[:limit]

    def _slots(self, subscribers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The slot of each subscriber; those of one bucket are neighbours."""
        buckets = self._connection.buckets
        spread = tables.buckets_of(subscribers, buckets * SLOTS)
        return spread % buckets * SLOTS + spread // buckets


_PACKS = tables.PACK_TABLE.select(
    "WHERE bucket = ? AND span = ? AND slot = ? AND moment_us >= ?", ("accounts",)
)
_ROW = "SELECT rows, writetime(rows) AS moment FROM @charging_accounts WHERE bucket = ? AND subscriber = ?"


def _pack(keys: npt.NDArray[np.uint64], numbers: Numbers, counts: npt.NDArray[np.int64], rows: Rows) -> bytes:
    parts = keys, numbers, counts.astype(np.uint32), np.ascontiguousarray(rows)
    return _HEAD.pack(len(keys)) + b"".join(part.tobytes() for part in parts)


def _in_pack(pack: bytes, subscriber: int) -> tuple[int, bytes] | None:
    """What a pack says of an account: the commit, and its rows' octets."""
    (size,) = _HEAD.unpack_from(pack)
    keys = np.frombuffer(pack, np.uint64, size, _HEAD.size)
    at = int(np.searchsorted(keys, np.uint64(subscriber)))
    if at == size or int(keys[at]) != subscriber:
        return None
    number = int(np.frombuffer(pack, np.int64, size, _HEAD.size + 8 * size)[at])
    counts = np.frombuffer(pack, np.uint32, size, _HEAD.size + 16 * size)
    width, first = ACCOUNTS.dtype.itemsize, _HEAD.size + 20 * size
    begins = first + int(counts[:at].sum()) * width
    return number, pack[begins : begins + int(counts[at]) * width]
