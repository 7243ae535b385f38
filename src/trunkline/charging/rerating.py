"""Re-rating: what records come to under the tariff and the contracts as they are now, and the difference, to be booked.

Both sides are whole: what a record was charged is all its ledger entries and those of its corrections, what it comes to
is all entries of charging it again in its place. So re-rating twice finds nothing, and an account to which the
difference was booked has the balances that it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import polars as pl
from polars._typing import JoinStrategy

from trunkline.charging.anew import Again, in_turns, opening, take_turns
from trunkline.charging.corrections import (
    BALANCE_KEY,
    GONE_S,
    KEPT,
    RECORD,
    effects,
    listed,
    rows_of,
    settled,
)
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.under_way import CHARGED, COVERED, LIST
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.outcomes import Reason
from trunkline.records.charging import CORRECTION_CHANGE, CORRECTIONS, RowKind

LEFT_OUT = (
    Reason("raw_gone", "Some of its raw records are kept no longer, so that it cannot be charged again."),
    Reason("not_priced", "The tariff has no price for some of what it used and paid for; see the reasons."),
    Reason(
        "other_periods",
        "Its periods begin at other moments since its time zone was corrected: its allowances cannot be compared.",
    ),
)
_SAID = ("charged_micros", "allowance_units", "list_micros")
_STORED = (
    "seq",
    "subscriber",
    "source",
    "record_id",
    *RECORD,
    "start_us",
    "kind",
    "plan",
    *_SAID,
)


@dataclass(frozen=True)
class Anew:
    """What comes of usage that is charged from nothing."""

    usage: pl.DataFrame  # CHARGED
    entries: pl.DataFrame  # ENTRIES of usage; those of movements are the books' own
    refused: pl.DataFrame  # REJECTED: what the catalogue has no price for, or no balance that may pay
    accounts: Grouped
    offered: pl.DataFrame  # RECORD of all that was to be charged


@dataclass(frozen=True)
class Books:
    """What the books hold of some accounts, and of no others."""

    charged: pl.DataFrame  # CHARGED, each record with what its corrections made of it
    entries: pl.DataFrame  # ENTRIES
    corrections: pl.DataFrame  # CORRECTIONS booked before
    accounts: Grouped


@dataclass(frozen=True)
class Found:
    """What a re-rating comes to."""

    corrections: (
        pl.DataFrame
    )  # CORRECTIONS, in the order of the records; `seq` and `movement_id` are not given yet
    left_out: pl.DataFrame  # subscriber, reason: accounts that cannot be re-rated, each for its first reason
    records: int  # that were looked at
    accounts: int


def charged_again(
    metered: pl.DataFrame, orders: pl.DataFrame, accounts: Grouped, catalogue: Catalogue
) -> Anew:
    """Charge metered usage and movements (both with `seq`) in their order, to what `accounts` have as contracts.

    `orders` may name records that are taken back, as `anew.with_reversals` gives them.
    """
    again = Again(catalogue)
    begun = opening(accounts, metered, orders)
    after = take_turns(*in_turns(metered, orders), begun, catalogue, again.charge_turn, again.take_back)
    return Anew(
        again.all_usage(), again.all_entries(), pl.concat(again.refused), after, metered.select(RECORD)
    )


def find(
    books: Books,
    anew: Anew,
    catalogue: Catalogue,
    from_us: int,
    until_us: int,
    correction_id: str,
    time_us: int,
) -> Found:
    """Corrections of the records that began in a stretch of time, account by account.

    An account of which anything cannot be charged again is left out whole: half a truth is not booked.
    """
    stored = books.charged.select(_STORED)
    places = _places(books.accounts, anew.accounts, catalogue)
    left_out = _left_out(stored, anew, places)
    within = stored.filter((pl.col("start_us") >= from_us) & (pl.col("start_us") < until_us)).join(
        left_out, on="subscriber", how="anti"
    )
    now = anew.usage.select(*RECORD, "plan", *_SAID)
    both = within.join(now, on=RECORD, how="inner", suffix="_now")
    changes = _changes(books, anew, within, places)
    counted = _counters(books.accounts, anew.accounts, catalogue, from_us, until_us)
    first = pl.col("seq") == pl.col("seq").min().over("subscriber")
    rows = both.join(changes, on="seq", how="left").filter(
        pl.col("changes").is_not_null()
        | pl.any_horizontal(pl.col(name) != pl.col(f"{name}_now") for name in _SAID)
        | (first & pl.col("subscriber").is_in(counted["subscriber"].implode()))
    )
    found = _with_counters(rows.sort("seq"), counted).with_columns(
        pl.lit(correction_id).alias("correction_id"),
        pl.lit(time_us).alias("time_us"),
        pl.col("seq").alias("corrects_seq"),
        pl.col("plan_now").alias("plan"),
        pl.col("list_micros_now").alias("list_micros"),
        *((pl.col(f"{name}_now") - pl.col(name)).alias(name) for name in _SAID[:2]),
    )
    return Found(CORRECTIONS.record.conform(found), left_out, len(within), within["subscriber"].n_unique())


def _left_out(stored: pl.DataFrame, anew: Anew, places: pl.DataFrame) -> pl.DataFrame:
    """Accounts of which something is missing, with the first reason of `LEFT_OUT` that applies."""
    missing = stored.join(anew.usage.select(RECORD), on=RECORD, how="anti")
    gone = missing.join(anew.offered, on=RECORD, how="anti")
    refused = missing.join(anew.offered, on=RECORD, how="semi")
    elsewhere = places.filter(
        (pl.col("period") != 0)
        & (pl.len().over(BALANCE_KEY) > 1)
        & pl.col("one_sided").any().over(BALANCE_KEY)
    )
    parts = [
        part.select("subscriber", pl.lit(reason.name).alias("reason"))
        for part, reason in zip((gone, refused, elsewhere), LEFT_OUT, strict=True)
    ]
    return pl.concat(parts).unique("subscriber", keep="first", maintain_order=True)


def _changes(books: Books, anew: Anew, within: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """What is added to balances by each record: `seq` and `changes` (a list of `CORRECTION_CHANGE`)."""
    seqs = within.select("seq")
    corrections = books.corrections.join(seqs.rename({"seq": "corrects_seq"}), on="corrects_seq", how="semi")
    mine = pl.concat([seqs, corrections.select("seq")])
    was = effects(books.entries.join(mine, on="seq", how="semi"), corrections)
    now = effects(anew.entries.join(seqs, on="seq", how="semi"), corrections.clear())
    between = (
        pl.concat([was.with_columns(-pl.col("amount")), now])
        .group_by("seq", *BALANCE_KEY, "other")
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") != 0)
        .sort("seq", *BALANCE_KEY, "other")
    )
    placed = _placed(between, places.drop("one_sided"))
    return listed(settled(placed), "seq")


def _places(held: Grouped, anew: Grouped, catalogue: Catalogue) -> pl.DataFrame:
    """Balance rows of either side: `BALANCE_KEY`, bounds, `granted`, by how much they differ (`left`), `one_sided`."""
    key = ("subscriber", "member", "definition", "period", "valid_until_s")
    both = rows_of(anew, RowKind.BALANCE).join(
        rows_of(held, RowKind.BALANCE), on=key, how="full", coalesce=True, suffix="_held"
    )
    names = pl.Series(catalogue.balances, dtype=pl.String)
    return both.select(
        "subscriber",
        "member",
        names.gather(both["definition"]).alias("balance"),
        "period",
        pl.coalesce("valid_from_s", "valid_from_s_held").alias("valid_from_s"),
        "valid_until_s",
        pl.col("granted").fill_null(KEPT),
        (pl.col("value").fill_null(0) - pl.col("value_held").fill_null(0)).alias("left"),
        (pl.col("value").is_null() | pl.col("value_held").is_null()).alias("one_sided"),
    ).sort(*BALANCE_KEY, "valid_until_s")


def _placed(between: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Each difference with the row of the account that it belongs to, and that row's bounds."""
    alone = places.filter(pl.len().over(BALANCE_KEY) == 1).drop("left")
    several = places.filter(pl.len().over(BALANCE_KEY) > 1)
    placed = between.join(alone, on=BALANCE_KEY, how="inner")
    gone = between.join(places, on=BALANCE_KEY, how="anti").with_columns(
        pl.lit(0, pl.Int64).alias("valid_from_s"),
        pl.lit(GONE_S, pl.Int64).alias("valid_until_s"),
        pl.lit(KEPT, pl.Int64).alias("granted"),
    )
    shared = _shared_out(between.join(several, on=BALANCE_KEY, how="semi"), several)
    names = placed.columns
    return pl.concat([placed, gone.select(names), shared.select(names)])


def _shared_out(between: pl.DataFrame, several: pl.DataFrame) -> pl.DataFrame:
    """Differences of a balance that an account has with several ends of validity, laid out over its rows.

    The ledger names a balance and not its end, so each row takes as much as the two sides of it differ by, the earliest
    end first; what is left over goes to the last one.
    """
    rows: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for place in several.iter_rows(named=True):
        rows.setdefault(tuple(place[name] for name in BALANCE_KEY), []).append(place)
    laid: list[dict[str, object]] = []
    for each in between.iter_rows(named=True):
        mine = rows[tuple(each[name] for name in BALANCE_KEY)]
        amount = int(each["amount"])
        for place in mine:
            left = int(str(place["left"]))
            takes = min(max(left, 0), amount) if amount > 0 else max(min(left, 0), amount)
            takes = amount if place is mine[-1] else takes
            if takes:
                place["left"] = left - takes
                amount -= takes
                bounds = {name: place[name] for name in ("valid_from_s", "valid_until_s", "granted")}
                laid.append(each | bounds | {"amount": takes})
    bounds_of = several.select("valid_from_s", "valid_until_s", "granted").schema
    return pl.DataFrame(laid, schema={**between.schema, **bounds_of})


def _counters(
    held: Grouped, anew: Grouped, catalogue: Catalogue, from_us: int, until_us: int
) -> pl.DataFrame:
    """What is added to counters of periods within a stretch of time: `subscriber` and `changes`.

    What members took of shared balances is counted alike, and so is what calls under way are remembered to come to.
    """
    parts = [
        _counted(held, anew, kind, names)
        for kind, names in ((RowKind.COUNTER, catalogue.counters), (RowKind.DRAWN, catalogue.balances))
    ]
    parts += _calls(held, anew, catalogue)
    rows = pl.concat(parts).filter(
        (pl.col("amount") != 0)
        & (pl.col("valid_from_s") * 1_000_000 < until_us)
        & (pl.col("valid_until_s") * 1_000_000 > from_us)
    )
    return listed(rows, "subscriber")


def _counted(held: Grouped, anew: Grouped, kind: RowKind, called: tuple[str, ...]) -> pl.DataFrame:
    """Rows of a kind on either side, and by how much they differ (`amount`)."""
    key = ("subscriber", "member", "definition", "period", "valid_until_s")
    both = rows_of(anew, kind).join(rows_of(held, kind), on=key, how="full", coalesce=True, suffix="_held")
    names = pl.Series(called, dtype=pl.String)
    return both.select(
        pl.lit(int(kind)).alias("kind"),
        "subscriber",
        "member",
        names.gather(both["definition"]).alias("balance"),
        "period",
        pl.coalesce("valid_from_s", "valid_from_s_held").alias("valid_from_s"),
        "valid_until_s",
        pl.lit("").alias("other"),
        pl.lit(KEPT, pl.Int64).alias("granted"),
        (pl.col("value").fill_null(0) - pl.col("value_held").fill_null(0)).alias("amount"),
    )


def _calls(held: Grouped, anew: Grouped, catalogue: Catalogue) -> list[pl.DataFrame]:
    """What differs in what is remembered of calls under way, as `corrections` puts it right."""
    facts = _sides(held, anew, RowKind.CALL, "inner").filter(
        pl.col("definition").is_in([LIST, CHARGED, COVERED])
    )
    taken = _sides(held, anew, RowKind.TAKEN, "full")
    counter = taken["flags"] % 8 == int(RowKind.COUNTER)
    of_counter = (
        pl.Series(catalogue.counters, dtype=pl.String).gather(
            pl.select(pl.when(counter).then(taken["definition"]).otherwise(0)).to_series()
        )
        if len(catalogue.counters)
        else pl.repeat("", len(taken), eager=True)
    )
    of_balance = pl.Series(catalogue.balances, dtype=pl.String).gather(
        pl.select(pl.when(counter).then(0).otherwise(taken["definition"])).to_series()
    )
    named = taken.with_columns(
        pl.select(pl.when(counter).then(of_counter).otherwise(of_balance)).to_series().alias("balance"),
        pl.col("flags").cast(pl.String).alias("other"),
    )
    told = facts.with_columns(
        pl.col("definition").cast(pl.String).alias("balance"), pl.col("flags").cast(pl.String).alias("other")
    )
    order = (
        "kind", "subscriber", "member", "balance", "period", "valid_from_s", "valid_until_s", "other", "granted",
        "amount",
    )  # fmt: skip
    return [frame.select(order) for frame in (told, named)]


def _sides(held: Grouped, anew: Grouped, kind: RowKind, how: JoinStrategy) -> pl.DataFrame:
    """Rows of a kind that are of calls, on both sides, and by how much they differ (`amount`)."""
    key = (
        "subscriber", "member", "flags", "definition", "period", "granted", "valid_from_s", "valid_until_s",
    )  # fmt: skip
    both = rows_of(anew, kind).join(rows_of(held, kind), on=key, how=how, coalesce=True, suffix="_held")
    return both.with_columns(
        pl.lit(int(kind)).alias("kind"),
        (pl.col("value").fill_null(0) - pl.col("value_held").fill_null(0)).alias("amount"),
    )


def _with_counters(rows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Counters are no record's own: they are put right with the first record of their account."""
    first = pl.col("seq") == pl.col("seq").min().over("subscriber")
    nothing = pl.lit([], pl.List(CORRECTION_CHANGE))
    return (
        rows.join(counted, on="subscriber", how="left", suffix="_counted", maintain_order="left")
        .with_columns(
            pl.when(first)
            .then(pl.col("changes_counted"))
            .otherwise(None)
            .fill_null(nothing)
            .alias("changes_counted")
        )
        .with_columns(
            pl.concat_list(pl.col("changes").fill_null(nothing), "changes_counted").alias("changes")
        )
    )


def movement_name(correction_id: str, subscriber: int) -> str:
    """Name of one account's part of a re-rating: the ledger books it once, however often it is ordered."""
    digest = blake2b(subscriber.to_bytes(8, "big") + correction_id.encode(), digest_size=10).hexdigest()
    return f"rerate:{correction_id}:{digest}"


def guards(accounts: Grouped) -> pl.DataFrame:
    """How accounts stand, in a word each: `subscriber, guard`. Another word means that something moved."""
    words = [
        blake2b(
            b"".join(sorted(row.tobytes() for row in accounts.rows[begin:end])), digest_size=12
        ).hexdigest()
        for begin, end in zip(accounts.offsets[:-1], accounts.offsets[1:], strict=True)
    ]
    return pl.DataFrame(
        {"subscriber": pl.Series(accounts.keys, dtype=pl.UInt64), "guard": pl.Series(words, dtype=pl.String)}
    )
