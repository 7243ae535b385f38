"""Re-ratings for the page and for scripts: previews of a corrected tariff or contract, and booking them."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from trunkline import ports
from trunkline.api.access import MOVE_MONEY
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.files import as_file
from trunkline.api.problems import Problem
from trunkline.api.rerates import Show, document, rows_of
from trunkline.api.shapes import Order
from trunkline.api.v1.overview import Limit, Numbers
from trunkline.charging.tariffs import TariffError

routes = APIRouter(tags=["re-rating"])

RerateId = Annotated[str, Path(max_length=60, description="The preview's name.")]
_DAY = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
DAY_US = 86_400_000_000


class RerateOrder(Order):
    """Which usage to charge once more: days in UTC, both included, and perhaps one subscriber or plan only."""

    from_: str = Field(alias="from", pattern=_DAY, description="First day, in UTC.")
    to: str = Field(pattern=_DAY, description="Last day, in UTC.")
    subscriber: str | None = Field(None, max_length=40, description="A number, or a reference.")
    plan: str | None = Field(None, max_length=200)
    tariff: dict[str, str] | None = Field(
        None,
        max_length=1000,
        description="Files of a tariff that is not in force yet, by name: to look, not to book.",
    )


class OfPlan(BaseModel):
    """What a preview comes to for one plan, as it prices from now on; amounts are micro-units."""

    plan: str | None
    records: int
    accounts: int
    more_micros: int
    less_micros: int
    difference_micros: int


class OfAccount(BaseModel):
    """What a preview comes to for one account."""

    subscriber: str
    records: int
    difference_micros: int


class RerateAnswer(BaseModel):
    """A preview, and what was booked of it; amounts are micro-units, above zero for what is taken."""

    rerate_id: str
    state: str = Field(description="preview, partly booked, booked, or nothing to book.")
    made: str
    from_: str = Field(alias="from")
    until: str
    subscriber: str | None
    plan: str | None
    tariff: str = Field(description="Digest of the tariff's files.")
    draft: bool
    position: int = Field(description="Arrival number of the books: what came later is not in it.")
    currency: str
    records: int
    accounts: int
    records_differing: int
    accounts_differing: int
    difference_micros: int
    more_micros: int
    less_micros: int
    by_plan: list[OfPlan]
    top: list[OfAccount]
    left_out: dict[str, int] = Field(description="Accounts that cannot be charged again, by reason.")
    not_priced: dict[str, int] = Field(description="Records of them that find no price, by reason.")
    accounts_booked: int
    booked_micros: int


class ReratesAnswer(BaseModel):
    """Previews, the newest first."""

    items: list[RerateAnswer]


class BookingOrder(Order):
    """Nothing but the wish."""


class BookingAnswer(BaseModel):
    """What one order to book did; every account of the preview is in one of the first three counts."""

    rerate_id: str
    booked: int
    repeated: int
    moved: int = Field(description="Accounts that moved since the preview: they stay as they are.")
    records: int
    micros: int
    seconds: float


def rerates_of(desk: Desk) -> ports.Rerates:
    """The desk's re-ratings; 501 where this process has none."""
    if desk.rerates is None:
        raise Problem(
            501, "no_rerates", "This process charges nothing again; ask one that runs on a data folder."
        )
    return desk.rerates


def _known(desk: Desk, rerate_id: str) -> dict[str, Any]:
    found = rerates_of(desk).rerate(rerate_id)
    if found is None:
        raise Problem(404, "unknown_preview", "There is no such preview.")
    return found


def _show(desk: Desk, *, full: bool = False) -> Show:
    return lambda word: desk.people.show(word, full=full)


def _day_us(text: str) -> int:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise Problem(400, "invalid_body", f"{text} is no day.") from error
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


@routes.post(
    "/api/v1/rerates",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=RerateAnswer,
    summary="Preview a re-rating",
)
def preview(
    desk: AtDesk, caller: By, order: Annotated[RerateOrder, Depends(JsonBody(RerateOrder))]
) -> dict[str, Any]:
    """Charge a period once more and keep the difference to what was charged; nothing is booked."""
    port = rerates_of(desk)
    word = None if order.subscriber is None else desk.subscriber(order.subscriber)
    desk.saw(caller, "preview_rerate", word or 0, f"{order.from_} {order.to}")
    try:
        found = port.preview(_day_us(order.from_), _day_us(order.to) + DAY_US, word, order.plan, order.tariff)
    except (ports.Refused, TariffError) as error:
        raise Problem(409, "refused", str(error)) from error
    return document(found, _show(desk))


@routes.get(
    "/api/v1/rerates",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=ReratesAnswer,
    summary="Previews of re-ratings",
)
def rerates(desk: AtDesk, caller: By, limit: Limit = 50) -> dict[str, Any]:
    """Previews, the newest first, each with what was booked of it."""
    found = rerates_of(desk).rerates(limit)
    desk.saw(caller, "list_rerates", detail=str(len(found)))
    return {"items": [document(each, _show(desk)) for each in found]}


@routes.get(
    "/api/v1/rerates/{rerate_id}",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=RerateAnswer,
    summary="One re-rating",
)
def rerate(desk: AtDesk, caller: By, rerate_id: RerateId, numbers: Numbers = "masked") -> dict[str, Any]:
    """One preview, with what was booked of it."""
    full = wants_full(caller, numbers)
    found = _known(desk, rerate_id)
    desk.saw(caller, "read_rerate", detail=f"{rerate_id} {numbers}")
    return document(found, _show(desk, full=full))


@routes.get(
    "/api/v1/rerates/{rerate_id}/records",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
    summary="The corrected records of a re-rating",
)
def records(
    desk: AtDesk,
    caller: By,
    rerate_id: RerateId,
    limit: Annotated[int, Query(ge=1, le=1_000_000, description="How many at most.")] = 100_000,
    numbers: Numbers = "masked",
) -> Response:
    """Every record whose outcome differs, by what, as CSV."""
    full = wants_full(caller, numbers)
    _known(desk, rerate_id)
    desk.saw(caller, "export_rerate", detail=f"{rerate_id} {numbers}")
    text = io.StringIO()
    made = rerates_of(desk).corrections(rerate_id).head(limit)
    csv.writer(text, lineterminator="\n").writerows(rows_of(made, _show(desk, full=full)))
    return as_file(text.getvalue(), "text/csv", f"rerate-{rerate_id}.csv")


@routes.post(
    "/api/v1/rerates/{rerate_id}/bookings",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=BookingAnswer,
    summary="Book a re-rating",
)
def book(
    desk: AtDesk,
    caller: By,
    rerate_id: RerateId,
    order: Annotated[BookingOrder, Depends(JsonBody(BookingOrder))],  # noqa: ARG001 -- it says nothing
) -> dict[str, Any]:
    """Book what the preview shows, each account once, however often it is ordered."""
    _known(desk, rerate_id)
    desk.saw(caller, "book_rerate", detail=rerate_id)
    try:
        return vars(rerates_of(desk).book(rerate_id))
    except ports.Refused as error:
        raise Problem(409, "refused", str(error)) from error
