"""How fast network functions are answered: sessions that ask, report and release, over real HTTP/2."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import h2.connection
import h2.events

from bench.figures import Figure, percentile
from bench.operator import prepare
from trunkline.api.nchf.service import API
from trunkline.bootstrap.tokens import add_token

SECONDS = 20
CONNECTIONS = 8
SUBSCRIBERS = 50_000
UPDATES = 3  # of each session
PATIENCE_S = 240.0
START = "from trunkline.cli import main; main()"
GOALS = "at least 2,000 (aim: 10,000)", "at most 20"


def requests(work: Path, rate: int) -> list[Figure]:
    """Requests a second that are answered, and p99 of their time, when so many a second are sent."""
    prepare(work, 1_000, SUBSCRIBERS)
    numbers = [f"9990{at:09d}" for at in range(SUBSCRIBERS)]
    with (work / "subscribers.csv").open("a") as file:
        file.writelines(f"{number},payg,,,,,1,500.00\n" for number in numbers)
    token = add_token(work / "data", "bench", "billing")
    port = _free_port()
    command = [sys.executable, "-c", START, "run", "--data", str(work / "data"), "--port", "0",
               "--tariffs", str(work / "tariffs")]  # fmt: skip
    environment = os.environ | {"TRUNKLINE_ONLINE_PORT": str(port)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                if "The page:" in line:
                    break
            before_s = _cpu_s(running.pid)
            took, wrong, seconds = asyncio.run(_measure(port, token, numbers, rate))
            cpu_s = _cpu_s(running.pid) - before_s
        finally:
            running.terminate()
            running.wait(60)
    return [
        Figure("online_requests", len(took) / seconds, "requests/s", GOALS[0], len(took)),
        Figure("online_p99", percentile(took, 0.99) * 1000, "ms", GOALS[1], len(took)),
        Figure("online_p50", percentile(took, 0.5) * 1000, "ms", "", len(took)),
        Figure("online_cpu", cpu_s / len(took) * 1_000_000, "us of CPU a request", "", len(took)),
        Figure("online_errors", wrong, "answers", "0", len(took)),
    ]


def _cpu_s(process: int) -> float:
    """Seconds of CPU that a process has used: on a busy machine this tells more than the clock. 0 off Linux."""
    status = Path(f"/proc/{process}/stat")
    if not status.exists():
        return 0.0
    fields = status.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measure(port: int, token: str, numbers: list[str], rate: int) -> tuple[list[float], int, float]:
    lines = [_Line(token, port) for _ in range(CONNECTIONS)]
    loop = asyncio.get_running_loop()
    for line in lines:
        await loop.create_connection(lambda line=line: line, "127.0.0.1", port)  # type: ignore[misc]
    await _session(lines[0], numbers[-1], 0)  # compiles
    for line in lines:
        line.took.clear()
    sessions, every_s = [], (UPDATES + 2) / rate
    began = time.perf_counter()
    for at in range(int(SECONDS * rate / (UPDATES + 2))):
        wait = began + at * every_s - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        sessions.append(
            asyncio.create_task(_session(lines[at % CONNECTIONS], numbers[at % len(numbers)], at))
        )
    await asyncio.wait_for(asyncio.gather(*sessions), PATIENCE_S)
    seconds = time.perf_counter() - began
    return [each for line in lines for each in line.took], sum(line.wrong for line in lines), seconds


async def _session(line: _Line, number: str, at: int) -> None:
    """One session of data, from its first quota to its release."""
    place = await line.ask(f"{API}/chargingdata", _body(number, at, 0, wanted=1_000_000))
    for update in range(UPDATES):
        await line.ask(f"{place}/update", _body(number, at, update + 1, used=900_000, wanted=1_000_000))
    await line.ask(f"{place}/release", _body(number, at, UPDATES + 1, used=100_000))


def _body(number: str, at: int, invocation: int, used: int = 0, wanted: int = 0) -> bytes:
    usage: dict[str, object] = {"ratingGroup": 10}
    if used:
        usage["usedUnitContainer"] = [{"localSequenceNumber": invocation, "totalVolume": used}]
    if wanted:
        usage["requestedUnit"] = {"totalVolume": wanted}
    return json.dumps({
        "subscriberIdentifier": f"msisdn-{number}",
        "nfConsumerIdentification": {"nFName": "smf-bench", "nodeFunctionality": "SMF"},
        "invocationTimeStamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "invocationSequenceNumber": invocation,
        "pDUSessionChargingInformation": {
            "chargingId": at, "pduSessionInformation": {"pduSessionID": 1, "dnnId": "internet"},
        },
        "multipleUnitUsage": [usage],
    }).encode()  # fmt: skip


@dataclass
class _Line(asyncio.Protocol):
    """One HTTP/2 connection with many requests on it at once."""

    token: str
    port: int
    took: list[float] = field(default_factory=list)
    wrong: int = 0
    _waiting: dict[int, tuple[float, asyncio.Future[str]]] = field(default_factory=dict)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._h2 = h2.connection.H2Connection()
        self._h2.initiate_connection()
        transport.write(self._h2.data_to_send())

    async def ask(self, path: str, body: bytes) -> str:
        """One POST; the path of the session that it opened."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, [
            (":method", "POST"), (":path", path), (":scheme", "http"), (":authority", f"127.0.0.1:{self.port}"),
            ("authorization", f"Bearer {self.token}"), ("content-type", "application/json"),
        ])  # fmt: skip
        self._h2.send_data(stream, body, end_stream=True)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[stream] = time.perf_counter(), answer
        self._transport.write(self._h2.data_to_send())
        return await answer

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                headers = {bytes(name): bytes(value) for name, value in event.headers}
                began, answer = self._waiting.pop(event.stream_id)
                self.took.append(time.perf_counter() - began)
                self.wrong += not headers[b":status"].startswith(b"2")
                place = headers.get(b"location", b"").decode()
                answer.set_result(place[place.find(API) :] if place else "")
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._transport.write(self._h2.data_to_send())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
