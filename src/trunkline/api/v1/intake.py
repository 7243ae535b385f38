"""Usage comes in over HTTP: lines in a mapping's own words, or CloudEvents around our own schema.

The answer 202 means durable, and only that: charging follows within the second. A body is taken whole or not
at all, so a sender may repeat it after any error; what was taken before is then recognised as duplicate.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from trunkline import ports
from trunkline.api.access import HAND_IN
from trunkline.api.desk import AtDesk, Needs, media_type, read_body
from trunkline.api.exact import read_json, write_json
from trunkline.api.problems import Problem
from trunkline.api.shapes import ReceiptAnswer

routes = APIRouter(tags=["usage"])

NDJSON = "application/x-ndjson"
TEXT = "text/plain"
EVENT = "application/cloudevents+json"
EVENTS = "application/cloudevents-batch+json"
LINES = (NDJSON, TEXT)
OWN_MAPPING = "trunkline"

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            NDJSON: {"schema": {"type": "string", "description": "One record a line."}},
            TEXT: {
                "schema": {
                    "type": "string",
                    "description": "Whole records as the mapping's system writes them.",
                }
            },
            EVENT: {
                "schema": {"type": "object", "required": ["specversion", "type", "source", "id", "data"]}
            },
            EVENTS: {"schema": {"type": "array", "items": {"type": "object"}}},
        },
    }
}


@routes.post(
    "/api/v1/events",
    status_code=202,
    dependencies=[Depends(Needs(HAND_IN))],
    response_model=ReceiptAnswer,
    openapi_extra=_BODY,
    summary="Hand in usage",
)
async def hand_in(
    request: Request,
    desk: AtDesk,
    mapping: Annotated[str, Query(max_length=100, description="Mapping that reads the lines.")] = OWN_MAPPING,
) -> ports.Receipt:
    """Take usage. 202 once it is durable; 429 with Retry-After when the platform is catching up."""
    kind = media_type(request)
    if kind not in (*LINES, EVENT, EVENTS):
        raise Problem(415, "unsupported_media_type", f"Send {NDJSON}, {TEXT}, {EVENT} or {EVENTS}.")
    body = await read_body(request)
    receipt = await run_in_threadpool(_take, desk, kind, mapping, body)
    desk.metrics.posted.labels(mapping if kind in LINES else OWN_MAPPING).inc(receipt.records)
    return receipt


def _take(desk: AtDesk, kind: str, mapping: str, body: bytes) -> ports.Receipt:
    if kind in LINES:
        lines = body if body.endswith(b"\n") else body + b"\n"
    else:
        mapping, lines = OWN_MAPPING, lines_of_events(_events(body, batch=kind == EVENTS))
    if not lines.strip():
        raise Problem(400, "empty", "The body holds no record.")
    try:
        return desk.intake.usage(mapping, lines)
    except ports.Refused as error:
        raise Problem(400, "refused", str(error)) from error


def _events(body: bytes, *, batch: bool) -> list[Any]:
    try:
        said = read_json(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "not_json", f"The body is not JSON that we can read: {error}") from error
    if not batch:
        return [said]
    if not isinstance(said, list):
        raise Problem(400, "not_cloudevents", "A batch of CloudEvents is a JSON array.")
    return said


def lines_of_events(events: list[Any]) -> bytes:
    """The usage inside CloudEvents, one line each. Its own id and source win; else the event's name it."""
    return b"".join(write_json(_record(number, event)) + b"\n" for number, event in enumerate(events))


def _record(number: int, event: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is anything
    wrong = _why_not(event)
    if wrong:
        raise Problem(400, "not_cloudevents", f"Event {number}: {wrong} Nothing of this body was taken.")
    return {"id": event["id"], "source": event["source"], **event["data"]}


def _why_not(event: Any) -> str:  # noqa: ANN401
    if not isinstance(event, dict):
        return "it is not an object."
    if event.get("specversion") != "1.0":
        return 'specversion must be "1.0".'
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            return f"{name} must be text that is not empty."
    if not isinstance(event.get("data"), dict):
        return "data must be an object in our own usage schema."
    try:
        orjson.dumps(event["data"], default=str)
    except TypeError as error:
        return f"data cannot be kept: {error}."
    return ""
