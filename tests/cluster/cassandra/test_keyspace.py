"""A keyspace that an older version made: what is missing is added at the start, by whoever may, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.waiting import until
from trunkline.bootstrap.cluster import credentials
from trunkline.kernel.columns import Column
from trunkline.ports import Refused
from trunkline.stores.cassandra import making, tables
from trunkline.stores.cassandra.connection import LAYOUT, Connection, Contact

OLDER = "trunkline_older"
NEWER = tables.MOVEMENT_TABLE
ADDED = ("reason",)
OLD = replace(NEWER, columns=tuple(c for c in NEWER.columns if c.name not in ADDED), indexes=())


@pytest.fixture
def older(tables_made: Connection) -> Iterator[Connection]:
    """A keyspace of its own with one table as it was, and its administrator."""
    ask = tables_made.session.execute
    ask(
        f"CREATE KEYSPACE {OLDER} WITH replication = {{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}}",
        timeout=60,
    )
    try:
        for table in (OLD, tables.META_TABLE):
            for statement in table.create(OLDER):
                ask(statement, timeout=60)
        known = replace(tables_made.contact, keyspace=OLDER)
        for name, value in (("buckets", known.buckets), ("layout", LAYOUT)):
            ask(f"INSERT INTO {OLDER}.meta (name, value) VALUES (%s, %s)", (name, value))
        with closing(Connection(known)) as connected:
            yield connected
    finally:
        ask(f"DROP KEYSPACE {OLDER}", timeout=120)


def written(connection: Connection, table: tables.Table, name: str, reason: str | None) -> None:
    """A movement by hand, as a version with these columns writes it."""
    row = {"movement_id": name, "number": 1, "status": "refused", "reason": reason}
    names = [each for each in table.names if row.get(each) is not None]
    connection.ask(table.insert(names), [row[each] for each in names])


def test_columns_and_indexes_are_added(older: Connection) -> None:
    """Rows that were there stay, new ones have the new column, and looked at again nothing is missing."""
    written(older, OLD, "old", None)
    made = making.make(older.session, OLDER, "admin", (NEWER, tables.META_TABLE))
    assert made == [f"column {NEWER.name}.reason", f"index {NEWER.name}_subscriber"]
    assert making.make(older.session, OLDER, "admin", (NEWER, tables.META_TABLE)) == []
    with closing(Connection(older.contact)) as newer:
        written(newer, NEWER, "new", "not_enough")
        rows = [
            row
            for name in ("old", "new")
            for row in newer.ask(NEWER.select("WHERE movement_id = ?"), (name,))
        ]
        found = tables.frame_of(rows, NEWER.columns)
    assert found.select("movement_id", "reason").rows() == [("old", None), ("new", "not_enough")]


def test_who_may_not_change_it_says_who_may(older: Connection, tmp_path: Path) -> None:
    """A role that may read and write starts on what is whole; what lacks something it refuses, and changes nothing."""
    ask = older.session.execute
    whole = replace(older.contact, keyspace="trunkline_tests")
    ask("CREATE ROLE IF NOT EXISTS keeping WITH LOGIN = true AND PASSWORD = %s", ("a-password",), timeout=60)
    for each in (OLDER, whole.keyspace):
        for right in ("SELECT", "MODIFY"):
            ask(f"GRANT {right} ON KEYSPACE {each} TO keeping", timeout=60)
    file = credentials.keep(tmp_path / "keeping.password", "a-password")

    def as_keeper(known: Contact) -> Contact:
        return replace(known, user="keeping", password_file=file)

    def let_in() -> bool:
        try:
            Connection(as_keeper(whole)).close()
        except Refused:
            return False
        return True

    until(let_in, "the account is known", 60, 0.5)
    with closing(Connection(as_keeper(whole), make=True)) as connected:
        assert connected.made == []
    with pytest.raises(
        Refused, match=r"lacks table .* and keeping may not change it.*trunkline cluster keyspace"
    ):
        Connection(as_keeper(older.contact), make=True)
    lacks = rf"lacks column {NEWER.name}\.reason, index .* may not change it"
    with closing(Connection(as_keeper(older.contact))) as connected, pytest.raises(Refused, match=lacks):
        making.make(connected.session, OLDER, "keeping", (NEWER,))
    found = making.found_in(older.session, OLDER)
    assert found is not None
    assert "reason" not in found.columns[OLD.name]


def test_what_no_change_mends_is_refused() -> None:
    """Another type of a column, or a key that has grown, needs a keyspace of its own; the sentence says so."""
    there = {column.name: tables.cql_type(column) for column in NEWER.columns}
    indexes = frozenset(f"{NEWER.name}_{name}" for name in NEWER.indexes)
    assert making.lacking(making.Found({NEWER.name: there}, indexes), "k", (NEWER,)) == []
    other = making.Found({NEWER.name: {**there, "amount": "text"}}, indexes)
    with pytest.raises(Refused, match=r"amount of k\.charging_movements is text and should be bigint"):
        making.lacking(other, "k", (NEWER,))
    grown = replace(NEWER, columns=(*NEWER.columns, Column("piece", pl.Int64, ".")),
                    clustering=(*NEWER.clustering, ("piece", "ASC")))  # fmt: skip
    with pytest.raises(Refused, match=r"piece of k\.charging_movements is missing from its key"):
        making.lacking(making.Found({NEWER.name: there}, indexes), "k", (grown,))
