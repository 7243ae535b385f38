"""Large groups that are put together and asked for together, kept as they came instead of in a table.

What is remembered of all cells of a network is hundreds of megabytes under a few hundred keys, and a batch of all cells
asks for all of it and puts all of it. Into a table and out again it would be copied twice, and found by the way. So the
groups of one put are kept as they are, and given out as one copy, which whoever is given it may change.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from trunkline.kernel.grouped import Grouped, Keys

LARGE_OCTETS = 1 << 20  # of one put, and
LARGE_GROUP_OCTETS = 4096  # so many a key: anything else is better off in a table


def are_large(groups: Grouped) -> bool:
    """Whether groups are worth keeping together."""
    octets = int(groups.rows.nbytes)
    return octets >= LARGE_OCTETS and octets >= LARGE_GROUP_OCTETS * len(groups.keys)


class Together:
    """Parts with different keys, ascending by their first one; nobody changes their rows."""

    def __init__(self) -> None:
        """Begin empty."""
        self._parts: tuple[Grouped, ...] = ()

    @property
    def keys(self) -> Keys:
        """All keys that are here."""
        return np.concatenate([np.empty(0, np.uint64), *(part.keys for part in self._parts)])

    @property
    def octets(self) -> int:
        """Memory in use."""
        return sum(int(part.rows.nbytes + part.keys.nbytes + part.offsets.nbytes) for part in self._parts)

    def put(self, groups: Grouped) -> None:
        """Keep groups as they are; what was here of their keys must have been let go before."""
        self._parts = tuple(sorted((*self._parts, groups), key=lambda part: int(part.keys[0])))

    def gather(self, keys: Keys) -> Grouped | None:
        """A copy of the groups of ascending `keys`, when these are just the keys of some parts; else None."""
        chosen = [part for part in self._parts if len(keys) and keys[0] <= part.keys[0] <= keys[-1]]
        if not chosen or sum(len(part.keys) for part in chosen) != len(keys):
            return None
        held = chosen[0].keys if len(chosen) == 1 else np.concatenate([part.keys for part in chosen])
        if not np.array_equal(held, keys):
            return None
        if len(chosen) == 1:
            return Grouped(keys, chosen[0].offsets, chosen[0].rows.copy())
        return joined(chosen)

    def let_go(self, keys: Keys) -> list[Grouped]:
        """Forget the parts that hold any of `keys`; those that hold others, too, are returned, for they are needed."""
        touched = [part for part in self._parts if bool(np.isin(part.keys, keys).any())]
        self._parts = tuple(part for part in self._parts if all(part is not other for other in touched))
        return [part for part in touched if not bool(np.isin(part.keys, keys).all())]

    def take(self, keys: Keys) -> list[Grouped]:
        """The parts that hold any of `keys`; they are not kept here any more."""
        touched = [part for part in self._parts if bool(np.isin(part.keys, keys).any())]
        self._parts = tuple(part for part in self._parts if all(part is not other for other in touched))
        return touched


def joined(parts: list[Grouped]) -> Grouped:
    """Parts of ascending keys as one."""
    counts = [np.diff(part.offsets) for part in parts]
    offsets = np.zeros(sum(len(part.keys) for part in parts) + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=offsets[1:])
    keys = np.concatenate([part.keys for part in parts])
    return Grouped(keys, offsets, np.concatenate([part.rows for part in parts]))


def follow_each_other(parts: list[Grouped]) -> bool:
    """Whether the keys of each part lie behind those of the part before."""
    return all(before.keys[-1] < after.keys[0] for before, after in pairwise(parts))
