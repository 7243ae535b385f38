"""Another engine's published figures: the platform says the same, or says why not.

The book in `tests/data` is judged as it stands. The table below asks more of the same tariffs, so that the translator
is not tried only by what it was written for; its figures follow from the format's own rules, by hand.
"""

# ruff: noqa: E501 - the tables are read by their columns

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.peer_cases import judge, judge_all, main
from tests.peer_translation import Dialling, Timing, Untranslatable, base_units, read_timing

Json = dict[str, Any]

FILE = Path(__file__).parent / "data" / "rating_peer_cases.json"
BOOK: Json = json.loads(FILE.read_text(encoding="utf-8"), parse_float=Decimal)
MINUTE_NS = 60 * 10**9
START = "2019-03-11T09:00:00Z"


@pytest.mark.parametrize("case", BOOK["cases"], ids=lambda case: str(case["id"]))
def test_the_figures_agree(case: Json) -> None:
    """Every quote, every debit and every grant of the book comes out to the last digit."""
    line = judge(BOOK["tariffs"], case)
    assert line["agrees"], line["reason"]


def test_all_of_the_book_agrees() -> None:
    """Nothing is left out or argued away."""
    lines = list(judge_all(BOOK))
    assert len(lines) == len(BOOK["cases"]) == 54
    assert all(line["agrees"] for line in lines)


GRANTS = [
    # money at one a second, in increments of ten; a call of 80 s is asked for
    ("bal_1ps_10s", "max_usage", {"m": 50}, "80s", {"max_usage_s": 50}),
    ("bal_1ps_10s", "max_usage", {"m": 0}, "80s", {"max_usage_s": 0}),
    ("bal_1ps_10s", "max_usage", {"m": 500}, "80s", {"max_usage_s": 80}),
    ("bal_1ps_10s", "maxdebit", {"m": 30}, "80s", {"usage_s": 30, "cost": 30, "balances": {"m": 0}}),
]


@pytest.mark.parametrize(("tariff", "operation", "money", "usage", "expected"), GRANTS)
def test_what_is_granted_follows_the_money(
    tariff: str, operation: str, money: Json, usage: str, expected: Json
) -> None:
    """What may be used at most, of calls that the book does not have; one that says otherwise does not agree."""
    (pattern,) = (case for case in BOOK["cases"] if case["id"] == "money_runs_out")
    account = [{"type": "*monetary", "id": name, "value": value} for name, value in money.items()]
    case = pattern | {
        "tariff": tariff, "operation": operation, "account": account, "expected": expected,
        "call": pattern["call"] | {"usage": usage},
    }  # fmt: skip
    assert judge(BOOK["tariffs"], case)["reason"] == ""
    other = {"usage_s" if operation == "maxdebit" else "max_usage_s": 81}
    assert not judge(BOOK["tariffs"], case | {"expected": expected | other})["agrees"]


def test_the_command_prints_a_line_for_each_case(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One JSON line a case, then the count; a case that cannot be read does not hide the others."""
    broken: Json = {"id": "broken", "tariff": "unit", "operation": "cost", "call": {}, "expected": {}}
    few = {
        "tariffs": json.loads(FILE.read_text())["tariffs"],
        "cases": json.loads(FILE.read_text())["cases"][:2] + [broken],
    }
    book = tmp_path / "book.json"
    book.write_text(json.dumps(few))
    assert main([str(book)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 of 3 agree"
    for line in map(json.loads, lines[:-1]):
        assert set(line) == {"id", "operation", "agrees", "expected", "got", "reason"}
        assert bool(line["reason"]) is not line["agrees"]


def call(destination: str, usage: str | int, **more: Any) -> Json:
    """A call of the tutorial's unknown subject, unless it says otherwise."""
    usual: Json = {
        "type": "*voice",
        "tenant": "cgrates.org",
        "category": "call",
        "subject": "somebody",
        "start": START,
    }
    return usual | {"destination": destination, "usage": usage} | more


FALLBACK = {"subject": "MainSubj", "start": "2021-02-02T16:15:00Z"}
VDF = {"tenant": "vdf", "category": "0", "subject": "rif", "start": "2012-03-05T10:00:00Z"}
MAX = {"subject": "max", "start": "2015-03-23T19:00:00Z"}
MORE: list[tuple[str, str, Json, str | None]] = [
    # what it tries, tariff, call, cost (None: an error is expected)
    ("fallbacks, third level", "fallback", call("4001", "10s", **FALLBACK), "40"),
    ("fallbacks, fourth level", "fallback", call("5001", "10s", **FALLBACK), "50"),
    ("fallbacks end at the depth", "fallback", call("6001", "10s", **FALLBACK), None),
    ("a name instead of a number", "tutorial2", call("voicemail", "90s"), "0"),
    ("a longer name than the name", "tutorial2", call("voicemail2", "90s"), "0"),
    ("a shorter name", "tutorial2", call("voice", "90s"), None),
    ("weight of a day of the year", "tutorial2", call("2010", "60s", start="2020-01-01T09:00:00Z"), "0.7"),
    ("and the day after", "tutorial2", call("2010", "60s", start="2020-01-02T09:00:00Z"), "1.4"),
    ("a minute begun in the old year", "tutorial2", call("2010", "60s", start="2019-12-31T23:59:30Z"), "1.4"),
    ("the second minute in the new year", "tutorial2", call("2010", "90s", start="2019-12-31T23:59:00Z"), "1.7"),
    ("a unit of nothing", "tutorial2", call("5555", "60s", subject="RPF_SPECIAL_BLC"), "0.1"),
    ("messages by prefix", "tutorial2", call("1002", 3, type="*sms", category="sms"), "0.3"),
    ("messages by shorter prefix", "tutorial2", call("1005", 3, type="*sms", category="sms"), "0.6"),
    ("units of anything", "oldtutorial", call("*any", 3, type="*generic", category="generic"), "3"),
    ("another tenant", "oldtutorial", call("1002", "10s", tenant="elsewhere"), None),
    ("before the profile", "tutorial2", call("1002", "10s", start="2019-02-28T23:59:59Z"), None),
    ("capped quote", "unit", call("0723123113", "1800s", **MAX), "10"),
    ("a quote that a limit does not cap", "unit", call("0723123113", "1800s", **(MAX | {"start": "2015-03-23T06:00:00Z"})), "1800"),
    ("plus is a digit of its own", "unit", call("+4930", "10s", **VDF), "11"),
    ("and without it another country", "unit", call("4930", "10s", **VDF), None),
    ("not sold at this time", "unit", call("49", "10s", subject="round", start="2017-02-04T10:00:00Z"), None),
    ("a later part of a call", "unit", call("0256", "60s", **(VDF | {"tenant": "test", "subject": "trp", "start": "2013-10-07T14:50:00Z", "duration_index": "120s", "loop_index": 1})), "60"),
    ("no fee in a later part", "unit", call("0256", "60s", **(VDF | {"duration_index": "120s", "loop_index": 1})), "60"),
    ("its own plan from the second date on", "unit", call("112", "10s", tenant="CUSTOMER_1", category="0", subject="rif:from:tm", start="2012-03-05T10:00:00Z"), "0"),
    ("the plan before that date", "unit", call("112", "10s", tenant="CUSTOMER_1", category="0", subject="rif:from:tm", start="2012-02-06T10:00:00Z"), None),
]  # fmt: skip


@pytest.mark.parametrize(("what", "tariff", "asked", "cost"), MORE, ids=[row[0] for row in MORE])
def test_more_quotes(what: str, tariff: str, asked: Json, cost: str | None) -> None:
    """Quotes that the book does not ask for, from its own tariffs."""
    expected: Json = {"error": True} if cost is None else {"cost": Decimal(cost)}
    line = judge(
        BOOK["tariffs"],
        {"id": what, "tariff": tariff, "operation": "cost", "call": asked, "expected": expected},
    )
    assert line["agrees"], line["reason"]


def voice(name: str, seconds: int, **more: Any) -> Json:
    """Seconds that an account has."""
    return {"type": "*voice", "id": name, "value": seconds * 10**9} | more


def money(name: str, value: str, **more: Any) -> Json:
    """Money that an account has."""
    return {"type": "*monetary", "id": name, "value": Decimal(value)} | more


S10 = "bal_1ps_10s"  # one currency unit a second in steps of ten seconds, for everybody and everywhere
DEBITS: list[tuple[str, str, Json, list[Json], dict[str, str]]] = [
    ("expired minutes", S10, call("0723", "20s"), [voice("v", 60, weight=10, expiry="2019-03-11T08:59:59Z"), money("m", "50")], {"v": "60", "m": "30"}),
    ("minutes of another category", S10, call("0723", "20s"), [voice("v", 60, weight=10, categories=["sms"]), money("m", "50")], {"v": "60", "m": "30"}),
    ("minutes for elsewhere", S10, call("0111", "20s"), [voice("v", 60, weight=10, destinations=["NAT"]), money("m", "50")], {"v": "60", "m": "30"}),
    ("minutes for all but here", S10, call("0723", "20s"), [voice("v", 60, weight=10, destinations=["RET", "!NAT"]), money("m", "50")], {"v": "60", "m": "30"}),
    ("minutes and not here", S10, call("0724", "20s"), [voice("v", 60, weight=10, destinations=["RET", "!NAT"]), money("m", "50")], {"v": "40", "m": "50"}),
    ("units of data do not pay calls", S10, call("0723", "20s"), [{"type": "*data", "id": "d", "value": 10**12, "weight": 20}, money("m", "50")], {"m": "30"}),
    ("steps of a balance of its own", S10, call("0723", "25s"), [voice("v", 60, weight=10, rating_subject="*zero10s"), money("m", "50")], {"v": "30", "m": "50"}),
    ("heavier money first", S10, call("0723", "20s"), [money("light", "50", weight=5), money("heavy", "15", weight=9)], {"light": "45", "heavy": "0"}),
    ("a debt on the default balance", S10, call("0723", "20s"), [money("m", "15")], {"m": "-5"}),
    ("a debt beside a weighty one", S10, call("0723", "20s"), [money("m", "15", weight=10)], {"m": "0", "*default": "-5"}),
    ("an evening balance in the morning", "balance_timings", call("1002", "1s", subject="1001", start="2024-08-04T11:59:59Z"), [money("a", "10", weight=10, timings=["HALF2"]), money("b", "10", weight=5)], {"a": "10", "b": "9.4"}),
    ("and after noon", "balance_timings", call("1002", "1s", subject="1001", start="2024-08-04T12:00:00Z"), [money("a", "10", weight=10, timings=["HALF2"]), money("b", "10", weight=5)], {"a": "9.4", "b": "10"}),
    ("a factor that is not asked for", "unit_rates", call("1002", 4, type="*sms", category="sms", subject="1001", start="2021-02-02T16:15:00Z"), [{"type": "*sms", "id": "s", "value": 10, "weight": 20, "factors": {"other": 3}}, money("m", "5")], {"s": "6", "m": "5"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "tariff", "asked", "account", "left"), DEBITS, ids=[row[0] for row in DEBITS]
)
def test_more_debits(what: str, tariff: str, asked: Json, account: list[Json], left: dict[str, str]) -> None:
    """What is left of each balance; minutes in seconds."""
    timed = {balance["id"] for balance in account if balance["type"] == "*voice"}
    expected = {name: Decimal(value) * (10**9 if name in timed else 1) for name, value in left.items()}
    case = {"id": what, "tariff": tariff, "operation": "debit", "call": asked, "account": account}
    line = judge(BOOK["tariffs"], case | {"expected": {"balances": expected}})
    assert line["agrees"], line["reason"]


def test_a_wrong_figure_is_noticed() -> None:
    """The comparison can fail."""
    case = BOOK["cases"][0] | {"expected": {"cost": Decimal("0.01")}}
    line = judge(BOOK["tariffs"], case)
    assert not line["agrees"]
    assert "instead of 0.01" in line["reason"]


def test_durations() -> None:
    """Durations are nanoseconds; bare numbers are units of whatever is counted."""
    assert [base_units(text) for text in ("60s", "1m", "1m30s", "1024", 0, "10ms", "1.5s", "7ns")] == [
        MINUTE_NS, MINUTE_NS, 90 * 10**9, 1024, 0, 10**7, 15 * 10**8, 7,
    ]  # fmt: skip
    for wrong in ("soon", "1x", "s", "-1"):
        with pytest.raises(Untranslatable):
            base_units(wrong)


def test_timings() -> None:
    """A timing holds from its start, to the end of the day or of the second that it names."""
    rule = {
        "years": "*any",
        "months": "1;2",
        "month_days": "*any",
        "week_days": "1;7",
        "start": "08:00:00;11:59:59",
    }
    timing = read_timing("T", {"T": rule})
    assert timing == Timing(None, (1, 2), None, ("mon", "sun"), 28_800, 43_200)
    assert read_timing("*any", {}).always


def test_names_become_private_codes() -> None:
    """A name that continues another keeps its code in front, and no dialled number begins with it."""
    dialling = Dialling(["voice", "voicemail", "49", "+49"])
    assert dialling.prefix("voicemail").startswith(dialling.prefix("voice"))
    assert dialling.number("voicemail5").startswith(dialling.prefix("voicemail"))
    assert not dialling.number("4930").startswith(dialling.prefix("+49"))
    assert len(dialling.number("+4930123456789012345")) <= 16


MORE_GRANTS: list[tuple[str, str, Json, Json]] = [
    # what it tries, operation, what differs from the book's case of that name, what is expected
    ("maxcost_disconnect_max_usage", "max_usage", {"usage": "7s"}, {"max_usage_s": 7}),
    (
        "maxcost_disconnect_max_usage",
        "maxdebit",
        {},
        {"usage_s": 10, "cost": 10, "balances": {"a": 1, "b": 1}},
    ),
    ("max_rate_limit", "max_usage", {"max_rate": 6}, {"max_usage_s": 49}),
    ("max_rate_limit", "max_usage", {"max_rate": Decimal("5.99")}, {"max_usage_s": 40}),
]


@pytest.mark.parametrize(("name", "operation", "other", "expected"), MORE_GRANTS)
def test_ends_and_highest_rates(name: str, operation: str, other: Json, expected: Json) -> None:
    """What may be used until a price ends it, or until a unit would be dearer than the caller allows."""
    (pattern,) = (case for case in BOOK["cases"] if case["id"] == name)
    case = pattern | {"operation": operation, "call": pattern["call"] | other, "expected": expected}
    assert judge(BOOK["tariffs"], case)["reason"] == ""


def strategy(name: str) -> Json:
    """The book's tariffs with another strategy of the group."""
    unit = dict(BOOK["tariffs"]["unit"])
    unit["shared_groups"] = unit["shared_groups"] | {"SG2": [{"account": "*any", "strategy": name}]}
    tariffs: Json = BOOK["tariffs"] | {"unit": unit}
    return tariffs


GROUPS: list[tuple[str, Decimal, Json]] = [
    # strategy, what the caller's own balance of the group has, what is left of it and of the other's
    ("*lowest", Decimal(1), {"s0": 0, "s10": Decimal("8.5")}),
    ("*highest", Decimal(1), {"s0": 1, "s10": Decimal("7.5")}),
    ("*mine_highest", Decimal(1), {"s0": 0, "s10": Decimal("8.5")}),
    ("*lowest", Decimal(20), {"s0": 20, "s10": Decimal("7.5")}),
    ("*mine_lowest", Decimal(20), {"s0": Decimal("17.5"), "s10": 10}),
]


@pytest.mark.parametrize(("name", "mine", "left"), GROUPS)
def test_balances_of_a_group_are_used_in_its_order(name: str, mine: Decimal, left: Json) -> None:
    """Whoever has a balance of the group uses all of them; what others have for themselves stays."""
    (pattern,) = (case for case in BOOK["cases"] if case["id"] == "shared_group_debit")
    held = [pattern["account"][0] | {"value": mine}]
    others = {"empty10": {"s10": left["s10"], "own": 10}}
    case = pattern | {
        "account": held, "expected": {"cost": Decimal("2.5"), "balances": {"s0": left["s0"]}, "other_balances": others},
    }  # fmt: skip
    assert judge(strategy(name), case)["reason"] == ""
    others["empty10"]["own"] = 9
    assert "of empty10 is 10 instead of 9" in judge(strategy(name), case)["reason"]
