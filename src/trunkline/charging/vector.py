"""The catalogue as one vector of whole numbers: the form in which the kernels read it.

Compiled functions that pass dozens of arrays to one another spend their time counting references (measured:
2.2 us a use, against 0.1 us this way). So all tables lie one behind the other in one int64 vector. Its head
holds where each table begins and a few single numbers; a value is `t[t[TABLE] + row * WIDTH + COLUMN]`,
with the widths and columns named here. Prefix ranges keep a vector of their own, because dial words are
unsigned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs.catalogue import Catalogue

Array = npt.NDArray[Any]
Packed = TypeVar("Packed")

KEPT_CATALOGUES = 8
NUMBERINGS = 1 << 23  # ways to number places that are told apart
HEADS = 1 << 16  # the leading four digits of a dial word

# Where the head says that each table begins ...
(
    LINE, BAND, RATE, TIER, SLOT, SCHEDULE, SPECIAL, DAY, SEGMENT, ZONE, OFFSET, PLAN, VERSION, SERVICE, LINE_OF,
    ALLOWANCE, COUNTED, BALANCE, COUNTER, SERVED_SERVICE, SERVED_NODE, COUNTED_SERVICE, COUNTED_NODE, PLMN, MCC,
    RANGE_HEAD, RANGE_NODE, RENEWAL,
) = range(28)  # fmt: skip
# ... and the single numbers behind them.
(
    ZONES, NODES, SERVICES, PLMNS, MCCS, PLMN_DEFAULT, PLANS, RANGES, DEFAULT_PLAN, DEFAULT_ZONE, DEFAULT_CYCLE_DAY,
    MAIN, MOST_NEW, BALANCE_WORDS, COUNTER_WORDS, PLACES,
) = range(28, 44)  # fmt: skip
HEAD = 44

# Columns, and how many there are.
L_SCHEDULE, L_BAND, L_COUNTER, L_FREE, L_RECORD, L_MAX, L_MIN, L_END, LINE_W = range(9)
R_DEN, R_STEP, R_FEE, R_MODE, R_TIER, R_TIERS, RATE_W = range(7)
T_FROM, T_SLOT, T_SLOTS, TIER_W = range(4)
S_FROM, S_INCREMENT, S_PRICE, SLOT_W = range(4)
SCH_SPECIAL, SCH_SPECIALS, SCHEDULE_W = 7, 8, 9  # columns 0 to 6 are the day types of Monday to Sunday
V_FROM, V_ALLOWANCE, V_ALLOWANCES, V_COUNTED, V_COUNTEDS, VERSION_W = range(6)
(
    B_INCREMENT, B_NUM, B_DEN, B_GRANT, B_PRIORITY, B_SCHEDULE, B_RATED_BY, B_BANDS, B_UNIT, B_BLOCKER, B_MAIN,
    B_PERIOD, B_SHARED, B_LIMIT, B_PER_MEMBER, B_RENEWAL, BALANCE_W,
) = range(17)  # fmt: skip
PLAIN, CARRIED_FIRST, CARRIED_LAST = range(
    3
)  # B_RENEWAL: no rule of its own; what is carried is used first, or last
N_PERIODS, N_SHARE, N_MOST, N_MODE, N_KEPT_S, N_BY_DAY, N_DAY_MODE, N_DAY_STEP, N_ENDS, RENEWAL_W = range(10)
C_UNIT, C_PERIOD, C_WATCHED, COUNTER_W = range(4)
WORD_BITS = 32  # balances or counters in a word of the tables that say which of them fit a service or a node


class Vectors(NamedTuple):
    """A catalogue for the kernels: whole numbers, and the ranges of dial words (first, last, first, last ...)."""

    t: npt.NDArray[np.int64]
    ranges: npt.NDArray[np.uint64]


def per_catalogue(build: Callable[[Catalogue], Packed]) -> Callable[[Catalogue], Packed]:
    """Keep what `build` makes of a catalogue, for the few catalogues in use."""
    kept: dict[int, tuple[Catalogue, Packed]] = {}  # holding the catalogue keeps its id from being used again

    @wraps(build)
    def of(catalogue: Catalogue) -> Packed:
        if id(catalogue) not in kept:
            while len(kept) >= KEPT_CATALOGUES:
                kept.pop(next(iter(kept)))
            kept[id(catalogue)] = (catalogue, build(catalogue))
        return kept[id(catalogue)][1]

    return of


def _interleaved(*columns: Array) -> npt.NDArray[np.int64]:
    return np.stack([np.asarray(column).astype(np.int64) for column in columns], axis=1).reshape(-1)


@per_catalogue
def vectors(catalogue: Catalogue) -> Vectors:
    """The kernel's form of a catalogue."""
    t = catalogue.tables
    tables = {
        **_price_tables(catalogue),
        PLAN: _interleaved(t.plan_version_first, t.plan_version_count),
        VERSION: _interleaved(
            t.version_from_us,
            t.version_allowance_first,
            t.version_allowance_count,
            t.version_counter_first,
            t.version_counter_count,
        ),
        SERVICE: t.version_row,
        LINE_OF: t.line_of,
        ALLOWANCE: t.allowance,
        COUNTED: t.counted,
        BALANCE: _balances(catalogue),
        RENEWAL: _renewals(catalogue),
        COUNTER: _counters(catalogue),
        **_fitting(catalogue),
        PLMN: _interleaved(t.plmn, t.plmn_zone),
        MCC: _interleaved(t.mcc, t.mcc_zone),
        RANGE_HEAD: _range_heads(catalogue),
        RANGE_NODE: t.range_node,
    }
    head = np.zeros(HEAD, np.int64)
    parts = [head]
    begin = HEAD
    for name, table in sorted(tables.items()):
        head[name] = begin
        parts.append(np.asarray(table).astype(np.int64).reshape(-1))
        begin += len(parts[-1])
    # A use may open its plan's and the owner's allowances, its counters, what was drawn of shared ones, and two more.
    allowances, counters = t.version_allowance_count.max(initial=0), t.version_counter_count.max(initial=0)
    # What is carried over from each period, and allowances of periods without any use, come on top (`renewal`).
    carried = 3 * int(t.balance_rollover_periods.astype(np.int64).sum())
    most = 2 * int(allowances) + int(counters) + int(t.balance_shared.sum()) + 2 + 2 * carried
    head[ZONES : PLACES + 1] = (
        t.zones,
        len(catalogue.nodes),
        t.version_row.shape[1],
        len(t.plmn),
        len(t.mcc),
        t.plmn_default,
        len(t.plan_version_first),
        len(t.range_first),
        catalogue.default_plan,
        catalogue.default_zone,
        catalogue.default_cycle_day,
        catalogue.main_balance,
        most,
        _words(len(t.balance_known)),
        _words(len(t.counter_known)),
        _numbering(catalogue),
    )
    ranges = np.stack([t.range_first, t.range_last], axis=1).astype(np.uint64).reshape(-1)
    return Vectors(np.concatenate(parts), ranges)


def _numbering(catalogue: Catalogue) -> int:
    """Stands for how places are numbered: another one where a node or a zone is another place; never 0."""
    t = catalogue.tables
    digest = hashlib.blake2b(repr((catalogue.zones, catalogue.nodes, catalogue.classes)).encode())
    for table in (t.range_first, t.range_last, t.range_node, t.plmn, t.plmn_zone, t.mcc, t.mcc_zone):
        digest.update(np.asarray(table).astype(np.int64).tobytes())
        digest.update(b"/")
    digest.update(str(t.plmn_default).encode())
    return int.from_bytes(digest.digest()[:8], "big") % (NUMBERINGS - 1) + 1


def _price_tables(catalogue: Catalogue) -> dict[int, Array]:
    t = catalogue.tables
    return {
        LINE: _interleaved(
            t.line_schedule,
            t.line_band_first,
            t.line_counter,
            t.line_free,
            t.line_record_price,
            t.line_max_cost,
            t.line_min_charge,
            t.line_end_at_cost,
        ),
        BAND: t.band_rate,
        RATE: _interleaved(
            t.rate_den, t.rate_step, t.rate_fee, t.rate_mode, t.rate_tier_first, t.rate_tier_count
        ),
        TIER: _interleaved(t.tier_from, t.tier_slot_first, t.tier_slot_count),
        SLOT: _interleaved(t.slot_from, t.slot_increment, t.slot_price),
        SCHEDULE: np.concatenate(
            [
                t.schedule_day.astype(np.int64).reshape(-1, 7),
                t.schedule_special_first.astype(np.int64)[:, None],
                t.schedule_special_count.astype(np.int64)[:, None],
            ],
            axis=1,
        ),
        SPECIAL: _interleaved(t.special_day, t.special_type),
        DAY: _interleaved(t.day_first, t.day_count),
        SEGMENT: _interleaved(t.segment_start_s, t.segment_band),
        ZONE: _interleaved(t.zone_first, t.zone_count),
        OFFSET: _interleaved(t.offset_from_us, t.offset_s),
    }


def _balances(catalogue: Catalogue) -> Array:
    t = catalogue.tables
    return _interleaved(
        t.balance_increment,
        t.balance_factor_num,
        t.balance_factor_den,
        t.balance_grant,
        t.balance_priority,
        t.balance_schedule,
        t.balance_rated_by,
        t.balance_bands,
        t.balance_unit,
        t.balance_blocker,
        t.balance_main,
        t.balance_period,
        t.balance_shared,
        t.balance_member_limit,
        t.balance_grant_per_member,
        np.where(
            (t.balance_rollover_periods > 0) | (t.balance_by_day > 0) | (t.balance_ends > 0),
            np.where(t.balance_rollover_last > 0, CARRIED_LAST, CARRIED_FIRST),
            PLAIN,
        ),
    )


def _renewals(catalogue: Catalogue) -> Array:
    """What happens to each balance at the beginning of a period, and how long its rows may still be carried over."""
    t = catalogue.tables
    period_s = np.array([0, 1, 7, 31], np.int64)[t.balance_period] * 86_400
    return _interleaved(
        t.balance_rollover_periods,
        t.balance_rollover_share,
        t.balance_rollover_most,
        t.balance_rollover_mode,
        t.balance_rollover_periods * period_s,
        t.balance_by_day,
        t.balance_by_day_mode,
        t.balance_by_day_step,
        t.balance_ends,
    )


def _counters(catalogue: Catalogue) -> Array:
    t = catalogue.tables
    watched = np.zeros(len(t.counter_known), np.int64)
    for threshold in catalogue.thresholds:
        if threshold.counter:
            watched[threshold.number] = 1
    return _interleaved(
        t.counter_unit,
        t.counter_period,
        watched,
    )


def _fitting(catalogue: Catalogue) -> dict[int, Array]:
    """Which balances may pay for a use and which counters count it, by its service and by its node: one bit each.

    A balance or counter fits a use when it fits both; only its time bands are looked at with the use itself.
    """
    t = catalogue.tables
    services = np.arange(t.version_row.shape[1])
    zone, direction, kind = services % t.zones, services // t.zones % 2, services // t.zones // 2

    def bits(column: Array, of: Array) -> Array:
        return column.astype(np.int64)[None, :] >> of[:, None] & 1

    def at_nodes(rows: Array) -> Array:
        of_all = np.ones((len(catalogue.nodes), 1), np.uint8)
        return np.where(rows < 0, of_all, t.allowed.T[:, np.maximum(rows, 0)] if len(t.allowed) else of_all)

    balances = (
        bits(t.balance_kinds, kind) & bits(t.balance_directions, direction) & bits(t.balance_zones, zone)
    )
    counters = bits(t.counter_kinds, kind) & bits(t.counter_zones, zone)
    return {
        SERVED_SERVICE: _packed(balances & t.balance_known),
        SERVED_NODE: _packed(at_nodes(t.balance_nodes)),
        COUNTED_SERVICE: _packed(counters & t.counter_known),
        COUNTED_NODE: _packed(at_nodes(t.counter_nodes)),
    }


def _words(definitions: int) -> int:
    return -(-definitions // WORD_BITS)


def _packed(fits: Array) -> npt.NDArray[np.int64]:
    """Rows of yes and no as rows of words, the first in the lowest bit."""
    words = np.zeros((len(fits), _words(fits.shape[1])), np.int64)
    for definition in range(fits.shape[1]):
        words[:, definition // WORD_BITS] |= (fits[:, definition] == 1).astype(
            np.int64
        ) << definition % WORD_BITS
    return words.reshape(-1)


def _range_heads(catalogue: Catalogue) -> Array:
    """For each leading four digits, the first range that may hold such a word; one more at the end."""
    t = catalogue.tables
    heads = np.arange(HEADS, dtype=np.uint64) << np.uint64(48)
    return np.append(np.searchsorted(t.range_last, heads, side="left"), len(t.range_first))
