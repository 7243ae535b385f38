"""The network's side of a served cluster: answers out of Cassandra, hands into the topics, the map as it changes.

What people do to alarms goes the way of every other signal, and is answered when the engine has carried it and delivery
has brought it to Cassandra. Planned work becomes the next version of the rules, which all workers take with their next
epoch.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap.delivery import Delivery
from trunkline.bootstrap.kafka import server_of
from trunkline.bootstrap.network import (
    RULES,
    NetworkHands,
    load_telemetry_mappings,
    rules_document,
)
from trunkline.bootstrap.network_cluster import MAPPING as READ_AS
from trunkline.bootstrap.network_cluster import Versions, following, plan_of
from trunkline.bootstrap.network_delivery import FINDINGS, deliver
from trunkline.bootstrap.schemas import enter
from trunkline.engines.kafka.client import MESSAGE_OCTETS, PATIENCE_S, Server, consumer
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.router import MAPPING, SOURCE
from trunkline.engines.kafka.shared import Body, agree, latest
from trunkline.engines.loop import Carried
from trunkline.engines.stages import Staged
from trunkline.engines.wire import Unreadable, rows_in, rows_out
from trunkline.kernel.flow import Flow, Stream
from trunkline.network.alarms.rules import AlarmRules
from trunkline.network.inventory import Inventory
from trunkline.ports import Busy, Commit, IncidentNote, Receipt, Refused
from trunkline.records import network
from trunkline.settings import Kafka, Watched
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.network_reader import CassandraNetworkReader
from trunkline.stores.cassandra.network_tables import SET_ASIDE
from trunkline.stores.cassandra.network_writer import NetworkWriter
from trunkline.stores.cassandra.writer import ROW_BITS

ANSWER_S = 20.0
MARK = 1  # what is written by transactions ends with the mark of the last one, which nobody is given
_PAUSE_S = 0.05
_COME_AGAIN_S = 5
_SHOWN = (network.HEAT, network.ALARMS, network.INCIDENTS)


class CarriedByOthers:
    """What `NetworkHands` asks of an engine, when the engine is a cluster."""

    def __init__(
        self, server: Server, plan: Staged, versions: Versions, reader: CassandraNetworkReader
    ) -> None:
        """Nothing is sent before `carry`."""
        self._plan, self._versions, self._reader = plan, versions, reader
        self._sender = Producer(
            {**server.common(), "acks": "all", "enable.idempotence": True, "message.max.bytes": MESSAGE_OCTETS,
             "delivery.timeout.ms": int(ANSWER_S * 1000)}
        )  # fmt: skip
        self._routed = consumer(server, f"{plan.prefix}.router")
        self._asking = consumer(server, f"{plan.prefix}.charger")
        self._delivered = consumer(server, f"{plan.prefix}.cassandra.{FINDINGS}")
        self._credentials = Credentials(server, self._sender, self._routed, self._asking, self._delivered)
        self._one_at_a_time = threading.Lock()

    @property
    def tables(self) -> dict[str, object]:
        """What the steps look up now."""
        return self._versions.at(self._versions.newest())

    def known(self, version: int) -> None:
        """Return when a version is in force here."""
        self._versions.at(version)

    def send(self, stream: Stream, values: list[bytes], headers: dict[str, str | bytes | None]) -> Message:
        """Hand in messages; the last of them as the brokers took it. Raises `Busy`."""
        taken: list[Message] = []
        self._credentials.look()

        def delivered(error: Any, message: Message) -> None:  # noqa: ANN401 -- the client's own
            if error is None:
                taken.append(message)

        for value in values:
            self._sender.produce(self._plan.topic(stream), value, headers=headers, on_delivery=delivered)
        self._sender.flush(ANSWER_S)
        if len(taken) < len(values):
            raise Busy(_COME_AGAIN_S)
        return taken[-1]

    def carry(self, flow: Flow, rows: pl.DataFrame) -> Future[Carried]:
        """Carry rows through a flow; the alarms that were changed by it, once they can be read."""
        with self._one_at_a_time:
            self._credentials.look()
            stream, told = flow.steps[0].reads, self._plan.told
            alarms = self._plan.topic(network.ALARMS)
            before = self._end(alarms, told)
            message = self.send(stream, list(rows_out(stream.record.conform(rows))), {})
            edge = message.topic() or "", message.partition() or 0
            self._until(lambda: self._at(self._routed, *edge) > (message.offset() or 0))
            work = self._end(self._plan.work, told) - MARK
            self._until(lambda: self._at(self._asking, self._plan.work, told) >= work)
            end = self._end(alarms, told)
            self._until(lambda: end == before or self._at(self._delivered, alarms, told) >= end - MARK)
            found = self._reader.changes_after(((before + 1) << ROW_BITS) - 1, 10_000)
            mine = found.filter(pl.col("alarm_key").is_in(rows.get_column("alarm_key").implode()))
        carried, done = Carried(), Future[Carried]()
        carried.add(network.ALARMS, network.ALARMS.record.conform(mine))
        done.set_result(carried)
        return done

    def close(self) -> None:
        """Ask no more."""
        self._routed.close()
        self._asking.close()
        self._delivered.close()

    def _end(self, topic: str, partition: int) -> int:
        return int(self._asking.get_watermark_offsets(TopicPartition(topic, partition), PATIENCE_S)[1])

    def _at(self, group: Consumer, topic: str, partition: int) -> int:
        return int(group.committed([TopicPartition(topic, partition)], PATIENCE_S)[0].offset)

    def _until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not met():
            if time.monotonic() > deadline:
                raise Busy(_COME_AGAIN_S)
            threading.Event().wait(_PAUSE_S)


@dataclass
class ClusterWatch:
    """What `NetworkHands` has in its hands on a cluster."""

    engine: CarriedByOthers
    reader: CassandraNetworkReader
    mappings: Mapping[str, Any]

    @property
    def inventory(self) -> Inventory:
        """The inventory in force."""
        inventory: Inventory = self.engine.tables[network.INVENTORY.name]  # type: ignore[assignment]
        return inventory

    @property
    def rules(self) -> AlarmRules:
        """The rules about alarms in force."""
        rules: AlarmRules = self.engine.tables[network.ALARM_RULES.name]  # type: ignore[assignment]
        return rules


class ClusterHands(NetworkHands):
    """The network's intake of a cluster (`ports.NetworkIntake`). Any thread may call."""

    def __init__(self, server: Server, plan: Staged, watch: ClusterWatch, writer: NetworkWriter) -> None:
        """Begin to take."""
        super().__init__(watch, None)  # type: ignore[arg-type]  # it asks no more of them than is here
        self._server, self._plan, self._cluster, self._writer = server, plan, watch, writer

    def telemetry(self, mapping: str, octets: bytes, source: str | None = None) -> Receipt:
        """Take telemetry for the named mapping; raises `Busy` or `Refused`."""
        known = self._cluster.mappings.get(mapping)
        if known is None:
            raise Refused(f"There is no mapping {mapping!r}.")
        headers: dict[str, str | bytes | None] = {MAPPING: mapping, SOURCE: source or known.source}
        message = self._cluster.engine.send(network.TELEMETRY, [octets], headers)
        lines = sum(1 for line in octets.splitlines() if line.strip())
        return Receipt(lines, message.partition() or 0, message.offset() or 0)

    def settle_reject(self, number: int, octets: bytes | None, actor: str) -> None:
        """Offer rejected telemetry again with corrected octets, or close it for good when there are none."""
        reader, stream = self._cluster.reader, SET_ASIDE[0]
        aside = reader.set_aside(stream, number)
        if octets is not None:
            self.telemetry(aside.mapping or READ_AS, octets, aside.source or None)
        reader.settle(stream, number, "closed" if octets is None else "offered again", actor)

    def discard(self, number: int, actor: str) -> None:
        """Take a held record off the list: what came first stands."""
        self._cluster.reader.settle(SET_ASIDE[1], number, "discard", actor)

    def annotate(self, alarm_id: str, attributes: Mapping[str, Any]) -> None:
        """Keep what another system says of an alarm."""
        self._writer.annotate(alarm_id, attributes)

    def add_task(self, kind: str, time_us: int, body: Mapping[str, Any]) -> int:
        """Keep a task that somebody ordered on alarms; its number."""
        return self._writer.add_task(kind, time_us, body)

    def note(self, note: IncidentNote) -> None:
        """Write down what a person did about an incident."""
        self._writer.note(note)

    def _put_in_force(self, change: Any) -> None:  # noqa: ANN401 -- rules to rules
        """Make changed rules the next version of what all workers use."""
        with self._planning:
            said = json.dumps(rules_document(change(self._cluster.rules)), indent=1).encode()
            packed = b64encode(zlib.compress(said)).decode()

            def wanted(now: Body | None) -> Body | None:
                files = dict(now["files"]) if now else {}
                return None if files.get(RULES) == packed else {"files": {**files, RULES: packed}}

            body = agree(
                self._server, f"{self._plan.prefix}.follower", self._plan.catalogue, "the API", wanted
            )
            self._cluster.engine.known(body["version"])


class Feed:
    """The map as it changes, for whoever looks at it through this process."""

    def __init__(self, server: Server, plan: Staged, board: HeatBoard) -> None:
        """Read nothing before `run`."""
        self._plan, self._board = plan, board
        self._streams = {plan.topic(stream): stream for stream in _SHOWN}
        self._reader = consumer(server, f"{plan.prefix}.cassandra.map")
        parts = [TopicPartition(topic, part) for topic in self._streams for part in range(plan.buckets)]
        for part in parts:
            part.offset = self._reader.get_watermark_offsets(part, PATIENCE_S)[1]
        self._reader.assign(parts)
        self._credentials = Credentials(server, self._reader)
        self._number = 0

    def run(self, stop: threading.Event) -> None:
        """Bring the board up to what is told, until told to stop."""
        try:
            while not stop.is_set():
                frames: dict[str, list[pl.DataFrame]] = {}
                self._credentials.look()
                for message in self._reader.consume(500, 0.1):
                    stream = self._streams.get(message.topic() or "")
                    if message.error() is None and stream is not None:
                        try:
                            rows = rows_in(message.value() or b"", stream.record)
                        except Unreadable:
                            continue  # delivery sets it aside
                        frames.setdefault(stream.name, []).append(rows)
                if frames:
                    # Steps have the numbers of their moments, so that they go on after a restart.
                    self._number = max(self._number + 1, time.time_ns() // 1_000_000)
                    whole = {name: pl.concat(parts) for name, parts in frames.items()}
                    self._board.commit(Commit(self._number, time.time_ns() // 1000, 0, whole))
        finally:
            self._reader.close()


def is_watched(server: Server, plan: Staged) -> bool:
    """Whether there is a network on these brokers."""
    asking = consumer(server, f"{plan.prefix}.follower")
    try:
        if plan.catalogue not in asking.list_topics(timeout=PATIENCE_S).topics:
            return False
    finally:
        asking.close()
    # Topics may be prepared long before a worker says what is watched.
    return latest(server, f"{plan.prefix}.follower", plan.catalogue) is not None


@contextmanager
def opened(
    kafka: Kafka, watched: Watched, connect: Callable[[], Connection]
) -> Iterator[tuple[Watching | None, list[Delivery]]]:
    """What the API needs to serve the network of a cluster, and its deliveries; None where there is no network."""
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    if not is_watched(server, plan):
        yield None, []
        return
    enter(server, plan)
    mappings = load_telemetry_mappings(
        Path(watched.telemetry_mappings) if watched.telemetry_mappings else None
    )
    versions, stop = Versions(server, plan, mappings), threading.Event()
    connection = connect()
    roles, wait = deliver(server, plan, connect, stop)
    reader = CassandraNetworkReader(connection)
    engine = CarriedByOthers(server, plan, versions, reader)
    try:
        with following(versions):
            watch = ClusterWatch(engine, reader, mappings)
            hands = ClusterHands(server, plan, watch, NetworkWriter(connection))
            board = HeatBoard(reader)
            board.load()
            feeding = threading.Thread(target=Feed(server, plan, board).run, args=(stop,), name="map")
            feeding.start()
            yield Watching(reader, hands, board), list(roles)
            stop.set()
            feeding.join()
    finally:
        stop.set()
        wait()
        engine.close()
        connection.close()
