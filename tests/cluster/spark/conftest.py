"""What Spark's tests share: the connector's jars, and one small day that the embedded engine has charged."""

from __future__ import annotations

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed: pip install trunkline[cluster]")

from tests.cluster.conftest import MISSING
from tests.cluster.spark import jars
from tests.cluster.spark.day import Day, simulated
from trunkline.bootstrap.cluster.servers import jars_folder
from trunkline.settings import Servers


@pytest.fixture(scope="session")
def connector() -> str:
    """Jars of Spark's Kafka connector."""
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} not installed")
    return jars.connector(jars_folder(Servers()))


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """A day with faults of every kind."""
    return simulated(tmp_path_factory.mktemp("operator"))
