"""Alerts by number, for those who ask instead of following the socket."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from trunkline.api.access import READ_PERSON, WATCH
from trunkline.api.desk import AtDesk, By, Needs, wants_full
from trunkline.api.problems import Problem
from trunkline.api.shapes import AlertsAnswer
from trunkline.api.shown import alert_rows
from trunkline.api.v1.overview import Limit, Numbers

routes = APIRouter(tags=["alerts"])


@routes.get(
    "/api/v1/alerts", dependencies=[Depends(Needs(WATCH))], response_model=AlertsAnswer, summary="Alerts"
)
def alerts(
    desk: AtDesk,
    caller: By,
    after: Annotated[int, Query(ge=0, le=2**62, description="Number of the last alert that was read.")] = 0,
    limit: Limit = 100,
    subscriber: Annotated[
        str | None, Query(max_length=40, description="Only of this reference or number.")
    ] = None,
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """Alerts after a number, in the order of commit. WebSocket /api/v1/alerts/stream follows them."""
    full = wants_full(caller, numbers)
    word = desk.subscriber(subscriber) if subscriber is not None else None
    if word is not None and not caller.may(READ_PERSON):
        raise Problem(403, "not_allowed", "One person's alerts need the role care or higher.")
    if word is not None or full:
        desk.saw(caller, "read_alerts", word or 0, numbers)
    frame = desk.reader.alerts(after, limit, word)
    return {"items": alert_rows(frame, desk.people, desk.catalogue().currency, full=full)}
