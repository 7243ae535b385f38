"""The port of network functions, whoever answers behind it: a socket, what is granted unasked, and who is notified.

The socket is served by a process of its own (`nchf_side`); here is its line to the platform.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import orjson

from trunkline.api.access import Access
from trunkline.api.callbacks import Callbacks
from trunkline.api.nchf.http2 import tls_of
from trunkline.api.nchf.line import (
    BUSY,
    FAILED,
    UNKNOWN,
    Beginning,
    beginning_said,
    request_of,
    said,
    tokens_said,
)
from trunkline.api.nchf.messages import Quotas
from trunkline.api.nchf.notify import Notifier
from trunkline.bootstrap.addresses import bound, is_loopback
from trunkline.ports import Busy, OnlineCharging, QuotaAnswer, Refused, Told, UnknownSession
from trunkline.settings import Online

log = logging.getLogger("trunkline.nchf")

READY_S = 0.5
LOOK_S = 0.1  # who may come in is looked up again after so long
TOGETHER_S = 1.0  # who ends all processes of a service may meet that one first
ENDING_S = 10.0  # that the process at the network's side may take to go
# An answer passes through several threads; at Python's own 5 ms each may have to wait so long for its turn.
SWITCH_S = 0.0005
# What the process at the network's side does not need: it computes nothing.
_ALONE = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Count = Callable[[str, int, float], None]


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
        assert_safe(settings)
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
        self._line, self._far = socket.socketpair()
        self._answers: deque[list[Any]] = deque()  # answers on their way down
        self._wake = threading.Event()

    @abstractmethod
    def payer_of(self, subscriber: int) -> int:
        """Whose account pays for a subscriber."""

    @property
    def root(self) -> str:
        """Where network functions reach it."""
        scheme = "https" if self._settings.online_certificate else "http"
        return f"{scheme}://{self._settings.online_host}:{self.port}"

    def works(
        self, access: Access, count: Count, stop: threading.Event
    ) -> list[tuple[str, Callable[[], None]]]:
        """What runs in threads of its own: names and functions that return when `stop` is set."""
        sys.setswitchinterval(SWITCH_S)
        return [
            ("online", lambda: self.online.run(stop)),
            ("online-asked", lambda: self._hear(count, stop)),
            ("online-told", lambda: self._say(access, stop)),
            ("online-notify", lambda: self.notifier.run(stop)),
        ]

    # -- up --------------------------------------------------------------------------------------------------

    def _hear(self, count: Count, stop: threading.Event) -> None:
        """Start the process at the network's side, and hear what it says until it is gone."""
        command = [sys.executable, "-P", "-m", "trunkline.bootstrap.nchf_side"]
        ends = self._listener, self._far
        running = subprocess.Popen(  # noqa: S603 -- our own words
            [*command, *(str(end.fileno()) for end in ends)],
            pass_fds=[end.fileno() for end in ends],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | _ALONE,
        )
        for end in ends:  # are that process's from here on
            end.close()
        try:
            with self._line.makefile("rb") as lines, contextlib.suppress(ConnectionError):
                for line in lines:
                    if line.endswith(b"\n"):  # else that process died while it said it
                        self._heard_line(orjson.loads(line), count)
            code = _ended(running)
            if not stop.wait(TOGETHER_S):
                raise RuntimeError(
                    f"The process that speaks with network functions ended with exit code {code}."
                )
        finally:
            _ended(running)

    def _heard_line(self, told: dict[str, Any], count: Count) -> None:
        now_us = self._clock_us()
        for number, asked, notify in told["asked"]:
            place = asked["place"]
            if asked["begins"]:
                place = self.online.place(asked["subscriber"])
            request = request_of(asked, place, now_us)
            if request.begins and notify:  # before it can be told anything
                self.notifier.opened(request.session, self.payer_of(request.subscriber), notify)
            self.online.ask(request, partial(self._answer, number, place))
        for operation, status, seconds in told["counted"]:
            count(operation, status, seconds)

    # -- down ------------------------------------------------------------------------------------------------

    def _answer(self, number: int, place: int | None, told: Told) -> None:
        self._answers.append(
            [number, place, _without_answer(told) if isinstance(told, BaseException) else told]
        )
        if not self._wake.is_set():
            self._wake.set()

    def _say(self, access: Access, stop: threading.Event) -> None:
        """Let network functions in when they can be answered, say who may ask, and answer; last, end the line."""
        while not self.online.ready.wait(READY_S) and not stop.is_set():
            continue  # who comes meanwhile waits in the line of the socket
        with contextlib.suppress(ConnectionError):  # the process is gone; who hears it says so
            tokens = self._let_in(access, None)
            self._line.sendall(beginning_said(self._beginning()))
            look_s = time.monotonic() + LOOK_S
            while not stop.is_set():
                self._wake.wait(LOOK_S)
                self._wake.clear()
                answers = [self._answers.popleft() for _ in range(len(self._answers))]
                if answers:
                    self._line.sendall(said({"told": answers}))
                if time.monotonic() >= look_s:
                    tokens, look_s = self._let_in(access, tokens), time.monotonic() + LOOK_S
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def _let_in(self, access: Access, known: list[Any] | None) -> list[Any]:
        """Say who may ask, where that is not known already."""
        tokens = tokens_said(list(access.tokens))
        if tokens != known:
            self._line.sendall(said({"tokens": tokens}))
        return tokens

    def _beginning(self) -> Beginning:
        settings = self._settings
        files = settings.online_certificate, settings.online_key, settings.online_clients
        return Beginning(self.root, self._quotas, *files)


def limited(answers: Sequence[QuotaAnswer]) -> list[int]:
    """Rating groups that were granted their last units."""
    return [each.group for each in answers if not each.reason and each.granted < each.wanted]


def _without_answer(error: BaseException) -> str:
    """Why there is no answer."""
    if isinstance(error, UnknownSession):
        return UNKNOWN
    if isinstance(error, Busy):
        return BUSY
    log.error("a charging request failed", exc_info=error)
    return FAILED


def _ended(running: subprocess.Popen[bytes]) -> int:
    """The exit code of a process that is about to end; one that does not is killed."""
    try:
        return running.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        running.kill()
        return running.wait()


def assert_safe(settings: Online) -> None:
    """Cleartext never leaves this machine, and TLS has what it needs; raises `Refused`."""
    if not is_loopback(settings.online_host) and not settings.online_certificate:
        raise Refused(
            f"Charging requests on {settings.online_host} would carry tokens in cleartext. Name a certificate"
            " and its key with TRUNKLINE_ONLINE_CERTIFICATE and TRUNKLINE_ONLINE_KEY, or listen on 127.0.0.1."
        )
    if settings.online_certificate:
        try:
            tls_of(settings.online_certificate, settings.online_key, settings.online_clients)
        except (OSError, ssl.SSLError) as error:
            raise Refused(
                f"TLS for charging requests cannot be set up ({error}). TRUNKLINE_ONLINE_CERTIFICATE,"
                " TRUNKLINE_ONLINE_KEY and TRUNKLINE_ONLINE_CLIENTS name PEM files."
            ) from None
