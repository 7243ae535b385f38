"""Calls under way over all accounts: a page at a time, numbers masked, and a look at numbers written down."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import World
from tests.opinion.pricing import Use
from tests.rooms.charging.test_calls import charged, part
from trunkline.api.access import Role
from trunkline.kernel.dial import to_key

pytestmark = pytest.mark.anyio

NUMBERS = [f"4477009010{at:02d}" for at in range(7)]
MISSING = NUMBERS[::3]


def _with_calls(world: World) -> None:
    """Seven subscribers with a call of two parts under way, and of every third call one is missing between them."""
    for number in NUMBERS:
        parts: list[Use] = [part(1, 10), part(3 if number in MISSING else 2, 10, seq=2)]
        rows = next(iter(charged("plain", *parts).accounts.values()))
        world.store.accounts[to_key(number)] = rows.tolist()


async def test_every_call_is_told_once(world: World) -> None:
    """However short the pages are; an account without calls stands on none."""
    _with_calls(world)
    told: list[dict[str, Any]] = []
    async with world.client(Role.VIEWER) as client:
        for limit in (1, 2, 3, 100):
            told = []
            after: dict[str, str] | None = {}
            while after is not None:
                answer = await client.get("/api/v1/calls", params={"limit": str(limit), **after})
                assert answer.status_code == 200, answer.text
                said = answer.json()
                told += said["items"]
                after = {"after": said["next"]} if said["next"] else None
            assert len(told) == len({row["subscriber"]["ref"] for row in told}) == len(NUMBERS)
    assert all(row["subscriber"]["number"].startswith("4477•••••0") for row in told)
    row = told[0]
    assert (row["kind"], row["parts"], row["missing"], row["charged_micros"]) == ("voice", 2, [2], 1_650_000)
    assert (row["begun"], row["ended"]) == ("2026-11-21T00:00:00Z", "2026-11-21T00:30:00Z")


async def test_those_that_miss_a_part(world: World) -> None:
    """Numbers in full are for who may see a person, and that somebody looked is written down."""
    _with_calls(world)
    asked = {"missing": "true", "numbers": "full"}
    async with world.client(Role.VIEWER) as client:
        assert (await client.get("/api/v1/calls", params=asked)).status_code == 403
    async with world.client(Role.CARE) as client:
        answer = (await client.get("/api/v1/calls", params=asked)).json()
    assert [row["subscriber"]["number"] for row in answer["items"]] == MISSING
    assert answer["next"] is None
    assert "read_calls" in [event.action for event in world.store.looked]
