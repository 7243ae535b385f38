"""The bill: out of accounts, usage and the ledger, one row an account with all its lines.

A pure function of columns: the same question at the same moment of the ledger gives the same bill, whether it is asked
for one account as a preview or for a million at the end of a period. Amounts are micro-units; a total is whole in the
currency's smallest coin, and what that rounding makes is a line of its own.
"""

from __future__ import annotations

from hashlib import blake2b

import polars as pl

from trunkline.charging.bills.charges import (
    KEY,
    LINE_SCHEMA,
    ON_BILLS,
    PAID,
    as_lines,
    eras_of,
    fee_lines,
    ledger_lines,
    main_entries,
    usage_lines,
    waived,
)
from trunkline.charging.bills.cycles import Cycles
from trunkline.charging.bills.payable import payable
from trunkline.charging.bills.reductions import GROUP, capped, discounted, raised
from trunkline.charging.bills.shares import rounded
from trunkline.charging.bills.taxes import tax_lines
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.records.bills import BILLS, LINE, Section
from trunkline.records.charging import CORRECTIONS

DAY_US = 86_400_000_000
_LEDGER = [
    int(section)
    for section in (
        Section.USAGE, Section.ADJUSTMENT, Section.REFUND, Section.CORRECTION, Section.TRANSFER_FEE,
    )
]  # fmt: skip
USAGE_COLUMNS = (
    "seq", "subscriber", "kind", "start_us", "units", "allowance_units", "visited_plmn", "destination",
    "charged_micros",
)  # fmt: skip
ENTRY_COLUMNS = ("seq", "subscriber", "time_us", "cause", "unit", "credit", "amount", "balance")


def bills(
    cycles: Cycles,
    usage: pl.DataFrame,
    entries: pl.DataFrame,
    catalogue: Catalogue,
    period: int,
    cut_seq: int,
    issued_us: int,
    key: bytes,
    corrections: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Bills (`records.bills.BILLS`, `seq` not yet given) of all accounts in `cycles`.

    `usage` (`CHARGED`) and `entries` (`ENTRIES`) hold at least these accounts' rows with `seq` below `cut_seq`; what
    belongs on no bill of this period is passed over. `corrections` (`CORRECTIONS`) name what was taken back. `key`
    keeps people from guessing a bill's name from a number. Every currency that is needed has a rate (`missing_rates`).
    """
    rules = catalogue.bills
    terms = cycles.terms.with_columns(pl.lit(cut_seq, pl.Int64).alias("cut_seq"))
    entries = main_entries(entries.select(ENTRY_COLUMNS), terms, catalogue)
    era = terms.select(KEY).with_columns(era=pl.Series(eras_of((terms["until_us"] - 1).to_numpy(), rules)))
    used = usage_lines(usage.select(USAGE_COLUMNS), entries, terms, catalogue)
    fees = fee_lines(cycles, rules)
    zoned = fees.join(era, on=KEY).with_columns(pl.lit(0, pl.Int64).alias("zone"))
    asked = used.filter(~pl.col("too_late"))
    left = (
        pl.concat([part.select(*GROUP, "amount_micros") for part in (zoned, asked)])
        .group_by(GROUP)
        .agg(pl.col("amount_micros").sum().alias("left"))
        .sort(GROUP)
    )
    left, reductions = discounted(left, used, cycles, rules)
    left, cap = capped(left, terms, rules)
    left, minimum = raised(left, terms, rules, era)
    lines = pl.concat(
        [
            fees,
            used.select(fees.columns),
            waived(used),
            *reductions,
            cap,
            minimum,
            *tax_lines(left, terms, rules),
            ledger_lines(entries, CORRECTIONS.record.empty() if corrections is None else corrections),
        ]
    )
    return _whole(_with_rounding(lines, catalogue), entries, terms, catalogue, period, issued_us, key)


def _with_rounding(lines: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Lines and, where a total is not whole in the smallest coin, what makes it so."""
    rules = catalogue.bills
    whole = rounded(pl.col("total"), rules.mode, rules.decimals)
    odd = (
        lines.group_by(KEY)
        .agg(pl.col("amount_micros").sum().alias("total"))
        .select(KEY, pl.col("total").alias("base_micros"), (whole - pl.col("total")).alias("amount_micros"))
        .filter(pl.col("amount_micros") != 0)
    )
    return pl.concat([lines, as_lines(odd, Section.ROUNDING)])


def _whole(
    lines: pl.DataFrame,
    entries: pl.DataFrame,
    terms: pl.DataFrame,
    catalogue: Catalogue,
    period: int,
    issued_us: int,
    key: bytes,
) -> pl.DataFrame:
    """One row a bill, its lines within it; asserts that lines, totals and the ledger agree."""
    of_ledger = pl.col("section").is_in(_LEDGER)
    amount = pl.col("amount_micros")
    gathered = (
        lines.sort(
            KEY, "section", "charge", "earlier", "day", "place", "name", "base_micros", "amount_micros"
        )
        .group_by(KEY, maintain_order=True)
        .agg(
            amount.filter(of_ledger).sum().alias("ledger_micros"),
            amount.filter(~of_ledger).sum().alias("extra_micros"),
            pl.col("tax_micros").sum(),
            amount.sum().alias("total_micros"),
            pl.struct(pl.col(name) for name in LINE_SCHEMA).alias("lines"),
        )
    )
    paid = (
        entries.filter(pl.col("cause").is_in(PAID))
        .group_by(KEY)
        .agg((-pl.col("taken").sum()).alias("paid_micros"))
    )
    taken = entries.filter(pl.col("cause").is_in(ON_BILLS)).group_by(KEY).agg(pl.col("taken").sum())
    versions = pl.Series([each.version for each in catalogue.bills.terms] + [""], dtype=pl.String)
    frame = (
        terms.sort(KEY)
        .join(gathered, on=KEY, how="left", maintain_order="left")
        .join(paid, on=KEY, how="left", maintain_order="left")
        .join(taken, on=KEY, how="left", maintain_order="left")
        .with_columns(
            pl.col(
                "ledger_micros", "extra_micros", "tax_micros", "total_micros", "paid_micros", "taken"
            ).fill_null(0),
            pl.col("lines").fill_null(pl.lit([], pl.List(LINE))),
        )
    )
    assert frame["ledger_micros"].equals(frame["taken"].alias("ledger_micros")), (
        "a bill's usage is not the ledger's"
    )
    size = 10 ** (6 - catalogue.bills.decimals)
    assert bool((frame["total_micros"] % size == 0).all()), "a total is not whole in the smallest coin"
    return BILLS.record.conform(
        frame.with_columns(
            bill_id=bill_ids(frame[KEY], period, key),
            period=pl.lit(period, pl.Int32),
            plan=versions.gather(frame["terms"].replace(-1, len(versions) - 1)),
            currency=pl.lit(catalogue.currency),
            issued_us=pl.lit(issued_us, pl.Int64),
            due_us=pl.col("until_us") + catalogue.bills.due_days * DAY_US,
            payable=payable(frame, catalogue),
        )
    )


def bill_ids(subscribers: pl.Series, period: int, key: bytes) -> pl.Series:
    """Names of bills, such as `202611-1f0c…`: made from account and period, so that the same bill has the same name."""
    begin = period.to_bytes(4, "big")
    names = [
        f"{period}-{blake2b(begin + word.to_bytes(8, 'big'), digest_size=10, key=key).hexdigest()}"
        for word in subscribers.to_list()
    ]
    return pl.Series(names, dtype=pl.String)
