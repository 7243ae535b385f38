"""The Spark session that trunkline asks for: what it sets for a laptop, and what it needs wherever it runs."""

from __future__ import annotations

import os
import re
import sys

from pyspark.sql import SparkSession

CONNECTOR = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"
PARTS_KEY = "spark.sql.shuffle.partitions"
PARTS = 4  # of the sums a minute; fixed by the checkpoint once it is begun, so name more where many cores are
ARROW_RECORDS = 50_000
ARROW_OCTETS = 32 << 20
TRIES = 4  # of a task within its batch, as everywhere but on one machine, where Spark alone would try once
NEEDED = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(ARROW_RECORDS),
    "spark.sql.execution.arrow.maxBytesPerBatch": str(ARROW_OCTETS),
    "spark.sql.adaptive.enabled": "false",  # the plan is one shuffle by bucket; nothing is left to choose
    "spark.sql.streaming.stateStore.providerClass":
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",  # a worker has one core; the others have theirs
    "spark.python.worker.reuse": "true",  # a worker has compiled loops and mapped files in hand
}  # fmt: skip
LAPTOP = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "2g",  # a batch and its shuffle; with half of it, batches of half a million wait for pages
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",  # large messages would have the default mark without end
    "spark.ui.showConsoleProgress": "false",
}


def trying_again(master: str) -> str:
    """The master, where it is this machine with the number of tries that clusters have: a dead worker is no end."""
    alone = re.fullmatch(r"local(?:\[(\*|\d+)\])?", master)
    return f"local[{alone[1] or 1},{TRIES}]" if alone else master


def session(name: str, master: str = "", jars: str = "") -> SparkSession:
    """The session that `spark-submit` began, or one of this process; `jars` are files in the connector's place."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    if master:
        builder = builder.master(trying_again(master))
        if master.startswith("local"):
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            for key, value in LAPTOP.items():
                builder = builder.config(key, value)
    if jars:
        builder = builder.config("spark.jars", jars)
    elif master.startswith("local"):
        builder = builder.config("spark.jars.packages", CONNECTOR)
    for key, value in NEEDED.items():
        builder = builder.config(key, value)
    made = builder.getOrCreate()
    if not made.sparkContext.getConf().contains(PARTS_KEY):
        made.conf.set(PARTS_KEY, str(PARTS))
    return made
