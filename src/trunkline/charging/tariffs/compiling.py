"""From a tariff to the catalogue: every rule becomes rows of integers, numbered the same way each time.

The order of work is the order of need: nodes, schedules, rates, then the lines of every plan version, then balances and
counters. Numbers that accounts store come from the register, which only grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs import calendars
from trunkline.charging.tariffs.billing import bill_rules
from trunkline.charging.tariffs.catalogue import (
    ALWAYS,
    NONE,
    Catalogue,
    Register,
    Tables,
    Threshold,
    TrafficClass,
)
from trunkline.charging.tariffs.checking import checked, increment_micros
from trunkline.charging.tariffs.giving import giving_rules
from trunkline.charging.tariffs.mistakes import TariffError
from trunkline.charging.tariffs.numbering import Numbering, Targets, entry, number
from trunkline.charging.tariffs.tariff import (
    DIALLED,
    HOME,
    NOT_PRICED,
    Balance,
    ByDay,
    Counter,
    Named,
    Plan,
    Price,
    Rate,
    Rollover,
    Schedule,
    Scope,
    Tariff,
)
from trunkline.kernel.members import Members
from trunkline.kernel.money import divide
from trunkline.records.usage import Direction, Kind

KIND_CODES = max(Kind) + 1
CLASSED = (Kind.DATA, Kind.IOT, Kind.CONTENT)
ZERO_RATED = "zero-rated"
Line = npt.NDArray[np.int32]
PriceKey = tuple[str, int, int]


def compile_catalogue(files: Mapping[str, str], register: Register) -> tuple[Catalogue, Register]:
    """The catalogue of a tariff and the register with its new names; TariffError carries every mistake."""
    tariff, mistakes = checked(files)
    if mistakes:
        raise TariffError(mistakes)
    grown = grow(register, tariff)
    return _Compilation(tariff, grown).catalogue(), grown


def empty_register() -> Register:
    """The register of a new data folder."""
    return Register({}, {}, {}, {})


def with_time_zones(register: Register, names: Iterable[str]) -> Register:
    """The register with these time zones; one that does not exist is a ValueError. Subscribers may live anywhere."""
    names = sorted(names)  # of a set: the same names get the same numbers on every machine
    for name in names:
        calendars.time_zone(name)
    return replace(register, time_zones=_numbered(register.time_zones, names))


def with_members(register: Register, pairs: Iterable[tuple[int, int]]) -> Register:
    """The register with these members (member's dial word, owner's); each gets the next number of its account.

    Who is a member already keeps owner and number, whatever a pair says.
    """
    known = {word for words in register.members.values() for word in words}
    members = {owner: list(words) for owner, words in register.members.items()}
    for word, owner in pairs:
        if word not in known:
            known.add(word)
            members.setdefault(str(owner), []).append(word)
    return replace(register, members=members)


def members_of(register: Register) -> Members:
    """The members of a register as the table that records are placed by."""
    return Members.of(
        (word, int(owner), number)
        for owner, words in register.members.items()
        for number, word in enumerate(words, start=1)
    )


def grow(register: Register, tariff: Tariff) -> Register:
    """The register with the names of a tariff; known names keep their numbers, 0 is never given."""
    return Register(
        _numbered(register.plans, (plan.name for plan in tariff.plans)),
        _numbered(register.balances, tariff.balances),
        _numbered(register.counters, tariff.counters),
        _numbered(
            register.time_zones, (tariff.operator.time_zone, *tariff.operator.time_zones, *_taxed(tariff))
        ),
        register.members,
    )


def _taxed(tariff: Tariff) -> list[str]:
    """Time zones that only a tax names: they are places like any other."""
    return [zone.name for tax in tariff.taxes.values() for zone in tax.time_zones or ()]


def _numbered(known: dict[str, int], names: Iterable[str]) -> dict[str, int]:
    numbers = dict(known)
    for name in names:
        numbers.setdefault(name, max(numbers.values(), default=0) + 1)
    return numbers


def _by_number(numbers: dict[str, int]) -> tuple[str, ...]:
    names = [""] * (max(numbers.values(), default=0) + 1)
    for name, at in numbers.items():
        names[at] = name
    return tuple(names)


@dataclass
class _Rows:
    """Rows of one table on their way to columns; equal runs of rows may be shared."""

    rows: list[tuple[int, ...]] = field(default_factory=list)
    shared: dict[tuple[tuple[int, ...], ...], int] = field(default_factory=dict)

    def add(self, rows: Iterable[tuple[int, ...]]) -> tuple[int, int]:
        """Where a run of rows begins, and how many there are."""
        run = tuple(rows)
        if run not in self.shared:
            self.shared[run] = len(self.rows)
            self.rows += run
        return self.shared[run], len(run)

    def column(self, at: int, dtype: type[Any]) -> npt.NDArray[Any]:
        return np.array([row[at] for row in self.rows], dtype)


@dataclass(frozen=True)
class _Priced:
    """One thing to become a line: a row of prices, for one destination or class, or one row of its sheet."""

    price: Price
    name: str
    rates: tuple[tuple[Named | None, str], ...]
    min_charge: int
    max_cost: int
    end_at_cost: int


class _Compilation:
    """One run of the compiler; the parts that later ones need stay here."""

    def __init__(self, tariff: Tariff, register: Register) -> None:
        self.tariff = tariff
        self.register = register
        self.zones = (HOME, *tariff.zones)
        self.targets = Targets.of(tariff.destinations, tariff.sheets)
        self.numbering = self._number()
        self.dialled = len(self.numbering.names)
        self.classes = self._classes()
        self.nodes = (*self.numbering.names, *tariff.classes, *(kind.name.lower() for kind in CLASSED))
        self.schedules = {name: at for at, name in enumerate(tariff.schedules)}
        self.bands, self.rates, self.tiers, self.slots = _Rows(), _Rows(), _Rows(), _Rows()
        self.rate_numbers: dict[str, int] = {}
        self.lines: list[tuple[int, ...]] = []
        self.line_names: list[str] = []
        self.line_numbers: dict[tuple[int, PriceKey, int, str], int] = {}
        self.free_line = NONE
        self.own_lines: dict[tuple[int, int], Line | None] = {}
        self.line_rows: dict[bytes, int] = {}
        self.line_of: list[Line] = []
        self.allowed: dict[bytes, int] = {}
        self.plan_index = {id(plan): at for at, plan in enumerate(tariff.plans)}

    def catalogue(self) -> Catalogue:
        """All parts together."""
        tables = {
            **self._plans(),
            **self._balances(),
            **self._counters(),
            **self._line_columns(),
            **self._rate_columns(),
            **self._schedules(),
            **self._time_zones(),
            **self._networks(),
            "range_first": self.numbering.first,
            "range_last": self.numbering.last,
            "range_node": self.numbering.node,
            "allowed": _stack(
                [np.frombuffer(row, np.uint8) for row in self.allowed], len(self.nodes), np.uint8
            ),
            "line_of": _stack(self.line_of, len(self.nodes), np.int32),
        }
        operator = self.tariff.operator
        default = operator.default_plan
        main = next(each for each in self.tariff.balances.values() if each.main)
        return Catalogue(
            fingerprint=self.tariff.fingerprint,
            currency=operator.currency,
            tables=Tables(**tables),
            plans=_by_number(self.register.plans),
            versions=self.version_names,
            nodes=self.nodes,
            lines=tuple(self.line_names),
            zones=self.zones,
            time_zones=_by_number(self.register.time_zones),
            balances=_by_number(self.register.balances),
            counters=_by_number(self.register.counters),
            classes=self.classes,
            thresholds=self._thresholds(),
            main_balance=self.register.balances[main.name],
            default_plan=self.register.plans[default.name] if default else NONE,
            default_zone=self.register.time_zones[operator.time_zone],
            default_cycle_day=operator.cycle_day,
            bills=bill_rules(self.tariff, self.register, self.zones),
            giving=giving_rules(self.tariff, self.register),
            members=members_of(self.register),
            exchange=self.tariff.exchange,
        )

    # -- nodes ---------------------------------------------------------------------------------------------

    def _number(self) -> Numbering:
        """Nodes told apart by whatever a price, balance or counter points at."""
        named: set[str] = set()
        for plan in self.tariff.plans:
            named.update(each.name for price in plan.prices for each in price.to or ())
        scopes = [
            *(each.scope for each in self.tariff.balances.values()),
            *(each.scope for each in self.tariff.counters.values()),
        ]
        named.update(each.name for scope in scopes for each in (*(scope.to or ()), *scope.excluded))
        wanted = {self.targets.destinations[name] for name in named} | set(self.targets.entries.values())
        return number(self.tariff.destinations, self.tariff.sheets, self.targets, wanted)

    def _classes(self) -> tuple[TrafficClass, ...]:
        """The written classes, then one for each kind's other usage, so that node 0 is for numbers alone."""
        found = [
            TrafficClass(self.dialled + at, int(each.kind), each.services, each.slices, each.five_qis)
            for at, each in enumerate(self.tariff.classes.values())
        ]
        rest = [
            TrafficClass(self.dialled + len(found) + at, int(kind), None, None, None)
            for at, kind in enumerate(CLASSED)
        ]
        return (*found, *rest)

    def _allowed(self, scope: Scope) -> int:
        """Row of `allowed` for a scope, or NONE for every node."""
        if scope.to is None and scope.classes is None:
            return NONE
        row = np.ones(len(self.nodes), np.uint8)
        if scope.to is not None:
            rank = np.full(self.numbering.targets, NONE, np.int64)
            rank[[self.targets.destinations[each.name] for each in scope.to]] = 0
            rank[[self.targets.destinations[each.name] for each in scope.excluded]] = 1
            best = self.numbering.best(rank)
            row[: self.dialled] = (best >= 0) & (rank[best] == 0)
        if scope.classes is not None:
            names = {each.name for each in scope.classes}
            row[self.dialled :] = 0
            for at, name in enumerate(self.tariff.classes):
                row[self.dialled + at] = name in names
        return self.allowed.setdefault(row.tobytes(), len(self.allowed))

    # -- plans and lines -----------------------------------------------------------------------------------

    def _plans(self) -> dict[str, Any]:
        """Versions of every plan by register number, and their rows of lines."""
        plans = _by_number(self.register.plans)
        first, count = np.zeros(len(plans), np.int32), np.zeros(len(plans), np.int32)
        names: list[str] = []
        starts: list[int] = []
        rows: list[list[int]] = []
        allowances, counted = _Rows(), _Rows()
        spans: list[tuple[int, int, int, int]] = []
        for at, name in enumerate(plans):
            first[at] = len(names)
            for start, label, chain in self._versions(name):
                names.append(label)
                starts.append(start)
                rows.append(
                    [self._row(chain, service) for service in range(KIND_CODES * 2 * len(self.zones))]
                )
                grants = [(self.register.balances[each.name],) for each in chain[0].includes]
                counters = [(self.register.counters[each],) for each in self._counters_of(chain)]
                spans.append((*allowances.add(grants), *counted.add(counters)))
            count[at] = len(names) - first[at]
        self.version_names = tuple(names)
        columns = np.array(spans, np.int32).reshape(-1, 4)
        return {
            "plan_version_first": first,
            "plan_version_count": count,
            "version_from_us": np.array(starts, np.int64),
            "version_row": np.array(rows, np.int32).reshape(-1, KIND_CODES * 2 * len(self.zones)),
            "version_allowance_first": columns[:, 0].copy(),
            "version_allowance_count": columns[:, 1].copy(),
            "version_counter_first": columns[:, 2].copy(),
            "version_counter_count": columns[:, 3].copy(),
            "allowance": allowances.column(0, np.int32),
            "counted": counted.column(0, np.int32),
        }

    def _versions(self, name: str) -> list[tuple[int, str, list[Plan]]]:
        """Begin, label and chain of plan versions that price, the plan's own first; a new chain is a new version."""
        own = self.tariff.versions(name) if name else []
        if not own:
            return []
        moments = {own[0].effective_us}
        for other in self._behind(name):
            moments.update(each.effective_us for each in self.tariff.versions(other))
        found: list[tuple[int, str, list[Plan]]] = []
        for moment in sorted(each for each in moments if each >= own[0].effective_us):
            chain = self._chain(name, moment, [])
            if found and [*map(id, found[-1][2])] == [*map(id, chain)]:
                continue
            label = chain[0].version
            if found and found[-1][2][0] is chain[0]:
                known = {id(each) for each in found[-1][2]}
                label += f" with {', '.join(each.version for each in chain if id(each) not in known)}"
            found.append((moment, label, chain))
        return found

    def _behind(self, name: str) -> list[str]:
        """The plan and every plan that some version of it may fall back to."""
        found = [name]
        for each in found:
            for plan in self.tariff.versions(each):
                found += [other.name for other in plan.fallback if other.name not in found]
        return list(dict.fromkeys(found))

    def _chain(self, name: str, moment: int, before: list[Plan]) -> list[Plan]:
        """The version in force and those it falls back to, depth first, each once."""
        current = [plan for plan in self.tariff.versions(name) if plan.effective_us <= moment]
        if current and not any(each is current[-1] for each in before):
            before.append(current[-1])
            for other in current[-1].fallback:
                self._chain(other.name, moment, before)
        return before

    def _counters_of(self, chain: list[Plan]) -> list[str]:
        """The counters that a plan keeps: those it names, and those that move the tiers of its rates."""
        names = [each.name for each in chain[0].counters]
        for plan in chain:
            for price in plan.prices:
                for _, rate in price.rates:
                    known = self.tariff.rate(rate.name)
                    names += [known.counter.name] if known and known.counter else []
        return list(dict.fromkeys(names))

    def _row(self, chain: list[Plan], service: int) -> int:
        """Row of `line_of` for one service of a version, or NONE when nothing of it is priced."""
        line = np.full(len(self.nodes), NONE, np.int32)
        for plan in chain:
            own = self._own(plan, service)
            if own is not None:
                line = np.where(line == NONE, own, line)
        kind, direction = divmod(service // len(self.zones), 2)
        if direction == Direction.TERMINATING and kind in set(Kind):
            line = np.where((line == NONE) & self._nodes_of(Kind(kind)), self._free(), line)
        if (line == NONE).all():
            return NONE
        key = line.astype(np.int32).tobytes()
        if key not in self.line_rows:
            self.line_rows[key] = len(self.line_of)
            self.line_of.append(line.astype(np.int32))
        return self.line_rows[key]

    def _nodes_of(self, kind: Kind) -> npt.NDArray[np.bool_]:
        """The nodes that usage of a kind may lead to."""
        nodes = np.zeros(len(self.nodes), bool)
        if kind in DIALLED:
            nodes[: self.dialled] = True
        for each in self.classes:
            nodes[each.node] |= each.kind == kind
        return nodes

    def _own(self, plan: Plan, service: int) -> Line | None:
        """Line of every node by one plan version's own prices."""
        key = (self.plan_index[id(plan)], service)
        if key not in self.own_lines:
            self.own_lines[key] = self._find_lines(plan, service)
        return self.own_lines[key]

    def _find_lines(self, plan: Plan, service: int) -> Line | None:
        code, zone = divmod(service, len(self.zones))
        kind, direction = divmod(code, 2)
        prices = [
            (at, price)
            for at, price in enumerate(plan.prices)
            if kind in price.kinds
            and direction in price.directions
            and (price.zones is None or self.zones[zone] in {each.name for each in price.zones})
        ]
        if not prices:
            return None
        found = np.full(len(self.nodes), NONE, np.int32)
        for at, price in prices:  # the last resort; a later row replaces an earlier one
            if price.to is None and price.classes is None and price.sheet is None:
                line = self._line(plan, (plan.name, at, 0), service, _priced(price, "any"))
                found[self._nodes_of(Kind(kind))] = line
        if kind in DIALLED:
            self._find_destinations(plan, service, prices, found)
        for at, price in prices:
            for each in price.classes or ():
                node = self.dialled + list(self.tariff.classes).index(each.name)
                if self.tariff.classes[each.name].kind == kind:
                    found[node] = self._line(plan, (plan.name, at, 0), service, _priced(price, each.name))
        return found

    def _find_destinations(
        self, plan: Plan, service: int, prices: list[tuple[int, Price]], found: Line
    ) -> None:
        """Longest prefix of the plan's own destinations first, then the later row."""
        rank = np.full(self.numbering.targets, NONE, np.int64)
        priced: dict[int, _Priced] = {}
        for at, price in prices:
            if price.sheet:
                for part in self.tariff.sheets[price.sheet.name]:
                    target = self.targets.entries[entry(price.sheet.name, part)]
                    rank[target] = at
                    priced[target] = _Priced(
                        price,
                        part.destination,
                        ((None, part.rate),),
                        part.min_charge,
                        part.max_cost,
                        part.end_at_cost,
                    )
            for each in price.to or ():
                target = self.targets.destinations[each.name]
                rank[target] = at
                priced[target] = _priced(price, each.name)
        if not priced:
            return
        best = self.numbering.best(rank)
        line_of_target = np.full(self.numbering.targets, NONE, np.int32)
        for target in np.unique(best[best >= 0]).tolist():
            line_of_target[target] = self._line(
                plan, (plan.name, int(rank[target]), target), service, priced[target]
            )
        found[: self.dialled] = np.where(best >= 0, line_of_target[best], found[: self.dialled])

    def _line(self, plan: Plan, key: PriceKey, service: int, priced: _Priced) -> int:
        """Number of a line; its name says who prices what."""
        whole = (self.plan_index[id(plan)], key, service, priced.name)
        if whole not in self.line_numbers:
            code, zone = divmod(service, len(self.zones))
            kind, direction = Kind(code // 2).name.lower(), Direction(code % 2).name.lower()
            self.line_numbers[whole] = len(self.lines)
            self.lines.append(self._line_columns_of(priced))
            self.line_names.append(f"{plan.version} {kind} {direction} {self.zones[zone]} {priced.name}")
        return self.line_numbers[whole]

    def _line_columns_of(self, priced: _Priced) -> tuple[int, ...]:
        """schedule, first band, free, counter, max_cost, min_charge, price from the record, end_at_cost."""
        rates = [None if name == NOT_PRICED else self.tariff.rate(name) for _, name in priced.rates]
        known = [rate for rate in rates if rate]
        counter = next((self.register.counters[rate.counter.name] for rate in known if rate.counter), NONE)
        free = any(rate.free for rate in known)
        schedule = ALWAYS
        numbers = [self._rate(known[0]) if known and not free else NONE]
        by_band = {band.name: rate for (band, _), rate in zip(priced.rates, rates, strict=True) if band}
        if by_band and not free and priced.price.schedule:
            schedule = self.schedules[priced.price.schedule.name]
            bands = self.tariff.schedules[priced.price.schedule.name].bands
            ordered = [by_band[band] for band in bands]
            numbers = [self._rate(rate) if rate else NONE for rate in ordered]
        first, _ = self.bands.add((each,) for each in numbers)
        record = any(rate.record for rate in known)
        return (
            schedule, first, int(free), counter, priced.max_cost, priced.min_charge, int(record), priced.end_at_cost
        )  # fmt: skip

    def _free(self) -> int:
        """The line of being reached where no price says otherwise."""
        if self.free_line == NONE:
            self.free_line = len(self.lines)
            first, _ = self.bands.add([(NONE,)])
            self.lines.append((ALWAYS, first, 1, NONE, NONE, 0, 0, NONE))
            self.line_names.append("any plan terminating free")
        return self.free_line

    def _line_columns(self) -> dict[str, Any]:
        columns = np.array(self.lines, np.int64).reshape(-1, 8)
        dtypes: dict[str, Any] = {
            "line_schedule": np.int32, "line_band_first": np.int32, "line_free": np.uint8, "line_counter": np.int32,
            "line_max_cost": np.int64, "line_min_charge": np.int64, "line_record_price": np.uint8,
            "line_end_at_cost": np.int64,
        }  # fmt: skip
        made = {name: columns[:, at].astype(dtype) for at, (name, dtype) in enumerate(dtypes.items())}
        return {**made, "band_rate": self.bands.column(0, np.int32)}

    # -- rates ---------------------------------------------------------------------------------------------

    def _rate(self, rate: Rate) -> int:
        """Number of a rate; its prices become whole numerators over one denominator."""
        if rate.name in self.rate_numbers:
            return self.rate_numbers[rate.name]
        rounding = rate.rounding
        den = 1
        if not rounding.each:
            den = lcm(*(increment_micros(slot).denominator for tier in rate.tiers for slot in tier.slots))
        tiers = []
        for tier in rate.tiers:
            slots = []
            for slot in tier.slots:
                micros = increment_micros(slot)
                if rounding.each:
                    step = 10 ** (6 - rounding.increment_decimals)
                    price = (
                        divide(micros.numerator, micros.denominator * step, rounding.increment_mode) * step
                    )
                else:
                    price = micros.numerator * (den // micros.denominator)
                slots.append((slot.start, slot.increment, price))
            tiers.append((tier.start, *self.slots.add(slots)))
        step = 10 ** (6 - rounding.decimals)
        first, count = self.tiers.add(tiers)
        at, _ = self.rates.add([(den, step, int(rounding.mode), rate.fee, first, count)])
        self.rate_numbers[rate.name] = at
        return at

    def _rate_columns(self) -> dict[str, Any]:
        return {
            "rate_den": self.rates.column(0, np.int64),
            "rate_step": self.rates.column(1, np.int64),
            "rate_mode": self.rates.column(2, np.uint8),
            "rate_fee": self.rates.column(3, np.int64),
            "rate_tier_first": self.rates.column(4, np.int32),
            "rate_tier_count": self.rates.column(5, np.int32),
            "tier_from": self.tiers.column(0, np.int64),
            "tier_slot_first": self.tiers.column(1, np.int32),
            "tier_slot_count": self.tiers.column(2, np.int32),
            "slot_from": self.slots.column(0, np.int64),
            "slot_increment": self.slots.column(1, np.int64),
            "slot_price": self.slots.column(2, np.int64),
        }

    # -- time ----------------------------------------------------------------------------------------------

    def _schedules(self) -> dict[str, Any]:
        """Day types of every schedule, shared where days are alike."""
        segments, days, specials = _Rows(), _Rows(), _Rows()
        usual: list[list[int]] = []
        spans: list[tuple[int, int]] = []

        def day_type(of_day: calendars.Segments) -> int:
            return days.add([segments.add(of_day)])[0]

        for schedule in self.tariff.schedules.values():
            week = calendars.week(schedule)
            usual.append([day_type(each) for each in week.usual])
            spans.append(specials.add((day, day_type(each)) for day, each in week.special))
        columns = np.array(spans, np.int32).reshape(-1, 2)
        return {
            "schedule_day": np.array(usual, np.int32).reshape(-1, 7),
            "schedule_special_first": columns[:, 0].copy(),
            "schedule_special_count": columns[:, 1].copy(),
            "special_day": specials.column(0, np.int32),
            "special_type": specials.column(1, np.int32),
            "day_first": days.column(0, np.int32),
            "day_count": days.column(1, np.int32),
            "segment_start_s": segments.column(0, np.int32),
            "segment_band": segments.column(1, np.int32),
        }

    def _time_zones(self) -> dict[str, Any]:
        """Offsets of every registered zone; number 0 means the operator's."""
        offsets = _Rows()
        names = _by_number(self.register.time_zones)
        spans = np.array(
            [offsets.add(calendars.transitions(name or self.tariff.operator.time_zone)) for name in names],
            np.int32,
        )
        return {
            "zone_first": spans[:, 0].copy(),
            "zone_count": spans[:, 1].copy(),
            "offset_from_us": offsets.column(0, np.int64),
            "offset_s": offsets.column(1, np.int32),
        }

    # -- roaming -------------------------------------------------------------------------------------------

    def _networks(self) -> dict[str, Any]:
        """Visited networks and countries by number."""
        plmn = dict.fromkeys(self.tariff.operator.home_plmn, 0)
        mcc: dict[int, int] = {}
        default = NONE
        for at, zone in enumerate(self.tariff.zones.values(), start=1):
            plmn |= dict.fromkeys(zone.plmn, at)
            mcc |= dict.fromkeys(zone.mcc, at)
            default = at if zone.default else default
        return {
            "plmn": np.array(sorted(plmn), np.uint32),
            "plmn_zone": np.array([plmn[each] for each in sorted(plmn)], np.int32),
            "plmn_default": default,
            "zones": len(self.zones),
            "mcc": np.array(sorted(mcc), np.uint16),
            "mcc_zone": np.array([mcc[each] for each in sorted(mcc)], np.int32),
        }

    def _zone_mask(self, zones: tuple[Named, ...] | None) -> int:
        if zones is None:
            return (1 << len(self.zones)) - 1
        return _mask(self.zones.index(each.name) for each in zones)

    # -- balances and counters -----------------------------------------------------------------------------

    def _balances(self) -> dict[str, Any]:
        dtypes: dict[str, Any] = {
            "known": np.uint8, "unit": np.uint8, "priority": np.int32, "kinds": np.uint8, "directions": np.uint8,
            "zones": np.uint32, "nodes": np.int32, "schedule": np.int32, "bands": np.uint32, "increment": np.int64,
            "factor_num": np.int64, "factor_den": np.int64, "rated_by": np.int32, "blocker": np.uint8, "main": np.uint8,
            "period": np.uint8, "grant": np.int64, "shared": np.uint8, "member_limit": np.int64,
            "grant_per_member": np.int64, "rollover_periods": np.uint8, "rollover_share": np.int32,
            "rollover_most": np.int64, "rollover_mode": np.uint8, "rollover_last": np.uint8, "by_day": np.uint8,
            "by_day_mode": np.uint8, "by_day_step": np.int64, "ends": np.uint8,
        }  # fmt: skip
        unused = (
            *(0, 0, 0, 0, 0, 0, NONE, ALWAYS, 0, 1, 1, 1, NONE, 0, 0, 0, 0, 0, NONE, 0),
            *(0, 0, NONE, 0, 0, 0, 0, 1, 0),
        )
        names = _by_number(self.register.balances)
        known = self.tariff.balances
        return _columns(
            "balance", dtypes, [self._balance(known[name]) if name in known else unused for name in names]
        )

    def _balance(self, balance: Balance) -> tuple[int, ...]:
        scope = balance.scope
        schedule: Schedule | None = self.tariff.schedules[balance.schedule.name] if balance.schedule else None
        return (
            1,
            int(balance.unit),
            balance.priority,
            _mask(scope.kinds),
            _mask(scope.directions),
            self._zone_mask(scope.zones),
            self._allowed(scope),
            self.schedules[schedule.name] if schedule else ALWAYS,
            _mask(schedule.bands.index(each.name) for each in balance.bands) if schedule else 0,
            balance.increment,
            balance.factor.numerator,
            balance.factor.denominator,
            self.register.plans[balance.rated_by.name] if balance.rated_by else NONE,
            int(balance.blocker),
            int(balance.main),
            balance.period,
            balance.grant,
            int(balance.shared),
            NONE if balance.member_limit is None else balance.member_limit,
            balance.grant_per_member,
            *_renewed(balance),
        )

    def _counters(self) -> dict[str, Any]:
        dtypes: dict[str, Any] = {
            "known": np.uint8, "unit": np.uint8, "kinds": np.uint8, "zones": np.uint32, "nodes": np.int32,
            "period": np.uint8,
        }  # fmt: skip
        names = _by_number(self.register.counters)
        known = self.tariff.counters
        unused = (0, 0, 0, 0, NONE, 0)
        return _columns(
            "counter", dtypes, [self._counter(known[name]) if name in known else unused for name in names]
        )

    def _counter(self, counter: Counter) -> tuple[int, ...]:
        scope = counter.scope
        return (
            1,
            int(counter.unit),
            _mask(scope.kinds),
            self._zone_mask(scope.zones),
            self._allowed(scope),
            counter.period,
        )

    def _thresholds(self) -> tuple[Threshold, ...]:
        """What customers are told, balances first."""
        found = []
        for one in self.tariff.balances.values():
            at = self.register.balances[one.name]
            for kind, marks in (("low_balance", one.low), ("allowance", one.thresholds)):
                if marks:
                    found.append(
                        Threshold(
                            one.name,
                            at,
                            counter=False,
                            kind=kind,
                            marks=marks,
                            limit=0,
                            hysteresis=one.hysteresis,
                        )
                    )
        for each in self.tariff.counters.values():
            if each.cap:
                at = self.register.counters[each.name]
                marks, limit = each.thresholds, each.cap
                found.append(
                    Threshold(
                        each.name,
                        at,
                        counter=True,
                        kind="spend_cap",
                        marks=marks,
                        limit=limit,
                        hysteresis=each.hysteresis,
                    )
                )
        return tuple(found)


def _priced(price: Price, name: str) -> _Priced:
    return _Priced(
        price, name, tuple((band, rate.name) for band, rate in price.rates), price.min_charge, price.max_cost,
        price.end_at_cost,
    )  # fmt: skip


def _renewed(balance: Balance) -> tuple[int, ...]:
    """What happens to a balance at the beginning of a period, and when the plan changes within one."""
    rollover, by_day = balance.rollover or Rollover(periods=0), balance.by_day or ByDay()
    return (
        rollover.periods,
        rollover.millionths,
        NONE if rollover.most is None else rollover.most,
        int(rollover.mode),
        int(rollover.last),
        int(balance.by_day is not None),
        int(by_day.mode),
        by_day.step,
        int(balance.ends),
    )


def _mask(bits: Iterable[int]) -> int:
    return sum(1 << int(bit) for bit in set(bits))


def _columns(prefix: str, dtypes: dict[str, Any], rows: list[tuple[int, ...]]) -> dict[str, Any]:
    return {
        f"{prefix}_{name}": np.array([row[at] for row in rows], dtype)
        for at, (name, dtype) in enumerate(dtypes.items())
    }


def _stack(rows: list[npt.NDArray[Any]], width: int, dtype: type[Any]) -> npt.NDArray[Any]:
    return np.stack(rows).astype(dtype) if rows else np.zeros((0, width), dtype)
