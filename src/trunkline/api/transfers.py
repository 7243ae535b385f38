"""Ordering transfers: named like every other movement, audited for both subscribers, refused in words."""

from __future__ import annotations

from trunkline import ports
from trunkline.api.access import Caller
from trunkline.api.desk import Desk
from trunkline.api.movements import movement_name
from trunkline.api.problems import Problem
from trunkline.ports import Transfer


def transfers_of(desk: Desk) -> ports.Transfers:
    """The desk's transfers; 501 where this process books none."""
    if desk.transfers is None:
        raise Problem(501, "no_transfers", "This process books no transfers.")
    return desk.transfers


def hand_on(
    desk: Desk, caller: Caller, giver: int, receiver: int, balance: str, amount: int, key: str | None
) -> tuple[Transfer, bool]:
    """Book a transfer, audited; 409 when it is refused or its key was used for another one."""
    port = transfers_of(desk)
    order = Transfer(movement_name(caller, key), giver, receiver, balance, amount, desk.now_us())
    desk.saw(caller, "transfer_out", giver, f"{balance} {amount} {order.transfer_id}")
    desk.saw(caller, "transfer_in", receiver, f"{balance} {amount} {order.transfer_id}")
    try:
        return port.transfer(order)
    except ports.NotTransferred as error:
        raise Problem(409, error.reason, str(error)) from error
    except ports.Refused as error:
        raise Problem(
            409, "key_reused", "This Idempotency-Key was used for another transfer; take a new one."
        ) from error
