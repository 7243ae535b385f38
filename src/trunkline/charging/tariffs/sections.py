"""Reading the sections that plans share, from the operator to balances and counters."""

from __future__ import annotations

from datetime import date
from typing import TypeVar

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.calendars import time_zone
from trunkline.charging.tariffs.literals import DAY_S
from trunkline.charging.tariffs.mistakes import Place, nearest
from trunkline.charging.tariffs.rates import read_rounding
from trunkline.charging.tariffs.reader import Keys, Reader
from trunkline.charging.tariffs.sheets import find_sheet, read_destination_sheet
from trunkline.charging.tariffs.source import Fields, Items, Node, Scalar, Source
from trunkline.charging.tariffs.tariff import (
    ANY,
    DIRECTIONS,
    HOME,
    KINDS,
    MEASURE_OF_UNIT,
    MODES,
    PERIODS,
    UNITS,
    Balance,
    ByDay,
    Counter,
    Destination,
    Named,
    Operator,
    RateRounding,
    Rollover,
    Schedule,
    ScheduleRow,
    Scope,
    UsageClass,
    Zone,
)
from trunkline.kernel.money import Rounding
from trunkline.records.charging import Unit
from trunkline.records.usage import Direction, Kind

T = TypeVar("T")
MAIN_PRIORITY = 2**31 - 1
OPERATOR_KEYS = (
    "name", "currency", "time_zone", "time_zones", "country_code", "home_plmn", "cycle_day", "default_plan", "rounding",
)  # fmt: skip
SCOPE_KEYS = ("usage", "directions", "zones", "to", "except", "classes")
BALANCE_KEYS = (
    "unit", "main", "grant", "every", "priority", *SCOPE_KEYS, "schedule", "bands", "increment", "factor", "rated_by",
    "blocker", "low", "thresholds", "hysteresis", "shared", "member_limit", "grant_per_member", "rollover", "pro_rata",
    "on_change",
)  # fmt: skip
ROLLOVER_KEYS = ("periods", "share", "rounding", "most", "used")
PRO_RATA_KEYS = ("by", "rounding", "step")
USED = {"first": False, "last": True}
PRO_RATA = {"none": False, "day": True}
ON_CHANGE = {"stays": False, "ends": True}
MOST_PERIODS = 12
COUNTER_KEYS = ("unit", "every", *SCOPE_KEYS, "cap", "thresholds", "hysteresis")
ROW_KEYS = ("band", "days", "dates", "months", "month_days", "years", "from", "to")
MOST_MARKS = 8
MOST_STEP = 2**50  # what a day's share is rounded to; larger steps could overflow


def read_operator(reader: Reader, node: Fields | Scalar) -> Operator:
    """Who charges, and the defaults."""
    keys = reader.keys(node, OPERATOR_KEYS, "operator")
    reader.need(keys, node.place, "currency", "operator needs a currency: `currency: EUR`")
    plain = Operator(node.place)
    rounding = (
        read_rounding(reader, keys["rounding"], RateRounding()) if "rounding" in keys else RateRounding()
    )
    return Operator(
        node.place,
        reader.value(keys, "name", str, ""),
        reader.value(keys, "currency", currency_code, ""),
        reader.value(keys, "time_zone", _zone_name, plain.time_zone),
        reader.values(keys, "time_zones", _zone_name),
        reader.value(keys, "country_code", _country_code, ""),
        reader.values(keys, "home_plmn", literals.plmn),
        reader.value(keys, "cycle_day", lambda text: literals.whole(text, 1, 28), 1),
        reader.name(keys, "default_plan"),
        rounding,
    )


def currency_code(text: str) -> str:
    """A currency by its three letters, ISO 4217."""
    if len(text) != 3 or not text.isascii() or not text.isalpha() or not text.isupper():
        raise ValueError(f'"{text}" is not a currency; write its three letters (ISO 4217) such as EUR')
    return text


def _country_code(text: str) -> str:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 3:
        raise ValueError(f'"{text}" is not a country code; write its digits such as "44"')
    return text


def _zone_name(text: str) -> str:
    time_zone(text)
    return text


def read_holidays(reader: Reader, node: Node) -> dict[str, frozenset[date]]:
    """Lists of days by name."""
    found = {}
    for key, value in reader.pairs(node, "holidays"):
        days = reader.values({key.text: value}, key.text, literals.holiday)
        found[key.text] = frozenset(day for each in days for day in each)
    return found


def read_destinations(reader: Reader, node: Node, source: Source) -> list[Destination]:
    """Destinations of one section; its key `sheet` brings those of CSV files."""
    found: list[Destination] = []
    for key, value in reader.pairs(node, "destinations"):
        if key.text == "sheet":
            for place, name in reader.names({"sheet": value}, "sheet"):
                sheet = find_sheet(source.sheets, name, place.file)
                if sheet is None:
                    reader.mistakes.add(
                        place,
                        f'there is no sheet "{name}"{nearest(name, source.sheets)}; put it beside this file',
                    )
                else:
                    found += read_destination_sheet(reader, source.sheets[sheet])
            continue
        if key.text == ANY:
            reader.mistakes.add(key.place, "`any` means every destination; choose another name")
        keys = reader.keys(value, ("prefixes", "numbers"), f'destination "{key.text}"')
        destination = Destination(
            key.place, key.text, _digits(reader, keys, "prefixes"), _digits(reader, keys, "numbers")
        )
        if not destination.prefixes and not destination.numbers and not ({"prefixes", "numbers"} & set(keys)):
            reader.mistakes.add(
                key.place,
                f'destination "{key.text}" is nowhere; write `prefixes: ["44"]` or `numbers: ["112"]`',
            )
        found.append(destination)
    return found


def _digits(reader: Reader, keys: Keys, name: str) -> tuple[Named, ...]:
    """Prefixes or whole numbers, each once."""
    found: dict[str, Named] = {}
    for word in reader.words(keys[name], f"`{name}`") if name in keys else ():
        digits = reader.parse(word, literals.prefix if name == "prefixes" else literals.number)
        if digits in found:
            reader.mistakes.add(word.place, f'"{word.text}" is listed twice')
        elif digits is not None:
            found[digits] = Named(word.place, digits)
    return tuple(found.values())


def read_zones(reader: Reader, node: Node) -> list[Zone]:
    """Roaming zones in the written order."""
    found = []
    for key, value in reader.pairs(node, "zones"):
        if key.text in {HOME, ANY}:
            reader.mistakes.add(
                key.place, f"`{key.text}` has its own meaning; choose another name for the zone"
            )
            continue
        keys = reader.keys(value, ("plmn", "mcc", "default"), f'zone "{key.text}"')
        zone = Zone(
            key.place,
            key.text,
            reader.values(keys, "plmn", literals.plmn),
            reader.values(keys, "mcc", literals.mcc),
            reader.value(keys, "default", literals.truth, default=False),
        )
        if not keys:
            reader.mistakes.add(
                key.place,
                f'zone "{key.text}" is nowhere; write `plmn: [26201]`, `mcc: [262]` or `default: true`',
            )
        found.append(zone)
    return found


def read_classes(reader: Reader, node: Node) -> list[UsageClass]:
    """Traffic classes in the written order."""
    found = []
    known = {name: kind for name, kind in KINDS.items() if kind in {Kind.DATA, Kind.IOT, Kind.CONTENT}}
    for key, value in reader.pairs(node, "classes"):
        if key.text == ANY:
            reader.mistakes.add(key.place, "`any` means every class; choose another name")
        keys = reader.keys(value, ("usage", "services", "slices", "five_qi"), f'class "{key.text}"')
        reader.need(keys, key.place, "usage", f'class "{key.text}" needs `usage: data`, `iot` or `content`')
        found.append(
            UsageClass(
                key.place,
                key.text,
                reader.choice(keys, "usage", known, Kind.DATA),
                reader.values(keys, "services", str) if "services" in keys else None,
                _slices(reader, keys) if "slices" in keys else None,
                reader.values(keys, "five_qi", lambda text: literals.whole(text, 1, 255))
                if "five_qi" in keys
                else None,
            )
        )
    return found


def _slices(reader: Reader, keys: Keys) -> tuple[int, ...]:
    return tuple(word for words in reader.values(keys, "slices", literals.network_slice) for word in words)


def read_schedules(reader: Reader, node: Node, holidays: dict[str, frozenset[date]]) -> list[Schedule]:
    """Schedules: rows in the written order."""
    found = []
    for key, value in reader.pairs(node, "schedules"):
        items = value.items if isinstance(value, Items) else ()
        if not items:
            reader.mistakes.add(
                value.place,
                f'schedule "{key.text}" is a list; write lines such as `- {{band: peak, days: [mon]}}`',
            )
        rows = [_schedule_row(reader, each, holidays) for each in items]
        found.append(Schedule(key.place, key.text, tuple(rows)))
    return found


def _schedule_row(reader: Reader, node: Node, holidays: dict[str, frozenset[date]]) -> ScheduleRow:
    keys = reader.keys(node, ROW_KEYS, "a row of a schedule")
    reader.need(keys, node.place, "band", "say which band this row is: `band: peak`")
    start = reader.value(keys, "from", literals.clock, 0)
    end = reader.value(keys, "to", literals.clock, DAY_S)
    if start % DAY_S == end % DAY_S and keys.keys() & {"from", "to"}:
        reader.mistakes.add(node.place, "`from` and `to` are the same time; for the whole day leave both out")
        start, end = 0, DAY_S
    return ScheduleRow(
        node.place,
        reader.value(keys, "band", str, ""),
        _numbers(reader, keys, "days", literals.weekday),
        _dates(reader, keys["dates"], holidays) if "dates" in keys else None,
        _numbers(reader, keys, "months", lambda text: literals.whole(text, 1, 12)),
        _numbers(reader, keys, "month_days", lambda text: literals.whole(text, 1, 31)),
        _numbers(
            reader, keys, "years", lambda text: literals.whole(text, literals.FIRST_YEAR, literals.LAST_YEAR)
        ),
        start,
        end or DAY_S,
    )


def _numbers(reader: Reader, keys: Keys, name: str, parse: object) -> frozenset[int] | None:
    assert callable(parse)
    return frozenset(reader.values(keys, name, parse)) if name in keys else None


def _dates(reader: Reader, node: Node, holidays: dict[str, frozenset[date]]) -> frozenset[date]:
    """Dates, and the days of the holiday lists that are named."""
    found: set[date] = set()
    for word in reader.words(node, "`dates`"):
        if word.text in holidays:
            found |= holidays[word.text]
        elif word.text[:1].isdigit():
            found.update(reader.parse(word, literals.holiday) or ())
        else:
            reader.mistakes.add(
                word.place,
                f'no list under `holidays:` is called "{word.text}"{nearest(word.text, holidays)}',
            )
    return frozenset(found)


def read_scope(reader: Reader, keys: Keys, unit: Unit, place: Place, what: str, *, narrow: bool) -> Scope:
    """Which usage is meant; `narrow` defaults are those of an allowance: at home, by the subscriber."""
    usual = {Unit.MONEY: tuple(Kind), Unit.TIME: (Kind.VOICE,), Unit.OCTETS: (Kind.DATA,), Unit.EVENTS: ()}
    possible = {**usual, Unit.EVENTS: (Kind.SMS, Kind.IOT, Kind.CONTENT)}
    kinds = reader.choices(keys, "usage", KINDS) or usual[unit]
    if not kinds:
        reader.mistakes.add(place, f"say which events {what} is about: `usage: [sms]`")
    for kind in kinds:
        if kind not in possible[unit]:
            reader.mistakes.add(
                keys["usage"].place,
                f"{kind.name.lower()} is not measured in {unit.name.lower()}; {what} cannot be about it",
            )
    default = (Direction.ORIGINATING,) if narrow else tuple(Direction)
    excluded = reader.names(keys, "except")
    if excluded and "to" not in keys:
        reader.mistakes.add(keys["except"].place, "`except` takes something out of `to`; write `to` as well")
    return Scope(
        kinds,
        reader.choices(keys, "directions", DIRECTIONS) or default,
        read_zone_names(reader, keys, Named(place, HOME) if narrow else None),
        read_targets(reader, keys, "to"),
        excluded,
        read_targets(reader, keys, "classes"),
    )


def read_zone_names(reader: Reader, keys: Keys, default: Named | None) -> tuple[Named, ...] | None:
    """Zone names; None for every zone."""
    if "zones" not in keys:
        return None if default is None else (default,)
    return read_targets(reader, keys, "zones")


def read_targets(reader: Reader, keys: Keys, name: str) -> tuple[Named, ...] | None:
    """Names, or None for `any`, which is also what a missing key means."""
    names = reader.names(keys, name)
    if any(each.name == ANY for each in names):
        if len(names) > 1:
            reader.mistakes.add(
                names[0].place, f"`any` already holds everything; leave the other names out of `{name}`"
            )
        return None
    if name in keys and not names:
        reader.mistakes.add(keys[name].place, f"`{name}` names nothing; write names, or `any`")
    return names if name in keys else None


def read_balances(reader: Reader, node: Node) -> list[Balance]:
    """Balances in the written order."""
    return [_balance(reader, key, value) for key, value in reader.pairs(node, "balances")]


def _balance(reader: Reader, key: Scalar, node: Node) -> Balance:
    what = f'balance "{key.text}"'
    keys = reader.keys(node, BALANCE_KEYS, what)
    reader.need(keys, key.place, "unit", f"{what} needs `unit: money`, `time`, `octets` or `events`")
    unit = reader.choice(keys, "unit", UNITS, Unit.MONEY)
    main = reader.value(keys, "main", literals.truth, default=False)
    shared = reader.value(keys, "shared", literals.truth, default=False)
    _balance_mistakes(reader, keys, key, what, main=main, shared=shared)
    in_unit = in_unit_of(unit)
    hysteresis = in_unit if "low" in keys else _percent
    return Balance(
        key.place,
        key.text,
        unit,
        read_scope(reader, keys, unit, key.place, what, narrow=unit is not Unit.MONEY),
        main,
        MAIN_PRIORITY
        if main
        else reader.value(keys, "priority", lambda text: literals.whole(text, 0, 10**6), 100),
        reader.value(keys, "grant", in_unit, 0),
        reader.choice(keys, "every", PERIODS, 0),
        _marks(reader, keys, "low", in_unit),
        _marks(reader, keys, "thresholds", _percent),
        reader.value(keys, "hysteresis", hysteresis, 0),
        reader.name(keys, "schedule"),
        reader.names(keys, "bands"),
        reader.value(keys, "increment", in_unit_of(unit, lowest=1), 1000 if unit is Unit.TIME else 1),
        reader.value(keys, "factor", literals.factor, literals.factor("1")),
        reader.name(keys, "rated_by"),
        reader.value(keys, "blocker", literals.truth, default=False),
        shared,
        reader.value(keys, "member_limit", in_unit, None),
        reader.value(keys, "grant_per_member", in_unit, 0),
        _rollover(reader, keys["rollover"], unit) if "rollover" in keys else None,
        _by_day(reader, keys, unit) if "pro_rata" in keys else None,
        reader.choice(keys, "on_change", ON_CHANGE, default=False),
    )


def _balance_mistakes(
    reader: Reader, keys: Keys, key: Scalar, what: str, *, main: bool, shared: bool
) -> None:
    """Keys of a balance that do not go together."""
    for name in (
        ("priority", "grant", "every", "to", "classes", "zones", "usage", "directions", "rated_by", "shared")
        if main
        else ()
    ):
        if name in keys:
            reader.mistakes.add(
                keys[name].place,
                f"the main balance takes whatever is left over, from everything and last; remove `{name}`",
            )
    if "grant" in keys and "every" not in keys:
        reader.mistakes.add(
            keys["grant"].place, "say how often this is granted: `every: month` (or day, week)"
        )
    for name in ("member_limit", "grant_per_member"):
        if name in keys and not shared:
            reader.mistakes.add(
                keys[name].place, f"`{name}` is about a balance that members share; add `shared: true`"
            )
    if "grant_per_member" in keys and "grant" not in keys:
        reader.mistakes.add(
            keys["grant_per_member"].place,
            "say what is granted without members, too: `grant: 0`, and `every`",
        )
    if "every" in keys and "grant" not in keys:
        reader.mistakes.add(keys["every"].place, "say how much is granted each time: `grant: 100m`")
    if "low" in keys and "thresholds" in keys:
        reader.mistakes.add(
            keys["low"].place, "warn of what is left (`low`) or of what is used (`thresholds`), not both"
        )
    if "thresholds" in keys and "grant" not in keys:
        reader.mistakes.add(
            keys["thresholds"].place, "`thresholds` are percent of a `grant`, and there is none; use `low`"
        )
    for name in ("rollover", "pro_rata", "on_change"):
        if name in keys and "grant" not in keys:
            reader.mistakes.add(
                keys[name].place,
                f"`{name}` is about what is granted each period, and nothing is; add `grant` and `every`",
            )
    if ("schedule" in keys) != ("bands" in keys):
        reader.mistakes.add(key.place, f"{what} needs both `schedule` and `bands`, or neither")


def _rollover(reader: Reader, node: Node, unit: Unit) -> Rollover:
    """How what is left of a period is carried over."""
    keys = reader.keys(node, ROLLOVER_KEYS, "rollover")
    reader.need(
        keys, node.place, "periods", "say for how many further periods it stays: `rollover: {periods: 1}`"
    )
    if "rounding" in keys and "share" not in keys:
        reader.mistakes.add(
            keys["rounding"].place, "`rounding` belongs to a share of what is left; write `share`, too"
        )
    share = reader.value(keys, "share", lambda text: literals.percent(text, 100), 1_000_000)
    if share == 0:
        reader.mistakes.add(
            keys["share"].place, "a `share` of nothing carries nothing over; remove `rollover`"
        )
    return Rollover(
        reader.value(keys, "periods", lambda text: literals.whole(text, 1, MOST_PERIODS), 1),
        share,
        reader.choice(keys, "rounding", MODES, Rounding.DOWN),
        reader.value(keys, "most", in_unit_of(unit, lowest=1), None),
        reader.choice(keys, "used", USED, default=False),
    )


def _by_day(reader: Reader, keys: Keys, unit: Unit) -> ByDay | None:
    """How a share by days is rounded; None where a plan brings all of the allowance whenever it begins."""
    node = keys["pro_rata"]
    if not isinstance(node, Fields):
        return ByDay() if reader.choice(keys, "pro_rata", PRO_RATA, default=False) else None
    inside = reader.keys(node, PRO_RATA_KEYS, "pro_rata")
    reader.need(inside, node.place, "by", "say by what it is shared out: `pro_rata: {by: day, step: 1MB}`")
    by_day = reader.choice(inside, "by", PRO_RATA, default=True)
    rule = ByDay(
        reader.choice(inside, "rounding", MODES, Rounding.UP),
        reader.value(inside, "step", in_unit_of(unit, lowest=1), 1),
    )
    if rule.step > MOST_STEP:
        reader.mistakes.add(
            inside["step"].place, "this `step` is larger than any allowance; write a smaller one"
        )
    return rule if by_day else None


def read_counters(reader: Reader, node: Node) -> list[Counter]:
    """Counters in the written order."""
    return [_counter(reader, key, value) for key, value in reader.pairs(node, "counters")]


def _counter(reader: Reader, key: Scalar, node: Node) -> Counter:
    what = f'counter "{key.text}"'
    keys = reader.keys(node, COUNTER_KEYS, what)
    reader.need(keys, key.place, "unit", f"{what} needs `unit: money`, `time`, `octets` or `events`")
    unit = reader.choice(keys, "unit", UNITS, Unit.MONEY)
    if "thresholds" in keys and "cap" not in keys:
        reader.mistakes.add(
            keys["thresholds"].place,
            '`thresholds` are percent of a cap, and there is none; write `cap: "50.00"`',
        )
    if "directions" in keys:
        reader.mistakes.add(keys["directions"].place, "a counter counts both directions; remove `directions`")
    marks = _marks(reader, keys, "thresholds", _percent)
    cap = reader.value(keys, "cap", in_unit_of(unit, lowest=1), 0)
    return Counter(
        key.place,
        key.text,
        unit,
        read_scope(reader, keys, unit, key.place, what, narrow=False),
        reader.choice(keys, "every", PERIODS, 0),
        cap,
        marks or ((100,) if cap else ()),
        reader.value(keys, "hysteresis", _percent, 0),
    )


def amount_in(unit: Unit, text: str) -> int:
    """An amount of a unit as a clerk writes it (5GB, 60m, 10.00); anything else is a ValueError."""
    return in_unit_of(unit)(text)


class in_unit_of:  # noqa: N801 - reads like the function it is
    """Parses an amount, duration, volume or count, whichever the unit asks for."""

    def __init__(self, unit: Unit, lowest: int = 0) -> None:
        self.unit = unit
        self.lowest = lowest

    def __call__(self, text: str) -> int:
        if self.unit is Unit.MONEY:
            units = literals.amount(text)
        else:
            units, measure = literals.quantity(text)
            wanted = MEASURE_OF_UNIT[self.unit]
            if measure not in (wanted, literals.Measure.BARE):
                raise ValueError(
                    f'"{text}" counts {measure.value}, but `unit: {self.unit.name.lower()}` counts {wanted.value}'
                )
        if units < self.lowest:
            raise ValueError(f'"{text}" must be more than nothing')
        return units


def _percent(text: str) -> int:
    return literals.whole(text.removesuffix("%"), 0, 1000)


def _marks(reader: Reader, keys: Keys, name: str, parse: object) -> tuple[int, ...]:
    """Marks in ascending order, each once."""
    assert callable(parse)
    marks = reader.values(keys, name, parse)
    if len(set(marks)) < len(marks):
        reader.mistakes.add(keys[name].place, f"`{name}` holds the same mark twice")
    if len(marks) > MOST_MARKS:
        reader.mistakes.add(keys[name].place, f"`{name}` holds more than {MOST_MARKS} marks")
    return tuple(sorted(set(marks)))
