"""Transfers of a data folder, put together again from the movements that they consist of."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from trunkline.ports import Transfer
from trunkline.records.charging import MOVEMENTS, Cause
from trunkline.stores.embedded.manifest import stored_word
from trunkline.stores.embedded.reader import EmbeddedReader

_COLUMNS = ("movement_id", "cause", "subscriber", "time_us", "balance", "amount")
_NAME = "transfer:"


class EmbeddedTransfers(EmbeddedReader):
    """The reading side of transfers; any thread may ask."""

    def transfers(self, subscriber: int | None, limit: int, offset: int = 0) -> list[Transfer]:
        """Booked transfers of one subscriber, as giver or receiver, or of all; the newest first."""
        mine = "" if subscriber is None else " AND subscriber = ?"
        rows = self._rows(
            "SELECT movement_id FROM movements WHERE cause = ? AND status = 'booked'"  # noqa: S608 -- our own words
            f" AND (movement_id LIKE '%:out' OR movement_id LIKE '%:in'){mine} ORDER BY number DESC LIMIT ? OFFSET ?",
            int(Cause.TRANSFER),
            *(() if subscriber is None else (stored_word(subscriber),)),
            *((limit, offset) if subscriber is not None else (2 * limit, 2 * offset)),
        )
        names = dict.fromkeys(name.removeprefix(_NAME).rpartition(":")[0] for (name,) in rows)
        return [found for found in map(self.found, names) if found is not None]

    def found(self, transfer_id: str) -> Transfer | None:
        """One booked transfer."""
        begin = f"{_NAME}{transfer_id}:"
        schema = {name: dtype for name, dtype in MOVEMENTS.record.schema.items() if name in _COLUMNS}
        sides = self._table(
            f"SELECT {', '.join(schema)} FROM movements"  # noqa: S608 -- our own names
            " WHERE status = 'booked' AND movement_id >= ? AND movement_id < ? ORDER BY number",
            (begin, begin + "\U0010ffff"),
            schema,
        )
        return put_together(transfer_id, sides.iter_rows(named=True))


def put_together(transfer_id: str, sides: Iterable[dict[str, object]]) -> Transfer | None:
    """A transfer out of its booked movements; None when there are none."""
    frame = pl.DataFrame(list(sides))
    if not len(frame):
        return None
    handed = frame.filter(pl.col("cause") == int(Cause.TRANSFER))
    given, taken = handed.filter(pl.col("amount") < 0), handed.filter(pl.col("amount") > 0)
    fees = frame.filter(pl.col("cause") == int(Cause.TRANSFER_FEE))
    assert -int(given["amount"].sum()) == int(taken["amount"].sum()), "a transfer loses nothing on its way"
    return Transfer(
        transfer_id,
        int(given["subscriber"][0]),
        int(taken["subscriber"][0]),
        str(given["balance"][0]),
        int(taken["amount"].sum()),
        int(given["time_us"][0]),
        -int(fees["amount"].sum()),
    )
