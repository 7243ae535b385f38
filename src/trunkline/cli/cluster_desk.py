"""The desk of a cluster: commands look into Cassandra and order over the topics themselves, as `trunkline serve` does.

Nothing is opened before it is asked for: who looks at deliveries needs Cassandra alone. A server that does not answer
is told of with what to do; an order that may have been carried all the same names itself, to be given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import KafkaException

from trunkline.bootstrap.agreed import Agreed
from trunkline.bootstrap.alert_delivery import LedgerDeliveries
from trunkline.bootstrap.alert_ways import deliveries_over
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.cluster_bills import ClusterBills, bills_in
from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.kafka import plan_of, server_of
from trunkline.bootstrap.serving import contact_of, kept_vouchers
from trunkline.bootstrap.transfer_serving import ClusterTransfers
from trunkline.bootstrap.voucher_serving import ClusterVouchers
from trunkline.bootstrap.vouchers import Batches
from trunkline.bootstrap.workers import last_words
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.cli.audit import now_us, write_down
from trunkline.cli.hand import Orders, over_http, told_redemption, told_transfer
from trunkline.engines.kafka.client import Lost
from trunkline.ports import Busy, Movement, NoAnswer, Transfer
from trunkline.settings import Cassandra, Delivery, Folders, Guessing, Kafka, Spark, read
from trunkline.stores.cassandra.connection import Connection, Unreachable
from trunkline.stores.cassandra.deliveries import CassandraDeliveries
from trunkline.stores.cassandra.reader import CassandraAudit, CassandraReader
from trunkline.stores.cassandra.transfers import CassandraTransfers

_SILENT = (Busy, Unreachable, Lost, TimeoutError, KafkaException)
ACTOR = "operator"
Answer = TypeVar("Answer")


@contextmanager
def at_cluster(data: Path) -> Iterator[ClusterDesk]:
    """The desk of the cluster that the settings name; raises `NoAnswer` where a server is silent."""
    with ExitStack() as ending:
        try:
            yield ClusterDesk(data, read(Kafka), ending)
        except _SILENT as error:
            raise NoAnswer(f"{_said(error)} Nothing more was done; ask again.") from error


class ClusterDesk:
    """What commands look at on a cluster, and order of it."""

    def __init__(self, data: Path, kafka: Kafka, ending: ExitStack) -> None:
        """`data` is the folder that `trunkline serve` keeps its secrets in; `ending` closes what was opened."""
        self._data, self._ending = data, ending
        self.server, self.plan = server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets)

    @cached_property
    def connection(self) -> Connection:
        """Cassandra, whose tables `trunkline serve` has made."""
        connection = Connection(contact_of(read(Cassandra)))
        self._ending.callback(connection.close)
        return connection

    @cached_property
    def intake(self) -> ClusterIntake:
        """The way in over the topics."""
        own = read(Folders).mappings
        mappings = load_mappings(Path(own) if own else None)
        intake = ClusterIntake(self.server, self.plan, mappings, self.reader())
        self._ending.callback(intake.close)
        return intake

    @cached_property
    def _tariff(self) -> Catalogue:
        return Agreed(self.server, self.plan).catalogue()

    def catalogue(self) -> Catalogue:
        """The tariff that the workers have agreed on."""
        return self._tariff

    def reader(self) -> CassandraReader:
        """What was delivered."""
        return CassandraReader(self.connection)

    def deliveries(self) -> LedgerDeliveries:
        """The keyspace's ledger."""
        return deliveries_over(CassandraDeliveries(self.connection), self.reader(), read(Delivery))

    def vouchers(self) -> Batches:
        """The keyspace's vouchers."""
        kept = kept_vouchers(self.connection, self._data)
        return Batches(kept, kept, now_us, None)

    def bills(self) -> ClusterBills:
        """The bills beside Spark's state; they are looked at without any server."""

        def move(movements: Sequence[Movement]) -> list[dict[str, Any]]:
            return _carried("in the same words", lambda: self.intake.move(movements))

        files = bills_in(read(Folders, data=self._data), read(Spark))
        return ClusterBills(files, self.catalogue, self.reader, move)

    def orders(self, url: str | None) -> AbstractContextManager[Orders]:
        """A hand that orders over the topics, or over HTTP when an address is given."""
        return over_http(url) if url else nullcontext(_Ordering(self, self._data))

    def wrote(self, action: str, detail: str = "", word: int = 0) -> None:
        """In the cluster's audit trail."""
        write_down(CassandraAudit(self.connection), action, detail, word)


class _Ordering:
    """Orders over the topics (`cli.hand.Orders`)."""

    def __init__(self, desk: ClusterDesk, data: Path) -> None:
        self._desk, self._data = desk, data

    def move(self, movement: Movement) -> dict[str, Any]:
        return _named(movement.movement_id, lambda: self._desk.intake.move([movement])[0])

    def transfer(self, order: Transfer) -> dict[str, Any]:
        desk = self._desk
        transfers = ClusterTransfers(
            CassandraTransfers(desk.connection), desk.intake, lambda: last_words(desk.server, [desk.plan])
        )
        return told_transfer(*_named(order.transfer_id, lambda: transfers.transfer(order)))

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> dict[str, Any]:
        kept = kept_vouchers(self._desk.connection, self._data)
        vouchers = ClusterVouchers(kept, self._desk.intake, now_us, read(Guessing))
        return told_redemption(*_named(redeem_id, lambda: vouchers.redeem(redeem_id, subscriber, code)))

    def correct(self, number: int, lines: bytes) -> None:
        self._desk.intake.settle_reject(number, lines, ACTOR)

    def close(self, number: int) -> None:
        self._desk.intake.settle_reject(number, None, ACTOR)

    def decide(self, number: int, decision: str) -> None:
        self._desk.intake.settle_held(number, decision, ACTOR)


def _named(name: str, order: Callable[[], Answer]) -> Answer:
    """What is answered to an order that has a name."""
    return _carried(f"with --id {name}", order)


def _carried(again: str, order: Callable[[], Answer]) -> Answer:
    """What is answered to an order; silence says how it is given again."""
    try:
        return order()
    except _SILENT as error:
        raise NoAnswer(
            f"{_said(error)} It may be carried all the same: order it again {again}, and it is done once."
        ) from error


def _said(error: BaseException) -> str:
    """What a server's silence is called, in a sentence."""
    if isinstance(error, Busy):
        return "No worker answered in time."
    if isinstance(error, Unreachable):
        return str(error)
    what = error.args[0].name() if isinstance(error, KafkaException) else error
    return f"The brokers do not answer ({what})."
