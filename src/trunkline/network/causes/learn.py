"""Learning which kind of alarm brings which about, from nothing but when and where alarms were raised.

The model is a Hawkes process on the topology: alarms of each kind come on their own at some rate, and each alarm makes
alarms of certain other kinds likelier for a while, on its own object and on that object's neighbours. How long
"a while" is, how much a neighbour counts beside the object itself, and how much of every object's trouble is its own
are learnt along with the graph; the only figures given are how far back a cause may lie and how sure an edge must be.

Sources: A. Hawkes, "Spectra of some self-exciting and mutually exciting point processes", Biometrika 58 (1971); the
topological form: R. Cai, S. Wu, J. Qiao, Z. Hao, K. Zhang, X. Zhang, "THPs: Topological Hawkes Processes for Learning
Causal Structure on Event Sequences", IEEE TNNLS (2022), arXiv:2105.10884; maximum likelihood by expectation and
maximisation with a kernel in steps: E. Lewis and G. Mohler, "A nonparametric EM algorithm for multiscale Hawkes
processes" (2011). An edge is kept when it pays for itself by the extended information criterion of J. Chen and Z. Chen,
Biometrika 95 (2008): with so many possible edges, an ordinary criterion keeps too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.grouping import locate, order_by_group
from trunkline.network.causes.graph import CausalGraph

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

SECOND_US = 1_000_000
KERNEL_STEPS = 14
HOPS = 2  # the object itself, and its neighbours
PRUNINGS = 8  # rounds of leaving edges out; two or three are enough in practice


@dataclass(frozen=True)
class Learning:
    """What is given and not learnt."""

    window_s: int = 300  # how far back a cause may lie
    rounds: int = 60  # of expectation and maximisation
    strictness: float = 1.0  # gamma of the extended criterion: 0 is the ordinary one, 1 the strictest
    causes_at_most: int = (
        512  # newest possible causes looked at for one alarm, so that a flood takes bounded time
    )


@dataclass(frozen=True)
class _Seen:
    """Alarms ascending in time, as numbers of objects and problems, and every pair that may be cause and effect."""

    time_s: Floats
    place: Longs
    kind: Longs
    kinds: int
    places: int
    cause: Longs  # of each pair: number of the earlier alarm
    effect: Longs  # and of the later one
    hop: Longs  # 0 on one object, 1 on neighbours
    step: Longs  # of the kernel
    edges_s: Floats  # borders of the kernel's steps
    exposed: Floats  # kinds x HOPS: how many objects each kind's alarms could have reached
    length_s: float


@dataclass(frozen=True)
class _Fit:
    strength: Floats  # kinds x kinds
    gain: Floats  # kinds x kinds: loss of likelihood if the edge were not there


def learn(
    alarms: pl.DataFrame,
    neighbours: pl.DataFrame | None = None,
    prior: pl.DataFrame | None = None,
    how: Learning | None = None,
) -> CausalGraph:
    """The graph that explains a history of alarms.

    `alarms`: rows of `time_us` (when raised), `object`, `problem` (words) and, for people, `problem_name`; any order.
    `neighbours`: pairs of `object` and `neighbour`, either way round; without it only alarms on one object can be
    cause and effect. `prior`: pairs of `cause` and `effect` with `holds`: true edges are kept, false ones are not
    considered. Fewer than two alarms give an empty graph.
    """
    how = how or Learning()
    alarms = alarms.sort("time_us", "object", "problem")
    problems = alarms["problem"].unique().sort().to_numpy()
    if len(alarms) < 2 or len(problems) < 2:
        return CausalGraph.empty()
    seen = _seen(alarms, problems, neighbours, how)
    allowed, certain = _prior(prior, problems)
    needed = 0.5 * np.log(len(alarms)) + how.strictness * np.log(len(problems) * (len(problems) - 1))
    fit = _fit(seen, allowed, how.rounds)
    for _ in range(PRUNINGS):
        worth = (fit.gain > needed) | certain
        np.fill_diagonal(worth, val=True)  # how a kind repeats is learnt along, and is no edge
        if bool((worth == allowed).all()):
            break
        allowed = worth & allowed
        fit = _fit(seen, allowed, how.rounds)
    edges = (allowed & (fit.gain > needed)) & ~np.eye(len(problems), dtype=np.bool_)
    # The kernel's form was fitted, too: unless the edges together pay for that, they are chance and its form is theirs.
    price = 0.5 * np.log(len(alarms)) * (KERNEL_STEPS + HOPS - 2)
    if float((fit.gain - needed)[edges].sum()) < price:
        edges = np.zeros_like(edges)
    return _graph(alarms, problems, edges | certain, fit)


def _graph(alarms: pl.DataFrame, problems: Array, edges: Array, fit: _Fit) -> CausalGraph:
    cause, effect = np.nonzero(edges)
    named = (
        alarms.unique("problem", keep="first", maintain_order=True)
        if "problem_name" in alarms.columns
        else None
    )
    names = dict(named.select("problem", "problem_name").iter_rows()) if named is not None else {}
    return CausalGraph(
        problems[cause],
        problems[effect],
        np.rint(fit.strength[cause, effect] * 1000).astype(np.int64),  # to the nearest thousandth
        np.rint(fit.gain[cause, effect] * 1000).astype(np.int64),
        names,
    )


def _prior(prior: pl.DataFrame | None, problems: Array) -> tuple[Array, Array]:
    """Which edges are considered, and which are kept whatever the alarms say."""
    allowed = np.ones((len(problems), len(problems)), np.bool_)
    certain = np.zeros_like(allowed)
    if prior is not None and len(prior):
        cause = locate(problems, prior["cause"].to_numpy())
        effect = locate(problems, prior["effect"].to_numpy())
        known = (cause >= 0) & (effect >= 0)
        holds = prior["holds"].to_numpy()
        certain[cause[known & holds], effect[known & holds]] = True
        allowed[cause[known & ~holds], effect[known & ~holds]] = False
    np.fill_diagonal(certain, val=False)
    return allowed, certain


def _seen(alarms: pl.DataFrame, problems: Array, neighbours: pl.DataFrame | None, how: Learning) -> _Seen:
    objects = alarms["object"].unique().sort().to_numpy()
    place = locate(objects, alarms["object"].to_numpy())
    kind = locate(problems, alarms["problem"].to_numpy())
    first, beside = _beside(objects, neighbours)
    time_us = alarms["time_us"].to_numpy()
    order, starts = order_by_group(place, len(objects))
    cause, effect, hop = _pairs(
        time_us, place, order, starts, first, beside, how.window_s * SECOND_US, how.causes_at_most
    )
    lag_s = (time_us[effect] - time_us[cause]) / SECOND_US
    edges_s = _edges_s(how.window_s)
    step = np.minimum(np.searchsorted(edges_s, lag_s, side="right") - 1, KERNEL_STEPS - 1)
    reached = np.ones((len(alarms), HOPS))
    reached[:, 1] = np.diff(first)[place]
    exposed: Array = np.stack([np.bincount(kind, reached[:, h], len(problems)) for h in range(HOPS)], axis=1)
    time_s = (time_us - time_us[0]) / SECOND_US
    return _Seen(
        time_s, place, kind, len(problems), len(objects),
        cause, effect, hop, step, edges_s, exposed, max(float(time_s[-1]), 1.0),
    )  # fmt: skip


def _edges_s(window_s: int) -> Floats:
    """Borders of the kernel's steps: narrow where causes are near, wide where they are far."""
    edges: Floats = window_s * (np.arange(KERNEL_STEPS + 1) / KERNEL_STEPS) ** 2
    return edges


def _beside(objects: Array, neighbours: pl.DataFrame | None) -> tuple[Longs, Longs]:
    """The neighbours of each object that has alarms, as numbers: `beside[first[i]:first[i + 1]]`."""
    if neighbours is None or not len(neighbours):
        return np.zeros(len(objects) + 1, np.int64), np.empty(0, np.int64)
    one, other = (locate(objects, neighbours[column].to_numpy()) for column in ("object", "neighbour"))
    known = (one >= 0) & (other >= 0) & (one != other)
    pairs = np.unique(
        np.stack([np.r_[one[known], other[known]], np.r_[other[known], one[known]]], axis=1), axis=0
    )
    first = np.zeros(len(objects) + 1, np.int64)
    np.cumsum(np.bincount(pairs[:, 0], minlength=len(objects)), out=first[1:])
    return first, np.ascontiguousarray(pairs[:, 1])


@nb.njit(nogil=True, cache=True)
def _causes_of(
    alarm: int, time_us: Array, order: Array, begin: int, end: int, window_us: int, most: int, into: Array, count: int
) -> int:  # fmt: skip
    """Alarms of one object, `order[begin:end]` ascending in time, that may have caused `alarm`; newest first.

    Alarms of the same moment may be each other's cause: many clocks tell whole seconds or whole periods.
    """
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if time_us[order[middle]] <= time_us[alarm]:
            low = middle + 1
        else:
            high = middle
    taken = 0
    for at in range(low - 1, begin - 1, -1):
        other = order[at]
        if time_us[alarm] - time_us[other] > window_us or taken == most:
            break
        if other != alarm:
            into[count + taken] = other
            taken += 1
    return taken


@nb.njit(nogil=True, cache=True)
def _pairs(
    time_us: Array, place: Array, order: Array, starts: Array, first: Array, beside: Array, window_us: int, most: int
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Every pair of alarms that may be cause and effect, with how many hops lie between their objects."""
    size = nb.int64(1024)
    cause, effect, hop = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    count = nb.int64(0)
    for alarm in range(len(time_us)):
        here = place[alarm]
        for side in range(first[here + 1] - first[here] + 1):
            there = here if side == 0 else beside[first[here] + side - 1]
            if count + most > size:
                size = 2 * size + most
                cause, effect, hop = (
                    _grown(cause, count, size),
                    _grown(effect, count, size),
                    _grown(hop, count, size),
                )
            taken = _causes_of(
                alarm, time_us, order, starts[there], starts[there + 1], window_us, most, cause, count
            )
            for at in range(count, count + taken):
                effect[at] = alarm
                hop[at] = 0 if side == 0 else 1
            count += taken
    return cause[:count].copy(), effect[:count].copy(), hop[:count].copy()


@nb.njit(nogil=True, cache=True)
def _grown(array: Array, count: int, size: int) -> Array:
    larger = np.empty(size, np.int64)
    larger[:count] = array[:count]
    return larger


def _fit(seen: _Seen, allowed: Array, rounds: int) -> _Fit:
    """Maximum likelihood with edges only where allowed, and what each of them adds."""
    kinds, alarms = seen.kinds, len(seen.kind)
    edge = seen.kind[seen.cause] * kinds + seen.kind[seen.effect]
    widths_s = np.diff(seen.edges_s)
    strength: Floats = allowed * 0.05
    hop_weight = np.ones(HOPS)
    kernel = np.full(KERNEL_STEPS, 1 / widths_s.sum())
    own_rate = np.bincount(seen.kind, minlength=kinds) / seen.length_s
    share = np.full(seen.places, 1 / seen.places)
    excited = own = total = np.empty(0)
    for _ in range(rounds):
        excited = strength.ravel()[edge] * hop_weight[seen.hop] * kernel[seen.step]
        own = own_rate[seen.kind] * share[seen.place]
        total = np.bincount(seen.effect, excited, alarms) + own
        blame, itself = excited / total[seen.effect], own / total
        own_rate = np.bincount(seen.kind, itself, kinds) / seen.length_s
        share = (np.bincount(seen.place, itself, seen.places) + 1) / (itself.sum() + seen.places)
        exposed = seen.exposed @ hop_weight
        brought = np.bincount(edge, blame, kinds * kinds).reshape(kinds, kinds)
        strength = allowed * brought / np.maximum(exposed, 1e-12)[:, None]
        by_hop = np.bincount(seen.hop, blame, HOPS) / np.maximum(strength.sum(1) @ seen.exposed, 1e-12)
        hop_weight = by_hop / by_hop[0] if by_hop[0] > 0 else np.ones(HOPS)
        by_step = np.bincount(seen.step, blame, KERNEL_STEPS)
        kernel = by_step / widths_s / max(by_step.sum(), 1e-12)
    return _Fit(
        strength, _gains(seen, edge, excited, total) - strength * (seen.exposed @ hop_weight)[:, None]
    )


def _gains(seen: _Seen, edge: Longs, excited: Floats, total: Floats) -> Floats:
    """How much of the alarms' own likelihood each edge gives: the sum of -log(1 - its part) over its effects."""
    alarms = len(seen.kind)
    of_edge, at = np.unique(edge * alarms + seen.effect, return_inverse=True)
    part = np.bincount(at, excited, len(of_edge)) / total[of_edge % alarms]
    gain = -np.log1p(-np.minimum(part, 1 - 1e-12))
    gains: Array = np.bincount(of_edge // alarms, gain, seen.kinds * seen.kinds)
    return gains.reshape(seen.kinds, seen.kinds)
