"""Which price a use is asked, and how much that is: a slow walk, in exact fractions."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.opinion.calendars import band, next_border_us
from tests.opinion.quantities import MICROS, at_least, rounded
from tests.opinion.tariff import KINDS, Price, Rate, Slot, Tariff, Version

WHOLE = 100  # a whole number is a more exact match than any prefix
DEPTH = 8
FREE = Rate("free", (), Fraction(0), 6, "half_up", free=True)
FREE_INCOMING = Price(KINDS, None, ("terminating",), ("any",), (), None, {"": FREE}, 0, None)


@dataclass(frozen=True)
class Use:
    """One use of the network, ready to be priced: units are ms, octets or events."""

    seq: int
    source: str
    record_id: str
    kind: str
    subscriber: str
    start_us: int
    units: int
    direction: str = "originating"
    calling: str = ""
    called: str = ""
    amount_micros: int = 0
    currency: str = ""
    visited_plmn: int = 0
    slice: int = 0
    five_qi: int = 0
    service: str = ""
    session: str = ""  # the call that it is a part of
    part: int = 0
    last: bool = False
    begun_us: int = 0


class Unpriced(Exception):
    """The tariff asks nothing for this use; the text is the reason."""


class Blocked(Exception):
    """A balance that forbids going further does not suffice."""


def zone_of(tariff: Tariff, plmn: int) -> str:
    """Roaming zone of a visited network: its own entry, then its country's, then the default zone."""
    if plmn == 0 or plmn in tariff.home_plmns:
        return "home"
    for name, (plmns, _, _) in tariff.zones.items():
        if plmn in plmns:
            return name
    country = plmn // 100 if plmn < 100_000 else plmn // 1000
    for name, (_, countries, _) in tariff.zones.items():
        if country in countries:
            return name
    for name, (_, _, default) in tariff.zones.items():
        if default:
            return name
    raise Unpriced("tariff_not_found")


def other_end(use: Use) -> str:
    """The number at the other end of a call or message, as digits."""
    return (use.called if use.direction == "originating" else use.calling).removeprefix("+")


def destinations_of(tariff: Tariff, use: Use) -> list[tuple[int, str]]:
    """Everything that the use goes to, with how exactly it matches: longer prefixes first, whole numbers before all."""
    if use.kind in ("voice", "sms"):
        number = other_end(use)
        found = [(len(prefix), name) for prefix, name in tariff.prefixes if number.startswith(prefix)]
        found += [(WHOLE, name) for whole, name in tariff.numbers if whole == number]
        order = list(dict.fromkeys(tariff.names))
        return sorted(found, key=lambda match: (-match[0], order.index(match[1])))
    for traffic in tariff.classes:
        if (
            traffic.kind == use.kind
            and (traffic.services is None or use.service in traffic.services)
            and (traffic.slices is None or use.slice in traffic.slices)
            and (traffic.five_qis is None or use.five_qi in traffic.five_qis)
        ):
            return [(1, traffic.name)]
    return []


def destination_name(tariff: Tariff, use: Use) -> str:
    """What people call the place that the use goes to."""
    found = destinations_of(tariff, use)
    if found:
        return found[0][1]
    return "other" if use.kind in ("voice", "sms") else use.kind


def version_at(tariff: Tariff, plan: str, us: int) -> Version | None:
    """The version of a plan that is in force."""
    known = [version for version in tariff.plans.get(plan, []) if version.effective_us <= us]
    return known[-1] if known else None


def chain_of(tariff: Tariff, version: Version, us: int, depth: int = 0) -> list[Version]:
    """A version and those that it falls back to, depth first."""
    chain = [version]
    for name in version.fallback if depth < DEPTH else ():
        other = version_at(tariff, name, us)
        if other is not None:
            chain += chain_of(tariff, other, us, depth + 1)
    return chain


def price_of(tariff: Tariff, version: Version, use: Use) -> Price:
    """The row of the price list that applies."""
    zone = zone_of(tariff, use.visited_plmn)
    to = destinations_of(tariff, use)
    for plan in chain_of(tariff, version, use.start_us):
        found = _own_price(plan, use, zone, to)
        if found is not None:
            return found
    if use.direction == "terminating":
        return FREE_INCOMING
    raise Unpriced("tariff_not_found")


def _own_price(version: Version, use: Use, zone: str, to: list[tuple[int, str]]) -> Price | None:
    """The plan's own row: longest prefix, then the later row; `any` is the last resort."""
    best: tuple[int, int] | None = None
    chosen = None
    for order, price in enumerate(version.prices):
        if use.kind not in price.kinds or use.direction not in price.directions:
            continue
        if price.zones is not None and zone not in price.zones:
            continue
        matches = [length for length, name in to if name in price.to]
        matches += [len(prefix) for prefix in price.prefixes if other_end(use).startswith(prefix)]
        if "any" in price.to:
            matches.append(-1)
        if matches and (best is None or (max(matches), order) >= best):
            best, chosen = (max(matches), order), price
    return chosen


@dataclass
class Quote:
    """The sum so far, and the stretch that is not rounded yet."""

    total: Fraction = Fraction(0)
    open: Fraction = Fraction(0)

    def close(self, rate: Rate) -> None:
        """Round the stretch by its rate's rule and add it."""
        self.total += rounded(self.open, rate.decimals, rate.mode)
        self.open = Fraction(0)


def quote_micros(
    tariff: Tariff, price: Price, use: Use, zone: ZoneInfo, begin: int, end: int, counted: int, fee: bool
) -> int:
    """What the units from `begin` to `end` of a use cost; `counted` is the tier counter's value before the use."""
    quote = Quote()
    position = begin
    now: tuple[str, int] | None = None
    rate = None
    while position < end:
        name = _band(tariff, price, use, zone, position)
        if name not in price.rates:
            raise Unpriced("tariff_not_found")
        tier = _tier(price.rates[name], counted + position)
        if now != (name, tier):
            if rate is not None:
                quote.close(rate)
            now, rate = (name, tier), price.rates[name]
            if fee:
                quote.open += rate.fee
                fee = False
        assert rate is not None
        stretch_end = _stretch_end(tariff, price, use, zone, rate, tier, position, end, counted)
        slots = rate.tiers[tier][1]
        slot = [slot for slot in slots if slot.start <= position][-1]
        increments = at_least((_slot_end(slots, slot, stretch_end) - position) / Fraction(slot.increment))
        quote.open += increments * slot.price
        position += increments * slot.increment
    if rate is not None:
        quote.close(rate)
    value = quote.total * MICROS
    assert value.denominator == 1, "a rate rounds to finer than a micro-unit"
    return value.numerator


def limited_micros(price: Price, total: int) -> int:
    """An amount after the line's minimum charge and maximum cost."""
    if 0 < total < price.min_charge:
        total = price.min_charge
    if price.max_cost is not None:
        total = min(total, price.max_cost)
    return total


def _band(tariff: Tariff, price: Price, use: Use, zone: ZoneInfo, position: int) -> str:
    if price.schedule is None:
        return ""
    moment = use.start_us + (position * 1000 if use.kind == "voice" else 0)
    return band(tariff.schedules[price.schedule], zone, moment) or ""


def _tier(rate: Rate, counted: int) -> int:
    return max(at for at, (start, _) in enumerate(rate.tiers) if start <= counted)


def _stretch_end(
    tariff: Tariff,
    price: Price,
    use: Use,
    zone: ZoneInfo,
    rate: Rate,
    tier: int,
    position: int,
    end: int,
    counted: int,
) -> Fraction:
    """Where the band, the tier or the use ends, in units since the use began."""
    until = Fraction(end)
    if tier + 1 < len(rate.tiers):
        until = min(until, Fraction(rate.tiers[tier + 1][0] - counted))
    if price.schedule is not None and use.kind == "voice":
        border_us = next_border_us(
            tariff.schedules[price.schedule],
            zone,
            use.start_us + position * 1000,
            use.start_us + end * 1000,
        )
        until = min(until, Fraction(border_us - use.start_us, 1000))
    return until


def _slot_end(slots: tuple[Slot, ...], slot: Slot, stretch_end: Fraction) -> Fraction:
    later = [other.start for other in slots if other.start > slot.start]
    return min(stretch_end, Fraction(later[0])) if later else stretch_end
