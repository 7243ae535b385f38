"""The port of network functions, whoever answers behind it: a socket, what is granted unasked, and who is notified."""

from __future__ import annotations

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from trunkline.api.access import Access
from trunkline.api.callbacks import Callbacks
from trunkline.api.nchf.http2 import serve, tls_of
from trunkline.api.nchf.messages import Asked, Quotas
from trunkline.api.nchf.notify import Notifier
from trunkline.api.nchf.service import Charging
from trunkline.bootstrap.addresses import bound, is_loopback
from trunkline.ports import OnlineCharging, QuotaAnswer, Refused
from trunkline.settings import Online

LONGEST_URI = 2048
READY_S = 0.5
# An answer passes through three threads; at Python's own 5 ms each may have to wait so long for its turn.
SWITCH_S = 0.0005


class Answering(OnlineCharging, Protocol):
    """Online charging that is run in a thread of its own."""

    ready: threading.Event

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop."""


class NchfPort(ABC):
    """What network functions reach; whoever answers says who that is and who pays."""

    online: Answering

    def __init__(self, settings: Online, networks: Sequence[str], clock_us: Callable[[], int]) -> None:
        """Listen; nothing is answered before `works` run. Raises `Refused` for what would not be safe."""
        _assert_safe(settings)
        self._settings, self._clock_us = settings, clock_us
        self.notifier = Notifier(Callbacks(networks))
        self._quotas = Quotas(
            settings.online_octets,
            settings.online_seconds,
            settings.online_events,
            settings.online_validity_s,
            settings.online_grace_s,
        )
        advice = "Choose another port with TRUNKLINE_ONLINE_PORT."
        self._listener = bound(settings.online_host, max(settings.online_port, 0), advice)
        self.port = self._listener.getsockname()[1]

    @abstractmethod
    def payer_of(self, subscriber: int) -> int:
        """Whose account pays for a subscriber."""

    @property
    def root(self) -> str:
        """Where network functions reach it."""
        scheme = "https" if self._settings.online_certificate else "http"
        return f"{scheme}://{self._settings.online_host}:{self.port}"

    def works(
        self, access: Access, count: Callable[[str, int, float], None], stop: threading.Event
    ) -> list[tuple[str, Callable[[], None]]]:
        """What runs in threads of its own: names and functions that return when `stop` is set."""
        sys.setswitchinterval(SWITCH_S)
        return [
            ("online", lambda: self.online.run(stop)),
            ("online-http", lambda: self._serve(access, count, stop)),
            ("online-notify", lambda: self.notifier.run(stop)),
        ]

    def _opened(self, session: int, asked: Asked, body: Mapping[str, Any]) -> None:
        uri = body.get("notifyUri")
        if isinstance(uri, str) and len(uri) <= LONGEST_URI:
            self.notifier.opened(session, self.payer_of(asked.request.subscriber), uri)

    def _serve(self, access: Access, count: Callable[[str, int, float], None], stop: threading.Event) -> None:
        application = Charging(
            self.online, access, self._quotas, lambda: self.root, self._opened, count, self._clock_us
        )
        settings = self._settings
        tls = None
        if settings.online_certificate:
            tls = tls_of(settings.online_certificate, settings.online_key, settings.online_clients)

        async def served() -> None:
            application.mailbox.open()
            await serve(self._listener, application, tls, stop)

        while not self.online.ready.wait(READY_S) and not stop.is_set():
            continue  # who comes meanwhile waits in the line of the socket
        asyncio.run(served())


def limited(answers: Sequence[QuotaAnswer]) -> list[int]:
    """Rating groups that were granted their last units."""
    return [each.group for each in answers if not each.reason and each.granted < each.wanted]


def _assert_safe(settings: Online) -> None:
    """Cleartext never leaves this machine."""
    if not is_loopback(settings.online_host) and not settings.online_certificate:
        raise Refused(
            f"Charging requests on {settings.online_host} would carry tokens in cleartext. Name a certificate"
            " and its key with TRUNKLINE_ONLINE_CERTIFICATE and TRUNKLINE_ONLINE_KEY, or listen on 127.0.0.1."
        )
