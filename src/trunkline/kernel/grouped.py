"""Groups of fixed-width rows under whole-number keys: the one shape in which every engine hands state to a step.

A step that remembers is given the rows of just the keys in its batch and returns what those keys hold
from now on. Whether the rows live in memory, in sorted runs on disk, behind a changelog or in Spark's
state is the engine's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Grouped:
    """`rows[offsets[i]:offsets[i + 1]]` belong to `keys[i]`; keys ascend strictly; a group may be empty."""

    keys: Keys
    offsets: Offsets
    rows: Rows

    def __post_init__(self) -> None:
        """Assert the shape that every reader relies on."""
        assert len(self.offsets) == len(self.keys) + 1, "one offset more than keys"
        assert self.offsets[-1] == len(self.rows), "the last offset ends the rows"

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self.keys)

    def rows_of(self, key: int) -> Rows:
        """The rows of one key, for tests and single look-ups; empty when the key is absent."""
        at = int(np.searchsorted(self.keys, np.uint64(key)))
        if at == len(self.keys) or int(self.keys[at]) != key:
            return self.rows[:0]
        return self.rows[int(self.offsets[at]) : int(self.offsets[at + 1])]

    @classmethod
    def empty(cls, dtype: np.dtype[Any], keys: Keys | None = None) -> Grouped:
        """No rows for the given keys (none by default)."""
        keys = np.empty(0, np.uint64) if keys is None else keys
        return cls(keys, np.zeros(len(keys) + 1, np.int64), np.empty(0, dtype))


@dataclass(frozen=True)
class State:
    """What a step remembers: a name, the batch's key column, the row's type, and how long rows are kept.

    With `days` the rows carry a field `day` (days since 1970, of event time) and are forgotten that many days
    behind the newest day seen; such state may be far larger than memory. Without, it is kept for good.
    """

    name: str
    key: str
    dtype: np.dtype[Any]
    text: str
    days: int | None = None
    digests: bool = False  # its keys are digests, evenly spread over all 64-bit numbers: they need no hashing
    formerly: tuple[
        np.dtype[Any], ...
    ] = ()  # what rows were called before; such rows read the same as `dtype`
