"""Drive tests of a real operator go through the whole network side: all is accounted for, and becomes KPIs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl
import pytest

from trunkline.bootstrap import network as watched
from trunkline.ports import Commit
from trunkline.records import network as records

TRACES = Path(__file__).parents[3] / "shared" / "data" / "5g" / "5G-production-dataset.zip"
SOME = 3


@pytest.mark.timeout(900)
@pytest.mark.skipif(not TRACES.exists(), reason="../shared/data/5g is not here")
def test_real_traces_become_kpis(tmp_path: Path) -> None:
    """What is received is measured, or set aside with its reason; signal strength is told of cells that were met."""
    with zipfile.ZipFile(TRACES) as traces:
        names = [name for name in traces.namelist() if name.endswith(".csv") and "__MACOSX" not in name]
        chosen = names[:: max(1, len(names) // SOME)][:SOME]
        chosen.sort(key=lambda name: Path(name).name)  # names begin with their day: what is older comes first
        files = [tmp_path / f"trace-{number}.csv" for number in range(len(chosen))]
        for path, name in zip(files, chosen, strict=True):
            path.write_bytes(traces.read(name))
    told: list[pl.DataFrame] = []

    def keep(commit: Commit) -> None:
        if records.KPIS.name in commit.frames:
            told.append(commit.frames[records.KPIS.name])

    with watched.opened_network(tmp_path / "data") as network:
        network.engine.listeners.append(keep)
        totals, troubles = watched.ingest_telemetry(
            network, [(path, "drive_test_csv", None) for path in files]
        )
        sources = network.reader.accounting()
    assert troubles == []
    assert totals.received == totals.measured + totals.duplicate + totals.rejected + totals.held > 1_000
    assert sum(row.received for row in sources) == totals.received
    strength = pl.concat(told).filter(pl.col("kpi") == "SignalStrength", pl.col("value_milli").is_not_null())
    assert len(strength) > 100
    assert strength["value_milli"].is_between(-160_000, -20_000).all(), "dBm as phones see it"
