"""Every error that leaves, in one shape: TM Forum's `Error`, with a sentence that says what to do next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from trunkline import ports
from trunkline.api.exact import ExactResponse

log = logging.getLogger("trunkline.http")
AGAIN_S = 5


class ErrorBody(BaseModel):
    """Why a request was not carried out."""

    code: str = Field(description="Short name of the error, for programs.")
    reason: str = Field(description="What is wrong, in a few words.")
    message: str = Field(description="What is wrong and what to do about it.")
    status: str = Field(description="The HTTP status.")


class Problem(Exception):
    """A request that cannot be carried out; raised anywhere, answered in one shape."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Name the HTTP status, a short code for programs, and the sentence for people."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def answer(problem: Problem) -> Response:
    """The response for a problem."""
    return ExactResponse(
        {
            "code": problem.code,
            "reason": HTTPStatus(problem.status).phrase,
            "message": problem.message,
            "status": str(problem.status),
        },
        status_code=problem.status,
        headers=dict(problem.headers or {}),
    )


def busy(error: ports.Busy) -> Problem:
    """Backpressure: the sender comes back later with the same thing."""
    return Problem(429, "busy", str(error), {"Retry-After": str(max(1, error.retry_after_s))})


def validation_sentence(errors: list[Any]) -> str:
    """Where a request is wrong and how, without the values, which may be personal."""
    return "; ".join(
        f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in errors[:10]
    )


def install(app: FastAPI) -> None:
    """Answer everything that can go wrong in the one shape."""

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> Response:
        return answer(error)

    @app.exception_handler(ports.Busy)
    async def _busy(_: Request, error: ports.Busy) -> Response:
        return answer(busy(error))

    @app.exception_handler(ports.NoAnswer)
    async def _silent(_: Request, error: ports.NoAnswer) -> Response:
        log.warning("a server does not answer", extra={"detail": str(error)})
        message = (
            "The platform cannot reach its servers now; ask again, an order with the same Idempotency-Key."
        )
        return answer(Problem(503, "no_answer", message, {"Retry-After": str(AGAIN_S)}))

    @app.exception_handler(ports.Refused)
    async def _refused(_: Request, error: ports.Refused) -> Response:
        return answer(Problem(409, "refused", str(error)))

    @app.exception_handler(ports.DiskFull)
    async def _full(_: Request, error: ports.DiskFull) -> Response:
        log.error("no room on the disk", extra={"detail": str(error)})
        return answer(
            Problem(507, "disk_full", "There is no room to keep this; nothing of it was taken. Make room.")
        )

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return answer(Problem(400, "invalid_request", validation_sentence(list(error.errors()))))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return answer(_of_http(request, error))


def _of_http(request: Request, error: HTTPException) -> Problem:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return Problem(404, "not_found", "There is nothing at this address.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow", "")
        message = f"{request.method} is not possible here; {allowed or 'another method'} is."
        return Problem(405, "method_not_allowed", message, error.headers)
    code = HTTPStatus(error.status_code).name.lower()
    return Problem(error.status_code, code, str(error.detail), error.headers)
