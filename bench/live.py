"""From handing a record in over HTTP to its balance being readable, while a steady load flows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.figures import Figure, percentile
from bench.operator import folders, prepare
from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.tokens import add_token
from trunkline.kernel.dial import to_key
from trunkline.stores.embedded.reader import EmbeddedReader

LOAD_A_SECOND = 50_000
GOAL = "at most 250, while 50,000 CDR/s flow"
POSTS_A_SECOND = 20
PROBE_EVERY_S = 0.1
PATIENCE_S = 30.0
MOST_PROBES = 5_000
LINES = {"Content-Type": "application/x-ndjson"}
START = "from trunkline.cli import main; main()"


def post_to_balance(work: Path, seconds: int, subscribers: int = 100_000) -> list[Figure]:
    """p99 of the time from POST to a readable balance, at 50,000 records a second."""
    lines = prepare(work, LOAD_A_SECOND * seconds, subscribers)
    with (work / "subscribers.csv").open("a") as file:
        file.writelines(f"{_subscriber(number)},payg,,,,,1,5.00\n" for number in range(MOST_PROBES))
    with opened(folders(work)):
        pass  # accounts are opened before the clock runs
    token = add_token(work / "data", "bench", "billing")
    command = [sys.executable, "-c", START, "run", "--data", str(work / "data"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            known = {"Authorization": f"Bearer {token}"}
            client = httpx.Client(base_url=_address(running), headers=known, timeout=PATIENCE_S)
            waits, refused = _measure(client, EmbeddedReader(work / "data"), lines, seconds)
        finally:
            running.terminate()
            running.wait(PATIENCE_S)
    return [
        Figure("post_to_balance_p99", percentile(waits, 0.99) * 1000, "ms", GOAL, len(waits)),
        Figure("post_to_balance_p50", percentile(waits, 0.5) * 1000, "ms", "", len(waits)),
        Figure("posts_told_to_wait", refused, "posts", "0", seconds * POSTS_A_SECOND),
    ]  # fmt: skip


def _address(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    for line in running.stdout:
        if "The page:" in line:
            return line.split()[-1].rstrip("/")
    raise RuntimeError("the platform did not start")


def _measure(
    client: httpx.Client, reader: EmbeddedReader, lines: Path, seconds: int
) -> tuple[list[float], int]:
    """Waits of probes that are posted one by one beside the load, and posts of the load that were told to wait."""
    probe = _probe(client, reader, 0)  # compiles
    waits: list[float] = [probe]
    waits.clear()
    refused: list[int] = []
    stop = threading.Event()
    load = threading.Thread(target=_load, args=(client, lines, seconds, refused, stop))
    load.start()
    number = 1
    while load.is_alive():
        waits.append(_probe(client, reader, number))
        number += 1
        stop.wait(PROBE_EVERY_S)
    load.join()
    return waits, len(refused)


def _load(client: httpx.Client, lines: Path, seconds: int, refused: list[int], stop: threading.Event) -> None:
    a_post = LOAD_A_SECOND // POSTS_A_SECOND
    began = time.monotonic()
    with lines.open("rb") as file:
        for number in range(seconds * POSTS_A_SECOND):
            body = b"".join(file.readline() for _ in range(a_post))
            stop.wait(max(0.0, began + number / POSTS_A_SECOND - time.monotonic()))
            answer = client.post("/api/v1/events", content=body, headers=LINES)
            if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                refused.append(number)


def _subscriber(number: int) -> str:
    return f"99916{number:08d}"


def _probe(client: httpx.Client, reader: EmbeddedReader, number: int) -> float:
    """Hand in one message of a subscriber of its own, and wait until the balance shows it."""
    subscriber = _subscriber(number)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {
        "id": f"probe-{number}",
        "type": "sms",
        "subscriber": subscriber,
        "called": "99915000000",
        "start": now,
    }
    word = to_key(subscriber)
    before = reader.account(word)["value"].tolist()
    began = time.perf_counter()
    answer = client.post("/api/v1/events", content=json.dumps(record).encode() + b"\n", headers=LINES)
    answer.raise_for_status()
    while reader.account(word)["value"].tolist() == before:
        if time.perf_counter() - began > PATIENCE_S:
            raise TimeoutError("a record was accepted and its balance never moved")
        threading.Event().wait(0.002)
    return time.perf_counter() - began
