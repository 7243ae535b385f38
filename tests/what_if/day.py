"""A simulated day, charged by the real engine, and drafts of its tariff."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.opinion.test_simulated_days import _without_clocks_at_their_birth as without_clocks_at_their_birth
from trunkline.api.studies import Studies
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.shadow import FolderShadows
from trunkline.bootstrap.what_if import FolderWhatIfs
from trunkline.settings import Folders
from trunkline.simulator.settings import Settings
from trunkline.simulator.simulate import simulate
from trunkline.stores.embedded.reader import EmbeddedReader

NOW_US = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
FAULTS: dict[str, Any] = {
    "duplicates": 0.01,
    "late": 0.01,
    "corrupt": 0.01,
    "conflicts": 0.005,
    "out_of_order": 0.02,
}
DEARER = ('on_net: {price: "0.05"', 'on_net: {price: "0.0777"')
CHEAPER = ('data: {price: "0.0100"', 'data: {price: "0.0033"')
UNPRICED = (
    "fallback: [standard]\nprices:\n  - {usage: iot, zones: [home, eu, nearby], class: [vehicle_positions]",
    "prices:\n  - {usage: iot, zones: [world], class: [vehicle_positions]",
)


@dataclass(frozen=True)
class Day:
    """A simulated day in a data folder, with all that was handed in."""

    data: Path
    tariffs: Path
    subscribers: Path
    files: list[Path]

    def draft(self, folder: Path, *changes: tuple[str, str]) -> Path:
        """A copy of the tariff in which words are replaced; each must be found."""
        shutil.copytree(self.tariffs, folder)
        for old, new in changes:
            found = [path for path in folder.rglob("*.yaml") if old in path.read_text()]
            assert found, old
            for path in found:
                path.write_text(path.read_text().replace(old, new))
        return folder


def charged_day(folder: Path) -> Day:
    """A faulty day, charged."""
    simulate(Settings(seed=3, subscribers=80, cells=20, hours=24, **FAULTS), folder)
    files = sorted((folder / "cdrs").iterdir())
    for path in files:
        without_clocks_at_their_birth(path)
    found = Day(folder / "data", folder / "tariffs", folder / "subscribers.csv", files)
    with opened(Folders(data=found.data, tariffs=str(found.tariffs))) as platform:
        assert not ingest(platform, files, None, None).troubles
    return found


def studies_of(data: Path) -> Studies:
    """The comparisons of a data folder, as a process that serves has them."""
    reader, mappings = EmbeddedReader(data), load_mappings()
    return Studies(FolderWhatIfs(reader, mappings), FolderShadows(reader, mappings))
