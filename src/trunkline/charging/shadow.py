"""Shadow run: what another system charged, held record by record against what was charged here, difference by cause.

Both sides are rows with the record's identity and money. Every difference has exactly one cause, the first that applies
in the order of `CAUSES`, and an amount to the micro-unit: what is charged here less what is charged there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from trunkline.kernel.outcomes import Reason
from trunkline.records.usage import Kind, Report

CAUSES = (
    Reason("duplicate_there", "The other system charged the record more than once; this is a copy."),
    Reason("missing_here", "It is not charged here; the detail says why, as far as it is known."),
    Reason("missing_there", "The other system did not charge it."),
    Reason("currency", "The other system charged it in another currency; its amount is not compared."),
    Reason("subscriber", "Another subscriber pays for it."),
    Reason("quantity", "The two sides count another duration, volume or number of events."),
    Reason("time", "It began at another time, so another day, band or version may have priced it."),
    Reason("allowance", "An allowance covered all or some of it here."),
    Reason("late", "It arrived here after a later period had begun."),
    Reason("rounding", "The amounts are at most one smallest unit of the currency apart."),
    Reason(
        "tariff", "None of these: the two sides have another price for it. The tariff's lines are listed."
    ),
)
WHY_MISSING = (
    Reason("held", "It waits here for a person: its identity was used by a record that says something else."),
    Reason("settled", "It was rejected here, and a person has closed it."),
    Reason("other_time", "It was handed in here and is charged at another time, or not yet."),
    Reason("no_trace", "It was never handed in here, or could not be read: look at the rejects."),
)
KEY = ("identity", "check")
MONEY = ("here_micros", "there_micros", "difference_micros")
MILLION = 1_000_000
CLOCK_US = 1_000_000  # systems that write whole seconds are no other time ...
CLOCK_MS = 1_000  # ... and no other duration


@dataclass(frozen=True)
class Gate:
    """What must hold before the other system is switched off; shares are millionths."""

    equal_least: int  # of all records, those whose money is equal
    money_most: int  # of the other system's money, the sum of differences without their signs


@dataclass(frozen=True)
class Shadow:
    """Every record of both sides, and what is worked out of them."""

    records: (
        pl.DataFrame
    )  # source, record_id, day_us, subscriber, period, plan, destination, cause, detail, *MONEY

    @property
    def differing(self) -> pl.DataFrame:
        """The records with a cause, the largest difference first."""
        return self.records.filter(pl.col("cause").is_not_null()).sort(
            pl.col("difference_micros").abs(), "source", "record_id", descending=[True, False, False]
        )

    def counts(self) -> dict[str, int]:
        """How many records there are, and what became of them; `all` is the sum of the others."""
        cause = self.records["cause"]
        found = {
            name: int((cause == name).sum()) for name in ("missing_here", "missing_there", "duplicate_there")
        }
        equal = int(cause.is_null().sum())
        return {
            "all": len(cause),
            "equal": equal,
            "differing": len(cause) - equal - sum(found.values()),
            **found,
        }

    def money(self) -> dict[str, int]:
        """Sums of both sides, of their difference, and of differences without their signs."""
        sums = {name: int(self.records[name].sum()) for name in MONEY}
        return sums | {"absolute_micros": int(self.records["difference_micros"].abs().sum())}

    def by_cause(self) -> pl.DataFrame:
        """Records and money of each cause and detail, in the order of `CAUSES`."""
        order = pl.Enum([cause.name for cause in CAUSES])
        return (
            _summed(self.records.filter(pl.col("cause").is_not_null()), "cause", "detail")
            .sort(pl.col("cause").cast(order), "records", "detail", descending=[False, True, False])
        )  # fmt: skip

    def by_line(self) -> pl.DataFrame:
        """Where prices differ: plans and destinations, the largest difference first."""
        priced = self.records.filter(pl.col("cause").is_in(["tariff", "rounding"]))
        return _summed(priced, "plan", "destination", "cause").sort(
            pl.col("difference_micros").abs(), "plan", "destination", descending=[True, False, False]
        )

    def by_day(self) -> pl.DataFrame:
        """The trend: records, equal ones and money of each day of UTC."""
        return (
            self.records.group_by("day_us")
            .agg(
                pl.len().cast(pl.Int64).alias("records"),
                pl.col("cause").is_null().sum().cast(pl.Int64).alias("equal"),
                pl.col(*MONEY).sum(),
                pl.col("difference_micros").abs().sum().alias("absolute_micros"),
            )
            .sort("day_us")
        )

    def by_subscriber(self) -> pl.DataFrame:
        """What would stand on each bill: sums by subscriber and month of UTC, the largest difference first."""
        return _summed(self.records, "subscriber", "period").sort(
            pl.col("difference_micros").abs(), "subscriber", "period", descending=[True, False, False]
        )

    def judged(self, gate: Gate) -> dict[str, Any]:
        """Whether the other system may be switched off, and by how much not; shares are millionths, rounded down."""
        counts, money = self.counts(), self.money()
        equal = counts["equal"] * MILLION // max(1, counts["all"])
        owed = max(1, money["there_micros"])
        apart = -(-money["absolute_micros"] * MILLION // owed)  # rounded up: nothing is made to look better
        passes = {"equal": equal >= gate.equal_least, "money": apart <= gate.money_most}
        return {
            "equal_millionths": equal,
            "equal_least_millionths": gate.equal_least,
            "money_millionths": apart,
            "money_most_millionths": gate.money_most,
            "passes": counts["all"] > 0 and all(passes.values()),
            "failed": [name for name, good in passes.items() if not good],
        }


def compare(
    there: pl.DataFrame,
    here: pl.DataFrame,
    why: pl.DataFrame,
    currency: str,
    smallest_micros: int,
    from_us: int,
    until_us: int,
) -> Shadow:
    """Hold another system's rated usage against charged usage, over what began within a stretch of time.

    `there` is decoded usage whose `amount_micros` is what was charged; `here` is charged usage (`CHARGED`), read with
    room to spare on both sides of the period; `why` says of identities why they are not charged here (KEY, `detail`).
    A record's time is ours, else theirs.
    """
    is_first = pl.struct(KEY).is_first_distinct()
    theirs, ours = _theirs(there, currency), _ours(here)
    both = theirs.filter(is_first).join(ours, on=KEY, how="full", suffix="_here", coalesce=True)
    both = both.join(why.unique(KEY, keep="first"), on=KEY, how="left")
    matched = both.with_columns(
        cause=_cause(smallest_micros),
        detail=pl.when(pl.col("start_us_here").is_null()).then(pl.col("detail").fill_null("no_trace")),
    )
    copies = theirs.filter(~is_first).with_columns(
        cause=pl.lit("duplicate_there"),
        **{f"{name}_here": pl.lit(None, theirs.schema[name]) for name in _BOTH},
        **{name: pl.lit(None, ours.schema[name]) for name in _ONLY_OURS},
        detail=pl.lit(None, pl.String),
    )
    rows = pl.concat([_row(matched), _row(copies)])
    within = (pl.col("start_us") >= from_us) & (pl.col("start_us") < until_us)
    return Shadow(rows.filter(within).drop("start_us"))


_BOTH = ("source", "record_id", "subscriber", "kind", "report", "start_us", "units")
_ONLY_OURS = ("plan", "destination", "here_micros", "allowance_units", "late")


def _theirs(there: pl.DataFrame, currency: str) -> pl.DataFrame:
    units = (
        pl.when(pl.col("kind") == int(Kind.VOICE)).then(pl.col("duration_ms"))
        .when(pl.col("kind") == int(Kind.DATA)).then(pl.col("octets_up") + pl.col("octets_down"))
        .otherwise(pl.col("events"))
    )  # fmt: skip
    foreign = pl.col("currency").is_not_null() & (pl.col("currency").cast(pl.String) != currency)
    return there.select(
        *KEY,
        pl.col("source").cast(pl.String),
        *("record_id", "subscriber", "kind", "report", "start_us"),
        units.alias("units"),
        foreign.alias("foreign"),
        pl.when(foreign).then(0).otherwise(pl.col("amount_micros")).alias("there_micros"),
    )


def _ours(here: pl.DataFrame) -> pl.DataFrame:
    return here.select(
        *KEY,
        pl.col("source").cast(pl.String),
        *("record_id", "subscriber", "kind", "report", "start_us", "units"),
        pl.col("plan", "destination").cast(pl.String),
        pl.col("charged_micros").alias("here_micros"),
        *("allowance_units", "late"),
    )


def _cause(smallest_micros: int) -> pl.Expr:
    """The first cause that applies; null where the money is equal."""
    between = pl.col("here_micros") - pl.col("there_micros")
    # A report of a session counts from the session's beginning there, and what it adds here.
    whole = pl.col("report") == int(Report.NONE)
    apart = (pl.col("units") - pl.col("units_here")).abs()
    voice = pl.col("kind") == int(Kind.VOICE)
    other_quantity = whole & (pl.when(voice).then(apart >= CLOCK_MS).otherwise(apart > 0))
    other_time = whole & ((pl.col("start_us") - pl.col("start_us_here")).abs() >= CLOCK_US)
    return (
        pl.when(pl.col("start_us_here").is_null())
        .then(pl.lit("missing_here"))
        .when(pl.col("start_us").is_null())
        .then(pl.lit("missing_there"))
        .when(pl.col("foreign"))
        .then(pl.lit("currency"))
        .when(between == 0)
        .then(pl.lit(None, dtype=pl.String))
        .when(pl.col("subscriber") != pl.col("subscriber_here"))
        .then(pl.lit("subscriber"))
        .when(other_quantity)
        .then(pl.lit("quantity"))
        .when(other_time)
        .then(pl.lit("time"))
        .when(pl.col("allowance_units") > 0)
        .then(pl.lit("allowance"))
        .when(pl.col("late"))
        .then(pl.lit("late"))
        .when(between.abs() <= smallest_micros)
        .then(pl.lit("rounding"))
        .otherwise(pl.lit("tariff"))
    )


def _row(both: pl.DataFrame) -> pl.DataFrame:
    """A joined row as it is told: the record's name, place in time, cause and money."""
    start = pl.coalesce("start_us_here", "start_us")
    day_us = 86_400 * MILLION
    here, there = pl.col("here_micros").fill_null(0), pl.col("there_micros").fill_null(0)
    return both.select(
        pl.coalesce("source_here", "source").alias("source"),
        pl.coalesce("record_id_here", "record_id").alias("record_id"),
        start.alias("start_us"),
        (start // day_us * day_us).alias("day_us"),
        pl.coalesce("subscriber_here", "subscriber").alias("subscriber"),
        pl.from_epoch(start, "us").dt.strftime("%Y-%m").alias("period"),
        pl.col("plan").fill_null(""),
        pl.col("destination").fill_null(""),
        "cause",
        pl.col("detail").fill_null(""),
        here.alias("here_micros"),
        there.alias("there_micros"),
        (here - there).alias("difference_micros"),
    )


def _summed(records: pl.DataFrame, *keys: str) -> pl.DataFrame:
    return records.group_by(keys).agg(pl.len().cast(pl.Int64).alias("records"), pl.col(*MONEY).sum())
