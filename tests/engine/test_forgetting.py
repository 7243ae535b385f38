"""What is older than its window is let go of a slice at a time, while keys go on changing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trunkline.engines.kafka.memory import Memory
from trunkline.engines.kafka.topics import SLACK_DAYS
from trunkline.kernel.grouped import Grouped, State
from trunkline.records.usage import SEEN
from trunkline.stores.embedded.table import Table

DAYS = SEEN.days or 0
KEPT = DAYS + SLACK_DAYS
SLICE = 3

puts = st.dictionaries(st.integers(1, 40), st.lists(st.integers(0, 3), min_size=1, max_size=3), max_size=6)


def new_held(state: State) -> Table:
    return Table(state.dtype)


def groups_of(days: dict[int, list[int]]) -> Grouped:
    """Groups whose rows are of these days."""
    keys = sorted(days)
    rows = np.zeros(sum(len(days[key]) for key in keys), SEEN.dtype)
    rows["day"] = [day for key in keys for day in days[key]]
    return Grouped(np.array(keys, np.uint64), np.cumsum([0, *(len(days[key]) for key in keys)]), rows)


def held_in(memory: Memory) -> dict[int, list[int]]:
    """The days that each key holds."""
    keys = memory.held.all_keys()
    found = memory.held.gather(keys)
    return {
        int(key): found.rows["day"][found.offsets[at] : found.offsets[at + 1]].tolist()
        for at, key in enumerate(keys)
    }


def finished(memory: Memory) -> None:
    """Turns in which nothing comes, until no sweep is due."""
    memory.forget(new_held, SLICE)
    for _ in range(100):
        if memory.sweep is None:
            return
        memory.forget(new_held, SLICE)
    raise AssertionError("a sweep ends")


@given(st.lists(puts, min_size=1, max_size=25))
def test_nothing_young_is_lost_and_nothing_old_is_kept(turns: list[dict[int, list[int]]]) -> None:
    """Whatever is put while a sweep goes on, keys hold what they were told last, without what is too old."""
    memory, told, newest = Memory(SEEN, new_held(SEEN)), dict[int, list[int]](), 0
    for step, changed in enumerate(turns):
        # Days grow quickly, so that a sweep may still go on when the next one is due.
        now = {key: [1000 + 10 * step - back * KEPT // 3 for back in backs] for key, backs in changed.items()}
        if now:
            memory.put(groups_of(now))
            told |= now
            newest = max(newest, *(day for days in now.values() for day in days))
        memory.forget(new_held, SLICE)
        assert young(held_in(memory), newest - KEPT) == young(told, newest - KEPT)
    finished(memory)
    tomorrow = max(newest, memory.newest_day) + 1
    memory.put(groups_of({41: [tomorrow]}))
    finished(memory)
    left = held_in(memory)
    assert left == young(left, tomorrow - KEPT)
    assert left == young(told, tomorrow - KEPT) | {41: [tomorrow]}


def young(days: dict[int, list[int]], oldest: int) -> dict[int, list[int]]:
    """Without what is older, and without keys that then have nothing."""
    kept = {key: [day for day in each if day >= oldest] for key, each in days.items()}
    return {key: each for key, each in kept.items() if each}


def test_a_day_that_leaves_nothing_too_old_costs_nothing() -> None:
    """The state stays the very one that it was: nobody waits for a walk that would change nothing."""
    memory = Memory(SEEN, new_held(SEEN))
    held = memory.held
    for day in (100, 101, 100 + DAYS):
        memory.put(groups_of({day: [day]}))
        memory.forget(new_held, SLICE)
    assert memory.held is held
    assert memory.sweep is None


def test_a_sweep_takes_a_slice_a_turn() -> None:
    """Ten keys and slices of three are four turns, in which all that is young can be found."""
    memory = Memory(SEEN, new_held(SEEN))
    memory.put(groups_of({key: [100] for key in range(1, 6)} | {key: [120] for key in range(6, 11)}))
    memory.forget(new_held, SLICE)
    memory.put(groups_of({11: [101 + KEPT]}))
    turns = 0
    while turns == 0 or memory.sweep is not None:
        memory.forget(new_held, SLICE)
        turns += 1
        assert set(range(6, 12)) <= set(held_in(memory))
    assert turns == 4
    assert set(held_in(memory)) == set(range(6, 12))
