"""A desk in a NOC: signals go through the life of alarms into incidents, as the map has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from tests.rooms.network.alarms.network_of_sites import S, Watch, network, pulse, signals
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import name_words
from trunkline.network.alarms.rules import AlarmRules
from trunkline.network.causes.graph import CausalGraph
from trunkline.network.incidents.correlate import collect, correlate
from trunkline.network.inventory import Inventory
from trunkline.network.sla import Agreements
from trunkline.records.network import CORRELATED, INCIDENTS


def worth_of(inventory: Inventory) -> pl.DataFrame:
    """A hundred customers a cell, who pay a cent a minute between them."""
    return inventory.cells.select("object", subscribers=pl.lit(100), micros_per_minute=pl.lit(10_000))


class Desk(Watch):
    """Alarms and incidents side by side."""

    def __init__(
        self,
        inventory: Inventory | None = None,
        rules: AlarmRules | None = None,
        causes: CausalGraph | None = None,
        agreements: Agreements | None = None,
    ) -> None:
        """Begin with nothing."""
        super().__init__(inventory or network(), rules)
        self.causes = causes or CausalGraph.empty()
        self.agreements = agreements or Agreements()
        self.correlated = Grouped.empty(CORRELATED.dtype, np.array([0], np.uint64))
        self.incidents = INCIDENTS.record.empty()

    def watch(self, rows: Sequence[tuple[Any, ...]] | pl.DataFrame, until: int) -> pl.DataFrame:
        """Feed signals, then let time pass; the changes of incidents."""
        self.take(rows if isinstance(rows, pl.DataFrame) else signals(rows))
        self._collect()
        return self.until(until)

    def until(self, second: int) -> pl.DataFrame:
        """Let time pass; the changes of incidents."""
        self.wait(second)
        self._collect()
        outcome = correlate(
            pulse(second),
            self.correlated,
            self.inventory,
            self.causes,
            worth_of(self.inventory),
            self.agreements,
        )
        assert outcome.state is not None
        self.correlated = outcome.state
        (told,) = outcome.rows
        self.incidents = pl.concat([self.incidents, told])
        return told

    def _collect(self) -> None:
        outcome = collect(self.told[-1], self.correlated)
        assert outcome.state is not None
        self.correlated = outcome.state

    @property
    def open(self) -> list[dict[str, Any]]:
        """Open incidents as they were last told."""
        last = self.incidents.group_by("incident_id", maintain_order=True).last()
        return last.filter(pl.col("action") != "close").sort("opened_us").to_dicts()

    def names(self, objects: Sequence[int]) -> set[str]:
        """Names of objects."""
        known = dict(self.inventory.names.select("object", "name").iter_rows())
        return {known[each] for each in objects}


def word(name: str) -> int:
    """The word of a name."""
    return int(name_words(pl.Series([name]))[0])


__all__ = ["Desk", "S", "word", "worth_of"]
