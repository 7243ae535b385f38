"""Whose bill covers what: the period of each account in its own time, and the plans that were in force in it.

A bill follows the one before without a gap: it begins where that one ended. What it holds is a rectangle of the ledger:
everything that happened before the period's end and had arrived when the bill was made, less what the bill before held.
So a record that comes late is on the next bill, marked as of an earlier period, and nothing is on two bills or on none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.periods import MONTHLY, day_of, period_at
from trunkline.charging.price import DAY_S, Vector, offset_at
from trunkline.charging.tariffs.bill_rules import FOREVER_US
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import vectors
from trunkline.kernel.grouped import Grouped
from trunkline.records.bills import NO_BILL_US
from trunkline.records.charging import RowKind

Array = npt.NDArray[Any]

NOON_S = DAY_S // 2
LAST_BILLS = pl.Schema(
    {"subscriber": pl.UInt64, "period": pl.Int32, "until_us": pl.Int64, "cut_seq": pl.Int64}
)


@dataclass(frozen=True)
class Cycles:
    """Accounts to bill, and why others are not.

    `terms`, a row an account: `subscriber, from_us, until_us, until_day, of_days, after_us, after_seq, zone, postpaid,
    since_day, terms` (days since 1970 in local time; `terms` counts in `BillRules.terms`, -1 for none).
    `segments`, a row for each stretch of a plan version: `subscriber, terms, days, last`.
    `begun`, a row for each plan that began within: `subscriber, terms`.
    `beside`, a row for each member of a shared account but its owner: `subscriber, plan`, with which the period ends.
    """

    terms: pl.DataFrame
    segments: pl.DataFrame
    begun: pl.DataFrame
    beside: pl.DataFrame
    billed: int  # have a bill of this period, or of a later one
    behind: int  # must first get the bill of an earlier period
    ahead: int  # begin after this period


def month_before(period: int) -> int:
    """The period before one such as 202601."""
    return period - 1 if period % 100 > 1 else period - 100 + 11


def cycles(accounts: Grouped, last: pl.DataFrame, catalogue: Catalogue, period: int) -> Cycles:
    """The cycles of accounts (`ACCOUNT_ROW`) in a period such as 202611, behind their `last` bills (`LAST_BILLS`)."""
    rows = _subscriptions(accounts).join(_months(accounts, catalogue, period), on=("zone", "cycle_day"))
    here = rows.filter(pl.col("valid_us") < pl.col("until_us")).sort("subscriber", "valid_us")
    chosen = here.group_by("subscriber", maintain_order=True).last()
    before = last.rename({"period": "last_period", "until_us": "after_us", "cut_seq": "after_seq"})
    chosen = chosen.join(before, on="subscriber", how="left")
    billed = chosen.filter(pl.col("last_period") >= period)
    behind = chosen.filter(pl.col("last_period") < month_before(period))
    wanted = chosen.filter(pl.col("last_period").is_null() | (pl.col("last_period") == month_before(period)))
    t = vectors(catalogue).t
    zone = wanted["zone"].to_numpy()
    terms = wanted.select(
        "subscriber",
        pl.coalesce("after_us", "first_us").alias("from_us"),
        "until_us",
        "until_day",
        (pl.col("until_day") - pl.col("first_day")).alias("of_days"),
        pl.col("after_us").fill_null(NO_BILL_US),
        pl.col("after_seq").fill_null(0),
        "zone",
        (pl.col("flags") % 2 == 1).alias("postpaid"),
    )
    since = rows.group_by("subscriber").agg(pl.col("valid_us").min().alias("since_us"))
    terms = terms.join(since, on="subscriber", maintain_order="left")
    terms = terms.with_columns(
        since_day=pl.Series(local_days(t, zone, terms["since_us"].to_numpy()), dtype=pl.Int64)
    )
    segments = _segments(rows, terms, catalogue)
    ends = segments.filter("last").select("subscriber", "terms")
    terms = terms.join(ends, on="subscriber", how="left", maintain_order="left").with_columns(
        pl.col("terms").fill_null(-1)
    )
    known = rows["subscriber"].n_unique()
    return Cycles(
        terms,
        segments,
        _begun(rows, terms, catalogue),
        _beside(accounts, terms),
        len(billed),
        len(behind),
        known - len(chosen),
    )


def period_of(rows: Array, catalogue: Catalogue, us: int) -> int:
    """The period in which a moment lies for an account, such as 202611; by the subscription in force then."""
    mine = np.sort(
        rows[(rows["kind"] == int(RowKind.SUBSCRIPTION)) & (rows["member"] == 0)], order="valid_from_s"
    )
    assert len(mine), "an account has a subscription"
    at = max(0, int(np.searchsorted(mine["valid_from_s"], us // 1_000_000, side="right")) - 1)
    packed = int(mine["granted"][at])
    first, _, _ = period_at(vectors(catalogue).t, MONTHLY, packed >> 16, packed & 0xFFFF, us)
    date = np.datetime64(int(first), "D").item()
    return int(date.year * 100 + date.month)


def _subscriptions(accounts: Grouped) -> pl.DataFrame:
    chosen = (accounts.rows["kind"] == int(RowKind.SUBSCRIPTION)) & (accounts.rows["member"] == 0)
    rows = accounts.rows[chosen]
    packed = rows["granted"].astype(np.int64)
    return pl.DataFrame(
        {
            "subscriber": np.repeat(accounts.keys, np.diff(accounts.offsets))[chosen],
            "plan": rows["definition"].astype(np.int64),
            "flags": rows["flags"].astype(np.int64),
            "zone": packed & 0xFFFF,
            "cycle_day": packed >> 16,
            "valid_us": rows["valid_from_s"].astype(np.int64) * 1_000_000,
        }
    )


def _months(accounts: Grouped, catalogue: Catalogue, period: int) -> pl.DataFrame:
    """When the month begins and ends for each time zone and cycle day that occurs."""
    t = vectors(catalogue).t
    found = []
    for zone, cycle_day in (
        _subscriptions(accounts).select("zone", "cycle_day").unique().sort("zone", "cycle_day").rows()
    ):
        first_s = int(day_of(period // 100, period % 100, cycle_day)) * DAY_S
        # Noon in Greenwich is on that day, or the one after it, everywhere.
        first_day, begin_s, end_s = period_at(t, MONTHLY, cycle_day, zone, (first_s + NOON_S) * 1_000_000)
        after = period % 100 + 1
        until_day = day_of(period // 100 + (after > 12), after if after <= 12 else 1, cycle_day)
        found.append(
            (
                zone,
                cycle_day,
                int(begin_s) * 1_000_000,
                int(end_s) * 1_000_000,
                int(first_day),
                int(until_day),
            )
        )
    names = ("zone", "cycle_day", "first_us", "until_us", "first_day", "until_day")
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.Int64), orient="row")


def _versions(catalogue: Catalogue) -> pl.DataFrame:
    """Versions of plans with the stretch in which each is in force: `plan, terms, begin_us, end_us`."""
    rules = catalogue.bills.terms
    frame = pl.DataFrame(
        {
            "plan": [each.plan for each in rules],
            "terms": range(len(rules)),
            "begin_us": [each.from_us for each in rules],
        },
        schema=dict.fromkeys(("plan", "terms", "begin_us"), pl.Int64),
    )
    return frame.with_columns(
        pl.col("begin_us").shift(-1).over("plan", order_by="begin_us").fill_null(FOREVER_US).alias("end_us")
    )


def _segments(rows: pl.DataFrame, terms: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Stretches of plan versions within each account's period. A day counts for the plan with which it ends."""
    after = pl.col("valid_us").shift(-1).over("subscriber", order_by="valid_us").fill_null(FOREVER_US)
    found = (
        rows.select("subscriber", "plan", "valid_us", after.alias("next_us"))
        .join(terms.select("subscriber", "from_us", "until_us", "zone"), on="subscriber")
        .join(_versions(catalogue), on="plan")
        .with_columns(
            pl.max_horizontal("valid_us", "begin_us", "from_us").alias("segment_us"),
            pl.min_horizontal("next_us", "end_us", "until_us").alias("segment_end_us"),
        )
        .filter(pl.col("segment_us") < pl.col("segment_end_us"))
    )
    t, zone = vectors(catalogue).t, found["zone"].to_numpy()
    begin = local_days(t, zone, found["segment_us"].to_numpy())
    end = local_days(t, zone, found["segment_end_us"].to_numpy())
    return found.select(
        "subscriber",
        "terms",
        pl.Series("days", end - begin, dtype=pl.Int64),
        (pl.col("segment_end_us") == pl.col("until_us")).alias("last"),
    )


def _begun(rows: pl.DataFrame, terms: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Plans that began within the period; a subscription that has always been there began at no known time."""
    before = pl.col("plan").shift(1).over("subscriber", order_by="valid_us")
    return (
        rows.with_columns(before.alias("plan_before"))
        .filter((pl.col("valid_us") > 0) & pl.col("plan").ne_missing(pl.col("plan_before")))
        .select("subscriber", "plan", "valid_us")
        .join(terms.select("subscriber", "from_us", "until_us"), on="subscriber")
        .filter((pl.col("valid_us") >= pl.col("from_us")) & (pl.col("valid_us") < pl.col("until_us")))
        .join(_versions(catalogue), on="plan")
        .filter((pl.col("valid_us") >= pl.col("begin_us")) & (pl.col("valid_us") < pl.col("end_us")))
        .select("subscriber", "terms")
    )


def _beside(accounts: Grouped, terms: pl.DataFrame) -> pl.DataFrame:
    """The plans of members with which each account's period ends."""
    chosen = (accounts.rows["kind"] == int(RowKind.SUBSCRIPTION)) & (accounts.rows["member"] != 0)
    rows = accounts.rows[chosen]
    return (
        pl.DataFrame(
            {
                "subscriber": np.repeat(accounts.keys, np.diff(accounts.offsets))[chosen],
                "member": rows["member"].astype(np.int64),
                "plan": rows["definition"].astype(np.int64),
                "valid_us": rows["valid_from_s"].astype(np.int64) * 1_000_000,
            }
        )
        .join(terms.select("subscriber", "until_us"), on="subscriber")
        .filter(pl.col("valid_us") < pl.col("until_us"))
        .sort("subscriber", "member", "valid_us", maintain_order=True)
        .group_by("subscriber", "member", maintain_order=True)
        .last()
        .select("subscriber", "plan")
    )


@nb.njit(nogil=True, cache=True)
def local_days(t: Vector, zone: Array, us: Array) -> Array:
    """Local days since 1970 that hold moments, each in a time zone of its own."""
    found = np.empty(len(us), np.int64)
    for at in range(len(us)):
        offset, _ = offset_at(t, zone[at], us[at])
        found[at] = (us[at] // 1_000_000 + offset) // DAY_S
    return found
