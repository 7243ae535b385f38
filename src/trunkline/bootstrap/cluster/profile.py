"""A cluster on one machine: which servers it has, whether they run, and starting and stopping them together.

Everything about it lies in one folder: what runs in `cluster.json`, secrets in `secrets/`, and a folder a server with
its configuration, data and log. A second `up` starts only what does not run, on the same ports and data.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.bootstrap.cluster import processes
from trunkline.bootstrap.cluster.place import Place, Recipe, free_ports, require_free
from trunkline.bootstrap.cluster.processes import Process
from trunkline.ports import Refused

READY_S = 240.0  # a busy machine of two cores was seen to take two minutes
_LOOK_EVERY_S = 0.2
_LOG_SHOWN = 1500


@dataclass(frozen=True)
class Standing:
    """How one server stands."""

    name: str
    runs: bool
    pid: int
    ports: dict[str, int]
    log: Path


class Cluster:
    """The servers of one folder. `leashed` ones end with the thread that started them: tests leave nothing behind."""

    def __init__(self, folder: Path, jars: Path, *, leashed: bool = False) -> None:
        """Open or make the folder; nothing is started."""
        self.folder = folder.resolve()
        self.jars = jars
        self._leashed = leashed
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        self._file = self.folder / "cluster.json"
        with self._changing() as known:
            known.setdefault("id", urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="))

    def up(self, recipes: Sequence[Recipe], ready_s: float = READY_S) -> list[str]:
        """Start what does not run, wave by wave, and return when all answer; the names of those that were started."""
        started = [recipe for recipe in recipes if not self.runs(recipe.name)]
        with self._changing() as known:
            ports = known.setdefault("ports", {})
            wanted = [f"{r.name}.{port}" for r in started for port in r.port_names]
            fresh = [name for name in wanted if name not in ports]
            ports.update(zip(fresh, free_ports(len(fresh)), strict=True))
            require_free((name, ports[name]) for name in wanted)
        for wave in sorted({recipe.wave for recipe in recipes}):
            for recipe in started:
                if recipe.wave == wave:
                    self._start(recipe)
            for recipe in recipes:
                if recipe.wave == wave:
                    self._await(recipe, ready_s)
        return [recipe.name for recipe in started]

    def down(self, names: Sequence[str] | None = None) -> list[str]:
        """Stop the named servers (all of them by default), the last one started first; which were stopped."""
        running = {
            name: process
            for name, process in reversed(list(self._processes().items()))
            if (names is None or name in names) and processes.alive(process)
        }
        stopped = list(running)
        while running:
            kind = next(iter(running)).partition("-")[
                0
            ]  # brokers of one group end together: alone, they wait
            together = [name for name in running if name.partition("-")[0] == kind]
            processes.stop([running.pop(name) for name in together])
        return stopped

    def kill(self, name: str) -> None:
        """End one server as a crash would."""
        processes.kill(self._processes()[name])

    def runs(self, name: str) -> bool:
        """Whether the process that was started for a server is there still."""
        process = self._processes().get(name)
        return process is not None and processes.alive(process)

    def status(self) -> list[Standing]:
        """How each server stands, in the order of their start."""
        ports = self._known().get("ports", {})
        return [
            Standing(
                name,
                processes.alive(process),
                process.pid,
                {key.partition(".")[2]: port for key, port in ports.items() if key.partition(".")[0] == name},
                self.log(name),
            )
            for name, process in self._processes().items()
        ]

    def place(self, name: str) -> Place:
        """Where one server lives."""
        known = self._known()
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Place(name, folder, self.folder / "secrets", self.jars, known["id"], known.get("ports", {}))

    def log(self, name: str) -> Path:
        """What a server has said."""
        return self.folder / name / "log"

    def _start(self, recipe: Recipe) -> None:
        place = self.place(recipe.name)
        process = processes.start(
            recipe.command(place), place.folder, self.log(recipe.name), leashed=self._leashed
        )
        with self._changing() as known:
            servers = known.setdefault("servers", {})
            servers.pop(recipe.name, None)  # the order is that of starting
            servers[recipe.name] = {"pid": process.pid, "began": process.began}

    def _await(self, recipe: Recipe, ready_s: float) -> None:
        place, end = self.place(recipe.name), time.monotonic() + ready_s
        while not recipe.answers(place):
            if not self.runs(recipe.name):
                raise Refused(
                    f"{recipe.name} ended while it started. It said:\n{self._last_words(recipe.name)}"
                )
            if time.monotonic() > end:
                raise Refused(
                    f"{recipe.name} did not answer within {ready_s:g} s. It said:\n{self._last_words(recipe.name)}"
                )
            threading.Event().wait(_LOOK_EVERY_S)
        recipe.settle(place)

    def _last_words(self, name: str) -> str:
        return self.log(name).read_text("utf-8", "replace")[-_LOG_SHOWN:].strip()

    def _processes(self) -> dict[str, Process]:
        return {
            name: Process(each["pid"], each["began"])
            for name, each in self._known().get("servers", {}).items()
        }

    def _known(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self._file.read_text("utf-8")) if self._file.exists() else {}
        return known

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """What is known, to be changed; one process at a time, and whole or not at all."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._known()
            yield known
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(known, indent=1), "utf-8")
            fresh.replace(self._file)
