"""A server of the cluster that does not answer is told as something that passes, without saying where it is."""

from __future__ import annotations

import pytest

from tests.api.conftest import NUMBER, World
from trunkline.ports import AuditEvent, NoAnswer


@pytest.mark.anyio
async def test_silence_is_no_mistake_of_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with when to come back, and with the key of the order."""

    def silent(event: AuditEvent) -> None:
        del event
        raise NoAnswer("The store at 203.0.113.9 does not answer.")

    monkeypatch.setattr(world.store, "record", silent)
    async with world.client() as asking:
        found = await asking.get(f"/api/v1/subscribers/{NUMBER}/balances")
    assert (found.status_code, found.json()["code"]) == (503, "no_answer")
    assert int(found.headers["Retry-After"]) > 0
    assert "Idempotency-Key" in found.json()["message"]
    assert "203.0.113.9" not in found.text
