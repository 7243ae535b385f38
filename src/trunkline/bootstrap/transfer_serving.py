"""Transfers of a served cluster: ordered over the topics, found in Cassandra.

The two accounts may lie with different workers. The giver's books what is given and sends on what is received in one
transaction of Kafka's, so there is no moment at which only half of a transfer was decided; whoever ordered it is
answered when both sides are booked and can be read. What was not answered in time is asked again under its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import polars as pl

from trunkline.api.workers import Worker
from trunkline.bootstrap.intake import ANSWER_S, COME_AGAIN_S, ClusterIntake
from trunkline.charging.transfers import TRANSFER_REASONS
from trunkline.ports import Busy, NotTransferred, Refused, Transfer
from trunkline.records.giving import OFFERS
from trunkline.stores.cassandra.connection import Unreachable
from trunkline.stores.cassandra.transfers import CassandraTransfers

_TEXTS = {reason.name: reason.text for reason in TRANSFER_REASONS}
_LOOK_EVERY_S = 0.05


class ClusterTransfers:
    """Transfers of a cluster (`ports.Transfers`)."""

    def __init__(
        self, kept: CassandraTransfers, intake: ClusterIntake, workers: Callable[[], Sequence[Worker]]
    ) -> None:
        """`workers` says who works, for not every engine books transfers."""
        self._kept, self._intake, self._workers = kept, intake, workers

    def transfer(self, order: Transfer) -> tuple[Transfer, bool]:
        """Book a transfer: as it was booked, and whether that was done before under its name. Raises `Busy`, too."""
        if not order.transfer_id or ":" in order.transfer_id:
            raise Refused("A transfer is named by some characters without a colon.")
        engines = {worker.engine for worker in self._workers()}
        if "spark" in engines and "kafka" not in engines:
            raise NotTransferred("not_on_spark", "Transfers are booked by workers of the engine kafka only.")
        try:
            return self._ordered(order)
        except Unreachable:  # asked again under the same name, it is booked once
            raise Busy(COME_AGAIN_S) from None

    def _ordered(self, order: Transfer) -> tuple[Transfer, bool]:
        """Give the order its name, send it, and wait until both sides are booked and can be read."""
        kept = self._kept.claim(order)
        if _said(kept) != _said(order):
            raise Refused(f"The name {order.transfer_id} was used for another transfer; take a new one.")
        answer = self._intake.order(OFFERS, _rows(kept), "transfer_id")[kept.transfer_id]
        if answer["status"] == "refused":
            reason = answer["reason"]
            raise NotTransferred(reason, _TEXTS.get(reason, reason))
        deadline = time.monotonic() + ANSWER_S
        while (booked := self._kept.arrived(kept.transfer_id)) is None:
            if time.monotonic() > deadline:
                raise Busy(COME_AGAIN_S)
            time.sleep(_LOOK_EVERY_S)
        return booked, answer["status"] == "repeated"

    def transfers(self, subscriber: int | None, limit: int, offset: int = 0) -> list[Transfer]:
        """Booked transfers of one subscriber, as giver or receiver, or of all; the newest first."""
        return self._kept.transfers(subscriber, limit, offset)

    def found(self, transfer_id: str) -> Transfer | None:
        """One booked transfer."""
        return self._kept.found(transfer_id)


def _rows(order: Transfer) -> pl.DataFrame:
    """An order as the flow takes it."""
    said = {
        "transfer_id": order.transfer_id, "subscriber": order.receiver, "giver": order.giver,
        "time_us": order.time_us, "balance": order.balance, "amount": order.amount,
    }  # fmt: skip
    types = {name: dtype for name, dtype in OFFERS.record.schema.items() if name in said}
    return OFFERS.record.conform(pl.DataFrame([said], schema_overrides=types))


def _said(order: Transfer) -> tuple[object, ...]:
    return order.giver, order.receiver, order.balance, order.amount
