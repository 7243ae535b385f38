"""Where numbers lead: every prefix of a tariff becomes disjoint ranges of dial words, each with one node.

A node is a chain of destinations, longest prefix first, so that every plan finds its own longest match in the same
chain. A destination that comes again under a shorter prefix is left out there, because the longer one has decided.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trunkline.charging.tariffs.tariff import Destination, SheetPrice
from trunkline.kernel import dial

NOWHERE = "other"
Level = tuple[int, ...]
Chain = tuple[Level, ...]
Span = tuple[int, int]


@dataclass(frozen=True)
class Numbering:
    """Ranges, nodes, and which target (destination or priced sheet row) is how deep in which node's chain."""

    first: npt.NDArray[np.uint64]
    last: npt.NDArray[np.uint64]
    node: npt.NDArray[np.int32]
    names: tuple[str, ...]
    in_node: npt.NDArray[np.int64]
    in_depth: npt.NDArray[np.int64]
    in_target: npt.NDArray[np.int64]
    targets: int

    def best(self, rank_of_target: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each node the target that decides: least depth, then highest rank; -1 where none is ranked."""
        rank = rank_of_target[self.in_target]
        known = rank >= 0
        node, depth, target, rank = (
            self.in_node[known],
            self.in_depth[known],
            self.in_target[known],
            rank[known],
        )
        order = np.lexsort((-rank, depth, node))
        nodes, at = np.unique(node[order], return_index=True)
        found = np.full(len(self.names), -1, np.int64)
        found[nodes] = target[order][at]
        return found


@dataclass(frozen=True)
class Targets:
    """Numbers for what prices and balances point at: destinations by name, then groups of sheet rows."""

    destinations: dict[str, int]
    entries: dict[tuple[str, str, str, int, int, int], int]

    @classmethod
    def of(cls, destinations: Collection[str], sheets: dict[str, tuple[SheetPrice, ...]]) -> Targets:
        named = {name: at for at, name in enumerate(destinations)}
        entries: dict[tuple[str, str, str, int, int, int], int] = {}
        for sheet in sorted(sheets):
            for price in sheets[sheet]:
                entries.setdefault(entry(sheet, price), len(named) + len(entries))
        return cls(named, entries)


def entry(sheet: str, price: SheetPrice) -> tuple[str, str, str, int, int, int]:
    """Rows of a sheet that lead to one destination at one price are one target."""
    return sheet, price.destination, price.rate, price.min_charge, price.max_cost, price.end_at_cost


def number(
    destinations: dict[str, Destination],
    sheets: dict[str, tuple[SheetPrice, ...]],
    targets: Targets,
    wanted: Collection[int],
) -> Numbering:
    """The ranges and nodes of a tariff; only `wanted` targets tell nodes apart, the others only name them."""
    spans: dict[Span, list[int]] = {}
    for name, destination in destinations.items():
        for prefix in destination.prefixes:
            spans.setdefault(dial.prefix_range(prefix.name), []).append(targets.destinations[name])
        for whole in destination.numbers:
            word = dial.to_key(whole.name)
            spans.setdefault((word, word), []).append(targets.destinations[name])
    for sheet in sorted(sheets):
        for price in sheets[sheet]:
            at = targets.entries[entry(sheet, price)]
            for digits in price.prefixes:
                spans[dial.prefix_range(digits)].append(at)
    return _nodes(
        spans, tuple(destinations), frozenset(wanted), len(targets.destinations) + len(targets.entries)
    )


def _nodes(
    spans: dict[Span, list[int]], names: tuple[str, ...], wanted: frozenset[int], targets: int
) -> Numbering:
    """Give each span its chain and node, and cut nested spans into disjoint ranges."""
    nodes: dict[tuple[str, Chain], int] = {(NOWHERE, ()): 0}
    ranges: list[tuple[int, int, int]] = []
    stack: list[tuple[int, int, Chain]] = []  # last word, node, chain
    cursor = 0

    def close(until: int) -> None:
        """End the spans that end before `until`."""
        nonlocal cursor
        while stack and stack[-1][0] < until:
            last, node, _ = stack.pop()
            if cursor <= last:
                ranges.append((cursor, last, node))
            cursor = max(cursor, last + 1)

    for first, last in sorted(spans, key=lambda span: (span[0], -span[1])):
        close(first)
        if stack and cursor < first:
            ranges.append((cursor, first - 1, stack[-1][1]))
        named = first & 0xF == dial.DIGEST_MARK and first == last
        chain = _chain(spans[first, last], () if named or not stack else stack[-1][2], wanted)
        name = names[min(spans[first, last])]
        node = nodes.setdefault((name, chain), len(nodes))
        stack.append((last, node, chain))
        cursor = first
    close(2**64)
    rows = [
        (node, depth, target)
        for (_, chain), node in nodes.items()
        for depth, level in enumerate(chain)
        for target in level
    ]
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Numbering(
        _column(ranges, 0, np.uint64),
        _column(ranges, 1, np.uint64),
        _column(ranges, 2, np.int32),
        tuple(name for name, _ in nodes),
        columns[:, 0],
        columns[:, 1],
        columns[:, 2],
        targets,
    )


def _chain(own: list[int], outer: Chain, wanted: frozenset[int]) -> Chain:
    """The targets of this span before those of the spans around it, each target once."""
    level = tuple(sorted({target for target in own if target in wanted}))
    rest = (tuple(target for target in each if target not in level) for each in outer)
    return tuple(each for each in (level, *rest) if each)


def _column(ranges: list[tuple[int, int, int]], at: int, dtype: type[Any]) -> npt.NDArray[Any]:
    return np.array([each[at] for each in ranges], dtype)
