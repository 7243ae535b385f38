"""`kill -9` of the real process while network functions charge: nothing is lost, doubled or promised twice."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.online.process import free_port, started
from tests.online.world import ALICE, API, PATIENCE_S, data_request, subscribers, usage
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.tokens import add_token
from trunkline.kernel.dial import to_key
from trunkline.stores.embedded.reader import EmbeddedReader

KILLS = int(os.environ.get("TRUNKLINE_TEST_KILLS", "3"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
EVER = (-(2**62), 2**62)
MB = 1_000_000
SESSIONS = 4


class Life:
    """The real process, started again whenever it was killed."""

    def __init__(self, folder: Path) -> None:
        """Take a free port for all lives."""
        self.folder, self.data = folder, folder / "data"
        self.port = free_port()
        self.up = threading.Event()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin a life; returns when it answers."""
        self.process = started(self.folder, self.port)
        self.up.set()

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self.process is not None
        self.up.clear()
        self.process.kill()
        self.process.wait(60)


class Session:
    """A network function's session, which sends again until it is answered."""

    def __init__(self, life: Life, token: str, number: int, over: threading.Event) -> None:
        """One of several of the same subscriber."""
        self._life, self._number, self._over = life, number, over
        self._known = {"Authorization": f"Bearer {token}"}
        self.used = 0
        self.last = 0
        self.most = 0

    def run(self) -> None:
        """Ask, report and ask again until told to stop, then release."""
        self._answered(self._ask(API, wanted=5 * MB))
        place = f"{API}/{self._place}"
        while not self._over.is_set():
            reported = self.last
            self._answered(self._ask(f"{place}/update", used=reported, wanted=5 * MB))
            self.used += reported
        self._ask(f"{place}/release", used=self.last)
        self.used += self.last

    def _answered(self, answer: httpx.Response) -> None:
        (told,) = answer.json()["multipleUnitInformation"]
        self.last = told.get("grantedUnit", {}).get("totalVolume", 0)
        if "location" in answer.headers:
            self._place = answer.headers["location"].rsplit("/", 1)[1]

    def _ask(self, path: str, **units: int) -> httpx.Response:
        self.most += 1
        asked: dict[str, Any] = {}
        if units.get("used"):
            asked["used"] = {"totalVolume": units["used"]}
        if "wanted" in units:
            asked["wanted"] = {"totalVolume": units["wanted"]}
        body = data_request(
            self.most, at=f"2026-11-22T10:00:0{self._number}Z", multipleUnitUsage=[usage(10, **asked)]
        )
        while True:
            assert self._life.up.wait(PATIENCE_S), "no life came back"
            try:
                with httpx.Client(
                    http1=False, http2=True, base_url=f"http://127.0.0.1:{self._life.port}", headers=self._known,
                    timeout=PATIENCE_S,
                ) as client:  # fmt: skip
                    answer = client.post(path, json=body)
            except httpx.TransportError:
                continue
            if answer.status_code < 500:
                assert answer.status_code < 300, answer.text
                return answer


def _threads(works: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.timeout(900)
def test_sessions_outlive_the_process(tmp_path: Path) -> None:
    """What was answered stays true, what was not is sent again, and the books add up."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    chance = random.Random(SEED)
    subscribers(tmp_path / "tariffs", {ALICE: "10.00"})
    life = Life(tmp_path)
    life.data.mkdir()
    token = add_token(life.data, "smf", "billing")
    life.start()
    over = threading.Event()
    sessions = [Session(life, token, at, over) for at in range(SESSIONS)]
    threads = _threads([session.run for session in sessions])
    for _ in range(KILLS):
        over.wait(chance.uniform(0.05, 2.0))
        life.kill()
        life.start()
    over.wait(1.0)
    over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert life.process is not None
    life.process.terminate()
    life.process.wait(120)
    reader = EmbeddedReader(life.data)
    charged = reader.usage(to_key(ALICE), *EVER, 10**6)
    assert charged["units"].sum() == sum(session.used for session in sessions), f"seed {SEED}"
    assert charged["record_id"].n_unique() == len(charged)
    assert charged["charged_micros"].sum() <= 10_000_000, f"seed {SEED}: more was promised than there was"
    result = reconcile(reader, load_catalogue(life.data, None), load_mappings())
    assert (result["differences"], result["account_differences"]) == (0, 0), f"seed {SEED}: {result}"
