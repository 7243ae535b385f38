"""Nobody can use a cell that is not there: usage that would begin in a dead or sleeping cell does not happen.

A call ends with the end that is in the dark, so both of its records go; a data session that cannot begin has no
reports at all, wherever it would have wandered later.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from trunkline.simulator.country import Ints


@dataclass(frozen=True)
class Outage:
    """Cells in which nothing can begin from one moment until another."""

    cells: Ints
    begin_us: int
    end_us: int


def possible(rows: pl.DataFrame, kind: str, outages: tuple[Outage, ...]) -> pl.DataFrame:
    """The usage of one kind (`schema.TYPES`) that can happen."""
    if not outages or not len(rows):
        return rows
    dark = pl.lit(value=False)
    for outage in outages:
        dark |= pl.col("start_us").is_between(outage.begin_us, outage.end_us, closed="left") & pl.col(
            "cell"
        ).is_in(outage.cells.tolist())
    if kind in {"voice", "sms"}:
        together = ["calling", "called", "start_us"]
    elif kind == "data":
        together = ["session_n", "subscriber", "session_start_us"]
        dark &= pl.col("start_us") == pl.col("session_start_us")
    else:
        return rows.filter(~dark)
    return rows.join(rows.filter(dark).select(together), on=together, how="anti", maintain_order="left")
