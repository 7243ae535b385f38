"""Finding the row of each thing in a state of buckets, and making rows for things that are new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group

Rows = npt.NDArray[Any]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_MANY = 1024  # words, from which on their order is tried
_AHEAD = 32  # rows that may have been passed over


def placed(
    state: Grouped, field: str, words: Words, buckets: Words, make: Callable[[Longs], Rows]
) -> tuple[Grouped, Longs]:
    """The state with a row for each of `words`, in rows that may be changed, and where each word's row is.

    A row is known by the word in its `field` and lies under the key `buckets` says; `make` is given places in `words`
    of things that are new, each once, and returns their rows. These are the state's own rows where they may be written:
    what a step is given is a copy already, and to copy a million series again costs more than to watch them.
    """
    known = _located(state, field, words, buckets)
    new = np.flatnonzero(known < 0)
    if len(new) == 0:
        rows = state.rows if state.rows.flags.writeable else state.rows.copy()
        return Grouped(state.keys, state.offsets, rows), known
    first = new[np.unique(words[new], return_index=True)[1]]
    keys = np.concatenate([np.repeat(state.keys, np.diff(state.offsets)), buckets[first]])
    all_keys = np.union1d(state.keys, keys)
    order, offsets = order_by_group(locate(all_keys, keys), len(all_keys))
    grown = Grouped(all_keys, offsets, np.concatenate([state.rows, make(first)])[order])
    return grown, locate(grown.rows[field].copy(), words)


def _located(state: Grouped, field: str, words: Words, buckets: Words) -> Longs:
    """The row of each word; -1 for new ones.

    Things are told in much the same order every time, and their rows stand in the order in which they were told first.
    So in each group the row behind the last one is tried, and a hash of all is asked only when that did not find some.
    """
    if len(words) < _MANY or len(state) == 0:
        return locate(state.rows[field].copy(), words)
    group = locate(state.keys, buckets)
    held = state.rows[field].copy()
    known = np.full(len(words), -1, np.int64)
    missing = _followed(held, state.offsets, group, words, known)
    if missing:
        rest = np.flatnonzero(known < 0)
        known[rest] = locate(held, words[rest])
    return known


@nb.njit(nogil=True, cache=True)
def _followed(held: Words, offsets: Longs, group: Longs, words: Words, known: Longs) -> int:
    """Walk each group's rows in step with the words; how many words were not found by that."""
    next_ = offsets[:-1].copy()
    missing = 0
    for at in range(len(words)):
        which = group[at]
        if which < 0:
            missing += 1
            continue
        row, until = next_[which], offsets[which + 1]
        tried = 0
        while row < until and tried < _AHEAD and held[row] != words[at]:
            row += 1
            tried += 1
        if row < until and held[row] == words[at]:
            known[at] = row
            next_[which] = row + 1
        else:
            missing += 1
    return missing


def of_keys(state: Grouped, wanted: npt.NDArray[np.bool_]) -> Grouped:
    """Only the groups that are wanted."""
    counts = np.diff(state.offsets)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[wanted])])
    return Grouped(state.keys[wanted], offsets, state.rows[np.repeat(wanted, counts)])
