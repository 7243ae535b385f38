"""Calls that are told in parts and not over, of all accounts: what came of each, and which parts are missing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from trunkline.api.access import WATCH
from trunkline.api.balances import call_view
from trunkline.api.desk import AtDesk, By, Needs, wants_full
from trunkline.api.shapes import CallRow, Person
from trunkline.api.shown import person
from trunkline.api.under_way import calls_after
from trunkline.api.v1.overview import Limit, Numbers

routes = APIRouter(tags=["charging"])


class AccountCallRow(CallRow):
    """A call under way, and whose it is."""

    subscriber: Person


class CallsAnswer(BaseModel):
    """Calls under way, account by account."""

    currency: str
    items: list[AccountCallRow]
    next: str | None = Field(
        description="Give it as `after` for those that follow; null when there are no more."
    )


@routes.get(
    "/api/v1/calls",
    dependencies=[Depends(Needs(WATCH))],
    response_model=CallsAnswer,
    summary="Calls that are told in parts and not over",
)
def calls(
    desk: AtDesk,
    caller: By,
    after: Annotated[str | None, Query(max_length=40, description="`next` of the answer before.")] = None,
    missing: Annotated[bool, Query(description="Only those of which parts are missing.")] = False,  # noqa: FBT002
    limit: Limit = 100,
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """Of all accounts, in their order. A page holds whole accounts, so it may be empty, or longer than its limit."""
    full = wants_full(caller, numbers)
    if full:
        desk.saw(caller, "read_calls", 0, numbers)
    word = desk.subscriber(after) if after is not None else 0
    found, following = calls_after(desk.reader, word, limit, only_missing=missing)
    return {
        "currency": desk.catalogue().currency,
        "items": [
            call_view(call) | {"subscriber": person(desk.people, desk.who(owner, call.member), full=full)}
            for owner, call in found
        ],
        "next": None if following is None else desk.people.reference(following),
    }
