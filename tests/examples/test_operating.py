"""What operators are told to set and to watch exists under that name."""

from __future__ import annotations

import dataclasses
import re

from tests.examples.pages import ROOT
from trunkline.api.metrics import METRICS
from trunkline.settings import PARTS, PREFIX

TEXT = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "operating").glob("*.md")))
NO_SETTINGS = {"TRUNKLINE_TOKEN", "TRUNKLINE_URL"}  # read by the command line for another platform, not settings


def test_metrics_to_watch_exist() -> None:
    """An alarm on a metric that nobody writes would never ring."""
    named = set(re.findall(r"\btrunkline_[a-z_]+", TEXT))
    assert named
    assert named - {metric.name for metric in METRICS} == set()


def test_settings_exist() -> None:
    """A setting that is misspelt does nothing, silently."""
    known = {f"{PREFIX}{field.name.upper()}" for part in PARTS for field in dataclasses.fields(part)}
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", TEXT))
    assert named
    assert named - known - NO_SETTINGS == set()
