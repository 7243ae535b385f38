"""Rating: what each piece of usage costs, before any balance is touched.

The subscriber's plan at the moment of use, the roaming zone and the destination lead to one line of the tariff;
`price` walks the use along it. Usage that no line covers is rejected with a reason: it is never guessed and
never dropped. Zero units (a call that nobody answered) cost nothing and need no price.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.price import NO_PRICE, TOO_LARGE, limited, pack, per_catalogue, price_use
from trunkline.charging.tariffs.catalogue import NONE, Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.records.charging import RowKind
from trunkline.records.usage import REJECTED, Direction, Kind

Array = npt.NDArray[Any]

_SUBSCRIPTION = int(RowKind.SUBSCRIPTION)
_VOICE, _SMS, _DATA = int(Kind.VOICE), int(Kind.SMS), int(Kind.DATA)
_TERMINATING = int(Direction.TERMINATING)

# Verdicts of the kernel; 0 is "priced". The names stand in records.usage.REASONS.
_REASONS = ("", "unknown_subscriber", "no_plan_at_time", "tariff_not_found", "too_large", "wrong_currency")
_UNKNOWN, _NO_PLAN, _NO_TARIFF, _LARGE, _CURRENCY = range(1, 6)

_HEADS = 1 << 16


class Guide(NamedTuple):
    """The catalogue's arrays that lead from a use to its line."""

    head: Array  # i4 [65537]: first range that may hold words with these 16 leading bits
    range_first: Array
    range_last: Array
    range_node: Array
    plmn: Array
    plmn_zone: Array
    mcc: Array
    mcc_zone: Array
    plmn_default: int
    zones: int
    plan_version_first: Array
    plan_version_count: Array
    version_from_us: Array
    version_row: Array
    line_of: Array
    default_plan: int
    default_zone: int


@per_catalogue
def guide(catalogue: Catalogue) -> Guide:
    """The guiding arrays of a catalogue, with an index over the leading four digits of its prefixes."""
    t = catalogue.tables
    heads = np.arange(_HEADS + 1, dtype=np.uint64) << np.uint64(48)
    head = np.searchsorted(t.range_last, heads[:-1], side="left").astype(np.int32)
    return Guide(
        head=np.append(head, np.int32(len(t.range_first))),
        range_first=t.range_first,
        range_last=t.range_last,
        range_node=t.range_node,
        plmn=t.plmn,
        plmn_zone=t.plmn_zone,
        mcc=t.mcc,
        mcc_zone=t.mcc_zone,
        plmn_default=t.plmn_default,
        zones=t.zones,
        plan_version_first=t.plan_version_first,
        plan_version_count=t.plan_version_count,
        version_from_us=t.version_from_us,
        version_row=t.version_row,
        line_of=t.line_of,
        default_plan=catalogue.default_plan,
        default_zone=catalogue.default_zone,
    )


@nb.njit(nogil=True, cache=True)
def node_of(g: Any, word: np.uint64) -> int:
    """Node of one dial word by longest prefix; 0 where nothing matches."""
    bits = np.int64(word >> np.uint64(48))
    low = np.int64(g.head[bits])
    high = np.int64(g.head[bits + 1]) + 1
    high = min(high, len(g.range_first))
    while low < high:
        middle = (low + high) >> 1
        if g.range_last[middle] < word:
            low = middle + 1
        else:
            high = middle
    if low < len(g.range_first) and g.range_first[low] <= word <= g.range_last[low]:
        return np.int64(g.range_node[low])
    return np.int64(0)


@nb.njit(nogil=True, cache=True)
def zone_of(g: Any, plmn: int) -> int:
    """Roaming zone of a visited network: by its own entry, by its country (MCC), else the default zone."""
    if plmn == 0:
        return np.int64(0)
    at = np.searchsorted(g.plmn, np.uint32(plmn))
    if at < len(g.plmn) and g.plmn[at] == plmn:
        return np.int64(g.plmn_zone[at])
    mcc = plmn // 100 if plmn < 100_000 else plmn // 1000
    at = np.searchsorted(g.mcc, np.uint16(mcc))
    if at < len(g.mcc) and g.mcc[at] == mcc:
        return np.int64(g.mcc_zone[at])
    return np.int64(g.plmn_default)


@nb.njit(nogil=True, cache=True)
def subscription_at(rows: Array, first: int, last: int, start_s: int) -> int:
    """Row of the subscription in force at a moment; -1 when there is none."""
    found = -1
    for row in range(first, last):
        if (
            rows[row].kind == _SUBSCRIPTION
            and rows[row].valid_from_s <= start_s
            and (found < 0 or rows[row].valid_from_s >= rows[found].valid_from_s)
        ):
            found = row
    return found


@nb.njit(nogil=True, cache=True)
def version_at(g: Any, plan: int, start_us: int) -> int:
    """Version of a plan in force at a moment; -1 when there is none."""
    if plan < 0 or plan >= len(g.plan_version_first):
        return -1
    first = np.int64(g.plan_version_first[plan])
    at = first + g.plan_version_count[plan] - 1
    while at >= first and g.version_from_us[at] > start_us:
        at -= 1
    return at if at >= first else -1


@nb.njit(nogil=True, cache=True)
def _rate(
    p: Any,
    g: Any,
    groups: Array,
    offsets: Array,
    rows: Array,
    kind: Array,
    direction: Array,
    calling: Array,
    called: Array,
    start_us: Array,
    plmn: Array,
    class_node: Array,
    units: Array,
    amount: Array,
    verdict: Array,
    version: Array,
    line: Array,
    node: Array,
    zone: Array,
    price: Array,
) -> None:
    for row in range(len(groups)):
        if verdict[row] != 0:
            continue
        first = offsets[groups[row]]
        last = offsets[groups[row] + 1]
        start = start_us[row]
        plan = np.int64(g.default_plan)
        time_zone = np.int64(g.default_zone)
        if first < last:
            found = subscription_at(rows, first, last, start // 1_000_000)
            if found < 0:
                verdict[row] = _NO_PLAN
                continue
            plan = np.int64(rows[found].definition)
            time_zone = np.int64(rows[found].granted) & 0xFFFF
        elif plan < 0:
            verdict[row] = _UNKNOWN
            continue
        at = version_at(g, plan, start)
        version[row] = max(at, 0)
        k = np.int64(kind[row])
        d = np.int64(direction[row])
        if k <= _SMS:
            n = node_of(g, calling[row] if d == _TERMINATING else called[row])
        else:
            n = np.int64(class_node[row])
        node[row] = n
        z = zone_of(g, np.int64(plmn[row]))
        zone[row] = z
        found_line = np.int64(NONE)
        if at >= 0 and z >= 0:
            service_row = np.int64(g.version_row[at, (k * 2 + d) * g.zones + z])
            if service_row >= 0:
                found_line = np.int64(g.line_of[service_row, n])
        line[row] = found_line
        if units[row] == 0 and found_line < 0 and at >= 0:
            continue
        if found_line < 0:
            verdict[row] = _NO_TARIFF
            continue
        total = np.int64(0)
        if p.lines[found_line].record_price:
            total = amount[row]
        elif not p.lines[found_line].free:
            total = price_use(p, found_line, k == _VOICE, start, time_zone, 0, units[row], 0, True)
            if total == NO_PRICE:
                verdict[row] = _NO_TARIFF
                continue
            if total == TOO_LARGE:
                verdict[row] = _LARGE
                continue
        price[row] = limited(p, found_line, total)


def class_nodes(batch: pl.DataFrame, catalogue: Catalogue) -> npt.NDArray[np.int32]:
    """Traffic class of each data, IoT or content row, as a node; 0 where no class matches."""
    keys = ("kind", "service", "slice", "five_qi")
    if not catalogue.classes or not bool((batch["kind"] >= _DATA).any()):
        return np.zeros(len(batch), np.int32)
    distinct = batch.select(keys).filter(pl.col("kind") >= _DATA).unique()
    nodes = [_class_node(row, catalogue) for row in distinct.iter_rows()]
    known = distinct.with_columns(node=pl.Series(nodes, dtype=pl.Int32))
    joined = batch.select(keys).join(known, on=keys, how="left", nulls_equal=True, maintain_order="left")
    return joined["node"].fill_null(0).to_numpy()


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


def rate(batch: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Price each row of metered usage; rows that cannot be priced come back rejected, with the reason."""
    size = len(batch)
    verdict = np.zeros(size, np.uint8)
    foreign = batch["currency"].is_not_null() & (batch["currency"] != catalogue.currency)
    if foreign.any():
        verdict[foreign.to_numpy()] = _CURRENCY
    version, line = np.zeros(size, np.uint16), np.full(size, NONE, np.int32)
    node, zone, price = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int64)
    groups = locate(accounts.keys, batch["subscriber"].to_numpy())
    assert size == 0 or groups.min() >= 0, "the engine gave no state for a subscriber of the batch"
    _rate(
        pack(catalogue),
        guide(catalogue),
        groups,
        accounts.offsets,
        accounts.rows,
        batch["kind"].to_numpy(),
        batch["direction"].to_numpy(),
        batch["calling"].to_numpy(),
        batch["called"].to_numpy(),
        batch["start_us"].to_numpy(),
        batch["visited_plmn"].to_numpy(),
        class_nodes(batch, catalogue),
        batch["units"].to_numpy(),
        batch["amount_micros"].to_numpy(),
        verdict,
        version,
        line,
        node,
        zone,
        price,
    )
    rated = batch.with_columns(
        plan=pl.Series(version),
        line=pl.Series(line),
        node=pl.Series(node),
        zone=pl.Series(zone),
        list_micros=pl.Series(price),
    )
    refused = verdict != 0
    if not refused.any():
        return Outcome((rated, REJECTED.record.empty()))
    reasons = pl.Series("reason", [_REASONS[code] for code in verdict[refused]], dtype=pl.String)
    rejected = REJECTED.record.conform(batch.filter(pl.Series(refused)).with_columns(reason=reasons))
    return Outcome((rated.filter(pl.Series(~refused)), rejected))
