"""A simulated day of a network in batches, through the embedded engine and onto real brokers, and what each made of it.

A batch is one message, and one file: its border is the same for every engine, because findings that depend on the clock
say when it was that they were told.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import orjson
import polars as pl
import polars.testing
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.cluster.kafka.running import Day
from tests.waiting import until
from trunkline.bootstrap import network as watched
from trunkline.bootstrap import network_cluster as cluster
from trunkline.bootstrap.kafka import plan_of as usage_plan
from trunkline.bootstrap.network_worth import Worth, reading
from trunkline.bootstrap.replay import EVENTS, MEASURED, TICKETS, pieces
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.epochs import ROLES
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.kafka.worker import Worker
from trunkline.engines.plan import Plan
from trunkline.engines.stages import Staged
from trunkline.engines.wire import rows_out
from trunkline.kernel.flow import Stream
from trunkline.ports import Accounting, Commit
from trunkline.records import charging, network
from trunkline.simulator import Settings
from trunkline.stores.embedded.network import FOLDER

HOURS = int(os.environ.get("TRUNKLINE_TEST_NETWORK_HOURS", "10"))
PERIODS_A_BATCH = int(os.environ.get("TRUNKLINE_TEST_NETWORK_PERIODS", "6"))
DAY = Settings(seed=7, subscribers=1_000, cells=40, hours=HOURS, start=date(2026, 11, 3))
COMPARED = {network.REJECTED.name: ["source", "reason", "detail"], network.HELD.name: ["source", "reason"],
            network.DUPLICATES.name: ["source"]}  # fmt: skip
NEVER_S = 1e9
START_US = 1_793_664_000_000_000


@dataclass(frozen=True)
class Batch:
    """Octets that are carried together."""

    mapping: str
    source: str
    octets: bytes


def batches(folder: Path, periods: int = PERIODS_A_BATCH) -> list[Batch]:
    """The day, some periods at a time; at its end a period that came before, rubbish, and an event told otherwise."""
    day = list(pieces(folder))
    found = []
    for first in range(0, len(day), periods):
        part = day[first : first + periods]
        for mapping, source, octets in (
            (MEASURED, "ran", b"".join(piece.measured for piece in part)),
            (EVENTS, "elements", b"".join(piece.events for piece in part)),
            (TICKETS, "care", b"".join(piece.tickets for piece in part)),
        ):
            if octets:
                found.append(Batch(mapping, source, octets))
    event = orjson.loads(next(batch for batch in found if batch.mapping == EVENTS).octets.splitlines()[0])
    other = orjson.dumps({**event, "text": "told otherwise"}) + b"\n"
    again = day[-1].measured + b"rubbish\n" + day[0].measured
    return [
        *found,
        Batch(MEASURED, "ran", again),
        Batch(EVENTS, "elements", other + orjson.dumps(event) + b"\n"),
    ]


def network_folder(day: Path, data: Path) -> Path:
    """A network's folder with the day's inventory in force, and promises to some."""
    folder = data / FOLDER
    folder.mkdir(parents=True)
    watched.keep_inventory(folder, watched.inventory_files([day / "inventory"]))
    area = watched.load_inventory(folder).areas["name"][0]
    (folder / watched.AGREEMENTS).write_text(
        "".join(
            f"{name}:\n  enterprise: Fair\n  area: {area}\n  kpi: PRBUsageDl\n  mark: {mark}\n  share: 99\n"
            for name, mark in (("hall", 80), ("promised too much", 1))
        )
    )
    return folder


class Embedded:
    """The same batches through the embedded engine: what every other engine is measured by."""

    def __init__(
        self, data: Path, day: Sequence[Batch], spare: Path, worth: pl.DataFrame = watched.NO_WORTH
    ) -> None:
        """Carry the batches, each to its end before the next; `worth` is what cells are worth."""
        self.frames: dict[str, list[pl.DataFrame]] = {}
        with watched.opened_network(data) as opened:
            opened.engine.replace_table(network.WORTH.name, worth).result()
            opened.engine.listeners.append(self._heard)
            for number, batch in enumerate(day):
                path = spare / f"{number:04d}.ndjson"
                path.write_bytes(batch.octets)
                _, troubles = watched.ingest_telemetry(opened, [(path, batch.mapping, batch.source)])
                assert not troubles
            self.accounting: dict[str, Accounting] = {
                each.source: each for each in opened.reader.accounting()
            }

    def _heard(self, commit: Commit) -> None:
        for name, rows in commit.frames.items():
            self.frames.setdefault(name, []).append(rows)

    def rows(self, stream: Stream) -> pl.DataFrame:
        """Everything that was written of a stream."""
        frames = self.frames.get(stream.name, [])
        return (
            pl.concat([stream.record.conform(frame) for frame in frames]) if frames else stream.record.empty()
        )


def same(stream: Stream, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Fail with the first differences; the order of rows means nothing, and places are each engine's own."""
    names = COMPARED.get(stream.name, stream.record.schema.names())
    order = [name for name in names if not isinstance(stream.record.schema[name], pl.List)]
    polars.testing.assert_frame_equal(
        ours.select(names).sort(order, nulls_last=True), theirs.select(names).sort(order, nulls_last=True)
    )


@dataclass
class Workers:
    """Workers on the topics of one network, in this process."""

    day: Day
    workers: list[Worker]

    def hand_in(self, batch: Batch) -> None:
        """Hand in a batch as one message."""
        hand_in(self.day.server, self.day.plan, batch)

    def carried(self, epoch: int) -> None:
        """Wait until every partition has carried so many epochs."""

        def epochs() -> list[int]:
            status = [worker.status()["charger"] for worker in self.workers]
            return [each["epoch"] for one in status for each in one.get("buckets", [])]

        def done() -> bool:
            found = epochs()
            return len(found) == self.day.plan.buckets and min(found) >= epoch

        until(done, f"epoch {epoch} carried", 240, every_s=0.01)


def hand_in(server: Server, plan: Plan, batch: Batch) -> None:
    """Hand in a batch as one message, as whoever the server knows; raises what the brokers refuse."""
    refused: list[KafkaError | None] = []
    sender = Producer({**server.common(), "message.max.bytes": 8 << 20, "acks": "all"})
    headers: dict[str, str | bytes | None] = {"mapping": batch.mapping, "source": batch.source}
    sender.produce(
        plan.topic(network.TELEMETRY), batch.octets, headers=headers,
        on_delivery=lambda error, _message: refused.append(error),
    )  # fmt: skip
    assert sender.flush(30) == 0
    if refused[0] is not None:  # a queue that is empty says nothing of what became of it
        raise KafkaException(refused[0])


def made(folder: Path, server: Server, prefix: str, buckets: int, edges: int = 2) -> Day:
    """A network's topics and tables on some brokers."""
    plan = cluster.plan_of(prefix, buckets)
    make(server, topics(plan, edges, 1), 1)
    cluster.propose(server, plan, "a test", folder, watched.load_telemetry_mappings())
    return Day(folder, server, plan)


def charged(server: Server, prefix: str, cells: Sequence[str]) -> Worth:
    """What cells are worth, out of usage on their topic: one more customer at each, from one to seven, for two days."""
    plan = usage_plan(prefix)
    topic = plan.topic(charging.CHARGED)
    make(server, [each for each in topics(plan, 1, 1) if each.name == topic], 1)
    sender = Producer(server.common())
    for hour in range(48):
        used = [(at, who) for at in range(len(cells)) for who in range(1 + at % 7)]
        rows = pl.DataFrame(
            {
                "cell": [cells[at] for at, _ in used],
                "subscriber": [1_000 * at + who + (hour < 24) * 500 for at, who in used],
                "start_us": [START_US + hour * 3_600_000_000 + 7 * who for _, who in used],
                "charged_micros": [60_000_000 * (1 + at) for at, _ in used],
            }
        )
        for value in rows_out(charging.CHARGED.record.conform(rows)):
            sender.produce(topic, value, partition=hour % plan.buckets)
    assert sender.flush(30) == 0
    worth = Worth(reading(server, topic), lambda: False)
    worth.table = reading(server, topic)(threading.Event())
    return worth


@contextmanager
def working(day: Day, *names: str, quiet_s: float = NEVER_S, worth: Worth | None = None) -> Iterator[Workers]:
    """Workers of a network; what broke one breaks the test."""
    plan, stop = day.plan, threading.Event()
    assert isinstance(plan, Staged)
    mappings = watched.load_telemetry_mappings()
    versions = cluster.Versions(day.server, plan, mappings)
    troubles: list[BaseException] = []

    def live(worker: Worker) -> None:
        try:
            worker.run(stop)
        except BaseException as error:  # noqa: BLE001 -- raised again by the test's own thread
            troubles.append(error)

    with cluster.following(versions):
        workers = [
            Worker(
                cluster.work_of(day.server, plan, versions, mappings, name, quiet_s=quiet_s, worth=worth),
                kinds=ROLES,
            )
            for name in names
        ]
        threads = [threading.Thread(target=live, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            yield Workers(day, workers)
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
    if troubles:
        raise troubles[0]
