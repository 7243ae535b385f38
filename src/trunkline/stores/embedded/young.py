"""What a windowed state was given lately: few groups go into a table, the many of a backlog stay as they came.

Groups come in the order of their keys, so a hundred thousand of them are remembered by keeping them, and the few keys
that the filter before them lets through are searched there. Putting each into a table would miss a cache for every
one of them (docs/decisions/0017). Once small batches come again they move what lies there into the table, bit by bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trunkline.kernel.grouped import Grouped, Keys
from trunkline.stores.embedded import runs
from trunkline.stores.embedded.table import Table

MANY_KEYS = 16_384  # of one batch: these stay as they came
SEARCHED_KEYS = 8_192  # more than these are found faster in the table
MOVED_AT_ONCE = 2


class Young:
    """Recent groups; what was put later wins."""

    def __init__(self, dtype: np.dtype[Any], *, digests: bool) -> None:
        """Begin empty."""
        self._dtype = dtype
        self._table = Table(dtype, digests=digests)
        self._as_they_came: tuple[runs.Run, ...] = ()  # oldest first; all are newer than the table

    @property
    def keys(self) -> int:
        """How many keys were put; one that was put twice may count twice."""
        return self._table.keys + sum(len(run) for run in self._as_they_came)

    @property
    def octets(self) -> int:
        """Memory in use."""
        return self._table.octets + sum(run.octets for run in self._as_they_came)

    def put(self, groups: Grouped) -> None:
        """What keys hold from now on."""
        if not len(groups.keys):
            return
        self._as_they_came += (runs.of_groups(groups, self._dtype),)
        if len(groups.keys) < MANY_KEYS:
            self._move(MOVED_AT_ONCE)

    def find(self, keys: Keys) -> tuple[list[Grouped], Keys]:
        """The groups of some of the ascending `keys`, and the keys that are not here."""
        parts = []
        for run in reversed(self._as_they_came):
            if len(keys):
                known, groups = run.known(keys)
                parts.append(groups)
                keys = keys[~known]
        if len(keys) and self._table.keys:
            known, groups = self._table.known(keys)
            parts.append(groups)
            keys = keys[~known]
        return parts, keys

    def expect(self, keys: Keys) -> None:
        """Make ready for `find`: where so many keys are known (a file that comes again), all go into the table."""
        if len(keys) > SEARCHED_KEYS:
            self._move(len(self._as_they_came))

    def all_keys(self) -> list[Keys]:
        """All keys, in several parts; one that was put twice may stand in two of them."""
        return [self._table.all_keys(), *(run.keys for run in self._as_they_came)]

    def all_groups(self) -> Grouped:
        """Everything, in the order of keys."""
        oldest = self._table.gather(self._table.all_keys())
        return runs.newest([oldest, *(run.slice(0, len(run)) for run in self._as_they_came)], self._dtype)

    def _move(self, many: int) -> None:
        """Put the oldest of what lies as it came into the table."""
        for run in self._as_they_came[:many]:
            self._table.put(run.slice(0, len(run)))
        self._as_they_came = self._as_they_came[many:]
