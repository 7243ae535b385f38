"""The real process with its side at the network, started as an operator starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

START = "from trunkline.cli import main; main()"


def free_port() -> int:
    """A port of loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def started(folder: Path, port: int, errors: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """The platform on the data and tariffs of a folder, charging at a port; returns when it answers."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, "run", "--data", str(folder / "data"), "--tariffs", str(folder / "tariffs"),
         "--port", "0"],
        stdout=subprocess.PIPE, stderr=errors, text=True,
        env=os.environ | {"TRUNKLINE_ONLINE_PORT": str(port), "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert any("The page:" in line for line in process.stdout), "the process did not start"
    return process
