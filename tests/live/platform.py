"""The platform as an operator starts it: `trunkline run` in a process of its own, and its doors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.waiting import until

COMMAND = [sys.executable, "-c", "from trunkline.cli import main; main()"]


def trunkline(*words: str | Path) -> Any:
    """What a command answers in JSON."""
    run = subprocess.run(
        [*COMMAND, *map(str, words), "--json"], capture_output=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr.decode()
    return orjson.loads(run.stdout)


@dataclass(frozen=True)
class Platform:
    """A running platform: its address, the sign-in link, and a token that may hand in usage and see people."""

    url: str
    link: str
    token: str

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST of a JSON body."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = None if body is None else orjson.dumps(body)
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, content, headers), timeout=10
        ) as answer:
            return orjson.loads(answer.read())


@contextmanager
def running(data: Path, *options: str | Path) -> Iterator[Platform]:
    """A platform on a free port, stopped in order at the end."""
    adding = [*COMMAND, "token", "add", "tests", "--role", "billing", "--data", str(data)]
    token = subprocess.run(adding, capture_output=True, text=True, check=True).stdout.strip()
    told = data / "told"
    command = [*COMMAND, "run", "--data", str(data), "--port", "0", *map(str, options)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with told.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            link = until(
                lambda: _link(told, process), "a sign-in link", timeout_s=280
            )  # compiles on a fresh checkout
            platform = Platform(link.partition("/signin")[0], link, token)
            until(lambda: _answers(platform.url), "an answer", timeout_s=60)
            yield platform
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0, told.read_text()
        finally:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            return bool(answer.read())
    except urllib.error.URLError:
        return False


def _link(told: Path, process: subprocess.Popen[bytes]) -> str:
    assert process.poll() is None, told.read_text()
    found = re.search(r"http://\S+/signin\?code=\S+", told.read_text())
    return found.group() if found else ""
