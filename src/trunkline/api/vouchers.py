"""Redeeming vouchers: named like every other movement, written down without the code, refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trunkline import ports
from trunkline.api.access import Caller
from trunkline.api.desk import Desk
from trunkline.api.movements import movement_name
from trunkline.api.problems import Problem
from trunkline.ports import NotRedeemed, Redemption, Refused

Answer = TypeVar("Answer")


def vouchers_of(desk: Desk) -> ports.Vouchers:
    """The desk's vouchers; 501 where this process keeps none."""
    if desk.vouchers is None:
        raise Problem(501, "no_vouchers", "This process keeps no vouchers.")
    return desk.vouchers


def redeem(
    desk: Desk, caller: Caller, subscriber: int, code: str, key: str | None
) -> tuple[Redemption, bool]:
    """Redeem a code, audited without it; 409 when it brings nothing or its key was used for another one."""
    port = vouchers_of(desk)
    if desk.catalogue().members.account_of(subscriber)[1]:
        raise Problem(
            409,
            "member_of_account",
            "A member has no money of its own; redeem it for the owner of the shared account.",
        )
    name = movement_name(caller, key)
    desk.saw(caller, "redeem_voucher", subscriber, name)
    try:
        done, repeated = port.redeem(name, subscriber, code)
    except NotRedeemed as error:
        desk.saw(caller, "voucher_refused", subscriber, f"{error.reason} {name}")
        raise Problem(429 if error.reason == "too_many_wrong" else 409, error.reason, str(error)) from error
    except Refused as error:
        raise Problem(
            409, "key_reused", "This Idempotency-Key was used for another voucher; take a new one."
        ) from error
    if not repeated:
        desk.saw(caller, "voucher_redeemed", subscriber, f"{done.batch}-{done.number} {name}")
    return done, repeated


def asked(ask: Callable[[], Answer], status: int = 404) -> Answer:
    """What the port answers; its refusal in words, with this status."""
    try:
        return ask()
    except Refused as error:
        raise Problem(status, "not_found" if status == 404 else "refused", str(error)) from error
