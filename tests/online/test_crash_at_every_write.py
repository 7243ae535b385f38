"""Whatever the write at which the process dies while quota is asked for: nothing is promised or charged twice."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.online.world import ALICE, PATIENCE_S, subscribers
from tests.simulation.faulty import Crashed, CrashingDisk
from tests.waiting import until
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.online import SOURCE, online_of
from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.engines.embedded import online as of_engine
from trunkline.engines.embedded.online import EngineOnline
from trunkline.engines.embedded.sources import LiveSources
from trunkline.kernel.dial import to_key
from trunkline.ports import QuotaRequest, Told
from trunkline.records.online import Action
from trunkline.records.usage import Kind
from trunkline.settings import Folders
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.reader import EmbeddedReader

EVERY = int(os.environ.get("TRUNKLINE_TEST_EVERY_WRITE", "4"))  # 1 dies at each
EVER = (-(2**62), 2**62)
MB = 1_000_000
BALANCE = 100 * MB  # what Alice's euro pays for, at a cent for a megabyte
WANTED = 40 * MB
NOW_US = 1_795_341_600_000_000
GROUP = 10
# Three sessions of one account want more than it has: who begins, goes on and ends while others do.
STEPS = ((1, "begin"), (2, "begin"), (1, "go on"), (3, "begin"), (2, "go on"), (1, "end"), (3, "go on"), (2, "end"),
         (3, "end"))  # fmt: skip


@dataclass
class NetworkFunction:
    """Asks step after step, outlives the platform, and sends again what was not answered."""

    at: int = 0
    granted: dict[int, int] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)
    said: dict[int, int] = field(default_factory=dict)  # highest invocation of each session

    def go_on(self, online: EngineOnline, told: queue.SimpleQueue[Told | None]) -> None:
        """Ask until all is done or the platform is gone, of which `None` is told."""
        while self.at < len(STEPS):
            session, step = STEPS[self.at]
            used = self.granted.get(session, 0)
            online.ask(self._request(session, step, used), told.put)
            answer = told.get(timeout=PATIENCE_S)
            if not isinstance(answer, list):
                return
            self.at += 1
            self.said[session] = self.said.get(session, 0) + 1
            self.used[session] = self.used.get(session, 0) + used
            self.granted[session] = 0 if step == "end" else sum(each.granted for each in answer)
            promised = sum(self.granted.values()) + sum(self.used.values())
            assert promised <= BALANCE, f"{promised:,} octets are promised or used of {BALANCE:,}"

    def _request(self, session: int, step: str, used: int) -> QuotaRequest:
        said: dict[str, Any] = {"kind": int(Kind.DATA), "start_us": NOW_US, "direction": 0, "calling": 0, "called": 0,
                                "visited_plmn": 0, "slice": 0, "five_qi": 9, "service": "internet"}  # fmt: skip
        return QuotaRequest(
            to_key(ALICE), session, self.said.get(session, 0) + 1,
            int(Action.RELEASE if step == "end" else Action.RESERVE), begins=step == "begin", time_us=NOW_US,
            until_us=NOW_US + 10**15, groups=((GROUP, used, 0 if step == "end" else WANTED),),
            said=said if step == "begin" else {},
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charge what is owed as soon as nobody asks and keep all in files, so that a short life has many writes."""
    monkeypatch.setattr(of_engine, "QUIET_S", 0.005)
    for module in ("store", "segments", "keeper"):
        monkeypatch.setattr(f"trunkline.stores.embedded.{module}.INLINE_OCTETS", 0)


def live(folder: Path, function: NetworkFunction, disk: Disk, wanted: int = 0) -> None:
    """A life of the platform: it answers until all is said and `wanted` octets are charged, or until it dies."""
    told: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
    driven, answering = threading.Event(), threading.Event()
    with opened(Folders(data=folder / "data", tariffs=str(folder / "tariffs")), disk) as platform:
        engine, store = platform.engine, platform.store
        sources = LiveSources(
            store, store.disk, [], platform.mappings.__getitem__, not_read=frozenset({SOURCE})
        )
        online = online_of(engine, EmbeddedReader(folder / "data"))
        works = _threads(
            lambda: engine.drive(sources, driven), lambda: online.run(answering), gone=lambda: told.put(None)
        )
        reader = EmbeddedReader(folder / "data")
        try:
            function.go_on(online, told)
            if wanted:
                until(
                    lambda: reader.usage(to_key(ALICE), *EVER, 10**6)["units"].sum() >= wanted,
                    "all is charged",
                    60,
                )
        finally:
            for stop, thread in zip((answering, driven), reversed(works), strict=True):
                stop.set()
                thread.join(PATIENCE_S)
                assert not thread.is_alive()


def _threads(*works: Callable[[], object], gone: Callable[[], None]) -> list[threading.Thread]:
    """Threads that tell when their work is over; what it died of shows in what is asked afterwards."""

    def run(work: Callable[[], object]) -> None:
        with suppress(BaseException):
            work()
        gone()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    return threads


def assert_right(folder: Path, function: NetworkFunction) -> None:
    """All that was reported is charged once, the money was enough, and the books agree with charging it anew."""
    assert function.at == len(STEPS)
    reader = EmbeddedReader(folder / "data")
    charged = reader.usage(to_key(ALICE), *EVER, 10**6)
    assert charged["record_id"].n_unique() == len(charged)
    assert charged["units"].sum() == sum(function.used.values()) == BALANCE
    assert charged["charged_micros"].sum() == 1_000_000
    found = reconcile(reader, load_catalogue(folder / "data", None), load_mappings())
    assert (found["differences"], found["account_differences"]) == (0, 0), found


@pytest.mark.timeout(900)
def test_dying_at_a_write(tmp_path: Path) -> None:
    """Die at write after write, forget what was not durable, start again, send again, and add up."""
    begun = tmp_path / "begun"
    subscribers(begun / "tariffs", {ALICE: "1.00"})
    with opened(Folders(data=begun / "data", tariffs=str(begun / "tariffs"))):
        pass
    whole, disk, function = tmp_path / "whole", CrashingDisk(0), NetworkFunction()
    shutil.copytree(begun, whole)
    live(whole, function, disk)
    assert_right(whole, function)
    assert disk.changes > len(STEPS)
    deaths = 0
    for at in range(EVERY, disk.changes + 1, EVERY):
        folder, function, crashing = tmp_path / str(at), NetworkFunction(), CrashingDisk(at, half=at % 2 == 0)
        shutil.copytree(begun, folder)
        with suppress(Crashed):
            live(folder, function, crashing)
        deaths += crashing.dead
        crashing.forget()
        live(folder, function, CrashingDisk(0), BALANCE)
        try:
            assert_right(folder, function)
        except AssertionError as error:
            raise AssertionError(f"wrong after dying at write {at}: {crashing.log[-3:]}") from error
        shutil.rmtree(folder)
    print(f"{deaths} deaths among {disk.changes} writes")
    assert deaths > disk.changes // EVERY // 2, "it hardly ever died"
