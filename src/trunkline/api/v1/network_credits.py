"""What an incident's customers are given back: seen before it is booked, booked once, and written down."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from trunkline import ports
from trunkline.api.access import MOVE_MONEY, READ_PERSON
from trunkline.api.desk import AtDesk, By, Desk, Needs
from trunkline.api.problems import Problem
from trunkline.api.shapes import SaidAnswer
from trunkline.api.shown import person
from trunkline.api.v1.network import Name, watching_of

routes = APIRouter(tags=["network"])


def _service_of(desk: Desk) -> ports.ServiceDesk:
    service = watching_of(desk).service
    if service is None:
        raise Problem(501, "no_service", "This process does not tell or credit customers.")
    return service


@routes.get(
    "/api/v1/network/incidents/{incident_id}/credits",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=SaidAnswer,
    summary="Preview the credits of an incident",
)
def preview(desk: AtDesk, incident_id: Name) -> dict[str, Any]:
    """Which rule fits, how many customers it credits with how much, and what is booked already; nothing is booked."""
    service = _service_of(desk)
    try:
        said = service.preview(incident_id)
    except ports.Refused as error:
        raise Problem(404, "unknown_incident", str(error)) from error
    items = [
        row | {"subscriber": person(desk.people, row["subscriber"], full=False)} for row in said["items"]
    ]
    return {"said": said | {"items": items, "currency": desk.catalogue().currency}}


@routes.post(
    "/api/v1/network/incidents/{incident_id}/credits",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=SaidAnswer,
    summary="Book the credits of an incident",
)
def book(desk: AtDesk, caller: By, incident_id: Name) -> dict[str, Any]:
    """Book what the preview shows. A credit is named by its incident and subscriber, so booking again moves nothing."""
    service = _service_of(desk)
    return {"said": service.book(incident_id, caller.name, caller.role.name.lower())}
