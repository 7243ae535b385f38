"""Tariffs in words: what a plan costs, and what changed between two folders, as a clerk would tell it."""

from pathlib import Path

import numpy as np
import pytest

from trunkline.charging.tariffs import Change, compare, compile_catalogue, describe, empty_register
from trunkline.charging.tariffs.catalogue import find_ranges
from trunkline.kernel import dial

EXAMPLE = Path(__file__).parents[3] / "examples" / "tariffs"
FILES = {path.name: path.read_text() for path in sorted(EXAMPLE.iterdir())}


@pytest.mark.parametrize(
    ("digits", "destination", "line"),
    [
        ("447700900123", "uk_mobile", "payg@2026-01-01 voice originating home uk_mobile"),
        ("442079460123", "london", "payg@2026-01-01 voice originating home london"),
        ("441134960123", "leeds", "payg@2026-01-01 voice originating home leeds"),
        ("441614960123", "manchester", "payg@2026-01-01 voice originating home manchester"),
        ("443069990123", "uk_wide", "payg@2026-01-01 voice originating home uk_wide"),
        ("448081570123", "freephone", "payg@2026-01-01 voice originating home freephone"),
        ("449098790123", "premium", "payg@2026-01-01 voice originating home premium"),
        (
            "12125550123",
            "United States and Canada",
            "payg@2026-01-01 voice originating home United States and Canada",
        ),
        ("33639981234", "France mobile", "payg@2026-01-01 voice originating home France mobile"),
        ("33199001234", "France", "payg@2026-01-01 voice originating home France"),
        ("493023125123", "Germany", "payg@2026-01-01 voice originating home Germany"),
        ("46846500412", "Sweden", "payg@2026-01-01 voice originating home Sweden"),
    ],
)
def test_example_prices_the_numbers_kept_for_drama(digits: str, destination: str, line: str) -> None:
    """Walk-ins of the example can call every range that regulators keep for invented calls."""
    catalogue = compile_catalogue(FILES, empty_register())[0]
    t = catalogue.tables
    node = find_ranges(t, np.array([dial.to_key(digits)], np.uint64))[0]
    version = t.plan_version_first[catalogue.default_plan]
    assert catalogue.nodes[node] == destination
    assert catalogue.lines[t.line_of[t.version_row[version, 2 * t.zones], node]] == line


def test_rows_of_a_plan() -> None:
    """A plan's prices in the written order, one row for each band and each line of a sheet."""
    told = describe(FILES, "payg")
    rows = [
        (row["usage"], row["zones"], row["to"], row["when"], row["price"], row["limits"])
        for row in told.prices
    ]
    rounding = ", rounded half_up to 4 decimals"
    assert rows[:5] == [
        ("voice, sms", "home", "freephone, emergency", "", "free", ""),
        ("voice", "home", "uk_mobile, uk_fixed, uk_wide", "peak", f"0.12 per 60s by 1s{rounding}", ""),
        ("voice", "home", "uk_mobile, uk_fixed, uk_wide", "off_peak", f"0.06 per 60s by 1s{rounding}", ""),
        (
            "voice",
            "home",
            "london, leeds, manchester",
            "",
            f"0.03 per 60s by 60s, then 1s{rounding}",
            "at most 2.00",
        ),
        ("voice", "home", "premium", "", f"1.50 per 60s by 60s + 0.50 once{rounding}", ""),
    ]
    assert [row["balance"] for row in told.balances] == ["main", "uk_minutes_5", "data_20mb"]
    assert [row["counter"] for row in told.counters] == ["spend"]
    assert len(describe(FILES).plans) == 4


def test_differences_by_meaning() -> None:
    """Moving, commenting and renaming rates is no change; what somebody pays or has is."""
    after = dict(FILES)
    after["more.yaml"] = after.pop("rates.yaml").replace("uk_peak:", "busy:").replace('"0.08"', "0.080")
    after["payg.yaml"] = "# moved\n" + after["payg.yaml"].replace("peak: uk_peak", "peak: busy")
    assert compare(FILES, after) == []
    after["international.csv"] = after["international.csv"].replace("Germany,49,0.025", "Germany,49,0.03")
    after["operator.yaml"] = (
        after["operator.yaml"]
        .replace('cap: "10.00"', 'cap: "20.00"')
        .replace('numbers: ["112", "999"]', 'numbers: ["112"]')
    )
    after["payg.yaml"] = after["payg.yaml"].replace(
        "peak: busy, off_peak: uk_off_peak", "peak: uk_off_peak, off_peak: local"
    )
    rounding = ", rounded half_up to 4 decimals"
    payg = "plan payg@2026-01-01, voice originating in zone home to"
    dear, cheap, least = (
        f"0.{pence} per 60s by {steps}{rounding}"
        for pence, steps in (("12", "1s"), ("06", "1s"), ("03", "60s, then 1s"))
    )
    assert compare(FILES, after) == [
        Change("counter spend, cap", "10.00", "20.00"),
        Change("destination emergency, number 999", "yes", ""),
        Change(f"{payg} Germany", f"0.025 per 60s by 1s{rounding}", f"0.03 per 60s by 1s{rounding}"),
        *(
            Change(f"{payg} {place}, {band}", *costs)
            for place in ("uk_fixed", "uk_mobile", "uk_wide")
            for band, costs in (("off_peak", (cheap, least)), ("peak", (dear, cheap)))
        ),
    ]
