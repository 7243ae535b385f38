"""What became of alerts on their way to customers, dead letters, and what a customer chose of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from trunkline import ports
from trunkline.api.access import CHOOSE_DELIVERY, READ_PERSON, RETRY_DELIVERY, WATCH
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.people import mask_address
from trunkline.api.problems import Problem
from trunkline.api.shapes import Order
from trunkline.api.shown import person
from trunkline.api.v1.overview import Limit, Numbers
from trunkline.api.v1.subscribers import Said

routes = APIRouter(tags=["deliveries"])

Channel = Literal["webhook", "email", "sms"]
State = Literal["waiting", "held", "sent", "failed", "opted_out", "too_old", "no_channel"]
OnChannel = Annotated[Channel, Path(description="webhook, email or sms.")]


class DeliveryStatus(BaseModel):
    """How alerts fare; `planned` is the sum of all states and of `let_go`."""

    channels: list[str] = Field(description="Channels that are set up; none: nobody is told.")
    languages: list[str]
    states: dict[str, dict[str, int]] = Field(
        description="How many deliveries are in each state, by channel."
    )
    alerts: int = Field(description="Alerts that were taken up.")
    planned: int
    let_go: int
    behind: int = Field(description="Alerts that were not taken up yet, counted to 10,000.")


class Someone(BaseModel):
    """A subscriber: what to show, and the reference to ask with."""

    number: str
    ref: str


class DeliveryRow(BaseModel):
    """One alert on one channel."""

    number: int
    alert_id: str
    channel: str
    subscriber: Someone
    kind: str
    state: str
    attempts: int
    due_us: int
    changed_us: int
    reason: str


class DeliveriesAnswer(BaseModel):
    """Deliveries, newest first."""

    items: list[DeliveryRow]


class RetryOrder(Order):
    """Which dead letters to offer again; all of them when no numbers are given."""

    numbers: list[Annotated[int, Field(ge=1, le=2**62)]] | None = Field(None, max_length=1000)


class RetryAnswer(BaseModel):
    """How many dead letters wait again."""

    again: int


class ChoiceOrder(Order):
    """How a customer is told by one channel; what is left out is as the operator has it."""

    address: str = Field("", max_length=320, description="Mailbox or webhook; of sms another number.")
    language: str = Field("", max_length=3, description="Such as en or de.")
    time_zone: str = Field("", max_length=60, description="Such as Europe/Berlin; left out: the account's.")
    quiet_hours: str = Field("", max_length=11, description="Such as 22:00-07:00, or none.")
    opted_out: str = Field(
        "", max_length=200, description="Kinds that are not told, separated by blanks; or all."
    )


class ChoiceRow(BaseModel):
    """What a customer chose for one channel."""

    channel: str
    address: str
    language: str
    time_zone: str
    quiet_hours: str
    opted_out: str


class ChoicesAnswer(BaseModel):
    """What a customer chose; none: told by the usual channels."""

    items: list[ChoiceRow]


def deliveries_of(desk: Desk) -> ports.Deliveries:
    """The desk's deliveries; 501 where this process has none."""
    if desk.deliveries is None:
        raise Problem(501, "no_deliveries", "This process delivers no alerts.")
    return desk.deliveries


@routes.get(
    "/api/v1/deliveries/status",
    dependencies=[Depends(Needs(WATCH))],
    response_model=DeliveryStatus,
    summary="How alerts fare on their way",
)
def status(desk: AtDesk) -> dict[str, Any]:
    """Deliveries by channel and state, and how far behind taking up is."""
    return deliveries_of(desk).status()


@routes.get(
    "/api/v1/deliveries",
    dependencies=[Depends(Needs(WATCH))],
    response_model=DeliveriesAnswer,
    summary="Deliveries",
)
def deliveries(
    desk: AtDesk,
    state: Annotated[State | None, Query(description="Only of this state.")] = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=10**6, description="How many to pass over.")] = 0,
) -> dict[str, Any]:
    """Deliveries, newest first, with numbers masked; `state=failed` are the dead letters."""
    rows = deliveries_of(desk).deliveries(state, limit, offset)
    return {
        "items": [{**row, "subscriber": person(desk.people, row["subscriber"], full=False)} for row in rows]
    }


@routes.post(
    "/api/v1/deliveries/retry",
    dependencies=[Depends(Needs(RETRY_DELIVERY))],
    response_model=RetryAnswer,
    summary="Offer dead letters again",
)
def retry(
    desk: AtDesk, caller: By, order: Annotated[RetryOrder, Depends(JsonBody(RetryOrder))]
) -> dict[str, Any]:
    """Let dead letters be tried anew, under the names that they had; receivers drop what they have already."""
    port = deliveries_of(desk)
    desk.saw(caller, "retry_deliveries", detail="all" if order.numbers is None else str(len(order.numbers)))
    return {"again": port.retry(order.numbers)}


@routes.get(
    "/api/v1/subscribers/{subscriber}/choices",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=ChoicesAnswer,
    summary="What a customer chose of alerts",
)
def choices(desk: AtDesk, caller: By, subscriber: Said, numbers: Numbers = "masked") -> dict[str, Any]:
    """By which channels a customer is told; addresses are masked unless numbers=full is asked for."""
    full = wants_full(caller, numbers)
    port, word = deliveries_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "read_choices", word, numbers)
    rows = port.choices(word)
    return {"items": [row if full else {**row, "address": mask_address(row["address"])} for row in rows]}


@routes.put(
    "/api/v1/subscribers/{subscriber}/choices/{channel}",
    status_code=204,
    dependencies=[Depends(Needs(CHOOSE_DELIVERY))],
    response_class=Response,
    summary="Keep a customer's choice",
)
def choose(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    channel: OnChannel,
    order: Annotated[ChoiceOrder, Depends(JsonBody(ChoiceOrder))],
) -> Response:
    """How a customer is told by one channel from now on, instead of what was chosen before."""
    port, word = deliveries_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "choose_delivery", word, channel)
    try:
        port.choose(word, {**order.model_dump(), "channel": channel})
    except ports.Refused as error:
        raise Problem(409, "refused", str(error)) from error
    return Response(status_code=204)


@routes.delete(
    "/api/v1/subscribers/{subscriber}/choices/{channel}",
    status_code=204,
    dependencies=[Depends(Needs(CHOOSE_DELIVERY))],
    response_class=Response,
    summary="Forget a customer's choice",
)
def forget(desk: AtDesk, caller: By, subscriber: Said, channel: OnChannel) -> Response:
    """Forget one channel's choice; a customer without any is told by the usual channels."""
    port, word = deliveries_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "forget_delivery", word, channel)
    if not port.forget(word, channel):
        raise Problem(404, "not_found", "This customer chose nothing for this channel.")
    return Response(status_code=204)
