"""Transfers over a data folder: ordered of the engine, booked in one commit, found again by their names.

A transfer is named by whoever orders it. The same name is booked once: ordered again, it is told as it was booked, also
when the first order is still on its way to the disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from trunkline import topology
from trunkline.charging.transfers import TRANSFER_REASONS, names_begin
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.loop import Carrier
from trunkline.ports import Commit, Movement, NotTransferred, Refused, Transfer
from trunkline.records.charging import MOVEMENTS, REFUSED, TRANSFERS
from trunkline.stores.embedded.transfers import EmbeddedTransfers, put_together

_TEXTS = {reason.name: reason.text for reason in TRANSFER_REASONS}
_FIELDS = tuple(Movement.__dataclass_fields__)


class FolderTransfers:
    """Transfers of a data folder (`ports.Transfers`). Without an engine nothing can be ordered, only read."""

    def __init__(self, data: Path, engine: Engine | None = None) -> None:
        """`engine` carries orders; it comes from the one process that writes."""
        self._reader, self._engine = EmbeddedTransfers(data), engine
        self._on_its_way: dict[str, Transfer] = {}

    def transfer(self, order: Transfer) -> tuple[Transfer, bool]:
        """Book a transfer: as it was booked, and whether that was done before under its name."""
        if self._engine is None:
            raise Refused("This process only reads; order it of the one that writes to the data folder.")
        if not order.transfer_id or ":" in order.transfer_id:
            raise Refused("A transfer is named by some characters without a colon.")
        try:
            booked, repeated = self._engine.order(
                lambda engine, number: self._carried(engine, number, order)
            ).result()
        finally:
            self._on_its_way.pop(order.transfer_id, None)
        if repeated and _said(booked) != _said(order):
            raise Refused(f"The name {order.transfer_id} was used for another transfer; take a new one.")
        return booked, repeated

    def transfers(self, subscriber: int | None, limit: int, offset: int = 0) -> list[Transfer]:
        """Booked transfers of one subscriber, as giver or receiver, or of all; the newest first."""
        return self._reader.transfers(subscriber, limit, offset)

    def found(self, transfer_id: str) -> Transfer | None:
        """One booked transfer."""
        return self._reader.found(transfer_id)

    def _carried(
        self, engine: Engine, number: int, order: Transfer
    ) -> tuple[Commit | None, tuple[Transfer, bool]]:
        known = self._on_its_way.get(order.transfer_id) or self._reader.found(order.transfer_id)
        if known is not None:
            return None, (known, True)
        rows = _rows(order).with_columns(seq=engine.numbered(pl.DataFrame({"at": [0]}))["seq"].first())
        carried = Carrier(topology.TRANSFERRING, engine.tables, engine.states).whole(rows, number)
        refused = carried.rows(REFUSED)
        if len(refused):
            reason = str(refused["reason"][0])
            raise NotTransferred(reason, _TEXTS.get(reason, reason))
        sides = carried.rows(MOVEMENTS).to_dicts()
        movements = [(_movement(side), side["seq"], "booked", "") for side in sides]
        booked = put_together(order.transfer_id, sides)
        assert booked is not None, "what is not refused is booked"
        assert all(m.movement_id.startswith(names_begin(order.transfer_id)) for m, *_ in movements)
        self._on_its_way[order.transfer_id] = booked
        return engine.commit_of(number, carried, movements=movements), (booked, False)


def _rows(order: Transfer) -> pl.DataFrame:
    """An order as the flow takes it: a row for each of the two."""
    said = {
        "transfer_id": order.transfer_id, "time_us": order.time_us, "balance": order.balance, "amount": order.amount,
    }  # fmt: skip
    return TRANSFERS.record.conform(
        pl.DataFrame(
            [
                said | {"subscriber": order.giver, "gives": True},
                said | {"subscriber": order.receiver, "gives": False},
            ],
            schema_overrides={"subscriber": pl.UInt64},
        )
    )


def _movement(side: dict[str, Any]) -> Movement:
    return Movement(**{name: side[name] for name in _FIELDS})


def _said(order: Transfer) -> tuple[object, ...]:
    return order.giver, order.receiver, order.balance, order.amount
