"""A subscriber's account as people and other systems read it: names instead of numbers, states instead of seconds.

Pure: rows, catalogue and the moment go in, plain values come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trunkline.api.desk import Desk
from trunkline.api.shown import person
from trunkline.charging.sharing import place_of, shares
from trunkline.charging.tariffs.catalogue import Catalogue, Threshold
from trunkline.charging.under_way import OpenCall, open_calls
from trunkline.kernel.grouped import Rows
from trunkline.records.charging import CARRIED, NEVER_S, RowKind, Unit
from trunkline.records.usage import UNIT_OF_KIND, Kind


@dataclass(frozen=True)
class Balance:
    """One balance of one period or validity."""

    key: str  # unlike every other key of the same account
    name: str
    unit: Unit
    left: int
    granted: int
    priority: int
    main: bool
    state: str  # active, expired or future
    from_s: int
    until_s: int
    shared: bool = False  # by all members of an account
    reserved: int = (
        0  # of what is left: promised to network functions, set apart, or used and not charged yet
    )
    carried: bool = False  # over from an earlier period


def balances_of(
    rows: Rows,
    catalogue: Catalogue,
    now_us: int,
    reserved: Mapping[tuple[int, int, int, int], int] | None = None,
) -> list[Balance]:
    """The balances of an account, in the order in which usage draws on them; `reserved` of each by its `place_of`."""
    of_each = reserved or {}
    found = [
        _balance(row, catalogue, now_us // 1_000_000, of_each.get(place_of(row), 0))
        for row in rows
        if row["kind"] == RowKind.BALANCE
    ]
    return sorted(
        found, key=lambda each: (_STATES.index(each.state), each.main, each.priority, each.until_s, each.key)
    )


def account_view(rows: Rows, catalogue: Catalogue, now_us: int) -> dict[str, Any]:
    """An account for the page: plans, balances and counters."""
    now_s = now_us // 1_000_000
    return {
        "currency": catalogue.currency,
        "plans": [_plan(row, catalogue, now_s) for row in rows if row["kind"] == RowKind.SUBSCRIPTION],
        "balances": [_balance_view(balance) for balance in balances_of(rows, catalogue, now_us)],
        "can_top_up": _can_top_up(rows, catalogue),
        "can_transfer": can_transfer(catalogue),
        "counters": [_counter(row, catalogue, now_s) for row in rows if row["kind"] == RowKind.COUNTER],
        "calls": [call_view(each) for each in open_calls(rows)],
    }


UNITS = {"ms": "time", "octets": "octets", "events": "events"}


def call_view(call: OpenCall) -> dict[str, Any]:
    """A call that is told in parts and not over."""
    return {
        "kind": Kind(call.kind).name.lower(),
        "unit": UNITS[UNIT_OF_KIND[Kind(call.kind)]],
        "begun": second_text(call.begun_us // 1_000_000),
        "ended": second_text(call.ended_us // 1_000_000),
        "used": call.units,
        "charged_micros": call.charged_micros,
        "parts": call.parts,
        "missing": list(call.missing),
    }


def sharing_view(desk: Desk, word: int, rows: Rows, *, full: bool) -> dict[str, Any]:
    """Whose account it is, and who took how much of what is shared: an owner sees everybody, a member itself."""
    catalogue = desk.catalogue()
    owner, member = catalogue.members.account_of(word)
    words = catalogue.members.words_of(owner)
    if len(words) == 1:
        return {"owner": None, "members": [], "shares": []}
    now_s = desk.now_us() // 1_000_000
    seen = [each for each in shares(rows, catalogue) if member in (0, each.member)]
    return {
        "owner": person(desk.people, owner, full=full),
        "members": [
            person(desk.people, words[each], full=full) for each in words if each and member in (0, each)
        ],
        "shares": [
            {
                "subscriber": person(desk.people, words[each.member], full=full),
                "balance": catalogue.balances[each.balance],
                "unit": Unit(int(catalogue.tables.balance_unit[each.balance])).name.lower(),
                "used": each.used,
                "limit": each.limit,
                "state": "active" if each.from_s <= now_s < each.until_s else "expired",
                "valid_from": second_text(each.from_s),
                "valid_until": second_text(each.until_s),
            }
            for each in seen
        ],
    }


_STATES = ("active", "future", "expired")


def _balance(row: Any, catalogue: Catalogue, now_s: int, reserved: int) -> Balance:  # noqa: ANN401 - a row of a numpy table
    number, until_s = int(row["definition"]), int(row["valid_until_s"])
    name = catalogue.balances[number]
    carried = int(row["period"]) >= CARRIED
    period = f".c{row['period'] - CARRIED}" if carried else f".p{row['period']}"
    suffix = period if row["period"] else "" if until_s == NEVER_S else f".u{until_s}"
    return Balance(
        key=name + suffix,
        name=name,
        unit=Unit(int(catalogue.tables.balance_unit[number])),
        left=int(row["value"]),
        granted=int(row["granted"]),
        priority=int(catalogue.tables.balance_priority[number]),
        main=number == catalogue.main_balance,
        state=_state(row, now_s),
        from_s=int(row["valid_from_s"]),
        until_s=until_s,
        shared=bool(catalogue.tables.balance_shared[number]),
        reserved=reserved,
        carried=carried,
    )


def _state(row: Any, now_s: int) -> str:  # noqa: ANN401
    if int(row["valid_until_s"]) <= now_s:
        return "expired"
    return "future" if int(row["valid_from_s"]) > now_s else "active"


def _balance_view(balance: Balance) -> dict[str, Any]:
    return {
        "key": balance.key,
        "name": balance.name,
        "unit": balance.unit.name.lower(),
        "left": balance.left,
        "granted": balance.granted,
        "main": balance.main,
        "shared": balance.shared,
        "carried": balance.carried,
        "state": balance.state,
        "valid_from": second_text(balance.from_s),
        "valid_until": second_text(balance.until_s),
    }


def _can_top_up(rows: Rows, catalogue: Catalogue) -> list[dict[str, Any]]:
    """The balances that may be added to: money, those that are held, and those that come by top-up only."""
    t = catalogue.tables
    held = {int(row["definition"]) for row in rows if row["kind"] == RowKind.BALANCE}
    numbers = [
        number
        for number, name in enumerate(catalogue.balances)
        if name
        and t.balance_known[number]
        and (number in held or t.balance_main[number] or not t.balance_period[number])
    ]
    return [
        {
            "name": catalogue.balances[number],
            "unit": Unit(int(t.balance_unit[number])).name.lower(),
            "main": number == catalogue.main_balance,
        }
        for number in sorted(
            numbers, key=lambda each: (each != catalogue.main_balance, catalogue.balances[each])
        )
    ]


def can_transfer(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The balances that the tariff lets be handed on, with what it says of the amount and its fee."""
    return [
        {
            "name": catalogue.balances[rule.balance],
            "unit": Unit(int(catalogue.tables.balance_unit[rule.balance])).name.lower(),
            "least": rule.least,
            "most": rule.most,
            "fee_micros": rule.fee_micros,
            "fee_millionths": rule.millionths,
        }
        for rule in catalogue.giving.transfers
    ]


def _plan(row: Any, catalogue: Catalogue, now_s: int) -> dict[str, Any]:  # noqa: ANN401
    return {
        "name": catalogue.plans[int(row["definition"])],
        "payment": "postpaid" if row["flags"] & 1 else "prepaid",
        "credit_limit_micros": int(row["value"]),
        "valid_from": second_text(int(row["valid_from_s"])),
        "state": _state(row, now_s),
    }


def _counter(row: Any, catalogue: Catalogue, now_s: int) -> dict[str, Any]:  # noqa: ANN401
    number = int(row["definition"])
    cap = next((each.limit for each in catalogue.thresholds if _caps(each, number)), 0)
    return {
        "name": catalogue.counters[number],
        "unit": Unit(int(catalogue.tables.counter_unit[number])).name.lower(),
        "used": int(row["value"]),
        "cap_micros": cap or None,
        "state": _state(row, now_s),
        "valid_from": second_text(int(row["valid_from_s"])),
        "valid_until": second_text(int(row["valid_until_s"])),
    }


def _caps(threshold: Threshold, counter: int) -> bool:
    return threshold.counter and threshold.number == counter and threshold.kind == "spend_cap"


def second_text(second: int) -> str | None:
    """A moment in ISO 8601 UTC; None for "always" and "never"."""
    if second in (0, NEVER_S):
        return None
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_text(moment_us: int) -> str:
    """A moment in ISO 8601 UTC to the millisecond."""
    seconds, rest_us = divmod(moment_us, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest_us // 1000:03d}Z"
