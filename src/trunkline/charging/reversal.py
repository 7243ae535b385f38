"""Reversals: a record that its source takes back gives back exactly what it took, and nothing else.

What it took is its own ledger entries of use and all corrections of them, and what counters counted of it. Each amount
goes back to the balance that gave it. What only happened with the record and not because of it stays: the period's
allowance that its use was the first to ask for, and what had ended and expired. Nobody else's charge is looked at
again: whatever others paid meanwhile, they paid rightly by what was known.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.charging.corrections import (
    BALANCE_KEY,
    GONE_S,
    KEPT,
    RECORD,
    is_reversal,
    listed,
    moved,
    rows_of,
    settled,
)
from trunkline.charging.drawing import Use, counts, unit_of
from trunkline.charging.parts import Changes, calls_of, in_place_of, remembered
from trunkline.charging.rate import zone_of
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.vector import (
    C_UNIT,
    COUNTED,
    COUNTER,
    COUNTER_W,
    V_COUNTED,
    V_COUNTEDS,
    VERSION,
    VERSION_W,
    vectors,
)
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import CANCELLED, CORRECTED, CORRECTIONS, Cause, RowKind, Unit

Array = npt.NDArray[Any]

_OWN = [int(Cause.USAGE), int(Cause.CORRECTION)]
_MONEY = int(Unit.MONEY)


def reverse(
    originals: pl.DataFrame,
    entries: pl.DataFrame,
    corrections: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
    others: pl.DataFrame,
) -> pl.DataFrame:
    """What gives back all that some records took: `CORRECTIONS`, in their order; `seq` is not given yet.

    `originals` are charged usage (`CHARGED`), each once and as its corrections made it, with `correction_id`,
    `movement_id` and `time_us` of its reversal. `others` (`CHARGED`, alike) are all other parts under the references of
    calls that they are parts of. `entries` and `corrections` are those of both; `accounts` are theirs.
    """
    if not len(originals):
        return CORRECTIONS.record.empty()
    calls = calls_of(originals, others, corrections, accounts, catalogue)
    changes = _back(in_place_of(originals, calls, catalogue), entries, corrections, accounts, catalogue)
    if calls:
        over = {int(part["seq"]): call for call in calls.values() if not call.known for part in call.others}
        theirs = in_place_of(others.filter(pl.col("seq").is_in(list(over))), over, catalogue)
        given = pl.concat([changes, _back(theirs, entries, corrections, accounts, catalogue)])
        by_record: Changes = {}
        for seq, each in given.iter_rows():
            by_record.setdefault(seq, []).extend(each)
        changes = pl.concat([changes, remembered(calls, by_record, catalogue)])
    listed_ = changes.group_by("seq").agg(
        pl.col("changes").list.explode(keep_nulls=False, empty_as_null=False)
    )
    nothing = pl.lit([], CORRECTIONS.record.schema["changes"])
    return CORRECTIONS.record.conform(
        originals.join(listed_, on="seq", how="left", maintain_order="left").with_columns(
            pl.col("seq").alias("corrects_seq"),
            pl.col("changes").fill_null(nothing),
            pl.lit(0, pl.Int64).alias("list_micros"),
            -pl.col("charged_micros"),
            -pl.col("allowance_units"),
        )
    )


def _back(
    records: pl.DataFrame,
    entries: pl.DataFrame,
    corrections: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
) -> pl.DataFrame:
    """What records (`parts.in_place_of`) give back to balances, counters and limits: `seq` and `changes`."""
    return pl.concat(
        [
            _given_back(records, entries, corrections, accounts, catalogue),
            _uncounted(records, accounts, catalogue),
            _undrawn(records, entries, corrections, accounts, catalogue),
        ]
    )


def _given_back(
    originals: pl.DataFrame,
    entries: pl.DataFrame,
    corrections: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
) -> pl.DataFrame:
    """What goes back to balances: `seq` of the record and `changes` (a list of `CORRECTION_CHANGE`)."""
    taken = (
        moved(entries.filter(pl.col("cause").is_in(_OWN)), corrections)
        .with_columns(-pl.col("amount"))
        .join(originals.select("seq", "start_us", "of_call"), on="seq", how="inner")
        .with_row_index("entry")
    )
    bounds = ("valid_from_s", "valid_until_s")
    placed = taken.join(_places(taken, accounts, catalogue), on="entry", how="left").with_columns(
        pl.col("valid_from_s").fill_null(0), pl.col("valid_until_s").fill_null(GONE_S)
    )
    summed = (
        placed.group_by("seq", *BALANCE_KEY, *bounds, "other")
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") != 0)
        .with_columns(pl.lit(KEPT, pl.Int64).alias("granted"))
        .sort("seq", *BALANCE_KEY, *bounds, "other")
    )
    return listed(settled(summed), "seq")


def _places(taken: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> pl.DataFrame:
    """The row of its account that each entry (`entry`) is of, by its bounds; none where the account let it go.

    The ledger names a balance and not its end. Of several it is the one that stands as the entry left it, then one that
    was given as much, then the one that ends first, which is drawn on first.
    """
    names = pl.Series(catalogue.balances, dtype=pl.String)
    rows = rows_of(accounts, RowKind.BALANCE)
    rows = rows.with_columns(names.gather(rows["definition"]).alias("balance"))
    start_s = pl.col("start_us") // 1_000_000
    valid = (pl.col("valid_from_s") <= start_s) & (pl.col("valid_until_s") > start_s)
    return (
        taken.join(rows, on=BALANCE_KEY, how="inner", suffix="_row")
        .filter(valid | pl.col("of_call"))  # the call of a part may have been of another period before
        .sort(
            "entry",
            ~valid,
            pl.col("value") != pl.col("after"),
            pl.col("granted") != pl.col("granted_row"),
            "valid_until_s",
        )
        .unique("entry", keep="first", maintain_order=True)
        .select("entry", "valid_from_s", "valid_until_s")
    )


def _uncounted(originals: pl.DataFrame, accounts: Grouped, catalogue: Catalogue) -> pl.DataFrame:
    """What is taken off counters: `seq` of the record and `changes`; counters that ended long ago are gone."""
    at, counter, amount = _counted_of(originals, catalogue)
    names = pl.Series(catalogue.counters, dtype=pl.String)
    rows = rows_of(accounts, RowKind.COUNTER)
    found = (
        pl.DataFrame({"at": at, "counter": counter, "amount": -amount})
        .join(_users(originals).with_row_index("at"), on="at")
        .join(
            rows,
            left_on=("subscriber", "member", "counter"),
            right_on=("subscriber", "member", "definition"),
            how="inner",
        )
        .filter(
            (pl.col("valid_from_s") <= pl.col("start_us") // 1_000_000)
            & (pl.col("valid_until_s") > pl.col("start_us") // 1_000_000)
        )
    )
    told = found.with_columns(
        names.gather(found["counter"]).alias("balance"),
        pl.lit("").alias("other"),
        pl.lit(KEPT, pl.Int64).alias("granted"),
    )
    return listed(told, "seq")


def _users(originals: pl.DataFrame) -> pl.DataFrame:
    """Whose account each record was taken from, which member used it, and when."""
    return originals.select("seq", "subscriber", pl.col("member").fill_null(0), "start_us")


def _undrawn(
    originals: pl.DataFrame,
    entries: pl.DataFrame,
    corrections: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
) -> pl.DataFrame:
    """What members took of shared balances, given back to their limits; what ended long ago is gone."""
    shared = [name for at, name in enumerate(catalogue.balances) if catalogue.tables.balance_shared[at]]
    taken = (
        moved(entries.filter(pl.col("cause").is_in(_OWN)), corrections)
        .filter(pl.col("balance").is_in(shared), pl.col("other").is_in(["usage", "revenue"]))
        .group_by("seq", "balance", "period")
        .agg(pl.col("amount").sum())
    )
    rows = rows_of(accounts, RowKind.DRAWN)
    names = pl.Series(catalogue.balances, dtype=pl.String)
    found = taken.join(_users(originals), on="seq").join(
        rows.with_columns(names.gather(rows["definition"]).alias("balance")),
        on=("subscriber", "member", "balance", "period"),
        how="inner",
    )
    return listed(
        found.filter(pl.col("amount") != 0).with_columns(
            pl.lit("").alias("other"), pl.lit(KEPT, pl.Int64).alias("granted")
        ),
        "seq",
    )


def _counted_of(originals: pl.DataFrame, catalogue: Catalogue) -> tuple[Array, Array, Array]:
    """Which counters count each record, and how much: rows of `originals`, numbers of counters, amounts."""
    versions = {name: number for number, name in reversed(list(enumerate(catalogue.versions)))}
    version = originals["plan"].cast(pl.String).replace_strict(versions, default=-1, return_dtype=pl.Int64)
    used = (originals["units"] != 0) | (originals["list_micros"] != 0)
    kinds = originals["kind"].to_numpy()
    room = max(len(originals) * len(catalogue.counters), 1)
    at, counter, amount = np.empty(room, np.uint32), np.empty(room, np.uint16), np.empty(room, np.int64)
    found = _count_each(
        vectors(catalogue).t, used.to_numpy(), version.to_numpy(), originals["node"].to_numpy(), kinds,
        originals["direction"].to_numpy(), originals["visited_plmn"].to_numpy(), unit_of(kinds),
        originals["units"].to_numpy(), originals["charged_micros"].to_numpy(), at, counter, amount,
    )  # fmt: skip
    return at[:found], counter[:found], amount[:found]


@nb.njit(nogil=True, cache=True)
def _count_each(
    t: Array, used: Array, version: Array, node: Array, kind: Array, direction: Array, plmn: Array, unit: Array,
    units: Array, charged: Array, at: Array, counter: Array, amount: Array,
) -> int:  # fmt: skip
    """Ask every counter of each record's plan version; how many count."""
    found = nb.int64(0)
    for row in range(len(version)):
        zone = zone_of(t, nb.int64(plmn[row]))
        if not used[row] or version[row] < 0 or node[row] < 0 or zone < 0:
            continue
        use = Use(
            nb.int64(row), nb.int64(kind[row]), nb.int64(direction[row]), nb.int64(zone), nb.int64(node[row]),
            nb.int64(0), nb.int64(0), nb.int64(0), nb.int64(1), nb.int64(unit[row]), nb.int64(units[row]),
            nb.int64(version[row]), nb.int64(0), nb.int64(0), nb.int64(0), nb.int64(-1), nb.int64(0), nb.int64(0),
            nb.int64(0),
        )  # fmt: skip
        plan = t[VERSION] + use.version * VERSION_W
        first = t[COUNTED] + t[plan + V_COUNTED]
        for place in range(first, first + t[plan + V_COUNTEDS]):
            of = t[t[COUNTER] + t[place] * COUNTER_W + C_UNIT]
            counted = (
                nb.int64(charged[row]) if of == _MONEY else (use.units if of == use.unit else nb.int64(0))
            )
            if counted != 0 and counts(t, t[place], use):
                at[found], counter[found], amount[found] = row, t[place], counted
                found += 1
    return found


def with_references(usage: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    """Charged usage (`CHARGED`) with what refers to it, of the corrections of it and of those that it made.

    Added are `corrected_micros`, which its corrections add to what was charged; `cancelled_by` and `corrected_by`, the
    record of the same source that took it back; and `corrects`, the record whose place it took. Null where none.
    """
    name = pl.col("correction_id")
    record = pl.col("source").cast(pl.String)
    of = corrections.group_by(RECORD).agg(
        pl.col("charged_micros").sum().alias("corrected_micros"),
        *(
            name.filter(name.str.starts_with(begins)).last().str.strip_prefix(begins).alias(column)
            for begins, column in ((CANCELLED, "cancelled_by"), (CORRECTED, "corrected_by"))
        ),
    )
    made = corrections.filter(name.str.starts_with(CORRECTED)).select(
        record.alias("_source"),
        name.str.strip_prefix(CORRECTED).alias("_name"),
        pl.col("record_id").alias("corrects"),
    )
    return (
        usage.join(of, on=RECORD, how="left", maintain_order="left")
        .with_columns(pl.col("corrected_micros").fill_null(0), record.alias("_source"))
        .join(
            made,
            left_on=("_source", "record_id"),
            right_on=("_source", "_name"),
            how="left",
            maintain_order="left",
        )
        .drop("_source")
    )


def reversed_records(corrections: pl.DataFrame) -> pl.DataFrame:
    """The names (`RECORD`) of the records that were taken back."""
    return corrections.filter(is_reversal()).select(RECORD).unique()
