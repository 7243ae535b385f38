"""A tariff in words: rows that a clerk can read, and what changed between two tariffs, by meaning.

Where a rate is defined, in which file, and in which order of lines does not matter here; what somebody pays does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from fractions import Fraction

from trunkline.charging.tariffs.bill_rules import FOREVER_US, By, ProRata
from trunkline.charging.tariffs.billing import UNITS
from trunkline.charging.tariffs.checking import checked
from trunkline.charging.tariffs.exchange_rules import rate_text
from trunkline.charging.tariffs.literals import DAY_S, WEEKDAYS, Measure
from trunkline.charging.tariffs.mistakes import TariffError, nearest
from trunkline.charging.tariffs.tariff import (
    ANY,
    MEASURE_OF_UNIT,
    NOT_PRICED,
    PERIODS,
    Balance,
    BillDiscount,
    Billing,
    BillTax,
    Bonus,
    Counter,
    Named,
    Operator,
    PayableRule,
    Plan,
    PlanFee,
    Price,
    Rate,
    RateRounding,
    Schedule,
    ScheduleRow,
    Scope,
    SheetPrice,
    Slot,
    Tariff,
    Transfer,
)
from trunkline.kernel import money
from trunkline.records.bills import Charge
from trunkline.records.charging import Unit

Row = dict[str, str]
PERIOD_NAMES = {number: name for name, number in PERIODS.items()}
TIMES = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))
VOLUMES = (
    (10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"),
    (2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"),
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """What `trunkline tariff show` prints: one list of rows a table."""

    operator: Row
    plans: tuple[Row, ...]
    prices: tuple[Row, ...]
    balances: tuple[Row, ...]
    counters: tuple[Row, ...]
    schedules: tuple[Row, ...]
    discounts: tuple[Row, ...]
    taxes: tuple[Row, ...]
    transfers: tuple[Row, ...]
    bonuses: tuple[Row, ...]
    exchange: tuple[Row, ...]


@dataclass(frozen=True)
class Change:
    """One difference between two tariffs; an empty side is a thing that is not there."""

    what: str
    before: str
    after: str


def describe(files: Mapping[str, str], plan: str | None = None) -> Description:
    """A tariff, or one plan of it, in words; TariffError for mistakes, ValueError for a plan that does not exist."""
    tariff = _sound(files)
    names = dict.fromkeys(each.name for each in tariff.plans)
    if plan is not None and plan not in names:
        raise ValueError(f'no plan is called "{plan}"{nearest(plan, names)}')
    plans = [version for name in names if plan in {None, name} for version in tariff.versions(name)]
    schedules = {price.schedule.name for each in plans for price in each.prices if price.schedule}
    balances = {each.name for version in plans for each in version.includes}
    counters = {each.name for version in plans for each in version.counters}
    used = [
        tariff.rate(rate.name) for version in plans for price in version.prices for _, rate in price.rates
    ]
    counters |= {rate.counter.name for rate in used if rate and rate.counter}
    return Description(
        _operator(tariff.operator),
        tuple(_plan(each) for each in plans),
        tuple(row for each in plans for row in _prices(tariff, each)),
        tuple(
            _balance(each)
            for each in tariff.balances.values()
            if plan is None or each.main or each.name in balances
        ),
        tuple(_counter(each) for each in tariff.counters.values() if plan is None or each.name in counters),
        tuple(
            row
            for each in tariff.schedules.values()
            if plan is None or each.name in schedules
            for row in _schedule(each)
        ),
        tuple(
            _discount(tariff, each)
            for each in tariff.discounts.values()
            if plan is None or any(each.name == named.name for one in plans for named in one.discounts)
        ),
        tuple(_tax(each) for each in tariff.taxes.values()),
        tuple(
            _transfer(tariff, each)
            for each in tariff.transfers.values()
            if plan is None or tariff.balances[each.name].main or each.name in balances
        ),
        tuple(
            _bonus(tariff, each)
            for each in tariff.bonuses.values()
            if plan is None or each.plans is None or plan in {named.name for named in each.plans}
        ),
        tuple(_exchange(tariff)),
    )


def compare(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """What the second tariff means that the first did not, and the other way round, sorted by what it concerns."""
    old, new = _meaning(_sound(before)), _meaning(_sound(after))
    return [
        Change(what, old.get(what, ""), new.get(what, ""))
        for what in sorted(old.keys() | new.keys())
        if old.get(what, "") != new.get(what, "")
    ]


def _sound(files: Mapping[str, str]) -> Tariff:
    tariff, mistakes = checked(files)
    if mistakes:
        raise TariffError(mistakes)
    return tariff


# -- rows --------------------------------------------------------------------------------------------------


def _operator(operator: Operator) -> Row:
    return {
        "name": operator.name,
        "currency": operator.currency,
        "time zone": operator.time_zone,
        "country code": operator.country_code,
        "home networks": _list(operator.home_plmn),
        "cycle day": str(operator.cycle_day),
        "default plan": operator.default_plan.name if operator.default_plan else "",
        "rounding": _rounding(operator.rounding),
    }


def _billing(billing: Billing | None) -> Row:
    """How bills round and when they are due; nothing when the tariff says nothing of it."""
    if billing is None:
        return {}
    return {
        "decimals": "" if billing.line_decimals is None else str(billing.line_decimals),
        "rounding": billing.mode.name.lower(),
        "due": f"{billing.due_days} days",
        "late": f"{billing.late_days} days" if billing.late_days else "",
        "payable": _list(map(_payable, billing.payable)),
    }


def _payable(rule: PayableRule) -> str:
    decimals = "" if rule.decimals is None else f" to {rule.decimals} decimals"
    return f"{rule.currency}{f' {rule.mode.name.lower()}' if rule.mode else ''}{decimals}"


def _exchange(tariff: Tariff) -> Iterator[Row]:
    """What other currencies are worth, and how an amount is rounded."""
    rules = tariff.exchange
    if rules is None:
        return
    for rate in rules.rates:
        yield {
            "currency": rate.currency,
            "since": _moment(rate.since_us) or "always",
            "rate": rate_text(rate.ours, rate.theirs, tariff.operator.currency, rate.currency),
            "source": rate.source,
            "rounding": f"{rules.mode.name.lower()} to {rules.decimals} decimals",
        }


def _plan(plan: Plan) -> Row:
    return {
        "plan": plan.name,
        "effective": plan.effective or "always",
        "payment": "postpaid" if plan.postpaid else "prepaid",
        "includes": _names(plan.includes),
        "counters": _names(plan.counters),
        "fallback": _names(plan.fallback),
        "fees": _list(map(_fee, plan.fees)),
        "discounts": _names(plan.discounts),
        "minimum": money.to_text(plan.minimum) if plan.minimum else "",
        "cap": money.to_text(plan.cap) if plan.cap >= 0 else "",
        "billed in": plan.billed_in,
    }


def _fee(fee: PlanFee) -> str:
    how = "once" if fee.once else "a month" + (" in full" if fee.pro_rata is ProRata.NONE else " by the day")
    return f"{fee.name} {money.to_text(fee.amount)} {how}"


def _charges(charges: tuple[Charge, ...]) -> str:
    return ANY if len(charges) == len(Charge) else _list(charge.name.lower() for charge in charges)


def _percent(millionths: int) -> str:
    return f"{_decimal(Fraction(millionths, 10_000))} %"


def _tier_start(discount: BillDiscount, start: int) -> str:
    """Where a tier begins, in what it is counted in."""
    if discount.by is By.AMOUNT:
        return money.to_text(start)
    if discount.by is By.UNITS:
        return _amount(start, UNITS[discount.charges[0]])
    return f"{start} {discount.by.name.lower()}"


def _discount(tariff: Tariff, discount: BillDiscount) -> Row:
    at = list(tariff.discounts).index(discount.name)
    return {
        "discount": discount.name,
        "order": str(at + 1),
        "of": _charges(discount.charges),
        "percent": _list(
            _percent(tier.millionths)
            + (f" from {_tier_start(discount, tier.start)} on" if tier.start else "")
            for tier in discount.tiers
        ),
        "with": _names(discount.beside),
        "after": f"{discount.after_months} months" if discount.after_months else "",
    }


def _tax(tax: BillTax) -> Row:
    return {
        "tax": tax.name,
        "label": tax.label,
        "percent": _percent(tax.millionths) + (" included" if tax.included else ""),
        "of": _charges(tax.charges),
        "zones": _zones(tax.zones),
        "time zones": ANY if tax.time_zones is None else _names(tax.time_zones),
        "from": _moment(tax.from_us),
        "until": _moment(tax.until_us),
        "rounding": f"{tax.mode.name.lower()}"
        + ("" if tax.decimals is None else f" to {tax.decimals} decimals"),
    }


def _transfer(tariff: Tariff, transfer: Transfer) -> Row:
    unit = tariff.balances[transfer.name].unit
    share = ""
    if transfer.millionths:
        share = f" and {_percent(transfer.millionths)}, {transfer.mode.name.lower()}"
        share += "" if transfer.decimals is None else f" to {transfer.decimals} decimals"
    return {
        "transfer": transfer.name,
        "least": _amount(transfer.least, unit),
        "most": _amount(transfer.most, unit),
        "fee": money.to_text(transfer.fee) + share,
    }


def _bonus(tariff: Tariff, bonus: Bonus) -> Row:
    return {
        "bonus": bonus.name,
        "gives": f"{_amount(bonus.amount, tariff.balances[bonus.balance.name].unit)} of {bonus.balance.name}",
        "for a top-up of": money.to_text(bonus.above),
        "valid": f"{bonus.valid_days} days",
        "once every": PERIOD_NAMES[bonus.period],
        "plans": ANY if bonus.plans is None else _names(bonus.plans),
        "from": _moment(bonus.from_us),
        "until": _moment(bonus.until_us),
    }


def _moment(us: int) -> str:
    """A moment in UTC; nothing at either end of time."""
    if abs(us) >= FOREVER_US:
        return ""
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%dT%H:%MZ}"


def _prices(tariff: Tariff, plan: Plan) -> list[Row]:
    """The rows of a plan's prices in the written order, bands and rows of sheets apart."""
    return [
        {
            "plan": plan.version,
            "usage": _list(kind.name.lower() for kind in price.kinds),
            "direction": _list(direction.name.lower() for direction in price.directions),
            "zones": _zones(price.zones),
            "to": to,
            "when": when,
            "price": text,
            "limits": limits,
        }
        for price in plan.prices
        for to, when, text, limits in _terms(tariff, price)
    ]


def _terms(tariff: Tariff, price: Price) -> list[tuple[str, str, str, str]]:
    """What a row of prices comes to: destination or class, band, price, limits."""
    if price.sheet:
        return [
            (
                f"{each.destination} ({'|'.join(each.prefixes)})",
                "",
                _rate_text(tariff, each.rate),
                _limits(each),
            )
            for each in tariff.sheets[price.sheet.name]
        ]
    to = _names(price.to or price.classes or ()) or ANY
    return [
        (to, band.name if band else "", _rate_text(tariff, rate.name), _limits(price))
        for band, rate in price.rates
    ]


def _balance(balance: Balance) -> Row:
    row = {
        "balance": balance.name,
        "unit": balance.unit.name.lower(),
        "priority": "last" if balance.main else str(balance.priority),
        "grant": f"{_amount(balance.grant, balance.unit)} every {PERIOD_NAMES[balance.period]}"
        if balance.period
        else "",
        "for": _scope(balance.scope),
        "when": f"{balance.schedule.name}: {_names(balance.bands)}" if balance.schedule else "",
        "taken in": ""
        if balance.unit is Unit.MONEY
        else f"steps of {_amount(balance.increment, balance.unit)}",
        "rated by": balance.rated_by.name if balance.rated_by else "",
        "warns": _list(_amount(mark, balance.unit) for mark in balance.low)
        or _list(f"{mark} %" for mark in balance.thresholds),
        "armed again after": _amount(balance.hysteresis, balance.unit)
        if balance.low
        else f"{balance.hysteresis} %",
    }
    if balance.factor != 1:
        row["taken in"] += f", {_decimal(balance.factor)} for each 1 used"
    if balance.blocker:
        row["taken in"] += "; nothing after it may be used"
    row["shared"] = _sharing(balance)
    row["left at renewal"] = _rollover(balance)
    row["plan changes"] = _on_change(balance)
    return row


def _rollover(balance: Balance) -> str:
    """What becomes of what is left of a period, in words; empty for what is granted once and for all."""
    rule = balance.rollover
    if rule is None:
        return "ends" if balance.period else ""
    text = f"{_percent(rule.millionths)} carried over"
    if rule.millionths < 1_000_000:
        text += f", rounded {rule.mode.name.lower()}"
    if rule.most is not None:
        text += f", at most {_amount(rule.most, balance.unit)}"
    text += f", for {rule.periods} {PERIOD_NAMES[balance.period]}{'s' if rule.periods > 1 else ''}"
    return text + f", used {'last' if rule.last else 'first'}"


def _on_change(balance: Balance) -> str:
    """What a change of plan within a period does to an allowance, in words."""
    if not balance.period:
        return ""
    begins = "begins whole"
    if balance.by_day is not None:
        step = _amount(balance.by_day.step, balance.unit)
        begins = f"begins by the day, rounded {balance.by_day.mode.name.lower()} to {step}"
    return f"{begins}, {'ends' if balance.ends else 'stays'}"


def _sharing(balance: Balance) -> str:
    """Who shares a balance, in words; empty where it is one subscriber's own."""
    if not balance.shared:
        return ""
    text = "by all members"
    if balance.grant_per_member:
        text += f", {_amount(balance.grant_per_member, balance.unit)} more for each"
    if balance.member_limit is not None:
        text += f", at most {_amount(balance.member_limit, balance.unit)} a member"
    return text


def _counter(counter: Counter) -> Row:
    return {
        "counter": counter.name,
        "unit": counter.unit.name.lower(),
        "every": PERIOD_NAMES.get(counter.period, ""),
        "for": _scope(counter.scope),
        "cap": _amount(counter.cap, counter.unit) if counter.cap else "",
        "warns": _list(f"{mark} %" for mark in counter.thresholds),
        "armed again after": f"{counter.hysteresis} %",
    }


def _schedule(schedule: Schedule) -> list[Row]:
    return [{"schedule": schedule.name, "band": row.band, "when": _when(row)} for row in schedule.rows]


# -- words -------------------------------------------------------------------------------------------------


def _list(words: Iterable[object]) -> str:
    return ", ".join(str(word) for word in words)


def _names(names: Iterable[Named]) -> str:
    return _list(each.name for each in names)


def _zones(zones: tuple[Named, ...] | None) -> str:
    return ANY if zones is None else _names(zones)


def _scope(scope: Scope) -> str:
    """Usage, destinations or classes, directions and zones of a balance or counter."""
    parts = [_list(kind.name.lower() for kind in scope.kinds)]
    parts += [f"to {_names(scope.to)}"] if scope.to is not None else []
    parts += [f"except {_names(scope.excluded)}"] if scope.excluded else []
    parts += [f"classes {_names(scope.classes)}"] if scope.classes is not None else []
    parts += [_list(direction.name.lower() for direction in scope.directions)]
    return f"{'; '.join(parts)}; zones {_zones(scope.zones)}"


def _decimal(value: Fraction) -> str:
    """A price as written: exact, at least two decimals."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    digits = max(digits, 2)
    whole, rest = divmod(int(value * 10**digits), 10**digits)
    return f"{whole}.{rest:0{digits}d}"


def _quantity(units: int, measure: Measure) -> str:
    """Units in the largest unit that says them whole."""
    sizes = {Measure.TIME: TIMES, Measure.OCTETS: VOLUMES, Measure.BARE: ((1, ""),)}[measure]
    if units == 0:
        return f"0{sizes[-1][1]}"
    fitting = [(units // size, suffix) for size, suffix in sizes if units % size == 0]
    count, suffix = min(fitting, key=lambda each: (each[0] == 0, each[0]))
    return f"{count}{suffix}"


def _amount(units: int, unit: Unit) -> str:
    return money.to_text(units) if unit is Unit.MONEY else _quantity(units, MEASURE_OF_UNIT[unit])


def _seconds(units: int, measure: Measure) -> str:
    """Durations of prices in seconds, as price lists have them; anything else in its largest unit."""
    if measure is Measure.TIME:
        return f"{units // 1000}s" if units % 1000 == 0 else f"{units}ms"
    return _quantity(units, measure)


def _rate_text(tariff: Tariff, name: str) -> str:
    """What a rate costs."""
    rate = tariff.rate(name)
    if name == NOT_PRICED or rate is None:
        return "not sold"
    if rate.free:
        return "free"
    fee = f" + {money.to_text(rate.fee)} once" if rate.fee else ""
    if rate.record:
        return f"the record's own price{fee}"
    start = Measure.BARE if rate.counter is None else rate.tier_measure
    tiers = [
        (f"after {_quantity(tier.start, start)}: " if tier.start else "") + _slots_text(tier.slots, rate)
        for tier in rate.tiers
    ]
    counted = f" (tiers by {rate.counter.name})" if rate.counter else ""
    rounding = "" if rate.rounding == RateRounding() else f", {_rounding(rate.rounding)}"
    return f"{'; '.join(tiers)}{counted}{fee}{rounding}"


def _slots_text(slots: tuple[Slot, ...], rate: Rate) -> str:
    """One price with a first and a next increment, or slots."""
    first = slots[0]
    per, by = _seconds(first.per, rate.measure), _seconds(first.increment, rate.measure)
    text = f"{_decimal(first.price)} per {per} by {by}"
    if len(slots) == 2 and (slots[1].price, slots[1].per, slots[1].start) == (
        first.price,
        first.per,
        first.increment,
    ):
        return f"{text}, then {_seconds(slots[1].increment, rate.measure)}"
    later = (
        f", from {_seconds(slot.start, rate.measure)} {_decimal(slot.price)} per {_seconds(slot.per, rate.measure)} "
        f"by {_seconds(slot.increment, rate.measure)}"
        for slot in slots[1:]
    )
    return text + "".join(later)


def _rounding(rounding: RateRounding) -> str:
    text = f"rounded {rounding.mode.name.lower()} to {rounding.decimals} decimals"
    if rounding.each:
        text += (
            f", each increment first {rounding.increment_mode.name.lower()} to {rounding.increment_decimals}"
        )
    return text


def _limits(price: Price | SheetPrice) -> str:
    parts = [f"at least {money.to_text(price.min_charge)}"] if price.min_charge else []
    parts += [f"at most {money.to_text(price.max_cost)}"] if price.max_cost >= 0 else []
    parts += [f"ends at {money.to_text(price.end_at_cost)}"] if price.end_at_cost >= 0 else []
    return ", ".join(parts)


def _when(row: ScheduleRow) -> str:
    parts = [_list(WEEKDAYS[day] for day in sorted(row.days))] if row.days is not None else []
    parts += [f"on {_dates(row.dates)}"] if row.dates is not None else []
    parts += [f"months {_list(sorted(row.months))}"] if row.months is not None else []
    parts += [f"days {_list(sorted(row.month_days))}"] if row.month_days is not None else []
    parts += [f"years {_list(sorted(row.years))}"] if row.years is not None else []
    if (row.start_s, row.end_s) != (0, DAY_S):
        parts.append(f"{_clock(row.start_s)}-{_clock(row.end_s)}")
    return ", ".join(parts) or "at all other times"


def _dates(dates: Iterable[date]) -> str:
    """Days of every year shortly, others in full."""
    every: dict[tuple[int, int], list[date]] = {}
    for each in sorted(dates):
        every.setdefault((each.month, each.day), []).append(each)
    words = []
    for (month, day), found in every.items():
        words += (
            [f"{month:02d}-{day:02d} every year"] if len(found) > 10 else [each.isoformat() for each in found]
        )
    return _list(words)


def _clock(seconds: int) -> str:
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"
    return f"{text}:{seconds % 60:02d}" if seconds % 60 else text


# -- meaning -----------------------------------------------------------------------------------------------


def _meaning(tariff: Tariff) -> dict[str, str]:
    """Everything that somebody could notice, by what it concerns."""
    found = {f"operator {key}": value for key, value in _operator(tariff.operator).items()}
    for name, days in tariff.holidays.items():
        found[f"holidays {name}"] = _dates(days)
    for name, destination in tariff.destinations.items():
        found |= {f"destination {name}, prefix {each.name}": "yes" for each in destination.prefixes}
        found |= {f"destination {name}, number {each.name}": "yes" for each in destination.numbers}
    for at, zone in enumerate(tariff.zones.values()):
        networks = [
            *zone.plmn,
            *(f"country {mcc}" for mcc in zone.mcc),
            *(["the rest of the world"] if zone.default else []),
        ]
        found[f"zone {zone.name}"] = f"{at + 1}. {_list(networks)}"
    for at, each in enumerate(tariff.classes.values()):
        parts = [each.kind.name.lower()]
        for field in fields(each):
            value = getattr(each, field.name)
            parts += (
                [f"{field.name} {_list(value)}"] if isinstance(value, tuple) and field.name != "place" else []
            )
        found[f"class {each.name}"] = f"{at + 1}. {'; '.join(parts)}"
    for schedule in tariff.schedules.values():
        found[f"schedule {schedule.name}"] = "; ".join(f"{row.band}: {_when(row)}" for row in schedule.rows)
    for balance in tariff.balances.values():
        found |= _keyed(f"balance {balance.name}", _balance(balance), "balance")
    for counter in tariff.counters.values():
        found |= _keyed(f"counter {counter.name}", _counter(counter), "counter")
    for discount in tariff.discounts.values():
        found |= _keyed(f"discount {discount.name}", _discount(tariff, discount), "discount")
    for tax in tariff.taxes.values():
        found |= _keyed(f"tax {tax.name}", _tax(tax), "tax")
    for transfer in tariff.transfers.values():
        found |= _keyed(f"transfer {transfer.name}", _transfer(tariff, transfer), "transfer")
    for bonus in tariff.bonuses.values():
        found |= _keyed(f"bonus {bonus.name}", _bonus(tariff, bonus), "bonus")
    for row in _exchange(tariff):
        found |= _keyed(f"exchange {row['currency']} since {row['since']}", row, "currency", "since")
    found |= _keyed("billing", _billing(tariff.billing))
    for plan in tariff.plans:
        found |= _keyed(f"plan {plan.version}", _plan(plan), "plan", "effective")
        found |= _plan_prices(tariff, plan)
    return found


def _keyed(what: str, row: Row, *without: str) -> dict[str, str]:
    return {f"{what}, {key}": value for key, value in row.items() if key not in without}


def _plan_prices(tariff: Tariff, plan: Plan) -> dict[str, str]:
    """What each service to each destination costs; a later row of prices has the last word."""
    found: dict[str, dict[str, str]] = {}
    for price in plan.prices:
        for service in _services(price):
            costs: dict[str, dict[str, str]] = {}
            for to, when, cost in _costs(tariff, price):
                costs.setdefault(f"plan {plan.version}, {service} to {to}", {})[when] = cost
            found |= costs
    return {
        f"{what}{f', {when}' if when else ''}": cost
        for what, costs in found.items()
        for when, cost in costs.items()
    }


def _services(price: Price) -> list[str]:
    zones = [ANY] if price.zones is None else [zone.name for zone in price.zones]
    return [
        f"{kind.name.lower()} {direction.name.lower()} in zone {zone}"
        for kind in price.kinds
        for direction in price.directions
        for zone in zones
    ]


def _costs(tariff: Tariff, price: Price) -> list[tuple[str, str, str]]:
    """Destination, band and cost; rows of a sheet that go to one destination are told apart by their prefixes."""
    if price.sheet:
        by_name: dict[str, dict[str, list[str]]] = {}
        for each in tariff.sheets[price.sheet.name]:
            cost = ", ".join(part for part in (_rate_text(tariff, each.rate), _limits(each)) if part)
            by_name.setdefault(each.destination, {}).setdefault(cost, []).extend(each.prefixes)
        return [
            (
                name,
                "",
                next(iter(costs))
                if len(costs) == 1
                else _list(f"{'|'.join(digits)}: {cost}" for cost, digits in costs.items()),
            )
            for name, costs in by_name.items()
        ]
    limits = _limits(price)
    return [
        (
            target,
            band.name if band else "",
            ", ".join(part for part in (_rate_text(tariff, rate.name), limits) if part),
        )
        for target in ([each.name for each in price.to or price.classes or ()] or [ANY])
        for band, rate in price.rates
    ]
