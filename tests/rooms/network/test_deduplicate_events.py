"""Events are heard once, whatever the borders of batches, and a name used twice is shown to a person."""

import numpy as np
import polars as pl

from trunkline.kernel.grouped import Grouped
from trunkline.network.deduplicate import deduplicate
from trunkline.records.network import EVENTS, SEEN


def events(*rows: tuple[int, int, int]) -> pl.DataFrame:
    """Events of (identity, check, payload) in their order."""
    frame = pl.DataFrame(rows, schema=["identity", "check", "payload"], orient="row")
    return EVENTS.record.conform(
        frame.with_columns(
            file=0, line=pl.int_range(pl.len()), offset=pl.int_range(pl.len()), length=1, source=pl.lit("s"),
            time_us=86_400_000_000 * 7,
        )
    )  # fmt: skip


def parted(batches: list[pl.DataFrame]) -> list[list[int]]:
    """How many were heard, duplicates and held, batch by batch, with the state carried on."""
    held: dict[int, list[tuple[int, int, int]]] = {}
    told = []
    for batch in batches:
        keys = sorted(set(batch["identity"].to_list()))
        rows = [row for key in keys for row in held.get(key, [])]
        offsets = [0]
        for key in keys:
            offsets.append(offsets[-1] + len(held.get(key, [])))
        state = Grouped(np.array(keys, np.uint64), np.array(offsets, np.int64), np.array(rows, SEEN.dtype))
        outcome = deduplicate(batch, state)
        assert outcome.state is not None
        for key in outcome.state.keys.tolist():
            held[key] = [tuple(row) for row in outcome.state.rows_of(key).tolist()]
        told.append([len(rows) for rows in outcome.rows])
    return told


ROWS = [(1, 1, 5), (2, 1, 5), (1, 1, 5), (1, 1, 6), (1, 2, 9), (2, 1, 7)]


def test_each_event_is_heard_once() -> None:
    """A copy is a duplicate, another content under one name is held, two names may share half a digest."""
    assert parted([events(*ROWS)]) == [[3, 1, 2]]


def test_borders_of_batches_change_nothing() -> None:
    """Wherever a batch is cut, the sums are the same."""
    whole = parted([events(*ROWS)])[0]
    for cut in range(1, len(ROWS)):
        first, second = parted([events(*ROWS[:cut]), events(*ROWS[cut:])])
        assert [a + b for a, b in zip(first, second, strict=True)] == whole
