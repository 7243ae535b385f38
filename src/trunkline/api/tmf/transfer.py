"""TMF654 Prepay Balance v4, transferBalance: what one subscriber hands on to another, over the ledger.

A transfer's id is its name in the ledger, which shows no number. Both sides are named by number or reference; both
buckets are of one balance, because nothing is exchanged on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response
from pydantic import Field

from trunkline.api.access import MOVE_MONEY, READ_PERSON, Caller
from trunkline.api.balances import micro_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.exact import ExactResponse
from trunkline.api.problems import Problem
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
)
from trunkline.api.tmf.prepay import API, LIST_QUERY, ONE_QUERY, SCANNED_MAX
from trunkline.api.tmf.quantity import USAGE_TYPES, money, quantity, whole
from trunkline.api.transfers import hand_on, transfers_of
from trunkline.ports import Transfer
from trunkline.records.charging import Unit

A_TURN = 500
CHANNEL = {"id": "trunkline", "name": "trunkline"}
routes = APIRouter(tags=["TMF654 prepay balance"])

Id = Annotated[str, Path(max_length=200)]


class TransferBalanceCreate(shapes.Resource):
    """A transfer to be booked. Buckets may be named by id, or by the name of a balance."""

    amount: shapes.Quantity
    bucket: shapes.Reference
    receiver_bucket: shapes.Reference | None = Field(None, alias="receiverBucket")
    logical_resource: list[shapes.Reference] = Field(
        default_factory=list, alias="logicalResource", max_length=10
    )
    receiver_logical_resource: shapes.Reference | None = Field(None, alias="receiverLogicalResource")
    reason: shapes.Text | None = None
    description: shapes.Text | None = None


class TransferBalance(shapes.Bucket):
    """A transfer that was booked."""


@routes.post(
    f"{API}/transferBalance",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=TransferBalance,
    summary="Hand something on",
)
def create_transfer(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[TransferBalanceCreate, Depends(JsonBody(TransferBalanceCreate))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Both buckets change at one moment, or neither does; once for each Idempotency-Key."""
    transfers_of(desk)
    giver, balance = _side(desk, order.bucket, order.logical_resource, "bucket.id or logicalResource.id")
    named = [order.receiver_logical_resource] if order.receiver_logical_resource else []
    receiver, other = _side(
        desk, order.receiver_bucket, named, "receiverBucket.id or receiverLogicalResource.id"
    )
    catalogue = desk.catalogue()
    if balance not in catalogue.balances or not balance:
        raise Problem(400, "unknown_bucket", "bucket.id is one that /bucket lists, or the name of a balance.")
    if other not in ("", balance):
        raise Problem(
            400, "other_bucket", "Both buckets are of one balance; nothing is exchanged on the way."
        )
    amount = whole(order.amount.amount, order.amount.units, _unit(desk, balance), catalogue.currency)
    if amount <= 0:
        raise Problem(400, "bad_amount", "What is handed on is above zero.")
    done, _ = hand_on(desk, caller, giver, receiver, balance, amount, idempotency_key)
    item = _item(request, desk, done, full=wants_full(caller, request.query_params.get("numbers", "masked")))
    said = {"description": order.description, "reason": order.reason}
    return answer_created({**item, **{name: text for name, text in said.items() if text}})


@routes.get(
    f"{API}/transferBalance",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[TransferBalance],
    openapi_extra=LIST_QUERY,
    summary="List transfers",
)
def transfers(request: Request, desk: AtDesk, caller: By) -> Response:
    """Transfers, of one subscriber (`logicalResource.id` a number or reference) or of all, newest first."""
    transfers_of(desk)
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    listing, said = listing_of(request).take(*PERSON)
    words = [desk.people.word(each) for each in said] if said else [None]
    found = [each for word in words if word is not None or not said for each in _pages(desk, word)]
    items = (_item(request, desk, each, full=full) for each in found)
    page = gather(listing, items, SCANNED_MAX)
    _saw_list(desk, caller, [word for word in words if word is not None], page.items, full=full)
    return answer_list(listing, page)


@routes.get(
    f"{API}/transferBalance/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=TransferBalance,
    openapi_extra=ONE_QUERY,
    summary="Get a transfer",
)
def transfer(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002 - the path's name
    """One transfer."""
    found = transfers_of(desk).found(id)
    if found is None:
        raise Problem(404, "not_found", "There is nothing with this id.")
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    for word in (found.giver, found.receiver):
        desk.saw(caller, "read_transfer", word, id)
    return ExactResponse(chosen(_item(request, desk, found, full=full), fields_of(request)))


def _pages(desk: Desk, word: int | None) -> Iterator[Transfer]:
    port, offset = transfers_of(desk), 0
    while page := port.transfers(word, A_TURN, offset):
        yield from page
        offset += A_TURN


def _saw_list(
    desk: Desk, caller: Caller, words: list[int], items: list[dict[str, Any]], *, full: bool
) -> None:
    """Write down whose transfers were looked at."""
    for word in words:
        desk.saw(caller, "read_transferBalance", word)
    if not words:
        desk.saw(caller, "read_transferBalance", detail=f"{len(items)} of everyone")
    if full:
        sides = (
            item["logicalResource"] + [item["receiverLogicalResource"]] for item in items if "id" in item
        )
        seen = {desk.people.word(side["id"]) for each in sides for side in each}
        for word in sorted(word for word in seen if word is not None and word not in words):
            desk.saw(caller, "read_transferBalance", word, "full")


def _side(
    desk: Desk, bucket: shapes.Reference | None, resources: list[shapes.Reference], where: str
) -> tuple[int, str]:
    """A subscriber and the name of a balance, "" where none is named; what names the subscriber agrees."""
    named = [each.id for each in resources]
    balance = bucket.id if bucket else ""
    if balance.startswith("~"):
        reference, _, key = balance.partition(".")
        named.append(reference)
        known = desk.catalogue().balances
        balance = key if key in known else key.rpartition(".")[0]
    words = {desk.people.word(each) for each in named}
    if len(words) != 1 or None in words:
        raise Problem(400, "whose_bucket", f"Name one subscriber, by number or reference, in {where}.")
    (word,) = words
    assert word is not None, "checked above"
    return word, balance


def _unit(desk: Desk, balance: str) -> Unit:
    catalogue = desk.catalogue()
    if balance not in catalogue.balances:
        return Unit.MONEY
    return Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(balance)]))


def _item(request: Request, desk: Desk, booked: Transfer, *, full: bool) -> dict[str, Any]:
    """A transfer in the words of TMF654."""
    root, unit, currency = base_url(request) + API, _unit(desk, booked.balance), desk.catalogue().currency
    moment = micro_text(booked.time_us)
    resource, bucket = partial(_resource, desk, full=full), partial(_bucket, desk, root, booked.balance)
    return {
        "id": booked.transfer_id,
        "href": f"{root}/transferBalance/{booked.transfer_id}",
        "status": "completed",
        "reason": "transfer",
        "channel": CHANNEL,
        "requestedDate": moment,
        "confirmationDate": moment,
        "amount": quantity(booked.amount, unit, currency),
        "usageType": USAGE_TYPES[unit],
        "bucket": bucket(booked.giver),
        "logicalResource": [resource(booked.giver)],
        "partyAccount": {"id": desk.people.reference(booked.giver), "@referredType": "PartyAccount"},
        "receiverBucket": bucket(booked.receiver),
        "receiverBucketUsageType": USAGE_TYPES[unit],
        "receiverLogicalResource": resource(booked.receiver),
        "costOwner": "originator",
        "transferCost": money(booked.fee_micros, currency),
        "@type": "TransferBalance",
    }


def _resource(desk: Desk, word: int, *, full: bool) -> dict[str, Any]:
    return {
        "id": desk.people.reference(word),
        "name": desk.people.show(word, full=full),
        "@referredType": "MSISDN",
    }


def _bucket(desk: Desk, root: str, balance: str, word: int) -> dict[str, Any]:
    name = f"{desk.people.reference(word)}.{balance}"
    return {"id": name, "href": f"{root}/bucket/{name}", "name": balance}
