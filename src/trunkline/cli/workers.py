"""`trunkline status --engine kafka|spark`: how the workers of a cluster are, by their own last words."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException

from trunkline import settings
from trunkline.api.workers import seen
from trunkline.bootstrap import network_cluster
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.workers import last_words
from trunkline.cli.app import answer_json, out, table
from trunkline.ports import Refused
from trunkline.settings import Kafka


def show_workers(*, as_json: bool) -> None:
    """Lag, throughput, state, age of the checkpoint and rebalances of each worker, and the partitions that wait."""
    kafka = settings.read(Kafka)
    try:
        words = last_words(
            server_of(kafka), [plan_of(kafka.kafka_prefix), network_cluster.plan_of(kafka.kafka_prefix)]
        )
    except (TimeoutError, KafkaException) as error:
        raise Refused(
            f"{kafka.kafka_brokers} does not say how the workers are. Is it up, and may this account read there?"
        ) from error
    told = [seen(word, time.time_ns() // 1000) for word in words]
    if as_json:
        answer_json({"workers": told})
        return
    rows = [
        {
            **each,
            "heard": f"{each['silent_s']:.0f} s ago" + (" SILENT" if each["silent"] else ""),
            "rate": f"{each['records_per_s']:,.0f}",
            "age": "" if each["checkpoint_age_s"] is None else f"{each['checkpoint_age_s']:.0f} s ago",
        }
        for each in told
    ]
    columns = {
        "engine": "engine", "name": "worker", "heard": "heard", "records": "records", "rate": "records/s",
        "lag_messages": "messages behind", "state_octets": "octets of state", "age": "durable",
        "rebalances": "rebalances",
    }  # fmt: skip
    table(rows, columns, "No worker has said anything within a day.")
    waiting = [
        {"name": each["name"], "partition": place, "messages": messages}
        for each in told
        for place, messages in each["lag"].items()
        if messages
    ]
    if waiting:
        out.print()
        table(waiting, {"name": "worker", "partition": "partition", "messages": "messages behind"}, "")
