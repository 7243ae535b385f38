"""What is promised can be paid: whatever the tariff, whoever asks, in whichever order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.charging_room import NOTHING_REGISTERED, Platform, metered
from tests.opinion.pricing import Use
from trunkline.charging import price, quota, rate
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouping import locate
from trunkline.records.charging import ACCOUNTS

PAYER = "447700900001"
NOW_S = 1_790_000_000
TARIFF = {
    "operator.yaml": """
operator: {name: Example Mobile, currency: EUR, time_zone: UTC, country_code: "44"}
destinations: {uk: {prefixes: ["44"]}, abroad: {prefixes: ["49"]}, dear: {prefixes: ["43"]}, rising: {prefixes: ["33"]}}
rates:
  call: {price: "0.10", per: 60s, increments: [60s, 1s], connect_fee: "0.05"}
  far:
    slots:
      - {from: 0s, price: "0.40", per: 60s, increment: 30s, connect_fee: "0.30"}
      - {from: 120s, price: "0.20", per: 60s, increment: 10s}
  steps:
    slots:
      - {from: 0s, price: "0.12", per: 60s, increment: 10s, connect_fee: "0.30"}
      - {from: 120s, price: "0.60", per: 60s, increment: 1s}
  data: {price: "0.01", per: 1MB, increments: [1KB]}
balances:
  main: {unit: money, main: true}
  minutes: {unit: time, grant: 5m, every: month, usage: [voice], to: [uk], priority: 10, increment: 10s}
  data_pack: {unit: octets, grant: 20MB, every: month, usage: [data], priority: 10}
  gift: {unit: money, priority: 5}
  bundle: {unit: time, usage: [voice], to: [rising], rated_by: cheap, priority: 20, increment: 10s}
""",
    "payg.yaml": """
plan: payg
effective: 2026-01-01
includes: [minutes, data_pack]
prices:
  - {usage: voice, to: [uk], rate: call}
  - {usage: voice, to: [abroad], rate: far, max_cost: "3.00"}
  - {usage: voice, to: [dear], rate: call, end_at_cost: "0.55"}
  - {usage: voice, to: [rising], rate: steps}
  - {usage: data, to: any, rate: data}
""",
    "cheap.yaml": """
plan: cheap
effective: 2026-01-01
prices:
  - {usage: voice, to: any, rate: {price: "0.06", per: 60s, increments: [10s]}}
""",
}


@cache
def catalogue() -> Catalogue:
    """Compiled once."""
    return compile_catalogue(TARIFF, NOTHING_REGISTERED)[0]


def platform(main_micros: int, gift_micros: int = 0) -> Platform:
    """One payer with so much money."""
    made = Platform(catalogue())
    made.enrol([{"subscriber": PAYER, "plan": "payg", "opening_micros": main_micros}])
    if gift_micros:
        made.open(PAYER, "gift", gift_micros)
    return made


def use(kind: str, called: str, units: int, seq: int = 0) -> Use:
    """A use that is going on."""
    return Use(
        seq=seq, source="online", record_id=str(seq), kind=kind, subscriber=PAYER, start_us=NOW_S * 1_000_000,
        units=units, called=called,
    )  # fmt: skip


@dataclass
class Desk:
    """An account with the quotas that are out, asked as the step asks."""

    world: Platform
    out: dict[int, Use] = field(default_factory=dict)
    owed: list[Use] = field(default_factory=list)

    def ask(
        self, wanted: Use, name: int, rate_micros: int = 0, per: int = 0, cost_micros: int = 2**62
    ) -> int:
        """Units that the account promises, at a highest rate or cost if one is named; 0 wanted gives a promise back."""
        uses = [*self.owed, *self.out.values(), wanted]
        batch = metered([replace(each, seq=at) for at, each in enumerate(uses)])
        state = self.world._state(self.world.accounts, batch, ACCOUNTS.dtype)
        groups = locate(state.keys, batch["subscriber"].to_numpy())
        priced = rate.price_batch(batch, groups, state, self.world.catalogue)
        quotas = quota.Quotas(
            np.array([*(1000 + at for at in range(len(self.owed))), *self.out, name], np.uint64),
            np.array([*(False for _ in (*self.owed, *self.out)), True]),
            batch["units"].to_numpy().copy(),
            kind=batch["kind"].to_numpy(),
            direction=batch["direction"].to_numpy(),
            start_us=batch["start_us"].to_numpy(),
            amount_micros=batch["amount_micros"].to_numpy(),
            owed=np.array([*(True for _ in self.owed), *(False for _ in self.out), False]),
            member=np.zeros(len(uses), np.uint16),
            balance=np.full(len(uses), -1, np.int64),
            ceiling=quota.unlimited(len(uses)),
        )
        quotas.ceiling[-1] = rate_micros, per, cost_micros
        units = int(quota.promise(quotas, priced, groups, state, self.world.catalogue)[-1])
        self.out.pop(name, None)
        if units:
            self.out[name] = replace(wanted, units=units)
        return units


KINDS = st.sampled_from([("voice", "447700900002"), ("voice", "4930123456"), ("data", "")])
WANTED = st.integers(1, 40_000_000)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 5_000_000),
    st.integers(0, 1_000_000),
    st.lists(st.tuples(KINDS, WANTED, st.integers(0, 100)), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_all_that_is_promised_can_be_used_in_any_order(
    main: int, gift: int, asked: list[tuple[tuple[str, str], int, int]], chance: Any
) -> None:
    """The account never owes anything, whatever share of its quota a session uses, and whichever ends first."""
    desk = Desk(platform(main, gift))
    for at, ((kind, called), wanted, _) in enumerate(asked):
        desk.ask(use(kind, called, wanted, at), at + 1)
    order = sorted(desk.out)
    chance.shuffle(order)
    for name in order:
        promised = desk.out.pop(name)
        units = promised.units * asked[name - 1][2] // 100
        if units:
            desk.world.charge([replace(promised, units=units)])
    assert desk.world.value(PAYER, "main") >= 0
    assert desk.world.value(PAYER, "gift") >= 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5_000_000), KINDS, WANTED)
def test_not_a_unit_more_could_have_been_promised(main: int, what: tuple[str, str], wanted: int) -> None:
    """What is promised is the most: one more unit would have to be owed."""
    kind, called = what
    units = Desk(platform(main)).ask(use(kind, called, wanted), 1)
    assert 0 <= units <= wanted
    if units < wanted:
        more = platform(main)
        more.charge([use(kind, called, units + 1)])
        assert more.value(PAYER, "main") < 0


def test_a_promise_changes_no_account() -> None:
    """Nothing is booked before it is used."""
    desk = Desk(platform(1_000_000))
    before = desk.world.accounts[to_key(PAYER)].copy()
    assert desk.ask(use("voice", "447700900002", 600_000), 1) == 600_000
    assert (desk.world.accounts[to_key(PAYER)] == before).all()


def test_asking_again_replaces_the_promise() -> None:
    """One name has one promise, and its own earlier one is no obstacle."""
    desk = Desk(platform(0))
    assert desk.ask(use("voice", "447700900002", 200_000), 1) == 200_000
    assert desk.ask(use("voice", "447700900002", 300_000), 1) == 300_000
    assert desk.ask(use("voice", "447700900002", 300_000), 2) == 0, "all five minutes are promised"
    assert desk.ask(use("voice", "447700900002", 0), 1) == 0
    assert desk.ask(use("voice", "447700900002", 300_000), 2) == 300_000


def test_credit_counts_as_money() -> None:
    """A postpaid account is promised what its credit limit allows, and no more."""
    world = Platform(catalogue())
    world.enrol([{"subscriber": PAYER, "plan": "payg", "payment": "postpaid", "credit_micros": 500_000}])
    assert Desk(world).ask(use("data", "", 100_000_000), 1) == 70_000_000, (
        "20 free megabytes, and fifty cents' worth"
    )


def test_many_sessions_are_tried_in_orders_that_turn() -> None:
    """Beyond four sessions the account still owes nothing when they end first to last, last to first, or turned."""
    desk = Desk(platform(2_000_000))
    data, call = use("data", "", 30_000_000), use("voice", "447700900002", 90_000)
    promised = [desk.ask(data if at % 2 else call, at + 1) for at in range(7)]
    assert sum(units > 0 for units in promised) >= 4
    for name in sorted(desk.out, reverse=True):
        desk.world.charge([desk.out[name]])
    assert desk.world.value(PAYER, "main") >= 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 5_000_000),
    st.integers(0, 1_000_000),
    st.lists(st.tuples(KINDS, WANTED), min_size=1, max_size=3),
    KINDS,
    WANTED,
)
def test_what_waits_to_be_charged_counts_as_charged(
    main: int, gift: int, used: list[tuple[tuple[str, str], int]], what: tuple[str, str], wanted: int
) -> None:
    """An account promises the same before and after what was used is charged."""
    owed = [use(kind, called, units, at) for at, ((kind, called), units) in enumerate(used)]
    charged = Desk(platform(main, gift))
    charged.world.charge(owed)
    asked = use(what[0], what[1], wanted, 9)
    assert Desk(platform(main, gift), owed=owed).ask(asked, 1) == charged.ask(asked, 1)


DEAR, RISING, MINUTE = "4312345678", "33123456789", 60_000
CENT = 10_000


def test_a_use_ends_before_it_costs_more_than_its_price_says() -> None:
    """Fifty cents behind the fee are five minutes, however much money there is; what is used is charged as ever."""
    desk = Desk(platform(50_000_000))
    assert desk.ask(use("voice", DEAR, 60 * MINUTE), 1) == 5 * MINUTE
    assert desk.ask(use("voice", DEAR, 4 * MINUTE), 2) == 4 * MINUTE
    more = platform(50_000_000)
    more.charge([use("voice", DEAR, 10 * MINUTE)])
    assert more.value(PAYER, "main") == 50_000_000 - 105 * CENT, (
        "the end is the network's to make; a charge has none"
    )


def test_an_end_holds_beside_other_promises() -> None:
    """What one of two sessions would cost when the other has used the allowance counts, too: each keeps its end."""
    desk = Desk(platform(50_000_000))
    asked = [
        desk.ask(use("voice", number, 60 * MINUTE, at), at)
        for at, number in enumerate([DEAR, DEAR, RISING], 1)
    ]
    assert asked == [5 * MINUTE, 5 * MINUTE, 60 * MINUTE]


CEILINGS = [  # called, micro-units, for so many ms, and how long a call may be (ms)
    ("447700900002", 0, MINUTE, 5 * MINUTE),  # the allowance alone
    ("447700900002", 10 * CENT, MINUTE, 90 * MINUTE),
    ("447700900002", 10 * CENT - 1, MINUTE, 5 * MINUTE),
    ("4930123456", 30 * CENT, MINUTE, 0),  # the first two minutes are dearer
    ("4930123456", 40 * CENT, MINUTE, 90 * MINUTE),
    (RISING, 12 * CENT, MINUTE, 2 * MINUTE),
    (RISING, 2_000, 1_000, 2 * MINUTE),  # the same rate, said by the second
    (RISING, 1_999, 1_000, 0),
    (RISING, 60 * CENT, MINUTE, 90 * MINUTE),
]


def test_a_highest_rate_ends_a_use_where_it_would_be_dearer() -> None:
    """Slots count as they are in force, fees do not, and what an allowance covers costs nothing."""
    for called, micros, per, expected in CEILINGS:
        asked = use("voice", called, 90 * MINUTE)
        assert Desk(platform(90_000_000)).ask(asked, 1, micros, per) == expected, (called, micros, per)
    assert Desk(platform(90_000_000)).ask(use("data", "", 90_000_000), 1, 9_999, 1_000_000) == 20_000_000
    assert Desk(platform(90_000_000)).ask(use("data", "", 90_000_000), 1, 10_000, 1_000_000) == 90_000_000


def test_the_rate_of_a_priced_allowance_counts() -> None:
    """Units that another plan prices are asked for at that plan's rate, the rest at the use's own."""
    for micros, expected in (
        (5 * CENT, 0),
        (6 * CENT, 3 * MINUTE),
        (12 * CENT, 3 * MINUTE),
        (60 * CENT, 90 * MINUTE),
    ):
        world = platform(90_000_000)
        world.open(PAYER, "bundle", 3 * MINUTE)
        assert Desk(world).ask(use("voice", RISING, 90 * MINUTE), 1, micros, MINUTE) == expected, micros


def test_a_highest_cost_is_the_whole_uses() -> None:
    """The fee counts, and an allowance does not."""
    desk = Desk(platform(90_000_000))
    assert desk.ask(use("voice", RISING, 90 * MINUTE), 1, cost_micros=42 * CENT) == MINUTE
    assert desk.ask(use("voice", RISING, 90 * MINUTE), 1, cost_micros=30 * CENT) == 0
    assert desk.ask(use("data", "", 90_000_000), 2, cost_micros=CENT) == 21_000_000


WHOLE = st.integers(0, 2**62)
PARTS = st.integers(1, 2**62)


@settings(max_examples=300, deadline=None)
@given(WHOLE, PARTS, WHOLE, PARTS)
def test_fractions_are_compared_exactly(one: int, of: int, other: int, other_of: int) -> None:
    """Whatever their size, and also where they are the same."""
    assert price.above(one, of, other, other_of) is (Fraction(one, of) > Fraction(other, other_of))
    assert price.above(one % 2**30 * 3, of % 2**30 * 3 + 3, one % 2**30, of % 2**30 + 1) is False
