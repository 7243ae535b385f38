"""Server processes: started apart from us, known by more than their number, and stopped by it alone.

A process number is used again by the system, so each is remembered with the moment it began; a stranger under an
old number is neither taken for ours nor ever stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOK_EVERY_S = 0.05
_STAT_BEGAN = 19  # of the fields behind the name in /proc/<pid>/stat (proc(5): field 22)
_STAT_STATE = 0
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME")


@dataclass(frozen=True)
class Process:
    """A process as it was started: its number, and when the system says that it began."""

    pid: int
    began: str


def start(
    command: Sequence[str],
    folder: Path,
    log: Path,
    *,
    leashed: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a server in a session of its own; `leashed`, it ends when the thread that started it does (Linux)."""
    setpriv = shutil.which("setpriv")
    if leashed and setpriv:
        # A change of account takes the leash off, so that is put on behind it, by the same program.
        command = command[1:] if command[0] == setpriv else command
        command = [setpriv, "--pdeathsig", "KILL", *command]
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with log.open("ab") as out:
        running = subprocess.Popen(  # noqa: S603 -- our own words
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**kept, **(environment or {})},
        )
    running.returncode = 0  # it is looked after by its number from here on, also by later processes
    return Process(running.pid, _began(running.pid))


def alive(process: Process) -> bool:
    """Whether that very process runs."""
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return bool(process.began) and _began(process.pid) == process.began


def stop(ended: Sequence[Process], patience_s: float = 20.0) -> None:
    """Ask processes to end, all at once, and end those that have not within `patience_s`."""
    for how, patience in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 10.0)):
        running = [process for process in ended if alive(process)]
        for process in running:
            with suppress(ProcessLookupError):
                os.kill(process.pid, how)
        end = time.monotonic() + patience
        while any(alive(process) for process in running) and time.monotonic() < end:
            threading.Event().wait(_LOOK_EVERY_S)


def kill(process: Process) -> None:
    """End it at once, as a crash would, and return when it is gone."""
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 10.0
    while alive(process) and time.monotonic() < end:
        threading.Event().wait(_LOOK_EVERY_S)


def _began(pid: int) -> str:
    """When a process began, in the system's own words; empty when it does not run."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
            threads = len(list(stat.with_name("task").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            return ""
        # The first thread may be gone while others still hold the ports: only the last one's end is the end.
        return "" if fields[_STAT_STATE] == "Z" and threads <= 1 else fields[_STAT_BEGAN]
    told = subprocess.run(  # noqa: S603 -- our own words
        ["/bin/ps", "-o", "lstart=,state=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return "" if told.endswith("Z") else told
