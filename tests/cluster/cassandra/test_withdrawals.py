"""Records that take others back, on real brokers and Cassandra: in the end the cluster holds what one process holds.

Whoever settles dies after each of its steps once, and another one looks at the same moment.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from tests.billing import small
from tests.cluster.cassandra.test_commands import delivering
from tests.cluster.conftest import Cassandra, Kafka
from tests.cluster.kafka.running import Day
from tests.cluster.parity.comparing import EVER, same, same_account
from tests.rerating.small import history
from tests.waiting import until
from tests.withdrawals.small import Said, cancels, corrects, told
from tests.withdrawals.test_parts import part
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.cluster_withdrawals import ClusterWithdrawals
from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.kafka import enrol
from trunkline.bootstrap.serving import withdrawals_of
from trunkline.charging.reversal import with_references
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Stream
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES, TARIFFS
from trunkline.settings import Folders
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.reader import CassandraReader
from trunkline.stores.embedded.reader import EmbeddedReader

PATIENCE_S = 120.0
DAYS = list(small.records(12, 14))
MARK = r"~c\d+$"  # behind the name of what took a place
OWN = ("seq", "corrects_seq", "time_us", "identity", "check", "source", "plan")


class Killed(Exception):
    """Whoever settles is no more."""


class Dying(CassandraReader):
    """Dies instead of writing down that a record is settled, each record once."""

    def __init__(self, connection: Connection) -> None:
        """Over the tests' keyspace."""
        super().__init__(connection)
        self.died: Counter[int] = Counter()

    def settle(self, stream: Stream, number: int, decision: str, actor: str) -> None:
        """The first time it is the end."""
        self.died[number] += 1
        if self.died[number] == 1:
            raise Killed
        super().settle(stream, number, decision, actor)


def batches() -> list[list[Said]]:
    """A cancellation before its original, usage, a long call, what takes usage back, and what takes that back."""
    charged = [line for line in DAYS if line["type"] == "sms"]
    voice = [line for line in DAYS if line["type"] == "voice" and line["subscriber"] == small.number(0)]
    gone, wrong = charged[5], charged[6]
    better = corrects(wrong, events=3)
    call = [part(1, 10), part(2, 10), part(3, 5, last=True)]
    return [
        [cancels(gone)],
        [*DAYS, *call],
        [better, *map(cancels, voice), cancels(call[1])],
        [cancels(wrong, "second"), corrects(better, "best", events=2)],
    ]


@contextmanager
def settling(day: Day, connection: Connection, catalogue: Catalogue) -> Iterator[list[ClusterWithdrawals]]:
    """Two who settle: one dies at every record, the other does not."""
    mappings, reader = load_mappings(None), CassandraReader(connection)
    intake = ClusterIntake(day.server, day.plan, mappings, reader)
    try:
        both = [withdrawals_of(connection, intake, lambda: catalogue, mappings) for _ in range(2)]
        both[0]._reader = Dying(connection)
        yield both
    finally:
        intake.close()


def test_a_cluster_settles_what_a_folder_does(
    kafka: Kafka, cassandra: Cassandra, connection: Connection, tmp_path: Path
) -> None:
    """The same accounts, usage, entries, corrections, rejected and held ones, and who took whose place is shown."""
    told(tmp_path, *batches())
    day = Day.made(tmp_path, kafka.settings(), f"back-{os.getpid()}")
    catalogue = day.work("enrolling").tables[TARIFFS.name]
    assert isinstance(catalogue, Catalogue)
    assert enrol(day.server, day.plan, Folders(tariffs=str(tmp_path / "tariffs")), catalogue)
    theirs, ours = EmbeddedReader(tmp_path / "data"), CassandraReader(connection)
    with day.running(), delivering(day, cassandra):
        day.enrolled()
        lines = [orjson.dumps(line) + b"\n" for batch in batches() for line in batch]
        day.hand_in(b"".join(lines))
        day.drained(len(lines))
        until(
            lambda: len(ours.held(100)) == sum(map(len, batches())) - len(DAYS) - 3,
            "all are held",
            PATIENCE_S,
        )
        with settling(day, connection, catalogue) as both:
            until(lambda: _settled(both, ours), "nothing waits any more", PATIENCE_S, 0.2)
            until(lambda: _whole(ours, theirs), "all of it is delivered", PATIENCE_S, 0.2)
            assert [each.settle() for each in both] == [0, 0]
    for key in theirs.accounts().keys.tolist():
        assert same_account(ours.account(key), theirs.account(key))
    for stream, mine, wanted in (
        (CHARGED, ours.usage(None, *EVER, 10**6), theirs.usage(None, *EVER, 10**6)),
        (ENTRIES, ours.entries(None, *EVER, 10**6), theirs.entries(None, *EVER, 10**6)),
    ):
        same(stream.name, _unmarked(mine), _unmarked(wanted))
    found = ours.corrections_of(ours.usage(None, *EVER, 10**6))
    assert _plain(found) == _plain(history(tmp_path, CORRECTIONS))
    reasons = ours.rejects(None, 10**6).group_by("reason").len()
    assert dict(reasons.iter_rows()) == dict(theirs.rejects(None, 10**6).group_by("reason").len().iter_rows())
    _shown(ours)


def _settled(both: list[ClusterWithdrawals], reader: CassandraReader) -> bool:
    """Let both look, the second while the first has died; whether nothing waits."""
    for each in both:
        try:
            each.settle()
        except Killed:
            continue
    return not len(reader.held(1))


def _whole(ours: CassandraReader, theirs: EmbeddedReader) -> bool:
    """Whether as many uses and entries are shown, and the accounts are as they should be."""
    return (
        len(ours.usage(None, *EVER, 10**6)) == len(theirs.usage(None, *EVER, 10**6))
        and len(ours.entries(None, *EVER, 10**6)) == len(theirs.entries(None, *EVER, 10**6))
        and len(ours.corrections_of(ours.usage(None, *EVER, 10**6))) > 0
    )


def _unmarked(rows: pl.DataFrame) -> pl.DataFrame:
    """With the names that a data folder gives; identities follow from names."""
    if "record_id" not in rows.columns:
        return rows
    return rows.with_columns(
        pl.col("record_id").str.replace(MARK, ""),
        *(pl.lit(0, rows.schema[name]).alias(name) for name in ("identity", "check")),
    )


def _plain(corrections: pl.DataFrame) -> list[dict[str, Any]]:
    """Corrections without what is the engine's own."""
    names = [pl.col(name).str.replace(MARK, "") for name in ("correction_id", "movement_id", "record_id")]
    return corrections.drop(OWN).with_columns(names).sort("correction_id").to_dicts()


def _shown(reader: CassandraReader) -> None:
    """What corrected what, as the command line, the API and the page show it; the movements are booked."""
    rows = reader.usage(None, *EVER, 10**6)
    told_ = with_references(rows, reader.corrections_of(rows))
    names = ("record_id", "corrects", "corrected_by")
    marked = told_.filter(pl.col("record_id").str.contains(MARK)).select(names).sort("record_id")
    (best, best_of, _), (better, wrong, by) = marked.iter_rows()
    assert (best_of, by) == (better, best)
    assert dict(told_.select("record_id", "corrected_by").iter_rows())[wrong] == better
    movements = reader.movements(None, 1000)
    booked = movements.filter(pl.col("movement_id").str.contains("^(cancel|correct):msc:"))
    assert set(booked["status"]) == {"booked"}
    assert len(booked) == len(reader.corrections_of(rows))
