"""The compiled catalogue: a tariff as flat integer arrays, which is all that the kernels ever see.

Numbers of plans, balances, counters and zones come from a register that only grows, because they are stored in
accounts; everything else (versions, nodes, lines, rates, tiers, slots) is numbered afresh at each compilation.

A *node* is what a destination search ends in: for calls and messages one distinct chain of destinations, longest
prefix first; for data, IoT and content one traffic class. Node 0 is "nothing matched". A *service* is
(kind * 2 + direction) * zones + zone, where zone 0 is home and others are roaming zones. A *line* is what one plan
version asks for one service to one node; through its schedule's time bands it leads to *rates*; a rate has *tiers*
over accumulated usage, and each tier has *slots* over the length of the use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs.bill_rules import BillRules
from trunkline.charging.tariffs.exchange_rules import Exchange
from trunkline.charging.tariffs.giving_rules import GivingRules
from trunkline.kernel import dial
from trunkline.kernel.members import NOBODY, Members

Array = npt.NDArray[Any]

NONE = -1
ALWAYS = -1
FOREVER = 2**62


class Tables(NamedTuple):
    """Flat arrays; `x_first` and `x_count` delimit the rows of a child array that belong to a parent."""

    # where numbers lead: disjoint ascending ranges of dial words
    range_first: Array  # u8
    range_last: Array  # u8
    range_node: Array  # i4
    # roaming: ascending PLMN numbers; `plmn_default` is the zone of any other visited network, NONE for no price
    plmn: Array  # u4
    plmn_zone: Array  # i4
    plmn_default: int
    zones: int  # how many zones, home included
    # plans by register number; versions of a plan lie together, by ascending effective time
    plan_version_first: Array  # i4
    plan_version_count: Array  # i4
    version_from_us: Array  # i8
    version_row: Array  # i4 [version, service] -> row of line_of, or NONE
    version_allowance_first: Array  # i4 -> allowance
    version_allowance_count: Array  # i4
    version_counter_first: Array  # i4 -> counted
    version_counter_count: Array  # i4
    allowance: Array  # i4: register numbers of balances granted each period
    counted: Array  # i4: register numbers of counters that a plan keeps
    line_of: Array  # i4 [row, node] -> line, or NONE
    # lines
    line_schedule: Array  # i4, or ALWAYS
    line_band_first: Array  # i4 -> band_rate; band b of the schedule is band_first + b
    line_free: Array  # u1: 1 = zero-rated: costs nothing and takes nothing from allowances
    line_counter: Array  # i4: counter that chooses the tier, or NONE
    line_max_cost: Array  # i8 micro-units a use, or NONE
    line_end_at_cost: Array  # i8 micro-units that a use granted online costs at most, or NONE
    line_min_charge: Array  # i8 micro-units a use that costs anything, 0 for none
    band_rate: Array  # i4 -> rate, or NONE where nothing is priced
    # rates: prices are numerators over `rate_den`, so one increment is exact or rounded beforehand (den 1)
    rate_den: Array  # i8
    rate_step: Array  # i8 micro-units: a stretch of one rate is rounded to multiples of this
    rate_mode: Array  # u1: kernel.money.Rounding
    rate_fee: Array  # i8 micro-units, once, when the use begins at this rate
    rate_tier_first: Array  # i4
    rate_tier_count: Array  # i4
    tier_from: Array  # i8 accumulated units at which the tier begins; the first is 0
    tier_slot_first: Array  # i4
    tier_slot_count: Array  # i4
    slot_from: Array  # i8 units since the use began; the first is 0
    slot_increment: Array  # i8 units
    slot_price: Array  # i8 micro-units a started increment, times rate_den
    # schedules: local time to band
    schedule_day: Array  # i4 [schedule, weekday 0 = Monday] -> day type
    schedule_special_first: Array  # i4
    schedule_special_count: Array  # i4
    special_day: Array  # i4 local days since 1970, ascending within a schedule
    special_type: Array  # i4 -> day type
    day_first: Array  # i4
    day_count: Array  # i4
    segment_start_s: Array  # i4 local seconds of the day; the first of a day is 0
    segment_band: Array  # i4
    # time zones by register number
    zone_first: Array  # i4
    zone_count: Array  # i4
    offset_from_us: Array  # i8; the first of a zone is -FOREVER
    offset_s: Array  # i4
    # balances by register number; an unused number has balance_known 0
    balance_known: Array  # u1
    balance_unit: Array  # u1: records.charging.Unit
    balance_priority: Array  # i4: the lowest is used first
    balance_kinds: Array  # u1: bit k = serves kind k
    balance_directions: Array  # u1: bit d = serves direction d
    balance_zones: Array  # u4: bit z = serves zone z
    balance_nodes: Array  # i4: row of `allowed`, or NONE for all nodes
    balance_schedule: Array  # i4, or ALWAYS
    balance_bands: Array  # u4: bit b = usable in band b of that schedule
    balance_increment: Array  # i8 units: what it covers is taken in whole increments
    balance_factor_num: Array  # i8: units taken for each unit used ...
    balance_factor_den: Array  # i8
    balance_rated_by: Array  # i4: register number of the plan that prices what it covers, or NONE for free
    balance_blocker: Array  # u1: 1 = nothing after this balance may be used
    balance_main: Array  # u1: 1 = takes what is left over, below zero if it must
    balance_period: Array  # u1: 0 none, 1 day, 2 week, 3 month on the subscriber's cycle day
    balance_grant: Array  # i8: given at the beginning of each period
    allowed: Array  # u1 [row, node]
    # counters by register number
    counter_known: Array  # u1
    counter_unit: Array  # u1
    counter_kinds: Array  # u1
    counter_zones: Array  # u4
    counter_nodes: Array  # i4, as balance_nodes
    counter_period: Array  # u1
    # added later, so that earlier fields keep their places
    line_record_price: Array  # u1: 1 = the price comes with the record
    mcc: Array  # u2, ascending: roaming zones by country where the network has no entry of its own
    mcc_zone: Array  # i4
    # balances that the members of an account share
    balance_shared: Array  # u1: 1 = one for all members of an account
    balance_member_limit: Array  # i8: the most that a member may take of it in a period, or NONE
    balance_grant_per_member: Array  # i8: given in addition for each member, the owner among them
    # what happens at the beginning of a period, and when the plan changes within one
    balance_rollover_periods: (
        Array  # u1: for how many further periods what is left stays; 0 = nothing is carried over
    )
    balance_rollover_share: Array  # i4 millionths of what is left
    balance_rollover_most: Array  # i8: at most so much from one period, or NONE
    balance_rollover_mode: Array  # u1: kernel.money.Rounding of the share, to whole units
    balance_rollover_last: Array  # u1: 1 = used after the period's own allowance; 0 = before it
    balance_by_day: (
        Array  # u1: 1 = a plan that begins within a period brings the share of the days that are left
    )
    balance_by_day_mode: Array  # u1: kernel.money.Rounding of that share ...
    balance_by_day_step: Array  # i8: ... to multiples of this
    balance_ends: (
        Array  # u1: 1 = ends when a plan that does not include it takes over; 0 = stays to its period's end
    )


@dataclass(frozen=True)
class Threshold:
    """What is told to a customer, and how far the value must recover before it is told again."""

    name: str  # of the balance or counter
    number: int  # its register number
    counter: bool
    kind: str  # allowance, low_balance or spend_cap
    marks: tuple[int, ...]  # percent used (allowance, spend_cap) or micro-units left (low_balance), ascending
    limit: int  # spend_cap: the cap in micro-units; else 0
    hysteresis: int  # percent points, or micro-units for low_balance


@dataclass(frozen=True)
class TrafficClass:
    """A class of data, IoT or content usage; None matches anything; the first that matches in order wins."""

    node: int
    kind: int
    services: tuple[str, ...] | None
    slices: tuple[int, ...] | None
    five_qis: tuple[int, ...] | None


@dataclass(frozen=True)
class Catalogue:
    """A compiled tariff: the arrays, and the names that people read."""

    fingerprint: str  # digest of the source files
    currency: str
    tables: Tables
    plans: tuple[str, ...]  # by register number; "" where unused
    versions: tuple[str, ...]  # "plan@2026-01-01", by version
    nodes: tuple[str, ...]  # destination or class name, by node
    lines: tuple[str, ...]  # "plan@date kind direction zone destination", by line
    zones: tuple[str, ...]  # roaming zones; 0 is "home"
    time_zones: tuple[str, ...]  # by register number
    balances: tuple[str, ...]  # by register number
    counters: tuple[str, ...]  # by register number
    classes: tuple[TrafficClass, ...]
    thresholds: tuple[Threshold, ...]
    main_balance: int  # register number of the money balance that takes what is left over
    default_plan: int  # register number of the plan of walk-ins, or NONE
    default_zone: int  # register number of the operator's time zone
    default_cycle_day: int = 1  # day of the month on which periods of walk-ins begin
    bills: BillRules = field(default_factory=BillRules)
    giving: GivingRules = field(default_factory=GivingRules)
    members: Members = NOBODY  # whose account each member of a shared one uses
    exchange: Exchange | None = None  # what money of other currencies is worth


@dataclass(frozen=True)
class Register:
    """Numbers that accounts store, by name; it only grows, and lives in the data folder."""

    plans: dict[str, int]
    balances: dict[str, int]
    counters: dict[str, int]
    time_zones: dict[str, int]
    members: dict[str, list[int]] = field(
        default_factory=dict
    )  # owner's dial word: its members', number 1 first


def find_ranges(tables: Tables, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
    """Node of each dial word by longest prefix, or of a name by itself; 0 where nothing matches."""
    if len(tables.range_first) == 0:
        return np.zeros(len(words), np.int32)
    at = np.maximum(np.searchsorted(tables.range_first, words, side="right") - 1, 0)
    first, last = tables.range_first[at], tables.range_last[at]
    # A digest has no digits, so only its very own range may hold it, never a prefix it lies in by chance.
    digit = (words & np.uint64(0xF)) != dial.DIGEST_MARK
    inside = (first <= words) & (words <= last) & (digit | (first == last))
    return np.where(inside, tables.range_node[at], 0).astype(np.int32)
