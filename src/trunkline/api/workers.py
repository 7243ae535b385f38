"""What the workers of a cluster say of themselves, as the routes, /metrics and the page show it.

Every few seconds each tells how far behind it is, how fast it goes, how large its state is, when it last made something
durable and how often its partitions moved. Who serves keeps the last word of each. Nothing is asked of a worker, so
one that is stuck is seen by its silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SILENT_S = 15.0  # several words that did not come


@dataclass(frozen=True)
class Worker:
    """The last word of one worker; None where its engine knows no such thing."""

    name: str
    engine: str  # "kafka", "spark", or "delivery": the way of results into the serving store
    told_us: int
    records: int  # carried since it began
    records_per_s: float  # since its word before
    lag: Mapping[str, int] = field(default_factory=dict)  # messages that wait, by topic/partition
    state_octets: int | None = None
    durable_us: int | None = None  # when it last made something durable; 0: not yet
    rebalances: int | None = None  # since it began


Workers = Callable[[], Sequence[Worker]]
"""Asked for whenever somebody looks."""


def seen(worker: Worker, now_us: int) -> dict[str, Any]:
    """A worker as it is shown: ages instead of moments, and whether it has fallen silent."""
    silent_s = max(0.0, (now_us - worker.told_us) / 1e6)
    return {
        "name": worker.name,
        "engine": worker.engine,
        "silent_s": round(silent_s, 3),
        "silent": silent_s > SILENT_S,
        "records": worker.records,
        "records_per_s": round(worker.records_per_s, 1),
        "lag_messages": sum(worker.lag.values()),
        "lag": dict(sorted(worker.lag.items(), key=lambda each: _place(each[0]))),
        "state_octets": worker.state_octets,
        "checkpoint_age_s": round(max(0.0, (now_us - worker.durable_us) / 1e6), 3)
        if worker.durable_us
        else None,
        "rebalances": worker.rebalances,
    }


def _place(name: str) -> tuple[str, int]:
    """Topic and partition, so that partition 10 stands behind 9."""
    topic, _, partition = name.rpartition("/")
    return topic, int(partition) if partition.isdecimal() else -1
