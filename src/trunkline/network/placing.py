"""Finding the row of each thing in a state of buckets, and making rows for things that are new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group

Rows = npt.NDArray[Any]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def placed(
    state: Grouped, field: str, words: Words, buckets: Words, make: Callable[[Longs], Rows]
) -> tuple[Grouped, Longs]:
    """The state with a row for each of `words`, in rows that may be changed, and where each word's row is.

    A row is known by the word in its `field` and lies under the key `buckets` says; `make` is given places in `words`
    of things that are new, each once, and returns their rows. These are the state's own rows where they may be written:
    what a step is given is a copy already, and to copy a million series again costs more than to watch them.
    """
    known = locate(state.rows[field].copy(), words)
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


def of_keys(state: Grouped, wanted: npt.NDArray[np.bool_]) -> Grouped:
    """Only the groups that are wanted."""
    counts = np.diff(state.offsets)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[wanted])])
    return Grouped(state.keys[wanted], offsets, state.rows[np.repeat(wanted, counts)])
