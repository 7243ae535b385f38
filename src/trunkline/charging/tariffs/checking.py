"""What a tariff that reads well may still have wrong: names nobody defines, gaps, circles, numbers too large."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from math import lcm

from trunkline.charging.tariffs.calendars import UNCOVERED, usual_week
from trunkline.charging.tariffs.giving import check_giving
from trunkline.charging.tariffs.literals import WEEKDAYS, Measure
from trunkline.charging.tariffs.mistakes import Mistake, Mistakes, Place
from trunkline.charging.tariffs.reader import Reader
from trunkline.charging.tariffs.reading import read
from trunkline.charging.tariffs.tariff import (
    DIALLED,
    FREE,
    HOME,
    MEASURE_OF_KIND,
    MEASURE_OF_UNIT,
    NOT_PRICED,
    UNIT_OF_KIND,
    Balance,
    Counter,
    Named,
    Plan,
    Price,
    Rate,
    Schedule,
    Scope,
    Slot,
    Tariff,
    UsageClass,
)
from trunkline.kernel.money import MICROS
from trunkline.records.charging import Unit
from trunkline.records.usage import Kind

HIGHEST = 2**62
# The longest use that arithmetic must survive: a month's call, a pebibyte, as many events as a month has milliseconds.
MOST_UNITS = {Measure.TIME: 31 * 86_400_000, Measure.OCTETS: 2**50, Measure.BARE: 31 * 86_400_000}
MOST_FALLBACKS = 8
MOST_BITS = 32
Service = tuple[Kind, int, str]


def check(files: Mapping[str, str]) -> list[Mistake]:
    """Every mistake of a tariff, by file and line; an empty list means that it compiles."""
    return checked(files)[1]


def checked(files: Mapping[str, str]) -> tuple[Tariff, list[Mistake]]:
    """The tariff and its mistakes; with any of them it must not be compiled."""
    tariff, mistakes = read(files)
    if tariff.fingerprint:  # else nothing was there to be read
        _Check(tariff, Reader(mistakes)).all()
    return tariff, mistakes.sorted()


class _Check:
    """The checks of one tariff; each is a method without result."""

    def __init__(self, tariff: Tariff, reader: Reader) -> None:
        self.tariff = tariff
        self.reader = reader
        self.mistakes: Mistakes = reader.mistakes
        self.plans = {plan.name for plan in tariff.plans}
        self.zones = {HOME, *tariff.zones}
        self.rates = {FREE, *tariff.rates}

    def all(self) -> None:
        if self.tariff.operator.default_plan:
            self.look_up([self.tariff.operator.default_plan], self.plans, "plan")
        self.zone_networks()
        self.classes()
        for schedule in self.tariff.schedules.values():
            self.schedule(schedule)
        for rate in self.tariff.rates.values():
            self.rate(rate)
        for balance in self.tariff.balances.values():
            self.balance(balance)
        for counter in self.tariff.counters.values():
            self.scope(counter.scope, counter)
        for tax in self.tariff.taxes.values():
            self.look_up(tax.zones or (), self.zones, "zone")
        check_giving(self.reader, self.tariff)
        self.main_balance()
        self.versions()
        self.discounts()
        self.currencies()
        for plan in self.tariff.plans:
            self.plan(plan)
        self.circles()

    def look_up(self, names: Iterable[Named], known: Collection[str], what: str) -> None:
        self.reader.look_up(names, known, what)

    def zone_networks(self) -> None:
        """Each visited network is in one zone."""
        owners: dict[tuple[str, int], str] = {("plmn", plmn): HOME for plmn in self.tariff.operator.home_plmn}
        default = ""
        for zone in self.tariff.zones.values():
            for what, numbers in (("plmn", zone.plmn), ("mcc", zone.mcc)):
                for number in numbers:
                    other = owners.setdefault((what, number), zone.name)
                    if other != zone.name:
                        self.mistakes.add(
                            zone.place,
                            f'{what} {number} is in zone "{other}" and in "{zone.name}"; keep it in one',
                        )
            if zone.default and default:
                self.mistakes.add(
                    zone.place,
                    f'zones "{default}" and "{zone.name}" are both `default`; only one can take the rest of the world',
                )
            default = zone.name if zone.default else default
        if len(self.tariff.zones) >= MOST_BITS:
            self.mistakes.add(
                next(iter(self.tariff.zones.values())).place, f"more than {MOST_BITS - 1} zones; join some"
            )

    def classes(self) -> None:
        """No class stands behind one that takes everything of its kind."""
        takers: dict[Kind, UsageClass] = {}
        for each in self.tariff.classes.values():
            taker = takers.get(each.kind)
            if taker:
                self.mistakes.add(
                    each.place,
                    f'class "{each.name}" never matches: "{taker.name}" (line {taker.place.line}) takes all '
                    f"{each.kind.name.lower()}; put this one above it",
                )
            elif (each.services, each.slices, each.five_qis) == (None, None, None):
                takers[each.kind] = each

    def schedule(self, schedule: Schedule) -> None:
        """Every moment has a band, and every row can match."""
        if len(schedule.bands) > MOST_BITS:
            self.mistakes.add(schedule.place, f'schedule "{schedule.name}" has more than {MOST_BITS} bands')
        for before, row in zip(schedule.rows, schedule.rows[1:], strict=False):
            if before.unconditional:
                self.mistakes.add(
                    row.place,
                    f"this row never matches: the row in line {before.place.line} always does; put this one above it",
                )
        if not schedule.rows:
            return
        for day, segments in enumerate(usual_week(schedule)):
            for start, band in segments:
                if band == UNCOVERED:
                    when = f"{WEEKDAYS[day]} {start // 3600:02d}:{start // 60 % 60:02d}"
                    self.mistakes.add(
                        schedule.place,
                        f'schedule "{schedule.name}" has no band from {when} on; end it with a row of only a `band`',
                    )
                    return

    def rate(self, rate: Rate) -> None:
        """Amounts stay below 2^62, so that the exact arithmetic of 64-bit integers never overflows."""
        counter = self.tariff.counters.get(rate.counter.name) if rate.counter else None
        if rate.counter:
            self.look_up([rate.counter], self.tariff.counters, "counter")
        if counter and counter.unit is Unit.MONEY:
            assert rate.counter is not None
            self.mistakes.add(
                rate.counter.place,
                f'counter "{counter.name}" counts money; tiers are moved by usage, so by time, octets or events',
            )
        elif counter and rate.tier_measure not in {Measure.BARE, MEASURE_OF_UNIT[counter.unit]}:
            self.mistakes.add(
                rate.place,
                f'the tiers of rate "{rate.name}" begin at {rate.tier_measure.value}, '
                f'but counter "{counter.name}" counts {counter.unit.name.lower()}',
            )
        self.exact_range(rate)

    def exact_range(self, rate: Rate) -> None:
        slots = [slot for tier in rate.tiers for slot in tier.slots]
        prices = [increment_micros(slot) for slot in slots]
        most = MOST_UNITS[rate.measure]
        shared = 1 if rate.rounding.each else lcm(*(each.denominator for each in prices))
        step = 10 ** (6 - rate.rounding.decimals)
        for slot, each in zip(slots, prices, strict=True):
            largest = each * shared * (most // slot.increment + 1)
            if max(largest + rate.fee * shared, shared * step * 2) >= HIGHEST:
                self.mistakes.add(
                    slot.place,
                    f'rate "{rate.name}" cannot be computed exactly in 64 bits for the longest use; '
                    "write a lower price, fewer decimals, a rounder `per`, or `rounding: {method: each_increment}`",
                )
                return

    def scope(self, scope: Scope, owner: Balance | Counter) -> None:
        """The names in a scope are known and fit its usage."""
        self.look_up(scope.zones or (), self.zones, "zone")
        self.look_up((*(scope.to or ()), *scope.excluded), self.tariff.destinations, "destination")
        self.look_up(scope.classes or (), self.tariff.classes, "class")
        if scope.to and not DIALLED & set(scope.kinds):
            self.mistakes.add(
                scope.to[0].place,
                f'"{owner.name}" is not about voice or sms, so `to` says nothing; use `classes`',
            )
        if scope.classes and set(scope.kinds) <= DIALLED:
            self.mistakes.add(
                scope.classes[0].place,
                f'"{owner.name}" is about voice or sms only, so `classes` says nothing; use `to`',
            )
        both = {each.name for each in scope.to or ()} & {each.name for each in scope.excluded}
        for name in sorted(both):
            self.mistakes.add(owner.place, f'"{owner.name}" both takes and excepts "{name}"; keep one')

    def balance(self, balance: Balance) -> None:
        """A balance's names are known."""
        self.scope(balance.scope, balance)
        if balance.rated_by:
            self.look_up([balance.rated_by], self.plans, "plan")
        if balance.schedule:
            self.look_up([balance.schedule], self.tariff.schedules, "schedule")
            schedule = self.tariff.schedules.get(balance.schedule.name)
            self.look_up(
                balance.bands,
                schedule.bands if schedule else {each.name for each in balance.bands},
                "band of that schedule",
            )
        if balance.main and balance.unit is not Unit.MONEY:
            self.mistakes.add(
                balance.place,
                f'the main balance "{balance.name}" must be money, because it takes whatever is left to pay',
            )

    def discounts(self) -> None:
        """A discount that asks for other plans knows them."""
        for discount in self.tariff.discounts.values():
            self.look_up(discount.beside, self.plans, "plan")

    def main_balance(self) -> None:
        """One money balance takes what is left over."""
        mains = [balance for balance in self.tariff.balances.values() if balance.main]
        if not mains:
            self.mistakes.add(
                self.tariff.operator.place,
                "no balance is the main one, so nothing pays for what allowances leave over; "
                "write `balances: {main: {unit: money, main: true}}`",
            )
        for balance in mains[1:]:
            self.mistakes.add(
                balance.place,
                f'"{mains[0].name}" (line {mains[0].place.line}) and "{balance.name}" are both `main`; only one can be',
            )

    def versions(self) -> None:
        """Versions of a plan differ in their date."""
        seen: dict[tuple[str, int], Plan] = {}
        for plan in self.tariff.plans:
            other = seen.setdefault((plan.name, plan.effective_us), plan)
            if other is not plan:
                self.mistakes.add(
                    plan.place,
                    f'plan "{plan.name}" has a version of {plan.effective or "no date"} in {other.place.file} line '
                    f"{other.place.line} already; give this one its own `effective` date",
                )

    def currencies(self) -> None:
        """What bills are to be paid in has a rate, and what is said of a currency is used."""
        rates = self.tariff.exchange.rates if self.tariff.exchange else ()
        worth = {"", self.tariff.operator.currency, *(each.currency for each in rates)}
        for plan in self.tariff.plans:
            if plan.billed_in not in worth:
                self.mistakes.add(
                    plan.place,
                    f'plan "{plan.name}" is billed in {plan.billed_in}, and nothing says what that is worth;'
                    " write a rate of it in `exchange`",
                )
        used = {plan.billed_in for plan in self.tariff.plans} - {self.tariff.operator.currency}
        for rule in self.tariff.billing.payable if self.tariff.billing else ():
            if rule.currency not in used:
                self.mistakes.add(
                    rule.place, f"no plan is billed in {rule.currency}; write `billed_in`, or remove this"
                )

    def plan(self, plan: Plan) -> None:
        """A plan's names are known, its prices complete and unambiguous."""
        self.look_up(plan.includes, self.tariff.balances, "balance")
        self.look_up(plan.counters, self.tariff.counters, "counter")
        self.look_up(plan.fallback, self.plans, "plan")
        self.look_up(plan.discounts, self.tariff.discounts, "discount")
        if 0 <= plan.cap < plan.minimum:
            self.mistakes.add(
                plan.place, f'plan "{plan.name}": `cap` is below `minimum`; one of them cannot hold'
            )
        for each in plan.includes:
            balance = self.tariff.balances.get(each.name)
            if balance and not balance.grant and not balance.grant_per_member:
                self.mistakes.add(
                    each.place,
                    f'balance "{each.name}" has no `grant`, so including it gives nothing; add `grant` and `every`',
                )
        if not plan.prices and not plan.fallback:
            self.mistakes.add(
                plan.place, f'plan "{plan.name}" has no prices; write `prices:` or a `fallback`'
            )
        for price in plan.prices:
            self.price(price)
        self.ambiguities(plan)

    def price(self, price: Price) -> None:
        self.look_up(price.zones or (), self.zones, "zone")
        self.look_up(price.to or (), self.tariff.destinations, "destination")
        self.look_up(price.classes or (), self.tariff.classes, "class")
        for each in price.classes or ():
            usage_class = self.tariff.classes.get(each.name)
            if usage_class and usage_class.kind not in price.kinds:
                self.mistakes.add(
                    each.place,
                    f'class "{each.name}" is {usage_class.kind.name.lower()}, which this row does not price',
                )
        if price.schedule:
            self.look_up([price.schedule], self.tariff.schedules, "schedule")
        schedule = self.tariff.schedules.get(price.schedule.name) if price.schedule else None
        bands = [band for band, _ in price.rates if band]
        if schedule and bands:
            self.look_up(bands, schedule.bands, "band of that schedule")
            for missing in sorted(set(schedule.bands) - {band.name for band in bands}):
                self.mistakes.add(
                    price.place,
                    f'no rate for band "{missing}" of schedule "{schedule.name}"; '
                    f"add `{missing}: <rate>`, or `{missing}: none` if it is not sold then",
                )
        elif price.schedule and price.rates and not bands:
            self.mistakes.add(
                price.schedule.place,
                "one rate holds at all times, so `schedule` says nothing; remove it or give a rate for each band",
            )
        self.price_rates(price)

    def price_rates(self, price: Price) -> None:
        """The rates of one row fit its usage and each other."""
        names = [rate for _, rate in price.rates if rate.name != NOT_PRICED]
        self.look_up(names, self.rates, "rate")
        rates = [(each.place, self.tariff.rate(each.name)) for each in names]
        if price.sheet:
            first: dict[str, Place] = {}
            for each in self.tariff.sheets[price.sheet.name]:
                first.setdefault(each.rate, each.place)
            rates += [(place, self.tariff.rate(name)) for name, place in first.items() if name]
        known = [(place, rate) for place, rate in rates if rate]
        if len({rate.free for _, rate in known}) > 1 or (
            any(rate.free for _, rate in known) and len(price.rates) > len(known)
        ):
            self.mistakes.add(
                price.place,
                'zero-rated stands for a whole row; for a band that costs nothing use a rate with `price: "0"`',
            )
        counters = {rate.counter.name for _, rate in known if rate.counter}
        if len(counters) > 1:
            self.mistakes.add(
                price.place,
                "the rates of one row share one counter for their tiers, "
                f"here are {' and '.join(sorted(counters))}; keep one",
            )
        for place, rate in known:
            self.measures(price, place, rate)

    def measures(self, price: Price, place: Place, rate: Rate) -> None:
        for kind in price.kinds:
            counted = MEASURE_OF_KIND.get(kind, Measure.BARE)
            word = kind.name.lower()
            if rate.measure not in {Measure.BARE, counted}:
                self.mistakes.add(
                    place,
                    f'rate "{rate.name}" is per {rate.measure.value}, but {word} is counted in {counted.value}',
                )
            elif rate.measure is Measure.BARE and price.sheet and kind is Kind.VOICE:
                self.mistakes.add(
                    place,
                    f'"{rate.name}": a bare number would be milliseconds; write per, first and next as 60s',
                )
            if rate.record and kind is not Kind.CONTENT:
                self.mistakes.add(place, f"only content brings its own price, {word} does not")
            counter = self.tariff.counters.get(rate.counter.name) if rate.counter else None
            if counter and counter.unit is not UNIT_OF_KIND.get(kind, Unit.EVENTS):
                self.mistakes.add(
                    place,
                    f'the tiers of rate "{rate.name}" follow {counter.unit.name.lower()}, but {word} is not counted so',
                )

    def ambiguities(self, plan: Plan) -> None:
        """One prefix under two names, or two sheets, in one plan: nobody could say which price was meant."""
        owners: dict[tuple[Service, bool, str], tuple[str, Place]] = {}
        for price in plan.prices:
            if price.to is None and price.sheet is None:
                continue
            for service in services(price):
                for digits, owner in self._digits(price):
                    # A named destination may make an exception from a sheet; two names or two sheets are a slip.
                    key = (service, price.sheet is None, digits)
                    other, place = owners.setdefault(key, (owner, price.place))
                    if other != owner and place != price.place:
                        self.mistakes.add(
                            price.place,
                            f"{digits} is in {other} (priced in {place.file} line {place.line}) and in {owner}; "
                            "take it out of one, or nobody can say which price was meant",
                        )
        self.overridden(plan)

    def _digits(self, price: Price) -> list[tuple[str, str]]:
        """The prefixes and numbers that a row prices, and where they come from."""
        if price.sheet:
            return [
                (f"prefix {prefix}", f"sheet {price.sheet.name}")
                for each in self.tariff.sheets[price.sheet.name]
                for prefix in each.prefixes
            ]
        named = [
            self.tariff.destinations[each.name]
            for each in price.to or ()
            if each.name in self.tariff.destinations
        ]
        return [
            (word, f'"{each.name}"')
            for each in named
            for word in (
                *(f"prefix {one.name}" for one in each.prefixes),
                *(f"number {one.name}" for one in each.numbers),
            )
        ]

    def overridden(self, plan: Plan) -> None:
        """A row whose every destination is priced again further down never applies."""
        later: dict[tuple[Service, str], int] = {}
        for price in reversed(plan.prices):
            if price.sheet:
                targets = [f"sheet {price.sheet.name}"]
            else:
                targets = [each.name for each in price.to or price.classes or ()] or ["any"]
            claims = [(service, target) for service in services(price) for target in targets]
            if claims and all(claim in later for claim in claims):
                line = later[claims[0]]
                self.mistakes.add(
                    price.place,
                    f"this row never applies, because line {line} prices the same again; remove one of the two",
                )
            for claim in claims:
                later.setdefault(claim, price.place.line)

    def circles(self) -> None:
        """Fallbacks end, and a balance is not rated by a plan that includes it."""
        after = {
            name: list(
                dict.fromkeys(
                    each.name for plan in self.tariff.plans if plan.name == name for each in plan.fallback
                )
            )
            for name in self.plans
        }
        for plan in self.tariff.plans:
            for each in plan.fallback:
                path = _path(after, each.name, plan.name, [plan.name])
                if path:
                    self.mistakes.add(
                        each.place, f"fallback goes in a circle: {' -> '.join(path)}; take one of them out"
                    )
            if plan.fallback and _depth(after, plan.name, frozenset()) > MOST_FALLBACKS:
                self.mistakes.add(
                    plan.fallback[0].place,
                    f"fallbacks of fallbacks go deeper than {MOST_FALLBACKS}; name the last plan directly",
                )
            for each in plan.includes:
                balance = self.tariff.balances.get(each.name)
                if balance and balance.rated_by and balance.rated_by.name == plan.name:
                    self.mistakes.add(
                        balance.rated_by.place,
                        f'balance "{balance.name}" is rated by plan "{plan.name}", which includes it; '
                        "name a plan of its own for its prices",
                    )


def increment_micros(slot: Slot) -> Fraction:
    """The exact price of one increment in micro-units."""
    return slot.price * MICROS * slot.increment / slot.per


def services(price: Price) -> list[Service]:
    """Every (kind, direction, zone) of a row; `*` stands for every zone."""
    zones = ["*"] if price.zones is None else [zone.name for zone in price.zones]
    return [
        (kind, int(direction), zone)
        for kind in price.kinds
        for direction in price.directions
        for zone in zones
    ]


def _path(after: Mapping[str, list[str]], at: str, goal: str, path: list[str]) -> list[str]:
    """The way from `at` back to `goal`, or nothing."""
    if at == goal:
        return [*path, at]
    if at in path:
        return []
    return next((found for each in after.get(at, ()) if (found := _path(after, each, goal, [*path, at]))), [])


def _depth(after: Mapping[str, list[str]], at: str, seen: frozenset[str]) -> int:
    """How many fallbacks lie behind one another."""
    if at in seen:
        return 0
    return max((1 + _depth(after, each, seen | {at}) for each in after.get(at, ())), default=0)
