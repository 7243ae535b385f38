"""What a bill charges before anything is taken off: fees, and what the ledger took for usage.

Usage comes from the ledger's own entries on the main balance, so that a line of usage is a sum of entries and can be
checked against them; the record of charged usage with the same arrival number says what it was for.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from trunkline.charging.bills.cycles import Cycles, local_days
from trunkline.charging.bills.shares import share
from trunkline.charging.corrections import is_reversal
from trunkline.charging.tariffs.bill_rules import BillRules, ProRata
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import vectors
from trunkline.records.bills import LINE, Charge, Section
from trunkline.records.charging import Cause, Unit

KEY = "subscriber"
DAY_US = 86_400_000_000
PAID = [
    int(cause) for cause in (Cause.TOPUP, Cause.VOUCHER, Cause.TRANSFER)
]  # what came in, less what was handed on
LINE_SCHEMA = LINE.to_schema()
# What of the ledger stands on a bill as it was booked; the bill adds the rest.
ON_BILLS = [
    int(cause)
    for cause in (Cause.USAGE, Cause.ADJUSTMENT, Cause.REFUND, Cause.CORRECTION, Cause.TRANSFER_FEE)
]


def as_lines(frame: pl.DataFrame, section: Section, **more: pl.Expr) -> pl.DataFrame:
    """Rows as lines of a bill, in the shape of `LINE` behind the subscriber; what they lack is nothing or zero."""
    frame = frame.with_columns(**more) if more else frame
    known = {*frame.columns, "section"}
    return frame.with_columns(section=pl.lit(int(section), pl.UInt8)).select(
        KEY,
        *(
            (pl.col(name) if name in known else pl.lit("" if dtype == pl.String else 0))
            .cast(dtype)
            .alias(name)
            for name, dtype in LINE_SCHEMA.items()
        ),
    )


def within(time: str) -> pl.Expr:
    """Whether a row of the ledger belongs on the bill: before its end, and not held by the bill before."""
    before = (pl.col(time) < pl.col("after_us")) & (pl.col("seq") < pl.col("after_seq"))
    return (pl.col(time) < pl.col("until_us")) & (pl.col("seq") < pl.col("cut_seq")) & ~before


def main_entries(entries: pl.DataFrame, terms: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Entries of the main balance that belong on the bills: `subscriber, seq, cause, time_us, taken`.

    `taken` is what an entry took from the subscriber, negative for what it gave. A `bill_id` in `terms` comes along.
    """
    main = catalogue.balances[catalogue.main_balance]
    given = pl.col("credit").cast(pl.String) == "balance"
    return (
        entries.filter((pl.col("unit") == int(Unit.MONEY)) & (pl.col("balance").cast(pl.String) == main))
        .join(terms.select(KEY, "^bill_id$", "until_us", "cut_seq", "after_us", "after_seq"), on=KEY)
        .filter(within("time_us"))
        .select(
            KEY,
            "^bill_id$",
            "seq",
            "cause",
            "time_us",
            pl.when(given).then(-pl.col("amount")).otherwise("amount").alias("taken"),
        )
    )


def usage_lines(
    usage: pl.DataFrame, entries: pl.DataFrame, terms: pl.DataFrame, catalogue: Catalogue
) -> pl.DataFrame:
    """Usage by kind, place, destination and, of an earlier period, day; with `zone`, `era` for taxes, `too_late`."""
    taken = (
        entries.filter(pl.col("cause") == int(Cause.USAGE)).group_by(KEY, "seq").agg(pl.col("taken").sum())
    )
    rows = (
        usage.join(
            terms.select(
                KEY, "from_us", "until_us", "cut_seq", "after_us", "after_seq", pl.col("zone").alias("lives")
            ),
            on=KEY,
        )
        .filter(within("start_us"))
        .join(taken, on=(KEY, "seq"), how="left")
        .with_columns(pl.col("taken").fill_null(0))
    )
    assert int(rows["taken"].sum()) == int(taken["taken"].sum()), "an entry for usage has no usage"
    rules = catalogue.bills
    zone = zones_of(rows["visited_plmn"].to_numpy(), catalogue)
    names = pl.Series(["not priced", *catalogue.zones])
    rows = rows.with_columns(
        zone=pl.Series(zone),
        place=names.gather(zone + 1),
        era=pl.Series(eras_of(rows["start_us"].to_numpy(), catalogue.bills)),
        earlier=pl.col("start_us") < pl.col("from_us"),
        too_late=pl.lit(rules.late_days > 0)
        & (pl.col("start_us") < pl.col("from_us") - rules.late_days * DAY_US),
    )
    days = local_days(vectors(catalogue).t, rows["lives"].to_numpy(), rows["start_us"].to_numpy())
    rows = rows.with_columns(
        day=pl.when("earlier").then(pl.Series(days, dtype=pl.Int32)).otherwise(0).cast(pl.Int32)
    )
    summed = rows.group_by(
        KEY,
        pl.col("kind").alias("charge"),
        "zone",
        "place",
        "era",
        "earlier",
        "too_late",
        "day",
        pl.col("destination").alias("name"),
    ).agg(
        pl.len().alias("uses"),
        pl.col("units").sum(),
        pl.col("allowance_units").sum(),
        (pl.col("charged_micros").sum() - pl.col("taken").sum()).alias("other_micros"),
        pl.col("taken").sum().alias("amount_micros"),
    )
    lines = as_lines(summed, Section.USAGE, name=pl.col("name").cast(pl.String).fill_null(""))
    return lines.with_columns(summed["zone"], summed["era"], summed["too_late"])


def waived(used: pl.DataFrame) -> pl.DataFrame:
    """What is not asked for because it came too late: lines that give back what the ledger took for it."""
    given_back = (
        used.filter(pl.col("too_late") & (pl.col("amount_micros") != 0))
        .group_by(KEY, "charge")
        .agg(pl.col("uses").sum(), pl.col("amount_micros").sum())
    )
    return as_lines(
        given_back,
        Section.LATE,
        base_micros=pl.col("amount_micros"),
        amount_micros=-pl.col("amount_micros"),
    )


def zones_of(plmn: np.ndarray, catalogue: Catalogue) -> np.ndarray:
    """Roaming zone of visited networks, 0 at home, as rating finds it: its own entry, its country's, the default."""
    t = catalogue.tables
    found = np.full(len(plmn), t.plmn_default, np.int64)
    country = np.where(plmn < 100_000, plmn // 100, plmn // 1000)
    for known, numbers, wanted in ((t.mcc, t.mcc_zone, country), (t.plmn, t.plmn_zone, plmn)):
        if len(known):
            at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            found = np.where(known[at] == wanted, numbers[at], found)
    return np.where(plmn == 0, 0, found)


def eras_of(us: np.ndarray, rules: BillRules) -> np.ndarray:
    """Between which two changes of taxes moments lie: how many changes were before or at them."""
    return np.searchsorted(np.array(rules.tax_moments_us, np.int64), us, side="right").astype(np.int64)


def fee_lines(cycles: Cycles, rules: BillRules) -> pl.DataFrame:
    """Recurring fees of the plan versions that were in force, and one-off fees of the plans that began."""
    fees = pl.DataFrame(
        [
            (at, fee.name, fee.amount_micros, fee.once, int(fee.pro_rata))
            for at, each in enumerate(rules.terms)
            for fee in each.fees
        ],
        schema={"terms": pl.Int64, "name": pl.String, "base_micros": pl.Int64, "once": pl.Boolean}
        | {"pro_rata": pl.Int64},
        orient="row",
    )  # fmt: skip
    monthly = (
        cycles.segments.join(fees.filter(~pl.col("once")), on="terms")
        .filter((pl.col("pro_rata") == int(ProRata.DAY)) | pl.col("last"))
        .join(cycles.terms.select(KEY, "of_days"), on=KEY)
    )
    by_day = pl.col("pro_rata") == int(ProRata.DAY)
    part = share(pl.col("base_micros"), pl.col("days"), pl.col("of_days"), rules.mode, rules.line_decimals)
    whole = pl.col("days") == pl.col("of_days")
    monthly = monthly.with_columns(
        pl.when(by_day & ~whole).then(part).otherwise("base_micros").alias("amount_micros"),
        pl.when(by_day).then("days").otherwise(0).alias("days"),
        pl.when(by_day).then("of_days").otherwise(0).alias("of_days"),
        pl.lit(int(Charge.RECURRING)).alias("charge"),
    )
    once = cycles.begun.join(fees.filter("once"), on="terms").with_columns(
        pl.col("base_micros").alias("amount_micros"), pl.lit(int(Charge.ONE_OFF)).alias("charge")
    )
    return pl.concat([as_lines(monthly, Section.RECURRING), as_lines(once, Section.ONE_OFF)])


def ledger_lines(entries: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    """What the ledger booked on the main balance besides usage: what it took, less than zero when it gave.

    What was taken back (`CORRECTIONS`) has a line for each record, which names it; re-ratings share one.
    """
    taken_back = corrections.filter(is_reversal()).select(
        "seq", pl.concat_str(pl.col("source").cast(pl.String), pl.lit(" "), "record_id").alias("name")
    )
    named = entries.join(taken_back, on="seq", how="left").with_columns(pl.col("name").fill_null(""))
    parts = [
        as_lines(
            named.filter(pl.col("cause") == int(cause))
            .group_by(KEY, "name")
            .agg(pl.len().alias("uses"), pl.col("taken").sum().alias("amount_micros")),
            section,
        )
        for cause, section in (
            (Cause.ADJUSTMENT, Section.ADJUSTMENT),
            (Cause.REFUND, Section.REFUND),
            (Cause.CORRECTION, Section.CORRECTION),
            (Cause.TRANSFER_FEE, Section.TRANSFER_FEE),
        )
    ]
    return pl.concat(parts)
