"""What is taken off charges, and what is added up to a minimum.

Every step leaves behind what each charge still comes to (`left`), by kind, place and time, because taxes are worked out
of that: a discount on calls makes the tax on calls smaller, not the one on fees.
"""

from __future__ import annotations

import polars as pl

from trunkline.charging.bills.charges import KEY, as_lines
from trunkline.charging.bills.cycles import Cycles
from trunkline.charging.bills.shares import share
from trunkline.charging.tariffs.bill_rules import CHARGES, MILLION, BillRules, By, Discount
from trunkline.records.bills import Charge, Section

GROUP = (KEY, "charge", "zone", "era")
USAGE = [int(charge) for charge in CHARGES["usage"]]
FIRST_OF_MINIMUM = [*USAGE, int(Charge.RECURRING)]


def discounted(
    left: pl.DataFrame, used: pl.DataFrame, cycles: Cycles, rules: BillRules
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """Take discounts in the tariff's order, each of what those before left; what is left, and their lines.

    `used` are the lines of usage, whose units a discount may be counted in.
    """
    lines, terms = [], cycles.terms
    for number, discount in enumerate(rules.discounts):
        holders = [at for at, each in enumerate(rules.terms) if number in each.discounts]
        if not holders or left.is_empty():
            continue
        entitled = terms.filter(pl.col("terms").is_in(holders) & (_months() >= discount.after_months))
        if discount.beside:
            others = cycles.beside.filter(pl.col("plan").is_in(discount.beside))
            entitled = entitled.join(others, on=KEY, how="semi")
        mine = pl.col("charge").is_in([int(charge) for charge in discount.charges])
        base = _counted(discount, entitled, left.filter(mine), used, cycles)
        rate = base.select(KEY, _rate(discount).alias("millionths")).filter(pl.col("millionths") > 0)
        off = share(
            pl.col("left"), pl.col("millionths"), pl.lit(MILLION, pl.Int64), rules.mode, rules.line_decimals
        )
        reduced = left.join(rate, on=KEY, how="left", maintain_order="left").with_columns(
            # Rounded up, a discount could be more than what it is taken of.
            pl.when(mine & pl.col("millionths").is_not_null())
            .then(pl.min_horizontal(off, "left"))
            .otherwise(0)
            .alias("off")
        )
        told = (
            reduced.filter(pl.col("off") != 0)
            .group_by(KEY, "charge")
            .agg(
                pl.col("left").sum().alias("base_micros"),
                pl.col("millionths").first(),
                (-pl.col("off").sum()).alias("amount_micros"),
            )
        )
        lines.append(as_lines(told, Section.DISCOUNT, name=pl.lit(discount.name)))
        left = reduced.select(*GROUP, pl.col("left") - pl.col("off"))
    return left, lines


def _counted(
    discount: Discount, entitled: pl.DataFrame, left: pl.DataFrame, used: pl.DataFrame, cycles: Cycles
) -> pl.DataFrame:
    """What the tiers of a discount are counted in, for each account that may have it: `subscriber, base`."""
    if discount.by is By.MONTHS:
        return entitled.select(KEY, _months().cast(pl.Int64).alias("base"))
    if discount.by is By.MEMBERS:
        others = cycles.beside.group_by(KEY).agg(pl.len().cast(pl.Int64).alias("others"))
        return entitled.join(others, on=KEY, how="left").select(
            KEY, (pl.col("others").fill_null(0) + 1).alias("base")
        )
    if discount.by is By.UNITS:
        of = used.filter(pl.col("charge").is_in([int(charge) for charge in discount.charges]))
        summed = of.group_by(KEY).agg(pl.col("units").sum().alias("base"))
    else:
        summed = left.group_by(KEY).agg(pl.col("left").sum().alias("base"))
    return summed.join(entitled, on=KEY, how="semi")


def _months() -> pl.Expr:
    """Whole months from the first subscription to the end of the period, in local dates."""
    since, until = (pl.col(name).cast(pl.Int32).cast(pl.Date) for name in ("since_day", "until_day"))
    months = 12 * (until.dt.year() - since.dt.year()) + until.dt.month().cast(pl.Int32) - since.dt.month()
    return months - (until.dt.day() < since.dt.day()).cast(pl.Int32)


def _rate(discount: Discount) -> pl.Expr:
    """The rate of the highest tier that is reached; it holds for all of the charges."""
    rate = pl.lit(0, pl.Int64)
    for start, millionths in discount.tiers:
        rate = pl.when(pl.col("base") >= start).then(pl.lit(millionths, pl.Int64)).otherwise(rate)
    return rate


def capped(left: pl.DataFrame, terms: pl.DataFrame, rules: BillRules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Waive what usage comes to beyond the plan's cap, off the last charges first; what is left, and the lines."""
    caps = _of_terms(terms, [each.cap_micros for each in rules.terms], "cap").filter(pl.col("cap") >= 0)
    usage = pl.col("charge").is_in(USAGE)
    rows = left.sort(GROUP).join(caps, on=KEY, how="left", maintain_order="left")
    used = pl.when(usage & pl.col("cap").is_not_null()).then("left").otherwise(0)
    kept_before = used.cum_sum().over(KEY) - used
    rows = rows.with_columns((used - (pl.col("cap") - kept_before).clip(0, used)).fill_null(0).alias("off"))
    told = (
        rows.filter(pl.col("off") != 0)
        .group_by(KEY)
        .agg(pl.col("cap").first().alias("base_micros"), (-pl.col("off").sum()).alias("amount_micros"))
    )
    return rows.select(*GROUP, pl.col("left") - pl.col("off")), as_lines(told, Section.CAP)


def raised(
    left: pl.DataFrame, terms: pl.DataFrame, rules: BillRules, era: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Add what usage and recurring fees lack to the plan's minimum; what there is then, and the lines."""
    least = _of_terms(terms, [each.minimum_micros for each in rules.terms], "least").filter(
        pl.col("least") > 0
    )
    there = left.filter(pl.col("charge").is_in(FIRST_OF_MINIMUM)).group_by(KEY).agg(pl.col("left").sum())
    short = (
        least.join(there, on=KEY, how="left")
        .with_columns((pl.col("least") - pl.col("left").fill_null(0)).alias("short"))
        .filter(pl.col("short") > 0)
    )
    more = short.join(era, on=KEY).select(
        KEY,
        pl.lit(int(Charge.MINIMUM), left.schema["charge"]).alias("charge"),
        pl.lit(0, pl.Int64).alias("zone"),
        "era",
        pl.col("short").alias("left"),
    )
    told = short.select(
        KEY,
        pl.lit(int(Charge.MINIMUM)).alias("charge"),
        pl.col("least").alias("base_micros"),
        pl.col("short").alias("amount_micros"),
    )
    return pl.concat([left, more]), as_lines(told, Section.MINIMUM)


def _of_terms(terms: pl.DataFrame, values: list[int], name: str) -> pl.DataFrame:
    """A value of the plan version with which each account's period ended."""
    known = pl.DataFrame(
        {"terms": range(len(values)), name: values}, schema={"terms": pl.Int64, name: pl.Int64}
    )
    return terms.select(KEY, "terms").join(known, on="terms")
