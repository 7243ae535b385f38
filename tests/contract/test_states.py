"""The promise of every keyed state: what was put is what is gathered, across merges, expiry and new processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trunkline.kernel.grouped import Grouped, State
from trunkline.ports import Commit
from trunkline.stores.embedded import keeper, states, young
from trunkline.stores.embedded.store import Store

DAYLESS = State("plain", "k", np.dtype([("value", "i8"), ("kind", "u1")]), "Stays for good.")
DAYED = State("dayed", "k", np.dtype([("value", "i8"), ("day", "i4")]), "Rests when quiet.")
WINDOW = State(
    "window", "k", np.dtype([("value", "i8"), ("day", "i4")]), "Forgotten after ten days.", days=10
)


def groups_of(memory: dict[int, list[tuple[int, int]]], state: State) -> Grouped:
    """Groups out of plain lists."""
    keys = np.array(sorted(memory), np.uint64)
    counts = [len(memory[int(key)]) for key in keys]
    rows = np.array([row for key in keys for row in memory[int(key)]], state.dtype)
    return Grouped(keys, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), rows)


def lists_of(groups: Grouped) -> dict[int, list[tuple[int, int]]]:
    """Plain lists out of groups, without the empty ones."""
    return {
        int(key): [tuple(row) for row in groups.rows_of(int(key)).tolist()]
        for key in groups.keys
        if len(groups.rows_of(int(key)))
    }


@pytest.mark.parametrize("state", [DAYLESS, DAYED, WINDOW], ids=lambda state: state.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_put_is_gathered(
    tmp_path: Path, state: State, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain dictionary is the second opinion; merges and new processes come between."""
    monkeypatch.setattr(states, "YOUNG_KEYS", 300)
    monkeypatch.setattr(young, "MANY_KEYS", 30)
    monkeypatch.setattr(young, "SEARCHED_KEYS", 40 if seed == 1 else 10_000)
    monkeypatch.setattr(keeper, "FAN_IN", 3)
    monkeypatch.setattr(keeper, "LINGER_S", 0.0)
    monkeypatch.setattr(keeper, "INLINE_OCTETS", 2000)
    chance = np.random.default_rng(seed)
    model: dict[int, list[tuple[int, int]]] = {}
    store = Store(tmp_path, [state], keep_house=False)
    day = 100
    for number in range(1, 120):
        day += int(chance.integers(0, 8) == 0)
        changed: dict[int, list[tuple[int, int]]] = {}
        for _ in range(int(chance.integers(1, 60))):
            key = int(chance.integers(0, 400)) * 0x1234567890ABCDEF % 2**64
            size = int(chance.integers(0, 4)) if state is not WINDOW else int(chance.integers(1, 3))
            second = day if state is not DAYLESS else 7
            changed[key] = [(int(chance.integers(0, 1000)), second) for _ in range(size)]
        store.put(state, groups_of(changed, state), number)
        model |= changed
        wanted = np.array(sorted(model), np.uint64)
        gathered = lists_of(store.gather(state, wanted))
        alive = {key: rows for key, rows in model.items() if rows}
        if state is WINDOW:
            recent = {key: rows for key, rows in alive.items() if rows[0][1] >= day - 10}
            assert {key: gathered[key] for key in recent} == recent, f"seed {seed}, commit {number}"
            assert all(rows == alive[key] for key, rows in gathered.items())
        else:
            assert gathered == alive, f"seed {seed}, commit {number}"
        store.commit(Commit(number, 0, 0, states=[(state, groups_of(changed, state))]))
        for _ in range(int(chance.integers(0, 3))):
            store.keeper.work()
        if chance.integers(0, 25) == 0:
            store.close()
            store = Store(tmp_path, [state], keep_house=False)
    monkeypatch.setattr(keeper, "IDLE_S", -1.0)  # now there is time
    while store.keeper.work():
        pass
    (count,) = store.connection.execute("SELECT count(*) FROM runs").fetchone()
    files = len(list((tmp_path / "runs").iterdir()))
    named = store.connection.execute("SELECT count(*) FROM runs WHERE path IS NOT NULL").fetchone()[0]
    store.close()
    assert count < 20, "runs are merged"
    assert files == named, "what is not named is removed"


def test_quiet_groups_leave_memory(tmp_path: Path) -> None:
    """A state whose rows carry a day does not grow with what is over."""
    store = Store(tmp_path, [DAYED], keep_house=False)
    for number in range(1, 30):
        keys = np.arange(number * 1000, number * 1000 + 1000, dtype=np.uint64)
        rows = np.zeros(1000, DAYED.dtype)
        rows["day"], rows["value"] = 100 + number, keys
        groups = Grouped(keys, np.arange(1001), rows)
        store.put(DAYED, groups, number)
        store.commit(Commit(number, 0, 0, states=[(DAYED, groups)]))
    status = store.status()["states"]["dayed"]
    assert status["memory_keys"] <= 4 * 1000
    everything = store.gather(DAYED, np.arange(1000, 30_000, dtype=np.uint64))
    assert (everything.rows["value"] == np.arange(1000, 30_000)).all()
    store.close()


def test_a_state_of_other_fields_is_refused(tmp_path: Path) -> None:
    """A folder that was written with other fields is not read as if it were ours."""
    Store(tmp_path, [DAYLESS], keep_house=False).close()
    other = State("plain", "k", np.dtype([("value", "i4")]), "Changed.")
    with pytest.raises(Exception, match="other fields"):
        Store(tmp_path, [other], keep_house=False)


def test_a_full_filter_makes_room_and_forgets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the keeper at work beside it, no key that was put is ever called new."""
    monkeypatch.setattr(states, "YOUNG_KEYS", 500)
    monkeypatch.setattr(states, "_FIRST_ROOM", 1000)
    store = Store(tmp_path, [WINDOW])
    for number in range(1, 60):
        keys = np.arange(number * 200, number * 200 + 200, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        keys.sort()
        groups = Grouped(keys, np.arange(201), np.zeros(200, WINDOW.dtype))
        store.put(WINDOW, groups, number)
        store.commit(Commit(number, 0, 0, states=[(WINDOW, groups)]))
        every = np.arange(200, number * 200 + 200, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        every.sort()
        assert len(store.gather(WINDOW, every).rows) == len(every), f"commit {number}"
    store.close()
