"""A keyspace that is empty when a test begins; making tables anew for each would take longer than the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.conftest import Cassandra
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection, Contact

BUCKETS = 8
KEYSPACE = "trunkline_tests"


def contact(server: Cassandra) -> Contact:
    """How the administrator comes to the tests' keyspace."""
    return Contact(
        ("127.0.0.1",),
        server.port,
        server.user,
        server.password_file,
        server.ca_file,
        KEYSPACE,
        buckets=BUCKETS,
    )


@pytest.fixture(scope="session")
def tables_made(cassandra: Cassandra) -> Iterator[Connection]:
    """The tables, made once."""
    made = Connection(contact(cassandra), make=True)
    yield made
    made.close()


@pytest.fixture
def connection(tables_made: Connection) -> Connection:
    """Empty tables."""
    for table in tables.TABLES:
        if table is not tables.META_TABLE and tables_made.ask(table.select("LIMIT 1")):
            tables_made.session.execute(f"TRUNCATE {table.name}", timeout=60)
    tables_made.session.execute("DELETE FROM meta WHERE name IN ('alerts_taken', 'voucher_secret')")
    return tables_made
