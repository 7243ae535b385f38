"""Orders of a served cluster that nobody finished: looked for every now and then by each process that serves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trunkline.ports import Busy, NoAnswer

LOOK_EVERY_S = 30.0
_LEAVE_S = 60.0


@contextmanager
def going_on(
    what: str, go_on: Callable[[], int], stop: threading.Event, every_s: float = LOOK_EVERY_S
) -> Iterator[None]:
    """Go on with what is unfinished, from the start on; what servers are silent about waits for the next look."""
    log = logging.getLogger(f"trunkline.{what}")

    def run() -> None:
        while not stop.is_set():
            try:
                go_on()
            except (Busy, NoAnswer) as error:
                log.warning("%s that were begun wait: %s", what, error)
            stop.wait(every_s)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_LEAVE_S)
