"""What an account still has to give, after any sequence of promises, reports, releases and ends: two programs agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.charging_room import NOTHING_REGISTERED, Platform
from tests.opinion.pricing import Use
from tests.opinion.promises import Prices, Purse
from trunkline.charging.online import decide, owed, reserved, struck
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import digest_of
from trunkline.records.charging import RowKind
from trunkline.records.online import APART, REQUEST_ROW, SESSIONS, Action
from trunkline.records.usage import Direction, Kind

PAYER, CALLED = "447700900001", "447700900002"
BEGIN_S = 1_790_000_000
MICROS = 1_000_000
PACK_KB = 3_000
PRICES = Prices(kilobyte=Decimal("0.00001"), call=Decimal("0.05"), second=Decimal("0.002"))
TARIFF = {
    "operator.yaml": """
operator: {name: Example Mobile, currency: EUR, time_zone: UTC, country_code: "44"}
destinations: {uk: {prefixes: ["44"]}}
rates:
  data: {price: "0.01", per: 1MB, increments: [1KB]}
  call: {price: "0.12", per: 60s, increments: [60s, 1s], connect_fee: "0.05"}
balances:
  main: {unit: money, main: true}
  pack: {unit: octets, grant: 3MB, every: month, usage: [data], priority: 10, increment: 1KB}
""",
    "payg.yaml": """
plan: payg
effective: 2026-01-01
includes: [pack]
prices:
  - {usage: data, to: any, rate: data}
  - {usage: voice, to: [uk], rate: call}
""",
}


@cache
def catalogue() -> Catalogue:
    """Compiled once."""
    return compile_catalogue(TARIFF, NOTHING_REGISTERED)[0]


@dataclass
class Account:
    """The platform's side: one account whose requests are decided and charged as the engine does it."""

    world: Platform
    now_s: int = BEGIN_S
    kept: Any = field(default_factory=lambda: np.empty(0, SESSIONS.dtype))
    asked: dict[str, int] = field(default_factory=dict)

    def request(
        self, name: str, action: Action, *, used: int = 0, wanted: int = 0, until_s: int = 0, call: bool = False,
        apart: bool = False,
    ) -> int:  # fmt: skip
        """One request: what it is granted."""
        row = np.zeros(1, REQUEST_ROW)
        self.asked[name] = self.asked.get(name, 0) + 1
        row["subscriber"], row["session"] = to_key(PAYER), digest_of(name)[0]
        row["invocation"], row["action"], row["says"] = self.asked[name], int(action), True
        row["kind"] = APART if apart else int(Kind.VOICE if call else Kind.DATA)
        row["group"] = catalogue().main_balance if apart else 0
        row["direction"], row["called"] = int(Direction.ORIGINATING), to_key(CALLED) if call else 0
        row["start_us"] = BEGIN_S * MICROS
        row["time_us"], row["until_us"] = self.now_s * MICROS, until_s * MICROS
        row["used"], row["wanted"] = used, wanted
        told, after = decide(row, self._state(), self._rows(), catalogue())
        self.kept = after.rows
        assert told["refusal"].tolist() == [0]
        return int(told["granted"][0])

    def charge(self) -> None:
        """Charge what is owed, and strike it off."""
        before = self._state()
        kinds = {int(Kind.VOICE): ("voice", CALLED), int(Kind.DATA): ("data", "")}
        for at, row in enumerate(owed(before).iter_rows(named=True)):
            kind, called = kinds[row["kind"]]
            use = Use(seq=at, source="online", record_id=f"{self.now_s}-{at}", kind=kind, subscriber=PAYER,
                      start_us=row["start_us"], units=row["units"], called=called)  # fmt: skip
            self.world.charge([use])
        self.kept = struck(before, before).rows

    def available(self) -> Decimal:
        """What is left of the main balance beside all that is promised, set apart or owed."""
        account = self._rows()
        main = (account.rows["kind"] == RowKind.BALANCE) & (
            account.rows["definition"] == catalogue().main_balance
        )
        taken = reserved(self.kept, account, self.now_s * MICROS, catalogue())
        return Decimal(int(account.rows["value"][main].sum() - taken[main].sum())) / MICROS

    def _state(self) -> Grouped:
        return Grouped(np.array([to_key(PAYER)], np.uint64), np.array([0, len(self.kept)]), self.kept)

    def _rows(self) -> Grouped:
        rows = self.world.accounts[to_key(PAYER)]
        return Grouped(np.array([to_key(PAYER)], np.uint64), np.array([0, len(rows)]), rows)


DATA = st.tuples(
    st.just("data"), st.integers(0, 3), st.integers(0, 100), st.integers(0, 9_000), st.integers(1, 90)
)
CALLS = st.tuples(
    st.just("call"), st.integers(0, 3), st.integers(0, 100), st.integers(0, 400_000), st.integers(1, 90)
)
APARTS = st.tuples(
    st.just("apart"), st.integers(0, 99), st.just(0), st.integers(1, 900_000), st.integers(1, 90)
)
OTHERS = st.tuples(
    st.sampled_from(["release", "give_back", "pass", "charge"]), st.integers(0, 5), st.integers(0, 100),
    st.integers(1, 60), st.just(0),
)  # fmt: skip
STEPS = st.lists(st.one_of(DATA, CALLS, APARTS, OTHERS), min_size=1, max_size=25)


def take_step(account: Account, purse: Purse, step: tuple[str, int, int, int, int]) -> None:
    """Do the same on both sides; what they grant must be the same."""
    what, number, percent, size, lasting = step
    until_s = account.now_s + lasting
    if what in ("data", "call"):
        name, call = f"{what}-{number}", what == "call"
        held = purse.sessions.get(name)
        used = (held.granted * percent // 100 if held else 0) // 1000 * 1000
        wanted = size if call else size * 1000
        granted = account.request(name, Action.RESERVE, used=used, wanted=wanted, until_s=until_s, call=call)
        assert granted == purse.reserve(name, used, wanted, call=call, until=until_s), step
    elif what == "apart":
        name = f"apart-{len(account.asked)}"
        granted = account.request(name, Action.RESERVE, wanted=size, until_s=until_s, apart=True)
        assert (granted == size) is purse.set_apart(name, Decimal(size) / MICROS, until_s), step
        assert granted in (0, size)
    elif what == "release" and purse.sessions:
        name = sorted(purse.sessions)[number % len(purse.sessions)]
        held = purse.sessions[name]
        used = held.granted * percent // 100 // 1000 * 1000
        account.request(name, Action.RELEASE, used=used, call=held.call)
        purse.release(name, used)
    elif what == "give_back" and purse.apart:
        name = sorted(purse.apart)[number % len(purse.apart)]
        account.request(name, Action.RELEASE, apart=True)
        purse.give_back(name)
    elif what == "pass":
        account.now_s += size
        calls = {name: session.call for name, session in purse.sessions.items()}
        for name in purse.expire(account.now_s):
            account.request(name, Action.LAPSE, call=calls[name])
    elif what == "charge":
        account.charge()
        purse.charge()


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3_000_000), st.sampled_from([0, 0, 500_000]), STEPS)
def test_what_is_available(money: int, credit: int, steps: list[tuple[str, int, int, int, int]]) -> None:
    """After each step both grant the same, have the same money to give, and it is never more than there is."""
    world = Platform(catalogue())
    world.enrol([{"subscriber": PAYER, "plan": "payg", "opening_micros": money, "credit_micros": credit}])
    account = Account(world)
    purse = Purse(PRICES, Decimal(money) / MICROS, PACK_KB, Decimal(credit) / MICROS)
    for step in steps:
        take_step(account, purse, step)
        event(step[0])
        assert account.available() == purse.available(), step
        assert purse.available() + purse.credit >= 0
    account.charge()
    purse.charge()
    assert Decimal(world.value(PAYER, "main")) / MICROS == purse.money
