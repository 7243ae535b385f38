"""The network's flow on a cluster: the map as a plan with its places, and the tables that all workers use.

What steps look up (inventory, formulas, rules, causes, agreements) is a version in a topic, as the tariff is for usage;
an epoch names the version it is carried by, so every worker uses the same, and uses it again when work is done again.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import threading
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from confluent_kafka import KafkaException

from trunkline import topology
from trunkline.bootstrap.judges import refuse_judges
from trunkline.bootstrap.kafka import new_held, server_of
from trunkline.bootstrap.kafka import plan_of as plan_of_usage
from trunkline.bootstrap.network import (
    ACCOUNTS,
    AGREEMENTS,
    CAUSES,
    FORMULAS,
    INVENTORY,
    LOOK_EVERY_S,
    QUIET_S,
    RULES,
    load_telemetry_mappings,
    tables_of,
)
from trunkline.bootstrap.network_worth import Worth, group_of, reading
from trunkline.bootstrap.network_worth import following as asked_for
from trunkline.bootstrap.replay import MEASURED
from trunkline.bootstrap.schemas import settle
from trunkline.bootstrap.warming import warm_network
from trunkline.bootstrap.workers import KafkaWords, saying
from trunkline.engines.kafka.client import PATIENCE_S, Lost, Server
from trunkline.engines.kafka.epochs import ROLES, EpochWork
from trunkline.engines.kafka.shared import Body, agree, followed
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.kafka.worker import Worker
from trunkline.engines.loop import Accounts, Carried, tallied
from trunkline.engines.stages import Staged
from trunkline.kernel.flow import Stream
from trunkline.network.pulse import pulses_at
from trunkline.network.telemetry.mapping import Mapping as TelemetryMapping
from trunkline.ports import Accounting, Refused
from trunkline.records import charging, network, network_sums
from trunkline.settings import Folders, Kafka, Watched
from trunkline.stores.embedded.network import FOLDER

log = logging.getLogger("trunkline.network")

MAPPING = MEASURED  # reads messages that name no other

ORIGINS = ("anomaly", "risk", "event", "operator")
PUBLISHED = (
    network.KPIS,
    network.HEAT,
    network.ANOMALIES,
    network.RISKS,
    network.ALARMS,
    network.ALARM_COUNTS,
    network.INCIDENTS,
    network_sums.BUDGETS,
    network_sums.LATE_PARTS,
    network.REJECTED,
    network.DUPLICATES,
    network.HELD,
)


def plan_of(prefix: str = "trunkline", buckets: int = 12) -> Staged:
    """The network's flow, parted by object, and by component where its parts hang together."""
    charged = plan_of_usage(prefix).topic(charging.CHARGED)
    return Staged(
        usage=topology.NETWORK,
        accounts=ACCOUNTS,
        orders=(topology.HANDS,),
        bucket=network.BUCKET.name,
        buckets=buckets,
        prefix=f"{prefix}.{topology.NETWORK.name}",
        newest="",
        kinds=(network.BUCKET.name, network.COMPONENT.name),
        travels=(network_sums.PARTS, network_sums.TILE_CHANGES, network_sums.TILE_ALARMS),
        published=PUBLISHED,
        keyed={network.EVENTS.name: pl.col("object") // (1 << network.BUCKET_SHIFT)},
        merged={
            network.SIGNALS.name: (_origin(), pl.col("time_us"), pl.col("alarm_key")),
            network_sums.PARTS.name: tuple(pl.col(name) for name in network_sums.PARTS.record.key),
        },
        count=counted,
        clock=network.PULSES,
        tick=tick,
        consulted={charged: group_of(charged)},
    )


def counted(
    carried: Carried, received: Sequence[Stream], before: Carried, accounts: Accounts
) -> list[Accounting]:
    """The accounting of telemetry; a function of its own, so that Spark can send it to its executors."""
    return tallied(network.MEASURED, network.BINS)(carried, received, before, accounts)


def _origin() -> pl.Expr:
    """The order in which the map's steps make signals."""
    return pl.col("origin").replace_strict(
        {name: at for at, name in enumerate(ORIGINS)}, default=len(ORIGINS)
    )


def tick(told_us: int, quiet_us: int, tables: Mapping[str, Any]) -> pl.DataFrame:
    """`PULSES` when nothing came for a while: the data's clock goes on at the pace of ours."""
    return pulses_at(told_us + tables[network.FORMULAS.name].lateness_us + quiet_us)


# -- what the steps look up ------------------------------------------------------------------------------------


class Versions:
    """The tables of all versions in the topic, followed in a thread of its own; any thread may ask."""

    def __init__(self, server: Server, plan: Staged, mappings: dict[str, TelemetryMapping]) -> None:
        """Follow nothing before `follow`."""
        self._server, self._plan, self._mappings = server, plan, mappings
        self._bodies: dict[int, Body] = {}
        self._tables: dict[int, dict[str, object]] = {}
        self._changed = threading.Condition()
        self._making = threading.Lock()

    def newest(self) -> int:
        """The newest version that is known here; waits for the first."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._bodies), PATIENCE_S):
                raise Lost(f"{self._plan.catalogue} tells no version")
            return max(self._bodies)

    def at(self, version: int) -> dict[str, object]:
        """The tables of a version; waits until it is known."""
        with self._changed:
            if not self._changed.wait_for(lambda: version in self._bodies, PATIENCE_S):
                raise Lost(f"{self._plan.catalogue} does not tell its version {version}")
            body = self._bodies[version]
        with self._making:
            if version not in self._tables:
                older = dict(list(self._tables.items())[-1:])  # an epoch may still be carried by it
                self._tables = {**older, version: tables_in(body["files"], self._mappings)}
            return self._tables[version]

    def follow(self, stop: threading.Event) -> None:
        """Take up new versions until told to stop."""
        for body in followed(self._server, f"{self._plan.prefix}.follower", self._plan.catalogue, stop):
            with self._changed:
                self._bodies[body["version"]] = body
                self._changed.notify_all()


def files_in(folder: Path) -> dict[str, str]:
    """What a network's folder says to its steps, by name, packed."""
    paths = [folder / name for name in (FORMULAS, RULES, CAUSES, AGREEMENTS)]
    lists = folder / INVENTORY
    paths += sorted(lists.iterdir()) if lists.is_dir() else []
    return {
        path.relative_to(folder).as_posix(): b64encode(zlib.compress(path.read_bytes())).decode()
        for path in paths
        if path.is_file()
    }


def tables_in(files: Mapping[str, str], mappings: dict[str, TelemetryMapping]) -> dict[str, object]:
    """The tables that packed files make; raises `Refused` with every mistake."""
    with tempfile.TemporaryDirectory(prefix="trunkline-") as place:
        folder = Path(place)
        (folder / INVENTORY).mkdir()
        for name, packed in files.items():
            (folder / name).write_bytes(zlib.decompress(b64decode(packed)))
        return tables_of(folder, mappings)


def propose(
    server: Server, plan: Staged, author: str, folder: Path, mappings: dict[str, TelemetryMapping]
) -> int:
    """Make what a network's folder says the next version, where it says something new; the version that holds."""
    files = files_in(folder)
    tables_in(files, mappings)

    def wanted(now: Body | None) -> Body | None:
        # What the folder does not say stays as it was agreed on: work that was planned, for one.
        whole = {**(now["files"] if now else {}), **files}
        return None if now is not None and now["files"] == whole else {"files": whole}

    return int(agree(server, f"{plan.prefix}.follower", plan.catalogue, author, wanted)["version"])


# -- running ---------------------------------------------------------------------------------------------------


def run(
    folders: Folders, kafka: Kafka, watched: Watched, stop: threading.Event, started: Callable[[Worker], None]
) -> None:
    """Make the topics that are missing, agree on the tables, and work until told to stop."""
    refuse_judges(watched.network_judges, "kafka")
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    make(server, topics(plan, kafka.kafka_edge_partitions, kafka.kafka_copies), kafka.kafka_copies)
    settle(server, plan, "kafka")
    own = Path(watched.telemetry_mappings) if watched.telemetry_mappings else None
    mappings = load_telemetry_mappings(own)
    name = kafka.kafka_worker or f"{socket.gethostname()}-{os.getpid()}"
    folder = folders.data / FOLDER
    propose(server, plan, name, folder, mappings)
    versions = Versions(server, plan, mappings)
    with following(versions):
        warm_network(versions.at(versions.newest()))
        rated = plan_of_usage(kafka.kafka_prefix).topic(charging.CHARGED)
        worth = Worth(reading(server, rated), lambda: _owns(worker, plan))
        worker = Worker(
            work_of(server, plan, versions, mappings, name, named=bool(kafka.kafka_worker), worth=worth),
            kinds=ROLES,
        )
        started(worker)
        looking = threading.Thread(
            target=_look, args=(server, plan, name, folder, mappings, stop), name="tables", daemon=True
        )
        looking.start()
        with saying(server, plan, KafkaWords(worker.status)), asked_for(worth):
            worker.run(stop)


def _owns(worker: Worker, plan: Staged) -> bool:
    """Whether what hangs together is carried here."""
    buckets = worker.status()["charger"].get("buckets", [])
    return any(each["bucket"] == plan.told for each in buckets)


def work_of(
    server: Server,
    plan: Staged,
    versions: Versions,
    mappings: dict[str, TelemetryMapping],
    name: str,
    *,
    named: bool = False,
    quiet_s: float = QUIET_S,
    worth: Worth | None = None,
) -> EpochWork:
    """What a worker is made of; `worth` is asked by whoever correlates."""
    tables: dict[str, object] = {network.MAPPINGS.name: mappings}

    def tables_at(version: int) -> dict[str, object]:
        agreed = versions.at(version)
        return agreed if worth is None else {**agreed, network.WORTH.name: worth.table}

    return EpochWork(
        server, plan, tables, mappings.__getitem__, new_held, name, MAPPING, named=named,
        tables_at=tables_at, version=versions.newest, quiet_s=quiet_s,
    )  # fmt: skip


@contextmanager
def following(versions: Versions) -> Iterator[None]:
    """Follow the versions until the end of the block."""
    enough = threading.Event()

    def follow() -> None:
        versions.follow(enough)

    thread = threading.Thread(target=follow, name="versions")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _look(
    server: Server, plan: Staged, name: str, folder: Path, mappings: dict[str, TelemetryMapping], stop: threading.Event
) -> None:  # fmt: skip
    """Offer what changes in the folder to everybody; what cannot be used is told, and what was agreed on stays."""
    before = files_in(folder)
    while not stop.wait(LOOK_EVERY_S):
        files = files_in(folder)
        if files == before:
            continue
        before = files
        try:
            propose(server, plan, name, folder, mappings)
        except (Refused, Lost, KafkaException) as error:
            log.warning("the network's tables stay as they are: %s", error)
