"""A re-rating that is booked on a cluster is the embedded one, once, whoever dies: by bucket, and by Spark itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.cluster.conftest import Kafka
from tests.cluster.spark.buckets import set_aside
from tests.cluster.spark.day import (
    PARTITIONS,
    Day,
    Life,
    assert_same_accounts,
    environment,
    kept,
    kill_all,
    produce,
    topics_of,
    words,
)
from tests.cluster.spark.operator import Operator, operator
from tests.cluster.spark.test_books import NOW_US, Buckets, asked, assert_booked_like, charge, embedded
from tests.waiting import until
from trunkline.bootstrap.catalogues import tariff_files
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.rerate_parts import About
from trunkline.bootstrap.rerating import FolderRerates
from trunkline.bootstrap.spark_rerating import ClusterRerates, previewed_bucket, summary_of
from trunkline.bootstrap.what_if import days
from trunkline.cli import app
from trunkline.ports import NoAnswer, Refused, Rerated
from trunkline.records.charging import CHARGED, CORRECTIONS, RERATES
from trunkline.stores.embedded.reader import EmbeddedReader
from trunkline.stores.embedded.rerate_files import RerateFiles

EVER = About(BEGINNING_US, END_US)
SAID = ("correction_id", "movement_id", "seq", "corrects_seq", "time_us")  # what is the engine's own


class Killed(Exception):
    """Whoever booked is no more."""


class Cluster:
    """A cluster's buckets that were charged under a wrong tariff and go on under the right one."""

    def __init__(self, folder: Path, people: Operator, right: Path, lines: list[bytes]) -> None:
        self.buckets = Buckets(folder, people.tariffs)
        self.buckets.carry(lines)
        self.buckets.under(right)
        self.files = RerateFiles(folder / "rerates")
        self.sent: list[bytes] = []
        self.tariff = self.buckets.catalogue.fingerprint

    def preview(self, name: str) -> dict[str, Any]:
        """Kept as the tasks of Spark and their driver keep it."""
        rows, catalogue, begun = self.buckets.rows(), self.buckets.catalogue, self.files.begun(name)
        rejected, sums = set_aside(rows), []
        for at in range(PARTITIONS):
            state = self.buckets.state(at)
            orders, part = previewed_bucket(rows[at], state, catalogue, rejected, EVER, name, NOW_US)
            self.files.add(begun, at, orders)
            sums.append(part)
        self.files.keep(begun, name, summary_of(sums, catalogue, EVER, name, NOW_US, draft=False))
        return self.rerates(self.carry).told(self.rerates(self.carry).known(name))

    def rerates(self, send: Any) -> ClusterRerates:
        """Previews, whose orders are sent in some way."""
        plan, state = self.buckets.work.plan, self.buckets.work.folder
        return ClusterRerates(self.files, plan, state, lambda: self.tariff, send)

    def book(self, name: str, send: Any = None) -> Rerated:
        """Book, with a query that carries what is sent at once."""
        return self.rerates(send or self.carry).book(name, 0.0)

    def carry(self, values: Iterable[bytes]) -> None:
        """Every order comes twice."""
        self.buckets.order(RERATES, [*values] * 2)

    def lay_up(self, values: Iterable[bytes]) -> None:
        """The query is stopped."""
        self.sent += values

    def die(self, values: Iterable[bytes]) -> None:
        """What one bucket's orders are is sent, and then whoever sends is killed."""
        self.carry(values)
        raise Killed


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The operator."""
    return operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def right(people: Operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tariff as it should have been."""
    return people.draft(tmp_path_factory.mktemp("right") / "tariffs")


@pytest.fixture
def cluster(people: Operator, right: Path, tmp_path: Path) -> Cluster:
    """October, charged."""
    return Cluster(tmp_path, people, right, people.october)


def corrected(buckets: Buckets) -> pl.DataFrame:
    """All corrections that reached the topics."""
    parts = [rows[CORRECTIONS.name] for rows in buckets.rows().values() if CORRECTIONS.name in rows]
    return pl.concat([CORRECTIONS.record.empty(), *parts])


def plain(corrections: pl.DataFrame) -> list[Any]:
    """Corrections without what is the engine's own."""
    names = ("source", "plan")
    rows = corrections.drop(SAID).with_columns(pl.col(names).cast(pl.String)).sort("identity")
    return rows.to_dicts()


def test_it_is_the_embedded_one(cluster: Cluster, people: Operator, right: Path, tmp_path: Path) -> None:
    """Preview, booking, every correction and every account are the embedded ones; booking again changes nothing."""
    with embedded(tmp_path, people.tariffs) as (platform, _):
        charge(platform, tmp_path / "a.ndjson", people.october)
    with embedded(tmp_path, right) as (platform, _):
        known = FolderRerates(
            tmp_path / "embedded", lambda: platform.catalogue, platform.mappings, platform.engine
        )
        wanted = known.preview(EVER.from_us, EVER.until_us)
        done = known.book(wanted["rerate_id"])
    found = cluster.preview("a" * 16)
    assert found["state"] == "preview"
    booked = cluster.book("a" * 16)
    assert (booked.booked, booked.records, booked.micros) == (done.booked, done.records, done.micros)
    assert (booked.repeated, booked.moved) == (0, 0)
    assert booked.booked == found["accounts_differing"] > 5
    reader = EmbeddedReader(tmp_path / "embedded")
    made = pl.concat(reader.scan(CORRECTIONS, BEGINNING_US, END_US))
    assert plain(corrected(cluster.buckets)) == plain(made)
    assert_booked_like(cluster.buckets, reader)
    again = cluster.book("a" * 16)
    assert (again.booked, again.repeated, again.moved) == (0, done.booked, 0)
    told = cluster.rerates(cluster.carry).told(cluster.rerates(cluster.carry).known("a" * 16))
    assert (told["state"], told["booked_micros"]) == ("booked", done.micros)
    assert_booked_like(cluster.buckets, reader)
    assert cluster.preview("b" * 16)["state"] == "nothing to book"


def test_an_account_that_moved_is_left(cluster: Cluster, people: Operator) -> None:
    """Usage after the preview leaves its account as it is, told; a new preview finds the rest."""
    found = cluster.preview("a" * 16)
    cluster.buckets.carry(people.late[:9])
    done = cluster.book("a" * 16)
    assert 0 < done.moved < found["accounts_differing"]
    assert done.booked + done.moved == found["accounts_differing"]
    assert cluster.book("a" * 16).moved == done.moved, "whoever asks again is told the same"
    assert cluster.preview("b" * 16)["accounts_differing"] == done.moved
    assert (cluster.book("b" * 16).booked, cluster.book("b" * 16).repeated) == (done.moved, done.moved)
    assert cluster.preview("c" * 16)["accounts_differing"] == 0


def test_who_dies_in_between_is_followed(cluster: Cluster) -> None:
    """Killed after some orders were sent and carried, the rest is booked by the next, and nothing twice."""
    found = cluster.preview("a" * 16)
    with pytest.raises(Killed):
        cluster.book("a" * 16, cluster.die)
    made = len(corrected(cluster.buckets))
    assert 0 < made < found["records_differing"]
    done = cluster.book("a" * 16)
    assert 0 < done.booked < found["accounts_differing"]
    assert done.booked + done.repeated == found["accounts_differing"]
    assert len(corrected(cluster.buckets)) == found["records_differing"]
    assert cluster.preview("b" * 16)["state"] == "nothing to book"


def test_a_query_that_is_stopped_books_later(cluster: Cluster) -> None:
    """Nobody answers: that is told, and what was handed in is carried as soon as the query runs."""
    found = cluster.preview("a" * 16)
    with pytest.raises(NoAnswer, match="not carried them yet"):
        cluster.book("a" * 16, cluster.lay_up)
    assert not len(corrected(cluster.buckets))
    cluster.carry(cluster.sent)
    done = cluster.book("a" * 16)
    assert (done.booked, done.repeated) == (0, found["accounts_differing"])


def test_only_the_tariff_in_force_is_booked(cluster: Cluster, people: Operator) -> None:
    """Neither a folder nor a query that charges by another tariff books a preview."""
    cluster.preview("a" * 16)
    cluster.tariff = "another"
    with pytest.raises(Refused, match="another tariff"):
        cluster.book("a" * 16)
    cluster.tariff = cluster.buckets.catalogue.fingerprint
    cluster.buckets.under(people.tariffs)
    with pytest.raises(Refused, match="query charges by another tariff"):
        cluster.book("a" * 16)
    assert not len(corrected(cluster.buckets))
    with pytest.raises(Refused, match="no preview"):
        cluster.book("0" * 16)


def test_a_preview_is_kept_once(cluster: Cluster) -> None:
    """Of two that are worked out at once the first one stays; what is not whole is no preview."""
    cluster.preview("a" * 16)
    before = [(at, orders.rows()) for at, orders in cluster.files.orders("a" * 16)]
    begun = cluster.files.begun("a" * 16)
    cluster.files.add(begun, 0, RERATES.record.empty())
    assert [each["rerate_id"] for each in cluster.files.every()] == ["a" * 16]
    cluster.files.keep(begun, "a" * 16, {})
    assert [(at, orders.rows()) for at, orders in cluster.files.orders("a" * 16)] == before
    assert not [*cluster.files.folder.glob(".*")]


def test_what_commands_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another engine, another tariff than the query's, what is not there: each is told with what to do."""
    monkeypatch.setenv("TRUNKLINE_SPARK_CHECKPOINT", str(tmp_path / "spark"))
    spark, name = ("--engine", "spark", "--data", str(tmp_path)), "0" * 16
    period = ("--from", "2024-10-01", "--to", "2024-10-31")
    for words_, told in (
        (("list", "--engine", "kafka"), "nothing is previewed yet"),
        (("book", name, *spark, "--tariffs", "other"), "start it with --tariffs first"),
        (("book", name, *spark), "There is no preview"),
        (("show", name, *spark), "There is no preview"),
        (("preview", *period, *spark), "holds no state of Spark's"),
    ):
        answer = CliRunner().invoke(app, ["rerate", *words_])
        assert isinstance(answer.exception, Refused)
        assert told in str(answer.exception)
    assert "no preview yet" in CliRunner().invoke(app, ["rerate", "list", *spark]).stdout


@contextmanager
def charging(around: dict[str, str], *where: str) -> Iterator[None]:
    """The query, until nobody needs it any more."""
    process = subprocess.Popen(
        words("run", *where), env=around, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
        assert process.poll() is None, "the query ended by itself"
    finally:
        kill_all(process)


@pytest.mark.timeout(900)
def test_by_commands(kafka: Kafka, connector: str, people: Operator, right: Path, tmp_path: Path) -> None:
    """Previewed and booked on real topics beside a running query, killed in between: the embedded books, moved told."""
    servers, checkpoint, ever = kafka.bootstrap_servers, tmp_path / "spark", ("2024-10-01", "2024-10-31")
    plan, data = topics_of(servers, "rerates"), checkpoint / "driver"
    around, where = (
        environment(servers, plan, checkpoint, connector),
        ("--data", str(data), "--engine", "spark"),
    )
    produce(servers, plan, people.october)
    with embedded(tmp_path, people.tariffs) as (platform, _):
        charge(platform, tmp_path / "a.ndjson", people.october)
    known = Day(people.tariffs.parent, people.october, EmbeddedReader(tmp_path / "embedded"))
    Life(known, servers, plan, checkpoint, connector).result(800)
    before = len(kept(servers, plan, CHARGED))
    preview = ("rerate", "preview", "--from", ever[0], "--to", ever[1], "--tariffs", str(right), *where)
    found = asked(around, *preview)
    book = ("rerate", "book", found["rerate_id"], *where)
    with charging(around, *where, "--tariffs", str(right)):
        wanted = embedded_booking(tmp_path, people, right, ever)
        produce(servers, plan, people.late[:1])
        until(lambda: len(kept(servers, plan, CHARGED)) > before, "the query goes on, by the right tariff")
        killed = subprocess.Popen(
            words(*book), env=around, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        until(lambda: len(kept(servers, plan, RERATES)), "orders are handed in")
        kill_all(killed)
        answers = []
        for _ in range(2):
            done = subprocess.run(
                words(*book, "--json"), env=around, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 9, done.stderr[-4000:]
            answers.append(json.loads(done.stdout.splitlines()[-1]))
        assert [each["booked"] + each["repeated"] for each in answers] == [wanted.booked] * 2
        assert [each["moved"] for each in answers] == [wanted.moved] * 2 == [1, 1]
        assert answers[-1]["booked"] == 0
    told = asked(around, "rerate", "show", found["rerate_id"], *where)
    assert (told["state"], told["booked_micros"]) == ("partly booked", wanted.micros)
    reader = EmbeddedReader(tmp_path / "embedded")
    made = pl.concat(reader.scan(CORRECTIONS, BEGINNING_US, END_US))
    assert plain(kept(servers, plan, CORRECTIONS).unique("seq")) == plain(made)
    assert_same_accounts(known, plan, checkpoint)


def embedded_booking(folder: Path, people: Operator, right: Path, ever: tuple[str, str]) -> Rerated:
    """The same embedded: previewed, then somebody uses something, then booked."""
    with embedded(folder, right) as (platform, _):
        rerates = FolderRerates(
            folder / "embedded", lambda: platform.catalogue, platform.mappings, platform.engine
        )
        found = rerates.preview(*days(*ever), tariffs=tariff_files(right))
        charge(platform, folder / "b.ndjson", people.late[:1])
        return rerates.book(found["rerate_id"])
