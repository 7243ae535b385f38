"""Re-rating, whatever the tariffs and the usage: once booked, nothing differs from having been right all along."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
from hypothesis import assume, event, given

from tests.charging_room import NOTHING_REGISTERED, Platform, metered
from tests.opinion.pricing import Use
from tests.opinion.subscribed import books_of
from tests.tariff_strategies import streams, subscribers, tariffs, tried
from trunkline.charging.corrections import correct, corrected
from trunkline.charging.rerating import Books, Found, charged_again, find, guards
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ACCOUNT_ROW, CORRECTIONS, MOVEMENTS, RowKind

EVER_US = 2**62
Row = dict[str, Any]
SECOND = 1_000_000


def mended(wrong: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """A tariff with the prices of another one; balances and counters stay what they are."""
    files = dict(wrong)
    shared, better = json.loads(wrong["a.yaml"]), json.loads(other["a.yaml"])
    shared["rates"] = better["rates"]
    shared["operator"]["rounding"] = better["operator"]["rounding"]
    for name in ("base.yaml", "gold.yaml", "gold_2.yaml"):
        plan = json.loads(wrong[name])
        plan["prices"] = json.loads(other[name])["prices"]
        files[name] = json.dumps(plan)
    files["a.yaml"] = json.dumps(shared)
    return files


def run(platform: Platform, rows: list[Row], uses: list[Use]) -> Platform:
    """The platform after its subscribers and their uses."""
    platform.enrol(rows)
    platform.charge(uses)
    return platform


def accounts_of(platform: Platform) -> Grouped:
    """All accounts."""
    keys = sorted(platform.accounts)
    groups = [platform.accounts[key] for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    return Grouped(np.array(keys, np.uint64), offsets, np.concatenate([np.empty(0, ACCOUNT_ROW), *groups]))


def looked(platform: Platform, uses: list[Use], made: pl.DataFrame, opened: pl.DataFrame) -> Found:
    """What a re-rating of everything finds."""
    charged = platform.table("charged")
    usage = metered(uses).join(charged.select("identity", "check"), on=("identity", "check"), how="semi")
    books = Books(corrected(charged, made), platform.table("entries"), made, accounts_of(platform))
    anew = charged_again(usage, opened, books.accounts, platform.catalogue)
    return find(books, anew, platform.catalogue, -EVER_US, EVER_US, "test", 0)


def opening(rows: list[Row], platform: Platform) -> pl.DataFrame:
    """The amounts with which accounts were opened, as movements before the first use."""
    entries = platform.table("entries").filter(pl.col("cause") == 3)
    assert len(entries) <= len(rows)
    return MOVEMENTS.record.conform(
        entries.with_columns(
            pl.lit(4, pl.UInt8).alias("cause"),
            pl.lit("opening").alias("movement_id"),
            pl.lit(2**32 - 1).alias("valid_until_s"),
        )
    )


def book(platform: Platform, found: Found) -> pl.DataFrame:
    """Book what was found; the corrections with their numbers."""
    rows = found.corrections.with_columns(pl.int_range(10**6, 10**6 + pl.len(), dtype=pl.Int64).alias("seq"))
    held = accounts_of(platform)
    outcome = correct(rows, held, platform.catalogue)
    platform.entries.append(outcome.rows[0])
    assert outcome.state is not None
    assert len(guards(held).join(guards(outcome.state), on=("subscriber", "guard"), how="anti")) <= len(held)
    for key in outcome.state.keys.tolist():
        platform.accounts[key] = outcome.state.rows_of(key).copy()
    return CORRECTIONS.record.conform(rows)


def worth(platform: Platform, without: set[int]) -> list[tuple[int, ...]]:
    """Balances and counters that are not zero, by their names and bounds."""
    names = ("kind", "definition", "period", "valid_until_s", "value")
    return sorted(
        (key, *(int(row[name]) for name in names))
        for key, rows in platform.accounts.items()
        for row in rows
        if key not in without and row["kind"] != RowKind.SUBSCRIPTION and row["value"]
    )


@tried(12)
@given(wrong=tariffs(), other=tariffs(), rows=subscribers(), uses=streams())
def test_booked_is_as_if_it_had_been_right(
    wrong: dict[str, str], other: dict[str, str], rows: list[Row], uses: list[Use]
) -> None:
    """Charges, balances and counters are those of the right tariff; re-rating again finds nothing; sums are entries."""
    first = run(Platform.under(wrong), rows, uses)
    known = set(first.table("charged")["seq"])
    uses = [use for use in uses if use.seq in known]
    assume(uses)
    platform = run(Platform.under(wrong), rows, uses)
    assume(len(platform.table("charged")) == len(uses))
    opened = opening(rows, platform)
    assert looked(platform, uses, CORRECTIONS.record.empty(), opened).corrections.is_empty()

    right = mended(wrong, other)
    _, register = compile_catalogue(wrong, NOTHING_REGISTERED)
    platform.catalogue, _ = compile_catalogue(right, register)
    # the plan's date was wrong, too
    since = {
        "subscriber": rows[0]["subscriber"],
        "plan": "base",
        "from_s": uses[len(uses) // 2].start_us // SECOND,
    }
    platform.enrol([since])
    found = looked(platform, uses, CORRECTIONS.record.empty(), opened)
    made = book(platform, found)
    event(f"corrected: {len(made) > 0}, left out: {len(found.left_out) > 0}")
    out = set(found.left_out["subscriber"])
    assert looked(platform, uses, made, opened).corrections.is_empty()

    fresh = Platform(compile_catalogue(right, register)[0])
    run(fresh, [*rows, since], [use for use in uses if key_of(use) not in out])
    assert worth(platform, out) == worth(fresh, out)
    now = corrected(platform.table("charged"), made).filter(~pl.col("subscriber").is_in(list(out)))
    names = ["seq", "charged_micros", "allowance_units", "list_micros"]
    assert now.select(names).sort("seq").rows() == fresh.table("charged").select(names).sort("seq").rows()
    assert_sums(platform)
    sums = now.group_by("subscriber").agg(pl.col("charged_micros").sum())
    said = second_opinion(right, [*rows, since], [use for use in uses if key_of(use) not in out])
    assert {key: value for key, value in sums.iter_rows() if value} == said


def second_opinion(files: dict[str, str], rows: list[Row], uses: list[Use]) -> dict[int, int]:
    """Money that an auditor, who shares no line with us, would have taken from each subscriber under a tariff."""
    books = books_of(files, rows, uses)
    sums: dict[int, int] = {}
    who = {use.seq: key_of(use) for use in uses}
    for verdict in books.verdicts:
        assert verdict.status == "rated", verdict
        sums[who[verdict.seq]] = sums.get(who[verdict.seq], 0) + verdict.charged_micros
    return {key: value for key, value in sums.items() if value}


def key_of(use: Use) -> int:
    """The subscriber as a dial word."""
    return int(metered([use])["subscriber"][0])


def assert_sums(platform: Platform) -> None:
    """Every balance is the sum of its entries, and every entry starts where the balance stood."""
    entries = platform.table("entries")
    given = pl.when(pl.col("credit").cast(pl.String) == "balance").then("amount").otherwise(-pl.col("amount"))
    assert entries.filter(pl.col("before") + given != pl.col("after")).is_empty()
    sums = entries.group_by("subscriber", "balance", "period").agg(given.sum().alias("sum"))
    said = {(key, str(name), period): value for key, name, period, value in sums.iter_rows() if value}
    held: dict[tuple[int, str, int], int] = {}
    for key, rows in platform.accounts.items():
        for row in rows[rows["kind"] == RowKind.BALANCE]:
            place = key, platform.catalogue.balances[row["definition"]], int(row["period"])
            held[place] = held.get(place, 0) + int(row["value"])
    assert said == {place: value for place, value in held.items() if value}
