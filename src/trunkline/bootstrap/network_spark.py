"""The network's flow on Spark put together: the same plan as on the kafka engine, and a query that carries it.

The driver takes what the steps look up from the topic in which all workers have agreed on it, when it starts. Nothing
is told when nothing comes: a micro-batch begins with a message, so the silence of everybody is for the kafka engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.bootstrap.judges import refuse_judges
from trunkline.bootstrap.kafka import server_of
from trunkline.bootstrap.network import load_telemetry_mappings
from trunkline.bootstrap.network_cluster import MAPPING, Versions, following, plan_of, propose
from trunkline.bootstrap.schemas import settle
from trunkline.bootstrap.spark import settings_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.spark.carry import Work
from trunkline.engines.spark.engine import Engine
from trunkline.engines.spark.epochs import EpochEngine
from trunkline.engines.spark.figures import Totals
from trunkline.engines.spark.session import session
from trunkline.engines.stages import Staged
from trunkline.records import network
from trunkline.settings import Folders, Kafka, Spark, Watched
from trunkline.stores.embedded.network import FOLDER

AUTHOR = "spark"


def work_of(server: Server, plan: Staged, folder: Path, watched: Watched, state: str) -> Work:
    """What the tasks need to know."""
    mappings = load_telemetry_mappings(
        Path(watched.telemetry_mappings) if watched.telemetry_mappings else None
    )
    propose(server, plan, AUTHOR, folder, mappings)
    versions = Versions(server, plan, mappings)
    with following(versions):
        tables = versions.at(versions.newest())
    without_heading = {name: each for name, each in mappings.items() if not each.header_lines}
    return Work(
        plan=plan,
        tables={**tables, network.MAPPINGS.name: mappings},
        folder=state,
        mapping=MAPPING,
        sources={name: mapping.source for name, mapping in without_heading.items()},
        joins={
            name: b"\n" if mapping.record_end(b"x\n") else b"\n\n"
            for name, mapping in without_heading.items()
        },
    )


@contextmanager
def opened(
    folders: Folders,
    kafka: Kafka,
    spark: Spark,
    watched: Watched,
    told: Callable[[Totals], None] = lambda _totals: None,
    *,
    once: bool = False,
) -> Iterator[Engine]:
    """A Spark session and an engine over it; the session ends at the end."""
    refuse_judges(watched.network_judges, "spark")
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    make(server, topics(plan, kafka.kafka_edge_partitions, kafka.kafka_copies), kafka.kafka_copies)
    settle(server, plan, AUTHOR)
    settings = settings_of(folders, kafka, spark, once=once)
    settings.checkpoint.mkdir(parents=True, exist_ok=True)
    work = work_of(server, plan, folders.data / FOLDER, watched, settings.state)
    running = session("trunkline-network", spark.spark_master, spark.spark_jars)
    try:
        yield EpochEngine(running, work, settings, told)
    finally:
        running.stop()
