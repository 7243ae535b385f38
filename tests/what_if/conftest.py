"""One charged day for all tests of comparisons."""

from __future__ import annotations

import pytest

from tests.what_if.day import Day, charged_day


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A faulty day, charged."""
    return charged_day(tmp_path_factory.mktemp("day"))
