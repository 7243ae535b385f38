"""Worker processes that tests start, kill, freeze and wake, and somebody who hands in usage meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.cluster.kafka.running import Day

# How often each thing is broken, where a test says no other number; 20 is what a release is tried with.
TIMES = int(os.environ.get("TRUNKLINE_TEST_KILLS", "0"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
PIECES = 60
END_S = 120.0


def chance_of(name: str) -> random.Random:
    """Chance for one test; what it drew can be drawn again."""
    print(f"seed {SEED}: TRUNKLINE_TEST_SEED={SEED} shows it again")
    return random.Random(f"{SEED} {name}")


class Workers:
    """Worker processes by name, and one that waits to take the next name; all end with the test."""

    def __init__(self, day: Day, settings: dict[str, object], logs: Path) -> None:
        self.day, self.settings, self._logs = day, settings, logs
        self.living: dict[str, subprocess.Popen[str]] = {}
        self._count = 0
        self._spare = self._new()

    def _new(self) -> tuple[subprocess.Popen[str], Path]:
        self._count += 1
        log = self._logs / f"worker-{self._count}.log"
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.kafka.working"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        return process, log

    def start(self, name: str, **told: object) -> None:
        """A worker of that name, of which there is none; `told` stands over what all are told."""
        (process, log), self._spare = self._spare, self._new()
        self._log(name).unlink(missing_ok=True)
        self._log(name).symlink_to(log.name)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        line = {
            "settings": self.settings, "prefix": self.day.plan.prefix, "buckets": self.day.plan.buckets,
            "operator": str(self.day.operator), "name": name, **told,
        }  # fmt: skip
        _written(process.stdin, json.dumps(line) + "\n")
        self.living[name] = process

    def kill(self, name: str) -> None:
        """`kill -9`."""
        process = self.living.pop(name)
        process.kill()
        process.wait(END_S)

    def stop(self, name: str) -> int:
        """Ask it to end, and wait until it has; its exit status."""
        process = self.living.pop(name)
        process.terminate()
        return process.wait(END_S)

    def freeze(self, name: str) -> None:
        """It stands still from now on, in the middle of whatever it does, and does not know."""
        self.living[name].send_signal(signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """It goes on as if nothing had been."""
        self.living[name].send_signal(signal.SIGCONT)

    def said(self, name: str) -> str:
        """What the newest worker of that name has told people."""
        return self._log(name).read_text("utf-8", "replace")

    def ended(self) -> list[str]:
        """Names of those that ended without being asked to."""
        return [name for name, process in self.living.items() if process.poll() is not None]

    def close(self) -> None:
        """Kill what still lives."""
        for name in list(self.living):
            self.kill(name)
        self._spare[0].kill()
        self._spare[0].wait(END_S)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _written(file: IO[str] | None, line: str) -> None:
    assert file is not None
    file.write(line)
    file.flush()


@contextmanager
def handing_in(day: Day, lines: bytes, pause_s: float) -> Iterator[None]:
    """Somebody hands in a piece of the lines every `pause_s` while the caller works, and what is left at its end."""
    every = lines.splitlines(keepends=True)
    over, troubles = threading.Event(), []

    def hand_in() -> None:
        try:
            for at in range(PIECES):
                first, last = at * len(every) // PIECES, (at + 1) * len(every) // PIECES
                day.hand_in(b"".join(every[first:last]), 20)
                over.wait(pause_s)
        except BaseException as error:  # noqa: BLE001 -- raised again by the test's own thread
            troubles.append(error)

    sending = threading.Thread(target=hand_in)
    sending.start()
    try:
        yield
    finally:
        over.set()
        sending.join(END_S)
    assert not sending.is_alive(), "everything is handed in"
    if troubles:
        raise troubles[0]
