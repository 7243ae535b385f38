"""What people watch of a running query: lag, batches, state, late uses; read from Spark's own progress when asked.

Each figure is named once, with a sentence. They are served by the driver, on loopback, when a port is named.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Progress = Mapping[str, Any]
SUMS = ("received", "rated", "duplicate", "rejected", "held", "charged_micros")


@dataclass(frozen=True)
class Totals:
    """What was done since the topics began, and how large the state is."""

    batches: int = 0  # since this process started
    sums: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))
    alerts: int = 0
    poisoned: int = 0
    late: int = 0  # uses that came too late for the sums a minute
    state_keys: int = 0
    state_octets: int = 0
    slowest_us: int = 0  # the bucket that took longest in the last batch


@dataclass(frozen=True)
class Figure:
    """A figure: its name, what it means, its labels."""

    name: str
    text: str
    labels: tuple[str, ...] = ()


RECORDS = Figure(
    "trunkline_spark_records", "Records since the topics began, by what became of them.", ("outcome",)
)
LAG = Figure("trunkline_spark_lag_messages", "Messages of a partition that wait.", ("topic", "partition"))
BATCH = Figure("trunkline_spark_batch_seconds", "How long the last micro-batch took.")
RATE = Figure("trunkline_spark_messages_per_second", "Messages a second in the last micro-batch.")
SLOWEST = Figure(
    "trunkline_spark_slowest_bucket_seconds", "The bucket that took longest in the last micro-batch."
)
STATE_OCTETS = Figure("trunkline_spark_state_octets", "Octets of the buckets' state.")
STATE_KEYS = Figure("trunkline_spark_state_keys", "Keys of the buckets' state, in all files that count.")
SUMS_ROWS = Figure("trunkline_spark_sums_rows", "Rows that RocksDB holds for the sums a minute.")
SUMS_OCTETS = Figure("trunkline_spark_sums_octets", "Memory that RocksDB holds for the sums a minute.")
LATE = Figure(
    "trunkline_spark_late_uses", "Uses that came too late for their minute, since the topics began."
)
DROPPED = Figure(
    "trunkline_spark_dropped_rows",
    "Rows that Spark's watermark dropped in its last hundred batches; always 0.",
)
AGE = Figure("trunkline_spark_checkpoint_age_seconds", "Seconds since the last micro-batch ended.")
FIGURES = (
    RECORDS, LAG, BATCH, RATE, SLOWEST, STATE_OCTETS, STATE_KEYS, SUMS_ROWS, SUMS_OCTETS, LATE, DROPPED, AGE,
)  # fmt: skip


def figures_of(
    totals: Totals, charging: Progress | None, summing: Sequence[Progress], age_s: float
) -> Iterator[tuple[Figure, tuple[str, ...], float]]:
    """Every figure with its labels' values; those that Spark has not told yet are left out.

    Of `summing` the last micro-batches are given: one that dropped rows is often followed by one without any.
    """
    for outcome, count in totals.sums.items():
        if outcome != "charged_micros":
            yield RECORDS, (outcome,), count
    yield SLOWEST, (), totals.slowest_us / 1e6
    yield STATE_OCTETS, (), totals.state_octets
    yield STATE_KEYS, (), totals.state_keys
    yield LATE, (), totals.late
    yield AGE, (), age_s
    if charging is not None:
        yield BATCH, (), charging["durationMs"].get("triggerExecution", 0) / 1000
        yield RATE, (), charging.get("processedRowsPerSecond") or 0.0
        for topic, partition, lag in lags(charging):
            yield LAG, (topic, partition), lag
    states = [each["stateOperators"][0] for each in summing if each["stateOperators"]]
    if states:
        yield SUMS_ROWS, (), states[-1]["numRowsTotal"]
        yield SUMS_OCTETS, (), states[-1]["memoryUsedBytes"]
        yield DROPPED, (), sum(each["numRowsDroppedByWatermark"] for each in states)


def lags(progress: Progress) -> Iterator[tuple[str, str, int]]:
    """Topic, partition and how many of its messages wait, as Spark last saw them."""
    for source in progress["sources"]:
        latest, end = _offsets(source.get("latestOffset")), _offsets(source.get("endOffset"))
        for topic, partitions in latest.items():
            for partition, offset in partitions.items():
                yield topic, partition, max(0, offset - end.get(topic, {}).get(partition, 0))


def _offsets(told: Any) -> dict[str, dict[str, int]]:  # noqa: ANN401 -- JSON, as text or as what it says
    found = json.loads(told) if isinstance(told, str) else told
    return found if isinstance(found, dict) else {}


class Watch(Collector):
    """Asks the running queries whenever somebody asks for figures."""

    def __init__(self) -> None:
        """Begin with nothing done."""
        self.totals = self._began = Totals()
        self.progress: Callable[[str], Progress | None] = lambda _name: None
        self.recent: Callable[[str], Sequence[Progress]] = lambda _name: ()
        self.ended_us = 0  # when the last micro-batch of this process ended; 0 before the first
        self._ended_s = time.monotonic()

    def begin(self, totals: Totals) -> None:
        """Take what is there before the first micro-batch of this process."""
        self.totals = self._began = totals

    def told(self, totals: Totals) -> None:
        """A micro-batch has ended."""
        self.totals, self._ended_s, self.ended_us = totals, time.monotonic(), time.time_ns() // 1000

    @property
    def carried(self) -> int:
        """Records that this process has carried."""
        return self.totals.sums["received"] - self._began.sums["received"]

    @property
    def lag(self) -> dict[str, int]:
        """Messages that wait, by topic/partition, as Spark last saw them."""
        told = self.progress("charging")
        return {f"{topic}/{partition}": behind for topic, partition, behind in lags(told)} if told else {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All figures, now."""
        families = {
            each.name: GaugeMetricFamily(each.name, each.text, labels=each.labels) for each in FIGURES
        }
        age_s = time.monotonic() - self._ended_s
        for figure, labels, value in figures_of(
            self.totals, self.progress("charging"), self.recent("minutes"), age_s
        ):
            families[figure.name].add_metric(labels, value)
        yield from families.values()


def serve(watch: Watch, port: int) -> Callable[[], None]:
    """Serve figures on loopback; what ends it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(watch)
    server, thread = start_http_server(port, "127.0.0.1", registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return end
