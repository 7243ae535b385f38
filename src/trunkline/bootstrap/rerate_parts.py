"""What a re-rating comes to, worked out of the books of some accounts: of a whole folder, or of a cluster's bucket.

Accounts do not know each other, so parts add up to the answer, whichever accounts share one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trunkline.bootstrap.reconcile import Facts, metered_anew
from trunkline.charging.anew import with_reversals
from trunkline.charging.corrections import RECORD
from trunkline.charging.rerating import LEFT_OUT, Books, Found, charged_again, find, guards, movement_name
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.kernel.grouped import Grouped, Keys
from trunkline.ports import Refused
from trunkline.records.charging import CORRECTIONS, RowKind

MOST_TOLD = 20
_PLAN_SUMS = ("records", "accounts", "more_micros", "less_micros", "difference_micros")
_SUMS = (
    "records", "accounts", "records_differing", "accounts_differing", "difference_micros", "more_micros", "less_micros",
)  # fmt: skip


@dataclass(frozen=True)
class About:
    """What a re-rating is about: usage that began in a stretch of time, of everybody, a subscriber, or a plan."""

    from_us: int
    until_us: int
    subscriber: int | None = None
    plan: str | None = None

    def checked(self, catalogue: Catalogue) -> About:
        """The same, if there can be such a re-rating; raises `Refused`."""
        if self.from_us >= self.until_us:
            raise Refused("The period ends before it begins.")
        if self.plan is not None and (not self.plan or self.plan not in catalogue.plans):
            raise Refused(f"There is no plan {self.plan!r}. `trunkline tariff show` lists them.")
        return self


@dataclass(frozen=True)
class Part:
    """What a re-rating comes to for some accounts."""

    corrections: pl.DataFrame  # CORRECTIONS, each with the movement of its account; `seq` is not given yet
    accounts: pl.DataFrame  # those that differ: movement, how they stand (`guard`), and their difference
    sums: dict[str, Any]  # as `added_up` gives them


def part_of(
    ordered: pl.DataFrame,
    facts: Facts,
    entries: pl.DataFrame,
    catalogue: Catalogue,
    about: About,
    rerate_id: str,
    now_us: int,
) -> Part:
    """Charge accounts once more under a catalogue and compare; `facts` and `entries` are all that they have.

    `ordered` are decoded records in the order of their arrival (`seq`).
    """
    chosen = _chosen(facts, about, catalogue)
    books = Books(
        _of(facts.stored, chosen),
        _of(entries, chosen),
        _of(facts.corrections, chosen),
        _only(facts.accounts, chosen),
    )
    metered = _of(metered_anew(ordered), chosen)
    metered = metered.join(books.charged.select(RECORD), on=RECORD, how="semi", maintain_order="left")
    orders = with_reversals(_of(facts.movements, chosen), books.corrections)
    anew = charged_again(metered, orders, books.accounts, catalogue)
    found = find(books, anew, catalogue, about.from_us, about.until_us, rerate_id, now_us)
    accounts = _accounts(found, books.accounts, rerate_id)
    names = accounts.select("subscriber", "movement_id")
    rows = CORRECTIONS.record.conform(found.corrections.drop("movement_id").join(names, on="subscriber"))
    return Part(rows, accounts, _sums(found, accounts, anew.refused))


def added_up(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What parts say of themselves, together."""
    by_plan: dict[str, Counter[str]] = {}
    for row in (row for part in parts for row in part["by_plan"]):
        sums = by_plan.setdefault(row["plan"], Counter())
        for name in _PLAN_SUMS:
            sums[name] += row[name]
    top = [row for part in parts for row in part["top"]]
    top.sort(key=lambda row: (-abs(row["difference_micros"]), row["subscriber"]))
    priced: Counter[str] = Counter()
    for part in parts:
        priced.update(part["not_priced"])
    ordered = sorted(by_plan.items(), key=lambda each: each[0] or "")
    return {
        **{name: sum(part[name] for part in parts) for name in _SUMS},
        "by_plan": [{"plan": plan, **sums} for plan, sums in ordered],
        "top": top[:MOST_TOLD],
        "left_out": {
            reason.name: sum(part["left_out"][reason.name] for part in parts) for reason in LEFT_OUT
        },
        "not_priced": dict(sorted(priced.items())),
    }


def _chosen(facts: Facts, about: About, catalogue: Catalogue) -> Keys:
    """Accounts that used something in the period, and are the subscriber's or had the plan."""
    used = facts.stored.filter((pl.col("start_us") >= about.from_us) & (pl.col("start_us") < about.until_us))
    keys: Keys = np.unique(used["subscriber"].to_numpy())
    if about.subscriber is not None:
        keys = keys[keys == np.uint64(catalogue.members.account_of(about.subscriber)[0])]
    if about.plan is not None:
        rows = facts.accounts.rows
        having = (rows["kind"] == int(RowKind.SUBSCRIPTION)) & (
            rows["definition"] == catalogue.plans.index(about.plan)
        )
        having &= rows["valid_from_s"].astype(np.int64) * 1_000_000 < about.until_us
        owner = np.repeat(facts.accounts.keys, np.diff(facts.accounts.offsets))
        keys = np.intersect1d(keys, owner[having])
    return keys


def _of(frame: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    """Rows of these subscribers, in their order."""
    chosen = pl.DataFrame({"subscriber": pl.Series(keys, dtype=pl.UInt64)})
    return frame.join(chosen, on="subscriber", how="semi", maintain_order="left")


def _only(accounts: Grouped, keys: Keys) -> Grouped:
    """The groups of these keys, which are all there."""
    at = np.searchsorted(accounts.keys, keys)
    counts = np.diff(accounts.offsets)[at]
    owner = np.repeat(accounts.keys, np.diff(accounts.offsets))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Grouped(keys, offsets, accounts.rows[np.isin(owner, keys)])


def _accounts(found: Found, held: Grouped, rerate_id: str) -> pl.DataFrame:
    """The accounts whose outcome differs: movement, how they stand, and their difference."""
    sums = found.corrections.group_by("subscriber").agg(
        pl.len().cast(pl.Int64).alias("records"), pl.col("charged_micros").sum()
    )
    both = guards(held).join(sums, on="subscriber").sort("subscriber")
    names = [movement_name(rerate_id, word) for word in both["subscriber"].to_list()]
    return both.with_columns(pl.Series("movement_id", names, dtype=pl.String))


def _sums(found: Found, accounts: pl.DataFrame, refused: pl.DataFrame) -> dict[str, Any]:
    """What a part says of itself."""
    rows, money = found.corrections, accounts["charged_micros"]
    by_plan = (
        rows.group_by(pl.col("plan").cast(pl.String))
        .agg(
            pl.len().alias("records"),
            pl.col("subscriber").n_unique().alias("accounts"),
            pl.col("charged_micros").clip(lower_bound=0).sum().alias("more_micros"),
            pl.col("charged_micros").clip(upper_bound=0).sum().alias("less_micros"),
            pl.col("charged_micros").sum().alias("difference_micros"),
        )
        .sort("plan")
    )
    top = accounts.sort(pl.col("charged_micros").abs(), "subscriber", descending=[True, False]).head(
        MOST_TOLD
    )
    left_out = dict(found.left_out["reason"].value_counts().iter_rows())
    return {
        "records": found.records,
        "accounts": found.accounts,
        "records_differing": len(rows),
        "accounts_differing": len(accounts),
        "difference_micros": int(money.sum()),
        "more_micros": int(money.clip(lower_bound=0).sum()),
        "less_micros": int(money.clip(upper_bound=0).sum()),
        "by_plan": by_plan.to_dicts(),
        "top": top.select("subscriber", "records", pl.col("charged_micros").alias("difference_micros")).to_dicts(),
        "left_out": {reason.name: int(left_out.get(reason.name, 0)) for reason in LEFT_OUT},
        "not_priced": dict(sorted(refused["reason"].value_counts().iter_rows())),
    }  # fmt: skip
