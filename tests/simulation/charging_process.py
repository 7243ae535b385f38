"""A process that charges one file with the real flow and books top-ups beside it, made to be killed.

It is started once with everything imported and forks for each life, because importing takes longer than living. Each
line on standard input is a folder to live in; it answers with the life's process number, then `ready`, then `done`.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.serve import MONEY
from trunkline.engines.embedded.engine import Settings
from trunkline.engines.embedded.intake import EngineIntake
from trunkline.kernel.dial import to_key
from trunkline.ports import Movement
from trunkline.records.charging import NEVER_S, Cause
from trunkline.settings import Folders

TOPUPS = 40


def movements(subscribers: list[str]) -> list[Movement]:
    """The same top-ups in every life."""
    return [
        Movement(f"topup-{at}", int(Cause.TOPUP), to_key(subscribers[at % len(subscribers)]), "main", 1_000_000 + at,
                 1_800_000_000_000_000 + at, NEVER_S)
        for at in range(TOPUPS)
    ]  # fmt: skip


def live(operator: Path, data: Path) -> None:
    """One life: everything is offered again from the start."""
    known = (data / "catalogue" / "tariff.json").exists() and (data / "loaded").exists()
    folders = Folders(data=data, tariffs="" if known else str(operator / "tariffs"))
    with opened(folders) as platform:
        (data / "loaded").touch()
        platform.engine.settings = Settings(batch_octets=1 << 16)
        intake = EngineIntake(platform.engine, MONEY)
        subscribers = [
            line.split(",")[0] for line in (operator / "subscribers.csv").read_text().splitlines()[1:20]
        ]
        print("ready", flush=True)
        booking = threading.Thread(target=lambda: [intake.move([order]) for order in movements(subscribers)])
        booking.start()
        troubles = ingest(platform, [operator / "all.ndjson"], None, None).troubles
        booking.join()
        assert not troubles, troubles
    print("done", flush=True)


def pool_threads() -> list[str]:
    """Polars' working threads: a fork has none of them, and would wait for them for ever."""
    names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return [name for name in names if re.fullmatch(r"polars-\d+", name)]


def main() -> None:
    """Fork a life for each line."""
    operator = Path(sys.argv[1])
    if pool_threads():
        print("failed: importing trunkline makes Polars work, which a module must not do", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                live(operator, Path(line.strip()))
            except BaseException as error:  # noqa: BLE001 -- told to the test through the pipe
                print(f"failed {error!r}", flush=True)
            os._exit(0)
        print(f"life {child}", flush=True)
        os.waitpid(child, 0)
        print("over", flush=True)


if __name__ == "__main__":
    main()
