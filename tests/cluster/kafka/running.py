"""A small operator's day on real brokers: its topics, workers in this process, and what they wrote, read back."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.waiting import until
from trunkline.bootstrap.kafka import new_held, plan_of, work_of
from trunkline.charging.subscribers import read_subscribers
from trunkline.engines.kafka.bucket import Bucket
from trunkline.engines.kafka.client import PARTITION_EOF, Server, consumer
from trunkline.engines.kafka.follower import Follower
from trunkline.engines.kafka.promising import ROLES, OnlineWork
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.kafka.worker import Roles, Worker, commit_at
from trunkline.engines.plan import Plan
from trunkline.engines.wire import progress_in, rows_in, rows_out
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Keys, Rows
from trunkline.records import charging, usage
from trunkline.settings import Folders
from trunkline.simulator import LIVELY_FAULTS, Settings, simulate

EDGE_PARTITIONS = 3
NEVER_A_BATCH = 10_000
HANDED_IN_S = 600.0


def small_day(out: Path, subscribers: int = 250, hours: int = 24) -> Path:
    """A small operator's day with its faults."""
    simulate(Settings(seed=7, subscribers=subscribers, cells=20, hours=hours, **LIVELY_FAULTS), out)
    return out


def day_in_two(out: Path) -> Path:
    """The same with its first hour in `first.ndjson` and the others in `rest.ndjson`."""
    small_day(out)
    parts = sorted((out / "cdrs").iterdir())
    (out / "first.ndjson").write_bytes(parts[0].read_bytes())
    (out / "rest.ndjson").write_bytes(b"".join(part.read_bytes() for part in parts[1:]))
    return out


@dataclass(frozen=True)
class Day:
    """A day's operator on some brokers, under a prefix of its own."""

    operator: Path
    server: Server
    plan: Plan

    @classmethod
    def made(
        cls,
        operator: Path,
        settings: dict[str, Any],
        prefix: str,
        buckets: int = 4,
        copies: int = 1,
    ) -> Day:
        """With its topics."""
        known = {name: str(value) for name, value in settings.items() if name != "bootstrap.servers"}
        server, plan = Server(str(settings["bootstrap.servers"]), lambda: known), plan_of(prefix, buckets)
        make(server, topics(plan, EDGE_PARTITIONS, copies), copies)
        return cls(operator, server, plan)

    def work(self, name: str, *, named: bool = False, standby: int = 0) -> OnlineWork:
        """What a worker of it is made of."""
        folders = Folders(tariffs=str(self.operator / "tariffs"))
        return work_of(self.server, self.plan, folders, name, named=named, standby=standby)

    def owners(self) -> dict[str, int]:
        """How many buckets each member of the chargers' group has, as the brokers say."""
        group = f"{self.plan.prefix}.charger"
        members = self.admin.describe_consumer_groups([group])[group].result(30).members
        return {member.client_id: len(member.assignment.topic_partitions) for member in members}

    @cached_property
    def admin(self) -> AdminClient:
        """Who asks the brokers."""
        return AdminClient(self.server.common())

    # -- in -----------------------------------------------------------------------------------------------

    def producer(self) -> Producer:
        """Somebody who hands in; what a broker took before it died is not handed in again."""
        return Producer({**self.server.common(), "message.max.bytes": 8 << 20, "enable.idempotence": True})

    def enrol(self) -> None:
        """Hand in the subscribers."""
        tables = self.work("reading").tables
        content = (self.operator / "subscribers.csv").read_bytes()
        rows = read_subscribers("subscribers.csv", content, tables[charging.TARIFFS.name])  # type: ignore[arg-type]
        sender = self.producer()
        for value in rows_out(rows):
            sender.produce(self.plan.topic(charging.SUBSCRIBERS), value)
        assert sender.flush(HANDED_IN_S) == 0

    def enrolled(self, timeout_s: float = 60.0) -> None:
        """Wait until the subscribers have reached every bucket: each is more than one in a small operator.

        A bucket that was only taken up has written its progress, too, but nothing has changed in it yet.
        """
        every = self.plan.buckets

        def done() -> bool:
            told = self.progress(b"bucket|")
            return len(told) == every and all(any(each["changed"].values()) for each in told)

        until(done, "the subscribers enrolled", timeout_s, every_s=0.2)

    def hand_in(self, lines: bytes, a_message: int = NEVER_A_BATCH, partition: int = 0) -> None:
        """Hand in lines of usage, so many a message, all in one partition and so in their order."""
        every = lines.splitlines(keepends=True)
        sender = self.producer()
        refused: list[str] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error.name())

        for first in range(0, len(every), a_message):
            sender.produce(
                self.plan.topic(usage.RAW), b"".join(every[first : first + a_message]), partition=partition,
                on_delivery=delivered,
            )  # fmt: skip
            sender.poll(0)
        assert sender.flush(HANDED_IN_S) == 0
        assert not refused, f"the brokers did not take {len(refused)} messages: {refused[0]}"

    # -- running ------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, *names: str, standby: int = 0, roles: Roles = ROLES) -> Iterator[list[Worker]]:
        """Workers in this process; what broke one breaks the test."""
        stop = threading.Event()
        workers = [Worker(self.work(name, standby=standby), kinds=roles) for name in names or ("worker",)]
        troubles: list[BaseException] = []

        def live(worker: Worker) -> None:
            try:
                worker.run(stop)
            except BaseException as error:  # noqa: BLE001 -- raised again by the test's own thread
                troubles.append(error)

        threads = [threading.Thread(target=live, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        try:
            yield workers
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
        if troubles:
            raise troubles[0]

    def accounts(self) -> dict[str, list[int]]:
        """Counts of all buckets by source, as committed: received, rated, duplicate, rejected, held, charged."""
        return _summed(self.progress(b"bucket|"), 6)

    def edges(self) -> dict[str, list[int]]:
        """Counts of all edges by source, as committed: received, passed on, rejected, held."""
        return _summed(self.progress(b"edge|"), 4)

    def carried(self) -> int:
        """How many rows of usage have come out of buckets, as committed."""
        return sum(sums[0] for sums in self.accounts().values())

    def drained(self, records: int, timeout_s: float = 600.0) -> None:
        """Wait until so many records in all have come out somewhere, by what is committed."""

        def done() -> bool:
            edges, accounts = self.edges().values(), self.accounts().values()
            aside = sum(sums[2] + sums[3] for sums in edges)
            return (
                sum(sums[0] for sums in edges) == records and aside + sum(s[0] for s in accounts) == records
            )

        until(done, f"{records} records carried", timeout_s, every_s=0.2)

    # -- out ----------------------------------------------------------------------------------------------

    def progress(self, beginning: bytes) -> list[dict[str, Any]]:
        """The newest progress of all keys that begin so."""
        return list(self._progress(beginning).values())

    def _progress(self, beginning: bytes) -> dict[bytes, dict[str, Any]]:
        found: dict[bytes, dict[str, Any]] = {}
        for key, value in self.messages(self.plan.progress):
            if key is not None and key.startswith(beginning):
                found[key] = progress_in(value)
        return found

    def messages(self, topic: str) -> list[tuple[bytes | None, bytes]]:
        """Everything committed in a topic, partition by partition."""
        reader = self._reader
        parts = range(len(reader.list_topics(topic, 30).topics[topic].partitions))
        reader.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for part in parts])
        found: dict[int, list[tuple[bytes | None, bytes]]] = {part: [] for part in parts}
        ended: set[int] = set()

        def take() -> bool:
            for message in reader.consume(500, 0.2):
                trouble = message.error()
                if trouble is None:
                    found[message.partition() or 0].append((message.key(), message.value() or b""))
                elif trouble.code() == PARTITION_EOF:
                    ended.add(message.partition() or 0)
            return len(ended) == len(parts)

        until(take, f"the end of {topic}", every_s=0.0)
        reader.unassign()
        return [message for part in parts for message in found[part]]

    @cached_property
    def _reader(self) -> Consumer:
        """Who reads it all, again and again: to come in anew each time costs the brokers more than the reading."""
        reader = consumer(self.server, "reading-in-a-test", {"enable.partition.eof": True})
        weakref.finalize(self, reader.close)
        return reader

    def rows(self, stream: Stream, at_least: int = 0) -> pl.DataFrame:
        """Everything committed of a result; a transaction's end reaches each topic in its own time."""

        def read() -> pl.DataFrame | None:
            frames = [rows_in(value, stream.record) for _, value in self.messages(self.plan.topic(stream))]
            found = pl.concat(frames) if frames else stream.record.empty()
            return found if len(found) >= at_least else None

        found = until(
            lambda: [frame] if (frame := read()) is not None else [], f"{at_least} rows of {stream.name}"
        )
        return found[0]

    def built(self, tables: dict[str, object] | None = None) -> list[Bucket]:
        """All buckets, built again from the log as a new owner would."""
        tables = self.work("reading").tables if tables is None else tables
        found = []
        asking = consumer(self.server, f"{self.plan.prefix}.charger")
        for number in range(self.plan.buckets):
            committed, commit = commit_at(asking, TopicPartition(self.plan.work, number))
            bucket = Bucket(number, self.plan, tables, new_held)
            found.append(
                Follower(self.server, self.plan, bucket).finish(committed, threading.Event(), commit)
            )
        asking.close()
        return found

    def account(self, built: Sequence[Bucket], subscribers: Keys) -> dict[int, Rows]:
        """Rows of every account, out of whichever bucket holds it; in two it must not be."""
        found: dict[int, Rows] = {}
        for bucket in built:
            groups = bucket.gather(charging.ACCOUNTS, subscribers)
            for number, key in enumerate(groups.keys):
                rows = groups.rows[groups.offsets[number] : groups.offsets[number + 1]]
                if len(rows):
                    assert int(key) not in found, "an account lies in one bucket"
                    found[int(key)] = rows
        return found


def _summed(told: Sequence[dict[str, Any]], places: int) -> dict[str, list[int]]:
    sums: dict[str, list[int]] = {}
    for each in told:
        for source, counts in each["accounts"].items():
            into = sums.setdefault(source, [0] * places)
            for place, count in enumerate(counts):
                into[place] += count
    return sums
