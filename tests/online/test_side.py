"""The process at the network's side: it goes with the platform, the platform does not go on without it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.online.process import free_port, started
from tests.online.world import ALICE, API, PATIENCE_S, data_request, subscribers, usage
from tests.waiting import until
from trunkline.bootstrap.tokens import add_token, remove_token

REQUEST = data_request(1, multipleUnitUsage=[usage(10, wanted={"totalVolume": 1_000})])


class Running:
    """A platform in a process of its own, with the process that speaks with network functions beside it."""

    def __init__(self, folder: Path) -> None:
        """Start it; returns when it answers."""
        subscribers(folder / "tariffs", {ALICE: "5.00"})
        self.data = folder / "data"
        self.data.mkdir()
        self.token = add_token(self.data, "smf", "billing")
        self.port = free_port()
        self.process = started(folder, self.port, errors=subprocess.PIPE)
        home = Path(f"/proc/{self.process.pid}/task")
        children = [each for names in home.glob("*/children") for each in names.read_text().split()]
        (self.side,) = [
            int(each) for each in children if "nchf_side" in Path(f"/proc/{each}/cmdline").read_text()
        ]

    def asked(self) -> httpx.Response:
        """A session opened over real HTTP/2."""
        known = {"Authorization": f"Bearer {self.token}"}
        url = f"http://127.0.0.1:{self.port}"
        with httpx.Client(http1=False, http2=True, base_url=url, headers=known, timeout=PATIENCE_S) as client:
            return client.post(API, json=REQUEST)

    def side_is_gone(self) -> bool:
        """Whether the process at the network's side has ended."""
        return not Path(f"/proc/{self.side}").exists()

    def ended(self) -> tuple[int, str]:
        """The exit code, and what was said of it."""
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


@pytest.mark.timeout(600)
def test_it_goes_when_the_platform_is_killed(tmp_path: Path) -> None:
    """A platform that dies as by a power cut leaves nobody behind who holds the port."""
    running = Running(tmp_path)
    assert running.asked().status_code == 201
    running.process.kill()  # its exit code is taken below
    until(running.side_is_gone, "it is gone", PATIENCE_S)
    with socket.create_server(("127.0.0.1", running.port)):
        pass  # the port is free again
    running.ended()


@pytest.mark.timeout(600)
def test_signals_to_the_whole_group_end_it_in_order(tmp_path: Path) -> None:
    """Who stops a service tells each process of it; the network's side waits for the platform's word."""
    running = Running(tmp_path)
    assert running.asked().status_code == 201, "it is up"
    os.kill(running.side, signal.SIGINT)
    os.kill(running.side, signal.SIGTERM)
    assert running.asked().status_code == 201, "it goes on until the platform ends the line"
    running.process.terminate()
    assert running.ended()[0] == 0
    until(running.side_is_gone, "it is gone", PATIENCE_S)


@pytest.mark.timeout(600)
def test_the_platform_does_not_go_on_unheard(tmp_path: Path) -> None:
    """A platform that no network function can reach ends, and says why, so that whoever watches it starts it anew."""
    running = Running(tmp_path)
    os.kill(running.side, signal.SIGKILL)
    code, said = running.ended()
    assert code != 0
    assert "process that speaks with network functions ended" in said


@pytest.mark.timeout(600)
def test_a_token_taken_away_is_out_at_once(tmp_path: Path) -> None:
    """The network's side hears of tokens that are given and taken away, without a restart."""
    running = Running(tmp_path)
    assert running.asked().status_code == 201
    remove_token(running.data, "smf")
    until(lambda: running.asked().status_code == 401, "the token is not known any more")
    running.token = add_token(running.data, "another", "billing")
    until(lambda: running.asked().status_code == 201, "the new token is known")
    running.token = add_token(running.data, "eye", "viewer")
    until(lambda: running.asked().status_code == 403, "its role is known")
    running.process.terminate()
    assert running.ended()[0] == 0
