"""The kafka engine put together: the map as a plan, the tables its steps look things up in, and a worker.

Workers keep nothing on their disks. The tariff, and the register of numbers that accounts store, are versions in a
topic that all workers read, so that every one of them charges by the same numbers.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import KafkaError, Message, Producer

from trunkline import topology
from trunkline.bootstrap.catalogues import load_mappings, tariff_files
from trunkline.bootstrap.nchf_port import SWITCH_S
from trunkline.bootstrap.online import RULES
from trunkline.bootstrap.platform import ACCOUNTS, subscribers_file
from trunkline.bootstrap.schemas import declare
from trunkline.bootstrap.warming import warm
from trunkline.bootstrap.workers import KafkaWords, saying
from trunkline.charging.subscribers import members_of_file, read_subscribers, time_zones_of
from trunkline.charging.tariffs import compile_catalogue, empty_register, with_members, with_time_zones
from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.engines.kafka.bucket import Bucket
from trunkline.engines.kafka.client import MESSAGE_OCTETS, PATIENCE_S, Server, Unfit
from trunkline.engines.kafka.promising import ROLES, OnlineWork
from trunkline.engines.kafka.shared import Body, agree
from trunkline.engines.kafka.standby import Standbys
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.kafka.worker import Worker
from trunkline.engines.plan import Plan
from trunkline.engines.wire import rows_out
from trunkline.kernel.grouped import State
from trunkline.ports import NoAnswer, Refused
from trunkline.records import charging, giving, usage, withdrawals
from trunkline.settings import Folders, Kafka
from trunkline.stores.embedded.table import Table

MAPPING = "trunkline"  # reads messages that name no other

# What every engine of a cluster carries beside usage. Spark carries the last of them first.
_ORDERS = (topology.MONEY, topology.SUBSCRIBERS)
_CORRECTING = (topology.RERATING, topology.WITHDRAWING)
_NAMED = {
    charging.MOVEMENTS.name: "movement_id",
    charging.RERATES.name: "movement_id",
    withdrawals.WITHDRAWALS.name: "withdrawal_id",
}
_REFUSED = (charging.REFUSED, withdrawals.NOT_WITHDRAWN)


def plan_of(prefix: str = "trunkline", buckets: int = 12) -> Plan:
    """The map's flows that charge, parted by subscriber."""
    return Plan(
        usage=topology.USAGE,
        accounts=ACCOUNTS,
        orders=(*_ORDERS, topology.OFFERING, *_CORRECTING),
        bucket=charging.ACCOUNTS.key,
        inner=(topology.HANDING,),
        named={
            **_NAMED,
            giving.HANDOVERS.name: "transfer_id",
        },
        several={charging.RERATES.name: "corrections"},
        refused=(*_REFUSED, giving.NOT_HANDED),
        buckets=buckets,
        prefix=prefix,
        asks=topology.ONLINE,
        beside=(charging.MINUTES,),
    )


def without_transfers(plan: Plan) -> Plan:
    """A plan for an engine whose buckets pass nothing on to each other: what is left is what it carries."""
    return replace(
        plan,
        orders=(*_ORDERS, *_CORRECTING),
        inner=(),
        named=_NAMED,
        refused=_REFUSED,
    )


def server_of(kafka: Kafka) -> Server:
    """The brokers that the settings name; the client's own settings are read again at each new life."""
    path = Path(kafka.kafka_properties) if kafka.kafka_properties else None
    if path is not None:
        client_properties(path)
    return Server(kafka.kafka_brokers, lambda: client_properties(path) if path else {}, kafka.kafka_rack)


def client_properties(path: Path) -> dict[str, str]:
    """A file of librdkafka's settings, a line each; `sasl.password.file` names a file instead of saying it."""
    found = {}
    for name, value in properties(path).items():
        if name == "sasl.password.file":
            found["sasl.password"] = Path(value).read_text("utf-8").strip()
        else:
            found[name] = value
    return found


def properties(path: Path) -> dict[str, str]:
    """A file of a Kafka client's settings, name=value a line; what it says is shown to nobody."""
    if not path.is_file():
        raise Refused(f"{path} is not a file. Name the file with the Kafka client's settings.")
    found = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        name, mark, value = (part.strip() for part in line.partition("="))
        if not mark:
            raise Refused(f"Line {number} of {path} is not of the form name=value.")
        found[name] = value
    return found


def new_held(state: State) -> Table:
    """Where a bucket keeps a state."""
    return Table(state.dtype)


def work_of(
    server: Server, plan: Plan, folders: Folders, name: str, *, named: bool = False, standby: int = 0
) -> OnlineWork:
    """What a worker is made of; the tariff of the folder that was named, or the one that the others have.

    `standby` copies of each bucket are kept by all workers together, beside its owner.
    """
    mappings = load_mappings(Path(folders.mappings) if folders.mappings else None)
    people = subscribers_file(folders)
    catalogue = agreed_catalogue(server, plan, folders, name, people.read_bytes() if people else b"")
    tables = {
        usage.MAPPINGS.name: mappings,
        usage.MEMBERS.name: catalogue.members,
        charging.TARIFFS.name: catalogue,
    }
    copies = Standbys(server, plan, lambda number: Bucket(number, plan, tables, new_held), name, standby)
    return OnlineWork(
        server, plan, tables, mappings.__getitem__, new_held, name, MAPPING,
        named=named, standbys=copies if standby else None, rules=RULES, richer=richer,
    )  # fmt: skip


def richer(stream: str, orders: pl.DataFrame) -> list[int]:
    """Accounts that hold more after some orders; the same may be told twice, or of one that was refused."""
    if stream != charging.MOVEMENTS.name:
        return []
    return [int(each) for each in orders.filter(pl.col("amount") > 0)["subscriber"].unique()]


def agreed_catalogue(server: Server, plan: Plan, folders: Folders, name: str, people: bytes) -> Catalogue:
    """The tariff that all workers charge by; a folder that was named becomes its next version.

    A version also says how many buckets there are, so that nobody begins with another number.
    """
    files = tariff_files(Path(folders.tariffs)) if folders.tariffs else None
    zones, pairs = time_zones_of(people), members_of_file("subscribers.csv", people) if people else []

    def propose(now: Body | None) -> Body | None:
        begun = now.get("buckets", plan.buckets) if now else plan.buckets
        if begun != plan.buckets:
            raise Unfit(
                f"The cluster was begun with {begun} buckets, not {plan.buckets}. Every subscriber's state lies in the"
                f" bucket of its number: set kafka_buckets to {begun}, or move to a new prefix"
                " (docs/operating/cluster-kafka.md, Growing)."
            )
        wanted = files if files is not None else now["files"] if now else None
        if wanted is None:
            raise Refused("The cluster knows no tariff yet. Name its folder once with --tariffs.")
        register = Register(**now["register"]) if now else empty_register()
        tried, grown = compile_catalogue(wanted, with_members(with_time_zones(register, zones), pairs))
        if pairs:  # numbers of members are given for good, so the whole file is judged before
            read_subscribers("subscribers.csv", people, tried)
        next_ = {"files": wanted, "register": _plain(grown), "buckets": plan.buckets}
        return None if now and all(now.get(name) == value for name, value in next_.items()) else next_

    body = agree(server, f"{plan.prefix}.follower", plan.catalogue, name, propose)
    catalogue, _ = compile_catalogue(body["files"], Register(**body["register"]))
    return catalogue


def _plain(register: Register) -> dict[str, Any]:
    """A register as JSON gives it back."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(register).items()
    }


def enrol(server: Server, plan: Plan, folders: Folders, catalogue: Catalogue) -> int:
    """Hand in the subscribers file, where there is one; how many rows. What is there already stays as it is."""
    people = subscribers_file(folders)
    if people is None:
        return 0
    content = people.read_bytes()
    rows = read_subscribers(people.name, content, catalogue)
    key = hashlib.sha256(content).digest()[:8]
    handed_in(
        server,
        plan.topic(charging.SUBSCRIBERS),
        ((value, key + number.to_bytes(4, "big")) for number, value in enumerate(rows_out(rows))),
    )
    return len(rows)


def handed_in(server: Server, topic: str, messages: Iterable[tuple[bytes, bytes | None]]) -> None:
    """Write values with their keys to an edge; they are durable there when this returns. Raises `NoAnswer`."""
    troubles: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            troubles.append(error)

    sender = Producer({**server.common(), "acks": "all", "enable.idempotence": True,
                       "message.max.bytes": MESSAGE_OCTETS})  # fmt: skip
    for value, key in messages:
        try:
            sender.produce(topic, value, key, on_delivery=delivered)
        except BufferError:  # as much is under way as the client keeps
            sender.flush(PATIENCE_S)
            sender.produce(topic, value, key, on_delivery=delivered)
    if sender.flush(PATIENCE_S) or troubles:
        why = f": {troubles[0].str()}" if troubles else ""
        raise NoAnswer(f"The brokers did not take all of {topic} in time{why}. Do the same again.")


def run(
    folders: Folders, kafka: Kafka, stop: threading.Event, started: Callable[[Worker, int], None]
) -> None:
    """Make the topics that are missing, hand in what was named, and work until told to stop."""
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    make(server, topics(plan, kafka.kafka_edge_partitions, kafka.kafka_copies), kafka.kafka_copies)
    declare(server, plan, "kafka")
    name = kafka.kafka_worker or f"{socket.gethostname()}-{os.getpid()}"
    work = work_of(server, plan, folders, name, named=bool(kafka.kafka_worker), standby=kafka.kafka_standby)
    warm(work.tables)
    RULES.compiled(work.tables)
    sys.setswitchinterval(SWITCH_S)
    catalogue = work.tables[charging.TARIFFS.name]
    assert isinstance(catalogue, Catalogue), "the tariffs are a catalogue"
    enrolled = enrol(server, plan, folders, catalogue)
    worker = Worker(work, kinds=ROLES)
    started(worker, enrolled)
    with saying(server, plan, KafkaWords(worker.status)):
        worker.run(stop)
