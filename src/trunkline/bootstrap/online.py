"""Online charging put together: the rules of the trade over the embedded engine, and sessions that vanished."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import orjson
import polars as pl

from trunkline.api.access import Access
from trunkline.api.callbacks import Callbacks
from trunkline.api.nchf.http2 import serve, tls_of
from trunkline.api.nchf.messages import Asked, Quotas
from trunkline.api.nchf.notify import Notifier
from trunkline.api.nchf.service import Charging
from trunkline.bootstrap.addresses import bound, is_loopback
from trunkline.charging import online as rules
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.online import EngineOnline
from trunkline.engines.online import OnlineRules, opened, owing
from trunkline.kernel.dial import to_text
from trunkline.kernel.members import Members
from trunkline.ports import Commit, QuotaAnswer, QuotaRequest, Refused
from trunkline.records import charging, online, usage
from trunkline.records.usage import Direction, Kind
from trunkline.settings import Online
from trunkline.stores.embedded.reader import EmbeddedReader

LONGEST_URI = 2048
SOURCE = "online"
READY_S = 0.5
# An answer passes through three threads; at Python's own 5 ms each may have to wait so long for its turn.
SWITCH_S = 0.0005
_UNITS = {Kind.VOICE: "duration_ms", Kind.DATA: "octets_down"}


def usage_lines(charged: pl.DataFrame, members: Members) -> bytes:
    """What sessions used, as records of our own schema; their names are made from session, group and invocation.

    A record names who used; whose account that is it finds by itself, like every record.
    """
    words = {
        owner: members.words_of(owner)
        for owner in charged.filter(pl.col("member") != 0)["subscriber"].unique()
    }
    return b"".join(
        orjson.dumps(_record(row, words.get(row["subscriber"], {}))) + b"\n"
        for row in charged.iter_rows(named=True)
    )


def _record(row: Mapping[str, Any], words: Mapping[int, int]) -> dict[str, Any]:
    record = {
        "id": f"{row['session']:016x}-{row['group']}-{row['invocation']}",
        "source": SOURCE,
        "type": Kind(row["kind"]).name.lower(),
        "subscriber": to_text(words[row["member"]] if row["member"] else row["subscriber"]),
        "direction": Direction(row["direction"]).name.lower(),
        "calling": to_text(row["calling"] or 0),
        "called": to_text(row["called"] or 0),
        "start_us": row["start_us"],
        _UNITS.get(row["kind"], "events"): row["units"],
        "visited_plmn": str(row["visited_plmn"]) if row["visited_plmn"] else "",
        "snssai": f"{row['slice']:08x}" if row["slice"] else "",
        "five_qi": row["five_qi"] or None,
        "service": row["service"],
        "session": None,
    }
    return {name: value for name, value in record.items() if value not in (None, "")}


_EXAMPLE = np.zeros(1, online.REQUEST_ROW)
_EXAMPLE["session"], _EXAMPLE["action"], _EXAMPLE["kind"] = 1, int(online.Action.RESERVE), int(Kind.DATA)
_EXAMPLE["wanted"], _EXAMPLE["says"] = 1, True

RULES = OnlineRules(
    online.SESSIONS,
    charging.ACCOUNTS,
    charging.TARIFFS,
    usage.MEMBERS,
    online.REQUEST_ROW,
    rules.decide,
    rules.owed,
    rules.struck,
    rules.owing,
    usage_lines,
    int(online.Action.RELEASE),
    int(online.Action.LAPSE),
    _EXAMPLE,
    online.REFUSALS,
)


def watch_movements(notifier: Notifier) -> Callable[[Commit], None]:
    """Let a notifier hear of money that was added to an account."""

    def heard(commit: Commit) -> None:
        for movement, _, status, _ in commit.movements:
            if status == "booked" and movement.amount > 0:
                notifier.topped_up(movement.subscriber)

    return heard


def limited(answers: Sequence[QuotaAnswer]) -> list[int]:
    """Rating groups that were granted their last units."""
    return [each.group for each in answers if not each.reason and each.granted < each.wanted]


def online_of(
    engine: Engine,
    reader: EmbeddedReader,
    heard: Callable[[QuotaRequest, list[QuotaAnswer]], None] = lambda _request, _answers: None,
) -> EngineOnline:
    """Online charging over an engine, with the sessions that its folder keeps."""
    kept = reader.every(online.SESSIONS)
    return EngineOnline(engine, RULES, opened(kept), owing(kept, RULES), heard)


class OnlineLife:
    """Online charging beside the running platform: answering, lapsing, notifying and the HTTP/2 server."""

    def __init__(
        self, engine: Engine, reader: EmbeddedReader, settings: Online, networks: Sequence[str]
    ) -> None:
        """Listen; nothing is answered before `run`. Raises `Refused` for what would not be safe."""
        self._settings, self._engine = settings, engine
        assert_safe(settings)
        self.notifier = Notifier(Callbacks(networks))
        self.online = online_of(engine, reader, self._heard)
        engine.listeners.append(watch_movements(self.notifier))
        self._clock_us = engine.clock_us
        self.quotas = Quotas(
            settings.online_octets,
            settings.online_seconds,
            settings.online_events,
            settings.online_validity_s,
            settings.online_grace_s,
        )
        advice = "Choose another port with TRUNKLINE_ONLINE_PORT."
        self._listener = bound(settings.online_host, max(settings.online_port, 0), advice)
        self.port = self._listener.getsockname()[1]

    @property
    def root(self) -> str:
        """Where network functions reach it."""
        scheme = "https" if self._settings.online_certificate else "http"
        return f"{scheme}://{self._settings.online_host}:{self.port}"

    def _heard(self, request: QuotaRequest, answers: list[QuotaAnswer]) -> None:
        if request.action != online.Action.RESERVE:
            self.notifier.ended(request.session, vanished=request.action == online.Action.LAPSE)
        else:
            self.notifier.answered(request.session, limited(answers))

    def _session_opened(self, session: int, asked: Asked, body: Mapping[str, Any]) -> None:
        uri = body.get("notifyUri")
        if isinstance(uri, str) and len(uri) <= LONGEST_URI:
            members = cast("Members", self._engine.tables[usage.MEMBERS.name])
            payer, _ = members.account_of(asked.request.subscriber)
            self.notifier.opened(session, payer, uri)

    def serve(self, access: Access, count: Callable[[str, int, float], None], stop: threading.Event) -> None:
        """Answer charging requests until told to stop."""
        application = Charging(
            self.online, access, self.quotas, lambda: self.root, self._session_opened, count, self._clock_us
        )
        tls = None
        if self._settings.online_certificate:
            tls = tls_of(
                self._settings.online_certificate, self._settings.online_key, self._settings.online_clients
            )

        async def served() -> None:
            application.mailbox.open()
            await serve(self._listener, application, tls, stop)

        while not self.online.ready.wait(READY_S) and not stop.is_set():
            continue  # who comes meanwhile waits in the line of the socket
        asyncio.run(served())

    def works(
        self, access: Access, count: Callable[[str, int, float], None], stop: threading.Event
    ) -> list[tuple[str, Callable[[], None]]]:
        """What runs in threads of its own: names and functions that return when `stop` is set."""
        sys.setswitchinterval(SWITCH_S)
        return [
            ("online", lambda: self.online.run(stop)),
            ("online-http", lambda: self.serve(access, count, stop)),
            ("online-notify", lambda: self.notifier.run(stop)),
        ]


def assert_safe(settings: Online) -> None:
    """Cleartext never leaves this machine."""
    if not is_loopback(settings.online_host) and not settings.online_certificate:
        raise Refused(
            f"Charging requests on {settings.online_host} would carry tokens in cleartext. Name a certificate"
            " and its key with TRUNKLINE_ONLINE_CERTIFICATE and TRUNKLINE_ONLINE_KEY, or listen on 127.0.0.1."
        )
