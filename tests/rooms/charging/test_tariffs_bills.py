"""What a tariff says of bills is checked like all the rest: each mistake with its line, and told in words."""

from __future__ import annotations

import pytest

from trunkline.charging.tariffs import check, compare, compile_catalogue, describe, empty_register
from trunkline.charging.tariffs.bill_rules import ProRata
from trunkline.kernel.money import Rounding

START = """operator: {currency: JPY, time_zone: Asia/Tokyo}
balances: {main: {unit: money, main: true}}
zones: {world: {default: true}}
rates: {r: {price: "1", per: 1}}
"""
PLAN = "plan: p\nprices: [{usage: sms, to: any, rate: r}]\n"
FULL = """
billing: {rounding: half_even, due: 30d}
discounts: {d: {of: [usage], tiers: [{from: "100", percent: "2.5"}], after: 12}}
taxes: {t: {percent: "8.875%", zones: [home], from: 2026-01-01, included: true}}
"""
PLAN_TERMS = """
fees: {monthly: "500", door: {amount: "9", once: true}, fix: {amount: "7", pro_rata: none}}
discounts: [d]
"""


@pytest.mark.parametrize(
    ("more", "plan", "line", "said"),
    [
        ("", "fees: {a: {once: true}}", 3, 'fee "a" needs an amount'),
        ("", "fees: {a: x}", 3, '"x" is not an amount'),
        ("", 'fees: {a: {amount: "1", once: true, pro_rata: none}}', 3, "remove `pro_rata`"),
        ("", "discounts: [d]", 3, 'no discount is called "d"'),
        ("", 'minimum: "5"\ncap: "4"', 1, "`cap` is below `minimum`"),
        ("discounts: {d: {of: [usage]}}", "", 5, "needs either `percent"),
        ('discounts: {d: {percent: "101"}}', "", 5, "not a percentage from 0 to 100"),
        ("discounts: {d: {tiers: []}}", "", 5, "`tiers` is a list"),
        (
            'discounts: {d: {tiers: [{from: "2", percent: "1"}, {from: "2", percent: "2"}]}}',
            "",
            5,
            "tiers ascend",
        ),
        ('discounts: {d: {of: [calls], percent: "1"}}', "", 5, '`of` cannot be "calls"'),
        ("taxes: {t: {of: [usage]}}", "", 5, "needs its rate"),
        ('taxes: {t: {percent: "19", zones: [eu]}}', "", 5, 'no zone is called "eu"'),
        ('taxes: {t: {percent: "19", time_zones: [Europe/Nowhere]}}', "", 5, "Europe/Nowhere"),
        ('taxes: {t: {percent: "19", from: 2026-01-02, until: 2026-01-02}}', "", 5, "this tax never holds"),
        ("billing: {due: soon}", "", 5, "not a whole number"),
        ("billing: {}\n---\nbilling: {}", "", 7, "there is a billing section"),
    ],
)
def test_mistakes_are_told_with_their_line(more: str, plan: str, line: int, said: str) -> None:
    """Every mistake stands where it was made."""
    found = check({"a.yaml": START + more, "p.yaml": PLAN + plan})
    assert [each for each in found if said in each.text and each.line == line], [str(each) for each in found]


def test_it_compiles_to_whole_numbers() -> None:
    """Percent become millionths, dates moments, and coins follow the currency."""
    rules = compile_catalogue({"a.yaml": START + FULL, "p.yaml": PLAN + PLAN_TERMS}, empty_register())[
        0
    ].bills
    assert (rules.decimals, rules.line_decimals, rules.mode, rules.due_days) == (0, 0, Rounding.HALF_EVEN, 30)
    assert rules.discounts[0].tiers == ((100_000_000, 25_000),)
    assert rules.taxes[0].millionths == 88_750
    assert rules.tax_moments_us == (1_767_193_200_000_000,)  # midnight in Tokyo
    [terms] = rules.terms
    assert [(fee.name, fee.once, fee.pro_rata) for fee in terms.fees] == [
        ("monthly", False, ProRata.DAY),
        ("door", True, ProRata.DAY),
        ("fix", False, ProRata.NONE),
    ]
    assert terms.discounts == (0,)


def test_it_is_told_and_compared_in_words() -> None:
    """`tariff show` and `tariff diff` know fees, discounts and taxes."""
    files = {"a.yaml": START + FULL, "p.yaml": PLAN + PLAN_TERMS}
    told = describe(files)
    assert (
        told.plans[0]["fees"] == "monthly 500.00 a month by the day, door 9.00 once, fix 7.00 a month in full"
    )
    assert told.discounts[0]["percent"] == "2.50 % from 100.00 on"
    assert told.taxes[0]["percent"] == "8.875 % included"
    dearer = {**files, "a.yaml": (START + FULL).replace("8.875%", "9%").replace("30d", "20d")}
    assert [(change.what, change.after) for change in compare(files, dearer)] == [
        ("billing, due", "20 days"),
        ("tax t, percent", "9.00 % included"),
    ]
