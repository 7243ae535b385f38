"""The API and the page of a cluster: answers out of Cassandra, orders into the topics, results carried between.

One process does all three and keeps nothing that another could not take over: run as many as there is need for,
behind a proxy. Usage counts as taken when the brokers have it on all replicas in step; a movement is answered when
the engine has booked it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import uvicorn
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, Message, Producer, TopicPartition
from fastapi import FastAPI

from trunkline.api.access import Role
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.api.sign_in import sign_in_link
from trunkline.api.workers import Worker
from trunkline.bootstrap import network_cluster, network_serving
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.delivery import Delivery, deliver
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.online_cluster import NEEDS_WORKERS, DoorLife, run_together
from trunkline.bootstrap.registry import PATH as REGISTRY_PATH
from trunkline.bootstrap.registry import Shelf, registry_app
from trunkline.bootstrap.reservations import OnlineReservations
from trunkline.bootstrap.schemas import declare
from trunkline.bootstrap.serve import assert_safe, listening
from trunkline.bootstrap.tokens import KeptTokens
from trunkline.bootstrap.workers import Listener, saying
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.engines.embedded.intake import whole_records
from trunkline.engines.kafka.client import MESSAGE_OCTETS, PATIENCE_S, Server, consumer
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.router import MAPPING, SOURCE
from trunkline.engines.kafka.shared import latest
from trunkline.engines.plan import Plan
from trunkline.engines.wire import progress_in, rows_out
from trunkline.mediation.mapping import Mapping
from trunkline.ports import Busy, Movement, Receipt, Refused
from trunkline.records.charging import MOVEMENTS
from trunkline.records.usage import HELD, REJECTED
from trunkline.settings import Cassandra, Folders, Http, Kafka, Online, Watched
from trunkline.stores.cassandra.connection import Connection, Contact
from trunkline.stores.cassandra.reader import CassandraAudit, CassandraReader

ANSWER_S = 20.0
_LINES_OCTETS = 1 << 20  # of one message of usage; well below what a topic takes
_COME_AGAIN_S = 5


def contact_of(cassandra: Cassandra) -> Contact:
    """Where the settings say that Cassandra is."""
    if not cassandra.cassandra_password_file:
        raise Refused("Name the file with Cassandra's password: TRUNKLINE_CASSANDRA_PASSWORD_FILE.")
    return Contact(
        tuple(host.strip() for host in cassandra.cassandra_hosts.split(",")),
        cassandra.cassandra_port,
        cassandra.cassandra_user,
        Path(cassandra.cassandra_password_file),
        Path(cassandra.cassandra_ca_file) if cassandra.cassandra_ca_file else None,
        cassandra.cassandra_keyspace,
        cassandra.cassandra_datacenter,
        cassandra.cassandra_copies,
        cassandra.cassandra_buckets,
    )


class ClusterIntake:
    """Orders to a cluster (`ports.Intake`): into the edge topics, and the answer out of the topic of answers."""

    def __init__(
        self, server: Server, plan: Plan, mappings: dict[str, Mapping], reader: CassandraReader
    ) -> None:
        """Begin to listen for answers; `close` ends it."""
        self._plan, self._mappings, self._reader = plan, mappings, reader
        self._producer = Producer(
            {
                **server.common(), "acks": "all", "enable.idempotence": True, "linger.ms": 2,
                "delivery.timeout.ms": int(ANSWER_S * 1000), "message.max.bytes": MESSAGE_OCTETS,
            }
        )  # fmt: skip
        self._waiting: dict[str, list[Future[dict[str, Any]]]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._answers = consumer(server, f"{plan.prefix}.intake")
        self._credentials = Credentials(server, self._producer, self._answers)
        self._thread = threading.Thread(target=self._listen, name="answers", daemon=True)
        self._thread.start()

    def usage(self, mapping: str, lines: bytes, source: str | None = None) -> Receipt:
        """Take usage lines for the named mapping; raises `Busy` or `Refused`."""
        lines = self._whole(mapping, lines)
        headers: list[tuple[str, str | bytes | None]] = [
            (MAPPING, mapping), (SOURCE, source or self._mappings[mapping].source),
        ]  # fmt: skip
        sent = [
            self._send(self._plan.topic(self._plan.raw), part, headers)
            for part in _parts(lines, self._mappings[mapping])
        ]
        last = [self._acknowledged(each) for each in sent][-1]
        return Receipt(
            sum(1 for line in lines.splitlines() if line.strip()), last.partition() or 0, last.offset() or 0
        )

    def move(self, movements: Sequence[Movement]) -> list[dict[str, Any]]:
        """Book movements; one answer each: booked, repeated or refused with a reason."""
        if not self._listening.wait(ANSWER_S):
            raise Busy(_COME_AGAIN_S)
        asked = {movement.movement_id: movement for movement in reversed(movements)}
        futures: dict[str, Future[dict[str, Any]]] = {name: Future() for name in asked}
        with self._lock:
            for name, future in futures.items():
                self._waiting.setdefault(name, []).append(future)
        try:
            rows = pl.DataFrame([vars(each) for each in asked.values()], schema_overrides=_TYPES)
            topic = self._plan.topic(MOVEMENTS)
            for value in rows_out(MOVEMENTS.record.conform(rows)):
                self._acknowledged(self._send(topic, value, []))
            deadline = time.monotonic() + ANSWER_S
            found = {
                name: each.result(max(0.0, deadline - time.monotonic())) for name, each in futures.items()
            }
        except NotYet:
            raise Busy(_COME_AGAIN_S) from None  # asked again under the same name, it is booked once
        finally:
            with self._lock:
                for name, future in futures.items():
                    waiting = self._waiting.get(name, [])
                    if future in waiting:
                        waiting.remove(future)
                    if not waiting:
                        self._waiting.pop(name, None)
        answers = []
        for movement in movements:
            answer = found[movement.movement_id]
            answers.append({"movement_id": movement.movement_id, **answer})
            if answer["status"] == "booked":
                found[movement.movement_id] = {**answer, "status": "repeated"}
        return answers

    def settle_reject(self, number: int, lines: bytes | None, actor: str) -> None:
        """Offer a rejected record again with corrected bytes, or close it for good when `lines` is None."""
        aside = self._reader.set_aside(REJECTED, number)
        if lines is not None:
            self.usage(aside.mapping, lines, aside.source or None)
        self._reader.settle(REJECTED, number, "closed" if lines is None else "offered again", actor)

    def settle_held(self, number: int, decision: str, actor: str) -> None:
        """Discard the second record of a conflict; to charge it, it is sent again under a name of its own."""
        if decision == "charge":
            raise Refused(
                "On a cluster a held record is charged by sending it again under an id of its own; discard this one."
            )
        if decision != "discard":
            raise Refused(f'A held record is decided with "discard" or "charge", not {decision!r}.')
        self._reader.set_aside(HELD, number)
        self._reader.settle(HELD, number, decision, actor)

    def close(self) -> None:
        """Send what is under way, and listen no more."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(PATIENCE_S)
        self._answers.close()

    def _whole(self, mapping: str, lines: bytes) -> bytes:
        framing = self._mappings.get(mapping)
        if framing is None:
            raise Refused(f"There is no mapping {mapping!r}.")
        return whole_records(mapping, framing, lines)

    def _send(
        self, topic: str, value: bytes, headers: list[tuple[str, str | bytes | None]]
    ) -> Future[Message]:
        done: Future[Message] = Future()

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                done.set_result(message)
            else:
                done.set_exception(KafkaException(error))

        try:
            self._producer.produce(topic, value, headers=headers, on_delivery=delivered)
        except BufferError:
            raise Busy(_COME_AGAIN_S) from None
        return done

    def _acknowledged(self, sent: Future[Message]) -> Message:
        deadline = time.monotonic() + ANSWER_S
        while not sent.done() and time.monotonic() < deadline:
            self._producer.poll(0.05)
        try:
            return sent.result(0)
        except (NotYet, KafkaException):
            raise Busy(_COME_AGAIN_S) from None

    def _listen(self) -> None:
        parts = [
            TopicPartition(self._plan.answers, bucket, OFFSET_END) for bucket in range(self._plan.buckets)
        ]
        for part in parts:  # where they end now, not where they end when the first message is asked for
            _, part.offset = self._answers.get_watermark_offsets(part, PATIENCE_S)
        self._answers.assign(parts)
        self._listening.set()
        while not self._stop.is_set():
            self._credentials.look()
            for message in self._answers.consume(100, 0.05):
                if message.error() is None:
                    self._answer(progress_in(message.value() or b""))

    def _answer(self, told: dict[str, Any]) -> None:
        with self._lock:
            waiting = self._waiting.get(str(told.get("movement_id")), [])
            futures = list(waiting)
            waiting.clear()
        for future in futures:
            future.set_result({"status": told["status"], "reason": told.get("reason") or ""})


_TYPES: dict[str, Any] = {
    column.name: column.dtype for column in MOVEMENTS.record.columns if column.name != "seq"
}


def _parts(lines: bytes, mapping: Mapping) -> list[bytes]:
    """Lines as messages, each of whole records."""
    found = []
    while len(lines) > _LINES_OCTETS:
        end = mapping.record_end(lines[:_LINES_OCTETS]) or len(lines)
        found.append(lines[:end])
        lines = lines[end:]
    return [*found, lines] if lines else found


def serve(
    folders: Folders,
    http: Http,
    kafka: Kafka,
    cassandra: Cassandra,
    stop: threading.Event,
    started: Callable[[str, str, list[Delivery]], None],
    watched: Watched | None = None,
    online: Online | None = None,
) -> None:
    """Deliver and serve until asked to stop or until something fails, which is raised.

    `started` is told the address, a link to sign in, and the deliveries.
    """
    assert_safe(http)
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    contact = contact_of(cassandra)
    connection = Connection(contact, make=True)
    mappings = load_mappings(Path(folders.mappings) if folders.mappings else None)
    body = latest(server, f"{plan.prefix}.follower", plan.catalogue)
    if body is None:
        raise Refused(NEEDS_WORKERS)
    declare(server, plan, charges=False)
    catalogue, _ = compile_catalogue(body["files"], Register(**body["register"]))
    reader = CassandraReader(connection)
    intake = ClusterIntake(server, plan, mappings, reader)
    roles, wait = deliver(server, plan, lambda: Connection(contact), stop)
    of_network = ExitStack()
    network, network_roles = of_network.enter_context(
        network_serving.opened(kafka, watched or Watched(), lambda: Connection(contact))
    )
    roles += network_roles
    heard = Listener(server, [plan, network_cluster.plan_of(kafka.kafka_prefix)])
    door = None
    if online is not None and online.online_port != 0:
        networks = tuple(filter(None, http.notify_networks.split(",")))
        door = DoorLife(server, plan, lambda: catalogue, online, networks)
    listener, http = listening(http)
    url = http.public_url or f"http://{http.host}:{http.port}"
    folders.data.mkdir(parents=True, exist_ok=True)
    options = ApiOptions(
        hosts=("127.0.0.1", "localhost", "::1", *filter(None, http.hosts.split(","))),
        public_url=http.public_url,
        notify_networks=tuple(filter(None, http.notify_networks.split(","))),
        notices_path=str(folders.data / "notices.sqlite"),
    )
    app = create_app(
        reader, intake, CassandraAudit(connection), lambda: catalogue, KeptTokens(folders.data), options,
        lambda: {"unread_octets": 0}, tariff_files=lambda: dict(body["files"]), workers=heard.workers,
        network=network, reservation_port=_reservations(door, catalogue),
    )  # fmt: skip
    app.mount(REGISTRY_PATH, registry_app(Shelf(server, plan), app.state.desk.access))
    close = _answering(door, app, stop)
    try:
        started(url, sign_in_link(app.state.desk.access, url, "operator", Role.ADMIN), roles)
        with saying(server, plan, lambda: [_word(role) for role in roles]):
            _serve(app, listener, stop)
    finally:
        stop.set()
        close()
        of_network.close()
        listener.close()
        heard.close()
        intake.close()
        wait()
        connection.close()


def _reservations(door: DoorLife | None, catalogue: Catalogue) -> OnlineReservations | None:
    """Amounts that are set apart, where network functions come in, too."""
    if door is None:
        return None
    return OnlineReservations(door.door, door.reader, lambda: catalogue, lambda: time.time_ns() // 1000)


def _answering(door: DoorLife | None, app: FastAPI, stop: threading.Event) -> Callable[[], None]:
    """Let network functions in, where they may come; a function that waits for the end of that."""
    if door is None:
        return lambda: None
    return run_together(door.works(app.state.desk.access, app.state.desk.metrics.charged, stop), stop)


def _word(role: Delivery) -> Worker:
    """What a delivery knows of itself."""
    return Worker(
        name=f"{socket.gethostname()}-{os.getpid()}.{role.role}",
        engine="delivery",
        told_us=time.time_ns() // 1000,
        records=role.delivered.rows,
        records_per_s=0.0,
        lag=dict(role.delivered.lag),
    )


def _serve(app: FastAPI, listener: Any, stop: threading.Event) -> None:  # noqa: ANN401 -- a socket
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            ws_per_message_deflate=False,
        )
    )

    def watch() -> None:
        stop.wait()
        server.should_exit = True

    watching = threading.Thread(target=watch, name="stopping", daemon=True)
    watching.start()
    server.run(sockets=[listener])
