"""Accounts: what a subscriber has, what a use takes from it, and the book of every movement.

All members of a group have one account, their owner's; each row says whose it is.

The order of a use: units that allowances cover, from the front; the price of what is left; money from the money
balances in their order, the main balance last and below zero if it must.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.opinion.calendars import at, band, period
from tests.opinion.calls import Call, charge_part
from tests.opinion.calls import take_back as take_back_part
from tests.opinion.pricing import (
    Blocked,
    Unpriced,
    Use,
    chain_of,
    destination_name,
    destinations_of,
    limited_micros,
    price_of,
    quote_micros,
    version_at,
    zone_of,
)
from tests.opinion.quantities import at_least, at_most, rounded
from tests.opinion.tariff import BalanceRule, CounterRule, Price, Tariff, Version

NEVER_S = 2**32 - 1
UNIT_OF_KIND = {"voice": "time", "sms": "events", "data": "octets", "iot": "events", "content": "events"}
KEPT_S = 62 * 86_400


@dataclass
class Subscription:
    """A plan from one moment on."""

    plan: str
    from_s: int
    zone: ZoneInfo
    cycle_day: int
    credit_micros: int = 0
    of: str = ""
    limits: dict[str, int] = field(default_factory=dict)


@dataclass
class Balance:
    """What is left of one grant or top-up."""

    rule: BalanceRule
    number: int
    period: int
    value: int
    granted: int
    valid_from_s: int = 0
    valid_until_s: int = NEVER_S
    of: str = ""
    out_of: Balance | None = None  # the period's own balance that this was carried over from


@dataclass
class Counter:
    """What was used or spent in one period."""

    rule: CounterRule
    period: int
    value: int
    valid_from_s: int
    valid_until_s: int
    of: str = ""


@dataclass
class Account:
    """One subscriber."""

    subscriptions: list[Subscription] = field(default_factory=list)
    balances: list[Balance] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    joined: dict[str, int] = field(default_factory=dict)  # members, and when each joined
    drawn: dict[tuple[str, str, int], int] = field(
        default_factory=dict
    )  # by member, shared balance and period


@dataclass
class Settlement:
    """What a use is about to take."""

    grants: list[Balance] = field(default_factory=list)
    takes: list[tuple[Balance, int]] = field(default_factory=list)
    covered: int = 0
    money: int = 0


@dataclass
class Taken:
    """What one use took, and from where: what it gives back when its source takes it back."""

    use: Use
    terms: Subscription
    balances: list[tuple[Balance, int]] = field(default_factory=list)
    counters: list[tuple[Counter, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """A line of the ledger."""

    seq: int
    subscriber: str
    unit: str
    debit: str
    credit: str
    amount: int
    balance: str
    period: int
    before: int
    after: int
    granted: int
    of: str
    user: str


@dataclass(frozen=True)
class Alert:
    """A threshold that was crossed."""

    seq: int
    subscriber: str
    kind: str
    balance: str
    threshold: int
    period: int


@dataclass(frozen=True)
class Verdict:
    """What became of one use."""

    seq: int
    source: str
    record_id: str
    status: str  # rated, rejected
    reason: str
    subscriber: str
    units: int
    list_micros: int
    charged_micros: int
    allowance_units: int
    destination: str
    plan: str
    late: bool


def _holds(row: Balance | Counter, use: Use) -> bool:
    """Whether the use began within the row's period."""
    return row.valid_from_s <= use.start_us // 1_000_000 < row.valid_until_s


def _kept_s(balance: Balance) -> int:
    """How long a balance waits for late records, and for being carried over."""
    days = {None: 0, "day": 1, "week": 7, "month": 31}[balance.rule.every]
    return KEPT_S + balance.rule.carried_periods * days * 86_400


def _turn(balance: Balance) -> int:
    """The moment by which balances of one priority are ordered: the end, or the beginning of what is carried first."""
    first = balance.out_of is not None and not balance.rule.carried_last
    return balance.valid_from_s if first else balance.valid_until_s


class Books:
    """All accounts, the ledger and the alerts."""

    def __init__(self, tariff: Tariff) -> None:
        """Open empty books under a tariff."""
        self.tariff = tariff
        self.accounts: dict[str, Account] = {}
        self.ledger: list[Entry] = []
        self.alerts: list[Alert] = []
        self.verdicts: list[Verdict] = []
        self.crossed: set[tuple[str, str, str, int, int]] = set()
        self.taken: dict[tuple[str, str], Taken] = {}
        self.owners: dict[str, str] = {}
        self.calls: dict[
            tuple[str, str, str, str, str], list[Call]
        ] = {}  # that are not over, by subscriber, reference, kind and direction
        self.order = {name: number for number, name in enumerate(tariff.balances)}

    def subscribe(
        self,
        subscriber: str,
        plan: str,
        from_s: int = 0,
        zone: ZoneInfo | None = None,
        cycle_day: int | None = None,
        opening_micros: int = 0,
        credit_micros: int = 0,
        owner: str | None = None,
        limits: dict[str, int] | None = None,
    ) -> None:
        """Load one row of the subscribers' list; the opening amount of the main balance counts as its first value."""
        account = self.accounts.setdefault(owner or subscriber, Account())
        if owner:
            self.owners[subscriber] = owner
            account.joined[subscriber] = min(from_s, account.joined.get(subscriber, from_s))
        account.subscriptions.append(
            Subscription(
                plan,
                from_s,
                zone or self.tariff.zone,
                self.tariff.cycle_day if cycle_day is None else cycle_day,
                credit_micros,
                subscriber,
                limits or {},
            )
        )
        for balance in account.balances:
            if balance.rule.ends and balance.period:
                balance.valid_until_s = self._ends_s(
                    account, balance.rule, balance.of, balance.valid_from_s, balance.valid_until_s
                )
        if opening_micros:
            main = self._main(account, subscriber)
            main.value += opening_micros
            main.granted += opening_micros

    def subscribers(self) -> list[str]:
        """Everyone who has an account or tried to use one."""
        return list(dict.fromkeys([*self.accounts, *(verdict.subscriber for verdict in self.verdicts)]))

    def value(self, subscriber: str, balance: str) -> int:
        """What is left of a balance, over all its periods."""
        held = self.accounts[subscriber].balances if subscriber in self.accounts else []
        return sum(each.value for each in held if each.rule.name == balance)

    def charge(self, use: Use) -> Verdict:
        """Rate and charge one use; whatever is refused takes nothing."""
        verdict = self._charge(use)
        self.verdicts.append(verdict)
        return verdict

    def take_back(self, source: str, record_id: str) -> None:
        """Give back what a use took, each amount to where it came from, and nothing else."""
        taken = self.taken.pop((source, record_id), None)
        if taken is not None:
            rows = sorted(
                taken.balances, key=lambda each: (each[0].rule.name, each[0].period, each[0].valid_until_s)
            )
            for balance, part in rows:
                debit = "revenue" if balance.rule.unit == "money" else "usage"
                payer = self.payer(taken.use)
                account = self.accounts[payer]
                terms = taken.terms
                if payer != taken.use.subscriber:
                    terms = self._terms(account, payer, taken.use) or Subscription("", 0, self.tariff.zone, 1)
                self._book(taken.use, balance, part, debit, "balance", terms.credit_micros)
                if balance.rule.shared:
                    account.drawn[taken.use.subscriber, balance.rule.name, balance.period] -= part
        if not take_back_part(self, source, record_id, taken) and taken is not None:
            for counter, change in taken.counters:
                counter.value -= change
                self._watch_counter(taken.use, counter, counter.value + change)
        self.verdicts = [
            replace(verdict, list_micros=0, charged_micros=0, allowance_units=0)
            if (verdict.source, verdict.record_id) == (source, record_id)
            else verdict
            for verdict in self.verdicts
        ]

    def _charge(self, use: Use) -> Verdict:
        use = self._in_our_money(use)
        try:
            version, terms = self._contract(use)
            price = self._price(version, use)
            destination = destination_name(self.tariff, use)
            listed = self._list_price(price, use, terms.zone)
        except Unpriced as refusal:
            return self._verdict(use, "rejected", reason=str(refusal))
        account = self._open(use)
        self._expire(account, use)
        late = self._is_late(account, use)
        if use.session:
            return charge_part(self, account, use, terms, version, price, listed, late)
        if price is None or (use.units == 0 and listed == 0):
            return self._verdict(use, "rated", "", listed, 0, 0, destination, version.label, late)
        try:
            settled = self._plan(account, version, price, listed, use, terms)
        except Unpriced as refusal:
            return self._verdict(use, "rejected", reason=str(refusal))
        except Blocked:
            return self._verdict(use, "rejected", reason="balance_blocked")
        self._carry_out(account, settled, use, terms)
        self._count(account, version, use, terms, settled.money)
        covered = min(settled.covered, use.units)
        return self._verdict(
            use, "rated", "", listed, settled.money, covered, destination, version.label, late
        )

    def _verdict(
        self,
        use: Use,
        status: str,
        reason: str = "",
        listed: int = 0,
        charged: int = 0,
        allowance: int = 0,
        destination: str = "",
        plan: str = "",
        late: bool = False,
    ) -> Verdict:
        return Verdict(
            use.seq,
            use.source,
            use.record_id,
            status,
            reason,
            use.subscriber,
            use.units,
            listed,
            charged,
            allowance,
            destination,
            plan,
            late,
        )

    # -- which contract ------------------------------------------------------------------------------------

    def _contract(self, use: Use) -> tuple[Version, Subscription]:
        if use.currency and use.currency != self.tariff.currency:
            raise Unpriced("wrong_currency")
        account = self.accounts.get(self.payer(use))
        if account is None:
            if self.tariff.default_plan is None:
                raise Unpriced("unknown_subscriber")
            chosen = self._walk_in(use)
        else:
            found = self._terms(account, use.subscriber, use)
            if found is None:
                raise Unpriced("no_plan_at_time")
            chosen = found
        version = version_at(self.tariff, chosen.plan, use.start_us)
        if version is None:
            raise Unpriced("tariff_not_found")
        return version, chosen

    def _in_our_money(self, use: Use) -> Use:
        """A price that the record brings, by the rate of the moment of use."""
        known = [
            (since_us, rate)
            for currency, since_us, rate in self.tariff.exchange
            if currency == use.currency and since_us <= use.start_us
        ]
        if not known:
            return use
        exact = Fraction(use.amount_micros, 10**6) * max(known)[1]
        ours = rounded(exact, self.tariff.exchange_decimals, self.tariff.exchange_mode)
        return replace(use, amount_micros=int(ours * 10**6), currency=self.tariff.currency)

    def payer(self, use: Use) -> str:
        """Whose account a use is taken from."""
        return self.owners.get(use.subscriber, use.subscriber)

    def _terms(self, account: Account, subscriber: str, use: Use) -> Subscription | None:
        held = [
            row
            for row in account.subscriptions
            if row.of == subscriber and row.from_s <= use.start_us // 1_000_000
        ]
        return max(reversed(held), key=lambda row: row.from_s) if held else None  # of two the one given last

    def _walk_in(self, use: Use) -> Subscription:
        plan = self.tariff.default_plan or ""
        return Subscription(plan, 0, self.tariff.zone, self.tariff.cycle_day, of=use.subscriber)

    def _open(self, use: Use) -> Account:
        if self.payer(use) not in self.accounts:
            self.accounts[use.subscriber] = Account([self._walk_in(use)])
        return self.accounts[self.payer(use)]

    def _price(self, version: Version, use: Use) -> Price | None:
        """The row of prices; a use of zero units needs none."""
        try:
            return price_of(self.tariff, version, use)
        except Unpriced:
            if use.units:
                raise
            return None

    def _list_price(self, price: Price | None, use: Use, zone: ZoneInfo) -> int:
        if price is None or self._free(price):
            return 0
        if self._of_record(price):
            return limited_micros(price, use.amount_micros) if use.units else 0
        return limited_micros(price, quote_micros(self.tariff, price, use, zone, 0, use.units, 0, True))

    def _free(self, price: Price) -> bool:
        return price.schedule is None and price.rates[""].free

    def _of_record(self, price: Price) -> bool:
        return price.schedule is None and price.rates[""].of_record

    # -- taking it -----------------------------------------------------------------------------------------

    def _expire(self, account: Account, use: Use) -> None:
        """Write off what ended so long ago that no late record may ask for it."""
        start_s = use.start_us // 1_000_000
        for balance in [held for held in account.balances if held.valid_until_s + _kept_s(held) < start_s]:
            if balance.value > 0:
                self._book(use, balance, -balance.value, "balance", "expired")
            account.balances.remove(balance)
            if balance.rule.shared:  # what members took of it is forgotten with it
                account.drawn = {
                    key: taken
                    for key, taken in account.drawn.items()
                    if key[1:] != (balance.rule.name, balance.period)
                }
        account.counters = [held for held in account.counters if held.valid_until_s + KEPT_S >= start_s]
        for reference, calls in self.calls.items():
            if self.owners.get(reference[0], reference[0]) == self.payer(use):
                for call in calls:
                    call.over |= call.end_us // 1_000_000 + 1 + KEPT_S < start_s

    def _is_late(self, account: Account, use: Use) -> bool:
        """Whether the account has already seen a later period than the use's own."""
        start_s = use.start_us // 1_000_000
        rows: list[Balance | Counter] = [*account.balances, *account.counters]
        concerned = (use.subscriber, self.payer(use))
        return any(row.of in concerned and row.period and row.valid_from_s > start_s for row in rows)

    def _plan(
        self, account: Account, version: Version, price: Price, listed: int, use: Use, terms: Subscription
    ) -> Settlement:
        """What the use would take from which balance; nothing is taken yet."""
        plan = Settlement()
        if self._free(price):
            return plan
        plan.grants = self._due(account, version, use, terms)
        unit_balances = self._eligible(account, plan.grants, use, terms.zone, money=False)
        priced = 0
        taken: dict[tuple[str, int], int] = {}
        for balance in unit_balances:
            remaining = use.units - plan.covered
            if remaining <= 0:
                break
            rule = balance.rule
            want = at_least(Fraction(remaining, rule.increment)) * rule.increment
            left = min(max(balance.value, 0), self._room(account, balance, use, terms, taken))
            has = at_most(Fraction(left) / rule.factor / rule.increment) * rule.increment
            covers = min(want, has)
            if rule.blocker and covers < want:
                raise Blocked
            if covers == 0:
                continue
            if rule.rated_by is not None:
                priced += self._rated_by(
                    account, rule.rated_by, use, terms, plan.covered, plan.covered + covers
                )
            plan.takes.append((balance, at_least(covers * rule.factor)))
            of = rule.name, balance.period
            taken[of] = taken.get(of, 0) + plan.takes[-1][1]
            plan.covered += covers
        if self._of_record(price):
            plan.money = listed if plan.covered < use.units else 0
        else:
            counted = self._tier_value(account, price, use)
            rest = quote_micros(
                self.tariff, price, use, terms.zone, plan.covered, use.units, counted, plan.covered == 0
            )
            plan.money = limited_micros(price, priced + rest)
        rest = plan.money
        for balance in self._eligible(account, plan.grants, use, terms.zone, money=True):
            if rest == 0:
                break
            part = min(rest, max(balance.value, 0), self._room(account, balance, use, terms, taken))
            if balance.rule.blocker and part < rest:
                raise Blocked
            plan.takes.append((balance, part))
            of = balance.rule.name, balance.period
            taken[of] = taken.get(of, 0) + part
            rest -= part
        if rest:
            plan.takes.append((self._main(account, self.payer(use)), rest))
        return plan

    def _room(
        self,
        account: Account,
        balance: Balance,
        use: Use,
        terms: Subscription,
        taken: dict[tuple[str, int], int],
    ) -> int:
        """What the user may still take of a shared balance in its period, behind what this use takes already."""
        rule = balance.rule
        limit = terms.limits.get(rule.name, rule.member_limit) if rule.shared else None
        if limit is None:
            return 2**63
        so_far = account.drawn.get((use.subscriber, rule.name, balance.period), 0)
        return max(limit - so_far - taken.get((rule.name, balance.period), 0), 0)

    def _give(self, use: Use, balance: Balance) -> None:
        """Book what a period gives, or what is carried over from an earlier one."""
        balance.value = 0
        if balance.out_of is None:
            self._book(use, balance, balance.granted, "grants", "balance")
        else:
            self._book(use, balance.out_of, -balance.granted, "balance", "carried")
            self._book(use, balance, balance.granted, "carried", "balance")

    def _carry_out(self, account: Account, plan: Settlement, use: Use, terms: Subscription) -> None:
        for balance in plan.grants:
            account.balances.append(balance)
            self._give(use, balance)
        payer = terms if self.payer(use) == use.subscriber else self._terms(account, self.payer(use), use)
        for balance, part in plan.takes:
            if part:
                credit = "revenue" if balance.rule.unit == "money" else "usage"
                self._book(use, balance, -part, "balance", credit, payer.credit_micros if payer else 0)
                self._taken(use, terms).balances.append((balance, part))
                if balance.rule.shared:
                    key = use.subscriber, balance.rule.name, balance.period
                    account.drawn[key] = account.drawn.get(key, 0) + part

    def _rated_by(
        self, account: Account, plan: str, use: Use, terms: Subscription, begin: int, end: int
    ) -> int:
        version = version_at(self.tariff, plan, use.start_us)
        if version is None:
            raise Unpriced("tariff_not_found")
        price = price_of(self.tariff, version, use)
        if self._free(price):
            return 0
        counted = self._tier_value(account, price, use)
        return quote_micros(self.tariff, price, use, terms.zone, begin, end, counted, begin == 0)

    def _main(self, account: Account, payer: str) -> Balance:
        for balance in account.balances:
            if balance.rule.main:
                return balance
        rule = self.tariff.main
        balance = Balance(rule, self.order[rule.name], 0, 0, 0, of=payer)
        account.balances.append(balance)
        return balance

    def _book(
        self, use: Use, balance: Balance, change: int, debit: str, credit: str, credit_micros: int = 0
    ) -> None:
        before = balance.value
        balance.value += change
        entry = Entry(
            use.seq,
            self.payer(use),
            balance.rule.unit,
            debit,
            credit,
            abs(change),
            balance.rule.name,
            balance.period,
            before,
            balance.value,
            credit_micros if balance.rule.main else balance.granted,
            balance.of,
            use.subscriber,
        )
        self.ledger.append(entry)
        if balance.out_of is None and "carried" not in (debit, credit):
            self._watch_balance(entry, balance.rule)

    def _due(self, account: Account, version: Version, use: Use, terms: Subscription) -> list[Balance]:
        """This period's allowances of the plan that the use could draw on and that were not given yet."""
        due = []
        payer = self.payer(use)
        wanted = [(name, terms, use.subscriber) for name in version.includes]
        if payer != use.subscriber:
            wanted = [each for each in wanted if not self.tariff.balances[each[0]].shared]
            owner = self._terms(account, payer, use)
            theirs = version_at(self.tariff, owner.plan, use.start_us) if owner else None
            if owner and theirs:
                wanted += [(n, owner, payer) for n in theirs.includes if self.tariff.balances[n].shared]
        for name, of_terms, of in wanted:
            rule = self.tariff.balances[name]
            if not self._serves(rule, use, terms.zone):
                continue
            if any(
                held.rule is rule and held.of == of and held.out_of is None and _holds(held, use)
                for held in account.balances
            ):
                continue
            span = period(rule.every, of_terms.zone, of_terms.cycle_day, use.start_us)
            now_s = use.start_us // 1_000_000
            if rule.carried_periods:
                due += self._carried(account, rule, of, of_terms, span, now_s)
            due.append(self._granted(account, rule, of, of_terms.zone, span, now_s))
        return due

    # -- renewals and changes of plan ----------------------------------------------------------------------

    def _offered(self, account: Account, rule: BalanceRule, of: str, second: int) -> bool:
        """Whether the plan of somebody at a moment includes an allowance."""
        plans = [each for each in account.subscriptions if each.of == of and each.from_s <= second]
        if not plans:
            return False
        newest = max(reversed(plans), key=lambda each: each.from_s)
        version = version_at(self.tariff, newest.plan, second * 1_000_000)
        return version is not None and rule.name in version.includes

    def _granted(
        self,
        account: Account,
        rule: BalanceRule,
        of: str,
        zone: ZoneInfo,
        span: tuple[int, int, int],
        now_s: int,
    ) -> Balance:
        """The allowance of a period; of a plan that began or ends within it only what the rule says."""
        number, first_s, after_s = span
        members = 1 + sum(since < after_s for since in account.joined.values())
        grant = rule.grant + rule.grant_per_member * members
        begins_s, ends_s = first_s, after_s
        if rule.by_day or rule.ends:
            changes = sorted({each.from_s for each in account.subscriptions if each.of == of}, reverse=True)
            for change in changes:
                if first_s < change <= now_s and not self._offered(account, rule, of, change - 1):
                    begins_s = change
                    break
        if rule.ends:
            ends_s = self._ends_s(account, rule, of, now_s, after_s)
        if rule.by_day and begins_s > first_s:
            first, begin, after = (
                at(second * 1_000_000).astimezone(zone).date() for second in (first_s, begins_s, after_s)
            )
            share = Fraction(grant * (after - begin).days, (after - first).days)
            grant = min(grant, int(rounded(share / rule.day_step, 0, rule.day_way)) * rule.day_step)
        return Balance(rule, self.order[rule.name], number, grant, grant, begins_s, ends_s, of)

    def _ends_s(self, account: Account, rule: BalanceRule, of: str, now_s: int, after_s: int) -> int:
        """When a plan takes over, behind a moment, that does not include an allowance; else `after_s`."""
        changes = sorted(each.from_s for each in account.subscriptions if each.of == of)
        gone = [
            change
            for change in changes
            if now_s < change < after_s and not self._offered(account, rule, of, change)
        ]
        return gone[0] if gone else after_s

    def _carried(
        self,
        account: Account,
        rule: BalanceRule,
        of: str,
        terms: Subscription,
        span: tuple[int, int, int],
        now_s: int,
    ) -> list[Balance]:
        """What comes along from the periods before: own balances of those that nobody used, and what is carried."""
        own = [
            each
            for each in account.balances
            if each.rule is rule and each.of == of and each.period and each.out_of is None
        ]
        ended = [each for each in own if each.valid_until_s <= now_s]
        if not ended or any(each.valid_from_s >= span[2] for each in own):
            return []
        newest = max(ended, key=lambda each: each.valid_until_s)
        found: list[Balance] = []
        spans = [span]
        for back in range(1, rule.carried_periods + 1):
            edge_s = spans[-1][1]
            number, first_s, _ = period(rule.every, terms.zone, terms.cycle_day, (edge_s - 1) * 1_000_000)
            spans.append((number, first_s, edge_s))
            source: Balance | None = None
            if newest.valid_until_s > first_s:
                source = newest
            elif self._offered(account, rule, of, edge_s - 1):
                source = self._granted(account, rule, of, terms.zone, spans[-1], edge_s - 1)
                found.append(source)
            if source is not None and self._offered(account, rule, of, source.valid_until_s):
                last_s = span[2]
                for _ in range(rule.carried_periods - back):
                    last_s = period(rule.every, terms.zone, terms.cycle_day, last_s * 1_000_000)[2]
                if rule.ends:
                    last_s = self._ends_s(account, rule, of, source.valid_until_s, last_s)
                amount = int(rounded(source.value * rule.carried_share, 0, rule.carried_way))
                if rule.carried_most is not None:
                    amount = min(amount, rule.carried_most)
                if amount > 0 and last_s > now_s:
                    found.append(
                        Balance(
                            rule,
                            self.order[rule.name],
                            source.period + 2**15,
                            amount,
                            amount,
                            source.valid_from_s,
                            last_s,
                            of,
                            source,
                        )
                    )
            if source is newest:
                break
        return found

    def _eligible(
        self, account: Account, granted: list[Balance], use: Use, zone: ZoneInfo, money: bool
    ) -> list[Balance]:
        """The balances that may pay, in their order; the main balance is not among them."""
        start_s = use.start_us // 1_000_000
        return sorted(
            (
                balance
                for balance in account.balances + granted
                if (balance.rule.unit == "money") == money
                and not balance.rule.main
                and (balance.of == use.subscriber or (balance.rule.shared and balance.of == self.payer(use)))
                and balance.valid_from_s <= start_s < balance.valid_until_s
                and self._serves(balance.rule, use, zone)
            ),
            key=lambda balance: (balance.rule.priority, _turn(balance), balance.number, balance.period),
        )

    def _serves(self, rule: BalanceRule, use: Use, zone: ZoneInfo) -> bool:
        if use.kind not in rule.kinds or use.direction not in rule.directions:
            return False
        if rule.unit not in ("money", UNIT_OF_KIND[use.kind]):
            return False
        if rule.zones is not None and zone_of(self.tariff, use.visited_plmn) not in rule.zones:
            return False
        if (
            rule.schedule is not None
            and band(self.tariff.schedules[rule.schedule], zone, use.start_us) not in rule.bands
        ):
            return False
        return self._goes_to(use, rule)

    def _goes_to(self, use: Use, rule: BalanceRule | CounterRule) -> bool:
        """Whether the use goes to one of the rule's destinations (calls, messages) or classes (the rest)."""
        found = destinations_of(self.tariff, use)
        if use.kind not in ("voice", "sms"):
            return rule.classes is None or any(name in rule.classes for _, name in found)
        if rule.to is None:
            return True
        concerned = [(length, name) for length, name in found if name in rule.to + rule.excluded]
        longest = [name for length, name in concerned if length == concerned[0][0]]
        return bool(longest) and not any(name in rule.excluded for name in longest)

    # -- counting ------------------------------------------------------------------------------------------

    def _tier_value(self, account: Account, price: Price, use: Use) -> int:
        """What the price's tier counter holds in the use's period, before the use."""
        for rate in price.rates.values():
            if rate.counter is not None:
                rule = self.tariff.counters[rate.counter]
                return sum(
                    held.value
                    for held in account.counters
                    if held.rule is rule and held.of == use.subscriber and _holds(held, use)
                )
        return 0

    def _count(self, account: Account, version: Version, use: Use, terms: Subscription, charged: int) -> None:
        for counter, change in self._counted(account, version, use, terms, charged):
            counter.value += change
            self._taken(use, terms).counters.append((counter, change))
            self._watch_counter(use, counter, counter.value - change)

    def _counted(
        self, account: Account, version: Version, use: Use, terms: Subscription, charged: int
    ) -> list[tuple[Counter, int]]:
        """Which counters count a use, and how much each."""
        counted = []
        for name in self._kept_counters(version, use):
            rule = self.tariff.counters[name]
            if rule.unit == "money":
                change = charged
            else:
                change = use.units if rule.unit == UNIT_OF_KIND[use.kind] else 0
            if change == 0 or not self._counts(rule, use):
                continue
            number, first_s, after_s = period(rule.every, terms.zone, terms.cycle_day, use.start_us)
            found = [
                held
                for held in account.counters
                if held.rule is rule and held.of == use.subscriber and _holds(held, use)
            ]
            counter = found[0] if found else Counter(rule, number, 0, first_s, after_s, use.subscriber)
            if not found:
                account.counters.append(counter)
            counted.append((counter, change))
        return counted

    def _taken(self, use: Use, terms: Subscription) -> Taken:
        return self.taken.setdefault((use.source, use.record_id), Taken(use, terms))

    def _kept_counters(self, version: Version, use: Use) -> list[str]:
        """The counters that a plan names, and those that move the tiers of its prices and of its fallbacks'."""
        names = list(version.counters)
        for plan in chain_of(self.tariff, version, use.start_us):
            names += [
                rate.counter
                for price in plan.prices
                for rate in price.rates.values()
                if rate.counter is not None
            ]
        return list(dict.fromkeys(names))

    def _counts(self, rule: CounterRule, use: Use) -> bool:
        if use.kind not in rule.kinds:
            return False
        if rule.zones is not None and zone_of(self.tariff, use.visited_plmn) not in rule.zones:
            return False
        return self._goes_to(use, rule)

    # -- telling -------------------------------------------------------------------------------------------

    def _watch_balance(self, entry: Entry, rule: BalanceRule) -> None:
        for mark in rule.thresholds:
            if entry.granted > 0:
                used = [
                    (entry.granted - value) * 100_000 // entry.granted
                    for value in (entry.before, entry.after)
                ]
                self._watch_rising(entry, rule.name, "allowance", entry.period, mark, rule.hysteresis, used)
        for mark in rule.low:
            credit = entry.granted if rule.main else 0
            before, after = entry.before + credit, entry.after + credit
            key = (entry.of, "balance", rule.name, entry.period, mark)
            if before >= mark > after:
                self._tell(key, entry.seq, "low_balance", entry.user if rule.shared else entry.of)
            elif before < mark + rule.hysteresis <= after:
                self.crossed.discard(key)

    def _watch_counter(self, use: Use, counter: Counter, before: int) -> None:
        rule = counter.rule
        for mark in rule.thresholds:
            if rule.cap:
                spent = [value * 100_000 // rule.cap for value in (before, counter.value)]
                self._watch_rising(use, rule.name, "spend_cap", counter.period, mark, rule.hysteresis, spent)

    def _watch_rising(
        self,
        cause: Entry | Use,
        name: str,
        kind: str,
        number: int,
        mark: int,
        hysteresis: int,
        values: list[int],
    ) -> None:
        """Tell when thousandths of a percent rise to the mark; arm again when they fall by the hysteresis."""
        before, after = values
        of = cause.of if isinstance(cause, Entry) else cause.subscriber
        key = (of, "counter" if kind == "spend_cap" else "balance", name, number, mark)
        if before < mark * 1000 <= after:
            shared = isinstance(cause, Entry) and self.tariff.balances[name].shared
            self._tell(key, cause.seq, kind, cause.user if shared and isinstance(cause, Entry) else of)
        elif before > (mark - hysteresis) * 1000 >= after:
            self.crossed.discard(key)

    def _tell(self, key: tuple[str, str, str, int, int], seq: int, kind: str, user: str) -> None:
        """Tell whose it is, and of what is shared also who crossed the mark."""
        if key in self.crossed:
            return
        self.crossed.add(key)
        owner, _, balance, number, mark = key
        for subscriber in dict.fromkeys((owner, user)):
            self.alerts.append(Alert(seq, subscriber, kind, balance, mark, number))
