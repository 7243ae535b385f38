"""TMF654 Prepay Balance v4 over the ledger: buckets, top-ups, adjustments and their history.

A bucket's id is the subscriber's reference and the balance's key, a movement's id the reference and the
movement's name; both lead back without a look-up table, and neither shows a number.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response

from trunkline.api.access import MOVE_MONEY, READ_PERSON, Caller
from trunkline.api.balances import Balance, balances_of, micro_text, second_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.exact import ExactResponse
from trunkline.api.movements import Booked, book, find, movement_name
from trunkline.api.notices import Notices
from trunkline.api.problems import Problem
from trunkline.api.tmf import paging, shapes
from trunkline.api.tmf.paging import (
    PERSON,
    Found,
    Listing,
    answer_created,
    answer_list,
    base_url,
    chosen,
    fields_of,
    gather,
    listing_of,
    moment_us,
    pages,
)
from trunkline.api.tmf.quantity import USAGE_TYPES, quantity, whole
from trunkline.api.vouchers import redeem, vouchers_of
from trunkline.charging.vouchers import movement_name as voucher_movement
from trunkline.records.charging import NEVER_S, Cause, Unit

API = "/tmf-api/prepayBalanceManagement/v4"
SCANNED_MAX = 20_000
routes = APIRouter(tags=["TMF654 prepay balance"])

Id = Annotated[str, Path(max_length=800)]
_ACTIONS = {Cause.TOPUP: "topupBalance", Cause.VOUCHER: "topupBalance", Cause.ADJUSTMENT: "adjustBalance"}
_TYPES = {
    "topupBalance": "TopupBalance",
    "adjustBalance": "AdjustBalance",
    "balanceActionHistory": "BalanceActionHistory",
}
LIST_QUERY: dict[str, Any] = {
    "parameters": [
        *paging.LIST_QUERY["parameters"],
        {"name": "numbers", "in": "query", "schema": {"type": "string", "enum": ["masked", "full"]}},
    ]
}
ONE_QUERY: dict[str, Any] = {"parameters": [LIST_QUERY["parameters"][0], LIST_QUERY["parameters"][3]]}


class _View:
    """How this caller sees people in this answer."""

    def __init__(self, request: Request, desk: Desk, caller: Caller) -> None:
        self.desk = desk
        self.caller = caller
        self.full = wants_full(caller, request.query_params.get("numbers", "masked"))
        self.root = base_url(request) + API

    def resource(self, word: int) -> dict[str, Any]:
        """The subscriber's number as a logical resource."""
        return {
            "id": self.desk.people.reference(word),
            "name": self.desk.people.show(word, full=self.full),
            "@referredType": "MSISDN",
        }

    def account(self, word: int) -> dict[str, Any]:
        """The subscriber as a party account."""
        return {"id": self.desk.people.reference(word), "@referredType": "PartyAccount"}


@routes.get(
    f"{API}/bucket",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[shapes.Bucket],
    openapi_extra=LIST_QUERY,
    summary="List buckets",
)
def buckets(request: Request, desk: AtDesk, caller: By) -> Response:
    """Balances, of one subscriber (`logicalResource.id` a number or reference) or of all."""
    view = _View(request, desk, caller)
    listing, words = _people(desk, listing_of(request))
    items = (item for word in _words(desk, words) for item in _buckets(view, word))
    return _listed(view, "read_buckets", listing, words, gather(listing, items, SCANNED_MAX))


@routes.get(
    f"{API}/bucket/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=shapes.Bucket,
    openapi_extra=ONE_QUERY,
    summary="Get a bucket",
)
def bucket(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002 - the path's name
    """One balance."""
    view = _View(request, desk, caller)
    word, _ = _parted(desk, id)
    desk.saw(caller, "read_bucket", word)
    return _one(request, (item for item in _buckets(view, word) if item["id"] == id))


@routes.get(
    f"{API}/accumulatedBalance",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[shapes.AccumulatedBalance],
    openapi_extra=LIST_QUERY,
    summary="List accumulated balances",
)
def accumulated_balances(request: Request, desk: AtDesk, caller: By) -> Response:
    """What a subscriber's active balances of each unit hold together."""
    view = _View(request, desk, caller)
    listing, words = _people(desk, listing_of(request))
    items = (item for word in _words(desk, words) for item in _accumulated(view, word))
    return _listed(view, "read_accumulated", listing, words, gather(listing, items, SCANNED_MAX))


@routes.get(
    f"{API}/accumulatedBalance/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=shapes.AccumulatedBalance,
    openapi_extra=ONE_QUERY,
    summary="Get an accumulated balance",
)
def accumulated_balance(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002
    """One sum."""
    view = _View(request, desk, caller)
    word, _ = _parted(desk, id)
    desk.saw(caller, "read_accumulated", word)
    return _one(request, (item for item in _accumulated(view, word) if item["id"] == id))


@routes.get(
    f"{API}/topupBalance",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[shapes.TopupBalance],
    openapi_extra=LIST_QUERY,
    summary="List top-ups",
)
def topups(request: Request, desk: AtDesk, caller: By) -> Response:
    """Top-ups, newest first."""
    return _movements(request, desk, caller, "topupBalance")


@routes.get(
    f"{API}/topupBalance/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=shapes.TopupBalance,
    openapi_extra=ONE_QUERY,
    summary="Get a top-up",
)
def topup(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002
    """One top-up."""
    return _movement(request, desk, caller, "topupBalance", id)


@routes.post(
    f"{API}/topupBalance",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=shapes.TopupBalance,
    summary="Top up",
)
def create_topup(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.TopupBalanceCreate, Depends(JsonBody(shapes.TopupBalanceCreate))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Add to a bucket, once for each Idempotency-Key. The bucket's id may be a balance's name, such as main.

    With `voucher` its code is redeemed: its amount and balance are its own, and `amount` is not looked at.
    """
    if order.is_auto_topup or order.recurring_period:
        raise Problem(
            501, "not_supported", "Automatic and recurring top-ups are not supported; order each one."
        )
    if order.voucher:
        return _redeemed(request, desk, caller, order, order.voucher, idempotency_key)
    if order.amount.amount <= 0:
        raise Problem(
            400, "bad_amount", "A top-up adds: its amount is above zero. Use adjustBalance to take away."
        )
    return _create(request, desk, caller, Cause.TOPUP, order, order.party_account, idempotency_key)


@routes.get(
    f"{API}/adjustBalance",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[shapes.AdjustBalance],
    openapi_extra=LIST_QUERY,
    summary="List adjustments",
)
def adjustments(request: Request, desk: AtDesk, caller: By) -> Response:
    """Adjustments, newest first."""
    return _movements(request, desk, caller, "adjustBalance")


@routes.get(
    f"{API}/adjustBalance/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=shapes.AdjustBalance,
    openapi_extra=ONE_QUERY,
    summary="Get an adjustment",
)
def adjustment(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002
    """One adjustment."""
    return _movement(request, desk, caller, "adjustBalance", id)


@routes.post(
    f"{API}/adjustBalance",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=shapes.AdjustBalance,
    summary="Adjust",
)
def create_adjustment(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.AdjustBalanceCreate, Depends(JsonBody(shapes.AdjustBalanceCreate))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Add to a bucket or take from it, once for each Idempotency-Key."""
    if order.adjust_type != "oneTime":
        raise Problem(501, "not_supported", "Recurring adjustments are not supported; order each one.")
    if order.amount.amount == 0:
        raise Problem(400, "bad_amount", "An adjustment of zero changes nothing.")
    return _create(request, desk, caller, Cause.ADJUSTMENT, order, order.party_account, idempotency_key)


@routes.get(
    f"{API}/balanceActionHistory",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[shapes.BalanceAction],
    openapi_extra=LIST_QUERY,
    summary="List balance actions",
)
def history(request: Request, desk: AtDesk, caller: By) -> Response:
    """Top-ups and adjustments together, newest first."""
    return _movements(request, desk, caller, "balanceActionHistory")


@routes.get(
    f"{API}/balanceActionHistory/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=shapes.BalanceAction,
    openapi_extra=ONE_QUERY,
    summary="Get a balance action",
)
def action(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002
    """One top-up or adjustment."""
    return _movement(request, desk, caller, "balanceActionHistory", id)


# -- people --------------------------------------------------------------------------------------------------


def _people(desk: Desk, listing: Listing) -> tuple[Listing, list[int] | None]:
    """The subscribers that a listing names, taken out of its filters; None when it names none."""
    rest, said = listing.take(*PERSON)
    if not said:
        return listing, None
    return rest, [word for word in (desk.people.word(each) for each in said) if word is not None]


def _words(desk: Desk, words: list[int] | None) -> Iterator[int]:
    """Those subscribers, or all of them."""
    if words is not None:
        yield from words
        return
    after = 0
    while page := desk.reader.subscribers(after, 500):
        yield from page
        after = page[-1]


def _listed(view: _View, doing: str, listing: Listing, words: list[int] | None, found: Found) -> Response:
    """A page of people's data, after writing down whose it is."""
    if words is not None:
        for word in words:
            view.desk.saw(view.caller, doing, word)
    else:
        view.desk.saw(view.caller, doing, detail=f"{len(found.items)} of everyone")
        if view.full:
            for word in sorted({word for item in found.items for word in _concerned(view.desk, item)}):
                view.desk.saw(view.caller, doing, word, "full")
    return answer_list(listing, found)


def _concerned(desk: Desk, item: dict[str, Any]) -> list[int]:
    account = item.get("partyAccount", {}).get("id", "")
    return [word for word in [desk.people.word(account)] if word is not None]


def _one(request: Request, items: Iterator[dict[str, Any]]) -> Response:
    item = next(items, None)
    if item is None:
        raise Problem(404, "not_found", "There is nothing with this id.")
    return ExactResponse(chosen(item, fields_of(request)))


def _parted(desk: Desk, name: str) -> tuple[int, str]:
    """The subscriber and the rest of an id of ours; answers 404 when it is none."""
    reference, dot, rest = name.partition(".")
    word = desk.people.word(reference) if reference.startswith("~") else None
    if word is None or not dot:
        raise Problem(404, "not_found", "There is nothing with this id.")
    return word, rest


# -- buckets -------------------------------------------------------------------------------------------------


def _buckets(view: _View, word: int) -> Iterator[dict[str, Any]]:
    catalogue = view.desk.catalogue()
    rows, reserved = view.desk.account(word), view.desk.reserved(word)
    for balance in balances_of(rows, catalogue, view.desk.now_us(), reserved):
        yield _bucket(view, word, balance, catalogue.currency)


def _bucket(view: _View, word: int, balance: Balance, currency: str) -> dict[str, Any]:
    name = f"{view.desk.people.reference(word)}.{balance.key}"
    period = {"startDateTime": second_text(balance.from_s), "endDateTime": second_text(balance.until_s)}
    return {
        "id": name,
        "href": f"{view.root}/bucket/{name}",
        "name": balance.name,
        "isShared": balance.shared,
        "usageType": USAGE_TYPES[balance.unit],
        "status": "expired" if balance.state == "expired" else "active",
        "remainingValue": quantity(balance.left, balance.unit, currency),
        "reservedValue": quantity(balance.reserved, balance.unit, currency),
        "validFor": {key: value for key, value in period.items() if value},
        "logicalResource": [view.resource(word)],
        "partyAccount": view.account(word),
        "@type": "Bucket",
    }


def _accumulated(view: _View, word: int) -> Iterator[dict[str, Any]]:
    catalogue = view.desk.catalogue()
    account = balances_of(view.desk.account(word), catalogue, view.desk.now_us())
    for unit in Unit:
        parts = [balance for balance in account if balance.unit is unit and balance.state == "active"]
        if not parts:
            continue
        reference = view.desk.people.reference(word)
        name = f"{reference}.{unit.name.lower()}"
        yield {
            "id": name,
            "href": f"{view.root}/accumulatedBalance/{name}",
            "name": unit.name.lower(),
            "totalBalance": quantity(sum(each.left for each in parts), unit, catalogue.currency),
            "bucket": [
                {
                    "id": f"{reference}.{each.key}",
                    "href": f"{view.root}/bucket/{reference}.{each.key}",
                    "name": each.name,
                }
                for each in parts
            ],
            "logicalResource": view.resource(word),
            "partyAccount": view.account(word),
            "@type": "AccumulatedBalance",
        }


# -- movements -----------------------------------------------------------------------------------------------


def _create(
    request: Request,
    desk: Desk,
    caller: Caller,
    cause: Cause,
    order: shapes.MovementCreate,
    account: shapes.Reference | None,
    key: str | None,
) -> Response:
    view = _View(request, desk, caller)
    word, balance = _target(desk, order, account)
    catalogue = desk.catalogue()
    if balance not in catalogue.balances or not balance:
        raise Problem(
            400, "unknown_bucket", "The bucket's id is one that /bucket lists, or the name of a balance."
        )
    unit = Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(balance)]))
    amount = whole(order.amount.amount, order.amount.units, unit, catalogue.currency)
    until_s = _until_s(desk, order)
    resource = _ACTIONS[cause]
    notices: Notices = request.app.state.notices
    key = key if key is not None else movement_name(caller, None)
    row = {
        "movement_id": movement_name(caller, key),
        "cause": int(cause),
        "subscriber": word,
        "time_us": desk.now_us(),
        "balance": balance,
        "amount": amount,
        "valid_until_s": until_s,
        "status": "booked",
        "reason": "",
    }
    event_type = f"{_TYPES[resource]}CreateEvent"
    event = {"eventTime": micro_text(desk.now_us()), "event": {resource: _action(view, row, resource)}}
    prepared = notices.prepare(
        "prepayBalanceManagement", event_type, f"movement:{row['movement_id']}", word, event
    )
    done = _booked(desk, caller, cause, row, key, notices, prepared)
    item = _action(view, {**row, "time_us": done.movement.time_us}, resource)
    extra = {"description": order.description, "reason": order.reason}
    return answer_created({**item, **{name: text for name, text in extra.items() if text}})


def _redeemed(
    request: Request, desk: Desk, caller: Caller, order: shapes.TopupBalanceCreate, code: str, key: str | None
) -> Response:
    """Redeem a voucher; the notice of it goes out when it is done now and for the first time."""
    vouchers_of(desk)
    view = _View(request, desk, caller)
    word, _ = _target(desk, order, order.party_account)
    key = key if key is not None else movement_name(caller, None)
    done, repeated = redeem(desk, caller, word, code, key)
    row = {
        "movement_id": voucher_movement(done.batch, done.number, movement_name(caller, key)),
        "cause": int(Cause.VOUCHER),
        **{
            name: getattr(done, name)
            for name in ("subscriber", "time_us", "balance", "amount", "valid_until_s")
        },
        "status": "booked",
        "reason": "",
    }
    item = _action(view, row, "topupBalance")
    if not repeated:
        notices: Notices = request.app.state.notices
        event = {"eventTime": micro_text(done.time_us), "event": {"topupBalance": item}}
        event_type = "TopupBalanceCreateEvent"
        notices.release(
            notices.prepare(
                "prepayBalanceManagement", event_type, f"movement:{row['movement_id']}", word, event
            )
        )
    extra = {"description": order.description, "reason": order.reason}
    return answer_created({**item, **{name: text for name, text in extra.items() if text}})


def _booked(
    desk: Desk,
    caller: Caller,
    cause: Cause,
    row: dict[str, Any],
    key: str,
    notices: Notices,
    prepared: list[int],
) -> Booked:
    """Book, and let the prepared notices go only when it is done now and for the first time."""
    try:
        done = book(
            desk, caller, cause, row["subscriber"], row["balance"], row["amount"], row["valid_until_s"], key
        )
    except BaseException:
        notices.drop(prepared)
        raise
    (notices.drop if done.repeated else notices.release)(prepared)
    return done


def _target(desk: Desk, order: shapes.MovementCreate, account: shapes.Reference | None) -> tuple[int, str]:
    """Whose balance is meant, and its name; everything that names the subscriber must name the same one."""
    named = [reference.id for reference in [*order.logical_resource, *([account] if account else [])]]
    balance = order.bucket.id
    if balance.startswith("~"):
        reference, _, key = balance.partition(".")
        named.append(reference)
        balance = _balance_name(desk, key)
    words = {desk.people.word(each) for each in named}
    if len(words) != 1 or None in words:
        raise Problem(
            400,
            "whose_bucket",
            "Name one subscriber, by number or reference, in bucket.id, partyAccount.id or logicalResource.id.",
        )
    (word,) = words
    assert word is not None, "checked above"
    if len(desk.account(word)) == 0:
        raise Problem(
            400, "unknown_subscriber", "There is no such subscriber. Check the number, with its country code."
        )
    return word, balance


def _balance_name(desk: Desk, key: str) -> str:
    """The balance's name in a bucket's key, which may end in a period or validity."""
    if key in desk.catalogue().balances:
        return key
    return key.rpartition(".")[0]


def _until_s(desk: Desk, order: shapes.MovementCreate) -> int:
    end = order.valid_for.end_date_time if order.valid_for else None
    if end is None:
        return NEVER_S
    until_s = min(moment_us(end) // 1_000_000, NEVER_S)
    if until_s * 1_000_000 <= desk.now_us():
        raise Problem(400, "bad_time", "validFor.endDateTime is in the past.")
    return until_s


def _movements(request: Request, desk: Desk, caller: Caller, resource: str) -> Response:
    view = _View(request, desk, caller)
    listing, words = _people(desk, listing_of(request))
    items = (
        _action(view, row, resource)
        for row in _booked_rows(desk, words)
        if resource in (_ACTIONS.get(row["cause"]), "balanceActionHistory")
    )
    return _listed(view, f"read_{resource}", listing, words, gather(listing, items, SCANNED_MAX))


def _booked_rows(desk: Desk, words: list[int] | None) -> Iterator[dict[str, Any]]:
    """Top-ups and adjustments of those subscribers, or of all, newest first."""
    for word in [None] if words is None else words:
        for row in pages(partial(desk.reader.movements, word)):
            if row["cause"] in _ACTIONS:
                yield row


def _movement(request: Request, desk: Desk, caller: Caller, resource: str, name: str) -> Response:
    view = _View(request, desk, caller)
    word, rest = _parted(desk, name)
    desk.saw(caller, f"read_{resource}", word)
    row = find(desk, word, _unpacked(rest))
    if row is None or (resource != "balanceActionHistory" and _ACTIONS.get(row["cause"]) != resource):
        raise Problem(404, "not_found", "There is nothing with this id.")
    return ExactResponse(chosen(_action(view, row, resource), fields_of(request)))


def _action(view: _View, row: dict[str, Any], resource: str) -> dict[str, Any]:
    """A movement as one of the three resources that show it."""
    catalogue, word = view.desk.catalogue(), row["subscriber"]
    known = row["balance"] in catalogue.balances
    unit = (
        Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(row["balance"])]))
        if known
        else Unit.MONEY
    )
    reference, moment = view.desk.people.reference(word), micro_text(row["time_us"])
    name = f"{reference}.{_packed(row['movement_id'])}"
    bucket = f"{reference}.{row['balance']}"
    item: dict[str, Any] = {
        "id": name,
        "href": f"{view.root}/{resource}/{name}",
        "status": "completed" if row["status"] == "booked" else "failed",
        "requestedDate": moment,
        "confirmationDate": moment,
        "amount": quantity(row["amount"], unit, catalogue.currency),
        "usageType": USAGE_TYPES[unit],
        "bucket": {"id": bucket, "href": f"{view.root}/bucket/{bucket}", "name": row["balance"]},
        "logicalResource": [view.resource(word)],
        "partyAccount": view.account(word),
        "@type": _TYPES[resource],
    }
    if row["cause"] == Cause.VOUCHER:
        item["voucher"] = "-".join(row["movement_id"].split(":")[1:3])  # batch and number, never the code
    if row["status"] != "booked":
        item["reason"] = row["reason"] or "refused"
    until = second_text(row["valid_until_s"])
    if until:
        item["validFor"] = {"endDateTime": until}
    if resource == "balanceActionHistory":
        item["receiverLogicalResource"] = view.resource(word)
        item["@type"] = "BalanceActionHistory"
    return item


def _packed(movement_id: str) -> str:
    return base64.urlsafe_b64encode(movement_id.encode()).decode().rstrip("=")


def _unpacked(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise Problem(404, "not_found", "There is nothing with this id.") from error
