"""Makes real calls: SIPp phones ring through a Kamailio proxy, which writes one line of accounting a call.

    calls.py FOLDER [--calls 20] [--per-second 5] [--seed 1] [--longest 3.0]

The proxy's log grows in FOLDER/cdr.log. Everything listens on loopback, on ports that are free, and is stopped at the
end by its own process id. It needs the programs kamailio and sipp, and no rights beyond your own.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CALLERS = [f"+4477009000{number:02d}" for number in range(1, 7)]  # those of subscribers.csv
CALLED = [
    *[f"+4477009009{number:02d}" for number in range(20)],  # a mobile at home
    *[f"+3363998{number:04d}" for number in range(20)],  # a mobile in France
    *[f"+44808157{number:04d}" for number in range(5)],  # freephone
]
OUTCOMES = ["talk"] * 12 + ["hangup"] * 4 + ["cancel", "busy", "away", "unknown"]
CDR = "log_write_cdr(): "
PATIENCE_S = 20.0
LOOK_EVERY_S = 0.05


def plan(calls: int, seed: int, longest_s: float) -> list[list[str]]:
    """Who calls whom, what comes of it, and for how long they ring and talk (ms)."""
    chance = random.Random(seed)
    planned = []
    for _ in range(calls):
        caller, called = chance.choice(CALLERS), chance.choice(CALLED)
        dialled = "00" + called[1:] if chance.random() < 0.2 else called
        shown = "anonymous" if chance.random() < 0.1 else caller  # withheld; the asserted identity pays
        ring_ms, hold_ms = chance.randint(100, 500), chance.randint(200, int(longest_s * 1000))
        planned.append([shown, caller, dialled, chance.choice(OUTCOMES), str(ring_ms), str(hold_ms)])
    return planned


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def modules() -> str:
    """Kamailio's modules lie where its package puts them, which the machine's architecture decides."""
    for library in (Path("/usr/lib"), Path("/usr/local/lib"), Path("/usr/local/lib64")):
        for found in sorted(
            [*library.glob("kamailio/modules/acc.so"), *library.glob("*/kamailio/modules/acc.so")]
        ):
            return f"{found.parent}/"
    sys.exit("kamailio's module acc.so was not found. On Debian and Ubuntu: apt-get install kamailio")


def program(name: str) -> str:
    """Where a program is; system programs may stand outside a user's PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not found:
        sys.exit(f"{name} is not installed. On Debian and Ubuntu: apt-get install kamailio sip-tester")
    return found


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes to a log, stopped at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def network(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A proxy and somebody who answers behind it; the port of the proxy, and the proxy."""
    proxy_port, callee_port = free_port(), free_port()
    text = (HERE / "kamailio.cfg.in").read_text()
    for name, value in (("MODULES", modules()), ("SIP_PORT", proxy_port), ("CALLEE_PORT", callee_port)):
        text = text.replace(f"@{name}@", str(value))
    (folder / "kamailio.cfg").write_text(text)
    private = folder / "proxy"
    private.mkdir(exist_ok=True)
    with ExitStack() as stack:
        sipp = [
            program("sipp"),
            "-sf",
            str(HERE / "callee.xml"),
            "-i",
            "127.0.0.1",
            "-p",
            str(callee_port),
            "-nostdin",
        ]
        stack.enter_context(started(sipp, folder / "callee.out"))
        kamailio = [
            program("kamailio"),
            "-f",
            str(folder / "kamailio.cfg"),
            "-P",
            str(private / "pid"),
            "-Y",
            str(private),
        ]
        proxy = stack.enter_context(
            started([*kamailio, "-m", "64", "-M", "8", "-DD", "-E"], folder / "cdr.log")
        )
        _until(lambda: _listens(proxy_port) and _listens(callee_port), proxy, folder / "cdr.log")
        yield proxy_port, proxy


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def _until(ready: Callable[[], bool], proxy: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until `ready()` is true; say what the proxy said when it is not in time."""
    end, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not ready():
        if proxy.poll() is not None or time.monotonic() > end:
            sys.exit(f"the calls did not come through; the end of {log}:\n{log.read_text()[-2000:]}")
        pause.wait(LOOK_EVERY_S)


def written(log: Path) -> int:
    """How many calls the proxy has accounted for."""
    return log.read_text(errors="replace").count(CDR) if log.exists() else 0


def make_calls(folder: Path, planned: list[list[str]], per_second: float) -> int:
    """Make the calls and wait until each is accounted for; how many there were."""
    log, scenario = folder / "cdr.log", folder / "calls.csv"
    with scenario.open("w", newline="") as output:
        output.write("SEQUENTIAL\n")
        csv.writer(output, delimiter=";", lineterminator="\n").writerows(planned)
    before = written(log)
    with network(folder) as (port, proxy):
        # A Call-ID is a record's identity, so it must not come again with another run.
        names = f"%u-%p-{int(time.time())}@%s"
        sipp = [program("sipp"), f"127.0.0.1:{port}", "-sf", str(HERE / "caller.xml"), "-inf", str(scenario)]
        sipp += ["-cid_str", names, "-i", "127.0.0.1", "-p", str(free_port()), "-nostdin", "-timeout", "120s"]
        sipp += ["-r", f"{per_second * 10:.0f}", "-rp", "10000", "-m", str(len(planned))]
        with (folder / "caller.out").open("ab") as output:
            done = subprocess.run(sipp, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if done.returncode:
            sys.exit(f"sipp ended with {done.returncode}; see {folder / 'caller.out'} and {log}")
        _until(lambda: written(log) >= before + len(planned), proxy, log)
    return len(planned)


def main() -> None:
    """Make some calls."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--per-second", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=3.0, help="longest talk in seconds")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    made = make_calls(asked.folder.resolve(), plan(asked.calls, asked.seed, asked.longest), asked.per_second)
    print(
        f"{made} calls were made; {asked.folder / 'cdr.log'} accounts for {written(asked.folder / 'cdr.log')}."
    )


if __name__ == "__main__":
    main()
