"""Putting what two engines made of the same day beside each other, sorted by key: arrival numbers and places differ
between engines, money may not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import polars.testing

from trunkline.bootstrap.platform import ingest, opened
from trunkline.kernel.grouped import Rows
from trunkline.ports import Accounting
from trunkline.records import charging, usage
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

ENGINES_OWN = ("seq", "part", "file", "line", "offset", "length")
EVER = (-(2**62), 2**62)
ALL = 10**7


def compared(schema: pl.Schema) -> list[str]:
    """Columns that must be the same whichever engine made them."""
    return [name for name in schema if name not in ENGINES_OWN]


COMPARED = {
    charging.CHARGED.name: compared(charging.CHARGED.record.schema),
    charging.ENTRIES.name: compared(charging.ENTRIES.record.schema),
    charging.ALERTS.name: compared(charging.ALERTS.record.schema),
    usage.REJECTED.name: ["source", "reason", "detail"],
    usage.HELD.name: ["source", "record_id", "reason"],
}


def same(stream: str, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Fail with the first differences."""
    polars.testing.assert_frame_equal(_sorted(stream, ours), _sorted(stream, theirs))


def _sorted(stream: str, frame: pl.DataFrame) -> pl.DataFrame:
    names = COMPARED[stream]
    chosen = frame.select(
        pl.col(name).cast(pl.String) if frame.schema[name] == pl.Categorical else pl.col(name)
        for name in names
    )
    return chosen.sort(names, nulls_last=True)


def same_account(ours: Rows, theirs: Rows) -> bool:
    """Whether two accounts hold the same; the order of their rows means nothing."""
    order = list(ours.dtype.names or ())
    return bool(np.array_equal(np.sort(ours, order=order), np.sort(theirs, order=order)))


class Embedded:
    """The same day through the embedded engine: what every other engine is measured by."""

    def __init__(self, operator: Path, data: Path, parts: list[Path]) -> None:
        """Charge the parts, each to its end before the next."""
        with opened(Folders(data=data, tariffs=str(operator / "tariffs"))) as platform:
            for part in parts:
                assert not ingest(platform, [part], None, None).troubles
        self.reader = EmbeddedReader(data)

    def rows(self) -> dict[str, pl.DataFrame]:
        """What it made, by stream."""
        return {
            charging.CHARGED.name: self.reader.usage(None, *EVER, ALL),
            charging.ENTRIES.name: self.reader.entries(None, *EVER, ALL),
            charging.ALERTS.name: self.reader.alerts(-1, ALL),
            usage.REJECTED.name: self.reader.rejects(None, ALL),
            usage.HELD.name: self.reader.held(ALL),
        }

    def accounting(self) -> dict[str, Accounting]:
        """What became of everything, by source."""
        return {each.source: each for each in self.reader.accounting()}
