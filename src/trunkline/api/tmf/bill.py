"""TMF678 Customer Bill Management v4 over the bills that were made: bills, and the rates applied on them.

A bill's id is our own; a rate's is the bill's with the number of its line. Bills are made by the bill run, so nothing
is created here; a bill can be put on hold (it is disputed) and taken off it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict

from trunkline import ports
from trunkline.api.access import MOVE_MONEY, READ_PERSON
from trunkline.api.balances import micro_text
from trunkline.api.bills.document import document, period_text, summary
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.exact import ExactResponse
from trunkline.api.problems import Problem
from trunkline.api.tmf.paging import (
    PERSON,
    Listing,
    answer_list,
    base_url,
    chosen,
    fields_of,
    gather,
    listing_of,
)
from trunkline.api.tmf.prepay import LIST_QUERY, ONE_QUERY
from trunkline.api.tmf.quantity import money, plain
from trunkline.api.tmf.shapes import Bucket
from trunkline.api.v1.bills import bills_of, known_bill
from trunkline.records.bills import Section

API = "/tmf-api/customerBillManagement/v4"
SCANNED_MAX = 20_000
A_TURN = 500
ON_HOLD = "onHold"
_TYPES = {
    Section.RECURRING: "recurringCharge",
    Section.ONE_OFF: "oneTimeCharge",
    Section.USAGE: "usageCharge",
    Section.DISCOUNT: "credit",
    Section.CAP: "credit",
    Section.MINIMUM: "oneTimeCharge",
    Section.ADJUSTMENT: "adjustment",
    Section.REFUND: "credit",
    Section.CORRECTION: "adjustment",
    Section.TRANSFER_FEE: "oneTimeCharge",
    Section.ROUNDING: "adjustment",
}
routes = APIRouter(tags=["TMF678 customer bill"])

Id = Annotated[str, Path(max_length=100)]


class CustomerBill(Bucket):
    """A bill of an account."""


class AppliedCustomerBillingRate(Bucket):
    """A line of a bill."""


class CustomerBillUpdate(BaseModel):
    """What may be changed of a bill: it is put on hold, or taken off it."""

    model_config = ConfigDict(extra="ignore")

    state: Literal["new", "onHold", "validated", "sent", "partiallyPaid", "settled"]


@routes.get(
    f"{API}/customerBill",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[CustomerBill],
    openapi_extra=LIST_QUERY,
    summary="List customer bills",
)
def customer_bills(request: Request, desk: AtDesk, caller: By) -> Response:
    """Bills, the newest period first; narrow them by `billingAccount.id` or `relatedParty.id`, which is cheap."""
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    listing, words = _whose(desk, listing_of(request))
    root = base_url(request) + API
    bills_of(desk)
    items = (_bill(bill, desk, root, full=full) for bill in _bills(desk, words))
    found = gather(listing, items, SCANNED_MAX)
    for word in words or [0]:
        desk.saw(caller, "list_bills", word, "" if words else f"{len(found.items)} of everyone")
    return answer_list(listing, found)


@routes.get(
    f"{API}/customerBill/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=CustomerBill,
    openapi_extra=ONE_QUERY,
    summary="Get a customer bill",
)
def customer_bill(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002 - the path's name
    """One bill."""
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    bill = known_bill(desk, id)
    desk.saw(caller, "read_bill", bill["subscriber"], id)
    return ExactResponse(chosen(_bill(bill, desk, base_url(request) + API, full=full), fields_of(request)))


@routes.patch(
    f"{API}/customerBill/{{id}}",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=CustomerBill,
    summary="Put a customer bill on hold, or take it off",
)
def change_customer_bill(
    request: Request,
    desk: AtDesk,
    caller: By,
    id: Id,  # noqa: A002 - the path's name
    change: Annotated[CustomerBillUpdate, Depends(JsonBody(CustomerBillUpdate))],
) -> Response:
    """`onHold` disputes the bill; the state that it had before takes it off again. Other states follow from money."""
    bill = known_bill(desk, id)
    desk.saw(caller, "patch_bill", bill["subscriber"], f"{id} {change.state}")
    held = bill["state"] == "disputed"
    if change.state != _state(bill):
        if change.state == ON_HOLD:
            _said(desk, id, caller.name, "put on hold", settled=False)
        elif held and change.state == _state({**bill, "state": "issued"}):
            _said(desk, id, caller.name, "taken off hold", settled=True)
        else:
            raise Problem(409, "state_follows", "This state follows from what was paid; it cannot be set.")
    return ExactResponse(_bill(known_bill(desk, id), desk, base_url(request) + API, full=False))


def _said(desk: Desk, bill_id: str, actor: str, text: str, *, settled: bool) -> None:
    try:
        bills_of(desk).dispute(bill_id, actor, text, settled=settled)
    except ports.Refused as error:
        raise Problem(409, "refused", str(error)) from error


@routes.get(
    f"{API}/appliedCustomerBillingRate",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[AppliedCustomerBillingRate],
    openapi_extra=LIST_QUERY,
    summary="List applied billing rates",
)
def rates(request: Request, desk: AtDesk, caller: By) -> Response:
    """Lines of bills; narrow them by `bill.id` or `billingAccount.id`, which is cheap."""
    listing, names = listing_of(request).take("bill.id")
    listing, words = _whose(desk, listing)
    root = base_url(request) + API
    bills_of(desk)
    chosen_bills = [known_bill(desk, name) for name in names] if names else _bills(desk, words)
    items = (rate for bill in chosen_bills for rate in _rates(bill, desk, root))
    found = gather(listing, items, SCANNED_MAX)
    for word in words or [0]:
        desk.saw(caller, "read_bill", word, f"{len(found.items)} lines of {','.join(names) or 'bills'}"[:500])
    return answer_list(listing, found)


@routes.get(
    f"{API}/appliedCustomerBillingRate/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=AppliedCustomerBillingRate,
    openapi_extra=ONE_QUERY,
    summary="Get an applied billing rate",
)
def rate(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002 - the path's name
    """One line of a bill."""
    name, _, number = id.partition(".")
    bill = known_bill(desk, name)
    desk.saw(caller, "read_bill", bill["subscriber"], id)
    found = next((each for each in _rates(bill, desk, base_url(request) + API) if each["id"] == id), None)
    if found is None or not re.fullmatch(r"[0-9]{1,6}", number):
        raise Problem(404, "not_found", "This bill has no such line.")
    return ExactResponse(chosen(found, fields_of(request)))


# -- reading -----------------------------------------------------------------------------------------------


def _whose(desk: Desk, listing: Listing) -> tuple[Listing, list[int]]:
    """The accounts that a listing asks for, taken out of its filters; somebody unknown has no bills."""
    listing, said = listing.take("billingAccount.id", *PERSON)
    words = [word for word in map(desk.people.word, said) if word is not None]
    return listing, words or ([0] if said else [])


def _bills(desk: Desk, words: list[int]) -> Iterator[dict[str, Any]]:
    """Bills, read page by page."""
    whose: list[int | None] = list(words) if words else [None]
    for word in whose:
        offset = 0
        while True:
            found = bills_of(desk).bills(word, None, A_TURN, offset)
            yield from found
            if len(found) < A_TURN:
                break
            offset += A_TURN


def _state(bill: dict[str, Any]) -> str:
    """TM Forum's state of a bill: prepaid ones are settled when they are made."""
    if bill["state"] == "disputed":
        return ON_HOLD
    if bill["state"] == "credited" or not bill["postpaid"]:
        return "settled"
    return "sent"


def _bill(bill: dict[str, Any], desk: Desk, root: str, *, full: bool) -> dict[str, Any]:
    """A bill as TM Forum writes it."""
    currency = bill["currency"]
    told = summary(bill, lambda _: "")["payable"]
    due = money(told["owed_micros"], told["currency"])
    reference = desk.people.reference(bill["subscriber"])
    item: dict[str, Any] = {
        "id": bill["bill_id"],
        "href": f"{root}/customerBill/{bill['bill_id']}",
        "billNo": bill["bill_id"],
        "billDate": micro_text(bill["issued_us"]),
        "lastUpdate": micro_text(max([bill["issued_us"], *(note["time_us"] for note in bill["notes"])])),
        "category": "normal",
        "runType": "onCycle",
        "state": _state(bill),
        "amountDue": due,
        "remainingAmount": due,
        "taxExcludedAmount": money(bill["total_micros"] - bill["tax_micros"], currency),
        "taxIncludedAmount": money(bill["total_micros"], currency),
        "billingPeriod": {
            "startDateTime": micro_text(bill["from_us"]),
            "endDateTime": micro_text(bill["until_us"]),
        },
        "billingAccount": {"id": reference, "@referredType": "BillingAccount"},
        "relatedParty": [
            {
                "id": reference,
                "name": desk.people.show(bill["subscriber"], full=full),
                "role": "subscriber",
                "@referredType": "Individual",
            }
        ],
        "billDocument": [
            {
                "id": f"{bill['bill_id']}.{form}",
                "name": f"bill-{bill['bill_id']}.{form}",
                "mimeType": kind,
                "url": f"{root.removesuffix(API)}/api/v1/bills/{bill['bill_id']}/file?format={form}",
                "@referredType": "AttachmentRef",
            }
            for form, kind in (
                ("pdf", "application/pdf"),
                ("html", "text/html"),
                ("json", "application/json"),
            )
        ],
        "taxItem": [
            {
                "taxCategory": line["name"],
                "taxRate": _percent(line["millionths"]),
                "taxAmount": money(line["tax_micros"], currency),
            }
            for line in bill["lines"]
            if line["section"] == Section.TAX
        ],
        "@type": "CustomerBill",
    }
    if bill["postpaid"]:
        item["paymentDueDate"] = micro_text(bill["due_us"])
    return item


def _percent(millionths: int) -> Decimal:
    return plain(Decimal(millionths).scaleb(-4))


def _rates(bill: dict[str, Any], desk: Desk, root: str) -> Iterator[dict[str, Any]]:
    """A bill's lines as TM Forum writes them; taxes are told on the bill, since they are taken of several lines."""
    told = document(bill, lambda _: "")
    currency, reference = bill["currency"], desk.people.reference(bill["subscriber"])
    for number, (line, words) in enumerate(zip(bill["lines"], told["lines"], strict=True)):
        section = Section(line["section"])
        if section is Section.TAX:
            continue
        name = f"{bill['bill_id']}.{number}"
        facts = {key: line[key] for key in ("uses", "units", "allowance_units", "days") if line[key]}
        yield {
            "id": name,
            "href": f"{root}/appliedCustomerBillingRate/{name}",
            "name": words["name"] or words["title"],
            "description": words["text"],
            "type": _TYPES[section],
            "date": micro_text(bill["until_us"]),
            "isBilled": True,
            "bill": {"id": bill["bill_id"], "href": f"{root}/customerBill/{bill['bill_id']}"},
            "billingAccount": {"id": reference, "@referredType": "BillingAccount"},
            "periodCoverage": {
                "startDateTime": micro_text(bill["from_us"]),
                "endDateTime": micro_text(bill["until_us"]),
            },
            "product": {
                "id": bill["plan"] or "-",
                "name": bill["plan"].partition("@")[0] or period_text(bill["period"]),
            },
            "taxExcludedAmount": money(line["amount_micros"], currency),
            "characteristic": [
                {"name": key, "value": value, "valueType": "number"} for key, value in facts.items()
            ],
            "@type": "AppliedCustomerBillingRate",
        }
