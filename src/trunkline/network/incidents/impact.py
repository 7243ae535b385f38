"""Whom an incident hits: objects, the customers who use the affected cells, what they pay there a minute, promises.

Customers and money come from rated usage by cell, as they usually are at such cells; a promise is at risk when so large
a share of the cells it speaks of is affected that, if they all failed, its error budget would be spent too fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.network.inventory import Inventory

Words = npt.NDArray[np.uint64]

WHOLE = 1_000_000  # shares are millionths


class Promise(Protocol):
    """One agreement: the share of good service promised on an area, or on every cell when `on` is empty."""

    @property
    def name(self) -> str: ...
    @property
    def on(self) -> str: ...
    @property
    def share(self) -> int: ...


class Promises(Protocol):
    """All agreements (`trunkline.network.sla.Agreements`)."""

    @property
    def all(self) -> Sequence[Promise]: ...


@dataclass(frozen=True)
class Impact:
    """What is hit."""

    objects: list[int]
    subscribers: int
    micros_per_minute: int
    at_risk: str  # names of agreements, the one promised most first


@dataclass(frozen=True)
class Stakes:
    """What hangs on each cell; `worth` has `object`, `subscribers` and `micros_per_minute`, a row a cell."""

    inventory: Inventory
    worth: pl.DataFrame
    agreements: Promises

    def impact(self, objects: Words) -> Impact:
        """Of trouble at these objects, ascending."""
        keys, subscribers, micros_per_minute = self._worth
        at = _found(keys, objects)
        return Impact(
            objects.tolist(),
            int(subscribers[at].sum()),
            int(micros_per_minute[at].sum()),
            ", ".join(self._at_risk(_found(self.inventory.cell_keys, objects))),
        )

    @cached_property
    def _worth(self) -> tuple[Any, Any, Any]:
        """Cells ascending, their customers and their money."""
        rows = self.worth.sort("object")
        return rows["object"].to_numpy(), rows["subscribers"].to_numpy(), rows["micros_per_minute"].to_numpy()

    @cached_property
    def _spoken_of(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Whether a cell lies in each area that an agreement speaks of; "" stands for all, as of a slice."""
        targets, cells = self.inventory.targets, len(self.inventory.cell_keys)
        owner = np.repeat(np.arange(cells), np.diff(targets.first))
        names = targets.names.to_list()
        found = {"": np.ones(cells, np.bool_)}
        for name in {each.on for each in self.agreements.all} & set(names):
            found[name] = np.zeros(cells, np.bool_)
            found[name][owner[targets.of == names.index(name)]] = True
        return found

    def _at_risk(self, cells: npt.NDArray[np.int64]) -> list[str]:
        """Names of the agreements that trouble at these places among the cells puts at risk."""
        risked = []
        for agreement in self.agreements.all if len(cells) else ():
            spoken_of = self._spoken_of.get(agreement.on)
            if spoken_of is not None:
                affected = int(spoken_of[cells].sum())
                if affected * WHOLE > (WHOLE - agreement.share) * int(spoken_of.sum()):
                    risked.append((-agreement.share, agreement.name))
        return [name for _, name in sorted(risked)]


def _found(keys: Words, objects: Words) -> npt.NDArray[np.int64]:
    """Places in ascending `keys` of those objects that are among them."""
    if not len(keys):
        return np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(keys, objects), len(keys) - 1)
    return at[keys[at] == objects]
