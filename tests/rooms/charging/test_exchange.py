"""Prices in another currency are charged by the rate of their moment; without a rate they are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.pricing import Use
from tests.opinion.subscribed import books_of
from tests.rooms.charging.test_rating_second_opinion import compare
from tests.tariff_strategies import tried
from trunkline.charging.tariffs.checking import check

TARIFF = """
operator: {currency: EUR, time_zone: UTC, default_plan: p}
balances: {main: {unit: money, main: true}}
rates: {theirs: {price: record}}
exchange:
  rates:
    - {currency: USD, rate: "0.86"}
    - {currency: USD, since: 2026-11-01, rate: "0.857425999"}
    - {currency: JPY, since: 2026-11-01, rate: "0.006125"}
    - {currency: CHF, buys: "0.93", source: Example Bank}
"""
PLAN = "plan: p\nprices: [{usage: content, to: any, rate: theirs}]\n"


def bought(seq: int, amount_micros: int, currency: str, when: str = "2026-11-05") -> Use:
    """A purchase."""
    start_us = int(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()) * 1_000_000
    return Use(
        seq, "shop", f"r{seq}", "content", "441", start_us, 1, amount_micros=amount_micros, currency=currency
    )


@pytest.mark.parametrize(
    ("more", "amount", "currency", "when", "charged"),
    [
        ("", 1_990_000, "EUR", "2026-11-05", 1_990_000),
        ("", 1_000_000, "USD", "2026-10-31", 860_000),
        ("", 1_000_000, "USD", "2026-11-01", 860_000),  # 0.857425999 to the cent
        ("  decimals: 6\n", 1_000_000, "USD", "2026-11-01", 857_426),
        ("  decimals: 6\n  rounding: down\n", 1_000_000, "USD", "2026-11-01", 857_425),
        ("", 1_500_000_000, "JPY", "2026-11-05", 9_190_000),  # 9.1875
        ("  rounding: down\n", 1_500_000_000, "JPY", "2026-11-05", 9_180_000),
        ("", 1_500_000_000, "JPY", "2026-10-05", None),
        ("", 930_000, "CHF", "2026-11-05", 1_000_000),
        ("", 1_000_000, "CHF", "2026-11-05", 1_080_000),  # 1.0752…
        ("  decimals: 6\n  rounding: up\n", 1_000_000, "CHF", "2026-11-05", 1_075_269),
        ("", 1_000_000, "GBP", "2026-11-05", None),
    ],
)
def test_a_price_in_another_currency(
    more: str, amount: int, currency: str, when: str, charged: int | None
) -> None:
    """A table that a tariff clerk can check, and the second opinion does."""
    files = {"a.yaml": TARIFF + more, "p.yaml": PLAN}
    platform = Platform.under(files)
    uses = [bought(1, amount, currency, when)]
    platform.charge(uses)
    compare(platform, books_of(files, [], uses))
    if charged is None:
        assert platform.table("rejected")["reason"].to_list() == ["wrong_currency"]
    else:
        assert platform.table("charged")["charged_micros"].to_list() == [charged]


@tried(50)
@given(
    amounts=st.lists(st.tuples(st.integers(0, 2**50), st.sampled_from(["USD", "JPY", "EUR", "GBP"])), max_size=9),
    rate=st.integers(1, 10**12), decimals=st.integers(0, 6),
    mode=st.sampled_from(["up", "down", "half_up", "half_even"]), way=st.sampled_from(["rate", "buys"]),
)  # fmt: skip
def test_any_amount_and_rate(
    amounts: list[tuple[int, str]], rate: int, decimals: int, mode: str, way: str
) -> None:
    """Whatever the size: exact, and rounded once; the ledger holds what was charged."""
    said = f"{rate // 10**9}.{rate % 10**9:09d}"
    sheet = f"currency,since,{way}\nUSD,2026-01-01,{said}\nJPY,2026-12-01,1\n"
    text = TARIFF.partition("exchange:")[0]
    text += f"exchange: {{sheet: rates.csv, decimals: {decimals}, rounding: {mode}}}\n"
    files = {"a.yaml": text, "p.yaml": PLAN, "rates.csv": sheet}
    uses = [bought(seq, amount, currency) for seq, (amount, currency) in enumerate(amounts)]
    platform = Platform.under(files)
    platform.charge(uses)
    charged = dict(platform.table("charged").select("seq", "charged_micros").rows())
    for use in uses:
        worth = Fraction(rate, 10**9) if way == "rate" else Fraction(10**9, rate)
        exact = use.amount_micros * (worth if use.currency == "USD" else Fraction(1))
        if use.seq in charged:
            assert abs(charged[use.seq] - exact) <= (10 ** (6 - decimals) if use.currency == "USD" else 0)
    entries = platform.table("entries")
    assert entries["amount"].sum() == sum(charged.values())


def test_mistakes_are_named() -> None:
    """The tariff's own currency, a date twice, a rate of nothing, and one that is too fine."""
    text = (
        TARIFF
        + """    - {currency: EUR, rate: "1"}
    - {currency: USD, since: 2026-11-01, rate: "0"}
    - {currency: CHF, rate: "1.0000000001"}
"""
    )
    told = " ".join(each.text for each in check({"a.yaml": text, "p.yaml": PLAN}))
    for words in ("own currency", "has a rate of that date", "not a rate above 0", "nine decimals"):
        assert words in told
