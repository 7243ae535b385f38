"""Bills as an auditor works them out: plain loops over one subscriber, fractions, calendar dates.

Usage and the other movements of the main balance are taken as the second opinion's own books have them; everything that
a bill adds to them is read from the tariff's text once more, here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

from tests.opinion.quantities import units

KINDS = ("voice", "sms", "data", "iot", "content")
CHARGES = (*KINDS, "recurring", "one_off", "minimum")
MODES = {"up": ROUND_UP, "down": ROUND_DOWN, "half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN}
COINS = {"JPY": 0, "KWD": 3}  # what the tests use beside currencies of two decimals
NEVER = datetime(9000, 1, 1, tzinfo=UTC)
ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Contract:
    """A plan from one moment on; None for always."""

    plan: str
    since: datetime | None
    zone: str
    cycle_day: int


@dataclass(frozen=True)
class Taken:
    """One movement of the main balance: `usage`, `adjustment` or `refund`; negative when it gave."""

    what: str
    when: datetime
    micros: int
    charge: str = ""
    place: str = "home"
    destination: str = ""
    units: int = 0


@dataclass(frozen=True)
class Line:
    """What is compared."""

    section: str
    charge: str
    name: str
    micros: int
    tax_micros: int = 0


@dataclass
class Billed:
    """The auditor's bill."""

    lines: list[Line] = field(default_factory=list)
    total_micros: int = 0
    payable: tuple[str, int] | None = None  # currency and millionths, where the plan is billed in another one


def rounded(value: Fraction, decimals: int, mode: str) -> Fraction:
    """A value in the currency's unit, rounded by name."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    if (
        exact != 0 and Fraction(exact) != value
    ):  # an endless decimal: enough digits to be on the right side of a half
        exact = (Decimal(10**40 * value.numerator // value.denominator) + Decimal("0.5")) / Decimal(10**40)
    return Fraction(exact.quantize(Decimal(1).scaleb(-decimals), MODES[mode]))


class Rules:
    """The parts of a tariff's text that bills are made of."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.operator: dict[str, Any] = {}
        self.billing: dict[str, Any] = {}
        self.discounts: dict[str, dict[str, Any]] = {}
        self.taxes: dict[str, dict[str, Any]] = {}
        self.exchange: dict[str, Any] = {}
        self.plans: list[dict[str, Any]] = []
        self.zones = ["home"]
        for name in sorted(files):
            if not name.endswith(".yaml"):
                continue
            for document in YAML(typ="safe", pure=True).load_all(files[name]):
                said = document or {}
                self.operator |= said.get("operator") or {}
                self.billing |= said.get("billing") or {}
                self.taxes |= said.get("taxes") or {}
                self.exchange |= said.get("exchange") or {}
                self.zones += list(said.get("zones") or {})
                if "plan" in said:
                    self.plans.append(said)
                else:
                    self.discounts |= said.get("discounts") or {}
        self.home = ZoneInfo(str(self.operator.get("time_zone", "UTC")))
        self.coin = COINS.get(self.operator["currency"], 2)
        self.mode = str(self.billing.get("rounding", "half_up"))
        self.decimals = int(self.billing.get("decimals", self.coin))

    def moment(self, said: object, default: datetime) -> datetime:
        """A date of the tariff, by the operator's clocks."""
        if said is None:
            return default
        day = said if isinstance(said, date) else date.fromisoformat(str(said))
        return datetime.combine(day, time(), self.home)

    def versions(self, plan: str) -> list[tuple[datetime, datetime, dict[str, Any]]]:
        """From when until when each version holds."""
        own = [each for each in self.plans if str(each["plan"]) == plan]
        own.sort(key=lambda each: self.moment(each.get("effective"), ALWAYS))
        begins = [self.moment(each.get("effective"), ALWAYS) for each in own]
        return list(zip(begins, [*begins[1:], NEVER], own, strict=True))


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local day."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def next_month(day: date) -> date:
    """The same day of the next month."""
    return date(day.year + day.month // 12, day.month % 12 + 1, day.day)


def bill(
    rules: Rules,
    contracts: list[Contract],
    movements: Iterable[Taken],
    year: int,
    month: int,
    since: datetime | None = None,
    beside: Sequence[str] = (),
) -> Billed:
    """One subscriber's bill; `since` is where the bill before ended. Movements are those that belong on it.

    `beside` are the plans that other members of the account have when the period ends.
    """
    contracts = sorted(contracts, key=lambda each: each.since or ALWAYS)
    months = [(each, date(year, month, each.cycle_day), ZoneInfo(each.zone)) for each in contracts]
    _, first, zone = [
        (each, first, zone)
        for each, first, zone in months
        if (each.since or ALWAYS) < midnight(next_month(first), zone)
    ][-1]
    last = next_month(first)
    start = since or midnight(first, zone)
    work = _Work(rules, contracts, zone, start, midnight(last, zone), (last - first).days, last, beside)
    return work.bill(list(movements))


class _Work:
    """One bill on the desk."""

    def __init__(
        self,
        rules: Rules,
        contracts: list[Contract],
        zone: ZoneInfo,
        start: datetime,
        end: datetime,
        days: int,
        last: date,
        beside: Sequence[str],
    ) -> None:
        self.beside = beside
        self.units: dict[str, int] = {}
        self.rules, self.contracts, self.zone = rules, contracts, zone
        self.start, self.end, self.days, self.last = start, end, days, last
        self.done = Billed()
        # What each charge comes to, by kind, place and the moment that a tax asks for.
        self.charges: list[list[Any]] = []

    def bill(self, movements: list[Taken]) -> Billed:
        terms = self._fees()
        self._usage(movements)
        for name in self.rules.discounts:
            if terms and name in (terms.get("discounts") or []):
                self._discount(name, self.rules.discounts[name])
        if terms and "cap" in terms:
            self._cap(Fraction(str(terms["cap"])))
        if terms and "minimum" in terms:
            self._minimum(Fraction(str(terms["minimum"])))
        for name, tax in self.rules.taxes.items():
            self._tax(name, tax)
        for what in ("adjustment", "refund"):
            moved = [each.micros for each in movements if each.what == what]
            if moved:
                self._line(what, "", "", Fraction(sum(moved), 10**6))
        total = Fraction(sum(line.micros for line in self.done.lines), 10**6)
        whole = rounded(total, self.rules.coin, self.rules.mode)
        if whole != total:
            self._line("rounding", "", "", whole - total)
        self.done.total_micros = int(whole * 10**6)
        currency = (terms or {}).get("billed_in", self.rules.operator["currency"])
        if currency != self.rules.operator["currency"]:
            self.done.payable = currency, self._in(currency, whole)
        return self.done

    def _in(self, currency: str, total: Fraction) -> int:
        """The total in another currency: by the youngest rate that was there before the period ended."""
        known = [
            (self.rules.moment(each.get("since"), ALWAYS), each)
            for each in self.rules.exchange["rates"]
            if each["currency"] == currency
        ]
        _, rate = max((each for each in known if each[0] < self.end), key=lambda each: each[0])
        worth = total * Fraction(str(rate["buys"])) if "buys" in rate else total / Fraction(str(rate["rate"]))
        said = (self.rules.billing.get("payable") or {}).get(currency) or {}
        decimals = int(said.get("decimals", COINS.get(currency, 2)))
        return int(rounded(worth, decimals, str(said.get("rounding", self.rules.mode))) * 10**6)

    def _line(
        self, section: str, charge: str, name: str, amount: Fraction, tax: Fraction = Fraction(0)
    ) -> None:
        micros, tax_micros = amount * 10**6, tax * 10**6
        assert micros.denominator == tax_micros.denominator == 1, (section, name, amount)
        self.done.lines.append(Line(section, charge, name, int(micros), int(tax_micros)))

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def _fees(self) -> dict[str, Any] | None:
        """Fees of every stretch; the plan with which the period ends."""
        at_end = None
        plan_before = None
        for at, contract in enumerate(self.contracts):
            begin = contract.since or ALWAYS
            end = (self.contracts[at + 1].since or ALWAYS) if at + 1 < len(self.contracts) else NEVER
            for version_begin, version_end, plan in self.rules.versions(contract.plan):
                since, until = max(begin, version_begin, self.start), min(end, version_end, self.end)
                fees = plan.get("fees") or {}
                if since < until:
                    at_end = plan if until == self.end else at_end
                    days = (self._day(until) - self._day(since)).days
                    for name, fee in fees.items():
                        self._monthly(str(name), fee, days, at_the_end=until == self.end)
                began = contract.since is not None and self.start <= contract.since < self.end
                if began and contract.plan != plan_before and version_begin <= begin < version_end:
                    for name, fee in fees.items():
                        if isinstance(fee, dict) and fee.get("once"):
                            self._charge("one_off", "one_off", str(name), Fraction(str(fee["amount"])))
            plan_before = contract.plan
        return at_end

    def _monthly(self, name: str, fee: object, days: int, *, at_the_end: bool) -> None:
        said = fee if isinstance(fee, dict) else {"amount": fee}
        if said.get("once"):
            return
        amount = Fraction(str(said["amount"]))
        if said.get("pro_rata") == "none":
            if at_the_end:
                self._charge("recurring", "recurring", name, amount)
        elif days == self.days:
            self._charge("recurring", "recurring", name, amount)
        else:
            part = rounded(amount * days / self.days, self.rules.decimals, self.rules.mode)
            self._charge("recurring", "recurring", name, part)

    def _charge(self, section: str, charge: str, name: str, amount: Fraction) -> None:
        self._line(section, charge, name, amount)
        self.charges.append([charge, "", self.end - timedelta(microseconds=1), amount])

    def too_late(self, when: datetime) -> bool:
        """Whether usage is older than the tariff lets a bill ask for."""
        days = str(self.rules.billing.get("late", "")).removesuffix("d")
        return bool(days) and when < self.start - timedelta(days=int(days))

    def _usage(self, movements: list[Taken]) -> None:
        late: dict[str, Fraction] = {}
        for each in movements:
            if each.what == "usage":
                amount = Fraction(each.micros, 10**6)
                self._line("usage", each.charge, each.destination, amount)
                self.units[each.charge] = self.units.get(each.charge, 0) + each.units
                if self.too_late(each.when):
                    late[each.charge] = late.get(each.charge, Fraction(0)) + amount
                    continue
                self.charges.append([each.charge, each.place, each.when, amount])

        for charge, amount in late.items():
            if amount:
                self._line("late", charge, "", -amount)

    def _of(self, said: Mapping[str, Any]) -> set[str]:
        wanted = said.get("of", "any")
        names = [wanted] if isinstance(wanted, str) else wanted
        groups = {"usage": KINDS, "fees": ("recurring", "one_off"), "any": CHARGES}
        return {charge for name in names for charge in groups.get(name, (name,))}

    def _groups(self, of: set[str]) -> dict[tuple[Any, ...], list[list[Any]]]:
        """Charges that a discount is rounded for together: the same kind, place, and taxes."""
        found: dict[tuple[Any, ...], list[list[Any]]] = {}
        for each in self.charges:
            if each[0] in of:
                holds = tuple(name for name, tax in self.rules.taxes.items() if self._holds(tax, each[2]))
                found.setdefault((each[0], each[1], holds), []).append(each)
        return found

    def _holds(self, tax: Mapping[str, Any], when: datetime) -> bool:
        begin = self.rules.moment(tax.get("from"), ALWAYS)
        return begin <= when < self.rules.moment(tax.get("until"), NEVER)

    def _discount(self, name: str, discount: Mapping[str, Any]) -> None:
        first = min((each.since or ALWAYS) for each in self.contracts)
        since = self._day(first)
        months = 12 * (self.last.year - since.year) + self.last.month - since.month
        months -= self.last.day < since.day
        if months < int(discount.get("after", 0)):
            return
        wanted = discount.get("with") or []
        if wanted and not set([wanted] if isinstance(wanted, str) else wanted) & set(self.beside):
            return
        of = self._of(discount)
        base = {
            "amount": sum((each[3] for each in self.charges if each[0] in of), Fraction(0)),
            "units": Fraction(sum(self.units.get(charge, 0) for charge in of)),
            "months": Fraction(months),
            "members": Fraction(1 + len(self.beside)),
        }[str(discount.get("by", "amount"))]
        tiers = discount.get("tiers") or [{"from": "0", "percent": discount["percent"]}]
        counted = discount.get("by") == "units"
        reached = [
            tier
            for tier in tiers
            if base >= (units(str(tier["from"])) if counted else Fraction(str(tier["from"])))
        ]
        if not reached:
            return
        rate = Fraction(str(reached[-1]["percent"]).removesuffix("%")) / 100
        off_by_charge: dict[str, Fraction] = {}
        for (charge, *_), group in self._groups(of).items():
            whole = sum((each[3] for each in group), Fraction(0))
            off = min(whole, rounded(whole * rate, self.rules.decimals, self.rules.mode))
            off_by_charge[charge] = off_by_charge.get(charge, Fraction(0)) + off
            self._take_off(group, off)
        for charge, off in off_by_charge.items():
            if off:
                self._line("discount", charge, name, -off)

    @staticmethod
    def _take_off(group: list[list[Any]], off: Fraction) -> None:
        for each in group:
            part = min(off, each[3])
            each[3] -= part
            off -= part

    def _cap(self, cap: Fraction) -> None:
        used = sum((each[3] for each in self.charges if each[0] in KINDS), Fraction(0))
        over = max(Fraction(0), used - cap)
        if not over:
            return
        self._line("cap", "", "", -over)
        used_last_first = sorted(
            (each for each in self.charges if each[0] in KINDS),
            key=lambda each: (KINDS.index(each[0]), self.rules.zones.index(each[1]), each[2]),
        )[::-1]
        for each in used_last_first:
            part = min(over, each[3])
            each[3] -= part
            over -= part

    def _minimum(self, minimum: Fraction) -> None:
        there = sum((each[3] for each in self.charges if each[0] in (*KINDS, "recurring")), Fraction(0))
        if there < minimum:
            self._charge("minimum", "minimum", "", minimum - there)

    def _tax(self, name: str, tax: Mapping[str, Any]) -> None:
        zones = tax.get("time_zones")
        if zones is not None and self.zone.key not in ([zones] if isinstance(zones, str) else zones):
            return
        places = tax.get("zones")
        places = [places] if isinstance(places, str) else places
        base = Fraction(0)
        for charge, place, when, left in self.charges:
            here = charge not in KINDS or places is None or "any" in places or place in places
            if charge in self._of(tax) and here and self._holds(tax, when):
                base += left
        if not base:
            return
        rate = Fraction(str(tax["percent"]).removesuffix("%")) / 100
        included = bool(tax.get("included", False))
        exact = base * rate / (1 + rate) if included else base * rate
        decimals = int(tax.get("decimals", self.rules.coin))
        amount = rounded(exact, decimals, str(tax.get("rounding", "half_up")))
        self._line("tax", "", str(tax.get("label", name)), Fraction(0) if included else amount, amount)
