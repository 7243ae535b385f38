"""Alert delivery of a served cluster: alerts and their ledger lie in Cassandra, and every process takes part.

Nobody is chosen to deliver. Each process that serves takes alerts up and tries what is due; the ledger lets one of them
have each delivery at a time, so that a customer is told once however many there are and whichever of them dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trunkline.bootstrap.alert_delivery import LedgerDeliveries
from trunkline.bootstrap.alert_ways import alert_delivery
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.records.charging import ALERTS
from trunkline.settings import Delivery
from trunkline.stores.cassandra.connection import Connection, Unreachable
from trunkline.stores.cassandra.deliveries import CassandraDeliveries
from trunkline.stores.cassandra.reader import CassandraReader

log = logging.getLogger("trunkline.alerts")

LOOK_EVERY_S = 1.0  # a look asks all nodes
_DAY_S, _DAY_US = 86_400, 86_400_000_000
_LEAVE_S = 60.0  # longer than any receiver is waited for


@contextmanager
def telling(
    connection: Connection,
    catalogue: Callable[[], Catalogue],
    chosen: Delivery,
    networks: tuple[str, ...],
    stop: threading.Event,
) -> Iterator[LedgerDeliveries]:
    """Deliver alerts while this lasts, where a channel is set up; the ledger for whoever asks. Raises `Refused`."""
    reader, ledger = CassandraReader(connection), CassandraDeliveries(connection)
    desk, delivery = alert_delivery(lambda: ledger, reader, catalogue, chosen, networks)
    works = [("letting alerts go", lambda: _let_go(ledger, stop))]
    if delivery is not None:
        delivery.look_every_s = LOOK_EVERY_S
        works += delivery.works(stop)
    threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works]
    for thread in threads:
        thread.start()
    try:
        yield desk
    finally:
        stop.set()
        for thread in threads:
            thread.join(_LEAVE_S)


def _let_go(ledger: CassandraDeliveries, stop: threading.Event) -> None:
    """Once a day, beginning with the start, let go of what is older than the alerts themselves are kept."""
    while not stop.is_set():
        try:
            ledger.let_go(time.time_ns() // 1000 - ALERTS.record.days_kept * _DAY_US)
        except Unreachable as error:
            log.warning("deliveries are let go of tomorrow: %s", error)
        stop.wait(_DAY_S)
