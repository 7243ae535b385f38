"""TMF654 reserveBalance beside online charging: what is set apart nobody is promised, and buckets tell the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.testclient import TestClient

from tests.online.world import ALICE, BOB, World, data_request, running, usage
from tests.online.world import API as NCHF
from tests.waiting import until
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.reservations import OnlineReservations
from trunkline.stores.embedded.reader import EmbeddedAudit

API = "/tmf-api/prepayBalanceManagement/v4"
SPECIFICATION = Path(__file__).parent.parent / "data" / "tmf" / "TMF654-PrepayBalance-v4.0.0.swagger.json"
MB = 1_000_000
Clients = Callable[[Role], TestClient]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Alice has one euro, Bob none."""
    with running(tmp_path, {ALICE: "1.00", BOB: "0.00"}) as world:
        yield world


@pytest.fixture
def clients(world: World, tmp_path: Path) -> Iterator[Clients]:
    """The HTTP API over the same platform, for each role."""
    engine, platform = world.platform.engine, world.platform
    audit = EmbeddedAudit(tmp_path / "data")
    app = create_app(
        world.reader,
        world.intake,
        audit,
        lambda: platform.catalogue,
        [Token(role.name.lower(), role, digest(f"token of {role.name}")) for role in Role],
        ApiOptions(reference_key=b"k" * 32),
        reservation_port=OnlineReservations(
            world.life.online, world.reader, lambda: platform.catalogue, engine.clock_us
        ),
        now_us=engine.clock_us,
    )
    opened: list[TestClient] = []

    def client(role: Role) -> TestClient:
        headers = {"Authorization": f"Bearer token of {role.name}"}
        opened.append(TestClient(app, "http://127.0.0.1", headers=headers))
        return opened[-1]

    yield client
    for each in opened:
        each.close()


def order(amount: str, **more: Any) -> dict[str, Any]:
    """A reservation as TMF654 has it."""
    return {
        "amount": {"amount": amount, "units": "EUR"},
        "usageType": "monetary",
        "bucket": {"id": "main"},
        "partyAccount": {"id": ALICE},
    } | more


def bucket(client: TestClient, number: str = ALICE) -> dict[str, Any]:
    """The main bucket."""
    listed = client.get(f"{API}/bucket?logicalResource.id={number}").json()
    return next(each for each in listed if each["name"] == "main")


def granted(smf: httpx.Client, at: int) -> int:
    """What a new session of Alice is granted of 200 megabytes, a cent each."""
    ask = [usage(10, wanted={"totalVolume": 200 * MB})]
    answer = smf.post(NCHF, json=data_request(1, at=f"2026-11-22T10:00:{at:02d}Z", multipleUnitUsage=ask))
    (told,) = answer.json()["multipleUnitInformation"]
    return int(told.get("grantedUnit", {}).get("totalVolume", 0))


@pytest.mark.timeout(600)
def test_what_is_set_apart_is_promised_to_nobody_until_it_is_given_back(
    world: World, clients: Clients
) -> None:
    """Reserve, look, ask online, give back, ask again; nothing moves in the ledger."""
    billing = clients(Role.BILLING)
    made = billing.post(f"{API}/reserveBalance", json=order("0.60", reason="a concert ticket"))
    assert made.status_code == 201, made.text
    kept = made.json()
    assert made.headers["location"].endswith(kept["id"])
    assert (kept["status"], kept["amount"], kept["reason"]) == (
        "completed", {"amount": 0.6, "units": "EUR"}, "a concert ticket",
    )  # fmt: skip
    shown = bucket(billing)
    assert (shown["remainingValue"]["amount"], shown["reservedValue"]["amount"]) == (1, 0.6)
    with world.client() as smf:
        assert granted(smf, 1) == 40 * MB
        until(lambda: bucket(billing)["reservedValue"]["amount"] == 1, "all of it is reserved")
        refused = billing.post(f"{API}/reserveBalance", json=order("0.01"))
        assert (refused.status_code, refused.json()["code"]) == (409, "not_enough")
        assert billing.delete(f"{API}/reserveBalance/{kept['id']}").status_code == 204
        assert billing.get(f"{API}/reserveBalance/{kept['id']}").status_code == 404
        assert billing.delete(f"{API}/reserveBalance/{kept['id']}").status_code == 404
        assert granted(smf, 2) == 60 * MB
    assert bucket(billing)["remainingValue"]["amount"] == 1


@pytest.mark.timeout(600)
def test_a_key_sets_apart_once_and_a_time_ends_it(world: World, clients: Clients) -> None:
    """Sent again it is the same reservation; another order under its key is refused; its time over, it is gone."""
    billing, key = clients(Role.BILLING), {"Idempotency-Key": "order-1"}
    first, again = (billing.post(f"{API}/reserveBalance", json=order("0.50"), headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert first.json()["id"] == again.json()["id"]
    other = billing.post(f"{API}/reserveBalance", json=order("0.40"), headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "key_reused")

    def brief() -> bool:
        end = (datetime.now(UTC) + timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
        body = order("0.30", validFor={"endDateTime": end})
        return bool(billing.post(f"{API}/reserveBalance", json=body).status_code == 201)

    until(brief, "an answer before its time is over")
    until(lambda: len(billing.get(f"{API}/reserveBalance").json()) == 1, "its time is over")
    assert bucket(billing)["reservedValue"]["amount"] == 0.5
    assert billing.post(f"{API}/reserveBalance", json=order("0.50")).status_code == 201


@pytest.mark.timeout(600)
def test_who_may_and_whom_it_is_about_is_written_down(world: World, clients: Clients, tmp_path: Path) -> None:
    """Viewers see nothing, care sees, billing orders; every look and change is audited; mistakes are told."""
    viewer, care, billing = (clients(role) for role in (Role.VIEWER, Role.CARE, Role.BILLING))
    assert viewer.get(f"{API}/reserveBalance").status_code == 403
    assert care.post(f"{API}/reserveBalance", json=order("0.10")).status_code == 403
    kept = billing.post(f"{API}/reserveBalance", json=order("0.10")).json()
    assert care.get(f"{API}/reserveBalance").json()[0]["id"] == kept["id"]
    seen = care.get(f"{API}/reserveBalance/{kept['id']}")
    assert seen.status_code == 200
    assert ALICE not in seen.text
    assert care.delete(f"{API}/reserveBalance/{kept['id']}").status_code == 403
    assert {"reserve", "read_reserveBalance"} <= set(world.reader.audit(100)["action"].to_list())
    for wrong, code in (
        (order("0"), "bad_amount"),
        (order("0.0000001"), "too_precise"),
        (order("1", bucket={"id": "gold"}), "unknown_bucket"),
        (order("1", partyAccount={"id": "447700900999"}), "unknown_subscriber"),
        (order("1", logicalResource=[{"id": BOB}]), "whose_bucket"),
        (order("1", validFor={"endDateTime": "2020-01-01T00:00:00Z"}), "bad_time"),
    ):
        answer = billing.post(f"{API}/reserveBalance", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


@pytest.mark.timeout(600)
def test_a_reservation_has_the_attributes_of_its_specification(world: World, clients: Clients) -> None:
    """Everything that is told is an attribute of TMF654 v4's ReserveBalance."""
    known = orjson.loads(SPECIFICATION.read_bytes())["definitions"]["ReserveBalance"]["properties"]
    kept = clients(Role.BILLING).post(f"{API}/reserveBalance", json=order("0.10")).json()
    assert set(kept) <= set(known)
