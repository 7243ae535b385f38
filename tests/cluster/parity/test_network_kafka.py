"""The same day of a network through the embedded engine and through workers on Kafka: the same of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.parity.network_day import DAY, Embedded, batches, made, network_folder, same, working
from tests.network.watching import simulated
from trunkline.bootstrap.network_cluster import PUBLISHED
from trunkline.engines.kafka.client import Server
from trunkline.records import network

ALWAYS_THERE = {
    network.KPIS, network.HEAT, network.ANOMALIES, network.ALARMS, network.ALARM_COUNTS, network.INCIDENTS,
    network.REJECTED, network.DUPLICATES, network.HELD,
}  # fmt: skip


@pytest.mark.timeout(1200)
def test_the_same_day(kafka: Kafka, tmp_path: Path) -> None:
    """KPIs, findings, forecasts, alarms, incidents, tiles and what was set aside: three partitions, two workers."""
    folder = simulated(tmp_path / "day", DAY)
    day = batches(folder)
    mine = network_folder(folder, tmp_path / "cluster")
    known = {name: str(value) for name, value in kafka.settings().items() if name != "bootstrap.servers"}
    ours = made(mine, Server(kafka.bootstrap_servers, lambda: known), "parity-network", 3)
    with working(ours, "worker-1", "worker-2") as workers:
        for number, batch in enumerate(day, start=1):
            workers.hand_in(batch)
            workers.carried(number)

    network_folder(folder, tmp_path / "embedded")
    (tmp_path / "spare").mkdir()
    theirs = Embedded(tmp_path / "embedded", day, tmp_path / "spare")
    for stream in PUBLISHED:
        rows = theirs.rows(stream)
        assert len(rows) or stream not in ALWAYS_THERE, f"a day without {stream.name} proves nothing of it"
        same(stream, ours.rows(stream, len(rows)), rows)

    edges, counts = ours.edges(), ours.accounts()
    for source, sums in theirs.accounting.items():
        of_edge, of_places = edges[source], counts.get(source, [0] * 6)
        received, measured, events, duplicate, rejected, held = of_places
        assert of_edge[0] == sums.received
        assert received == of_edge[1]
        assert (measured, events, duplicate) == (sums.measured, sums.events, sums.duplicate)
        assert (rejected + of_edge[2], held + of_edge[3]) == (sums.rejected, sums.held)
