"""Who reports no more is told once, in time, and only if it had a rhythm."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rooms.network.detect.watching import MONDAY_US, Watched, bin_frame, told

PERIOD_US = 30_000_000


def ends(first: int, last: int) -> list[int]:
    """Ends of periods number `first` to `last`."""
    return [MONDAY_US + number * PERIOD_US for number in range(first, last + 1)]


def test_silence_is_told_when_the_next_period_is_due_and_missing() -> None:
    """Told once, with since when; and that it is over, once."""
    watched = Watched()
    watched.listen(bin_frame("Site/Cell", ends(1, 10), PERIOD_US))
    last = MONDAY_US + 10 * PERIOD_US
    assert told(watched.miss(last)) == []
    assert told(watched.miss(last + PERIOD_US - 1)) == []
    silent = watched.miss(last + PERIOD_US)
    assert told(silent) == [("silence", 0)]
    assert silent["since_us"][0] == last
    assert silent["text"][0] == (
        "Site/Cell has reported nothing since 2026-01-05 00:05:00 UTC; it used to report every 30 s."
    )
    assert told(watched.miss(last + 9 * PERIOD_US)) == []
    back = watched.listen(bin_frame("Site/Cell", ends(21, 22), PERIOD_US))
    assert told(back) == [("silence", 1)]
    assert back["since_us"][0] == last
    assert told(watched.miss(MONDAY_US + 23 * PERIOD_US)) == [("silence", 0)], "the rhythm was not forgotten"


@pytest.mark.parametrize("seed", range(5))
def test_who_has_no_rhythm_is_not_waited_for(seed: int) -> None:
    """An element that reports when it likes is never told as silent."""
    gaps = np.random.default_rng(seed).lognormal(0, 1.5, 200) * 60_000_000
    irregular = MONDAY_US + np.cumsum(gaps).astype(np.int64)
    watched = Watched()
    found = 0
    for end in irregular.tolist():
        found += len(watched.miss(end - 1))
        found += len(watched.listen(bin_frame("Sensor", [end], 0)))
    assert found <= 8, "by chance three gaps may look like a rhythm; not more often than that"


def test_a_lost_period_does_not_cost_the_rhythm() -> None:
    """Single missing periods are told as silence and its end, and the rhythm stays known."""
    watched = Watched()
    watched.listen(bin_frame("C", ends(1, 10), PERIOD_US))
    watched.listen(bin_frame("C", ends(12, 13), PERIOD_US))
    assert told(watched.miss(MONDAY_US + 14 * PERIOD_US)) == [("silence", 0)]


def test_a_silence_between_two_batches_of_a_day_is_told_all_the_same() -> None:
    """Where no pulse came in between, whoever comes back is told as silent first, from the moment it was due."""
    watched = Watched()
    anomalies = watched.listen(bin_frame("C", ends(1, 10) + ends(40, 45), PERIOD_US))
    assert told(anomalies) == [("silence", 0), ("silence", 1)]
    last = MONDAY_US + 10 * PERIOD_US
    assert anomalies["since_us"].to_list() == [last, last]
    assert anomalies["time_us"].to_list() == [
        last + PERIOD_US,
        MONDAY_US + 40 * PERIOD_US,
    ]
    assert told(watched.miss(MONDAY_US + 45 * PERIOD_US)) == []


def test_late_and_repeated_bins_change_nothing() -> None:
    """What is not newer than the newest does not move the clock of an object."""
    watched = Watched()
    watched.listen(bin_frame("C", ends(1, 10), PERIOD_US))
    before = {key: rows.copy() for key, rows in watched.listened.groups.items()}
    watched.listen(bin_frame("C", ends(3, 7), PERIOD_US))
    assert all((watched.listened.groups[key] == rows).all() for key, rows in before.items())


def test_batches_change_nothing() -> None:
    """One bin at a time or all at once, the same is remembered."""
    one, all_at_once = Watched(), Watched()
    for end in ends(1, 40):
        one.listen(bin_frame("C", [end], PERIOD_US))
    all_at_once.listen(bin_frame("C", ends(1, 40), PERIOD_US))
    assert all((one.listened.groups[key] == rows).all() for key, rows in all_at_once.listened.groups.items())


def test_only_who_fell_silent_is_written() -> None:
    """A pulse at which nobody falls silent returns no state: nothing has to be stored for it."""
    watched = Watched()
    watched.listen(bin_frame("A", ends(1, 10), PERIOD_US))
    watched.listen(bin_frame("B", ends(1, 30), PERIOD_US))
    silent = watched.miss(MONDAY_US + 30 * PERIOD_US)
    assert silent["name"].to_list() == ["A"]
