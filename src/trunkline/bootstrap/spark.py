"""The Spark engine put together: the map as a plan, the tables its steps look things up in, and a query that runs.

The driver's data folder remembers the tariff and the register of numbers, as it does embedded; the executors get the
compiled catalogue from the driver. State and offsets lie in the checkpoint's folder, which all of them see.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from trunkline import topology
from trunkline.api.workers import Worker
from trunkline.bootstrap.catalogues import (
    known_register,
    load_mappings,
    remembered_tariff,
)
from trunkline.bootstrap.cluster_bills import checkpoint_of
from trunkline.bootstrap.kafka import plan_of, properties, server_of, without_transfers
from trunkline.bootstrap.platform import catalogue_for, subscribers_file
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US, Facts, judged
from trunkline.bootstrap.schemas import declare
from trunkline.bootstrap.workers import saying
from trunkline.charging.corrections import corrected
from trunkline.charging.reconcile import CAUSES
from trunkline.charging.subscribers import read_subscribers
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.kafka.shared import Body, agree
from trunkline.engines.kafka.topics import make, topics
from trunkline.engines.plan import Plan
from trunkline.engines.spark import history
from trunkline.engines.spark.blobs import Bucket
from trunkline.engines.spark.carry import Work
from trunkline.engines.spark.engine import Engine, Settings
from trunkline.engines.spark.figures import Totals, Watch, serve
from trunkline.engines.spark.minutes import Minutes
from trunkline.engines.spark.session import session
from trunkline.ports import Refused
from trunkline.records import charging, usage
from trunkline.records.charging import Cause
from trunkline.settings import Folders, Kafka, Spark
from trunkline.stores.embedded.disk import Disk

MINUTES = Minutes(
    reads=charging.CHARGED,
    writes=charging.MINUTES,
    owner="subscriber",
    kind="kind",
    time="start_us",
    minute="minute_us",
    count="uses",
    sums=("units", "charged_micros"),
)
# Entries of these were ordered as movements; bonuses follow from them, and are worked out again.
ORDERED = (Cause.TOPUP, Cause.ADJUSTMENT, Cause.REFUND, Cause.BILL, Cause.CREDIT, Cause.VOUCHER)
MOST_EXAMPLES = 100
MAPPING = "trunkline"  # reads single events that do not name another


def work_of(folders: Folders, plan: Plan, state: str) -> tuple[Work, Catalogue, pl.DataFrame]:
    """What the tasks need to know, the tariff, and the subscribers whose accounts are to be opened."""
    mappings = load_mappings(Path(folders.mappings) if folders.mappings else None)
    people = subscribers_file(folders)
    content = people.read_bytes() if people else b""
    folders.data.mkdir(parents=True, exist_ok=True)
    tariffs = Path(folders.tariffs) if folders.tariffs else None
    catalogue = catalogue_for(folders.data, tariffs, Disk(), people, content)
    without_heading = {name: m for name, m in mappings.items() if not m.header_lines}
    work = Work(
        plan=plan,
        tables={
            usage.MAPPINGS.name: mappings,
            usage.MEMBERS.name: catalogue.members,
            charging.TARIFFS.name: catalogue,
        },
        folder=state,
        mapping=MAPPING,
        sources={name: mapping.source for name, mapping in without_heading.items()},
        joins={
            name: b"\n" if mapping.record_end(b"x\n") else b"\n\n"
            for name, mapping in without_heading.items()
        },
        published=(charging.ACCOUNTS,),
        minutes=MINUTES,
    )
    rows = (
        read_subscribers(people.name, content, catalogue) if people else charging.SUBSCRIBERS.record.empty()
    )
    return work, catalogue, rows


def make_topics(kafka: Kafka, plan: Plan) -> list[str]:
    """Make the map's topics that are missing, as the kafka engine does."""
    wanted = topics(plan, kafka.kafka_edge_partitions, kafka.kafka_copies)
    return make(server_of(kafka), wanted, kafka.kafka_copies)


def tell_tariff(kafka: Kafka, plan: Plan, data: Path) -> None:
    """Write the tariff that is charged by, and its register, where `trunkline serve` finds them."""
    told = {
        "files": remembered_tariff(data),
        "register": json.loads(json.dumps(asdict(known_register(data)))),
    }

    def propose(now: Body | None) -> Body | None:
        return None if now is not None and told.items() <= now.items() else told

    agree(server_of(kafka), f"{plan.prefix}.follower", plan.catalogue, "spark", propose)


def charged_by_spark(kafka: Kafka) -> Plan:
    """What Spark carries of the map; quota is asked for on kafka."""
    return replace(without_transfers(plan_of(kafka.kafka_prefix, kafka.kafka_buckets)), asks=None)


def settings_of(folders: Folders, kafka: Kafka, spark: Spark, *, once: bool = False) -> Settings:
    """How the query runs."""
    return Settings(
        servers=kafka.kafka_brokers,
        checkpoint=checkpoint_of(folders, spark),
        most_messages=spark.spark_messages,
        pause_s=spark.spark_pause_ms / 1000,
        once=once,
        kafka=java_properties(Path(spark.spark_properties)) if spark.spark_properties else {},
    )


def java_properties(path: Path) -> dict[str, str]:
    """A file of the Kafka client's settings as the connector's options; what it says is shown to nobody."""
    return {f"kafka.{name}": value for name, value in properties(path).items()}


@dataclass(frozen=True)
class Running:
    """A session with its engine, ready to be started."""

    spark: SparkSession
    engine: Engine
    catalogue: Catalogue


@contextmanager
def opened(
    folders: Folders,
    kafka: Kafka,
    spark: Spark,
    told: Callable[[Totals], None] = lambda _totals: None,
    *,
    once: bool = False,
    looking: bool = False,
) -> Iterator[Running]:
    """A Spark session and an engine over it; the session ends at the end. Who only looks makes nothing."""
    plan = charged_by_spark(kafka)
    settings = settings_of(folders, kafka, spark, once=once)
    if looking and not Path(settings.state).is_dir():
        raise Refused(
            f"{settings.checkpoint} holds no state of Spark's. Name the folder that the query writes to."
        )
    if not looking:
        make_topics(kafka, plan)
        if declare(server_of(kafka), plan, "spark"):
            _refuse_to_begin_again(plan, settings.checkpoint)
    settings.checkpoint.mkdir(parents=True, exist_ok=True)
    work, catalogue, people = work_of(folders, plan, settings.state)
    if not looking:
        tell_tariff(kafka, plan, folders.data)
    running = session("trunkline", spark.spark_master, spark.spark_jars)
    watch = Watch()
    end = serve(watch, spark.spark_metrics_port) if spark.spark_metrics_port else None

    def heard(totals: Totals) -> None:
        watch.told(totals)
        told(totals)

    try:
        engine = Engine(running, work, settings, heard)
        watch.progress = lambda name: last_progress(running, name)
        watch.recent = lambda name: recent_progress(running, name)
        watch.begin(engine.totals)
        if looking:
            yield Running(running, engine, catalogue)
        else:
            engine.enrol(topology.SUBSCRIBERS, people)
            with saying(server_of(kafka), plan, lambda: [word_of(watch)]):
                yield Running(running, engine, catalogue)
    finally:
        if end is not None:
            end()
        running.stop()


def _refuse_to_begin_again(plan: Plan, checkpoint: Path) -> None:
    """Raise `Refused` for a checkpoint with nothing in it where Spark has charged already: it knows no account."""
    if not checkpoint.is_dir() or not any(checkpoint.iterdir()):
        raise Refused(
            f"Spark has charged under {plan.prefix} with another checkpoint than {checkpoint}, in which there is"
            " nothing: it would charge everything once more. Name the one that it had (TRUNKLINE_SPARK_CHECKPOINT), or"
            " restore it with its data folder from one backup."
        )


def word_of(watch: Watch) -> Worker:
    """What the driver knows of the query; there is one under a prefix, whichever machine it runs on."""
    return Worker(
        name="spark",
        engine="spark",
        told_us=time.time_ns() // 1000,
        records=watch.carried,
        records_per_s=0.0,
        lag=watch.lag,
        state_octets=watch.totals.state_octets,
        durable_us=watch.ended_us,
    )


def last_progress(spark: SparkSession, name: str) -> dict[str, Any] | None:
    """What Spark tells of the last micro-batch of a query; None before the first, and when it does not run."""
    for query in spark.streams.active:
        if query.name == name and query.lastProgress is not None:
            return dict(json.loads(query.lastProgress.json))
    return None


def recent_progress(spark: SparkSession, name: str) -> list[dict[str, Any]]:
    """What Spark tells of the last hundred micro-batches of a query, the newest last."""
    return [
        dict(json.loads(told.json))
        for query in spark.streams.active
        if query.name == name
        for told in query.recentProgress
    ]


def carry_on(running: Running, stop: threading.Event) -> None:
    """Run until there is nothing more (when asked to take what is there) or until told to stop; raises its trouble."""
    drive(running.engine, stop)


def drive(engine: Engine, stop: threading.Event) -> None:
    """Run an engine's queries until they end, or until told to stop; raises their trouble."""
    queries = engine.start()
    try:
        while not stop.is_set() and any(query.isActive for query in queries):
            stop.wait(0.5)
        for query in queries:
            _raise_trouble(query)
    finally:
        for query in queries:
            query.stop()


def _raise_trouble(query: StreamingQuery) -> None:
    trouble = query.exception()
    if trouble is not None:
        raise trouble


def told_as(totals: Totals) -> dict[str, Any]:
    """What was done, for people and scripts."""
    return {
        **totals.sums, "alerts": totals.alerts, "poisoned": totals.poisoned, "late": totals.late,
        "batches": totals.batches,
        "state_keys": totals.state_keys, "state_octets": totals.state_octets,
    }  # fmt: skip


def reconcile(running: Running, from_us: int = BEGINNING_US, until_us: int = END_US) -> dict[str, Any]:
    """Charge everything that the topics hold once more, bucket by bucket, and compare to the micro-unit."""
    began = time.monotonic()
    engine = running.engine
    known = engine.spark.sparkContext.broadcast((running.catalogue, set_aside(running)))

    def judge(rows: Mapping[str, pl.DataFrame], state: Bucket) -> dict[str, Any]:
        return judged_bucket(rows, state, *known.value, from_us, until_us)

    found = history.judged(running.spark, engine.sent, engine.settings, judge)
    return {**_together(found), "seconds": round(time.monotonic() - began, 3)}


def set_aside(running: Running) -> pl.DataFrame:
    """Places of all records that stand as rejected: what decoding rejects has no bucket."""
    engine = running.engine
    topic = engine.sent.value.plan.topic(usage.REJECTED)
    return history.places(running.spark, engine.settings, topic, usage.REJECTED)


def judged_bucket(
    rows: Mapping[str, pl.DataFrame],
    state: Bucket,
    catalogue: Catalogue,
    rejected: pl.DataFrame,
    from_us: int,
    until_us: int,
) -> dict[str, Any]:
    """One bucket's raw records charged anew, beside what became of them."""
    ordered, facts = bucket_facts(rows, state, rejected)
    return judged(ordered, facts, catalogue, from_us, until_us).as_dict(0.0)


def bucket_facts(
    rows: Mapping[str, pl.DataFrame], state: Bucket, rejected: pl.DataFrame
) -> tuple[pl.DataFrame, Facts]:
    """One bucket's raw records in the order of their arrival, and what became of them.

    `rejected` holds the places of all that was set aside, as `set_aside` gives them.
    """
    nothing = {stream.name: stream.record.empty() for stream in (usage.DECODED, charging.CHARGED,
               charging.CORRECTIONS, charging.ENTRIES, charging.MOVEMENTS)}  # fmt: skip
    given = nothing | dict(rows)
    corrections, entries = given[charging.CORRECTIONS.name], given[charging.ENTRIES.name]
    stored = corrected(given[charging.CHARGED.name], corrections)
    keys = np.unique(
        np.concatenate([f["subscriber"].to_numpy() for f in (given[usage.DECODED.name], stored, entries)])
    )
    facts = Facts(
        stored=stored,
        accounts=state.gather(charging.ACCOUNTS, keys),
        movements=_booked(entries, given[charging.MOVEMENTS.name]),
        files=pl.DataFrame(),
        rejected=pl.DataFrame(),
        decided=pl.DataFrame(),
        corrections=corrections,
    )
    raw = given[usage.DECODED.name].join(rejected, on=("file", "offset"), how="anti")
    return _ordered(raw, stored), facts


def _ordered(raw: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Raw records in the order in which they were charged; what was not charged stands behind its neighbour."""
    place = ("file", "offset")
    known = stored.select("identity", "check", "seq").unique(("identity", "check"), keep="first")
    return (
        raw.join(known, on=("identity", "check"), how="left")
        .sort(place)
        .with_columns(pl.col("seq").forward_fill().over("file"))
        .with_columns(pl.col("seq").backward_fill().over("file"))
        .with_columns(pl.col("seq").fill_null(-1))
        .sort("seq", *place)
    )


def _booked(entries: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    """Movements of money out of their ledger entries, in their order, with the validity that was asked for."""
    causes = [int(cause) for cause in ORDERED]
    same = ("subscriber", "time_us", "balance", "amount", "cause")
    given = (
        pl.when(pl.col("credit").cast(pl.String) == "balance")
        .then(pl.col("amount"))
        .otherwise(-pl.col("amount"))
    )
    booked = entries.filter(pl.col("cause").is_in(causes)).select(
        "seq", "cause", "subscriber", "time_us", pl.col("balance").cast(pl.String), given.alias("amount")
    )
    validity = asked.select(*same, "movement_id", "valid_until_s").unique(same, keep="first")
    return charging.MOVEMENTS.record.conform(
        booked.join(validity, on=same, how="left").with_columns(
            # An opening amount may be negative, which only an adjustment may be.
            cause=pl.when(pl.col("movement_id").is_null())
            .then(int(Cause.ADJUSTMENT))
            .otherwise(pl.col("cause")),
            movement_id=pl.col("movement_id").fill_null("opening"),
            valid_until_s=pl.col("valid_until_s").fill_null(charging.NEVER_S),
        )
    )


def _together(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the buckets' judges found, added up."""
    names = ("records", "differences", "difference_micros", "accounts", "account_differences",
             "account_difference_micros")  # fmt: skip
    causes = {
        cause.name: {
            field: sum(each["by_cause"][cause.name][field] for each in found)
            for field in ("count", "difference_micros")
        }
        for cause in CAUSES
    }
    examples = [example for each in found for example in each["examples"]]
    return {
        **{name: sum(each[name] for each in found) for name in names}, "by_cause": causes,
        "examples": examples[:MOST_EXAMPLES],
    }  # fmt: skip
