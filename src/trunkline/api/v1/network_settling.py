"""Telemetry that was set aside: rejected to correct or close, held to look at, as usage is in `settling`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response, StreamingResponse

from trunkline.api.access import SETTLE, WATCH_NETWORK
from trunkline.api.desk import AtDesk, By, JsonBody, Needs
from trunkline.api.problems import Problem
from trunkline.api.shapes import CorrectOrder, ReasonsAnswer, RejectsAnswer, RowsAnswer
from trunkline.api.shown import raw_text
from trunkline.api.v1.network import watching_of
from trunkline.api.v1.overview import Limit, Offset
from trunkline.api.v1.settling import Number, WithRaw, counted_by_reason, exported, may_show, reject_shown
from trunkline.records.network import REASONS

routes = APIRouter(tags=["network"])

TEXT_OF = {reason.name: reason.text for reason in REASONS}
OfReason = Annotated[str | None, Query(max_length=60, description="Only those with this reason.")]


@routes.get(
    "/api/v1/network/rejects",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RejectsAnswer,
    summary="Rejected telemetry",
)
def rejects(
    desk: AtDesk,
    caller: By,
    reason: OfReason = None,
    limit: Limit = 50,
    offset: Offset = 0,
    raw: WithRaw = False,  # noqa: FBT002 - a query parameter
) -> dict[str, Any]:
    """Rejected and not yet settled telemetry."""
    may_show(desk, caller, "telemetry", raw=raw)
    frame = watching_of(desk).reader.rejects(reason, limit + 1, offset)
    items = [reject_shown(row, raw=raw) for row in frame.head(limit).iter_rows(named=True)]
    return {"items": items, "more": len(frame) > limit}


@routes.get(
    "/api/v1/network/rejects/reasons",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=ReasonsAnswer,
    summary="Rejected telemetry by reason",
)
def reasons(desk: AtDesk) -> dict[str, Any]:
    """How much open rejected telemetry there is for each reason, most first, and what to do about it."""
    return counted_by_reason(watching_of(desk).reader.rejects, TEXT_OF)


@routes.get(
    "/api/v1/network/rejects/export",
    dependencies=[Depends(Needs(SETTLE))],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
    summary="Export rejected telemetry",
)
def export(desk: AtDesk, caller: By, reason: OfReason = None) -> StreamingResponse:
    """All open rejected telemetry with the records as they came, one JSON object a line."""
    watching = watching_of(desk)
    desk.saw(caller, "export_telemetry_rejects", detail=reason or "all")
    return exported(watching.reader.rejects, reason, "telemetry-rejects.ndjson")


@routes.post(
    "/api/v1/network/rejects/{number}/correct",
    status_code=204,
    dependencies=[Depends(Needs(SETTLE))],
    response_class=Response,
    summary="Correct rejected telemetry and offer it again",
)
def correct(
    desk: AtDesk, caller: By, number: Number, order: Annotated[CorrectOrder, Depends(JsonBody(CorrectOrder))]
) -> Response:
    """Offer the corrected text again, through the mapping that read it first. What of it came before counts once."""
    text = order.text.strip("\r\n")
    if not text.strip():
        raise Problem(400, "empty", "A correction is a record.")
    watching = watching_of(desk)
    desk.saw(caller, "correct_telemetry", detail=f"reject {number}")
    watching.intake.settle_reject(number, text.encode() + b"\n", caller.name)
    return Response(status_code=204)


@routes.post(
    "/api/v1/network/rejects/{number}/close",
    status_code=204,
    dependencies=[Depends(Needs(SETTLE))],
    response_class=Response,
    summary="Close rejected telemetry for good",
)
def close(desk: AtDesk, caller: By, number: Number) -> Response:
    """Take it off the list; it stays counted as rejected."""
    watching = watching_of(desk)
    desk.saw(caller, "close_telemetry", detail=f"reject {number}")
    watching.intake.settle_reject(number, None, caller.name)
    return Response(status_code=204)


@routes.get(
    "/api/v1/network/held",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="Held telemetry",
)
def held(
    desk: AtDesk,
    caller: By,
    limit: Limit = 50,
    offset: Offset = 0,
    raw: WithRaw = False,  # noqa: FBT002 - a query parameter
) -> dict[str, Any]:
    """Events that say something else than one of the same identity, and records that broke a step."""
    may_show(desk, caller, "telemetry", raw=raw)
    frame = watching_of(desk).reader.held(limit + 1, offset)
    items = [
        row | {"raw": raw_text(row["raw"]) if raw else None}
        for row in frame.head(limit).iter_rows(named=True)
    ]
    return {"items": items, "more": len(frame) > limit}


@routes.post(
    "/api/v1/network/held/{number}/discard",
    status_code=204,
    dependencies=[Depends(Needs(SETTLE))],
    response_class=Response,
    summary="Take held telemetry off the list",
)
def discard(desk: AtDesk, caller: By, number: Number) -> Response:
    """What came first stands."""
    watching = watching_of(desk)
    desk.saw(caller, "discard_telemetry", detail=f"held {number}")
    watching.intake.discard(number, caller.name)
    return Response(status_code=204)
