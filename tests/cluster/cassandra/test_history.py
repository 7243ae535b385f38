"""Pages of history answer as rows would: any message, any span, any limit, and a message twice."""

from __future__ import annotations

import random

import polars as pl

from trunkline.records.charging import CHARGED, ENTRIES
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.history import PAGE_ROWS, History
from trunkline.stores.cassandra.writer import Writer

SEED = 20261123
FIRST_US = 20_000 * tables.DAY_US
DAYS = 3
PEOPLE = [4477009_00000 + at for at in range(5)]
ORDER = ["start_us", "seq"]


def messages(chance: random.Random) -> list[pl.DataFrame]:
    """Usage of a few people over some days, as messages came; seconds are whole, so that many rows have one time."""
    found, seq = [], 0
    for _ in range(12):
        count = chance.randrange(1, 4 * PAGE_ROWS)
        rows = {
            "seq": list(range(seq, seq + count)),
            "source": ["x"] * count,
            "record_id": [f"r{at}" for at in range(seq, seq + count)],
            "identity": [chance.getrandbits(64) for _ in range(count)],
            "check": [chance.getrandbits(63) for _ in range(count)],
            "subscriber": [chance.choice(PEOPLE) for _ in range(count)],
            "start_us": [FIRST_US + chance.randrange(DAYS * 60) * 1_440_000_000 for _ in range(count)],
        }
        seq += count
        found.append(CHARGED.record.conform(pl.DataFrame(rows, schema_overrides={"identity": pl.UInt64})))
    return found


def test_pages_answer_as_rows(connection: Connection) -> None:
    """The same rows, counted, newest first, whoever is asked for, whatever the span."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    came = messages(chance)
    writer, history = Writer(connection), History(connection)
    writer.messages(CHARGED, came)
    writer.messages(CHARGED, came[3:7])  # once more, in other company
    everything = pl.concat(came)
    for _ in range(60):
        from_us, until_us = sorted(
            FIRST_US + chance.randrange(-1, 27 * DAYS) * 3_600_000_000 for _ in range(2)
        )
        subscriber = chance.choice([None, *PEOPLE, 1])
        limit, offset = chance.choice([1, 7, 100, 10_000]), chance.choice([0, 0, 5, 150])
        wanted = everything.filter(pl.col("start_us").is_between(from_us, until_us, closed="left"))
        if subscriber is not None:
            wanted = wanted.filter(pl.col("subscriber") == subscriber)
        wanted = wanted.sort(ORDER, descending=True)[offset : offset + limit]
        found = history.read(CHARGED, subscriber, from_us, until_us, limit, offset, None)
        assert found.equals(wanted), (subscriber, from_us, until_us, limit, offset)
    assert history.newest_us(CHARGED) == everything["start_us"].max()
    assert history.newest_us(ENTRIES) == 0
    table = tables.HISTORY_TABLES[CHARGED.name].name
    (row,) = connection.session.execute(f"SELECT sum(count) AS rows, count(*) AS pages FROM {table}")
    assert row.rows == len(everything)
    assert row.pages < len(everything) / 2
