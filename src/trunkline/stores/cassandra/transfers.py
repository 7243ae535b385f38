"""Transfers of a keyspace: under which name each was ordered, and what became of it.

A name is given to one order for good by a light-weight transaction, before anything is booked: two processes that are
asked for different transfers under one name would else book both, where the givers lie apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trunkline.charging.transfers import names_begin
from trunkline.ports import Transfer
from trunkline.records.giving import HANDED
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection


class CassandraTransfers:
    """What a keyspace knows of transfers; any thread may ask."""

    def __init__(self, connection: Connection) -> None:
        """The connection's tables must be there."""
        self._connection = connection

    def claim(self, order: Transfer) -> Transfer:
        """Give the order's name to it; the order that has it, which may be an earlier one."""
        table = tables.TRANSFER_ORDER_TABLE
        words = tables.stored_word(order.giver), tables.stored_word(order.receiver)
        values = (order.transfer_id, *words, order.balance, order.amount, order.time_us)
        (answer,) = self._connection.ask(table.insert() + " IF NOT EXISTS", values)
        if answer[0]:
            return order
        return Transfer(
            answer.transfer_id,
            tables.word_of(answer.giver),
            tables.word_of(answer.receiver),
            answer.balance,
            answer.amount,
            answer.time_us,
        )

    def arrived(self, transfer_id: str) -> Transfer | None:
        """A transfer that both sides have booked, as far as that was delivered."""
        table = tables.MOVEMENT_TABLE
        taken = self._connection.ask(
            table.select("WHERE movement_id = ?", ("status",)), (f"{names_begin(transfer_id)}in",)
        )
        return self.found(transfer_id) if taken and taken[0].status == "booked" else None

    def found(self, transfer_id: str) -> Transfer | None:
        """One booked transfer."""
        statement = tables.TRANSFER_TABLE.select("WHERE transfer_id = ?", list(HANDED.record.schema))
        rows = self._connection.ask(statement, (transfer_id,))
        return _transfer(rows[0]) if rows else None

    def transfers(self, subscriber: int | None, limit: int, offset: int = 0) -> list[Transfer]:
        """Booked transfers of one subscriber, as giver or receiver, or of all; the newest first."""
        found: list[Transfer] = []
        for each in self._newest() if subscriber is None else self._of(subscriber):
            found.append(each)
            if len(found) >= limit + offset:
                break
        return found[offset:]

    def _of(self, subscriber: int) -> list[Transfer]:
        names = list(HANDED.record.schema)
        word = (tables.stored_word(subscriber),)
        found = [
            _transfer(row)
            for side in ("subscriber", "receiver")
            for row in self._connection.ask(tables.TRANSFER_TABLE.select(f"WHERE {side} = ?", names), word)
        ]
        return sorted(found, key=lambda each: (each.time_us, each.transfer_id), reverse=True)

    def _newest(self) -> Iterator[Transfer]:
        days = self._connection.ask(tables.PART_TABLE.select("WHERE stream = ?", ("part",)), (HANDED.name,))
        statement = tables.TRANSFER_TABLE.select("WHERE day = ?", list(HANDED.record.schema))
        for row in days:
            yield from map(_transfer, self._connection.each(statement, (row.part,)))


def _transfer(row: Any) -> Transfer:  # noqa: ANN401 -- the driver carries no types
    return Transfer(
        row.transfer_id,
        tables.word_of(row.subscriber),
        tables.word_of(row.receiver),
        row.balance,
        row.amount,
        row.time_us,
        row.fee_micros,
    )
