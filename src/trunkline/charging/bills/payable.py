"""What a bill comes to in the currency that its plan is billed in, by the dated rate of its period's end.

The ledger has one currency, and so do the lines of a bill. Only the total is brought into another one, once, in whole
numbers of any size, and rounded by that currency's own rule. The bill keeps the rate, so that whoever reads it can
work the amount out again, whatever becomes of the tariff.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.exchange_rules import ExchangeRate
from trunkline.kernel.money import Rounding, divide
from trunkline.records.bills import PAYABLE

MICRO_DECIMALS = 6
CURRENCIES = pl.Schema(
    {"currency": pl.String}
    | dict.fromkeys(("bills", "bill_micros", "ledger_micros", "payable_micros"), pl.Int64)
)


class Missing(NamedTuple):
    """A currency without a rate at the end of some accounts' period."""

    currency: str
    until_us: int
    accounts: int


def missing_rates(terms: pl.DataFrame, catalogue: Catalogue) -> list[Missing]:
    """For what no bill could be made, of accounts to bill (`Cycles.terms`): by currency and end of period."""
    if not catalogue.bills.payable:
        return []
    ends = terms.group_by("terms", "until_us").agg(pl.len().alias("accounts")).rows()
    return together(
        Missing(currency, until_us, accounts)
        for at, until_us, accounts in ends
        if (currency := _billed_in(at, catalogue)) and _rate_at_end(currency, until_us, catalogue) is None
    )


def together(parts: Iterable[Missing]) -> list[Missing]:
    """What is missing, a row for each currency and end of period."""
    found: dict[tuple[str, int], int] = {}
    for currency, until_us, accounts in parts:
        found[currency, until_us] = found.get((currency, until_us), 0) + accounts
    return [Missing(*key, accounts) for key, accounts in sorted(found.items())]


def payable(bills: pl.DataFrame, catalogue: Catalogue) -> pl.Series:
    """`PAYABLE` of bills (`terms`, `until_us`, `total_micros`); where one is needed, there is a rate."""
    found: list[dict[str, Any] | None] = [None] * len(bills)
    known: dict[tuple[int, int], dict[str, Any] | None] = {}
    if catalogue.bills.payable:
        for row, (at, until_us, total) in enumerate(
            bills.select("terms", "until_us", "total_micros").iter_rows()
        ):
            if (at, until_us) not in known:
                known[at, until_us] = _by_rate(at, until_us, catalogue)
            rate = known[at, until_us]
            if rate is not None:
                found[row] = rate | {"micros": worth(total, rate)}
    return pl.Series("payable", found, dtype=PAYABLE)


def worth(micros: int, rate: Mapping[str, Any]) -> int:
    """An amount of a bill's currency in the one that it is to be paid in, by the rate and rounding that it keeps."""
    step = 10 ** (MICRO_DECIMALS - rate["decimals"])
    return divide(micros * rate["theirs"], rate["ours"] * step, Rounding(rate["rounding"])) * step


def by_currency(bills: pl.DataFrame, ledger: pl.Expr) -> pl.DataFrame:
    """Sums of bills by the currency that they are to be paid in (`CURRENCIES`); of two, nothing is ever added."""
    other = pl.col("payable").struct
    return added(
        bills.select(
            other.field("currency").fill_null(pl.col("currency")).alias("currency"),
            pl.lit(1, pl.Int64).alias("bills"),
            pl.col("total_micros").alias("bill_micros"),
            ledger.alias("ledger_micros"),
            other.field("micros").fill_null(pl.col("total_micros")).alias("payable_micros"),
        )
    )


def added(parts: pl.DataFrame) -> pl.DataFrame:
    """Rows of `CURRENCIES`, added up to one for each currency."""
    return parts.group_by("currency").sum().sort("currency").cast(CURRENCIES)


def _by_rate(at: int, until_us: int, catalogue: Catalogue) -> dict[str, Any] | None:
    """What `PAYABLE` says beside the amount; None for what is paid in the bill's own currency."""
    currency = _billed_in(at, catalogue)
    if not currency:
        return None
    [rule] = [each for each in catalogue.bills.payable if each.currency == currency]
    rate = _rate_at_end(currency, until_us, catalogue)
    assert rate is not None, f"no rate of {currency} at the end of a period"
    return {
        "currency": currency,
        "ours": rate.ours,
        "theirs": rate.theirs,
        "since_us": rate.since_us,
        "source": rate.source,
        "decimals": rule.decimals,
        "rounding": int(rule.mode),
    }


def _billed_in(at: int, catalogue: Catalogue) -> str:
    """The other currency that the plan is billed in with which a period ends; empty for the tariff's own."""
    return catalogue.bills.terms[at].billed_in if at >= 0 else ""


def _rate_at_end(currency: str, until_us: int, catalogue: Catalogue) -> ExchangeRate | None:
    """The rate of a period's last moment: one that begins with the next period is not of this one."""
    return None if catalogue.exchange is None else catalogue.exchange.rate_at(currency, until_us - 1)
