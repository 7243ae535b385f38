"""The hubs of both interfaces: other systems register an address and are told what was created through them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from trunkline.api.access import SUBSCRIBE
from trunkline.api.desk import AtDesk, By, JsonBody, Needs
from trunkline.api.exact import ExactResponse
from trunkline.api.notices import Notices
from trunkline.api.problems import Problem
from trunkline.api.tmf.paging import base_url
from trunkline.api.tmf.shapes import EventSubscription, EventSubscriptionInput

routes = APIRouter(tags=["notifications"])

EVENTS = {
    "prepayBalanceManagement": ("TopupBalanceCreateEvent", "AdjustBalanceCreateEvent"),
    "usageManagement": ("UsageCreateEvent",),
    "alarm": ("AlarmCreateEvent", "AlarmAttributeValueChangeEvent", "AlarmStateChangeEvent"),
}
Name = Annotated[str, Path(max_length=64)]
Wanted = Annotated[EventSubscriptionInput, Depends(JsonBody(EventSubscriptionInput))]


@routes.post(
    "/tmf-api/prepayBalanceManagement/v4/hub",
    status_code=201,
    dependencies=[Depends(Needs(SUBSCRIBE))],
    response_model=EventSubscription,
    summary="Register for top-ups and adjustments",
)
def register_prepay(request: Request, desk: AtDesk, caller: By, wanted: Wanted) -> Response:
    """Be told of TopupBalanceCreateEvent and AdjustBalanceCreateEvent."""
    return _register("prepayBalanceManagement", request, desk, caller, wanted)


@routes.post(
    "/tmf-api/usageManagement/v4/hub",
    status_code=201,
    dependencies=[Depends(Needs(SUBSCRIBE))],
    response_model=EventSubscription,
    summary="Register for usage",
)
def register_usage(request: Request, desk: AtDesk, caller: By, wanted: Wanted) -> Response:
    """Be told of UsageCreateEvent."""
    return _register("usageManagement", request, desk, caller, wanted)


@routes.post(
    "/tmf-api/alarm/v4/hub",
    status_code=201,
    dependencies=[Depends(Needs(SUBSCRIBE))],
    response_model=EventSubscription,
    summary="Register for alarms",
)
def register_alarms(request: Request, desk: AtDesk, caller: By, wanted: Wanted) -> Response:
    """Be told of AlarmCreateEvent, AlarmAttributeValueChangeEvent and AlarmStateChangeEvent."""
    return _register("alarm", request, desk, caller, wanted)


@routes.delete(
    "/tmf-api/alarm/v4/hub/{id}",
    status_code=204,
    dependencies=[Depends(Needs(SUBSCRIBE))],
    response_class=Response,
    summary="Unregister",
)
def unregister_alarms(request: Request, desk: AtDesk, caller: By, id: Name) -> Response:  # noqa: A002
    """Be told no more."""
    return _unregister("alarm", request, desk, caller, id)


@routes.delete(
    "/tmf-api/prepayBalanceManagement/v4/hub/{id}",
    status_code=204,
    dependencies=[Depends(Needs(SUBSCRIBE))],
    response_class=Response,
    summary="Unregister",
)
def unregister_prepay(request: Request, desk: AtDesk, caller: By, id: Name) -> Response:  # noqa: A002 - the path's name
    """Be told no more."""
    return _unregister("prepayBalanceManagement", request, desk, caller, id)


@routes.delete(
    "/tmf-api/usageManagement/v4/hub/{id}",
    status_code=204,
    dependencies=[Depends(Needs(SUBSCRIBE))],
    response_class=Response,
    summary="Unregister",
)
def unregister_usage(request: Request, desk: AtDesk, caller: By, id: Name) -> Response:  # noqa: A002
    """Be told no more."""
    return _unregister("usageManagement", request, desk, caller, id)


def _register(
    api: str, request: Request, desk: AtDesk, caller: By, wanted: EventSubscriptionInput
) -> Response:
    notices: Notices = request.app.state.notices
    types = _types(api, wanted.query or "")
    desk.saw(caller, "register_callback", detail=f"{api} {wanted.callback.host}")
    made = notices.register(api, str(wanted.callback), wanted.query or "", types)
    headers = {"Location": f"{base_url(request)}/tmf-api/{api}/v4/hub/{made.id}"}
    body = {"id": made.id, "callback": made.callback, "query": made.query}
    return ExactResponse(body, status_code=201, headers=headers)


def _types(api: str, query: str) -> tuple[str, ...]:
    """The event types that a subscription's query asks for: `eventType=A,B`, or all when it is empty."""
    if not query:
        return EVENTS[api]
    name, _, value = query.partition("=")
    types = tuple(value.split(","))
    if name != "eventType" or not set(types) <= set(EVENTS[api]):
        raise Problem(
            400, "bad_query", f"The query is empty, or eventType= and any of {', '.join(EVENTS[api])}."
        )
    return types


def _unregister(api: str, request: Request, desk: AtDesk, caller: By, name: str) -> Response:
    notices: Notices = request.app.state.notices
    desk.saw(caller, "unregister_callback", detail=api)
    if not notices.unregister(api, name):
        raise Problem(404, "not_found", "There is no such registration.")
    return Response(status_code=204)
