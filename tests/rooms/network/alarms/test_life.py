"""The life of alarms, as tables that a person of a NOC could read: what comes in, and what is told."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tests.rooms.network.alarms.network_of_sites import (
    ATTACK,
    BAD_SERVICE,
    BROKEN,
    HOT,
    LOSS,
    S,
    Watch,
    signals,
    window,
)
from trunkline.network.alarms.life import alarm_ids, key_of
from trunkline.network.alarms.rules import AlarmRules, Damping

PLAIN = AlarmRules(damping=Damping(hold_from=9_000_000, most=9_000_000))

CASES: dict[str, tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], dict[str, int]]] = {
    "raised and cleared": (
        [(10, "S0/C0"), (20, "S0/C0", "clear")],
        [(10, "S0/C0", "raise", ""), (20, "S0/C0", "clear", "")],
        {"raised": 1, "cleared": 1},
    ),
    "one stands at a time": (
        [(10, "S0/C0"), (11, "S0/C0"), (12, "S0/C0")],
        [(10, "S0/C0", "raise", "")],
        {"raised": 3, "active": 1, "deduplicated": 2},
    ),
    "another severity is told": (
        [(10, "S0/C0", "raise", 3), (11, "S0/C0", "raise", 1)],
        [(10, "S0/C0", "raise", ""), (11, "S0/C0", "update", "")],
        {"raised": 2, "active": 1, "deduplicated": 1},
    ),
    "a complaint that nobody ends lapses a day after it was last told": (
        [(10, "S0/C0", "raise", 4), (50, "S0/C0", "raise", 4), (60, "S0/C1", "raise", 3), (90_000, "S0/C0")],
        [
            (10, "S0/C0", "raise", ""),
            (60, "S0/C1", "raise", ""),
            (86_450, "S0/C0", "clear", ""),
            (90_000, "S0/C0", "raise", ""),
        ],
        {"raised": 4, "active": 2, "cleared": 1, "deduplicated": 1},
    ),
    "a raise of severity cleared is a clear": (
        [(10, "S0/C0"), (11, "S0/C0", "raise", 6)],
        [(10, "S0/C0", "raise", ""), (11, "S0/C0", "clear", "")],
        {"raised": 1, "cleared": 1},
    ),
    "a clear of nothing is counted, not told": (
        [(10, "S0/C0", "clear")],
        [],
        {"unmatched": 1},
    ),
    "a clear that overtook its raise ends it": (
        [(20, "S0/C0", "clear"), (10, "S0/C0")],
        [(10, "S0/C0", "raise", ""), (20, "S0/C0", "clear", "")],
        {"raised": 1, "cleared": 1, "unmatched": 1},
    ),
    "an old clear does not end what was raised after it": (
        [(10, "S0/C0"), (30, "S0/C0"), (20, "S0/C0", "clear")],
        [(10, "S0/C0", "raise", "")],
        {"raised": 2, "active": 1, "deduplicated": 1, "unmatched": 1},
    ),
    "a repetition that comes after its clear raises nothing": (
        [(10, "S0/C0"), (20, "S0/C0", "clear"), (15, "S0/C0")],
        [(10, "S0/C0", "raise", ""), (20, "S0/C0", "clear", "")],
        {"raised": 2, "cleared": 1, "deduplicated": 1},
    ),
    "an outage holds back what hangs on it, raised before or after": (
        [(10, "S0/C0"), (20, "L0", "raise", 1), (30, "S0/C1"), (30, "S1/C0")],
        [
            (10, "S0/C0", "raise", ""),
            (20, "L0", "raise", ""),
            (20, "S0/C0", "suppress", "carried_by:L0"),
            (30, "S0/C1", "raise", "carried_by:L0"),
            (30, "S1/C0", "raise", ""),
        ],
        {"raised": 4, "active": 2, "correlated": 2},
    ),
    "one of two ways up explains nothing": (
        [(10, "L2", "raise", 1), (20, "S2/C0")],
        [(10, "L2", "raise", ""), (20, "S2/C0", "raise", "")],
        {"raised": 2, "active": 2},
    ),
    "the outage nearest to the core is the root": (
        [(10, "S0", "raise", 2, BROKEN), (11, "LC", "raise", 1), (12, "S0/C0")],
        [
            (10, "S0", "raise", ""),
            (11, "LC", "raise", ""),
            (12, "S0/C0", "raise", "carried_by:LC"),
        ],
        {"raised": 3, "active": 2, "correlated": 1},
    ),
    "a small trouble above holds nothing back": (
        [(10, "L0", "raise", 3), (20, "S0/C0")],
        [(10, "L0", "raise", ""), (20, "S0/C0", "raise", "")],
        {"raised": 2, "active": 2},
    ),
    "a trouble that grows into an outage holds back from then on": (
        [(10, "L0", "raise", 3), (20, "S0/C0"), (30, "L0", "update", 1, LOSS, "ann")],
        [
            (10, "L0", "raise", ""),
            (20, "S0/C0", "raise", ""),
            (30, "L0", "update", ""),
            (30, "S0/C0", "suppress", "carried_by:L0"),
        ],
        {"raised": 2, "active": 1, "correlated": 1},
    ),
    "bad service above is a symptom, too, and explains nothing": (
        [(10, "L0", "raise", 1, BAD_SERVICE), (20, "S0/C0")],
        [(10, "L0", "raise", ""), (20, "S0/C0", "raise", "")],
        {"raised": 2, "active": 2},
    ),
    "broken equipment below is told whatever is above": (
        [(10, "L0", "raise", 1), (20, "S0", "raise", 2, HOT)],
        [(10, "L0", "raise", ""), (20, "S0", "raise", "")],
        {"raised": 2, "active": 2},
    ),
    "an attack is never explained by an outage": (
        [(10, "L0", "raise", 1), (20, "S0/C0", "raise", 1, ATTACK)],
        [(10, "L0", "raise", ""), (20, "S0/C0", "raise", "")],
        {"raised": 2, "active": 2},
    ),
    "an old outage explains nothing new": (
        [(10, "L0", "raise", 1), (1000, "S0/C0")],
        [(10, "L0", "raise", ""), (1000, "S0/C0", "raise", "")],
        {"raised": 2, "active": 2},
    ),
    "the end of what is held back is told, and it stays counted as held back": (
        [(10, "L0", "raise", 1), (20, "S0/C0"), (30, "S0/C0", "clear")],
        [
            (10, "L0", "raise", ""),
            (20, "S0/C0", "raise", "carried_by:L0"),
            (30, "S0/C0", "clear", "carried_by:L0"),
        ],
        {"raised": 2, "active": 1, "correlated": 1},
    ),
    "hands": (
        [
            (10, "S0/C0"),
            (11, "S0/C0", "ack", None, LOSS, "ann"),
            (12, "S0/C0", "ack", None, LOSS, "bob"),
            (13, "S0/C0", "comment", None, LOSS, "ann"),
            (14, "S0/C0", "unack", None, LOSS, "ann"),
            (15, "S0/C0", "update", 4, LOSS, "ann"),
            (16, "S0/C0", "clear", None, LOSS, "ann"),
            (17, "S0/C0", "ack", None, LOSS, "ann"),
        ],
        [
            (10, "S0/C0", "raise", ""),
            (11, "S0/C0", "ack", ""),
            (13, "S0/C0", "comment", ""),
            (14, "S0/C0", "unack", ""),
            (15, "S0/C0", "update", ""),
            (16, "S0/C0", "clear", ""),
            (17, "S0/C0", "ack", ""),
        ],
        {"raised": 1, "cleared": 1, "unmatched": 1},
    ),
    "a hand on no alarm finds nothing": (
        [(10, "S0/C0", "ack", None, LOSS, "ann"), (11, "S0/C0", "delete", None, LOSS, "ann")],
        [],
        {"unmatched": 2},
    ),
    "deleting a standing alarm ends it": (
        [(10, "S0/C0"), (11, "S0/C0", "delete", None, LOSS, "ann")],
        [(10, "S0/C0", "raise", ""), (11, "S0/C0", "clear", "")],
        {"raised": 1, "cleared": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    """What comes in, what is told, and what it counts as."""
    given, told, counts = CASES[case]
    watch = Watch(rules=PLAIN)
    assert watch.take(given) == told
    assert {name: count for name, count in watch.counts.items() if count} == counts


def test_an_outage_ends_and_what_still_stands_is_told() -> None:
    """A minute after an outage's end, what was explained by it and still stands is told; what ended is not."""
    watch = Watch(rules=PLAIN)
    watch.take(
        [(10, "L0", "raise", 1), (20, "S0/C0"), (20, "S0/C1"), (50, "L0", "clear"), (60, "S0/C1", "clear")]
    )
    assert watch.wait(109) == []
    assert watch.wait(200) == [(110, "S0/C0", "unsuppress", "")]
    assert watch.counts["active"] == 1
    assert watch.counts["correlated"] == 1


def test_an_outage_that_returns_in_time_goes_on_explaining() -> None:
    """An outage that comes back before its minute is over holds back what it held back."""
    watch = Watch(rules=PLAIN)
    watch.take([(10, "L0", "raise", 1), (20, "S0/C0"), (50, "L0", "clear"), (70, "L0", "raise", 1)])
    assert watch.wait(500) == []
    assert watch.counts["correlated"] == 1


def test_maintenance_holds_back_alerting_and_no_end() -> None:
    """Inside a window everything that hangs on its object is held back; what still stands at its end is told then."""
    rules = AlarmRules(PLAIN.damping, windows=(window("upgrade", ["AGG"], 100, 200),))
    watch = Watch(rules=rules)
    held = "maintenance:upgrade"
    assert watch.take(
        [
            (99, "S0/C0"),
            (100, "S0/C1"),
            (150, "L1", "raise", 1, BROKEN),
            (160, "S2/C0"),
            (170, "S0/C1", "clear"),
        ]
    ) == [
        (99, "S0/C0", "raise", ""),
        (100, "S0/C1", "raise", held),
        (150, "L1", "raise", held),
        (160, "S2/C0", "raise", ""),  # it has another way up
        (170, "S0/C1", "clear", held),
    ]  # fmt: skip
    assert watch.counts == {
        "raised": 4, "active": 2, "cleared": 0, "deduplicated": 0, "suppressed": 2, "correlated": 0, "unmatched": 0,
    }  # fmt: skip
    assert watch.wait(199) == []
    assert watch.wait(260) == [(200, "L1", "unsuppress", "")]


def test_windows_that_follow_each_other_are_one() -> None:
    """An alarm goes from one window into the next and is told at the end of the last."""
    rules = AlarmRules(
        PLAIN.damping,
        windows=(
            window("a", ["S0"], 100, 200),
            window("b", ["L0"], 150, 300),
            window("c", ["S0/C0"], 300, 400),
        ),
    )
    watch = Watch(rules=rules)
    assert watch.take([(110, "S0/C0")]) == [(110, "S0/C0", "raise", "maintenance:a")]
    assert watch.wait(500) == [(400, "S0/C0", "unsuppress", "")]


def test_after_maintenance_an_outage_may_go_on_holding_back() -> None:
    """When one rule ends and another one holds, the alarm is told to be held back by that one from then on."""
    rules = AlarmRules(PLAIN.damping, windows=(window("upgrade", ["S0"], 0, 100),))
    watch = Watch(rules=rules)
    watch.take([(10, "S0/C0"), (20, "L0", "raise", 1)])
    assert watch.wait(150) == [(100, "S0/C0", "suppress", "carried_by:L0")]


def test_a_window_that_is_taken_away_lets_go() -> None:
    """When an operator takes a window away, what it holds back is told as time moves on."""
    rules = AlarmRules(PLAIN.damping, windows=(window("upgrade", ["S0"], 0, 1000),))
    watch = Watch(rules=rules)
    watch.take([(10, "S0/C0")])
    watch.rules = rules.without_window("upgrade")
    assert watch.wait(50) == [(50, "S0/C0", "unsuppress", "")]


def test_a_device_outside_the_inventory_has_windows_of_its_own() -> None:
    """A window may name what the inventory does not know; nothing hangs on it, but its own alarms are held back."""
    watch = Watch(rules=AlarmRules(windows=(window("test", ["meter-7"], 0, 100),)))
    assert watch.take([(10, "meter-7")]) == [(10, "meter-7", "raise", "maintenance:test")]


def flapping(times: int, every_s: int) -> list[tuple[Any, ...]]:
    """An alarm that comes and goes."""
    return [
        row
        for at in range(times)
        for row in ((100 + at * every_s, "S0/C0"), (105 + at * every_s, "S0/C0", "clear"))
    ]


def test_flapping_is_told_a_few_times_and_then_held_back() -> None:
    """The fifth return within minutes is held back, says so, and so are those after it."""
    watch = Watch()
    told = watch.take(flapping(8, 20))
    held = [held_by for _, _, action, held_by in told if action == "raise"]
    assert held == ["", "", "", "", "flapping", "flapping", "flapping", "flapping"]
    assert [action for _, _, action, _ in told].count("clear") == 8
    assert watch.counts["suppressed"] == 4


def test_a_slow_return_is_no_flapping() -> None:
    """An alarm that comes back every half hour is told each time."""
    watch = Watch()
    assert all(held_by == "" for *_, held_by in watch.take(flapping(50, 1800)))


def test_flapping_that_settles_is_told() -> None:
    """When a flapping alarm stays, it is told as soon as it has been quiet long enough, which is bounded."""
    watch = Watch()
    watch.take([*flapping(100, 10), (1200, "S0/C0")])
    rules = watch.rules.damping
    told = watch.wait(20_000)
    assert [(name, action) for _, name, action, _ in told] == [("S0/C0", "unsuppress")]
    longest_s = rules.half_life_s * 4  # from `most` to `release_at` are three halvings
    assert 1200 < told[0][0] <= 1200 + longest_s


def test_ids_are_made_from_the_alarm() -> None:
    """The name of an alarm comes from its key and its first raise: a replay gives the same, the next life another."""
    watch, again = Watch(), Watch()
    rows: list[tuple[Any, ...]] = [(10, "S0/C0"), (20, "S0/C0", "clear"), (30, "S0/C0")]
    watch.take(rows)
    again.take(rows)
    ids = watch.changes["alarm_id"].to_list()
    assert ids == again.changes["alarm_id"].to_list()
    assert ids[0] == ids[1] != ids[2]
    assert {key_of(each) for each in ids} == {int(watch.changes["alarm_key"][0])}
    assert (
        alarm_ids(watch.changes["alarm_key"].to_numpy()[:1], watch.changes["time_us"].to_numpy()[:1])
        == ids[:1]
    )


def test_what_ended_a_day_ago_is_forgotten_but_stays_counted() -> None:
    """What is remembered does not grow with the days; the sums do."""
    watch = Watch(rules=PLAIN)
    for day in range(5):
        watch.take([(day * 90_000 + 10, f"device-{day}-{i}") for i in range(20)])
        watch.take([(day * 90_000 + 20, f"device-{day}-{i}", "clear") for i in range(20)])
        watch.wait(day * 90_000 + 80_000)
    assert len(watch.state.rows) <= 41
    assert watch.counts["raised"] == watch.counts["cleared"] == 100


def test_an_alarm_says_since_when() -> None:
    """When a finding tells of something that began earlier, the alarm's own beginning is kept to its end."""
    watch = Watch(rules=PLAIN)
    frame = signals([(100, "S0/C0"), (200, "S0/C0", "clear")]).with_columns(
        since_us=pl.Series([40 * S, None])
    )
    watch.take(frame)
    assert watch.changes["since_us"].to_list() == [40 * S, 40 * S]


def test_security_events_are_a_kind_of_their_own() -> None:
    """They have the same life and carry their mark through it."""
    watch = Watch(rules=PLAIN)
    assert watch.take([(10, "FW", "raise", 1, ATTACK), (20, "FW", "clear", 6, ATTACK)]) == [
        (10, "FW", "raise", ""),
        (20, "FW", "clear", ""),
    ]
    assert watch.changes["security"].to_list() == [1, 1]
