"""Whose periods leave the grid is told once; who never kept it, or lost a period, is not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.rooms.network.detect.watching import MONDAY_US, Watched, bin_frame, told

PERIOD_US = 300_000_000
SECOND_US = 1_000_000


def ends(first: int, last: int, off_s: int = 0, drift_s: int = 0) -> list[int]:
    """Ends of periods number `first` to `last` by a clock that is ahead, and more so with each period."""
    return [
        MONDAY_US + number * PERIOD_US + (off_s + drift_s * (number - first)) * SECOND_US
        for number in range(first, last + 1)
    ]


def test_a_clock_that_runs_away_is_told_and_that_it_is_right_again() -> None:
    """Told with the third period beside the grid, at the time of the grid; over with the third on it."""
    watched = Watched()
    assert told(watched.tell_time(bin_frame("C1", ends(1, 10), PERIOD_US))) == []
    assert told(watched.tell_time(bin_frame("C1", ends(11, 12, 30, 30), PERIOD_US))) == []
    wrong = watched.tell_time(bin_frame("C1", ends(13, 29, 90, 30), PERIOD_US))
    assert told(wrong) == [("clock", 0)]
    assert wrong.select("since_us", "time_us").row(0) == (
        MONDAY_US + 11 * PERIOD_US,
        MONDAY_US + 13 * PERIOD_US,
    )
    assert wrong["text"][0] == (
        "The clock of C1 is wrong: its periods of 300 s end 90 s after the full period, since "
        "2026-01-05 00:55:00 UTC; see to its time source."
    )
    right = watched.tell_time(bin_frame("C1", ends(40, 44), PERIOD_US))
    assert told(right) == [("clock", 1)]
    assert right.select("since_us", "time_us").row(0) == (
        MONDAY_US + 11 * PERIOD_US,
        MONDAY_US + 42 * PERIOD_US,
    )
    assert right["text"][0] == "The clock of C1 is right again; it was wrong since 2026-01-05 00:55:00 UTC."


def test_a_clock_that_is_slow_is_told_with_how_much() -> None:
    """Behind by ten seconds is ten seconds before, not 290 after."""
    watched = Watched()
    wrong = watched.tell_time(bin_frame("C1", ends(1, 5) + ends(6, 8, -10), PERIOD_US))
    assert wrong["text"].str.contains("end 10 s before the full period").to_list() == [True]
    assert wrong["since_us"].to_list() == [MONDAY_US + 6 * PERIOD_US]


def test_another_length_of_periods_is_no_wrong_clock() -> None:
    """Who reports every quarter of an hour from now on still keeps the grid."""
    watched = Watched()
    watched.tell_time(bin_frame("C1", ends(1, 6), PERIOD_US))
    quarters = [MONDAY_US + number * 900 * SECOND_US for number in range(3, 12)]
    assert told(watched.tell_time(bin_frame("C1", quarters, 900 * SECOND_US))) == []


@pytest.mark.parametrize("seed", range(5))
def test_who_never_kept_the_grid_is_not_told(seed: int) -> None:
    """An exporter is asked when somebody gets to it; points in time have no grid."""
    asked = MONDAY_US + np.cumsum(np.random.default_rng(seed).integers(29_000_000, 31_000_000, 300))
    watched = Watched()
    for end in asked.tolist():
        assert told(watched.tell_time(bin_frame("exporter", [end], 30_000_000))) == []
    assert told(watched.tell_time(bin_frame("gauge", asked.tolist(), 0))) == []


def test_neither_batches_nor_repetition_change_what_is_told() -> None:
    """One period at a time, all at once, or told again: the same findings and the same memory."""
    day = ends(1, 10) + ends(11, 20, 30, 30) + ends(21, 25) + ends(26, 40, -5)
    one, all_at_once = Watched(), Watched()
    singly = pl.concat([one.tell_time(bin_frame("C1", [end], PERIOD_US)) for end in day])
    together = all_at_once.tell_time(bin_frame("C1", day, PERIOD_US))
    assert told(together) == [("clock", 0), ("clock", 1), ("clock", 0)]
    assert singly.equals(together)
    assert told(one.tell_time(bin_frame("C1", day, PERIOD_US))) == []
    assert all((one.clocks.groups[key] == rows).all() for key, rows in all_at_once.clocks.groups.items())
