"""A tariff compiles to what its clerk meant: tables of numbers, times and prices."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from trunkline.charging.tariffs import (
    Catalogue,
    Register,
    TariffError,
    compile_catalogue,
    empty_register,
    with_time_zones,
)
from trunkline.charging.tariffs.catalogue import FOREVER, NONE, find_ranges
from trunkline.kernel import dial
from trunkline.records.usage import Direction, Kind

EXAMPLE = Path(__file__).parents[3] / "examples" / "tariffs"

FRAME = """
operator: {currency: EUR, time_zone: Europe/London}
balances: {main: {unit: money, main: true}}
"""


def compiled(*texts: str, **sheets: str) -> Catalogue:
    """The catalogue of a few YAML texts and sheets; each text is a file."""
    files = {f"{at}.yaml": text for at, text in enumerate((FRAME, *texts))}
    files |= {f"{name}.csv": text for name, text in sheets.items()}
    return compile_catalogue(files, empty_register())[0]


def line_of(
    catalogue: Catalogue,
    kind: Kind,
    node: int,
    *,
    plan: str = "p",
    at: str = "2026-06-01T12:00:00+00:00",
    direction: Direction = Direction.ORIGINATING,
    zone: str = "home",
) -> int:
    """Number of the line that a use comes to; NONE when nothing prices it."""
    t = catalogue.tables
    us = int(datetime.fromisoformat(at).timestamp()) * 1_000_000
    number = catalogue.plans.index(plan)
    first = int(t.plan_version_first[number])
    versions = [
        version
        for version in range(first, first + int(t.plan_version_count[number]))
        if t.version_from_us[version] <= us
    ]
    if not versions:
        return NONE
    service = (int(kind) * 2 + int(direction)) * t.zones + catalogue.zones.index(zone)
    row = int(t.version_row[versions[-1], service])
    return NONE if row == NONE else int(t.line_of[row, node])


def node_of(catalogue: Catalogue, digits: str) -> int:
    """Node of a dialled number."""
    return int(find_ranges(catalogue.tables, np.array([dial.to_key(digits)], np.uint64))[0])


def called(catalogue: Catalogue, digits: str, plan: str = "p", at: str = "2026-06-01T12:00:00+00:00") -> str:
    """Name of the line of a call, or nothing."""
    line = line_of(catalogue, Kind.VOICE, node_of(catalogue, digits), plan=plan, at=at)
    return "" if line == NONE else catalogue.lines[line]


def slots_of(catalogue: Catalogue, line: int, band: int = 0) -> list[list[tuple[int, int, int]]]:
    """Every tier's slots of a line's rate in one band, as (from, increment, price)."""
    t = catalogue.tables
    rate = int(t.band_rate[t.line_band_first[line] + band])
    tiers = range(int(t.rate_tier_first[rate]), int(t.rate_tier_first[rate] + t.rate_tier_count[rate]))
    return [
        [
            (int(t.slot_from[slot]), int(t.slot_increment[slot]), int(t.slot_price[slot]))
            for slot in range(
                int(t.tier_slot_first[tier]), int(t.tier_slot_first[tier] + t.tier_slot_count[tier])
            )
        ]
        for tier in tiers
    ]


def rate_of(catalogue: Catalogue, line: int, band: int = 0) -> int:
    """Number of a line's rate in one band."""
    return int(catalogue.tables.band_rate[catalogue.tables.line_band_first[line] + band])


# -- where numbers lead ------------------------------------------------------------------------------------

PLACES = """
destinations:
  uk: {prefixes: ["+44"]}
  uk_mobile: {prefixes: ["447"]}
  jersey: {prefixes: ["447797"]}
  emergency: {numbers: ["112", "999"]}
  voicemail: {numbers: [voicemail]}
  ireland: {prefixes: ["353"]}
rates:
  one: {price: "0.01", per: 60s}
"""


def prices(*rows: str, plan: str = "p", more: str = "") -> str:
    """A plan with these rows of prices."""
    return "\n".join([f"plan: {plan}", more, "prices:", *(f"  - {{{row}}}" for row in rows)])


@pytest.mark.parametrize(
    ("digits", "line"),
    [
        ("447797123456", "p@always voice originating home jersey"),
        ("447700900123", "p@always voice originating home uk_mobile"),
        ("442079460000", "p@always voice originating home uk"),
        ("44", "p@always voice originating home uk"),
        ("4", "p@always voice originating home any"),
        ("112", "p@always voice originating home emergency"),
        ("1121", "p@always voice originating home any"),
        ("11", "p@always voice originating home any"),
        ("voicemail", "p@always voice originating home voicemail"),
        ("353861234567", "p@always voice originating home any"),
    ],
)
def test_longest_prefix_of_the_plan_wins(digits: str, line: str) -> None:
    """A number goes to the longest prefix that the plan prices; whole numbers have no continuation; `any` is last."""
    plan = prices(
        "usage: voice, to: any, rate: one",
        "usage: voice, to: [jersey], rate: one",
        "usage: voice, to: [uk], rate: one",
        "usage: voice, to: [uk_mobile, emergency, voicemail], rate: one",
    )
    assert called(compiled(PLACES, plan), digits) == line


def test_each_plan_has_its_own_longest_prefix() -> None:
    """A destination that only another plan prices does not hide the shorter one that this plan prices."""
    catalogue = compiled(
        PLACES,
        prices("usage: voice, to: [uk], rate: one"),
        prices("usage: voice, to: [jersey, uk_mobile], rate: one", plan="q"),
    )
    assert called(catalogue, "447797123456") == "p@always voice originating home uk"
    assert called(catalogue, "447797123456", plan="q") == "q@always voice originating home jersey"
    assert called(catalogue, "442079460000", plan="q") == ""
    assert catalogue.nodes[node_of(catalogue, "447797123456")] == "jersey"


def test_later_row_replaces_an_earlier_one() -> None:
    """Rows of prices are read like corrections: for the same destination the later row holds."""
    catalogue = compiled(
        PLACES,
        'rates: {two: {price: "0.02", per: 60s}}',
        prices("usage: voice, to: [uk, uk_mobile], rate: one", "usage: voice, to: [uk_mobile], rate: two"),
    )
    lines = [line_of(catalogue, Kind.VOICE, node_of(catalogue, digits)) for digits in ("442", "447")]
    assert [slots_of(catalogue, line)[0][0][2] for line in lines] == [10_000, 20_000]


def test_sheet_and_named_destinations_together() -> None:
    """A sheet brings destinations; a later row may make an exception of one of them, by the sheet's own name."""
    catalogue = compiled(
        PLACES,
        prices("usage: voice, sheet: world.csv", "usage: voice, to: [France mobile], rate: one"),
        world="destination,prefix,price,per,first,next,connect_fee,min_charge,max_cost\n"
        "# partners write comments\n"
        "France,33,0.05,60s,30s,1s,0.10,0.15,2.00\n"
        '"France mobile",336|337,0.15,60s,,,,,\n'
        "United Kingdom,44,0.02,1m,60s,,,,\n",
    )
    assert called(catalogue, "33199000000") == "p@always voice originating home France"
    assert called(catalogue, "33612345678") == "p@always voice originating home France mobile"
    assert called(catalogue, "447700900123") == "p@always voice originating home United Kingdom"
    assert catalogue.nodes[node_of(catalogue, "447700900123")] == "uk_mobile"
    france, mobile, uk = (
        line_of(catalogue, Kind.VOICE, node_of(catalogue, digits)) for digits in ("331", "336", "44")
    )
    assert slots_of(catalogue, france) == [[(0, 30_000, 75_000), (30_000, 1000, 2500)]]
    assert catalogue.tables.rate_den[rate_of(catalogue, france)] == 3
    assert slots_of(catalogue, mobile) == [[(0, 60_000, 10_000)]]
    assert slots_of(catalogue, uk) == [[(0, 60_000, 20_000)]]
    assert catalogue.tables.rate_fee[rate_of(catalogue, france)] == 100_000
    assert catalogue.tables.line_min_charge[france] == 150_000
    assert catalogue.tables.line_max_cost[france] == 2_000_000
    assert catalogue.tables.line_max_cost[uk] == NONE


def test_destinations_from_a_sheet() -> None:
    """`sheet` inside destinations reads their prefixes from CSV; rows of one name add up."""
    catalogue = compiled(
        "destinations: {sheet: places.csv}\nrates: {one: {price: 1, per: 60s}}",
        prices("usage: voice, to: [Spain], rate: one"),
        places="destination,prefix\nSpain,34\nSpain,3466|3467\nItaly,39\n",
    )
    assert called(catalogue, "3466") == "p@always voice originating home Spain"
    assert catalogue.nodes[node_of(catalogue, "39")] == "Italy"
    assert called(catalogue, "39") == ""


# -- fallback, versions, directions, zones, classes --------------------------------------------------------


def test_fallback_is_asked_in_turn_depth_first() -> None:
    """What a plan has no price for, not even `any`, is looked up in its fallbacks, and in theirs."""
    catalogue = compiled(
        PLACES,
        prices("usage: voice, to: [uk], rate: one", more="fallback: [q, r]"),
        prices("usage: voice, to: [ireland], rate: one", plan="q", more="fallback: [s]"),
        prices("usage: voice, to: any, rate: one", plan="r"),
        prices("usage: voice, to: [emergency], rate: one", plan="s"),
    )
    found = {digits: called(catalogue, digits).split("@")[0] for digits in ("447797", "353", "112", "49")}
    assert found == {"447797": "p", "353": "q", "112": "s", "49": "r"}


def test_versions_by_effective_date() -> None:
    """A later date is a next version; a date means its midnight in the operator's time zone."""
    catalogue = compiled(
        PLACES,
        prices("usage: voice, to: [uk], rate: one", more="effective: 2026-01-01"),
        prices("usage: voice, to: [uk], rate: one", more="effective: 2026-07-01"),
    )
    assert catalogue.versions == ("p@2026-01-01", "p@2026-07-01")
    table = {
        "2025-12-31T23:59:59+00:00": "",
        "2026-01-01T00:00:00+00:00": "p@2026-01-01",
        "2026-06-30T22:59:59+00:00": "p@2026-01-01",
        "2026-06-30T23:00:00+00:00": "p@2026-07-01",
    }
    assert {at: called(catalogue, "44", at=at).split(" ")[0] for at in table} == table


def test_new_version_of_a_fallback_is_a_new_version_of_the_plan() -> None:
    """The plan that falls back follows its fallback's dates."""
    catalogue = compiled(
        PLACES,
        prices("usage: voice, to: [uk], rate: one", more="fallback: [q]\neffective: 2026-01-01"),
        prices("usage: voice, to: any, rate: one", plan="q", more="effective: 2025-01-01"),
        prices("usage: voice, to: any, rate: one", plan="q", more="effective: 2026-07-01"),
    )
    assert catalogue.versions == (
        "p@2026-01-01",
        "p@2026-01-01 with q@2026-07-01",
        "q@2025-01-01",
        "q@2026-07-01",
    )
    assert called(catalogue, "49", at="2026-06-01T00:00:00+00:00").startswith("q@2025-01-01")
    assert called(catalogue, "49", at="2026-08-01T00:00:00+00:00").startswith("q@2026-07-01")


def test_being_called_is_free_unless_priced() -> None:
    """Terminating usage that no price names has one shared free line; one that is named has its price."""
    catalogue = compiled(
        PLACES,
        "zones: {eu: {plmn: [26201]}}",
        prices("usage: voice, zones: [eu], direction: terminating, to: any, rate: one"),
    )
    node = node_of(catalogue, "49")
    home = line_of(catalogue, Kind.VOICE, node, direction=Direction.TERMINATING)
    assert catalogue.lines[home] == "any plan terminating free"
    assert catalogue.tables.line_free[home] == 1
    abroad = line_of(catalogue, Kind.VOICE, node, direction=Direction.TERMINATING, zone="eu")
    assert catalogue.lines[abroad] == "p@always voice terminating eu any"
    assert line_of(catalogue, Kind.VOICE, node) == NONE


def test_networks_and_countries_lead_to_zones() -> None:
    """Home networks are zone 0; others by network, by country, or by default."""
    catalogue = compile_catalogue(
        {
            "a.yaml": "operator: {currency: EUR, home_plmn: ['00101', 23415]}\n"
            "balances: {main: {unit: money, main: true}}\n"
            "zones: {eu: {plmn: [26201], mcc: [208, '262']}, us: {plmn: [310410]}, world: {default: true}}",
            "p.yaml": "plan: p\nprices: [{usage: sms, zones: any, to: any, rate: free}]",
        },
        empty_register(),
    )[0]
    t = catalogue.tables
    assert catalogue.zones == ("home", "eu", "us", "world")
    assert dict(zip(t.plmn.tolist(), t.plmn_zone.tolist(), strict=True)) == {
        101: 0,
        23415: 0,
        26201: 1,
        310410: 2,
    }
    assert dict(zip(t.mcc.tolist(), t.mcc_zone.tolist(), strict=True)) == {208: 1, 262: 1}
    assert t.plmn_default == 3


def test_classes_in_written_order_and_the_rest_of_each_kind() -> None:
    """Classes stay in their order; usage that none of them takes has a class of its kind."""
    catalogue = compiled(
        """
classes:
  gaming: {usage: data, slices: ["1-000001", "01000002", 2], five_qi: [80]}
  internet: {usage: data, services: [internet]}
rates: {mb: {price: "0.01", per: 1MB, increments: [1KB]}, report: {price: "0.10", per: 1}}
""",
        prices(
            "usage: data, class: [internet], rate: mb",
            "usage: iot, rate: report",
            "usage: content, rate: {price: record}",
        ),
    )
    gaming, internet, data, iot, content = catalogue.classes
    assert gaming.slices == (0x01000001, 0x01000002, 0x02000000, 0x02FFFFFF)
    assert gaming.five_qis == (80,)
    assert [catalogue.nodes[each.node] for each in catalogue.classes] == [
        "gaming",
        "internet",
        "data",
        "iot",
        "content",
    ]
    assert line_of(catalogue, Kind.DATA, gaming.node) == NONE
    assert line_of(catalogue, Kind.DATA, data.node) == NONE
    assert slots_of(catalogue, line_of(catalogue, Kind.DATA, internet.node)) == [[(0, 1000, 10)]]
    assert slots_of(catalogue, line_of(catalogue, Kind.IOT, iot.node)) == [[(0, 1, 100_000)]]
    assert catalogue.tables.line_record_price[line_of(catalogue, Kind.CONTENT, content.node)] == 1


# -- what usage costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "denominator", "step", "slots"),
    [
        ('{price: "0.10", per: 60s}', 1, 1, [[(0, 60_000, 100_000)]]),
        ("{price: 0.10, per: 1m, increments: 1s}", 3, 1, [[(0, 1000, 5000)]]),
        (
            '{price: "0.10", per: 60s, increments: [60s, 1s]}',
            3,
            1,
            [[(0, 60_000, 300_000), (60_000, 1000, 5000)]],
        ),
        ('{price: "0.10", per: 60s, increments: [1s, 1s]}', 3, 1, [[(0, 1000, 5000)]]),
        ('{price: "0.10", per: 60s, increments: [1s], rounding: {decimals: 4}}', 3, 100, [[(0, 1000, 5000)]]),
        ('{price: "0.10", per: 60s, increments: [1s], rounding: {decimals: 8}}', 3, 1, [[(0, 1000, 5000)]]),
        (
            '{price: "0.10", per: 60s, increments: [1s], rounding: {method: each_increment, increment_decimals: 5}}',
            1,
            1,
            [[(0, 1000, 1670)]],
        ),
        (
            '{price: "0.10", per: 60s, increments: [1s], rounding: {method: each_increment, increment_mode: down}}',
            1,
            1,
            [[(0, 1000, 1666)]],
        ),
        (
            "{slots: [{from: 0s, price: 0.4, per: 1m, increment: 30s}, {from: 1m, price: 1, per: 5m, increment: 10s}]}",
            3,
            1,
            [[(0, 30_000, 600_000), (60_000, 10_000, 100_000)]],
        ),
        ('{price: "0.0000001", per: 1000, increments: [1]}', 10_000, 1, [[(0, 1, 1)]]),
    ],
)
def test_prices_of_increments(
    rate: str, denominator: int, step: int, slots: list[list[tuple[int, int, int]]]
) -> None:
    """The price of an increment is exact over the rate's denominator, or rounded beforehand when that is the rule."""
    catalogue = compiled(f"rates: {{one: {rate}}}", prices("usage: voice, to: any, rate: one"))
    line = line_of(catalogue, Kind.VOICE, 0)
    at = rate_of(catalogue, line)
    assert catalogue.tables.rate_den[at] == denominator
    assert catalogue.tables.rate_step[at] == step
    assert slots_of(catalogue, line) == slots


def test_rounding_of_the_operator_holds_unless_a_rate_says_otherwise() -> None:
    """A rate's rounding changes only what it names."""
    catalogue = compile_catalogue(
        {
            "a.yaml": "operator: {currency: EUR, rounding: {decimals: 2, mode: up}}\n"
            "balances: {main: {unit: money, main: true}}\n"
            'rates: {one: {price: "1", per: 60s}, two: {price: "1", per: 60s, rounding: {decimals: 3}}}',
            "p.yaml": prices("usage: voice, to: any, rate: one"),
            "q.yaml": prices("usage: voice, to: any, rate: two", plan="q"),
        },
        empty_register(),
    )[0]
    t = catalogue.tables
    rates = [rate_of(catalogue, line_of(catalogue, Kind.VOICE, 0, plan=plan)) for plan in ("p", "q")]
    assert [(int(t.rate_step[at]), int(t.rate_mode[at])) for at in rates] == [(10_000, 1), (1000, 1)]


def test_tiers_follow_a_counter_that_the_plan_then_keeps() -> None:
    """Tiers begin at accumulated usage; the counter that moves them is kept without being listed."""
    catalogue = compiled(
        """
counters: {national: {unit: time, every: month}}
rates:
  tiered:
    counter: national
    tiers:
      - {from: 0m, price: "0.10", per: 60s}
      - {from: 100m, slots: [{price: "0.05", per: 60s}, {from: 60s, price: "0.01", per: 60s}]}
""",
        prices("usage: voice, to: any, rate: tiered"),
    )
    t = catalogue.tables
    line = line_of(catalogue, Kind.VOICE, 0)
    assert slots_of(catalogue, line) == [
        [(0, 60_000, 100_000)],
        [(0, 60_000, 50_000), (60_000, 60_000, 10_000)],
    ]
    assert t.tier_from[t.rate_tier_first[rate_of(catalogue, line)] :][:2].tolist() == [0, 6_000_000]
    assert catalogue.counters[int(t.line_counter[line])] == "national"
    assert t.counted.tolist() == [catalogue.counters.index("national")]


def test_free_and_bands_without_a_price() -> None:
    """`free` takes nothing at all; `none` is not sold in that band."""
    catalogue = compiled(
        "schedules: {day: [{band: open, from: '09:00', to: '17:00'}, {band: closed}]}\n"
        'rates: {one: {price: "0.01", per: 60s}}\ndestinations: {help: {prefixes: ["0800"]}}',
        prices(
            "usage: voice, to: any, schedule: day, rate: {closed: none, open: one}",
            "usage: voice, to: [help], rate: free",
        ),
    )
    t = catalogue.tables
    usual = line_of(catalogue, Kind.VOICE, 0)
    assert t.line_schedule[usual] == 0
    assert [rate_of(catalogue, usual, band) != NONE for band in (0, 1)] == [True, False]
    assert t.line_free[[usual, line_of(catalogue, Kind.VOICE, node_of(catalogue, "08001"))]].tolist() == [
        0,
        1,
    ]


# -- time --------------------------------------------------------------------------------------------------


def band(catalogue: Catalogue, schedule: int, bands: tuple[str, ...], local: str) -> str:
    """The band of a schedule at a local time."""
    t = catalogue.tables
    at = datetime.fromisoformat(local)
    day = (at.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    first = int(t.schedule_special_first[schedule])
    specials = t.special_day[first : first + int(t.schedule_special_count[schedule])]
    assert (np.diff(specials) > 0).all(), "special days ascend"
    where = int(np.searchsorted(specials, day))
    special = where < len(specials) and specials[where] == day
    day_type = t.special_type[first + where] if special else t.schedule_day[schedule, at.weekday()]
    begin, count = int(t.day_first[day_type]), int(t.day_count[day_type])
    starts = t.segment_start_s[begin : begin + count]
    seconds = at.hour * 3600 + at.minute * 60 + at.second
    return bands[int(t.segment_band[begin + int(np.searchsorted(starts, seconds, side="right")) - 1])]


SCHEDULES = """
holidays: {national: ["2026-12-25", "12-26", "02-29"]}
schedules:
  office:
    - {band: holiday, dates: [national, 2026-06-02]}
    - {band: peak, days: [mon, tue, wed, thu, fri], from: "08:00", to: "19:00"}
    - {band: off_peak}
  night:
    - {band: party, days: [fri], from: "22:00", to: "06:00:30"}
    - {band: night, from: "22:00", to: "06:00"}
    - {band: day}
  salary:
    - {band: payday, month_days: [1], months: [1, 7], years: [2026, 2027], from: "00:00", to: "12:00"}
    - {band: rest}
"""


@pytest.mark.parametrize(
    ("schedule", "local", "expected"),
    [
        (0, "2026-06-01T07:59:59", "off_peak"),  # a Monday
        (0, "2026-06-01T08:00:00", "peak"),
        (0, "2026-06-01T18:59:59", "peak"),
        (0, "2026-06-01T19:00:00", "off_peak"),
        (0, "2026-06-06T12:00:00", "off_peak"),  # a Saturday
        (0, "2026-06-02T12:00:00", "holiday"),
        (0, "2026-12-25T12:00:00", "holiday"),
        (0, "2025-12-25T12:00:00", "peak"),
        (0, "2000-12-26T12:00:00", "holiday"),
        (0, "2060-12-26T12:00:00", "holiday"),
        (0, "2028-02-29T12:00:00", "holiday"),
        (1, "2026-06-05T21:59:59", "day"),  # a Friday
        (1, "2026-06-05T22:00:00", "party"),
        (1, "2026-06-06T06:00:29", "party"),  # belongs to the Friday on which it began
        (1, "2026-06-06T06:00:30", "day"),
        (1, "2026-06-05T05:59:59", "night"),
        (1, "2026-06-07T02:00:00", "night"),
        (2, "2026-01-01T11:59:59", "payday"),
        (2, "2026-01-01T12:00:00", "rest"),
        (2, "2027-07-01T00:00:00", "payday"),
        (2, "2028-07-01T00:00:00", "rest"),
        (2, "2026-02-01T00:00:00", "rest"),
    ],
)
def test_bands_of_schedules(schedule: int, local: str, expected: str) -> None:
    """The first row that matches wins; a row past midnight belongs to the day on which it began."""
    catalogue = compiled(SCHEDULES, prices("usage: voice, to: any, rate: free"))
    bands = (("holiday", "peak", "off_peak"), ("party", "night", "day"), ("payday", "rest"))[schedule]
    assert band(catalogue, schedule, bands, local) == expected


@pytest.mark.parametrize(
    ("zone", "moment", "hours"),
    [
        ("Europe/London", "2026-03-29T00:59:59", 0),
        ("Europe/London", "2026-03-29T01:00:00", 1),
        ("Europe/London", "2026-10-25T01:00:00", 0),
        ("Europe/London", "1970-06-01T00:00:00", 1),  # British Standard Time lasted all year
        ("Europe/London", "2060-07-01T00:00:00", 1),
        ("Asia/Kolkata", "2026-07-01T00:00:00", 5.5),
        ("America/St_Johns", "2026-01-01T00:00:00", -3.5),
        ("Pacific/Kiritimati", "1978-12-31T00:00:00", -10 - 40 / 60),
        ("UTC", "2026-07-01T00:00:00", 0),
    ],
)
def test_offsets_of_time_zones(zone: str, moment: str, hours: float) -> None:
    """Every registered zone has its offsets from 1970 to 2060; number 0 is the operator's."""
    register = with_time_zones(empty_register(), [zone])
    files = {"a.yaml": FRAME, "p.yaml": prices("usage: voice, to: any, rate: free")}
    catalogue, grown = compile_catalogue(files, register)
    t = catalogue.tables
    us = int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) * 1_000_000
    first = int(t.zone_first[grown.time_zones[zone]])
    begins = t.offset_from_us[first : first + int(t.zone_count[grown.time_zones[zone]])]
    assert begins[0] == -FOREVER
    offset = int(t.offset_s[first + int(np.searchsorted(begins, us, side="right")) - 1])
    assert offset == round(hours * 3600)
    london = grown.time_zones["Europe/London"]
    assert (t.zone_first[0], t.zone_count[0]) == (t.zone_first[london], t.zone_count[london])


# -- balances, counters, register --------------------------------------------------------------------------


def test_balances_and_counters() -> None:
    """Scopes become masks and rows of allowed nodes; the longest of `to` and `except` decides."""
    catalogue = compiled(
        PLACES,
        SCHEDULES,
        """
zones: {eu: {plmn: [26201]}, world: {default: true}}
classes: {internet: {usage: data, services: [internet]}, other: {usage: data}}
balances:
  minutes: {unit: time, grant: 100m, every: month, to: [uk], except: [jersey], priority: 10, thresholds: [100, 50]}
  weekend: {unit: time, schedule: office, bands: [off_peak, holiday], zones: [home, eu], increment: 60s, factor: "1.5"}
  data: {unit: octets, grant: 1GiB, every: day, classes: [internet], blocker: true}
  texts: {unit: events, usage: [sms], directions: [originating, terminating], zones: any, rated_by: p}
  bonus: {unit: money, usage: [voice], priority: 1, low: ["2", "1.50"], hysteresis: "0.5"}
counters:
  spend: {unit: money, every: month, cap: "50", thresholds: [50, 100], hysteresis: 5}
  abroad: {unit: octets, zones: [eu, world], classes: [other], every: week}
""",
        prices(
            "usage: voice, to: any, rate: one", more="includes: [minutes, data]\ncounters: [spend, abroad]"
        ),
    )
    t = catalogue.tables
    main, minutes, weekend, data, texts, bonus = (
        catalogue.balances.index(name) for name in ("main", "minutes", "weekend", "data", "texts", "bonus")
    )
    assert catalogue.main_balance == main
    assert t.balance_known.tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert t.balance_priority[[bonus, minutes, weekend]].tolist() == [1, 10, 100]
    assert t.balance_priority[main] == t.balance_priority.max()
    assert t.balance_kinds.tolist()[1:] == [0b111110, 0b10, 0b10, 0b1000, 0b100, 0b10]
    assert t.balance_directions.tolist()[1:] == [3, 1, 1, 1, 3, 3]
    assert t.balance_zones.tolist()[1:] == [0b111, 0b001, 0b011, 0b001, 0b111, 0b111]
    assert (t.balance_schedule[weekend], t.balance_bands[weekend]) == (0, 0b101)
    assert (t.balance_increment[weekend], t.balance_factor_num[weekend], t.balance_factor_den[weekend]) == (
        60_000,
        3,
        2,
    )
    assert (t.balance_grant[data], t.balance_period[data], t.balance_blocker[data]) == (2**30, 1, 1)
    assert t.balance_rated_by[texts] == catalogue.plans.index("p")
    allowed = t.allowed[t.balance_nodes[minutes]]
    covered = {
        digits: int(allowed[node_of(catalogue, digits)])
        for digits in ("442", "447700", "447797", "353", "112", "99")
    }
    assert covered == {"442": 1, "447700": 1, "447797": 0, "353": 0, "112": 0, "99": 0}
    assert [catalogue.nodes[node] for node in np.flatnonzero(t.allowed[t.balance_nodes[data]][-5:]) - 5] == [
        "internet"
    ]
    assert t.balance_nodes[[main, weekend, texts]].tolist() == [NONE] * 3
    assert [catalogue.balances[at] for at in t.allowance] == ["minutes", "data"]
    assert [catalogue.counters[at] for at in t.counted] == ["spend", "abroad"]
    assert t.counter_period.tolist()[1:] == [3, 2]
    assert t.counter_zones.tolist()[1:] == [0b111, 0b110]
    told = {each.name: (each.kind, each.marks, each.limit, each.hysteresis) for each in catalogue.thresholds}
    assert told == {
        "minutes": ("allowance", (50, 100), 0, 0),
        "bonus": ("low_balance", (1_500_000, 2_000_000), 0, 500_000),
        "spend": ("spend_cap", (50, 100), 50_000_000, 5),
    }


def test_register_only_grows() -> None:
    """A name keeps its number for ever, whatever is added or removed; an unused number is not known."""
    files = {"a.yaml": FRAME, "p.yaml": prices("usage: voice, to: any, rate: free", plan="new")}
    before = Register({"old": 4, "gone": 1}, {"main": 3, "gone": 1}, {"gone": 2}, {"Asia/Tokyo": 2})
    catalogue, grown = compile_catalogue(files, before)
    assert grown.plans == {"old": 4, "gone": 1, "new": 5}
    assert grown.balances == {"main": 3, "gone": 1}
    assert grown.time_zones == {"Asia/Tokyo": 2, "Europe/London": 3}
    assert catalogue.plans == ("", "gone", "", "", "old", "new")
    assert catalogue.tables.plan_version_count.tolist() == [0, 0, 0, 0, 0, 1]
    assert catalogue.tables.balance_known.tolist() == [0, 0, 0, 1]
    assert catalogue.tables.counter_known.tolist() == [0, 0, 0]
    assert catalogue.default_zone == 3
    assert before.plans == {"old": 4, "gone": 1}, "the register handed in stays as it was"


def test_same_words_compile_to_the_same_catalogue() -> None:
    """Comments, quotes and the order of files handed in change neither numbers nor fingerprint; a price does."""
    one = {path.name: path.read_text() for path in sorted(EXAMPLE.iterdir())}
    other = {name: f"# checked\n{text}\n".replace("\n", "\r\n") for name, text in reversed(one.items())}
    other |= {name: text for name, text in one.items() if name.endswith(".csv")}
    first, second = (compile_catalogue(files, empty_register())[0] for files in (one, other))
    assert first.fingerprint == second.fingerprint
    for name, table in first.tables._asdict().items():
        np.testing.assert_array_equal(table, getattr(second.tables, name), err_msg=name)
    changed = {**one, "rates.yaml": one["rates.yaml"].replace('"0.12"', '"0.13"')}
    assert compile_catalogue(changed, empty_register())[0].fingerprint != first.fingerprint


def test_mistakes_stop_the_compilation() -> None:
    """A tariff with a mistake is refused whole, and the error says all of it."""
    with pytest.raises(TariffError, match=r"2 mistakes") as refused:
        compiled("rates: {one: {price: x, per: 60s}}", prices("usage: voice, to: any, rate: two"))
    assert [mistake.line for mistake in refused.value.mistakes] == [1, 4]


def test_a_large_sheet_compiles() -> None:
    """A rate sheet of 20,000 prefixes; how long it takes is measured by `python -m bench tariff`."""
    rows = [
        f"Place {at // 4},{at + 10_000},0.{at % 97 + 1:04d},60s,{1 + at % 2}s,1s,\n" for at in range(20_000)
    ]
    sheet = "destination,prefix,price,per,first,next,connect_fee\n" + "".join(rows)
    catalogue = compiled(prices("usage: voice, sheet: world.csv"), world=sheet)
    assert called(catalogue, "2345678") == "p@always voice originating home Place 3364"
