"""What stands on a bill, as a clerk could work it out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tests.billing_room import billed, told
from tests.charging_room import Platform
from tests.opinion.bills import Contract, Rules, Taken
from tests.opinion.bills import bill as bill_anew
from tests.opinion.pricing import Use
from trunkline.kernel.dial import to_key
from trunkline.records.charging import Cause

ANNA, BEN = "447700900001", "447700900002"
OPERATOR = """
operator: {currency: EUR, time_zone: Europe/Berlin, home_plmn: [26201]}
zones: {eu: {mcc: [208]}, world: {default: true}}
destinations: {germany: {prefixes: ["49"]}, france: {prefixes: ["33"]}}
balances: {main: {unit: money, main: true}, gift: {unit: money, priority: 1}}
rates: {minute: {price: "0.10", per: 60s, increments: [1s]}, message: {price: "0.07", per: 1}}
"""
PRICES = """
prices:
  - {usage: voice, zones: any, to: any, rate: minute}
  - {usage: sms, zones: any, to: any, rate: message}
"""


def at(text: str) -> int:
    """A moment (UTC) in us."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def call(
    seq: int, when: str, minutes: int = 1, *, who: str = ANNA, called: str = "491701234567", plmn: int = 0
) -> Use:
    """A call."""
    units = minutes * 60_000
    return Use(
        seq, "msc", f"r{seq}", "voice", who, at(when), units, calling=who, called=called, visited_plmn=plmn
    )


def message(seq: int, when: str) -> Use:
    """A message to Germany."""
    return Use(seq, "smsc", f"r{seq}", "sms", ANNA, at(when), 1, calling=ANNA, called="491701234567")


def platform(more: str, plan: str = "", payment: str = "postpaid", **subscriber: object) -> Platform:
    """One subscriber under a small tariff."""
    files = {"operator.yaml": OPERATOR + more, "plan.yaml": f"plan: p\n{plan}\n{PRICES}"}
    made = Platform.under(files)
    made.enrol([{"subscriber": ANNA, "plan": "p", "payment": payment, **subscriber}])
    return made


def one(frame: pl.DataFrame) -> dict[str, object]:
    """The only bill."""
    assert len(frame) == 1
    return frame.row(0, named=True)


def test_a_bill_has_fees_usage_taxes_and_a_whole_total() -> None:
    """A month's fee, calls by destination, tax on both, and the rounding as a line of its own."""
    made = platform('taxes: {vat: {label: VAT, percent: "19"}}', 'fees: {monthly: "10.00"}')
    made.charge(
        [call(1, "2026-10-05T10:00:00"), call(2, "2026-10-06T10:00:00", called="33123456789", minutes=3)]
    )
    made.charge([message(3, "2026-10-07T10:00:00")])
    bill = one(billed(made, 202610))
    assert told(bill) == [
        ("recurring", "recurring", "monthly", 10_000_000, 0),
        ("usage", "voice", "france", 300_000, 0),
        ("usage", "voice", "germany", 100_000, 0),
        ("usage", "sms", "germany", 70_000, 0),
        ("tax", "", "VAT", 1_990_000, 1_990_000),
    ]
    assert (bill["total_micros"], bill["ledger_micros"], bill["extra_micros"]) == (
        12_460_000,
        470_000,
        11_990_000,
    )
    assert (bill["from_us"], bill["until_us"]) == (at("2026-09-30T22:00:00"), at("2026-10-31T23:00:00"))


def test_an_odd_amount_is_rounded_to_the_coin() -> None:
    """The total is whole in the smallest coin, and what that makes is told."""
    made = platform("")
    made.charge([replace(call(1, "2026-10-05T10:00:00"), units=1_000)])
    bill = one(billed(made, 202610))
    assert told(bill) == [("usage", "voice", "germany", 1_667, 0), ("rounding", "", "", -1_667, 0)]
    assert bill["total_micros"] == 0


def test_coins_follow_the_currency() -> None:
    """Yen have no smaller coin, dinars of Kuwait have a thousand."""
    for currency, total in (("JPY", 1_000_000), ("KWD", 1_235_000)):
        made = Platform.under(
            {
                "a.yaml": OPERATOR.replace("EUR", currency),
                "p.yaml": f'plan: p\nfees: {{f: "1.2345"}}\n{PRICES}',
            }
        )
        made.enrol([{"subscriber": ANNA, "plan": "p"}])
        assert one(billed(made, 202610))["total_micros"] == total


def test_a_fee_is_asked_for_the_days_of_its_plan() -> None:
    """Who comes on the 11th of a month of 31 days pays 21 of them, and the activation once."""
    made = platform(
        "",
        'fees: {monthly: "31.00", activation: {amount: "5.00", once: true}}',
        from_s=at("2026-10-11T09:00:00") // 10**6,
    )
    bill = one(billed(made, 202610))
    assert told(bill) == [
        ("recurring", "recurring", "monthly", 21_000_000, 0),
        ("one_off", "one_off", "activation", 5_000_000, 0),
    ]
    after = one(billed(made, 202611, last=billed(made, 202610)))
    assert told(after) == [("recurring", "recurring", "monthly", 31_000_000, 0)]


def test_who_comes_later_gets_no_bill() -> None:
    """A subscription that begins after the period is not billed for it."""
    made = platform("", 'fees: {monthly: "31.00"}', from_s=at("2026-11-11T09:00:00") // 10**6)
    assert billed(made, 202610).is_empty()


def test_discounts_follow_each_other() -> None:
    """Ten percent of a volume that reaches it, then five of what that left; the tax is of the rest."""
    made = platform(
        """
discounts:
  volume: {of: [voice], tiers: [{from: "1.00", percent: "5"}, {from: "2.00", percent: "10"}]}
  loyal: {of: [usage, fees], percent: "5", after: 12}
taxes: {vat: {percent: "10", of: [usage]}}
""",
        'fees: {monthly: "10.00"}\ndiscounts: [loyal, volume]',
        from_s=at("2025-10-20T00:00:00") // 10**6,
    )
    made.charge([call(1, "2026-10-05T10:00:00", minutes=30)])
    assert told(one(billed(made, 202610))) == [
        ("recurring", "recurring", "monthly", 10_000_000, 0),
        ("usage", "voice", "germany", 3_000_000, 0),
        ("discount", "voice", "loyal", -140_000, 0),  # 5 % of 2.70, rounded half up
        ("discount", "voice", "volume", -300_000, 0),
        ("discount", "recurring", "loyal", -500_000, 0),
        ("tax", "", "vat", 260_000, 260_000),  # 10 % of 2.56
    ]


def test_cap_and_minimum() -> None:
    """Beyond the cap usage is waived; below the minimum it is filled up."""
    capped = platform("", 'cap: "2.00"')
    capped.charge([call(1, "2026-10-05T10:00:00", minutes=30)])
    assert told(one(billed(capped, 202610)))[1] == ("cap", "", "", -1_000_000, 0)
    least = platform('taxes: {vat: {percent: "20", of: [minimum]}}', 'minimum: "5.00"')
    least.charge([call(1, "2026-10-05T10:00:00", minutes=30)])
    assert told(one(billed(least, 202610)))[1:] == [
        ("minimum", "minimum", "", 2_000_000, 0),
        ("tax", "", "vat", 400_000, 400_000),
    ]


def test_taxes_by_place_and_date() -> None:
    """A rate holds for the use of its time, in its zones, for who lives there; an included one adds nothing."""
    made = platform(
        """
taxes:
  old: {percent: "10", zones: [home], until: 2026-10-16}
  new: {percent: "20", zones: [home], from: 2026-10-16}
  here: {percent: "25", of: [voice], included: true, time_zones: [Europe/Berlin]}
  there: {percent: "50", time_zones: [Europe/Athens]}
"""
    )
    made.charge(
        [
            call(1, "2026-10-15T10:00:00", minutes=10),
            call(2, "2026-10-16T10:00:00", minutes=10),
            call(3, "2026-10-16T11:00:00", minutes=10, plmn=20801),
        ]
    )
    lines = told(one(billed(made, 202610)))
    assert lines[:3] == [("usage", "voice", "germany", 1_000_000, 0)] * 3
    assert lines[3:] == [
        ("tax", "", "here", 0, 600_000),
        ("tax", "", "new", 200_000, 200_000),
        ("tax", "", "old", 100_000, 100_000),
    ]


def test_a_late_record_is_on_the_next_bill() -> None:
    """What arrives after its bill was made is on the next one, marked; nothing is billed twice."""
    made = platform("")
    made.charge([call(1, "2026-10-05T10:00:00")])
    first = billed(made, 202610, cut_seq=2)
    made.charge([call(2, "2026-10-06T10:00:00", minutes=2), call(3, "2026-11-06T10:00:00", minutes=4)])
    second = one(billed(made, 202611, last=first))
    lines = second["lines"]
    assert isinstance(lines, list)
    assert [(line["earlier"], line["amount_micros"]) for line in lines] == [(False, 400_000), (True, 200_000)]
    assert one(first)["total_micros"] == 100_000


def test_adjustments_are_on_it_and_top_ups_are_not_charged() -> None:
    """A goodwill credit makes the bill smaller; a payment is told beside the total; gifts pay before money does."""
    made = platform("")
    assert made.post(ANNA, "main", 50_000, 5, Cause.ADJUSTMENT) == ""
    assert made.post(ANNA, "main", 9_000_000, 6, Cause.TOPUP) == ""
    assert made.post(ANNA, "gift", 100_000, 7, Cause.TOPUP) == ""
    made.charge([call(8, "2026-10-05T10:00:00", minutes=3)])
    bill = one(billed(made, 202610))
    assert told(bill) == [("usage", "voice", "germany", 200_000, 0), ("adjustment", "", "", -50_000, 0)]
    lines = bill["lines"]
    assert isinstance(lines, list)
    assert lines[0]["other_micros"] == 100_000
    assert (bill["paid_micros"], bill["total_micros"]) == (9_000_000, 150_000)


def test_periods_are_billed_in_order_and_once() -> None:
    """A billed period is not billed again, and a later one waits for it."""
    made = platform("", 'fees: {monthly: "1.00"}')
    first = billed(made, 202610)
    assert billed(made, 202610, last=first).is_empty()
    assert billed(made, 202612, last=first).is_empty()
    assert len(billed(made, 202611, last=first)) == 1


def test_names_of_bills_do_not_tell_numbers() -> None:
    """The same account and period have the same name, another key another one."""
    made = platform("")
    name = str(one(billed(made, 202610))["bill_id"])
    assert name == one(billed(made, 202610))["bill_id"]
    assert str(to_key(ANNA)) not in name
    assert name.startswith("202610-")


def test_late_usage_is_told_with_its_day() -> None:
    """Each day of an earlier period has a line of its own, in the subscriber's own days."""
    made = platform("")
    first = billed(made, 202610, cut_seq=0)
    made.charge(
        [call(1, "2026-10-06T10:00:00"), call(2, "2026-10-06T22:30:00", 2), call(3, "2026-11-06T10:00:00")]
    )
    lines = one(billed(made, 202611, last=first))["lines"]
    assert isinstance(lines, list)
    days = [(str(date(1970, 1, 1) + timedelta(line["day"])), line["amount_micros"]) for line in lines]
    assert days == [("1970-01-01", 100_000), ("2026-10-06", 100_000), ("2026-10-07", 200_000)]


def test_usage_that_comes_too_late_is_given_back() -> None:
    """More than ten days before the bill begins: told, and asked for neither it nor a tax on it."""
    made = platform(
        """
billing: {late: 10d}
discounts: {tenth: {of: [usage], percent: "10"}}
taxes: {vat: {percent: "20"}}
""",
        "discounts: [tenth]",
    )
    first = billed(made, 202610, cut_seq=0)
    made.charge(
        [call(1, "2026-10-06T10:00:00", 5), call(2, "2026-10-30T10:00:00"), call(3, "2026-11-06T10:00:00")]
    )
    bill = one(billed(made, 202611, last=first))
    assert told(bill) == [
        ("usage", "voice", "germany", 100_000, 0),
        ("usage", "voice", "germany", 500_000, 0),
        ("usage", "voice", "germany", 100_000, 0),
        ("late", "voice", "", -500_000, 0),
        ("discount", "voice", "tenth", -20_000, 0),
        ("tax", "", "vat", 40_000, 40_000),
    ]
    assert (bill["ledger_micros"], bill["total_micros"]) == (700_000, 220_000)
    used = [
        Taken("usage", datetime.fromisoformat(f"{when}+00:00"), micros, "voice", "home", "germany")
        for when, micros in (
            ("2026-10-06T10:00:00", 500_000), ("2026-10-30T10:00:00", 100_000), ("2026-11-06T10:00:00", 100_000),
        )
    ]  # fmt: skip
    contract = Contract("p", None, "Europe/Berlin", 1)
    expected = bill_anew(Rules(made.files), [contract], used, 2026, 11)
    assert sorted(told(bill)) == sorted(
        (line.section, line.charge, line.name, line.micros, line.tax_micros) for line in expected.lines
    )


DISCOUNTS = """
discounts:
  talker: {of: voice, by: units, tiers: [{from: 10m, percent: "10"}, {from: 1h, percent: "50"}]}
  faithful: {of: [fees], by: months, tiers: [{from: "12", percent: "5"}, {from: "24", percent: "20"}]}
  together: {of: [fees], by: members, tiers: [{from: "2", percent: "10"}, {from: "3", percent: "25"}]}
  crossed: {of: [fees], percent: "50", with: [child]}
"""


@pytest.mark.parametrize(
    ("discount", "since", "minutes", "members", "percent"),
    [
        ("talker", "2026-01-01", 9, 0, 0),
        ("talker", "2026-01-01", 10, 0, 10),
        ("talker", "2026-01-01", 60, 0, 50),
        ("faithful", "2025-12-01", 1, 0, 0),
        ("faithful", "2025-11-01", 1, 0, 5),  # twelve whole months at the end of October
        ("faithful", "2023-01-01", 1, 0, 20),
        ("together", "2026-01-01", 1, 0, 0),
        ("together", "2026-01-01", 1, 1, 10),
        ("together", "2026-01-01", 1, 4, 25),
        ("crossed", "2026-01-01", 1, 0, 0),
        ("crossed", "2026-01-01", 1, 1, 50),
    ],
)
def test_discounts_by_use_time_and_company(
    discount: str, since: str, minutes: int, members: int, percent: int
) -> None:
    """What is used, how long somebody has been here, and who belongs to the account: as the second opinion has it."""
    files = {
        "operator.yaml": OPERATOR + DISCOUNTS,
        "plan.yaml": f'plan: p\nfees: {{monthly: "8.00"}}\ndiscounts: [{discount}]\n{PRICES}',
        "child.yaml": f"plan: child\n{PRICES}",
    }
    made = Platform.under(files)
    made.enrol([{"subscriber": ANNA, "plan": "p", "from_s": at(f"{since}T12:00:00") // 10**6}])
    made.enrol(
        [{"subscriber": f"4477009001{each:02d}", "plan": "child", "owner": ANNA} for each in range(members)]
    )
    made.charge([call(1, "2026-10-05T10:00:00", minutes=minutes)])
    bill = one(billed(made, 202610))
    amount = 100_000 * minutes if discount == "talker" else 8_000_000
    lines = [line for line in told(bill) if line[0] == "discount"]
    assert sum(line[3] for line in lines) == -amount * percent // 100
    contract = Contract("p", datetime.fromisoformat(f"{since}T12:00:00+00:00"), "Europe/Berlin", 1)
    when = datetime(2026, 10, 5, 10, tzinfo=UTC)
    used = Taken("usage", when, 100_000 * minutes, "voice", "home", "germany", 60_000 * minutes)
    expected = bill_anew(Rules(files), [contract], [used], 2026, 10, None, ["child"] * members)
    assert sorted(told(bill)) == sorted(
        (line.section, line.charge, line.name, line.micros, line.tax_micros) for line in expected.lines
    )
