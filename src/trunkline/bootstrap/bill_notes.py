"""What people say of bills, by one rule wherever bills are kept: disputes, credit notes, and the state that follows."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.ports import BillNote, Movement, Refused
from trunkline.records.charging import NEVER_S, Cause

LONGEST_TEXT = 1000
CREDIT = "credit"


def said(text: str) -> str:
    """A reason on one line; raises `Refused` where there is none, or too much of it."""
    line = " ".join(text.split())
    if not 1 <= len(line) <= LONGEST_TEXT:
        raise Refused(f"Say why, in at most {LONGEST_TEXT} characters.")
    return line


def known_bill(found: dict[str, Any] | None, bill_id: str) -> dict[str, Any]:
    """A bill that is there; raises `Refused`."""
    if found is None:
        raise Refused(f"There is no bill {bill_id}. `trunkline bill list` shows them.")
    return found


def with_notes(bill: dict[str, Any], notes: Sequence[dict[str, Any]], credited_micros: int) -> dict[str, Any]:
    """A bill with what people said of it, oldest first, and the state in which that leaves it."""
    disputes = [note["action"] for note in notes if note["action"] in ("dispute", "settle")]
    if disputes and disputes[-1] == "dispute":
        state = "disputed"
    elif credited_micros and credited_micros == bill["total_micros"]:
        state = "credited"
    else:
        state = "issued"
    return {**bill, "state": state, "credited_micros": credited_micros, "notes": list(notes)}


def disputed(bill: dict[str, Any], time_us: int, actor: str, text: str, *, settled: bool) -> BillNote:
    """The note that disputes a bill, or settles its dispute; raises `Refused` where that is not its turn."""
    line = said(text)
    if settled and bill["state"] != "disputed":
        raise Refused("This bill is not disputed.")
    if not settled and bill["state"] == "disputed":
        raise Refused("This bill is disputed already; settle that dispute first.")
    return BillNote(bill["bill_id"], time_us, actor, "settle" if settled else "dispute", 0, None, line)


def credit_name(bill_id: str, amount_micros: int, line: str, name: str | None) -> str:
    """A credit note's name, made of what it says: the same order again is the same credit note."""
    mark = blake2b(f"{amount_micros}\0{line}\0{name or ''}".encode(), digest_size=6).hexdigest()
    return f"{names_begin(bill_id)}{mark}"


def names_begin(bill_id: str) -> str:
    """How the names of a bill's credit notes begin."""
    return f"credit:{bill_id}:"


def refuse_more_than_left(bill: dict[str, Any], amount_micros: int) -> None:
    """Raise `Refused` for a new credit note that is not above zero, or beyond what is left of its bill."""
    left = bill["total_micros"] - bill["credited_micros"]
    if not 0 < amount_micros <= left:
        raise Refused(
            f"A credit note is above zero and at most what is left of its bill: {left} micro-units."
        )


def movement_of(note: BillNote, subscriber: int, catalogue: Catalogue) -> Movement:
    """What a credit note books."""
    assert note.movement_id is not None, "only a credit note books"
    main = catalogue.balances[catalogue.main_balance]
    return Movement(
        note.movement_id, int(Cause.CREDIT), subscriber, main, note.amount_micros, note.time_us, NEVER_S
    )
