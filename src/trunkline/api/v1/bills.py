"""Bills for the page and for scripts: the running period's preview, lists, one bill in several forms, orders."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from trunkline import ports
from trunkline.api.access import MOVE_MONEY, READ_PERSON, WATCH
from trunkline.api.bills.document import Show, document, period_text, summary
from trunkline.api.bills.forms import MEDIA_TYPES, Form, rendered
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.files import as_file
from trunkline.api.problems import Problem
from trunkline.api.shapes import Order
from trunkline.api.v1.overview import Limit, Numbers, Offset
from trunkline.api.v1.subscribers import Said, account_of

routes = APIRouter(tags=["bills"])

BillId = Annotated[str, Path(max_length=60, description="The bill's name.")]
Period = Annotated[
    str | None,
    Query(pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="Month in which the period began: 2026-10."),
]
ITEMS_AT_MOST = 100_000


class PayableAnswer(BaseModel):
    """What a bill is to be paid in; the rate is empty where that is the bill's own currency."""

    currency: str
    total_micros: int
    owed_micros: int
    rate: str = Field(description="Such as 1 EUR = 1.1663 USD.")
    since: str | None = Field(description="From when that rate holds.")
    source: str = Field(description="Who published it.")
    text: str = Field(description="Rate, date and source in one line.")


class BillSummary(BaseModel):
    """A bill as a list shows it; amounts are micro-units."""

    bill_id: str
    period: str
    state: str = Field(description="issued, disputed, credited, or preview.")
    subscriber: str
    ref: str
    plan: str
    payment: str
    currency: str
    from_: str = Field(alias="from")
    until: str
    issued: str
    due: str | None
    total_micros: int
    tax_micros: int
    paid_micros: int
    credited_micros: int
    owed_micros: int
    payable: PayableAnswer


class BillAnswer(BillSummary):
    """A bill whole: its lines, what was said of it, and with `items` every use."""

    lines: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    items: list[dict[str, Any]] | None


class BillsAnswer(BaseModel):
    """Bills, the newest period first."""

    items: list[BillSummary]


class PeriodRow(BaseModel):
    """What was billed for a period, of bills that are to be paid in one currency; amounts are micro-units."""

    period: str
    payable_currency: str
    bills: int
    total_micros: int
    tax_micros: int
    paid_micros: int
    payable_micros: int = Field(description="Total in the currency that the bills are to be paid in.")


class PeriodsAnswer(BaseModel):
    """What was billed, the newest period first."""

    currency: str
    items: list[PeriodRow]


class RunOrder(Order):
    """Which period to bill: the month in which it began."""

    period: str = Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")


class RunAnswer(BaseModel):
    """What one run did; every account is in one of the counts."""

    period: int
    bills: int
    billed: int
    running: int
    behind: int
    ahead: int
    total_micros: int
    seconds: float
    payable_micros: dict[str, int] = Field(description="Totals by the currency that bills are to be paid in.")


class DisputeOrder(Order):
    """Why a bill is disputed, or how the dispute was settled."""

    text: str = Field(min_length=1, max_length=1000)
    settled: bool = False


class CreditOrder(Order):
    """How much of a bill is given back, and why; `name` tells equal credit notes apart."""

    amount_micros: int = Field(gt=0, le=2**62)
    text: str = Field(min_length=1, max_length=1000)
    name: str | None = Field(None, max_length=200)


class CreditAnswer(BaseModel):
    """The credit note: the movement that it booked."""

    movement_id: str
    bill: BillAnswer


def bills_of(desk: Desk) -> ports.Bills:
    """The desk's bills; 501 where this process has none."""
    if desk.bills is None:
        message = (
            "There are no bills here. A data folder has them, and a cluster that Spark charges: tell `trunkline serve`"
            " of their folder (TRUNKLINE_SPARK_CHECKPOINT)."
        )
        raise Problem(501, "no_bills", message)
    return desk.bills


def known_bill(desk: Desk, bill_id: str) -> dict[str, Any]:
    """A bill by its name; answers 404 when there is none."""
    found = bills_of(desk).bill(bill_id) if re.fullmatch(r"[0-9]{6}-[0-9a-f]{1,50}", bill_id) else None
    if found is None:
        bills_of(desk)
        raise Problem(404, "unknown_bill", "There is no such bill.")
    return found


def _show(desk: Desk, *, full: bool) -> Show:
    return lambda word: desk.people.show(word, full=full)


def _told(desk: Desk, bill: dict[str, Any], *, full: bool, items: bool = False) -> dict[str, Any]:
    uses = bills_of(desk).items(bill, ITEMS_AT_MOST) if items else None
    return {**document(bill, _show(desk, full=full), uses), "ref": desk.people.reference(bill["subscriber"])}


@routes.get(
    "/api/v1/bills/periods",
    dependencies=[Depends(Needs(WATCH))],
    response_model=PeriodsAnswer,
    summary="Billed periods",
)
def periods(desk: AtDesk) -> dict[str, Any]:
    """What was billed, by period; it shows nobody's bill."""
    rows = [{**row, "period": period_text(row["period"])} for row in bills_of(desk).periods()]
    return {"currency": desk.catalogue().currency, "items": rows}


@routes.get(
    "/api/v1/bills",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=BillsAnswer,
    summary="Bills",
)
def bills(
    desk: AtDesk,
    caller: By,
    period: Period = None,
    limit: Limit = 50,
    offset: Annotated[int, Query(ge=0, le=10**6, description="How many to pass over.")] = 0,
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """Everybody's bills, the newest period first."""
    full = wants_full(caller, numbers)
    found = bills_of(desk).bills(None, _period(period), limit, offset, lines=False)
    desk.saw(caller, "list_bills", detail=f"{len(found)} of everyone {numbers}")
    return {"items": [_summary(desk, bill, full=full) for bill in found]}


def _summary(desk: Desk, bill: dict[str, Any], *, full: bool) -> dict[str, Any]:
    return {**summary(bill, _show(desk, full=full)), "ref": desk.people.reference(bill["subscriber"])}


def _period(text: str | None) -> int | None:
    return None if text is None else int(text.replace("-", ""))


@routes.get(
    "/api/v1/subscribers/{subscriber}/bills",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=BillsAnswer,
    summary="A subscriber's bills",
)
def bills_of_subscriber(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    limit: Limit = 50,
    offset: Offset = 0,
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """One subscriber's bills, the newest period first."""
    full = wants_full(caller, numbers)
    port, word = bills_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "list_bills", word, numbers)
    account_of(desk, word)
    found = port.bills(word, None, limit, offset, lines=False)
    return {"items": [_summary(desk, bill, full=full) for bill in found]}


@routes.get(
    "/api/v1/subscribers/{subscriber}/bills/preview",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=BillAnswer,
    summary="Preview of the running period's bill",
)
def preview(desk: AtDesk, caller: By, subscriber: Said, numbers: Numbers = "masked") -> dict[str, Any]:
    """The bill as it would be if the period ended with what is known now; it is neither kept nor booked."""
    full = wants_full(caller, numbers)
    port, word = bills_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "preview_bill", word, numbers)
    account_of(desk, word)
    found = port.preview(word)
    if found is None:
        raise Problem(404, "no_period", "The running period of this subscriber has its bill already.")
    return _told(desk, found, full=full)


@routes.get(
    "/api/v1/bills/{bill_id}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=BillAnswer,
    summary="One bill",
)
def bill(
    desk: AtDesk,
    caller: By,
    bill_id: BillId,
    items: Annotated[bool, Query(description="Tell every use, too.")] = False,  # noqa: FBT002 - a query parameter
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """One bill with all its lines, and what was said of it."""
    full = wants_full(caller, numbers)
    found = known_bill(desk, bill_id)
    desk.saw(caller, "read_bill", found["subscriber"], f"{bill_id} {numbers}")
    return _told(desk, found, full=full, items=items)


@routes.get(
    "/api/v1/bills/{bill_id}/file",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_class=Response,
    responses={200: {"content": {"application/json": {}, "text/html": {}, "application/pdf": {}}}},
    summary="A bill as a file",
)
def bill_file(
    desk: AtDesk,
    caller: By,
    bill_id: BillId,
    form: Annotated[Form, Query(alias="format", description="json, html or pdf.")] = Form.PDF,
    items: Annotated[bool, Query(description="Tell every use, too.")] = False,  # noqa: FBT002 - a query parameter
    numbers: Numbers = "masked",
) -> Response:
    """One bill to hand on: JSON, a page of HTML that needs nothing else, or PDF."""
    full = wants_full(caller, numbers)
    found = known_bill(desk, bill_id)
    desk.saw(caller, "export_bill", found["subscriber"], f"{bill_id} {form} {numbers}")
    octets = rendered(_told(desk, found, full=full, items=items), form)
    return as_file(octets, MEDIA_TYPES[form], f"bill-{bill_id}.{form}")


@routes.post(
    "/api/v1/bills/runs",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=RunAnswer,
    summary="Make the bills of a period",
)
def run(desk: AtDesk, caller: By, order: Annotated[RunOrder, Depends(JsonBody(RunOrder))]) -> dict[str, Any]:
    """Bill every account whose period is over and has no bill yet; each is made once, however often it is asked."""
    port = bills_of(desk)
    desk.saw(caller, "run_bills", detail=order.period)
    try:
        return vars(port.run(int(order.period.replace("-", ""))))
    except ports.Refused as error:
        raise Problem(409, "refused", str(error)) from error


@routes.post(
    "/api/v1/bills/{bill_id}/disputes",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=BillAnswer,
    summary="Dispute a bill, or settle its dispute",
)
def dispute(
    desk: AtDesk, caller: By, bill_id: BillId, order: Annotated[DisputeOrder, Depends(JsonBody(DisputeOrder))]
) -> dict[str, Any]:
    """Write down why a bill is disputed, or how that was settled; it moves no money."""
    found = known_bill(desk, bill_id)
    desk.saw(caller, "settle_bill" if order.settled else "dispute_bill", found["subscriber"], bill_id)
    try:
        bills_of(desk).dispute(bill_id, caller.name, order.text, settled=order.settled)
    except ports.Refused as error:
        raise Problem(409, "refused", str(error)) from error
    return _told(desk, known_bill(desk, bill_id), full=False)


@routes.post(
    "/api/v1/bills/{bill_id}/credits",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=CreditAnswer,
    summary="Issue a credit note",
)
def credit(
    desk: AtDesk, caller: By, bill_id: BillId, order: Annotated[CreditOrder, Depends(JsonBody(CreditOrder))]
) -> dict[str, Any]:
    """Give some of a bill back: one movement of the ledger; the same order again books nothing."""
    found = known_bill(desk, bill_id)
    desk.saw(caller, "credit_bill", found["subscriber"], f"{bill_id} {order.amount_micros}")
    try:
        name = bills_of(desk).credit(bill_id, order.amount_micros, caller.name, order.text, order.name)
    except ports.Refused as error:
        raise Problem(409, "refused", str(error)) from error
    return {"movement_id": name, "bill": _told(desk, known_bill(desk, bill_id), full=False)}
