"""`python -m bench.cluster [NAME ...] [--quick]`: measure the cluster's figures; `--quick` only sees that they run."""

from __future__ import annotations

import sys

from bench.cluster import kafka, latency, online, spark
from bench.command import Measures, measure_named

MEASURES: Measures = {
    "kafka_carried": (kafka.carried, 2_000_000, 100_000),
    "kafka_growth": (kafka.growth, 2_000_000, 100_000),
    "kafka_online": (online.requests, 500, 50),
    "kafka_recovery": (kafka.recovery, 5_000_000, 20_000),
    "spark_carried": (spark.carried, 4_000_000, 100_000),
    "spark_what_if": (spark.what_if, 1_000_000, 100_000),
    "spark_live": (spark.live, 20, 5),
    "latency_kafka": (latency.kafka, 20, 3),
    "latency_spark": (latency.spark, 20, 3),
    "spark_recovery": (spark.recovery, 5_000_000, 20_000),
}

if __name__ == "__main__":
    sys.exit(measure_named("python -m bench.cluster", __doc__, MEASURES))
