"""A maintenance window before it is saved: what it covers, because of what, and which alarms it would hold back.

A window over a router covers every cell that can only be reached through it, which may be far more than its author
thinks of; so the whole list is shown first. What an author has mistyped covers nothing, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trunkline.kernel.identity import name_words
from trunkline.network.alarms.rules import AlarmRules, Window
from trunkline.network.carriage import carriage_of
from trunkline.network.inventory import Inventory


@dataclass(frozen=True)
class Preview:
    """What a window would do.

    `covered`: object, name, kind, because (name of the given object it hangs on; its own when it is given itself),
    ascending by name. `alarms`: the given alarms that it would have held back. `unknown`: names that are not in the
    inventory; alarms of exactly such a name are held back all the same, nothing hangs on it. `overlapping`: names of
    windows that cover some of the same at some of the same time.
    """

    covered: pl.DataFrame
    alarms: pl.DataFrame
    unknown: list[str]
    overlapping: list[str]

    @property
    def cells(self) -> int:
        """How many cells are covered."""
        return len(self.covered.filter(pl.col("kind") == "cell"))


def preview(window: Window, inventory: Inventory, rules: AlarmRules, alarms: pl.DataFrame) -> Preview:
    """What `window` would cover in this inventory, and which of `alarms` (with a column `object`) it would hold back.

    Security alarms are held back like others: planned work on a firewall looks like an attack. `alarms` may be those
    that stand, or those of yesterday; only their objects are looked at.
    """
    covered = _covered(window, inventory)
    given = name_words(pl.Series(list(window.objects), dtype=pl.String))
    known = set(covered["object"].to_list())
    objects = pl.Series("object", np.union1d(covered["object"].to_numpy(), given), dtype=pl.UInt64)
    overlapping = [
        other.name
        for other in rules.windows
        if other.name != window.name
        and other.begin_us < window.end_us
        and window.begin_us < other.end_us
        and (
            set(other.objects) & set(window.objects)
            or known & set(_covered(other, inventory)["object"].to_list())
        )
    ]
    return Preview(
        covered,
        alarms.filter(pl.col("object").is_in(objects.implode())),
        [name for name, word in zip(window.objects, given.tolist(), strict=True) if word not in known],
        sorted(overlapping),
    )


def _covered(window: Window, inventory: Inventory) -> pl.DataFrame:
    """Everything that hangs on the window's objects, each with the first of them that it hangs on."""
    carriage = carriage_of(inventory)
    because: dict[int, str] = {}
    for name in window.objects:
        for word in carriage.hanging_on(name_words(pl.Series([name]))).tolist():
            because.setdefault(word, name)
    places = carriage.places(np.array(list(because), np.uint64)).tolist()
    return pl.DataFrame(
        {
            "object": list(because),
            "name": [carriage.names[place] for place in places],
            "kind": [carriage.kinds[place] for place in places],
            "because": list(because.values()),
        },
        schema={"object": pl.UInt64, "name": pl.String, "kind": pl.String, "because": pl.String},
    ).sort("name")
