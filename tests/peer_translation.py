"""Tariffs and accounts of another engine's format, said again in trunkline's own YAML.

The format is that of `rating_peer_cases.json`: rating profiles lead from (tenant, category, subject) to a rating plan;
a plan joins destination rates to timings by weight; balances hang on an account. Each piece becomes the piece of ours
that means the same (docs/decisions/peer-cases.md); what has none raises `Untranslatable` with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

Json = dict[str, Any]

NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
MS = 10**6
EVER = ("", "*any", "*always", "*asap")
MODES = {"*up": "up", "*down": "down", "*middle": "half_up"}
KINDS_OF_PEER = {"*voice": "voice", "*sms": "sms", "*data": "data", "*generic": "content"}
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
ANY = "*any"
LONGEST = 16
FINEST_DECIMALS = 6
DEEPEST = 8
DEFAULT_DEPTH = 3
DEFAULT_DECIMALS = 5


class Untranslatable(Exception):
    """The format says something for which trunkline has no word; the text says what."""


class FinerThanMs(Untranslatable):
    """A call is measured in less than whole ms, so it has to be counted in ns."""


@dataclass(frozen=True)
class Opening:
    """A balance that the account has when the case begins; `scale` leads from the format's value to ours."""

    peer: str
    name: str
    value: int
    scale: Fraction
    valid_until_s: int | None
    account: str = ""  # whose: the name of another account of the format, or "" for the caller's
    shared: bool = False


@dataclass(frozen=True)
class Ceiling:
    """The highest rate that the caller names: money for so many units of the platform."""

    micros: int
    units: int


@dataclass(frozen=True)
class Translation:
    """A case in trunkline's terms.

    Accounts of the format that share balances are members of one account of ours; `others` are those besides the
    caller.
    """

    files: dict[str, str]
    plan: str | None
    openings: tuple[Opening, ...]
    main: Opening
    kind: str
    called: str
    start_us: int
    units: int
    ceiling: Ceiling | None = None
    others: tuple[str, ...] = ()


def base_units(text: str | int | Decimal) -> int:
    """A duration such as `1m30s` in ns, or a bare count as it stands."""
    written = str(text).strip()
    if re.fullmatch(r"\d+", written):
        return int(written)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise Untranslatable(f"{written!r} is neither a duration nor a whole number of units")
    return _whole(sum(Fraction(number) * NS[unit] for number, unit in parts), written)


def _whole(value: Fraction | int, written: object) -> int:
    exact = Fraction(value)
    if exact.denominator != 1:
        raise Untranslatable(f"{written} is finer than one unit")
    return exact.numerator


def moment(text: str) -> datetime:
    """A moment with its zone; without one it is UTC."""
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def micros_since_1970(value: datetime) -> int:
    """The moment in microseconds."""
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds


def plain(value: Decimal | int | str) -> str:
    """An amount without exponent."""
    return format(Decimal(str(value)), "f")


@dataclass(frozen=True)
class Timing:
    """When something holds: on days that fit, from `start_s` to before `end_s`."""

    years: tuple[int, ...] | None = None
    months: tuple[int, ...] | None = None
    month_days: tuple[int, ...] | None = None
    week_days: tuple[str, ...] | None = None
    start_s: int = 0
    end_s: int = 86_400

    @property
    def always(self) -> bool:
        """Whether it holds at every moment."""
        return self == Timing()

    def holds(self, at: datetime) -> bool:
        """Whether it holds at a moment (UTC)."""
        second = at.hour * 3600 + at.minute * 60 + at.second
        return (
            (self.years is None or at.year in self.years)
            and (self.months is None or at.month in self.months)
            and (self.month_days is None or at.day in self.month_days)
            and (self.week_days is None or WEEKDAYS[at.isoweekday()] in self.week_days)
            and self.start_s <= second < self.end_s
        )

    def row(self, band: str) -> Json:
        """The row of a schedule."""
        row: Json = {"band": band}
        for key, values in (("years", self.years), ("months", self.months), ("month_days", self.month_days)):
            if values is not None:
                row[key] = list(values)
        if self.week_days is not None:
            row["days"] = list(self.week_days)
        if (self.start_s, self.end_s) != (0, 86_400):
            row["from"], row["to"] = _clock(self.start_s), _clock(self.end_s)
        return row


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def read_timing(name: str, timings: Mapping[str, Json]) -> Timing:
    """A timing by name; `*any` and its like hold always."""
    if name in EVER:
        return Timing()
    if name not in timings:
        raise Untranslatable(f"timing {name!r} is not defined")
    rule = timings[name]
    times = [
        _second_of_day(part)
        for part in str(rule.get("start", "00:00:00")).split(";")
        if part and part not in EVER
    ]
    end_s = times[1] + 1 if len(times) > 1 else 86_400  # the second that is named still belongs to it
    return Timing(
        _numbers(rule, "years"),
        _numbers(rule, "months"),
        _numbers(rule, "month_days"),
        _weekdays(rule),
        times[0] if times else 0,
        min(end_s, 86_400),
    )


def _second_of_day(text: str) -> int:
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _numbers(rule: Json, key: str) -> tuple[int, ...] | None:
    text = str(rule.get(key, ANY))
    return None if text in EVER else tuple(sorted({int(part) for part in text.split(";")}))


def _weekdays(rule: Json) -> tuple[str, ...] | None:
    days = _numbers(rule, "week_days")
    return None if days is None else tuple(dict.fromkeys(WEEKDAYS[day] for day in days))


class Dialling:
    """Numbers of the format as numbers of ours: `+` is a symbol of its own there, and names are private codes."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        """Give each prefix that is not dialled a code; a longer name continues the code of a shorter one."""
        self.codes: dict[str, str] = {}
        for number, prefix in enumerate(
            sorted({each for each in prefixes if _lead(each) != each}, key=lambda p: (len(p), p))
        ):
            self.codes[prefix] = self._front(prefix) + f"B{number:02d}"

    def _front(self, text: str) -> str:
        inside = [name for name in self.codes if text.startswith(name)]
        return self.codes[max(inside, key=len)] if inside else _symbols(_lead(text))

    def prefix(self, text: str) -> str:
        """A prefix; longer ones than ours can hold would match more than they say."""
        word = self.codes.get(text) or _symbols(text)
        if len(word) > LONGEST:
            raise Untranslatable(f"prefix {text!r} is longer than {LONGEST} symbols")
        return word

    def number(self, text: str) -> str:
        """A whole number; what no prefix can tell apart is cut off."""
        word = _symbols(text) if _lead(text) == text else self._front(text) + "B"
        return word[:LONGEST]


def _lead(text: str) -> str:
    """The part of a number that can be dialled."""
    match = re.match(r"[0-9*#+]*", text)
    return match[0] if match else ""


def _symbols(text: str) -> str:
    return text.replace("+", "A")


@dataclass(frozen=True)
class Entry:
    """One price of a plan for one prefix: when it holds, how it weighs, what it costs."""

    timing: Timing
    weight: Decimal
    rate: str
    cap: Decimal | None
    end: Decimal | None  # what a call costs at most, because it is ended then


@dataclass
class Tariff:
    """A tariff of the format, and the pieces of ours that have been made of it."""

    rules: Json
    call: Json
    operation: str
    fine: bool = False
    rates: Json = field(default_factory=dict)
    schedules: Json = field(default_factory=dict)
    plans: dict[str, list[Json]] = field(default_factory=dict)
    plan_names: dict[tuple[str, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find out what is asked, and how fine time must be."""
        self.start = moment(self.call["start"])
        self.dialled = self.call.get("destination", ANY) not in EVER
        self.dialling = Dialling([prefix for each in self._destinations().values() for prefix in each])
        self.kind = self._kind()
        self.grain = MS if self.kind == "voice" else 1
        self.suffix = "ms" if self.kind == "voice" else ""

    def _destinations(self) -> dict[str, list[str]]:
        return dict(self.rules.get("destinations", {}))

    def _kind(self) -> str:
        """Calls are timed in ms; what is finer, or goes to a number without being a call, is counted like messages."""
        peer = self.call.get("type", "*voice")
        if peer not in KINDS_OF_PEER:
            raise Untranslatable(f"usage of type {peer!r} is not known")
        if peer == "*voice":
            return "sms" if self.fine else "voice"
        return "sms" if self.dialled else KINDS_OF_PEER[peer]

    def units(self, base: int) -> int:
        """Units of the platform; a started ms counts whole, which no increment can tell."""
        return -(-base // self.grain)

    # -- rates ---------------------------------------------------------------------------------------------

    def rate_for(self, line: Json) -> str:
        """The name of our rate for one destination rate: its slots, its fee, its way of rounding."""
        decimals = min(int(line.get("decimals", FINEST_DECIMALS)), FINEST_DECIMALS)
        mode = MODES.get(line.get("rounding", ""), "half_up")
        unrounded = self.operation == "debit" and not self.call.get("perform_rounding")
        if unrounded or line.get("rounding", "") not in MODES:
            decimals, mode = FINEST_DECIMALS, "half_up"
        name = f"{line['rate']} {mode} {decimals}"
        if name not in self.rates:
            self.rates[name] = self._rate(line["rate"], decimals, mode)
        return name

    def _rate(self, name: str, decimals: int, mode: str) -> Json:
        each = min(int(self.rules.get("global_rounding_decimals", DEFAULT_DECIMALS)), FINEST_DECIMALS)
        rate: Json = {
            "slots": self._slots(name),
            "rounding": {
                "method": "each_increment",
                "increment_decimals": each,
                "increment_mode": "half_up",
                "decimals": decimals,
                "mode": mode,
            },
        }
        return rate

    def _slots(self, name: str) -> list[Json]:
        """The slots, counted from where the use begins within its call."""
        if name not in self.rules.get("rates", {}):
            raise Untranslatable(f"rate {name!r} is not defined")
        groups = sorted(
            self.rules["rates"][name], key=lambda group: base_units(group.get("group_start", "0"))
        )
        begun = base_units(self.call.get("duration_index", 0)) - base_units(self.call["usage"])
        begun = max(begun, 0)
        slots: list[Json] = []
        for group in groups:
            start = base_units(group.get("group_start", "0")) - begun
            if start <= 0:
                slots.clear()
            slots.append(self._slot(group, max(start, 0)))
        if not slots or slots[0]["from"] != f"0{self.suffix}":
            raise Untranslatable(f"rate {name!r} has no price for the beginning of a use")
        fee = Decimal(str(groups[0].get("connect_fee", 0)))
        if fee and not int(self.call.get("loop_index", 0)) and not begun:
            slots[0]["connect_fee"] = plain(fee)
        return slots

    def _slot(self, group: Json, start: int) -> Json:
        per, increment = (base_units(group[key]) or NS["s"] for key in ("unit", "increment"))
        if increment % self.grain or start % self.grain:
            raise FinerThanMs("a call is measured in less than one ms")
        price = Fraction(Decimal(str(group["rate"])))
        if per % self.grain:  # a price for less than one ms: say it for one ms
            price, per = price * self.grain / per, self.grain
        return {
            "from": f"{start // self.grain}{self.suffix}",
            "price": _decimal_text(price),
            "per": f"{per // self.grain}{self.suffix}",
            "increment": f"{increment // self.grain}{self.suffix}",
        }

    # -- plans ---------------------------------------------------------------------------------------------

    def plan_for_caller(self) -> str | None:
        """The plan that serves the call's subject: its own profile if one is active yet, else that of `*any`."""
        subject = str(self.call.get("subject", ""))
        if not any(self._active(profile) for profile in self._profiles(subject)):
            subject = ANY
        return self.plan_of(subject, 1)

    def _active(self, profile: Json) -> bool:
        since = profile.get("active_from", "")
        return not since or moment(since) <= self.start

    def _profiles(self, subject: str) -> list[Json]:
        asked = (self.call.get("tenant"), self.call.get("category"), subject)
        return [
            profile
            for profile in self.rules.get("rating_profiles", [])
            if (profile.get("tenant"), profile.get("category"), profile.get("subject")) == asked
        ]

    def plan_of(self, subject: str, level: int) -> str | None:
        """Our plan for a subject's profile at a level of the fallback chain; None where there is no profile."""
        profiles = self._profiles(subject)
        if not profiles:
            return None
        if (subject, level) in self.plan_names:
            return self.plan_names[subject, level]
        name = f"plan_{len(self.plan_names)}"
        self.plan_names[subject, level] = name
        versions: dict[str, Json] = {}
        for profile in profiles:
            version = self._version(name, profile, level)
            versions[version.get("effective", "")] = version
        self.plans[name] = list(versions.values())
        return name

    def _version(self, name: str, profile: Json, level: int) -> Json:
        depth = min(int(self.rules.get("fallback_depth", DEFAULT_DEPTH)), DEEPEST)
        fallbacks = [
            plan
            for subject in profile.get("fallback_subjects", [])
            if level < depth and (plan := self.plan_of(subject, level + 1)) is not None
        ]
        version: Json = {"plan": name, "prices": self._prices(profile["plan"])}
        if fallbacks:
            version["fallback"] = list(dict.fromkeys(fallbacks))
        if profile.get("active_from"):
            version["effective"] = moment(profile["active_from"]).isoformat()
        return version

    def _prices(self, plan: str) -> list[Json]:
        """A row of prices for all prefixes that are priced alike."""
        rows: dict[str, Json] = {}
        for prefix, entries in self._entries(plan).items():
            row = self._row(entries)
            if prefix != ANY and self.kind not in ("voice", "sms"):
                continue
            same = json.dumps(row, sort_keys=True) + (ANY if prefix == ANY else "")
            rows.setdefault(same, {"usage": self.kind, "to": []} | row)
            rows[same]["to"].append(ANY if prefix == ANY else self.destination(prefix))
        for row in rows.values():
            if row["to"] == [ANY]:
                row["to"] = "any"
        return list(rows.values()) or [{"usage": "iot", "rate": "none"}]

    def destination(self, prefix: str) -> str:
        """Our destination for one prefix."""
        return f"p{self.dialling.prefix(prefix)}"

    def _entries(self, plan: str) -> dict[str, list[Entry]]:
        """The prices of each prefix, in the order in which they are asked: by weight, then the later start."""
        found: dict[str, list[Entry]] = {}
        if plan not in self.rules.get("rating_plans", {}):
            raise Untranslatable(f"rating plan {plan!r} is not defined")
        for part in self.rules["rating_plans"][plan]:
            timing = read_timing(part.get("timing", ANY), self.rules.get("timings", {}))
            for line in self.rules["destination_rates"][part["destination_rate"]]:
                most = Decimal(str(line.get("max_cost", 0)))
                strategy = line.get("max_cost_strategy") if most > 0 else ""
                entry = Entry(
                    timing,
                    Decimal(str(part.get("weight", 0))),
                    self.rate_for(line),
                    most if strategy == "*free" else None,
                    most if strategy == "*disconnect" else None,
                )
                for prefix in self.prefixes(line["destination"]):
                    found.setdefault(prefix, []).append(entry)
        for entries in found.values():
            entries.sort(key=lambda entry: (-entry.weight, -entry.timing.start_s))
        return found

    def prefixes(self, destination: str) -> list[str]:
        """The prefixes of a destination; `*any` for everything."""
        if destination in EVER:
            return [ANY]
        if destination not in self._destinations():
            raise Untranslatable(f"destination {destination!r} is not defined")
        return list(dict.fromkeys(self._destinations()[destination]))

    def _row(self, entries: list[Entry]) -> Json:
        """What one prefix costs: one rate, or one for each band of a schedule."""
        asked = next((at for at, entry in enumerate(entries) if entry.timing.always), None)
        complete = asked is not None
        entries = entries[: asked + 1] if asked is not None else entries
        row: Json = {}
        now = next((entry for entry in entries if entry.timing.holds(self.start.astimezone(UTC))), None)
        if now is not None and now.cap is not None:
            row["max_cost"] = plain(now.cap)
        if now is not None and now.end is not None:
            row["end_at_cost"] = plain(now.end)
        if complete and len(entries) == 1:
            return row | {"rate": entries[0].rate}
        bands = {f"band_{at}": entry for at, entry in enumerate(entries)}
        rows = [entry.timing.row(band) for band, entry in bands.items()]
        rates = {band: entry.rate for band, entry in bands.items()}
        if not complete:
            rows.append({"band": "closed"})
            rates["closed"] = "none"
        return row | {"schedule": self.schedule(rows), "rate": rates}

    def schedule(self, rows: list[Json]) -> str:
        """The name of the schedule with these rows."""
        for name, known in self.schedules.items():
            if known == rows:
                return str(name)
        name = f"schedule_{len(self.schedules)}"
        self.schedules[name] = rows
        return name

    # -- files ---------------------------------------------------------------------------------------------

    def files(self, balances: Json) -> dict[str, str]:
        """The tariff directory; JSON is YAML, too."""
        prefixes = dict.fromkeys(prefix for each in self._destinations().values() for prefix in each)
        shared = {
            "operator": {"name": "peer", "currency": "EUR", "time_zone": "UTC"},
            "destinations": {
                self.destination(each): {"prefixes": [self.dialling.prefix(each)]} for each in prefixes
            },
            "schedules": self.schedules,
            "rates": self.rates,
            "balances": balances,
        }
        files = {"tariff.yaml": json.dumps({key: value for key, value in shared.items() if value}, indent=1)}
        for name, versions in self.plans.items():
            for at, version in enumerate(versions):
                files[f"{name}_{at}.yaml"] = json.dumps(version, indent=1)
        return files


def _decimal_text(value: Fraction) -> str:
    """A price as decimal text; one that has none is outside of what either engine can say."""
    scaled = value * 10**15
    if scaled.denominator != 1:
        raise Untranslatable(f"a price of {value} for one ms has no decimal form")
    return plain(Decimal(scaled.numerator).scaleb(-15).normalize())


def translate(rules: Json, case: Json) -> Translation:
    """A case of the format in trunkline's terms; a call that ms cannot measure is counted in ns."""
    try:
        return _translate(case, Tariff(rules, case["call"], case["operation"]))
    except FinerThanMs:
        return _translate(case, Tariff(rules, case["call"], case["operation"], fine=True))


def _translate(case: Json, tariff: Tariff) -> Translation:
    plan = tariff.plan_for_caller()
    accounts = Accounts(tariff)
    openings = [accounts.open(held, at) for at, held in enumerate(_in_order(case, tariff.rules))]
    main = accounts.main(openings)
    return Translation(
        files=tariff.files(accounts.balances),
        plan=plan,
        openings=tuple(openings),
        main=main,
        kind=tariff.kind,
        called=tariff.dialling.number(str(case["call"].get("destination", ""))) if tariff.dialled else "",
        start_us=micros_since_1970(tariff.start),
        units=tariff.units(base_units(case["call"]["usage"])),
        ceiling=_ceiling(tariff),
        others=tuple(case.get("other_accounts", {})) if any(each.shared for each in openings) else (),
    )


def _ceiling(tariff: Tariff) -> Ceiling | None:
    """The highest rate that a call may cost, where it names one."""
    if "max_rate" not in tariff.call:
        return None
    micros = _whole(Fraction(Decimal(str(tariff.call["max_rate"]))) * 10**6, "max_rate")
    per = base_units(tariff.call.get("max_rate_unit", "1s" if tariff.kind == "voice" else 1))
    if per % tariff.grain:
        raise FinerThanMs("a highest rate is named for less than one ms")
    return Ceiling(micros, per // tariff.grain)


@dataclass(frozen=True)
class Held:
    """A balance of the format in somebody's account; `shared` in a group of the caller's."""

    account: str  # "" for the caller's
    rule: Json
    shared: bool = False


def _in_order(case: Json, rules: Json) -> list[Held]:
    """All balances of a case in the order in which the caller uses them: a shared one in the place of its group's.

    What others have for themselves comes last: nobody but they uses it.
    """
    others = [Held(name, each) for name, held in case.get("other_accounts", {}).items() for each in held]
    order: list[Held] = []
    for balance in _by_weight(case.get("account", [])):
        groups = balance.get("shared_groups") or []
        mine = Held("", balance, shared=bool(groups))
        of_group = [mine] if groups else []
        for group in groups:
            caller = [Held("", each, shared=True) for each in case["account"] if _in_group(each, group)]
            of_others = [
                Held(each.account, each.rule, shared=True) for each in others if _in_group(each.rule, group)
            ]
            of_group = _by_strategy(
                mine, [*caller, *of_others], rules.get("shared_groups", {}).get(group, [])
            )
        order += [each for each in of_group or [mine] if each not in order]
    taken = [each.rule for each in order if each.account]
    return [*order, *(each for each in others if not any(each.rule is rule for rule in taken))]


def _in_group(balance: Json, group: str) -> bool:
    return group in (balance.get("shared_groups") or [])


def _by_strategy(mine: Held, held: list[Held], parameters: list[Json]) -> list[Held]:
    """Balances of a group in the order of its strategy as the case begins; by chance means as they are written."""
    strategy = next((each.get("strategy", "") for each in parameters if each.get("account") == ANY), "")
    ordered = held
    if strategy.endswith("lowest"):
        ordered = sorted(held, key=lambda each: Decimal(str(each.rule.get("value", 0))))
    elif strategy.endswith("highest"):
        ordered = sorted(held, key=lambda each: -Decimal(str(each.rule.get("value", 0))))
    if strategy.startswith("*mine"):
        ordered = [mine, *(each for each in ordered if each != mine)]
    return ordered


def _by_weight(balances: list[Json]) -> list[Json]:
    """The heavier first; of the same weight as they are written."""
    return sorted(balances, key=lambda balance: -Decimal(str(balance.get("weight", 0))))


@dataclass
class Accounts:
    """Balances of the format as balances of ours, in the order in which they are used."""

    tariff: Tariff
    balances: Json = field(default_factory=dict)
    mains: list[str] = field(default_factory=list)

    def open(self, held: Held, rank: int) -> Opening:
        """One balance: its definition, and what the account has of it."""
        balance = held.rule
        peer = str(balance.get("id", f"*unnamed {rank}"))
        name = f"b{rank}"
        money = balance["type"] == "*monetary"
        scale = self._scale(balance)
        value = self._units(balance, scale)
        if money and self._is_default(balance) and not self.mains and not held.account:
            self.mains.append(name)
            self.balances[name] = {"unit": "money", "main": True}
        else:
            self.balances[name] = self._rule(balance, rank) | ({"shared": True} if held.shared else {})
        return Opening(peer, name, value, scale, _expiry(balance), held.account, held.shared)

    def _units(self, balance: Json, scale: Fraction) -> int:
        value = Fraction(Decimal(str(balance.get("value", 0)))) / scale
        if value.denominator != 1 and balance["type"] == "*voice" and not self.tariff.fine:
            raise FinerThanMs("a balance holds less than one ms")
        return _whole(value, f"balance {balance.get('id', '')}")

    def main(self, openings: list[Opening]) -> Opening:
        """The balance that takes what is left over: the format's default one, opened when it is missing."""
        for opening in openings:
            if opening.name in self.mains:
                return opening
        self.balances["main"] = {"unit": "money", "main": True}
        return Opening("*default", "main", 0, Fraction(1, 10**6), None)

    def _scale(self, balance: Json) -> Fraction:
        if balance["type"] == "*monetary":
            return Fraction(1, 10**6)
        return Fraction(self.tariff.grain if balance["type"] == "*voice" else 1)

    def _is_default(self, balance: Json) -> bool:
        """Money without any condition and without weight is what a debt is booked on."""
        bound = (
            "destinations",
            "categories",
            "timings",
            "rating_subject",
            "shared_groups",
            "blocker",
            "factors",
            "disabled",
        )
        return (
            not Decimal(str(balance.get("weight", 0)))
            and not any(balance.get(key) for key in bound)
            and not _expiry(balance)
        )

    def _rule(self, balance: Json, rank: int) -> Json:
        money = balance["type"] == "*monetary"
        rule: Json = {"priority": rank, **self._measure(balance)}
        if balance.get("blocker"):
            rule["blocker"] = True
        factor = balance.get("factors", {}).get(self.tariff.call.get("factor_id", ""))
        if factor is not None:
            rule["factor"] = plain(factor)
        self._bind(balance, rule)
        subject = balance.get("rating_subject", "")
        if money and subject not in EVER:
            raise Untranslatable("money with a rating subject of its own is not in trunkline's tariffs")
        if not money:
            self._increments(balance, subject, rule)
        return rule

    def _measure(self, balance: Json) -> Json:
        """What a balance counts: the call's own units, or units that this call cannot use."""
        if balance["type"] == "*monetary":
            return {"unit": "money"}
        if balance["type"] != self.tariff.call.get("type", "*voice"):
            return {"unit": "events", "usage": ["iot"]}
        unit = {"voice": "time", "data": "octets"}.get(self.tariff.kind, "events")
        return {"unit": unit, "usage": [self.tariff.kind]}

    def _bind(self, balance: Json, rule: Json) -> None:
        """Destinations, categories and times outside which a balance is not used."""
        closed = balance.get("disabled") or not self._in_category(balance)
        destinations = [each for each in balance.get("destinations", []) if each not in EVER]
        if destinations and not self.tariff.dialled:
            closed = True
        elif destinations and rule.get("usage") != ["iot"]:
            rule.setdefault("usage", [self.tariff.kind])
            self._bind_destinations(destinations, rule)
        timings = [
            read_timing(name, self.tariff.rules.get("timings", {})) for name in balance.get("timings", [])
        ]
        if closed:
            timings = [Timing(years=(2060,), months=(12,), month_days=(31,))]
        if timings and not any(timing.always for timing in timings):
            rows = [timing.row("open") for timing in timings] + [{"band": "closed"}]
            rule["schedule"], rule["bands"] = self.tariff.schedule(rows), ["open"]

    def _bind_destinations(self, destinations: list[str], rule: Json) -> None:
        """Destinations that a balance serves, without those behind a `!`, which exclude all that lies within them."""
        excluded = self._prefixes([each[1:] for each in destinations if each.startswith("!")])
        taken = [
            prefix
            for prefix in self._prefixes([each for each in destinations if not each.startswith("!")])
            if not any(prefix.startswith(other) for other in excluded)
        ]
        if not taken:
            raise Untranslatable(
                "a balance for everything but some destinations is not in trunkline's tariffs"
            )
        rule["to"] = [self.tariff.destination(prefix) for prefix in taken]
        within = [other for other in excluded if any(other.startswith(prefix) for prefix in taken)]
        if within:
            rule["except"] = [self.tariff.destination(prefix) for prefix in within]

    def _in_category(self, balance: Json) -> bool:
        categories = [each for each in balance.get("categories", []) if each not in EVER]
        return not categories or self.tariff.call.get("category") in categories

    def _prefixes(self, destinations: list[str]) -> list[str]:
        """The prefixes of some destinations, each once."""
        return list(dict.fromkeys(prefix for each in destinations for prefix in self.tariff.prefixes(each)))

    def _increments(self, balance: Json, subject: str, rule: Json) -> None:
        """In which steps units are taken, and whether they cost money besides."""
        increment = NS["s"] if balance["type"] == "*voice" else 1
        if match := re.fullmatch(r"\*zero(\d*)(ns|us|µs|ms|s|m|h)?", subject):
            increment = int(match[1] or 1) * NS[match[2] or "ns"]
        elif subject not in EVER:
            plan = self.tariff.plan_of(subject, 1) or self.tariff.plan_of(ANY, 1)
            if plan is None:
                raise Untranslatable(f"nobody prices the rating subject {subject!r}")
            rule["rated_by"] = plan
            increment = self._first_increment(plan) * self.tariff.grain
        grain = self.tariff.grain if balance["type"] == "*voice" else 1
        if increment % grain:
            raise FinerThanMs("a balance is used in steps of less than one ms")
        rule["increment"] = str(increment // grain)

    def _first_increment(self, plan: str) -> int:
        """The increment in which a named subject's plan measures; it must be one and the same."""
        versions = self.tariff.plans[plan]
        used = [rate for version in versions for row in version["prices"] for rate in _rates_of(row)]
        slots = [slot for name in used if name != "none" for slot in self.tariff.rates[name]["slots"]]
        found = {int(slot["increment"].removesuffix("ms")) for slot in slots}
        if len(found) != 1:
            raise Untranslatable(
                "a balance whose rating subject has several increments is not in trunkline's tariffs"
            )
        return found.pop()


def _rates_of(row: Json) -> list[str]:
    rate = row["rate"]
    return list(rate.values()) if isinstance(rate, dict) else [rate]


def _expiry(balance: Json) -> int | None:
    for key in ("expiry", "expiration_date", "expiry_time", "expires"):
        text = balance.get(key)
        if text and text not in (*EVER, "*unlimited", "*never"):
            return -(-micros_since_1970(moment(str(text))) // 10**6)
    return None
