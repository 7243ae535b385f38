"""What travels between the steps, described once: columns with type, unit and whether they are personal.

A `Record` is the promise that a stream's frames keep. Schemas, documentation, masking and the list of
where personal data lies are all worked out from it, so a column is written down in one place only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl


@dataclass(frozen=True)
class Column:
    """One column: its name, its type, what it means, its unit, and whether it tells who somebody is."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    text: str
    unit: str = ""
    personal: bool = False


@dataclass(frozen=True)
class Record:
    """A family of rows: named columns, the columns that identify a row, and the days it is kept."""

    name: str
    text: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    days_kept: int

    @cached_property
    def schema(self) -> pl.Schema:
        """The Polars schema, in the written order of columns."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def personal(self) -> tuple[str, ...]:
        """Names of the columns that tell who somebody is."""
        return tuple(column.name for column in self.columns if column.personal)

    def empty(self) -> pl.DataFrame:
        """A frame of this record with no rows; always the same one, for frames are never changed."""
        return self._empty

    @cached_property
    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with this record's columns in its order; columns it lacks are null of the right type."""
        known = set(frame.columns)
        return frame.select(
            pl.col(column.name).cast(column.dtype)
            if column.name in known
            else pl.lit(None, dtype=column.dtype).alias(column.name)
            for column in self.columns
        )
