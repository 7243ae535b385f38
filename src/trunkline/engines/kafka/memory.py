"""One state of a bucket in memory: what its keys hold, and how what is older than its window is let go of.

Once a day of event time the state is built again without what is too old, a slice of its keys a turn, while work goes
on: whoever waits for a charge does not wait for a day to be forgotten. What is put meanwhile goes to both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trunkline.engines.kafka.topics import SLACK_DAYS
from trunkline.engines.plan import Held
from trunkline.kernel.grouped import Grouped, Keys, State

SWEPT_KEYS = 32_768  # a turn
_NO_DAY = 2**31

NewHeld = Callable[[State], Held]


@dataclass
class Round:
    """A walk through all keys of a state: what was written before it began is superseded when it ends."""

    keys: Keys
    begins: int  # the changelog's offset from which everything counts
    at: int = 0


@dataclass
class Sweep:
    """A walk through all keys of a state that leaves behind what is older than a day."""

    keys: Keys
    fresh: Held
    oldest_day: int
    at: int = 0


@dataclass
class Memory:
    """One state of a bucket."""

    state: State
    held: Held
    changed: int = 0  # the last commit that wrote of it
    image: int = 0  # where reading must begin
    tail: int = 0  # the changelog's next offset, as far as it was acknowledged
    written: int = 0  # octets since the last round began
    newest_day: int = 0
    oldest_day: int = _NO_DAY  # nothing is of an earlier one, when no sweep goes on
    swept_day: int = 0
    round: Round | None = None
    sweep: Sweep | None = None

    @property
    def octets(self) -> int:
        """Memory in use."""
        return self.held.octets + (self.sweep.fresh.octets if self.sweep else 0)

    def put(self, groups: Grouped) -> None:
        """What keys hold from now on."""
        self.held.put(groups)
        if self.sweep is not None:
            self.sweep.fresh.put(groups)
        if self.state.days is not None and len(groups.rows):
            days = groups.rows["day"]
            self.newest_day = max(self.newest_day, int(days.max()))
            self.oldest_day = min(self.oldest_day, int(days.min()))

    def forget(self, new_held: NewHeld, most_keys: int = SWEPT_KEYS) -> None:
        """Look at the next keys of a sweep; one begins with a day of event time that leaves something too old."""
        if self.state.days is None:
            return
        if self.sweep is None and self.newest_day > self.swept_day:
            oldest_day = self.newest_day - self.state.days - SLACK_DAYS
            self.swept_day = self.newest_day
            if self.oldest_day < oldest_day:
                self.sweep = Sweep(self.held.all_keys(), new_held(self.state), oldest_day)
                self.oldest_day = oldest_day  # or of what is put while it lasts
        if self.sweep is not None:
            self._go_on(self.sweep, most_keys)

    def _go_on(self, sweep: Sweep, most_keys: int) -> None:
        groups: Grouped = self.held.gather(sweep.keys[sweep.at : sweep.at + most_keys])
        sweep.fresh.put(_since(groups, sweep.oldest_day))
        sweep.at += most_keys
        if sweep.at >= len(sweep.keys):
            self.held, self.sweep = sweep.fresh, None


def _since(groups: Grouped, oldest_day: int) -> Grouped:
    """Groups without the rows of days before `oldest_day`, and without the keys that then have none."""
    keep = groups.rows["day"] >= oldest_day
    owners = np.repeat(np.arange(len(groups)), np.diff(groups.offsets))[keep]
    counts = np.bincount(owners, minlength=len(groups))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[counts > 0])]).astype(np.int64)
    return Grouped(groups.keys[counts > 0], offsets, groups.rows[keep])
