"""Rows as mutations: those of one partition go together, which costs nodes and client a fraction of a write each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from cassandra.query import BatchStatement, BatchType

from trunkline.kernel.columns import Column
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection, bound

ROWS_A_MUTATION = 300


def mutations(
    connection: Connection,
    columns: Sequence[Column],
    frame: pl.DataFrame,
    partition: tuple[str, ...],
    statement: str,
) -> Iterator[Any]:
    """Statements that write rows whose `columns` are the values of `statement`, cut where `partition` changes."""
    frame = frame.sort(partition, maintain_order=True)
    prepared = connection.prepared(statement)
    octets = (tables.octets_of(column, frame.get_column(column.name)) for column in columns)
    values = list(zip(*octets, strict=True))
    borders = _borders(frame, partition)
    for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        if end - start == 1:
            yield bound(prepared, values[start])
            continue
        batch = BatchStatement(BatchType.UNLOGGED)
        for row in values[start:end]:
            batch.add(bound(prepared, row))
        yield batch


def _borders(frame: pl.DataFrame, partition: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Where partitions begin in sorted rows, and their end; long ones are cut."""
    changed = frame.select(
        pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in partition)
    ).to_series()
    starts = np.flatnonzero(changed.to_numpy())
    if len(starts) == 0 or starts[0] != 0:
        starts = np.concatenate([np.zeros(1, np.int64), starts])
    ends = np.append(starts[1:], len(frame))
    cuts = [
        np.arange(start, end, ROWS_A_MUTATION)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return np.append(np.concatenate(cuts), len(frame)).astype(np.int64)
