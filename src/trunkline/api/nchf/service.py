"""Nchf_ConvergedCharging over HTTP: create, update and release of charging data (3GPP TS 32.291 clause 6.1).

Written plainly against ASGI, because a network function waits for each answer: a request is read, asked, and answered
when what it was promised is durable. Errors are problem details (RFC 9457 in the shape of TS 29.571 5.2.4.1).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from trunkline.api.access import CHARGE_ONLINE, Access, Caller
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
from trunkline.ports import OnlineCharging, QuotaAnswer, QuotaRequest, UnknownSession
from trunkline.records.online import Action

log = logging.getLogger("trunkline.nchf")

API = "/nchf-convergedcharging/v3"
BODY_OCTETS_MAX = 256 << 10
PATIENCE_S = 30.0
Opened = Callable[[int, Asked, Mapping[str, Any]], None]


class _Problem(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, cause: str, detail: str, params: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.cause, self.detail, self.params = status, cause, detail, params


class Charging:
    """The ASGI application. `root` is where it is reached, for Location; `opened` hears of each session."""

    def __init__(
        self,
        online: OnlineCharging,
        access: Access,
        quotas: Quotas,
        root: Callable[[], str],
        opened: Opened,
        count: Callable[[str, int, float], None],
        clock_us: Callable[[], int],
    ) -> None:
        """Take the platform's port and the rights; `count` is told operation, status and seconds of each request."""
        self._online, self._access, self._quotas = online, access, quotas
        self._root, self._opened, self._count, self._clock_us = root, opened, count, clock_us

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _alive(receive, send)
            return
        if scope["type"] != "http":
            return
        began, operation = time.perf_counter(), "other"
        headers: list[tuple[bytes, bytes]] = []
        try:
            self._assert_may(scope)
            operation, session = _operation(scope)
            body = _json(await _body(receive))
            status, told, headers = await self._answer(operation, session, body)
        except _Problem as problem:
            status, told = problem.status, _details(problem)
        except Exception:
            log.exception("a charging request failed")
            status, told = (
                500,
                _details(_Problem(500, "CHARGING_FAILED", "The request could not be carried out.")),
            )
        await _send(send, status, told, headers)
        self._count(operation, status, time.perf_counter() - began)

    def _assert_may(self, scope: Scope) -> None:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        kind, _, token = given.decode("latin-1").partition(" ")
        caller: Caller | None = self._access.by_token(token) if kind.lower() == "bearer" and token else None
        if caller is None:
            raise _Problem(401, "UNAUTHORIZED", "Send a bearer token that this platform knows.")
        if not caller.may(CHARGE_ONLINE):
            role = CHARGE_ONLINE.role.name.lower()
            raise _Problem(403, "INSUFFICIENT_SCOPE", f"Charging online needs the role {role} or higher.")

    async def _answer(
        self, operation: str, session: int | None, body: object
    ) -> tuple[int, dict[str, Any] | None, list[tuple[bytes, bytes]]]:
        action = Action.RELEASE if operation == "release" else Action.RESERVE
        try:
            asked = read(body, action, session, self._quotas, self._clock_us())
        except Invalid as wrong:
            params = [{"param": wrong.param, "reason": wrong.reason}]
            raise _Problem(400, "CHARGING_FAILED", "The request cannot be read.", params) from None
        except UnknownUser:
            raise _Problem(404, "USER_UNKNOWN", "The request names no subscriber with a number.") from None
        if asked.one_time:
            answers = await self._one_time(asked)
        else:
            if operation == "create":
                assert isinstance(body, dict), "it was read"
                self._opened(asked.request.session, asked, body)  # before it can be told anything
            answers = await self._ask(asked.request)
        if operation == "release":
            return 204, None, []
        told = response(asked, answers, self._quotas)
        if operation == "update":
            return 200, told, []
        if answers and all(answer.reason == "unknown_subscriber" for answer in answers):
            raise _Problem(404, "USER_UNKNOWN", "Nobody of that number is known here.")
        place = f"{self._root()}{API}/chargingdata/{reference(asked.request.session)}"
        return 201, told, [(b"location", place.encode())]

    async def _one_time(self, asked: Asked) -> list[QuotaAnswer]:
        """An event: reserved, and charged at once if all of it could be; or only reported, after it happened."""
        request = asked.request
        answers = await self._ask(request)
        whole = asked.one_time == "PEC" or all(answer.granted >= answer.wanted for answer in answers)
        charged = [
            (group, wanted if asked.one_time == "IEC" and whole else 0, 0)
            for group, _, wanted in request.groups
        ]
        release = replace(
            request,
            invocation=request.invocation + 1,
            action=int(Action.RELEASE),
            begins=False,
            groups=charged,
        )
        await self._ask(release)
        return (
            answers
            if whole
            else [QuotaAnswer(each.group, each.invocation, each.wanted, 0, each.reason) for each in answers]
        )

    async def _ask(self, request: QuotaRequest) -> list[QuotaAnswer]:
        answer = asyncio.wrap_future(self._online.ask(request))
        try:
            return await asyncio.wait_for(answer, PATIENCE_S)
        except UnknownSession:
            raise _unknown_session() from None
        except TimeoutError:
            raise _Problem(
                503, "NF_CONGESTION", "The answer took too long; send the request again."
            ) from None


def _unknown_session() -> _Problem:
    return _Problem(
        404, "RESOURCE_URI_STRUCTURE_NOT_FOUND", "There is no open charging session of that reference."
    )


def _operation(scope: Scope) -> tuple[str, int | None]:
    """What is asked of which session: create, update or release."""
    path = scope["path"]
    if not path.startswith(f"{API}/chargingdata"):
        raise _Problem(
            404, "RESOURCE_URI_STRUCTURE_NOT_FOUND", f"Charging data are found under {API}/chargingdata."
        )
    if scope["method"] != "POST":
        raise _Problem(405, "METHOD_NOT_ALLOWED", "Every operation on charging data is a POST.")
    rest = path.removeprefix(f"{API}/chargingdata").strip("/").split("/")
    if rest == [""]:
        return "create", None
    session = session_of(rest[0])
    if session is None or len(rest) != 2 or rest[1] not in ("update", "release"):
        raise _unknown_session()
    return rest[1], session


async def _body(receive: Receive) -> bytes:
    octets = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Problem(400, "CHARGING_FAILED", "The request ended early.")
        octets += message.get("body", b"")
        if len(octets) > BODY_OCTETS_MAX:
            raise _Problem(413, "CHARGING_FAILED", f"A request holds at most {BODY_OCTETS_MAX} octets.")
        if not message.get("more_body", False):
            return bytes(octets)


def _json(octets: bytes) -> object:
    try:
        return orjson.loads(octets)
    except orjson.JSONDecodeError:
        raise _Problem(400, "INVALID_MSG_FORMAT", "The body is not JSON.") from None


def _details(problem: _Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"status": problem.status, "cause": problem.cause, "detail": problem.detail}
    return told | ({"invalidParams": problem.params} if problem.params else {})


async def _send(
    send: Send, status: int, told: dict[str, Any] | None, headers: list[tuple[bytes, bytes]]
) -> None:
    kind = b"application/json" if status < 400 else b"application/problem+json"
    body = b"" if told is None else orjson.dumps(told)
    if told is not None:
        headers = [*headers, (b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _alive(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
