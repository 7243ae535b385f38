"""TMF654 Prepay Balance v4, reserveBalance: an amount of one bucket is set apart for a while, and given back.

What is set apart nobody is promised, neither network functions nor another reservation. It is given back by DELETE, or
when its time is over; it is no movement of money, so the ledger does not tell of it, but the bucket's `reservedValue`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response
from pydantic import Field

from trunkline import ports
from trunkline.api.access import MOVE_MONEY, READ_PERSON
from trunkline.api.balances import micro_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.exact import ExactResponse
from trunkline.api.movements import movement_name
from trunkline.api.problems import Problem
from trunkline.api.reservations import not_reserved, reservations_of
from trunkline.api.tmf import shapes
from trunkline.api.tmf.paging import (
    PERSON,
    answer_created,
    answer_list,
    base_url,
    chosen,
    fields_of,
    gather,
    listing_of,
    moment_us,
)
from trunkline.api.tmf.prepay import API, LIST_QUERY, ONE_QUERY, SCANNED_MAX
from trunkline.api.tmf.quantity import USAGE_TYPES, quantity, whole
from trunkline.ports import Reservation
from trunkline.records.charging import Unit

DEFAULT_US = 3_600_000_000  # a reservation that does not say how long it is wanted
LONGEST_US = 31 * 86_400_000_000
routes = APIRouter(tags=["TMF654 prepay balance"])

Id = Annotated[str, Path(max_length=200)]


class ReserveBalanceCreate(shapes.Resource):
    """An amount to be set apart. The bucket may be named by id, or by the name of a balance."""

    amount: shapes.Quantity
    bucket: shapes.Reference
    usage_type: shapes.UsageTypeName | None = Field(None, alias="usageType")
    party_account: shapes.Reference | None = Field(None, alias="partyAccount")
    logical_resource: list[shapes.Reference] = Field(
        default_factory=list, alias="logicalResource", max_length=10
    )
    valid_for: shapes.TimePeriod | None = Field(None, alias="validFor")
    reason: shapes.Text | None = None
    description: shapes.Text | None = None


class ReserveBalance(shapes.Bucket):
    """An amount that is set apart."""


@routes.post(
    f"{API}/reserveBalance",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=ReserveBalance,
    summary="Set something apart",
)
def create_reservation(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[ReserveBalanceCreate, Depends(JsonBody(ReserveBalanceCreate))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The whole amount or nothing, once for each Idempotency-Key, until validFor.endDateTime (an hour by default)."""
    port = reservations_of(desk)
    word, balance = _bucket_of(desk, order)
    catalogue = desk.catalogue()
    unit = Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(balance)]))
    amount = whole(order.amount.amount, order.amount.units, unit, catalogue.currency)
    if amount <= 0:
        raise Problem(400, "bad_amount", "What is set apart is above zero.")
    now_us = desk.now_us()
    name = movement_name(caller, idempotency_key)
    wanted = Reservation(name, word, balance, amount, now_us, _until_us(order, now_us))
    desk.saw(caller, "reserve", word, f"{balance} {amount} {name}")
    try:
        kept = port.reserve(wanted)
    except ports.NotReserved as error:
        raise not_reserved(error) from error
    item = _item(request, desk, kept, full=wants_full(caller, request.query_params.get("numbers", "masked")))
    said = {"description": order.description, "reason": order.reason}
    return answer_created({**item, **{name: text for name, text in said.items() if text}})


@routes.get(
    f"{API}/reserveBalance",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[ReserveBalance],
    openapi_extra=LIST_QUERY,
    summary="List what is set apart",
)
def reservations(request: Request, desk: AtDesk, caller: By) -> Response:
    """What is set apart now, of one subscriber (`logicalResource.id` a number or reference) or of all."""
    port = reservations_of(desk)
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    listing, said = listing_of(request).take(*PERSON)
    words = [word for word in (desk.people.word(each) for each in said) if word is not None]
    found = [each for word in words for each in port.of(word)] if said else port.of(None)
    page = gather(listing, (_item(request, desk, each, full=full) for each in found), SCANNED_MAX)
    for word in words:
        desk.saw(caller, "read_reserveBalance", word)
    if not words:
        desk.saw(caller, "read_reserveBalance", detail=f"{len(page.items)} of everyone")
        if full:
            for word in sorted({each.subscriber for each in found}):
                desk.saw(caller, "read_reserveBalance", word, "full")
    return answer_list(listing, page)


@routes.get(
    f"{API}/reserveBalance/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=ReserveBalance,
    openapi_extra=ONE_QUERY,
    summary="Get what is set apart",
)
def reservation(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002 - the path's name
    """One reservation, while it lasts."""
    found = _found(desk, id)
    desk.saw(caller, "read_reserveBalance", found.subscriber, id)
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    return ExactResponse(chosen(_item(request, desk, found, full=full), fields_of(request)))


@routes.delete(
    f"{API}/reserveBalance/{{id}}",
    status_code=204,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    summary="Give back what was set apart",
)
def release(desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002
    """From now on it may be promised and set apart again."""
    found = _found(desk, id)
    desk.saw(caller, "release", found.subscriber, f"{found.balance} {found.amount} {found.name}")
    try:
        released = reservations_of(desk).release(found.subscriber, found.name)
    except ports.NotReserved as error:
        raise not_reserved(error) from error
    if not released:
        raise Problem(404, "not_found", "There is nothing with this id.")
    return Response(status_code=204)


def _found(desk: Desk, name: str) -> Reservation:
    """A reservation by its id: the subscriber's reference and its name."""
    port = reservations_of(desk)
    reference, _, rest = name.partition(".")
    word = desk.people.word(reference) if reference.startswith("~") else None
    for each in port.of(word) if word is not None else ():
        if each.name == rest and each.subscriber == word:
            return each
    raise Problem(404, "not_found", "There is nothing with this id.")


def _bucket_of(desk: Desk, order: ReserveBalanceCreate) -> tuple[int, str]:
    """Whose bucket is meant, and its balance; everything that names the subscriber names the same one."""
    named = [each.id for each in (*order.logical_resource, *filter(None, [order.party_account]))]
    balance, known = order.bucket.id, desk.catalogue().balances
    if balance.startswith("~"):
        reference, _, key = balance.partition(".")
        named.append(reference)
        balance = key if key in known else key.rpartition(".")[0]
    words = {desk.people.word(each) for each in named}
    word = next(iter(words), None)
    if len(words) != 1 or word is None:
        raise Problem(
            400,
            "whose_bucket",
            "Name one subscriber, by number or reference, in bucket.id, partyAccount.id or logicalResource.id.",
        )
    if not balance or balance not in known:
        raise Problem(400, "unknown_bucket", "bucket.id is one that /bucket lists, or the name of a balance.")
    if len(desk.account(word)) == 0:
        raise Problem(
            400, "unknown_subscriber", "There is no such subscriber. Check the number, with its country code."
        )
    if desk.catalogue().members.account_of(word)[1]:
        raise Problem(
            409, "member_of_account", "Only the owner of a shared account may set something of it apart."
        )
    return word, balance


def _until_us(order: ReserveBalanceCreate, now_us: int) -> int:
    end = order.valid_for.end_date_time if order.valid_for else None
    if end is None:
        return now_us + DEFAULT_US
    until_us = moment_us(end)
    if not now_us < until_us <= now_us + LONGEST_US:
        raise Problem(400, "bad_time", "validFor.endDateTime is within 31 days from now.")
    return until_us


def _item(request: Request, desk: Desk, kept: Reservation, *, full: bool) -> dict[str, Any]:
    """A reservation in the words of TMF654."""
    root, catalogue = base_url(request) + API, desk.catalogue()
    unit = Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(kept.balance)]))
    reference, moment = desk.people.reference(kept.subscriber), micro_text(kept.time_us)
    name, bucket = f"{reference}.{kept.name}", f"{reference}.{kept.balance}"
    return {
        "id": name,
        "href": f"{root}/reserveBalance/{name}",
        "status": "completed",
        "requestedDate": moment,
        "confirmationDate": moment,
        "amount": quantity(kept.amount, unit, catalogue.currency),
        "usageType": USAGE_TYPES[unit],
        "bucket": {"id": bucket, "href": f"{root}/bucket/{bucket}", "name": kept.balance},
        "logicalResource": [
            {
                "id": reference,
                "name": desk.people.show(kept.subscriber, full=full),
                "@referredType": "MSISDN",
            }
        ],
        "partyAccount": {"id": reference, "@referredType": "PartyAccount"},
        "validFor": {"startDateTime": moment, "endDateTime": micro_text(kept.until_us)},
        "@type": "ReserveBalance",
    }
