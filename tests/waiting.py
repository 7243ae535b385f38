"""Waiting for what is expected, not for a time: a sleep is too long on a fast machine and too short on a slow one."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def until(seen: Callable[[], Result], what: str, timeout_s: float = 600.0, every_s: float = 0.02) -> Result:
    """Ask `seen` until it answers something true, and give that back; fail with `what` after a while.

    The time is long because a fresh clone compiles its loops first, on a machine that does other things too.
    """
    pause = threading.Event()
    end = time.monotonic() + timeout_s
    while not (answer := seen()):
        assert time.monotonic() < end, f"after {timeout_s:g} s still not: {what}"
        pause.wait(every_s)
    return answer
