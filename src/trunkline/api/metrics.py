"""Every metric of the HTTP side, named once with a sentence; /metrics shows these and nothing else.

What the platform has done is read from its own accounting when somebody asks, so the figures here and on
the page cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trunkline import ports
from trunkline.api.workers import Workers, seen
from trunkline.kernel.money import MICROS


class Type(Enum):
    """How a metric behaves over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class MetricName:
    """A metric: its name, how it behaves, what it means, and its labels."""

    name: str
    type: Type
    text: str
    labels: tuple[str, ...] = ()


RECORDS = MetricName(
    "trunkline_records_total",
    Type.COUNTER,
    "Records received from a source, by what became of them: rated, duplicate, rejected or held.",
    ("source", "outcome"),
)
RECEIVED = MetricName(
    "trunkline_received_records_total",
    Type.COUNTER,
    "Records received from a source; always the sum of the four outcomes.",
    ("source",),
)
CHARGED = MetricName(
    "trunkline_charged_money_total",
    Type.COUNTER,
    "Money taken from balances for usage, in whole units of the operator's currency.",
    ("source",),
)
DATA_AGE = MetricName(
    "trunkline_data_age_seconds",
    Type.GAUGE,
    "Seconds since the newest usage that is charged began; -1 before the first.",
)
REQUESTS = MetricName(
    "trunkline_http_requests_total",
    Type.COUNTER,
    "Requests answered, by method, pattern of the address and status.",
    ("method", "route", "status"),
)
SECONDS = MetricName(
    "trunkline_http_request_seconds",
    Type.HISTOGRAM,
    "Time from a request's first byte to the end of its answer.",
    ("route",),
)
POSTED = MetricName(
    "trunkline_posted_records_total",
    Type.COUNTER,
    "Usage records taken over HTTP and made durable.",
    ("mapping",),
)
BUSY = MetricName(
    "trunkline_busy_total", Type.COUNTER, "Requests answered 429 because the platform was catching up."
)
SOCKETS = MetricName("trunkline_open_sockets", Type.GAUGE, "WebSockets that are open.", ("route",))
NOTICES = MetricName(
    "trunkline_notices_total",
    Type.COUNTER,
    "Notifications to registered addresses: delivered, retried or given up.",
    ("outcome",),
)
WAITING = MetricName("trunkline_notices_waiting", Type.GAUGE, "Notifications that are not delivered yet.")
WORKER_LAG = MetricName(
    "trunkline_worker_lag_messages",
    Type.GAUGE,
    "Messages of a partition that wait for the worker that has it; of a cluster, as all of trunkline_worker_.",
    ("engine", "worker", "topic", "partition"),
)
WORKER_RECORDS = MetricName(
    "trunkline_worker_records_total",
    Type.COUNTER,
    "Records that a worker has carried since it began.",
    ("engine", "worker"),
)
WORKER_STATE = MetricName(
    "trunkline_worker_state_octets",
    Type.GAUGE,
    "Size of what a worker's buckets remember: in memory on the kafka engine, in files on Spark.",
    ("engine", "worker"),
)
WORKER_CHECKPOINT = MetricName(
    "trunkline_worker_checkpoint_age_seconds",
    Type.GAUGE,
    "Seconds since a worker last made something durable; it grows while nothing comes, too.",
    ("engine", "worker"),
)
WORKER_REBALANCES = MetricName(
    "trunkline_worker_rebalances_total",
    Type.COUNTER,
    "How often a worker was given partitions or lost them since it began.",
    ("engine", "worker"),
)
WORKER_SILENT = MetricName(
    "trunkline_worker_silent_seconds",
    Type.GAUGE,
    "Seconds since a worker last said a word; it says one every two seconds, and takes its leave when it ends well.",
    ("engine", "worker"),
)

LISTENED = MetricName(
    "trunkline_listener_messages_total",
    Type.COUNTER,
    "Messages that came to a listener since the start: taken, or refused as flood, busy, oversize or garbled,"
    " or dropped by the operating system.",
    ("listener", "outcome"),
)
LISTENED_OCTETS = MetricName(
    "trunkline_listener_octets_total", Type.COUNTER, "Octets that a listener took.", ("listener",)
)
UNANSWERED = MetricName(
    "trunkline_scrapes_unanswered_total",
    Type.COUNTER,
    "Times that an exporter did not answer when it was scraped.",
    ("listener",),
)
TELEMETRY = MetricName(
    "trunkline_telemetry_records_total",
    Type.COUNTER,
    "Telemetry received from a source, by what became of it: measured, events, duplicate, rejected or held.",
    ("source", "outcome"),
)
TELEMETRY_AGE = MetricName(
    "trunkline_telemetry_age_seconds",
    Type.GAUGE,
    "Seconds since the end of the newest KPI's window; -1 before any.",
)
ALARMS_ACTIVE = MetricName("trunkline_alarms_active", Type.GAUGE, "Alarms that stand.")
INCIDENTS_OPEN = MetricName("trunkline_incidents_open", Type.GAUGE, "Incidents that are open.")

DELIVERIES = MetricName(
    "trunkline_alert_deliveries",
    Type.GAUGE,
    "Alerts on a channel by what became of them: waiting, held, sent, failed, opted_out, too_old or no_channel.",
    ("channel", "state"),
)
DELIVERIES_BEHIND = MetricName(
    "trunkline_alerts_not_taken_up",
    Type.GAUGE,
    "Alerts that delivery has not taken up yet, counted to 10,000; it grows while no channel is set up, too.",
)

# Shown where alerts are delivered.
OF_DELIVERY = (DELIVERIES, DELIVERIES_BEHIND)

# Shown where a network is watched.
OF_NETWORK = (
    LISTENED,
    LISTENED_OCTETS,
    UNANSWERED,
    TELEMETRY,
    TELEMETRY_AGE,
    ALARMS_ACTIVE,
    INCIDENTS_OPEN,
)

METRICS = (
    RECEIVED,
    RECORDS,
    CHARGED,
    DATA_AGE,
    REQUESTS,
    SECONDS,
    POSTED,
    BUSY,
    SOCKETS,
    NOTICES,
    WAITING,
    *OF_DELIVERY,
    *OF_NETWORK,
    WORKER_LAG,
    WORKER_RECORDS,
    WORKER_STATE,
    WORKER_CHECKPOINT,
    WORKER_REBALANCES,
    WORKER_SILENT,
)


class _Platform(Collector):
    """Reads the platform's accounting at the moment of asking."""

    def __init__(self, reader: ports.Reader, now_us: Callable[[], int]) -> None:
        """Remember whom to ask."""
        self.reader = reader
        self.now_us = now_us

    def describe(self) -> Iterable[Metric]:
        """Nothing is known until somebody asks."""
        return []

    def collect(self) -> Iterable[Metric]:
        """One sample a source and outcome."""
        received = CounterMetricFamily(RECEIVED.name, RECEIVED.text, labels=RECEIVED.labels)
        records = CounterMetricFamily(RECORDS.name, RECORDS.text, labels=RECORDS.labels)
        charged = CounterMetricFamily(CHARGED.name, CHARGED.text, labels=CHARGED.labels)
        newest_us = int(self.reader.status().get("newest_us", 0))
        age = GaugeMetricFamily(DATA_AGE.name, DATA_AGE.text)
        age.add_metric([], (self.now_us() - newest_us) / 1e6 if newest_us else -1)
        for row in self.reader.accounting():
            received.add_metric([row.source], row.received)
            for outcome in ("rated", "duplicate", "rejected", "held"):
                records.add_metric([row.source, outcome], getattr(row, outcome))
            charged.add_metric([row.source], row.charged_micros / MICROS)
        return [received, records, charged, age]


class Watched(Protocol):
    """The network's side of a platform, as far as it is measured (`api.desk.Watching`)."""

    @property
    def reader(self) -> ports.NetworkReader: ...
    @property
    def listeners(self) -> Callable[[], list[dict[str, Any]]]: ...


class _Network(Collector):
    """Reads the network's accounting and its listeners at the moment of asking."""

    def __init__(self, watched: Watched, now_us: Callable[[], int]) -> None:
        """Remember whom to ask."""
        self.watched = watched
        self.now_us = now_us

    def describe(self) -> Iterable[Metric]:
        """Nothing is known until somebody asks."""
        return []

    def collect(self) -> Iterable[Metric]:
        """One sample a source or listener and outcome."""
        counters = {
            each: CounterMetricFamily(each.name, each.text, labels=each.labels)
            for each in OF_NETWORK
            if each.type is Type.COUNTER
        }
        gauges = {
            each: GaugeMetricFamily(each.name, each.text) for each in OF_NETWORK if each.type is Type.GAUGE
        }
        for row in self.watched.listeners():
            for outcome, count in {"taken": row["messages"], **row["reasons"]}.items():
                counters[LISTENED].add_metric([row["listener"], outcome], count)
            counters[LISTENED_OCTETS].add_metric([row["listener"]], row["octets"])
            counters[UNANSWERED].add_metric([row["listener"]], row["unanswered"])
        for source in self.watched.reader.accounting():
            for outcome in ("measured", "events", "duplicate", "rejected", "held"):
                counters[TELEMETRY].add_metric([source.source, outcome], getattr(source, outcome))
        counts = self.watched.reader.counts()
        newest_us = counts["newest_kpi_us"]
        gauges[TELEMETRY_AGE].add_metric([], (self.now_us() - newest_us) / 1e6 if newest_us else -1)
        gauges[ALARMS_ACTIVE].add_metric([], counts["alarms_active"])
        gauges[INCIDENTS_OPEN].add_metric([], counts["incidents_open"])
        return [*counters.values(), *gauges.values()]


class _Deliveries(Collector):
    """Reads the ledger of deliveries at the moment of asking."""

    def __init__(self, deliveries: ports.Deliveries) -> None:
        """Remember whom to ask."""
        self.deliveries = deliveries

    def describe(self) -> Iterable[Metric]:
        """Nothing is known until somebody asks."""
        return []

    def collect(self) -> Iterable[Metric]:
        """One sample a channel and state."""
        told = self.deliveries.status()
        states = GaugeMetricFamily(DELIVERIES.name, DELIVERIES.text, labels=DELIVERIES.labels)
        for channel, counts in told["states"].items():
            for state, count in counts.items():
                states.add_metric([channel, state], count)
        behind = GaugeMetricFamily(DELIVERIES_BEHIND.name, DELIVERIES_BEHIND.text)
        behind.add_metric([], told["behind"])
        return [states, behind]


class _Workers(Collector):
    """Reads the workers' last words at the moment of asking."""

    def __init__(self, workers: Workers, now_us: Callable[[], int]) -> None:
        """Remember whom to ask."""
        self.workers = workers
        self.now_us = now_us

    def describe(self) -> Iterable[Metric]:
        """Nothing is known until somebody asks."""
        return []

    def collect(self) -> Iterable[Metric]:
        """One sample a worker, and one a partition; what an engine does not know is left out."""
        gauges = {
            each: GaugeMetricFamily(each.name, each.text, labels=each.labels)
            for each in (WORKER_LAG, WORKER_STATE, WORKER_CHECKPOINT, WORKER_SILENT)
        }
        counters = {
            each: CounterMetricFamily(each.name, each.text, labels=each.labels)
            for each in (WORKER_RECORDS, WORKER_REBALANCES)
        }
        for worker in self.workers():
            told, who = seen(worker, self.now_us()), [worker.engine, worker.name]
            for place, messages in told["lag"].items():
                topic, _, partition = place.rpartition("/")
                gauges[WORKER_LAG].add_metric([*who, topic, partition], messages)
            for name, key in (
                (WORKER_STATE, "state_octets"), (WORKER_CHECKPOINT, "checkpoint_age_s"), (WORKER_SILENT, "silent_s"),
            ):  # fmt: skip
                if told[key] is not None:
                    gauges[name].add_metric(who, told[key])
            counters[WORKER_RECORDS].add_metric(who, told["records"])
            if told["rebalances"] is not None:
                counters[WORKER_REBALANCES].add_metric(who, told["rebalances"])
        return [*gauges.values(), *counters.values()]


class Metrics:
    """The registry of one application; several may live in one process without meeting."""

    def __init__(
        self,
        reader: ports.Reader,
        now_us: Callable[[], int],
        workers: Workers = tuple,
        watched: Watched | None = None,
        deliveries: ports.Deliveries | None = None,
    ) -> None:
        """Make every metric of `METRICS` once."""
        self.registry = CollectorRegistry(auto_describe=False)
        self.requests = Counter(REQUESTS.name, REQUESTS.text, REQUESTS.labels, registry=self.registry)
        self.seconds = Histogram(SECONDS.name, SECONDS.text, SECONDS.labels, registry=self.registry)
        self.posted = Counter(POSTED.name, POSTED.text, POSTED.labels, registry=self.registry)
        self.busy = Counter(BUSY.name, BUSY.text, registry=self.registry)
        self.sockets = Gauge(SOCKETS.name, SOCKETS.text, SOCKETS.labels, registry=self.registry)
        self.notices = Counter(NOTICES.name, NOTICES.text, NOTICES.labels, registry=self.registry)
        self.waiting = Gauge(WAITING.name, WAITING.text, registry=self.registry)
        self.registry.register(_Platform(reader, now_us))
        self.registry.register(_Workers(workers, now_us))
        if watched is not None:
            self.registry.register(_Network(watched, now_us))
        if deliveries is not None:
            self.registry.register(_Deliveries(deliveries))

    def charged(self, operation: str, status: int, seconds: float) -> None:
        """Count a charging request that was answered."""
        self.requests.labels("POST", f"nchf {operation}", str(status)).inc()
        self.seconds.labels(f"nchf {operation}").observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
