"""Transfers between subscribers for the page and for scripts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field

from trunkline.api.access import MOVE_MONEY, READ_PERSON
from trunkline.api.balances import micro_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.shapes import Order, Person
from trunkline.api.shown import person
from trunkline.api.transfers import hand_on, transfers_of
from trunkline.api.v1.overview import Limit, Numbers, Offset
from trunkline.api.v1.subscribers import Said, account_of
from trunkline.ports import Transfer
from trunkline.records.charging import Unit

routes = APIRouter(tags=["transfers"])


class TransferOrder(Order):
    """What is handed on, and to whom; money in micro-units, time in ms, data in octets."""

    to: str = Field(
        max_length=40, description="The receiver: a number in international form, or a reference."
    )
    balance: str = Field(max_length=200, description="Name of the balance, such as main.")
    amount: int = Field(gt=0, lt=2**62, description="How much the receiver gets.")


class TransferRow(BaseModel):
    """A booked transfer."""

    transfer_id: str
    time: str
    giver: Person
    receiver: Person
    balance: str
    unit: str = Field(description="money, time, octets or events.")
    amount: int
    fee_micros: int = Field(description="What it cost the giver besides, in micro-units.")


class TransferAnswer(TransferRow):
    """What became of an order."""

    status: Literal["booked", "repeated"]


class TransfersAnswer(BaseModel):
    """Transfers of a subscriber, as giver or receiver, the newest first."""

    currency: str
    items: list[TransferRow]


@routes.post(
    "/api/v1/subscribers/{subscriber}/transfers",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=TransferAnswer,
    summary="Hand something on to another subscriber",
)
def transfer(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    order: Annotated[TransferOrder, Depends(JsonBody(TransferOrder))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:
    """Both accounts change at one moment, or neither does; once for each Idempotency-Key."""
    transfers_of(desk)
    giver, receiver = desk.subscriber(subscriber), desk.subscriber(order.to)
    for word in (giver, receiver):
        account_of(desk, word)
    done, repeated = hand_on(desk, caller, giver, receiver, order.balance, order.amount, idempotency_key)
    return {**_row(desk, done, full=False), "status": "repeated" if repeated else "booked"}


@routes.get(
    "/api/v1/subscribers/{subscriber}/transfers",
    dependencies=[Depends(Needs(READ_PERSON))],
    response_model=TransfersAnswer,
    summary="Transfers",
)
def transfers(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    limit: Limit = 50,
    offset: Offset = 0,
    numbers: Numbers = "masked",
) -> dict[str, Any]:
    """What a subscriber handed on and received, newest first."""
    full = wants_full(caller, numbers)
    port, word = transfers_of(desk), desk.subscriber(subscriber)
    desk.saw(caller, "read_transfers", word, numbers)
    account_of(desk, word)
    found = port.transfers(word, limit, offset)
    if full:
        for other in sorted({each.giver for each in found} | {each.receiver for each in found}):
            desk.saw(caller, "read_transfers", other, numbers)
    rows = [_row(desk, each, full=full) for each in found]
    return {"currency": desk.catalogue().currency, "items": rows}


def _row(desk: Desk, booked: Transfer, *, full: bool) -> dict[str, Any]:
    catalogue = desk.catalogue()
    number = catalogue.balances.index(booked.balance) if booked.balance in catalogue.balances else -1
    unit = Unit(int(catalogue.tables.balance_unit[number])) if number >= 0 else Unit.MONEY
    return {
        "transfer_id": booked.transfer_id,
        "time": micro_text(booked.time_us),
        "giver": person(desk.people, booked.giver, full=full),
        "receiver": person(desk.people, booked.receiver, full=full),
        "balance": booked.balance,
        "unit": unit.name.lower(),
        "amount": booked.amount,
        "fee_micros": booked.fee_micros,
    }
