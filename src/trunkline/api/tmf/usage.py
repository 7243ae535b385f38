"""TMF635 Usage Management v4 over charged usage: what was used, what it cost, and handing in more.

A usage's id is its identity, (source, record id), so it is known from the moment it is handed in. Until it
is charged it is `received`; set aside, it is `rejected`, with the reason.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import Response

from trunkline import ports
from trunkline.api.access import HAND_IN, READ_PERSON, READ_TARIFFS, Caller
from trunkline.api.balances import micro_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.exact import ExactResponse, write_json
from trunkline.api.notices import Notices
from trunkline.api.people import People
from trunkline.api.problems import Problem
from trunkline.api.tmf import shapes
from trunkline.api.tmf.paging import (
    Filter,
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
)
from trunkline.api.tmf.prepay import LIST_QUERY, ONE_QUERY
from trunkline.api.tmf.quantity import money
from trunkline.kernel import dial
from trunkline.records.usage import UNIT_OF_KIND, Direction, Kind

API = "/tmf-api/usageManagement/v4"
SCANNED_MAX = 50_000
A_TURN = 1000
LOOKED_AT = 1000
FOREVER_US = 2**62
SOURCE = "tmf635"
routes = APIRouter(tags=["TMF635 usage"])

Id = Annotated[str, Path(max_length=1500)]

# Attributes that usage may carry on its way in: the fields of our own schema, which the mapping `trunkline` reads.
CHARACTERISTICS: dict[str, tuple[str, str, str]] = {
    "source": ("string", "The system that made the record.", "all"),
    "id": ("string", "The record's name within its source.", "all"),
    "direction": ("string", "originating or terminating.", "all"),
    "calling": ("string", "The calling number.", "voice sms"),
    "called": ("string", "The called number.", "voice sms"),
    "duration_ms": ("number", "How long it lasted, in ms.", "voice"),
    "octets_up": ("number", "Octets from the subscriber.", "data"),
    "octets_down": ("number", "Octets to the subscriber.", "data"),
    "events": ("number", "Messages or events.", "sms iot content"),
    "visited_plmn": ("string", "MCC and MNC of the visited network.", "all"),
    "cell": ("string", "Cell where it began.", "all"),
    "snssai": ("string", "The slice, such as 1-000001.", "data"),
    "five_qi": ("number", "5QI of the flow.", "data"),
    "service": ("string", "DNN or APN, IoT event type, content category.", "data iot content"),
    "session": ("string", "The session's name.", "data"),
    "report": ("string", "start, interim or stop.", "data"),
    "session_start": ("dateTime", "When the session began.", "data"),
    "amount": ("string", "The price that the record brings.", "content"),
    "currency": ("string", "Its currency.", "content"),
    "cause": ("string", "Why it ended.", "all"),
}


@routes.get(
    f"{API}/usage",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=list[shapes.Usage],
    openapi_extra=LIST_QUERY,
    summary="List usage",
)
def usages(request: Request, desk: AtDesk, caller: By) -> Response:
    """Charged usage, newest first; narrow it by `relatedParty.id` and `usageDate.gte`, which are cheap."""
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    listing, said = listing_of(request).take("relatedParty.id")
    words = [word for word in map(desk.people.word, said) if word is not None]
    listing, from_us, until_us = _times(listing)
    whose: list[int | None] = list(words) if said else [None]
    root = base_url(request) + API
    rows = (
        _item(row, desk, root, full=full) for word in whose for row in _rows(desk, word, from_us, until_us)
    )
    found = gather(listing, rows, SCANNED_MAX)
    if not said and not listing.filters and (from_us, until_us) == (0, FOREVER_US):
        rated = sum(each.rated for each in desk.reader.accounting())
        found = Found(found.items, max(found.total, rated), found.exact)
    _write_down(desk, caller, words if said else None, found, full=full)
    return answer_list(listing, found)


@routes.get(
    f"{API}/usage/{{id}}",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=shapes.Usage,
    openapi_extra=ONE_QUERY,
    summary="Get usage",
)
def usage(request: Request, desk: AtDesk, caller: By, id: Id) -> Response:  # noqa: A002 - the path's name
    """One use: rated, or still received, or rejected."""
    full = wants_full(caller, request.query_params.get("numbers", "masked"))
    source, record_id = _unpacked(id)
    frame = desk.reader.usage_record(source, record_id)
    root = base_url(request) + API
    if len(frame):
        row = frame.row(0, named=True)
        desk.saw(caller, "read_usage", row["subscriber"])
        item = _item(row, desk, root, full=full)
    else:
        desk.saw(caller, "read_usage", detail="not charged")
        item = _set_aside(desk, source, record_id, root)
    return ExactResponse(chosen(item, fields_of(request)))


@routes.post(
    f"{API}/usage",
    status_code=201,
    dependencies=[Depends(Needs(HAND_IN))],
    response_model=shapes.Usage,
    summary="Hand in usage",
)
def create_usage(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.UsageCreate, Depends(JsonBody(shapes.UsageCreate))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Durable when answered; `rated` when it was charged at once, else `received` until it is."""
    record = _record(desk, order, idempotency_key)
    source, record_id = record["source"], record["id"]
    item = _received(source, record_id, record["start"], record["type"], base_url(request) + API)
    notices: Notices = request.app.state.notices
    event = {"eventTime": micro_text(desk.now_us()), "event": {"usage": item}}
    thing = f"usage:{source}\0{record_id}"
    prepared = notices.prepare("usageManagement", "UsageCreateEvent", thing, 0, event)
    desk.saw(caller, "hand_in_usage", desk.people.word(record["subscriber"]) or 0)
    try:
        desk.intake.usage("trunkline", write_json(record) + b"\n")
    except BaseException as error:
        notices.drop(prepared)
        if isinstance(error, ports.Refused):
            raise Problem(400, "refused", str(error)) from error
        raise
    notices.release(prepared)
    desk.metrics.posted.labels("trunkline").inc()
    return answer_created(_awaited(desk, source, record_id, base_url(request) + API) or item)


@routes.get(
    f"{API}/usageSpecification",
    dependencies=[Depends(Needs(READ_TARIFFS))],
    response_model=list[shapes.UsageSpecification],
    openapi_extra=LIST_QUERY,
    summary="List usage specifications",
)
def specifications(request: Request) -> Response:
    """The kinds of usage and the attributes of each."""
    listing = listing_of(request)
    return answer_list(listing, gather(listing, _specifications(base_url(request) + API), SCANNED_MAX))


@routes.get(
    f"{API}/usageSpecification/{{id}}",
    dependencies=[Depends(Needs(READ_TARIFFS))],
    response_model=shapes.UsageSpecification,
    openapi_extra=ONE_QUERY,
    summary="Get a usage specification",
)
def specification(request: Request, id: Id) -> Response:  # noqa: A002
    """One kind of usage."""
    item = next((each for each in _specifications(base_url(request) + API) if each["id"] == id), None)
    if item is None:
        raise Problem(404, "not_found", "The kinds of usage are voice, sms, data, iot and content.")
    return ExactResponse(chosen(item, fields_of(request)))


# -- reading -------------------------------------------------------------------------------------------------


def _times(listing: Listing) -> tuple[Listing, int, int]:
    """The span of usageDate that a listing asks for, taken out of its filters."""
    from_us, until_us = 0, FOREVER_US
    rest: list[Filter] = []
    for each in listing.filters:
        if (
            each.name != "usageDate"
            or each.compare not in ("gt", "gte", "lt", "lte")
            or len(each.values) != 1
        ):
            rest.append(each)
            continue
        moment = moment_us(each.values[0])
        if each.compare in ("gt", "gte"):
            from_us = max(from_us, moment + (each.compare == "gt"))
        else:
            until_us = min(until_us, moment + (each.compare == "lte"))
    narrowed = Listing(listing.fields, listing.offset, listing.limit, listing.numbers, tuple(rest))
    return narrowed, max(0, from_us), max(0, until_us)


def _rows(desk: Desk, word: int | None, from_us: int, until_us: int) -> Iterator[dict[str, Any]]:
    """Charged usage, newest first, read page by page."""
    offset = 0
    while True:
        frame = desk.usage(word, from_us, until_us, A_TURN, offset)
        yield from frame.iter_rows(named=True)
        if len(frame) < A_TURN:
            return
        offset += A_TURN


def _write_down(desk: Desk, caller: Caller, words: list[int] | None, found: Found, *, full: bool) -> None:
    """Audit a list: the people it was asked for, or everyone; in full, everyone whose number is shown."""
    if words is not None:
        for word in words:
            desk.saw(caller, "read_usage", word)
        return
    desk.saw(caller, "read_usage", detail=f"{len(found.items)} of everyone")
    if full:
        concerned = {party["id"] for item in found.items for party in item["relatedParty"]}
        for word in sorted(word for word in map(desk.people.word, concerned) if word is not None):
            desk.saw(caller, "read_usage", word, "full")


def _item(row: dict[str, Any], desk: Desk, root: str, *, full: bool) -> dict[str, Any]:
    """A row of charged usage as TM Forum writes it."""
    kind, currency, people = Kind(row["kind"]), desk.catalogue().currency, desk.people
    name = packed(row["source"], row["record_id"])
    return {
        "id": name,
        "href": f"{root}/usage/{name}",
        "usageDate": micro_text(row["start_us"]),
        "usageType": kind.name.lower(),
        "status": "rated",
        "description": f"{kind.name.lower()} to {row['destination']}"
        if row["destination"]
        else kind.name.lower(),
        "relatedParty": [_party(people, row["subscriber"], full=full)],
        "ratedProductUsage": [
            {
                "isBilled": False,
                "ratingAmountType": "Total",
                "usageRatingTag": "late" if row["late"] else "usage",
                "taxExcludedRatingAmount": money(row["charged_micros"], currency),
                "bucketValueConvertedInAmount": money(row["list_micros"] - row["charged_micros"], currency),
                "productRef": {"id": row["plan"] or "-", "name": (row["plan"] or "").partition("@")[0]},
            }
        ],
        "usageCharacteristic": list(_characteristics(row, kind, people, full=full)),
        "usageSpecification": _specification_reference(kind, root),
        "@type": "Usage",
    }


def _party(people: People, word: int, *, full: bool) -> dict[str, str]:
    return {
        "id": people.reference(word),
        "name": people.show(word, full=full),
        "role": "subscriber",
        "@referredType": "Individual",
    }


def _characteristics(
    row: dict[str, Any], kind: Kind, people: People, *, full: bool
) -> Iterator[dict[str, Any]]:
    values: dict[str, Any] = {
        "source": row["source"],
        "direction": Direction(row["direction"]).name.lower(),
        "units": row["units"],
        "unit": UNIT_OF_KIND[kind],
        "allowance_units": row["allowance_units"],
        "calling": people.show(row["calling"] or 0, full=full),
        "called": people.show(row["called"] or 0, full=full),
        "destination": row["destination"] or "",
        "service": row["service"] or "",
        "cell": (row["cell"] or "") if full else "",
        "session": row["session"] or "",
        "cause": row["cause"] or "",
        "visited_plmn": row["visited_plmn"] or 0,
    }
    for name, value in values.items():
        if value not in ("", 0) or name in ("units", "allowance_units"):
            yield {
                "name": name,
                "value": value,
                "valueType": "number" if isinstance(value, int) else "string",
            }


def _specification_reference(kind: Kind, root: str) -> dict[str, str]:
    name = kind.name.lower()
    return {"id": name, "href": f"{root}/usageSpecification/{name}", "name": name}


def _received(source: str, record_id: str, moment: str, kind: str, root: str) -> dict[str, Any]:
    name = packed(source, record_id)
    item = {
        "id": name,
        "href": f"{root}/usage/{name}",
        "usageType": kind,
        "status": "received",
        "usageSpecification": _specification_reference(Kind[kind.upper()], root),
        "@type": "Usage",
    }
    return {**item, "usageDate": moment} if moment else item


def _set_aside(desk: Desk, source: str, record_id: str, root: str) -> dict[str, Any]:
    """Usage that is not charged: rejected or held, as far as the newest of those tell; answers 404 otherwise."""
    name = packed(source, record_id)
    item = {"id": name, "href": f"{root}/usage/{name}", "@type": "Usage"}
    for row in desk.reader.rejects(None, LOOKED_AT).iter_rows(named=True):
        if row["source"] == source and _id_in(row["raw"]) == record_id:
            return {
                **item,
                "status": "rejected",
                "description": f"{row['reason']}: {row['detail'] or ''}".rstrip(": "),
            }
    for row in desk.reader.held(LOOKED_AT).iter_rows(named=True):
        if (row["source"], row["record_id"]) == (source, record_id):
            return {**item, "status": "received", "description": "waits for a person to decide a conflict"}
    raise Problem(404, "not_found", "There is no usage with this id, or it is not charged yet.")


def _id_in(raw: bytes | None) -> str:
    try:
        said = orjson.loads(raw or b"")
    except ValueError:
        return ""
    return str(said.get("id", "")) if isinstance(said, dict) else ""


# -- handing in ----------------------------------------------------------------------------------------------


def _record(desk: Desk, order: shapes.UsageCreate, key: str | None) -> dict[str, Any]:
    """The usage as a record of our own schema; answers 400 where it cannot be one."""
    kind = order.usage_type.lower()
    if kind.upper() not in Kind.__members__:
        raise Problem(400, "unknown_kind", "usageType is voice, sms, data, iot or content.")
    if not re.match(r"\d{4}-\d\d-\d\dT", order.usage_date):
        raise Problem(400, "bad_time", "usageDate is written like 2026-11-21T08:15:30Z.")
    moment = order.usage_date
    moment_us(moment)
    if datetime.fromisoformat(moment).tzinfo is None:
        moment += "Z"
    record: dict[str, Any] = {"type": kind, "subscriber": _payer(desk, order), "start": moment}
    for each in order.usage_characteristic:
        if each.name not in CHARACTERISTICS:
            raise Problem(
                400, "unknown_characteristic", f"usageSpecification/{kind} lists the characteristics."
            )
        if not isinstance(each.value, (str, int, Decimal)) or isinstance(each.value, bool):
            raise Problem(400, "bad_characteristic", f"{each.name} is text or a number.")
        record[each.name] = each.value
    record["source"] = str(record.get("source") or SOURCE)
    record["id"] = str(record.get("id") or key or secrets.token_hex(12))
    if len(record["id"]) > 400 or len(record["source"]) > 100 or "\0" in record["id"] + record["source"]:
        raise Problem(400, "bad_characteristic", "id has at most 400 characters and source at most 100.")
    return record


def _payer(desk: Desk, order: shapes.UsageCreate) -> str:
    """The number that pays: of the party with the role `subscriber`, or of the only one; a reference will do."""
    parties = [each for each in order.related_party if each.role == "subscriber"] or order.related_party
    if len(parties) != 1:
        raise Problem(
            400, "missing_subscriber", "relatedParty names the paying number, with the role subscriber."
        )
    said = parties[0].id
    word = desk.people.word(said) if said.startswith("~") else None
    return dial.to_text(word) or said if word is not None else said


def _awaited(desk: Desk, source: str, record_id: str, root: str) -> dict[str, Any] | None:
    """The usage once it is charged, if that happens within the patience of the options."""
    until_s = time.monotonic() + desk.options.usage_wait_s
    while True:
        frame = desk.reader.usage_record(source, record_id)
        if len(frame):
            return _item(frame.row(0, named=True), desk, root, full=False)
        if time.monotonic() >= until_s:
            return None
        time.sleep(0.02)


# -- specifications ------------------------------------------------------------------------------------------


def _specifications(root: str) -> Iterator[dict[str, Any]]:
    for kind in Kind:
        name = kind.name.lower()
        yield {
            "id": name,
            "href": f"{root}/usageSpecification/{name}",
            "name": name,
            "description": f"{name}, measured in {UNIT_OF_KIND[kind]}",
            "isBundle": False,
            "lifecycleStatus": "Active",
            "version": "1",
            "specCharacteristic": [
                {"name": field, "description": text, "valueType": type_, "configurable": True}
                for field, (type_, text, kinds) in CHARACTERISTICS.items()
                if kinds == "all" or name in kinds.split()
            ],
            "@type": "UsageSpecification",
        }


# -- ids -----------------------------------------------------------------------------------------------------


def packed(source: str, record_id: str) -> str:
    """The id of usage: its identity in letters that an address can hold."""
    return base64.urlsafe_b64encode(f"{source}\0{record_id}".encode()).decode().rstrip("=")


def _unpacked(name: str) -> tuple[str, str]:
    try:
        text = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise Problem(404, "not_found", "There is no usage with this id.") from error
    source, parted, record_id = text.partition("\0")
    if not parted:
        raise Problem(404, "not_found", "There is no usage with this id.")
    return source, record_id
