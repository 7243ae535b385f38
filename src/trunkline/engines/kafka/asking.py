"""How requests for quota and their answers look as Kafka messages: JSON, small, a request a message.

A request says which door it came in by and the door's own number for it; what became of several requests of one door
travels back in one message whose key is the door's name. A message without a key is for every door: sessions that were
closed here, and accounts that hold more than they did.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from trunkline.engines.wire import Unreadable
from trunkline.kernel.grouped import Rows, State
from trunkline.ports import QuotaAnswer, QuotaRequest

# What a door is told in the place of answers.
UNKNOWN, FAILED, ELSEWHERE = "unknown", "failed", "elsewhere"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a bucket's owner reads it, or a look at what it holds."""

    door: str
    number: int
    request: QuotaRequest | None  # None: a look
    owner: int | None = None  # whose account is looked at; None: all sessions of the bucket

    @property
    def session(self) -> int:
        """The session that is asked for; 0 for a look."""
        return self.request.session if self.request else 0


def request_out(door: str, number: int, request: QuotaRequest) -> bytes:
    """A request for quota."""
    said = [request.subscriber, request.session, request.invocation, request.action, request.begins,
            request.time_us, request.until_us, request.groups, request.said]  # fmt: skip
    return orjson.dumps([door, number, said])


def look_out(door: str, number: int, owner: int | None) -> bytes:
    """A look at an account and its sessions, or at all sessions of a bucket."""
    return orjson.dumps([door, number, owner])


def asked_in(value: bytes) -> Asked:
    """A request or a look out of its message; raises `Unreadable`."""
    try:
        door, number, said = orjson.loads(value)
        if not isinstance(said, list):
            return Asked(str(door), int(number), None, None if said is None else int(said))
        subscriber, session, invocation, action, begins, time_us, until_us, groups, use = said
        request = QuotaRequest(
            int(subscriber), int(session), int(invocation), int(action), bool(begins), int(time_us),
            int(until_us), [(int(group), int(used), int(wanted)) for group, used, wanted in groups], dict(use),
        )  # fmt: skip
        return Asked(str(door), int(number), request)
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise Unreadable(f"not a request for quota: {type(error).__name__}") from error


def answers_out(answers: Sequence[QuotaAnswer]) -> list[list[Any]]:
    """Answers as JSON has them."""
    return [[each.group, each.invocation, each.wanted, each.granted, each.reason] for each in answers]


def answers_in(told: Iterable[Sequence[Any]]) -> list[QuotaAnswer]:
    """And back."""
    return [QuotaAnswer(*each) for each in told]


def held_out(rows: Rows) -> str:
    """Rows of a state as JSON can hold them."""
    return b64encode(rows.tobytes()).decode()


def held_in(text: str, state: State) -> Rows:
    """And back."""
    return np.frombuffer(b64decode(text), state.dtype)
