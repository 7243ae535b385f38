"""Re-ratings as orders: one account's corrections in one row, which the bucket of the account books or leaves.

Where history is charged once more in one place and accounts are kept in another, what a preview found travels. Each
order says how its account stood; whoever keeps the account books all of it, or nothing when the account has moved.
"""

from __future__ import annotations

import polars as pl

from trunkline.charging.corrections import correct
from trunkline.charging.rerating import guards
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.outcomes import Reason
from trunkline.records.charging import (
    CORRECTIONS,
    NEVER_S,
    ORDERED_CORRECTION,
    REFUSED,
    RERATES,
    Cause,
)
from trunkline.records.withdrawals import RERATED

RERATING_REASONS = (
    Reason("other_tariff", "It was previewed under another tariff than is in force. Preview it again."),
    Reason("moved_since", "The account moved since the preview. Preview it again."),
)


def orders_of(corrections: pl.DataFrame, accounts: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Orders (`RERATES`) to book corrections (`CORRECTIONS`); `accounts` tell how each account stands (`guard`)."""
    each = [
        pl.col(name).cast(pl.String) if dtype == pl.String else pl.col(name)
        for name, dtype in ORDERED_CORRECTION.to_schema().items()
    ]
    rows = (
        corrections.sort("corrects_seq")
        .group_by("movement_id", maintain_order=True)
        .agg(
            pl.first("subscriber", "time_us", "correction_id"),
            -pl.col("charged_micros").sum().alias("amount"),
            pl.struct(each).alias("corrections"),
        )
        .join(accounts.select("movement_id", "guard"), on="movement_id", maintain_order="left")
    )
    return RERATES.record.conform(
        rows.with_columns(
            pl.lit(int(Cause.CORRECTION)).alias("cause"),
            pl.lit(catalogue.balances[catalogue.main_balance]).alias("balance"),
            pl.lit(NEVER_S).alias("valid_until_s"),
            pl.lit(catalogue.fingerprint).alias("tariff"),
        )
    )


def corrections_of(orders: pl.DataFrame) -> pl.DataFrame:
    """The corrections (`CORRECTIONS`) that orders (`RERATES`) are made of; `seq` is not given."""
    rows = (
        orders.select("correction_id", "movement_id", "subscriber", "time_us", "corrections")
        .explode("corrections")
        .unnest("corrections")
    )
    return CORRECTIONS.record.conform(rows)


def book(orders: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Book orders (`RERATES`) in their order: corrections, entries, watched changes, refusals, which accounts were
    re-rated, and the accounts.
    """
    judged = _judged(orders, accounts, catalogue)
    fit = judged.filter(pl.col("reason") == "")
    rows = corrections_of(fit).with_columns(seq=fit.get_column("seqs").explode())
    outcome = correct(rows, accounts, catalogue)
    left = judged.filter(pl.col("reason") != "")
    rerated = RERATED.record.conform(fit.with_columns(pl.col("seqs").list.last().alias("seq")))
    return Outcome((rows, *outcome.rows, REFUSED.record.conform(left), rerated), outcome.state)


def _judged(orders: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> pl.DataFrame:
    """Orders with the `reason` why not; of several orders for one account that still fits the first one moves it."""
    stands = ((pl.col("guard") == pl.col("stands")) & (pl.col("corrections").list.len() > 0)).fill_null(
        value=False
    )
    other = (pl.col("tariff") != catalogue.fingerprint).fill_null(value=True)
    fits = stands & ~other
    return orders.join(
        guards(accounts).rename({"guard": "stands"}), on="subscriber", how="left", maintain_order="left"
    ).with_columns(
        pl.when(other)
        .then(pl.lit("other_tariff"))
        .when(~fits | (fits.cum_sum().over("subscriber") > 1))
        .then(pl.lit("moved_since"))
        .otherwise(pl.lit(""))
        .alias("reason")
    )
