"""A draft becomes the tariff and the tariff of before comes back: checked, kept by content, audited, in one step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.what_if.day import DEARER, Day
from trunkline.bootstrap.catalogues import remember, remembered_tariff, tariff_files
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.publishing import publish, roll_back
from trunkline.charging.tariffs import TariffError
from trunkline.cli.app import app, failed
from trunkline.ports import FolderInUse, Refused
from trunkline.settings import Folders
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.reader import EmbeddedReader

LATER = ("effective: 2026-11-03", "effective: 2026-12-01")


@pytest.fixture
def data(day: Day, tmp_path: Path) -> Path:
    """A data folder of its own that charges by the day's tariff."""
    folder = tmp_path / "data"
    with opened(Folders(data=folder, tariffs=str(day.tariffs), subscribers=str(day.subscribers))):
        return folder


def tell(data: Path, *words: str) -> Any:
    """What `trunkline tariff …` answers; its trouble is raised."""
    said = CliRunner().invoke(app, ["tariff", *words, "--data", str(data), "--json"])
    if said.exception is not None:
        raise said.exception
    return json.loads(said.output)


def test_publish_and_roll_back(day: Day, data: Path, tmp_path: Path) -> None:
    """What is charged follows the tariff in use; both stay, the way back is one command, and all is written down."""
    files, draft = tariff_files(day.tariffs), day.draft(tmp_path / "draft", DEARER)
    done = tell(data, "publish", str(draft))
    assert done["changes"] > 0
    assert remembered_tariff(data) == tariff_files(draft)
    with opened(Folders(data=data)) as platform:
        assert platform.catalogue.fingerprint == done["after"]
        dearer = ingest(platform, day.files, None, None).totals.charged_micros
    back = tell(data, "rollback")
    assert (back["before"], back["after"]) == (done["after"], done["before"])
    assert remembered_tariff(data) == files
    with opened(
        Folders(data=tmp_path / "other", tariffs=str(day.tariffs), subscribers=str(day.subscribers))
    ) as platform:
        assert dearer != ingest(platform, day.files, None, None).totals.charged_micros
    assert tell(data, "rollback", "--to", done["after"][:12])["after"] == done["after"]
    assert [each["action"] for each in tell(data, "history")] == ["roll_back", "roll_back", "publish"]
    assert EmbeddedReader(data).audit(2)["action"].to_list() == ["roll_back_tariff", "roll_back_tariff"]
    assert "is kept" in CliRunner().invoke(app, ["tariff", "rollback", "--data", str(data)]).output
    assert "publish" in CliRunner().invoke(app, ["tariff", "history", "--data", str(data)]).output


def test_an_effective_date_lets_nothing_change_before(day: Day, data: Path, tmp_path: Path) -> None:
    """A price that would hold at once is refused and named; a new version from that day on is published."""
    early = tariff_files(day.draft(tmp_path / "early", DEARER))
    with pytest.raises(Refused, match=r"changes would hold before 2026-12-01: plan payg@2020-01-01"):
        publish(data, early, "2026-12-01", "clerk")
    assert remembered_tariff(data) == tariff_files(day.tariffs)
    plan = (day.tariffs / "plan_payg_2026.yaml").read_text()
    later = tariff_files(day.tariffs) | {
        "plan_payg_later.yaml": plan.replace(*LATER).replace("rate: on_net", "rate: friends")
    }
    done = publish(data, later, "2026-12-01", "clerk")
    assert done["effective"] == "2026-12-01"
    assert remembered_tariff(data) == later
    with pytest.raises(Refused, match="is not a day"):
        publish(data, early, "soon", "clerk")


def test_what_is_not_published(day: Day, data: Path, tmp_path: Path) -> None:
    """A draft with mistakes or without a change, a folder in use, and a way back that leads nowhere change nothing."""
    files = tariff_files(day.tariffs)
    broken = tariff_files(day.draft(tmp_path / "broken", ('price: "0.05"', 'price: "cheap"')))
    dearer = tariff_files(day.draft(tmp_path / "draft", DEARER))
    with pytest.raises(TariffError, match="cheap"):
        publish(data, broken, None, "clerk")
    with pytest.raises(Refused, match="nothing to publish"):
        publish(data, files, None, "clerk")
    with pytest.raises(Refused, match="not clear which"):
        roll_back(data, None, "clerk")
    with opened(Folders(data=data)), pytest.raises(FolderInUse) as found:
        publish(data, dearer, None, "clerk")
    assert failed(found.value) == 4
    assert remembered_tariff(data) == files
    done = publish(data, dearer, None, "clerk")
    with pytest.raises(Refused, match="is in use"):
        roll_back(data, done["after"], "clerk")
    assert remembered_tariff(data) == dearer


class PowerCut(Exception):
    """The machine stops."""


class StoppingDisk(Disk):
    """A disk of a machine that stops before one operation."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def before(self, operation: str, path: Path) -> None:
        """Count, and stop."""
        self.left -= 1
        if self.left < 0:
            raise PowerCut(f"{operation} {path.name}")


def test_a_crash_at_every_write(day: Day, tmp_path: Path) -> None:
    """Wherever it stops, one of the two tariffs is in use whole, and publishing again comes to the same end."""
    begin = tmp_path / "begin"
    with opened(Folders(data=begin, tariffs=str(day.tariffs))):
        pass
    files = tariff_files(day.tariffs)
    draft = tariff_files(day.draft(tmp_path / "draft", DEARER))
    writes = 0
    for stop in range(100):
        data = tmp_path / f"at{stop}"
        shutil.copytree(begin, data)
        try:
            remember(data, draft, StoppingDisk(stop))
        except PowerCut:
            writes += 1
            assert remembered_tariff(data) in (files, draft)
            if remembered_tariff(data) == files:
                publish(data, draft, None, "clerk")
        else:
            break
        assert remembered_tariff(data) == draft
    assert writes > 2
