"""Re-ratings as orders: an account's corrections are booked whole by whoever keeps the account, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import event, given

from tests.charging_room import NOTHING_REGISTERED, Platform
from tests.opinion.pricing import Use
from tests.rooms.charging.test_rerating import accounts_of, looked, mended, opening, run
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.charging.corrections import correct
from trunkline.charging.rerating import guards, movement_name
from trunkline.charging.rerating_orders import book, corrections_of, orders_of
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.engines.plan import BUCKET_BITS, numbered
from trunkline.engines.wire import rows_in, rows_out
from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import CORRECTIONS, RERATES

NAMES = ("source", "plan")


def found_orders(platform: Platform, corrections: pl.DataFrame, name: str = "test") -> pl.DataFrame:
    """The orders of a re-rating, as a bucket receives and numbers them."""
    names = [movement_name(name, word) for word in corrections["subscriber"].to_list()]
    rows = corrections.with_columns(pl.Series("movement_id", names), correction_id=pl.lit(name))
    accounts = guards(accounts_of(platform)).join(
        rows.select("subscriber", "movement_id").unique(), on="subscriber"
    )
    orders = orders_of(CORRECTIONS.record.conform(rows), accounts, platform.catalogue)
    received = pl.concat(rows_in(value, RERATES.record) for value in rows_out(orders))
    return numbered(received, 1000, 3, "corrections")[0]


def plain(rows: pl.DataFrame) -> list[Any]:
    """Corrections without their names and numbers."""
    told = rows.drop("seq", "correction_id", "movement_id").with_columns(pl.col(NAMES).cast(pl.String))
    return told.sort("subscriber", "corrects_seq").to_dicts()


def same(one: Grouped | None, other: Grouped | None) -> bool:
    """Whether accounts hold the same."""
    assert one is not None
    assert other is not None
    return guards(one).equals(guards(other))


def reasons(outcome: Outcome) -> list[str]:
    """Why orders were not booked."""
    return outcome.rows[3]["reason"].to_list()


@tried(8)
@given(wrong=tariffs(), other=tariffs(), rows=subscribers(), uses=streams())
def test_orders_book_what_corrections_do(
    wrong: dict[str, str], other: dict[str, str], rows: list[dict[str, Any]], uses: list[Use]
) -> None:
    """The same accounts and entries as by booking the corrections; a second time, in parts, or late: nothing."""
    first = run(Platform.under(wrong), rows, uses)
    known = set(first.table("charged")["seq"])
    uses = [use for use in uses if use.seq in known]
    platform = run(Platform.under(wrong), rows, uses)
    opened = opening(rows, platform)
    _, register = compile_catalogue(wrong, NOTHING_REGISTERED)
    platform.catalogue, _ = compile_catalogue(mended(wrong, other), register)
    corrections = looked(platform, uses, CORRECTIONS.record.empty(), opened).corrections
    event(f"corrected: {len(corrections) > 0}")
    if corrections.is_empty():
        return
    held = accounts_of(platform)
    orders = found_orders(platform, corrections)
    assert plain(corrections_of(orders)) == plain(corrections)

    outcome = book(orders, held, platform.catalogue)
    made, entries, _, refused, rerated = outcome.rows
    assert not len(refused)
    assert rerated["seq"].to_list() == orders["seqs"].list.last().to_list()
    wanted = correct(made, held, platform.catalogue)
    assert entries.equals(wanted.rows[0])
    assert same(outcome.state, wanted.state)
    assert (made["seq"] % (1 << BUCKET_BITS) == 3).all()
    assert made["seq"].is_unique().all()
    assert -int(orders["amount"].sum()) == int(corrections["charged_micros"].sum())

    twice = book(pl.concat([orders, found_orders(platform, corrections, "late")]), held, platform.catalogue)
    assert same(twice.state, outcome.state)
    assert reasons(twice) == ["moved_since"] * len(orders)
    strange = book(orders.with_columns(tariff=pl.lit("other")), held, platform.catalogue)
    assert same(strange.state, held)
    assert reasons(strange) == ["other_tariff"] * len(orders)
    unknown = Grouped.empty(held.rows.dtype, np.unique(orders["subscriber"].to_numpy()))
    assert reasons(book(orders, unknown, platform.catalogue)) == ["moved_since"] * len(orders)


def test_a_row_takes_a_number_for_each_correction() -> None:
    """Numbers follow each other over rows, whatever the rows hold, and the next rows begin behind them."""
    rows = pl.DataFrame({"corrections": [[7, 7], None, [], [7]]}, schema={"corrections": pl.List(pl.Int64)})
    found, end = numbered(rows, 10, 3, "corrections")
    counts = [[number >> BUCKET_BITS for number in each] for each in found["seqs"].to_list()]
    assert counts == [[10, 11], [12], [13], [14]]
    assert found["seq"].to_list() == [each << BUCKET_BITS | 3 for each in (10, 12, 13, 14)]
    assert end == 15
    assert numbered(rows.clear(), 15, 3, "corrections")[1] == 15
    assert numbered(rows, 15, 3)[1] == 19
