"""Comparing what was charged with what the raw records say should have been charged, cause by cause.

Both sides are charged usage; one is what the store holds, the other was worked out anew from the raw records. Every
difference has exactly one cause, the first that applies in the order of `CAUSES`, and an amount to the micro-unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from trunkline.kernel.outcomes import Reason

CAUSES = (
    Reason("missing", "The raw records hold it, the store does not: it was never charged."),
    Reason("duplicate", "The store holds it more than once."),
    Reason("unexpected", "The store holds it, the raw records do not (or their retention is over)."),
    Reason(
        "tariff_version", "It was charged by another version of its plan than is in force for its time now."
    ),
    Reason("late", "It arrived after a later period had begun and was charged to another period."),
    Reason("rounding", "Both sides differ by less than the smallest amount a rate is rounded to."),
    Reason("amount", "Both sides differ for none of the other causes: look at the tariff and the balances."),
)

ROUNDING_BELOW_MICROS = 10_000  # a hundredth of the currency's unit, the coarsest usual rounding
KEY = ("identity", "check")
SIDES = ("plan", "list_micros", "charged_micros", "allowance_units", "late")


@dataclass(frozen=True)
class Differences:
    """How many records were compared, the rows that differ with their cause, and the money between both sides."""

    records: int
    rows: pl.DataFrame  # identity, check, seq, source, record_id, cause, difference_micros

    @property
    def count(self) -> int:
        """How many records differ."""
        return len(self.rows)

    @property
    def micros(self) -> int:
        """Stored less recomputed money, over all differences."""
        return int(self.rows["difference_micros"].sum())

    def by_cause(self) -> dict[str, dict[str, int]]:
        """Count and money of each cause, in the order of `CAUSES`; causes without a difference stand at zero."""
        found = {
            row["cause"]: row
            for row in self.rows.group_by("cause")
            .agg(pl.len().alias("count"), pl.col("difference_micros").sum())
            .iter_rows(named=True)
        }
        return {
            cause.name: {
                "count": found.get(cause.name, {}).get("count", 0),
                "difference_micros": found.get(cause.name, {}).get("difference_micros", 0),
            }
            for cause in CAUSES
        }


def compare(stored: pl.DataFrame, recomputed: pl.DataFrame) -> Differences:
    """Differences between stored and recomputed charged usage (both with `KEY`, `SIDES`, seq, source, record_id)."""
    is_first = pl.struct(KEY).is_first_distinct()
    first, copies = stored.filter(is_first), stored.filter(~is_first)
    both = recomputed.join(first, on=KEY, how="full", suffix="_stored", coalesce=True)
    judged = both.with_columns(
        cause=_cause(),
        difference_micros=pl.col("charged_micros_stored").fill_null(0)
        - pl.col("charged_micros").fill_null(0),
        seq=pl.coalesce("seq_stored", "seq"),
        source=pl.coalesce(pl.col("source_stored").cast(pl.String), pl.col("source").cast(pl.String)),
        record_id=pl.coalesce("record_id_stored", "record_id"),
    ).filter(pl.col("cause").is_not_null())
    names = (*KEY, "seq", "source", "record_id", "cause", "difference_micros")
    twice = copies.with_columns(
        pl.col("source").cast(pl.String),
        cause=pl.lit("duplicate"),
        difference_micros=pl.col("charged_micros"),
    )
    rows = pl.concat([judged.select(names), twice.select(names)]).sort("seq", nulls_last=True)
    return Differences(len(both), rows)


def _cause() -> pl.Expr:
    """The first cause that applies; null where both sides agree."""
    money = pl.col("charged_micros_stored") - pl.col("charged_micros")
    same = (
        (money == 0)
        & (pl.col("list_micros_stored") == pl.col("list_micros"))
        & (pl.col("allowance_units_stored") == pl.col("allowance_units"))
    )
    return (
        pl.when(pl.col("charged_micros_stored").is_null())
        .then(pl.lit("missing"))
        .when(pl.col("charged_micros").is_null())
        .then(pl.lit("unexpected"))
        .when(same)
        .then(pl.lit(None, dtype=pl.String))
        .when(pl.col("plan_stored").cast(pl.String) != pl.col("plan").cast(pl.String))
        .then(pl.lit("tariff_version"))
        .when(pl.col("late_stored") | pl.col("late"))
        .then(pl.lit("late"))
        .when(
            (pl.col("allowance_units_stored") == pl.col("allowance_units"))
            & (money.abs() < ROUNDING_BELOW_MICROS)
        )
        .then(pl.lit("rounding"))
        .otherwise(pl.lit("amount"))
    )
