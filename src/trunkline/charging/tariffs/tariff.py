"""A tariff as its clerk means it: sections and plans with exact values, names not yet looked up, places kept.

This is what reading makes, checking inspects, compiling turns into arrays and describing prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from trunkline.charging.tariffs.bill_rules import FOREVER_US, By, ProRata
from trunkline.charging.tariffs.exchange_rules import Exchange
from trunkline.charging.tariffs.literals import DAY_S, Measure
from trunkline.charging.tariffs.mistakes import Place
from trunkline.kernel.money import Rounding
from trunkline.records.bills import Charge
from trunkline.records.charging import Unit
from trunkline.records.usage import Direction, Kind

HOME = "home"
ANY = "any"
FREE = "free"
NOT_PRICED = "none"
ALWAYS_US = -(2**62)

KINDS = {kind.name.lower(): kind for kind in Kind}
DIRECTIONS = {direction.name.lower(): direction for direction in Direction}
UNITS = {unit.name.lower(): unit for unit in Unit}
PERIODS = {"day": 1, "week": 2, "month": 3}
MODES = {mode.name.lower(): mode for mode in Rounding}
DIALLED = frozenset({Kind.VOICE, Kind.SMS})
MEASURE_OF_KIND = {Kind.VOICE: Measure.TIME, Kind.DATA: Measure.OCTETS}
UNIT_OF_KIND = {Kind.VOICE: Unit.TIME, Kind.DATA: Unit.OCTETS}
MEASURE_OF_UNIT = {Unit.TIME: Measure.TIME, Unit.OCTETS: Measure.OCTETS, Unit.EVENTS: Measure.BARE}


class Named(NamedTuple):
    """A name where it is used."""

    place: Place
    name: str


@dataclass(frozen=True)
class RateRounding:
    """How a rate rounds: each stretch of it, and, with `each`, every increment's price beforehand."""

    decimals: int = 6
    mode: Rounding = Rounding.HALF_UP
    each: bool = False
    increment_decimals: int = 6
    increment_mode: Rounding = Rounding.HALF_UP


@dataclass(frozen=True)
class Operator:
    """Who charges, and what holds unless something else is said."""

    place: Place
    name: str = ""
    currency: str = ""
    time_zone: str = "UTC"
    time_zones: tuple[str, ...] = ()
    country_code: str = ""
    home_plmn: tuple[int, ...] = ()
    cycle_day: int = 1
    default_plan: Named | None = None
    rounding: RateRounding = RateRounding()


@dataclass(frozen=True)
class Destination:
    """A named set of prefixes and whole numbers."""

    place: Place
    name: str
    prefixes: tuple[Named, ...] = ()
    numbers: tuple[Named, ...] = ()


@dataclass(frozen=True)
class Zone:
    """Visited networks that are priced alike."""

    place: Place
    name: str
    plmn: tuple[int, ...] = ()
    mcc: tuple[int, ...] = ()
    default: bool = False


@dataclass(frozen=True)
class UsageClass:
    """A class of data, IoT or content usage."""

    place: Place
    name: str
    kind: Kind
    services: tuple[str, ...] | None = None
    slices: tuple[int, ...] | None = None
    five_qis: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ScheduleRow:
    """When a band holds; a condition that is None holds always; `end_s` <= `start_s` runs past midnight."""

    place: Place
    band: str
    days: frozenset[int] | None = None
    dates: frozenset[date] | None = None
    months: frozenset[int] | None = None
    month_days: frozenset[int] | None = None
    years: frozenset[int] | None = None
    start_s: int = 0
    end_s: int = DAY_S

    @property
    def special(self) -> bool:
        """Whether it asks for more of a day than its weekday."""
        return any(each is not None for each in (self.dates, self.months, self.month_days, self.years))

    @property
    def unconditional(self) -> bool:
        """Whether it holds at every moment, so that no later row can."""
        return not self.special and self.days is None and self.start_s == 0 and self.end_s == DAY_S


@dataclass(frozen=True)
class Schedule:
    """Bands of the week; the first row that matches wins."""

    place: Place
    name: str
    rows: tuple[ScheduleRow, ...]

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names in the order in which they first appear; the position is the band's number."""
        return tuple(dict.fromkeys(row.band for row in self.rows))


@dataclass(frozen=True)
class Slot:
    """Price and increment from a length of use on; `price` is per `per` units, in the currency's unit."""

    place: Place
    start: int
    price: Fraction
    per: int
    increment: int


@dataclass(frozen=True)
class Tier:
    """Slots that hold from an accumulated usage on."""

    place: Place
    start: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Rate:
    """What usage costs."""

    place: Place
    name: str
    tiers: tuple[Tier, ...] = ()
    free: bool = False
    record: bool = False
    fee: int = 0
    counter: Named | None = None
    rounding: RateRounding = RateRounding()
    measure: Measure = Measure.BARE
    tier_measure: Measure = Measure.BARE


@dataclass(frozen=True)
class Scope:
    """Which usage a balance or counter is about; None is no restriction."""

    kinds: tuple[Kind, ...]
    directions: tuple[Direction, ...]
    zones: tuple[Named, ...] | None
    to: tuple[Named, ...] | None = None
    excluded: tuple[Named, ...] = ()
    classes: tuple[Named, ...] | None = None


@dataclass(frozen=True)
class Rollover:
    """What becomes of what is left of an allowance when it is renewed."""

    periods: int = 1
    millionths: int = 1_000_000
    mode: Rounding = Rounding.DOWN
    most: int | None = None  # from one period
    last: bool = False  # used behind the period's own allowance


@dataclass(frozen=True)
class ByDay:
    """How the share of the days that are left of a period is rounded."""

    mode: Rounding = Rounding.UP
    step: int = 1


@dataclass(frozen=True)
class Balance:
    """A balance that subscribers may have."""

    place: Place
    name: str
    unit: Unit
    scope: Scope
    main: bool = False
    priority: int = 100
    grant: int = 0
    period: int = 0
    low: tuple[int, ...] = ()
    thresholds: tuple[int, ...] = ()
    hysteresis: int = 0
    schedule: Named | None = None
    bands: tuple[Named, ...] = ()
    increment: int = 1
    factor: Fraction = Fraction(1)
    rated_by: Named | None = None
    blocker: bool = False
    shared: bool = False  # one for all members of an account
    member_limit: int | None = None  # the most that a member may take of it in a period
    grant_per_member: int = 0  # given in addition for each member, the owner among them
    rollover: Rollover | None = None
    by_day: ByDay | None = None  # a plan that begins within a period brings a share; else all of it
    ends: bool = False  # when a plan that does not include it takes over


@dataclass(frozen=True)
class Counter:
    """Usage or money that is added up over a period."""

    place: Place
    name: str
    unit: Unit
    scope: Scope
    period: int = 0
    cap: int = 0
    thresholds: tuple[int, ...] = ()
    hysteresis: int = 0


@dataclass(frozen=True)
class SheetPrice:
    """One priced row of a rate sheet."""

    place: Place
    destination: str
    prefixes: tuple[str, ...]
    rate: str
    min_charge: int = 0
    max_cost: int = -1
    end_at_cost: int = -1


@dataclass(frozen=True)
class Price:
    """One row of a plan's prices; `rates` has one entry with band None, or one for each band of the schedule."""

    place: Place
    kinds: tuple[Kind, ...]
    directions: tuple[Direction, ...]
    zones: tuple[Named, ...] | None
    to: tuple[Named, ...] | None = None
    classes: tuple[Named, ...] | None = None
    schedule: Named | None = None
    rates: tuple[tuple[Named | None, Named], ...] = ()
    sheet: Named | None = None
    min_charge: int = 0
    max_cost: int = -1
    end_at_cost: int = -1


@dataclass(frozen=True)
class PlanFee:
    """What a plan costs each month, or once."""

    place: Place
    name: str
    amount: int
    once: bool = False
    pro_rata: ProRata = ProRata.DAY


@dataclass(frozen=True)
class DiscountTier:
    """So many millionths, from an amount on, or from so many units, months or members."""

    place: Place
    start: int
    millionths: int


@dataclass(frozen=True)
class BillDiscount:
    """What is taken off certain charges of a bill."""

    place: Place
    name: str
    charges: tuple[Charge, ...]
    tiers: tuple[DiscountTier, ...]
    after_months: int = 0
    by: By = By.AMOUNT
    beside: tuple[Named, ...] = ()


@dataclass(frozen=True)
class BillTax:
    """What a bill adds, or says that it includes, for a tax office."""

    place: Place
    name: str
    label: str
    millionths: int
    charges: tuple[Charge, ...]
    zones: tuple[Named, ...] | None = None
    time_zones: tuple[Named, ...] | None = None
    from_us: int = ALWAYS_US
    until_us: int = FOREVER_US
    included: bool = False
    decimals: int | None = None
    mode: Rounding = Rounding.HALF_UP


@dataclass(frozen=True)
class PayableRule:
    """How totals are rounded in a currency that plans are billed in."""

    place: Place
    currency: str
    decimals: int | None = None
    mode: Rounding | None = None


@dataclass(frozen=True)
class Billing:
    """How bills round, when they are due, and how late usage may come."""

    place: Place
    line_decimals: int | None = None
    mode: Rounding = Rounding.HALF_UP
    due_days: int = 14
    late_days: int = 0
    payable: tuple[PayableRule, ...] = ()


@dataclass(frozen=True)
class Transfer:
    """How a balance may be handed on to another subscriber."""

    place: Place
    name: str  # of the balance
    least: int
    most: int
    fee: int = 0
    millionths: int = 0
    decimals: int | None = None
    mode: Rounding = Rounding.HALF_UP


@dataclass(frozen=True)
class Bonus:
    """What a top-up brings beside itself."""

    place: Place
    name: str
    balance: Named
    amount: int
    above: int
    valid_days: int
    period: int
    plans: tuple[Named, ...] | None = None
    from_us: int = ALWAYS_US
    until_us: int = FOREVER_US


@dataclass(frozen=True)
class Plan:
    """One version of a plan."""

    place: Place
    name: str
    effective: str = ""
    effective_us: int = ALWAYS_US
    postpaid: bool = False
    includes: tuple[Named, ...] = ()
    counters: tuple[Named, ...] = ()
    fallback: tuple[Named, ...] = ()
    prices: tuple[Price, ...] = ()
    fees: tuple[PlanFee, ...] = ()
    discounts: tuple[Named, ...] = ()
    minimum: int = 0
    cap: int = -1
    billed_in: str = ""  # currency in which bills are to be paid; empty for the tariff's own

    @property
    def version(self) -> str:
        """What people call this version."""
        return f"{self.name}@{self.effective or 'always'}"


@dataclass
class Tariff:
    """Everything that the files of a tariff say."""

    operator: Operator
    holidays: dict[str, frozenset[date]] = field(default_factory=dict)
    destinations: dict[str, Destination] = field(default_factory=dict)
    zones: dict[str, Zone] = field(default_factory=dict)
    classes: dict[str, UsageClass] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    sheets: dict[str, tuple[SheetPrice, ...]] = field(default_factory=dict)
    billing: Billing | None = None
    exchange: Exchange | None = None
    discounts: dict[str, BillDiscount] = field(default_factory=dict)
    taxes: dict[str, BillTax] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    bonuses: dict[str, Bonus] = field(default_factory=dict)
    fingerprint: str = ""

    def rate(self, name: str) -> Rate | None:
        """A rate by name; the word `free` needs no definition."""
        if name == FREE and name not in self.rates:
            return Rate(self.operator.place, FREE, free=True)
        return self.rates.get(name)

    def versions(self, plan: str) -> list[Plan]:
        """The versions of a plan by ascending effective time."""
        return sorted((each for each in self.plans if each.name == plan), key=lambda each: each.effective_us)
