"""Rating: what each piece of usage costs, before any balance is touched.

The subscriber's plan at the moment of use, the roaming zone and the destination lead to one line of the tariff;
`price` walks the use along it. Usage that no line covers is rejected with a reason: it is never guessed and
never dropped. Zero units (a call that nobody answered) cost nothing and need no price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.exchange import exchanged
from trunkline.charging.price import NO_PRICE, limited, price_use
from trunkline.charging.tariffs.catalogue import NONE, Catalogue
from trunkline.charging.vector import (
    DEFAULT_PLAN,
    DEFAULT_ZONE,
    L_FREE,
    L_RECORD,
    LINE,
    LINE_OF,
    LINE_W,
    MCC,
    MCCS,
    NODES,
    PLAN,
    PLANS,
    PLMN,
    PLMN_DEFAULT,
    PLMNS,
    RANGE_HEAD,
    RANGE_NODE,
    RANGES,
    SERVICE,
    SERVICES,
    V_FROM,
    VERSION,
    VERSION_W,
    ZONES,
    vectors,
)
from trunkline.kernel.dial import DIGEST_MARK
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.records.charging import RATED, RowKind
from trunkline.records.usage import METERED, REJECTED, Direction, Kind

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_SUBSCRIPTION = int(RowKind.SUBSCRIPTION)
_VOICE, _SMS, _DATA = int(Kind.VOICE), int(Kind.SMS), int(Kind.DATA)
_TERMINATING = int(Direction.TERMINATING)

_MOST_CLASSES = 1024  # different kinds of traffic in one batch that are looked up once each
_NO_SERVICE = 2**32 - 1  # no categorical gets that far
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio

_KEPT = [name for name in METERED.record.schema if name in RATED.record.schema]

# Verdicts of the kernel; 0 is "priced". The names stand in records.usage.REASONS.
_REASONS = ("", "unknown_subscriber", "no_plan_at_time", "tariff_not_found", "too_large", "wrong_currency")
UNKNOWN, _NO_PLAN, _NO_TARIFF, _LARGE, _CURRENCY = range(1, 6)

# Contracts that are none (see `_contracts`); as real ones they would begin at the last second of 2106.
_NO_ACCOUNT, _NOT_ONE = np.uint64(2**64 - 1), np.uint64(2**64 - 2)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def node_of(t: Vector, ranges: Words, word: np.uint64) -> int:
    """Node of one dial word by longest prefix; 0 where nothing matches."""
    lead = nb.int64(word >> np.uint64(48))
    low = t[t[RANGE_HEAD] + lead]
    high = min(t[t[RANGE_HEAD] + lead + 1] + 1, t[RANGES])
    while low < high:
        middle = (low + high) >> 1
        if ranges[2 * middle + 1] < word:
            low = middle + 1
        else:
            high = middle
    if low < t[RANGES] and ranges[2 * low] <= word <= ranges[2 * low + 1]:
        whole = ranges[2 * low] == ranges[2 * low + 1]
        if whole or word & np.uint64(15) != np.uint64(DIGEST_MARK):  # a name's digest has no prefix
            return t[t[RANGE_NODE] + low]
    return nb.int64(0)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _nodes_of_words(t: Vector, ranges: Words, words: Words, nodes: Array) -> None:
    """Node of each dial word."""
    for row in range(len(words)):
        nodes[row] = node_of(t, ranges, words[row])


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _lookup(t: Vector, table: int, size: int, wanted: int) -> int:
    """Second column of the row whose first column is `wanted`, in a table that ascends by it; -2 when absent."""
    low, high = nb.int64(0), nb.int64(size)
    while low < high:
        middle = (low + high) >> 1
        if t[t[table] + 2 * middle] < wanted:
            low = middle + 1
        else:
            high = middle
    if low < size and t[t[table] + 2 * low] == wanted:
        return t[t[table] + 2 * low + 1]
    return nb.int64(-2)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def zone_of(t: Vector, plmn: int) -> int:
    """Roaming zone of a visited network: by its own entry, by its country (MCC), else the default zone."""
    if plmn == 0:
        return nb.int64(0)
    zone = _lookup(t, PLMN, t[PLMNS], plmn)
    if zone == -2:
        zone = _lookup(t, MCC, t[MCCS], plmn // 100 if plmn < 100_000 else plmn // 1000)
    return t[PLMN_DEFAULT] if zone == -2 else zone


@nb.njit(inline="always")
def subscription_at(rows: Array, first: int, last: int, start_s: int, member: int) -> int:
    """Row of the subscription of a member (0: the owner) in force at a moment; -1 when there is none."""
    found = -1
    for row in range(first, last):
        if (
            rows[row].kind == _SUBSCRIPTION
            and rows[row].member == member
            and rows[row].valid_from_s <= start_s
            and (found < 0 or rows[row].valid_from_s >= rows[found].valid_from_s)
        ):
            found = row
    return found


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def version_at(t: Vector, plan: int, start_us: int) -> int:
    """Version of a plan in force at a moment; -1 when there is none."""
    if plan < 0 or plan >= t[PLANS]:
        return nb.int64(-1)
    first = t[t[PLAN] + 2 * plan]
    at = first + t[t[PLAN] + 2 * plan + 1] - 1
    while at >= first and t[t[VERSION] + at * VERSION_W + V_FROM] > start_us:
        at -= 1
    return at if at >= first else nb.int64(-1)


@nb.njit(inline="always")
def line_at(t: Vector, version: int, kind: int, direction: int, zone: int, node: int) -> int:
    """Line that a plan version has for a service to a node; -1 when it has none."""
    if version < 0 or zone < 0:
        return nb.int64(-1)
    service = (kind * 2 + direction) * t[ZONES] + zone
    row = t[t[SERVICE] + version * t[SERVICES] + service]
    return t[t[LINE_OF] + row * t[NODES] + node] if row >= 0 else nb.int64(-1)


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _contracts(offsets: Array, rows: Array, contracts: Words) -> None:
    """Each account's only subscription in one word: since when, plan, time zone; others are NOT_ONE or NO_ACCOUNT."""
    for group in range(len(offsets) - 1):
        contracts[group] = _NO_ACCOUNT if offsets[group] == offsets[group + 1] else _NOT_ONE
        count = 0
        for row in range(offsets[group], offsets[group + 1]):
            if rows[row].kind == _SUBSCRIPTION:
                count += 1 + nb.int64(rows[row].member != 0)  # a member's is not everybody's
                if count == 1:
                    plan_and_zone = np.uint64(rows[row].definition) << np.uint64(16) | np.uint64(
                        rows[row].granted & 0xFFFF
                    )
                    contracts[group] = np.uint64(rows[row].valid_from_s) << np.uint64(32) | plan_and_zone
        if count > 1:
            contracts[group] = _NOT_ONE


@nb.njit(inline="always")
def _contract_at(
    t: Vector, contract: np.uint64, rows: Array, first: int, last: int, start_s: int, member: int
) -> tuple[int, int]:
    """Plan (-1: none is in force, -2: nobody's account and no plan for walk-ins) and time zone at a moment."""
    plan, time_zone = nb.int64(-1), nb.int64(0)
    if member != 0 and contract != _NOT_ONE:
        plan = nb.int64(-1)
    elif contract == _NO_ACCOUNT:
        plan = t[DEFAULT_PLAN] if t[DEFAULT_PLAN] >= 0 else nb.int64(-2)
        time_zone = t[DEFAULT_ZONE]
    elif contract == _NOT_ONE:
        found = subscription_at(rows, first, last, start_s, member)
        if found >= 0:
            plan = nb.int64(rows[found].definition)
            time_zone = nb.int64(rows[found].granted) & 0xFFFF
    elif nb.int64(contract >> np.uint64(32)) <= start_s:
        plan = nb.int64(contract >> np.uint64(16)) & 0xFFFF
        time_zone = nb.int64(contract) & 0xFFFF
    return plan, time_zone


@nb.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
def _rate(
    t: Vector, ranges: Words, groups: Array, contracts: Words, offsets: Array, rows: Array, kind: Array,
    direction: Array, calling: Array, called: Array, start_us: Array, plmn: Array, member: Array, class_node: Array,
    units: Array, amount: Array, verdict: Array, version: Array, line: Array, node: Array, zone: Array, price: Array,
) -> None:  # fmt: skip
    for row in range(len(groups)):
        if verdict[row] != 0:
            continue
        group, start = groups[row], start_us[row]
        plan, time_zone = _contract_at(
            t, contracts[group], rows, offsets[group], offsets[group + 1], start // 1_000_000, member[row]
        )
        if plan < 0:
            verdict[row] = _NO_PLAN if plan == -1 else UNKNOWN
            continue
        at = version_at(t, plan, start)
        if at < 0:
            verdict[row] = _NO_TARIFF
            continue
        version[row] = at
        k = nb.int64(kind[row])
        d = nb.int64(direction[row])
        n = nb.int64(class_node[row])
        if k <= _SMS:
            n = node_of(t, ranges, calling[row] if d == _TERMINATING else called[row])
        z = zone_of(t, nb.int64(plmn[row]))
        found_line = line_at(t, at, k, d, z, n)
        node[row] = n
        zone[row] = z
        line[row] = found_line
        if found_line < 0:
            if units[row] != 0:
                verdict[row] = _NO_TARIFF
            continue
        base = t[LINE] + found_line * LINE_W
        total = nb.int64(0)
        if t[base + L_RECORD]:
            total = amount[row] if units[row] > 0 else nb.int64(0)
        elif t[base + L_FREE] == 0:
            total = price_use(t, found_line, k == _VOICE, start, time_zone, 0, units[row], 0, fee=True)
            if total < 0:
                verdict[row] = _NO_TARIFF if total == NO_PRICE else _LARGE
                continue
        price[row] = limited(t, found_line, total)


def class_nodes(batch: pl.DataFrame, catalogue: Catalogue) -> npt.NDArray[np.int32]:
    """Traffic class of each data, IoT or content row, as a node; 0 where no class matches."""
    names = ("kind", "service", "slice", "five_qi")
    if not catalogue.classes or not bool((batch["kind"] >= _DATA).any()):
        return np.zeros(len(batch), np.int32)
    services = batch["service"].cast(pl.Categorical).to_physical().fill_null(_NO_SERVICE).to_numpy()
    kind, slice_, five_qi = (batch[name].to_numpy() for name in ("kind", "slice", "five_qi"))
    numbers, firsts = np.zeros(len(batch), np.int64), np.zeros(_MOST_CLASSES + 1, np.int64)
    different = _number_classes(kind, services, slice_, five_qi, numbers, firsts)
    if different > _MOST_CLASSES:  # a network of very many slices and services
        numbers, firsts = np.arange(1, len(batch) + 1), np.arange(-1, len(batch))
        different = len(batch) + 1
    rows = batch.select(names)[firsts[1:different]].iter_rows()
    nodes = np.array([0, *(_class_node(row, catalogue) for row in rows)], np.int32)
    return nodes[numbers]


@nb.njit(nogil=True, cache=True)
def _number_classes(
    kind: Array, service: Array, slice_: Array, five_qi: Array, numbers: Vector, firsts: Vector
) -> int:
    """Number from 1 what a class is chosen by, where it is data, IoT or content.

    `firsts` takes the row where each number first occurs; returns how many numbers there are, 0 included. Beyond
    `_MOST_CLASSES` it gives up.
    """
    slots = np.zeros(4 * _MOST_CLASSES, np.int64)
    known = nb.int64(1)
    for row in range(len(kind)):
        if kind[row] < _DATA:
            continue
        word = (np.uint64(slice_[row]) << np.uint64(32) | np.uint64(service[row])) * _SPREAD
        word = (word ^ np.uint64(five_qi[row]) << np.uint64(8) ^ np.uint64(kind[row])) * _SPREAD
        slot = nb.int64(word >> np.uint64(40)) % len(slots)
        while slots[slot] != 0:
            first = firsts[slots[slot]]
            if (
                service[first] == service[row]
                and slice_[first] == slice_[row]
                and kind[first] == kind[row]
                and five_qi[first] == five_qi[row]
            ):
                break
            slot = slot + 1 if slot + 1 < len(slots) else nb.int64(0)
        if slots[slot] == 0:
            if known > _MOST_CLASSES:
                return known
            slots[slot] = known
            firsts[known] = row
            known += 1
        numbers[row] = slots[slot]
    return known


def nodes_again(usage: pl.DataFrame, catalogue: Catalogue) -> npt.NDArray[np.int32]:
    """Node of charged usage (`CHARGED`); -1 where the catalogue has its traffic class no longer.

    A number's node is looked up once more, because several nodes may bear one destination's name.
    """
    other = pl.when(pl.col("direction") == _TERMINATING).then(pl.col("calling")).otherwise(pl.col("called"))
    words = usage.select(other.fill_null(0)).to_series().to_numpy()
    dialled = np.zeros(len(usage), np.int32)
    vectors_ = vectors(catalogue)
    _nodes_of_words(vectors_.t, vectors_.ranges, words, dialled)
    classes = {name: number for number, name in enumerate(catalogue.nodes)}
    named = usage["destination"].cast(pl.String).replace_strict(classes, default=-1, return_dtype=pl.Int32)
    found: npt.NDArray[np.int32] = np.where(usage["kind"].to_numpy() >= _DATA, named.to_numpy(), dialled)
    return found


def few_class_nodes(
    rows: Sequence[tuple[int, str | None, int, int]], catalogue: Catalogue
) -> npt.NDArray[np.int32]:
    """Traffic class of a handful of rows given as kind, service, slice and 5QI, as a node; 0 where none matches."""
    if not catalogue.classes:
        return np.zeros(len(rows), np.int32)
    found = {row: _class_node(row, catalogue) if row[0] >= _DATA else 0 for row in set(rows)}
    return np.array([found[row] for row in rows], np.int32)


def _class_node(row: tuple[Any, ...], catalogue: Catalogue) -> int:
    kind, service, slice_, five_qi = row
    for traffic in catalogue.classes:
        if (
            traffic.kind == kind
            and (traffic.services is None or service in traffic.services)
            and (traffic.slices is None or slice_ in traffic.slices)
            and (traffic.five_qis is None or five_qi in traffic.five_qis)
        ):
            return traffic.node
    return 0


class Priced(NamedTuple):
    """What rating finds for each row of a batch; the arrays run beside its rows."""

    verdict: Array  # u1: 0 = priced, else the number of a reason
    version: Array  # u2: plan version
    line: Array  # i4: the catalogue's line, NONE for zero units without a price
    node: Array  # i4
    zone: Array  # i4
    list_micros: Array  # i8


def member_of(batch: pl.DataFrame) -> npt.NDArray[np.uint16]:
    """The member of each row; rows of before there were shared accounts have none, and so has nobody who is alone."""
    if "member" not in batch.columns:
        return np.zeros(len(batch), np.uint16)
    return batch["member"].fill_null(0).to_numpy()


PRICED_BY = ("kind", "direction", "calling", "called", "start_us", "visited_plmn", "units", "amount_micros")


def price_batch(batch: pl.DataFrame, groups: Array, accounts: Grouped, catalogue: Catalogue) -> Priced:
    """Find the price of each row; `groups` says which of the accounts each row belongs to."""
    of = {name: batch[name].to_numpy() for name in PRICED_BY} | {"member": member_of(batch)}
    of["amount_micros"], foreign = exchanged(
        batch["currency"], of["amount_micros"], of["start_us"], catalogue
    )
    return price_columns(of, class_nodes(batch, catalogue), foreign, groups, accounts, catalogue)


def price_columns(
    of: Mapping[str, Array],
    nodes: Array,
    foreign: Array,
    groups: Array,
    accounts: Grouped,
    catalogue: Catalogue,
) -> Priced:
    """As `price_batch`, of the columns `PRICED_BY`; `nodes` are traffic classes, `foreign` rows are in other money.

    What rating asks of an account fits one word, so the rows are priced as they stand and only the words are looked up.
    """
    size = len(groups)
    priced = Priced(
        verdict=np.where(foreign, _CURRENCY, 0).astype(np.uint8),
        version=np.zeros(size, np.uint16),
        line=np.full(size, NONE, np.int32),
        node=np.zeros(size, np.int32),
        zone=np.zeros(size, np.int32),
        list_micros=np.zeros(size, np.int64),
    )
    known = vectors(catalogue)
    contracts = np.empty(len(accounts), np.uint64)
    _contracts(accounts.offsets, accounts.rows, contracts)
    _rate(
        known.t,
        known.ranges,
        groups,
        contracts,
        accounts.offsets,
        accounts.rows,
        of["kind"],
        of["direction"],
        of["calling"],
        of["called"],
        of["start_us"],
        of["visited_plmn"],
        of["member"] if "member" in of else np.zeros(size, np.uint16),
        nodes,
        of["units"],
        of["amount_micros"],
        *priced,
    )
    return priced


def rate(batch: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Price each row of metered usage; rows that cannot be priced come back rejected, with the reason."""
    groups = locate(accounts.keys, batch["subscriber"].to_numpy())
    assert len(batch) == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    priced = price_batch(batch, groups, accounts, catalogue)
    rated = batch.select(_KEPT).with_columns(
        plan=pl.Series(priced.version),
        price_line=pl.Series(priced.line),
        node=pl.Series(priced.node),
        zone=pl.Series(priced.zone),
        list_micros=pl.Series(priced.list_micros),
    )
    refused = priced.verdict != 0
    if not refused.any():
        return Outcome((rated, REJECTED.record.empty()))
    reasons = pl.Series("reason", [_REASONS[code] for code in priced.verdict[refused]], dtype=pl.String)
    rejected = REJECTED.record.conform(batch.filter(pl.Series(refused)).with_columns(reason=reasons))
    return Outcome((rated.filter(pl.Series(~refused)), rejected))
