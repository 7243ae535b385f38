"""One person: balances, usage, ledger entries, top-ups. Every look and every change is written down first.

A number may stand in the address, but need not: POST …/find trades it for a reference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query

from trunkline.api.access import MOVE_MONEY, READ_PERSON
from trunkline.api.balances import account_view, sharing_view
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.movements import book
from trunkline.api.problems import Problem
from trunkline.api.shapes import (
    AccountAnswer,
    EntriesAnswer,
    FindOrder,
    MovementAnswer,
    Person,
    TopUpOrder,
    UsageAnswer,
)
from trunkline.api.shown import entry_rows, person, usage_rows
from trunkline.api.v1.overview import Limit, Numbers, Offset
from trunkline.kernel.grouped import Rows
from trunkline.records.charging import NEVER_S, Cause

routes = APIRouter(tags=["subscribers"], dependencies=[])

Said = Annotated[str, Path(max_length=40, description="A number in international form, or a reference.")]
FromUs = Annotated[int, Query(ge=0, le=2**62, description="Usage that began at or after this, in us UTC.")]
UntilUs = Annotated[int, Query(ge=0, le=2**62, description="Usage that began before this, in us UTC.")]
FOREVER_US = 2**62


def account_of(desk: Desk, word: int) -> Rows:
    """The rows of an account; answers 404 when there is none."""
    rows = desk.account(word)
    if len(rows) == 0:
        raise Problem(
            404, "unknown_subscriber", "No such subscriber. Check the number, with its country code."
        )
    return rows


@routes.post(
    "/api/v1/subscribers/find",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=Person,
    summary="Find a subscriber",
)
def find(
    desk: AtDesk, caller: By, order: Annotated[FindOrder, Depends(JsonBody(FindOrder))]
) -> dict[str, str]:
    """The reference of a number, to use in addresses instead of it."""
    word = desk.subscriber(order.number)
    desk.saw(caller, "find", word)
    account_of(desk, word)
    return person(desk.people, word, full=False)


@routes.get(
    "/api/v1/subscribers/{subscriber}/balances",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=AccountAnswer,
    summary="Balances",
)
def balances(desk: AtDesk, caller: By, subscriber: Said, numbers: Numbers = "masked") -> dict[str, Any]:
    """Plans, balances and counters of a subscriber."""
    full = wants_full(caller, numbers)
    word = desk.subscriber(subscriber)
    desk.saw(caller, "read_balances", word, numbers)
    rows = account_of(desk, word)
    view = account_view(rows, desk.catalogue(), desk.now_us()) | sharing_view(desk, word, rows, full=full)
    view["can_redeem"], view["can_reserve"] = desk.vouchers is not None, desk.reservations is not None
    if desk.transfers is None:
        view["can_transfer"] = []  # the two accounts may lie with different processes
    if view["owner"] is not None and desk.catalogue().members.account_of(word)[0] != word:
        view |= {"can_top_up": [], "can_transfer": [], "can_redeem": False}  # money is moved for the owner
    return {"subscriber": person(desk.people, word, full=full), **view}


@routes.get(
    "/api/v1/subscribers/{subscriber}/usage",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=UsageAnswer,
    summary="Usage",
)
def usage(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    from_us: FromUs = 0,
    until_us: UntilUs = FOREVER_US,
    limit: Limit = 50,
    offset: Offset = 0,
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """What a subscriber used and what it cost, newest first."""
    full = wants_full(caller, numbers)
    word = desk.subscriber(subscriber)
    desk.saw(caller, "read_usage", word, numbers)
    account_of(desk, word)
    frame = desk.usage(word, from_us, until_us, limit, offset)
    corrections = desk.reader.corrections_of(frame)
    items = usage_rows(frame, desk.people, full=full, whereabouts=True, corrections=corrections, who=desk.who)
    return {"currency": desk.catalogue().currency, "items": items}


@routes.get(
    "/api/v1/subscribers/{subscriber}/entries",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=EntriesAnswer,
    summary="Ledger entries",
)
def entries(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    from_us: FromUs = 0,
    until_us: UntilUs = FOREVER_US,
    limit: Limit = 50,
    offset: Offset = 0,
) -> dict[str, Any]:
    """How a subscriber's balances came to be what they are, newest first."""
    word = desk.subscriber(subscriber)
    desk.saw(caller, "read_entries", word)
    account_of(desk, word)
    return {"items": entry_rows(desk.entries(word, from_us, until_us, limit, offset))}


@routes.post(
    "/api/v1/subscribers/{subscriber}/topups",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=MovementAnswer,
    summary="Top up a balance",
)
def top_up(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    order: Annotated[TopUpOrder, Depends(JsonBody(TopUpOrder))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:
    """Add to a balance, once for each Idempotency-Key."""
    word = desk.subscriber(subscriber)
    account_of(desk, word)
    until_s = second_of(order.valid_until) if order.valid_until else NEVER_S
    if until_s * 1_000_000 <= desk.now_us():
        raise Problem(400, "invalid_request", "valid_until is in the past.")
    done = book(desk, caller, Cause.TOPUP, word, order.balance, order.amount, until_s, idempotency_key)
    return {
        "movement_id": done.movement.movement_id,
        "status": "repeated" if done.repeated else "booked",
        "balance": done.movement.balance,
        "amount": done.movement.amount,
    }


def second_of(text: str) -> int:
    """The second of an ISO 8601 moment, at most the last one that an account can hold; UTC when no zone is named."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        second = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise Problem(400, "bad_time", "A moment is written like 2026-12-31T23:00:00Z.") from error
    return max(0, min(second, NEVER_S))
