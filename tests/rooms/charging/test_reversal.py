"""Taking records back, whatever the tariff: to charge and to reverse is to have done nothing."""

from __future__ import annotations

from random import Random
from typing import Any

import polars as pl
from hypothesis import assume, event, given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.rooms.charging.test_rerating import accounts_of, assert_sums
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.charging.corrections import correct, corrected
from trunkline.charging.reversal import reverse
from trunkline.records.charging import CORRECTIONS, Cause, RowKind

FIRST_SEQ = 10**6  # of reversals: behind all usage
Place = tuple[int, int, int, int, int]


def counted(platform: Platform) -> dict[Place, int]:
    """What counters hold, by account, member, counter and bounds; zero left out."""
    names = ("member", "definition", "period", "valid_until_s")
    return {
        (key, *(int(row[name]) for name in names)): int(row["value"])  # type: ignore[misc]
        for key, rows in platform.accounts.items()
        for row in rows
        if row["kind"] == RowKind.COUNTER and row["value"]
    }


def taken_back(
    platform: Platform, seqs: list[int], before: pl.DataFrame | None = None, first_seq: int = FIRST_SEQ
) -> pl.DataFrame:
    """Reverse the charged records of these arrival numbers, in this order, and book it: the corrections.

    `before` are the corrections that were booked already; these have the arrival numbers from `first_seq` on.
    """
    before = CORRECTIONS.record.empty() if before is None else before
    order = pl.DataFrame({"seq": seqs}, schema={"seq": pl.Int64})
    others = corrected(platform.table("charged"), before).join(order, on="seq", how="anti")
    originals = order.join(platform.table("charged"), on="seq", maintain_order="left").with_columns(
        (pl.lit("cancel:") + pl.col("record_id")).alias("correction_id"),
        pl.lit("back").alias("movement_id"),
        pl.lit(0, pl.Int64).alias("time_us"),
    )
    made = reverse(
        originals, platform.table("entries"), before, accounts_of(platform), platform.catalogue, others
    )
    numbers = pl.int_range(first_seq, first_seq + pl.len(), dtype=pl.Int64)
    made = made.with_columns(numbers.alias("seq"))
    outcome = correct(made, accounts_of(platform), platform.catalogue)
    platform.entries.append(outcome.rows[0])
    assert outcome.state is not None
    for key in outcome.state.keys.tolist():
        platform.accounts[key] = outcome.state.rows_of(key).copy()
    return CORRECTIONS.record.conform(made)


@tried(20)
@given(tariffs(), subscribers(), streams(), st.integers(0, 40), st.integers(0, 2**32))
def test_reversing_a_charge_is_the_identity(
    files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use], kept: int, seed: int
) -> None:
    """Every balance gets back what it gave, every counter is what it was, and the records cost nothing any more."""
    platform = Platform.under(files)
    platform.enrol(rows)
    platform.charge(uses[:kept])
    before = counted(platform)
    platform.charge(uses[kept:])
    again = {use.seq for use in uses[kept:]}
    seqs = [seq for seq in platform.table("charged")["seq"].to_list() if seq in again]
    assume(seqs)
    Random(seed).shuffle(seqs)
    made = taken_back(platform, seqs)
    assert_sums(platform)
    assert len(made) == len(seqs)
    entries = platform.table("entries").filter(pl.col("seq").is_in(seqs) | (pl.col("seq") >= FIRST_SEQ))
    expired = (pl.col("debit").cast(pl.String) == "expired") | (pl.col("credit").cast(pl.String) == "expired")
    # What goes back to a balance that ended long ago expires at once, by an entry that is not the record's.
    own = entries.filter(pl.col("cause").is_in([int(Cause.USAGE), int(Cause.CORRECTION)]) & ~expired)
    back = pl.when(pl.col("credit").cast(pl.String) == "balance").then("amount").otherwise(-pl.col("amount"))
    sums = own.group_by("subscriber", "member", "balance", "period").agg(back.sum().alias("sum"))
    assert sums.filter(pl.col("sum") != 0).is_empty()
    now = counted(platform)
    assert {place: value for place, value in now.items() if before.get(place, 0) != value} == {}
    costs = corrected(platform.table("charged"), made).filter(pl.col("seq").is_in(seqs))
    assert costs.filter((pl.col("charged_micros") != 0) | (pl.col("allowance_units") != 0)).is_empty()
    event(f"money moved: {int(own['amount'].sum()) > 0}, counted: {bool(before)}")
