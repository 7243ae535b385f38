"""What if: stored usage priced by the running tariff and by a draft, and who would pay more or less.

Both sides are the same functions over the same usage in the same order, rating and charging as the stream does it, so a
draft that says what the running tariff says differs by exactly nothing. Nothing is booked, and nothing is rounded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.anew import in_turns, take_turns
from trunkline.charging.balances import draw_batch
from trunkline.charging.rate import Priced, price_batch
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate
from trunkline.kernel.money import MICROS
from trunkline.records.usage import Kind

Array = npt.NDArray[Any]

# Why a record finds no price, by number; 0 is "charged". The first six are rating's verdicts in rating's order.
REASONS = (
    "",
    "unknown_subscriber",
    "no_plan_at_time",
    "tariff_not_found",
    "too_large",
    "wrong_currency",
    "balance_blocked",
    "part_again",
)
DRAWN = (0, 6, 3, 4, 7)  # charging's verdicts as numbers of `REASONS`
_DRAWN = np.array(DRAWN, np.uint8)
SEGMENTS = ("plan", "kind", "destination", "zone")
NOT_PRICED = "not priced"
SIDES = ("running_micros", "draft_micros", "difference_micros")
EDGES_MICROS = (0, MICROS // 10, MICROS, 10 * MICROS, 100 * MICROS)  # of the bands, in either direction
_WORDS = ("up to 0.10", "0.10 to 1", "1 to 10", "10 to 100", "over 100")
BANDS = (*(f"{word} less" for word in reversed(_WORDS)), "the same", *(f"{word} more" for word in _WORDS))


class Side(NamedTuple):
    """What one tariff makes of each use; the arrays run beside the rows of the usage."""

    reason: Array  # u1, number of `REASONS`
    version: Array  # u2, of the plan; without meaning where it was not priced
    node: Array  # i4
    zone: Array  # i4
    charged: Array  # i8 micro-units taken from money balances


def laid_out(metered: pl.DataFrame, orders: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Usage and movements with their `turn`, usage account by account: the order in which both sides charge it."""
    usage, orders = in_turns(metered, orders)
    return usage.sort("subscriber", maintain_order=True).with_row_index("at"), orders


def price_side(usage: pl.DataFrame, orders: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Side:
    """Price and charge usage as `laid_out` gives it, from accounts in which nothing was used yet."""
    size = len(usage)
    side = Side(
        np.zeros(size, np.uint8),
        np.zeros(size, np.uint16),
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
        np.zeros(size, np.int64),
    )

    def charge_turn(turn: pl.DataFrame, accounts: Grouped) -> Grouped:
        at: Array | slice = (
            turn["at"].to_numpy() if len(turn) < size else slice(None)
        )  # mostly all of it at once
        groups = locate(accounts.keys, turn["subscriber"].to_numpy())
        priced = price_batch(turn, groups, accounts, catalogue)
        side.version[at], side.node[at], side.zone[at] = priced.version, priced.node, priced.zone
        side.reason[at] = priced.verdict
        fine = priced.verdict == 0
        if not fine.all():  # charging is given only what has a price, as in the stream
            groups, turn = groups[fine], turn.filter(pl.Series(fine))
            at = turn["at"].to_numpy()
            priced = Priced(*(values[fine] for values in priced))
        drawn = draw_batch(turn, priced, groups, accounts, catalogue)
        side.charged[at] = drawn.charged
        if drawn.of_calls is not None:
            side.version[at] = drawn.of_calls[1]
        side.reason[at] = _DRAWN[drawn.verdict]
        return drawn.accounts

    take_turns(usage, orders, accounts, catalogue, charge_turn)
    return side


@dataclass(frozen=True)
class WhatIf:
    """The answer. Every table sums to the same money: it is the same records, counted by something else."""

    currency: str
    records: int
    segments: pl.DataFrame  # segment, name, records, *SIDES
    subscribers: pl.DataFrame  # subscriber, records, *SIDES; most more first
    bands: pl.DataFrame  # band, subscribers, difference_micros; in the order of `BANDS`
    refused: pl.DataFrame  # running, draft (reasons; "" is priced), records, *SIDES

    @property
    def running_micros(self) -> int:
        """What the running tariff takes."""
        return int(self.subscribers["running_micros"].sum())

    @property
    def draft_micros(self) -> int:
        """What the draft would take."""
        return int(self.subscribers["draft_micros"].sum())

    def pays(self, sign: int) -> tuple[int, int]:
        """How many subscribers pay more (1), less (-1) or the same (0), and the money between both sides."""
        between = self.subscribers["difference_micros"]
        mine = between.filter(between.sign() == sign)
        return len(mine), int(mine.sum())


def compare_sides(
    usage: pl.DataFrame,
    running: tuple[Side, Catalogue],
    draft: tuple[Side, Catalogue],
    from_us: int,
    until_us: int,
) -> WhatIf:
    """Compare what both sides take for usage (`laid_out`) that began within a stretch of time."""
    assert running[1].currency == draft[1].currency, "amounts of two currencies cannot be compared"
    records = _records(usage, running, draft)
    within = (usage["start_us"] >= from_us) & (usage["start_us"] < until_us)
    records = records.filter(within)
    cube = _summed(records, [*SEGMENTS])
    subscribers = _summed(records, ["subscriber"]).sort(
        "difference_micros", "subscriber", descending=[True, False]
    )
    refused = _summed(records, ["running", "draft"]).filter((pl.col("running") > 0) | (pl.col("draft") > 0))
    reasons = pl.Series(REASONS)
    return WhatIf(
        currency=running[1].currency,
        records=len(records),
        segments=pl.concat([_segment(cube, name, running[1], draft[1]) for name in SEGMENTS]),
        subscribers=subscribers,
        bands=_bands(subscribers),
        refused=refused.with_columns(
            reasons.gather(refused["running"]).alias("running"),
            reasons.gather(refused["draft"]).alias("draft"),
        ).sort("records", "running", "draft", descending=[True, False, False]),
    )


def _records(
    usage: pl.DataFrame, running: tuple[Side, Catalogue], draft: tuple[Side, Catalogue]
) -> pl.DataFrame:
    """One row a use: whose, its segments as numbers, and what both sides take for it."""
    here, there = running[0], draft[0]
    codes = {}
    for segment, _, number in _NUMBERED:
        of_running, of_draft, _ = _shared_names(segment, running[1], draft[1])
        codes[segment] = np.where(
            here.reason == 0,
            of_running[getattr(here, number)],
            np.where(there.reason == 0, of_draft[getattr(there, number)], 0),
        )
    return pl.DataFrame(
        {
            "subscriber": usage["subscriber"],
            "kind": usage["kind"],
            **{segment: values.astype(np.int32) for segment, values in codes.items()},
            "running": here.reason,
            "draft": there.reason,
            "running_micros": here.charged,
            "draft_micros": there.charged,
        }
    )


# Which names of the catalogue a segment has, and which number of a side leads to them.
_NUMBERED = (("plan", "versions", "version"), ("destination", "nodes", "node"), ("zone", "zones", "zone"))


def _shared_names(segment: str, running: Catalogue, draft: Catalogue) -> tuple[Array, Array, list[str]]:
    """Numbers of both catalogues as numbers of one list of names; 0 is what neither of them prices."""
    field = next(names for name, names, _ in _NUMBERED if name == segment)
    both = [
        [name.partition("@")[0] if segment == "plan" else name for name in getattr(catalogue, field)]
        for catalogue in (running, draft)
    ]
    names = [NOT_PRICED, *sorted({name for side in both for name in side})]
    number = {name: at for at, name in enumerate(names) if at}
    of_running, of_draft = (np.array([number[name] for name in side] or [0], np.int32) for side in both)
    return of_running, of_draft, names


def _summed(records: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    summed = records.group_by(keys).agg(
        pl.len().cast(pl.Int64).alias("records"), pl.col("running_micros").sum(), pl.col("draft_micros").sum()
    )
    return summed.with_columns(difference_micros=pl.col("draft_micros") - pl.col("running_micros"))


def _segment(cube: pl.DataFrame, segment: str, running: Catalogue, draft: Catalogue) -> pl.DataFrame:
    """The sums of one segment by name, the largest difference first."""
    summed = cube.group_by(segment).agg(pl.col("records", *SIDES).sum())
    if segment == "kind":
        names = pl.Series([Kind(kind).name.lower() for kind in summed["kind"]], dtype=pl.String)
    else:
        names = pl.Series(_shared_names(segment, running, draft)[2], dtype=pl.String).gather(summed[segment])
    told = summed.select(pl.lit(segment).alias("segment"), names.alias("name"), "records", *SIDES)
    return told.sort(pl.col("difference_micros").abs(), "records", "name", descending=[True, True, False])


def _bands(subscribers: pl.DataFrame) -> pl.DataFrame:
    """How many subscribers lie in each band, and the money between both sides there."""
    between = pl.col("difference_micros")
    middle = len(BANDS) // 2
    step = pl.sum_horizontal((between.abs() > edge).cast(pl.Int32) for edge in EDGES_MICROS)
    summed = subscribers.group_by((middle + between.sign() * step).cast(pl.Int64).alias("at")).agg(
        pl.len().cast(pl.Int64).alias("subscribers"), between.sum()
    )
    every = pl.DataFrame({"at": np.arange(len(BANDS), dtype=np.int64), "band": BANDS})
    return every.join(summed, on="at", how="left", maintain_order="left").select(
        "band", pl.col("subscribers", "difference_micros").fill_null(0)
    )
