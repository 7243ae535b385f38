"""Whatever moment the engine dies at, whoever waits for an answer gets one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.engine import small
from tests.simulation.faulty import Crashed
from tests.waiting import until
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.sources import LiveSources
from trunkline.engines.loop import Carried
from trunkline.ports import Commit
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.store import Store

PATIENCE_S = 20.0


class HeldUp(Disk):
    """Stands still at its first change once it is `slow`, until it is `over`, and dies then."""

    def __init__(self) -> None:
        """It is quick at first."""
        self.slow, self.reached, self.over = threading.Event(), threading.Event(), threading.Event()

    def before(self, _operation: str, _path: Path) -> None:
        """Wait, and die."""
        if self.slow.is_set():
            self.reached.set()
            assert self.over.wait(PATIENCE_S)
            raise Crashed


def driven(
    store: Store, engine: Engine, stop: threading.Event
) -> tuple[threading.Thread, list[BaseException]]:
    """A thread that drives it, and what it dies of."""
    died: list[BaseException] = []

    def drive() -> None:
        try:
            engine.drive(LiveSources(store, store.disk, [], lambda _mapping: small.LINES), stop)
        except BaseException as error:  # noqa: BLE001 -- looked at by the test
            died.append(error)

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    until(lambda: engine._running is not None, "it is driven", PATIENCE_S)
    return thread, died


def nothing_new(engine: Engine, number: int) -> tuple[Commit | None, Any]:
    """A commit without content."""
    return engine.commit_of(number, Carried()), number


def test_an_order_that_kills_the_engine_is_answered(tmp_path: Path) -> None:
    """What dies with more than an error is told to whoever gave the order, as well as to whoever drives."""

    def dies(_engine: Engine, _number: int) -> tuple[Commit | None, Any]:
        raise Crashed

    store, engine = small.opened(tmp_path / "data")
    thread, died = driven(store, engine, threading.Event())
    answers: list[Future[Any]] = [engine.order(dies), engine.order(nothing_new)]
    assert isinstance(answers[0].exception(PATIENCE_S), Crashed)
    assert isinstance(answers[1].exception(PATIENCE_S), BaseException)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [type(error) for error in died] == [Crashed]
    store.close()


@pytest.mark.parametrize("waiting", [1, 2, 3])
def test_dying_while_the_last_commits_are_written(tmp_path: Path, waiting: int) -> None:
    """The writer dies when everything is handed over and the engine waits for its end: it ends, and all are told."""
    disk, stop = HeldUp(), threading.Event()
    store, engine = small.opened(tmp_path / "data", disk)
    thread, died = driven(store, engine, stop)
    disk.slow.set()
    answers = [engine.order(nothing_new)]
    assert disk.reached.wait(PATIENCE_S)
    answers += [engine.order(nothing_new) for _ in range(waiting - 1)]
    until(_handed_over(engine, waiting - 1), "all are handed over", PATIENCE_S)
    stop.set()
    until(lambda: engine._running is None or engine._running.stopping, "it comes to its end", PATIENCE_S)
    disk.over.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [type(error) for error in died] == [Crashed]
    assert all(isinstance(answer.exception(PATIENCE_S), BaseException) for answer in answers)
    disk.slow.clear()
    store.close()


def _handed_over(engine: Engine, count: int) -> Callable[[], bool]:
    return lambda: engine._running is not None and engine._running.commits.qsize() == count
