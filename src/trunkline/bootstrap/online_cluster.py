"""Online charging of a cluster: a door for network functions, and what their sessions hold, asked for through it.

A door is a part of `trunkline serve`, or a process of its own (`trunkline door`), which needs the brokers and a folder
of tokens and nothing else. Doors hold nothing: each takes requests for sessions that another has opened.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.api.access import Access
from trunkline.api.callbacks import Callbacks
from trunkline.api.nchf.http2 import serve, tls_of
from trunkline.api.nchf.messages import Asked, Quotas
from trunkline.api.nchf.notify import Notifier
from trunkline.api.nchf.service import Charging
from trunkline.bootstrap.addresses import bound
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.online import LONGEST_URI, READY_S, SWITCH_S, assert_safe, limited
from trunkline.bootstrap.tokens import KeptTokens
from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.door import Door
from trunkline.engines.kafka.shared import latest
from trunkline.engines.plan import Plan
from trunkline.kernel.grouped import Grouped, Rows, State
from trunkline.ports import QuotaAnswer, QuotaRequest, Refused
from trunkline.records.charging import ACCOUNTS
from trunkline.records.online import SESSIONS, Action
from trunkline.settings import Folders, Http, Kafka, Online

LOOK_S = 10.0  # for a bucket to say what it holds
NEEDS_WORKERS = (
    "The cluster knows no tariff yet. Start a worker: trunkline run --engine kafka --tariffs FOLDER"
)


class DoorReader:
    """What accounts and their sessions hold now, said by whoever owns them; any thread may ask. Raises `Busy`."""

    def __init__(self, door: Door) -> None:
        """Ask through a door."""
        self._door = door

    def account(self, subscriber: int) -> Rows:
        """Rows of one account."""
        return self._door.look(subscriber, SESSIONS, ACCOUNTS, LOOK_S)[1]

    def of_key(self, state: State, key: int) -> Rows:
        """An account's sessions."""
        assert state is SESSIONS, "only sessions are asked for"
        return self._door.look(key, SESSIONS, ACCOUNTS, LOOK_S)[0]

    def every(self, state: State) -> Grouped:
        """All sessions."""
        assert state is SESSIONS, "only sessions are asked for"
        found = self._door.look_around(SESSIONS, LOOK_S)
        counts = np.concatenate([np.diff(each.offsets) for each in found])
        return Grouped(
            np.concatenate([each.keys for each in found]),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([each.rows for each in found]),
        )


class DoorLife:
    """A door and the HTTP/2 server before it: asking, hearing, notifying."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        catalogue: Callable[[], Catalogue],
        settings: Online,
        networks: Sequence[str],
    ) -> None:
        """Listen; nothing is answered before `works` run. Raises `Refused` for what would not be safe."""
        assert_safe(settings)
        self._settings, self._catalogue = settings, catalogue
        self.notifier = Notifier(Callbacks(networks))
        name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self.door = Door(server, plan, name, lambda: catalogue().members, self._heard, self._told)
        self.reader = DoorReader(self.door)
        self._quotas = Quotas(
            settings.online_octets,
            settings.online_seconds,
            settings.online_events,
            settings.online_validity_s,
            settings.online_grace_s,
        )
        advice = "Choose another port with TRUNKLINE_ONLINE_PORT."
        self._listener = bound(settings.online_host, max(settings.online_port, 0), advice)
        self.port = self._listener.getsockname()[1]

    @property
    def root(self) -> str:
        """Where network functions reach it."""
        scheme = "https" if self._settings.online_certificate else "http"
        return f"{scheme}://{self._settings.online_host}:{self.port}"

    def _heard(self, request: QuotaRequest, answers: list[QuotaAnswer]) -> None:
        if request.action == Action.RESERVE:
            self.notifier.answered(request.session, limited(answers))
        else:
            self.notifier.ended(request.session, vanished=False)

    def _told(self, what: str, who: int) -> None:
        if what == "ended":
            self.notifier.ended(who, vanished=True)
        elif what == "richer":
            self.notifier.topped_up(who)

    def _opened(self, session: int, asked: Asked, body: Mapping[str, Any]) -> None:
        uri = body.get("notifyUri")
        if isinstance(uri, str) and len(uri) <= LONGEST_URI:
            payer, _ = self._catalogue().members.account_of(asked.request.subscriber)
            self.notifier.opened(session, payer, uri)

    def _serve(self, access: Access, count: Callable[[str, int, float], None], stop: threading.Event) -> None:
        application = Charging(
            self.door, access, self._quotas, lambda: self.root, self._opened, count,
            lambda: time.time_ns() // 1000,
        )  # fmt: skip
        settings = self._settings
        tls = None
        if settings.online_certificate:
            tls = tls_of(settings.online_certificate, settings.online_key, settings.online_clients)

        async def served() -> None:
            application.mailbox.open()
            await serve(self._listener, application, tls, stop)

        while not self.door.ready.wait(READY_S) and not stop.is_set():
            continue  # who comes meanwhile waits in the line of the socket
        asyncio.run(served())

    def works(
        self, access: Access, count: Callable[[str, int, float], None], stop: threading.Event
    ) -> list[tuple[str, Callable[[], None]]]:
        """What runs in threads of its own: names and functions that return when `stop` is set."""
        sys.setswitchinterval(SWITCH_S)
        return [
            ("door", lambda: self.door.run(stop)),
            ("online-http", lambda: self._serve(access, count, stop)),
            ("online-notify", lambda: self.notifier.run(stop)),
        ]


def run_together(
    works: Sequence[tuple[str, Callable[[], None]]], stop: threading.Event
) -> Callable[[], None]:
    """Start works in threads; a function that waits for their end, and raises what ended one of them."""
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- raised again by whoever waits
            failed.append(error)
        finally:
            stop.set()

    threads = [threading.Thread(target=guarded, args=(work,), name=name) for name, work in works]
    for thread in threads:
        thread.start()

    def wait() -> None:
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    return wait


def agreed(server: Server, plan: Plan) -> Catalogue:
    """The tariff that the cluster's workers have agreed on; raises `Refused` when there is none yet."""
    body = latest(server, f"{plan.prefix}.follower", plan.catalogue)
    if body is None:
        raise Refused(NEEDS_WORKERS)
    return compile_catalogue(body["files"], Register(**body["register"]))[0]


def run(
    folders: Folders,
    http: Http,
    kafka: Kafka,
    settings: Online,
    stop: threading.Event,
    started: Callable[[DoorLife], None],
) -> None:
    """A door alone, until told to stop; `started` is told of it when it listens."""
    if settings.online_port == 0:
        raise Refused("A door needs a port: name it with TRUNKLINE_ONLINE_PORT.")
    server, plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)
    catalogue = agreed(server, plan)
    networks = tuple(filter(None, http.notify_networks.split(",")))
    life = DoorLife(server, plan, lambda: catalogue, settings, networks)
    access = Access(KeptTokens(folders.data), time.time)
    wait = run_together(life.works(access, lambda _operation, _status, _seconds: None, stop), stop)
    started(life)
    wait()
