"""The reference of tariffs is whole and true: its blocks are one tariff that compiles, and every key stands in it."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from trunkline.charging.tariffs import (
    billing,
    check,
    compile_catalogue,
    describe,
    empty_register,
    exchange,
    literals,
    plans,
    rates,
    reading,
    sections,
    sheets,
)
from trunkline.charging.tariffs.bill_rules import CHARGES
from trunkline.charging.tariffs.tariff import MODES, PERIODS, UNITS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "tariffs.md").read_text()
BLOCKS = re.findall(r"^```(yaml|csv) ?(\S*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FILES = {name or f"{at:02d}.yaml": text for at, (_, name, text) in enumerate(BLOCKS)}
KEYS = {
    *reading.SECTIONS,
    *sections.OPERATOR_KEYS,
    *sections.BALANCE_KEYS,
    *sections.ROLLOVER_KEYS,
    *sections.PRO_RATA_KEYS,
    *sections.USED,
    *sections.ON_CHANGE,
    *sections.COUNTER_KEYS,
    *sections.ROW_KEYS,
    *rates.RATE_KEYS,
    *rates.ROUNDING_KEYS,
    *rates.METHODS,
    *plans.PLAN_KEYS,
    *plans.PRICE_KEYS,
    *plans.PAYMENTS,
    *sheets.PRICE_COLUMNS,
    *billing.FEE_KEYS,
    *billing.PRO_RATA,
    *billing.DISCOUNT_KEYS,
    *billing.DISCOUNT_TIER_KEYS,
    *billing.TAX_KEYS,
    *billing.BILLING_KEYS,
    *billing.PAYABLE_KEYS,
    *exchange.RATE_KEYS,
    *exchange.EXCHANGE_KEYS,
    *CHARGES,
    *MODES,
    *PERIODS,
    *UNITS,
}


def test_blocks_of_the_page_are_one_tariff() -> None:
    """What the page shows can be copied as it is."""
    assert check(FILES) == []
    catalogue = compile_catalogue(FILES, empty_register())[0]
    assert catalogue.versions == ("payg@2026-01-01", "handling@always")
    assert "payg@2026-01-01 voice originating home France mobile" in catalogue.lines


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_is_explained(key: str) -> None:
    """Each key and closed word stands on the page, in code font or as a heading."""
    assert f"`{key}`" in PAGE or f"## {key}\n" in PAGE


@pytest.mark.parametrize("suffix", sorted(set(literals.SUFFIXES) - {"min", "kB"}))
def test_every_unit_is_explained(suffix: str) -> None:
    """Each unit of durations and volumes has its example."""
    assert re.search(rf"`\d+{suffix}`", PAGE)


def test_the_rounding_example_is_right() -> None:
    """The figures of the page, worked out with fractions."""
    exact = Fraction(1, 10) / 60
    assert f"| 1/{exact.denominator} | {float(round(61 * exact, 6))} |" in PAGE
    rounded = round(exact, 5)
    assert f"| {float(rounded)} | {float(61 * rounded)} |" in PAGE


def test_the_tariff_can_be_told() -> None:
    """Showing a tariff gives every row of it words."""
    told = describe(FILES, "payg")
    assert [row["plan"] for row in told.plans] == ["payg"]
    prices = {(row["to"], row["when"]): row["price"] for row in told.prices}
    assert prices["uk_mobile", "peak"] == "0.10 per 60s by 60s, then 1s + 0.05 once"
    assert prices["premium", "night"] == "not sold"
    assert prices["France (33)", ""] == "0.05 per 60s by 60s, then 1s"
    assert prices["on_net, emergency", ""] == "free"
    assert (
        prices["uk_fixed", ""]
        == "0.10 per 60s by 1s; after 100m: 0.05 per 60s by 1s (tiers by national_minutes)"
    )
    assert {row["schedule"] for row in told.schedules} == {"office", "party"}
    assert [row["counter"] for row in told.counters] == ["national_minutes", "spend"]
    with pytest.raises(ValueError, match="did you mean"):
        describe(FILES, "pay")
