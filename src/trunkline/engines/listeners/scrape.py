"""Asking exporters for their samples, as Prometheus does: a page of text every so often, a line a sample.

Only metrics that are wanted are taken; what is not asked for is not received. A page that is too long is refused whole,
and an exporter that does not answer is told as such by its silence: nothing is written down for it.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from trunkline.engines.listeners.outbox import Outbox
from trunkline.kernel.envelope import wrap_text

LONGEST_PAGE = 16 << 20
_TIMEOUT_S = 5.0
_HEAD = 100
_ACCEPT = "text/plain;version=0.0.4"


@dataclass(frozen=True)
class Exporter:
    """One exporter: what its samples' `instance` is, and where its page lies."""

    instance: str
    url: str


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An exporter that sends elsewhere is not followed: the address was chosen by the operator."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        return None


@dataclass
class Scraper:
    """Asks each exporter in its turn, every `every_s` seconds."""

    exporters: tuple[Exporter, ...]
    outbox: Outbox
    every_s: float = 15.0
    wanted: str = ".*"  # pattern of metric names
    failures: dict[str, int] = field(default_factory=dict)

    def run(self, wait: Callable[[float], bool]) -> None:
        """Scrape until `wait(seconds)` says that it is time to stop."""
        due_s = time.monotonic()
        while True:
            self.once()
            due_s = max(due_s + self.every_s, time.monotonic())
            if wait(due_s - time.monotonic()):
                return

    def once(self) -> None:
        """Ask every exporter once."""
        for exporter in self.exporters:
            try:
                page = self._page(exporter)
            except (OSError, urllib.error.URLError, ValueError):
                self.failures[exporter.instance] = self.failures.get(exporter.instance, 0) + 1
                continue
            if len(page) > LONGEST_PAGE:
                self.outbox.refuse(exporter.instance, "oversize", len(page), page[:_HEAD])
                continue
            self._put(exporter, page)

    def _page(self, exporter: Exporter) -> bytes:
        opener = urllib.request.build_opener(_NoRedirects())
        request = urllib.request.Request(exporter.url, headers={"Accept": _ACCEPT})  # noqa: S310 -- http(s) only, checked by who configures
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read(LONGEST_PAGE + 1))

    def _put(self, exporter: Exporter, page: bytes) -> None:
        wanted = re.compile(self.wanted.encode())
        now_us = self.outbox.clock_us()
        lines = []
        for line in page.splitlines():
            name = re.match(rb"[A-Za-z_:][\w:]*", line)
            if name and wanted.fullmatch(name[0]):
                lines.append(wrap_text(now_us, exporter.instance, line))
        if lines and not self.outbox.offer(lines):
            self.outbox.refuse(exporter.instance, "busy", len(lines))
