"""Whether the sum of bills equals the ledger: each bill worked out once more from the entries, to the micro-unit.

Bills are checked against what the ledger holds now, not against what it held when they were made: an entry that was
lost, changed or booked twice since then shows, and so does a bill whose own movement is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from trunkline.charging.bills.charges import KEY, ON_BILLS, main_entries
from trunkline.charging.bills.payable import CURRENCIES, added, by_currency, worth
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.records.charging import Cause

DIFFERENCES = pl.Schema(
    {"bill_id": pl.String, "what": pl.String, "bill_micros": pl.Int64, "ledger_micros": pl.Int64}
)


@dataclass(frozen=True)
class Checked:
    """What one check found."""

    bills: int
    bill_micros: int  # sum of the bills' totals
    ledger_micros: int  # what the ledger says of the same stretch, and of the bills' own movements
    differences: pl.DataFrame  # DIFFERENCES: a row for each bill and what of it differs
    currencies: pl.DataFrame  # CURRENCIES: the same sums by the currency that bills are to be paid in

    def with_part(self, part: Checked) -> Checked:
        """What this check and one of other bills found together."""
        return Checked(
            self.bills + part.bills,
            self.bill_micros + part.bill_micros,
            self.ledger_micros + part.ledger_micros,
            pl.concat([self.differences, part.differences]),
            added(pl.concat([self.currencies, part.currencies])),
        )


NOTHING_CHECKED = Checked(0, 0, 0, pl.DataFrame(schema=DIFFERENCES), pl.DataFrame(schema=CURRENCIES))


def check(bills: pl.DataFrame, entries: pl.DataFrame, catalogue: Catalogue) -> Checked:
    """Compare bills (`BILLS`) with the entries (`ENTRIES`) of their subscribers.

    What a bill booked is found by its moment, the end of the period, which no two bills of an account share: so an
    entry that stands there twice is found, too.
    """
    anew = (
        main_entries(entries, bills, catalogue)
        .filter(pl.col("cause").is_in(ON_BILLS))
        .group_by("bill_id")
        .agg(pl.col("taken").sum().alias("usage_anew"))
    )
    given = pl.col("credit").cast(pl.String) == "balance"
    booked = (
        entries.filter(pl.col("cause") == int(Cause.BILL))
        .group_by(KEY, pl.col("time_us").alias("until_us"))
        .agg(pl.when(given).then(-pl.col("amount")).otherwise("amount").sum().alias("extra_anew"))
    )
    lines = bills.select("bill_id", "lines").explode("lines").select(
        "bill_id", pl.col("lines").struct.field("amount_micros").alias("lines_anew")
    )  # fmt: skip
    rows = (
        bills.drop("lines")
        .join(anew, on="bill_id", how="left")
        .join(booked, on=(KEY, "until_us"), how="left")
        .join(lines.group_by("bill_id").agg(pl.col("lines_anew").sum()), on="bill_id", how="left")
        .with_columns(pl.col("usage_anew", "extra_anew", "lines_anew").fill_null(0))
    )
    rows = rows.with_columns(
        payable_told=pl.col("payable").struct.field("micros"), payable_anew=_payable_anew(rows)
    )
    compared = (
        ("what the ledger took", "ledger_micros", "usage_anew"),
        ("what the bill booked", "extra_micros", "extra_anew"),
        ("the sum of its lines", "total_micros", "lines_anew"),
        ("the total by its rate", "payable_told", "payable_anew"),
    )
    differences = [
        rows.filter(pl.col(told) != pl.col(found)).select(
            "bill_id",
            pl.lit(what).alias("what"),
            pl.col(told).alias("bill_micros"),
            pl.col(found).alias("ledger_micros"),
        )
        for what, told, found in compared
    ]
    return Checked(
        len(rows),
        int(rows["total_micros"].sum()),
        int(rows["usage_anew"].sum()) + int(rows["extra_anew"].sum()),
        pl.concat([pl.DataFrame(schema=DIFFERENCES), *differences]),
        by_currency(rows, pl.col("usage_anew") + pl.col("extra_anew")),
    )


def _payable_anew(bills: pl.DataFrame) -> pl.Series:
    """What totals come to in the currency that they are to be paid in, by the rate that each bill keeps."""
    rates = bills["payable"].to_list() if bills["payable"].null_count() < len(bills) else [None] * len(bills)
    anew = [rate and worth(total, rate) for total, rate in zip(bills["total_micros"], rates, strict=True)]
    return pl.Series(anew, dtype=pl.Int64)
