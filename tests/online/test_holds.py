"""What of an account is spoken for, as people see it: over HTTP and at the command line, released, and written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from tests.online.test_reserve import API as PREPAY
from tests.online.test_reserve import MB, granted, order
from tests.online.world import ALICE, BOB, World, running
from tests.waiting import until
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.reservations import OnlineReservations
from trunkline.cli import app as commands
from trunkline.kernel.dial import to_key
from trunkline.ports import Refused, Reservation
from trunkline.settings import Online
from trunkline.stores.embedded.reader import EmbeddedAudit, EmbeddedReader

HELD = f"/api/v1/subscribers/{ALICE}/reservations"
MAY = f"/api/v1/subscribers/{ALICE}/may-use"
LONG = Online(online_port=-1, online_validity_s=86_400)  # no promise ends while a test goes on
Ask = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Alice has one euro, Bob none."""
    with running(tmp_path, {ALICE: "1.00", BOB: "0.00"}, LONG) as world:
        yield world


@pytest.fixture
def ask(world: World, tmp_path: Path) -> Iterator[Ask]:
    """Questions and orders to the HTTP API over the same platform."""
    engine, platform = world.platform.engine, world.platform
    app = create_app(
        world.reader, world.intake, EmbeddedAudit(tmp_path / "data"), lambda: platform.catalogue,
        [Token(role.name.lower(), role, digest(f"token of {role.name}")) for role in Role],
        ApiOptions(reference_key=b"k" * 32),
        reservation_port=OnlineReservations(
            world.life.online, world.reader, lambda: platform.catalogue, engine.clock_us
        ),
        now_us=engine.clock_us,
    )  # fmt: skip
    with TestClient(app, "http://127.0.0.1") as client:

        def asked(method: str, path: str, body: Any = None, role: Role = Role.BILLING) -> Any:
            return client.request(
                method, path, json=body, headers={"Authorization": f"Bearer token of {role.name}"}
            )

        yield asked


@pytest.mark.timeout(600)
def test_what_is_spoken_for_is_shown_and_released(world: World, ask: Ask) -> None:
    """A reservation, a quota and what they take together; only the reservation can be released, and only once."""
    assert ask("GET", HELD).json() | {"subscriber": None} == {
        "subscriber": None, "currency": "EUR", "items": [], "balances": [],
    }  # fmt: skip
    assert ask("GET", f"/api/v1/subscribers/{ALICE}/balances").json()["can_reserve"] is True
    assert ask("POST", f"{PREPAY}/reserveBalance", order("0.60")).status_code == 201
    with world.client() as smf:
        assert granted(smf, 1) == 40 * MB
        until(lambda: len(ask("GET", HELD).json()["items"]) == 2, "both are held")
    said = ask("GET", HELD, role=Role.CARE).json()
    by = {each["what"]: each for each in said["items"]}
    assert (by["reservation"]["balance"], by["reservation"]["units"], by["reservation"]["unit"]) == (
        "main", 600_000, "money",
    )  # fmt: skip
    assert (by["quota"]["usage"], by["quota"]["group"], by["quota"]["units"], by["quota"]["unit"]) == (
        "data", 10, 40 * MB, "octets",
    )  # fmt: skip
    assert by["quota"]["until"] > by["quota"]["since"]
    assert said["balances"] == [{"balance": "main", "unit": "money", "amount": 1_000_000}]
    assert ALICE not in json.dumps(said)
    assert ALICE in ask("GET", f"{HELD}?numbers=full").text
    path = f"{HELD}/{by['reservation']['name']}/release"
    assert ask("POST", path, {}, Role.CARE).status_code == 403
    assert ask("POST", f"{HELD}/{by['quota']['name']}/release", {}).status_code == 404
    assert ask("POST", path.replace(ALICE, BOB), {}).status_code == 404, "somebody else's"
    assert ask("POST", path, {}).json() == {"name": by["reservation"]["name"], "status": "released"}
    assert ask("POST", path, {}).status_code == 404
    assert [each["what"] for each in ask("GET", HELD).json()["items"]] == ["quota"]
    audit = world.reader.audit(100)
    assert {"read_reservations", "release"} <= set(audit["action"].to_list())


@pytest.mark.timeout(600)
def test_how_much_may_be_used_is_told_and_promises_nothing(world: World, ask: Ask) -> None:
    """Beside what is set apart, up to a highest rate or cost, and as often as somebody asks."""
    assert ask("POST", f"{PREPAY}/reserveBalance", order("0.60")).status_code == 201
    data = f"{MAY}?usage=data&units={200 * MB}"
    for _ in range(2):
        assert ask("GET", data).json() == {
            "usage": "data", "unit": "octets", "wanted": 200 * MB, "units": 40 * MB, "reason": "",
        }  # fmt: skip
    assert ask("GET", f"{data}&highest_cost_micros=100000").json()["units"] == 10 * MB
    assert ask("GET", f"{data}&highest_rate_micros=9999&per_units=1000000").json()["units"] == 0
    call = f"{MAY}?usage=voice&units=3600000&to={BOB}"
    assert ask("GET", f"{call}&highest_rate_micros=0&per_units=60000").json()["units"] == 600_000, (
        "free minutes"
    )
    assert ask("GET", f"{MAY}?usage=iot&units=1").json()["reason"] == "tariff_not_found"
    assert ask("GET", f"{MAY}?usage=voice&units=1&to=no").status_code == 400
    assert ask("GET", data, role=Role.VIEWER).status_code == 403
    assert ask("GET", data.replace(ALICE, "447700900009")).status_code == 404
    assert [each["what"] for each in ask("GET", HELD).json()["items"]] == ["reservation"]


@pytest.mark.timeout(600)
def test_without_online_charging_it_is_said(tmp_path: Path) -> None:
    """A process that keeps no promises answers 501."""
    with running(tmp_path, {ALICE: "1.00"}) as world:
        app = create_app(
            world.reader, world.intake, EmbeddedAudit(tmp_path / "data"), lambda: world.platform.catalogue,
            [Token("billing", Role.BILLING, digest("t"))], ApiOptions(reference_key=b"k" * 32),
        )  # fmt: skip
        with TestClient(app, "http://127.0.0.1", headers={"Authorization": "Bearer t"}) as client:
            for path in (HELD, f"{MAY}?usage=data&units=1"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (501, "no_reservations")
            assert client.get(f"/api/v1/subscribers/{ALICE}/balances").json()["can_reserve"] is False


@pytest.mark.timeout(600)
def test_at_the_command_line(tmp_path: Path) -> None:
    """Listed and released when nobody else has the folder; what a session still owes is charged on the way."""
    with running(tmp_path, {ALICE: "1.00", BOB: "0.00"}, LONG) as world:
        kept = OnlineReservations(
            world.life.online, world.reader, lambda: world.platform.catalogue, world.platform.engine.clock_us
        )
        until(world.life.online.ready.is_set, "promises are given")
        name = kept.reserve(_order(world, 600_000)).name
        with world.client() as smf:
            assert granted(smf, 1) == 40 * MB
    data = ["--data", str(tmp_path / "data")]

    def run(*words: str) -> str:
        answer = CliRunner().invoke(commands, [*words, *data])
        if answer.exception is not None:
            raise answer.exception
        return answer.stdout

    rows = {row["what"]: row for row in json.loads(run("reservations", "list", ALICE, "--json"))}
    assert (rows["reservation"]["name"], rows["reservation"]["units"]) == (name, 600_000)
    assert (rows["quota"]["of"], rows["quota"]["units"]) == ("data, group 10", 40 * MB)
    assert ALICE not in run("reservations", "list", ALICE)
    assert run("may-use", ALICE, "1GB", "--usage", "data").strip() == "0.000 MB"
    assert name in run("reservations", "release", ALICE, name)
    with pytest.raises(Refused, match="no such reservation"):
        run("reservations", "release", ALICE, name)
    told = json.loads(run("may-use", ALICE, "1GB", "--usage", "data", "--json"))
    assert (told["units"], told["wanted"]) == (60 * MB, 10**9)
    capped = json.loads(run("may-use", ALICE, "30m", "--to", BOB, "--highest-rate", "0.00/60s", "--json"))
    assert capped["units"] == 600_000
    for wrong in (["--highest-rate", "1.00"], ["--highest-cost", "much"], ["--usage", "fax"], ["--to", "x"]):
        with pytest.raises(Refused):
            run("may-use", ALICE, "30m", *wrong)
    with pytest.raises(Refused):
        run("may-use", ALICE, "1GB")
    actions = EmbeddedReader(tmp_path / "data").audit(100)["action"].to_list()
    assert {"read_reservations", "release", "ask_may_use"} <= set(actions)


def _order(world: World, amount: int) -> Any:
    now_us = world.platform.engine.clock_us()
    return Reservation("by hand", to_key(ALICE), "main", amount, now_us, now_us + 3_600_000_000)
