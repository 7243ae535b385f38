"""Usage over HTTP."""

from __future__ import annotations

import gzip

import orjson
import pytest

from tests.api.conftest import NUMBER, World

CALL = {
    "id": "r1", "type": "voice", "subscriber": NUMBER, "called": "447700900002", "start": "2026-11-18T08:15:30Z",
    "duration_ms": 61000,
}  # fmt: skip
NDJSON = {"Content-Type": "application/x-ndjson"}


def event(**change: object) -> dict[str, object]:
    """A CloudEvent around the call."""
    return {"specversion": "1.0", "type": "usage", "source": "switch-1", "id": "e1", "data": CALL, **change}


@pytest.mark.anyio
async def test_lines_are_taken_and_accounted_for(world: World) -> None:
    """Every line is received, and is rated, duplicate, rejected or held."""
    lines = [CALL, CALL, {**CALL, "duration_ms": 5}, {"id": "r2"}, {**CALL, "id": "r3", "type": "fax"}]
    body = b"\n".join(orjson.dumps(line) for line in lines) + b"\n\n"
    async with world.client() as client:
        answer = await client.post("/api/v1/events", content=body, headers=NDJSON)
        assert (answer.status_code, answer.json()["records"]) == (202, 5)
        said = (await client.get("/api/v1/accounting")).json()
    assert said["balanced"]
    total = said["total"]
    assert [total[name] for name in ("received", "rated", "duplicate", "rejected", "held")] == [5, 1, 1, 2, 1]


@pytest.mark.anyio
async def test_a_cloud_event_lends_its_name_to_usage_without_one(world: World) -> None:
    """(source, id) of the event are the record's identity unless its data has its own."""
    nameless = {name: value for name, value in CALL.items() if name != "id"}
    async with world.client() as client:
        single = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        answer = await client.post(
            "/api/v1/events", content=orjson.dumps(event(data=nameless)), headers=single
        )
        assert answer.status_code == 202
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        answer = await client.post(
            "/api/v1/events", content=orjson.dumps([event(), event(id="e2")]), headers=batch
        )
        assert answer.json()["records"] == 2
    assert [(row["source"], row["record_id"]) for row in world.store.charged] == [
        ("switch-1", "e1"),
        ("switch-1", "r1"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (event(specversion="0.3"), "specversion"),
        (event(id=""), "id must"),
        (event(source=7), "source must"),
        (event(data="text"), "data must"),
        ([1, 2], "not an object"),
    ],
)
async def test_a_wrong_event_takes_nothing_of_its_body(world: World, wrong: object, says: str) -> None:
    """A batch is taken whole or not at all, and the answer says which event is wrong."""
    body = orjson.dumps([event(), *(wrong if isinstance(wrong, list) else [wrong])])
    async with world.client() as client:
        answer = await client.post(
            "/api/v1/events", content=body, headers={"Content-Type": "application/cloudevents-batch+json"}
        )
    assert answer.status_code == 400
    assert says in answer.json()["message"]
    assert "Event 1" in answer.json()["message"]
    assert world.store.lines_taken == 0


@pytest.mark.anyio
async def test_busy_says_when_to_come_back(world: World) -> None:
    """Backpressure is 429 with Retry-After, and nothing is taken."""
    world.store.busy = True
    async with world.client() as client:
        answer = await client.post("/api/v1/events", content=orjson.dumps(CALL), headers=NDJSON)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
        assert "trunkline_busy_total 1.0" in (await client.get("/metrics")).text


@pytest.mark.anyio
async def test_bodies_that_cannot_be_taken(world: World) -> None:
    """Too large, of the wrong type, empty, broken, for a mapping that is not there: each its own answer."""
    too_large = b"x" * (16 * 1024 * 1024 + 1)
    packed = NDJSON | {"Content-Encoding": "gzip"}
    cases = [
        (too_large, NDJSON, 413),
        (gzip.compress(too_large), packed, 413),
        (gzip.compress(b"{}")[:-4], packed, 400),
        (b"not gzip", packed, 400),
        (b"{}", NDJSON | {"Content-Encoding": "br"}, 415),
        (b"a;b;c", {"Content-Type": "text/csv"}, 415),
        (b"", NDJSON, 400),
        (b"  \n\n", NDJSON, 400),
        (b"{", {"Content-Type": "application/cloudevents+json"}, 400),
        (b'{"a": 1e999999999}', {"Content-Type": "application/cloudevents+json"}, 400),
        (b"[" * 100_000, {"Content-Type": "application/cloudevents-batch+json"}, 400),
    ]
    async with world.client() as client:
        for body, headers, status in cases:
            answer = await client.post("/api/v1/events", content=body, headers=headers)
            assert answer.status_code == status, (body[:20], answer.text)
        answer = await client.post("/api/v1/events?mapping=nobody", content=b"{}", headers=NDJSON)
        assert answer.status_code == 400
    assert world.store.lines_taken == 0


@pytest.mark.anyio
async def test_gzip_is_understood(world: World) -> None:
    """Senders may compress."""
    async with world.client() as client:
        answer = await client.post(
            "/api/v1/events",
            content=gzip.compress(orjson.dumps(CALL)),
            headers=NDJSON | {"Content-Encoding": "gzip"},
        )
    assert answer.status_code == 202
    assert len(world.store.charged) == 1


@pytest.mark.anyio
async def test_text_of_other_systems_is_handed_to_their_mapping(world: World) -> None:
    """Lines that are no JSON come as text/plain, with the mapping that reads them."""
    text = {"Content-Type": "text/plain; charset=utf-8"}
    async with world.client() as client:
        answer = await client.post("/api/v1/events", content=orjson.dumps(CALL), headers=text)
        assert (answer.status_code, answer.json()["records"]) == (202, 1)
        answer = await client.post("/api/v1/events?mapping=nobody", content=b"a=b", headers=text)
    assert answer.status_code == 400
    assert "nobody" in answer.json()["message"]
    assert len(world.store.charged) == 1
