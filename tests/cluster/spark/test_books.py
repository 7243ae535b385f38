"""Bills and what-ifs of a cluster are the embedded ones: by bucket without Spark, and whole by Spark itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.billing.small import PEOPLE
from tests.cluster.conftest import Kafka
from tests.cluster.spark.buckets import Rows, rows_by_bucket, set_aside
from tests.cluster.spark.day import (
    PARTITIONS,
    Day,
    Life,
    environment,
    kept,
    kill_all,
    produce,
    topics_of,
    words,
)
from tests.cluster.spark.operator import MONTH, NEXT, Operator, operator
from tests.cluster.spark.test_carry import carried, enrolled, messages
from tests.waiting import until
from trunkline.api.rerates import document, rows_of
from trunkline.bootstrap.bills import FolderBills, together
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings, tariff_files
from trunkline.bootstrap.kafka import plan_of
from trunkline.bootstrap.platform import ingest
from trunkline.bootstrap.platform import opened as opened_embedded
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.rerate_parts import added_up
from trunkline.bootstrap.rerating import FolderRerates
from trunkline.bootstrap.spark import judged_bucket, work_of
from trunkline.bootstrap.spark_bills import billed_bucket, checked_bucket, missing_of_bucket
from trunkline.bootstrap.spark_what_if import studied_bucket
from trunkline.bootstrap.what_if import answer_of, both_tariffs, days, what_if
from trunkline.charging.bills.issue import movements_of
from trunkline.engines.plan import buckets_of
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.spark.carry import bucket_folder
from trunkline.engines.wire import rows_out
from trunkline.kernel.dial import to_text
from trunkline.kernel.flow import Stream
from trunkline.ports import BillRun, Refused
from trunkline.records import charging, usage
from trunkline.records.bills import BILLS
from trunkline.records.charging import Cause
from trunkline.settings import Folders
from trunkline.stores.embedded.bill_files import BillFiles
from trunkline.stores.embedded.reader import EmbeddedReader

NOW_US = 1_800_000_000_000_000
# What is the engine's own: names, when it was made, and where the ledger stood.
OWN = ("seq", "bill_id", "issued_us", "cut_seq", "after_seq")


class Buckets:
    """A cluster's buckets, carried without Spark."""

    def __init__(self, folder: Path, tariffs: Path) -> None:
        """Open the accounts."""
        self.folders = Folders(data=folder / "driver", tariffs=str(tariffs))
        self.work, _, _ = work_of(self.folders, plan_of("t", PARTITIONS), str(folder / "buckets"))
        self.written: list[dict[str, Any]] = enrolled(self.work, self.folders)
        self.files = BillFiles(folder / "bills")
        self.lines: list[bytes] = []
        self._number = 0

    @property
    def catalogue(self) -> Any:
        """The tariff."""
        return self.work.tables[charging.TARIFFS.name]

    def carry(self, lines: Sequence[bytes]) -> None:
        """One micro-batch of usage."""
        raw = self.work.plan.topic(usage.RAW)
        self._carry(messages(raw, lines, len(self.lines)))
        self.lines += lines

    def book(self, bills: pl.DataFrame) -> None:
        """One micro-batch of what bills book; every movement comes twice."""
        moved = movements_of(bills.with_columns(pl.lit(0, pl.Int64).alias("seq")), self.catalogue)
        self.order(charging.MOVEMENTS, [*rows_out(moved)] * 2)

    def order(self, stream: Stream, values: Sequence[bytes]) -> None:
        """One micro-batch of orders."""
        self._carry(messages(self.work.plan.topic(stream), values))

    def under(self, tariffs: Path) -> None:
        """Go on under another tariff."""
        self.folders = Folders(data=self.folders.data, tariffs=str(tariffs))
        self.work, _, _ = work_of(self.folders, self.work.plan, self.work.folder)

    def _carry(self, batch: Any) -> None:
        self._number += 1
        self.written += carried(self.work, self._number, batch)

    def rows(self) -> Rows:
        """All that the topics hold."""
        return rows_by_bucket(self.work, self.lines, self.written)

    def state(self, bucket: int) -> Bucket:
        """A bucket's newest state."""
        return Bucket(bucket_folder(self.work.folder, bucket), self.work.plan.states, 10**6)

    def bill(self, period: int) -> BillRun:
        """The bill run, bucket by bucket."""
        done, rows = BillRun(period, 0, 0, 0, 0, 0, 0, 0.0), self.rows()
        for at in range(PARTITIONS):
            part = billed_bucket(rows[at], self.state(at), self.catalogue, self.files.folder, period, NOW_US)
            done = together(done, part)
        return done

    def differences(self) -> tuple[int, int, int]:
        """What checking finds: differences, and both sums."""
        rows = self.rows()
        found = [
            checked_bucket(rows[at], self.state(at), self.catalogue, self.files.folder, None)
            for at in range(PARTITIONS)
        ]
        sums = np.array([(len(each.differences), each.bill_micros, each.ledger_micros) for each in found])
        differing, on_bills, in_ledger = sums.sum(axis=0).tolist()
        return differing, on_bills, in_ledger


@contextmanager
def embedded(folder: Path, tariffs: Path) -> Iterator[tuple[Any, FolderBills]]:
    """The operator embedded."""
    with opened_embedded(Folders(data=folder / "embedded", tariffs=str(tariffs))) as platform:
        data = folder / "embedded"
        yield platform, FolderBills(data, lambda: platform.catalogue, platform.engine, now_us=lambda: NOW_US)


def charge(platform: Any, path: Path, lines: Sequence[bytes]) -> None:
    """Charge lines embedded."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert not ingest(platform, [path], None, None).troubles


def plain(bills: pl.DataFrame | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bills without what is the engine's own, in the order of their accounts."""
    rows = bills.to_dicts() if isinstance(bills, pl.DataFrame) else bills
    known = set(BILLS.record.schema) - set(OWN)
    found = [{name: row[name] for name in row if name in known} for row in rows]
    return sorted(found, key=lambda row: (row["period"], row["subscriber"]))


@pytest.fixture
def people(tmp_path: Path) -> Operator:
    """The operator."""
    return operator(tmp_path / "operator")


def test_two_months_of_bills(people: Operator, tmp_path: Path) -> None:
    """Bills of both months, late records on the later ones, are the embedded ones; each is booked once, and agrees."""
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry(people.october)
    with embedded(tmp_path, people.tariffs) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", people.october)
        wanted = bills.run(MONTH)
        assert wanted.bills == PEOPLE
        found = buckets.bill(MONTH)
        assert (found.bills, found.total_micros) == (PEOPLE, wanted.total_micros)
        assert found.payable_micros == wanted.payable_micros
        assert set(found.payable_micros) == {"EUR", "KWD"}
        assert plain(buckets.files.bills(limit=1000)) == plain(bills.bills(None, None, 1000))
        again = buckets.bill(MONTH)
        assert (again.bills, again.billed) == (0, PEOPLE)
        assert buckets.bill(202412).behind == PEOPLE
        differing, on_bills, in_ledger = buckets.differences()
        assert differing > 0, "what bills add is not in the ledger before it is carried"
        for _ in range(2):  # a run that was started again hands it in again
            buckets.book(buckets.files.bills(limit=1000))
        assert buckets.differences() == (0, on_bills, on_bills)
        assert in_ledger != on_bills
        buckets.carry(people.late)
        buckets.carry(people.november)
        charge(platform, tmp_path / "b.ndjson", people.late)
        charge(platform, tmp_path / "c.ndjson", people.november)
        assert bills.run(NEXT).bills == buckets.bill(NEXT).bills == PEOPLE
        buckets.book(buckets.files.bills(period=NEXT, limit=1000))
        every = buckets.files.bills(limit=1000)
        assert any(line["earlier"] for row in every["lines"] for line in row)
        assert plain(every) == plain(bills.bills(None, None, 1000))
        assert buckets.differences()[0] == 0
        assert buckets.differences()[1] == bills.check(None).bill_micros
    assert_booked_like(buckets, EmbeddedReader(tmp_path / "embedded"))


def assert_booked_like(buckets: Buckets, known: EmbeddedReader) -> None:
    """Every account holds what it does embedded, and charging the history once more finds the same."""
    accounts = known.accounts()
    of_bucket = buckets_of(accounts.keys, PARTITIONS)
    rows = buckets.rows()
    rejected = set_aside(rows)
    for at in range(PARTITIONS):
        keys = accounts.keys[of_bucket == at]
        held = buckets.state(at).gather(charging.ACCOUNTS, keys)
        for key in keys.tolist():
            assert np.array_equal(np.sort(held.rows_of(key)), np.sort(accounts.rows_of(key)))
        found = judged_bucket(rows[at], buckets.state(at), buckets.catalogue, rejected, BEGINNING_US, END_US)
        assert (found["differences"], found["account_differences"]) == (0, 0)


def test_a_missing_rate_is_told_before_any_bill(people: Operator, tmp_path: Path) -> None:
    """Of all buckets together: the accounts that lack it, and no bill is kept; with the rate nothing is missing."""
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry(people.october)
    exchange = buckets.catalogue.exchange
    later = replace(buckets.catalogue, exchange=replace(exchange, rates=exchange.rates[1:]))

    def missing(catalogue: Any) -> int:
        return sum(
            each.accounts
            for at in range(PARTITIONS)
            for each in missing_of_bucket(buckets.state(at), catalogue, buckets.files.folder, MONTH, NOW_US)
        )

    assert (missing(buckets.catalogue), missing(later)) == (0, 2)
    at = next(
        at
        for at in range(PARTITIONS)
        if missing_of_bucket(buckets.state(at), later, buckets.files.folder, MONTH, NOW_US)
    )
    with pytest.raises(Refused, match="no rate of KWD"):
        billed_bucket(buckets.rows()[at], buckets.state(at), later, buckets.files.folder, MONTH, NOW_US)
    assert not len(buckets.files.bills())


def test_an_entry_that_is_there_twice_is_found(people: Operator, tmp_path: Path) -> None:
    """Checking names the bill whose movement stands in the ledger twice."""
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry(people.october)
    buckets.bill(MONTH)
    buckets.book(buckets.files.bills(limit=1000))
    rows = buckets.rows()[0][charging.ENTRIES.name]
    twice = rows.filter(pl.col("cause") == int(Cause.BILL))[:1].with_columns(pl.col("seq") + (1 << 40))
    found = checked_bucket(
        {charging.ENTRIES.name: pl.concat([rows, twice])}, buckets.state(0), buckets.catalogue,
        buckets.files.folder, None,
    )  # fmt: skip
    assert found.differences["what"].to_list() == ["what the bill booked"]
    named = buckets.files.bill(found.differences["bill_id"].item())
    assert named["subscriber"].to_list() == twice["subscriber"].to_list()


def test_two_runs_at_once_make_each_bill_once(people: Operator, tmp_path: Path) -> None:
    """Of two runs that saw the same bills one keeps its own; the other is told, and finds them when it looks again."""
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry(people.october)
    before = buckets.files.known(0)
    buckets.bill(MONTH)
    mine = buckets.files.of_bucket(0)
    with pytest.raises(FileExistsError):
        buckets.files.add(0, before.next, mine)
    assert len(mine)
    assert buckets.files.of_bucket(0).equals(mine)
    assert buckets.bill(MONTH).billed == PEOPLE


def test_a_bucket_of_nobody_has_no_bills(people: Operator, tmp_path: Path) -> None:
    """A bucket in which nobody lives is passed over, and an account that never used anything has its bill."""
    buckets = Buckets(tmp_path, people.tariffs)
    empty = Bucket(tmp_path / "0009", buckets.work.plan.states, 1)
    done = billed_bucket({}, empty, buckets.catalogue, buckets.files.folder, MONTH, NOW_US)
    assert (done.bills, done.billed, done.ahead) == (0, 0, 0)
    assert not buckets.files.folder.joinpath("0009").exists()
    assert buckets.bill(MONTH).bills == PEOPLE, "fees are asked without any usage"


def test_what_was_left_half_written_is_no_bill(people: Operator, tmp_path: Path) -> None:
    """A file that a killed run left before it had its name is passed over, and the bill is made."""
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry(people.october)
    folder = buckets.files.folder / "0000"
    folder.mkdir(parents=True)
    (folder / ".000000.parquet.host.1").write_bytes(b"PAR1 and no more")
    assert buckets.bill(MONTH).bills == PEOPLE
    assert sorted(buckets.files.bills(limit=1000)["bill_id"].unique()) == sorted(
        buckets.files.bills(limit=1000)["bill_id"]
    )


def test_a_what_if_by_bucket_is_the_embedded_one(people: Operator, tmp_path: Path) -> None:
    """The parts of the buckets add up to the answer that the embedded engine gives, table by table."""
    draft = tariff_files(people.draft(tmp_path / "draft"))
    buckets = Buckets(tmp_path, people.tariffs)
    buckets.carry([*people.october, *people.november])
    with embedded(tmp_path, people.tariffs) as (platform, _):
        charge(platform, tmp_path / "a.ndjson", [*people.october, *people.november])
    rows = buckets.rows()
    rejected, tariffs = set_aside(rows), both_tariffs(buckets.folders.data, draft)
    november_us = int(np.datetime64("2024-11-01", "us").astype(np.int64))
    for moments in ((BEGINNING_US, END_US), (november_us, END_US)):
        wanted = what_if(EmbeddedReader(tmp_path / "embedded"), draft, load_mappings(), *moments)
        parts = [
            studied_bucket(rows[at], buckets.state(at), tariffs, rejected, *moments)
            for at in range(PARTITIONS)
        ]
        nobody = studied_bucket(
            {}, Bucket(tmp_path / "0009", buckets.work.plan.states, 1), tariffs, rejected, *moments
        )
        found = answer_of([nobody, *parts], tariffs, *moments, 0.0)
        assert found | {"seconds": 0} == wanted | {"seconds": 0}
        assert found["ledger"]["agrees"]
        assert found["pays"]["more"]["subscribers"] > 0


def asked(around: dict[str, str], *command: str) -> Any:
    """What a command answers as JSON."""
    done = subprocess.run(
        words(*command, "--json"), env=around, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def killed_run(around: dict[str, str], files: Path, *command: str) -> None:
    """Begin a command and `kill -9` it, its JVM and its workers as soon as the first bucket's bills are kept."""
    process = subprocess.Popen(
        words(*command), env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    until(lambda: any(files.glob("*/*.parquet")) or process.poll() is not None, "a bucket's bills are kept")
    kill_all(process)
    assert any(files.glob("*/*.parquet")), "it ended before it kept a bill"


@pytest.mark.timeout(2400)
def test_a_month_by_spark(kafka: Kafka, connector: str, people: Operator, tmp_path: Path) -> None:
    """What-if and bill run by command, on real topics: as embedded, each bill once although the run was killed."""
    servers, checkpoint = kafka.bootstrap_servers, tmp_path / "spark"
    plan = topics_of(servers, "books")
    produce(servers, plan, people.october)
    with embedded(tmp_path, people.tariffs) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", people.october)
        draft = people.draft(tmp_path / "draft")
        known = EmbeddedReader(tmp_path / "embedded")
        month = what_if(known, tariff_files(draft), load_mappings(), *days("2024-10-10", "2024-10-20"))
        assert bills.run(MONTH).bills == PEOPLE
        wanted = bills.bills(None, None, 1000)
    day = Day(tmp_path / "operator", people.october, known)
    Life(day, servers, plan, checkpoint, connector).result(800)
    around = environment(servers, plan, checkpoint, connector)
    where = ("--data", str(checkpoint / "driver"), "--engine", "spark")
    period = ("--from", "2024-10-10", "--to", "2024-10-20", "--full")
    found = asked(around, "whatif", "--tariffs", str(draft), *period, *where)
    whose = {"most_more", "most_less"}
    same = set(month) - whose - {"seconds"}
    assert {name: found[name] for name in same} == {name: month[name] for name in same}
    for name in whose:
        told = [row | {"subscriber": to_text(row["subscriber"])} for row in month[name]]
        assert found[name] == told
    assert_previewed(around, draft, tmp_path, where)
    files = BillFiles(checkpoint / "bills")
    run = ("bill", "run", "--period", "2024-10", *where)
    killed_run(around, files.folder, *run)
    before = files.bills(limit=1000)
    done = asked(around, *run)
    assert done["bills"] + done["billed"] == PEOPLE
    after = files.bills(limit=1000)
    assert plain(after) == plain(wanted)
    assert before.equals(after.join(before, on="bill_id", how="semi")), (
        "a bill that is there is never changed"
    )
    Life(day, servers, plan, checkpoint, connector).result(800)
    checked = asked(around, "bill", "check", *where)
    total_micros = sum(bill["total_micros"] for bill in wanted)
    assert (checked["bills"], checked["differences"]) == (PEOPLE, [])
    assert checked["bill_micros"] == checked["ledger_micros"] == total_micros
    sums = {row["currency"]: row["payable_micros"] for row in checked["currencies"]}
    assert sums["KWD"] == sum(bill["payable"]["micros"] for bill in wanted if bill["payable"])
    assert sums["EUR"] == sum(bill["total_micros"] for bill in wanted if not bill["payable"])
    booked = kept(servers, plan, charging.ENTRIES).filter(pl.col("cause") == int(Cause.BILL))
    assert len(booked.unique(("seq", "part"))) == sum(bill["extra_micros"] != 0 for bill in wanted)
    listed = asked(around, "bill", "list", "--limit", "1000", *where)
    assert sorted(each["bill_id"] for each in listed) == sorted(after["bill_id"])
    assert not any(each["subscriber"].isdigit() for each in listed), "numbers are masked"


def assert_previewed(around: dict[str, str], draft: Path, folder: Path, where: tuple[str, ...]) -> None:
    """Re-rating some days by a draft comes to what it does embedded, record by record."""
    moments = days("2024-10-10", "2024-10-20")
    data = folder / "embedded"
    rerates = FolderRerates(data, lambda: load_catalogue(data, None), load_mappings())
    wanted = rerates.preview(*moments, None, None, tariff_files(draft))
    rows = list(rows_of(rerates.corrections(wanted["rerate_id"]), to_text))
    csv = folder / "records.csv"
    period = ("--from", "2024-10-10", "--to", "2024-10-20", "--full", "--csv", str(csv))
    found = asked(around, "rerate", "preview", *period, "--tariffs", str(draft), *where)
    told = document(wanted, to_text)
    assert {name: found[name] for name in added_up([])} == {name: told[name] for name in added_up([])}
    assert found["records_differing"] > 0
    lines = csv.read_text().splitlines()
    assert sorted(lines[1:]) == sorted(",".join(map(str, row)) for row in rows[1:])
