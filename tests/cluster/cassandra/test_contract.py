"""Cassandra answers what the embedded store answers: the same tests, over the same commits, delivered there too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.contract import test_ports as contract
from tests.contract.test_ports import EVER, Running
from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.serve import MONEY
from trunkline.engines.embedded.intake import EngineIntake
from trunkline.engines.embedded.sources import LiveSources
from trunkline.kernel.grouped import Grouped
from trunkline.ports import AuditEvent, Commit, Refused
from trunkline.records.charging import ACCOUNTS, ALERTS, CHARGED, ENTRIES, MOVEMENTS, RowKind
from trunkline.records.usage import HELD, REJECTED
from trunkline.settings import Folders
from trunkline.stores.cassandra.accounts import Accounts
from trunkline.stores.cassandra.connection import LAYOUT, Connection
from trunkline.stores.cassandra.reader import CassandraAudit, CassandraReader
from trunkline.stores.cassandra.writer import Writer
from trunkline.stores.embedded.reader import EmbeddedReader

test_usage_is_charged_soon_after_it_was_taken = contract.test_usage_is_charged_soon_after_it_was_taken
test_the_same_usage_again_is_a_duplicate = contract.test_the_same_usage_again_is_a_duplicate
test_a_movement_is_booked_once = contract.test_a_movement_is_booked_once
test_movements_from_many_threads_all_count = contract.test_movements_from_many_threads_all_count
test_a_low_balance_is_told_once = contract.test_a_low_balance_is_told_once

SERVED = {stream.name: stream for stream in (CHARGED, ENTRIES, ALERTS, REJECTED, HELD)}


class Mirror:
    """Delivers an embedded engine's commits as an engine's topics would be: every one of them, each twice."""

    def __init__(self, connection: Connection) -> None:
        self._writer, self._accounts = Writer(connection), Accounts(connection)
        self._sums: dict[str, list[int]] = {}

    def begin(self, reader: EmbeddedReader) -> None:
        """What was there before the first commit that is seen."""
        self._settle(reader.accounts(), 0)
        self._accounts.begin({0: time.time_ns() // 1000})
        for frame in reader.scan(ENTRIES, *EVER):
            self._writer.rows(ENTRIES, frame)

    def __call__(self, commit: Commit) -> None:
        """Deliver."""
        for count in commit.counts:
            sums = self._sums.setdefault(count.source, [0] * 6)
            for at, part in enumerate(count.sums):
                sums[at] += part
        for _ in range(2):
            self._deliver(commit)

    def _settle(self, groups: Grouped, number: int) -> None:
        self._accounts.settle(groups, np.full(len(groups), number, np.int64))

    def _deliver(self, commit: Commit) -> None:
        for state, groups in commit.states:
            if state is ACCOUNTS:
                numbers = np.full(len(groups), commit.number, np.int64)
                self._accounts.tell(groups, numbers, time.time_ns() // 1000, 0)
                self._settle(groups, commit.number)
        for name, frame in commit.frames.items():
            if name in SERVED:
                self._writer.rows(SERVED[name], frame, 0, commit.number)
        orders: list[dict[str, Any]] = [{**vars(each[0]), "seq": each[1]} for each in commit.movements]
        if orders:
            self._writer.rows(MOVEMENTS, MOVEMENTS.record.conform(pl.DataFrame(orders)))
        self._writer.answers(
            [
                (commit.number * 1000 + at, movement.movement_id, status, reason)
                for at, (movement, _, status, reason) in enumerate(commit.movements)
            ],
            0,
        )
        told = {"commit": commit.number, "accounts": self._sums}
        self._writer.progress({"bucket|0": (told, commit.number, commit.time_us)})


@pytest.fixture
def running(connection: Connection, tmp_path: Path) -> Iterator[Running]:
    """The embedded engine charges, and Cassandra answers."""
    folders = Folders(data=tmp_path / "data", tariffs=str(contract.tariff_folder(tmp_path)))
    with opened(folders) as platform:
        mirror = Mirror(connection)
        mirror.begin(EmbeddedReader(tmp_path / "data"))
        platform.engine.listeners.append(mirror)
        sources = LiveSources(platform.store, platform.store.disk, [], platform.mappings.__getitem__)
        stop = threading.Event()
        driving = threading.Thread(target=platform.engine.drive, args=(sources, stop))
        driving.start()
        intake = EngineIntake(platform.engine, MONEY, sources, most_unread_octets=1 << 20)
        yield Running(platform, intake, CassandraReader(connection), sources)
        stop.set()
        driving.join()


def test_every_answer_is_the_embedded_one(running: Running, tmp_path: Path) -> None:
    """All that can be asked of both is answered alike, page by page and stretch by stretch."""
    lines = b"".join(contract.call(f"c{number}", 1000 * (number % 7)) for number in range(60))
    lines += b"".join(contract.call(f"b{n}", 60_000, subscriber="447700900002") for n in range(9))
    running.intake.usage(
        "trunkline", lines + contract.call("x", called="12") + b"rubbish\n" + contract.call("c1")
    )
    running.intake.usage("trunkline", contract.call("c2", 99_000))
    running.intake.move([contract.topup("t1", 3), contract.topup("t2", 5, contract.BEN)])
    contract.charged(running, 73)
    embedded, served = EmbeddedReader(tmp_path / "data"), running.reader
    assert served.accounting() == embedded.accounting()
    for subscriber in (contract.ANNA, contract.BEN, 1):
        assert served.account(subscriber).tobytes() == embedded.account(subscriber).tobytes()
    begun = 1_772_359_200_000_000
    everyone: tuple[int | None, ...] = (contract.ANNA, contract.BEN, None)
    for who in everyone:
        for from_us, until_us in (EVER, (begun, begun + 1), (begun + 1, begun + 10), (0, begun)):
            for limit, offset in ((1, 0), (7, 0), (7, 7), (7, 65), (500, 0)):
                asked = (who, from_us, until_us, limit, offset)
                assert served.usage(*asked).equals(embedded.usage(*asked)), asked
                assert served.entries(*asked).equals(embedded.entries(*asked)), asked
    for name in ("c1", "b8", "c99"):
        assert served.usage_record("trunkline", name).equals(embedded.usage_record("trunkline", name))
    assert served.subscribers(0, 1) == embedded.subscribers(0, 1)
    for who in everyone:
        assert served.movements(who, 10).equals(embedded.movements(who, 10))
        assert served.movements(who, 1, 1).equals(embedded.movements(who, 1, 1))
        told = embedded.alerts(0, 10, who).drop("number")
        assert served.alerts(0, 10, who).drop("number").equals(told)
    for shown, kept in (
        (served.rejects(None, 10), embedded.rejects(None, 10)),
        (served.rejects("unreadable", 10), embedded.rejects("unreadable", 10)),
        (served.held(10), embedded.held(10)),
    ):
        wanted = [name for name in kept.columns if name not in ("number", "path", "mapping")]
        assert len(shown)
        assert shown.select(wanted).equals(kept.select(wanted))
    mine, theirs = served.status(), embedded.status()
    for name in ("newest_us", "rejected_open", "held_open", "alerts", "movements", "accounting"):
        assert mine[name] == theirs[name], name


def test_a_decision_is_taken_once(connection: Connection) -> None:
    """Of two people who decide about one record, the second is told; a delivery that comes again changes nothing."""
    writer, reader = Writer(connection), CassandraReader(connection)
    rows = pl.DataFrame(
        {"file": [1, 1], "line": [3, 4], "reason": ["unreadable", "bad_time"], "raw": [b"a", b"b"]}
    )
    for _ in range(2):
        writer.rows(REJECTED, rows, 5, 7)
    first, second = reader.rejects(None, 10)["number"].to_list()
    assert reader.set_aside(REJECTED, first).raw == b"a"
    reader.settle(REJECTED, first, "closed", "anna")
    with pytest.raises(Refused, match="settled already"):
        reader.settle(REJECTED, first, "closed", "ben")
    with pytest.raises(Refused, match="settled already: closed"):
        reader.set_aside(REJECTED, first)
    with pytest.raises(Refused, match="There is no"):
        reader.set_aside(REJECTED, first + 1)
    with pytest.raises(Refused):
        reader.settle(REJECTED, second + (1 << 40), "closed", "ben")
    writer.rows(REJECTED, rows, 5, 7)
    assert reader.rejects(None, 10)["number"].to_list() == [second]


def test_looks_are_written_down(connection: Connection) -> None:
    """Audit events come back newest first, and reconciliations too."""
    audit, reader = CassandraAudit(connection), CassandraReader(connection)
    day = 86_400_000_000
    for at in range(5):
        audit.record(
            AuditEvent(20_000 * day + at * day // 2, "anna", "noc", "look", 2**64 - 1 - at, f"page {at}")
        )
    assert reader.audit(2)["detail"].to_list() == ["page 4", "page 3"]
    assert reader.audit(9, 2)["detail"].to_list() == ["page 2", "page 1", "page 0"]
    assert reader.audit(1)["subscriber"].to_list() == [2**64 - 5]
    audit.add_reconciliation(1, {"differences": 0})
    audit.add_reconciliation(2, {"differences": 3})
    assert [each["differences"] for each in reader.reconciliations(5)] == [3, 0]


def test_another_number_of_buckets_is_refused(connection: Connection) -> None:
    """Who looks with another number of buckets would find nobody."""
    contact = connection.contact
    other = type(contact)(**{**vars(contact), "buckets": contact.buckets * 2})
    with pytest.raises(Refused, match="buckets"):
        Connection(other)


def test_tables_of_another_version_are_refused(connection: Connection) -> None:
    """Rows that lie otherwise would be read as none; whoever connects is told what to do."""
    note = "INSERT INTO meta (name, value) VALUES ('layout', %s)"
    connection.session.execute(note, (1,))
    try:
        with pytest.raises(Refused, match=r"layout 1.*new keyspace"):
            Connection(connection.contact)
    finally:
        connection.session.execute(note, (LAYOUT,))


def test_a_balance_is_a_row(running: Running) -> None:
    """What the API shows of an account are its rows."""
    rows = running.reader.account(contract.BEN)
    assert rows[rows["kind"] == RowKind.BALANCE]["value"].tolist() == [1_500_000]
