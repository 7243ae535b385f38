"""Charging goes on at another site, and comes home: a day at three sites is the day at one, to the micro-unit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day, small_day
from tests.cluster.mirror.conftest import Site, mirror
from tests.cluster.parity.comparing import COMPARED, Embedded, same, same_account
from tests.waiting import until
from trunkline.bootstrap.schemas import declare
from trunkline.cli import app
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.cutover import look
from trunkline.engines.plan import Plan
from trunkline.engines.wire import changes_out
from trunkline.kernel.grouped import Grouped
from trunkline.ports import Refused
from trunkline.records import charging, usage

NAME = "moving"
BUCKETS = 2
PLANNED: tuple[list[str], ...] = (
    ["--planned"],
    [],
)  # the first move, and the second, which reads the last hour again


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small operator's day in three parts, as files and as lines."""
    out = small_day(tmp_path_factory.mktemp("moving") / "operator", 60, 12)
    lines = b"".join(part.read_bytes() for part in sorted((out / "cdrs").iterdir())).splitlines(keepends=True)
    for number in range(3):
        part = lines[number * len(lines) // 3 : (number + 1) * len(lines) // 3]
        (out / f"part{number}.ndjson").write_bytes(b"".join(part))
    return out


def told(kafka: Kafka, prefix: str, *words: str) -> Any:
    """What `trunkline cluster cutover WORDS --json` answers at a site; raises what it refuses."""
    environment = {
        "TRUNKLINE_KAFKA_BROKERS": kafka.bootstrap_servers, "TRUNKLINE_KAFKA_PREFIX": prefix,
        "TRUNKLINE_KAFKA_BUCKETS": str(BUCKETS), "TRUNKLINE_KAFKA_COPIES": "1",
    }  # fmt: skip
    done = CliRunner().invoke(app, ["cluster", "cutover", *words, "--json"], env=environment)
    if done.exception is not None:
        raise done.exception
    return orjson.loads(done.stdout)


def copied(source: Day, there: Day) -> bool:
    """Whether every committed message of the source is in the target, and its groups stand where nothing is behind."""
    names = [source.plan.topic(stream) for stream in (*source.plan.edges, *source.plan.results)]
    names += [source.plan.work, source.plan.progress, source.plan.schemas, source.plan.catalogue]
    names += [source.plan.changelog(state) for state in source.plan.states]
    known = there.admin.list_topics(timeout=30).topics
    return (
        all(name in known and len(there.messages(name)) >= len(source.messages(name)) for name in names)
        and look(there.server, there.plan).behind == 0
    )


def charged_there(day: Day, part: bytes, records: int) -> None:
    """A worker at a site carries a part of the day to its end."""
    declare(day.server, day.plan, "kafka")
    with day.running("mover"):
        day.enrolled(600)
        day.hand_in(part, 50)
        day.drained(records)


@pytest.fixture
def embedded(operator: Path, tmp_path: Path) -> Embedded:
    """The day at one site."""
    return Embedded(
        operator, tmp_path / "embedded", [operator / f"part{number}.ndjson" for number in range(3)]
    )


@pytest.mark.timeout(2700)
def test_charging_moves_to_another_site_and_home(site: Site, operator: Path, embedded: Embedded) -> None:
    """Nothing is missing and nothing double; a worker that comes too early is refused at every site."""
    parts = [(operator / f"part{number}.ndjson").read_bytes() for number in range(3)]
    first = site("move1")
    day = Day.made(operator, first.settings(), NAME, BUCKETS)
    day.enrol()
    declare(day.server, day.plan, "kafka")
    records = 0  # read at the edges, those that came again among them
    here = first
    for number, part in enumerate(parts):
        records += part.count(b"\n")
        charged_there(day, part, records)
        if number == 2:
            break
        there = site(f"move{number + 2}")
        mirror(here, there, NAME)
        before, day = day, Day(operator, Server(there.bootstrap_servers), day.plan)
        until(partial(copied, before, day), "the mirror has everything", 600, 1.0)
        there.cluster.kill("mirror")
        here.kill("kafka")
        with pytest.raises(Refused, match="are copies of those on the brokers"):
            declare(day.server, day.plan, "kafka")
        found = told(there, NAME, "check")
        assert (found["copied"], found["behind"], found["active"]) == (True, 0, [])
        assert {each["state"] for each in found["buckets"]} == {"whole"}
        told(there, NAME, "apply", *PLANNED[number])
        records += 0 if PLANNED[number] else records  # the whole day is younger than an hour
        assert not told(there, NAME, "check")["copied"]
        with pytest.raises(Refused, match="nothing to move"):
            told(there, NAME, "apply", "--planned")
        here = there
    theirs = embedded.rows()
    for stream in (charging.CHARGED, charging.ENTRIES, charging.ALERTS):
        same(stream.name, day.rows(stream, len(theirs[stream.name])), theirs[stream.name])
    for stream in (usage.REJECTED, usage.HELD):  # what came again was set aside again
        ours, known = (
            frame.select(COMPARED[stream.name]) for frame in (day.rows(stream), theirs[stream.name])
        )
        assert set(map(str, ours.rows())) == set(map(str, known.rows()))
    accounts = embedded.reader.accounts()
    found_accounts = day.account(day.built(), accounts.keys)
    assert all(same_account(found_accounts[int(key)], accounts.rows_of(int(key))) for key in accounts.keys)
    sums = [sum(each) for each in zip(*day.accounts().values(), strict=True)]
    assert sums[1] == sum(each.rated for each in embedded.accounting().values())
    assert sums[5] == sum(each.charged_micros for each in embedded.accounting().values())
    assert sums[0] == sum(sums[1:5]), "everything is accounted for"


def torn(day: Day, plan: Plan) -> None:
    """A change of state whose progress was never copied."""
    rows: Any = charging.ACCOUNTS.dtype
    groups = Grouped(np.array([1], np.uint64), np.array([0, 1], np.int64), np.zeros(1, rows))
    sender = Producer({**day.server.common(), "acks": "all"})
    for value in changes_out(groups, 10**6):
        sender.produce(plan.changelog(charging.ACCOUNTS), value, partition=0)
    assert sender.flush(30) == 0


@pytest.mark.timeout(900)
def test_half_a_copy_is_not_charged_on(kafka: Kafka, operator: Path) -> None:
    """A bucket whose changelog and progress do not belong together is told, and nobody may go on with it."""
    day = Day.made(operator, kafka.settings(), "halved", BUCKETS)
    day.enrol()
    with day.running("mover"):
        day.enrolled(240)
    assert look(day.server, day.plan).torn == []
    with day.running("mover"):
        until(lambda: look(day.server, day.plan).active, "its workers are seen", 120, 0.5)
    torn(day, day.plan)
    (bucket,) = look(day.server, day.plan).torn
    assert bucket.partition == 0
    assert bucket.torn[day.plan.changelog(charging.ACCOUNTS)][0] == 10**6
    with pytest.raises(Refused, match="Bucket 0 was copied in part"):
        told(kafka, "halved", "check")
