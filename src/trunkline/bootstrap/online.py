"""Online charging put together: the rules of the trade over the embedded engine, and sessions that vanished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import orjson
import polars as pl

from trunkline.api.nchf.notify import Notifier
from trunkline.bootstrap.nchf_port import NchfPort, limited
from trunkline.charging import online as rules
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.online import EngineOnline
from trunkline.engines.online import OnlineRules, opened, owing
from trunkline.kernel.dial import to_text
from trunkline.kernel.members import Members
from trunkline.ports import Commit, QuotaAnswer, QuotaRequest
from trunkline.records import charging, online, usage
from trunkline.records.usage import Direction, Kind
from trunkline.settings import Online
from trunkline.stores.embedded.reader import EmbeddedReader

SOURCE = "online"
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


def online_of(
    engine: Engine,
    reader: EmbeddedReader,
    heard: Callable[[QuotaRequest, list[QuotaAnswer]], None] = lambda _request, _answers: None,
) -> EngineOnline:
    """Online charging over an engine, with the sessions that its folder keeps."""
    kept = reader.every(online.SESSIONS)
    return EngineOnline(engine, RULES, opened(kept), owing(kept, RULES), heard)


class OnlineLife(NchfPort):
    """Online charging beside the running platform: answering, lapsing, and the port of network functions."""

    online: EngineOnline

    def __init__(
        self, engine: Engine, reader: EmbeddedReader, settings: Online, networks: Sequence[str]
    ) -> None:
        """Listen; nothing is answered before `works` run. Raises `Refused` for what would not be safe."""
        super().__init__(settings, networks, engine.clock_us)
        self._engine = engine
        self.online = online_of(engine, reader, self._heard)
        engine.listeners.append(watch_movements(self.notifier))

    def payer_of(self, subscriber: int) -> int:
        """Whose account pays for a subscriber."""
        members = cast("Members", self._engine.tables[usage.MEMBERS.name])
        return members.account_of(subscriber)[0]

    def _heard(self, request: QuotaRequest, answers: list[QuotaAnswer]) -> None:
        if request.action != online.Action.RESERVE:
            self.notifier.ended(request.session, vanished=request.action == online.Action.LAPSE)
        else:
            self.notifier.answered(request.session, limited(answers))
