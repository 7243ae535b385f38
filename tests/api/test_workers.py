"""What the workers of a cluster say of themselves, over HTTP and in /metrics."""

from __future__ import annotations

import httpx
import pytest

from tests.api.conftest import NOW_US, World
from tests.api.memory_store import MemoryStore
from tests.api.small_catalogue import CATALOGUE
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.api.workers import SILENT_S, Worker

WORKERS = [
    Worker(
        "rack-a", "kafka", NOW_US - 1_000_000, 5_000, 250.04, {"t.work/10": 5, "t.work/9": 7}, 9_000,
        NOW_US - 3_000_000, 4,
    ),
    Worker("spark", "spark", NOW_US - int((SILENT_S + 1) * 1e6), 10, 0.0, {}, 0, 0),
]  # fmt: skip


def client(role: Role | None) -> httpx.AsyncClient:
    """A client of an application whose cluster has said these words."""
    store = MemoryStore(lambda: NOW_US)
    app = create_app(
        store, store, store, lambda: CATALOGUE, [Token("desk", Role.VIEWER, digest("secret"))],
        ApiOptions(reference_key=b"k" * 32), workers=lambda: WORKERS, now_us=lambda: NOW_US,
    )  # fmt: skip
    headers = {"Authorization": "Bearer secret"} if role else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8450", headers=headers
    )


@pytest.mark.anyio
async def test_workers_are_shown() -> None:
    """Ages instead of moments, partitions by their number, and who has fallen silent."""
    async with client(Role.VIEWER) as asking:
        items = (await asking.get("/api/v1/workers")).json()["items"]
    kafka, spark = items
    assert list(kafka["lag"]) == ["t.work/9", "t.work/10"]
    assert (kafka["lag_messages"], kafka["records_per_s"], kafka["rebalances"]) == (12, 250.0, 4)
    assert (kafka["silent"], kafka["silent_s"], kafka["checkpoint_age_s"]) == (False, 1.0, 3.0)
    assert (spark["silent"], spark["checkpoint_age_s"], spark["rebalances"]) == (True, None, None)


@pytest.mark.anyio
async def test_only_for_those_with_a_token() -> None:
    """Nobody is told without one."""
    async with client(None) as asking:
        assert (await asking.get("/api/v1/workers")).status_code == 401


@pytest.mark.anyio
async def test_workers_are_measured() -> None:
    """Prometheus gets lag by partition, records, state, age and rebalances; what an engine does not know is not."""
    async with client(Role.VIEWER) as asking:
        text = (await asking.get("/metrics")).text
    who = 'engine="kafka",worker="rack-a"'
    partition = 'engine="kafka",partition="9",topic="t.work",worker="rack-a"'
    for line in (
        f"trunkline_worker_lag_messages{{{partition}}} 7.0",
        f"trunkline_worker_records_total{{{who}}} 5000.0",
        f"trunkline_worker_state_octets{{{who}}} 9000.0",
        f"trunkline_worker_checkpoint_age_seconds{{{who}}} 3.0",
        f"trunkline_worker_rebalances_total{{{who}}} 4.0",
        f"trunkline_worker_silent_seconds{{{who}}} 1.0",
    ):
        assert line in text.splitlines(), text
    assert 'trunkline_worker_rebalances_total{engine="spark"' not in text


@pytest.mark.anyio
async def test_one_process_has_none(world: World) -> None:
    """Where no cluster is, there are no workers."""
    async with world.client(Role.VIEWER) as asking:
        assert (await asking.get("/api/v1/workers")).json() == {"items": []}
