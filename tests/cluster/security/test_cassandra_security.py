"""Cassandra shut to strangers: no encryption, a wrong password or no permission, and nothing is to be had."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cassandra.cluster import NoHostAvailable

from tests.cluster.cassandra.conftest import contact
from tests.cluster.conftest import Cassandra
from tests.cluster.security.test_kafka_security import shown_serial
from tests.waiting import until
from trunkline.bootstrap.cluster import cassandra as server
from trunkline.bootstrap.cluster import credentials
from trunkline.ports import Refused
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection, Contact, Unreachable


@pytest.fixture
def administrator(cassandra: Cassandra) -> Iterator[Connection]:
    """Who may do everything."""
    made = Connection(contact(cassandra), make=True)
    yield made
    made.close()


def role(administrator: Connection, folder: Path, name: str, password: str) -> Contact:
    """A role that may log in and nothing more."""
    administrator.session.execute(
        f"CREATE ROLE IF NOT EXISTS {name} WITH LOGIN = true AND PASSWORD = %s", (password,), timeout=60
    )
    file = credentials.keep(folder / f"{name}.password", password)
    return Contact(**{**vars(administrator.contact), "user": name, "password_file": file})


def let_in(contact: Contact) -> Connection | None:
    """A connection, or None while the nodes do not know of a right yet."""
    try:
        return Connection(contact)
    except Refused:
        return None


def changed(administrator: Connection, password: str) -> bool:
    """Whether the password could be changed; Cassandra lets it be changed every few seconds only."""
    try:
        administrator.session.execute("ALTER ROLE changing WITH PASSWORD = %s", (password,), timeout=60)
    except NoHostAvailable:
        return False
    return True


def test_a_client_without_encryption_is_refused(cassandra: Cassandra) -> None:
    """A client that speaks plaintext is not even asked for its password."""
    with pytest.raises(Unreachable):
        Connection(Contact(**{**vars(contact(cassandra)), "ca_file": None}))


def test_a_wrong_password_is_refused(cassandra: Cassandra, tmp_path: Path) -> None:
    """The message names the role and nothing secret."""
    wrong = credentials.keep(tmp_path / "wrong", "wrong-password")
    with pytest.raises(Refused, match="does not let admin in") as refused:
        Connection(Contact(**{**vars(contact(cassandra)), "password_file": wrong}))
    assert "wrong-password" not in str(refused.value)


def test_the_account_of_every_new_node_is_shut(
    administrator: Connection, cassandra: Cassandra, tmp_path: Path
) -> None:
    """The name and password that stand in every manual open nothing, once a node is past its first seconds."""
    assert administrator.session is not None, "the node has its tables"
    known = credentials.keep(tmp_path / "known", "cassandra")
    opening = Contact(**{**vars(contact(cassandra)), "user": "cassandra", "password_file": known})

    def shut() -> bool:
        try:
            Connection(opening)
        except Refused:
            return True
        return False

    until(shut, "the account is shut", 60, 1.0)


def test_without_a_permission_nothing_is_read(administrator: Connection, tmp_path: Path) -> None:
    """Being let in is not being allowed; a permission to read is none to write."""
    looking = role(administrator, tmp_path, "looking", "first-password")
    with pytest.raises(Refused):
        Connection(looking)
    administrator.session.execute(f"GRANT SELECT ON KEYSPACE {looking.keyspace} TO looking", timeout=60)
    reader = until(lambda: let_in(looking), "the permission is known")
    assert reader is not None
    try:
        assert (
            reader.ask(tables.META_TABLE.select("WHERE name = ?"), ("buckets",))[0].value == looking.buckets
        )
        with pytest.raises(Refused):
            reader.ask(tables.META_TABLE.insert(), ("more", 1))
    finally:
        reader.close()


def test_a_password_is_changed_while_everything_runs(administrator: Connection, tmp_path: Path) -> None:
    """The file is read at each connection: whoever is connected goes on, whoever comes needs the new one."""
    changing = role(administrator, tmp_path, "changing", "first-password")
    administrator.session.execute(f"GRANT SELECT ON KEYSPACE {changing.keyspace} TO changing", timeout=60)
    before = until(lambda: let_in(changing), "the permission is known")
    assert before is not None
    try:
        until(lambda: changed(administrator, "second-password"), "it may be changed again", every_s=1.0)
        assert before.ask(tables.META_TABLE.select("WHERE name = ?"), ("buckets",))
        credentials.keep(changing.password_file, "second-password")
        after = Connection(changing)
        after.close()
    finally:
        before.close()


def test_a_certificate_is_changed_while_everything_runs(cassandra: Cassandra) -> None:
    """A node told to look at its file again shows the new certificate to whoever comes; it is not started again."""
    place, ca_file = cassandra.place, str(cassandra.ca_file)
    before = shown_serial(cassandra.port, ca_file)
    pids = [each.pid for each in cassandra.cluster.status() if each.name == "cassandra"]
    connected = Connection(contact(cassandra), make=True)
    try:
        credentials.issue(place.secrets, "cassandra.pem", "cassandra")
        keeper = ["org.apache.cassandra.tools.NodeTool", "-p", str(place.port("jmx")), "reloadssl"]
        opened = [
            *(f"--add-opens={each}=ALL-UNNAMED" for each in server._OPENED),
            *(f"--add-exports={each}=ALL-UNNAMED" for each in server._EXPORTED),
        ]
        program, *options = place.java(server.ARTIFACTS, heap_mb=64)
        opened.append(f"-Duser.home={place.folder}")  # its history goes there
        done = subprocess.run(
            [program, *opened, *options, *keeper],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: shown_serial(cassandra.port, ca_file) != before, "the new certificate is shown", 60)
        after = Connection(contact(cassandra))
        after.close()
        assert connected.ask(tables.META_TABLE.select("WHERE name = ?"), ("buckets",))
    finally:
        connected.close()
    assert [each.pid for each in cassandra.cluster.status() if each.name == "cassandra"] == pids
