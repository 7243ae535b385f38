"""Simulations that many tests look at, made once for all of them."""

from __future__ import annotations

import polars as pl
import pytest

from tests.simulator.week import BAD_DAY, WEEK, Simulated, simulated


@pytest.fixture(scope="package")
def week(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A week in which nothing goes wrong."""
    return simulated(WEEK, tmp_path_factory.mktemp("week") / "out")


@pytest.fixture(scope="package")
def usage(week: Simulated) -> pl.DataFrame:
    """The week's usage."""
    return week.usage()


@pytest.fixture(scope="package")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A day on which every kind of fault is frequent."""
    return simulated(BAD_DAY, tmp_path_factory.mktemp("bad_day") / "out")
