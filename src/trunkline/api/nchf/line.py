"""The line between the two processes of online charging: one speaks with network functions, the other is the platform.

Each has an interpreter of its own, so that a charge never keeps a network function waiting for its lock. What they say
is a JSON object on a line of its own, over a pair of sockets that nobody else has: requests and counts go up, answers
and the digests of tokens come down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import orjson

from trunkline.api.access import Role, Token
from trunkline.api.nchf.messages import Quotas
from trunkline.ports import QuotaAnswer, QuotaRequest

TOGETHER_S = 0.002  # requests that come within so long go up together
UNKNOWN, BUSY, FAILED = "unknown", "busy", "failed"  # why there is no answer

Told = Sequence[QuotaAnswer] | str
Answered = Callable[
    [Told, int | None], None
]  # the answer, or why there is none, and where a new session lies


@dataclass(frozen=True)
class Beginning:
    """What the network's side is told before all else."""

    root: str  # where network functions reach it
    quotas: Quotas
    certificate: str
    key: str
    clients: str


def said(what: Mapping[str, Any]) -> bytes:
    """Something as it goes over the line."""
    return orjson.dumps(what) + b"\n"


def request_of(told: Mapping[str, Any], place: int | None, now_us: int) -> QuotaRequest:
    """A request that came up, heard at `now_us`."""
    times = {name: told[name] + now_us for name in ("time_us", "until_us")}
    return QuotaRequest(**{**told, **times, "place": place})


def tokens_said(tokens: Sequence[Token]) -> list[Any]:
    """Tokens, of which nobody but their owners has more than a digest."""
    return [[token.name, int(token.role), token.sha256] for token in tokens]


def beginning_said(beginning: Beginning) -> bytes:
    """The first line."""
    return said({"begin": asdict(beginning)})


class NetworkSide(asyncio.Protocol):
    """The end of the line at the network's side; everything happens in the running loop's thread."""

    def __init__(self) -> None:
        """Made in the running loop."""
        self._loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[Beginning] = self._loop.create_future()
        self.over = asyncio.Event()
        self.tokens: list[Token] = []
        self._numbers = 0
        self._answered: dict[int, Answered] = {}
        self._asked: list[list[Any]] = []
        self._counted: list[tuple[str, int, float]] = []
        self._saying = False
        self._in = b""

    def ask(self, request: QuotaRequest, notify: str, answered: Answered) -> None:
        """Ask the platform; `notify` is where a session that begins wants to be told, "" for nowhere."""
        self._numbers += 1
        self._answered[self._numbers] = answered
        self._asked.append([self._numbers, request, notify])
        self._say_soon()

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Have an answer counted."""
        self._counted.append((operation, status, seconds))
        self._say_soon()

    def _say_soon(self) -> None:
        if not self._saying:
            self._saying = True
            self._loop.call_later(TOGETHER_S, self._say)

    def _say(self) -> None:
        self._saying = False
        self._transport.write(said({"asked": self._asked, "counted": self._counted}))
        self._asked, self._counted = [], []

    # -- the line ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The platform is there."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _error: Exception | None) -> None:
        """The platform is gone, or wants us to go."""
        self.over.set()
        self.begun.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the platform says."""
        *lines, self._in = (self._in + data).split(b"\n")
        for line in lines:
            self._hear(orjson.loads(line))

    def _hear(self, told: dict[str, Any]) -> None:
        if "begin" in told:
            begin = told["begin"]
            self.begun.set_result(Beginning(**begin | {"quotas": Quotas(**begin["quotas"])}))
        if "tokens" in told:
            self.tokens[:] = [Token(name, Role(role), sha256) for name, role, sha256 in told["tokens"]]
        for number, place, answer in told.get("told", ()):
            answered = self._answered.pop(number)
            answered(answer if isinstance(answer, str) else [QuotaAnswer(**each) for each in answer], place)
