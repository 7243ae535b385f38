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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from trunkline.api.access import Role
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.api.sign_in import sign_in_link
from trunkline.api.workers import Worker
from trunkline.bootstrap import network_cluster, network_serving
from trunkline.bootstrap.agreed import Agreed
from trunkline.bootstrap.alert_serving import telling
from trunkline.bootstrap.balance_delivery import deliver
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.cluster_bills import ClusterBills, bills_in, checkpoint_of
from trunkline.bootstrap.cluster_withdrawals import ClusterWithdrawals
from trunkline.bootstrap.delivery import Delivery
from trunkline.bootstrap.going_on import going_on
from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.online_cluster import DoorLife
from trunkline.bootstrap.registry import PATH as REGISTRY_PATH
from trunkline.bootstrap.registry import Shelf, registry_app
from trunkline.bootstrap.reservations import OnlineReservations
from trunkline.bootstrap.schemas import declare
from trunkline.bootstrap.serve import assert_safe, http_server, listening
from trunkline.bootstrap.together import run_together
from trunkline.bootstrap.tokens import KeptTokens
from trunkline.bootstrap.transfer_serving import ClusterTransfers
from trunkline.bootstrap.voucher_serving import ClusterVouchers
from trunkline.bootstrap.workers import Listener, saying
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.mediation.mapping import Mapping
from trunkline.ports import Refused
from trunkline.settings import Cassandra, Folders, Guessing, Http, Kafka, Online, Spark, Watched, read
from trunkline.settings import Delivery as Telling
from trunkline.stores.cassandra.connection import Connection, Contact
from trunkline.stores.cassandra.reader import CassandraAudit, CassandraReader
from trunkline.stores.cassandra.transfers import CassandraTransfers
from trunkline.stores.cassandra.vouchers import CassandraVouchers
from trunkline.stores.cassandra.withdrawals import CassandraWithdrawals
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.vouchers import SECRET, secret_in

WITHDRAWALS_EVERY_S = 2.0


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


def serve(
    folders: Folders,
    http: Http,
    kafka: Kafka,
    cassandra: Cassandra,
    stop: threading.Event,
    started: Callable[[str, str, list[Delivery]], None],
    watched: Watched | None = None,
    online: Online | None = None,
    alerts: Telling | None = None,
) -> None:
    """Deliver and serve until asked to stop or until something fails, which is raised.

    `alerts` says how customers are told; `started` is told the address, a link to sign in, and the deliveries.
    """
    assert_safe(http)
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    contact = contact_of(cassandra)
    connection = Connection(contact, make=True)
    mappings = load_mappings(Path(folders.mappings) if folders.mappings else None)
    agreed = Agreed(server, plan)
    declare(server, plan)
    reader = CassandraReader(connection)
    intake = ClusterIntake(server, plan, mappings, reader)
    folders.data.mkdir(parents=True, exist_ok=True)
    networks, beside = tuple(filter(None, http.notify_networks.split(","))), ExitStack()
    deliveries = beside.enter_context(
        telling(connection, agreed.catalogue, alerts or Telling(), networks, stop)
    )
    vouchers = beside.enter_context(_vouchers(connection, intake, folders.data, stop))
    bills = beside.enter_context(_bills(folders, agreed.catalogue, reader, intake, stop))
    withdrawals = withdrawals_of(connection, intake, agreed.catalogue, mappings)
    beside.enter_context(going_on("withdrawals", withdrawals.settle, stop, WITHDRAWALS_EVERY_S))
    roles, wait = deliver(server, plan, lambda: Connection(contact), stop)
    network, network_roles = beside.enter_context(
        network_serving.opened(kafka, watched or Watched(), lambda: Connection(contact))
    )
    roles += network_roles
    heard = Listener(server, [plan, network_cluster.plan_of(kafka.kafka_prefix)])
    door = None
    if online is not None and online.online_port != 0:
        door = DoorLife(server, plan, agreed.catalogue, online, networks)
    listener, http = listening(http)
    url = http.public_url or f"http://{http.host}:{http.port}"
    options = ApiOptions(
        hosts=("127.0.0.1", "localhost", "::1", *filter(None, http.hosts.split(","))),
        public_url=http.public_url,
        notify_networks=networks,
        notices_path=str(folders.data / "notices.sqlite"),
    )
    app = create_app(
        reader, intake, CassandraAudit(connection), agreed.catalogue, KeptTokens(folders.data), options,
        lambda: {"unread_octets": 0}, tariff_files=agreed.files, workers=heard.workers,
        network=network, reservation_port=_reservations(door, agreed.catalogue), delivery_port=deliveries,
        voucher_port=vouchers, bill_port=bills,
        transfer_port=ClusterTransfers(CassandraTransfers(connection), intake, heard.workers),
    )  # fmt: skip
    app.mount(REGISTRY_PATH, registry_app(Shelf(server, plan), app.state.desk.access))
    close = _answering(door, app, stop)
    kept_up = run_together([("tariff", lambda: agreed.follow(stop))], stop)
    try:
        started(url, sign_in_link(app.state.desk.access, url, "operator", Role.ADMIN), roles)
        with saying(server, plan, lambda: [_word(role) for role in roles]):
            _serve(app, listener, stop)
    finally:
        stop.set()
        close()
        beside.close()
        listener.close()
        heard.close()
        intake.close()
        kept_up()
        wait()
        connection.close()


def _reservations(door: DoorLife | None, catalogue: Callable[[], Catalogue]) -> OnlineReservations | None:
    """Amounts that are set apart, where network functions come in, too."""
    if door is None:
        return None
    return OnlineReservations(door.door, door.reader, catalogue, lambda: time.time_ns() // 1000)


def _answering(door: DoorLife | None, app: FastAPI, stop: threading.Event) -> Callable[[], None]:
    """Let network functions in, where they may come; a function that waits for the end of that."""
    if door is None:
        return lambda: None
    return run_together(door.works(app.state.desk.access, app.state.desk.metrics.charged, stop), stop)


def kept_vouchers(connection: Connection, data: Path) -> CassandraVouchers:
    """The keyspace's vouchers, whose secret lies in a folder; made there where there is none anywhere."""

    def secret() -> bytes:
        data.mkdir(parents=True, exist_ok=True)
        return secret_in(data, Disk())

    return CassandraVouchers(connection, data / SECRET, secret)


@contextmanager
def _vouchers(
    connection: Connection, intake: ClusterIntake, data: Path, stop: threading.Event
) -> Iterator[ClusterVouchers]:
    """The keyspace's vouchers, and what of them was begun."""
    kept = kept_vouchers(connection, data)
    vouchers = ClusterVouchers(kept, intake, lambda: time.time_ns() // 1000, read(Guessing))
    with going_on("vouchers", vouchers.go_on, stop):
        yield vouchers


def withdrawals_of(
    connection: Connection,
    intake: ClusterIntake,
    catalogue: Callable[[], Catalogue],
    mappings: dict[str, Mapping],
) -> ClusterWithdrawals:
    """Who settles the keyspace's records that take others back."""
    kept, reader = CassandraWithdrawals(connection), CassandraReader(connection)
    return ClusterWithdrawals(kept, reader, intake, catalogue, mappings, lambda: time.time_ns() // 1000)


@contextmanager
def _bills(
    folders: Folders,
    catalogue: Callable[[], Catalogue],
    reader: CassandraReader,
    intake: ClusterIntake,
    stop: threading.Event,
) -> Iterator[ClusterBills | None]:
    """The bills of Spark's folder, where it is named or lies in the data folder; raises `Refused` for a wrong name."""
    spark = read(Spark)
    if not spark.spark_checkpoint and not checkpoint_of(folders, spark).is_dir():
        yield None
        return
    bills = ClusterBills(bills_in(folders, spark), catalogue, lambda: reader, intake.move)
    with going_on("bills", bills.go_on, stop):
        yield bills


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
    server = http_server(app)

    def watch() -> None:
        stop.wait()
        server.should_exit = True

    watching = threading.Thread(target=watch, name="stopping", daemon=True)
    watching.start()
    server.run(sockets=[listener])
