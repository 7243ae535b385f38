"""What is written about the interface is what it does: rights, errors, metrics, the exported description."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.api.conftest import World
from tests.delivery.small import delivering
from trunkline.api.access import RIGHTS, Role
from trunkline.api.export import main
from trunkline.api.metrics import METRICS, OF_DELIVERY, OF_NETWORK, MetricName, Metrics
from trunkline.bootstrap.alert_delivery import LedgerDeliveries
from trunkline.ports import Accounting

PAGE = (Path(__file__).parents[2] / "docs" / "interface.md").read_text()


def test_the_page_of_rights_is_the_table_in_the_code() -> None:
    """One row a right, word for word."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(right.name, right.role.name.lower(), right.text) for right in RIGHTS]


@pytest.mark.anyio
async def test_the_description_is_served_and_exported_alike(world: World, tmp_path: Path) -> None:
    """OpenAPI 3, in which every operation has a summary, an answer, and its role or the reason why it asks for none."""
    assert main([str(tmp_path / "openapi.json")]) == 0
    assert main([]) == 2
    exported = orjson.loads((tmp_path / "openapi.json").read_bytes())
    async with world.client(Role.VIEWER) as client:
        assert (await client.get("/openapi.json")).json() == exported
    assert exported["openapi"].startswith("3.")
    for path, methods in exported["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert "x-role" in operation or operation["x-public"], (method, path)
            assert "422" not in operation["responses"], (method, path)


@pytest.mark.anyio
async def test_every_metric_of_the_list_is_shown_and_no_other(world: World, tmp_path: Path) -> None:
    """With the type, sentence and labels of the list; those of the network where one is watched."""
    async with world.client(Role.VIEWER) as client:
        await client.post("/api/v1/events", content=b"{}", headers={"Content-Type": "application/x-ndjson"})
        assert_shown((await client.get("/metrics")).text, set(METRICS) - set(OF_NETWORK) - set(OF_DELIVERY))
    life = delivering(tmp_path, [])
    desk = LedgerDeliveries(life.ledger, life.reader, (), ())
    metrics = Metrics(world.store, lambda: 0, watched=QuietNetwork(), deliveries=desk)
    assert_shown(metrics.text().decode(), set(METRICS))


def assert_shown(text: str, metrics: set[MetricName]) -> None:
    """These metrics, and no other."""
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    ours = {name for name in helps if not name.endswith("_created")}
    assert ours == {metric.name for metric in metrics}
    for metric in metrics:
        assert helps[metric.name] == metric.text
        assert types[metric.name] == metric.type.value


class QuietNetwork:
    """A network that nothing has come from."""

    reader: Any = property(lambda self: self)

    @staticmethod
    def listeners() -> list[dict[str, Any]]:
        """None is on."""
        return []

    @staticmethod
    def accounting() -> list[Accounting]:
        """No source was heard of."""
        return []

    @staticmethod
    def counts() -> dict[str, int]:
        """Nothing is there."""
        return {"newest_kpi_us": 0, "alarms_active": 0, "incidents_open": 0}
