"""A small network, and signals and pulses written as rows that a person of a NOC could read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import name_words
from trunkline.network.alarms.life import alarm, release
from trunkline.network.alarms.rules import AlarmRules, Window
from trunkline.network.alarms.signals import alarm_keys
from trunkline.network.inventory import Inventory, read_inventory
from trunkline.records.network import ALARMED, ALARMS, PULSES, SIGNALS

S = 1_000_000
LOSS, BAD_SERVICE, BROKEN, HOT = (
    "communicationsAlarm",
    "qualityOfServiceAlarm",
    "equipmentAlarm",
    "environmentalAlarm",
)
ATTACK = "integrityViolation"


def network(sites: int = 4, cells: int = 3) -> Inventory:
    """Sites on links L0, L1... to an aggregation router, on one link to the core; site S2 has a second way up."""
    links = [f"L{i},S{i},AGG" for i in range(sites)] + ["L2b,S2,CORE", "LC,AGG,CORE"]
    return read_inventory(
        {
            "sites.csv": "\n".join(
                ["site,latitude,longitude", *(f"S{i},52.{i:03},5.0" for i in range(sites))]
            ).encode(),
            "cells.csv": "\n".join(
                [
                    "cell,technology,site",
                    *(f"S{i}/C{j},NR,S{i}" for i in range(sites) for j in range(cells)),
                ]
            ).encode(),
            "routers.csv": b"router,kind\nAGG,router\nCORE,core\nFW,firewall\n",
            "links.csv": "\n".join(["link,from,to", *links]).encode(),
        }
    )


def window(name: str, objects: Sequence[str], begin_s: int, end_s: int) -> Window:
    """A window in seconds."""
    return Window(name, tuple(objects), begin_s * S, end_s * S)


def signals(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Signals of (second, object, action, severity, event type), with the actor sixth for an operator's hand."""
    wide = [(*row, *("raise", 2, LOSS, "")[len(row) - 2 :]) for row in rows]
    frame = pl.DataFrame(
        wide,
        schema={
            "time_us": pl.Int64,
            "name": pl.String,
            "action": pl.String,
            "severity": pl.UInt8,
            "event_type": pl.String,
            "actor": pl.String,
        },
        orient="row",
    )
    frame = frame.with_columns(
        pl.col("time_us") * S,
        object=pl.Series(name_words(frame["name"]), dtype=pl.UInt64),
        probable_cause=pl.lit("cause"),
        specific_problem=pl.lit(""),
        text=pl.lit("text"),
        component=pl.lit(0, dtype=pl.UInt64),
        origin=pl.when(pl.col("actor") == "").then(pl.lit("event")).otherwise(pl.lit("operator")),
        security=(pl.col("event_type") == ATTACK).cast(pl.UInt8),
    )
    return SIGNALS.record.conform(frame.with_columns(alarm_key=alarm_keys(frame)))


def pulse(second: int) -> pl.DataFrame:
    """Time has come so far, for two buckets."""
    frame = pl.DataFrame({"bucket": [0, 1], "component": [0, 0], "time_us": [second * S] * 2})
    return PULSES.record.conform(frame)


class Watch:
    """A running list of alarms: feeds batches, keeps the state, and everything that was told."""

    def __init__(self, inventory: Inventory | None = None, rules: AlarmRules | None = None) -> None:
        """Begin with no alarms."""
        self.inventory = inventory or network()
        self.rules = rules or AlarmRules()
        self.state = Grouped.empty(ALARMED.dtype, np.array([0], np.uint64))
        self.told: list[pl.DataFrame] = [ALARMS.record.empty()]
        self.counts: dict[str, int] = {}

    def take(self, rows: Sequence[tuple[Any, ...]] | pl.DataFrame) -> list[tuple[Any, ...]]:
        """Feed signals; what was told of them."""
        frame = rows if isinstance(rows, pl.DataFrame) else signals(rows)
        return self._keep(alarm(frame, self.state, self.inventory, self.rules))

    def wait(self, second: int) -> list[tuple[Any, ...]]:
        """Let time pass; what was told because of it."""
        return self._keep(release(pulse(second), self.state, self.inventory, self.rules))

    def _keep(self, outcome: Outcome) -> list[tuple[Any, ...]]:
        assert outcome.state is not None
        self.state = outcome.state
        told, counts = outcome.rows
        self.told.append(told)
        self.counts = counts.drop("component").to_dicts()[0]
        return brief(told)

    @property
    def changes(self) -> pl.DataFrame:
        """Everything that was told."""
        return pl.concat(self.told)

    @property
    def standing(self) -> set[str]:
        """Names of the objects with standing alarms, told or held back."""
        rows = self.state.rows[self.state.rows["standing"] == 1]
        names = dict(self.changes.select("alarm_key", "name").drop_nulls().iter_rows())
        return {names[key] for key in rows["alarm_key"].tolist()}


def brief(told: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Changes as (second, object, action, held by)."""
    rows = told.select("time_us", "name", "action", "held_by").iter_rows()
    return [(time_us // S, name, action, held_by) for time_us, name, action, held_by in rows]
