"""How we come to Cassandra: over TLS, with a password that may change, to the nodes of our own data centre.

Writes and reads ask a quorum of the local data centre, so a row that was acknowledged is read, whichever replica
dies. Whatever the database cannot do now is `Unreachable`, and the caller waits and asks again: nothing here drops.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    CoordinationFailure,
    InvalidRequest,
    OperationTimedOut,
    Timeout,
    Unauthorized,
    Unavailable,
)
from cassandra.auth import AuthProvider, PlainTextAuthenticator
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import BoundStatement, PreparedStatement

from trunkline.ports import NoAnswer, Refused
from trunkline.stores.cassandra import making, tables

ANSWER_S = 10.0
PROTOCOL = 5  # of Cassandra 4 and 5
AT_ONCE = 64
LAYOUT = 3  # of the tables; 3: history lies in pages
_TROUBLE = (
    NoHostAvailable,
    OperationTimedOut,
    Timeout,
    Unavailable,
    CoordinationFailure,
    ConnectionException,
)


class Unreachable(NoAnswer):
    """Cassandra cannot answer now; nothing is lost, ask again."""


@dataclass(frozen=True)
class Contact:
    """Where the nodes are, and who we are. `password_file` is read again at every connection."""

    hosts: tuple[str, ...]
    port: int
    user: str
    password_file: Path
    ca_file: Path | None
    keyspace: str = "trunkline"
    datacenter: str = "datacenter1"
    copies: int = 1
    buckets: int = 64


class _FromFile(AuthProvider):  # type: ignore[misc]  # the driver carries no types
    """Reads the password when it is needed, so that it may be changed without a restart."""

    def __init__(self, user: str, password_file: Path) -> None:
        self._user, self._file = user, password_file

    def new_authenticator(self, _host: str) -> PlainTextAuthenticator:
        """Whatever the file says now."""
        return PlainTextAuthenticator(self._user, self._file.read_text("utf-8").strip())


class Connection:
    """A session on the keyspace, with its tables made and its statements prepared; any thread may use it."""

    def __init__(self, contact: Contact, *, make: bool = False) -> None:
        """Connect; raises `Unreachable`, or `Refused` when we are not let in. `make` makes what is missing."""
        self.contact = contact
        self.made: list[str] = []  # what was missing, in words
        self._prepared: dict[str, PreparedStatement] = {}
        profile = ExecutionProfile(
            TokenAwarePolicy(DCAwareRoundRobinPolicy(contact.datacenter)),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=ANSWER_S,
        )
        trusted = ssl.create_default_context(cafile=str(contact.ca_file)) if contact.ca_file else None
        self._cluster = Cluster(
            list(contact.hosts),
            port=contact.port,
            protocol_version=PROTOCOL,
            auth_provider=_FromFile(contact.user, contact.password_file),
            ssl_context=trusted,
            ssl_options={"server_hostname": contact.hosts[0]} if trusted else None,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None),
            connect_timeout=ANSWER_S,
            control_connection_timeout=ANSWER_S,
        )
        try:
            self.session = self._cluster.connect()
            if make:
                self._make()
            self._enter()
            self._agree()
        except BaseException as error:
            self._cluster.shutdown()
            raise translated(error, contact) from error

    def ask(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        """Rows of one prepared statement, all pages of it."""
        return list(self.each(statement, values))

    def each(self, statement: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        """Rows of one prepared statement, a page at a time, for as long as they are wanted."""
        try:
            yield from self.session.execute(self.prepared(statement), tuple(values))
        except GeneratorExit:
            raise
        except BaseException as error:
            raise translated(error, self.contact) from error

    def ask_all(self, statement: str, values: Iterable[tuple[Any, ...]]) -> Iterator[list[Any]]:
        """Rows of the same statement with different values, asked at once; in the order of the values."""
        try:
            prepared = self.prepared(statement)
            for _, found in execute_concurrent(
                self.session, [(prepared, each) for each in values], AT_ONCE, raise_on_first_error=True
            ):
                yield list(found)
        except GeneratorExit:
            raise
        except BaseException as error:
            raise translated(error, self.contact) from error

    def write_all(self, statements: Iterable[Any], at_once: int = AT_ONCE) -> None:
        """Write statements, so many under way at once; returns when every one is acknowledged."""
        try:
            execute_concurrent(
                self.session, [(each, None) for each in statements], at_once, raise_on_first_error=True
            )
        except BaseException as error:
            raise translated(error, self.contact) from error

    def decide(self, statement: Any) -> list[Any]:  # noqa: ANN401 -- the driver carries no types
        """What a light-weight transaction answers: whether it was applied, and else what there is."""
        try:
            return list(self.session.execute(statement))
        except BaseException as error:
            raise translated(error, self.contact) from error

    def write_rows(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write the same statement with different values at once; returns when every one is acknowledged."""
        for _ in self.ask_all(statement, rows):
            pass

    def prepared(self, statement: str) -> PreparedStatement:
        """A statement that the nodes know already; its tables are named with their keyspace (@)."""
        found = self._prepared.get(statement)
        if found is None:
            try:
                found = self.session.prepare(statement.replace("@", f"{self.contact.keyspace}."))
            except BaseException as error:
                raise translated(error, self.contact) from error
            self._prepared[statement] = found
        return found

    def close(self) -> None:
        """Let go of all connections."""
        self._cluster.shutdown()

    @cached_property
    def buckets(self) -> int:
        """How many buckets subscribers are spread over."""
        return self.contact.buckets

    def _enter(self) -> None:
        try:
            self.session.set_keyspace(self.contact.keyspace)
        except InvalidRequest as error:
            raise Refused(
                f"Cassandra has no keyspace {self.contact.keyspace} that {self.contact.user} may look into."
                " `trunkline serve` makes it at its first start, and so does `trunkline cluster keyspace`."
            ) from error

    def _make(self) -> None:
        contact = self.contact
        found = making.found_in(self.session, contact.keyspace)
        if found is None:
            self.session.execute(
                f"CREATE KEYSPACE IF NOT EXISTS {contact.keyspace} WITH replication ="
                f" {{'class': 'NetworkTopologyStrategy', '{contact.datacenter}': {contact.copies}}}"
            )
            self.made.append(f"keyspace {contact.keyspace}")
        self.session.set_keyspace(contact.keyspace)
        if found is not None and found.has(tables.META_TABLE) and self._meta("buckets") is not None:
            self._agree()  # before anything is added to what belongs to another version
        self.made += making.make(self.session, contact.keyspace, contact.user)
        if self._meta("buckets") is None:
            # New; the layout goes first, so that nobody sees the one without the other.
            self._note("layout", LAYOUT)
            self._note("buckets", contact.buckets)

    def _note(self, name: str, value: int) -> None:
        self.session.execute("INSERT INTO meta (name, value) VALUES (%s, %s) IF NOT EXISTS", (name, value))

    def _meta(self, name: str) -> int | None:
        row = self.session.execute("SELECT value FROM meta WHERE name = %s", (name,)).one()
        return None if row is None else int(row.value)

    def _agree(self) -> None:
        """Another number of buckets would look for everybody in the wrong place, another layout find no rows."""
        layout, buckets = self._meta("layout") or 1, self._meta("buckets")
        if buckets != self.contact.buckets:
            raise Refused(
                f"The keyspace {self.contact.keyspace} was made with {buckets} buckets, and"
                f" cassandra_buckets is {self.contact.buckets}. Set it to what it was, or deliver into a new keyspace."
            )
        if layout != LAYOUT:
            raise Refused(
                f"The tables of the keyspace {self.contact.keyspace} are those of another version (layout {layout}, and"
                f" this one reads {LAYOUT}). Start the version that made it, or deliver into a new keyspace."
            )


def translated(error: BaseException, contact: Contact) -> BaseException:
    """What a caller should do about an error, without what was sent."""
    where = f"Cassandra at {', '.join(contact.hosts)}:{contact.port}"
    causes: list[BaseException] = [error]
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):
        causes += list(error.errors.values())
    if any(isinstance(cause, AuthenticationFailed | Unauthorized) for cause in causes):
        return Refused(
            f"{where} does not let {contact.user} in, or not do this. Look at its password and rights."
        )
    if isinstance(error, _TROUBLE):
        return Unreachable(f"{where} does not answer ({type(error).__name__}).")
    return error


def bound(prepared: PreparedStatement, row: Sequence[bytes | None]) -> BoundStatement:
    """A statement whose values are octets already; the driver would take each column of each row apart again."""
    found = BoundStatement(prepared)
    found.values = list(row)
    return found
