"""Lives of a process that is killed: it is started once with everything imported, and forks for each life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def life(module: str, arguments: list[str], seconds: float | None) -> bool:
    """One life of a module's process, killed so long after it was ready; whether it came to its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == "ready"
        if seconds is not None:
            threading.Event().wait(seconds)
            process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        return "done" in rest and process.wait(120) in (0, -signal.SIGKILL)
    finally:
        process.kill()
        process.wait(120)
        process.stdout.close()


class Lives:
    """The process that forks lives."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pause = threading.Event()

    def line(self) -> str:
        """The next answer."""
        assert self.process.stdout is not None
        answer = self.process.stdout.readline().strip()
        assert answer, "the process of the lives ended"
        assert not answer.startswith("failed"), answer
        return answer

    def live(self, folder: Path, until_s: float | None) -> bool:
        """One life, killed some time after it was ready, or left alone; whether it came to its end.

        Below zero, so long after it began, ready or not.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        child = int(self.line().split()[1])
        answer = self.line() if until_s is None or until_s >= 0 else ""
        if until_s is not None:
            self.pause.wait(abs(until_s))
            with suppress(ProcessLookupError):  # it came to its end in this very moment
                os.kill(child, signal.SIGKILL)
        done = False
        while answer != "over":
            answer = self.line()
            done = done or answer == "done"
        return done


@contextmanager
def lives_of(module: str, *arguments: str | Path) -> Iterator[Lives]:
    """Started once; ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield Lives(process)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
        finally:
            with suppress(ProcessLookupError):  # a life that hangs would be waited for without end
                os.killpg(process.pid, signal.SIGKILL)
