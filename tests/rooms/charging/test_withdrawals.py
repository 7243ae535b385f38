"""Withdrawals: the bucket of an account takes a record back as one process does, once, and knows what it must know."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import polars as pl
from hypothesis import assume, event, given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.rooms.charging.test_rerating import accounts_of
from tests.rooms.charging.test_rerating_orders import same
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.charging.corrections import RECORD, correct
from trunkline.charging.parts import SAME_CALL, is_part
from trunkline.charging.reversal import reverse
from trunkline.charging.withdrawals import judge, order_of, take_back
from trunkline.engines.plan import numbered
from trunkline.engines.wire import rows_in, rows_out
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES
from trunkline.records.withdrawals import TAKEN_BACK, WITHDRAWALS


def order(
    platform: Platform, seq: int, corrections: pl.DataFrame | None = None, by: str = "x"
) -> pl.DataFrame:
    """The order to take a charged record back, as it is read off the topic; `corrections` are all of its account."""
    charged = CHARGED.record.conform(platform.table("charged"))
    mine = charged.filter(pl.col("seq") == seq)
    call = charged.filter(is_part()).join(mine.filter(is_part()), on=SAME_CALL, how="semi", nulls_equal=True)
    others = call.join(mine, on=RECORD, how="anti", maintain_order="left")
    known = CORRECTIONS.record.empty() if corrections is None else corrections
    caused = pl.concat([mine["seq"], others["seq"], known["seq"]])
    entries = ENTRIES.record.conform(platform.table("entries")).filter(pl.col("seq").is_in(caused.implode()))
    named = mine.with_columns(
        correction_id=pl.lit("cancel:") + by + pl.col("record_id"),
        movement_id=pl.lit("cancel:msc:") + by + pl.col("record_id"),
        time_us=pl.lit(7, pl.Int64),
    )
    made = order_of(named, others, entries, known, platform.catalogue)
    return pl.concat(rows_in(value, WITHDRAWALS.record) for value in rows_out(made))


def nothing(rows: pl.DataFrame) -> Grouped:
    """What accounts remember that were never corrected."""
    return Grouped.empty(TAKEN_BACK.dtype, np.unique(rows["subscriber"].to_numpy()))


def numbers(orders: pl.DataFrame) -> pl.DataFrame:
    """Orders as a bucket numbers them."""
    return numbered(orders, 10**6, 0)[0]


@tried(6)
@given(tariffs(), subscribers(), streams(), st.integers(0, 2**32))
def test_a_withdrawal_books_what_a_reversal_does(
    files: dict[str, str], rows: list[dict[str, Any]], uses: list[Use], seed: int
) -> None:
    """The same corrections, entries and accounts as where history and accounts lie together, one after the other."""
    platform = Platform.under(files)
    platform.enrol(rows)
    platform.charge(uses)
    charged = CHARGED.record.conform(platform.table("charged")).filter(~is_part(), pl.col("identity") > 0)
    assume(len(charged))
    seqs = charged["seq"].to_list()
    Random(seed).shuffle(seqs)
    orders = numbers(pl.concat(order(platform, seq) for seq in seqs))
    parted = judge(orders, nothing(orders))
    fit, left = parted.rows
    assert (len(fit), len(left)) == (len(seqs), 0)
    outcome = take_back(fit, accounts_of(platform), platform.catalogue)

    accounts, entries = accounts_of(platform), []
    for seq, row in zip(seqs, orders.iter_slices(1), strict=True):
        names = row.select(*RECORD, "correction_id", "movement_id", "time_us")
        original = names.join(charged.filter(pl.col("seq") == seq), on=RECORD)
        made = reverse(
            original, platform.table("entries"), CORRECTIONS.record.empty(), accounts, platform.catalogue,
            CHARGED.record.empty(),
        ).with_columns(row["seq"])  # fmt: skip
        wanted = correct(made, accounts, platform.catalogue)
        assert wanted.state is not None
        accounts = wanted.state
        entries.append(wanted.rows[0])
    assert same(outcome.state, accounts)
    assert outcome.rows[1].equals(pl.concat(entries))
    assert outcome.rows[0]["corrects_seq"].to_list() == seqs
    assert int(orders["amount"].sum()) == -int(outcome.rows[0]["charged_micros"].sum())

    assert parted.state is not None
    again = judge(numbers(pl.concat(order(platform, seq, by="y") for seq in seqs)), parted.state)
    assert again.rows[1]["reason"].to_list() == ["already_corrected"] * len(seqs)
    assert again.state is not None
    assert np.array_equal(again.state.rows, parted.state.rows)
    event(f"entries: {len(outcome.rows[1]) > 0}")
