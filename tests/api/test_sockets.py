"""WebSockets over a real server: who gets in, resuming, following one person, and slow readers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.page.serve import NUMBERS, Served, now_us, served, stamp
from trunkline.api.access import Role
from trunkline.api.desk import SESSION_COOKIE
from trunkline.kernel import dial


@pytest.fixture(scope="module")
def world() -> Iterator[Served]:
    """One server for all; each test looks at its own people."""
    with served(40, period_s=0.05) as world:
        for at in range(3):
            number = f"44770098000{at}"
            world.store.enrol(number, 1_050_000)
            world.store.usage("trunkline", call(number, f"low-{at}"))
        yield world


@contextmanager
def opened(
    world: Served, path: str, role: Role | None = Role.ADMIN, **named: Any
) -> Iterator[ClientConnection]:
    """A socket with a bearer token in its header, or without for None."""
    headers = dict(named.pop("additional_headers", {}))
    if role is not None:
        headers["Authorization"] = f"Bearer {world.tokens[role]}"
    with connect(
        world.url.replace("http", "ws") + path, additional_headers=headers, proxy=None, **named
    ) as socket:
        yield socket


def heard(socket: ClientConnection, kind: str, patience_s: float = 10) -> dict[str, Any]:
    """The next message of a kind."""
    until = time.monotonic() + patience_s
    while True:
        said: dict[str, Any] = orjson.loads(socket.recv(timeout=until - time.monotonic()))
        if said["type"] == kind:
            return said


def closing_code(socket: ClientConnection) -> int:
    """The code with which the server closes, whatever it says before."""
    try:
        while True:
            socket.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006


def call(number: str, name: str) -> bytes:
    """A call of one minute."""
    said = {"id": name, "type": "voice", "subscriber": number, "called": NUMBERS[0], "duration_ms": 60000}
    return orjson.dumps({**said, "start": stamp(now_us())}) + b"\n"


def test_ways_in(world: Served) -> None:
    """A token in the header, as a subprotocol or as first message; a session from our own page; nothing else."""
    token = world.tokens[Role.VIEWER]
    with opened(world, "/api/v1/live", Role.VIEWER) as socket:
        assert heard(socket, "sample")["accounting"]["balanced"]
    offers = [Subprotocol("trunkline.v1"), Subprotocol(f"bearer.{token}")]
    with opened(world, "/api/v1/live", None, subprotocols=offers) as socket:
        assert socket.subprotocol == "trunkline.v1"
        heard(socket, "sample")
    with opened(world, "/api/v1/alerts/stream", None) as socket:
        socket.send(orjson.dumps({"token": token}).decode())
        heard(socket, "alert")
    access = world.app.state.desk.access  # type: ignore[attr-defined]
    session = access.open_session(access.by_token(token))
    cookie = {"Cookie": f"{SESSION_COOKIE}={session}"}
    with opened(world, "/api/v1/live", None, additional_headers=cookie, origin=world.url) as socket:
        heard(socket, "sample")
        access.end_session(access.by_session(session))
        assert closing_code(socket) == 4401
    session = access.open_session(access.by_token(token))
    cookie = {"Cookie": f"{SESSION_COOKIE}={session}"}
    for origin in ("http://evil.example", None):
        with opened(world, "/api/v1/live", None, additional_headers=cookie, origin=origin) as socket:
            assert closing_code(socket) == 4401
    for wrong in ({"token": "no"}, {"token": 7}, {}):
        with opened(world, "/api/v1/live", None) as socket:
            socket.send(orjson.dumps(wrong).decode())
            assert closing_code(socket) == 4401
    for text, code in (("[]", 1003), ("{", 1003), ("x" * 5000, 1009)):
        with opened(world, "/api/v1/live", None) as socket:
            socket.send(text)
            assert closing_code(socket) == code


def test_samples_tell_what_happens(world: Served) -> None:
    """Rates, accounting, newest usage with masked numbers, and the history that came before."""
    with opened(world, "/api/v1/live", Role.VIEWER) as socket:
        assert heard(socket, "history")["samples"]
        before = heard(socket, "sample")
        world.store.usage("trunkline", b"".join(call(NUMBERS[1], f"live-{at}") for at in range(50)))
        sample = heard(socket, "sample")
        while sample["records_per_s"] == 0:
            sample = heard(socket, "sample")
        assert sample["accounting"]["total"]["received"] == before["accounting"]["total"]["received"] + 50
        assert any(row["record_id"].startswith("live-") for row in heard(socket, "sample")["usage"])
        assert not any(number in orjson.dumps(sample).decode() for number in NUMBERS)


def test_following_one_person(world: Served) -> None:
    """Balances and usage come as they change; looking is written down, and needs the right."""
    number, word = NUMBERS[5], dial.to_key(NUMBERS[5])
    reference = world.app.state.desk.people.reference(word)  # type: ignore[attr-defined]
    with opened(world, "/api/v1/live", Role.CARE) as socket:
        socket.send(orjson.dumps({"watch": reference}).decode())
        first = heard(socket, "subscriber")
        assert first["subscriber"]["ref"] == reference
        world.store.usage("trunkline", call(number, "watched-1"))
        changed = heard(socket, "subscriber")
        assert changed["usage"][0]["record_id"] == "watched-1"
        assert number not in orjson.dumps(changed).decode()
        assert [each.action for each in world.store.looked if each.subscriber == word] == ["watch"]
        socket.send(orjson.dumps({"watch": None}).decode())
        world.store.usage("trunkline", call(number, "watched-2"))
        with pytest.raises(TimeoutError):
            heard(socket, "subscriber", 0.5)
    with opened(world, "/api/v1/live", Role.VIEWER) as socket:
        socket.send(orjson.dumps({"watch": reference}).decode())
        assert closing_code(socket) == 4403


def test_alerts_resume_by_number(world: Served) -> None:
    """Whoever comes back says the last number and misses none; new ones follow by themselves."""
    with opened(world, "/api/v1/alerts/stream", Role.VIEWER) as socket:
        first = [heard(socket, "alert")["number"] for _ in range(3)]
    assert first == [1, 2, 3]
    with opened(world, "/api/v1/alerts/stream?after=2", Role.VIEWER) as socket:
        assert heard(socket, "alert")["number"] == 3
    last = world.store.told[-1]["number"]
    with opened(world, f"/api/v1/alerts/stream?after={last}", Role.VIEWER) as socket:
        word = world.store.enrol("447700990001", 1_050_000)
        world.store.usage("trunkline", call("447700990001", "alerting"))
        said = heard(socket, "alert")
        assert (said["number"], said["severity"]) == (last + 1, "warning")
        assert said["subscriber"]["ref"] == world.app.state.desk.people.reference(word)  # type: ignore[attr-defined]


def test_a_slow_reader_holds_nobody_up(world: Served) -> None:
    """One that does not read keeps neither others nor the platform waiting, and nothing piles up for it."""
    with (
        opened(world, "/api/v1/live", Role.VIEWER, max_queue=1) as slow,
        opened(world, "/api/v1/live") as quick,
    ):
        heard(slow, "sample")
        numbers = [heard(quick, "sample")["number"] for _ in range(20)]
        assert numbers == sorted(set(numbers))
