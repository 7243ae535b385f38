"""Deliveries and choices over HTTP: who may see and change what, masked addresses, and dead letters offered again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.api.conftest import NUMBER, World, make_world
from tests.delivery.small import desk_of_deliveries
from trunkline.api.access import Role

CHOICES = f"/api/v1/subscribers/{NUMBER}/choices"
ORDER = {
    "address": "anna.example@mail.example",
    "language": "de",
    "quiet_hours": "22:00-07:00",
    "opted_out": "allowance",
}


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[World]:
    """A world whose alerts are delivered."""
    world = make_world()
    with desk_of_deliveries(tmp_path) as deliveries:
        world.app.state.desk = replace(world.app.state.desk, deliveries=deliveries)
        yield world


@pytest.mark.anyio
async def test_states_add_up_and_dead_letters_are_offered_again(telling: World) -> None:
    """What was planned is the sum of all states; a dead letter says why and whose it is, masked, and may be retried."""
    async with telling.client(Role.VIEWER) as client:
        told = (await client.get("/api/v1/deliveries/status")).json()
        assert told["states"] == {"webhook": {"sent": 2, "failed": 1}}
        assert (told["alerts"], told["planned"], told["behind"]) == (3, 3, 0)
        (dead,) = (await client.get("/api/v1/deliveries?state=failed")).json()["items"]
        assert (dead["reason"], dead["attempts"]) == ("answered 410", 1)
        assert dead["subscriber"]["number"].startswith("4477\u2022")
        assert (await client.post("/api/v1/deliveries/retry", json={})).status_code == 403
    async with telling.client(Role.BILLING) as client:
        assert (await client.post("/api/v1/deliveries/retry", json={})).status_code == 403
    async with telling.client(Role.ADMIN) as client:
        answer = await client.post("/api/v1/deliveries/retry", json={"numbers": [dead["number"], 99]})
        assert answer.json() == {"again": 1}
        assert (await client.post("/api/v1/deliveries/retry", json={})).json() == {"again": 0}
        told = (await client.get("/api/v1/deliveries/status")).json()
        assert told["states"] == {"webhook": {"sent": 2, "waiting": 1}}
        metrics = (await client.get("/metrics")).text
    assert "trunkline_alert_deliveries" not in metrics, "this world's metrics were made before its deliveries"


@pytest.mark.anyio
async def test_choices_are_kept_shown_and_forgotten(telling: World) -> None:
    """By care; the address is masked unless it is asked for, and every look and change is in the audit trail."""
    async with telling.client(Role.VIEWER) as client:
        assert (await client.get(CHOICES)).status_code == 403
        assert (await client.put(f"{CHOICES}/email", json=ORDER)).status_code == 403
    async with telling.client(Role.CARE) as client:
        assert (await client.get(CHOICES)).json() == {"items": []}
        assert (await client.put(f"{CHOICES}/email", json=ORDER)).status_code == 204
        assert (await client.put(f"{CHOICES}/sms", json={})).status_code == 204
        email, sms = (await client.get(CHOICES)).json()["items"]
        assert email == {
            **ORDER,
            "channel": "email",
            "time_zone": "",
            "address": "a\u2022\u2022\u2022@mail.example",
        }
        assert sms["address"] == ""
        email, _ = (await client.get(f"{CHOICES}?numbers=full")).json()["items"]
        assert email["address"] == ORDER["address"]
        assert (await client.delete(f"{CHOICES}/email")).status_code == 204
        assert (await client.delete(f"{CHOICES}/email")).status_code == 404
        assert len((await client.get(CHOICES)).json()["items"]) == 1
    actions = [event.action for event in telling.store.looked]
    assert actions.count("choose_delivery") == 2
    assert actions.count("forget_delivery") == 2
    assert actions.count("read_choices") == 4
    assert "mail.example" not in str(telling.store.looked)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("channel", "order", "status"),
    [
        ("email", {"address": "nobody"}, 409),
        ("email", {"address": "a@example.org", "language": "xx"}, 409),
        ("sms", {"quiet_hours": "late"}, 409),
        ("sms", {"time_zone": "Mars"}, 409),
        ("sms", {"opted_out": "weather"}, 409),
        ("sms", {"colour": "red"}, 400),
        ("pigeon", {}, 400),
    ],
)
async def test_choices_that_cannot_be(
    telling: World, channel: str, order: dict[str, str], status: int
) -> None:
    """They are refused with a sentence, and nothing is kept."""
    async with telling.client(Role.CARE) as client:
        answer = await client.put(f"{CHOICES}/{channel}", json=order)
        assert answer.status_code == status, answer.text
        assert (await client.get(CHOICES)).json() == {"items": []}


@pytest.mark.anyio
async def test_without_deliveries_the_answer_is_honest(world: World) -> None:
    """A process that delivers nothing says so."""
    async with world.client(Role.ADMIN) as client:
        for path in ("/api/v1/deliveries/status", "/api/v1/deliveries", CHOICES):
            assert (await client.get(path)).status_code == 501
