"""What a worker of the kafka engine says of itself goes on over its lives, and reaches whoever listens."""

from __future__ import annotations

from typing import Any

from tests.cluster.conftest import Kafka
from tests.waiting import until
from trunkline.api.workers import Worker
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.workers import KafkaWords, Listener, last_words, saying
from trunkline.engines.kafka.topics import make, topics
from trunkline.settings import Kafka as Settings


def life(rows: int, turns: int, rebalances: int, lag: dict[str, int] | None = None) -> dict[str, Any]:
    """A worker's status with one life of its charger."""
    buckets = [{"state_octets": {"accounts": 100, "seen": 11}}, {"state_octets": {"accounts": 5}}]
    written = {"rows": rows, "turns": turns}
    charger = {"rebalances": rebalances, "lag": lag or {}, "written": written, "buckets": buckets}
    return {"name": "w", "router": {"lives": 1}, "charger": charger}


def test_counts_go_on_over_lives() -> None:
    """Rows and rebalances of a life that ended stay counted when the next one begins from nothing."""
    lives = iter([life(0, 0, 1), life(500, 2, 1, {"t.work/0": 3}), {"name": "w"}, life(40, 1, 2)])
    words = KafkaWords(lambda: next(lives))
    first, second, between, third = (words()[0] for _ in range(4))
    assert (first.records, first.durable_us, first.state_octets) == (0, 0, 116)
    assert (second.records, second.rebalances, second.lag) == (500, 1, {"t.work/0": 3})
    assert second.durable_us
    assert (between.records, between.rebalances, between.state_octets) == (500, 1, 0)
    assert (third.records, third.rebalances) == (540, 3)


def test_words_reach_whoever_listens(kafka: Kafka) -> None:
    """The last word of each counts, with its rate; who ends well takes its leave."""
    settings = Settings(kafka.bootstrap_servers, "words", 1, kafka_edge_partitions=1, kafka_copies=1)
    server, plan = server_of(settings), plan_of(settings.kafka_prefix, settings.kafka_buckets)
    make(server, topics(plan, 1, 1), 1)
    told = iter(range(10**6))
    elsewhere = plan_of("words-elsewhere")  # a flow that does not run here
    listener = Listener(server, [plan, elsewhere])
    try:
        with saying(
            server, plan, lambda: [Worker("a", "kafka", (at := next(told)) * 10**6 + NOW_US, at * 50, 0.0)]
        ):
            until(lambda: [w for w in listener.workers() if w.records_per_s == 50.0], "two words of one", 120)
            assert [word.name for word in last_words(server, [plan, elsewhere])] == ["a"]
        until(lambda: not listener.workers(), "it has taken its leave", 120)
    finally:
        listener.close()


NOW_US = 4_000_000_000_000_000  # long after any test, so that no word is a day old
