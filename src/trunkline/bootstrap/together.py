"""Works of one process, each in a thread: what ends one of them ends all, and is raised where they are awaited."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence


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
