"""Taxes as lines of a bill: by what was charged, where it happened, where the subscriber lives, and when.

The moment of use decides about usage; everything else counts with the last moment of the period.
"""

from __future__ import annotations

import polars as pl

from trunkline.charging.bills.charges import KEY, as_lines
from trunkline.charging.bills.reductions import USAGE
from trunkline.charging.bills.shares import share
from trunkline.charging.tariffs.bill_rules import FOREVER_US, MILLION, BillRules, Tax
from trunkline.records.bills import Section


def tax_lines(left: pl.DataFrame, terms: pl.DataFrame, rules: BillRules) -> list[pl.DataFrame]:
    """One line a tax and account; a tax that the amounts include adds nothing and is told all the same."""
    found = []
    for tax in rules.taxes:
        base = (
            left.filter(_taxed(tax, rules))
            .join(_living(tax, terms), on=KEY, how="semi")
            .group_by(KEY)
            .agg(pl.col("left").sum().alias("gross"))
            .filter(pl.col("gross") != 0)
        )
        whole = pl.lit(MILLION + (tax.millionths if tax.included else 0), pl.Int64)
        rate = pl.lit(tax.millionths, pl.Int64)
        rows = base.with_columns(
            share(pl.col("gross"), rate, whole, tax.mode, tax.decimals).alias("tax_micros")
        )
        net = pl.col("gross") - pl.col("tax_micros") if tax.included else pl.col("gross")
        found.append(
            as_lines(
                rows,
                Section.TAX,
                name=pl.lit(tax.name),
                base_micros=net,
                millionths=rate,
                amount_micros=pl.lit(0, pl.Int64) if tax.included else pl.col("tax_micros"),
            )
        )
    return found


def _taxed(tax: Tax, rules: BillRules) -> pl.Expr:
    moments = rules.tax_moments_us
    holds = [
        era
        for era in range(len(moments) + 1)
        if tax.from_us <= (moments[era - 1] if era else -FOREVER_US) < tax.until_us
    ]
    wanted = pl.col("charge").is_in([int(charge) for charge in tax.charges]) & pl.col("era").is_in(holds)
    if tax.zones is None:
        return wanted
    return wanted & (~pl.col("charge").is_in(USAGE) | pl.col("zone").is_in(list(tax.zones)))


def _living(tax: Tax, terms: pl.DataFrame) -> pl.DataFrame:
    if tax.time_zones is None:
        return terms.select(KEY)
    return terms.filter(pl.col("zone").is_in(list(tax.time_zones))).select(KEY)
