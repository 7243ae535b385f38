"""Personal data: masked unless asked for and allowed, audited always, and never in a log."""

from __future__ import annotations

import io
import logging

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.conftest import NUMBER, TOKENS, World
from tests.api.test_intake import CALL, NDJSON
from trunkline.api.access import Role
from trunkline.api.logs import JsonFormatter, configure
from trunkline.api.people import People, mask, mask_text, number_word
from trunkline.kernel import dial

PEOPLE = People(b"a key")


@given(st.integers(0, 2**64 - 1))
def test_a_reference_leads_back(word: int) -> None:
    """A reference stands for one word and shows nothing of it."""
    reference = PEOPLE.reference(word)
    assert PEOPLE.word(reference) == word
    assert People(b"another key").reference(word) != reference


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("447700900123", "4477•••••123"),
        ("4930123456", "49••••••56"),
        ("112", "112"),
        ("70123", "70123"),
        ("", ""),
    ],
)
def test_masks(number: str, shown: str) -> None:
    """Country and network stay, the person goes; what everybody may dial is nobody's."""
    assert mask(number) == shown


@given(st.text("0123456789", min_size=7, max_size=16))
def test_a_mask_hides_at_least_three_digits(number: str) -> None:
    """However long the number is."""
    assert mask(number).count("•") >= 3
    assert number not in mask_text(f"call of {number}, twice {number}!")


@pytest.mark.parametrize("said", ["+44 7700 900001", "00447700900001", "447700900001", "(44) 7700-900001"])
def test_numbers_as_people_write_them(said: str) -> None:
    """Plus, zeros and separators are understood."""
    assert number_word(said) == dial.to_key(NUMBER)


@pytest.mark.parametrize("said", ["", "abc", "12345678901234567", "~xyz", "+", "٤٤٧٧"])
def test_what_is_no_number(said: str) -> None:
    """It is refused, not guessed."""
    assert PEOPLE.word(said) is None


@pytest.mark.anyio
async def test_numbers_are_masked_unless_asked_for_and_allowed(world: World) -> None:
    """Care sees a mask by default and the number on request; a viewer never sees it."""
    async with world.client() as client:
        await client.post("/api/v1/events", content=orjson.dumps(CALL), headers=NDJSON)
    other = "447700900002"
    paths = [
        f"/api/v1/subscribers/{NUMBER}/balances",
        f"/api/v1/subscribers/{NUMBER}/usage",
        "/tmf-api/prepayBalanceManagement/v4/bucket",
        "/tmf-api/usageManagement/v4/usage",
    ]
    async with world.client(Role.CARE) as client:
        for path in paths:
            masked, full = await client.get(path), await client.get(path + "?numbers=full")
            assert masked.status_code == 200
            assert NUMBER not in masked.text, path
            assert other not in masked.text, path
            assert NUMBER in full.text, path
        assert (await client.get(paths[0] + "?numbers=please")).status_code == 400
    async with world.client(Role.VIEWER) as client:
        assert (await client.get("/api/v1/alerts?numbers=full")).status_code == 403
        alerts = await client.get("/api/v1/alerts")
        assert alerts.status_code == 200
        assert NUMBER not in alerts.text


@pytest.mark.anyio
async def test_every_look_and_change_is_written_down_first(world: World) -> None:
    """Who, in which role, what, whose; with the number nowhere in the text."""
    word = dial.to_key(NUMBER)
    looks = [
        ("POST", "/api/v1/subscribers/find", {"number": NUMBER}, "find"),
        ("GET", f"/api/v1/subscribers/{NUMBER}/balances", None, "read_balances"),
        ("GET", f"/api/v1/subscribers/{NUMBER}/usage", None, "read_usage"),
        ("GET", f"/api/v1/subscribers/{NUMBER}/entries", None, "read_entries"),
        ("POST", f"/api/v1/subscribers/{NUMBER}/topups", {"balance": "main", "amount": 5}, "topup"),
        ("GET", f"/api/v1/alerts?subscriber={NUMBER}", None, "read_alerts"),
        (
            "GET",
            f"/tmf-api/prepayBalanceManagement/v4/bucket?logicalResource.id={NUMBER}",
            None,
            "read_buckets",
        ),
        ("GET", f"/tmf-api/usageManagement/v4/usage?relatedParty.id={NUMBER}", None, "read_usage"),
    ]
    async with world.client(Role.BILLING) as client:
        for method, path, body, action in looks:
            world.store.looked.clear()
            answer = await client.request(method, path, json=body)
            assert answer.status_code < 300, (path, answer.text)
            events = [(each.actor, each.role, each.action, each.subscriber) for each in world.store.looked]
            assert events == [("billing-desk", "billing", action, word)], path
            assert NUMBER not in world.store.looked[0].detail


@pytest.mark.anyio
async def test_what_cannot_be_audited_does_not_happen(world: World) -> None:
    """A full disk under the audit trail stops the look and the top-up."""

    def fail(_: object) -> None:
        raise OSError("no room")

    world.store.record = fail  # type: ignore[assignment,method-assign]
    async with world.client() as client:
        assert (await client.get(f"/api/v1/subscribers/{NUMBER}/balances")).status_code == 500
        answer = await client.post(
            f"/api/v1/subscribers/{NUMBER}/topups", json={"balance": "main", "amount": 5}
        )
        assert answer.status_code == 500
    assert not world.store.moved


@pytest.mark.anyio
async def test_records_as_they_came_are_for_those_who_settle(world: World) -> None:
    """Lower roles see why, not what; each look at the originals is written down."""
    async with world.client() as client:
        await client.post("/api/v1/events", content=b'{"id":"x","subscriber":"447700900001"}', headers=NDJSON)
    async with world.client(Role.CARE) as client:
        assert (await client.get("/api/v1/rejects")).json()["items"][0]["raw"] is None
        assert (await client.get("/api/v1/rejects?raw=true")).status_code == 403
        assert (await client.get("/api/v1/held?raw=true")).status_code == 403
    world.store.looked.clear()
    async with world.client(Role.BILLING) as client:
        assert NUMBER in (await client.get("/api/v1/rejects?raw=true")).json()["items"][0]["raw"]
    assert [each.action for each in world.store.looked] == ["read_rejects_raw"]


@pytest.mark.anyio
async def test_logs_name_the_route_and_never_the_number(world: World) -> None:
    """Neither addresses, queries nor messages carry it."""
    stream = io.StringIO()
    before = (logging.getLogger().handlers[:], logging.getLogger().level)
    configure(stream=stream)
    try:
        async with world.client(Role.CARE) as client:
            await client.get(f"/api/v1/subscribers/{NUMBER}/balances")
            await client.get(f"/tmf-api/usageManagement/v4/usage?relatedParty.id={NUMBER}")
            await client.get(f"/{NUMBER}")
        logging.getLogger("x").warning("trouble with %s", NUMBER, extra={"also": f"+{NUMBER}"})
        try:
            int(f"number {NUMBER}")
        except ValueError:
            logging.getLogger("x").exception("it broke")
    finally:
        logging.getLogger().handlers[:], logging.getLogger().level = before
    text = stream.getvalue()
    assert NUMBER not in text
    assert TOKENS[Role.CARE] not in text
    lines = [orjson.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line["logger"] == "trunkline.http"]
    assert mine[0]["route"] == "/api/v1/subscribers/{subscriber}/balances"
    assert mine[0]["caller"] == "care-desk"
    assert {"time", "level", "message", "status", "took_ms", "method"} <= set(mine[0])


def test_a_log_line_is_one_line() -> None:
    """Whatever a message holds."""
    record = logging.makeLogRecord({"msg": "a\nb", "levelname": "INFO", "name": "n", "thing": object()})
    assert "\n" not in JsonFormatter().format(record)
