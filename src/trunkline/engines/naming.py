"""Records under names of their own: a conflict that a person lets be charged, beside whoever had its name first, and on
a cluster a record that takes the place of another one, which was held under its name until that one was taken back.

Its octets come again as they came, and the header that names their mapping says what their ids get behind them. It is
the same mark whoever sends it again, so that a second time is a duplicate; it is in the log, so that whoever charges
the log once more finds the same names.
"""

from __future__ import annotations

import polars as pl

from trunkline.kernel.identity import identities
from trunkline.records.usage import MARK, Action

_IN_PLACE = "c"  # begins the mark of a record that takes another one's place


def mark_of(number: int) -> str:
    """What is put behind the ids of a record that was set aside under a number."""
    return f"{MARK}{number}"


def place_mark_of(number: int) -> str:
    """What is put behind the id of a record that was held under a number, and is charged in another one's place."""
    return f"{MARK}{_IN_PLACE}{number}"


def reading(said: str) -> tuple[str, str]:
    """The mapping that a header names, and what ids get behind them: nothing, but for what was decided so."""
    mapping, mark, number = said.partition(MARK)
    return mapping, mark + number


def renamed(rows: pl.DataFrame, mark: str) -> pl.DataFrame:
    """Decoded rows with the mark behind their ids, and the identities that follow from that.

    What takes another one's place is charged like any usage: the other one was taken back before.
    """
    if not mark or not len(rows):
        return rows
    if mark.rpartition(MARK)[2].startswith(_IN_PLACE):
        rows = rows.with_columns(action=pl.lit(int(Action.NONE), rows.schema["action"]))
    names = rows.get_column("record_id") + mark
    identity, check = identities(rows.get_column("source").cast(pl.String), names)
    return rows.with_columns(record_id=names, identity=pl.Series(identity), check=pl.Series(check))
