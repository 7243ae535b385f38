"""The charging routes under schemathesis, over HTTP/2: whatever is sent, no 5xx comes back, and errors say why."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.online.description import DOCUMENT
from tests.online.world import ALICE, API, World, call_request, data_request, running, usage

LONGEST_OCTETS = 64 << 10  # of an answer
schema = schemathesis.openapi.from_dict(DOCUMENT)


def bounded(examples: int, *phases: Phase) -> settings:
    """The same requests every time, and not too many."""
    return settings(
        max_examples=examples,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Alice has a thousand euros."""
    with running(tmp_path_factory.mktemp("fuzz"), {ALICE: "1000.00"}) as world:
        yield world


@pytest.fixture(scope="module")
def smf(world: World) -> Iterator[httpx.Client]:
    """A network function."""
    with world.client() as client:
        yield client


def assert_answered(answer: httpx.Response) -> None:
    """No mistake of ours; an error is a problem in the shape of TS 29.571, and no answer is long."""
    assert answer.status_code < 500, answer.text
    assert len(answer.content) <= LONGEST_OCTETS
    if answer.request.method == "HEAD":
        assert not answer.content
    elif answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["status"] == answer.status_code
        assert told["cause"]
        assert all(set(each) <= {"param", "reason"} for each in told.get("invalidParams", ()))


@schema.parametrize()
@bounded(40, Phase.explicit, Phase.generate)
def test_whatever_a_schema_allows_or_forbids(case: schemathesis.Case[Any], smf: httpx.Client) -> None:
    """Requests by the standard's shapes and beside them, to sessions that are and are not."""
    sent = case.as_transport_kwargs(base_url="http://here")
    path = httpx.URL(sent["url"]).raw_path.decode()
    body = sent.get("data") if sent.get("json") is None else json.dumps(sent["json"])
    content = body.encode(errors="replace") if isinstance(body, str) else body
    assert_answered(
        smf.request(sent["method"], API.removesuffix("/chargingdata") + path, content=content or b"")
    )


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def _places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inside = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, value in inside:
        yield from _places(value, (*path, name))


@bounded(120, Phase.explicit, Phase.generate)
@given(st.data())
def test_whatever_stands_in_one_place_of_a_good_request(smf: httpx.Client, data: st.DataObject) -> None:
    """One attribute of a request that would be taken is replaced by something else."""
    units = [usage(10, used={"totalVolume": 1, "time": 1}, wanted={"totalVolume": 1000, "time": 10})]
    body = data.draw(st.sampled_from([data_request, call_request]))(1, multipleUnitUsage=units)
    body = orjson.loads(orjson.dumps(body))
    *path, last = data.draw(st.sampled_from(list(_places(body))))
    inner = body
    for name in path:
        inner = inner[name]
    inner[last] = data.draw(ODD)
    operation = data.draw(st.sampled_from(["", "/0123456789abcdef/update", "/0123456789abcdef/release"]))
    assert_answered(smf.post(API + operation, content=orjson.dumps(body)))


@bounded(40, Phase.explicit, Phase.generate)
@given(
    st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "POST"]),
    st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=60),
    st.binary(max_size=200),
)
def test_whatever_path_method_and_octets(smf: httpx.Client, method: str, path: str, octets: bytes) -> None:
    """Paths that are none of ours, other methods, bodies that are no JSON."""
    for place in (f"{API}/{path}", f"/{path}", API):
        try:
            url = httpx.URL(place)
        except httpx.InvalidURL:
            continue
        assert_answered(smf.request(method, url, content=octets))


@pytest.mark.timeout(600)
def test_deep_and_long_bodies_are_refused(smf: httpx.Client) -> None:
    """JSON within JSON without end, numbers without end, and more octets than a request may have."""
    for body in (b"[" * 100_000, b'{"a":' * 10_000, b"9" * 100_000, b'"' + b"x" * 200_000 + b'"'):
        assert smf.post(API, content=body).status_code == 400
    assert smf.post(API, content=b" " * (257 << 10)).status_code == 413


@pytest.mark.timeout(600)
def test_odd_requests_at_the_same_moment_leave_the_money_right(world: World, smf: httpx.Client) -> None:
    """Several network functions send the same session's requests at once, again and again: each is charged once."""
    ask = [usage(10, wanted={"totalVolume": 1_000_000})]
    opened = smf.post(API, json=data_request(1, at="2026-11-22T11:00:00Z", multipleUnitUsage=ask))
    place = opened.headers["location"]
    report = data_request(
        2, multipleUnitUsage=[usage(10, used={"totalVolume": 500_000}, wanted={"totalVolume": 1})]
    )
    answers: list[httpx.Response] = []

    def send() -> None:
        with world.client() as client:
            answers.extend(client.post(f"{place}/update", json=report) for _ in range(10))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert len(answers) == 40
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].status_code == 200
