"""Issuing bills: what a bill adds to usage becomes one movement of the ledger, with the bill as its reason.

The movement is named after the bill, and bill and movement become true in one commit: there is never one without the
other, whenever the process dies.
"""

from __future__ import annotations

import polars as pl

from trunkline.charging.movements import post
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import MOVEMENTS, NEVER_S, Cause


def movements_of(bills: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """The movements (`MOVEMENTS`) that bills book; a bill that adds nothing to the ledger books none."""
    return MOVEMENTS.record.conform(
        bills.filter(pl.col("extra_micros") != 0).select(
            "seq",
            (pl.lit("bill:") + pl.col("bill_id")).alias("movement_id"),
            pl.lit(int(Cause.BILL)).alias("cause"),
            "subscriber",
            pl.col("until_us").alias("time_us"),
            pl.lit(catalogue.balances[catalogue.main_balance]).alias("balance"),
            (-pl.col("extra_micros")).alias("amount"),
            pl.lit(NEVER_S).alias("valid_until_s"),
        )
    )


def issue(bills: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> Outcome:
    """Book what bills add: ledger entries, watched changes, and the accounts."""
    booked = post(movements_of(bills, catalogue), accounts, catalogue)
    entries, changes, refused = booked.rows
    assert not len(refused), f"a bill was refused: {refused['reason'][0]}"
    return Outcome((entries, changes), booked.state)
