"""What of an account is spoken for: amounts set apart, quotas of sessions, usage that waits to be charged.

And a question besides: how much of a use could be paid for now, at a highest rate or cost that the asker names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from trunkline import ports
from trunkline.api.access import MOVE_MONEY, READ_PERSON
from trunkline.api.balances import UNITS, micro_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.people import number_word
from trunkline.api.problems import Problem
from trunkline.api.reservations import not_reserved, reservations_of
from trunkline.api.shapes import Order, Person
from trunkline.api.shown import person
from trunkline.api.v1.overview import Numbers
from trunkline.api.v1.subscribers import Said, account_of
from trunkline.records.charging import Unit
from trunkline.records.online import Hold, WouldUse
from trunkline.records.usage import UNIT_OF_KIND, Kind

routes = APIRouter(tags=["online charging"])

Name = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Name of the reservation, as it is listed.")]
Units = Annotated[int, Query(ge=1, lt=2**53, description="How much is wanted: ms, octets or events.")]
HighestRate = Annotated[
    int | None, Query(ge=0, lt=2**53, description="Highest rate: micro-units for per_units units.")
]
PerUnits = Annotated[int, Query(ge=1, lt=2**53, description="Units that the highest rate is for.")]
HighestCost = Annotated[
    int | None, Query(ge=0, lt=2**53, description="Highest cost of the whole use, in micro-units.")
]


class HeldRow(BaseModel):
    """Something that is spoken for."""

    name: str = Field(description="Of the reservation, or of the charging session.")
    what: Literal["reservation", "quota", "owed"] = Field(
        description="Set apart; promised to a session; or used, and charged in a moment."
    )
    subscriber: Person
    balance: str = Field(
        description="Balance that it is set apart of; empty for a session, which names none."
    )
    usage: str = Field(description="Kind of usage of a session; empty for a reservation.")
    group: int = Field(description="Rating group of a session.")
    unit: str
    units: int = Field(description="Set apart, or promised and not used yet.")
    used: int = Field(description="Used and not charged yet.")
    since: str
    until: str | None = Field(description="When it ends by itself.")


class TakenRow(BaseModel):
    """What of a balance is spoken for: if all that is promised, set apart and owed were used now."""

    balance: str
    unit: str
    amount: int


class HeldAnswer(BaseModel):
    """All that is spoken for of an account, the newest first."""

    subscriber: Person
    currency: str
    items: list[HeldRow]
    balances: list[TakenRow]


class ReleaseOrder(Order):
    """Nothing more is needed to give a reservation back."""


class ReleaseAnswer(BaseModel):
    """What was given back."""

    name: str
    status: Literal["released"]


class UsableAnswer(BaseModel):
    """How much of a use could be paid for now; nothing is promised."""

    usage: str
    unit: str
    wanted: int
    units: int = Field(description="How many of them would be granted now.")
    reason: str = Field(description="Why it cannot be judged: a name of the refusals; empty when it can.")


@routes.get(
    "/api/v1/subscribers/{subscriber}/reservations",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=HeldAnswer,
    summary="What is set apart and promised",
)
def reservations(desk: AtDesk, caller: By, subscriber: Said, numbers: Numbers = "masked") -> dict[str, Any]:
    """Of a member of a shared account what its own sessions hold; of the owner all, with whose it is."""
    full = wants_full(caller, numbers)
    port, word = reservations_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "read_reservations", word, numbers)
    account_of(desk, word)
    owner, member = desk.catalogue().members.account_of(word)
    found = [each for each in port.held(owner) if member in (0, each.member)]
    return {
        "subscriber": person(desk.people, word, full=full),
        "currency": desk.catalogue().currency,
        "items": [_row(desk, each, full=full) for each in found],
        "balances": [] if member else _taken(desk, owner),
    }


@routes.post(
    "/api/v1/subscribers/{subscriber}/reservations/{name}/release",
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=ReleaseAnswer,
    summary="Give a reservation back",
)
def release(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    name: Name,
    order: Annotated[ReleaseOrder, Depends(JsonBody(ReleaseOrder))],
) -> dict[str, Any]:
    """From now on its amount may be promised and set apart again. A session's quota is its network function's."""
    del order
    port, word = reservations_of(desk), desk.subscriber(subscriber)
    account_of(desk, word)
    kept = next((each for each in port.of(word) if each.name == name and each.subscriber == word), None)
    if kept is None:
        raise Problem(404, "not_found", "This subscriber has no such reservation; it may be over already.")
    desk.saw(caller, "release", word, f"{kept.balance} {kept.amount} {name}")
    try:
        released = port.release(word, name)
    except ports.NotReserved as error:
        raise not_reserved(error) from error
    if not released:
        raise Problem(404, "not_found", "This subscriber has no such reservation; it may be over already.")
    return {"name": name, "status": "released"}


@routes.get(
    "/api/v1/subscribers/{subscriber}/may-use",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=UsableAnswer,
    summary="How much may be used",
)
def may_use(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    usage: Annotated[Literal["voice", "sms", "data", "iot", "content"], Query(description="Kind of usage.")],
    units: Units,
    to: Annotated[str, Query(max_length=40, description="Number that is called or written to.")] = "",
    service: Annotated[str, Query(max_length=64, description="Data network, event type or content.")] = "",
    highest_rate_micros: HighestRate = None,
    per_units: PerUnits = 1,
    highest_cost_micros: HighestCost = None,
) -> dict[str, Any]:
    """As many units as a session that began now would be granted at most; nothing is promised or kept."""
    port, word = reservations_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "ask_may_use", word, f"{usage} {units}")
    account_of(desk, word)
    kind = Kind[usage.upper()]
    called = number_word(to) if to else 0
    if called is None:
        raise Problem(400, "bad_number", "`to` is not a number in international form.")
    use = WouldUse(
        word, int(kind), called, service, units, desk.now_us(), highest_rate_micros or 0,
        0 if highest_rate_micros is None else per_units, highest_cost_micros,
    )  # fmt: skip
    granted, reason = port.usable(use)
    return {
        "usage": usage,
        "unit": UNITS[UNIT_OF_KIND[kind]],
        "wanted": units,
        "units": granted,
        "reason": reason,
    }


def _row(desk: Desk, held: Hold, *, full: bool) -> dict[str, Any]:
    catalogue = desk.catalogue()
    apart = not held.kind
    unit = UNITS[UNIT_OF_KIND[Kind(held.kind)]] if held.kind else _unit(desk, held.balance)
    who = catalogue.members.words_of(held.owner).get(held.member, held.owner)
    return {
        "name": held.name,
        "what": "reservation" if apart else "owed" if held.until_us is None else "quota",
        "subscriber": person(desk.people, who, full=full),
        "balance": held.balance,
        "usage": "" if apart else Kind(held.kind).name.lower(),
        "group": held.group,
        "unit": unit,
        "units": held.units,
        "used": held.owed,
        "since": micro_text(held.time_us),
        "until": None if held.until_us is None else micro_text(held.until_us),
    }


def _taken(desk: Desk, owner: int) -> list[dict[str, Any]]:
    """Each balance of which something is spoken for, over all its periods."""
    assert desk.reservations is not None, "asked before"
    names, sums = desk.catalogue().balances, dict[str, int]()
    for row, amount in desk.reservations.amounts(owner):
        name = names[int(row["definition"])]
        sums[name] = sums.get(name, 0) + amount
    return [
        {"balance": name, "unit": _unit(desk, name), "amount": amount}
        for name, amount in sorted(sums.items())
    ]


def _unit(desk: Desk, balance: str) -> str:
    catalogue = desk.catalogue()
    return Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(balance)])).name.lower()
