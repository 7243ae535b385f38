"""Calls that are told in parts, as an auditor sees them: one call, of which each part pays what it adds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.opinion.pricing import Blocked, Unpriced, Use, destination_name, price_of, version_at
from tests.opinion.tariff import Price, Version

if TYPE_CHECKING:
    from tests.opinion.accounts import (
        Account,
        Balance,
        Books,
        Counter,
        Settlement,
        Subscription,
        Taken,
        Verdict,
    )

APART_US = 86_400_000_000


@dataclass
class Call:
    """What is known of a call until now, and what it took."""

    start_us: int
    end_us: int
    units: int = 0
    first: Use | None = None  # the earliest part that has a price says where the call went
    listed: int = 0
    charged: int = 0
    covered: int = 0
    last: int = 0
    parts: frozenset[int] = frozenset()
    told: tuple[Use, ...] = ()  # the records of it, in the order in which they came
    over: bool = False
    balances: list[tuple[Balance, int]] = field(default_factory=list)
    counters: list[tuple[Counter, int]] = field(default_factory=list)


def charge_part(
    books: Books, account: Account, use: Use, terms: Subscription, version: Version, price: Price | None,
    listed: int, late: bool,
) -> Verdict:  # fmt: skip
    """What the call comes to with this part, less what it came to without it."""
    destination = destination_name(books.tariff, use)
    begun_us = min(use.start_us, use.begun_us or use.start_us)
    end_us = use.start_us + (use.units * 1000 if use.kind == "voice" else 0)
    calls = books.calls.setdefault((use.subscriber, use.source, use.session, use.kind, use.direction), [])
    near = [
        call
        for call in calls
        if not call.over and call.start_us - APART_US <= end_us and begun_us <= call.end_us + APART_US
    ]
    if not near and not use.units and not use.part:
        return books._verdict(use, "rated", "", listed, 0, 0, destination, version.label, late)
    before = near[0] if near else Call(begun_us, end_us)
    if use.part and use.part in before.parts:
        return books._verdict(use, "rejected", reason="part_again")
    after = replace(
        before,
        start_us=min(before.start_us, begun_us),
        end_us=max(before.end_us, end_us),
        units=before.units + use.units,
        last=max(before.last, use.part) if use.last else before.last,
        parts=before.parts | {use.part},
        told=(*before.told, use),
    )
    if price is not None and (after.first is None or use.start_us < after.first.start_us):
        after.first = use
    label = version.label
    if price is not None and after.units:
        try:
            label = _settle(books, account, use, terms, version, price, before, after, listed)
        except Unpriced as refusal:
            return books._verdict(use, "rejected", reason=str(refusal))
        except Blocked:
            return books._verdict(use, "rejected", reason="balance_blocked")
    if near:
        calls.remove(before)
    after.over = len(after.parts) == after.last if use.part else use.last
    calls.append(after)
    calls.sort(key=lambda call: call.start_us)
    return books._verdict(
        use,
        "rated",
        "",
        listed if price is None else after.listed - before.listed,
        after.charged - before.charged,
        after.covered - before.covered,
        destination,
        label,
        late,
    )


def take_back(books: Books, source: str, record_id: str, taken: Taken | None) -> bool:
    """Let a call be what it would be had a part never come, and count it no longer; whether the record is a part."""
    for calls in books.calls.values():
        for call in calls:
            gone = [use for use in call.told if (use.source, use.record_id) == (source, record_id)]
            if gone and gone[0].part:
                calls.remove(call)
                rest = _without(books, call, gone[0], taken)
                calls.extend([rest] if rest.told else [])
                calls.sort(key=lambda each: each.start_us)
                return True
    return False


def _without(books: Books, call: Call, gone: Use, taken: Taken | None) -> Call:
    said = {(v.source, v.record_id): v for v in books.verdicts}
    told = tuple(use for use in call.told if use is not gone)
    rest = sorted(told, key=lambda use: use.start_us)
    verdicts = [said[use.source, use.record_id] for use in told]
    earliest_us = min(use.start_us for use in call.told)
    counters = list(call.counters)
    for row, _ in taken.counters if taken is not None else ():
        if not any(other.rule is row.rule for other, _ in counters):
            counters.append((row, 0))
    left = []
    for row, count in counters:
        of = said[gone.source, gone.record_id]
        change = of.charged_micros if row.rule.unit == "money" else gone.units
        row.value -= change
        books._watch_counter(gone, row, row.value + change)
        left.append((row, count - change))
    given = list(taken.balances) if taken is not None else []
    rows = {id(row): row for row, _ in [*call.balances, *given]}
    balances = [
        (row, sum(n for r, n in call.balances if r is row) - sum(n for r, n in given if r is row))
        for row in rows.values()
    ]
    return replace(
        call,
        start_us=min([use.start_us for use in told] or [earliest_us])
        if call.start_us == earliest_us
        else call.start_us,
        end_us=max([use.start_us + (use.units * 1000 if use.kind == "voice" else 0) for use in told] or [0]),
        units=sum(use.units for use in told),
        first=next((use for use in rest if use.units), None),
        listed=sum(verdict.list_micros for verdict in verdicts),
        charged=sum(verdict.charged_micros for verdict in verdicts),
        covered=sum(verdict.allowance_units for verdict in verdicts),
        last=max([use.part for use in told if use.last], default=0),
        parts=frozenset(use.part for use in told),
        told=told,
        over=False,
        balances=[(row, n) for row, n in balances if n],
        counters=[(row, n) for row, n in left if n],
    )


def _settle(
    books: Books, account: Account, use: Use, terms: Subscription, version: Version, price: Price, before: Call,
    after: Call, listed: int,
) -> str:  # fmt: skip
    """Charge the whole call in place of what it was charged until now; the plan that priced it."""
    assert after.first is not None
    whole = replace(after.first, seq=use.seq, start_us=after.start_us, units=after.units)
    whole = replace(whole, source=use.source, record_id=use.record_id, amount_micros=use.amount_micros)
    terms = books._terms(account, use.subscriber, whole) or terms
    of_call = version_at(books.tariff, terms.plan, whole.start_us)
    if of_call is not None:
        with suppress(Unpriced):
            price, version = price_of(books.tariff, of_call, whole), of_call
    after.listed = (
        before.listed + listed if books._of_record(price) else books._list_price(price, whole, terms.zone)
    )
    for balance, part in before.balances:
        balance.value += part
        if balance.rule.shared:
            account.drawn[use.subscriber, balance.rule.name, balance.period] -= part
    for counter, change in before.counters:
        counter.value -= change
    try:
        plan = books._plan(account, version, price, after.listed, whole, terms)
    finally:
        for balance, part in before.balances:
            balance.value -= part
            if balance.rule.shared:
                account.drawn[use.subscriber, balance.rule.name, balance.period] += part
        for counter, change in before.counters:
            counter.value += change
    after.charged, after.covered = plan.money, min(plan.covered, whole.units)
    _book(books, account, use, whole, terms, plan, before, after)
    after.counters = books._counted(account, version, whole, terms, plan.money)
    rows = {id(row): row for row, _ in before.counters + after.counters}
    for row in rows.values():
        change = sum(n for c, n in after.counters if c is row) - sum(
            n for c, n in before.counters if c is row
        )
        row.value += change
        books._taken(use, terms).counters.append((row, change))
        if change:
            books._watch_counter(use, row, row.value - change)
    return version.label


def _book(
    books: Books, account: Account, use: Use, whole: Use, terms: Subscription, plan: Settlement, before: Call,
    after: Call,
) -> None:  # fmt: skip
    """Book, balance by balance, by how much the whole call takes more or less than it did."""
    for balance in plan.grants:
        account.balances.append(balance)
        books._give(use, balance)
    after.balances = []
    same = books.payer(use) == use.subscriber
    payer = terms if same else books._terms(account, books.payer(use), whole)
    for balance in sorted(account.balances, key=lambda each: each.rule.main):
        now = sum(part for each, part in plan.takes if each is balance)
        more = now - sum(part for each, part in before.balances if each is balance)
        if now:
            after.balances.append((balance, now))
        if not more:
            continue
        other = "revenue" if balance.rule.unit == "money" else "usage"
        sides = ("balance", other) if more > 0 else (other, "balance")
        books._book(use, balance, -more, *sides, payer.credit_micros if payer else 0)
        books._taken(use, terms).balances.append((balance, more))
        if balance.rule.shared:
            key = use.subscriber, balance.rule.name, balance.period
            account.drawn[key] = account.drawn.get(key, 0) + more
