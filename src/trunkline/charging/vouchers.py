"""Vouchers: codes that are worth something once, and what becomes of each.

Codes are worked out from a secret, the batch and the number within it, so they can be printed again and need not be
kept; what is kept of a code is a keyed digest, from which nobody without the secret can tell it or try codes in
private. A voucher is redeemed by a movement of the ledger that is named by its batch and number: the ledger books
a name once, so the booked movement itself is what makes a voucher used.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import blake2b

from trunkline.kernel.outcomes import Reason

DIGITS = 15  # of a code, and one more that tells slips of the pen
MOST_IN_BATCH = 1_000_000
SECRET_OCTETS = 32
MADE, ACTIVE, BLOCKED, EXPIRED, USED = "made", "active", "blocked", "expired", "used"
DAY_S = 86_400

VOUCHER_REASONS = (
    Reason("mistyped_voucher", "This is no code of a voucher: it has 16 digits. Read it again."),
    Reason("unknown_voucher", "There is no voucher with this code. Read it again; wrong codes are counted."),
    Reason("too_many_wrong", "Too many wrong codes were tried for this subscriber."),
    Reason("voucher_made", "This voucher was not put into circulation yet."),
    Reason("voucher_used", "This voucher was used already."),
    Reason("voucher_blocked", "This voucher is blocked."),
    Reason("voucher_expired", "This voucher is no longer valid."),
    Reason("unknown_subscriber", "There is no such subscriber. Load the subscriber first."),
    Reason("unknown_balance", "The tariff no longer has the balance that this voucher adds to."),
    Reason("bad_amount", "The balance cannot hold as much."),
)


def code_of(secret: bytes, batch: str, number: int, turn: int) -> str:
    """The code of one voucher, 16 digits; `turn` is 0, or higher where an earlier turn gave a code that is taken."""
    said = f"code\0{batch}\0{number}\0{turn}".encode()
    word = int.from_bytes(hmac.digest(secret, said, "sha256")[:16], "big")
    digits = f"{word % 10**DIGITS:0{DIGITS}d}"  # 2**128 codes on 10**15: no code is likelier than another by 10**-23
    return digits + _check(digits)


def digest_of(secret: bytes, code: str) -> bytes:
    """What is kept of a code."""
    return hmac.digest(secret, f"kept\0{code}".encode(), "sha256")[:16]


def read_code(text: str) -> str | None:
    """A code as a person types it, without blanks and dashes; None when a digit is wrong, missing or too many."""
    code = text.strip().replace(" ", "").replace("-", "")
    fits = len(code) == DIGITS + 1 and code.isascii() and code.isdigit()
    return code if fits and _check(code[:-1]) == code[-1] else None


def _check(digits: str) -> str:
    """The check digit (ISO/IEC 7812-1 annex B): one wrong digit or two neighbours exchanged do not go unnoticed."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if at % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def movement_name(batch: str, number: int, redeem_id: str) -> str:
    """Name of the movement that redeems a voucher, and by which order it was redeemed."""
    return f"{names_begin(batch, number)}{order_mark(redeem_id)}"


def names_begin(batch: str, number: int | None = None) -> str:
    """What the names of movements begin with that redeem vouchers of a batch, or this one."""
    return f"voucher:{batch}:" if number is None else f"voucher:{batch}:{number}:"


def order_mark(redeem_id: str) -> str:
    """What a movement's name tells of the order that redeemed it."""
    return blake2b(redeem_id.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True)
class Standing:
    """What is known of a voucher beside whether it was used."""

    batch_state: str  # MADE, ACTIVE or BLOCKED
    blocked: bool  # by itself
    expires_us: int


def state_of(standing: Standing, now_us: int, *, used: bool) -> str:
    """What a voucher is now: of several the one that was there first cannot be undone by the next."""
    if used:
        return USED
    if standing.blocked or standing.batch_state == BLOCKED:
        return BLOCKED
    if now_us >= standing.expires_us:
        return EXPIRED
    return standing.batch_state


def valid_until_s(now_us: int, valid_days: int | None, never_s: int) -> int:
    """Until when what a voucher adds may be used."""
    return never_s if valid_days is None else min(now_us // 1_000_000 + valid_days * DAY_S, never_s)
