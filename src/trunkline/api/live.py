"""What is happening now: the accounting sampled once a period, and handed to whoever watches.

One task asks the platform, however many people look. A watcher is never queued for: it waits for the next
sample and takes the newest, so a slow one misses samples and holds nobody up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from trunkline import ports
from trunkline.records.charging import ALERTS

log = logging.getLogger("trunkline.live")

SAMPLES_KEPT = 600
NEWEST_SHOWN = 15
ALERTS_KEPT = 50
ALERTS_A_TURN = 5000
FOREVER_US = 2**62


@dataclass(frozen=True)
class Sample:
    """The platform at one moment."""

    number: int
    time_us: int
    records_per_s: float
    money_micros_per_s: float
    accounting: tuple[ports.Accounting, ...]
    status: dict[str, Any]
    usage: pl.DataFrame | None  # None when nobody looked
    alerts: pl.DataFrame


@dataclass
class Live:
    """Samples the platform while the application runs."""

    reader: ports.Reader
    now_us: Callable[[], int]
    period_s: float
    facts: Callable[[], dict[str, Any]] | None = None
    samples: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))
    newest: Sample | None = None
    watchers: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _last_alert: int = 0
    _alerts: pl.DataFrame | None = None

    async def run(self) -> None:
        """Sample for as long as the application runs; what goes wrong is logged and tried again."""
        while True:
            try:
                sample = await asyncio.to_thread(self._sample)
                async with self._changed:
                    self.newest = sample
                    self.samples.append((sample.time_us, sample.records_per_s, sample.money_micros_per_s))
                    self._changed.notify_all()
            except Exception:
                log.exception("the platform could not be sampled; trying again")
            await asyncio.sleep(self.period_s)

    async def after(self, number: int, patience_s: float) -> Sample | None:
        """The newest sample once there is one after `number`; None when none came in time."""
        try:
            async with asyncio.timeout(patience_s), self._changed:
                await self._changed.wait_for(lambda: self.newest is not None and self.newest.number > number)
                return self.newest
        except TimeoutError:
            return None

    def _sample(self) -> Sample:
        accounting, now_us = tuple(self.reader.accounting()), self.now_us()
        records_per_s, money_per_s = self._rates(accounting, now_us)
        status = self.reader.status()
        if self.facts:
            status = {**status, **self.facts()}
        looked_at = self.watchers > 0
        usage = self.reader.usage(None, 0, FOREVER_US, NEWEST_SHOWN) if looked_at else None
        return Sample(
            number=self.newest.number + 1 if self.newest else 1,
            time_us=now_us,
            records_per_s=records_per_s,
            money_micros_per_s=money_per_s,
            accounting=accounting,
            status=status,
            usage=usage,
            alerts=self._newest_alerts(int(status.get("alerts", 0))),
        )

    def _rates(self, accounting: tuple[ports.Accounting, ...], now_us: int) -> tuple[float, float]:
        if self.newest is None or now_us <= self.newest.time_us:
            return 0.0, 0.0
        took_s = (now_us - self.newest.time_us) / 1e6
        records = sum(row.received for row in accounting) - sum(
            row.received for row in self.newest.accounting
        )
        money = sum(row.charged_micros for row in accounting) - sum(
            row.charged_micros for row in self.newest.accounting
        )
        return records / took_s, money / took_s

    def _newest_alerts(self, told: int) -> pl.DataFrame:
        """The last alerts; of those told before we began, only the last are read."""
        if self._alerts is None:
            self._last_alert = max(0, told - ALERTS_KEPT)
            self._alerts = ALERTS.record.empty().with_columns(number=pl.lit(None, dtype=pl.Int64))
        found = self.reader.alerts(self._last_alert, ALERTS_A_TURN)
        if len(found):
            self._last_alert = int(found["number"].max())  # type: ignore[arg-type]
            known = found.select(self._alerts.columns).cast(self._alerts.schema)
            self._alerts = pl.concat([self._alerts, known]).tail(ALERTS_KEPT)
        return self._alerts
