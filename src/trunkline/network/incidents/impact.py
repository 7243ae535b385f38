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

from trunkline.kernel.grouping import locate
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
        cells = np.intersect1d(objects, self.inventory.cell_keys)
        hit = self.worth.filter(pl.col("object").is_in(pl.Series(cells).implode()))
        return Impact(
            objects.tolist(),
            int(hit["subscribers"].sum()),
            int(hit["micros_per_minute"].sum()),
            ", ".join(self._at_risk(cells)),
        )

    @cached_property
    def _places(self) -> dict[str, Words]:
        """Cells of each area that an agreement speaks of; "" stands for all, as of a slice."""
        targets, keys = self.inventory.targets, self.inventory.cell_keys
        owner = np.repeat(np.arange(len(keys)), np.diff(targets.first))
        names = targets.names.to_list()
        wanted = {each.on for each in self.agreements.all}
        found: dict[str, Any] = {"": keys}
        for name in wanted & set(names):
            found[name] = keys[owner[targets.of == names.index(name)]]
        return found

    def _at_risk(self, cells: Words) -> list[str]:
        if not len(cells):
            return []
        risked = []
        for agreement in self.agreements.all:
            spoken_of = self._places.get(agreement.on)
            if spoken_of is None or not len(spoken_of):
                continue
            affected = int((locate(cells, spoken_of) >= 0).sum())
            if affected * WHOLE > (WHOLE - agreement.share) * len(spoken_of):
                risked.append((-agreement.share, agreement.name))
        return [name for _, name in sorted(risked)]
