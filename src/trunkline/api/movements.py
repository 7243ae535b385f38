"""Ordering movements of money and units: named so that a repeated request moves nothing twice."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from trunkline.api.access import Caller
from trunkline.api.desk import Desk
from trunkline.api.problems import Problem
from trunkline.ports import Movement
from trunkline.records.charging import NEVER_S, Cause

SCANNED = 1000


@dataclass(frozen=True)
class Booked:
    """A movement that is booked, now or by an earlier request with the same key."""

    movement: Movement
    repeated: bool


def movement_name(caller: Caller, key: str | None) -> str:
    """The movement's name: from the caller's Idempotency-Key when there is one, else a new one."""
    if key is None:
        return f"api-{secrets.token_hex(12)}"
    if not 1 <= len(key) <= 200:
        raise Problem(400, "invalid_request", "An Idempotency-Key has 1 to 200 characters.")
    said = f"{caller.name}\0{key}".encode()
    return f"key-{blake2b(said, digest_size=12).hexdigest()}"


def book(
    desk: Desk,
    caller: Caller,
    cause: Cause,
    subscriber: int,
    balance: str,
    amount: int,
    until_s: int,
    key: str | None,
) -> Booked:
    """Book one movement, audited; answers 409 when it is refused or its key was used for another one."""
    if desk.catalogue().members.account_of(subscriber)[1]:
        raise Problem(
            409,
            "member_of_account",
            "A member has no money of its own; order it for the owner of the shared account.",
        )
    if balance not in desk.catalogue().balances or not balance:
        raise Problem(400, "unknown_balance", "The tariff has no balance of that name.")
    movement = Movement(
        movement_name(caller, key),
        int(cause),
        subscriber,
        balance,
        amount,
        desk.now_us(),
        min(until_s, NEVER_S),
    )
    desk.saw(caller, cause.name.lower(), subscriber, f"{balance} {amount} {movement.movement_id}")
    said = desk.intake.move([movement])[0]
    if said["status"] == "refused":
        raise Problem(409, str(said["reason"] or "refused"), f"The movement was refused: {said['reason']}.")
    if said["status"] == "repeated":
        return Booked(_same(desk, movement), repeated=True)
    return Booked(movement, repeated=False)


def _same(desk: Desk, movement: Movement) -> Movement:
    """The movement that was booked under this name; a different one means that the key was used wrongly."""
    row = find(desk, movement.subscriber, movement.movement_id)
    if row is None or (row["cause"], row["balance"], row["amount"]) != (
        movement.cause,
        movement.balance,
        movement.amount,
    ):
        raise Problem(
            409, "key_reused", "This Idempotency-Key was used for another movement; take a new one."
        )
    if row["status"] == "refused":
        raise Problem(409, str(row["reason"] or "refused"), f"The movement was refused: {row['reason']}.")
    return movement_of(row)


def find(desk: Desk, subscriber: int, movement_id: str) -> dict[str, Any] | None:
    """A subscriber's movement by name."""
    offset = 0
    while True:
        page = desk.reader.movements(subscriber, SCANNED, offset)
        for row in page.iter_rows(named=True):
            if row["movement_id"] == movement_id:
                return row
        if len(page) < SCANNED:
            return None
        offset += SCANNED


def movement_of(row: dict[str, Any]) -> Movement:
    """A stored row as the order that it was."""
    return Movement(
        row["movement_id"],
        row["cause"],
        row["subscriber"],
        row["balance"],
        row["amount"],
        row["time_us"],
        row["valid_until_s"],
    )
