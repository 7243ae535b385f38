"""A handful of alerts without a platform: a reader that holds them, a channel that remembers, a clock that is moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from tests.api.small_catalogue import CATALOGUE
from trunkline.bootstrap.alert_delivery import AlertDelivery, DeliveryLedger, LedgerDeliveries
from trunkline.bootstrap.alert_ways import load_templates
from trunkline.charging.delivery import Usual
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Rows
from trunkline.ports import AlertChannel, AlertMessage, Reader, Undeliverable
from trunkline.records.charging import ACCOUNT_ROW, ALERTS
from trunkline.stores.embedded.deliveries import EmbeddedDeliveries
from trunkline.stores.embedded.disk import Disk

NOON_US = 1_795_003_200_000_000  # 2026-11-18 12:00 UTC
NUMBERS = ("447700900001", "447700900002", "447700900003")


class Alerts:
    """As much of `ports.Reader` as delivery asks."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        """Hold them in their order."""
        self.rows = rows

    def alerts(self, after: int, limit: int, subscriber: int | None = None) -> pl.DataFrame:
        """Alerts above a number."""
        assert subscriber is None, "delivery asks for everybody's"
        rows = [row for row in self.rows if row["number"] > after][:limit]
        return pl.DataFrame(rows, schema={"number": pl.Int64, **ALERTS.record.schema})

    def account(self, _subscriber: int) -> Rows:
        """Nobody has an account of his own; the operator's time zone counts."""
        return np.zeros(0, ACCOUNT_ROW)


def alert(number: int, **said: Any) -> dict[str, Any]:
    """The n-th alert: a low balance, unless something else is said."""
    return {
        "number": number, "alert_id": f"{number:032x}", "seq": number, "subscriber": to_key(NUMBERS[number % 3]),
        "time_us": NOON_US - 60_000_000, "kind": "low_balance", "balance": "main", "threshold": 1_000_000,
        "value": 990_000, "period": 0,
    } | said  # fmt: skip


@dataclass
class Remembering:
    """A channel that keeps what it is given; `fate` is called before and may raise, as a receiver would refuse."""

    name: str = "webhook"
    taken: list[AlertMessage] = field(default_factory=list)
    fate: Callable[[AlertMessage], None] = lambda _message: None

    def send(self, message: AlertMessage) -> None:
        """Keep it."""
        self.fate(message)
        self.taken.append(message)


@dataclass
class Clock:
    """A clock that only a test moves."""

    us: int = NOON_US

    def __call__(self) -> int:
        """What it shows."""
        return self.us


def delivering(
    folder: Path,
    rows: list[dict[str, Any]],
    *channels: AlertChannel,
    usual: Usual | None = None,
    clock: Clock | None = None,
    disk: Disk | None = None,
    attempts: int = 4,
) -> AlertDelivery:
    """Delivery over a ledger in a folder."""
    return AlertDelivery(
        cast("Reader", Alerts(rows)),
        EmbeddedDeliveries(folder, disk),
        {each.name: each for each in channels},
        usual or Usual(tuple(each.name for each in channels)),
        load_templates(),
        lambda: CATALOGUE,
        attempts,
        1000,
        clock or Clock(),
    )


@contextmanager
def desk_of_deliveries(folder: Path, channel: AlertChannel | None = None) -> Iterator[LedgerDeliveries]:
    """What the API asks, with three alerts taken up and tried; the first customer's is a dead letter."""

    def fate(message: AlertMessage) -> None:
        if message.subscriber == NUMBERS[0]:
            raise Undeliverable("answered 410")

    life = delivering(
        folder, [alert(number) for number in (1, 2, 3)], channel or Remembering(fate=fate), clock=Clock()
    )
    life.take_up()
    for name in life.channels:
        life.deliver(name)
    try:
        yield LedgerDeliveries(life.ledger, life.reader, tuple(life.channels), tuple(life.templates), Clock())
    finally:
        life.ledger.close()


def summed(ledger: DeliveryLedger) -> dict[str, int]:
    """How many deliveries are in each state, after looking that they add up to what was planned."""
    counts = ledger.counts()
    states: dict[str, int] = {}
    for of_channel in counts["states"].values():
        for state, count in of_channel.items():
            states[state] = states.get(state, 0) + count
    assert sum(states.values()) + counts["let_go"] == counts["planned"], counts
    return states
