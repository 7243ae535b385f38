"""Orders that have a name of their own: each is carried once, and whoever gave it is told what became of it.

Money that is ordered over a network comes again whenever an answer is lost. So the engine remembers the names of what
it has carried, with what came of them, and answers again the same. Both engines of a cluster decide here, so that
both give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trunkline.engines.loop import Carried
from trunkline.engines.plan import CARRIED
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Grouped, Keys
from trunkline.kernel.identity import identities

Answer = dict[str, Any]
"""The order's name under its own column, `status` (booked, refused, repeated) and `reason`."""

_KEY, _CHECK = "_key", "_check"


@dataclass(frozen=True)
class Sorted:
    """Orders that were never carried, ready to be, and the answers to those that were."""

    new: pl.DataFrame
    answers: list[Answer]
    _named: pl.DataFrame

    def remembered(
        self, name: str, carried: Carried, refusals: Sequence[Stream]
    ) -> tuple[Grouped, list[Answer]]:
        """What is to be remembered (`CARRIED`) of the new ones once they are carried, and the answers to them.

        `refusals` are the streams that say in `reason` why an order was refused.
        """
        reasons: dict[str, str] = {}
        for stream in refusals:
            if carried.frames.get(stream.name):
                reasons |= dict(carried.rows(stream).select(name, "reason").iter_rows())
        new = self._named.sort(_KEY)
        rows = np.zeros(len(new), CARRIED.dtype)
        rows["check"] = new[_CHECK].to_numpy()
        rows["refused"] = [order in reasons for order in new[name]]
        rows["reason"] = [reasons.get(order, "").encode() for order in new[name]]
        groups = Grouped(new[_KEY].to_numpy(), np.arange(len(new) + 1, dtype=np.int64), rows)
        answers = [
            {
                name: order,
                "status": "refused" if order in reasons else "booked",
                "reason": reasons.get(order, ""),
            }
            for order in new[name]
        ]
        return groups, answers


def sort_out(stream: str, name: str, rows: pl.DataFrame, known: Callable[[Keys], Grouped]) -> Sorted:
    """Part a stream's orders, named in the column `name`, into new ones and those that were carried before.

    `known` tells what is remembered of ascending keys. What comes twice in `rows` counts once, and as it came first.
    """
    identity, check = identities(stream, rows.get_column(name))
    rows = rows.with_columns(pl.Series(_KEY, identity), pl.Series(_CHECK, check))
    rows = rows.unique(_KEY, keep="first", maintain_order=True)
    before = known(np.sort(rows.get_column(_KEY).to_numpy()))
    same = [
        bool((before.rows_of(int(key))["check"] == check).any())
        for key, check in rows.select(_KEY, _CHECK).iter_rows()
    ]
    old = rows.filter(pl.Series(same, dtype=pl.Boolean))
    answers: list[Answer] = []
    for key, order in old.select(_KEY, name).iter_rows():
        row = before.rows_of(int(key))[0]
        status = "refused" if row["refused"] else "repeated"
        answers.append({name: order, "status": status, "reason": row["reason"].decode()})
    new = rows.join(old, on=_KEY, how="anti", maintain_order="left")
    return Sorted(new.drop(_KEY, _CHECK), answers, new.select(name, _KEY, _CHECK))
