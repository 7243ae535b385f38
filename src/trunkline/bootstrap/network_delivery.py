"""From the network's topics into Cassandra, in the manner of usage's delivery, by threads of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import polars as pl
from confluent_kafka import Message

from trunkline.bootstrap.delivery import Delivery, deliver_roles
from trunkline.engines.kafka.client import Server
from trunkline.engines.plan import BUCKET_BITS
from trunkline.engines.stages import Staged
from trunkline.engines.wire import Unreadable, progress_in, rows_in
from trunkline.records import network, network_sums
from trunkline.stores.cassandra.connection import Connection
from trunkline.stores.cassandra.network_writer import NetworkWriter
from trunkline.stores.cassandra.writer import Writer

FINDINGS, FIGURES = "findings", "figures"
_FINDINGS = (
    network.ALARMS, network.INCIDENTS, network.ALARM_COUNTS, network.ANOMALIES, network.RISKS, network_sums.BUDGETS,
    network.REJECTED, network.HELD,
)  # fmt: skip
_FIGURES = (network.KPIS, network.HEAT)


class NetworkDelivery(Delivery):
    """One thread's share: an alarm does not wait behind a day of KPIs."""

    def __init__(self, server: Server, plan: Staged, connect: Callable[[], Connection], role: str) -> None:
        """Nothing is read before `run`."""
        super().__init__(server, plan, connect, role)
        streams = _FINDINGS if role == FINDINGS else _FIGURES
        self._own = {plan.topic(stream): stream for stream in streams}

    @property
    def topics(self) -> list[str]:
        """What is delivered."""
        return [*self._own, *([self._plan.progress] if self.role == FINDINGS else [])]

    def writer(self, connection: Connection) -> Writer:
        """Who writes it."""
        return NetworkWriter(connection)

    def write(self, taken: Sequence[Message], writer: Writer) -> None:
        """Write what some messages say, each under its own place."""
        assert isinstance(writer, NetworkWriter), "it was made here"
        for message in taken:
            topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
            value, time_us = message.value() or b"", message.timestamp()[1] * 1000
            try:
                if topic == self._plan.progress:
                    key = (message.key() or b"").decode()
                    writer.network_progress(key, progress_in(value), offset, time_us)
                    continue
                stream = self._own[topic]
                rows = rows_in(value, stream.record)
            except Unreadable as error:
                apart = (self.topics.index(topic) + 1 << BUCKET_BITS) + partition  # from what is held itself
                writer.rows(network.HELD, self._unread(message, str(error)), apart, offset)
                continue
            if stream in (network.REJECTED, network.HELD):
                rows = self.with_octets(rows)
            elif stream is network.INCIDENTS:
                rows = rows.with_columns(told_us=pl.lit(time_us, pl.Int64))
            writer.rows(stream, rows, partition, offset)
            self.delivered.rows += len(rows)

    def _unread(self, message: Message, reason: str) -> pl.DataFrame:
        """A message that nobody could read, for a person to see."""
        where = f"{message.topic()}/{message.partition()}"
        row = {"reason": [reason], "path": [where], "mapping": [None], "raw": [message.value() or b""]}
        return pl.DataFrame(row, schema_overrides={"mapping": pl.String})


def deliver(
    server: Server, plan: Staged, connect: Callable[[], Connection], stop: threading.Event
) -> tuple[list[Delivery], Callable[[], None]]:
    """Both roles, each in a thread; what they are, and a function that waits for their end and raises their trouble."""
    return deliver_roles([NetworkDelivery(server, plan, connect, role) for role in (FINDINGS, FIGURES)], stop)
