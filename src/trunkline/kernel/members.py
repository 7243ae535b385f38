"""Who uses whose account: how a record of a member finds the one account that it shares with others.

All balances of a group are rows of its owner's account, so one key is one order of arrival, on every engine and in
every partition. A record names the member; here it gets the owner's number as its key, and the member's number within
the account beside it. Where nobody shares anything, nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint16]

MOST_MEMBERS = 2**16 - 1


@dataclass(frozen=True)
class Members:
    """Dial words of members, ascending; beside each the dial word of the account's owner and the number in it."""

    words: Words
    owners: Words
    numbers: Numbers

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]]) -> Members:
        """The table of rows (member's word, owner's word, number)."""
        ordered = sorted(rows)
        return cls(
            np.array([word for word, _, _ in ordered], np.uint64),
            np.array([owner for _, owner, _ in ordered], np.uint64),
            np.array([number for _, _, number in ordered], np.uint16),
        )

    def __len__(self) -> int:
        """How many members there are."""
        return len(self.words)

    def place(self, subscribers: npt.NDArray[Any]) -> tuple[Words, Numbers]:
        """The account (owner's dial word) and the number within it of each subscriber; alone: itself and 0."""
        if len(self.words) == 0 or len(subscribers) == 0:
            return subscribers, np.zeros(len(subscribers), np.uint16)
        at = np.minimum(np.searchsorted(self.words, subscribers), len(self.words) - 1)
        found = self.words[at] == subscribers
        return np.where(found, self.owners[at], subscribers), np.where(found, self.numbers[at], 0).astype(
            np.uint16
        )

    def account_of(self, word: int) -> tuple[int, int]:
        """The account (owner's dial word) and the number within it of one subscriber."""
        owners, numbers = self.place(np.array([word], np.uint64))
        return int(owners[0]), int(numbers[0])

    def words_of(self, owner: int) -> dict[int, int]:
        """Dial words of an account's members by their numbers; the owner is number 0."""
        mine = self.owners == np.uint64(owner)
        numbers, words = self.numbers[mine].tolist(), self.words[mine].tolist()
        return {0: owner, **dict(sorted(zip(numbers, words, strict=True)))}


NOBODY = Members(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint16))
