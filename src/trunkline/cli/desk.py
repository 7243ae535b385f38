"""Where a command works: over a data folder, or over the cluster that the settings name; the same words for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Protocol

import typer

from trunkline.bootstrap.alert_delivery import LedgerDeliveries
from trunkline.bootstrap.alert_ways import deliveries_over
from trunkline.bootstrap.catalogues import load_catalogue
from trunkline.bootstrap.vouchers import Batches, FolderVouchers
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.cli.app import EngineName
from trunkline.cli.audit import now_us, write_down
from trunkline.cli.hand import Orders, hand
from trunkline.ports import Reader
from trunkline.settings import Delivery, read
from trunkline.stores.embedded.deliveries import EmbeddedDeliveries
from trunkline.stores.embedded.reader import EmbeddedAudit, EmbeddedReader

WorksOn = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        envvar="TRUNKLINE_ENGINE",
        help="embedded: the data folder. kafka, spark: the cluster that the settings name.",
    ),
]


class Desk(Protocol):
    """What commands look at, and whom they ask to change something."""

    def catalogue(self) -> Catalogue:
        """The tariff in force."""

    def reader(self) -> Reader:
        """Answers from what is committed."""

    def deliveries(self) -> LedgerDeliveries:
        """Alerts on their way, and what customers chose."""

    def vouchers(self) -> Batches:
        """Batches of vouchers; redeeming is an order."""

    def orders(self, url: str | None) -> AbstractContextManager[Orders]:
        """A hand that orders, over HTTP when an address is given."""

    def wrote(self, action: str, detail: str = "", word: int = 0) -> None:
        """Write down who does what, and whose data it concerns."""


@contextmanager
def at(data: Path, engine: EngineName) -> Iterator[Desk]:
    """The desk that was chosen, until the command ends."""
    if engine is EngineName.EMBEDDED:
        with ExitStack() as ending:
            yield FolderDesk(data, ending)
        return
    from trunkline.cli.cluster_desk import at_cluster

    with at_cluster(data) as desk:
        yield desk


class FolderDesk:
    """The desk of a data folder, beside the process that writes to it."""

    def __init__(self, data: Path, ending: ExitStack) -> None:
        """Nothing is opened before it is asked for; `ending` closes it."""
        self._data, self._ending = data, ending

    @cached_property
    def _audit(self) -> EmbeddedAudit:
        audit = EmbeddedAudit(self._data)
        self._ending.callback(audit.close)
        return audit

    def catalogue(self) -> Catalogue:
        """The tariff that the folder remembers."""
        return load_catalogue(self._data, None)

    def reader(self) -> Reader:
        """What the folder holds."""
        return EmbeddedReader(self._data)

    def deliveries(self) -> LedgerDeliveries:
        """The folder's ledger."""
        return deliveries_over(EmbeddedDeliveries(self._data), EmbeddedReader(self._data), read(Delivery))

    def vouchers(self) -> Batches:
        """The folder's vouchers."""
        return FolderVouchers(self._data, now_us)

    def orders(self, url: str | None) -> AbstractContextManager[Orders]:
        """The folder itself, or the process that writes to it."""
        return hand(self._data, url)

    def wrote(self, action: str, detail: str = "", word: int = 0) -> None:
        """In the folder's audit trail."""
        write_down(self._audit, action, detail, word)
