"""All listeners of one process: their sockets, threads and outboxes, opened and closed together.

Each listener has an outbox and a thread that empties it, so that one that is flooded, or whose spool is slow, holds up
no other. Whatever goes wrong in a thread ends `run`, which raises it: a listener that is dead never looks alive.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trunkline.engines.listeners.datagrams import Datagrams, Limits, Wrap
from trunkline.engines.listeners.outbox import MOST_OCTETS, Outbox, Take
from trunkline.engines.listeners.scrape import Exporter, Scraper
from trunkline.engines.listeners.streams import StreamLimits, Streams

_KEEP_EVERY_S = 5.0


@dataclass
class Listeners:
    """Listeners by name; open them first, then `run`."""

    take: Take
    most_octets: int = MOST_OCTETS
    ports: dict[str, int] = field(default_factory=dict)
    _outboxes: dict[str, Outbox] = field(default_factory=dict)
    _datagrams: dict[str, Datagrams] = field(default_factory=dict)
    _streams: dict[str, Streams] = field(default_factory=dict)
    _scrapers: dict[str, Scraper] = field(default_factory=dict)
    _keepers: list[Callable[[], None]] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _trouble: list[BaseException] = field(default_factory=list)

    def add_datagrams(
        self, name: str, address: tuple[str, int], mapping: str, limits: Limits, wrap: Wrap
    ) -> None:
        """Listen for datagrams; raises OSError when the address cannot be had."""
        datagrams = Datagrams(address, self._outbox(name, mapping), limits, wrap)
        self._datagrams[name] = datagrams
        self.ports[name] = datagrams.port

    def add_stream(
        self, name: str, address: tuple[str, int], mapping: str, limits: StreamLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        """Listen for streams; the port is bound when `run` begins."""
        self._streams[name] = Streams(address, self._outbox(name, mapping), limits, tls)

    def add_scraper(
        self, name: str, mapping: str, exporters: tuple[Exporter, ...], every_s: float, wanted: str
    ) -> None:
        """Ask exporters for samples."""
        self._scrapers[name] = Scraper(exporters, self._outbox(name, mapping), every_s, wanted)

    def keep(self, keeper: Callable[[], None]) -> None:
        """Call this now and then and at the end: what a listener must know after a restart is written down there."""
        self._keepers.append(keeper)

    def status(self) -> list[dict[str, Any]]:
        """What came to each listener since it started: received = messages taken + refused, which has its reasons.

        `unanswered` are the times that exporters did not answer, which brought no message.
        """
        return [
            {"listener": name, "port": self.ports.get(name), "mapping": box.mapping,
             "received": box.counts.messages + box.counts.refused, "messages": box.counts.messages,
             "octets": box.counts.octets, "refused": box.counts.refused, "reasons": dict(box.counts.reasons),
             "unanswered": sum(self._scrapers[name].failures.values()) if name in self._scrapers else 0}
            for name, box in self._outboxes.items()
        ]  # fmt: skip

    def run(self, stop: threading.Event, opened: Callable[[], None] = lambda: None) -> None:
        """Listen until `stop` is set; returns when what was taken is durable, raises what went wrong."""
        writers = [
            threading.Thread(target=self._guarded, args=(box.empty,)) for box in self._outboxes.values()
        ]
        stopped = self._stopping.is_set
        receivers = [
            threading.Thread(target=self._guarded, args=(lambda one=one: one.receive(stopped),))
            for one in self._datagrams.values()
        ]
        receivers += [
            threading.Thread(target=self._guarded, args=(lambda one=one: one.run(self._stopping.wait),))
            for one in self._scrapers.values()
        ]
        bound = threading.Event()
        receivers.append(
            threading.Thread(target=self._guarded, args=(lambda: asyncio.run(self._serve(bound)),))
        )
        for thread in (*writers, *receivers):
            thread.start()
        while not bound.wait(0.05) and not self._trouble:
            pass
        if not self._trouble:
            opened()
        since_s = 0.0
        while not stop.wait(0.1) and not self._trouble:
            since_s += 0.1
            if since_s >= _KEEP_EVERY_S:
                self._keep()
                since_s = 0.0
        self._stopping.set()
        for thread in receivers:
            thread.join()
        for box in self._outboxes.values():
            box.close()
        for thread in writers:
            thread.join()
        self._keep()
        if self._trouble:
            raise self._trouble[0]

    async def _serve(self, bound: threading.Event) -> None:
        """All streams in one event loop."""
        for name, stream in self._streams.items():
            self.ports[name] = await stream.open()
        bound.set()
        while not self._stopping.is_set():  # noqa: ASYNC110 -- a thread sets it, and looking four times a second is cheap
            await asyncio.sleep(0.1)
        await asyncio.gather(*(stream.close() for stream in self._streams.values()))

    def _outbox(self, name: str, mapping: str) -> Outbox:
        self._outboxes[name] = Outbox(mapping, self.take, self.most_octets)
        return self._outboxes[name]

    def _keep(self) -> None:
        for keeper in self._keepers:
            keeper()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 -- `run` raises it again in its own thread
            self._trouble.append(error)
            self._stopping.set()
