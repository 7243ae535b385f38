"""What a bill comes to in the currency that its plan is billed in: dated rate, rounding, refusals."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.billing_room import billed, grouped
from tests.charging_room import Platform
from tests.rooms.charging.bills.test_bill import ANNA, BEN, OPERATOR, PRICES, at
from tests.tariff_strategies import tried
from trunkline.charging.bills.check import check
from trunkline.charging.bills.cycles import LAST_BILLS, cycles
from trunkline.charging.bills.payable import missing_rates, worth
from trunkline.charging.tariffs.checking import check as mistakes_of
from trunkline.kernel.money import HIGHEST, Rounding

MODES = {
    Rounding.UP: ROUND_UP,
    Rounding.DOWN: ROUND_DOWN,
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
}
BILLIONTHS = st.integers(1, 10**16)


def platform(rates: str, currency: str, fee: str = "10.00", more: str = "") -> Platform:
    """Anna on a plan that is billed in another currency, Ben on one that is not."""
    files = {
        "operator.yaml": f"{OPERATOR}{more}\nexchange: {{rates: [{rates}]}}\n",
        "abroad.yaml": f'plan: abroad\nbilled_in: {currency}\nfees: {{monthly: "{fee}"}}\n{PRICES}',
        "home.yaml": f'plan: home\nfees: {{monthly: "3.00"}}\n{PRICES}',
    }
    made = Platform.under(files)
    made.enrol(
        [{"subscriber": ANNA, "plan": "abroad", "payment": "postpaid"}, {"subscriber": BEN, "plan": "home"}]
    )
    return made


def payable_of(frame: pl.DataFrame) -> dict[str, Any]:
    """What Anna's bill is to be paid in."""
    mine: dict[str, Any] = frame.filter(pl.col("payable").is_not_null())["payable"].item()
    return mine


@pytest.mark.parametrize(
    ("rates", "currency", "fee", "more", "micros"),
    [
        ('{currency: USD, buys: "1.1663"}', "USD", "10.00", "", 11_660_000),  # 11.663
        ('{currency: USD, buys: "1.1663"}', "USD", "10.00", "billing: {payable: {USD: {rounding: up}}}", 11_670_000),
        ('{currency: USD, rate: "0.8574"}', "USD", "10.00", "", 11_660_000),  # 11.6631…
        ('{currency: JPY, buys: "163.25"}', "JPY", "10.00", "", 1_633_000_000),  # 1632.5
        ('{currency: JPY, buys: "163.25"}', "JPY", "10.00", "billing: {rounding: half_even}", 1_632_000_000),
        ('{currency: KWD, rate: "2.8"}', "KWD", "10.00", "", 3_571_000),  # 3.5714…
        ('{currency: KWD, rate: "2.8"}', "KWD", "10.00", "billing: {payable: {KWD: {decimals: 2}}}", 3_570_000),
        ('{currency: USD, rate: "0.8574"}', "USD", "0.00", "", 0),
    ],
)  # fmt: skip
def test_a_total_in_another_currency(rates: str, currency: str, fee: str, more: str, micros: int) -> None:
    """A table that a clerk can check: the rate either way, coins of 0, 2 and 3 digits, rounding by name."""
    found = billed(platform(rates, currency, fee, more), 202610)
    said = payable_of(found)
    assert (said["currency"], said["micros"]) == (currency, micros)
    assert found["currency"].to_list() == ["EUR", "EUR"]


def test_the_rate_of_the_last_moment_holds() -> None:
    """A rate that begins with the next period is not of this one; date and publisher stand on the bill."""
    rates = ", ".join(
        f'{{currency: USD, since: {day}, buys: "{rate}", source: Example Bank}}'
        for day, rate in (("2026-10-01", "1.1"), ("2026-10-31", "1.2"), ("2026-11-01", "1.3"))
    )
    made = platform(rates, "USD")
    first = billed(made, 202610)
    october, november = payable_of(first), payable_of(billed(made, 202611, last=first))
    assert (october["micros"], october["source"]) == (12_000_000, "Example Bank")
    assert october["since_us"] == at("2026-10-30T23:00:00")
    assert november["micros"] == 13_000_000


def test_a_missing_rate_is_told_before_a_bill_is_made() -> None:
    """By currency and end of period, with how many accounts wait for it; who needs no rate is not among them."""
    made = platform('{currency: USD, since: 2026-11-01, buys: "1.1"}', "USD")

    def missing(period: int) -> list[tuple[str, int, int]]:
        due = cycles(grouped(made), pl.DataFrame(schema=LAST_BILLS), made.catalogue, period)
        found = missing_rates(due.terms, made.catalogue)
        return [(each.currency, each.until_us, each.accounts) for each in found]

    assert missing(202610) == [("USD", at("2026-10-31T23:00:00"), 1)]
    assert missing(202611) == []


def test_checking_works_the_amount_out_again() -> None:
    """A changed amount is named with its bill, and sums of two currencies stand apart."""
    made = platform('{currency: USD, buys: "1.1663"}', "USD")
    bills = billed(made, 202610).with_columns(pl.lit(1, pl.Int64).alias("seq"))
    entries = made.table("entries")
    whose = pl.col("payable").struct
    changed = bills.with_columns(whose.with_fields(pl.field("micros") + 10_000))
    found = check(changed, entries, made.catalogue)
    named = found.differences.filter(pl.col("what") == "the total by its rate")
    assert named.select("bill_micros", "ledger_micros").rows() == [(11_670_000, 11_660_000)]
    right = check(bills, entries, made.catalogue)
    assert "the total by its rate" not in right.differences["what"].to_list()
    sums = right.currencies.select("currency", "bills", "bill_micros", "payable_micros").rows()
    assert sums == [("EUR", 1, 3_000_000, 3_000_000), ("USD", 1, 10_000_000, 11_660_000)]


@tried(200)
@given(
    micros=st.integers(-HIGHEST, HIGHEST), ours=BILLIONTHS, theirs=BILLIONTHS, decimals=st.integers(0, 6),
    mode=st.sampled_from(sorted(MODES)),
)  # fmt: skip
def test_any_amount_at_any_rate(micros: int, ours: int, theirs: int, decimals: int, mode: Rounding) -> None:
    """As decimals of any length say, rounded once; nothing is worth nothing, and a debt as much as a credit."""
    rate = {"ours": ours, "theirs": theirs, "decimals": decimals, "rounding": int(mode)}
    found = worth(micros, rate)
    step = 10 ** (6 - decimals)
    # Enough digits to be on the right side of every half: a remainder is at least 1 / (ours * step).
    exact = Context(prec=80).divide(Decimal(micros) * theirs, Decimal(ours) * step)
    assert found == int(exact.to_integral_value(MODES[mode])) * step
    assert worth(-micros, rate) == -found
    assert worth(0, rate) == 0


def test_mistakes_are_named() -> None:
    """A plan billed in what nobody knows the worth of, a rule for nothing, a rate in two ways and in none."""
    exchange = 'exchange: {rates: [{currency: USD, rate: "1", buys: "1"}, {currency: CHF}]}\n'
    files = {
        "a.yaml": f"{OPERATOR}billing: {{payable: {{SEK: {{decimals: 3}}}}}}\n{exchange}",
        "b.yaml": f"plan: p\nbilled_in: JPY\n{PRICES}",
    }
    told = " ".join(each.text for each in mistakes_of(files))
    for words in ("is billed in JPY, and nothing says", "no plan is billed in SEK", "0 to 2"):
        assert words in told
    assert told.count("is written once") == 2
