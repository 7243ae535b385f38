"""What a keyspace should have and does not have yet, worked out from the tables and from what the nodes say is there.

A keyspace lives through many versions of ours: each may bring tables, indexes and columns. Only what is missing is
asked for, so a role that may read and write and nothing else starts on a keyspace that is whole. Nothing is ever
taken away or changed: what is there and is otherwise than it should be is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cassandra import Unauthorized

from trunkline.ports import Refused
from trunkline.stores.cassandra import network_tables, tables
from trunkline.stores.cassandra.tables import Table, cql_type

TABLES = (*tables.TABLES, *network_tables.TABLES)
_MAKING_S = 60.0  # the nodes agree on each change


@dataclass(frozen=True)
class Lack:
    """One thing that is missing, in words, and the statement that makes it."""

    what: str
    statement: str


@dataclass(frozen=True)
class Found:
    """What the nodes say is there: columns with their types by table, and the names of indexes."""

    columns: dict[str, dict[str, str]]
    indexes: frozenset[str]

    def has(self, table: Table) -> bool:
        """Whether a table is there."""
        return table.name in self.columns


def found_in(session: Any, keyspace: str) -> Found | None:  # noqa: ANN401 -- the driver carries no types
    """What a keyspace has; None when there is none. Every role may ask."""
    known = "FROM system_schema.{} WHERE keyspace_name = %s"
    if session.execute(f"SELECT keyspace_name {known.format('keyspaces')}", (keyspace,)).one() is None:
        return None
    columns: dict[str, dict[str, str]] = {}
    for row in session.execute(
        f"SELECT table_name, column_name, type {known.format('columns')}", (keyspace,)
    ):
        columns.setdefault(row.table_name, {})[row.column_name] = row.type
    indexes = session.execute(f"SELECT index_name {known.format('indexes')}", (keyspace,))
    return Found(columns, frozenset(row.index_name for row in indexes))


def lacking(found: Found, keyspace: str, wanted: Sequence[Table] = TABLES) -> list[Lack]:
    """What is missing, in the order in which it is to be made; raises `Refused` when something does not fit."""
    return [lack for table in wanted for lack in _of_table(found, keyspace, table)]


def make(
    session: Any,  # noqa: ANN401 -- as above
    keyspace: str,
    user: str,
    wanted: Sequence[Table] = TABLES,
) -> list[str]:
    """Make what is missing in a keyspace that is there; in words what it was.

    Raises `Refused` when the role may not, and says who may. Two that make the same at once do no harm.
    """
    found = found_in(session, keyspace)
    assert found is not None, "the keyspace is there"
    missing = lacking(found, keyspace, wanted)
    for lack in missing:
        try:
            session.execute(lack.statement, timeout=_MAKING_S)
        except Unauthorized as error:
            raise Refused(
                f"The keyspace {keyspace} lacks {_told(missing)}, which this version writes, and {user} may not"
                " change it. Let a role that may (CREATE and ALTER on the keyspace) make it once:"
                " trunkline cluster keyspace (docs/operating/cluster-cassandra.md, Upgrading)."
            ) from error
    return [lack.what for lack in missing]


def _of_table(found: Found, keyspace: str, table: Table) -> Iterator[Lack]:
    there = found.columns.get(table.name)
    made, *indexes = table.create(keyspace)
    if there is None:
        yield Lack(f"table {table.name}", made)
    else:
        yield from _of_columns(there, keyspace, table)
    for name, statement in zip(table.indexes, indexes, strict=True):
        if f"{table.name}_{name}" not in found.indexes:
            yield Lack(f"index {table.name}_{name}", statement)


def _of_columns(there: dict[str, str], keyspace: str, table: Table) -> Iterator[Lack]:
    key = {*table.partition, *(name for name, _ in table.clustering)}
    for column in table.columns:
        kind, has = cql_type(column), there.get(column.name)
        if has == kind:
            continue
        if has is not None or column.name in key:
            what = f"is {has} and should be {kind}" if has else "is missing from its key"
            raise Refused(
                f"Column {column.name} of {keyspace}.{table.name} {what}, which no change mends. Set cassandra_keyspace"
                " to a new name and deliver there (docs/operating/cluster-cassandra.md, Filling it again)."
            )
        statement = f'ALTER TABLE {keyspace}.{table.name} ADD IF NOT EXISTS "{column.name}" {kind}'
        yield Lack(f"column {table.name}.{column.name}", statement)


def _told(missing: Sequence[Lack], most: int = 6) -> str:
    names = [lack.what for lack in missing]
    return ", ".join([*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])])
