"""Vouchers for the page and for scripts: batches, their accounting and codes, and redeeming."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path
from pydantic import BaseModel, Field

from trunkline.api.access import MAKE_VOUCHERS, MOVE_MONEY
from trunkline.api.balances import micro_text, second_text
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs
from trunkline.api.problems import Problem
from trunkline.api.shapes import Order
from trunkline.api.v1.subscribers import Said, account_of, second_of
from trunkline.api.vouchers import asked, redeem, vouchers_of
from trunkline.ports import VoucherBatch, VoucherCounts
from trunkline.records.charging import Unit

routes = APIRouter(tags=["vouchers"])

Name = Annotated[str, Path(max_length=40, pattern=r"^[A-Za-z0-9_-]+$", description="Name of the batch.")]
Number = Annotated[int, Path(ge=1, le=1_000_000, description="Number of the voucher within its batch.")]


class BatchOrder(Order):
    """Vouchers to be made; money in micro-units, time in ms, data in octets."""

    batch: str = Field(max_length=40, pattern=r"^[A-Za-z0-9_-]+$", description="Name of the batch.")
    size: int = Field(ge=1, le=1_000_000, description="How many vouchers.")
    amount: int = Field(gt=0, lt=2**62, description="What each is worth, in the balance's unit.")
    balance: str = Field("", max_length=200, description="Name of the balance; empty: the main one.")
    valid_days: int | None = Field(
        None, ge=1, le=3660, description="For so many days what it brings may be used; none: for ever."
    )
    expires: str = Field(max_length=40, description="Moment from which it cannot be redeemed any more.")
    active: bool = Field(default=False, description="Whether they may be redeemed at once.")


class ChangeOrder(Order):
    """What is to become of a batch or a voucher."""

    action: Literal["activate", "block", "unblock"]


class RedeemOrder(Order):
    """A voucher's code as it was typed; blanks and dashes do not matter."""

    code: str = Field(max_length=40)


class BatchRow(BaseModel):
    """A batch and what became of its vouchers: made = unused + used + blocked + expired."""

    batch: str
    state: str = Field(description="made, active or blocked.")
    balance: str
    unit: str
    amount: int
    valid_days: int | None
    expires: str
    made_at: str
    actor: str
    made: int
    unused: int
    used: int
    blocked: int
    expired: int


class BatchesAnswer(BaseModel):
    """All batches, the newest first."""

    currency: str
    items: list[BatchRow]


class BatchAnswer(BatchRow):
    """What became of an order for a batch."""

    status: Literal["made", "repeated"]


class VoucherRow(BaseModel):
    """One voucher, without its code."""

    batch: str
    number: int
    state: str = Field(description="made, active, used, blocked or expired.")
    used_at: str | None


class CodeRow(BaseModel):
    """A code, which is worth what its voucher is worth."""

    number: int
    code: str


class CodesAnswer(BaseModel):
    """The codes of a batch, to be printed."""

    batch: str
    items: list[CodeRow]


class RedeemAnswer(BaseModel):
    """What a voucher brought."""

    status: Literal["booked", "repeated"]
    voucher: str = Field(description="Batch and number.")
    balance: str
    unit: str
    amount: int
    valid_until: str | None


@routes.post(
    "/api/v1/vouchers",
    status_code=201,
    dependencies=[Depends(Needs(MAKE_VOUCHERS))],
    response_model=BatchAnswer,
    summary="Make a batch of vouchers",
)
def make(
    desk: AtDesk, caller: By, order: Annotated[BatchOrder, Depends(JsonBody(BatchOrder))]
) -> dict[str, Any]:
    """Once for each name: the same order again makes nothing."""
    port, catalogue = vouchers_of(desk), desk.catalogue()
    balance = order.balance or catalogue.balances[catalogue.main_balance]
    if balance not in catalogue.balances:
        raise Problem(400, "unknown_balance", "The tariff has no balance of that name.")
    if balance == catalogue.balances[catalogue.main_balance] and order.valid_days is not None:
        raise Problem(400, "invalid_request", "Money of the main balance has no end; leave valid_days out.")
    batch = VoucherBatch(
        order.batch, balance, order.amount, order.valid_days, second_of(order.expires) * 1_000_000, order.size,
        "active" if order.active else "made", desk.now_us(), caller.name,
    )  # fmt: skip
    desk.saw(caller, "make_vouchers", detail=f"{order.batch} {order.size} {balance} {order.amount}")
    new = asked(lambda: port.make(batch), 409)
    return {**_row(desk, *port.batch(order.batch)), "status": "made" if new else "repeated"}


@routes.get(
    "/api/v1/vouchers",
    dependencies=[Depends(Needs(MAKE_VOUCHERS))],
    response_model=BatchesAnswer,
    summary="Batches of vouchers",
)
def batches(desk: AtDesk, caller: By) -> dict[str, Any]:
    """All batches with their accounting, the newest first."""
    port = vouchers_of(desk)
    desk.saw(caller, "read_vouchers")
    return {"currency": desk.catalogue().currency, "items": [_row(desk, *each) for each in port.batches()]}


@routes.post(
    "/api/v1/vouchers/{batch}/change",
    dependencies=[Depends(Needs(MAKE_VOUCHERS))],
    response_model=BatchRow,
    summary="Activate or block a batch",
)
def change(
    desk: AtDesk, caller: By, batch: Name, order: Annotated[ChangeOrder, Depends(JsonBody(ChangeOrder))]
) -> dict[str, Any]:
    """Put all vouchers of a batch into circulation, or take them out of it."""
    port = vouchers_of(desk)
    asked(lambda: port.batch(batch))
    desk.saw(caller, f"{order.action}_vouchers", detail=batch)
    asked(lambda: port.change(batch, None, order.action, caller.name), 409)
    return _row(desk, *port.batch(batch))


@routes.post(
    "/api/v1/vouchers/{batch}/codes",
    dependencies=[Depends(Needs(MAKE_VOUCHERS))],
    response_model=CodesAnswer,
    summary="Codes of a batch",
)
def codes(desk: AtDesk, caller: By, batch: Name) -> dict[str, Any]:
    """All codes, worked out once more to be printed. Who reads them can spend them; the look is written down."""
    port = vouchers_of(desk)
    asked(lambda: port.batch(batch))
    desk.saw(caller, "read_voucher_codes", detail=batch)
    return {"batch": batch, "items": [{"number": number, "code": code} for number, code in port.codes(batch)]}


@routes.get(
    "/api/v1/vouchers/{batch}/{number}",
    dependencies=[Depends(Needs(MAKE_VOUCHERS))],
    response_model=VoucherRow,
    summary="One voucher",
)
def voucher(desk: AtDesk, caller: By, batch: Name, number: Number) -> dict[str, Any]:
    """What became of one voucher; who redeemed it stands with the subscriber's movements."""
    vouchers_of(desk)
    desk.saw(caller, "read_voucher", detail=f"{batch}-{number}")
    return _voucher(desk, batch, number)


@routes.post(
    "/api/v1/vouchers/{batch}/{number}/change",
    dependencies=[Depends(Needs(MAKE_VOUCHERS))],
    response_model=VoucherRow,
    summary="Block or unblock a voucher",
)
def change_one(
    desk: AtDesk,
    caller: By,
    batch: Name,
    number: Number,
    order: Annotated[ChangeOrder, Depends(JsonBody(ChangeOrder))],
) -> dict[str, Any]:
    """Take one voucher out of circulation, such as one that was lost, or bring it back."""
    port = vouchers_of(desk)
    _voucher(desk, batch, number)
    desk.saw(caller, f"{order.action}_voucher", detail=f"{batch}-{number}")
    asked(lambda: port.change(batch, number, order.action, caller.name), 409)
    return _voucher(desk, batch, number)


@routes.post(
    "/api/v1/subscribers/{subscriber}/vouchers",
    status_code=201,
    dependencies=[Depends(Needs(MOVE_MONEY))],
    response_model=RedeemAnswer,
    summary="Redeem a voucher",
)
def redeem_voucher(
    desk: AtDesk,
    caller: By,
    subscriber: Said,
    order: Annotated[RedeemOrder, Depends(JsonBody(RedeemOrder))],
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> dict[str, Any]:
    """Each voucher once, and once for each Idempotency-Key; 429 when too many wrong codes were tried."""
    vouchers_of(desk)
    word = desk.subscriber(subscriber)
    account_of(desk, word)
    done, repeated = redeem(desk, caller, word, order.code, idempotency_key)
    return {
        "status": "repeated" if repeated else "booked",
        "voucher": f"{done.batch}-{done.number}",
        "balance": done.balance,
        "unit": _unit(desk, done.balance),
        "amount": done.amount,
        "valid_until": second_text(done.valid_until_s),
    }


def _voucher(desk: Desk, batch: str, number: int) -> dict[str, Any]:
    port = vouchers_of(desk)
    found = asked(lambda: port.voucher(batch, number))
    used = micro_text(found.redeemed.time_us) if found.redeemed else None
    return {"batch": batch, "number": number, "state": found.state, "used_at": used}


def _row(desk: Desk, batch: VoucherBatch, counts: VoucherCounts) -> dict[str, Any]:
    return {
        "batch": batch.batch,
        "state": batch.state,
        "balance": batch.balance,
        "unit": _unit(desk, batch.balance),
        "amount": batch.amount,
        "valid_days": batch.valid_days,
        "expires": second_text(batch.expires_us // 1_000_000) or "",
        "made_at": micro_text(batch.made_us),
        "actor": batch.actor,
        **vars(counts),
    }


def _unit(desk: Desk, balance: str) -> str:
    catalogue = desk.catalogue()
    if balance not in catalogue.balances:
        return Unit.MONEY.name.lower()
    return Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(balance)])).name.lower()
