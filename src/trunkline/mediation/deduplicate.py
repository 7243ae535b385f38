"""Deduplicating: each record counts once, and a name used for two different records is shown to a person.

A record is known by its identity, the digest of (source, record id). What comes again and says the same is a
duplicate; what comes again under the same name and says something else is held as a conflict: neither
charging it nor dropping it would be right without knowing more. A record that cancels or corrects another one is no
usage: it is held until that one is known, and a copy of it is a duplicate like any other. Copies within a batch are
treated in their order, so that the borders of batches change nothing.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.records.usage import DUPLICATES, HELD, SEEN, UNIQUE, Action

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]

DAY_US = 86_400_000_000
CONFLICT = "conflict"

CANCELS, CORRECTS = "cancels", "corrects"  # held until the record that it is of has come
_UNIQUE, _DUPLICATE, _CONFLICT, _WAITS = 0, 1, 2, 3


def deduplicate(batch: pl.DataFrame, seen: Grouped) -> Outcome:
    """Part a batch into `UNIQUE`, `DUPLICATES` and `HELD`; the state returned holds the identities added."""
    identity, check = batch["identity"].to_numpy(), batch["check"].to_numpy()
    days = (batch["start_us"] // DAY_US).cast(pl.Int32).to_numpy()
    verdicts = np.empty(len(batch), np.uint8)
    payload = batch["payload"].to_numpy()
    new = _judged(identity, check, payload, seen, verdicts)
    if new is None:
        seen = with_keys(seen, identity)
        new = _judged(identity, check, payload, seen, verdicts)
        assert new is not None, "now every key is there"
    state = _added(seen, *new, check, payload, days)
    actions = batch["action"].fill_null(int(Action.NONE)).to_numpy()
    if actions.any():
        verdicts[(verdicts == _UNIQUE) & (actions != 0)] = _WAITS
    if not verdicts.any():
        return Outcome((UNIQUE.record.conform(batch), DUPLICATES.record.empty(), HELD.record.empty()), state)
    mark = pl.Series(verdicts)
    held = batch.filter(mark >= _CONFLICT).with_columns(
        reason=pl.when(mark.filter(mark >= _CONFLICT) == _CONFLICT)
        .then(pl.lit(CONFLICT))
        .when(pl.col("action") == Action.CANCEL)
        .then(pl.lit(CANCELS))
        .otherwise(pl.lit(CORRECTS))
    )
    return Outcome(
        (
            UNIQUE.record.conform(batch.filter(mark == _UNIQUE)),
            DUPLICATES.record.conform(batch.filter(mark == _DUPLICATE)),
            HELD.record.conform(held),
        ),
        state,
    )


def with_keys(state: Grouped, keys: npt.NDArray[np.uint64]) -> Grouped:
    """The state with a group, be it empty, for every key of a batch."""
    wanted = np.union1d(state.keys, keys)
    counts = np.zeros(len(wanted), np.int64)
    counts[np.searchsorted(wanted, state.keys)] = np.diff(state.offsets)
    return Grouped(wanted, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), state.rows)


def _judged(
    identity: Words, check: Words, payload: Words, seen: Grouped, verdicts: npt.NDArray[np.uint8]
) -> tuple[Longs, Longs] | None:
    """Verdicts, and the new rows of each key as a chain: its first, and after each row the next (-1 ends it).

    None when `seen` lacks a key of the batch, which engines mostly see to.
    """
    first_row = np.full(len(seen), -1, np.int64)
    next_row = np.full(len(identity), -1, np.int64)
    slots = np.full(_slots(len(seen)), -1, np.int32)
    complete = _judge(
        identity, check, payload, seen.keys, seen.offsets, np.ascontiguousarray(seen.rows["check"]),
        np.ascontiguousarray(seen.rows["payload"]), slots, first_row, next_row, verdicts,
    )  # fmt: skip
    return (first_row, next_row) if complete else None


def _slots(keys: int) -> int:
    """Room for a table at most half full: a power of two."""
    size = 16
    while size < 2 * keys:
        size *= 2
    return size


@nb.njit(nogil=True, cache=True)
def fill(keys: Words, slots: npt.NDArray[np.int32]) -> None:
    """Put keys into a hash table; digests are their own hashes, and ascending keys fill it from left to right."""
    shift = np.uint64(64)
    room = len(slots)
    while room > 1:
        room >>= 1
        shift -= np.uint64(1)
    for at in range(len(keys)):
        slot: int = np.int64(keys[at] >> shift)  # type: ignore[assignment]
        while slots[slot] >= 0:
            slot = slot + 1 if slot + 1 < len(slots) else 0
        slots[slot] = at


@nb.njit(nogil=True, cache=True)
def place(key: np.uint64, keys: Words, slots: npt.NDArray[np.int32]) -> int:
    """Where a key stands, or -1."""
    shift = np.uint64(64)
    room = len(slots)
    while room > 1:
        room >>= 1
        shift -= np.uint64(1)
    slot: int = np.int64(key >> shift)  # type: ignore[assignment]
    while slots[slot] >= 0:
        if keys[slots[slot]] == key:
            return int(slots[slot])
        slot = slot + 1 if slot + 1 < len(slots) else 0
    return -1


@nb.njit(nogil=True, cache=True)
def _judge(
    identity: Words,
    check: Words,
    payload: Words,
    keys: Words,
    offsets: Longs,
    seen_check: Words,
    seen_payload: Words,
    slots: npt.NDArray[np.int32],
    first_row: Longs,
    next_row: Longs,
    verdicts: npt.NDArray[np.uint8],
) -> bool:
    """Compare each record with what was seen under its identity, before this batch and within it.

    False when a key of the batch is not among `keys`.
    """
    fill(keys, slots)
    for row in range(len(identity)):
        key = place(identity[row], keys, slots)
        if key < 0:
            return False
        verdict = _UNIQUE
        for old in range(offsets[key], offsets[key + 1]):
            if seen_check[old] == check[row]:
                verdict = _DUPLICATE if seen_payload[old] == payload[row] else _CONFLICT
        last = -1
        other = first_row[key]
        while other >= 0:
            if check[other] == check[row]:
                verdict = _DUPLICATE if payload[other] == payload[row] else _CONFLICT
            last = other
            other = next_row[other]
        if verdict == _UNIQUE:
            if last < 0:
                first_row[key] = row
            else:
                next_row[last] = row
        verdicts[row] = verdict
    return True


def _added(
    seen: Grouped,
    first_row: Longs,
    next_row: Longs,
    check: Words,
    payload: Words,
    days: npt.NDArray[np.int32],
) -> Grouped:
    """The groups of the keys that got a record, old rows first."""
    changed = np.flatnonzero(first_row >= 0)
    rows: npt.NDArray[Any]
    if len(seen.rows) == 0 and (next_row < 0).all():
        rows = np.empty(len(changed), SEEN.dtype)
        take = first_row[changed]
        rows["check"], rows["payload"], rows["day"] = check[take], payload[take], days[take]
        return Grouped(seen.keys[changed], np.arange(len(changed) + 1, dtype=np.int64), rows)
    return _regrouped(seen, changed, first_row, next_row, check, payload, days)


def _regrouped(
    seen: Grouped,
    changed: Longs,
    first_row: Longs,
    next_row: Longs,
    check: Words,
    payload: Words,
    days: npt.NDArray[np.int32],
) -> Grouped:
    """The same where keys held rows before, or where two identities share their first half."""
    offsets = np.zeros(len(changed) + 1, np.int64)
    take_old = np.empty(len(seen.rows), np.int64)
    put_old, take_new, put_new = (
        np.empty_like(take_old),
        np.empty(len(check), np.int64),
        np.empty(len(check), np.int64),
    )
    old, new = _lay_out(
        seen.offsets, changed, first_row, next_row, offsets, take_old, put_old, take_new, put_new
    )
    rows = np.empty(int(offsets[-1]), SEEN.dtype)
    rows[put_old[:old]] = seen.rows[take_old[:old]]
    take = take_new[:new]
    fresh = np.empty(new, SEEN.dtype)
    fresh["check"], fresh["payload"], fresh["day"] = check[take], payload[take], days[take]
    rows[put_new[:new]] = fresh
    return Grouped(seen.keys[changed], offsets, rows)


@nb.njit(nogil=True, cache=True)
def _lay_out(
    old_offsets: Longs,
    changed: Longs,
    first_row: Longs,
    next_row: Longs,
    offsets: Longs,
    take_old: Longs,
    put_old: Longs,
    take_new: Longs,
    put_new: Longs,
) -> tuple[int, int]:
    """Which row of which side goes where."""
    old, new, at = 0, 0, 0
    for group in range(len(changed)):
        key = changed[group]
        for row in range(old_offsets[key], old_offsets[key + 1]):
            take_old[old], put_old[old] = row, at
            old += 1
            at += 1
        row = first_row[key]
        while row >= 0:
            take_new[new], put_new[new] = row, at
            new += 1
            at += 1
            row = next_row[row]
        offsets[group + 1] = at
    return old, new
