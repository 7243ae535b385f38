"""The same day of a network through the embedded engine and through workers on Kafka: the same of everything."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.parity.network_day import (
    DAY,
    Embedded,
    batches,
    charged,
    made,
    network_folder,
    same,
    working,
)
from tests.network.watching import simulated
from trunkline.bootstrap import network as watched
from trunkline.bootstrap.network_cluster import PUBLISHED
from trunkline.engines.kafka.client import Server
from trunkline.kernel.identity import name_words
from trunkline.records import network

ALWAYS_THERE = {
    network.KPIS, network.HEAT, network.ANOMALIES, network.ALARMS, network.ALARM_COUNTS, network.INCIDENTS,
    network.REJECTED, network.DUPLICATES, network.HELD,
}  # fmt: skip


def _worth(cells: list[str]) -> pl.DataFrame:
    """What `charged` makes cells worth, by hand: of the second day all, and of the first one nothing."""
    rows = {
        "object": name_words(pl.Series(cells)),
        "subscribers": [1 + at % 7 for at in range(len(cells))],
        "micros_per_minute": [(1 + at % 7) * 60_000_000 * (1 + at) * 24 // 1440 for at in range(len(cells))],
    }
    return pl.DataFrame(rows, schema=watched.NO_WORTH.schema).sort("object")


@pytest.mark.timeout(1200)
def test_the_same_day(kafka: Kafka, tmp_path: Path) -> None:
    """KPIs, findings, forecasts, alarms, incidents, tiles and what was set aside: three partitions, two workers."""
    folder = simulated(tmp_path / "day", DAY)
    day = batches(folder)
    mine = network_folder(folder, tmp_path / "cluster")
    known = {name: str(value) for name, value in kafka.settings().items() if name != "bootstrap.servers"}
    ours = made(mine, Server(kafka.bootstrap_servers, lambda: known), "parity-network", 3)
    cells = watched.load_inventory(mine).cells["name"].to_list()
    worth = charged(ours.server, "parity-network", cells)
    with working(ours, "worker-1", "worker-2", worth=worth) as workers:
        for number, batch in enumerate(day, start=1):
            workers.hand_in(batch)
            workers.carried(number)

    network_folder(folder, tmp_path / "embedded")
    (tmp_path / "spare").mkdir()
    theirs = Embedded(tmp_path / "embedded", day, tmp_path / "spare", _worth(cells))
    for stream in PUBLISHED:
        rows = theirs.rows(stream)
        assert len(rows) or stream not in ALWAYS_THERE, f"a day without {stream.name} proves nothing of it"
        same(stream, ours.rows(stream, len(rows)), rows)

    assert (theirs.rows(network.INCIDENTS)["subscribers"] > 0).any(), "somebody was hit"
    assert {"silence", "clock", "burn"} <= set(theirs.rows(network.ANOMALIES)["kind"]), "one of each manner"

    edges, counts = ours.edges(), ours.accounts()
    for source, sums in theirs.accounting.items():
        of_edge, of_places = edges[source], counts.get(source, [0] * 6)
        received, measured, events, duplicate, rejected, held = of_places
        assert of_edge[0] == sums.received
        assert received == of_edge[1]
        assert (measured, events, duplicate) == (sums.measured, sums.events, sums.duplicate)
        assert (rejected + of_edge[2], held + of_edge[3]) == (sums.rejected, sums.held)
