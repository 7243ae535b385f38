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
from tests.waiting import until

# How often each thing is broken, where a test says no other number; 20 is what a release is tried with.
TIMES = int(os.environ.get("TRUNKLINE_TEST_KILLS", "0"))
SEED = int(os.environ.get("TRUNKLINE_TEST_SEED", "0")) or random.SystemRandom().randrange(10**9)
PIECES = 60
PACE_S = 0.3
END_S = 600.0


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


class Load:
    """Usage of a day that somebody hands in while a test breaks things: a step's worth whenever the test says so."""

    def __init__(self, day: Day, lines: bytes, steps: int) -> None:
        """`steps` of them are all of the day."""
        every, count = lines.splitlines(keepends=True), steps * max(4, PIECES // steps)
        self._day = day
        self._left = [
            b"".join(every[at * len(every) // count : (at + 1) * len(every) // count]) for at in range(count)
        ]
        self._a_step, self._allowed = count // steps, 0
        self._over = False
        self._changed = threading.Condition()
        self.trouble: BaseException | None = None

    def step(self) -> None:
        """Hand in some more, piece by piece, beside what the caller does."""
        with self._changed:
            assert self._allowed < len(self._left), "there is something left to hand in"
            self._allowed += self._a_step
            self._changed.notify()

    def goes_on(self, what: str, timeout_s: float = 300.0) -> None:
        """Hand in some more, and wait until more is carried than before."""
        before = self._day.carried()
        self.step()

        def more() -> bool:
            if self.trouble is not None:
                raise self.trouble
            return self._day.carried() > before

        until(more, what, timeout_s, every_s=0.3)

    def run(self) -> None:
        """Hand in, what is left at the end, too."""
        try:
            while self._left:
                with self._changed:
                    self._changed.wait_for(lambda: self._allowed > 0 or self._over)
                    self._allowed -= 1
                    pieces = self._left if self._over else self._left[:1]
                    self._left = self._left[len(pieces) :]
                self._day.hand_in(b"".join(pieces), 20)
                with self._changed:
                    self._changed.wait_for(lambda: self._over, PACE_S)
        except BaseException as error:  # noqa: BLE001 -- raised again by the test's own thread
            self.trouble = error

    def finish(self) -> None:
        """Hand in what is left."""
        with self._changed:
            self._over = True
            self._changed.notify()


@contextmanager
def handing_in(day: Day, lines: bytes, steps: int) -> Iterator[Load]:
    """Somebody hands in the lines while the caller works, in so many steps, and what is left at its end."""
    load = Load(day, lines, steps)
    sending = threading.Thread(target=load.run)
    sending.start()
    try:
        yield load
    finally:
        load.finish()
        sending.join(END_S)
    assert not sending.is_alive(), "everything is handed in"
    if load.trouble is not None:
        raise load.trouble
