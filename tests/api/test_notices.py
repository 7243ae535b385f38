"""Notifications: what was created is told at least once, to allowed addresses only, and not forever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import orjson
import pytest

from tests.api.conftest import NUMBER, World
from tests.api.test_tmf import PREPAY, TOPUP, USAGE, fits
from trunkline.api.callbacks import Callbacks
from trunkline.api.metrics import Metrics
from trunkline.api.notices import ATTEMPTS_MAX, Notices
from trunkline.api.options import ApiOptions
from trunkline.api.problems import Problem
from trunkline.kernel import dial


class Listener:
    """A loopback server that answers as it is told and keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[dict[str, object]] = []
        self.answers: list[int] = []
        self.url = ""


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener for as long as it is needed."""
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append(orjson.loads(body))
            self.send_response(listener.answers.pop(0) if listener.answers else 204)
            self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    listener.url = f"http://127.0.0.1:{server.server_port}/told?by=trunkline"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def tell(world: World, seconds: float = 0.0) -> None:
    """Let time pass, then deliver what is due."""
    world.now_us += int(seconds * 1_000_000)
    await world.app.state.notices.deliver_due()


@pytest.mark.anyio
async def test_what_is_created_is_told(world: World) -> None:
    """Top-ups and adjustments to their hub, usage to its own, each in TM Forum's envelope, without the number."""
    with listening() as listener:
        async with world.client() as client:
            made = await client.post(f"{PREPAY}/hub", json={"callback": listener.url})
            assert made.status_code == 201
            fits(PREPAY, "EventSubscription", made.json())
            only = {"callback": listener.url, "query": "eventType=UsageCreateEvent"}
            assert (await client.post(f"{USAGE}/hub", json=only)).status_code == 201
            topup = (await client.post(f"{PREPAY}/topupBalance", json=TOPUP)).json()
            await client.post(f"{PREPAY}/adjustBalance", json=TOPUP)
            usage = {
                "usageType": "sms",
                "usageDate": "2026-11-18T08:00:00Z",
                "relatedParty": [{"id": NUMBER}],
            }
            await client.post(f"{USAGE}/usage", json=usage)
            await tell(world)
            told = {str(each["eventType"]): each for each in listener.heard}
            assert set(told) == {"TopupBalanceCreateEvent", "AdjustBalanceCreateEvent", "UsageCreateEvent"}
            for name, event in told.items():
                fits(USAGE if name.startswith("Usage") else PREPAY, name, event)
            assert told["TopupBalanceCreateEvent"]["event"]["topupBalance"]["id"] == topup["id"]  # type: ignore[index]
            assert NUMBER not in str(listener.heard)
            assert (await client.delete(made.headers["Location"])).status_code == 204
            assert (await client.delete(made.headers["Location"])).status_code == 404
            await client.post(f"{PREPAY}/topupBalance", json=TOPUP)
            await tell(world)
            assert len(listener.heard) == 3


@pytest.mark.anyio
async def test_a_deaf_listener_is_told_again_for_a_while(world: World) -> None:
    """Any answer but 2xx, redirects too, is tried again with growing patience; then it is given up, loudly."""
    with listening() as listener:
        async with world.client() as client:
            await client.post(f"{PREPAY}/hub", json={"callback": listener.url})
            await client.post(f"{PREPAY}/topupBalance", json=TOPUP)
            listener.answers = [500, 302, 404]
            for _ in range(3):
                await tell(world, 10)
            assert len(listener.heard) == 3
            await tell(world, 100)
            await tell(world, 100)
            assert len(listener.heard) == 4
            assert len({str(each["eventId"]) for each in listener.heard}) == 1
            await client.post(f"{PREPAY}/topupBalance", json=TOPUP)
            listener.answers = [500] * 50
            for _ in range(20):
                await tell(world, 1000)
            assert len(listener.heard) == 4 + ATTEMPTS_MAX
            metrics = (await client.get("/metrics")).text
            assert 'trunkline_notices_total{outcome="given_up"} 1.0' in metrics
            assert 'trunkline_notices_total{outcome="delivered"} 1.0' in metrics


@pytest.mark.anyio
async def test_what_did_not_happen_is_not_told(world: World) -> None:
    """Neither refused nor repeated orders."""
    with listening() as listener:
        async with world.client(headers={"Idempotency-Key": "k"}) as client:
            await client.post(f"{PREPAY}/hub", json={"callback": listener.url})
            refused = {**TOPUP, "amount": {"amount": -5, "units": "GB"}, "bucket": {"id": "data_1gb"}}
            assert (await client.post(f"{PREPAY}/adjustBalance", json=refused)).status_code == 409
            for _ in range(2):
                await client.post(
                    f"{PREPAY}/topupBalance",
                    json={**TOPUP, "bucket": {"id": "main"}},
                    headers={"Idempotency-Key": "m"},
                )
            world.store.busy = True
            usage = {
                "usageType": "sms",
                "usageDate": "2026-11-18T08:00:00Z",
                "relatedParty": [{"id": NUMBER}],
            }
            await client.post(f"{USAGE}/hub", json={"callback": listener.url})
            assert (await client.post(f"{USAGE}/usage", json=usage)).status_code == 429
            await tell(world)
    assert [each["eventType"] for each in listener.heard] == ["TopupBalanceCreateEvent"]


FORBIDDEN = [
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/",
    "http://[fd00::1]/",
    "http://0.0.0.0/",
    "http://[::ffff:10.0.0.1]/",
    "http://user:word@127.0.0.1/",
    "http://127.0.0.1:99999/",
    "http://no-such-host.invalid/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
]


@pytest.mark.anyio
@pytest.mark.parametrize("callback", FORBIDDEN)
async def test_callbacks_lead_home_only(world: World, callback: str) -> None:
    """No address beyond loopback can be registered, however it is written."""
    async with world.client() as client:
        for api in (PREPAY, USAGE):
            answer = await client.post(f"{api}/hub", json={"callback": callback})
            assert answer.status_code == 400, answer.text


@pytest.mark.anyio
async def test_a_setting_opens_a_network_and_each_delivery_asks_again(
    worlds: Callable[[ApiOptions], World],
) -> None:
    """Named networks may be told; an address that turned foreign after its registration is not."""
    world = worlds(ApiOptions(notify_networks=("10.1.0.0/16",)))
    notices: Notices = world.app.state.notices
    notices.register("a", "http://10.1.2.3/", "", ("x",))
    with pytest.raises(Problem):
        notices.register("a", "http://10.2.0.1/", "", ("x",))
    notices.callbacks = Callbacks(())
    with pytest.raises(Problem):
        notices._post("http://10.1.2.3/", b"{}")


@pytest.mark.anyio
async def test_notices_survive_a_restart(world: World, tmp_path: Path) -> None:
    """What is due is told after it; what was only prepared is told when it turns out to have happened."""
    options = ApiOptions(notices_path=str(tmp_path / "notices.db"))
    word = dial.to_key(NUMBER)

    def opened() -> Notices:
        return Notices(options, Metrics(world.store, lambda: world.now_us), lambda: world.now_us)

    with listening() as listener:
        before = opened()
        key = before.reference_key()
        before.register("prepayBalanceManagement", listener.url, "", ("TopupBalanceCreateEvent",))
        async with world.client() as client:
            await client.post(f"{PREPAY}/topupBalance", json=TOPUP)
        happened = world.store.moved[-1]["movement_id"]
        for name in ("one", f"movement:{happened}", "movement:never"):
            numbers = before.prepare(
                "prepayBalanceManagement", "TopupBalanceCreateEvent", name, word, {"event": {}}
            )
            if name == "one":
                before.release(numbers)
        before.close()
        after = opened()
        assert after.reference_key() == key
        await after.deliver_due()
        assert len(listener.heard) == 1
        world.now_us += 100_000_000
        after.settle_prepared(world.store)
        await after.deliver_due()
        assert len(listener.heard) == 2
        world.now_us += 4000 * 1_000_000
        after.settle_prepared(world.store)
        await after.deliver_due()
        assert after._due() == []
        assert len(listener.heard) == 2
        (left,) = after._store.execute("SELECT count(*) FROM notices").fetchone()
        assert left == 0


@pytest.mark.anyio
async def test_a_query_that_is_not_understood_is_refused(world: World) -> None:
    """A filter that we would ignore must not be accepted."""
    async with world.client() as client:
        for query in ("eventType=OtherEvent", "status=completed"):
            answer = await client.post(
                f"{PREPAY}/hub", json={"callback": "http://127.0.0.1:9/", "query": query}
            )
            assert answer.status_code == 400
