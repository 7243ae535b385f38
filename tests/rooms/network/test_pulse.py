"""The data's clock reaches every bucket, follows the many and not the one, and never depends on where batches end."""

from itertools import pairwise

import numpy as np
import polars as pl

from trunkline.kernel.grouped import Grouped
from trunkline.network.formula import Formulas
from trunkline.network.pulse import CLOCK, advance, pulse
from trunkline.records.network import BINS, BUCKETS, PULSES

MINUTE_US = 60_000_000
WAITING = Formulas((), (), 5 * MINUTE_US, MINUTE_US)


def told(*batches: list[tuple[int, int]]) -> list[int]:
    """The clock after each batch of (object, minute of its end), less the lateness, in minutes."""
    clock, times = Grouped.empty(CLOCK.dtype, np.zeros(1, np.uint64)), []
    for batch in batches:
        rows = pl.DataFrame(batch, schema={"object": pl.UInt64, "end_us": pl.Int64}, orient="row")
        rows = rows.with_columns(pl.col("end_us") * MINUTE_US, bucket=pl.col("object"))
        (advances,) = advance(BINS.record.conform(rows)).rows
        outcome = pulse(advances, clock, WAITING)
        assert outcome.state is not None
        clock = outcome.state
        (pulses,) = outcome.rows
        assert pulses.schema == PULSES.record.schema
        assert pulses["bucket"].to_list() == list(range(BUCKETS))
        (time_us,) = set(pulses["time_us"])
        times.append(time_us // MINUTE_US + 1)
    return times


def test_every_bucket_hears_the_clock() -> None:
    """Three buckets that agree move the clock for all."""
    assert told([(1, 5), (2, 5), (3, 5)], [(1, 10), (2, 10), (3, 10)]) == [5, 10]


def test_a_cell_whose_clock_runs_ahead_moves_nobody() -> None:
    """Alone in its batch or among others, it does not make them late."""
    many = [(number, 5) for number in range(20)]
    assert told(many, [(7, 90)], [(number, 10) for number in range(20) if number != 7]) == [5, 5, 10]
    assert told([*many, (20, 90), (21, 80)]) == [5]


def test_silence_of_most_does_not_stop_the_clock() -> None:
    """An eighth of the buckets is enough to go on."""
    many = [(number, 5) for number in range(80)]
    assert told(many, [(number, 10) for number in range(10)]) == [5, 10]


def test_a_tiny_network_has_a_clock() -> None:
    """One or two cells tell the time themselves."""
    assert told([(1, 5)], [(2, 10)]) == [5, 10]


def test_borders_of_batches_change_nothing() -> None:
    """All in one batch, or cell by cell: the clock ends at the same moment, and never goes back."""
    rows = [(number, minute) for minute in (5, 10, 15) for number in range(12)]
    times = told(*([row] for row in rows))
    assert times[-1] == told(rows)[-1] == 15
    assert all(before <= after for before, after in pairwise(times[3:]))
