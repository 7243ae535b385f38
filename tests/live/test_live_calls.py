"""Real calls through a real proxy: the money of each is taken while the phone is still warm."""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.live.platform import Platform, running, trunkline
from tests.sources.calls import calls_of, second_opinion
from tests.waiting import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "live_call"
CALLS = 20
OPENING_MICROS = 10_000_000
SECONDS_TO_THE_BALANCE = 5.0
CALLERS = [f"44770090000{number}" for number in range(1, 7)]
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
MISSING = [name for name in ("kamailio", "sipp") if shutil.which(name, path=SYSTEM_PATH) is None]

pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{' and '.join(MISSING)} not installed; on Debian and Ubuntu: apt-get install kamailio sip-tester",
)


def price_micros(call: dict[str, str]) -> int:
    """What examples/live_call/tariffs asks for a call, in the head: a started second is a penny, or three abroad."""
    seconds = math.ceil(Decimal(call["duration"]))
    if not seconds or call["callee"].removeprefix("00").removeprefix("+").startswith("44808"):
        return 0
    if call["callee"].removeprefix("00").removeprefix("+").startswith("33"):
        return 100_000 + 30_000 * seconds
    return 10_000 * seconds


def payer(call: dict[str, str]) -> str:
    """Who pays: the asserted identity, whatever the caller shows."""
    found = re.match(r"sip:\+(\d+)@", call["pai"])
    assert found
    return found.group(1)


@dataclass
class Watch:
    """What each caller's balance was seen to be, beside what the log says it must be."""

    platform: Platform
    log: Path
    refs: dict[str, str]
    behind_s: dict[str, float] = field(default_factory=dict)

    def look(self) -> list[dict[str, str]]:
        """Compare once: every balance is one that the calls so far can have led to; the calls that are paid for."""
        left = {number: self.left(number) for number in CALLERS}
        now, calls = time.time(), calls_of(self.log.read_bytes())
        expected = dict.fromkeys(CALLERS, OPENING_MICROS)
        possible = {number: [OPENING_MICROS] for number in CALLERS}
        for call in calls:
            expected[payer(call)] -= price_micros(call)
            possible[payer(call)].append(expected[payer(call)])
            if left[payer(call)] <= expected[payer(call)]:
                self.behind_s.setdefault(call["call_id"], now - float(call["end_time"]))
        assert {number: amount for number, amount in left.items() if amount not in possible[number]} == {}
        return [call for call in calls if call["call_id"] in self.behind_s]

    def left(self, number: str) -> int:
        """The money that a caller has left."""
        account = self.platform.ask(f"/api/v1/subscribers/{self.refs[number]}/balances")
        return sum(row["left"] for row in account["balances"] if row["main"])


@contextmanager
def shipping(log: Path, platform: Platform) -> Iterator[None]:
    """The example's shipper at work on the proxy's log."""
    command = [
        sys.executable,
        str(EXAMPLE / "ship.py"),
        str(log),
        "--url",
        platform.url,
        "--only",
        "log_write_cdr(): ",
    ]
    process = subprocess.Popen(
        command, env={**os.environ, "TRUNKLINE_TOKEN": platform.token}, stdout=subprocess.PIPE
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
        assert said.decode().strip() == f"{CALLS} lines shipped."
    finally:
        process.kill()
        process.wait()


def calls_made(folder: Path) -> subprocess.Popen[bytes]:
    """The calls, being made."""
    command = [
        sys.executable,
        str(EXAMPLE / "calls.py"),
        str(folder),
        "--calls",
        str(CALLS),
        "--per-second",
        "4",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def assert_books_agree(data: Path, log: Path, calls: list[dict[str, str]]) -> None:
    """The platform's own reconciliation and the second opinion find the same money, record by record."""
    told = trunkline("reconcile", "--data", data)
    assert (told["records"], told["differences"], told["difference_micros"]) == (CALLS, 0, 0)
    books = second_opinion(calls, EXAMPLE / "tariffs", EXAMPLE / "subscribers.csv")
    stored = {
        row["record_id"]: row["charged_micros"]
        for row in trunkline("usage", "--data", data, "--limit", "100")
    }
    assert {verdict.record_id: verdict.charged_micros for verdict in books.verdicts} == stored
    assert stored == {call["call_id"]: price_micros(call) for call in calls}
    assert sum(stored.values()) > 0, log.read_text()


def test_a_callers_balance_moves_within_seconds_of_hanging_up(tmp_path: Path) -> None:
    """Each call takes its exact money from its caller within five seconds, once, whichever way it comes."""
    data, network = tmp_path / "data", tmp_path / "network"
    network.mkdir()
    log = network / "cdr.log"
    log.touch()
    with running(data, "--tariffs", EXAMPLE / "tariffs") as platform:
        refs = {n: platform.ask("/api/v1/subscribers/find", {"number": f"+{n}"})["ref"] for n in CALLERS}
        watch = Watch(platform, log, refs)
        with shipping(log, platform), calls_made(network) as calling:
            paid = until(
                lambda: _when_all(watch.look()), f"{CALLS} calls paid for", timeout_s=50, every_s=0.1
            )
            said: Any = calling.communicate(timeout=20)[0]
            assert calling.returncode == 0, said.decode()
        assert max(watch.behind_s.values()) < SECONDS_TO_THE_BALANCE, watch.behind_s
        totals = platform.ask("/api/v1/accounting")["total"]
        assert (totals["received"], totals["rated"]) == (CALLS, CALLS)
    assert_books_agree(data, log, paid)
    again = tmp_path / "again.log"
    again.write_bytes(
        b"".join(line for line in log.read_bytes().splitlines(True) if b"log_write_cdr(): " in line)
    )
    told = trunkline("ingest", again, "--mapping", "kamailio_log", "--data", data)
    assert (told["received"], told["rated"], told["duplicate"]) == (CALLS, 0, CALLS)


def _when_all(paid: list[dict[str, str]]) -> list[dict[str, str]]:
    return paid if len(paid) == CALLS else []
