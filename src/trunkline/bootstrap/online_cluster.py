"""Online charging of a cluster: a door for network functions, and what their sessions hold, asked for through it.

A door is a part of `trunkline serve`, or a process of its own (`trunkline door`), which needs the brokers and a folder
of tokens and nothing else. Doors hold nothing: each takes requests for sessions that another has opened.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from trunkline.api.access import Access
from trunkline.bootstrap.agreed import Agreed
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.nchf_port import NchfPort, limited
from trunkline.bootstrap.together import run_together
from trunkline.bootstrap.tokens import KeptTokens
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.door import Door
from trunkline.engines.plan import Plan
from trunkline.kernel.grouped import Grouped, Rows, State
from trunkline.ports import QuotaAnswer, QuotaRequest, Refused
from trunkline.records.charging import ACCOUNTS
from trunkline.records.online import SESSIONS, Action
from trunkline.settings import Folders, Http, Kafka, Online

LOOK_S = 10.0  # for a bucket to say what it holds


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


class DoorLife(NchfPort):
    """A door: asking, hearing, and the port of network functions."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        catalogue: Callable[[], Catalogue],
        settings: Online,
        networks: Sequence[str],
    ) -> None:
        """Listen; nothing is answered before `works` run. Raises `Refused` for what would not be safe."""
        super().__init__(settings, networks, lambda: time.time_ns() // 1000)
        self._catalogue = catalogue
        name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self.door = Door(server, plan, name, lambda: catalogue().members, self._heard, self._told)
        self.online = self.door
        self.reader = DoorReader(self.door)

    def payer_of(self, subscriber: int) -> int:
        """Whose account pays for a subscriber."""
        return self._catalogue().members.account_of(subscriber)[0]

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
    agreed = Agreed(server, plan)
    networks = tuple(filter(None, http.notify_networks.split(",")))
    life = DoorLife(server, plan, agreed.catalogue, settings, networks)
    access = Access(KeptTokens(folders.data), time.time)
    works = life.works(access, lambda _operation, _status, _seconds: None, stop)
    wait = run_together([*works, ("tariff", lambda: agreed.follow(stop))], stop)
    started(life)
    wait()
