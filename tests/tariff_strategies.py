"""Random tariffs and random usage, small and valid, for properties that must hold under any of them.

The tariffs are written as a clerk writes them (YAML, of which JSON is a part), so that reading and compiling are
tried as well. Names, prefixes and moments are few and chosen to meet: nested prefixes, bands that end while a call
runs, clocks that are put forward, periods that end.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st

from tests.opinion.pricing import Use

Json = dict[str, Any]
Draw = Any


def tried(examples: int) -> settings:
    """So many examples; a failure is made smaller, but not explained: a traced compilation takes minutes."""
    return settings(max_examples=examples, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink])


ZONES = (
    "UTC",
    "Europe/London",
    "America/New_York",
    "America/Santiago",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
)
DESTINATIONS: Json = {
    "mobile": {"prefixes": ["447"]},
    "on_net": {"prefixes": ["44770", "44771"]},
    "premium": {"prefixes": ["447709"], "numbers": ["4477"]},
    "germany": {"prefixes": ["49"]},
    "german_mobile": {"prefixes": ["4915", "49160"]},
    "short": {"prefixes": ["1"], "numbers": ["999"]},
}
NUMBERS = (
    "447700900001",
    "447709000001",
    "4477",
    "44771",
    "447800000000",
    "493012345",
    "49151234",
    "49160",
    "112",
    "999",
    "33140",
    "1",
)
SHEET = """destination,prefix,price,per,first,next,connect_fee,min_charge,max_cost
france,33|336,0.11,60s,30s,1s,0.02,,1.50
germany,491,0.123457,60s,,,,0.05,
"""
CLASSES: Json = {
    "gaming": {"usage": "data", "slices": ["1-000001"], "five_qi": [80]},
    "internet": {"usage": "data", "services": ["internet", "web"]},
    "meter": {"usage": "iot", "services": ["meter.read"]},
    "music": {"usage": "content", "services": ["music"]},
}
SCHEDULES: Json = {
    "office": [
        {"band": "holiday", "dates": ["national", "12-26"]},
        {"band": "peak", "days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "19:00"},
        {"band": "off_peak"},
    ],
    "night": [
        {"band": "night", "days": ["fri", "sat"], "from": "22:30", "to": "06:00"},
        {"band": "lunch", "from": "12:00", "to": "12:00:30"},
        {"band": "day"},
    ],
    "season": [
        {"band": "march", "months": [3], "month_days": [29, 30, 31], "from": "01:30", "to": "03:30"},
        {"band": "rest"},
    ],
}
BANDS = {name: list(dict.fromkeys(row["band"] for row in rows)) for name, rows in SCHEDULES.items()}
MODES = ("up", "down", "half_up", "half_even")
# Clocks change in London (2026-03-29 01:00 UTC), New York (2026-03-08 07:00), Santiago (2026-09-06 04:00), Lord Howe
# (2026-04-04 15:00); months, weeks and holidays end nearby.
ANCHORS = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 9, 6, 4, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 12, 25, 0, tzinfo=UTC),
    datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC),
    datetime(2026, 11, 16, 8, tzinfo=UTC),
    datetime(2026, 11, 20, 22, 30, tzinfo=UTC),
)
SUBSCRIBERS = ("447700900001", "447700900002", "447700900003")
STRANGER = "447700999999"


def amounts(most_cents: int = 200) -> st.SearchStrategy[str]:
    """Amounts from nothing to a few units of currency, some with awkward decimals."""
    cents = st.integers(0, most_cents).map(lambda value: f"{value / 100:.2f}")
    return st.one_of(cents, st.sampled_from(["0.123457", "0.333333", "0.000001", "1"]))


def prices_per(unit: str) -> st.SearchStrategy[str]:
    """Prices; those of octets are rounder, because a pebibyte of them has to fit 64 bits."""
    return st.integers(0, 200).map(lambda value: f"{value / 100:.2f}") if unit == "octets" else amounts()


@st.composite
def roundings(draw: Draw) -> Json:
    """Every way of rounding."""
    return {
        "decimals": draw(st.integers(0, 6)),
        "mode": draw(st.sampled_from(MODES)),
        "method": draw(st.sampled_from(("exact", "each_increment"))),
        "increment_decimals": draw(st.integers(2, 6)),
        "increment_mode": draw(st.sampled_from(MODES)),
    }


SIZES = {
    "time": (("1s", "6s", "60s", "100ms", "7s"), ("60s", "1s", "10m")),
    "octets": (("1KB", "3KB", "100KB", "1MB"), ("1MB", "100KB", "1KB")),
    "events": (("1", "3"), ("1", "10")),
}
TIERS = {"time": ("1m", "3m"), "octets": ("100KB", "3MB"), "events": ("2", "5")}
SLOTS = {"time": ("10s", "60s", "95s"), "octets": ("10KB", "1MB", "1500KB"), "events": ("1", "4", "7")}


@st.composite
def flat(draw: Draw, unit: str) -> Json:
    """A price with one or two increments."""
    increments, per = SIZES[unit]
    rate: Json = {"price": draw(prices_per(unit)), "per": draw(st.sampled_from(per))}
    if draw(st.booleans()):
        rate["increments"] = draw(st.lists(st.sampled_from(increments), min_size=1, max_size=2))
    return rate


@st.composite
def slotted(draw: Draw, unit: str) -> list[Json]:
    """Slots by length of use."""
    increments, per = SIZES[unit]
    starts = ["0", *sorted(draw(st.sets(st.sampled_from(SLOTS[unit]), max_size=2)), key=SLOTS[unit].index)]
    return [
        {
            "from": start,
            "price": draw(prices_per(unit)),
            "per": draw(st.sampled_from(per)),
            "increment": draw(st.sampled_from(increments)),
        }
        for start in starts
    ]


@st.composite
def rates(draw: Draw, unit: str) -> Json:
    """A rate of any shape but zero-rated."""
    shape = draw(st.sampled_from(("flat", "flat", "slots", "tiers")))
    if shape == "flat":
        rate = draw(flat(unit))
    elif shape == "slots":
        rate = {"slots": draw(slotted(unit))}
    else:
        starts = ["0", *TIERS[unit][: draw(st.integers(0, 2))]]
        rate = {"counter": f"used_{unit}", "tiers": []}
        for start in starts:
            tier = draw(flat(unit)) if draw(st.booleans()) else {"slots": draw(slotted(unit))}
            rate["tiers"].append({"from": start} | tier)
    if draw(st.booleans()):
        rate["connect_fee"] = draw(amounts())
    if draw(st.booleans()):
        rate["rounding"] = draw(roundings())
    return dict(rate)


UNITS = {"voice": "time", "sms": "events", "data": "octets", "iot": "events", "content": "events"}


@st.composite
def prices(draw: Draw, kind: str) -> Json:
    """One row of prices of a kind."""
    row: Json = {"usage": kind}
    known = [f"{UNITS[kind]}_{at}" for at in range(3)]
    how = draw(st.sampled_from(("flat", "flat", "bands", "free", "record")))
    if how == "bands":
        name = draw(st.sampled_from(sorted(SCHEDULES)))
        row["schedule"] = name
        row["rate"] = {band: draw(st.sampled_from([*known, *known, "none"])) for band in BANDS[name]}
    elif how == "free":
        row["rate"] = "free"
    else:
        row["rate"] = "of_record" if how == "record" and kind == "content" else draw(st.sampled_from(known))
    if draw(st.integers(0, 3)) == 0:
        row["zones"] = draw(st.sampled_from((["eu"], ["home", "eu"], "any", ["world"])))
    if draw(st.integers(0, 3)) == 0:
        row["directions"] = draw(st.sampled_from((["terminating"], ["originating", "terminating"])))
    if how != "free" and draw(st.booleans()):
        row["max_cost"] = draw(st.sampled_from(("0.50", "2.00", "10.00")))
    if how != "free" and draw(st.booleans()):
        row["min_charge"] = draw(st.sampled_from(("0.01", "0.10", "0.50")))
    return row


@st.composite
def price_lists(draw: Draw) -> list[Json]:
    """Rows for some destinations and classes, with a last resort more often than not."""
    rows: list[Json] = []
    for kind, names in (
        ("voice", list(DESTINATIONS)),
        ("sms", list(DESTINATIONS)),
        ("data", ["gaming", "internet"]),
        ("iot", ["meter"]),
        ("content", ["music"]),
    ):
        key = "to" if kind in ("voice", "sms") else "classes"
        if draw(st.integers(0, 7)):
            rows.append(draw(prices(kind)) | {key: "any"} | ({"zones": "any"} if draw(st.booleans()) else {}))
        taken = draw(st.permutations(names))
        for at in range(draw(st.integers(0, 2))):
            named = taken[2 * at : 2 * at + draw(st.integers(1, 2))]
            if named:
                rows.append(draw(prices(kind)) | {key: list(named)})
        if kind in ("voice", "sms") and kind == "voice" and draw(st.integers(0, 3)) == 0:
            rows.append({"usage": kind, "sheet": "sheet.csv"})
    return rows or [{"usage": "voice", "to": "any", "rate": "free"}]


@st.composite
def balances(draw: Draw, number: int) -> Json:
    """A balance of any unit."""
    unit = draw(st.sampled_from(("time", "time", "octets", "events", "money")))
    kinds = {
        "time": ["voice"],
        "octets": ["data"],
        "events": ["sms", "iot"],
        "money": ["voice", "data", "sms", "content"],
    }[unit]
    grants = {
        "time": ("30s", "5m", "200s"),
        "octets": ("50KB", "10MB"),
        "events": ("1", "5"),
        "money": ("0.50", "3.00"),
    }
    rule: Json = {
        "unit": unit,
        "usage": kinds,
        "grant": draw(st.sampled_from(grants[unit])),
        "every": draw(st.sampled_from(("day", "week", "month"))),
        "priority": draw(st.integers(1, 3)),
    }
    if unit != "money":
        rule["increment"] = draw(st.sampled_from(SIZES[unit][0]))
        if draw(st.integers(0, 3)) == 0:
            rule["factor"] = draw(st.sampled_from(("2", "0.5", "1.5", "0.3")))
    if unit in ("time", "money") and draw(st.booleans()):
        rule["to"] = draw(st.sampled_from((["mobile"], ["on_net", "germany"], ["short"])))
        if draw(st.booleans()):
            rule["except"] = ["premium"]
    if unit == "octets" and draw(st.booleans()):
        rule["classes"] = draw(st.sampled_from((["internet"], ["gaming", "internet"])))
    if draw(st.integers(0, 3)) == 0:
        rule["zones"] = draw(st.sampled_from((["eu"], ["home", "eu"], "any")))
    if draw(st.integers(0, 4)) == 0:
        rule["directions"] = ["originating", "terminating"]
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(SCHEDULES)))
        rule["schedule"], rule["bands"] = name, [draw(st.sampled_from(BANDS[name]))]
    if unit == "time" and draw(st.integers(0, 3)) == 0:
        rule["rated_by"] = "discount"
    if draw(st.integers(0, 5)) == 0:
        rule["blocker"] = True
    if draw(st.booleans()):
        rule["thresholds"] = [50, 80, 100]
        rule["hysteresis"] = draw(st.sampled_from((0, 5, 30)))
    return rule


@st.composite
def tariffs(draw: Draw) -> dict[str, str]:
    """A tariff directory."""
    granted = {f"balance_{at}": draw(balances(at)) for at in range(draw(st.integers(1, 5)))}
    main: Json = {"unit": "money", "main": True, "low": ["5.00", "1.00"], "hysteresis": "0.50"}
    counters: Json = {
        "used_time": {"unit": "time", "every": "month", "usage": ["voice"], "to": ["mobile", "germany"]},
        "used_octets": {"unit": "octets", "every": draw(st.sampled_from(("day", "month")))},
        "used_events": {"unit": "events", "usage": ["sms", "iot", "content"], "zones": ["home"]},
        "spend": {"unit": "money", "every": draw(st.sampled_from(("day", "week", "month"))), "cap": "2.00"},
    }
    counters["spend"] |= {"thresholds": [50, 80, 100], "hysteresis": 5}
    shared: Json = {
        "operator": {
            "name": "Random Mobile",
            "currency": "EUR",
            "time_zone": draw(st.sampled_from(ZONES)),
            "time_zones": list(ZONES),
            "home_plmn": [23415],
            "cycle_day": draw(st.sampled_from((1, 8, 28))),
            "rounding": draw(roundings()),
        },
        "holidays": {"national": ["2026-12-25", "2026-03-29"]},
        "destinations": DESTINATIONS,
        "zones": {
            "eu": {"plmn": [26201], "mcc": [208]},
            "world": {"default": draw(st.booleans()), "mcc": [310]},
        },
        "classes": CLASSES,
        "schedules": SCHEDULES,
        "rates": {f"{unit}_{at}": draw(rates(unit)) for unit in SIZES for at in range(3)}
        | {"of_record": {"price": "record"}},
        "balances": {"main": main} | granted,
        "counters": counters,
    }
    if draw(st.booleans()):
        shared["operator"]["default_plan"] = "base"
    files = {"a.yaml": json.dumps(shared, indent=1), "sheet.csv": SHEET}
    includes = list(granted)
    plans: Json = {
        "discount": {"plan": "discount", "prices": [{"usage": "voice", "to": "any", "rate": "time_0"}]},
        "base": {"plan": "base", "prices": draw(price_lists()), "includes": includes, "counters": ["spend"]},
        "gold": {
            "plan": "gold",
            "prices": draw(price_lists()),
            "includes": includes,
            "counters": ["spend"],
            "fallback": ["base"],
        },
        "gold_2": {
            "plan": "gold",
            "effective": draw(st.sampled_from(("2026-03-29", "2026-11-16T08:00:10"))),
            "prices": draw(price_lists()),
            "includes": includes[1:],
            "counters": ["used_time"],
        },
    }
    for name, plan in plans.items():
        files[f"{name}.yaml"] = json.dumps(plan, indent=1)
    return files


@st.composite
def subscribers(draw: Draw) -> list[Json]:
    """Rows of the subscribers' list; one has a history of plans."""
    rows = []
    for at, subscriber in enumerate(SUBSCRIBERS):
        row = {
            "subscriber": subscriber,
            "plan": draw(st.sampled_from(("gold", "base"))),
            "time_zone": draw(st.sampled_from((None, *ZONES))),
            "cycle_day": draw(st.sampled_from((1, 8, 28))),
            "opening_micros": draw(st.sampled_from((0, 10_000_000, 5_200_000))),
            "credit_micros": draw(st.sampled_from((0, 0, 3_000_000))),
        }
        rows.append(row)
        if at == 1:
            changed = datetime(2026, 11, 16, 8, 0, 5, tzinfo=UTC)
            rows.append(row | {"plan": "base", "from_s": int(changed.timestamp()), "opening_micros": 0})
        if at == 2:
            row["from_s"] = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp())
    return rows


SERVICES = {"data": ("internet", "web", "x", ""), "iot": ("meter.read", "x"), "content": ("music", "x")}
MOST = {"time": 600_000, "octets": 5_000_000, "events": 9}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def random_use(chance: Random, seq: int, anchor: datetime) -> Use:
    """One use, near a moment at which something changes, or some days off it."""
    kind = chance.choice(("voice", "voice", "voice", "sms", "data", "iot", "content"))
    shift_s = chance.choice((chance.randint(-400, 400), chance.uniform(-90, 90), chance.randint(0, 40_000)))
    start = anchor + timedelta(seconds=shift_s, days=chance.choice((0, 0, 0, 0, 0, 0, 1, 7, 31, -30)))
    most = MOST[UNITS[kind]]
    dialled = kind in ("voice", "sms")
    other = chance.choice(NUMBERS)
    direction = "terminating" if chance.random() < 0.1 else "originating"
    return Use(
        seq=seq,
        source="random",
        record_id=f"r{seq}",
        kind=kind,
        subscriber=STRANGER if chance.random() < 0.05 else chance.choice(SUBSCRIBERS),
        start_us=(start - EPOCH) // timedelta(microseconds=1),
        units=chance.choice((chance.randint(0, most), chance.randint(1, most), 0, 1, most // 10, most)),
        direction=direction,
        calling=other if dialled and direction == "terminating" else "",
        called=other if dialled and direction == "originating" else "",
        amount_micros=chance.choice((0, 1_990_000, 333_333)) if kind == "content" else 0,
        currency=chance.choice(("EUR",) * 9 + ("USD",)) if kind == "content" else "",
        visited_plmn=0 if chance.random() < 0.8 else chance.choice((23415, 26201, 20801, 310410, 50501)),
        slice=chance.choice((0, 1 << 24 | 1)) if kind == "data" else 0,
        five_qi=chance.choice((0, 9, 80)) if kind == "data" else 0,
        service=chance.choice(SERVICES[kind]) if kind in SERVICES else "",
    )


def random_uses(seed: int, count: int) -> list[Use]:
    """Uses in the order of their arrival: some are late, but never so late that their period is closed for good."""
    chance = Random(seed)
    anchors = sorted(chance.sample(ANCHORS, 2))
    return [random_use(chance, seq, anchors[2 * seq // count]) for seq in range(count)]


def streams(most: int = 60) -> st.SearchStrategy[list[Use]]:
    """Random uses; a seed and a count, so that many of them cost little to draw and fewer are tried first."""
    return st.builds(random_uses, st.integers(0, 10**6), st.integers(1, most))
