"""What is handed on and given: a clerk's rules against a second opinion, and mistakes with their lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.charging_room import Platform
from tests.opinion.giving import Giver, Promise, fee
from trunkline.charging.movements import post
from trunkline.charging.tariffs import check, compare, describe
from trunkline.charging.tariffs.giving_rules import TransferRule
from trunkline.charging.transfers import hand_over, offer, transfer
from trunkline.engines.loop import over
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.money import Rounding
from trunkline.records.charging import (
    ACCOUNT_ROW,
    CARRIED,
    ENTRIES,
    MOVEMENTS,
    NEVER_S,
    TRANSFERS,
    Cause,
    RowKind,
)
from trunkline.records.giving import OFFERS

OPERATOR = """
operator: {name: Test, currency: EUR, time_zone: Europe/Berlin, time_zones: [America/New_York], country_code: "49"}
destinations: {germany: {prefixes: ["49"]}}
balances:
  main: {unit: money, main: true}
  gift: {unit: octets, usage: [data]}
  daily: {unit: money}
  weekly: {unit: time, usage: [voice]}
  spare: {unit: octets, usage: [data]}
rates: {minute: {price: "0.10", per: 60s}}
"""
GIVING = """
transfers:
  main: {least: "0.50", most: "30.00", fee: "0.10", percent: "1.5", decimals: 2, rounding: half_even}
  spare: {least: 1, most: 1GB, fee: "0.05"}
bonuses:
  monthly: {balance: gift, amount: 1GB, above: "20.00", valid: 30d, every: month}
  dayly: {balance: daily, amount: "0.25", above: "10.00", valid: 2d, every: day, plans: [one]}
  weekly: {balance: weekly, amount: 10m, above: "5.00", valid: 7d, every: week}
"""
PLANS = """
plan: one
prices: [{usage: voice, to: any, rate: minute}]
---
plan: two
prices: [{usage: voice, to: any, rate: minute}]
"""
FILES = {"operator.yaml": OPERATOR, "giving.yaml": GIVING, "plans.yaml": PLANS}
PROMISES = [
    Promise("gift", 10**9, Decimal(20), timedelta(days=30), "month"),
    Promise("daily", 250_000, Decimal(10), timedelta(days=2), "day", "one"),
    Promise("weekly", 600_000, Decimal(5), timedelta(days=7), "week"),
]
START = datetime(2026, 2, 20, tzinfo=UTC)
NUMBERS = [f"49151000000{at}" for at in range(4)]
ZONES = ["Europe/Berlin", "America/New_York"]


def platform() -> Platform:
    """Four subscribers, of two plans, zones and cycle days."""
    made = Platform.under(FILES)
    made.enrol(
        {
            "subscriber": each,
            "plan": ("one", "two")[at % 2],
            "time_zone": ZONES[at // 2],
            "cycle_day": 1 + 9 * at,
        }
        for at, each in enumerate(NUMBERS)
    )
    return made


@given(
    st.integers(1, 10**13),
    st.integers(0, 10**7),
    st.integers(0, 1_000_000),
    st.integers(0, 6),
    st.sampled_from(Rounding),
)
def test_fees_agree_with_a_second_opinion(
    amount: int, fixed: int, millionths: int, decimals: int, mode: Rounding
) -> None:
    """To the micro-unit, by every way of rounding."""
    rule = TransferRule(0, 1, 10**13, fixed, millionths, decimals, mode)
    said = fee(
        Decimal(amount) / 10**6,
        Decimal(fixed) / 10**6,
        Decimal(millionths) / 10**4,
        decimals,
        mode.name.lower(),
    )
    assert Decimal(rule.fee_for(amount)) == said * 10**6


@given(
    st.lists(
        st.tuples(
            st.sampled_from(range(4)),
            st.integers(0, 100 * 24 * 60),
            st.sampled_from(
                [4_999_999, 5_000_000, 9_999_999, 10_000_000, 19_999_999, 20_000_000, 75_000_000]
            ),
            st.sampled_from([Cause.TOPUP, Cause.REFUND]),
        ),
        max_size=25,
    )
)
def test_bonuses_agree_with_a_second_opinion(turns: list[tuple[int, int, int, Cause]]) -> None:
    """Each bonus once in each period of the subscriber's own calendar, with its own end and cause in the ledger."""
    made = platform()
    givers = [Giver(ZoneInfo(ZONES[at // 2]), 1 + 9 * at, ("one", "two")[at % 2]) for at in range(4)]
    expected = []
    orders = []
    for seq, (at, minutes, amount, cause) in enumerate(sorted(turns, key=lambda turn: turn[1])):
        moment = START + timedelta(minutes=minutes)
        if cause is not Cause.REFUND:
            for balance, given_, end in givers[at].top_up(Decimal(amount) / 10**6, moment, PROMISES):
                expected.append((seq, to_key(NUMBERS[at]), balance, given_, int(end.timestamp())))
        orders.append(
            {
                "seq": seq, "movement_id": f"m{seq}", "cause": int(cause), "subscriber": to_key(NUMBERS[at]),
                "time_us": int(moment.timestamp()) * 1_000_000, "balance": "main", "amount": amount,
                "valid_until_s": NEVER_S,
            }
        )  # fmt: skip
    frame = pl.DataFrame(orders, schema=MOVEMENTS.record.schema)
    whole, entries = posted(made, frame, [len(frame)])
    booked = entries.filter(pl.col("cause") == int(Cause.BONUS))
    found = booked.select("seq", "subscriber", pl.col("balance").cast(pl.String), "amount").rows()
    assert found == [row[:4] for row in expected]
    assert booked["debit"].cast(pl.String).unique().to_list() in ([], ["bonuses"])
    for _, subscriber, balance, amount, end_s in expected:
        rows = whole.rows_of(subscriber)
        mine = (rows["definition"] == made.catalogue.balances.index(balance)) & (
            rows["valid_until_s"] == end_s
        )
        assert int(rows["value"][mine & (rows["kind"] == RowKind.BALANCE)][0]) == amount
    split, again = posted(made, frame, [1] * len(frame))
    assert split.rows.tolist() == whole.rows.tolist()
    assert again.drop("seq").equals(entries.drop("seq"))


def posted(made: Platform, frame: pl.DataFrame, sizes: list[int]) -> tuple[Grouped, pl.DataFrame]:
    """Book movements in batches of such sizes; the accounts of all, and the ledger."""
    accounts = state(made)
    done = [ENTRIES.record.empty()]
    first = 0
    for size in sizes:
        outcome = post(frame[first : first + size], accounts, made.catalogue)
        assert outcome.state is not None
        assert outcome.rows[2].is_empty()
        accounts = outcome.state
        done.append(outcome.rows[0])
        first += size
    return accounts, pl.concat(done, how="vertical_relaxed")


def state(made: Platform) -> Grouped:
    """The accounts of everybody."""
    keys = sorted(made.accounts)
    offsets = np.cumsum([0, *(len(made.accounts[key]) for key in keys)]).astype(np.int64)
    rows = np.concatenate([np.empty(0, ACCOUNT_ROW), *(made.accounts[key] for key in keys)])
    return Grouped(np.array(keys, np.uint64), offsets, rows)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 3),
            st.sampled_from(["main", "spare"]),
            st.integers(1, 40_000_000),
        ),
        max_size=30,
    ),
    st.integers(1, 7),
)
def test_transfers_lose_nothing(orders: list[tuple[int, int, str, int]], size: int) -> None:
    """All together have what they had less the fees; cut anywhere it is the same; each side can be booked by itself."""
    made = platform()
    for at, each in enumerate(NUMBERS):
        made.open(each, "main", 20_000_000 * (at + 1))
        made.open(each, "spare", 7_000_000, until_s=2_000_000_000 + at)
        made.open(each, "spare", 5_000_000)
    before = state(made)
    frame = pl.DataFrame(
        [
            {
                "seq": seq, "transfer_id": f"t{seq}", "subscriber": to_key(NUMBERS[side]), "gives": gives,
                "time_us": 1_790_000_000_000_000, "balance": balance, "amount": amount,
            }
            for seq, (giver, receiver, balance, amount) in enumerate(orders)
            for side, gives in ((giver, True), (receiver, False))
        ],
        schema=TRANSFERS.record.schema,
    )  # fmt: skip
    after, sides, refused = handed_on(made, before, frame, 2 * len(orders) or 1)
    fees = -int(sides.filter(pl.col("cause") == int(Cause.TRANSFER_FEE))["amount"].sum())
    for name, lost in (("main", fees), ("spare", 0)):
        assert held(made, after, name) == held(made, before, name) - lost
    assert sides["seq"].n_unique() + len(refused) == len(orders)
    assert all(int(row["value"]) >= 0 for row in after.rows if row["kind"] == RowKind.BALANCE)
    again, same, _ = handed_on(made, before, frame, 2 * size)
    assert (again.rows.tolist(), same.rows()) == (after.rows.tolist(), sides.rows())
    alone = post(sides, before, made.catalogue)
    assert alone.rows[2].is_empty()
    assert alone.state is not None
    assert alone.state.rows.tolist() == after.rows.tolist()
    lying_apart, names = apart(made, before, frame)
    assert lying_apart.rows.tolist() == after.rows.tolist()
    assert names == {f"t{seq}" for seq in sides["seq"]}


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1_000_000, 40_000_000)), max_size=30
    ),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), min_size=4, max_size=12),
)
def test_gifts_keep_their_end(
    orders: list[tuple[int, int, int]], pieces: list[tuple[int, int, bool]]
) -> None:
    """However gifts go around, all together have the same units with the same ends, also of what was carried over."""
    made = platform()
    for at, days, carried in pieces:
        made.open(NUMBERS[at], "spare", 3_000_000 + days, until_s=1_790_000_000 + days * 86_400)
        if carried:
            made.accounts[to_key(NUMBERS[at])]["period"][-1] = CARRIED + 20_000 + days
    for each in NUMBERS:
        made.open(each, "main", 20_000_000)
    before = state(made)
    frame = pl.DataFrame(
        [
            {
                "seq": seq, "transfer_id": f"t{seq}", "subscriber": to_key(NUMBERS[side]), "gives": gives,
                "time_us": (1_790_000_000 + seq * 7_000) * 1_000_000, "balance": "spare", "amount": amount,
            }
            for seq, (giver, receiver, amount) in enumerate(orders)
            for side, gives in ((giver, True), (receiver, False))
        ],
        schema=TRANSFERS.record.schema,
    )  # fmt: skip
    after, sides, _ = handed_on(made, before, frame, 2)
    assert by_end(made, after) == by_end(made, before)
    ended = sides.filter((pl.col("amount") > 0) & (pl.col("valid_until_s") * 1_000_000 <= pl.col("time_us")))
    assert ended.is_empty(), "what has ended is given to nobody"


def by_end(made: Platform, accounts: Grouped) -> dict[int, int]:
    """What all have together of the units that can be given, by the end of their validity."""
    spare = made.catalogue.balances.index("spare")
    found: dict[int, int] = {}
    for row in accounts.rows:
        if row["kind"] == RowKind.BALANCE and row["definition"] == spare and row["value"]:
            end_s = int(row["valid_until_s"])
            found[end_s] = found.get(end_s, 0) + int(row["value"])
    return found


def handed_on(
    made: Platform, accounts: Grouped, frame: pl.DataFrame, size: int
) -> tuple[Grouped, pl.DataFrame, pl.DataFrame]:
    """Carry transfers in batches; the accounts, the sides that were booked, and what was refused."""
    sides, refused = [MOVEMENTS.record.empty()], []
    for first in range(0, len(frame), size):
        outcome = transfer(frame[first : first + size], accounts, made.catalogue)
        accounts = outcome.state or accounts
        sides.append(outcome.rows[2])
        refused += outcome.rows[3]["movement_id"].to_list()
        entries = outcome.rows[0]
        by_unit = entries.group_by("seq").agg(
            pl.when(pl.col("credit").cast(pl.String) == "transfers")
            .then("amount")
            .otherwise(0)
            .sum()
            .alias("gone"),
            pl.when(pl.col("debit").cast(pl.String) == "transfers")
            .then("amount")
            .otherwise(0)
            .sum()
            .alias("come"),
        )
        assert by_unit["gone"].equals(by_unit["come"].alias("gone")), (
            "the ledger's account of transfers is not empty"
        )
    return accounts, pl.concat(sides), pl.DataFrame({"name": refused}, schema={"name": pl.String})


def apart(made: Platform, accounts: Grouped, frame: pl.DataFrame) -> tuple[Grouped, set[str]]:
    """Carry the same orders as on a cluster, each side given its own accounts; the accounts, and what was booked."""
    booked: set[str] = set()
    for order in frame.filter("gives").iter_rows(named=True):
        receiver = frame.filter(~pl.col("gives") & (pl.col("transfer_id") == order["transfer_id"]))[
            "subscriber"
        ][0]
        said = OFFERS.record.conform(
            pl.DataFrame(
                [order | {"subscriber": receiver, "giver": order["subscriber"]}],
                schema_overrides={"subscriber": pl.UInt64, "giver": pl.UInt64},
            )
        )
        (handover,) = offer(said, of(accounts, receiver)).rows
        assert handover["known"].all()
        outcome = hand_over(
            handover.with_columns(seq=pl.lit(order["seq"])), of(accounts, order["subscriber"]), made.catalogue
        )
        _, _, taken, sides, handed, refused = outcome.rows
        assert len(handed) + len(refused) == 1
        assert len(taken) == len(sides.filter(pl.col("amount") > 0))
        if not len(handed):
            assert outcome.state is None
            continue
        assert outcome.state is not None
        accounts = over(accounts, outcome.state)
        arrived = post(taken, of(accounts, receiver), made.catalogue)
        assert arrived.rows[2].is_empty(), "what was given is never refused"
        assert arrived.state is not None
        accounts = over(accounts, arrived.state)
        booked.add(handed["transfer_id"][0])
        fees = sides.filter(pl.col("cause") == int(Cause.TRANSFER_FEE))
        assert handed["fee_micros"][0] == -int(fees["amount"].sum())
    return accounts, booked


def of(accounts: Grouped, subscriber: int) -> Grouped:
    """The accounts of one side."""
    rows = accounts.rows_of(subscriber)
    return Grouped(np.array([subscriber], np.uint64), np.array([0, len(rows)], np.int64), rows)


def test_who_is_not_there_receives_nothing() -> None:
    """The giver's side refuses in the same words as where accounts lie together, and nothing goes on its way."""
    made = platform()
    made.open(NUMBERS[0], "main", 20_000_000)
    stranger = to_key("4915100009999")
    nobody = Grouped(np.array([stranger], np.uint64), np.zeros(2, np.int64), np.empty(0, ACCOUNT_ROW))
    said = {
        "transfer_id": "t", "subscriber": stranger, "giver": to_key(NUMBERS[0]), "time_us": 1_790_000_000_000_000,
        "balance": "main", "amount": 1_000_000,
    }  # fmt: skip
    types = {"subscriber": pl.UInt64, "giver": pl.UInt64}
    offered = OFFERS.record.conform(pl.DataFrame([said], schema_overrides=types))
    (handover,) = offer(offered, nobody).rows
    outcome = hand_over(handover, of(state(made), to_key(NUMBERS[0])), made.catalogue)
    assert outcome.state is None
    assert [len(rows) for rows in outcome.rows] == [0, 0, 0, 0, 0, 1]
    assert outcome.rows[5]["reason"].to_list() == ["unknown_subscriber"]


def held(made: Platform, accounts: Grouped, balance: str) -> int:
    """What all have together."""
    rows = accounts.rows
    mine = (rows["kind"] == RowKind.BALANCE) & (rows["definition"] == made.catalogue.balances.index(balance))
    return int(rows["value"][mine].sum())


@pytest.mark.parametrize(
    ("wrong", "line", "text"),
    [
        ("transfers: {gold: {least: 1, most: 2}}", 1, 'no balance is called "gold"'),
        ("transfers:\n  main: {most: '5.00'}", 2, "needs `least`"),
        ("transfers:\n  main: {least: '9', most: '5'}", 2, "`most` is below `least`"),
        ("transfers:\n  gift: {least: 1, most: 2, percent: '5'}", 2, "use `fee` for units"),
        ("transfers:\n  main: {least: '1', most: '5', decimals: 2}", 2, "write `percent`, too"),
        ("transfers:\n  main: {least: 1MB, most: '5'}", 2, "amount"),
        ("bonuses:\n  b: {balance: main, amount: '1', above: '5', valid: 1d, every: day}", 2, "of its own"),
        ("bonuses:\n  b: {balance: gift, amount: 1GB, above: '5', every: day}", 2, "needs `valid`"),
        ("bonuses:\n  b: {balance: gift, amount: 1GB, above: '5', valid: 0d, every: day}", 2, "from 1 to"),
        (
            "bonuses:\n  b: {balance: gift, amount: 1GB, above: '5', valid: 1d, every: day, plans: [three]}",
            2,
            'no plan is called "three"',
        ),
        (
            (
                "bonuses:\n  b: {balance: gift, amount: 1GB, above: '5', valid: 1d, every: day}\n"
                "  c: {balance: gift, amount: 2GB, above: '9', valid: 1d, every: day}"
            ),
            3,
            'gives "gift" already',
        ),
    ],
)
def test_mistakes_have_their_line(wrong: str, line: int, text: str) -> None:
    """A clerk is told where and what."""
    mistakes = check({"operator.yaml": OPERATOR, "plans.yaml": PLANS, "giving.yaml": wrong})
    assert [(each.file, each.line) for each in mistakes if text in each.text] == [("giving.yaml", line)], (
        mistakes
    )


def test_in_words() -> None:
    """What is shown to people says everything, and a changed rule is a change."""
    told = describe(FILES)
    assert told.transfers[0] == {
        "transfer": "main", "least": "0.50", "most": "30.00", "fee": "0.10 and 1.50 %, half_even to 2 decimals",
    }  # fmt: skip
    assert told.bonuses[1]["gives"] == "0.25 of daily"
    assert [row["bonus"] for row in describe(FILES, "two").bonuses] == ["monthly", "weekly"]
    dearer = {**FILES, "giving.yaml": GIVING.replace('fee: "0.05"', 'fee: "0.07"')}
    assert [(change.what, change.after) for change in compare(FILES, dearer)] == [
        ("transfer spare, fee", "0.07")
    ]
