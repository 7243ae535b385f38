"""Nchf_ConvergedCharging over HTTP: create, update and release of charging data (3GPP TS 32.291 clause 6.1).

A network function waits for each answer: a request is read, asked, and answered when what it was promised is durable,
without a task of its own, by the process at the network's side. Errors are problem details (RFC 9457 in the shape of
TS 29.571 5.2.4.1).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import orjson

from trunkline.api.access import CHARGE_ONLINE, Access, Caller
from trunkline.api.nchf.frames import Headers
from trunkline.api.nchf.http2 import BODY_OCTETS_MAX, Reply, Request
from trunkline.api.nchf.line import BUSY, UNKNOWN, Answered, Told
from trunkline.api.nchf.messages import (
    Asked,
    Invalid,
    Quotas,
    UnknownUser,
    read,
    reference,
    response,
    session_of,
)
from trunkline.ports import QuotaAnswer, QuotaRequest
from trunkline.records.online import Action

log = logging.getLogger("trunkline.nchf")

API = "/nchf-convergedcharging/v3"
PATIENCE_S = 30.0
LONGEST_URI = 2048


class Platform(Protocol):
    """Whoever promises; `line.NetworkSide` asks for it."""

    def ask(self, request: QuotaRequest, notify: str, answered: Answered) -> None:
        """Ask; a request's times are counted from when it is heard. `answered` is called once, in this thread."""

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Count an answer, which took so long."""


class _Problem(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, cause: str, detail: str, params: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.cause, self.detail, self.params = status, cause, detail, params


@dataclass(slots=True)
class _Asking:
    """A request that waits for its answer."""

    operation: str
    began_s: float
    reply: Reply
    over: bool = False


class Charging:
    """The service behind the HTTP/2 server. `root` is where it is reached, for Location."""

    def __init__(self, platform: Platform, access: Access, quotas: Quotas, root: str) -> None:
        """Take whoever promises, and who may ask for it."""
        self._platform, self._access, self._quotas, self._root = platform, access, quotas, root
        self._waiting: deque[_Asking] = deque()

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer one request: at once where it cannot be carried out, else when what it is promised is durable."""
        asking = _Asking("other", time.perf_counter(), reply)
        try:
            self._assert_may(request.authorization)
            asking.operation, session = _operation(request)
            self._begin(asking, *session, _json(request))
        except _Problem as problem:
            self._refuse(asking, problem)
        except Exception:
            log.exception("a charging request failed")
            self._refuse(asking, _FAILED)

    def tick(self) -> None:
        """Give up what waits for too long; the network function sends it again."""
        now_s = time.perf_counter()
        while self._waiting and (self._waiting[0].over or self._waiting[0].began_s < now_s - PATIENCE_S):
            asking = self._waiting.popleft()
            if not asking.over:
                self._refuse(asking, _CONGESTED)

    def _assert_may(self, given: bytes) -> None:
        kind, _, token = given.decode("latin-1").partition(" ")
        caller: Caller | None = self._access.by_token(token) if kind.lower() == "bearer" and token else None
        if caller is None:
            raise _Problem(401, "UNAUTHORIZED", "Send a bearer token that this platform knows.")
        if not caller.may(CHARGE_ONLINE):
            role = CHARGE_ONLINE.role.name.lower()
            raise _Problem(403, "INSUFFICIENT_SCOPE", f"Charging online needs the role {role} or higher.")

    def _begin(self, asking: _Asking, session: int | None, place: int | None, body: object) -> None:
        action = Action.RELEASE if asking.operation == "release" else Action.RESERVE
        try:
            asked = read(body, action, session, place, self._quotas)
        except Invalid as wrong:
            params = [{"param": wrong.param, "reason": wrong.reason}]
            raise _Problem(400, "CHARGING_FAILED", "The request cannot be read.", params) from None
        except UnknownUser:
            raise _Problem(404, "USER_UNKNOWN", "The request names no subscriber with a number.") from None
        self._waiting.append(asking)
        then = partial(self._event, asking, asked) if asked.one_time else partial(self._told, asking, asked)
        self._ask(asking, asked.request, "" if asked.one_time else _notify_uri(body), then)

    def _ask(
        self,
        asking: _Asking,
        request: QuotaRequest,
        notify: str,
        then: Callable[[Sequence[QuotaAnswer], int | None], None],
    ) -> None:
        self._platform.ask(request, notify, partial(self._go_on, asking, then))

    def _go_on(
        self,
        asking: _Asking,
        then: Callable[[Sequence[QuotaAnswer], int | None], None],
        told: Told,
        place: int | None,
    ) -> None:
        if asking.over:
            return
        if isinstance(told, str):
            self._refuse(asking, {UNKNOWN: _unknown_session(), BUSY: _CONGESTED}.get(told, _FAILED))
            return
        try:
            then(told, place)
        except _Problem as problem:
            self._refuse(asking, problem)
        except Exception:
            log.exception("a charging request failed")
            self._refuse(asking, _FAILED)

    def _event(
        self, asking: _Asking, asked: Asked, answers: Sequence[QuotaAnswer], place: int | None
    ) -> None:
        """An event: reserved, and charged at once if all of it could be; or only reported, after it happened."""
        request = asked.request
        immediate = asked.one_time == "IEC"
        whole = not immediate or all(answer.granted >= answer.wanted for answer in answers)
        charged = [(group, wanted if immediate and whole else 0, 0) for group, _, wanted in request.groups]
        release = replace(
            request,
            invocation=request.invocation + 1,
            action=int(Action.RELEASE),
            begins=False,
            groups=charged,
            place=place,
        )
        told = answers if whole else [replace(each, granted=0) for each in answers]
        self._ask(asking, release, "", lambda _released, _place: self._told(asking, asked, told, place))

    def _told(self, asking: _Asking, asked: Asked, answers: Sequence[QuotaAnswer], place: int | None) -> None:
        if asking.operation == "release":
            self._reply(asking, 204, None, [])
            return
        told = response(asked, answers, self._quotas)
        if asking.operation == "update":
            self._reply(asking, 200, told, [])
            return
        if answers and all(answer.reason == "unknown_subscriber" for answer in answers):
            raise _Problem(404, "USER_UNKNOWN", "Nobody of that number is known here.")
        address = f"{self._root}{API}/chargingdata/{reference(asked.request.session, place)}"
        self._reply(asking, 201, told, [(b"location", address.encode())])

    def _refuse(self, asking: _Asking, problem: _Problem) -> None:
        self._reply(asking, problem.status, _details(problem), [])

    def _reply(self, asking: _Asking, status: int, told: dict[str, Any] | None, headers: Headers) -> None:
        asking.over = True
        body = b""
        if told is not None:
            body = orjson.dumps(told)
            kind = b"application/json" if status < 400 else b"application/problem+json"
            headers = [*headers, (b"content-type", kind), (b"content-length", b"%d" % len(body))]
        asking.reply(status, headers, body)
        self._platform.count(asking.operation, status, time.perf_counter() - asking.began_s)
        while self._waiting and self._waiting[0].over:
            self._waiting.popleft()


_CONGESTED = _Problem(503, "NF_CONGESTION", "The answer took too long; send the request again.")
_FAILED = _Problem(500, "CHARGING_FAILED", "The request could not be carried out.")


def _unknown_session() -> _Problem:
    return _Problem(
        404, "RESOURCE_URI_STRUCTURE_NOT_FOUND", "There is no open charging session of that reference."
    )


def _operation(request: Request) -> tuple[str, tuple[int | None, int | None]]:
    """What is asked of which session, and where it lies: create, update or release."""
    path = request.path.decode("latin-1").partition("?")[0]
    if not path.startswith(f"{API}/chargingdata"):
        raise _Problem(
            404, "RESOURCE_URI_STRUCTURE_NOT_FOUND", f"Charging data are found under {API}/chargingdata."
        )
    if request.method != b"POST":
        raise _Problem(405, "METHOD_NOT_ALLOWED", "Every operation on charging data is a POST.")
    rest = path.removeprefix(f"{API}/chargingdata").strip("/").split("/")
    if rest == [""]:
        return "create", (None, None)
    session = session_of(rest[0])
    if session is None or len(rest) != 2 or rest[1] not in ("update", "release"):
        raise _unknown_session()
    return rest[1], session


def _notify_uri(body: object) -> str:
    """Where a session wants to be told, if it says so."""
    uri = body.get("notifyUri") if isinstance(body, dict) else None
    return uri if isinstance(uri, str) and len(uri) <= LONGEST_URI else ""


def _json(request: Request) -> object:
    if request.too_large:
        raise _Problem(413, "CHARGING_FAILED", f"A request holds at most {BODY_OCTETS_MAX} octets.")
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise _Problem(400, "INVALID_MSG_FORMAT", "The body is not JSON.") from None


def _details(problem: _Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"status": problem.status, "cause": problem.cause, "detail": problem.detail}
    return told | ({"invalidParams": problem.params} if problem.params else {})
