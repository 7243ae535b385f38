"""Members of one account ask for quota at the same moment, and amounts are set apart: nothing is given twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.charging_room import NOTHING_REGISTERED, Platform
from tests.opinion.pricing import Use
from trunkline.charging.online import decide, owed, reserved, struck
from trunkline.charging.sharing import shares
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Grouped
from trunkline.records.charging import ACCOUNTS, RowKind
from trunkline.records.online import APART, REFUSALS, REQUEST_ROW, SESSIONS, Action
from trunkline.records.usage import Direction, Kind

OWNER, MEMBERS = "447700900001", ("447700900002", "447700900003", "447700900004")
NOW_S = 1_790_000_000
NEVER_US = 2**62
MB = 1_000_000
POOL, LIMIT = 100 * MB, 40 * MB
TARIFF = {
    "operator.yaml": """
operator: {name: Example Mobile, currency: EUR, time_zone: UTC, country_code: "44"}
destinations: {uk: {prefixes: ["44"]}}
rates:
  data: {price: "0.01", per: 1MB, increments: [1KB]}
balances:
  main: {unit: money, main: true}
  pool: {unit: octets, grant: 100MB, every: month, usage: [data], priority: 10, shared: true, member_limit: 40MB}
  own: {unit: octets, grant: 5MB, every: month, usage: [data], priority: 5}
""",
    "family.yaml": """
plan: family
effective: 2026-01-01
includes: [pool, own]
prices:
  - {usage: data, to: any, rate: data}
""",
}


@cache
def catalogue() -> Catalogue:
    """Compiled once."""
    return compile_catalogue(TARIFF, NOTHING_REGISTERED)[0]


@dataclass
class Family:
    """An owner and three members, whose sessions are decided and charged as the engine does it."""

    world: Platform
    sessions: dict[int, int] = field(default_factory=dict)
    kept: Any = field(default_factory=lambda: np.empty(0, SESSIONS.dtype))

    @classmethod
    def of(cls, main_micros: int, limits: dict[str, dict[str, int]] | None = None) -> Family:
        """The owner has so much money; members may have limits of their own."""
        world = Platform(catalogue())
        world.enrol([
            {"subscriber": OWNER, "plan": "family", "opening_micros": main_micros},
            *({"subscriber": member, "plan": "family", "owner": OWNER, "limits": (limits or {}).get(member, {})}
              for member in MEMBERS),
        ])  # fmt: skip
        return cls(world)

    def ask(self, *asked: tuple[int, str, int, int]) -> list[int]:
        """Requests (session, who, units used, units wanted) in one batch: units granted to each."""
        rows = np.zeros(len(asked), REQUEST_ROW)
        for row, (session, who, used, wanted) in zip(rows, asked, strict=True):
            owner, member = self.world.catalogue.members.account_of(to_key(who))
            self.sessions[session] = self.sessions.get(session, 0) + 1
            row["subscriber"], row["member"], row["session"] = owner, member, session
            row["invocation"], row["action"], row["says"] = self.sessions[session], int(Action.RESERVE), True
            row["kind"], row["direction"] = int(Kind.DATA), int(Direction.ORIGINATING)
            row["start_us"], row["until_us"] = NOW_S * 1_000_000, NEVER_US
            row["used"], row["wanted"] = used, wanted
        return self._decided(rows)

    def apart(self, name: int, amount: int, balance: str = "main", action: Action = Action.RESERVE) -> int:
        """Set an amount of a balance apart, or give it back: how much is."""
        row = np.zeros(1, REQUEST_ROW)
        self.sessions[name] = self.sessions.get(name, 0) + 1
        row["subscriber"], row["session"], row["action"] = to_key(OWNER), name, int(action)
        row["group"] = self.world.catalogue.balances.index(balance)
        row["invocation"], row["kind"], row["says"] = self.sessions[name], APART, True
        row["start_us"], row["until_us"], row["wanted"] = NOW_S * 1_000_000, NEVER_US, amount
        return self._decided(row)[0]

    def _decided(self, rows: Any) -> list[int]:
        told, after = decide(rows, self._state(), self._account(), self.world.catalogue)
        self.kept = after.rows
        assert all(REFUSALS[refusal] == "" for refusal in told["refusal"].tolist())
        return [int(granted) for granted in told["granted"]]

    def charge(self) -> None:
        """Charge what is owed, and strike it off."""
        before = self._state()
        due = owed(before)
        words = self.world.catalogue.members.words_of(to_key(OWNER))
        numbers = {word: number for number, word in zip((OWNER, *MEMBERS), words.values(), strict=True)}
        self.world.charge([
            Use(seq=at, source="online", record_id=str(at), kind="data", subscriber=numbers[words[row["member"]]],
                start_us=row["start_us"], units=row["units"])
            for at, row in enumerate(due.iter_rows(named=True))
        ])  # fmt: skip
        self.kept = struck(before, before).rows

    def reserved(self, balance: str) -> int:
        """How much of a balance is promised, set apart or owed."""
        account = self._account()
        mine = (account.rows["kind"] == RowKind.BALANCE) & (
            account.rows["definition"] == self.world.catalogue.balances.index(balance)
        )
        return int(reserved(self.kept, account, NOW_S * 1_000_000, self.world.catalogue)[mine].sum())

    def _state(self) -> Grouped:
        return Grouped(np.array([to_key(OWNER)], np.uint64), np.array([0, len(self.kept)]), self.kept)

    def _account(self) -> Grouped:
        rows = self.world.accounts.get(to_key(OWNER), np.empty(0, ACCOUNTS.dtype))
        return Grouped(np.array([to_key(OWNER)], np.uint64), np.array([0, len(rows)]), rows)


def test_a_member_gets_its_own_allowance_its_share_and_then_the_owners_money() -> None:
    """Five megabytes of its own, forty of the pool, and what the owner pays for."""
    family = Family.of(1_000_000)
    assert family.ask((1, MEMBERS[0], 0, 500 * MB)) == [5 * MB + LIMIT + 100 * MB]
    assert family.ask((2, MEMBERS[1], 0, 500 * MB)) == [5 * MB + LIMIT], "the owner's money is promised"
    assert family.ask((3, MEMBERS[2], 0, 500 * MB)) == [5 * MB + POOL - 2 * LIMIT], "and most of the pool"
    assert family.ask((4, OWNER, 0, 500 * MB)) == [5 * MB]


def test_a_members_own_limit_decides_for_it_alone() -> None:
    """Whoever has a limit of its own has that one; another session of the same member has what is left of it."""
    family = Family.of(0, {MEMBERS[0]: {"pool": 7 * MB}})
    assert family.ask((1, MEMBERS[0], 0, 500 * MB)) == [12 * MB]
    assert family.ask((2, MEMBERS[0], 0, 500 * MB), (3, MEMBERS[1], 0, 500 * MB)) == [0, 45 * MB]


def test_what_a_member_used_is_its_own_in_the_books() -> None:
    """Usage is charged to the member, and no promise overlooks it before it is."""
    family = Family.of(0)
    assert family.ask((1, MEMBERS[0], 0, 20 * MB)) == [20 * MB]
    assert family.ask((1, MEMBERS[0], 20 * MB, 500 * MB)) == [25 * MB], "fifteen of forty are owed"
    family.charge()
    (share,) = (each for each in shares(family._account().rows, family.world.catalogue) if each.member == 1)
    assert share.used == 15 * MB
    assert family.ask((1, MEMBERS[0], 0, 500 * MB)) == [25 * MB]


WHO = st.sampled_from([OWNER, *MEMBERS])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 6), WHO, st.integers(0, 60 * MB), st.integers(0, 100)),
        st.tuples(st.just("apart"), st.integers(11, 13), st.just(OWNER), st.integers(1, 900_000), st.booleans()),
        st.tuples(st.just("charge"), st.just(0), st.just(OWNER), st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=14,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2_000_000), STEPS)
def test_neither_pool_nor_limits_nor_money_are_ever_exceeded(main: int, steps: list[Any]) -> None:
    """Whoever asks, reports a part of what it was given, sets apart and gives back: the books stay within bounds."""
    family = Family.of(main)
    granted: dict[int, tuple[str, int]] = {}
    apart: dict[int, int] = {}
    for doing, name, who, amount, more in steps:
        if doing == "charge":
            family.charge()
        elif doing == "apart":
            if apart.get(name):
                apart[name] = family.apart(name, 0, action=Action.RELEASE)
            elif name not in family.sessions:
                apart[name] = family.apart(name, amount)
                assert apart[name] in (0, amount), "all or nothing"
        else:
            user, had = granted.get(name, (who, 0))
            (given_now,) = family.ask((name, user, had * more // 100, amount))
            granted[name] = user, given_now
    for name, (user, had) in granted.items():
        family.ask((name, user, had, 0))
    family.charge()
    account = family._account().rows
    assert family.world.value(OWNER, "main") >= sum(apart.values()), "what is set apart is still there"
    pool = account[
        (account["kind"] == RowKind.BALANCE)
        & (account["definition"] == family.world.catalogue.balances.index("pool"))
    ]
    assert (pool["value"] >= 0).all()
    for share in shares(account, family.world.catalogue):
        assert share.used <= LIMIT
    assert sum(share.used for share in shares(account, family.world.catalogue)) == sum(
        POOL - int(value) for value in pool["value"]
    )


def test_an_amount_is_set_apart_wholly_or_not_at_all() -> None:
    """What sessions were promised cannot be set apart, what is set apart cannot be promised; given back, it can."""
    family = Family.of(1_000_000)
    assert family.apart(11, 600_000) == 600_000
    assert family.apart(12, 500_000) == 0
    assert family.ask((1, OWNER, 0, 500 * MB)) == [5 * MB + LIMIT + 40 * MB]
    assert family.apart(13, 1) == 0, "all of it is promised"
    assert family.reserved("main") == 1_000_000
    assert family.apart(11, 0, action=Action.RELEASE) == 0
    assert family.reserved("main") == 400_000
    assert family.apart(14, 600_001) == 0
    assert family.apart(15, 600_000) == 600_000


def test_what_is_used_and_not_charged_counts_as_reserved() -> None:
    """A bucket's reserved value is what nobody else can have."""
    family = Family.of(1_000_000)
    family.ask((1, OWNER, 0, 65 * MB))
    assert family.reserved("main") == 200_000
    family.ask((1, OWNER, 65 * MB, 10 * MB))
    assert family.reserved("main") == 300_000
    family.charge()
    assert family.world.value(OWNER, "main") == 800_000
    assert family.reserved("main") == 100_000
