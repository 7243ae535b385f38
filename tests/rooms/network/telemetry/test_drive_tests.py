"""Drive tests of a real operator flow through as telemetry: every row is read, and nothing of it is set aside."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.rooms.network.telemetry.reading import Read, block, shipped

TRACES = Path(__file__).parents[5] / "shared" / "data" / "5g" / "5G-production-dataset.zip"


@pytest.mark.skipif(not TRACES.exists(), reason="../shared/data/5g is not here")
def test_real_traces_are_read_to_the_last_row() -> None:
    """Signal strength, quality and throughput of NR and LTE cells, a row a second, dashes and all."""
    rows = measured = 0
    technologies: set[str] = set()
    with zipfile.ZipFile(TRACES) as traces:
        names = [name for name in traces.namelist() if name.endswith(".csv") and "__MACOSX" not in name]
        for name in names:
            octets = traces.read(name)
            found = Read(block(octets, "drive_test_csv"), shipped())
            assert found.reasons == [], name
            lines = [line for line in octets.split(b"\n")[1:] if line.strip()]
            assert found.measured.get_column("line").n_unique() == len(lines), name
            rows, measured = rows + len(lines), measured + len(found.measured)
            technologies.update(found.measured.get_column("technology").to_list())
    assert (rows, measured) == (188_711, 1_229_577)
    assert {"NR", "LTE"} <= technologies
