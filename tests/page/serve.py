"""The small store behind a real server, with enough in it to look at; `python -m tests.page.serve` shows it."""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
import uvicorn

from tests.api.memory_store import MemoryStore
from tests.api.small_catalogue import CATALOGUE, FILES
from tests.waiting import until
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.desk import Watching
from trunkline.api.options import ApiOptions
from trunkline.api.sign_in import sign_in_link
from trunkline.api.studies import Studies
from trunkline.api.workers import Workers
from trunkline.ports import Bills, Deliveries, Rerates, Reservations, Vouchers

NUMBERS = [f"4477009{at:05d}" for at in range(1, 41)]
TOKEN = "billing-token-of-the-page"


@dataclass
class Served:
    """A running server, and the way in."""

    url: str
    store: MemoryStore
    app: object
    tokens: dict[Role, str]

    def link(self, role: Role = Role.ADMIN) -> str:
        """A fresh sign-in link."""
        return sign_in_link(self.app.state.desk.access, self.url, f"{role.name.lower()} at the desk", role)  # type: ignore[attr-defined]


def now_us() -> int:
    """This machine's clock."""
    return time.time_ns() // 1000


def stamp(us: int) -> str:
    """A moment as records carry it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(us / 1e6)) + "Z"


def fill(store: MemoryStore, records: int = 400, seed: int = 7) -> None:
    """A little of everything: calls, messages, data, duplicates, rejects of several kinds, a conflict, alerts."""
    chance = random.Random(seed)
    for at, number in enumerate(NUMBERS):
        store.enrol(
            number,
            1_200_000 if at % 9 == 0 else chance.randrange(2, 40) * 500_000,
            minutes=100 if at % 2 else 0,
        )
    lines = [record(chance, at, now_us() - (records - at) * 2_000_000) for at in range(records)]
    lines += lines[:6]
    lines.append({**lines[3], "cause": "another story"})
    lines += [
        {**lines[0], "id": "w1", "subscriber": ""},
        {**lines[0], "id": "w2", "subscriber": "0044x"},
        {**lines[0], "id": "w3", "type": "fax"},
        {**lines[0], "id": "w4", "start": "yesterday at noon"},
        {**lines[0], "id": "w5", "subscriber": "447999999999"},
        {**lines[0], "id": "w6", "subscriber": "447999999998"},
    ]
    body = b"\n".join(orjson.dumps(line) for line in lines) + b'\n{"id": "w7", broken\n'
    store.usage("trunkline", body)


def record(chance: random.Random, at: int, us: int) -> dict[str, object]:
    """One record of our own schema."""
    kind = chance.choices(["voice", "data", "sms"], [5, 4, 2])[0]
    said: dict[str, object] = {
        "id": f"d0-{at:06d}", "source": chance.choice(["msc-london", "msc-leeds", "pgw-1"]), "type": kind,
        "subscriber": chance.choice(NUMBERS), "called": chance.choice(NUMBERS), "start": stamp(us), "cell": "C0012",
    }  # fmt: skip
    if kind == "voice":
        said["duration_ms"] = chance.randrange(4_000, 600_000)
    if kind == "data":
        said |= {"octets_down": chance.randrange(10_000, 60_000_000), "service": "internet", "called": ""}
    return said


@contextmanager
def served(
    records: int = 400,
    *,
    period_s: float = 0.3,
    port: int = 0,
    network: Watching | None = None,
    workers: Workers = tuple,
    bills: Bills | None = None,
    deliveries: Deliveries | None = None,
    studies: Studies | None = None,
    rerates: Rerates | None = None,
    vouchers: Vouchers | None = None,
    reservations: Reservations | None = None,
) -> Iterator[Served]:
    """A server on loopback for as long as it is needed; with a network, or a cluster's workers, when given."""
    store = MemoryStore(now_us)
    fill(store, records)
    tokens = {role: f"{role.name.lower()}-{TOKEN}" for role in Role}
    app = create_app(
        store,
        store,
        store,
        lambda: CATALOGUE,
        [Token(role.name.lower(), role, digest(text)) for role, text in tokens.items()],
        ApiOptions(live_period_s=period_s, usage_wait_s=0.5),
        reconcile=store.reconcile,
        tariff_files=lambda: FILES,
        network=network,
        bill_port=bills,
        delivery_port=deliveries,
        studies=studies,
        rerate_port=rerates,
        voucher_port=vouchers,
        reservation_port=reservations,
        workers=workers,
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started, "the server has started")
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield Served(url, store, app, tokens)
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def trickling(world: Served, seed: int = 1) -> Iterator[None]:
    """Usage that goes on arriving, a few records at a time."""
    chance, stop = random.Random(seed), threading.Event()

    def trickle() -> None:
        at = 1_000_000
        while not stop.wait(0.2):
            records = [record(chance, at + each, now_us()) for each in range(chance.randrange(1, 30))]
            world.store.usage("trunkline", b"\n".join(orjson.dumps(each) for each in records))
            at += 100

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Serve until interrupted."""
    with served(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as world, trickling(world):
        print(world.link())
        threading.Event().wait()


if __name__ == "__main__":
    main()
