"""The tariff directory as an auditor reads it: YAML in, plain tables out.

Every scalar is taken as the text that the clerk wrote, and is given its meaning here and nowhere else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

from tests.opinion.quantities import amount, micros, rounded, units

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
KINDS = ("voice", "sms", "data", "iot", "content")
DEFAULT_ROUNDING = {
    "decimals": "6",
    "mode": "half_up",
    "method": "exact",
    "increment_decimals": "6",
    "increment_mode": "half_up",
}


@dataclass(frozen=True)
class Slot:
    """From so many units of the use on, a started increment costs this much."""

    start: int
    increment: int
    price: Fraction


@dataclass(frozen=True)
class Rate:
    """What a use costs while this rate is in force."""

    name: str
    tiers: tuple[tuple[int, tuple[Slot, ...]], ...]
    fee: Fraction
    decimals: int
    mode: str
    counter: str | None = None
    free: bool = False
    of_record: bool = False


@dataclass(frozen=True)
class Price:
    """One row of a plan's `prices`."""

    kinds: tuple[str, ...]
    zones: tuple[str, ...] | None
    directions: tuple[str, ...]
    to: tuple[str, ...]  # names of destinations or classes; "any" is the last resort
    prefixes: tuple[str, ...]  # of a row of a sheet
    schedule: str | None
    rates: dict[str, Rate]  # by band, those that are sold; "" when there is no schedule
    min_charge: int
    max_cost: int | None


@dataclass(frozen=True)
class Version:
    """A plan from one date on."""

    plan: str
    label: str
    effective_us: int
    prices: tuple[Price, ...]
    includes: tuple[str, ...]
    counters: tuple[str, ...]
    fallback: tuple[str, ...]


@dataclass(frozen=True)
class BalanceRule:
    """What a balance may be used for."""

    name: str
    unit: str
    main: bool
    priority: int
    kinds: tuple[str, ...]
    directions: tuple[str, ...]
    zones: tuple[str, ...] | None
    to: tuple[str, ...] | None
    excluded: tuple[str, ...]
    classes: tuple[str, ...] | None
    schedule: str | None
    bands: tuple[str, ...]
    increment: int
    factor: Fraction
    rated_by: str | None
    blocker: bool
    every: str | None
    grant: int
    thresholds: tuple[int, ...]
    low: tuple[int, ...]
    hysteresis: int
    shared: bool
    member_limit: int | None
    grant_per_member: int
    carried_periods: int = 0
    carried_share: Fraction = Fraction(1)
    carried_way: str = "down"
    carried_most: int | None = None
    carried_last: bool = False
    by_day: bool = False
    day_way: str = "up"
    day_step: int = 1
    ends: bool = False


@dataclass(frozen=True)
class CounterRule:
    """What is counted, and the cap that it is held against."""

    name: str
    unit: str
    kinds: tuple[str, ...]
    zones: tuple[str, ...] | None
    to: tuple[str, ...] | None
    excluded: tuple[str, ...]
    classes: tuple[str, ...] | None
    every: str | None
    cap: int
    thresholds: tuple[int, ...]
    hysteresis: int


@dataclass(frozen=True)
class TrafficClass:
    """Which data, IoT or content usage belongs to a class."""

    name: str
    kind: str
    services: tuple[str, ...] | None
    slices: tuple[int, ...] | None
    five_qis: tuple[int, ...] | None


@dataclass(frozen=True)
class BandRow:
    """One row of a schedule; the first row that fits a local moment names the band."""

    band: str
    days: frozenset[int] | None
    dates: frozenset[date] | None
    yearly: frozenset[tuple[int, int]] | None
    months: frozenset[int] | None
    month_days: frozenset[int] | None
    years: frozenset[int] | None
    start_s: int
    end_s: int


@dataclass
class Tariff:
    """Everything that the files say."""

    currency: str = ""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    country_code: str = ""
    home_plmns: tuple[int, ...] = ()
    cycle_day: int = 1
    default_plan: str | None = None
    rounding: dict[str, str] = field(default_factory=dict)
    prefixes: list[tuple[str, str]] = field(default_factory=list)  # (prefix, destination)
    numbers: list[tuple[str, str]] = field(default_factory=list)  # (whole number, destination)
    names: list[str] = field(default_factory=list)  # of destinations, as they come
    zones: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = field(default_factory=dict)
    classes: list[TrafficClass] = field(default_factory=list)
    schedules: dict[str, tuple[BandRow, ...]] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)
    balances: dict[str, BalanceRule] = field(default_factory=dict)
    counters: dict[str, CounterRule] = field(default_factory=dict)
    plans: dict[str, list[Version]] = field(default_factory=dict)
    exchange: list[tuple[str, int, Fraction]] = field(default_factory=list)  # currency, since, rate
    exchange_decimals: int = 2
    exchange_mode: str = "half_even"

    @property
    def main(self) -> BalanceRule:
        """The money balance that takes what is left over."""
        return next(rule for rule in self.balances.values() if rule.main)


def read_directory(directory: Path) -> Tariff:
    """The tariff of all files of a directory."""
    return read({path.name: path.read_text() for path in sorted(directory.iterdir()) if path.is_file()})


def read(files: Mapping[str, str]) -> Tariff:
    """The tariff of files given by name."""
    documents = [
        document
        for name, text in sorted(files.items())
        if name.lower().endswith((".yaml", ".yml"))
        for document in YAML(typ="base", pure=True).load_all(text)
        if document
    ]
    merged: dict[str, dict[str, Any]] = {}
    for document in documents:
        for section, content in document.items():
            if isinstance(content, dict):
                merged.setdefault(section, {}).update(content)
    tariff = Tariff()
    _read_operator(tariff, merged.get("operator", {}))
    _read_destinations(tariff, merged.get("destinations", {}), files)
    _read_exchange(tariff, merged.get("exchange", {}), files)
    for name, rule in merged.get("zones", {}).items():
        tariff.zones[name] = (
            tuple(int(plmn) for plmn in rule.get("plmn", [])),
            tuple(int(mcc) for mcc in rule.get("mcc", [])),
            rule.get("default") == "true",
        )
    tariff.classes = [_class(name, rule) for name, rule in merged.get("classes", {}).items()]
    holidays = merged.get("holidays", {})
    for name, rows in merged.get("schedules", {}).items():
        tariff.schedules[name] = tuple(_band_row(row, holidays) for row in rows)
    for name, rule in merged.get("rates", {}).items():
        tariff.rates[name] = _rate(name, rule, tariff.rounding)
    for name, rule in merged.get("balances", {}).items():
        tariff.balances[name] = _balance(name, rule)
    for name, rule in merged.get("counters", {}).items():
        tariff.counters[name] = _counter(name, rule)
    for document in documents:
        for row in document.get("prices") or ():
            for line in _lines(files, row["sheet"]) if "sheet" in row else ():
                _place(tariff, line)
    for document in documents:
        if "plan" in document:
            version = _version(tariff, document, files)
            tariff.plans.setdefault(version.plan, []).append(version)
    for versions in tariff.plans.values():
        versions.sort(key=lambda version: version.effective_us)
    return tariff


def moment_us(text: str, zone: ZoneInfo) -> int:
    """Microseconds since 1970 of a date (its local midnight) or of a date and time."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        value = value.replace(tzinfo=zone)
    since = value.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def slice_number(text: str) -> int:
    """An S-NSSAI, `1-000001` or `01000001`, as one number: SST in front of six hexadecimal digits of SD."""
    if "-" in text:
        sst, sd = text.split("-")
        return int(sst) << 24 | int(sd, 16)
    if len(text) == 8:
        return int(text, 16)
    return int(text) << 24 | 0xFFFFFF


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _read_operator(tariff: Tariff, rule: dict[str, Any]) -> None:
    tariff.currency = rule.get("currency", "EUR")
    tariff.zone = ZoneInfo(rule.get("time_zone", "UTC"))
    tariff.country_code = rule.get("country_code", "")
    tariff.home_plmns = tuple(int(plmn) for plmn in _names(rule.get("home_plmn", [])))
    tariff.cycle_day = int(rule.get("cycle_day", "1"))
    tariff.default_plan = rule.get("default_plan")
    tariff.rounding = DEFAULT_ROUNDING | rule.get("rounding", {})


def _read_exchange(tariff: Tariff, rule: dict[str, Any], files: Mapping[str, str]) -> None:
    rows = list(rule.get("rates", ()))
    for sheet in _names(rule.get("sheet", ())):
        rows += csv.DictReader(io.StringIO(files[sheet]))
    for row in rows:
        since_us = moment_us(row["since"], tariff.zone) if row.get("since") else -(2**62)
        worth = 1 / amount(row["buys"]) if row.get("buys") else amount(row["rate"])
        tariff.exchange.append((row["currency"], since_us, worth))
    tariff.exchange_decimals = int(rule.get("decimals", 2))
    tariff.exchange_mode = rule.get("rounding", "half_even")


def _read_destinations(tariff: Tariff, rules: dict[str, Any], files: Mapping[str, str]) -> None:
    for name, rule in rules.items():
        if name == "sheet":
            for sheet in _names(rule):
                for line in _lines(files, sheet):
                    _place(tariff, line)
            continue
        tariff.names.append(name)
        tariff.prefixes.extend((_bare(prefix), name) for prefix in _names(rule.get("prefixes", ())))
        tariff.numbers.extend((_bare(number), name) for number in _names(rule.get("numbers", ())))


def _place(tariff: Tariff, line: dict[str, str]) -> None:
    """The prefixes of one line of a sheet join the destination of that name."""
    tariff.names.append(line["destination"])
    for prefix in line["prefix"].split("|"):
        if (_bare(prefix), line["destination"]) not in tariff.prefixes:
            tariff.prefixes.append((_bare(prefix), line["destination"]))


def _class(name: str, rule: dict[str, Any]) -> TrafficClass:
    return TrafficClass(
        name,
        rule["usage"],
        _names(rule["services"]) if "services" in rule else None,
        tuple(slice_number(text) for text in _names(rule["slices"])) if "slices" in rule else None,
        tuple(int(text) for text in _names(rule["five_qi"])) if "five_qi" in rule else None,
    )


def _band_row(row: dict[str, Any], holidays: dict[str, Any]) -> BandRow:
    days = dates = yearly = None
    if "days" in row:
        days = frozenset(WEEKDAYS.index(day[:3].lower()) for day in _names(row["days"]))
    if "dates" in row:
        written = [day for name in _names(row["dates"]) for day in _names(holidays.get(name, [name]))]
        dates = frozenset(date.fromisoformat(day) for day in written if len(day) == 10)
        yearly = frozenset((int(day[:2]), int(day[3:])) for day in written if len(day) == 5)
    start, end = _of_day_s(row.get("from", "00:00")), _of_day_s(row.get("to", "24:00"))
    return BandRow(
        row["band"],
        days,
        dates,
        yearly,
        _whole(row, "months"),
        _whole(row, "month_days"),
        _whole(row, "years"),
        start,
        end or 86_400,
    )


def _whole(row: dict[str, Any], key: str) -> frozenset[int] | None:
    return frozenset(int(text) for text in _names(row[key])) if key in row else None


def _of_day_s(text: str) -> int:
    if text.startswith("24:00"):
        return 86_400
    value = time.fromisoformat(text.zfill(5) if text.count(":") == 1 else text.zfill(8))
    return value.hour * 3600 + value.minute * 60 + value.second


def _rate(name: str, rule: dict[str, Any], defaults: dict[str, str]) -> Rate:
    rounding = defaults | rule.get("rounding", {})
    tiers: list[tuple[int, tuple[Slot, ...]]] = []
    fee = amount(rule.get("connect_fee", "0"))
    free = rule.get("free") == "true"
    of_record = rule.get("price") == "record"
    if not free and not of_record:
        for tier in rule.get("tiers", [rule]):
            written = tier["slots"] if "slots" in tier else _slots_of_increments(tier)
            slots = tuple(_slot(slot, rounding) for slot in written)
            tiers.append((units(tier.get("from", "0")), slots))
            if len(tiers) == 1 and "connect_fee" in written[0]:
                fee = amount(written[0]["connect_fee"])
    return Rate(
        name,
        tuple(tiers),
        fee,
        int(rounding["decimals"]),
        rounding["mode"],
        rule.get("counter"),
        free,
        of_record,
    )


def _slots_of_increments(rule: dict[str, Any]) -> list[dict[str, str]]:
    increments = _names(rule.get("increments", [rule["per"]]))
    base = {"price": rule["price"], "per": rule["per"]}
    if "connect_fee" in rule:
        base["connect_fee"] = rule["connect_fee"]
    slots = [base | {"from": "0", "increment": increments[0]}]
    if len(increments) == 2 and increments[1] != increments[0]:
        slots.append(base | {"from": increments[0], "increment": increments[1]})
    return slots


def _slot(rule: dict[str, str], rounding: dict[str, str]) -> Slot:
    increment = units(rule.get("increment", rule["per"]))
    price = amount(rule["price"]) * increment / units(rule["per"])
    if rounding["method"] == "each_increment":
        price = rounded(price, int(rounding["increment_decimals"]), rounding["increment_mode"])
    return Slot(units(rule.get("from", "0")), increment, price)


KINDS_OF_UNIT = {"money": KINDS, "time": ("voice",), "octets": ("data",), "events": ("sms", "iot", "content")}


def _scope(rule: dict[str, Any], unit: str, narrow: bool) -> dict[str, Any]:
    """Which usage a balance or counter is about; allowances mean originating use at home unless they say more."""
    zones = _plural(rule, "zones", ("home",) if narrow else ("any",))
    to = _plural(rule, "to", ("any",))
    classes = _plural(rule, "classes", ("any",))
    return {
        "kinds": _names(rule.get("usage", KINDS_OF_UNIT[unit])),
        "zones": None if "any" in zones else zones,
        "to": None if "any" in to else to,
        "excluded": _names(rule.get("except", ())),
        "classes": None if "any" in classes else classes,
    }


def _plural(rule: dict[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A key that may be written in the singular, too."""
    singular = {"zones": "zone", "directions": "direction", "classes": "class", "to": "to"}[key]
    return _names(rule[key]) if key in rule else _names(rule.get(singular, default))


def _balance(name: str, rule: dict[str, Any]) -> BalanceRule:
    unit = rule["unit"]
    main = rule.get("main") == "true"
    quantity = micros if unit == "money" else units
    narrow = unit != "money"
    return BalanceRule(
        name=name,
        unit=unit,
        main=main,
        priority=2**31 - 1 if main else int(rule.get("priority", "100")),
        directions=_plural(
            rule, "directions", ("originating",) if narrow else ("originating", "terminating")
        ),
        schedule=rule.get("schedule"),
        bands=_names(rule.get("bands", ())),
        increment=units(rule.get("increment", "1s" if unit == "time" else "1")),
        factor=amount(rule.get("factor", "1")),
        rated_by=rule.get("rated_by"),
        blocker=rule.get("blocker") == "true",
        every=rule.get("every"),
        grant=quantity(rule.get("grant", "0")),
        thresholds=tuple(sorted(int(mark.removesuffix("%")) for mark in _names(rule.get("thresholds", ())))),
        low=tuple(sorted(quantity(mark) for mark in _names(rule.get("low", ())))),
        hysteresis=quantity(rule.get("hysteresis", "0"))
        if "low" in rule
        else int(rule.get("hysteresis", "0")),
        shared=rule.get("shared") == "true",
        member_limit=quantity(rule["member_limit"]) if "member_limit" in rule else None,
        grant_per_member=quantity(rule.get("grant_per_member", "0")),
        ends=rule.get("on_change") == "ends",
        **_renewal(rule, quantity),
        **_scope(rule, unit, narrow),
    )


def _renewal(rule: dict[str, Any], quantity: Callable[[str], int]) -> dict[str, Any]:
    """What is carried over to the next period, and what a plan brings that begins within one."""
    said: dict[str, Any] = {}
    carried = rule.get("rollover")
    if carried:
        said["carried_periods"] = int(carried["periods"])
        said["carried_share"] = amount(carried.get("share", "100").removesuffix("%")) / 100
        said["carried_way"] = carried.get("rounding", "down")
        said["carried_most"] = quantity(carried["most"]) if "most" in carried else None
        said["carried_last"] = carried.get("used") == "last"
    by_day = rule.get("pro_rata", "none")
    if isinstance(by_day, dict):
        said["day_way"] = by_day.get("rounding", "up")
        said["day_step"] = quantity(by_day["step"]) if "step" in by_day else 1
        by_day = by_day["by"]
    said["by_day"] = by_day == "day"
    return said


def _counter(name: str, rule: dict[str, Any]) -> CounterRule:
    unit = rule["unit"]
    quantity = micros if unit == "money" else units
    marks = tuple(sorted(int(mark.removesuffix("%")) for mark in _names(rule.get("thresholds", ()))))
    return CounterRule(
        name=name,
        unit=unit,
        every=rule.get("every"),
        cap=quantity(rule["cap"]) if "cap" in rule else 0,
        thresholds=marks or (100,),
        hysteresis=int(rule.get("hysteresis", "0")),
        **_scope(rule, unit, narrow=False),
    )


def _version(tariff: Tariff, document: dict[str, Any], files: Mapping[str, str]) -> Version:
    effective = document.get("effective")
    prices: list[Price] = []
    for row in document.get("prices") or ():
        prices.extend(_prices_of_row(tariff, row, files))
    counters = document.get("counters", ())
    return Version(
        document["plan"],
        f"{document['plan']}@{effective or 'always'}",
        moment_us(effective, tariff.zone) if effective else -(2**62),
        tuple(prices),
        _names(document.get("includes", ())),
        () if isinstance(counters, dict) else _names(counters),
        _names(document.get("fallback", ())),
    )


def _prices_of_row(tariff: Tariff, row: dict[str, Any], files: Mapping[str, str]) -> list[Price]:
    if "sheet" in row:
        return [_price(tariff, row, (), line) for line in _lines(files, row["sheet"])]
    to = _plural(row, "classes", _plural(row, "to", ("any",)))
    return [_price(tariff, row, to, {})]


def _price(tariff: Tariff, row: dict[str, Any], to: tuple[str, ...], line: dict[str, str]) -> Price:
    """One row of prices, or one line of its sheet."""
    schedule = row.get("schedule")
    if line:
        rates: dict[str, Rate | None] = {"": _rate_of_line(tariff, line)}
    elif schedule is not None:
        rates = {band: _rate_named(tariff, rate) for band, rate in row["rate"].items()}
    else:
        rates = {"": _rate_named(tariff, row["rate"])}
    minimum = line.get("min_charge") or row.get("min_charge") or "0"
    maximum = line.get("max_cost") or row.get("max_cost")
    zones = _plural(row, "zones", ("home",))
    return Price(
        kinds=_names(row["usage"]),
        zones=None if "any" in zones else zones,
        directions=_plural(row, "directions", ("originating",)),
        to=to,
        prefixes=tuple(_bare(prefix) for prefix in line["prefix"].split("|")) if line else (),
        schedule=schedule,
        rates={band: rate for band, rate in rates.items() if rate is not None},
        min_charge=micros(minimum),
        max_cost=micros(maximum) if maximum else None,
    )


def _rate_named(tariff: Tariff, rate: Any) -> Rate | None:
    """A rate by its name or written in place; `none` is not sold, `free` needs no definition."""
    if isinstance(rate, dict):
        return _rate("in place", rate, tariff.rounding)
    if rate == "none":
        return None
    if rate == "free" and "free" not in tariff.rates:
        return _rate("free", {"free": "true"}, tariff.rounding)
    return tariff.rates[rate]


def _rate_of_line(tariff: Tariff, line: dict[str, str]) -> Rate:
    rule: dict[str, Any] = {"price": line["price"], "per": line["per"]}
    if line.get("first") or line.get("next"):
        first = line.get("first") or line["per"]
        rule["increments"] = [first, line.get("next") or first]
    if line.get("connect_fee"):
        rule["connect_fee"] = line["connect_fee"]
    return _rate(f"sheet {line['destination']}", rule, tariff.rounding)


def _bare(number: str) -> str:
    return number.strip().removeprefix("+")


def _lines(files: Mapping[str, str], name: str) -> list[dict[str, str]]:
    """The lines of a sheet; blank ones and those that begin with # say nothing."""
    rows = [
        row
        for row in csv.reader(io.StringIO(files[name]))
        if any(row) and not row[0].lstrip().startswith("#")
    ]
    columns = [column.strip().lower() for column in rows[0]]
    return [dict(zip(columns, (cell.strip() for cell in row), strict=True)) for row in rows[1:]]
