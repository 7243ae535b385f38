"""Alarm arithmetic at every moment, however the stream is cut, delayed or repeated; and a second opinion agrees."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.opinion.alarms import Opinion
from tests.rooms.network.alarms.network_of_sites import (
    ATTACK,
    BAD_SERVICE,
    BROKEN,
    HOT,
    LOSS,
    S,
    Watch,
    network,
    signals,
    window,
)
from trunkline.network.alarms.rules import AlarmRules, Damping, Lapse

INVENTORY = network(sites=3, cells=2)
RULES = AlarmRules(
    damping=Damping(hold_from=1_400, release_at=700),
    windows=(window("north", ["L0"], 300, 700), window("hub", ["AGG"], 600, 900)),
    lapse=Lapse(slight_s=150),
)
ALARMS = (
    ("S0/C0", LOSS), ("S0/C0", LOSS), ("S0/C0", BAD_SERVICE), ("S0/C1", LOSS), ("S0", BROKEN), ("L0", LOSS),
    ("L0", LOSS), ("L1", HOT), ("S1/C0", LOSS), ("S1/C0", LOSS),
    ("S2/C0", LOSS), ("L2", LOSS), ("AGG", BROKEN), ("LC", BAD_SERVICE), ("FW", ATTACK),
)  # fmt: skip
WAYS_UP = {
    name: [
        above
        for below, above in INVENTORY.upward.iter_rows()
        if below == word
    ]
    for word, name in INVENTORY.names.select("object", "name").iter_rows()
}  # fmt: skip
NAMES = dict(INVENTORY.names.select("object", "name").iter_rows())
ABOVE = {name: [NAMES[above] for above in ways] for name, ways in WAYS_UP.items()}

steps = st.tuples(
    st.integers(1, 60),  # seconds after the one before
    st.sampled_from(ALARMS),
    st.sampled_from(["raise", "raise", "raise", "clear", "clear"]),
    st.integers(1, 4),
)


def in_time(drawn: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Signals at rising times."""
    rows, now = [], 0
    for after, (name, kind), action, severity in drawn:
        now += after
        rows.append((now, name, action, severity, kind))
    return rows


def told_by(watch: Watch) -> list[tuple[Any, ...]]:
    """Everything that was told, in an order that no batch decides."""
    columns = [
        name for name in watch.changes.columns if name not in ("text", "probable_cause", "specific_problem")
    ]
    return sorted(watch.changes.select(columns).rows(), key=repr)


@given(st.lists(steps, max_size=40))
@settings(max_examples=30)
def test_every_raise_is_somewhere_at_every_moment(drawn: list[tuple[Any, ...]]) -> None:
    """After each single signal raised = active + cleared + deduplicated + suppressed + correlated, counted by hand."""
    watch = Watch(INVENTORY, RULES)
    raised = 0
    for number, row in enumerate(in_time(drawn)):
        watch.take([row])
        if number % 5 == 4:
            watch.wait(row[0])
        raised += row[2] == "raise"
        c = watch.counts
        assert c["raised"] == raised
        assert raised == c["active"] + c["cleared"] + c["deduplicated"] + c["suppressed"] + c["correlated"]
        last = watch.changes.group_by("alarm_id", maintain_order=True).last()
        free = last.filter((pl.col("severity") != 6) & (pl.col("held_by") == ""))
        assert c["active"] == len(free), "what is told adds up to what is counted"


@given(st.lists(steps, max_size=40))
@settings(max_examples=100)
def test_a_second_opinion_agrees(drawn: list[tuple[Any, ...]]) -> None:
    """A plain and slow account of the same rules tells the same at the same moments and counts the same."""
    rows = in_time(drawn)
    watch = Watch(INVENTORY, RULES)
    if rows:
        watch.take(rows)
    watch.wait(20_000)
    opinion = Opinion(ABOVE, RULES)
    for second, name, action, severity, kind in rows:
        opinion.signal(second * S, name, action, severity, kind, kind == ATTACK)
    opinion.pass_time(20_000 * S)
    told = watch.changes.select("time_us", "name", "action", "held_by").rows()
    assert sorted(told) == sorted(opinion.told)
    assert {name: watch.counts[name] for name in opinion.counts} == opinion.counts


def test_the_examples_come_to_every_rule() -> None:
    """What is drawn holds back by each rule and lets go again, so that agreeing about it means something."""
    chance = np.random.default_rng(1)
    seen: Counter[str] = Counter()
    for _ in range(25):
        drawn = [
            (
                int(chance.integers(1, 60)),
                ALARMS[chance.integers(len(ALARMS))],
                ("raise", "raise", "clear")[chance.integers(3)],
                int(chance.integers(1, 5)),
            )
            for _ in range(40)
        ]
        watch = Watch(INVENTORY, RULES)
        watch.take(in_time(drawn))
        watch.wait(20_000)
        told = watch.changes.select(pl.format("{} {}", "action", pl.col("held_by").str.extract("^([a-z_]*)")))
        seen.update(told.to_series().to_list())
        seen["lapsed"] += int(watch.changes["text"].str.starts_with("taken to be over").sum())
    assert seen["lapsed"] > 0
    held = {f"{action} {rule}" for action in ("raise", "clear") for rule in ("maintenance", "flapping")}
    wanted = held | {"raise carried_by", "suppress carried_by", "clear carried_by"}
    assert wanted | {"unsuppress ", "update ", "raise ", "clear "} <= set(seen), seen


@given(st.lists(steps, max_size=40), st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=60)
def test_it_does_not_matter_where_batches_end(drawn: list[tuple[Any, ...]], cuts: list[int]) -> None:
    """Whole, or cut anywhere with the clock told between: the same is told, and the same is remembered."""
    rows = in_time(drawn)
    whole, parts = Watch(INVENTORY, RULES), Watch(INVENTORY, RULES)
    if rows:
        whole.take(rows)
    borders = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    for begin, end in pairwise(borders):
        parts.take(rows[begin:end])
        parts.wait(rows[end - 1][0])
    whole.wait(10_000)
    parts.wait(10_000)
    assert told_by(whole) == told_by(parts)
    assert whole.counts == parts.counts
    assert whole.state.rows.tobytes() == parts.state.rows.tobytes()


@given(st.lists(steps, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_order_within_lateness_does_not_matter_for_what_stands(
    drawn: list[tuple[Any, ...]], chance: Any
) -> None:
    """Whatever the order in which signals come, in the end the same alarms stand with the same severities."""
    rows = in_time(drawn)
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    one, other = Watch(INVENTORY, RULES), Watch(INVENTORY, RULES)
    for watch, given_rows in ((one, rows), (other, shuffled)):
        if given_rows:
            watch.take(given_rows)
        watch.wait(10_000)
    assert standing(one) == standing(other)
    assert one.counts.get("raised") == other.counts.get("raised")


@given(st.lists(steps, min_size=1, max_size=30))
@settings(max_examples=60)
def test_a_replay_changes_nothing(drawn: list[tuple[Any, ...]]) -> None:
    """The same signals from the beginning tell the same; once more on top of themselves they let the same stand."""
    rows = signals(in_time(drawn))
    one, other = Watch(INVENTORY, RULES), Watch(INVENTORY, RULES)
    one.take(rows)
    other.take(rows)
    assert told_by(one) == told_by(other)
    other.take(rows)
    assert standing(one) == standing(other)


def standing(watch: Watch) -> set[tuple[int, int]]:
    """Key and severity of what stands."""
    rows = watch.state.rows[watch.state.rows["standing"] == 1]
    return set(zip(rows["alarm_key"].tolist(), rows["severity"].tolist(), strict=True))
